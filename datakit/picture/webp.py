"""The chunks of a WebP: a length that is wrong, and an end that is cut behind the pixels.

Source of all rules: WebP Container Specification, Google.
"""

from __future__ import annotations

import struct

from datakit.errors import PictureError
from datakit.picture.header import Header

_START = 12
_PIXELS = (b"VP8 ", b"VP8L", b"ANMF")


def look(data: bytes) -> Header:
    """Return a WebP as decoders take it: with its true length, and without a chunk that is cut behind the pixels.

    Raises
    ------
    PictureError
        It is cut within its pixels.
    """
    header = Header("WEBP", data)
    end, at, last = 8 + int.from_bytes(data[4:8], "little"), _START, _START
    # Where the pixels of the picture, or of its first frame, end.
    pixels = 0
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        at += 8 + length
        if at > len(data):
            if not pixels and kind in _PIXELS:
                raise PictureError("is damaged: it is cut within its pixels")
            break
        pixels = pixels or (at if kind in _PIXELS else 0)
        last, at = at, at + length % 2
    if pixels and not max(pixels, _START) <= end <= len(data):
        body = data[_START:last] + bytes(last % 2)
        header.data = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
        header.note("side-data", "it is cut behind its pixels, or its length is wrong: all pixels are there")
    return header
