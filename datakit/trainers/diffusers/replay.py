"""The bucket and resize arithmetic of diffusers' example scripts, re-derived: what becomes of a picture of a given size.

Read in huggingface/diffusers 58eb52c (0.40), ``src/diffusers/training_utils.py`` (find_nearest_bucket,
generate_aspect_ratio_buckets) and ``examples/`` (DreamBoothDataset, preprocess_train): the picture is scaled so that it covers its
bucket, then cropped, at a place drawn at random where nothing else is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datakit.geometry import Size
from datakit.trainers.fate import Fate

# Aspects of the buckets that it works out by itself, in its order, and what their sides are multiples of.
_ASPECTS = ((1, 1), (4, 5), (5, 4), (2, 3), (3, 2), (3, 4), (4, 3), (9, 16), (16, 9), (1, 2), (2, 1))
_STEP = 16


@dataclass(frozen=True, slots=True)
class Listed:
    """The buckets of ``--aspect_ratio_buckets``, or the one square of a script with buckets that is given none."""

    buckets: tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class WorkedOut:
    """Buckets for an area, as ``--use_aspect_ratio_buckets`` without a list makes them."""

    resolution: int


@dataclass(frozen=True, slots=True)
class Square:
    """One square of a script without buckets: the short side becomes ``--resolution``."""

    resolution: int


Rule = Listed | WorkedOut | Square


def replay(size: Size, rule: Rule) -> Fate:
    """Return what becomes of a picture of this size."""
    if isinstance(rule, Square):
        return _squared(size, rule.resolution)
    buckets = rule.buckets if isinstance(rule, Listed) else _worked_out(size, rule.resolution)
    bucket = _nearest(size, buckets)
    scale = max(bucket.height / size.height, bucket.width / size.width)
    return Fate(Size(round(size.width * scale), round(size.height * scale)), bucket)


def _nearest(size: Size, buckets: Sequence[Size]) -> Size:
    """Return the bucket whose sides are most nearly in proportion; the last of several as near."""
    return min(reversed(buckets), key=lambda bucket: abs(size.height * bucket.width - size.width * bucket.height))


def _worked_out(size: Size, resolution: int) -> list[Size]:
    """Return the buckets for a picture: of the area asked for, or of its own where that is smaller."""
    side = min(resolution, round((size.height * size.width) ** 0.5))
    found = []
    for wide, high in _ASPECTS:
        height = (side * side / (wide / high)) ** 0.5
        found.append(Size(_multiple(height * (wide / high)), _multiple(height)))
    return list(dict.fromkeys(found))


def _multiple(length: float) -> int:
    return max(_STEP, round(length / _STEP) * _STEP)


def _squared(size: Size, resolution: int) -> Fate:
    """As torchvision's Resize does with one number: the long side is cut to whole pixels."""
    if size.width <= size.height:
        resized = Size(resolution, int(resolution * size.height / size.width))
    else:
        resized = Size(int(resolution * size.width / size.height), resolution)
    return Fate(resized, Size(resolution, resolution))
