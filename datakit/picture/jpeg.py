"""The segments of a JPEG: side data that is damaged, and a missing end. Source of all rules: ITU-T T.81, annex B."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

from datakit.errors import PictureError
from datakit.picture.header import Header
from datakit.picture.pillow import opened

_SOI, _EOI, _SOS, _APP0, _APP1, _APP2, _APP15 = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xE2, 0xEF
_PROGRESSIVE, _ARITHMETIC = (0xC2, 0xCA), (0xC9, 0xCA)
# Not a marker: what lies between two segments and belongs to neither; and what a segment may begin with.
_GARBAGE, _MARKER = 0, re.compile(rb"\xff[\xc0-\xcf\xda-\xef\xfe]")
_END = b"\xff\xd9"
# What stands behind the pixels of the second try: were any missing, it would be taken for some.
_JUNK = b"\xaa\x55" * 64
# Frame headers of processes that no decoder here knows, by marker.
_UNKNOWN = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "lossless hierarchical",
    0xCB: "lossless arithmetic",
    0xCD: "hierarchical arithmetic",
    0xCE: "hierarchical arithmetic",
    0xCF: "lossless hierarchical arithmetic",
    0xF7: "near-lossless (JPEG-LS)",
}
# What a segment has to begin with, and its least length, where decoders stumble over less.
_PROFILE = b"ICC_PROFILE\0"
_LEAST = {_APP0: (b"JFIF\0", 14), _APP2: (_PROFILE, 14), 0xEE: (b"Adobe", 12), 0xED: (b"Photoshop 3.0\0", 14)}
# A marker behind the values of a scan, where ff is followed by 0 (B.1.1.5) and markers of restarts belong to them.
_BEHIND = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


class _Segment(NamedTuple):
    marker: int
    start: int
    body: memoryview

    @property
    def length(self) -> int:
        """How many bytes it takes."""
        return len(self.body) + (0 if self.marker == _GARBAGE else 4)


def look(data: bytes) -> Header:
    """Return what the segments of a JPEG say; those that are damaged and not needed are left out of what is decoded.

    Raises
    ------
    PictureError
        It is of a kind that no decoder here knows.
    """
    header = Header("JPEG", data)
    dropped: list[_Segment] = []
    parts: dict[int, bytes] = {}
    number = 0
    for segment in _segments(data):
        if segment.marker == _GARBAGE:
            dropped.append(segment)
        elif segment.marker in _UNKNOWN:
            raise PictureError(f"is a {_UNKNOWN[segment.marker]} JPEG, which is not read: save it as an ordinary one")
        elif 0xC0 <= segment.marker <= 0xCF and segment.marker not in (0xC4, 0xC8, 0xCC) and bytes(segment.body[:1]) > b"\x08":
            raise PictureError(f"is a JPEG of {segment.body[0]} bits a channel, which is not read: save it as an ordinary one")
        elif segment.marker in _LEAST:
            begins, least = _LEAST[segment.marker]
            if bytes(segment.body[: len(begins)]) == begins[: len(segment.body)] and len(segment.body) < least:
                dropped.append(segment)
            elif segment.marker == _APP2 and bytes(segment.body[: len(_PROFILE)]) == _PROFILE:
                # ICC.1:2022, B.4: which piece it is, of how many.
                number = number or segment.body[13]
                parts.setdefault(segment.body[12], bytes(segment.body[14:]))
    if not number or len(parts) == number:
        header.icc = b"".join(parts[place] for place in sorted(parts)) or None
    else:
        header.note("profile", f"of its colour profile {len(parts)} of {number} pieces are there: taken as sRGB")
    for segment in reversed(dropped):
        _drop(header, segment)
        what = (
            "has bytes between its segments"
            if segment.marker == _GARBAGE
            else f"its APP{segment.marker - _APP0} segment is too short"
        )
        header.note("side-data", f"{what}: ignored")
    return header


def _drop(header: Header, segment: _Segment) -> None:
    header.data = header.data[: segment.start] + header.data[segment.start + segment.length :]


def drop_side_data(header: Header) -> bool:
    """Leave out the segments of programs that say nothing of the pixels; tell whether there were any."""
    kept = (_APP0, _APP1, _APP2, 0xEE)
    broken = [part for part in _segments(header.data) if _APP0 <= part.marker <= _APP15 and part.marker not in kept]
    for segment in reversed(broken):
        _drop(header, segment)
    names = ", ".join(dict.fromkeys(f"APP{segment.marker - _APP0}" for segment in broken))
    if broken:
        header.note("side-data", f"its {names} segment is broken: ignored")
    return bool(broken)


def add_end(header: Header) -> None:
    """End a JPEG that stops behind its pixels; it is decoded for that, so that its size should have been looked at."""
    data = header.data.rstrip(b"\xff")
    if header.data.endswith(_END):
        return
    scan = next((segment.start for segment in _segments(data) if segment.marker == _SOS), None)
    if scan is not None and data.rfind(_END, scan) < 0 and _has_all_scans(data) and _is_whole(data):
        header.data = data + _END
        header.note("side-data", "its end marker is missing: all pixels are there")


def ends_early(image: Image.Image, data: bytes) -> bool:
    """Tell whether the pixels of a JPEG end before its last row: decoders fill up the rest with one colour and say nothing.

    Only where the last rows are of one colour, neither black nor white as that of many drawings, is it looked into.
    """
    rows = image.crop((0, image.height - 1, image.width, image.height)).getextrema()
    levels = {level for band in (rows if isinstance(rows[0], tuple) else (rows,)) for level in band}
    if any(low != high for low, high in (rows if isinstance(rows[0], tuple) else (rows,))) or levels <= {0} or levels <= {255}:
        return False
    end = next((segment.start for segment in _segments(data, to_end=True) if segment.marker in (_EOI, *_ARITHMETIC)), None)
    # What is coded arithmetically may leave out zeros at its end (D.1.8), so that nothing is known of it.
    return end is not None and data[end + 1] == _EOI and not _is_whole(data[:end])


def _segments(data: bytes, *, to_end: bool = False) -> Iterator[_Segment]:
    """Yield the segments up to the first scan, or those behind it too and the end."""
    view, at = memoryview(data), 2
    while at + 2 <= len(data):
        if data[at] != 0xFF:
            found = _MARKER.search(data, at)
            if found is None:
                return
            yield _Segment(_GARBAGE, at, view[at : found.start()])
            at = found.start()
        marker = data[at + 1]
        if marker == _EOI and to_end:
            yield _Segment(_EOI, at, view[at:at])
            return
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= _EOI:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield _Segment(marker, at, view[at + 4 : at + 2 + max(length, 2)])
        at += 2 + max(length, 2)
        if marker == _SOS:
            behind = _BEHIND.search(data, at) if to_end else None
            if behind is None:
                return
            at = behind.start()


def _has_all_scans(data: bytes) -> bool:
    """Tell whether a progressive JPEG has every bit of its 64 coefficients, as one cut between two scans has not (G.1.1.1)."""
    components, done = b"", dict[int, set[int]]()
    for segment in _segments(data, to_end=True):
        body = bytes(segment.body)
        if segment.marker in _PROGRESSIVE:
            components = body[6::3]
        elif segment.marker == _SOS and len(body) >= 6 and not body[-1] & 15:
            for component in body[1 : 1 + 2 * body[0] : 2]:
                done.setdefault(component, set()).update(range(body[-3], body[-2] + 1))
    return all(len(done.get(component, ())) == 64 for component in components)


def _is_whole(data: bytes) -> bool:
    """Tell whether a JPEG without an end marker has all its pixels: then what follows them changes none."""

    def decoded(end: bytes) -> bytes:
        with opened(data + end, ("JPEG",)) as image:
            return image.tobytes()

    try:
        return decoded(_END) == decoded(_JUNK + _END)
    except Exception:  # whatever is wrong with it, the decoder says again
        return False
