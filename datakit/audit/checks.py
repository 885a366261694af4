"""Check a dataset as the trainer will see it: every file looked at once, every finding with its remedy."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Literal

from datakit.audit.concept import Concept, untitled
from datakit.audit.looks import Look, is_readable
from datakit.audit.reader import Reader
from datakit.caption.captions import decode_caption
from datakit.dataset.layout import STATE_FOLDER
from datakit.dataset.manifest import Record
from datakit.dataset.samples import caption_of, fold
from datakit.dataset.store import is_interrupted
from datakit.errors import CaptionError
from datakit.sizes import size_set

Kind = Literal[
    "picture-missing", "picture-changed", "picture-unreadable", "picture-unknown", "size", "alpha", "orientation",
    "depth", "profile", "extension", "stem", "caption-missing", "caption-empty", "caption-dirty", "caption-edited",
    "caption-unreadable", "caption-unknown", "interrupted", "trainer-cache", "length", "trigger", "duplicate",
    "near-duplicate", "blurred", "upscaled", "lines", "companion-missing", "companion-changed", "companion-size",
]  # fmt: skip
_AGAIN = "run the stage that wrote the dataset again"
# Stands in a remedy for the folder, as the user calls it.
DATASET = "DATASET"
_FIX = f"run `datakit check {DATASET} --fix`"
# What a trainer takes a file for, with its article.
_NOUN = {"picture": "a picture", "video": "a video", "audio": "audio"}


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
        What is wrong and what to do, without a full stop; the same for all files of which the same is said.
    detail
        What is so of this file alone.
    refused
        True where `datakit backend` writes nothing until it is put right.
    """

    kind: Kind
    path: str
    problem: str
    remedy: str
    detail: str = ""
    refused: bool = True

    def remedy_for(self, folder: Path) -> str:
        """Return the remedy with the dataset's folder in it."""
        return self.remedy.replace(DATASET, os.fspath(folder))


def check_dataset(
    concept: Concept,
    files: Sequence[str],
    looks: Mapping[str, Look],
    reader: Reader,
    left: Mapping[str, str] = MappingProxyType({}),
) -> list[Finding]:
    """Compare a dataset with its manifest and with what a trainer can read.

    Parameters
    ----------
    concept
        The dataset and its records.
    files
        Everything in its folder, from `list_files`.
    looks
        What was seen of its pictures, from `datakit.audit.looks.look_at_all`.
    reader
        The trainer that is to take them.
    left
        Names of files that a trainer left there under another id, and what each is.

    Returns
    -------
    Findings in the order of the files; all of them are grounds to refuse.
    """
    findings = [
        Finding(
            "trainer-cache",
            name,
            "left by the trainer for a config that calls the dataset otherwise",
            "run `datakit backend` with --prune, which deletes it; what the trainer needs it makes anew",
            what,
        )
        for name, what in left.items()
    ]
    if is_interrupted(concept.folder):
        findings.append(Finding("interrupted", STATE_FOLDER, "an interrupted run", _AGAIN))
    present = set(files)
    for record in concept.records:
        findings += _check_record(concept.folder, record, looks.get(record.output) if record.output in present else None)
        findings += _check_companions(record, looks)
    beside = {each.output for record in concept.records for each in record.companions}
    own = [name for name in files if name not in beside]
    return _in_order(findings + _unknown(files, concept.records, reader) + _names(concept.folder, own, reader))


def check_folder(
    folder: Path, files: Sequence[str], looks: Mapping[str, Look], reader: Reader, captions: bool = True
) -> list[Finding]:
    """Find what a trainer would stumble over in a folder that need not be datakit's: there is no manifest to compare.

    Parameters
    ----------
    folder, files, looks, reader
        As for `check_dataset`.
    captions
        Whether the trainer reads captions from ``.txt`` files.
    """
    findings = []
    for name in filter(reader.takes, files):
        if reader.takes(name) != "picture":
            problem = f"taken for {_NOUN[reader.takes(name)]} by the trainer"
            findings.append(Finding("extension", name, problem, "convert it to png, or move it out"))
        elif name not in looks:
            problem = "a file that the trainer takes for a picture, and datakit cannot read"
            findings.append(Finding("picture-unreadable", name, problem, "convert it to png, or move it out"))
        else:
            findings += _pixels(name, looks[name], "replace it")
            if captions:
                findings += _check_caption(folder, name, None)
    return _in_order(findings + _names(folder, files, reader))


