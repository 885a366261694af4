"""Check a dataset as the trainer will see it: every file looked at once, every finding with its remedy."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from datakit.backend.concept import Concept
from datakit.buckets import BUCKETS
from datakit.captions import decode_caption
from datakit.dataset import PICTURE_EXTENSIONS, fold
from datakit.errors import CaptionError, PictureError
from datakit.manifest import Record

# SimpleTuner 3.1.6 lists files by these extensions, in lower case, and reads captions from .txt alone.
_TRAINER_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif"})

Kind = Literal[
    "picture-missing", "picture-changed", "picture-unreadable", "picture-unknown", "size", "alpha", "orientation",
    "depth", "profile", "extension", "stem", "caption-missing", "caption-empty", "caption-dirty", "caption-edited",
    "caption-unreadable", "caption-unknown", "trainer-cache", "length", "trigger", "duplicate", "near-duplicate",
    "blurred", "upscaled",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a dataset that the user should know.

    Attributes
    ----------
    kind
        For scripts.
    path
        The file, relative to the dataset; empty where it is about the whole.
    problem, remedy
        What is wrong and what to do, without a full stop.
    refused
        True where `datakit backend` writes nothing until it is put right.
    """

    kind: Kind
    path: str
    problem: str
    remedy: str
    refused: bool = True

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}: {self.remedy}" if self.path else f"{self.problem}: {self.remedy}"


def check_dataset(concept: Concept, stale: Iterable[Path] = (), advance: Callable[[], object] = lambda: None) -> list[Finding]:
    """Compare a dataset with its manifest and with what a trainer can read.

    Parameters
    ----------
    concept
        The dataset and its records.
    stale
        Files that a trainer left there for an earlier config.
    advance
        Called after each record.

    Returns
    -------
    Findings in the order of the files; all of them are grounds to refuse.
    """
    files = list_files(concept.folder)
    findings = [
        Finding(
            "trainer-cache", path.name, "the trainer left this for an earlier emission of the dataset",
            "delete it, or start from a fresh copy of the dataset",
        )
        for path in stale
    ]  # fmt: skip
    for record in concept.records:
        findings += _check_picture(concept.folder, record)
        findings += _check_caption(concept.folder, record)
        advance()
    findings += _unknown(files, concept.records)
    findings += _names(files)
    return sorted(findings, key=lambda finding: (finding.path, finding.kind))


def list_files(folder: Path) -> list[str]:
    """Return all files of a dataset, relative and with forward slashes, hidden files and folders left out.

    Links are followed, but for those back to a folder that encloses them.
    """
    found = []
    enclosing: dict[str, tuple[str, ...]] = {os.fspath(folder): (os.path.realpath(folder),)}
    for place, folders, names in os.walk(folder, followlinks=True):
        above = enclosing.pop(place)
        inside = {name: os.path.realpath(os.path.join(place, name)) for name in sorted(folders) if not name.startswith(".")}
        folders[:] = [name for name, target in inside.items() if target not in above]
        enclosing |= {os.path.join(place, name): (*above, inside[name]) for name in folders}
        relative = PurePosixPath(Path(place).relative_to(folder).as_posix())
        found += [(relative / name).as_posix() for name in names if not name.startswith(".")]
    return sorted(found)


def is_picture(name: str) -> bool:
    """Tell whether a file name ends like a picture's, in any case."""
    return os.path.splitext(name)[1].lower() in PICTURE_EXTENSIONS


def _check_picture(folder: Path, record: Record) -> list[Finding]:
    from datakit.images import open_picture

    path = folder / record.output
    again = "run the stage that wrote the dataset again"
    if not path.exists():
        return [
            Finding(
                "picture-missing",
                record.output,
                "is in the manifest but gone",
                f"{again}, with --prune if its source is gone too",
            )
        ]
    try:
        picture = open_picture(path)
    except PictureError as error:
        return [Finding("picture-unreadable", record.output, str(error), f"delete it and {again}")]
    findings = []
    if picture.sha256 != record.output_sha256:
        findings.append(
            Finding(
                "picture-changed",
                record.output,
                "is not what datakit wrote (sha256 differs)",
                f"{again} with --overwrite, or put your picture into the source folder",
            )
        )
    if picture.size not in BUCKETS:
        allowed = " ".join(map(str, BUCKETS))
        findings.append(
            Finding("size", record.output, f"is {picture.size}, not one of the eight sizes", f"crop it again to one of {allowed}")
        )
    if picture.orientation != 1:
        findings.append(
            Finding(
                "orientation",
                record.output,
                f"carries the orientation tag {picture.orientation}, which trainers read differently",
                "crop it again: crop writes upright pictures",
            )
        )
    if picture.icc is not None:
        findings.append(
            Finding(
                "profile", record.output, "carries a colour profile, which no trainer applies", "crop it again: crop writes sRGB"
            )
        )
    return findings + _pixels(record.output, picture.data)


