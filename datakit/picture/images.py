"""Decode and encode pictures; no other file does.

A picture file becomes upright 8-bit sRGB without alpha, cropped and resized in one antialiased step. Nothing
is left to the trainer's loader: no orientation tag, no colour profile, no hidden colour under transparency.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image, UnidentifiedImageError

from datakit.errors import PictureError, TooLargeError
from datakit.geometry import Box, Size
from datakit.picture.colour import CONVERTED, is_for_other_pixels, is_srgb, parse_colour, to_srgb
from datakit.picture.formats import DEFAULT_MAX_PIXELS, Format
from datakit.report import Warned

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Only these are decoded; Pillow's other plugins include some that start external programs (EPS, for one).
_READABLE = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF", "GIF")
# Formats that need a plug-in, by extension: what to install, the module in it, and what Pillow then calls the format.
_HEIF, _JXL = ("pillow-heif", "pillow_heif", "HEIF"), ("pillow-jxl-plugin", "pillow_jxl", "JXL")
_PLUGINS = {".heic": _HEIF, ".heif": _HEIF, ".jxl": _JXL}

# EXIF 2.32, tag 0x0112: what turns the stored picture upright.
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What holds an orientation in a PNG: its own chunk, ImageMagick's text, XMP (PIL/PngImagePlugin.py).
_PNG_EXIF = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
_SIDEWAYS = (5, 6, 7, 8)
_DCT_SCALES = (8, 4, 2)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file in memory with what its header says.

    Attributes
    ----------
    name
        The file's name, whose extension says what it should be.
    data
        The whole file.
    sha256
        Of ``data``, hexadecimal.
    size
        Of the upright picture, in pixels.
    orientation
        EXIF orientation, 1 to 8; 1 is upright.
    icc
        The embedded colour profile, None where the picture already is sRGB.
    format, mode
        Pillow's names of the file format, such as ``JPEG``, and of the stored pixels, such as ``RGB``.
    alpha, deep
        Whether it has transparent pixels, and more than 8 bits a channel.
    final
        True where the file holds 8-bit upright RGB pixels and nothing that a trainer's loader could
        interpret; its bytes can be copied when the crop is the whole picture.
    warnings
        What the user should know.
    """

    name: str
    data: bytes
    sha256: str
    size: Size
    orientation: int
    icc: bytes | None
    format: str
    mode: str
    alpha: bool
    deep: bool
    final: bool
    warnings: tuple[Warned, ...]


@dataclass(frozen=True, slots=True)
class Pixels:
    """Decoded pixels as stored (not yet upright), in mode L, RGB, CMYK or LAB.

    ``scale`` pixels of the full picture lie in one pixel here, along each side.
    """

    image: Image.Image
    scale: int


