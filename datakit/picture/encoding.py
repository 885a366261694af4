"""Encode upright sRGB pixels as the files that datakit writes."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from datakit.picture.formats import Format


def encode(image: Image.Image, file_format: Format, quality: int) -> bytes:
    """Return the bytes of an RGB (as png, also RGBA or L) picture; ``quality`` (1 to 100) is for jpg and webp."""
    target = io.BytesIO()
    bare = image if not image.info else Image.frombytes(image.mode, image.size, image.tobytes())
    if file_format == "jpg":
        bare.save(target, "JPEG", quality=quality, subsampling="4:4:4")
    elif file_format == "webp":
        bare.save(target, "WEBP", quality=quality, method=4)
    else:
        return _encode_png(bare)
    return target.getvalue()


def _encode_png(image: Image.Image) -> bytes:
    """Return PNG bytes: average filter and run lengths take half the time of Pillow's level 1 and no more room."""
    import cv2  # most runs write no PNG

    options = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
    pixels = np.asarray(image)
    if image.mode != "L":
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if image.mode == "RGBA" else cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", pixels, options)[1].tobytes()