def _pixels(output: str, data: bytes) -> list[Finding]:
    """Say what in a file's header leaves the pixels open to interpretation."""
    import io

    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        if image.has_transparency_data:
            return [
                Finding(
                    "alpha",
                    output,
                    f"is transparent (mode {image.mode}): trainers show what lies under it",
                    "crop it again with the --background you want",
                )
            ]
        if image.mode.startswith(("I", "F")) or any("16" in str(tile[3]) for tile in image.tile):
            return [
                Finding(
                    "depth",
                    output,
                    f"has more than 8 bits a channel (mode {image.mode}): trainers clip it to white",
                    "crop it again: crop scales it to 8 bits",
                )
            ]
        if image.mode not in ("RGB", "L"):
            return [Finding("depth", output, f"is stored as {image.mode}, not as 8-bit RGB", "crop it again: crop writes RGB")]
    return []


def _check_caption(folder: Path, record: Record) -> list[Finding]:
    expected = os.path.splitext(record.output)[0] + ".txt"
    path = folder / (record.caption or expected)
    try:
        data = path.read_bytes()
    except OSError:
        remedy = f"write {expected} and run `datakit check --fix`, or crop again with the caption beside the source"
        return [Finding("caption-missing", record.output, "has no caption", remedy)]
    name = path.relative_to(folder).as_posix()
    problem = caption_fault(data, name)
    if problem is not None:
        return [problem]
    if record.caption_sha256 != hashlib.sha256(data).hexdigest():
        return [
            Finding(
                "caption-edited",
                name,
                "was edited since datakit wrote it",
                "run `datakit check --fix` to take the edit into the manifest",
            )
        ]
    return []


def caption_fault(data: bytes, name: str) -> Finding | None:
    """Return what a trainer would stumble over in the bytes of a caption file, or None."""
    try:
        caption = decode_caption(data, name)
    except CaptionError as error:
        return Finding("caption-unreadable", name, str(error), "write it anew in a text editor")
    if not caption.lines:
        return Finding("caption-empty", name, "holds no text", "write a caption into it; training would stop at it")
    if data == caption.text.encode():
        return None
    faults = []
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        faults.append("a byte order mark")
    if any("not UTF-8" in warning for warning in caption.warnings) or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        faults.append("an encoding other than UTF-8")
    if b"\r" in data:
        faults.append("carriage returns")
    faults = faults or ["blanks or empty lines at an edge"]
    return Finding("caption-dirty", name, f"has {' and '.join(faults)}", "run `datakit check --fix` to mend it in the dataset")


def _unknown(files: list[str], records: Iterable[Record]) -> list[Finding]:
    known = {name for record in records for name in (record.output, record.caption, os.path.splitext(record.output)[0] + ".txt")}
    findings = []
    for name in files:
        if name in known:
            continue
        if is_picture(name):
            findings.append(
                Finding(
                    "picture-unknown",
                    name,
                    "is not in the manifest, and the trainer would take it",
                    "move it out; put it into the source folder and crop it",
                )
            )
        elif name.lower().endswith((".txt", ".caption")):
            findings.append(
                Finding("caption-unknown", name, "belongs to no picture of the manifest", "move it out of the dataset")
            )
    return findings


def _names(files: Iterable[str]) -> list[Finding]:
    """Find names that a trainer does not see or takes for one another."""
    findings = []
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in files:
        stem, extension = os.path.splitext(name)
        if extension != extension.lower() and (is_picture(name) or extension.lower() == ".txt"):
            findings.append(
                Finding(
                    "extension",
                    name,
                    f"ends in {extension}, which the trainer does not see",
                    f"name it {extension.lower()}, in the source folder, and crop again",
                )
            )
        elif is_picture(name) and extension not in _TRAINER_PICTURES:
            findings.append(
                Finding("extension", name, f"{extension} files are no pictures to the trainer", "crop again with --format png")
            )
        if is_picture(name):
            by_stem[fold(stem)].append(name)
    for names in by_stem.values():
        if len(names) > 1:
            others = " and ".join(names[1:])
            findings.append(
                Finding(
                    "stem",
                    names[0],
                    f"shares its stem with {others}: the trainer keeps one cache file for them",
                    "rename one of them in the source folder and crop again",
                )
            )
    return findings
