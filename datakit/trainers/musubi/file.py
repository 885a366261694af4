"""The TOML of ``--dataset_config``: written so that nothing is resized, and read with the trainer's own defaults."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.sizes import square_side
from datakit.trainers.musubi.families import OTHER_STEPS, STEP
from datakit.trainers.musubi.replay import Bucketing, buckets
from datakit.trainers.toml import Value, general_and_datasets, lists_tables, table, wrong_keys

# Keys and the types they take (dataset/config_utils.py, ConfigSanitizer); an unknown one or another type ends the run.
_GENERAL: Mapping[str, tuple[type, ...]] = {
    "resolution": (int, list), "enable_bucket": (bool,), "bucket_no_upscale": (bool,), "caption_extension": (str,),
    "batch_size": (int,), "num_repeats": (int,),
}  # fmt: skip
_IMAGES: Mapping[str, tuple[type, ...]] = {
    "image_directory": (str,), "image_jsonl_file": (str,), "cache_directory": (str,), "control_directory": (str,),
    "multiple_target": (bool,), "no_resize_control": (bool,), "control_resolution": (int, list),
    "fp_latent_window_size": (int,), "fp_1f_clean_indices": (list,), "fp_1f_target_index": (int,), "fp_1f_no_post": (bool,),
}  # fmt: skip
# Any of them makes a dataset one of videos.
_VIDEOS = ("video_directory", "video_jsonl_file")
# The trainer lists its caches with glob, in which these stand for other characters.
_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset as the file gives it: its own keys, else the general ones.

    Attributes
    ----------
    options
        All keys that are set.
    bucketing
        None where the trainer stops at what is set.
    faults
        A sentence for each thing at which the trainer stops, or that leaves open what it trains.
    """

    options: Mapping[str, Any]
    bucketing: Bucketing | None
    faults: tuple[str, ...]

    @property
    def is_video(self) -> bool:
        """Whether the trainer takes it for one of videos; without either folder or list of pictures it looks for videos."""
        return any(key in self.options for key in _VIDEOS)

    @property
    def source(self) -> str:
        """Folder of the pictures, or the file that lists them, as it stands in the file; the former wins where both do."""
        return str(self.options.get("image_directory") or self.options.get("image_jsonl_file") or "")

    @property
    def lists_rows(self) -> bool:
        """Whether a file names the pictures and captions."""
        return "image_directory" not in self.options

    @property
    def cache_directory(self) -> str:
        """Folder of its caches; that of the pictures where none is set."""
        return str(self.options.get("cache_directory") or self.options.get("image_directory") or "")

    @property
    def controls(self) -> str | None:
        """Folder of pictures to condition on, as it stands in the file; None where there is none."""
        return self.options.get("control_directory")

    @property
    def caption_extension(self) -> str:
        """Of caption files; nothing where none is set."""
        return str(self.options.get("caption_extension", ""))


def rule_of(sizes: Collection[Size], step: int = STEP) -> Bucketing:
    """Return what is to decide over some sizes: a square, in steps of any model, of their area; 1024x1024 for the eight."""
    side = square_side(sizes, max(STEP, *OTHER_STEPS))
    return Bucketing(Size(side, side), True, True, step)


def write(folders: Sequence[tuple[str, str, int, str | None]], batch_size: int, rule: Bucketing) -> bytes:
    """Return the file for some folders of pictures, a dataset each.

    Parameters
    ----------
    folders
        (image_directory, cache_directory, num_repeats, control_directory), absolute; 1 = once; the last is None where there is none.
    batch_size
        Pictures in a micro-batch.
    rule
        What decides over sizes.

    Raises
    ------
    UsageError
        A path cannot be written, or the trainer could not list its caches there.
    """
    general: dict[str, Value] = {
        "resolution": [*rule.resolution],
        "batch_size": batch_size,
        "enable_bucket": rule.enable_bucket,
        "bucket_no_upscale": rule.bucket_no_upscale,
        "caption_extension": ".txt",
    }
    tables = [table("[general]", general)]
    for images, caches, repeats, controls in folders:
        if _GLOB.intersection(caches):
            raise UsageError(
                f"{caches}: musubi-tuner finds no caches in a folder with *, ? or [ in its path: name another --cache-root"
            )
        values: dict[str, Value] = {"image_directory": images, "cache_directory": caches, "num_repeats": repeats}
        tables.append(table("[[datasets]]", values if controls is None else {**values, "control_directory": controls}))
    return "\n".join(tables).encode()


