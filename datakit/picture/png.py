"""The chunks of a PNG: colours that stand in no profile, and side data that is damaged.

Source of all rules: Portable Network Graphics (PNG) Specification (Third Edition), W3C.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from datakit.picture.colourspaces import of_codes, of_gamma
from datakit.picture.header import Header

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = frozenset({b"cICP", b"gAMA", b"cHRM", b"sBIT", b"mDCV", b"cLLI", b"mDCv", b"cLLi"})
# The largest text or profile that is unpacked, and the largest that Pillow is given.
MOST_TEXT = 64 * 2**20


class _Chunk(NamedTuple):
    kind: bytes
    start: int
    body: memoryview
    whole: bool

    @property
    def ancillary(self) -> bool:
        """Whether the picture can be decoded without it (5.4: the fifth bit of the first letter)."""
        return bool(self.kind[0] & 0x20)


def look(data: bytes) -> Header:
    """Return what the chunks of a PNG say; those that are damaged and not needed are left out of what is decoded."""
    header = Header("PNG", data)
    found: dict[bytes, bytes] = {}
    dropped: list[_Chunk] = []
    chunk = None
    for chunk in _chunks(data):
        if not chunk.ancillary:
            found.setdefault(chunk.kind, bytes(chunk.body[:16]))
        elif not chunk.whole or _is_too_much(chunk):
            dropped.append(chunk)
        elif chunk.kind in _COLOURS or chunk.kind in (b"iCCP", b"sRGB"):
            found.setdefault(chunk.kind, bytes(chunk.body[:64]))
    _mend(header, dropped, chunk)
    header.plain = not found.keys() & _COLOURS
    ihdr = found.get(b"IHDR", b"")
    header.bits = ihdr[8] if len(ihdr) >= 13 else 8
    _look_at_colours(header, found)
    sbit = tuple(found.get(b"sBIT", b""))
    if sbit and all(0 < bits <= header.bits for bits in sbit) and min(sbit) < header.bits and ihdr[9] != 3:
        header.significant = sbit
    return header


def _chunks(data: bytes) -> Iterator[_Chunk]:
    view, at = memoryview(data), len(SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = view[at + 8 : at + 8 + length]
        check = data[at + 8 + length : at + 12 + length]
        # Checksums of pixels are the decoder's business.
        whole = len(check) == 4 and (not kind[0] & 0x20 or zlib.crc32(body, zlib.crc32(kind)) == int.from_bytes(check, "big"))
        yield _Chunk(kind, at, body, whole)
        at += 12 + length
        if kind == b"IEND":
            return


def _is_too_much(chunk: _Chunk) -> bool:
    """Tell whether a packed profile or text is larger than anybody's."""
    packed = {b"iCCP": 2, b"zTXt": 2, b"iTXt": 5}.get(chunk.kind)
    if packed is None or (chunk.kind == b"iTXt" and b"\0\1\0" not in bytes(chunk.body[:82])):
        return len(chunk.body) > MOST_TEXT
    inside = bytes(chunk.body).split(b"\0", 1)[-1]
    inside = inside[2:].split(b"\0", 2)[-1] if chunk.kind == b"iTXt" else inside[1:]
    try:
        return len(zlib.decompressobj().decompress(inside, MOST_TEXT + 1)) > MOST_TEXT
    except zlib.error:
        return chunk.kind != b"iCCP"  # of a profile, Pillow itself says that it is broken


def _mend(header: Header, dropped: list[_Chunk], last: _Chunk | None) -> None:
    """Leave out chunks that would stop a decoder, and end a file that stops behind its pixels."""
    data, end, tail = header.data, len(header.data), b""
    if last is not None and not (last.kind == b"IEND" and last.whole):
        tail = _chunk(b"IEND", b"")
        if not last.whole:
            end = last.start
            # Of pixels only the checksum may be cut: whether they are whole the decoder will see.
            tail = (_chunk(b"IDAT", bytes(last.body)) if last.kind == b"IDAT" else b"") + tail
        header.note("side-data", "its end marker is missing: all pixels are there")
    if dropped:
        names = ", ".join(dict.fromkeys(chunk.kind.decode("latin-1") for chunk in dropped))
        header.note("side-data", f"its {names} chunk is damaged or too large: ignored")
    if tail or dropped:
        kept, at = [], 0
        for chunk in dropped:
            kept.append(data[at : chunk.start])
            at = chunk.start + 12 + len(chunk.body)
        header.data = b"".join((*kept, data[at:end], tail))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _look_at_colours(header: Header, found: dict[bytes, bytes]) -> None:
    """Take the colour space of the chunk that counts most: cICP, iCCP, sRGB, then gAMA and cHRM (4.3, colour spaces)."""
    codes = found.get(b"cICP", b"")
    if len(codes) == 4:
        try:
            header.space = of_codes(codes[0], codes[1])
            header.coded, header.narrow = True, not codes[3]
        except ValueError as error:
            header.note("profile", f"its cICP chunk names {error}, which is not known here: ignored")
        else:
            return
    if b"iCCP" in found or b"sRGB" in found:
        return
    gamma, points = found.get(b"gAMA", b""), found.get(b"cHRM", b"")
    exponent = int.from_bytes(gamma, "big") / 100_000 if len(gamma) == 4 else 0
    primaries = None
    if len(points) == 32:
        white, *rest = zip(*[iter(value / 100_000 for value in struct.unpack(">8I", points))] * 2, strict=True)
        primaries = tuple(value for pair in (*rest, white) for value in pair)
    header.space = of_gamma(exponent or None, primaries)
