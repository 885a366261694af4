"""Objects as saliency: where a small detector sees things, on top of what stands out.

Lyu: NanoDet-g (github.com/RangiLyu/nanodet, 2021), trained on COCO; the sides of its boxes are distributions
as in Li et al., Generalized Focal Loss (NeurIPS 2020). The map ignores which of its 80 classes a thing has: what is
none of them is mostly found under the name of what looks like it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from datakit.detect import models
from datakit.detect.networks import CELL, batch_of, load, thinned
from datakit.detect.saliency import boolean_map
from datakit.detect.things import Thing
from datakit.geometry import Area

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datakit.detect import Preview
    from datakit.detect.networks import Floats, Network

# Long side in pixels of what the network sees: at 320 and at 416 it finds less; sides are whole cells of 32.
_SIDE = 384
_STRIDES = (8, 16, 32)
# The network tells each side of a box as a distribution over 0 to 10 strides.
_BINS = np.arange(11, dtype=np.float32)
# Of red, green and blue, as the network was trained.
_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
_DEVIATION = np.array([58.395, 57.12, 57.375], np.float32)
MIN_SCORE, MAX_OVERLAP, MAX_OBJECTS = 0.2, 0.6, 20
# The objects' share of the map against the Boolean map's 1; anything from 2 to 5 does as well.
OBJECTS_WEIGHT = 3.0


def objects(preview: Preview) -> Floats:
    """Return the Boolean Map Saliency of a preview plus the objects found in it, each box worth its score.

    Where nothing is found the Boolean map stands alone.
    """
    return look(preview)[0]


def look(preview: Preview) -> tuple[Floats, list[Thing]]:
    """Return the map of `objects`, and the objects themselves in pixels of the preview, surest first."""
    saliency = _unit_sum(boolean_map(preview))
    things = find(preview)
    (height, width), (rows, columns) = saliency.shape, preview.shape[:2]
    found = np.zeros_like(saliency)
    for (left, top, right, bottom), score, _ in things:
        shares = _cover(height, top / rows, bottom / rows), _cover(width, left / columns, right / columns)
        found += np.outer(*shares) * np.float32(score)
    return (saliency + np.float32(OBJECTS_WEIGHT) * _unit_sum(found) if found.any() else saliency), things


@lru_cache(maxsize=1)
def network() -> Network:
    """Load the network once a process."""
    return load(models.NANODET, [f"{kind}{stride}" for kind in ("scores", "boxes") for stride in _STRIDES])


def find(preview: Preview) -> list[Thing]:
    """Return the objects in a preview, in its pixels, surest first."""
    height, width = preview.shape[:2]
    factor = _SIDE / max(height, width)
    size = [max(2, round(side * factor / CELL)) * CELL for side in (width, height)]
    shrunk = cv2.resize(preview, size, interpolation=cv2.INTER_AREA)
    outputs = [output[0] for output in network()(batch_of((shrunk - _MEAN) / _DEVIATION, *size))]
    levels = [_decode(outputs[i], outputs[i + 3], stride) for i, stride in enumerate(_STRIDES)]
    boxes = np.clip(np.concatenate([boxes for boxes, _, _ in levels]) / np.array(size * 2, np.float32), 0, 1)
    scores, kinds = (np.concatenate([level[part] for level in levels]) for part in (1, 2))
    sides = (width, height, width, height)
    return [
        Thing(
            Area(*(float(share) * side for share, side in zip(boxes[index], sides, strict=True))),
            float(scores[index]),
            int(kinds[index]),
        )
        for index in thinned(boxes, scores, MAX_OVERLAP)[:MAX_OBJECTS]
    ]


def _decode(classes: Floats, sides: Floats, stride: int) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Return the boxes in pixels, the best class's scores and its number of the cells of one level that see something."""
    scores = classes.max(axis=0)
    rows, columns = np.nonzero(scores >= MIN_SCORE)
    bins = sides.reshape(4, len(_BINS), *scores.shape)[:, :, rows, columns]
    weights = np.exp(bins - bins.max(axis=1, keepdims=True))
    left, top, right, bottom = np.tensordot(_BINS, weights / weights.sum(axis=1, keepdims=True), (0, 1)) * stride
    x, y = (columns + 0.5) * stride - 0.5, (rows + 0.5) * stride - 0.5
    boxes = np.stack([x - left, y - top, x + right, y + bottom], axis=1).astype(np.float32)
    return boxes, scores[rows, columns], classes[:, rows, columns].argmax(axis=0)


def _cover(cells: int, start: float, end: float) -> Floats:
    """Return how much of each of so many equal cells lies between start and end (shares of the side), 0 to 1."""
    edges = np.arange(cells + 1)
    return np.clip(np.minimum(edges[1:], end * cells) - np.maximum(edges[:-1], start * cells), 0, None).astype(np.float32)


def _unit_sum(saliency: Floats) -> Floats:
    total = float(saliency.sum())
    return saliency / np.float32(total) if total > 0 else np.full_like(saliency, 1 / saliency.size)
