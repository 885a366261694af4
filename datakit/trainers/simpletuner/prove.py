"""Prove a ``multidatabackend.json``: what each picture will become, and what SimpleTuner lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from datakit.audit.checks import check_dataset, check_folder, list_files
from datakit.audit.concept import Concept, content_hash, hash_in, read_concept
from datakit.audit.looks import Look, look_at_all
from datakit.dataset.manifest import MANIFEST
from datakit.dataset.samples import caption_of
from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.report import counted, few
from datakit.run.stage import Execution
from datakit.sizes import set_around
from datakit.trainers.fate import Fate
from datakit.trainers.originals import compare_datasets
from datakit.trainers.proof import Seen, Trained, taken_companions
from datakit.trainers.simpletuner.companions import prove_companions
from datakit.trainers.simpletuner.entry import EntryOnFile, filled_in, read_entries, refused_together
from datakit.trainers.simpletuner.published import address_faults, provided
from datakit.trainers.simpletuner.reading import Reading
from datakit.trainers.simpletuner.replay import RELEASES, Resizing, area_of, bucket_name, unkept, why_unkept
from datakit.trainers.simpletuner.scan import latents, older, read_scan, scan_faults
from datakit.trainers.verdict import Fault, Verdict
from datakit.trainers.view import read_made

# Of entries: pictures that are trained, and the caches made of them.
_KINDS = ("image", "image_embeds", "text_embeds", "conditioning")
# Where neither the id nor times can tell what the trainer saw.
_BEYOND = (
    "its id holds no hash of what is there, so it is beyond proof whether a picture was exchanged, after the trainer saw it, for one "
    "of the same size and an earlier date; captions are read anew when it starts"
)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen of an entry's folder: its pictures, the sizes of those that can be read, what becomes of each size."""

    pictures: Sequence[str]
    sizes: Mapping[str, Size]
    fates: Mapping[Size, Sequence[Fate]]
    looks: Mapping[str, Look]
    # Whether the entry's id holds the hash of what is there.
    hashed: bool


def _kept_by(sizes: Collection[Size]) -> str:
    """Say which keys of an entry keep pictures that were meant to have some sizes; see `entry.ImageEntry`."""
    area = area_of(set_around(sizes))
    if area is None:
        return why_unkept(set_around(sizes))
    return f"write resolution {area}, resolution_type area, crop true, crop_aspect preserve, and 0 for every limit of size"


def prove(path: Path, releases: Sequence[str], execution: Execution, datasets: Sequence[Path] = ()) -> Verdict:
    """Check and replay every picture of every enabled image entry of a dataset config.

    Parameters
    ----------
    path
        A ``multidatabackend.json``, written by datakit or not.
    releases
        Keys of `replay.RELEASES`; a picture must be kept by each.
    execution
        Workers, limit of time, progress.
    datasets
        Folders that were published where entries of type aws say.

    Raises
    ------
    UsageError
        The file cannot be used, or holds no enabled image entry; a folder is no dataset, or nothing in the file was published.
    PlanError
        A line of a manifest cannot be used.
    """
    everything = read_entries(path)
    entries = [entry for entry in everything if entry.enabled]
    images = [entry for entry in entries if entry.dataset_type == "image"]
    if not images:
        raise UsageError(f"{path} has no enabled image dataset")
    if datasets and not any(entry.type == "aws" for entry in images):
        raise UsageError(
            f"{path} names no dataset in an object store: it is proved by the folders in it alone, without --dataset"
        )
    published = [read_concept(folder) for folder in datasets]
    verdict = Verdict()
    verdict.notes += [f"{entry.id} is disabled: the trainer leaves it out" for entry in everything if not entry.enabled]
    verdict.notes += [
        f"{entry.id}: a dataset of type {entry.dataset_type} is not looked at"
        for entry in entries
        if entry.dataset_type not in _KINDS
    ]
    verdict.notes += [
        f"{entry.id}: caption_filter_list changes the captions of what uses it" for entry in entries if entry.caption_filter_list
    ]
    verdict.faults += [Fault(name, "", reason) for name, reason in refused_together(entries)]
    beside = {entry.id: entry for entry in entries if entry.dataset_type == "conditioning"}
    linked = {name for entry in images for name in entry.companions}
    verdict.notes += [
        f"{name}: a conditioning dataset that no image dataset is linked to" for name in sorted(beside.keys() - linked)
    ]
    for entry in images:
        if entry.type == "local":
            _prove_local(entry, releases, execution, verdict, beside)
        elif entry.type == "aws":
            _prove_published(entry, releases, execution, published, verdict)
        else:
            verdict.faults.append(Fault(entry.id, "", f"cannot be proved: type {entry.type} reads its pictures from no folder"))
    return verdict


