"""Prove a ``multidatabackend.json``: what each picture will become, and what the trainer lost."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datakit.backend.checks import is_picture, list_files
from datakit.backend.concept import content_hash
from datakit.backend.replay import RELEASES, Resizing, bucket_name
from datakit.backend.simpletuner import EntryOnFile, bucketed_pictures, read_entries
from datakit.errors import PictureError, UsageError
from datakit.manifest import MANIFEST, read_manifest


@dataclass(frozen=True, slots=True)
class Fault:
    """A picture that is not trained as written, or a key that leaves it open: entry, file, what happens."""

    entry: str
    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.entry}: {self.path}: {self.problem}" if self.path else f"{self.entry}: {self.problem}"


@dataclass(slots=True)
class Verdict:
    """What `verify_config` found.

    Attributes
    ----------
    pictures
        Files looked at, by entry.
    buckets
        Files a bucket, by entry, under the trainer's own bucket names.
    faults
        Grounds to reject; none means every picture is trained pixel by pixel as written.
    notes
        What could not be seen from here, one sentence each.
    """

    pictures: dict[str, int] = field(default_factory=dict)
    buckets: dict[str, dict[str, int]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as plain data for ``--json``."""
        faults = [{"entry": fault.entry, "path": fault.path, "problem": fault.problem} for fault in self.faults]
        return {
            "proved": not self.faults,
            "pictures": self.pictures,
            "buckets": self.buckets,
            "faults": faults,
            "notes": self.notes,
        }


def verify_config(path: Path, releases: Sequence[str] = tuple(RELEASES)) -> Verdict:
    """Replay every picture of every enabled image entry of a dataset config.

    Parameters
    ----------
    path
        A ``multidatabackend.json``, written by datakit or not.
    releases
        Keys of `replay.RELEASES`; a picture must be kept by each.

    Raises
    ------
    UsageError
        The file cannot be used, or holds no enabled image entry.
    """
    entries = read_entries(path)
    if not entries:
        raise UsageError(f"{path} has no enabled local image dataset")
    verdict = Verdict()
    for entry in entries:
        verify_entry(entry, releases, verdict)
    return verdict


def verify_entry(entry: EntryOnFile, releases: Sequence[str], verdict: Verdict) -> None:
    """Replay every picture of one entry into a verdict."""
    folder = Path(entry.instance_data_dir)
    if not folder.is_absolute():
        verdict.faults.append(
            Fault(
                entry.id,
                "",
                f"instance_data_dir {entry.instance_data_dir!r} is relative: the trainer looks from wherever it is started",
            )
        )
    if not folder.is_dir():
        verdict.faults.append(Fault(entry.id, "", f"instance_data_dir {entry.instance_data_dir!r} is not there"))
        return
    rule = entry.resizing()
    if isinstance(rule, str):
        verdict.faults.append(Fault(entry.id, "", f"cannot be proved: {rule}"))
        return
    if entry.unset:
        verdict.notes.append(
            f"{entry.id}: {', '.join(entry.unset)} not set: the trainer's global options decide, taken as off here"
        )
    _compare_content(entry, folder, verdict)
    pictures = [name for name in list_files(folder) if is_picture(name)]
    verdict.pictures[entry.id] = len(pictures)
    buckets = verdict.buckets.setdefault(entry.id, {})
    for name in pictures:
        _replay(entry, folder, name, rule, releases, verdict, buckets)
    _compare(entry, folder, pictures, verdict)


def _compare_content(entry: EntryOnFile, folder: Path, verdict: Verdict) -> None:
    """Hold the content hash in the entry's id against the dataset: under an old id the trainer reads old latents."""
    named = re.search(r"-([0-9a-f]{8})$", entry.id)
    if named and (folder / MANIFEST).exists() and content_hash(read_manifest(folder)) != named[1]:
        problem = "the dataset has changed since this file was written: run datakit backend again"
        verdict.faults.append(Fault(entry.id, "", problem))


def _replay(
    entry: EntryOnFile, folder: Path, name: str, rule: Resizing, releases: Sequence[str], verdict: Verdict, buckets: dict[str, int],
) -> None:  # fmt: skip
    from datakit.images import open_picture

    stem, extension = os.path.splitext(name)
    if extension != extension.lower():
        verdict.faults.append(Fault(entry.id, name, f"is not seen by the trainer: {extension} is not lower case"))
        return
    try:
        size = open_picture(folder / name).size
    except PictureError as error:
        verdict.faults.append(Fault(entry.id, name, f"is skipped by the trainer: {error}"))
        return
    buckets[bucket_name(size)] = buckets.get(bucket_name(size), 0) + 1
    for release in releases:
        fate = RELEASES[release](size, rule)
        if not fate.keeps(size):
            verdict.faults.append(Fault(entry.id, name, f"{size} is {fate.describe(size)} by SimpleTuner {release}"))
    if entry.caption_strategy == "textfile" and not (folder / f"{stem}.txt").is_file():
        verdict.faults.append(Fault(entry.id, name, f"has no caption {stem}.txt: training stops at it"))


def _compare(entry: EntryOnFile, folder: Path, pictures: Sequence[str], verdict: Verdict) -> None:
    """Compare what the trainer wrote at start-up with the folder; its scan can lose pictures in a race."""
    bucketed, known = bucketed_pictures(entry)
    for words, paths in (("put into no bucket", bucketed), ("read no size of", known)):
        if paths is None:
            continue
        seen = {os.path.normpath(folder / path) for path in paths}
        for name in pictures:
            if os.path.normpath(folder / name) not in seen:
                problem = f"the trainer {words} it: stop, delete its aspect_ratio_bucket files, start again"
                verdict.faults.append(Fault(entry.id, name, problem))
        for path in sorted(seen - {os.path.normpath(folder / name) for name in pictures}):
            verdict.faults.append(
                Fault(entry.id, os.path.relpath(path, folder), "the trainer holds it, but it is gone from the dataset")
            )
    if bucketed is None:
        verdict.notes.append(f"{entry.id}: the trainer has not scanned the dataset yet; verify again once it has started")
