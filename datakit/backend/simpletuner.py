"""SimpleTuner's ``multidatabackend.json``: the only file that spells its dataset keys.

Facts behind the fixed values, read and run in SimpleTuner 3.1.6, 4.8 and the commit of October 2024 that the
recipe pins: with ``crop`` on, ``crop_aspect preserve``, ``resolution_type area`` and no size limits all eight
sizes are trained pixel by pixel; the zeros keep global options such as ``--minimum_image_size`` from dropping or
resizing anything; relative paths are taken from wherever the trainer is started.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from datakit.backend.concept import Concept, captions_hash
from datakit.backend.replay import RELEASES, Resizing
from datakit.errors import UsageError
from datakit.manifest import NOT_JSON

# Families whose sizes are multiples of 64 and whose canvas is not limited below the eight sizes.
FAMILIES = ("sd3", "sdxl", "flux")
# ``caption_shuffle`` appeared in this release; earlier ones ignore it without a word.
CAPTION_SHUFFLE_SINCE = "4.0.5"


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
    type: Literal["local"] = "local"
    dataset_type: Literal["image"] = "image"
    instance_data_dir: str
    cache_dir_vae: str
    text_embeds: str
    caption_strategy: Literal["textfile"] = "textfile"
    prepend_instance_prompt: bool = False
    metadata_backend: Literal["discovery"] = "discovery"
    resolution: float = 1.0
    resolution_type: Literal["area", "pixel"] = "area"
    crop: bool = True
    crop_aspect: Literal["preserve", "square"] = "preserve"
    crop_style: Literal["center", "corner", "random"] = "center"
    minimum_image_size: float = 0
    maximum_image_size: float = 0
    target_downsample_size: float = 0
    disabled: bool = False
    skip_file_discovery: str = ""
    # Its mere presence keeps 3.1.6 from raising repeats by itself (--allow_dataset_oversubscription).
    repeats: int | UnsetType = UNSET
    caption_shuffle: CaptionShuffle | UnsetType = UNSET
    probability: float | UnsetType = UNSET
    ignore_epochs: int | UnsetType = UNSET
    disable_validation: bool | UnsetType = UNSET
    disable_vae_cache: bool | UnsetType = UNSET
    vae_cache_clear_each_epoch: bool | UnsetType = UNSET
    vae_batch_size: int | UnsetType = UNSET
    hash_filenames: bool | UnsetType = UNSET
    compress_cache: bool | UnsetType = UNSET
    preserve_data_backend_cache: bool | UnsetType = UNSET
    scan_for_errors: bool | UnsetType = UNSET
    delete_problematic_images: bool | UnsetType = UNSET
    metadata_update_interval: int | UnsetType = UNSET
    image_processing_batch_size: int | UnsetType = UNSET
    read_batch_size: int | UnsetType = UNSET
    write_batch_size: int | UnsetType = UNSET
    max_workers: int | UnsetType = UNSET
    instance_prompt: str | UnsetType = UNSET
    only_instance_prompt: bool | UnsetType = UNSET
    is_regularisation_data: bool | UnsetType = UNSET
    minimum_aspect_ratio: float | UnsetType = UNSET
    maximum_aspect_ratio: float | UnsetType = UNSET


class TextEmbedsEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the embeddings of all captions are kept."""

    id: str
    type: Literal["local"] = "local"
    dataset_type: Literal["text_embeds"] = "text_embeds"
    default: bool = True
    cache_dir: str
    disabled: bool = False
    write_batch_size: int = 128


Entry = ImageEntry | TextEmbedsEntry

# What datakit decides by its own options or proves by the content; `--set` would break it.
_NOT_SETTABLE = {"id", "instance_data_dir", "cache_dir_vae", "text_embeds", "repeats", "caption_shuffle", "type", "dataset_type"}