def open_picture(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read a picture file and its header without decoding it. Raises PictureError, as `read_picture`, or if it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PictureError(f"cannot be read: {error.strerror or error}") from error
    return read_picture(data, path.name, max_pixels)


def read_picture(data: bytes, name: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read the header of a picture file in memory without decoding it; its name's extension says what it should be.

    Raises
    ------
    PictureError
        It is no picture of a known format, or has more than ``max_pixels`` pixels.
    """
    if not data:
        raise PictureError("the file is empty (0 bytes)")
    suffix = os.path.splitext(name)[1]
    formats = _formats_for(suffix)
    with _reported(suffix):
        image = _open(data, formats, max_pixels)
        notes: list[Warned] = []
        sixteen = ";16" in str(getattr(image, "tile", ""))  # 16 bits a channel, which Pillow reads into 8; a BMP's a pixel
        orientation = _orientation(image, data, notes)
        if getattr(image, "is_animated", False) and image.format != "MPO":
            notes.append(Warned("frames", "several frames or pages: only the first is used"))
        icc = image.info.get("icc_profile") or None
        if icc is not None and (is_for_other_pixels(icc, image.mode, notes) or is_srgb(icc, notes)):
            icc = None
        size = Size(*image.size)
        # Only what Pillow itself adds to `info` for a bare file; anything else might be interpreted.
        final = (
            image.mode == "RGB"
            and not set(image.info)
            - {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "loop", "background", "timestamp", "duration"}
            and not sixteen
            and not getattr(image, "is_animated", False)
        )
        return Picture(
            name=name,
            data=data,
            sha256=hashlib.sha256(data).hexdigest(),
            size=size.transposed() if orientation in _SIDEWAYS else size,
            orientation=orientation,
            icc=icc,
            format=str(image.format),
            mode=image.mode,
            alpha=image.has_transparency_data,
            deep=image.mode.startswith(("I", "F")) or (sixteen and image.format != "BMP"),
            final=final,
            warnings=tuple(notes),
        )


def decode(picture: Picture, window: Size, target: Size, background: str = "white") -> Pixels:
    """Decode at the smallest scale at which a window still covers a target size; see `dct_scale`.

    Alpha is laid over ``background``, 16-bit values are scaled to 8 bits, palettes are resolved.

    Raises
    ------
    PictureError
        The file is damaged or its pixels have no agreed meaning (32-bit floats).
    """
    suffix = os.path.splitext(picture.name)[1]
    with _reported(suffix):
        image = _open(picture.data, _formats_for(suffix), max_pixels=None)
        scale = dct_scale(picture, window, target)
        if scale > 1:
            image.draft(None, (image.width // scale, image.height // scale))
        image.load()
        return Pixels(_plain_mode(image, picture.icc, background), scale)


def dct_scale(picture: Picture, window: Size, target: Size) -> int:
    """Return the largest scale (8, 4, 2 or 1) at which a decoder can shrink and a window still covers a target.

    Only JPEG can be decoded smaller, by powers of two (ITU-T T.81: scaling in the DCT domain).
    """
    if picture.format not in ("JPEG", "MPO"):
        return 1
    return next((s for s in _DCT_SCALES if window.width >= s * target.width and window.height >= s * target.height), 1)


def preview(picture: Picture, pixels: Pixels, long_side: int) -> NDArray[np.uint8]:
    """Return the upright sRGB picture with its long side resized to ``long_side``, as (height, width, 3) RGB."""
    stored = pixels.image.size
    factor = long_side / max(stored)
    size = Size(max(1, round(stored[0] * factor)), max(1, round(stored[1] * factor)))
    small = _resized(pixels.image, None, size, FilterType.box if factor < 1 else FilterType.bilinear)
    return np.asarray(_upright(to_srgb(small, picture.icc), picture.orientation))


def render(picture: Picture, pixels: Pixels, box: Box, bucket: Size) -> Image.Image:
    """Crop and resize in one antialiased step (Lanczos) and return upright sRGB of exactly a bucket's size."""
    left, top, right, bottom = (edge / pixels.scale for edge in _stored_box(box, picture.size, picture.orientation))
    # A picture whose sides the DCT scale does not divide ends in a partial pixel: stay within it.
    right, bottom = min(right, pixels.image.width), min(bottom, pixels.image.height)
    size = bucket.transposed() if picture.orientation in _SIDEWAYS else bucket
    if (left, top, right, bottom) == (0, 0, *size) == (0, 0, *pixels.image.size):
        cropped = pixels.image
    else:
        cropped = _resized(pixels.image, CropBox(left, top, right - left, bottom - top), size, FilterType.lanczos3)
    return _upright(to_srgb(cropped, picture.icc), picture.orientation)


def encode(image: Image.Image, file_format: Format, quality: int) -> bytes:
    """Return the bytes of an RGB (as png, also RGBA) picture; ``quality`` (1 to 100) is for jpg and webp."""
    target = io.BytesIO()
    bare = image if not image.info else Image.frombytes("RGB", image.size, image.tobytes())
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
    turn = cv2.COLOR_RGBA2BGRA if image.mode == "RGBA" else cv2.COLOR_RGB2BGR
    return cv2.imencode(".png", cv2.cvtColor(np.asarray(image), turn), options)[1].tobytes()


def _formats_for(suffix: str) -> tuple[str, ...]:
    plugin = _PLUGINS.get(suffix.lower())
    if plugin is None:
        return _READABLE
    package, module, name = plugin
    try:
        imported = __import__(module)
    except ImportError:
        raise PictureError(f"{suffix} pictures need a plug-in: pip install {package}") from None
    if module == "pillow_heif":
        imported.register_heif_opener()
    return (*_READABLE, name)


def _open(data: bytes, formats: tuple[str, ...], max_pixels: int | None) -> Image.Image:
    # The limit is the user's to set; Pillow's own is lifted while it looks at the header and no longer.
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    finally:
        Image.MAX_IMAGE_PIXELS = before
    if max_pixels is not None and image.width * image.height > max_pixels:
        raise TooLargeError(f"{image.width}x{image.height} is more than {max_pixels} pixels (--max-pixels raises the limit)")
    return image


@contextmanager
def _reported(suffix: str) -> Iterator[None]:
    """Turn whatever a decoder raises on a bad file into a PictureError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (PictureError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise PictureError(f"is no picture that can be read, or not really a {suffix.lower() or 'picture'} file") from None
    except Exception as error:  # decoders raise nearly anything on hostile input: OSError, ValueError, struct.error, ...
        raise PictureError(f"is damaged or not readable: {error}") from error


def _orientation(image: Image.Image, data: bytes, notes: list[Warned]) -> int:
    if image.format == "PNG" and not any(mark in data for mark in _PNG_EXIF):
        return 1  # Pillow would decode the whole picture to look behind its pixels
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        notes.append(Warned("exif", "its EXIF block is broken: taken as upright"))
        return 1
    if image.format == "TIFF":
        return 1  # Pillow itself turns TIFF pictures upright while it loads them (PIL/TiffImagePlugin.py)
    return value if value in _TURNS else 1


def _plain_mode(image: Image.Image, icc: bytes | None, background: str) -> Image.Image:
    """Return the picture in mode L, RGB, CMYK or LAB: 8 bits, no palette, no alpha."""
    if image.mode in ("L", "RGB", "CMYK", "LAB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _from_16_bit(image, background)
    if image.mode == "F":
        raise PictureError("has 32-bit float pixels, whose white is not defined: convert it to 8 or 16 bits first")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        # Colours are converted before they are mixed: the background is given in sRGB.
        colours = to_srgb(rgba.convert("RGB"), icc)
        canvas = Image.new("RGB", image.size, parse_colour(background))
        canvas.paste(colours, mask=rgba.getchannel("A"))
        canvas.info[CONVERTED] = True
        return canvas
    return image.convert("L" if image.mode == "1" else "RGB")


def _from_16_bit(image: Image.Image, background: str) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise PictureError("has 32-bit pixels beyond 65535, whose white is not defined: convert it to 8 or 16 bits first")
    # 65535 / 255 = 257 exactly, so this maps white to white and rounds to nearest.
    grey = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if "transparency" not in image.info:
        return grey
    # One grey value stands for transparent (PNG, 11.3.2.1).
    canvas = Image.new("RGB", image.size, parse_colour(background))
    canvas.paste(grey.convert("RGB"), mask=Image.fromarray(values != image.info["transparency"]))
    canvas.info[CONVERTED] = True
    return canvas


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


def _upright(image: Image.Image, orientation: int) -> Image.Image:
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