def _prove_local(
    entry: EntryOnFile, releases: Sequence[str], execution: Execution, verdict: Verdict, beside: Mapping[str, EntryOnFile]
) -> None:
    """Check and replay every picture of an entry for a folder, and compare it with what the trainer made of it."""
    folder = Path(entry.instance_data_dir)
    if not folder.is_absolute():
        problem = f"instance_data_dir {entry.instance_data_dir!r} is relative: the trainer looks from wherever it is started"
        verdict.faults.append(Fault(entry.id, "", problem))
    if not folder.is_dir():
        verdict.faults.append(Fault(entry.id, "", f"instance_data_dir {entry.instance_data_dir!r} is not there"))
        return
    seen = _look_over(entry, releases, execution, verdict)
    if seen is None:
        return
    _compare_scan(entry, seen, verdict)
    if entry.companions:
        rule = entry.resizing()
        assert not isinstance(rule, str)  # nothing would have been seen
        fate = partial(_worst, rule=rule, releases=releases)
        said = "the entry of its pictures says so"
        trained = Trained(entry.id, folder, Reading(releases), fate, lambda sizes: (said, _kept_by(sizes)))
        prove_companions(entry, beside, Seen((), tuple(seen.pictures), seen.looks), trained, execution, verdict)


def _worst(size: Size, rule: Resizing, releases: Sequence[str]) -> Fate:
    """Return what a release does to a size that does not keep it, if any does."""
    fates = [RELEASES[release](size, rule) for release in releases]
    return next((fate for fate in fates if not fate.keeps(size)), fates[0])


def _prove_published(
    entry: EntryOnFile, releases: Sequence[str], execution: Execution, published: Sequence[Concept], verdict: Verdict
) -> None:
    """Check and replay the folder that an entry for an object store was published from; what lies there is not seen."""
    verdict.faults += [Fault(entry.id, "", problem) for problem in address_faults(entry, releases)]
    concept = next((each for each in published if content_hash(each.records) == hash_in(entry.id)), None)
    if concept is None:
        problem = f"cannot be proved: its pictures lie at {entry.address}, which is not looked at"
        remedy = "name the folder that was published there with --dataset"
        if published:
            remedy = "none of the folders given by --dataset is what its id names: give that one, or run datakit backend again"
        verdict.faults.append(Fault(entry.id, "", problem, remedy))
        return
    if _look_over(msgspec.structs.replace(entry, instance_data_dir=str(concept.folder)), releases, execution, verdict):
        verdict.provided += provided({entry.address: concept})
        verdict.notes.append(
            f"{entry.id}: what the trainer scanned lies beside the pictures at {entry.address} and is not looked at"
        )


def _look_over(entry: EntryOnFile, releases: Sequence[str], execution: Execution, verdict: Verdict) -> _Seen | None:
    """Check and replay every picture of an entry's folder; return what was seen, or None where its keys leave sizes open."""
    verdict.faults += [Fault(entry.id, "", reason) for reason in entry.refusals()]
    folder, rule = Path(entry.instance_data_dir), entry.resizing()
    if isinstance(rule, str):
        verdict.faults.append(Fault(entry.id, "", f"cannot be proved: {rule}"))
        return None
    verdict.notes += [f"{entry.id}: {said}" for said in entry.notes()]
    files, reading = list_files(folder), Reading(releases)
    pictures = [name for name in files if reading.takes(name) == "picture"]
    if not pictures:
        verdict.faults.append(Fault(entry.id, "", f"{folder} holds no picture that the trainer takes"))
    limit = entry.max_num_samples
    if limit and limit < len(pictures):
        problem = f"max_num_samples {limit}: current releases leave out {counted(len(pictures) - limit, 'picture')}: take it out"
        verdict.faults.append(Fault(entry.id, "", problem))
    looks = look_at_all(folder, files, execution)
    hashed = _check(entry, files, looks, reading, verdict)
    verdict.pictures[entry.id] = len(pictures)
    sizes = {name: looks[name].size for name in pictures if name in looks and not looks[name].error}
    verdict.buckets[entry.id] = dict(Counter(map(bucket_name, sizes.values())))
    kept_by = _kept_by(set(sizes.values())) if sizes else ""
    verdict.faults += [
        Fault(entry.id, name, f"{size} is {words}", kept_by)
        for name, size in sizes.items()
        for words in unkept(size, rule, releases)
    ]
    fates = {size: [RELEASES[release](size, rule) for release in releases] for size in set(sizes.values())}
    return _Seen(pictures, sizes, fates, looks, hashed)


