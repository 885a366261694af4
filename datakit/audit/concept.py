"""A dataset as a trainer takes it: its records, how often each file is seen, and what its content is called."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from datakit.dataset.manifest import MANIFEST, Record, read_manifest
from datakit.dataset.origin import is_inside, read_origin
from datakit.dataset.remembered import why_empty
from datakit.dataset.store import is_interrupted
from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.sizes import in_order

# 32 bits tell versions of one dataset apart; the name beside it tells datasets apart.
_HASH_DIGITS = 8
_HASHED = re.compile(rf"-([0-9a-f]{{{_HASH_DIGITS}}})$")


@dataclass(frozen=True, slots=True)
class Concept:
    """One dataset of a training.

    Attributes
    ----------
    folder
        Absolute path of the dataset.
    name
        What the user calls it; `id` adds the content hash.
    records
        One for each picture file, in the order of the manifest.
    passes
        How many times the trainer shows each file in one epoch, 1 = once. Copies written by shuffle are
        files of their own and need no further pass.
    notes
        What was decided here and may surprise, one sentence each.
    stage
        Which stage wrote the dataset; empty where its state is gone.
    """

    folder: Path
    name: str
    records: tuple[Record, ...]
    passes: int
    notes: tuple[str, ...] = ()
    stage: str = ""

    @property
    def id(self) -> str:
        """Name and content hash; it changes whenever a picture or a caption does."""
        return f"{self.name}-{content_hash(self.records)}"

    @property
    def buckets(self) -> dict[Size, int]:
        """Picture files per size, in the order of their set."""
        counted = Counter(record.bucket for record in self.records)
        return {size: counted[size] for size in in_order(counted)}

    @property
    def companions(self) -> tuple[str, ...]:
        """What pictures of it are accompanied by, in order."""
        return tuple(sorted({each.name for record in self.records for each in record.companions}))

    @property
    def unmoved(self) -> Concept | None:
        """The same dataset as if no picture had taken another size to fill a batch; None where none has."""
        if not any(record.moved_from for record in self.records):
            return None
        records = (msgspec.structs.replace(record, bucket=record.moved_from or record.bucket) for record in self.records)
        return replace(self, records=tuple(records))

    @property
    def shuffled(self) -> bool:
        """True where shuffle wrote the dataset: copies, or captions as lines of one file."""
        return self.stage == "shuffle" or any(record.copy is not None for record in self.records)

    @property
    def originals(self) -> tuple[Record, ...]:
        """One record for each crop of a source: copies after the first are left out."""
        first: dict[str, Record] = {}
        for record in self.records:
            first.setdefault(record.target, record)
        return tuple(first.values())


def read_concept(folder: Path, name: str | None = None, repeats: int | None = None) -> Concept:
    """Read a dataset's manifest and decide how often the trainer must show each file.

    Parameters
    ----------
    folder
        A dataset that crop or shuffle wrote.
    name
        Instead of the folder's name.
    repeats
        How many times each source picture is to be seen in one epoch in all, 1 = once. Without it every
        file is seen once, and each picture of a captions-only dataset once for each of its captions.

    Raises
    ------
    UsageError
        The folder is no dataset of datakit, or ``repeats`` does not go with the copies it holds.
    PlanError
        A line of its manifest cannot be used.
    """
    check_written(folder)
    records = tuple(read_manifest(folder))
    if not records:
        raise UsageError(why_empty(folder) or f"{folder / MANIFEST} is empty: run the stage that wrote {folder} again")
    passes, notes = _passes(records, repeats, folder)
    notes += _drawn(records, passes) + _untitled(records)
    absolute = Path(os.path.abspath(folder))
    origin = read_origin(folder)
    return Concept(absolute, _slug(name or absolute.name), records, passes, notes, origin.stage if origin else "")


def check_written(folder: Path) -> None:
    """Make sure that a folder is a dataset of datakit, and one whose first run came to its end.

    Raises
    ------
    UsageError
        It is none.
    """
    if not (folder / MANIFEST).is_file():
        if is_interrupted(folder):
            raise UsageError(f"{folder} was not finished: run the command that writes it again, it goes on from there")
        raise UsageError(f"{folder} has no {MANIFEST}: give a folder that `datakit crop` or `datakit shuffle` wrote")


def read_concepts(folders: Sequence[Path], names: Sequence[str] = (), repeats: Sequence[int] = ()) -> list[Concept]:
    """Read several datasets; names and repeats are given once for each, or repeats once for all.

    Raises
    ------
    UsageError
        The numbers of names or repeats do not go with the number of datasets, or as for `read_concept`.
    PlanError
        As for `read_concept`.
    """
    if names and len(names) != len(folders):
        raise UsageError(f"{len(names)} names for {len(folders)} datasets: give one for each, in the same order")
    if len(repeats) not in (0, 1, len(folders)):
        raise UsageError(
            f"{len(repeats)} repeats for {len(folders)} datasets: give one for all, or one for each in the same order"
        )
    each_name: list[str | None] = list(names) or [None] * len(folders)
    each_repeats: list[int | None] = list(repeats) or [None]
    if len(each_repeats) == 1:
        each_repeats *= len(folders)
    return [read_concept(folder, name, times) for folder, name, times in zip(folders, each_name, each_repeats, strict=True)]


def check_apart(concepts: Sequence[Concept], cache_root: Path) -> None:
    """Make sure that no dataset is there twice, and that the trainer's caches lie outside of all.

    Raises
    ------
    UsageError
        They do not.
    """
    known: dict[str, Concept] = {}
    for concept in concepts:
        same = known.setdefault(concept.id, concept)
        if same is not concept and same.folder == concept.folder:
            raise UsageError(f"{concept.folder} is given twice: give each dataset once, and more weight by its --repeats")
        if same is not concept:
            raise UsageError(
                f"{same.folder} and {concept.folder} have the same name and the same content: give one of them, with more "
                "--repeats, or name them apart with --id"
            )
        if is_inside(cache_root, concept.folder):
            raise UsageError(
                f"--cache-root {cache_root} lies inside the dataset {concept.folder}, which the trainer searches for pictures: "
                "name a folder outside it"
            )


def content_hash(records: Iterable[Record]) -> str:
    """Return eight hexadecimal digits that change with any picture, caption, companion or file name of a dataset."""
    return digest(
        (
            record.output,
            record.output_sha256,
            record.caption_sha256 or "",
            *(f"{each.name} {each.sha256}" for each in record.companions),
        )
        for record in records
    )


def captions_hash(concepts: Iterable[Concept]) -> str:
    """Return eight hexadecimal digits that change with any caption of several datasets."""
    return digest({(record.caption_sha256 or "",) for concept in concepts for record in concept.records})


def hash_in(name: str) -> str | None:
    """Return the hash at the end of an id or of the name of a cache; None where there is none, as in a date: fantasy-20241015."""
    found = _HASHED.search(name)
    return found[1] if found and not found[1].isdecimal() else None


def digest(rows: Iterable[tuple[str, ...]]) -> str:
    """Return eight hexadecimal digits of some rows, whatever their order."""
    text = "\n".join("\t".join(row) for row in sorted(rows))
    digits = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    # The first eight that are not all decimal: no hash can be read as a date.
    windows = (digits[start : start + _HASH_DIGITS] for start in range(len(digits) - _HASH_DIGITS))
    return next((window for window in windows if not window.isdecimal()), digits[:_HASH_DIGITS])


def _passes(records: Sequence[Record], repeats: int | None, folder: Path) -> tuple[int, tuple[str, ...]]:
    if repeats is not None and repeats < 1:
        raise UsageError(f"repeats {repeats}: use 1 (seen once an epoch) or more")
    copies = max((record.copy or 1) for record in records)
    if copies > 1:
        if repeats is not None and repeats % copies:
            allowed = f"{copies} or a multiple of it"
            raise UsageError(
                f"{folder} holds {copies} copies of each picture: repeats {repeats} would show some more often (use {allowed})"
            )
        return (repeats or copies) // copies, (
            f"{copies} copies of each picture are written out: the trainer repeats none of them",
        )
    if repeats is not None:
        return repeats, ()
    # Pictures without a caption are findings of their own; how often the others are shown does not depend on them.
    lines = Counter(record.captions for record in records if record.captions)
    usual = min(lines, key=lambda count: (-lines[count], count), default=1)
    if usual == 1:
        return 1, ()
    notes = [f"{usual} captions a picture: the trainer shows each picture {usual} times an epoch and draws one of them each time"]
    if len(lines) > 1:
        others = ", ".join(f"{count} have {number}" for number, count in sorted(lines.items()) if number != usual)
        notes.append(
            f"the number of captions differs between pictures ({others}): {usual} is the most common and is used for all"
        )
    return usual, tuple(notes)


def _drawn(records: Sequence[Record], passes: int) -> tuple[str, ...]:
    """Say how many captions one epoch shows where one of several is drawn, each as likely, whenever a picture is shown."""
    lines = [record.captions for record in records if record.captions]
    if max(lines, default=1) == 1:
        return ()
    seen = sum(count * (1 - (1 - 1 / count) ** passes) for count in lines)
    said = f"about {seen:.0f} of {sum(lines)} captions ({seen / sum(lines):.0%}) are expected in one epoch"
    return (f"{said}: where a picture has several, one is drawn each time it is shown",)


def untitled(record: Record) -> bool:
    """Tell whether shuffle left the caption of a copy out on purpose (``--drop-caption``)."""
    return record.captions == 0 and record.caption is not None and not record.caption_edited


def _untitled(records: Sequence[Record]) -> tuple[str, ...]:
    number = sum(map(untitled, records))
    if not number:
        return ()
    # SimpleTuner 3.1.6 encodes an empty caption file as the empty prompt, as its own caption dropout does.
    return (
        f"{number} of {len(records)} copies have an empty caption, on top of those that the trainer's own caption dropout leaves out",
    )


def _slug(name: str) -> str:
    """Return a name that is safe in file names on any system and in a trainer's cache keys."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.") or "dataset"
