"""Faces in drawings: a second look where YuNet, which was trained on photographs, finds none or is not sure.

nagadomi: lbpcascade_animeface (2011), a cascade of local binary patterns (Liao et al., Learning multi-scale block local
binary patterns for face recognition, 2007), run by OpenCV's CascadeClassifier. In 40 drawings YuNet finds a face in 24
and both in 33; in 381 photographs and wallpapers in which YuNet finds none, neither does the cascade, and of 87 photographs in which it
finds faces those of none change.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from datakit.dataset.manifest import Face
from datakit.detect import models, yunet
from datakit.geometry import Area, share_inside

if TYPE_CHECKING:
    from datakit.detect import Detector, Preview

    Grey = Preview

# Long side in pixels of what the cascade sees: at 400 it takes half as long again and finds as many.
_SIDE = 320
_STEP, _NEIGHBOURS, _SMALLEST, _SMALLEST_SHARE = 1.1, 5, 24, 0.05
# YuNet's faces below this are taken for none where an object speaks against them; of two boxes that share so much, one stands.
_SURE, _SAME = 0.8, 0.5
# The cascade tells a margin, no probability: 1.4 to 5.3 on drawn faces, here made one that orders faces by it.
_SURE_FROM, _SURE_STEP, _SURE_TO = 0.6, 0.1, 0.95
# Grey levels between neighbours: a photograph shades by a few, a drawing has flat areas and hard lines. Flat is up to 1, shaded
# 3 to 12, a line above 24. Where lines are at least half as many as shades and so much is flat lie 13 of 16 drawings in which
# YuNet finds nothing, all 9 in which the cascade finds a face, and 5 of 92 photographs without one; closer limits lose faces.
_FLAT, _SHADED, _LINE = 1, (3, 12), 24
_LINES_TO_SHADES, _FLAT_SHARE = 0.5, 0.15


def build() -> Detector:
    """Load the cascade and return its detect function."""
    cascade = _cascade()
    return lambda preview: _faces(cascade, _grey(preview), max(preview.shape[:2]))


def build_second() -> Detector:
    """Load YuNet and return a function that asks the cascade where YuNet finds nothing, or nothing sure, in a drawing."""
    first = yunet.build()

    def detect(preview: Preview) -> list[Face]:
        faces = first(preview)
        if any(face.score >= _SURE for face in faces):
            return faces
        grey = _grey(preview)
        if not is_drawing(grey):
            return faces
        # Loaded where it is first needed, once a process: reading it takes longer than looking with it.
        drawn = _faces(_cascade(), grey, max(preview.shape[:2]))
        others = [face for face in faces if not any(share_inside(face.box, each.box) >= _SAME for each in drawn)]
        return sorted([*drawn, *others], key=_surest)

    return detect


def is_drawing(grey: Grey) -> bool:
    """Tell whether a small grey picture (rows, columns) may be drawn: neighbouring pixels are alike, or far from it."""
    right = cv2.absdiff(grey[:-1, 1:], grey[:-1, :-1])
    below = cv2.absdiff(grey[1:, :-1], grey[:-1, :-1])
    steps = np.maximum(right, below)
    flat, lines = np.count_nonzero(steps <= _FLAT), np.count_nonzero(steps > _LINE)
    shades = np.count_nonzero((steps >= _SHADED[0]) & (steps <= _SHADED[1]))
    return bool(lines > _LINES_TO_SHADES * shades and flat > _FLAT_SHARE * steps.size)


@lru_cache(maxsize=1)
def _cascade() -> cv2.CascadeClassifier:
    text = models.load(models.ANIME_FACE).decode()
    # Held until it is read: its nodes are no more once it is gone.
    storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    cascade = cv2.CascadeClassifier()
    cascade.read(storage.getFirstTopLevelNode())
    return cascade


def _grey(preview: Preview) -> Grey:
    height, width = preview.shape[:2]
    factor = _SIDE / max(height, width)
    size = max(2, round(width * factor)), max(2, round(height * factor))
    return np.asarray(cv2.cvtColor(cv2.resize(preview, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY), np.uint8)


def _faces(cascade: cv2.CascadeClassifier, grey: Grey, long_side: int) -> list[Face]:
    """Return the faces in a grey picture, surest first, in pixels of the picture with this long side."""
    least = max(_SMALLEST, round(_SMALLEST_SHARE * min(grey.shape)))
    boxes, _, margins = cascade.detectMultiScale3(
        cv2.equalizeHist(grey),
        scaleFactor=_STEP,
        minNeighbors=_NEIGHBOURS,
        minSize=(least, least),
        outputRejectLevels=True,
    )
    factor = long_side / max(grey.shape)
    faces = [
        Face(Area(*map(float, (left, top, left + width, top + height))).scaled(factor), _sureness(float(margin)))
        for (left, top, width, height), margin in zip(np.reshape(boxes, (-1, 4)), np.ravel(margins), strict=True)
    ]
    return sorted(faces, key=_surest)


def _surest(face: Face) -> tuple[float, Area]:
    return -face.score, face.box


def _sureness(margin: float) -> float:
    return min(max(_SURE_FROM + _SURE_STEP * margin, _SURE_FROM), _SURE_TO)
