"""The bucket and resize arithmetic of sd-scripts, re-derived: what becomes of a picture of a given size.

Read in kohya-ss/sd-scripts 48d368f (v0.10.1), ``library/train_util.py`` (BucketManager, trim_and_resize_if_required) and
``library/model_util.py`` (make_bucket_resolutions).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from datakit.geometry import Size
from datakit.trainers.fate import Fate


@dataclass(frozen=True, slots=True)
class Bucketing:
    """The part of a dataset that decides over sizes, by the trainer's own names and defaults.

    Attributes
    ----------
    resolution
        Width and height whose area is that of all buckets; the one bucket where there is no bucketing.
    enable_bucket, bucket_no_upscale
        Whether there are buckets, and whether they follow the pictures' own sizes.
    bucket_reso_steps
        Sides of buckets are multiples of it.
    min_bucket_reso, max_bucket_reso
        Of a side of a bucket, where pictures may be enlarged.
    """

    resolution: Size
    enable_bucket: bool = False
    bucket_no_upscale: bool = False
    bucket_reso_steps: int = 64
    min_bucket_reso: int = 256
    max_bucket_reso: int = 1024

    @property
    def smallest(self) -> int:
        """The least side of a bucket: the minimum, brought down to a multiple of the steps."""
        return self.min_bucket_reso - self.min_bucket_reso % self.bucket_reso_steps

    @property
    def largest(self) -> int:
        """The greatest side of a bucket: the maximum, brought up to a multiple of the steps."""
        return self.max_bucket_reso + -self.max_bucket_reso % self.bucket_reso_steps


def replay(size: Size, rule: Bucketing) -> Fate:
    """Return what becomes of a picture of this size."""
    if rule.enable_bucket and rule.bucket_no_upscale:
        resized = _shrunk(size, rule)
        return Fate(resized, Size(*(side - side % rule.bucket_reso_steps for side in resized)))
    buckets = _buckets(rule) if rule.enable_bucket else (rule.resolution,)
    # A size of the list is its own bucket; else the nearest aspect decides, the first of two as near.
    bucket = size if size in buckets else min(buckets, key=lambda each: abs(each.width / each.height - size.width / size.height))
    wider = size.width / size.height > bucket.width / bucket.height
    scale = bucket.height / size.height if wider else bucket.width / size.width
    return Fate(Size(int(size.width * scale + 0.5), int(size.height * scale + 0.5)), bucket)


@lru_cache
def _buckets(rule: Bucketing) -> tuple[Size, ...]:
    """Return every bucket of an area: a width in steps from the least to the greatest, the height that fills it, and both turned."""
    area, step = rule.resolution.width * rule.resolution.height, rule.bucket_reso_steps
    side = int(math.sqrt(area) // step) * step
    found = {Size(side, side)}
    for width in range(rule.smallest, rule.largest + 1, step):
        height = min(rule.largest, area // width // step * step)
        if height >= rule.smallest:
            found |= {Size(width, height), Size(height, width)}
    return tuple(sorted(found))


def _shrunk(size: Size, rule: Bucketing) -> Size:
    """Return a size brought down to the area, with one side a multiple of the steps; a smaller one is itself."""
    area, step = rule.resolution.width * rule.resolution.height, rule.bucket_reso_steps
    if size.width * size.height <= area:
        return size
    aspect = size.width / size.height
    wide = math.sqrt(area * aspect)
    width, height = _down(wide, step), _down(area / wide, step)
    if not (width and height and _down(width / aspect, step) and _down(height * aspect, step)):
        return Size(0, 0)  # the trainer divides by it and stops
    by_width, by_height = width / _down(width / aspect, step), _down(height * aspect, step) / height
    if abs(by_width - aspect) < abs(by_height - aspect):
        return Size(width, int(width / aspect + 0.5))
    return Size(int(height * aspect + 0.5), height)


def _down(length: float, step: int) -> int:
    whole = int(length + 0.5)
    return whole - whole % step
