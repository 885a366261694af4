"""BlazeFace full-range through MediaPipe Tasks: the other face detector.

Bazarevsky et al.: BlazeFace, sub-millisecond neural face detection on mobile GPUs (2019).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from datakit.dataset.manifest import Face
from datakit.detect import models
from datakit.geometry import Area

if TYPE_CHECKING:
    from datakit.detect import Detector, Preview

MIN_SCORE = 0.5


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what MediaPipe's native code prints while it loads; errors still raise."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


with _quiet():
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision


def build() -> Detector:
    """Load the network and return its detect function."""
    with _quiet():
        network = vision.FaceDetector.create_from_options(
            vision.FaceDetectorOptions(
                base_options=BaseOptions(model_asset_buffer=models.load(models.BLAZE_FACE)),
                min_detection_confidence=MIN_SCORE,
            ),
        )
        # Its native code has more to say when it is first used.
        network.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.zeros((192, 192, 3), np.uint8)))

    def detect(preview: Preview) -> list[Face]:
        picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=preview)
        found = network.detect(picture).detections
        boxes = [(face.bounding_box, face.categories[0].score) for face in found]
        return [
            Face(
                Area(float(b.origin_x), float(b.origin_y), float(b.origin_x + b.width), float(b.origin_y + b.height)),
                float(score),
            )
            for b, score in boxes
        ]

    return detect
