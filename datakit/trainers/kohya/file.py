"""The TOML of ``--dataset_config``: written with every key that the command line could change, and read with its defaults."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.sizes import square_side
from datakit.trainers.kohya.replay import Bucketing
from datakit.trainers.toml import Value, general_and_datasets, lists_tables, table, wrong_keys

# Keys by level and the types they take (library/config_util.py, ConfigSanitizer); an unknown one or another type ends the run.
_NUMBER = (int, float)
_SUBSET: Mapping[str, tuple[type, ...]] = {
    "color_aug": (bool,), "face_crop_aug_range": (list,), "flip_aug": (bool,), "num_repeats": (int,), "random_crop": (bool,),
    "shuffle_caption": (bool,), "keep_tokens": (int,), "keep_tokens_separator": (str,), "secondary_separator": (str,),
    "caption_separator": (str,), "enable_wildcard": (bool,), "token_warmup_min": (int,), "token_warmup_step": _NUMBER,
    "caption_prefix": (str,), "caption_suffix": (str,), "custom_attributes": (dict,), "resize_interpolation": (str,),
    "caption_dropout_every_n_epochs": (int,), "caption_dropout_rate": _NUMBER, "caption_tag_dropout_rate": _NUMBER,
    "caption_extension": (str,), "class_tokens": (str,), "cache_info": (bool,),
}  # fmt: skip
_SUBSET_ALONE: Mapping[str, tuple[type, ...]] = {"image_dir": (str,), "is_reg": (bool,), "alpha_mask": (bool,)}
# Of a subset with companions, which every one of its dataset must then have.
_BESIDE = "conditioning_data_dir"
_SUBSET_BESIDE: Mapping[str, tuple[type, ...]] = {"image_dir": (str,), _BESIDE: (str,)}
_DATASET: Mapping[str, tuple[type, ...]] = {
    "batch_size": (int,), "bucket_no_upscale": (bool,), "bucket_reso_steps": (int,), "enable_bucket": (bool,),
    "max_bucket_reso": (int,), "min_bucket_reso": (int,), "validation_seed": (int,), "validation_split": (float,),
    "resolution": (int, list), "network_multiplier": (float,), "resize_interpolation": (str,),
}  # fmt: skip
# What the command line sets where the file says nothing, and what the file says so that it does not.
_NEUTRAL: Mapping[str, Value] = {
    "shuffle_caption": False,
    "caption_prefix": "",
    "caption_suffix": "",
    "keep_tokens_separator": "",
    "token_warmup_step": 0,
    "color_aug": False,
    "flip_aug": False,
    "random_crop": False,
    "cache_info": False,
}
_FAR = 10**6
# The one step that every one of its scripts takes (verify_bucket_reso_steps), and a bucket's longest side.
STEPS = 64
_LARGEST = 2048


@dataclass(frozen=True, slots=True)
class Subset:
    """One folder of pictures as the file gives it: its own keys, else those of its dataset, else the general ones.

    Attributes
    ----------
    image_dir
        As it stands in the file.
    bucketing
        None where no resolution is given, which the command line then decides.
    options
        All keys that are set.
    faults
        A sentence for each key that ends the run.
    """

    image_dir: str
    bucketing: Bucketing | None
    options: Mapping[str, Any]
    faults: tuple[str, ...]

    @property
    def caption_extension(self) -> str:
        """Of caption files; the trainer's default is no usual one."""
        return str(self.options.get("caption_extension", ".caption"))

    @property
    def beside(self) -> str | None:
        """Folder of its companions as it stands in the file; None where it has none."""
        return self.options.get(_BESIDE)

    @property
    def unset(self) -> list[str]:
        """Keys that change captions or pixels, and that the command line decides."""
        alone = () if self.beside is not None else ("alpha_mask",)
        return [key for key in ("enable_wildcard", *alone, *_NEUTRAL) if key not in self.options]


def rule_of(sizes: Collection[Size], least: int = STEPS) -> Bucketing:
    """Return what is to decide over some sizes: their area, and the greatest steps they are whole in, of those a script takes.

    ``least`` is the least of these; 1024 in steps of 64 for the eight.
    """
    steps = (step for step in (STEPS, 32, 16, 8) if step >= least and all(side % step == 0 for size in sizes for side in size))
    side = square_side(sizes, STEPS)
    return Bucketing(Size(side, side), True, True, next(steps, least), min(256, side), max(_LARGEST, side))


