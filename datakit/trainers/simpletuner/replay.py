"""SimpleTuner's bucket, resize and crop arithmetic, re-derived: what becomes of a picture of a given size.

A picture is first resized to an intermediary size of about its own aspect and then cropped to a target, whose
sides are multiples of the alignment. It is trained as written exactly where both equal its own size.

The rules were read in three releases and are checked against 3.1.6's own code by tests/trainers/test_simpletuner_wheel.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from datakit.geometry import Size
from datakit.sizes import square_side
from datakit.trainers.fate import Fate

# Sides of a target are multiples of this; SD3, SDXL and Flux all train with it.
ALIGNMENT = 64
# Decimals of an aspect that names a bucket (SimpleTuner's default).
ROUNDING = 2
# Round megapixel values stand for the squares that trainers are used to, by the length of their sides.
_ROUND_MEGAPIXELS = {0.25: 512, 0.5: 768, 1.0: 1024, 2.0: 1536, 4.0: 2048}


@dataclass(frozen=True, slots=True)
class Resizing:
    """The part of a dataset entry that decides over sizes.

    Attributes
    ----------
    resolution
        Megapixels where ``unit`` is area, pixels of the short side where it is pixel.
    crop, square
        Whether pictures are cropped to the bucket, and whether all to a square.
    smallest
        Pictures below are dropped; in the unit of ``resolution``, 0 for no limit.
    largest, downsample
        Both set, pictures are resized to ``downsample`` before they are cropped; 0 for off.
    narrowest, widest
        Buckets whose aspect lies outside are dropped with all their pictures; 0 for no limit.
    """

    resolution: float
    unit: Literal["area", "pixel"]
    crop: bool
    square: bool
    smallest: float = 0.0
    largest: float = 0.0
    downsample: float = 0.0
    narrowest: float = 0.0
    widest: float = 0.0


def bucket_name(size: Size) -> str:
    """Return the aspect by which SimpleTuner names the bucket of a size."""
    return str(round(size.aspect, ROUNDING))


def replay_current(size: Size, rule: Resizing) -> Fate:
    """Replay SimpleTuner 3.1.6 and 4.8: the intermediary size follows the picture's exact aspect."""
    if _too_small(size, rule):
        return Fate(size, size, "too small")
    target, intermediary = _sizes(size, rule, size.aspect)
    if rule.crop and rule.largest and rule.downsample and _differs_in_area(size, target, rule):
        intermediary = _downsampled(size, target, rule)
    return Fate(intermediary, target, _outside(target, rule))


def replay_recipe(size: Size, rule: Resizing) -> Fate:
    """Replay the commit of October 2024 that the recipe pins.

    Its intermediary size follows the aspect rounded to two decimals, which moves five of the eight sizes by
    1 to 7 pixels; with cropping on and no size limits it crops without resizing.
    """
    if _too_small(size, rule):
        return Fate(size, size, "too small")
    target, intermediary = _sizes(size, rule, round(size.aspect, ROUNDING))
    if rule.crop and not (rule.largest and rule.downsample):
        intermediary = size
    return Fate(intermediary, target, _outside(target, rule))


RELEASES: dict[str, Callable[[Size, Resizing], Fate]] = {"current": replay_current, "2024-10": replay_recipe}


def unkept(size: Size, rule: Resizing, releases: Iterable[str] = tuple(RELEASES)) -> list[str]:
    """Say what is done to a picture of this size that is not trained as it is, one clause each, and by which releases."""
    described: dict[str, list[str]] = {}
    for release in releases:
        fate = RELEASES[release](size, rule)
        if not fate.keeps(size):
            described.setdefault(fate.describe(size), []).append(release)
    return [f"{words} by SimpleTuner {' and '.join(by)}" for words, by in described.items()]


def area_of(sizes: Collection[Size]) -> float | None:
    """Return the ``resolution`` of an entry, in megapixels, at which it keeps all of some sizes; None where none does.

    1.0 for the eight. Else the area of a square in steps of the alignment, to two decimals, the nearest to that of the sizes.
    """
    area = max(size.area for size in sizes)
    sides = sorted(range(ALIGNMENT, 2 * square_side(sizes, ALIGNMENT), ALIGNMENT), key=lambda side: abs(side * side - area))
    areas = (1.0, *(round(side * side / 1e6, 2) for side in sides))
    rules = (Resizing(each, "area", True, False) for each in areas if each)
    return next((rule.resolution for rule in rules if not any(unkept(size, rule) for size in sizes)), None)


