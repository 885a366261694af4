"""The proof of one folder that a trainer reads: its listing, captions and sizes replayed for every picture."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from datakit.audit.checks import Finding, Kind, caption_fault, check_dataset, check_folder, list_files
from datakit.audit.concept import Concept, read_concept
from datakit.audit.looks import Look, look_at_all
from datakit.audit.reader import Reader
from datakit.caption.captions import decode_caption
from datakit.dataset.manifest import MANIFEST
from datakit.errors import CaptionError
from datakit.geometry import Size
from datakit.report import counted, few
from datakit.run.stage import Execution
from datakit.trainers.fate import Fate
from datakit.trainers.originals import compare_datasets
from datakit.trainers.verdict import Fault, Verdict
from datakit.trainers.view import read_made

# What to do about a file of a view, where datakit names what a stage would do about a file of a dataset.
_PUT_BACK = "run `datakit backend` again, which puts it back"
_MADE_ANEW = "move it away and run `datakit backend` again, which makes it anew; what is to change is changed in the dataset"
_IN_A_VIEW_ALONE = "let `datakit backend` write the file, which gives the trainer a view of the pictures"
_IN_A_VIEW: Mapping[Kind, str] = {
    "picture-missing": _PUT_BACK, "caption-missing": _PUT_BACK, "picture-changed": _MADE_ANEW, "picture-unreadable": _MADE_ANEW,
    "caption-empty": _MADE_ANEW, "caption-dirty": _MADE_ANEW, "caption-edited": _MADE_ANEW, "caption-unreadable": _MADE_ANEW,
    "alpha": _MADE_ANEW, "orientation": _MADE_ANEW, "depth": _MADE_ANEW, "profile": _MADE_ANEW,
    "picture-unknown": "move it out", "caption-unknown": "move it out", "stem": "move out what the manifest does not know",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Captions:
    """How a trainer reads the caption file beside a picture.

    Attributes
    ----------
    suffix
        Of the file's name, such as ``.txt``.
    missing
        What happens to a picture without one, as a clause; and what to do.
    several
        What becomes of a file of several lines, as a clause; nothing where each line is a caption of its own.
    cure
        What to do about either.
    empty
        What happens to a picture whose file holds nothing, as a clause; as if there were none, where nothing is said.
    stops_at_nothing
        Whether the trainer stops at a file of no bytes.
    """

    suffix: str = ".txt"
    missing: str = "trained without a caption"
    several: str = ""
    cure: str = "write one into a .txt of its name, or crop with --caption TEXT"
    empty: str = ""
    stops_at_nothing: bool = False


@dataclass(frozen=True, slots=True)
class Trained:
    """One folder as a trainer's dataset file has it read.

    Attributes
    ----------
    name
        What the verdict calls it.
    folder
        Absolute path.
    reader
        The trainer's listing.
    fate
        What becomes of a size.
    why
        Why some sizes are changed where they are, as a clause, and what to do.
    captions
        None where captions do not lie beside the pictures.
    bucket
        What the trainer calls the bucket of a size.
    whole
        Whether all pictures of the folder are meant; not where a file names some of them.
    """

    name: str
    folder: Path
    reader: Reader
    fate: Callable[[Size], Fate]
    why: Callable[[Collection[Size]], tuple[str, str]]
    captions: Captions | None = Captions()
    bucket: Callable[[Size], str] = str
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Seen:
    """What lies in a folder: all files, those that the trainer takes for pictures, and what was seen of each."""

    files: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    looks: Mapping[str, Look] = field(default_factory=dict)


def prove_folder(trained: Trained, execution: Execution, verdict: Verdict) -> Seen:
    """Look at every file of a folder, and add to a verdict what would not be trained as written."""
    name, folder, reader = trained.name, trained.folder, trained.reader
    if not os.path.isdir(folder):  # of any text, where Path.is_dir raises an error at some
        verdict.faults.append(Fault(name, "", f"{folder} is not there"))
        return Seen()
    files = list_files(folder)
    pictures = [file for file in files if reader.takes(file) == "picture"]
    looks = look_at_all(folder, files, execution)
    if not pictures:
        verdict.faults.append(Fault(name, "", f"{folder} holds no picture that the trainer takes"))
    findings = _findings(trained, files, looks, verdict)
    if read_made(folder) is not None:
        findings = [replace(finding, remedy=_IN_A_VIEW.get(finding.kind, finding.remedy)) for finding in findings]
    verdict.faults += [
        Fault(name, finding.path, finding.problem, finding.remedy_for(folder), finding.detail) for finding in findings
    ]
    verdict.pictures[name] = verdict.pictures.get(name, 0) + len(pictures)
    sizes = {picture: looks[picture].size for picture in pictures if picture in looks and not looks[picture].error}
    counted_buckets = Counter(map(trained.bucket, sizes.values())) + Counter(verdict.buckets.get(name, {}))
    verdict.buckets[name] = dict(counted_buckets)
    verdict.faults += _changed(trained, sizes)
    return Seen(tuple(files), tuple(pictures), looks)


def _findings(trained: Trained, files: Sequence[str], looks: Mapping[str, Look], verdict: Verdict) -> list[Finding]:
    """Return what is wrong with the files, apart from their sizes, which are replayed."""
    folder, reader = trained.folder, trained.reader
    if not (folder / MANIFEST).is_file():
        return [*check_folder(folder, files, looks, reader, captions=False), *_captions(trained, files, verdict)]
    concept = read_concept(folder)
    compare_datasets(trained.name, folder, verdict)
    findings = check_dataset(concept, files, looks, reader)
    if trained.captions is None:
        findings = [finding for finding in findings if not finding.kind.startswith("caption")]
    found = {finding.path for finding in findings}
    unlisted = [
        Finding(
            "picture-unknown",
            name,
            "in the manifest, and not listed by the trainer",
            "rename it in the source folder, and crop again",
        )
        for name in (record.output for record in concept.records)
        if trained.whole and name in looks and not reader.takes(name)
    ]
    companions = taken_companions(concept, reader) if trained.whole else []
    more = [finding for finding in (*unlisted, *companions, *_captions(trained, files, verdict)) if finding.path not in found]
    return [finding for finding in findings if finding.kind != "size"] + more


def taken_companions(concept: Concept, reader: Reader) -> list[Finding]:
    """Return the companions of a dataset that its trainer takes for pictures, as it looks into their folder."""
    problem = "a companion, which the trainer takes for a picture to train"
    return [
        Finding("picture-unknown", each.output, problem, _IN_A_VIEW_ALONE)
        for record in concept.records
        for each in record.companions
        if reader.takes(each.output)
    ]


def _captions(trained: Trained, files: Sequence[str], verdict: Verdict) -> list[Finding]:
    """Return what becomes of captions that are not trained as written; how many are empty is a note."""
    rule = trained.captions
    if rule is None:
        return []
    findings, empty = [], []
    for picture in (file for file in files if trained.reader.takes(file) == "picture"):
        name = os.path.splitext(picture)[0] + rule.suffix
        try:
            data = (trained.folder / name).read_bytes()
        except FileNotFoundError:
            findings.append(Finding("caption-missing", picture, f"no {rule.suffix} beside it: {rule.missing}", rule.cure))
            continue
        except (OSError, ValueError) as error:  # no file can have such a name
            remedy = "make it a file that you may read"
            findings.append(Finding("caption-unreadable", name, f"cannot be read: {getattr(error, 'strerror', error)}", remedy))
            continue
        if not data and rule.stops_at_nothing:
            remedy = "write a caption into it, or a line feed where there is to be none"
            findings.append(Finding("caption-empty", name, "a file of no bytes: the trainer stops at it", remedy))
        elif not data.strip():
            empty.append(name)
        elif (fault := caption_fault(data, name)) is not None:
            findings.append(fault)
        elif rule.several and len(_lines(data, name)) > 1:
            findings.append(Finding("caption-dirty", name, f"several lines: {rule.several}", rule.cure))
    if empty:
        verdict.notes.append(
            f"{trained.name}: {counted(len(empty), 'empty caption')} ({few(empty)}): {rule.empty or rule.missing}"
        )
    return findings


def _lines(data: bytes, name: str) -> Sequence[str]:
    try:
        return decode_caption(data, name).lines
    except CaptionError:
        return ()


def _changed(trained: Trained, sizes: Mapping[str, Size]) -> list[Fault]:
    """Return a fault for each picture whose size the trainer changes."""
    fates = {size: trained.fate(size) for size in set(sizes.values())}
    changed = {picture: size for picture, size in sizes.items() if not fates[size].keeps(size)}
    cause, cure = trained.why(fates.keys())
    dropped = sum(bool(fates[size].dropped) for size in changed.values())
    said = {
        False: f"{len(changed) - dropped} of {counted(len(sizes), 'picture')} would be resized or cropped: {cause}",
        True: f"{dropped} of {counted(len(sizes), 'picture')} would be dropped: {cause}",
    }
    return [
        Fault(trained.name, picture, said[bool(fates[size].dropped)], cure, f"{size} is {fates[size].describe(size)}")
        for picture, size in changed.items()
    ]
