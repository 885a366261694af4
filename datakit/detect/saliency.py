"""Classical saliency maps, computed on a small copy of the preview."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datakit.detect import Preview

    Map = NDArray[np.float32]

# Long side in pixels of the copy that each map is computed on.
_BOOLEAN_SIDE, _BARRIER_SIDE, _SPECTRAL_SIDE = 120, 96, 64
_THRESHOLD_STEP = 8


def boolean_map(preview: Preview) -> Map:
    """Return the Boolean Map Saliency of a preview.

    Zhang and Sclaroff, Saliency detection: a Boolean map approach (ICCV 2013): threshold each channel of Lab
    at many levels, keep what is surrounded (not connected to the border), and add up the maps.
    """
    lab = cv2.cvtColor(_small(preview, _BOOLEAN_SIDE), cv2.COLOR_RGB2LAB)
    total = np.zeros(lab.shape[:2], np.float32)
    kernel = np.ones((3, 3), np.uint8)
    padded = np.empty((lab.shape[0] + 2, lab.shape[1] + 2), np.uint8)
    for channel in cv2.split(lab):
        low, high = int(channel.min()), int(channel.max())
        for level in range(low, high, _THRESHOLD_STEP):
            above = channel > level
            for boolean in (above, ~above):
                padded[:] = 1
                padded[1:-1, 1:-1] = boolean
                cv2.floodFill(padded, None, (0, 0), 0)
                total += np.asarray(cv2.dilate(padded[1:-1, 1:-1], kernel), np.uint8)
    return _smooth(total)


def minimum_barrier(preview: Preview) -> Map:
    """Return the minimum barrier distance of each pixel to the border.

    Zhang et al., Minimum barrier salient object detection at 80 FPS (ICCV 2015): the cost of a path is the
    span of the values on it. Sweeps in four directions, one row or column at a time, approximate it.
    """
    lab = cv2.cvtColor(_small(preview, _BARRIER_SIDE), cv2.COLOR_RGB2LAB).astype(np.float32)
    return _smooth(sum((_barrier(lab[:, :, channel]) for channel in range(3)), np.zeros(lab.shape[:2], np.float32)))


def spectral_residual(preview: Preview) -> Map:
    """Return the spectral residual (Hou and Zhang, CVPR 2007): what an average log spectrum does not predict."""
    grey = cv2.cvtColor(_small(preview, _SPECTRAL_SIDE), cv2.COLOR_RGB2GRAY).astype(np.float32)
    spectrum = np.fft.fft2(grey)
    log = np.log(np.abs(spectrum) + 1e-9).astype(np.float32)
    residual = log - cv2.blur(log, (3, 3))
    salient = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    return np.asarray(cv2.GaussianBlur(salient.astype(np.float32), (0, 0), 2.5), np.float32)


def combined(preview: Preview) -> Map:
    """Return the mean of the three maps, each normalised to mean 1."""
    maps = [boolean_map(preview), minimum_barrier(preview), spectral_residual(preview)]
    height, width = maps[0].shape
    return sum(
        (cv2.resize(_unit_mean(one), (width, height)) for one in maps), np.zeros((height, width), np.float32)
    ) / np.float32(3)


def _barrier(values: Map) -> Map:
    distance = np.full_like(values, np.inf)
    distance[0], distance[-1], distance[:, 0], distance[:, -1] = 0, 0, 0, 0
    high, low = values.copy(), values.copy()
    for _ in range(2):
        for transposed in (False, True):
            d, v, h, m = (part.T if transposed else part for part in (distance, values, high, low))
            rows = range(1, len(v))
            for here, before in (*((i, i - 1) for i in rows), *((i - 1, i) for i in reversed(rows))):
                top, bottom = np.maximum(h[before], v[here]), np.minimum(m[before], v[here])
                better = top - bottom < d[here]
                d[here][better] = (top - bottom)[better]
                h[here][better], m[here][better] = top[better], bottom[better]
    return distance


def _small(preview: Preview, long_side: int) -> Preview:
    height, width = preview.shape[:2]
    factor = long_side / max(height, width)
    if factor >= 1:
        return preview
    size = (max(8, round(width * factor)), max(8, round(height * factor)))
    return np.asarray(cv2.resize(preview, size, interpolation=cv2.INTER_AREA), np.uint8)


def _smooth(saliency: Map) -> Map:
    return np.asarray(cv2.GaussianBlur(saliency, (0, 0), max(saliency.shape) / 40), np.float32)


def _unit_mean(saliency: Map) -> Map:
    mean = float(saliency.mean())
    return saliency / mean if mean > 0 else np.ones_like(saliency)
