"""Choose a window closer than the largest, around a face or what stands out: pure geometry, no pixels.

The framing decides on the size, not the source: upright or square around a face, whatever fits best around a thing.
The window is centred on one face or thing and keeps all others whole or out, where a little room allows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from datakit.crop.framing import THING_SCORE, mass_of
from datakit.dataset.manifest import Face
from datakit.dataset.targets import Crop
from datakit.geometry import Area, Box, Size, share_inside
from datakit.sizes import largest_window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datakit.detect.things import Thing

# What a framing wants around the face, in face widths and heights: sides, up, down.
AROUND: dict[Crop, tuple[float, float, float]] = {"portrait": (1.0, 0.8, 2.0), "face": (0.45, 0.6, 0.45)}
# What a thing wants around it, in its own widths and heights.
_ROOM = 0.15
# A smaller share of the picture is beside the point, or a false alarm: in 41 pictures without a face the main crop holds 97 instead of
# 93 % of what people marked.
_LEAST = 0.05
# The window may grow by so much, and lie so far from where it is best, to keep other faces whole or out.
_GROWN = (1.0, 1.15, 1.3)
_CUT_COST, _AREA_COST, _MOVED_COST = 4.0, 1.0, 0.5
# A face is cut through where more than this share of it is inside, and more than this outside; room around it in faces.
_CUT, _BESIDE = 0.03, 0.08
# Without a thing, the main part of a picture is as wide and high as this share of the largest window.
_MAIN = 0.7
_DETAIL = 0.5


class Zoomed(NamedTuple):
    """A window and the size it is resized to."""

    box: Box
    bucket: Size


def main_face(faces: Sequence[Face]) -> Face | None:
    """Return the face that a picture is of: the largest, less sure ones counting less."""
    return max(faces, key=lambda face: (math.sqrt(face.box.width * face.box.height) * face.score, face.box), default=None)


def around_face(size: Size, buckets: Sequence[Size], faces: Sequence[Face], framing: Crop, upscale: float) -> Zoomed | None:
    """Return the window around the main one of some faces; None where none is smaller than the picture allows.

    Parameters
    ----------
    size, buckets
        Of the upright picture, in pixels, and the sizes that may be used.
    faces
        All that were found, in pixels of the upright picture.
    framing
        ``portrait`` or ``face``.
    upscale
        The window needs no more enlargement than this.
    """
    face = main_face(faces)
    if face is None:
        return None
    upright = [bucket for bucket in buckets if bucket.width <= bucket.height] or list(buckets)
    others = [other.box for other in faces if other is not face]
    return _around(size, upright, face.box.grown(*AROUND[framing]).clipped(size), others, upscale)


def worthy(size: Size, things: Sequence[Thing]) -> list[Thing]:
    """Return the things that a picture may be of: sure and large enough, and no furniture."""
    least = _LEAST * size.area
    return [
        thing
        for thing in things
        if thing.score >= THING_SCORE and thing.box.width * thing.box.height >= least and not thing.is_furniture
    ]


def around_thing(size: Size, buckets: Sequence[Size], things: Sequence[Thing], upscale: float) -> Zoomed | None:
    """Return the window around the largest and surest thing that is no furniture; None where there is none that is smaller."""
    seen = worthy(size, things)
    best = max(seen, key=lambda thing: (math.sqrt(thing.box.width * thing.box.height) * thing.score, thing.box), default=None)
    if best is None:
        return None
    return _around(size, buckets, best.box.grown(_ROOM, _ROOM, _ROOM).clipped(size), [], upscale)


def main_part(size: Size, bucket: Size, saliency: NDArray[np.float32] | None, upscale: float) -> Zoomed | None:
    """Return the part of a picture in which most stands out; None where it cannot be smaller than the largest window."""
    return _densest(size, Box(0, 0, *size), bucket, _MAIN, saliency, upscale)


def detail_of(size: Size, within: Zoomed, saliency: NDArray[np.float32] | None, upscale: float) -> Zoomed | None:
    """Return the part of a window in which most stands out; None where it cannot be smaller."""
    return _densest(size, within.box, within.bucket, _DETAIL, saliency, upscale)


def _densest(
    size: Size, within: Box, bucket: Size, share: float, saliency: NDArray[np.float32] | None, upscale: float
) -> Zoomed | None:
    largest = largest_window(within.size, bucket)
    zoom = max(share * largest.width / bucket.width, 1 / upscale)
    window = _window(bucket, zoom)
    if window.width >= largest.width or window.height >= largest.height:
        return None
    mass = mass_of(size, (), saliency)
    rows, columns = mass.shape
    summed = np.zeros((rows + 1, columns + 1))
    summed[1:, 1:] = mass.cumsum(axis=0).cumsum(axis=1)
    # Cells of the map that windows begin and end with; finer than a cell nothing is known.
    xs = np.unique(np.linspace(within.left, within.right - window.width, 33).round().astype(int))
    ys = np.unique(np.linspace(within.top, within.bottom - window.height, 33).round().astype(int))
    left, right = (np.rint((xs + step) * columns / size.width).astype(int) for step in (0, window.width))
    top, bottom = (np.rint((ys + step) * rows / size.height).astype(int) for step in (0, window.height))
    inside = summed[np.ix_(bottom, right)] - summed[np.ix_(top, right)] - summed[np.ix_(bottom, left)] + summed[np.ix_(top, left)]
    y, x = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return Zoomed(Box(int(xs[x]), int(ys[y]), int(xs[x]) + window.width, int(ys[y]) + window.height), bucket)


def _window(bucket: Size, zoom: float) -> Size:
    # Rounded up: a pixel less would need a little more enlargement than is allowed.
    return Size(math.ceil(bucket.width * zoom - 1e-6), math.ceil(bucket.height * zoom - 1e-6))


def _around(size: Size, buckets: Iterable[Size], region: Area, others: Sequence[Area], upscale: float) -> Zoomed | None:
    """Return the window that holds a region with the least cut through others, the least area and the least moved."""
    found: list[tuple[float, Zoomed]] = []
    for bucket in buckets:
        zoom = max(region.width / bucket.width, region.height / bucket.height, 1 / upscale)
        whole = largest_window(size, bucket)
        for grown in _GROWN if others else _GROWN[:1]:
            window = _window(bucket, zoom * grown)
            if window.width < whole.width and window.height < whole.height:
                found += ((cost, Zoomed(box, bucket)) for cost, box in _placed(size, window, region, others))
    return min(found, default=(0.0, None))[1]


def _placed(size: Size, window: Size, region: Area, others: Sequence[Area]) -> Iterable[tuple[float, Box]]:
    """Yield (cost, window) for where a window can lie that holds a region: best alone, and clear of each of the others."""
    # What the window has beyond the region goes to both sides, and below rather than above the head.
    best = (region.left + region.right - window.width) / 2, region.top - (window.height - region.height) / 3
    beside = [other.grown(_BESIDE, _BESIDE, _BESIDE) for other in others]
    across = [edge - shift for other in beside for edge in (other.left, other.right) for shift in (0, window.width)]
    down = [edge - shift for other in beside for edge in (other.top, other.bottom) for shift in (0, window.height)]
    for x in _within([best[0], *across], (region.right - window.width, region.left), size.width - window.width):
        for y in _within([best[1], *down], (region.bottom - window.height, region.top), size.height - window.height):
            box = Box(x, y, x + window.width, y + window.height)
            cut = sum(_is_cut(other, box) for other in others)
            moved = abs(x - best[0]) / window.width + abs(y - best[1]) / window.height
            area = window.area / (region.width * region.height) - 1
            yield _CUT_COST * cut + _AREA_COST * area + _MOVED_COST * moved, box


def _within(wanted: Iterable[float], holding: tuple[float, float], free: int) -> list[int]:
    """Return whole offsets, each moved as little as needed to hold a region and to stay in the picture."""
    low, high = max(0.0, holding[0]), min(float(free), holding[1])
    if low > high:  # but for rounding there is room: the region lies in the picture, and the window is larger
        low = high = min(max(0.0, (low + high) / 2), float(free))
    return sorted({min(max(round(min(max(offset, low), high)), 0), free) for offset in wanted})


def _is_cut(face: Area, box: Box) -> bool:
    return _CUT < share_inside(face, box) < 1 - _CUT
