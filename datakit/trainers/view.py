"""The view: a folder of hard links to pictures of a dataset, laid out as one trainer wants it and named by its content.

A trainer that keeps its caches beside the pictures and trusts them by name finds none that are stale there, and writes
nothing into the dataset. A view is a dataset itself: it has a manifest, against which a proof holds every file.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Literal

import msgspec

from datakit.audit.concept import Concept, content_hash, digest, hash_in
from datakit.audit.reader import Reader
from datakit.dataset.layout import VIEW
from datakit.dataset.manifest import MANIFEST, NOT_JSON, Companion, Record, read_manifest
from datakit.dataset.samples import fold, free_name
from datakit.errors import PlanError, UsageError
from datakit.geometry import Size
from datakit.report import counted
from datakit.trainers.fate import Fate
from datakit.trainers.leftovers import Leftover

# `datasets` puts variables of the environment into names and takes \\ for a folder, and lists of files go line by line.
_MISREAD = re.compile(r"[\\$\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Link:
    """One picture of a view: its name there, where it lies, and which of its captions (from 0) it gets; None for all."""

    name: str
    dataset: Path
    record: Record
    line: int | None = None


# Given each picture of a view with the captions it gets, the bytes of further files for it by name.
Listing = Callable[[Sequence[tuple[Link, tuple[str, ...]]]], Mapping[str, bytes]]


@dataclass(frozen=True, slots=True)
class View:
    """A folder of hard links as it is to be; pure data, which `make_view` makes.

    Attributes
    ----------
    folder
        ``CACHE_ROOT/NAME-HASH``; the hash changes with every picture, caption, name and rule.
    trainer
        Whose it is, by its name in `datakit.trainers.TRAINERS`.
    datasets
        Content hash of each dataset (absolute) that it shows, wholly or in part.
    links
        Its pictures, in the order of their names.
    passes
        How often each of its files is to be shown in an epoch.
    empty
        What is written for a caption that was left out on purpose.
    listing
        Makes the files that name all pictures and captions, where the trainer reads such a file.
    beside
        Companions that lie beside each picture, by what they are called, and what is added there to its name.
    """

    folder: Path
    trainer: str
    datasets: Mapping[str, str]
    links: tuple[Link, ...]
    passes: int = 1
    empty: bytes = b""
    listing: Listing | None = None
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def buckets(self) -> dict[Size, int]:
        """Pictures of each size."""
        return dict(Counter(link.record.bucket for link in self.links))


class Made(msgspec.Struct, frozen=True):
    """What a view says of itself: whose it is, and all datasets (absolute) that it was asked for, with the content that it shows."""

    trainer: str
    datasets: dict[str, str] = {}


class ThroughView:
    """What a trainer does with a dataset itself where it is given a view of it: nothing; see `datakit.trainers.protocol.Trainer`.

    Attributes
    ----------
    reading
        What it lists of a view.
    """

    published = False
    reading: Reader

    def takes(self, name: str) -> Literal["", "picture", "video", "audio"]:
        """Return nothing: it takes no file."""
        return ""

    def unseen_by(self, name: str) -> str:
        """Name what would not see a picture of this extension in a view; a view has no folders."""
        return self.reading.unseen_by(os.path.basename(name))

    def cache_name(self, folder: str, name: str) -> str:
        """Return a name that no other picture has."""
        return name

    def left_behind(self, concept: Concept, ids: Collection[str]) -> list[Leftover]:
        """Return nothing: it writes into views only."""
        return []


@dataclass(frozen=True, slots=True)
class Layout:
    """How a trainer wants its views.

    Attributes
    ----------
    trainer
        A name of `datakit.trainers.TRAINERS`.
    expand
        Whether each of several captions of a picture needs a picture file of its own.
    empty, listing
        As in `View`.
    misread
        Ends of a picture's name, without its extension, at which the trainer takes it for something else.
    also
        What else the listing follows, such as repeats that it writes out; the view's name then follows it too.
    beside
        As in `View`.
    """

    trainer: str
    expand: bool = False
    empty: bytes = b""
    listing: Listing | None = field(default=None, compare=False)
    misread: tuple[str, ...] = ()
    also: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)


def plan_view(concepts: Sequence[Concept], cache_root: Path, layout: Layout, size: Size | None = None) -> View:
    """Lay out some datasets as one view.

    Names that lie in folders are joined by ``_``, and all are numbered where one would be the start of another: trainers
    look caches up by the start of a name. Signs that would be read as another name become ``_`` too.

    Parameters
    ----------
    concepts
        Usually one; names of several start with that of their dataset.
    cache_root
        Folder of the views.
    layout
        Of the trainer.
    size
        Only pictures of this size, in a view of their own; its name is part of the view's.

    Raises
    ------
    UsageError
        ``--repeats`` does not go with the captions that are written out.
    """
    taken: set[str] = set()
    links = []
    for concept in concepts:
        for record in concept.records:
            if size is None or record.bucket == size:
                links += _links(concept, record, layout, taken, prefix=concept.name if len(concepts) > 1 else "")
    links = sorted(_numbered(links), key=lambda link: link.name)
    name = "-".join([*(concept.name for concept in concepts), *([str(size)] if size else [])])
    rows = [
        (
            link.name,
            link.record.output_sha256,
            link.record.caption_sha256 or "",
            "" if link.line is None else str(link.line),
            *(f"{each.output} {each.sha256}" for each in beside_of(link, layout.beside)),
        )
        for link in links
    ]
    content = digest([(layout.trainer, layout.empty.decode(), *filter(None, [layout.also])), *rows])
    return View(
        folder=Path(os.path.abspath(cache_root)) / f"{name}-{content}",
        trainer=layout.trainer,
        datasets={os.fspath(concept.folder): content_hash(concept.records) for concept in concepts},
        links=tuple(links),
        passes=max((written_out(concept) if layout.expand else concept).passes for concept in concepts),
        empty=layout.empty,
        listing=layout.listing,
        beside=layout.beside,
    )


def companion_view(view: View, names: Sequence[str], *, same_name: bool = False) -> View:
    """Lay out what a view's pictures are accompanied by as a view of its own, each called after its picture.

    Parameters
    ----------
    view
        Of the pictures.
    names
        What the companions are called; of several, each picture's are numbered, ``a_0.png`` and so on.
    same_name
        Whether each has the whole name of its picture, extension and all, whatever it is that lies there.
    """
    links = []
    for link in view.links:
        known, (stem, own) = {each.name: each for each in link.record.companions}, os.path.splitext(link.name)
        for number, name in enumerate(names):
            if name in known:
                ending = own if same_name else f"_{number}.png" if len(names) > 1 else ".png"
                links.append(Link(stem + ending, link.dataset, _as_picture(link.record, known[name])))
    content = digest([(view.trainer, *names), *((link.name, link.record.output_sha256) for link in links)])
    folder = view.folder.with_name("-".join((view.folder.name.rpartition("-")[0], *names, content)))
    return replace(view, folder=folder, links=tuple(links), listing=None, beside={})


def _as_picture(record: Record, companion: Companion) -> Record:
    """Return the record of a companion as that of a picture without a caption."""
    return msgspec.structs.replace(
        record,
        output=companion.output,
        output_sha256=companion.sha256,
        source=companion.source,
        source_sha256=companion.source_sha256,
        caption=None,
        caption_sha256=None,
        source_caption_sha256=None,
        captions=0,
        companions=(),
    )


def written_out(concept: Concept) -> Concept:
    """Return a dataset as it is trained where every caption has a file of its own.

    Raises
    ------
    UsageError
        The repeats asked for are no multiple of the captions that most pictures have.
    """
    lines = Counter(record.captions for record in concept.records if record.captions)
    usual = min(lines, key=lambda count: (-lines[count], count), default=1)
    if any(record.copy is not None for record in concept.records):
        usual = 1  # how often copies are shown was never counted by their captions
    if concept.passes % usual:
        raise UsageError(
            f"{concept.folder} has {usual} captions a picture, each of which becomes a file here: repeats {concept.passes} would show "
            f"some more often (use {usual} or a multiple of it)"
        )
    if max(lines, default=1) == 1:
        return concept
    files = (
        msgspec.structs.replace(record, captions=min(1, record.captions))
        for record in concept.records
        for _ in range(max(1, record.captions))
    )
    note = "each of several captions of a picture is written out with a link to the picture, so that none is left to chance"
    return replace(concept, records=tuple(files), passes=concept.passes // usual, notes=(note,))


def changed_sizes(view: View, fate: Callable[[Size], Fate], because: str = "") -> list[str]:
    """Return a sentence for each size of a view that its trainer changes; ``because`` is the cause, as a clause."""
    return [
        f"{view.folder.name}: {counted(pictures, 'picture')} of {size} would be {fate(size).describe(size)}{because and f': {because}'}"
        for size, pictures in view.buckets.items()
        if not fate(size).keeps(size)
    ]


def old_views(trainer: str, current: Collection[Path], concepts: Sequence[Concept], cache_root: Path) -> list[Leftover]:
    """Return the views that a trainer no longer needs of some datasets; ``current`` are the folders of those that it does."""
    datasets = {os.fspath(concept.folder) for concept in concepts}

    def of_others(made: Made) -> bool:
        """Tell whether a copy of a dataset, elsewhere and not gone, has the view too."""
        return any(path not in datasets and os.path.exists(os.path.join(path, MANIFEST)) for path in made.datasets)

    found = []
    with suppress(OSError):
        for path in sorted(Path(cache_root).iterdir()):
            made = read_made(path)
            if made is None or made.trainer != trainer or Path(os.path.abspath(path)) in current:
                continue
            if path.is_symlink() or datasets.isdisjoint(made.datasets) or of_others(made):
                continue
            if hash_in(path.name):
                found.append(Leftover(path, "a view, with the trainer's caches in it, of an earlier content or name"))
    return found


def read_made(folder: Path) -> Made | None:
    """Return what a view says of itself; None for a folder that is no view."""
    try:
        return msgspec.json.decode((folder / VIEW).read_bytes(), type=Made)
    except (OSError, *NOT_JSON):
        return None


def written_in(cache_root: Path, trainer: str, datasets: Iterable[str]) -> Iterator[str]:
    """Yield the pictures, companions and captions of a trainer's views of some datasets, as datakit links and writes them there."""
    wanted = set(map(os.path.abspath, datasets))
    with suppress(OSError, PlanError):
        for folder in sorted(cache_root.iterdir()):
            made = read_made(folder)
            if made is None or made.trainer != trainer or wanted.isdisjoint(made.datasets):
                continue
            for record in read_manifest(folder):
                names = (record.output, record.caption, *(each.output for each in record.companions))
                yield from (os.path.join(folder, name) for name in names if name is not None)


