"""The proof of a ``--dataset_config``: each dataset that it names, held against what musubi-tuner does with it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.report import counted, few
from datakit.run.stage import Execution
from datakit.sizes import set_around
from datakit.trainers.beside import Beside, prove_beside
from datakit.trainers.musubi.families import OTHER_STEPS
from datakit.trainers.musubi.file import Dataset, read, rule_of
from datakit.trainers.musubi.reading import LISTING
from datakit.trainers.musubi.replay import Bucketing, replay
from datakit.trainers.musubi.rows import prove_rows
from datakit.trainers.proof import Captions, Seen, Trained, prove_folder
from datakit.trainers.verdict import Fault, Verdict
from datakit.trainers.view import read_made

# Several control pictures of one picture: dataset/datasources.py, ImageDirectoryDatasource.
_NUMBERED = re.compile(r"_\d+$")
# ``<stem>_<width>x<height>_<model>.safetensors``: dataset/image_video_dataset.py, get_latent_cache_path.
_LATENTS = re.compile(r"(.+)_(\d{4,})x(\d{4,})_[^_]+\.safetensors")


def prove(path: Path, execution: Execution) -> Verdict:
    """Check and replay every picture of every dataset of a file, whoever wrote it.

    Raises
    ------
    UsageError
        The file cannot be used, or trains no picture.
    """
    datasets = read(path)
    if all(dataset.is_video for dataset in datasets):
        raise UsageError(f"{path} names videos only, which datakit does not know")
    verdict, names = Verdict(), set[str]()
    for number, dataset in enumerate(datasets, 1):
        name = Path(dataset.source).name or f"dataset {number}"
        name = f"{name} ({number})" if name in names else name
        names.add(name)
        if dataset.is_video:
            verdict.notes.append(f"dataset {number} holds videos, which are not looked at")
        verdict.faults += [Fault(name, "", reason) for reason in dataset.faults]
        if dataset.options.get("num_repeats", 1) < 1:
            verdict.faults.append(Fault(name, "", "num_repeats is less than 1: nothing is trained", "write 1 or more"))
        if dataset.bucketing is not None and not dataset.is_video:
            _prove_dataset(name, dataset, dataset.bucketing, execution, verdict)
    return verdict


def _prove_dataset(name: str, dataset: Dataset, rule: Bucketing, execution: Execution, verdict: Verdict) -> None:
    trained = Trained(
        name,
        Path(dataset.source),
        LISTING,
        partial(replay, rule=rule),
        partial(_cause, rule, "resolution" in dataset.options),
        captions=Captions(
            dataset.caption_extension,
            "left out of the training without a word",
            "all of them become one prompt",
            'write it into a .txt of its name, on one line; caption_extension = ".txt"',
            empty="the prompt is empty",
        ),
    )
    if dataset.lists_rows:
        prove_rows(trained, execution, verdict)
        return
    seen = prove_folder(trained, execution, verdict)
    if dataset.controls is not None:
        stops = "the trainer stops"
        beside = Beside("control_directory", dataset.controls, stops, stems=lambda stem: (_NUMBERED.sub("", stem),))
        prove_beside(beside, trained, seen, execution, verdict)
    sizes = {picture: seen.looks[picture].size for picture in seen.pictures if picture in seen.looks}
    verdict.notes += [f"{name}: {note}" for note in _other_models(sizes, rule)]
    verdict.faults += _caches(trained, seen, sizes, Path(dataset.cache_directory))


def _cause(rule: Bucketing, said: bool, sizes: Collection[Size]) -> tuple[str, str]:
    """Say why some sizes are changed where they are, and what keeps them."""
    side = max(1024, rule_of(set_around(sizes)).resolution.width)
    cure = f"write resolution = [{side}, {side}], enable_bucket = true, bucket_no_upscale = true"
    if not rule.enable_bucket:
        return "enable_bucket is not set", cure
    if not rule.bucket_no_upscale:
        return "bucket_no_upscale is not set", cure
    default = "" if said else ", the default"
    return f"resolution is {rule.resolution}{default}, in steps of {rule.step}", cure


def _other_models(sizes: Mapping[str, Size], rule: Bucketing) -> list[str]:
    """Say which pictures are kept for most models and not for all: a file does not say which it is for."""
    kept = [picture for picture, size in sizes.items() if replay(size, rule).keeps(size)]
    found = []
    for step, model in OTHER_STEPS.items():
        changed = [picture for picture in kept if not replay(sizes[picture], replace(rule, step=step)).keeps(sizes[picture])]
        if changed:
            found.append(f"{model} goes in steps of {step} and would resize {counted(len(changed), 'picture')}: {few(changed)}")
    return found


def _caches(trained: Trained, seen: Seen, sizes: Mapping[str, Size], folder: Path) -> list[Fault]:
    """Name latents of pictures that are gone or other now: training reads the caches alone.

    What lies in a view belongs to its content, and can be no other's.
    """
    if read_made(trained.folder) and folder.parent == trained.folder:
        return []
    stems = {os.path.splitext(picture)[0]: picture for picture in seen.pictures}
    try:
        latents = sorted((entry for entry in os.scandir(folder) if _LATENTS.fullmatch(entry.name)), key=lambda entry: entry.name)
    except (OSError, ValueError):  # there is none, or can be none of that name
        return []
    gone, old = [], []
    for entry in latents:
        stem, width, height = re.findall(_LATENTS, entry.name)[0]
        picture = stems.get(stem)
        if picture is None or sizes.get(picture) != (int(width), int(height)):
            gone.append(entry.name)
        elif entry.stat().st_mtime < (trained.folder / picture).stat().st_mtime:
            old.append(entry.name)
    cure = "run both caching scripts again without --skip_existing and --keep_cache, or have `datakit backend` write the file"
    said = {"of pictures that are not there, which are trained all the same": gone, "older than their pictures": old}
    return [
        Fault(trained.name, "", f"{counted(len(names), 'cache')} in {folder} {words}", cure, few(names))
        for words, names in said.items()
        if names
    ]
