"""Read from EXIF where a picture's top is, and whether a camera says there alone that its colours are Adobe RGB."""

from __future__ import annotations

import re
from contextlib import suppress

from PIL import Image

from datakit.picture.colourspaces import ADOBE_RGB
from datakit.picture.header import Header

# EXIF 2.32: where the picture's top is, 1 to 8; and the mark of Adobe RGB (DCF 2.0, table 20).
_ORIENTATION_TAG = 0x0112
_EXIF_IFD, _COLOUR_SPACE, _INTEROP_IFD, _INTEROP_INDEX = 0x8769, 0xA001, 0xA005, 1
_UNCALIBRATED, _ADOBE = 0xFFFF, "R03"
_CAMERA_FORMATS = ("JPEG", "MPO", "WEBP")
# Outside the standard, 2 says it alone (ExifTool, EXIF tags, ColorSpace); as it stands in either byte order.
_ADOBE_ALONE = 2
_SAYS_ADOBE = re.compile(rb"R03|\xa0\x01\x00\x03\x00\x00\x00\x01\x00\x02|\x01\xa0\x03\x00\x01\x00\x00\x00\x02\x00")
# What holds an orientation in a PNG: its own chunk, ImageMagick's text, XMP (PIL/PngImagePlugin.py).
_PNG_EXIF = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")


def orientation_of(image: Image.Image, data: bytes, header: Header) -> int:
    """Return where a picture's top is, 1 to 8, and note in its header what else its EXIF block says."""
    if image.format == "PNG" and not any(mark in data for mark in _PNG_EXIF):
        return 1  # Pillow would decode the whole picture to look behind its pixels
    try:
        exif = image.getexif()
        value = exif.get(_ORIENTATION_TAG, 1)
        # Of other formats, chunks and boxes say what the colours are, and EXIF may be left from another picture.
        if image.format in _CAMERA_FORMATS and _SAYS_ADOBE.search(image.info.get("exif") or b""):
            _look_for_adobe_rgb(exif, header)
    except Exception:
        header.note("exif", "its EXIF block is broken: taken as upright")
        return 1
    if image.format == "TIFF":
        return 1  # Pillow itself turns TIFF pictures upright while it loads them (PIL/TiffImagePlugin.py)
    return value if value in range(1, 9) else 1


def _look_for_adobe_rgb(exif: Image.Exif, header: Header) -> None:
    """Note where a camera says in EXIF alone that its colours are Adobe RGB (DCF 2.0, section 4.7)."""
    said_here = exif.get_ifd(_EXIF_IFD).get(_COLOUR_SPACE)
    index = ""
    if said_here == _UNCALIBRATED:
        with suppress(KeyError):  # Pillow 12.0, where there is none
            index = str(exif.get_ifd(_INTEROP_IFD).get(_INTEROP_INDEX, ""))
    if header.space is None and (said_here == _ADOBE_ALONE or index.startswith(_ADOBE)):
        header.space = ADOBE_RGB
