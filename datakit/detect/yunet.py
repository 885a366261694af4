"""YuNet through OpenCV: the default face detector.

Wu, Peng, Yu: YuNet, a tiny millisecond-level face detector (Machine Intelligence Research, 2023).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from datakit.detect import models
from datakit.geometry import Area
from datakit.manifest import Face

if TYPE_CHECKING:
    from datakit.detect import Detector, Preview

# Below this the detector sees faces in foliage and cloth; above it masked and painted faces are lost.
MIN_SCORE = 0.6


def build() -> Detector:
    """Load the network and return its detect function; OpenCV is held to one thread, workers are many."""
    cv2.setNumThreads(1)
    # It warns at every start that its new engine picks its own target.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    weights = np.frombuffer(models.load(models.YUNET), np.uint8)
    network = cv2.FaceDetectorYN.create("onnx", weights, np.empty(0, np.uint8), (320, 320), score_threshold=MIN_SCORE)

    def detect(preview: Preview) -> list[Face]:
        height, width = preview.shape[:2]
        network.setInputSize((width, height))
        found = network.detect(cv2.cvtColor(preview, cv2.COLOR_RGB2BGR))[1]
        return [
            Face(Area(float(x), float(y), float(x + w), float(y + h)), float(score))
            for x, y, w, h, *_, score in ([] if found is None else found)
        ]

    return detect
