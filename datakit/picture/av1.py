"""The colours in the sequence header of AV1, which count where an AVIF's boxes say nothing of them.

Source of all rules: AV1 Bitstream & Decoding Process Specification, AOMedia, sections 5.3 and 5.5; AVIF 1.1, section 2.1.
"""

from __future__ import annotations

_SEQUENCE_HEADER = 1
_MOST_SIZE = 8  # bytes of a leb128


class _Bits:
    """Bits, first the highest; behind the end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, number: int) -> int:
        value = 0
        for place in range(self._at, self._at + number):
            byte = self._data[place >> 3] if place >> 3 < len(self._data) else 0
            value = value << 1 | byte >> (7 - (place & 7)) & 1
        self._at += number
        return value


def codes_of(units: bytes) -> tuple[int, int] | None:
    """Return colour primaries and transfer characteristics, as ITU-T H.273 numbers them, that some open bitstream units say.

    None where they hold no sequence header, or one that says nothing of colours or belongs to a film with a clock.
    """
    at = 0
    while at < len(units):
        kind, extended, sized = units[at] >> 3 & 15, units[at] & 4, units[at] & 2
        at += 2 if extended else 1
        length = len(units) - at
        if sized:
            length = 0
            for place in range(_MOST_SIZE):
                byte = units[at] if at < len(units) else 0
                at += 1
                length |= (byte & 0x7F) << 7 * place
                if not byte & 0x80:
                    break
        if kind == _SEQUENCE_HEADER:
            return _codes(_Bits(units[at : at + length]))
        at += length
    return None


def _codes(bits: _Bits) -> tuple[int, int] | None:
    profile, _still, reduced = bits.read(3), bits.read(1), bits.read(1)
    if reduced:
        bits.read(5)
    elif not _pass_operating_points(bits):
        return None
    width, height = bits.read(4) + 1, bits.read(4) + 1
    bits.read(width + height)
    if not reduced and bits.read(1):
        bits.read(7)  # lengths of frame numbers
    bits.read(3)  # superblocks, filter and edges of intra prediction
    if not reduced:
        _pass_tools(bits)
    bits.read(3)  # super-resolution, CDEF, restoration
    if bits.read(1) and profile == 2:
        bits.read(1)  # twelve bits
    if profile != 1:
        bits.read(1)  # grey
    return (bits.read(8), bits.read(8)) if bits.read(1) else None


def _pass_operating_points(bits: _Bits) -> bool:
    """Pass over what is said of decoding in time; tell whether there is no clock, whose fields are not known here."""
    if bits.read(1):
        return False
    delayed, number = bits.read(1), bits.read(5) + 1
    for _ in range(number):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if delayed and bits.read(1):
            bits.read(4)
    return True


def _pass_tools(bits: _Bits) -> None:
    """Pass over the tools of inter prediction and of screen content."""
    bits.read(4)
    ordered = bits.read(1)
    if ordered:
        bits.read(2)
    forced = 1 if bits.read(1) else bits.read(1)
    if forced and not bits.read(1):
        bits.read(1)
    if ordered:
        bits.read(3)
