"""The header of a BMP: its colours, and pixels whose channels lie at other bits than Pillow knows.

Source of all rules: Microsoft, Windows GDI, BITMAPINFOHEADER, BITMAPV4HEADER and BITMAPV5HEADER.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from datakit.errors import PictureError
from datakit.geometry import Size
from datakit.picture.colourspaces import SRGB, of_gamma
from datakit.picture.header import Header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FILE_HEADER, _INFO, _V4, _V5 = 14, 40, 108, 124
# Where the number of colours in the palette stands.
_COLOURS_AT = 46
_BITFIELDS, _ALPHA_BITFIELDS = 3, 6
_CALIBRATED, _EMBEDDED, _LINKED = b"\0\0\0\0", b"DEBM", b"KNIL"
# The masks of red, green, blue and alpha that Pillow knows (PIL/BmpImagePlugin.py).
_A, _B, _C, _D = 0xFF000000, 0xFF0000, 0xFF00, 0xFF
_PILLOW_KNOWS = {
    32: frozenset({(_B, _C, _D, 0), (_A, _B, _C, 0), (_A, _C, _D, 0), (_A, _B, _C, _D), (_D, _C, _B, _A), (_B, _C, _D, _A)})
    | {(_A, _C, _D, _B), (0, 0, 0, 0)},
    16: frozenset({(0xF800, 0x7E0, 0x1F, 0), (0x7C00, 0x3E0, 0x1F, 0)}),
}


class _Info(NamedTuple):
    size: int
    width: int
    height: int
    bits: int
    compression: int
    colours: int

    @property
    def coded(self) -> bool:
        """Whether masks tell where the channels lie."""
        return self.compression in (_BITFIELDS, _ALPHA_BITFIELDS) and self.bits in (16, 32)


def look(data: bytes) -> Header:
    """Return what the header of a BMP says. Raises PictureError where its pixels are coded in a way that is not read."""
    header = Header("BMP", data)
    info = _info(data)
    if info is None:
        return header
    if info.size > _INFO and info.compression in (4, 5) and info.bits == 0:
        raise PictureError(f"is a BMP around a {'JPEG' if info.compression == 4 else 'PNG'}, which is not read: save it as that")
    if info.bits not in (1, 4, 8, 16, 24, 32):
        raise PictureError(f"is a BMP of {info.bits} bits a pixel, which is not read: save it as PNG")
    if info.bits <= 8 and info.colours > 2**info.bits:
        header.data = data[:_COLOURS_AT] + struct.pack("<I", 2**info.bits) + data[_COLOURS_AT + 4 :]
        header.note("side-data", f"its palette is said to have {info.colours} colours: only {2**info.bits} can be used")
    masks = _masks(data, info)
    if info.coded and (info.compression != _BITFIELDS or masks not in _PILLOW_KNOWS[info.bits]):
        if not any(masks[:3]):
            raise PictureError("is a BMP whose masks name no bits for its colours")
        header.size = Size(info.width, abs(info.height))
    if info.size >= _V4:
        _look_at_colours(header, data, info)
    return header


def _info(data: bytes) -> _Info | None:
    if len(data) < _FILE_HEADER + _INFO or struct.unpack_from("<I", data, _FILE_HEADER)[0] < _INFO:
        return None
    size, width, height, _, bits, compression = struct.unpack_from("<IiiHHI", data, _FILE_HEADER)
    return _Info(size, width, height, bits, compression, struct.unpack_from("<I", data, _COLOURS_AT)[0])


def _masks(data: bytes, info: _Info) -> tuple[int, int, int, int]:
    red, green, blue, alpha = struct.unpack_from("<4I", data.ljust(_FILE_HEADER + _INFO + 16, b"\0"), _FILE_HEADER + _INFO)
    with_alpha = info.compression == _ALPHA_BITFIELDS or info.size >= _INFO + 16
    return red, green, blue, alpha if with_alpha else 0


def _look_at_colours(header: Header, data: bytes, info: _Info) -> None:
    kind = data[_FILE_HEADER + 56 : _FILE_HEADER + 60]
    if kind == _CALIBRATED:
        *points, red, green, blue = struct.unpack_from("<9I3I", data, _FILE_HEADER + 60)
        if not any(points):
            return  # most files say nothing here
        # Each is x, y and z as 2.30 fixed point. White is said nowhere; programs that write these mean that of sRGB.
        sums = [sum(points[at : at + 3]) for at in (0, 3, 6)]
        if not all(sums):
            header.note("profile", "its colour endpoints are impossible: taken as sRGB")
            return
        primaries = (*(points[at] / sums[at // 3] for at in (0, 1, 3, 4, 6, 7)), *SRGB[6:])
        gamma = (red + green + blue) / 3 / 2**16
        header.space = of_gamma((1 / gamma if gamma > 1 else gamma) or None, primaries)
    elif info.size >= _V5 and kind == _EMBEDDED:
        start, length = struct.unpack_from("<II", data, _FILE_HEADER + 112)
        header.icc = data[_FILE_HEADER + start : _FILE_HEADER + start + length] or None
    elif info.size >= _V5 and kind == _LINKED:
        header.note("profile", "its colour profile is another file's, which is not read: taken as sRGB")


def read(data: bytes) -> NDArray[np.uint16]:
    """Return the pixels whose channels stand at the bits that its masks name: (height, width, 4), 0 to 65535. Raises PictureError."""
    import numpy as np

    info = _info(data)
    assert info is not None  # `look` has found masks in it
    width, height = info.width, abs(info.height)
    row = (width * info.bits + 31) // 32 * 4
    start = struct.unpack_from("<I", data, 10)[0]
    stored = np.frombuffer(data, np.uint8, offset=min(start, len(data)))[: row * height]
    if stored.size < row * height:
        raise PictureError("is damaged or not readable: its pixels are truncated")
    values = stored.reshape(height, row).view("<u2" if info.bits == 16 else "<u4")[:, :width].astype(np.uint32)
    pixels = np.empty((height, width, 4), np.uint16)
    for channel, mask in enumerate(_masks(data, info)):
        shift = (mask & -mask).bit_length() - 1
        top = mask >> shift if mask else 0
        scaled = (values & mask) >> max(shift, 0)
        pixels[..., channel] = np.round(scaled * (65535 / top)) if top else 65535 * (channel == 3)
    return pixels if info.height < 0 else pixels[::-1]
