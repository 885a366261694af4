"""ai-toolkit's bucket, resize and crop arithmetic, re-derived: what becomes of a picture of a given size.

Read in 27a03a9 (toolkit/buckets.py, dataloader_mixins.py), as it is since c9264bd of 2026-05-28: a picture has a bucket of its
own: its size, shrunk to the area of the square of ``resolution`` where it is larger, with each side rounded up or down to what
the model needs. Earlier ones scale a list of sizes by the picture's area, which keeps 1024x1024 alone of datakit's sizes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

from datakit.geometry import Size
from datakit.trainers.fate import Fate


@dataclass(frozen=True, slots=True)
class Resizing:
    """What decides over sizes.

    Attributes
    ----------
    resolution
        Side of the square that no bucket exceeds in pixels.
    divisibility
        What sides are rounded to; it follows from the model.
    buckets, square_crop
        Whether there are buckets at all, and whether all of them are one square.
    random_crop
        Whether the square is cut from the picture as it is where there are no buckets.
    scale
        What the picture's sides are multiplied by first.
    """

    resolution: int
    divisibility: int = 32
    buckets: bool = True
    square_crop: bool = False
    random_crop: bool = False
    scale: float = 1.0


def replay(size: Size, rule: Resizing) -> Fate:
    """Say what becomes of a picture."""
    scaled = Size(int(size.width * rule.scale), int(size.height * rule.scale))
    square = Size(rule.resolution, rule.resolution)
    if min(scaled) < 1:
        return Fate(scaled, scaled, f"too small (scale {rule.scale:g})")
    if not rule.buckets and rule.random_crop:
        return Fate(scaled, square, "" if min(scaled) >= rule.resolution else "smaller than the square that is cut from it")
    if not rule.buckets or rule.square_crop:
        return Fate(_cover(scaled, square), square)
    target = bucket(scaled, rule.resolution, rule.divisibility)
    return Fate(_cover(scaled, target), target)


def bucket(size: Size, resolution: int, divisibility: int) -> Size:
    """Return the bucket of a size: of the sizes around the one that is wanted, the nearest in area that is not too large."""
    most = resolution * resolution
    area = min(size.area, most)
    shrunk = (area / size.area) ** 0.5
    width, height = (side * shrunk / divisibility for side in size)
    around = [
        Size(across * divisibility, down * divisibility)
        for across, down in product(*((math.floor(side), math.ceil(side)) for side in (width, height)))
    ]
    fitting = [each for each in around if min(each) > 0 and each.area <= most]
    if not fitting:
        return Size(*(max(divisibility, math.floor(side) * divisibility) for side in (width, height)))
    return min(fitting, key=lambda each: abs(each.area - area))


def _cover(size: Size, target: Size) -> Size:
    """Return a size scaled until it covers a target, rounded up."""
    factor = max(target.width / size.width, target.height / size.height)
    return Size(math.ceil(size.width * factor), math.ceil(size.height * factor))
