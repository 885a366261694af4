"""The proof of a diffusion-pipe dataset file: each folder that it names, held against what the trainer does with it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from datakit.dataset.manifest import MANIFEST
from datakit.geometry import Size
from datakit.report import few
from datakit.run.stage import Execution
from datakit.sizes import set_around
from datakit.trainers.beside import Beside, prove_beside
from datakit.trainers.diffusionpipe.file import Directory, ordered, read, spelt
from datakit.trainers.diffusionpipe.reading import CAPTIONS, Reading, caption_faults
from datakit.trainers.diffusionpipe.replay import COARSE, COARSE_STEP, AspectBuckets, Rule, SizeBuckets, replay
from datakit.trainers.fate import Fate
from datakit.trainers.proof import Captions, Seen, Trained, prove_folder
from datakit.trainers.verdict import Fault, Verdict
from datakit.trainers.view import read_made

# Folders of companions: what happens to a picture without one, whether that is a fault, and what to one of another size.
_BESIDE = {
    "mask_path": ("all of it counts", False, "the trainer stops at it"),
    "control_path": ("the trainer stops", True, "it is resized for itself"),
}
# Keys that change captions, which is what they are for.
_CAPTIONS = {
    "caption_prefix": "given a prefix",
    "cache_shuffle_num": "shuffled, each into so many",
    "shuffle_tags": "shuffled once",
}


def prove(path: Path, execution: Execution) -> Verdict:
    """Check and replay every picture of every directory of a file, whoever wrote it.

    Raises
    ------
    UsageError
        The file cannot be used, or names no directory.
    """
    verdict = Verdict()
    for directory in read(path):
        name = Path(directory.path).name
        verdict.faults += [Fault(name, "", reason) for reason in directory.faults]
        if directory.rule is None or directory.faults:
            continue
        _prove_directory(name, directory, directory.rule, execution, verdict)
    return verdict


def _prove_directory(name: str, directory: Directory, rule: Rule, execution: Execution, verdict: Verdict) -> None:
    verdict.faults += _options(name, directory.options)
    verdict.notes += [
        f"{name}: captions are {words} by the trainer ({key})" for key, words in _CAPTIONS.items() if directory.options.get(key)
    ]
    folder = Path(directory.path)
    if not folder.is_absolute():
        problem = f"path {directory.path!r} is relative: the trainer looks from wherever it is started"
        verdict.faults.append(Fault(name, "", problem, "write the absolute path"))
    listed = os.path.exists(folder / CAPTIONS)
    trained = Trained(
        name,
        folder,
        Reading(),
        lambda size: _worst(size, rule),
        partial(_cause, rule),
        captions=None if listed else _captions(directory),
    )
    seen = prove_folder(trained, execution, verdict)
    for key, (lacking, stops, other_size) in _BESIDE.items():
        if isinstance(place := directory.options.get(key), str):
            beside = Beside(key, place, lacking, stops, other_size=other_size)
            prove_beside(beside, trained, seen, execution, verdict)
    if listed:
        verdict.faults += caption_faults(name, folder, seen.pictures, (folder / MANIFEST).is_file())
    verdict.faults += _left_lying(trained, seen)
    verdict.notes += [f"{name}: {note}" for note in _notes(rule, seen, listed)]


def _worst(size: Size, rule: Rule) -> Fate:
    """Return a fate that does not keep a size, if it has one."""
    fates = replay(size, rule)
    return next((fate for fate in fates if not fate.keeps(size)), fates[0])


def _cause(rule: Rule, sizes: Collection[Size]) -> tuple[str, str]:
    """Say why some sizes are changed where they are, and what keeps them."""
    cure = f"write {spelt(ordered(set_around(sizes)))}"
    if isinstance(rule, AspectBuckets):
        if rule.aspects == (1.0,):
            return "there are no size_buckets and no enable_ar_bucket, so that every picture becomes a square", cure
        return f"resolutions {[*map(round, rule.resolutions)]} give an area, and aspects no sizes", cure
    if not rule.in_order:
        return (
            "size_buckets are not listed from narrow to wide with no aspect twice, which mixes them up",
            f"write {spelt(ordered(Size(width, height) for width, height, _ in rule.listed))}",
        )
    return "their size is not in size_buckets, or its sides are no multiples of 16", cure


def _captions(directory: Directory) -> Captions:
    return Captions(
        missing="the trainer leaves the picture out" if directory.skips_empty else "trained without a caption",
        several="they are trained as one caption",
        empty="trained with the empty caption",
        cure=f"write one into a .txt of its name, on one line; several go into {CAPTIONS}, which datakit backend writes",
    )


def _options(name: str, options: Mapping[str, Any]) -> Iterator[Fault]:
    repeats, resolutions = options.get("num_repeats", 1), options.get("resolutions", [])
    if repeats < 1:
        problem = f"num_repeats {repeats}: only that share of the captions of each size is trained, always the same"
        yield Fault(name, "", problem, "write 1 or more")
    if len(resolutions) > 1 and "size_buckets" not in options:
        problem = f"resolutions lists {len(resolutions)}: every picture is trained once at each"
        yield Fault(name, "", problem, "list the sizes as size_buckets instead")
    if options.get("subsample_ratio") is not None:
        problem = f"subsample_ratio {options['subsample_ratio']}: only that share of the batches is trained, always the same"
        yield Fault(name, "", problem, "leave it out")
    if options.get("online_captions"):
        problem = f"online_captions: captions are looked up in {CAPTIONS} by another name than they are cached by"
        yield Fault(name, "", problem, "write online_captions = false")


def _notes(rule: Rule, seen: Seen, listed: bool) -> Iterator[str]:
    coarse = {look.size for look in seen.looks.values() if not look.error} if isinstance(rule, SizeBuckets) else set()
    moved = sorted(size for size in coarse if not all(fate.keeps(size) for fate in replay(size, rule, COARSE_STEP)))
    if moved and all(_worst(size, rule).keeps(size) for size in moved):
        yield f"{few([str(size) for size in moved])} would be resized for {', '.join(COARSE)}, which take multiples of {COARSE_STEP}"
    if listed:
        yield f"captions are read from {CAPTIONS}, each as a sample of its own; no .txt is read"


def _left_lying(trained: Trained, seen: Seen) -> list[Fault]:
    """Name what the trainer would take too, and caches that it would trust though their pictures may have changed since."""
    faults = [
        Fault(trained.name, file, "an archive, whose pictures are trained too and are not proved", "unpack it or move it out")
        for file in seen.files
        if file.endswith(".tar") and "/" not in file
    ]
    caches = [file for file in seen.files if file.startswith("cache/")]
    if caches and not read_made(trained.folder):
        problem = (
            "a cache beside the pictures, in which the trainer finds latents by name, whatever the pictures are now; captions and names "
            "it minds"
        )
        faults.append(Fault(trained.name, "cache", problem, "delete it, or have `datakit backend` write a view"))
    return faults
