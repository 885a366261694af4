"""The TOML that diffusion-pipe's config names as ``dataset``: written, and read with the trainer's defaults."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.trainers.diffusionpipe.replay import AspectBuckets, Rule, SizeBuckets, spaced_aspects
from datakit.trainers.toml import lists_tables, read_toml, table

_ORDER = "# width, height, frames; from narrow to wide: diffusion-pipe mixes them up in any other order\n"
# More of them end the run (``validate``).
_MOST_RESOLUTIONS = 3
# The config of a training names its dataset file so, and no other trainer's file does.
_CONFIG = re.compile(rb"^dataset\s*=\s*['\"]", re.MULTILINE)
# Rounded to three decimals, as it rounds aspects, less is nothing.
_NEAR, _FAR = 0.001, 10**6


@dataclass(frozen=True, slots=True)
class Directory:
    """One folder of pictures as the file gives it: its own keys, else those at the top.

    Attributes
    ----------
    path
        As it stands in the file.
    rule
        What decides over sizes; None where a fault says why it is not known.
    options
        All keys that are set.
    faults
        A sentence for each key that ends the run.
    """

    path: str
    rule: Rule | None
    options: Mapping[str, Any]
    faults: tuple[str, ...]

    @property
    def repeats(self) -> float:
        """``num_repeats``: how often each caption is shown in an epoch, 1 = once."""
        return self.options.get("num_repeats", 1)

    @property
    def skips_empty(self) -> bool:
        """Whether a picture without a caption is left out."""
        return bool(self.options.get("skip_empty_caption", True))


def ordered(sizes: Iterable[Size]) -> SizeBuckets:
    """Return buckets of some sizes from narrow to wide, in which each picture of one of them finds its own."""
    listed = sorted(set(sizes), key=lambda size: (size.width / size.height, size.width))
    return SizeBuckets(tuple((size.width, size.height, 1) for size in listed))


def spelt(rule: SizeBuckets) -> str:
    """Return the line that stands for buckets."""
    return table("", {"size_buckets": [list(bucket) for bucket in rule.listed]}).rstrip("\n")


def write(folders: Sequence[tuple[str, int, Mapping[str, str]]], rule: SizeBuckets) -> bytes:
    """Return the file for some folders of pictures, each with its repeats, that share their buckets.

    Parameters
    ----------
    folders
        (path, num_repeats, ``mask_path`` and ``control_path`` as far as there are any), absolute; 1 = once.
    rule
        The buckets, as `ordered` gives them.

    Raises
    ------
    UsageError
        A path cannot be written.
    """
    tables = [f"{_ORDER}{spelt(rule)}\n{table('', {'enable_ar_bucket': False, 'skip_empty_caption': True})}"]
    tables += [table("[[directory]]", {"path": folder, "num_repeats": repeats, **beside}) for folder, repeats, beside in folders]
    return "\n".join(tables).encode()


def recognises(content: bytes) -> bool:
    """Tell whether a file of this content looks like a dataset file of diffusion-pipe, faulty or not, or like the config that names one."""
    return lists_tables(content, "directory", {"path"}) or _CONFIG.search(content) is not None


def read(path: Path) -> list[Directory]:
    """Read every directory of a file, whoever wrote it.

    Raises
    ------
    UsageError
        The file cannot be read, is no TOML, or names no directory.
    """
    content = read_toml(path)
    directories = content.get("directory", [])
    if not isinstance(directories, list) or not all(isinstance(each, dict) for each in directories):
        raise UsageError(f"{path}: directory must be a list of tables, [[directory]]")
    if not directories:
        other = f": it is the config of a training, whose dataset file is {content['dataset']}" if "dataset" in content else ""
        raise UsageError(f"{path} names no folder of pictures: it has no [[directory]]{other}")
    top = {key: value for key, value in content.items() if key != "directory"}
    return [_directory({**top, **each}, each) for each in directories]


def _directory(options: Mapping[str, Any], own: Mapping[str, Any]) -> Directory:
    faults: list[str] = []
    if not isinstance(own.get("path"), str):
        faults.append("a directory without path: the trainer stops")
    repeats = options.get("num_repeats", 1)
    if not _is_number(repeats) or not 0 < repeats < _FAR:
        faults.append(f"num_repeats {repeats!r}: the trainer stops; use 1 or more")
    resolutions = options.get("resolutions", [])
    if isinstance(resolutions, list) and len(resolutions) > _MOST_RESOLUTIONS:
        faults.append(f"resolutions lists {len(resolutions)}: the trainer stops at more than {_MOST_RESOLUTIONS}")
    rule = _rule(options, faults)
    return Directory(str(own.get("path", "")), rule, options, tuple(faults))


def _rule(options: Mapping[str, Any], faults: list[str]) -> Rule | None:
    """Return what decides over sizes, or None with the fault that ends the run."""
    if "size_buckets" in options:
        return _size_buckets(options["size_buckets"], faults)
    resolutions = _numbers(options.get("resolutions"), lambda pair: math.sqrt(pair[0] * pair[1]))
    if not resolutions:
        faults.append(f"neither size_buckets nor resolutions, but {options.get('resolutions')!r}: the trainer stops")
        return None
    aspects: tuple[float, ...] | None = (1.0,)
    if options.get("enable_ar_bucket", False):
        aspects = _aspects(options)
    if not aspects:
        faults.append("enable_ar_bucket without ar_buckets, or min_ar, max_ar and num_ar_buckets: the trainer stops")
        return None
    return AspectBuckets(resolutions, aspects)


def _size_buckets(listed: Any, faults: list[str]) -> SizeBuckets | None:
    usable = (
        isinstance(listed, list)
        and listed
        and all(isinstance(each, list) and len(each) == 3 and all(map(_is_length, each)) for each in listed)
    )
    if not usable:
        faults.append(f"size_buckets {listed!r}: write [width, height, 1] for each size")
        return None
    return SizeBuckets(tuple((width, height, frames) for width, height, frames in listed))


def _aspects(options: Mapping[str, Any]) -> tuple[float, ...] | None:
    if options.get("ar_buckets"):
        return _numbers(options["ar_buckets"], lambda pair: pair[0] / pair[1])
    bounds: list[Any] = [options.get(key) for key in ("min_ar", "max_ar", "num_ar_buckets")]
    least, most, number = bounds
    usable = all(_is_number(bound) and _NEAR < bound < _FAR for bound in bounds) and _is_length(number)
    return spaced_aspects(float(least), float(most), number) if usable else None


def _numbers(values: Any, of_pair: Any) -> tuple[float, ...] | None:
    """Return numbers, or what becomes of pairs of them; None where there are none, or anything else among them."""
    found = []
    for value in values if isinstance(values, list) else ():
        pair = isinstance(value, list) and len(value) == 2 and all(_is_number(each) and _NEAR < each < _FAR for each in value)
        if not pair and not (_is_number(value) and _NEAR < value < _FAR):
            return None
        found.append(float(of_pair(value) if pair else value))
    return tuple(found) or None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 < value < _FAR