def recognises(content: bytes) -> bool:
    """Tell whether a file of this content looks like a ``--dataset_config`` of musubi-tuner, faulty or not."""
    return lists_tables(content, "datasets", {*_IMAGES, *_VIDEOS})


def read(path: Path) -> list[Dataset]:
    """Read every dataset of a file, whoever wrote it.

    Raises
    ------
    UsageError
        The file cannot be read, is no TOML, or holds no dataset.
    """
    general, datasets, faults = general_and_datasets(path)
    if not datasets:
        raise UsageError(f"{path} names no pictures: it has no [[datasets]]")
    faults += wrong_keys(general, _GENERAL, "general")
    return _apart([_dataset(general, own, [*faults, *_check_own(own, number)]) for number, own in enumerate(datasets, 1)])


def _dataset(general: Mapping[str, Any], own: Mapping[str, Any], faults: list[str]) -> Dataset:
    options = {**general, **own}
    found = Dataset(options, None, ())
    if not found.is_video:
        faults = [*faults, *_refusals(found)]
    bucketing = None if faults else _bucketing(options, faults)
    return replace(found, bucketing=bucketing, faults=tuple(faults))


def _refusals(dataset: Dataset) -> list[str]:
    """Say what is wrong with where the pictures, the captions and the caches of a dataset are to be."""
    found = []
    if not dataset.source:
        return ["neither image_directory nor image_jsonl_file: the trainer looks for videos and stops"]
    for key in ("image_directory", "image_jsonl_file", "cache_directory"):
        value = dataset.options.get(key)
        if isinstance(value, str) and not Path(value).is_absolute():
            found.append(f"{key} {value!r} is relative: the trainer looks from wherever it is started")
    if "cache_directory" not in dataset.options:
        lists = "the trainer stops" if dataset.lists_rows else "caches are written among the pictures"
        found.append(f"cache_directory is not set: {lists}; name a folder outside the dataset")
    elif _GLOB.intersection(dataset.cache_directory):
        found.append(
            f"cache_directory {dataset.cache_directory!r}: the trainer finds no caches in a folder with *, ? or [ in its path"
        )
    if not dataset.lists_rows and not dataset.caption_extension.startswith("."):
        said = repr(dataset.caption_extension) if dataset.caption_extension else "not set"
        found.append(f'caption_extension is {said}: the trainer stops at the first caption; use ".txt"')
    if dataset.options.get("multiple_target"):
        found.append("multiple_target is true: what is trained beside each picture cannot be proved")
    return found + (_controls(dataset) if dataset.controls is not None else [])


def _controls(dataset: Dataset) -> list[str]:
    """Say what keeps control pictures from lying over their pictures."""
    listed = "control_directory is set beside image_jsonl_file, which names pictures and not their controls"
    apart = "control pictures are resized for themselves, and no longer lie over their pictures"
    keys = [key for key in ("no_resize_control", "control_resolution") if dataset.options.get(key)]
    return [*([listed] if dataset.lists_rows else []), *(f"{key} is set: {apart}" for key in keys)]


def _bucketing(options: Mapping[str, Any], faults: list[str]) -> Bucketing | None:
    """Return what decides over sizes, or None with what makes the trainer stop."""
    resolution = options.get("resolution", list(Bucketing().resolution))
    sides = resolution if isinstance(resolution, list) else [resolution, resolution]
    if len(sides) != 2 or not all(type(side) is int and 0 < side < 10**5 for side in sides):
        faults.append(f"resolution {resolution!r}: use one or two whole numbers")
        return None
    rule = Bucketing(Size(*sides), options.get("enable_bucket", False), options.get("bucket_no_upscale", False))
    if not buckets(rule):
        faults.append(f"resolution {resolution!r} is too small for buckets: the trainer stops")
        return None
    return rule


def _apart(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Name datasets that share a folder of caches, at which the trainer stops."""
    found = []
    for number, dataset in enumerate(datasets):
        shared = any(dataset.cache_directory == other.cache_directory for other in datasets[:number])
        said = f"cache_directory {dataset.cache_directory!r} is another dataset's too: the trainer stops"
        found.append(replace(dataset, faults=(*dataset.faults, said)) if shared else dataset)
    return found


def _check_own(own: Mapping[str, Any], number: int) -> list[str]:
    if any(key in own for key in _VIDEOS):
        return []
    return wrong_keys(own, {**_GENERAL, **_IMAGES}, f"dataset {number}")
