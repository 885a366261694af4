"""Crop and resize in one antialiased step, and turn upright: the orientation and the profile are applied to what is left."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image

from datakit.geometry import Box, Size
from datakit.picture.colour import CONVERTED, to_srgb
from datakit.picture.images import SIDEWAYS, Picture, Pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

# EXIF 2.32, tag 0x0112: what turns the stored picture upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def preview(picture: Picture, pixels: Pixels, long_side: int) -> NDArray[np.uint8]:
    """Return the upright sRGB picture with its long side resized to ``long_side``, as (height, width, 3) RGB."""
    stored = pixels.image.size
    factor = long_side / max(stored)
    size = Size(max(1, round(stored[0] * factor)), max(1, round(stored[1] * factor)))
    small = _resized(pixels.image, None, size, FilterType.box if factor < 1 else FilterType.bilinear)
    return np.asarray(upright(to_srgb(small, picture.icc), picture.orientation))


def render(picture: Picture, pixels: Pixels, box: Box, bucket: Size) -> Image.Image:
    """Crop and resize in one antialiased step (Lanczos) and return upright sRGB of exactly a bucket's size."""
    left, top, right, bottom = (edge / pixels.scale for edge in _stored_box(box, picture.size, picture.orientation))
    # A picture whose sides the DCT scale does not divide ends in a partial pixel: stay within it.
    right, bottom = min(right, pixels.image.width), min(bottom, pixels.image.height)
    size = bucket.transposed() if picture.orientation in SIDEWAYS else bucket
    if (left, top, right, bottom) == (0, 0, *size) == (0, 0, *pixels.image.size):
        cropped = pixels.image
    else:
        cropped = _resized(pixels.image, CropBox(left, top, right - left, bottom - top), size, FilterType.lanczos3)
    return upright(to_srgb(cropped, picture.icc), picture.orientation)


def resize_box(image: Image.Image, box: Box, target: Size, *, smooth: bool) -> Image.Image:
    """Crop and resize in one antialiased step; ``smooth`` takes a filter that overshoots at no edge (triangle) instead of Lanczos."""
    if box == (0, 0, *image.size) and target == image.size:
        return image
    window = CropBox(box.left, box.top, box.size.width, box.size.height)
    return _resized(image, window, target, FilterType.bilinear if smooth else FilterType.lanczos3)


def _resized(image: Image.Image, box: CropBox | None, size: Size, kernel: FilterType) -> Image.Image:
    target = Image.new(image.mode, size)
    options = ResizeOptions(resize_alg=ResizeAlg.convolution(kernel))
    if box is not None:
        options.crop_box = box
    if image.mode == "LAB":
        # The resizer knows no LAB; its three bytes a pixel can be filtered as they are.
        target = image.resize(
            size,
            Image.Resampling.LANCZOS,
            box=None if box is None else (box.left, box.top, box.left + box.width, box.top + box.height),
        )
    else:
        _resizer().resize_pil(image, target, options)
    target.info = {key: value for key, value in image.info.items() if key == CONVERTED}
    return target


@lru_cache(maxsize=1)
def _resizer() -> Resizer:
    return Resizer()


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a stored picture as its EXIF orientation says (1 to 8)."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _stored_box(box: Box, upright: Size, orientation: int) -> Box:
    """Turn a box of the upright picture into the same pixels of the picture as stored."""
    left, top, right, bottom = box
    across, down = (upright.width - right, upright.width - left), (upright.height - bottom, upright.height - top)
    stored = {
        2: (across[0], top, across[1], bottom),
        3: (across[0], down[0], across[1], down[1]),
        4: (left, down[0], right, down[1]),
        5: (top, left, bottom, right),
        6: (top, across[0], bottom, across[1]),
        7: (down[0], across[0], down[1], across[1]),
        8: (down[0], left, down[1], right),
    }
    return Box(*stored.get(orientation, box))
