"""Prove a ``multidatabackend.json``: what each picture will become, and what SimpleTuner lost."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from datakit.audit.checks import check_dataset, check_folder, list_files
from datakit.audit.concept import content_hash, read_concept
from datakit.audit.looks import Look, look_at_all
from datakit.dataset.manifest import MANIFEST
from datakit.dataset.samples import caption_of
from datakit.errors import UsageError
from datakit.run.stage import Execution
from datakit.trainers.simpletuner import reading
from datakit.trainers.simpletuner.entry import EntryOnFile, read_entries, refused_together
from datakit.trainers.simpletuner.replay import bucket_name, unkept
from datakit.trainers.verdict import Fault, Verdict


def prove(path: Path, releases: Sequence[str], execution: Execution) -> Verdict:
    """Check and replay every picture of every enabled image entry of a dataset config.

    Parameters
    ----------
    path
        A ``multidatabackend.json``, written by datakit or not.
    releases
        Keys of `replay.RELEASES`; a picture must be kept by each.
    execution
        Workers, limit of time, progress.

    Raises
    ------
    UsageError
        The file cannot be used, or holds no enabled image entry.
    """
    everything = read_entries(path)
    entries = [entry for entry in everything if entry.enabled]
    images = [entry for entry in entries if entry.dataset_type == "image" and entry.type == "local"]
    if not images:
        raise UsageError(f"{path} has no enabled local image dataset")
    verdict = Verdict()
    verdict.notes += [f"{entry.id} is disabled: the trainer leaves it out" for entry in everything if not entry.enabled]
    verdict.faults += [Fault(name, "", reason) for name, reason in refused_together(entries)]
    for entry in images:
        _prove_entry(entry, releases, execution, verdict)
    return verdict


def _prove_entry(entry: EntryOnFile, releases: Sequence[str], execution: Execution, verdict: Verdict) -> None:
    """Check and replay every picture of one entry."""
    verdict.faults += [Fault(entry.id, "", reason) for reason in entry.refusals()]
    folder = Path(entry.instance_data_dir)
    if not folder.is_absolute():
        problem = f"instance_data_dir {entry.instance_data_dir!r} is relative: the trainer looks from wherever it is started"
        verdict.faults.append(Fault(entry.id, "", problem))
    if not folder.is_dir():
        verdict.faults.append(Fault(entry.id, "", f"instance_data_dir {entry.instance_data_dir!r} is not there"))
        return
    rule = entry.resizing()
    if isinstance(rule, str):
        verdict.faults.append(Fault(entry.id, "", f"cannot be proved: {rule}"))
        return
    if entry.unset:
        keys = ", ".join(entry.unset)
        verdict.notes.append(f"{entry.id}: {keys} not set: the trainer's global options decide, taken as off here")
    files = list_files(folder)
    pictures = [name for name in files if reading.reads(name)]
    if not pictures:
        verdict.faults.append(Fault(entry.id, "", f"{folder} holds no picture that the trainer takes"))
    looks = look_at_all(folder, files, execution)
    _check(entry, folder, files, looks, verdict)
    verdict.pictures[entry.id] = len(pictures)
    sizes = {name: looks[name].size for name in pictures if name in looks and not looks[name].error}
    verdict.buckets[entry.id] = dict(Counter(map(bucket_name, sizes.values())))
    verdict.faults += [
        Fault(entry.id, name, f"{size} is {words}") for name, size in sizes.items() for words in unkept(size, rule, releases)
    ]
    _compare(entry, folder, pictures, verdict)


def _check(entry: EntryOnFile, folder: Path, files: Sequence[str], looks: Mapping[str, Look], verdict: Verdict) -> None:
    """Check the files as `datakit backend` does, against the manifest where there is one."""
    if (folder / MANIFEST).exists():
        concept = read_concept(folder)
        # The hash in the entry's id is of the content: under an old id the trainer reads old latents.
        named = re.search(r"-([0-9a-f]{8})$", entry.id)
        if named and content_hash(concept.records) != named[1]:
            problem = "the dataset has changed since this file was written: run datakit backend again"
            verdict.faults.append(Fault(entry.id, "", problem))
        # Sizes are judged by the replay.
        findings = [finding for finding in check_dataset(concept, files, looks, reading) if finding.kind != "size"]
        if not entry.reads_text_files:
            findings = [finding for finding in findings if not finding.kind.startswith("caption")]
    else:
        findings = check_folder(folder, files, looks, reading, captions=entry.reads_text_files)
        empty = sum(reading.reads(name) and _is_empty(folder / caption_of(name)) for name in files)
        if empty and entry.reads_text_files:
            verdict.notes.append(f"{entry.id}: {empty} pictures have an empty caption file and are trained without a caption")
    verdict.faults += [
        Fault(entry.id, finding.path, finding.problem, finding.remedy_for(folder), finding.detail) for finding in findings
    ]


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


def _compare(entry: EntryOnFile, folder: Path, pictures: Sequence[str], verdict: Verdict) -> None:
    """Compare what the trainer wrote at start-up with the folder; its scan can lose pictures in a race."""
    bucketed, known = reading.bucketed_pictures(folder, entry.id)
    for words, paths in (("put into no bucket", bucketed), ("read no size of", known)):
        if paths is None:
            continue
        seen = {os.path.normpath(folder / path) for path in paths}
        for name in pictures:
            if os.path.normpath(folder / name) not in seen:
                remedy = "stop it, delete its aspect_ratio_bucket files, start again"
                verdict.faults.append(Fault(entry.id, name, f"the trainer {words} it", remedy))
        for path in sorted(seen - {os.path.normpath(folder / name) for name in pictures}):
            verdict.faults.append(
                Fault(entry.id, os.path.relpath(path, folder), "the trainer holds it, but it is gone from the dataset")
            )
    if bucketed is None:
        verdict.notes.append(f"{entry.id}: the trainer has not scanned the dataset yet; verify again once it has started")
