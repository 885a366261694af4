"""The segments of a JPEG: side data that is damaged, and a missing end. Source of all rules: ITU-T T.81, annex B."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from datakit.errors import PictureError
from datakit.picture.header import Header
from datakit.picture.pillow import opened

_SOI, _EOI, _SOS, _APP0, _APP1 = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1
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
}
# What a segment has to begin with, and its least length, where decoders stumble over less.
_LEAST = {_APP0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12), 0xED: (b"Photoshop 3.0\0", 14)}


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
    for segment in reversed(dropped):
        header.data = header.data[: segment.start] + header.data[segment.start + segment.length :]
        what = (
            "has bytes between its segments"
            if segment.marker == _GARBAGE
            else f"its APP{segment.marker - _APP0} segment is too short"
        )
        header.note("side-data", f"{what}: ignored")
    return header


def add_end(header: Header) -> None:
    """End a JPEG that stops behind its pixels; it is decoded for that, so that its size should have been looked at."""
    data = header.data.rstrip(b"\xff")
    if header.data.endswith(_END):
        return
    scan = next((segment.start for segment in _segments(data) if segment.marker == _SOS), None)
    if scan is not None and data.rfind(_END, scan) < 0 and _is_whole(data):
        header.data = data + _END
        header.note("side-data", "its end marker is missing: all pixels are there")


def _segments(data: bytes) -> Iterator[_Segment]:
    """Yield the segments up to the first scan."""
    view, at = memoryview(data), 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            found = _MARKER.search(data, at)
            if found is None:
                return
            yield _Segment(_GARBAGE, at, view[at : found.start()])
            at = found.start()
        marker = data[at + 1]
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= _EOI:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield _Segment(marker, at, view[at + 4 : at + 2 + max(length, 2)])
        if marker == _SOS:
            return
        at += 2 + max(length, 2)


def _is_whole(data: bytes) -> bool:
    """Tell whether a JPEG without an end marker has all its pixels: then what follows them changes none."""

    def decoded(end: bytes) -> bytes:
        with opened(data + end, ("JPEG",)) as image:
            return image.tobytes()

    try:
        return decoded(_END) == decoded(_JUNK + _END)
    except Exception:  # whatever is wrong with it, the decoder says again
        return False
