"""YuNet: the default face detector.

Wu, Peng, Yu: YuNet, a tiny millisecond-level face detector (Machine Intelligence Research, 2023). How its outputs are
read follows OpenCV's FaceDetectorYN (modules/objdetect/src/face_detect.cpp).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datakit.dataset.manifest import Face
from datakit.detect import models
from datakit.detect.networks import CELL, batch_of, load, thinned
from datakit.geometry import Area

if TYPE_CHECKING:
    from datakit.detect import Detector, Preview
    from datakit.detect.networks import Floats

# Below this the detector sees faces in foliage and cloth; above it masked and painted faces are lost.
MIN_SCORE = 0.6
MAX_OVERLAP = 0.3
_STRIDES = (8, 16, 32)


def build() -> Detector:
    """Load the network and return its detect function."""
    network = load(models.YUNET, [f"{kind}_{stride}" for stride in _STRIDES for kind in ("cls", "obj", "bbox")])

    def detect(preview: Preview) -> list[Face]:
        height, width = (-(-side // CELL) * CELL for side in preview.shape[:2])
        outputs = [output[0] for output in network(batch_of(preview, width, height))]
        levels = [
            _decode(outputs[3 * i], outputs[3 * i + 1], outputs[3 * i + 2], width // stride, stride)
            for i, stride in enumerate(_STRIDES)
        ]
        boxes = np.concatenate([boxes for boxes, _ in levels])
        scores = np.concatenate([scores for _, scores in levels])
        # Compared in whole pixels, as OpenCV does: corner and size are cut, each by itself.
        corners, sizes = boxes[:, :2].astype(int), (boxes[:, 2:] - boxes[:, :2]).astype(int)
        found = thinned(np.concatenate([corners, corners + sizes], axis=1), scores, MAX_OVERLAP)
        return [Face(Area(*map(float, boxes[index])), float(scores[index])) for index in found]

    return detect


def _decode(classes: Floats, objectness: Floats, sides: Floats, columns: int, stride: int) -> tuple[Floats, Floats]:
    """Return the boxes in pixels and the scores of the cells of one level that see a face; a row of each input is a cell."""
    scores = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objectness[:, 0], 0, 1))
    cells = np.nonzero(scores >= MIN_SCORE)[0]
    centre = (np.stack([cells % columns, cells // columns], axis=1) + sides[cells, :2]) * stride
    half = np.exp(sides[cells, 2:]) * (stride / 2)
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32), scores[cells]
