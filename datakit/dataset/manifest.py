"""Plans and records as JSON lines: what a stage decides, and what it did.

A plan says how one picture will be cropped and may be edited by hand. A record says how one file of a dataset
was made. ``manifest.jsonl`` holds one record a file, in the order of their outputs.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from datakit.dataset.companions import COMPANION_NAME, companion_of
from datakit.dataset.targets import Crop, target_of
from datakit.errors import PlanError, UsageError
from datakit.geometry import Area, Box, Size
from datakit.picture.formats import PICTURE_SUFFIXES
from datakit.report import LeftOut, Warned
from datakit.sizes import DEFAULT_SIZES, check_size, size_set

MANIFEST = "manifest.jsonl"

# What msgspec raises for bytes that are not the JSON wanted.
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# No picture format counts further.
_LONGEST = 2**31

Anchor = Literal["face", "saliency", "center", "manual"]
# What a window is drawn around: all it can hold, head and shoulders, or the face; see `datakit.crop.framing.frame`.
Framing = Literal["full", "portrait", "face"]
FRAMINGS: tuple[Framing, ...] = ("full", "portrait", "face")


Entry = TypeVar("Entry", "CropPlan", "Record")


class Face(msgspec.Struct, frozen=True):
    """A detected face: where, how sure (0 to 1), and the share of it (0 to 1) that the crop keeps."""

    box: Area
    score: float
    kept: float = 1.0


class CropPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How one picture is cropped.

    Attributes
    ----------
    source
        The picture, relative to the source folder.
    box
        The window in pixels of the upright source.
    bucket, sizes
        The size that the window is resized to, and the set of sizes it belongs to.
    anchor, why
        What placed the window, as a word and as a sentence.
    source_size
        Of the upright source, in pixels.
    faces
        Those that took part in the decision.
    saliency_kept
        Share (0 to 1) of the saliency mass inside the window; None where no map was needed.
    area_kept
        Share (0 to 1) of the source's pixels inside the window.
    scale
        Pixels of the output per pixel of the window; above 1 the picture is enlarged.
    warnings
        What the user should know.
    planned
        Short hashes of the options that decided and of what they gave; they no longer fit where somebody edited that.
    moved_from
        The size that keeps most of the picture, where it took another to fill a batch.
    crop
        Which of several crops of the picture it is; None where one is made.
    """

    source: str
    box: Box
    bucket: Size
    crop: Crop | None = None
    sizes: str = DEFAULT_SIZES
    anchor: Anchor = "manual"
    why: str = ""
    source_size: Size | None = None
    faces: tuple[Face, ...] = ()
    saliency_kept: float | None = None
    area_kept: float | None = None
    scale: float | None = None
    warnings: tuple[Warned, ...] = ()
    planned: str = ""
    moved_from: Size | msgspec.UnsetType = msgspec.UNSET

    @property
    def target(self) -> str:
        """The picture and which crop of it."""
        return target_of(self.source, self.crop)