def emit(
    concepts: Sequence[Concept],
    cache_root: Path,
    family: str = "sd3",
    settings: Sequence[str] = (),
    shuffle: CaptionShuffle | None = None,
) -> list[Entry]:
    """Build one image entry a concept and one entry for the text embeddings.

    Parameters
    ----------
    concepts
        In the order of the entries.
    cache_root
        Folder of the caches; latents go to ``vae/FAMILY/ID`` and embeddings to ``text/FAMILY/ID`` below it,
        so that neither another model nor an earlier version of a dataset is ever read from it.
    family
        One of `FAMILIES`.
    settings
        ``key=value`` for every image entry, as on the command line.
    shuffle
        Let the trainer shuffle captions.

    Raises
    ------
    UsageError
        The family or a key is unknown, a value has the wrong type, two concepts are the same, or a dataset
        that is shuffled already would be shuffled again.
    """
    if family not in FAMILIES:
        raise UsageError(f"model family {family!r} is not known: use one of {' '.join(FAMILIES)}")
    if shuffle is not None:
        for concept in concepts:
            if concept.shuffled:
                raise UsageError(
                    f"{concept.folder} is shuffled already: leave out the caption shuffle, or give the dataset that crop wrote"
                )
    changes = parse_settings(settings)
    cache = Path(os.path.abspath(cache_root))
    text_id = f"text-{family}-{captions_hash(concepts)}"
    entries: list[Entry] = []
    for concept in concepts:
        if any(entry.id == concept.id for entry in entries):
            raise UsageError(f"{concept.folder} is given twice: give each dataset once, and more weight by its repeats")
        entry = ImageEntry(
            id=concept.id,
            instance_data_dir=os.fspath(concept.folder),
            cache_dir_vae=os.fspath(cache / "vae" / family / concept.id),
            text_embeds=text_id,
            # SimpleTuner counts extra passes: 0 is once.
            repeats=concept.passes - 1 if concept.passes > 1 else UNSET,
            caption_shuffle=shuffle or UNSET,
        )
        entries.append(msgspec.structs.replace(entry, **changes))
    entries.append(TextEmbedsEntry(id=text_id, cache_dir=os.fspath(cache / "text" / family / text_id)))
    return entries


def to_json(entries: Sequence[Entry]) -> bytes:
    """Return the file: indented JSON, keys in a fixed order."""
    return msgspec.json.format(msgspec.json.encode(list(entries)), indent=2) + b"\n"


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs, each value of exactly the type that its key takes.

    Values are JSON (``true``, ``0.5``) or plain text for keys that take text.

    Raises
    ------
    UsageError
        A key is unknown or not to be set, or a value has the wrong type.
    """
    fields = {field.name: field.type for field in msgspec.structs.fields(ImageEntry) if field.name not in _NOT_SETTABLE}
    changes: dict[str, Any] = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise UsageError(f"--set {setting!r}: write key=value, such as --set probability=0.5")
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"keys: {' '.join(sorted(fields))}"
            if key in _NOT_SETTABLE:
                hint = "datakit writes it from the dataset and from its own options"
            raise UsageError(f"--set {key}: not a key that can be set here: {hint}")
        changes[key] = _typed(key, text, fields[key])
    return changes


def _typed(key: str, text: str, kind: Any) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        # Text that happens to be JSON, for a key that takes text.
        with suppress(msgspec.ValidationError):
            return msgspec.convert(text, kind)
        raise UsageError(f"--set {key}={text}: {error} (booleans are written true and false, text as it is)") from None


class EntryOnFile(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a dataset entry that decide what is trained, with SimpleTuner's defaults for absent ones."""

    id: str
    type: str = "local"
    dataset_type: str = "image"
    disabled: bool = False
    instance_data_dir: str = ""
    caption_strategy: str | None = None
    # A global option of the trainer fills in what is absent; it stays unknown here.
    resolution: float | None = None
    resolution_type: str | None = None
    crop: bool = False
    crop_aspect: str = "square"
    minimum_image_size: float | None = None
    maximum_image_size: float | None = None
    target_downsample_size: float | None = None
    repeats: int = 0

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

    def resizing(self) -> Resizing | str:
        """Return what decides over sizes, or why it cannot be told from the file."""
        if self.resolution is None or self.resolution_type is None:
            return "resolution or resolution_type is left to the trainer's global options"
        if self.resolution_type not in ("area", "pixel"):
            return f"resolution_type {self.resolution_type} depends on the trainer's global options: use area"
        if self.crop and self.crop_aspect not in ("square", "preserve"):
            return f"crop_aspect {self.crop_aspect} crops every picture anew: use preserve"
        return Resizing(
            resolution=self.resolution,
            unit="area" if self.resolution_type == "area" else "pixel",
            crop=self.crop,
            square=self.crop_aspect == "square",
            smallest=self.minimum_image_size or 0.0,
            largest=self.maximum_image_size or 0.0,
            downsample=self.target_downsample_size or 0.0,
        )


