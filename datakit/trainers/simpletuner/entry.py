"""The entries of SimpleTuner's ``multidatabackend.json``: the only file that spells its dataset keys.

Facts behind the fixed values, read and run in SimpleTuner 3.1.6, 4.8 and the commit of October 2024 that the
recipe pins: with ``crop`` on, ``crop_aspect preserve``, ``resolution_type area`` and no size limits all eight
sizes are trained pixel by pixel; the zeros keep global options such as ``--minimum_image_size`` from dropping or
resizing anything; relative paths are taken from wherever the trainer is started.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from datakit.dataset.manifest import NOT_JSON
from datakit.dataset.origin import is_inside
from datakit.errors import UsageError
from datakit.trainers.simpletuner.replay import Resizing

# What ``disable_multiline_split`` does, release by release.
MULTILINE = (
    "disable_multiline_split makes all lines of a caption file one caption from SimpleTuner 4.0.1 on; earlier ones ignore it without "
    "a word and draw one of the lines each time"
)

# What SimpleTuner puts something else in place of, wherever it stands in an entry: 3.1.6 the first, 4.8 all of them.
_FILLED_IN = re.compile(r"\{(?:model_family|output_dir|id|env:[^{}]*)\}")

# What a dataset of companions may be (multiaspect/sampler.py).
CONDITIONING_TYPES = ("controlnet", "mask", "segmentation", "reference_strict", "reference_loose")

Positive = Annotated[int, Meta(ge=1)]
# An aspect, width / height, or 0 for no limit.
Aspect = Annotated[float, Meta(ge=0, le=100)]
Text = Annotated[str, Meta(min_length=1)]


class CaptionShuffle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shuffling inside the trainer: ``count`` orders a caption, the first ``position_start`` tokens fixed."""

    enable: bool = True
    count: int
    seed: int = 42
    split_on: Literal["comma", "period", "space"] = "comma"
    position_start: int = 0
    include_original: bool = True


class ImageEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One dataset. Keys after ``skip_file_discovery`` are written only where they are set."""

    id: str
    type: Literal["local", "aws"] = "local"
    dataset_type: Literal["image"] = "image"
    # Either the folder, or what follows it.
    instance_data_dir: str | UnsetType = UNSET
    aws_bucket_name: str | UnsetType = UNSET
    aws_data_prefix: str | UnsetType = UNSET
    aws_endpoint_url: str | UnsetType = UNSET
    aws_access_key_id: str | UnsetType = UNSET
    aws_secret_access_key: str | UnsetType = UNSET
    aws_session_token: str | UnsetType = UNSET
    cache_dir_vae: str
    # Without it latents go where the pictures are.
    image_embeds: str | UnsetType = UNSET
    text_embeds: str
    caption_strategy: Literal["textfile", "filename", "instanceprompt"] = "textfile"
    prepend_instance_prompt: bool = False
    metadata_backend: Literal["discovery", "json"] = "discovery"
    resolution: Annotated[float, Meta(gt=0, le=16384)] = 1.0
    resolution_type: Literal["area", "pixel", "pixel_area"] = "area"
    crop: bool = True
    crop_aspect: Literal["preserve", "square", "random", "closest"] = "preserve"
    crop_style: Literal["center", "centre", "corner", "random", "face"] = "center"
    minimum_image_size: Annotated[float, Meta(ge=0, le=16384)] = 0
    maximum_image_size: Annotated[float, Meta(ge=0, le=16384)] = 0
    target_downsample_size: Annotated[float, Meta(ge=0, le=16384)] = 0
    disabled: bool = False
    skip_file_discovery: str = ""
    # Its mere presence keeps 3.1.6 from raising repeats by itself (--allow_dataset_oversubscription).
    repeats: int | UnsetType = UNSET
    caption_shuffle: CaptionShuffle | UnsetType = UNSET
    probability: Annotated[float, Meta(gt=0, le=1)] | UnsetType = UNSET
    disable_validation: bool | UnsetType = UNSET
    vae_cache_clear_each_epoch: bool | UnsetType = UNSET
    vae_cache_scan_behaviour: Literal["recreate", "sync"] | UnsetType = UNSET
    vae_batch_size: Positive | UnsetType = UNSET
    hash_filenames: bool | UnsetType = UNSET
    compress_cache: bool | UnsetType = UNSET
    preserve_data_backend_cache: bool | UnsetType = UNSET
    scan_for_errors: bool | UnsetType = UNSET
    delete_problematic_images: bool | UnsetType = UNSET
    delete_unwanted_images: bool | UnsetType = UNSET
    metadata_update_interval: Positive | UnsetType = UNSET
    image_processing_batch_size: Positive | UnsetType = UNSET
    read_batch_size: Positive | UnsetType = UNSET
    write_batch_size: Positive | UnsetType = UNSET
    max_workers: Positive | UnsetType = UNSET
    instance_prompt: Text | UnsetType = UNSET
    only_instance_prompt: bool | UnsetType = UNSET
    disable_multiline_split: bool | UnsetType = UNSET
    is_regularisation_data: bool | UnsetType = UNSET
    is_regularization_data: bool | UnsetType = UNSET
    minimum_aspect_ratio: Aspect | UnsetType = UNSET
    maximum_aspect_ratio: Aspect | UnsetType = UNSET
    crop_aspect_buckets: list[float] | UnsetType = UNSET
    conditioning: dict[str, Any] | list[dict[str, Any]] | UnsetType = UNSET
    conditioning_config: dict[str, Any] | UnsetType = UNSET
    cache_dir_conditioning_image_embeds: Text | UnsetType = UNSET
    conditioning_data: str | list[str] | UnsetType = UNSET


class ConditioningEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A dataset of companions; its sizes are those of the pictures that it is linked to."""

    id: str
    type: Literal["local"] = "local"
    dataset_type: Literal["conditioning"] = "conditioning"
    conditioning_type: str
    source_dataset_id: str
    instance_data_dir: str
    cache_dir_vae: str
    caption_strategy: None = None  # the captions of the pictures are taken
    metadata_backend: Literal["discovery"] = "discovery"
    resolution: float
    resolution_type: str
    crop: bool
    crop_aspect: str
    crop_style: str
    minimum_image_size: float
    maximum_image_size: float
    target_downsample_size: float
    disabled: bool = False
    skip_file_discovery: str = ""
    repeats: int | UnsetType = UNSET


class TextEmbedsEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the embeddings of all captions are kept."""

    id: str
    type: Literal["local"] = "local"
    dataset_type: Literal["text_embeds"] = "text_embeds"
    default: bool = True
    cache_dir: str
    disabled: bool = False
    write_batch_size: int = 128


class ImageEmbedsEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the latents of a dataset are kept that is not on disk itself."""

    id: str
    type: Literal["local"] = "local"
    dataset_type: Literal["image_embeds"] = "image_embeds"
    cache_dir: str
    disabled: bool = False


Entry = ImageEntry | ConditioningEntry | ImageEmbedsEntry | TextEmbedsEntry


class EntryOnFile(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of an entry that decide what is trained, with SimpleTuner's defaults for absent ones."""

    id: str
    type: str = "local"
    dataset_type: str = "image"
    disabled: bool = False
    disable: bool = False
    instance_data_dir: str = ""
    aws_bucket_name: str | None = None
    aws_data_prefix: str | list[str] | None = None
    aws_endpoint_url: str | None = None
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = None
    image_embeds: str | None = None
    cache_dir: str = ""
    cache_dir_vae: str = ""
    text_embeds: str = ""
    default: bool = False
    caption_strategy: str | None = None
    prepend_instance_prompt: bool = False
    only_instance_prompt: bool = False
    instance_prompt: str | None = None
    skip_file_discovery: str = ""
    disable_vae_cache: bool = False
    disable_multiline_split: bool = False
    repeats: int | None = None
    probability: float | None = None
    metadata_backend: str | None = None
    # These four, and the number below, appeared in 4.x; earlier releases ignore them.
    start_epoch: int | None = None
    start_step: int | None = None
    end_epoch: int | None = None
    end_step: int | None = None
    max_num_samples: int | None = None
    caption_filter_list: str | list[str] | None = None
    conditioning_data: str | list[str] | None = None
    conditioning_type: str | None = None
    # A global option of the trainer fills in what is absent; it stays unknown here.
    resolution: float | None = None
    resolution_type: str | None = None
    crop: bool = False
    crop_aspect: str = "square"
    crop_style: str = "random"
    minimum_image_size: float | None = None
    maximum_image_size: float | None = None
    target_downsample_size: float | None = None
    minimum_aspect_ratio: float | None = None
    maximum_aspect_ratio: float | None = None

    @property
    def enabled(self) -> bool:
        """Whether the trainer reads the entry at all."""
        return not (self.disabled or self.disable)

    @property
    def address(self) -> str:
        """Where in an object store its pictures lie."""
        prefix = self.aws_data_prefix
        return f"s3://{self.aws_bucket_name or ''}/{prefix if isinstance(prefix, str) else ''}"

    @property
    def companions(self) -> list[str]:
        """Ids of the datasets of companions that its pictures are linked to."""
        ids = self.conditioning_data
        return ids if isinstance(ids, list) else [ids] if ids else []

    @property
    def reads_text_files(self) -> bool:
        """Whether captions come from ``.txt`` files beside the pictures."""
        return self.caption_strategy == "textfile" and not self.only_instance_prompt

    @property
    def unset(self) -> list[str]:
        """Keys that a global option of the trainer decides because the entry leaves them out."""
        keys = (
            "resolution",
            "resolution_type",
            "minimum_image_size",
            "maximum_image_size",
            "target_downsample_size",
            "caption_strategy",
        )
        return [key for key in keys if getattr(self, key) is None]

    def notes(self) -> list[str]:
        """Return what the entry leaves to others or does to the number of passes and captions, one clause each."""
        found = []
        if self.unset:
            found.append(f"{', '.join(self.unset)} not set: the trainer's global options decide, taken as off here")
        if self.repeats:
            found.append(
                f"repeats {self.repeats} are passes after the first: each picture is shown {self.repeats + 1} times an epoch"
            )
        if self.disable_multiline_split:
            found.append(MULTILINE)
        limits = {key: getattr(self, key) for key in ("start_epoch", "start_step", "end_epoch", "end_step")}
        bounded = [f"{key} {value}" for key, value in limits.items() if value and (key, value) != ("start_epoch", 1)]
        if bounded:
            found.append(f"{', '.join(bounded)}: current releases show its pictures in that part of the training only")
        return found

    def resizing(self) -> Resizing | str:
        """Return what decides over sizes, or why it cannot be told from the file."""
        if self.resolution is None or self.resolution_type is None:
            return "resolution or resolution_type is left to the trainer's global options"
        if self.resolution_type not in ("area", "pixel"):
            return f"resolution_type {self.resolution_type} depends on the trainer's global options: use area"
        if self.crop and self.crop_aspect not in ("square", "preserve"):
            return f"crop_aspect {self.crop_aspect} crops every picture anew: use preserve"
        if self.resolution <= 0:
            return f"resolution {self.resolution:g} is no size: use 1.0, megapixels, with resolution_type area"
        return Resizing(
            resolution=self.resolution,
            unit="area" if self.resolution_type == "area" else "pixel",
            crop=self.crop,
            square=self.crop_aspect == "square",
            smallest=self.minimum_image_size or 0.0,
            largest=self.maximum_image_size or 0.0,
            downsample=self.target_downsample_size or 0.0,
            narrowest=self.minimum_aspect_ratio or 0.0,
            widest=self.maximum_aspect_ratio or 0.0,
        )

    def refusals(self) -> list[str]:
        """Return why a SimpleTuner stops at this entry or trains none of its pictures, one clause each."""
        found = self._size_refusals()
        if filled := filled_in(self.instance_data_dir):
            found.append(
                f"instance_data_dir {self.instance_data_dir}: SimpleTuner puts something else in place of {filled}: rename the folder"
            )
        prompted = self.prepend_instance_prompt or self.only_instance_prompt or self.caption_strategy == "instanceprompt"
        if prompted and not self.instance_prompt:
            found.append(
                "prepend_instance_prompt, only_instance_prompt and caption_strategy instanceprompt need an instance_prompt"
            )
        if self.probability is not None and self.probability <= 0:
            found.append(
                f"probability {self.probability:g}: SimpleTuner 4.8 draws nothing from it, and earlier releases take 0 for 1 and stop "
                "below: give more than 0, or leave it out"
            )
        if self.metadata_backend not in (None, "discovery", "json"):
            found.append(f"metadata_backend {self.metadata_backend} takes pictures and sizes from elsewhere: use discovery")
        if self.repeats is not None and self.repeats < 0:
            found.append(f"repeats {self.repeats}: it counts passes after the first one: use 0 or more")
        if self.disable_vae_cache:
            found.append("disable_vae_cache leaves 3.1.6 without latents: it stops at the first batch")
        if self.crop and self.crop_style == "face":
            found.append(
                "crop_style face needs a face model that SimpleTuner's wheels do not bring, and drops every picture: use center"
            )
        skipped = [step for step in ("aspect", "text", "vae") if step in self.skip_file_discovery]
        if skipped:
            found.append(
                f"skip_file_discovery {' '.join(skipped)}: on a dataset that it has not seen the trainer stops without that step; "
                "leave it empty, and use its own --skip_file_discovery when it starts again"
            )
        return found

    def _size_refusals(self) -> list[str]:
        found = []
        if self.minimum_image_size and self.resolution_type == "area" and self.minimum_image_size > 5:
            found.append(f"minimum_image_size {self.minimum_image_size:g}: 0 to 5 (megapixels) where resolution_type is area")
        if self.maximum_image_size and not self.target_downsample_size:
            found.append("maximum_image_size needs target_downsample_size beside it")
        for key in ("maximum_image_size", "target_downsample_size"):
            value = getattr(self, key)
            if value and self.resolution_type == "area" and value >= 20:
                found.append(f"{key} {value:g}: less than 20 (megapixels) where resolution_type is area")
            if value and self.resolution_type == "pixel" and value < 512:
                found.append(f"{key} {value:g}: 512 (pixels) or more where resolution_type is pixel")
        return found


def refused_together(entries: Sequence[EntryOnFile]) -> list[tuple[str, str]]:
    """Return (id, why) of what SimpleTuner 3.1.6 refuses about the enabled entries of a file as a whole."""
    images = [entry for entry in entries if entry.dataset_type == "image"]
    texts = {entry.id: entry for entry in entries if entry.dataset_type == "text_embeds"}
    latents = {entry.id for entry in entries if entry.dataset_type == "image_embeds"}
    found = [
        (name, f"{number} entries have this id: give each its own")
        for name, number in Counter(entry.id for entry in entries).items()
        if number > 1
    ]
    caches = Counter(entry.cache_dir_vae for entry in images)
    default = any(entry.default for entry in texts.values())
    for entry in images:
        if not entry.cache_dir_vae:
            found.append((entry.id, "cache_dir_vae is missing"))
        elif caches[entry.cache_dir_vae] > 1 or entry.cache_dir_vae in {text.cache_dir for text in texts.values()}:
            found.append((entry.id, f"cache_dir_vae {entry.cache_dir_vae} is another entry's too: give each its own"))
        if entry.text_embeds not in texts and (entry.text_embeds or not default):
            found.append((entry.id, f"text_embeds {entry.text_embeds!r} is no text_embeds entry of this file"))
        if entry.image_embeds is not None and entry.image_embeds not in latents:
            found.append((entry.id, f"image_embeds {entry.image_embeds!r} is no image_embeds entry of this file"))
        text = texts.get(entry.text_embeds)
        found += [
            (entry.id, f"the cache {cache} lies inside the dataset: the trainer would take what it finds there for pictures")
            for cache in filter(None, (entry.cache_dir_vae, text.cache_dir if text else ""))
            if entry.type == "local" and is_inside(Path(cache), Path(entry.instance_data_dir))
        ]
    return found


def filled_in(text: str) -> str:
    """Return the first part of a value that SimpleTuner puts something else in place of; nothing where there is none."""
    found = _FILLED_IN.search(text)
    return found[0] if found else ""


def looks_like_entries(content: bytes) -> bool:
    """Tell whether a file of this content is a list of dataset entries, with or without faults in them."""
    try:
        entries = msgspec.json.decode(content, type=list[dict[str, Any]])
    except NOT_JSON:
        return False
    return all(entry.keys() & {"id", "dataset_type", "instance_data_dir"} for entry in entries)


def read_entries(path: Path) -> list[EntryOnFile]:
    """Read the entries of a ``multidatabackend.json``, whoever wrote it.

    Raises
    ------
    UsageError
        The file cannot be read, is not JSON, or holds a value of the wrong type.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[EntryOnFile])
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except NOT_JSON as error:
        raise UsageError(f"{path} is no list of dataset entries: {error}") from None
