"""What a release of SimpleTuner would refuse, ignore or mis-read in a ``config.json``, and what contradicts itself there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from datakit.audit.concept import read_concept
from datakit.dataset.origin import is_inside
from datakit.errors import DatakitError, UsageError
from datakit.report import counted
from datakit.trainers.simpletuner.options import RELEASES, REMOVED, Value, nearest, options, refusals
from datakit.trainers.simpletuner.steps import bucket_loads
from datakit.trainers.training import Batching

# Two names of one option.
_ALIASES = (("checkpointing_steps", "checkpoint_step_interval"), ("validation_steps", "validation_step_interval"))
_RANKS = ("lora_rank", "lora_alpha")


def check_config(config: Mapping[str, Value], releases: Sequence[str]) -> list[tuple[str, str]]:
    """Return each finding as the option that it is about and a sentence; options by their names without dashes.

    Raises
    ------
    UsageError
        A release is unknown.
    """
    for release in releases:
        if release not in RELEASES:
            raise UsageError(f"release {release!r} is not known: use one of {' '.join(RELEASES)}")
    found = [
        (name, f"{name}: {clause}{_instead(name)}")
        for name, value in config.items()
        for clause in refusals(name, value, releases)
    ]
    return [
        *found,
        *_missing(config, releases),
        *_contradictions(config, releases),
        *_output_in_dataset(config),
        *_small_buckets(config),
    ]


def _instead(name: str) -> str:
    """Return what to write instead of an option, where that is known."""
    if name in REMOVED:
        return f": take it out; {REMOVED[name]}"
    near = "" if name in options() else nearest(name)
    return f": {near}" if near else ""


def _missing(config: Mapping[str, Value], releases: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name, option in options().items():
        without = [release for release in releases if release in option.kinds and option.kinds[release].required]
        if without and name not in config:
            yield name, f"{name} is missing: without it SimpleTuner {' and '.join(without)} ends the run"


def _contradictions(config: Mapping[str, Value], releases: Sequence[str]) -> Iterator[tuple[str, str]]:
    steps, epochs = (_number(config, name) for name in ("max_train_steps", "num_train_epochs"))
    if steps > 0 and epochs > 0:
        yield (
            "num_train_epochs",
            "max_train_steps and num_train_epochs are both above 0, which ends the run: set one of them to 0",
        )
    for name in _RANKS:
        if name in config and config.get("model_type") != "lora":
            yield name, f"{name} says nothing where model_type is not lora: take it out, or train a LoRA"
    for old, new in _ALIASES:
        if old in config and new in config and config[old] != config[new]:
            yield old, f"{old} and {new} are one option with two values: take one out"
    if "metadata_update_interval" in config and _number(config, "metadata_update_interval") < 60:
        yield "metadata_update_interval", "metadata_update_interval: less than 60 seconds ends the run"
    if "2024-10" in releases and config.get("use_ema") is True and _is_without_ema(config):
        yield "use_ema", "use_ema ends the run in SimpleTuner 2024-10 for sd3 and for every LoRA: set it to false"


def _is_without_ema(config: Mapping[str, Value]) -> bool:
    """Whether the commit of October 2024 knows no moving average for what is trained."""
    return config.get("model_family") == "sd3" or config.get("model_type") == "lora"


def output_fault(output: str, dataset: str) -> str:
    """Say why a training cannot write into one of its datasets; nothing where it does not."""
    if not is_inside(Path(output), Path(dataset)):
        return ""
    return f"{output} lies inside the dataset {dataset}: SimpleTuner would train on the pictures of its own validations"


def _output_in_dataset(config: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    output = str(config.get("output_dir", ""))
    for entry in _image_entries(Path(str(config.get("data_backend_config", "")))):
        if output and (fault := output_fault(output, entry["instance_data_dir"])):
            yield "output_dir", f"output_dir: {fault}: name another folder"


def _small_buckets(config: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    """Yield the buckets that cannot fill one optimizer step, of the datasets that datakit can still read."""
    with suppress(UsageError):
        batching = Batching(
            int(_number(config, "train_batch_size", 1)), 1, int(_number(config, "gradient_accumulation_steps", 1))
        )
        for entry in _image_entries(Path(str(config.get("data_backend_config", "")))):
            with suppress(DatakitError):
                concept = read_concept(Path(entry["instance_data_dir"]), repeats=None)
                passes = 1 + int(entry.get("repeats", 0))
                for load in bucket_loads(concept.name, concept.buckets, passes, batching):
                    if load.too_small:
                        yield (
                            "train_batch_size",
                            (
                                f"train_batch_size: {load.concept} has {counted(load.pictures, 'picture')} of {load.bucket}, seen "
                                f"{passes}x an epoch, and one optimizer step takes {batching.effective}: use a smaller batch; "
                                "`datakit check` tells the cheapest ways out"
                            ),
                        )


def _image_entries(path: Path) -> list[dict[str, Any]]:
    """Return the image entries of a ``multidatabackend.json`` that name a local folder; none where it cannot be read."""
    try:
        entries = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return []
    return [
        entry
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict)
        and isinstance(entry.get("instance_data_dir"), str)
        and isinstance(entry.get("repeats", 0), int)
    ]


def _number(config: Mapping[str, Value], name: str, otherwise: float = 0) -> float:
    """Return the value of an option that takes a number, or what holds where it is none."""
    value = config.get(name, otherwise)
    return value if isinstance(value, (int, float)) else otherwise
