"""The chunks of a PNG: colours that stand in no profile, and side data that is damaged.

Source of all rules: Portable Network Graphics (PNG) Specification (Third Edition), W3C.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from datakit.errors import PictureError
from datakit.picture.colourspaces import of_codes, of_gamma
from datakit.picture.header import Header

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = frozenset({b"cICP", b"gAMA", b"cHRM", b"sBIT", b"mDCV", b"cLLI", b"mDCv", b"cLLi", b"iCCP"})
_NEEDED = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
# The other pictures of an animation, and what is said of them: only the default one is used (11.3.6).
_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
# How long chunks have to be on which decoders stumble; of tRNS by the kind of the colours (11.3.1 to 11.3.4).
_LEAST = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9}
_LEAST_TRANSPARENT = {0: 2, 2: 6, 3: 1}
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

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.start + 12 + len(self.body)


def look(data: bytes) -> Header:
    """Return what the chunks of a PNG say; those that are damaged and not needed are left out of what is decoded.

    Raises
    ------
    PictureError
        What the pixels cannot be decoded without is damaged, or of Apple's own kind.
    """
    header = Header("PNG", data)
    found: dict[bytes, bytes] = {}
    dropped: list[_Chunk] = []
    silent: list[_Chunk] = []
    chunk = None
    for chunk in _chunks(data):
        if chunk.kind == b"CgBI":
            raise PictureError("is a PNG as Apple packs it into apps (CgBI), which is not read: save it as an ordinary one")
        if chunk.kind in _NEEDED:
            if not chunk.whole and chunk.kind in (b"IHDR", b"PLTE"):
                raise PictureError(f"is damaged: the checksum of its {chunk.kind.decode()} chunk is wrong")
            found.setdefault(chunk.kind, bytes(chunk.body[:16]))
        elif chunk.kind in _ANIMATION:
            silent.append(chunk)
            found.setdefault(chunk.kind, bytes(chunk.body[:8]))
        elif not chunk.whole or not chunk.ancillary or _is_unusable(chunk, found):
            dropped.append(chunk)
        elif chunk.kind in _COLOURS or chunk.kind == b"sRGB":
            found.setdefault(chunk.kind, bytes(chunk.body if chunk.kind == b"iCCP" else chunk.body[:64]))
    _mend(header, dropped, silent, chunk)
    if int.from_bytes(found.get(b"acTL", b"")[:4], "big") > 1:
        header.note("frames", "several frames or pages: only the first is used")
    header.plain = not found.keys() & (_COLOURS | _ANIMATION)
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
        # The checksum of pixels is the decoder's business, and that of the end nobody's.
        whole = len(check) == 4 and (
            kind in (b"IDAT", b"IEND") or zlib.crc32(body, zlib.crc32(kind)) == int.from_bytes(check, "big")
        )
        yield _Chunk(kind, at, body, whole)
        at += 12 + length
        if kind == b"IEND":
            return


def _is_unusable(chunk: _Chunk, found: dict[bytes, bytes]) -> bool:
    """Tell whether a chunk is too short for what it is, broken inside, or packs more than anybody has."""
    if len(chunk.body) < _LEAST.get(chunk.kind, 0):
        return True
    if chunk.kind == b"tRNS":
        kind = found.get(b"IHDR", b"").ljust(10, b"\0")[9]
        return not _LEAST_TRANSPARENT.get(kind, 257) <= len(chunk.body) <= 256
    if chunk.kind == b"iCCP":
        return _profile(chunk.body) is None
    packed = {b"zTXt": 2, b"iTXt": 5}.get(chunk.kind)
    if packed is None or (chunk.kind == b"iTXt" and b"\0\1\0" not in bytes(chunk.body[:82])):
        return len(chunk.body) > MOST_TEXT
    inside = bytes(chunk.body).split(b"\0", 1)[-1]
    inside = inside[2:].split(b"\0", 2)[-1] if chunk.kind == b"iTXt" else inside[1:]
    try:
        return len(zlib.decompressobj().decompress(inside, MOST_TEXT + 1)) > MOST_TEXT
    except zlib.error:
        return True


def _profile(body: bytes | memoryview) -> bytes | None:
    """Return the profile in an iCCP chunk (11.3.2.3); None where it is not whole, or larger than anybody's.

    What stands around the packed bytes, their checksum included, says nothing that is needed.
    """
    packed = bytes(body).partition(b"\0")[2]
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        profile = unpacking.decompress(packed[3:], MOST_TEXT + 1)
    except zlib.error:
        return None
    return profile if packed[:1] == b"\0" and unpacking.eof and 0 < len(profile) <= MOST_TEXT else None


def _mend(header: Header, dropped: list[_Chunk], silent: list[_Chunk], last: _Chunk | None) -> None:
    """Leave out chunks that would stop a decoder, some without a word, and end a file that stops behind its pixels."""
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
        header.note("side-data", f"its {names} chunk is damaged, too large or not known: ignored")
    if tail or dropped or silent:
        kept, at = [], 0
        for chunk in sorted((*dropped, *silent), key=lambda chunk: chunk.start):
            kept.append(data[at : chunk.start])
            at = chunk.end
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
    header.icc = _profile(found[b"iCCP"]) if b"iCCP" in found else None
    if header.icc is not None or b"sRGB" in found:
        return
    gamma, points = found.get(b"gAMA", b""), found.get(b"cHRM", b"")
    exponent = int.from_bytes(gamma, "big") / 100_000 if len(gamma) == 4 else 0
    primaries = None
    if len(points) == 32:
        white, *rest = zip(*[iter(value / 100_000 for value in struct.unpack(">8I", points))] * 2, strict=True)
        primaries = tuple(value for pair in (*rest, white) for value in pair)
    header.space = of_gamma(exponent or None, primaries)
