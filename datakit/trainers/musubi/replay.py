"""The bucket and resize arithmetic of musubi-tuner, re-derived: what becomes of a picture of a given size.

Read in kohya-ss/musubi-tuner 30c658c (v0.3.4), ``dataset/bucket.py`` (BucketSelector) and ``dataset/media_utils.py``
(resize_image_to_bucket).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from datakit.geometry import Size
from datakit.trainers.fate import Fate

_DEFAULT = Size(960, 544)


@dataclass(frozen=True, slots=True)
class Bucketing:
    """The part of a dataset that decides over sizes, by the trainer's own names and defaults.

    Attributes
    ----------
    resolution
        Width and height whose area that of all buckets is close to; the one bucket where there is no bucketing.
    enable_bucket, bucket_no_upscale
        Whether there are buckets, and whether pictures of no more than that area have their own sizes for buckets.
    step
        Sides of buckets are multiples of it; the model decides.
    """

    resolution: Size = _DEFAULT
    enable_bucket: bool = False
    bucket_no_upscale: bool = False
    step: int = 16


def replay(size: Size, rule: Bucketing) -> Fate:
    """Return what becomes of a picture of this size: resized to cover its bucket, then cut to it around the middle."""
    bucket = _bucket(size, rule)
    if bucket == size:
        return Fate(size, size)
    scale = max(bucket.width / size.width, bucket.height / size.height)
    return Fate(Size(int(size.width * scale + 0.5), int(size.height * scale + 0.5)), bucket)


@lru_cache
def buckets(rule: Bucketing) -> tuple[Size, ...]:
    """Return all buckets, narrow ones first; none where the resolution is so small that the trainer stops.

    One side goes in steps from half the square's to the square's, the other fills the area; both are turned too.
    """
    if not rule.enable_bucket:
        return (rule.resolution,)
    square = math.isqrt(rule.resolution.area)
    smallest = _down(square // 2, rule.step)
    if not smallest:
        return ()
    sides = range(smallest, square + rule.step, rule.step)
    upright = {Size(side, _down(rule.resolution.area // side, rule.step)) for side in sides}
    return tuple(sorted(upright | {size.transposed() for size in upright}))


def _bucket(size: Size, rule: Bucketing) -> Size:
    if rule.enable_bucket and rule.bucket_no_upscale and size.area <= rule.resolution.area:
        return Size(_down(size.width, rule.step), _down(size.height, rule.step))
    # The first of two as near: the narrower.
    return min(buckets(rule), key=lambda bucket: abs(bucket.aspect - size.aspect))


def _down(length: int, step: int) -> int:
    return length - length % step
