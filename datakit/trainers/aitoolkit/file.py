"""ai-toolkit's job file: the only file that spells its keys.

Read in ai-toolkit 27a03a9 (toolkit/config.py, config_modules.py; jobs/process/BaseSDTrainProcess.py). Unknown keys are ignored,
and what is left out has the defaults below: ``resolution`` is 512 then, and a list of several trains every picture at each.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.sizes import square_side
from datakit.trainers.aitoolkit.models import Family, Model
from datakit.trainers.aitoolkit.replay import Resizing
from datakit.trainers.aitoolkit.steps import batches
from datakit.trainers.view import View

Beside = Mapping[str, Sequence[View]]

RESOLUTION = 1024
# Steps of a resolution that is worked out: what sides of most models are multiples of.
_STEP = 32
# Times that the job shows all pictures, where nobody changes its ``steps``.
EPOCHS = 10
# What is replaced in captions by the trigger word, or by nothing (toolkit/prompt_utils.py, inject_trigger_into_prompt).
REPLACED = ("[trigger]", "[name]")
# What it does at a batch size above 1 with a picture without a mask (toolkit/data_transfer_object/data_loader.py).
NO_MASK = "takes it for masked all over where its batch has a mask, so that nothing of it is trained"


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """One dataset, with ai-toolkit's defaults for what is left out."""

    type: str = "image"
    folder_path: str | None = None
    dataset_path: str | None = None
    resolution: int | list[int] = 512
    buckets: bool = True
    square_crop: bool = False
    random_crop: bool = False
    random_scale: bool = False
    scale: float = 1.0
    num_repeats: int = 1
    batch_size: int | None = None
    caption_ext: str = ".txt"
    caption_type: str | None = None
    default_caption: str | None = None
    trigger_word: str | None = None
    random_triggers: list[str] | str = []
    caption_dropout_rate: float = 0.0
    token_dropout_rate: float = 0.0
    shuffle_tokens: bool = False
    flip_x: bool = False
    flip_y: bool = False
    augments: list[Any] = []
    augmentations: list[Any] | None = None
    cache_latents_to_disk: bool = False
    cache_text_embeddings: bool = False
    num_frames: int = 1
    auto_frame_count: bool = False
    poi: str | None = None
    mask_path: str | None = None
    alpha_mask: bool = False
    invert_mask: bool = False
    control_path: str | list[str] | None = None
    control_path_1: str | None = None
    control_path_2: str | None = None
    control_path_3: str | None = None
    full_size_control_images: bool = True
    control_from_same_folder: bool = False

    @property
    def controls(self) -> list[str]:
        """The folders of control pictures; those that are numbered win."""
        numbered = [path for path in (self.control_path_1, self.control_path_2, self.control_path_3) if path]
        given = self.control_path if isinstance(self.control_path, list) else [self.control_path]
        return numbered or [path for path in given if path]

    @property
    def path(self) -> str:
        """The folder, or the ``.json`` file that names pictures and captions."""
        return self.dataset_path or self.folder_path or ""

    @property
    def resolutions(self) -> list[int]:
        """The resolutions that it is trained at, all of them."""
        return self.resolution if isinstance(self.resolution, list) else [self.resolution]

    @property
    def suffix(self) -> str:
        """What the name of a caption file ends with."""
        extension = self.caption_type or self.caption_ext
        return extension if not extension or extension.startswith(".") else f".{extension}"

    def resizing(self, resolution: int, divisibility: int) -> Resizing:
        """Return what decides over sizes at one of its resolutions."""
        return Resizing(resolution, divisibility, self.buckets, self.square_crop, self.random_crop, self.scale)

    def changes(self) -> list[str]:
        """Return the keys that change pixels."""
        return [key for key in ("flip_x", "flip_y", "augments", "augmentations") if getattr(self, key)]


