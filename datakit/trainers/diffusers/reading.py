"""What `datasets.load_dataset` makes of a folder for diffusers' scripts: its files, its splits, the rows of its metadata."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from datakit.audit.checks import caption_fault
from datakit.audit.looks import is_readable
from datakit.caption.captions import read_caption
from datakit.dataset.manifest import NOT_JSON
from datakit.dataset.metadata import CARD, METADATA, card_names
from datakit.dataset.samples import PICTURE_EXTENSIONS, caption_of
from datakit.errors import CaptionError
from datakit.picture.formats import PICTURE_SUFFIXES
from datakit.trainers.verdict import Fault

# A word in the name of a file or a folder that makes a split of it (datasets, data_files.py: SPLIT_KEYWORDS).
_SPLIT = re.compile(r"(?:^|[-._ 0-9/])(train|training|validation|valid|dev|val|test|testing|eval|evaluation)(?=[-._ 0-9/]|$)")
# In the name of a picture: a folder, a variable of the environment, the end of a row (run with datasets 5.2).
_MISREAD = re.compile(r"\\|\n|\$\w|\$\{")
_CARD_REMEDY = f"run `datakit crop` again, which writes a {CARD} that names the files, or have `datakit backend` write a view"
_ROWS_REMEDY = f"mend {METADATA}, or have `datakit backend` write a view"


class Reading:
    """See `datakit.audit.reader.Reader`: all folders that are not hidden; by the patterns of datakit's card, or any picture."""

    def __init__(self, by_card: bool = True) -> None:
        self._by_card = by_card

    def takes(self, name: str) -> Literal["", "picture", "video", "audio"]:
        """Return what a file of this name is taken for; nothing where it is passed over."""
        if any(part.startswith(".") for part in name.split("/")):
            return ""
        seen = os.path.splitext(name)[1] in PICTURE_SUFFIXES if self._by_card else is_readable(name)
        return "picture" if seen else ""

    def unseen_by(self, name: str) -> str:
        """Name what does not see a picture of this name; nothing where it is seen."""
        return "" if self.takes(name) else f"not in the {CARD}"

    def cache_name(self, folder: str, name: str) -> str:
        """Return a name that no other picture has: there are no caches by name."""
        return name


