"""OneTrainer's ``concepts.json``: the only file that spells its keys.

Read in OneTrainer 23df383 (modules/util/config/ConceptConfig.py, BaseConfig.py). Nothing is required and nothing refused: unknown
keys are ignored, and what is left out has the defaults below. One concept for each size with that size as its ``resolution_override``
keeps every picture; ``seed`` is part of the name of its caches, which are otherwise known by the place of a picture in the
folder alone, and is drawn anew at each start where it is left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType, field

from datakit.audit.concept import hash_in
from datakit.dataset.manifest import NOT_JSON
from datakit.errors import UsageError
from datakit.trainers.onetrainer.replay import Resizing
from datakit.trainers.view import View

# Below this, ``repeats`` is what is called ``balancing`` since.
VERSION = 2
# Bits of a seed.
_SEED = (1 << 30) - 1
# What a concept may turn on that changes the pixels of its pictures.
_AUGMENTATIONS = (
    "random_flip", "fixed_flip", "random_rotate", "fixed_rotate", "random_brightness", "fixed_brightness", "random_contrast",
    "fixed_contrast", "random_saturation", "fixed_saturation", "random_hue", "fixed_hue",
)  # fmt: skip
# What it may turn on that changes captions, and how.
_REWORDINGS = {
    "enable_tag_shuffling": "shuffles the tags of its captions",
    "tag_dropout_enable": "leaves tags of its captions out",
    "caps_randomize_enable": "changes capital letters in its captions",
}


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the pictures of a concept."""

    version: int = field(default=0, name="__version")
    enable_crop_jitter: bool = True
    enable_resolution_override: bool = False
    resolution_override: str | int = "512"
    enable_random_flip: bool | UnsetType = UNSET
    enable_fixed_flip: bool | UnsetType = UNSET
    enable_random_rotate: bool | UnsetType = UNSET
    enable_fixed_rotate: bool | UnsetType = UNSET
    enable_random_brightness: bool | UnsetType = UNSET
    enable_fixed_brightness: bool | UnsetType = UNSET
    enable_random_contrast: bool | UnsetType = UNSET
    enable_fixed_contrast: bool | UnsetType = UNSET
    enable_random_saturation: bool | UnsetType = UNSET
    enable_fixed_saturation: bool | UnsetType = UNSET
    enable_random_hue: bool | UnsetType = UNSET
    enable_fixed_hue: bool | UnsetType = UNSET

    def changes(self) -> list[str]:
        """Return the keys that are on and change pixels."""
        return [key for name in _AUGMENTATIONS if getattr(self, key := f"enable_{name}")]


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """Where the captions of a concept come from, and what becomes of them."""

    version: int = field(default=0, name="__version")
    prompt_source: str = "sample"
    prompt_path: str | UnsetType = UNSET
    enable_tag_shuffling: bool = False
    tag_delimiter: str = ","
    keep_tags_count: int = 1
    tag_dropout_enable: bool | UnsetType = UNSET
    caps_randomize_enable: bool | UnsetType = UNSET

    def changes(self) -> list[tuple[str, str]]:
        """Return (key, what it does) of what is on and changes captions."""
        return [(key, said) for key, said in _REWORDINGS.items() if getattr(self, key)]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One concept, with OneTrainer's defaults for what is left out."""

    version: int = field(default=0, name="__version")
    name: str = ""
    path: str = ""
    seed: int | UnsetType = UNSET
    enabled: bool = True
    type: str = "STANDARD"
    include_subdirectories: bool = False
    image_variations: int = 1
    text_variations: int = 1
    balancing: float | UnsetType = UNSET
    balancing_strategy: str = "REPEATS"
    loss_weight: float = 1.0
    image: Image = Image()
    text: Text = Text()
    # As older files have it.
    repeats: float | UnsetType = UNSET
    validation_concept: bool | UnsetType = UNSET

    @property
    def title(self) -> str:
        """What it is called in a sentence."""
        return self.name or self.path

    @property
    def trained(self) -> bool:
        """Whether it is trained at all: it is not switched off, and none to validate with."""
        return self.enabled and self.type != "VALIDATION" and not (self.version < VERSION and self.validation_concept)

    @property
    def weight(self) -> float:
        """``balancing``: how often each picture is seen in an epoch, or how many samples there are in all."""
        older = self.repeats if self.version < 1 and self.repeats is not UNSET else 1.0
        return older if self.balancing is UNSET else self.balancing


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """What a train config says about its concepts, with OneTrainer's defaults (modules/util/config/TrainConfig.py)."""

    concept_file_name: str = ""
    concepts: list[Entry] | None = None
    resolution: str | int = "512"
    aspect_ratio_bucketing: bool = True
    masked_training: bool = False
    custom_conditioning_image: bool = False
    model_type: str = ""


