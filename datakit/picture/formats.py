"""Formats of pictures: the ones that datakit writes, those that need a plug-in, and how large a picture may be."""

from __future__ import annotations

from typing import Literal

Format = Literal["jpg", "png", "webp"]
FORMATS: tuple[Format, ...] = ("jpg", "png", "webp")
# The format of a picture that is written anew as what it was, by suffix; all others become PNG, which loses nothing.
KEPT: dict[str, Format] = {".jpg": "jpg", ".jpeg": "jpg", ".png": "png", ".webp": "webp"}
# Other names of JPEG, those of some downloads included.
_JPEGS = (".jpe", ".jfif", ".jpg", ".jpeg")
# What a picture of a dataset may be called, since captions are found by the stem they share.
PICTURE_SUFFIXES = (*KEPT, ".bmp")

# Formats that Pillow reads with a plug-in alone: what to install, the module in it, and what it brings.
PLUGINS = {
    "HEIF": ("pillow-heif", "pillow_heif", "HEIC photos, as iPhones take them"),
    "JXL": ("pillow-jxl-plugin", "pillow_jxl", "JPEG XL"),
}

# Pillow's own limit, above which it calls a file a decompression bomb (PIL/Image.py, MAX_IMAGE_PIXELS x 2).
DEFAULT_MAX_PIXELS = 178_956_970


def kept(suffix: str) -> Format:
    """Return the format in which a picture of this suffix is written where it is to stay what it was."""
    lowered = suffix.lower()
    return KEPT.get(lowered, "jpg" if lowered.startswith(_JPEGS) else "png")