def _compare_scan(entry: EntryOnFile, seen: _Seen, verdict: Verdict) -> None:
    """Compare what the trainer scanned and encoded with the files of now."""
    folder = Path(entry.instance_data_dir)
    scan = read_scan(folder, entry.id)
    named = {fault.path for fault in verdict.faults if fault.entry == entry.id} - seen.sizes.keys()
    # What the manifest misses is named already.
    found = scan_faults(entry, scan, seen.pictures, seen.sizes, seen.fates)
    verdict.faults += [fault for fault in found if fault.path not in named]
    if scan.buckets is None:
        verdict.notes.append(f"{entry.id}: the trainer has not scanned the dataset yet; verify again once it has started")
    if filled := filled_in(entry.cache_dir_vae):
        verdict.notes.append(f"{entry.id}: SimpleTuner puts something else in place of {filled}: its latents were not looked at")
    cached = latents(entry, seen.pictures)
    _compare_latents(entry, older(folder, cached), seen.hashed, verdict)
    if not seen.hashed and (cached or scan.buckets is not None):
        verdict.notes.append(f"{entry.id}: {_BEYOND}")


def _check(entry: EntryOnFile, files: Sequence[str], looks: Mapping[str, Look], reading: Reading, verdict: Verdict) -> bool:
    """Check the files as `datakit backend` does, and tell whether the entry's id holds the hash of what is there."""
    folder, hashed = Path(entry.instance_data_dir), False
    if (folder / MANIFEST).exists():
        concept = read_concept(folder)
        named = hash_in(entry.id)
        made = read_made(folder)
        if made is not None:
            compare_datasets(entry.id, folder, verdict)
        # A view is called after the content of what it shows.
        hashed = named in ({*made.datasets.values()} if made else {content_hash(concept.records)})
        # Under an old id the trainer reads old latents.
        if named and not hashed:
            problem = "the dataset has changed since this file was written: run datakit backend again"
            verdict.faults.append(Fault(entry.id, "", problem))
        # Sizes are judged by the replay.
        findings = [finding for finding in check_dataset(concept, files, looks, reading) if finding.kind != "size"]
        findings += taken_companions(concept, reading)
        if not entry.reads_text_files:
            findings = [finding for finding in findings if not finding.kind.startswith("caption")]
    else:
        findings = check_folder(folder, files, looks, reading, captions=entry.reads_text_files)
        empty = sum(reading.takes(name) == "picture" and _is_empty(folder / caption_of(name)) for name in files)
        if empty and entry.reads_text_files:
            verdict.notes.append(f"{entry.id}: {empty} pictures have an empty caption file and are trained without a caption")
    verdict.faults += [
        Fault(entry.id, finding.path, finding.problem, finding.remedy_for(folder), finding.detail) for finding in findings
    ]
    return hashed


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


def _compare_latents(entry: EntryOnFile, names: Sequence[str], hashed: bool, verdict: Verdict) -> None:
    """Name pictures that were written after their latents, which the trainer goes on using.

    Where the cache is named by the hash of what is there, a picture can only have been written again as it was.
    """
    if hashed and hash_in(Path(entry.cache_dir_vae).name) == hash_in(entry.id):
        if names:
            verdict.notes.append(
                f"{entry.id}: {counted(len(names), 'picture')} written after the latents, of the content that their name holds: "
                f"{few(names)}"
            )
        return
    remedy = f"stop it, delete {entry.cache_dir_vae}, start again; datakit backend writes ids and caches that follow the content"
    verdict.faults += [
        Fault(entry.id, name, "its latents are older than the picture, and the trainer goes on using them", remedy)
        for name in names
    ]
