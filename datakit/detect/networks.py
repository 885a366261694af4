"""Run the shipped ONNX networks, and thin out the boxes that they find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from datakit.detect import models

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datakit.detect import Preview

    Floats = NDArray[np.float32]
    Network = Callable[[Floats], list[Floats]]

# Both networks halve their input five times.
CELL = 32


def load(weights: models.Weights, outputs: Sequence[str]) -> Network:
    """Return the function that a network is: from a batch (1, 3, height, width), float32, to the outputs named.

    It is held to one thread, workers are many. Raises as `models.load` does.
    """
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    session: Any = onnxruntime.InferenceSession(models.load(weights), options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return lambda batch: session.run(outputs, {given.name: batch})


def batch_of(pixels: Preview | Floats, width: int, height: int) -> Floats:
    """Return RGB pixels (rows, columns, 3) as a batch of one in BGR planes, zeros to the right and below up to a size."""
    batch = np.zeros((1, 3, height, width), np.float32)
    batch[0, :, : pixels.shape[0], : pixels.shape[1]] = pixels[:, :, ::-1].transpose(2, 0, 1)
    return batch


def thinned(boxes: NDArray[Any], scores: Floats, most_overlap: float) -> list[int]:
    """Return the indices of boxes (left, top, right, bottom), best first, without those that overlap a better one.

    Two overlap by the share (0 to 1) that their intersection has of their union (greedy non-maximum suppression).
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        width = np.minimum(boxes[left, 2], boxes[best, 2]) - np.maximum(boxes[left, 0], boxes[best, 0])
        height = np.minimum(boxes[left, 3], boxes[best, 3]) - np.maximum(boxes[left, 1], boxes[best, 1])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        left = left[shared <= most_overlap * (areas[left] + areas[best] - shared)]
    return kept