def write(folders: Sequence[tuple[str, int, str | None]], batch_size: int, wildcard: bool, rule: Bucketing) -> bytes:
    """Return the file for some folders of pictures, each with its repeats, that share their buckets.

    Parameters
    ----------
    folders
        (image_dir, num_repeats, conditioning_data_dir), absolute; 1 = once; the last is None in all, or in none.
    batch_size
        Wins over ``--train_batch_size``.
    wildcard
        Draw one line of each caption file at every sampling.
    rule
        What decides over sizes, as `rule_of` gives it.

    Raises
    ------
    UsageError
        A path cannot be written.
    """
    general: dict[str, Value] = {
        "resolution": [*rule.resolution],
        "batch_size": batch_size,
        "enable_bucket": rule.enable_bucket,
        "bucket_no_upscale": rule.bucket_no_upscale,
        "bucket_reso_steps": rule.bucket_reso_steps,
        "min_bucket_reso": rule.min_bucket_reso,
        # Unused as long as nothing is enlarged, but checked.
        "max_bucket_reso": rule.max_bucket_reso,
        "caption_extension": ".txt",
        "enable_wildcard": wildcard,
        **_NEUTRAL,
    }
    tables = [table("[general]", general), "[[datasets]]\n"]
    for folder, repeats, beside in folders:
        # A subset with companions knows no alpha_mask, and stops at it.
        more: dict[str, Value] = {"alpha_mask": False} if beside is None else {_BESIDE: beside}
        tables.append(table("[[datasets.subsets]]", {"image_dir": folder, "num_repeats": repeats, **more}))
    return "\n".join(tables).encode()


def recognises(content: bytes) -> bool:
    """Tell whether a file of this content looks like a ``--dataset_config`` of sd-scripts, faulty or not."""
    return lists_tables(content, "datasets", {"subsets"})


def read(path: Path) -> list[Subset]:
    """Read every subset of a file, whoever wrote it.

    Raises
    ------
    UsageError
        The file cannot be read, is no TOML, or holds no subset.
    """
    general, datasets, faults = general_and_datasets(path)
    faults += wrong_keys(general, {**_DATASET, **_SUBSET}, "general")
    found = []
    for number, dataset in enumerate(datasets, 1):
        own = {key: value for key, value in dataset.items() if key != "subsets"}
        wrong = [*faults, *wrong_keys(own, {**_DATASET, **_SUBSET}, f"dataset {number}")]
        subsets = dataset.get("subsets", [])
        if not isinstance(subsets, list) or not all(isinstance(each, dict) for each in subsets):
            raise UsageError(f"{path}: subsets of dataset {number} must be a list of tables, [[datasets.subsets]]")
        above = {**general, **own}
        # It decides by all subsets together which keys they may have (ConfigSanitizer, validate_flex_dataset).
        alone = _SUBSET_BESIDE if subsets and all(_BESIDE in each for each in subsets) else _SUBSET_ALONE
        found += [_subset(above, each, [*wrong, *wrong_keys(each, {**_SUBSET, **alone}, "a subset")]) for each in subsets]
    if not found:
        raise UsageError(f"{path} names no folder of pictures: it has no [[datasets.subsets]]")
    return found


def _subset(above: Mapping[str, Any], own: Mapping[str, Any], faults: list[str]) -> Subset:
    options = {**above, **own}
    if "image_dir" not in own:
        faults.append("a subset without image_dir")
    bucketing = None
    if not faults and "resolution" in options:
        bucketing = _bucketing(options, faults)
    return Subset(str(own.get("image_dir", "")), bucketing, options, tuple(faults))


def _bucketing(options: Mapping[str, Any], faults: list[str]) -> Bucketing | None:
    """Return what decides over sizes, or None with the fault that ends the run."""
    resolution = options["resolution"]
    sides = resolution if isinstance(resolution, list) else [resolution, resolution]
    if len(sides) != 2 or not all(type(side) is int and 0 < side < _FAR for side in sides):
        faults.append(f"resolution {resolution!r}: use one or two whole numbers")
        return None
    names = ("enable_bucket", "bucket_no_upscale", "bucket_reso_steps", "min_bucket_reso", "max_bucket_reso")
    rule = Bucketing(Size(*sides), **{name: options[name] for name in names if name in options})
    if not rule.enable_bucket:
        return rule
    if not 0 < rule.bucket_reso_steps < _FAR or rule.bucket_reso_steps % 8:
        faults.append(f"bucket_reso_steps {rule.bucket_reso_steps}: the trainer stops; use 64")
    elif not 0 < rule.smallest <= min(sides):
        faults.append(
            f"min_bucket_reso {rule.min_bucket_reso} is more than the resolution, or less than the steps: the trainer stops"
        )
    elif not max(sides) <= rule.largest < _FAR:
        faults.append(f"max_bucket_reso {rule.max_bucket_reso} is less than the resolution {sides}: the trainer stops; use 2048")
    return None if faults else rule