class Train(msgspec.Struct, frozen=True, kw_only=True):
    """What a process says about batches and caches."""

    batch_size: int = 1
    gradient_accumulation: int = 1
    gradient_accumulation_steps: int = 1
    cache_text_embeddings: bool = False


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a job, as far as it decides what is trained."""

    trigger_word: str | None = None
    datasets: list[Dataset] | None = None
    train: Train = Train()
    model: Model = Model()


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a job behind ``config``."""

    name: str = ""
    process: list[Process] = []


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A whole job file."""

    job: str = ""
    config: Config = Config()


def resolution_of(sizes: Iterable[Size]) -> int:
    """Return the ``resolution`` that keeps some sizes: the side of a square, in steps, of their area; 1024 for the eight."""
    return square_side(sizes, _STEP)


def make_job(name: str, views: Sequence[tuple[View, Beside]], family: Family, batch_size: int) -> dict[str, Any]:
    """Make a small job that trains a LoRA on some views, as plain data; a person changes all of it but its datasets.

    Beside each view stand those of its masks and of its control pictures, by the keys that name them.

    Raises
    ------
    UsageError
        A path holds what ai-toolkit replaces in a job file.
    """
    for view in (each for of, beside in views for each in (of, *(each for several in beside.values() for each in several))):
        if "${" in os.fspath(view.folder) or "[name]" in os.fspath(view.folder):
            raise UsageError(f"{view.folder}: ai-toolkit replaces ${{...}} and [name] in a job file: name another --cache-root")
    resolution = resolution_of({size for view, _ in views for size in view.buckets})
    epoch = sum(batches(view.buckets, view.passes, batch_size) for view, _ in views)
    process = {
        "type": "sd_trainer",
        "training_folder": "output",
        "device": "cuda:0",
        "network": {"type": "lora", "linear": 16, "linear_alpha": 16},
        "save": {"dtype": "float16", "save_every": 250, "max_step_saves_to_keep": 4},
        "datasets": [_dataset(view, beside, resolution) for view, beside in views],
        "train": {
            "batch_size": batch_size,
            "steps": EPOCHS * epoch,
            "gradient_accumulation": 1,
            "train_unet": True,
            "train_text_encoder": False,
            "gradient_checkpointing": True,
            "noise_scheduler": family.scheduler,
            "optimizer": "adamw8bit",
            "lr": 0.0001,
            "dtype": "bf16",
        },
        "model": dict(family.model),
        "sample": {
            "sampler": family.scheduler,
            "sample_every": 250,
            "width": resolution,
            "height": resolution,
            "prompts": [],
            "guidance_scale": 4,
            "sample_steps": 20,
        },
    }
    return {"job": "extension", "config": {"name": _Quoted(name), "process": [process]}}


def to_yaml(job: Mapping[str, Any]) -> bytes:
    """Return the file; keys in the order given."""
    return yaml.dump(job, Dumper=_Dumper, sort_keys=False, width=math.inf, allow_unicode=True).encode()


def as_read(job: Mapping[str, Any]) -> Job:
    """Return a job as ai-toolkit takes it. Raises msgspec.ValidationError."""
    return msgspec.convert(job, Job, strict=False)


def looks_like_job(content: bytes) -> bool:
    """Tell whether a file is a job with processes, faulty or not."""
    if b"process" not in content or b"job" not in content:
        return False
    try:
        data = _parse(content.decode())
    except (UnicodeDecodeError, ValueError, RecursionError, yaml.YAMLError):
        return False
    return isinstance(data, dict) and "job" in data and isinstance(data.get("config"), dict) and "process" in data["config"]


def read_job(path: Path) -> Job:
    """Read a job file, YAML or JSON, with what it takes from the environment, and ``[name]`` in it replaced.

    Raises
    ------
    UsageError
        The file cannot be read, or is no job.
    """
    try:
        text = re.sub(r"\$\{([^}]+)\}", _from_environment, path.read_text("utf-8"))
        data = _parse(text)
        name = data["config"]["name"]
        return as_read(json.loads(json.dumps(data).replace("[name]", json.dumps(str(name))[1:-1])))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path} is no job of ai-toolkit: it needs job, config and config.name") from error
    except (UnicodeDecodeError, ValueError, RecursionError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise UsageError(f"{path} is no job of ai-toolkit: {error}") from error


def read_captions(path: Path) -> dict[str, str | None]:
    """Read a ``.json`` dataset: the caption of each picture by its path; None where it gives none.

    Raises
    ------
    UsageError
        The file cannot be read, or is none.
    """
    try:
        rows = msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, Any]])
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} names no pictures and captions: {error}") from error
    return {picture: row["caption"] if isinstance(row.get("caption"), str) else None for picture, row in rows.items()}


def _dataset(view: View, beside: Beside, resolution: int) -> dict[str, Any]:
    places = {key: [_Quoted(each.folder) for each in several] for key, several in beside.items() if several}
    return {
        "folder_path": _Quoted(view.folder),
        **{key: several[0] if len(several) == 1 else several for key, several in places.items()},
        "caption_ext": "txt",
        "resolution": [resolution],
        "num_repeats": view.passes,
        "buckets": True,
        "cache_latents_to_disk": True,
        "caption_dropout_rate": 0.0,
        "shuffle_tokens": False,
        "random_crop": False,
        "flip_x": False,
    }


def _from_environment(match: re.Match[str]) -> str:
    value = os.environ.get(match[1])
    if value is None:
        raise ValueError(f"it needs the environment variable {match[1]}, which is not set")
    return value


def _parse(text: str) -> Any:
    """Read JSON or YAML as ai-toolkit's parser, PyYAML, does."""
    return json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)


class _Quoted(str):
    """A text that is written in quotes, as ai-toolkit reads more of the bare ones as numbers than YAML does."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes lists of numbers in one line, and lists below a key further in."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _in_quotes(dumper: yaml.SafeDumper, text: _Quoted) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')


def _in_line(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
    plain = all(isinstance(value, (int, float, str)) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=plain)


_Dumper.add_representer(_Quoted, _in_quotes)
_Dumper.add_representer(list, _in_line)