def _links(concept: Concept, record: Record, layout: Layout, taken: set[str], prefix: str) -> list[Link]:
    stem, suffix = os.path.splitext(record.output)
    flat = _MISREAD.sub("_", "_".join(filter(None, (prefix, *stem.split("/")))))
    flat += "_" if flat.endswith(layout.misread) else ""
    lines: Iterable[int | None] = range(record.captions) if layout.expand and record.captions > 1 else (None,)
    return [
        Link(free_name(flat if line is None else f"{flat}_{line + 1}", taken) + suffix, concept.folder, record, line)
        for line in lines
    ]


def with_companions(views: Iterable[View]) -> set[Path]:
    """Return the folders of some views and of every view of companions that may go with them."""
    folders = set()
    for view in views:
        names = sorted({each.name for link in view.links for each in link.record.companions})
        several = (chosen for number in range(1, len(names) + 1) for chosen in combinations(names, number))
        folders |= {view.folder, *(companion_view(view, chosen).folder for chosen in several)}
        folders |= {companion_view(view, [name], same_name=True).folder for name in names}
    return folders


def beside_of(link: Link, endings: Mapping[str, str]) -> list[Companion]:
    """Return the companions that lie beside a picture of a view, under the names that they have there."""
    stem = os.path.splitext(link.name)[0]
    return [
        msgspec.structs.replace(each, output=f"{stem}{endings[each.name]}.png")
        for each in link.record.companions
        if each.name in endings
    ]


def _numbered(links: Sequence[Link]) -> list[Link]:
    """Put a number before each name, if any of them is the start of another."""
    stems = sorted(fold(os.path.splitext(link.name)[0]) for link in links)
    # What starts with a name comes right behind it.
    if not any(later.startswith(earlier) for earlier, later in pairwise(stems)):
        return list(links)
    width = len(str(len(links)))
    return [replace(link, name=f"{number:0{width}}_{link.name}") for number, link in enumerate(links, 1)]
