"""Pixels of more than 8 bits a channel as they are stored, and sRGB made of them: the cut to 8 bits comes last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from datakit.picture.colour import CONVERTED, parse_colour, profile_mode, srgb_profile, to_srgb
from datakit.picture.colourspaces import ColourSpace, profile_of, to_linear_srgb
from datakit.picture.hdr import peak_of, tone_mapped

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOP = 65535
# lcms2.h: black point compensation, as for 8 bits; and no table in the place of a curve, which loses the darks of linear grey.
_BLACK_POINT, _EXACT = 0x2000, 0x0100
# Rows that are worked on at once.
_ROWS = 256


@dataclass(frozen=True, slots=True)
class Values:
    """Stored pixels.

    Attributes
    ----------
    colours
        (height, width, channels), 0 to `TOP`: one channel of grey, or those of ``mode``.
    mode
        ``L``, ``RGB``, ``CMYK`` or ``LAB``, as Pillow names them.
    alpha
        (height, width), 0 to `TOP`; None where all is opaque.
    associated
        Whether the colours were multiplied by alpha already.
    """

    colours: NDArray[np.uint16]
    mode: str
    alpha: NDArray[np.uint16] | None = None
    associated: bool = False


def scaled(values: NDArray[np.unsignedinteger[Any]], bits: int) -> NDArray[np.uint16]:
    """Turn integers of 0 to 2 ** ``bits`` - 1 into 0 to `TOP`, to the nearest."""
    if bits == 16:
        return values.astype(np.uint16, copy=False)
    if bits > 16:
        return (values >> (bits - 16)).astype(np.uint16)
    top = 2**bits - 1
    wide = np.empty(values.shape, np.uint16)
    for rows in bands(len(values)):
        wide[rows] = (values[rows].astype(np.uint32) * TOP + top // 2) // top
    return wide


def with_alpha(stored: NDArray[np.uint16]) -> Values:
    """Take pixels as PNG and AVIF have them: grey, grey and alpha, RGB, or RGB and alpha."""
    if stored.ndim == 2:
        stored = stored[..., None]
    colours = 3 if stored.shape[-1] > 2 else 1
    alpha = stored[..., colours] if stored.shape[-1] > colours else None
    return Values(stored[..., :colours], "RGB" if colours == 3 else "L", alpha)


def picture_of(values: Values, icc: bytes | None, space: ColourSpace | None, background: str) -> Image.Image:
    """Return stored pixels as 8-bit sRGB over a background, by their profile or else their colour space."""
    colours = values.colours
    if values.associated and values.alpha is not None:
        colours = np.empty_like(values.colours)
        for rows in bands(len(colours)):
            share = np.maximum(values.alpha[rows], 1).astype(np.float32)[..., None] / TOP
            colours[rows] = np.minimum(values.colours[rows] / share, TOP)
    if values.mode in ("CMYK", "LAB"):
        # Littler steps than 8 bits are below what inks and papers resolve.
        inks = [Image.fromarray(_cut(colours[..., channel])) for channel in range(colours.shape[-1])]
        rgb = np.array(to_srgb(Image.merge(values.mode, inks), icc if values.mode == "CMYK" else None))
    elif space is not None and space.hdr:
        rgb = _from_hdr(colours, space)
    else:
        rgb = _through(colours, icc or (profile_of(space) if space else None))
    if values.alpha is not None:
        rgb = _over(rgb, values.alpha, background)
    image = Image.fromarray(rgb)
    image.info[CONVERTED] = True
    return image


def layers_of(values: Values) -> tuple[Image.Image, Image.Image | None]:
    """Return stored pixels as 8-bit grey, by their luma, and their transparency; colours are taken as they are stored."""
    bands = [Image.fromarray(_cut(values.colours[..., channel])) for channel in range(values.colours.shape[-1])]
    grey = bands[0] if len(bands) == 1 else Image.merge(values.mode, bands).convert("RGB").convert("L")
    return grey, None if values.alpha is None else Image.fromarray(_cut(values.alpha))


def _cut(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    # 65535 / 255 = 257 exactly, so this maps white to white and rounds to nearest.
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def bands(height: int) -> Iterator[slice]:
    """Yield the rows that are worked on at once, so that no step takes more memory than the picture."""
    return (slice(top, top + _ROWS) for top in range(0, height, _ROWS))


def _through(colours: NDArray[np.uint16], icc: bytes | None) -> NDArray[np.uint8]:
    rgb = np.empty((*colours.shape[:2], 3), np.uint8)
    grey = colours.shape[-1] == 1
    if icc is None:
        for rows in bands(len(colours)):
            rgb[rows] = _cut(colours[rows])
        return rgb
    import imagecodecs

    from_grey = profile_mode(icc) == "L"
    for rows in bands(len(colours)):
        band = colours[rows]
        if grey and not from_grey:
            band = np.repeat(band, 3, axis=-1)
        rgb[rows] = imagecodecs.cms_transform(
            np.ascontiguousarray(band[..., 0] if from_grey else band),
            icc,
            srgb_profile(),
            colorspace="gray" if from_grey else "rgb",
            outcolorspace="rgb",
            outdtype="uint8",
            intent=1,  # relative colorimetric, as for 8 bits
            flags=_BLACK_POINT | (_EXACT if from_grey else 0),
        )
    return rgb


def _from_hdr(colours: NDArray[np.uint16], space: ColourSpace) -> NDArray[np.uint8]:
    assert space.hdr is not None  # the caller asked
    rgb = np.empty((*colours.shape[:2], 3), np.uint8)
    matrix, peak = to_linear_srgb(space.primaries), peak_of(float(colours.max()) / TOP, space.hdr)
    for rows in bands(len(colours)):
        band = np.broadcast_to(colours[rows], rgb[rows].shape).astype(np.float32) / np.float32(TOP)
        rgb[rows] = tone_mapped(band, space.hdr, matrix, peak)
    return rgb


def _over(rgb: NDArray[np.uint8], alpha: NDArray[np.uint16], background: str) -> NDArray[np.uint8]:
    below = np.array(parse_colour(background), np.float32)
    for rows in bands(len(rgb)):
        share = alpha[rows, :, None].astype(np.float32) / TOP
        rgb[rows] = np.round(rgb[rows] * share + below * (1 - share))
    return rgb
