"""What the boxes of an AVIF or HEIC say of the picture: its colours, its clean aperture, how deep it is.

Source of all rules: ISO/IEC 14496-12 (boxes), ISO/IEC 23008-12 (items and their properties).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from datakit.errors import PictureError
from datakit.geometry import Box, Size
from datakit.picture.av1 import codes_of
from datakit.picture.colourspaces import of_codes
from datakit.picture.header import Header

# Boxes whose content is boxes, and how many bytes stand before them.
_INSIDE = {b"meta": 4, b"iprp": 0}
_MOST_BOXES = 100_000
# Matrix coefficients of ITU-T H.273 that libavif does not turn into RGB (reformat.c).
_NOT_DECODED = {
    3: "a reserved one",
    10: "BT.2020 with constant luminance",
    11: "SMPTE ST 2085",
    13: "derived, with constant luminance",
    14: "ICtCp",
}


def look(data: bytes, kind: str) -> Header:
    """Return what the boxes of an AVIF or HEIC (``kind`` is Pillow's name) say of its main picture.

    Raises
    ------
    PictureError
        Its colours are coded in a way that is not decoded.
    """
    header = Header(kind, data)
    try:
        header.data = data = _with_one_association(data)
        properties = _properties(data)
    except (struct.error, IndexError, ValueError):
        return header  # what is wrong with it the decoder says
    if kind == "AVIF" and all(name != b"colr" for name, _ in properties):
        units = next((body[4:] for name, body in properties if name == b"av1C"), b"")
        _look_at_colours(header, codes_of(units) or (2, 2))
    for name, body in properties:
        if name == b"colr" and body[:4] == b"nclx" and len(body) >= 11:
            *codes, matrix = struct.unpack_from(">HHH", body, 4)
            if kind == "AVIF" and matrix in _NOT_DECODED:
                raise PictureError(
                    f"has colours of matrix {matrix} ({_NOT_DECODED[matrix]}), which is not decoded: save it with another one, "
                    "such as 9 (BT.2020)"
                )
            _look_at_colours(header, tuple(codes))
        elif name == b"pixi" and len(body) > 4:
            header.bits = max(body[5 : 5 + body[4]], default=8)
        elif name == b"av1C" and len(body) >= 3:
            # AV1 Codec ISO Media File Format Binding, 2.3.3: high_bitdepth and twelve_bit.
            header.bits = 8 if not body[2] & 0x40 else 12 if body[2] & 0x20 else 10
        elif name == b"clap" and kind == "AVIF":  # libheif, which decodes the other kind, applies it itself
            size = next((struct.unpack(">II", other[4:12]) for called, other in properties if called == b"ispe"), None)
            header.clean = _clean(body, size) if size else None
            if header.clean is None:
                header.note("side-data", "its clean aperture is not inside the picture: ignored")
    return header


def size_of(data: bytes) -> Size | None:
    """Return the size of the main picture as stored; None where nothing says it."""
    try:
        return next((Size(*struct.unpack(">II", body[4:12])) for name, body in _properties(data) if name == b"ispe"), None)
    except (struct.error, IndexError, ValueError):
        return None


def _look_at_colours(header: Header, codes: tuple[int, ...]) -> None:
    try:
        header.space = of_codes(*codes)
    except ValueError as error:
        header.note("profile", f"its colours name {error}, which is not known here: taken as sRGB")


def _clean(body: bytes, size: tuple[int, int]) -> Box | None:
    """Return the clean aperture (14496-12, 12.1.4.1): the window given by its size and the offset of its centre."""
    values = struct.unpack(">IIIIiIiI", body[:32])
    if not all(values[1::2]):
        return None
    width, height, right, down = (above / below for above, below in zip(values[::2], values[1::2], strict=True))
    left, top = (size[0] - width) / 2 + right, (size[1] - height) / 2 + down
    box = Box(round(left), round(top), round(left + width), round(top + height))
    return box if 0 <= box.left < box.right <= size[0] and 0 <= box.top < box.bottom <= size[1] else None


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each box, and where its content begins and ends."""
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        length, name = struct.unpack_from(">I4s", data, start)
        head = 8
        if length == 1:
            (length,), head = struct.unpack_from(">Q", data, start + 8), 16
        stop = end if length == 0 else start + length
        if stop > end or stop < start + head:
            return
        yield name, start + head, stop
        start = stop


def _with_one_association(data: bytes) -> bytes:
    """Return the file with two neighbouring lists of properties made one: of the same kind there may be no two (8.11.14.1).

    Some encoders write one an item, browsers read them, and libavif refuses them.
    """
    try:
        inside = _inside(data, b"meta", b"iprp")
    except KeyError:
        return data
    boxes = [(name, start, stop) for name, start, stop in _boxes(data, *inside)]
    if [name for name, *_ in boxes] != [b"ipco", b"ipma", b"ipma"]:
        return data
    (_, properties, at), (_, first, middle), (_, second, end) = boxes
    kind, count = data[first : first + 4], int.from_bytes(data[first + 4 : first + 8], "big")
    if data[second : second + 4] != kind:
        return data
    count += int.from_bytes(data[second + 4 : second + 8], "big")
    entries = data[first + 8 : middle] + data[second + 8 : end]
    # What is saved becomes an empty property, so that nothing moves.
    empty = struct.pack(">I4sQ", 16, b"free", 0)
    merged = struct.pack(">I4s4sI", 16 + len(entries), b"ipma", kind, count) + entries
    longer = struct.pack(">I4s", at + 16 - properties + 8, b"ipco")
    return data[: properties - 8] + longer + data[properties:at] + empty + merged + data[end:]


def _inside(data: bytes, *path: bytes) -> tuple[int, int]:
    """Return where the content of a box begins and ends. Raises KeyError where there is no such box."""
    place = (0, len(data))
    for name in path:
        found = {called: (inside + _INSIDE.get(called, 0), stop) for called, inside, stop in _boxes(data, *place)}
        place = found[name]
    return place


def _properties(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the properties of the main picture, in the order in which they apply."""
    found: dict[bytes, tuple[int, int]] = {}
    places = [(0, len(data))]
    while places:
        start, end = places.pop()
        for name, inside, stop in _boxes(data, start, end):
            if name in (b"pitm", b"ipma", b"ipco"):
                found.setdefault(name, (inside, stop))
            if name in _INSIDE:
                places.append((inside + _INSIDE[name], stop))
    if found.keys() < {b"pitm", b"ipma", b"ipco"}:
        return []
    at, _ = found[b"pitm"]
    main = int.from_bytes(data[at + 4 : at + (8 if data[at] else 6)], "big")
    listed = [(name, data[inside:stop]) for name, inside, stop in _boxes(data, *found[b"ipco"])]
    at, end = found[b"ipma"]
    version, wide = data[at], data[at + 3] & 1
    (count,) = struct.unpack_from(">I", data, at + 4)
    at += 8
    for _ in range(count):
        if at >= end:
            break
        length = 4 if version else 2
        item, number = int.from_bytes(data[at : at + length], "big"), data[at + length]
        at += length + 1
        size, mask = (2, 0x7FFF) if wide else (1, 0x7F)
        indices = [int.from_bytes(data[at + size * i : at + size * (i + 1)], "big") & mask for i in range(number)]
        at += size * number
        if item == main:
            return [listed[index - 1] for index in indices if 0 < index <= len(listed)]
    return []