def guess_faults(entry: str, folder: Path, files: Sequence[str]) -> Iterator[Fault]:
    """Say what `datasets.load_dataset(FOLDER)` would take for the dataset instead of the pictures with their captions.

    With a card that names the files it takes those. Without one the commonest extension decides, of two as common the one
    later in the alphabet; and names that speak of a split make one.
    """
    named = _card(folder)
    if named:
        return
    if named is False:
        problem = f"a {CARD} that names other files, which is beyond proof"
        yield Fault(entry, CARD, problem, "put datakit's `configs` block into it, or move it away")
        return
    listed = [name for name in files if not any(part.startswith(".") for part in name.split("/")) and name != METADATA]
    counts = Counter(f".{suffix.lower()}" for name in listed for suffix in name.rpartition("/")[2].split(".")[1:])
    commonest = max(counts, key=lambda extension: (counts[extension], extension), default="")
    if commonest and commonest not in PICTURE_EXTENSIONS:
        pictures = max((number for extension, number in counts.items() if extension in PICTURE_EXTENSIONS), default=0)
        problem = (
            f"{counts[commonest]} {commonest} to {pictures} pictures of one extension: `datasets` loads no pictures, but those"
        )
        yield Fault(entry, "", problem, _CARD_REMEDY)
    for name in listed:
        split = _SPLIT.search(name)
        if split:
            problem = "a name that `datasets` makes a split of its own of, so that the others are not loaded, or this one is not"
            yield Fault(entry, name, problem, _CARD_REMEDY, split[1])


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a script reads the rows.

    Attributes
    ----------
    column
        Of the captions.
    instance_prompt
        What an empty caption is trained as; None where it stays empty.
    draws
        Whether one of a list of captions is drawn.
    """

    column: str
    instance_prompt: str | None
    draws: bool


def row_faults(entry: str, folder: Path, pictures: Sequence[str], wanted: Wanted, written: bool) -> list[Fault]:
    """Hold the rows of a folder's metadata against its pictures, and where datakit wrote that, against the ``.txt`` beside each."""
    captions: dict[str, list[Any]] = defaultdict(list)
    try:
        for row in _rows(folder):
            if wanted.column in row:
                captions[str(row.get("file_name", ""))].append(row[wanted.column])
    except FileNotFoundError:
        return [Fault(entry, "", f"no {METADATA}: the pictures have no captions, and .txt files are not read", _ROWS_REMEDY)]
    except (OSError, *NOT_JSON) as error:
        return [Fault(entry, METADATA, "cannot be read: loading ends", _ROWS_REMEDY, str(error))]
    if not captions:
        return [Fault(entry, METADATA, f"no row with the column {wanted.column!r}: the script stops", _ROWS_REMEDY)]
    there = set(pictures)
    faults = [
        Fault(entry, name, f"a row of {METADATA} whose file is not loaded: training stops at it", _ROWS_REMEDY)
        for name in captions
        if name not in there
    ]
    for name in pictures:
        if _MISREAD.search(name):
            problem = "a name with a backslash, a line feed or a $ before a word, which `datasets` looks for under another"
            faults.append(Fault(entry, name, problem, "rename it in the source folder, or have `datakit backend` write a view"))
            continue
        problem = _problem(captions.get(name, []), wanted)
        if not problem and written:
            problem = _other_than_beside(captions[name], folder / caption_of(name))
        if problem:
            faults.append(Fault(entry, name, problem, _ROWS_REMEDY))
    return faults


def empty_rows(folder: Path, column: str) -> int:
    """Return how many rows hold an empty caption."""
    try:
        return sum(row.get(column) == "" for row in _rows(folder))
    except (OSError, *NOT_JSON):
        return 0  # named by `row_faults`


def _card(folder: Path) -> bool | None:
    try:
        return card_names((folder / CARD).read_bytes())
    except OSError:
        return None


def _rows(folder: Path) -> Iterator[Mapping[str, Any]]:
    with (folder / METADATA).open("rb") as lines:
        for line in lines:
            if line.strip():
                yield msgspec.json.decode(line, type=dict[str, Any])


def _problem(captions: Sequence[Any], wanted: Wanted) -> str:
    """Say what is wrong with the captions of a picture."""
    if not captions:
        return f"no row in {METADATA}: the picture is never trained"
    if any(isinstance(caption, list) for caption in captions):
        if not wanted.draws:
            return "a list of captions in one row: the script stops; give each its row"
        captions = [each for caption in captions for each in (caption if isinstance(caption, list) else [caption])]
    if not all(isinstance(caption, str) for caption in captions):
        return "no caption in its row" if wanted.instance_prompt is None else f"no caption, trained as {wanted.instance_prompt!r}"
    if wanted.instance_prompt and "" in captions:
        return f"an empty caption, which is trained as the instance prompt {wanted.instance_prompt!r}"
    if any("\n" in caption for caption in captions):
        return "several lines in one row, which are trained as one caption"
    return next((fault.problem for fault in map(_fault, captions) if fault), "")


def _fault(caption: str) -> Any:
    return caption_fault(caption.encode("utf-8", "replace"), METADATA) if caption else None


def _other_than_beside(captions: Iterable[Any], path: Path) -> str:
    """Say whether rows hold other captions than the file beside a picture, or some of them more often than others."""
    try:
        lines = Counter(read_caption(path).lines or ("",))
    except CaptionError:
        return ""  # named with the files
    rows = Counter(captions)
    times = {rows[line] / number for line, number in lines.items()}
    if rows.keys() == lines.keys() and len(times) == 1:
        return ""
    return f"other captions in {METADATA} than in its .txt, and only the first are trained"