def list_files(folder: Path) -> list[str]:
    """Return all files of a folder, relative and with forward slashes, hidden ones too, as the trainer lists them.

    Links to folders are followed, but not back to a folder that encloses them.
    """
    found = []
    above: dict[str, tuple[str, ...]] = {os.fspath(folder): (os.path.realpath(folder),)}
    for place, folders, names in os.walk(folder, followlinks=True):
        enclosing = above.pop(place)
        for name in list(folders):
            real = os.path.realpath(os.path.join(place, name))
            if real in enclosing:
                folders.remove(name)
            else:
                above[os.path.join(place, name)] = (*enclosing, real)
        relative = PurePosixPath(Path(place).relative_to(folder).as_posix())
        found += [(relative / name).as_posix() for name in names if os.path.isfile(os.path.join(place, name))]
    return sorted(found)


def _in_order(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (finding.path, finding.kind))


def _check_record(folder: Path, record: Record, look: Look | None) -> list[Finding]:
    """Compare the picture and the caption of a record with what was written."""
    name = record.output
    if look is None:  # its caption no longer matters
        remedy = f"{_AGAIN}, with --prune if its source is gone too"
        return [Finding("picture-missing", name, "in the manifest but gone", remedy)]
    findings = _pixels(name, look, "crop it again")
    if look.sha256 != record.output_sha256 and not look.error:
        findings.append(
            Finding(
                "picture-changed",
                name,
                "not what datakit wrote (sha256 differs)",
                f"{_AGAIN} with --overwrite, or put your picture into the source folder",
            )
        )
    sizes = size_set(record.sizes)
    if look.size not in sizes and not look.error:
        remedy = f"crop it again to one of {' '.join(map(str, sizes))}"
        findings.append(Finding("size", name, f"not one of the sizes of {record.sizes}", remedy, detail=str(look.size)))
    return findings + _check_caption(folder, name, record)


def _check_companions(record: Record, looks: Mapping[str, Look]) -> list[Finding]:
    """Compare the companions of a picture with what was written, and with its size."""
    findings = []
    for each in record.companions:
        look = looks.get(each.output)
        if look is None:
            findings.append(Finding("companion-missing", each.output, "a companion in the manifest but gone", _AGAIN))
            continue
        findings += _pixels(each.output, look, "crop it again")
        if look.error:
            continue
        if look.sha256 != each.sha256:
            problem, remedy = "a companion that is not what datakit wrote (sha256 differs)", f"{_AGAIN} with --overwrite"
            findings.append(Finding("companion-changed", each.output, problem, remedy))
        if look.size != record.bucket:
            problem = "a companion of another size than its picture"
            findings.append(Finding("companion-size", each.output, problem, _AGAIN, f"{look.size}, not {record.bucket}"))
    return findings


def _pixels(name: str, look: Look, again: str) -> list[Finding]:
    """Say what keeps a trainer from reading a picture, or leaves its pixels open to interpretation."""
    if look.error:
        return [Finding("picture-unreadable", name, look.error, f"delete it and {_AGAIN}")]
    findings = []
    if look.orientation != 1:
        problem = "an orientation tag, which trainers read differently"
        findings.append(
            Finding("orientation", name, problem, f"{again}: crop writes upright pictures", detail=f"tag {look.orientation}")
        )
    if look.profile:
        findings.append(Finding("profile", name, "a colour profile, which no trainer applies", f"{again}: crop writes sRGB"))
    mode = f"mode {look.mode}"
    if look.alpha:
        problem = "transparent: trainers show what lies under it"
        findings.append(Finding("alpha", name, problem, f"{again} with the --background you want", detail=mode))
    elif look.deep:
        problem = "more than 8 bits a channel: trainers clip it to white"
        findings.append(Finding("depth", name, problem, f"{again}: crop scales it to 8 bits", detail=mode))
    elif look.mode not in ("RGB", "L"):
        findings.append(Finding("depth", name, "not stored as 8-bit RGB", f"{again}: crop writes RGB", detail=mode))
    return findings


def _check_caption(folder: Path, picture: str, record: Record | None) -> list[Finding]:
    """Check the caption of a picture, and where there is a record, compare it with what was written."""
    name = (record.caption if record else None) or caption_of(picture)
    try:
        data = (folder / name).read_bytes()
    except (PermissionError, IsADirectoryError) as error:
        return [Finding("caption-unreadable", name, f"cannot be read: {error.strerror}", "make it a file that you may read")]
    except OSError:
        remedy = f"write one into a .txt of its name and {_FIX}, or crop again with the caption beside the source, or with --caption TEXT for all that have none"
        return [Finding("caption-missing", picture, "no caption", remedy)]
    known = record is None or record.caption_sha256 == hashlib.sha256(data).hexdigest()
    # A view writes a lone line feed where its trainer stops at an empty file.
    if (not data and known and record is None) or (not data.strip() and known and record is not None and untitled(record)):
        return []
    problem = caption_fault(data, name)
    if problem is not None:
        return [problem]
    return (
        []
        if known
        else [Finding("caption-edited", name, "edited since datakit wrote it", f"{_FIX} to take it into the manifest")]
    )