def why_unkept(sizes: Collection[Size]) -> str:
    """Say why no ``resolution`` keeps all of some sizes, as a clause."""
    odd = [str(size) for size in sizes if any(side % ALIGNMENT for side in size)]
    if odd:
        return f"SimpleTuner trains sides that are multiples of {ALIGNMENT}"
    alone = [str(size) for size in sizes if area_of([size]) is None]
    if alone:
        return f"SimpleTuner makes {', '.join(alone)} of no area: it rounds the sides of an aspect and an area to {ALIGNMENT}"
    return "an entry of SimpleTuner has one area, and none keeps all of these sizes: crop with sizes of one area, such as --sizes 512"


def _too_small(size: Size, rule: Resizing) -> bool:
    if not rule.smallest:
        return False
    if rule.unit == "pixel":
        return min(size) < rule.smallest
    pixels = rule.smallest * 1e6
    if rule.crop and rule.square and min(size) < math.floor(math.sqrt(pixels)):
        return True
    return size.area < pixels


def _outside(target: Size, rule: Resizing) -> str:
    """Say by which limit of the aspect a bucket goes; nothing where it stays."""
    aspect = round(target.aspect, ROUNDING)
    if rule.narrowest and aspect < rule.narrowest:
        return f"too narrow (aspect {aspect:g}, minimum_aspect_ratio {rule.narrowest:g})"
    if rule.widest and aspect > rule.widest:
        return f"too wide (aspect {aspect:g}, maximum_aspect_ratio {rule.widest:g})"
    return ""


def _sizes(size: Size, rule: Resizing, aspect: float) -> tuple[Size, Size]:
    """Return target and intermediary size; ``aspect`` is what the intermediary follows."""
    rounded = 1.0 if rule.crop and rule.square else round(size.aspect, ROUNDING)
    if rule.unit == "area":
        target, intermediary = _by_area(size, rounded, rule.resolution, aspect)
    else:
        target, intermediary = _by_edge(size, rounded, int(rule.resolution), aspect)
    if round(target.aspect, ROUNDING) == 1.0:
        edge = _square_edge(rule)
        target = Size(edge, edge)
        if intermediary.width < edge:
            intermediary = target
    return target, intermediary


def _by_area(size: Size, rounded: float, megapixels: float, aspect: float) -> tuple[Size, Size]:
    edge = _multiple(int(math.sqrt(megapixels * 1e6)))
    root = math.sqrt(rounded)
    target = Size(_multiple(edge * root), _multiple(edge / root))
    return target, _cover(target, aspect)


def _by_edge(size: Size, rounded: float, edge: int, aspect: float) -> tuple[Size, Size]:
    plain = Size(edge, int(edge / rounded)) if size.width < size.height else Size(int(edge * rounded), edge)
    target = Size(_multiple(plain.width), _multiple(plain.height))
    if aspect >= 1:
        height = max(target.height, plain.height)
        return target, Size(target.width, int(target.width / aspect)) if int(height * aspect) < target.width else Size(
            int(height * aspect), height
        )
    width = max(target.width, plain.width)
    return target, Size(int(target.height * aspect), target.height) if int(width / aspect) < target.height else Size(
        width, int(width / aspect)
    )


def _cover(target: Size, aspect: float) -> Size:
    """Return a size of an aspect that covers a target: one side equal, the other cut to whole pixels."""
    if target.width < target.height:
        covering = Size(target.width, int(target.width / aspect))
    else:
        covering = Size(int(target.height * aspect), target.height)
    # Where the cut pixel is missing, both sides grow by what is missing on one and its share on the other.
    if covering.width < target.width:
        missing = target.width - covering.width
        return Size(covering.width + missing, covering.height + int(missing / aspect))
    if covering.height < target.height:
        missing = target.height - covering.height
        return Size(covering.width + int(missing * aspect), covering.height + missing)
    return covering


def _square_edge(rule: Resizing) -> int:
    if rule.unit == "pixel":
        return int(rule.resolution)
    near = next((edge for value, edge in _ROUND_MEGAPIXELS.items() if abs(rule.resolution - value) < 0.05), None)
    return near or _multiple(math.sqrt(rule.resolution * 1e6))


def _differs_in_area(size: Size, target: Size, rule: Resizing) -> bool:
    edge = _square_edge(rule)
    if rule.unit == "pixel":
        return size != (edge, edge)
    return size.area != edge * edge or size.width < target.width or size.height < target.height


def _downsampled(size: Size, target: Size, rule: Resizing) -> Size:
    if rule.unit == "area":
        _, small = _by_area(size, round(size.aspect, ROUNDING), rule.downsample, size.aspect)
    else:
        _, small = _by_edge(size, round(size.aspect, ROUNDING), int(rule.downsample), size.aspect)
    if small.width < target.width:
        return Size(target.width, int(small.height * (target.width / small.width)))
    if small.height < target.height:
        return Size(int(small.width * (target.height / small.height)), target.height)
    return small


def _multiple(value: float) -> int:
    return max(ALIGNMENT, round(value / ALIGNMENT) * ALIGNMENT)
