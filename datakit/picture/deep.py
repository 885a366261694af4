"""Read stored values of more than 8 bits a channel, or that Pillow cannot open, whatever the format."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from datakit.picture import bmp, tiff
from datakit.picture.header import Header
from datakit.picture.values import Values, bands, scaled, with_alpha

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_values(header: Header) -> Values:
    """Return the stored pixels of a picture. Raises PictureError where they have no agreed meaning; decoders raise anything."""
    if header.kind == "PNG":
        return with_alpha(_png(header))
    if header.kind == "AVIF":
        return with_alpha(_avif(header))
    if header.kind == "HEIF":
        return with_alpha(_heif(header))
    if header.size is not None:
        return tiff.read(header) if header.kind == "TIFF" else _bmp(header)
    with Image.open(io.BytesIO(header.data), formats=(header.kind,)) as image:
        stored = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return with_alpha(scaled(np.asarray(stored), 8))


def _png(header: Header) -> NDArray[np.uint16]:
    import imagecodecs

    stored = imagecodecs.png_decode(header.data)
    bits = 16 if stored.dtype == np.uint16 else 8
    planes = stored.reshape(*stored.shape[:2], -1)
    if header.significant:
        _fill(planes, bits, header.significant)
    if header.narrow:
        # ITU-R BT.2100-2, table 9: black at 16 and white at 235, times 2 for each bit more.
        black, white = 16 << (bits - 8), 235 << (bits - 8)
        colours = planes[..., : 3 if planes.shape[-1] > 2 else 1]
        for rows in bands(len(colours)):
            wide = np.clip((colours[rows].astype(np.float32) - black) / (white - black), 0, 1)
            colours[rows] = np.round(wide * (2**bits - 1))
    return scaled(stored, bits)


def _fill(planes: NDArray[np.unsignedinteger[Any]], bits: int, significant: tuple[int, ...]) -> None:
    """Spread values whose low bits were filled up with zeros over the whole range, as they were before (PNG, 13.12)."""
    lows = np.array([2 ** (bits - number) - 1 for number in significant], planes.dtype)
    if len(lows) != planes.shape[-1] or any((planes[rows] & lows).any() for rows in bands(len(planes))):
        return  # filled up by repeating the high bits: the range is whole already
    top = 2**bits - 1
    for rows in bands(len(planes)):
        planes[rows] = np.round(planes[rows] * (top / (top - lows)))


def _avif(header: Header) -> NDArray[np.uint16]:
    import imagecodecs

    stored = imagecodecs.avif_decode(header.data, index=0, numthreads=1)
    bits = 8 if stored.dtype == np.uint8 else max(header.bits, 10)
    return scaled(stored, bits if stored.max(initial=0) < 2**bits else 12)


def _heif(header: Header) -> NDArray[np.uint16]:
    import pillow_heif  # `datakit.picture.pillow.add_plugin` has found it

    stored = np.asarray(pillow_heif.open_heif(io.BytesIO(header.data), convert_hdr_to_8bit=False))
    return scaled(stored, 8 if stored.dtype == np.uint8 else 16)


def _bmp(header: Header) -> Values:
    values = with_alpha(bmp.read(header.data))
    if values.alpha is not None and not values.alpha.any():
        return Values(values.colours, values.mode)  # as Windows and browsers show what says nothing of its alpha
    return values