class Companion(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that goes with one of a dataset and has its size: a mask, or what it is conditioned on.

    Attributes
    ----------
    name
        What it is called, such as ``mask``; see `datakit.dataset.accompany.is_mask`.
    output, sha256
        Its file, relative to the dataset, and that as it was written.
    source, source_sha256
        What it was made from, relative to the source folder; the picture's own source where it is the transparency of that.
    """

    name: str
    output: str
    sha256: str
    source: str
    source_sha256: str


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one file of a dataset was made.

    Attributes
    ----------
    output, caption
        The picture and its caption file, relative to the dataset; ``caption`` is None where it has none.
    bucket, sizes
        Size of the output in pixels, and the set of sizes it was chosen from.
    source
        The picture it was made from, relative to the source folder.
    source_sha256, source_caption_sha256, output_sha256, caption_sha256
        Of the files as they were read and written, hexadecimal.
    key
        Short hash of the options that decide the bytes.
    version
        Of datakit.
    source_size, box, anchor, why, faces, saliency_kept, area_kept, scale
        As in `CropPlan`.
    copy
        Which copy of its source this is, from 1.
    captions
        Captions (lines) in the caption file.
    caption_edited
        Whether somebody edited the caption in the dataset; it then stays as it is.
    window_decided, caption_decided
        Which decision about the window or its enlargement, and which about the caption, was followed; short hashes of
        `datakit.dataset.decisions.Decision`, None where datakit decided.
    caption_supplied
        What the options gave a picture without a caption for one; None for captions from elsewhere.
    augmentation
        Pixel changes by name with their drawn parameters.
    companions
        What goes with the picture, in the order of their names.
    crop
        Which of several crops of its source this is; None where one is made.
    left_out
        Of a ``full`` crop: which others are not made of the picture, and why.
    warnings
        What the user should know.
    moved_from
        As in `CropPlan`; None where it did not move.
    """

    output: str
    bucket: Size
    # By a factory: a default that is equal, but came from another process, would be written where others are left out.
    sizes: str = msgspec.field(default_factory=lambda: DEFAULT_SIZES)
    source: str
    source_sha256: str
    output_sha256: str
    key: str
    version: str
    caption: str | None = None
    caption_sha256: str | None = None
    source_caption_sha256: str | None = None
    source_size: Size | None = None
    box: Box | None = None
    anchor: Anchor | None = None
    why: str | None = None
    faces: tuple[Face, ...] = ()
    saliency_kept: float | None = None
    area_kept: float | None = None
    scale: float | None = None
    copy: Annotated[int, msgspec.Meta(ge=1)] | None = None
    captions: Annotated[int, msgspec.Meta(ge=0)] = 1
    caption_edited: bool = False
    window_decided: str | None = None
    caption_decided: str | None = None
    caption_supplied: str | None = None
    augmentation: dict[str, float | bool | tuple[float, ...]] | None = None
    companions: tuple[Companion, ...] = ()
    crop: Crop | None = None
    left_out: dict[Crop, LeftOut] = {}
    warnings: tuple[Warned, ...] = ()
    moved_from: Size | None = None

    @property
    def files(self) -> tuple[tuple[str, str | None], ...]:
        """Every file of it and its sha256 as it was written: the picture, its caption where it has one, its companions."""
        caption = ((self.caption, self.caption_sha256),) if self.caption else ()
        return ((self.output, self.output_sha256), *caption, *((each.output, each.sha256) for each in self.companions))

    @property
    def target(self) -> str:
        """The picture and which crop of it."""
        return target_of(self.source, self.crop)


_ENCODER = msgspec.json.Encoder()
_RECORDS = msgspec.json.Decoder(Record)
_PLANS = msgspec.json.Decoder(CropPlan)


def to_line(entry: msgspec.Struct) -> bytes:
    """Return a plan or a record as one line of JSON with its line feed."""
    return _ENCODER.encode(entry) + b"\n"


def parse_record(line: bytes, where: str) -> Record:
    """Read a record from a line; ``where`` (file and line number) opens the message.

    Raises
    ------
    PlanError
        The line is no record, or names a file that is none of the dataset's pictures and captions.
    """
    try:
        record = _decoded(_RECORDS, line)
    except NOT_JSON as error:
        raise PlanError(f"{where}: no record: {error}") from None
    _check_names(record, where)
    for size in filter(None, (record.bucket, record.moved_from)):
        if not (min(size) >= 1 and max(size) < _LONGEST):
            raise PlanError(f"{where}: bucket {Size(*size)} is no size of a picture: its sides are 1 to {_LONGEST - 1} pixels")
    try:
        size_set(record.sizes)
    except UsageError as error:
        raise PlanError(f"{where}: {error}") from None
    return record


def _check_names(record: Record, where: str) -> None:
    """Make sure that a record names files inside its folders, as datakit calls them."""
    accompanying = [name for each in record.companions for name in (each.output, each.source)]
    for name in (record.output, record.caption, record.source, *accompanying):
        if name is not None and not is_relative(name):
            raise PlanError(f"{where}: {name!r} is not a path inside the folder")
    stem, suffix = os.path.splitext(record.output)
    for each in record.companions:
        if not _goes_with(each, stem):
            raise PlanError(f"{where}: companion {each.output!r} does not go with {record.output!r}")
    if suffix not in PICTURE_SUFFIXES or "/." in f"/{stem}":
        raise PlanError(f"{where}: output {record.output!r} is no picture that datakit writes ({' '.join(PICTURE_SUFFIXES)})")
    if record.caption not in (None, f"{stem}.txt"):
        raise PlanError(f"{where}: caption {record.caption!r} does not go with {record.output!r}: only {stem + '.txt'!r} does")


def _goes_with(companion: Companion, stem: str) -> bool:
    """Tell whether a companion is called after its picture, in a folder of its own or, in a view, beside it."""
    if companion.output == companion_of(f"{stem}.", companion.name):
        return COMPANION_NAME.fullmatch(companion.name) is not None
    return re.fullmatch(re.escape(stem) + r"-[a-z]+\.png", companion.output) is not None


def _decoded(decoder: msgspec.json.Decoder[Entry], line: bytes) -> Entry:
    """Read a plan or a record from a line."""
    try:
        return decoder.decode(line)
    except msgspec.ValidationError:
        # Warnings were sentences before they had kinds.
        entry = msgspec.json.decode(line)
        if not isinstance(entry, dict) or not all(isinstance(each, str) for each in entry.get("warnings", [0])):
            raise
        entry["warnings"] = [Warned("older", each) for each in entry["warnings"]]
        return msgspec.convert(entry, decoder.type)


def read_manifest(folder: Path) -> Iterator[Record]:
    """Yield the records of a dataset in the order of the file.

    Raises
    ------
    PlanError
        The folder has no manifest, or a line of it cannot be used.
    """
    seen: set[str] = set()
    for _, where, line in lines_of(folder / MANIFEST):
        record = parse_record(line, where)
        check_recorded_once(record, seen, where)
        seen.add(record.output)
        yield record


def check_recorded_once(record: Record, before: Container[str], where: str) -> None:
    """Make sure that a manifest names an output once; ``before`` are those of the lines above.

    Raises
    ------
    PlanError
        It was named before.
    """
    if record.output in before:
        raise PlanError(f"{where}: {record.output!r} has a record already: leave only the right one of the two lines")


def read_plan(path: Path) -> Iterator[tuple[int, CropPlan]]:
    """Yield (line number, plan) of a plan file; empty lines are passed over.

    Raises
    ------
    PlanError
        The file cannot be read, or a line is no plan, names a file outside the source folder or a size of no set.
    """
    for number, where, line in lines_of(path):
        if not line.strip():
            continue
        try:
            plan = _decoded(_PLANS, line)
        except NOT_JSON as error:
            raise PlanError(f"{where}: no crop plan: {error}") from None
        check_decided(plan.source, plan.bucket, plan.sizes, where)
        yield number, plan


def lines_of(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """Yield (line number from 1, file and number for messages, line) of a file of JSON lines.

    Raises
    ------
    PlanError
        The file cannot be read.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield number, f"{path}, line {number}", line
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror or error}") from error


def check_decided(source: str, bucket: Size | None, sizes: str, where: str) -> None:
    """Make sure that a line written by a person is about a picture of the source folder and a size of a known set.

    Raises
    ------
    PlanError
        It is not.
    """
    if not is_relative(source):
        raise PlanError(f"{where}: source {source!r} is not a path inside the source folder")
    try:
        if bucket is None:
            size_set(sizes)
        else:
            check_size(Size(*bucket), sizes)
    except UsageError as error:
        raise PlanError(f"{where}: {error}") from None


def is_relative(name: str) -> bool:
    """Tell whether a name stays inside the folder it is relative to, on any system."""
    within = f"/{name}/".replace(os.sep, "/")
    return not any(part in within for part in ("\x00", "//", "/./", "/../")) and not os.path.isabs(name)


def write_atomically(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file beside its place and move it there, so that no reader ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".datakit-{secrets.token_hex(8)}"
    # "x": never through a link that somebody put there. The system's own mask decides who may read it.
    with temporary.open("xb") as file:
        try:
            for part in [content] if isinstance(content, bytes) else content:
                file.write(part)
            file.flush()
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
