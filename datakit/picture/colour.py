"""Colours: what a file embeds or its bare mode means, as sRGB; and CSS names."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image, ImageCms, ImageColor

from datakit.errors import UsageError
from datakit.picture.colourspaces import ColourSpace, of_codes
from datakit.report import Warned

# Marks pixels that are sRGB already; Pillow itself notes a PNG's chunk as "srgb".
CONVERTED = "datakit:converted"


def parse_colour(text: str) -> tuple[int, int, int]:
    """Read a CSS colour name or ``#rrggbb``.

    Raises
    ------
    UsageError
        The text names no colour.
    """
    try:
        colour = ImageColor.getrgb(text)
    except ValueError:
        raise UsageError(f"background {text!r} is no colour: use a CSS name such as white or a code such as #808080") from None
    return (colour[0], colour[1], colour[2])


def to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert L, RGB, CMYK or LAB to sRGB through the embedded profile, or as the bare mode is understood."""
    if CONVERTED in image.info:
        return image
    if image.mode == "LAB":
        return ImageCms.applyTransform(image, _transform(None, "LAB")) or image
    if icc is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    mode = profile_mode(icc)
    return ImageCms.applyTransform(image if image.mode == mode else image.convert(mode), _transform(icc, mode)) or image


def profile_mode(icc: bytes) -> str:
    """Return the mode of the pixels that a profile is for: L, CMYK or RGB."""
    # ICC.1:2022, 7.2.8: the colour space of the data, bytes 16 to 19 of the header.
    return {b"GRAY": "L", b"CMYK": "CMYK"}.get(icc[16:20], "RGB")


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """Return the profile that all pictures are turned into, as littleCMS makes it."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def hdr_of(icc: bytes) -> ColourSpace | None:
    """Return the space of a profile that names an HDR curve (ICC.1:2022, 9.2.17, cicpTag); None where it names none."""
    for at in range(132, min(len(icc), 132 + 12 * int.from_bytes(icc[128:132], "big")), 12):
        if icc[at : at + 4] == b"cicp":
            start = int.from_bytes(icc[at + 4 : at + 8], "big")
            codes = icc[start + 8 : start + 10]
            try:
                space = of_codes(*codes)
            except (TypeError, ValueError):
                return None
            return space if space is not None and space.hdr else None
    return None


@lru_cache(maxsize=32)
def _transform(icc: bytes | None, mode: str) -> ImageCms.ImageCmsTransform:
    profile = ImageCms.createProfile("LAB") if icc is None else ImageCms.ImageCmsProfile(io.BytesIO(icc))
    # Relative colorimetric with black point compensation, as browsers and viewers do it.
    return ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def is_for_other_pixels(icc: bytes, mode: str, notes: list[Warned]) -> bool:
    """Tell whether a profile cannot belong to pixels of this mode; a grey picture may carry a profile for RGB."""
    wanted = profile_mode(icc)
    grey = mode in ("1", "L", "LA") or mode.startswith("I")
    if (wanted == "CMYK") == (mode == "CMYK") and (wanted != "L" or grey):
        return False
    notes.append(Warned("profile", "its colour profile is for other pixels than it has: taken as sRGB"))
    return True


def is_srgb(icc: bytes, notes: list[Warned]) -> bool:
    """Tell whether a profile changes nothing; an unusable one counts as sRGB and is noted."""
    try:
        return _moves_nothing(icc)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append(Warned("profile", "its colour profile is broken: taken as sRGB"))
        return True


@lru_cache(maxsize=32)
def _moves_nothing(icc: bytes) -> bool:
    if profile_mode(icc) != "RGB":
        _transform(icc, profile_mode(icc))
        return False
    import numpy as np  # a run that makes nothing does without

    levels = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    moved = np.asarray(ImageCms.applyTransform(Image.fromarray(cube), _transform(icc, "RGB")))
    return int(np.abs(moved.astype(int) - cube).max()) <= 1
