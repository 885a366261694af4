"""Read stored values of more than 8 bits a channel, or that Pillow cannot open, whatever the format."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from datakit.picture import bmp, tiff
from datakit.picture.header import Header
from datakit.picture.values import Values, scaled, with_alpha

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
    if header.significant:
        stored = _filled(stored, bits, header.significant)
    if header.narrow:
        # ITU-R BT.2100-2, table 9: black at 16 and white at 235, times 2 for each bit more.
        black, white = 16 << (bits - 8), 235 << (bits - 8)
        colours = 3 if stored.ndim == 3 and stored.shape[-1] > 2 else 1
        planes = stored.reshape(*stored.shape[:2], -1).astype(np.float32)
        planes[..., :colours] = np.clip((planes[..., :colours] - black) / (white - black), 0, 1) * (2**bits - 1)
        stored = np.round(planes).astype(stored.dtype)
    return scaled(stored, bits)


def _filled(stored: NDArray[np.unsignedinteger], bits: int, significant: tuple[int, ...]) -> NDArray[np.unsignedinteger]:
    """Spread values whose low bits were filled up with zeros over the whole range, as they were before (PNG, 13.12)."""
    planes = stored.reshape(*stored.shape[:2], -1)
    lows = np.array([2 ** (bits - number) - 1 for number in significant], stored.dtype)
    if len(lows) != planes.shape[-1] or (planes & lows).any():
        return stored  # filled up by repeating the high bits: the range is whole already
    top = 2**bits - 1
    return np.round(planes.astype(np.float64) * (top / (top - lows))).astype(stored.dtype)


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