def make_entries(views: Sequence[tuple[str, View]], variations: int) -> list[Entry]:
    """Make one concept for each view, all of whose pictures have one size; each comes with its name."""
    entries = []
    for name, view in views:
        (size,) = view.buckets
        entries.append(
            Entry(
                version=VERSION,
                name=f"{name} {size}",
                path=str(view.folder),
                seed=seed_of(view.folder),
                text_variations=variations,
                balancing=float(view.passes),
                image=Image(enable_crop_jitter=False, enable_resolution_override=True, resolution_override=str(size)),
            )
        )
    return entries


def seed_of(view: Path) -> int:
    """Return the seed of a view, which changes with the content that its name holds."""
    return int(hash_in(view.name) or "0", 16) & _SEED


def to_json(entries: Sequence[Entry]) -> bytes:
    """Return the file: indented as OneTrainer indents it, keys in a fixed order."""
    return msgspec.json.format(msgspec.json.encode(list(entries)), indent=4) + b"\n"


def looks_like_concepts(content: bytes) -> bool:
    """Tell whether a file is a list of concepts, or a train config that has or names one."""
    try:
        data: Any = msgspec.json.decode(content)
    except NOT_JSON:
        return False
    if isinstance(data, dict):
        return "concept_file_name" in data or isinstance(data.get("concepts"), list)
    keys = {"image", "text", "include_subdirectories", "balancing", "text_variations"}
    return isinstance(data, list) and any(isinstance(each, dict) and "path" in each and keys & each.keys() for each in data)


def read_file(path: Path) -> tuple[list[Entry], Training]:
    """Read a list of concepts, or the one of a train config, and what the train config says, its defaults where there is none.

    Raises
    ------
    UsageError
        The file cannot be read, or is neither.
    """
    data = _read(path)
    if data.lstrip()[:1] != b"{":
        return _decode(data, list[Entry], path), Training()
    training = _decode(data, Training, path)
    if training.concepts is not None:
        return training.concepts, training
    # A path from the folder that the trainer is started in, which lies around its configs.
    near = (parent / training.concept_file_name for parent in (path.absolute().parents))
    found = next((each for each in near if training.concept_file_name and os.path.isfile(each)), None)
    if found is None:
        raise UsageError(
            f"{path}: concept_file_name {training.concept_file_name!r} is not there: give the list of concepts itself"
        )
    return _decode(_read(found), list[Entry], found), training


def resizing(entry: Entry, training: Training, quantization: int) -> Resizing:
    """Return what decides over the sizes of a concept."""
    resolution = entry.image.resolution_override if entry.image.enable_resolution_override else training.resolution
    return Resizing(str(resolution), quantization, training.aspect_ratio_bucketing)


def doubled(entries: Sequence[Entry]) -> Iterator[str]:
    """Name concepts that OneTrainer takes for one, as they share what it tells them apart by."""
    known: dict[tuple[object, ...], Entry] = {}
    for entry in entries:
        same = known.setdefault((entry.path, entry.seed, entry.include_subdirectories, entry.image, entry.text), entry)
        if same is not entry and entry.seed is not UNSET:
            yield f"{entry.title} has the path, the seed and the settings of {same.title}: OneTrainer takes the two for one"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


def _decode(data: bytes, kind: Any, path: Path) -> Any:
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except NOT_JSON as error:
        raise UsageError(f"{path} is no list of OneTrainer's concepts: {error}") from error