def caption_fault(data: bytes, name: str) -> Finding | None:
    """Return what a trainer would stumble over in the bytes of a caption file, or None.

    One line feed at the end is none: SimpleTuner 3.1.6 takes every line that is not empty for one caption.
    """
    try:
        caption = decode_caption(data, name)
    except CaptionError as error:
        return Finding("caption-unreadable", name, str(error), "write it anew in a text editor")
    if not caption.lines:
        what = "training stops at it" if data else "it would be trained without one"
        return Finding("caption-empty", name, f"no caption in the file: {what}", "write a caption into it")
    if data.removesuffix(b"\n") == caption.text.encode():
        return None
    faults = []
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        faults.append("a byte order mark")
    kinds = {warning.kind for warning in caption.warnings}
    if "caption-invisible" in kinds:
        faults.append("invisible characters")
    if "caption-encoded" in kinds or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        faults.append("an encoding other than UTF-8")
    if b"\r" in data:
        faults.append("carriage returns")
    faults = faults or ["blanks or empty lines at an edge"]
    return Finding("caption-dirty", name, " and ".join(faults), f"{_FIX} to mend it in the dataset")


def _unknown(files: Iterable[str], records: Iterable[Record], reader: Reader) -> list[Finding]:
    """Find what the trainer, or a person, would take for part of the dataset though the manifest does not know it."""
    known = {name for record in records for name, _ in (*record.files, (caption_of(record.output), ""))}
    findings = []
    for name in files:
        if name in known:
            continue
        if _is_pictured(name, reader):
            taken = reader.takes(name)
            remedy = "move it out" if taken in ("video", "audio") else "move it out; put it into the source folder and crop it"
            remedy = _AGAIN if name.startswith(f"{STATE_FOLDER}/") else remedy
            problem = f"not in the manifest, and the trainer would take it for {_NOUN[taken]}" if taken else "not in the manifest"
            findings.append(Finding("picture-unknown", name, problem, remedy))
        elif name.lower().endswith((".txt", ".caption")) and not _is_hidden(name):
            findings.append(
                Finding("caption-unknown", name, "belongs to no picture of the manifest", "move it out of the dataset")
            )
    return findings


def _names(folder: Path, files: Iterable[str], reader: Reader) -> list[Finding]:
    """Find names that a trainer does not see or takes for one another."""
    root = os.path.abspath(folder)
    findings = []
    by_cache: dict[str, list[str]] = defaultdict(list)
    for name in files:
        unseen = "" if _is_hidden(name) else _unseen_by(name, reader)
        if unseen:
            findings.append(Finding("extension", name, *_why_unseen(name, reader), unseen))
        if reader.takes(name) == "picture" or (is_readable(name) and not _is_hidden(name)):
            by_cache[fold(reader.cache_name(root, name))].append(name)
    for names in by_cache.values():
        if len(names) > 1:
            problem = "shares its stem with others: the trainer keeps one cache file for them"
            remedy = "rename one of them in the source folder and crop again"
            findings.append(Finding("stem", names[0], problem, remedy, f"{' and '.join(names[1:])}"))
    return findings


def _why_unseen(name: str, reader: Reader) -> tuple[str, str]:
    """Return what keeps a trainer from seeing a file, and what to do."""
    if "/" in name and not reader.unseen_by(os.path.basename(name)):
        return "in a folder that the trainer does not enter", "name that folder too, or have `datakit backend` write the file"
    extension = os.path.splitext(name)[1]
    lower = "write it in lower case, in the source folder, and crop again"
    remedy = "crop again with --format png" if extension == extension.lower() else lower
    return "an extension that the trainer does not see", remedy


def _unseen_by(name: str, reader: Reader) -> str:
    """Name what does not see a picture, or the extension of a caption that nothing sees; nothing where all is well."""
    if is_readable(name):
        return "" if reader.takes(name) in ("video", "audio") else reader.unseen_by(name)
    extension = os.path.splitext(name)[1]
    return extension if extension.lower() == ".txt" and extension != ".txt" else ""


def _is_pictured(name: str, reader: Reader) -> bool:
    """Tell whether a file name ends like what the trainer takes, or like a picture that datakit reads, in any case."""
    return bool(reader.takes(name)) or (not _is_hidden(name) and is_readable(name))


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