def read_entries(path: Path) -> list[EntryOnFile]:
    """Read the enabled image entries of a ``multidatabackend.json``, whoever wrote it.

    Raises
    ------
    UsageError
        The file cannot be read, is not JSON, or holds a value of the wrong type.
    """
    try:
        entries = msgspec.json.decode(path.read_bytes(), type=list[EntryOnFile])
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except NOT_JSON as error:
        raise UsageError(f"{path} is no list of dataset entries: {error}") from None
    return [entry for entry in entries if entry.dataset_type == "image" and entry.type == "local" and not entry.disabled]


# Written into the dataset folder by the trainer at start-up; the entry's id is part of the name.
_INDEX = "aspect_ratio_bucket_indices"
_METADATA = "aspect_ratio_bucket_metadata"


def trainer_files(folder: Path) -> list[Path]:
    """Return the files that the trainer left in a dataset folder, sorted."""
    return sorted(path for name in (_INDEX, _METADATA) for path in folder.glob(f"{name}_*.json"))


def stale_files(concept: Concept) -> list[Path]:
    """Return what the trainer left in a dataset folder for anything but its present content."""
    return [path for path in trainer_files(concept.folder) if not path.name.endswith(f"_{concept.id}.json")]


def changed_sizes(entries: Sequence[Entry], concepts: Sequence[Concept]) -> list[str]:
    """Replay each size of each concept through its entry; return what would not be kept, one sentence each."""
    found = []
    for concept, entry in zip(concepts, entries, strict=False):
        rule = msgspec.convert(msgspec.to_builtins(entry), EntryOnFile).resizing()
        if isinstance(rule, str):
            found.append(f"{entry.id}: {rule}")
            continue
        for size, pictures in concept.buckets.items():
            for release, replay in RELEASES.items():
                fate = replay(size, rule)
                if not fate.keeps(size):
                    found.append(
                        f"{entry.id}: {pictures} pictures of {size} would be {fate.describe(size)} by SimpleTuner {release}"
                    )
    return found


class _BucketIndex(msgspec.Struct):
    aspect_ratio_bucket_indices: dict[str, list[str]] = {}


def bucketed_pictures(entry: EntryOnFile) -> tuple[set[str] | None, set[str] | None]:
    """Return the paths that the trainer put into buckets and those it holds metadata of; None before it ran.

    Raises
    ------
    UsageError
        A file is there and cannot be read.
    """
    folder = Path(entry.instance_data_dir)
    index, metadata = folder / f"{_INDEX}_{entry.id}.json", folder / f"{_METADATA}_{entry.id}.json"
    bucketed = known = None
    try:
        if index.exists():
            buckets = msgspec.json.decode(index.read_bytes(), type=_BucketIndex).aspect_ratio_bucket_indices
            bucketed = {path for paths in buckets.values() for path in paths}
        if metadata.exists():
            known = set(msgspec.json.decode(metadata.read_bytes(), type=dict[str, Any]))
    except (OSError, *NOT_JSON) as error:
        raise UsageError(f"the trainer's files in {folder} cannot be read ({error}): wait until it has written them") from error
    return bucketed, known
