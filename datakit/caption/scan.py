"""Find what separates a caption, and what in it is one piece: groups, quotations, numbers, faces of signs."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from typing import NamedTuple

COMMAS = ",，、،؛；﹐﹑､"
# Full stops of scripts that put no blank behind them; Arabic, Urdu and Hindi put one.
WIDE_STOPS = "。｡．！？"
STOPS = f".!?…؟۔।{WIDE_STOPS}"
BREAK = re.compile(rf"\s*[{COMMAS}]?\s*(?:(?<![^\s{COMMAS}|])BREAK(?![^\s{COMMAS}|])|\|\|\|)\s*[{COMMAS}]?\s*")

# What opens a group, and what may close it; escaped brackets are round each other alone.
_PAIRS = {
    "(": (")",), "[": ("]",), "{": ("}",), r"\(": (r"\)",), r"\[": (r"\]",), r"\{": (r"\}",),
    "（": ("）",), "【": ("】",), "「": ("」",), "『": ("』",), "《": ("》",), "〈": ("〉",),
    "“": ("”",), "„": ("“", "”"), "«": ("»",), "‘": ("’",), '"': ('"',), "'": ("'",),
}  # fmt: skip
_CLOSING = frozenset(sign for signs in _PAIRS.values() for sign in signs)
_UNITS = r"(?:mm|cm|m|km|ml|cl|l|g|kg|s|h|x|px|mp|inch|zoll|%|°|€|\$|£)"
# Where anything of the next pattern can begin, most letters need no closer look; digits only where a number holds a comma.
_BEGINNINGS = rf"\\>:;=()\[\]{{}}<（）【】「」『』《》〈〉“”„«»‘’\"'.!?…؟۔।{WIDE_STOPS}{COMMAS}"
_PLACES, _PLACES_AND_DIGITS = re.compile(f"[{_BEGINNINGS}]"), re.compile(rf"[{_BEGINNINGS}\d]")
_NUMBER = re.compile(r",(?<=\d,)\d")
_ARE_COMMAS = frozenset(COMMAS)
# Without any of these a caption holds no group, no number that is one piece, and no marks but commas and full stops.
_SPECIAL = re.compile(rf"[\\()\[\]{{}}<（）【】「」『』《》〈〉“”„«»‘’\"!?…؟۔।{WIDE_STOPS}{COMMAS[1:]}]")
_APOSTROPHE = re.compile(r"(?<!\w)'|'(?!\w)")
_COMMA, _FULL_STOP = re.compile(","), re.compile(r"\.(?<=[^\W_]\.|[%°*]\.)\.*(?=[\s,]|$)")
_SCAN = re.compile(
    rf"""
    (?<=[:;=])\\. | \\[^()\[\]{{}}]                           # escaped: nothing begins or ends at it
    | (?<![^\s{COMMAS}])                                    # a face of signs, as in ":(" or "(;"
      (?:[>\}}]?[:;=]['’o^-]?[()\[\]{{}}]+|[()\[\]{{}}]+['’o^-]?[:;=])(?=[\s{COMMAS}]|$)
    | <[A-Za-z]\w*:[^<>]*>                                  # <lora:name:1>
    | (?<![\w.,])\d{{1,3}}(?:,\d{{3}})+(?![\d]|,\d)         # 1,000
    | (?<![\w.,])(?:\d{{1,3}}(?:\.\d{{3}})+|\d+),\d{{1,2}}(?=\ ?{_UNITS}(?!\w))  # 3,5 mm and 1.000,50 €
    | (?P<sign>\\[()\[\]{{}}] | [()\[\]{{}}（）【】「」『』《》〈〉“”„«»‘"]
        | (?<![\w'])'(?=[^\W\d_]) | (?<=[\w.!?])'(?!\w) | ’(?!\w))
    | (?P<stop>(?<=[^\W_]|[)\]\}}"'”’»%°*])[.!?…؟۔।]+(?=[\s{COMMAS}]|$)
        | (?<=[^\s{COMMAS}{WIDE_STOPS}.!?…])[؟۔।]+(?=[\s{COMMAS}]|$) | [{WIDE_STOPS}]+)
    """,
    re.VERBOSE | re.DOTALL,
)


class Mark(NamedTuple):
    """What may separate tokens: a stretch of signs outside of any group."""

    start: int
    end: int


class Span(NamedTuple):
    """A group that is one piece."""

    start: int
    end: int


class Scanned(NamedTuple):
    """Where the commas and the full stops of whatever script stand outside of groups, and the outermost groups, all in order."""

    commas: list[int]
    stops: list[Mark]
    spans: list[Span]
    # Whether there is nothing but words, "," and ".".
    plain: bool


def scan(caption: str) -> Scanned:
    """Find the commas and full stops outside of groups, and the outermost groups.

    A group is what stands in brackets of any kind that are closed again, or in quotation marks; a bracket in a face
    (``:(``) and one without its other half are signs like any other, and an escaped one has an escaped other half.
    """
    return _plain(caption) or _scanned(caption)


def _plain(caption: str) -> Scanned | None:
    """Find the same without a look at each sign where none of them can be part of a group, as in most captions."""
    if _SPECIAL.search(caption) or _NUMBER.search(caption) or ("'" in caption and _APOSTROPHE.search(caption)):
        return None
    commas = [match.start() for match in _COMMA.finditer(caption)]
    stops = [Mark(*match.span()) for match in _FULL_STOP.finditer(caption)] if "." in caption else []
    return Scanned(commas, stops, [], plain=True)


def _scanned(caption: str) -> Scanned:
    commas: list[int] = []
    stops: list[Mark] = []
    spans: list[Span] = []
    open_: list[tuple[str, int]] = []
    waiting: defaultdict[str, int] = defaultdict(int)
    seen = 0
    for place in (_PLACES_AND_DIGITS if _NUMBER.search(caption) else _PLACES).finditer(caption):
        at = place.start()
        if at < seen:
            continue
        if place[0] in _ARE_COMMAS:  # most places are: nothing else begins with one
            commas.append(at)
            continue
        match = _SCAN.match(caption, at)
        if match is None:
            continue
        seen = match.end()
        kind, sign = match.lastgroup, match[0]
        if kind == "stop":
            stops.append(Mark(at, seen))
        elif kind == "sign":
            opener = next((each for each in _PAIRS if sign in _PAIRS[each] and waiting[each]), None) if sign in _CLOSING else None
            if opener is not None and not (sign in "'’" and open_[-1][0] != opener):
                # An apostrophe in brackets ends no quotation that began before them: "'n' roll, (girls' band)".
                start = _close(open_, waiting, opener)
                while spans and spans[-1].start > start:
                    spans.pop()
                spans.append(Span(start, seen))
            elif sign in _PAIRS and _opens(caption, at, sign):
                open_.append((sign, at))
                waiting[sign] += 1
    return _outside(commas, stops, spans)


def separated_by(caption: str, separator: str) -> list[Mark]:
    """Return where a separator of the user's own stands; not inside a group, unless it is a blank or part of one."""
    found = [Mark(*match.span()) for match in re.finditer(re.escape(separator), caption)]
    if not separator.strip() or set(separator) & set(_PAIRS):
        return found
    spans = scan(caption).spans
    return [mark for mark in found if not _inside(mark.start, spans)]


def _opens(caption: str, at: int, sign: str) -> bool:
    """Tell whether a quotation can begin there: a sign behind a letter or a number is an apostrophe, or inches."""
    before, behind = caption[at - 1 : at] if at else "", caption[at + 1 : at + 2]
    return sign not in "\"'" or (not before.isalnum() and not behind.isspace() and (sign == '"' or behind.isalpha()))


def _close(open_: list[tuple[str, int]], waiting: defaultdict[str, int], opener: str) -> int:
    """Close the innermost group of a kind, and what was opened inside it and never closed; return where it began."""
    while True:
        sign, start = open_.pop()
        waiting[sign] -= 1
        if sign == opener:
            return start


def _outside(commas: list[int], stops: list[Mark], spans: list[Span]) -> Scanned:
    """Leave out what is inside of groups."""
    if spans:
        commas = [at for at in commas if not _inside(at, spans)]
        stops = [stop for stop in stops if not _inside(stop.start, spans)]
    return Scanned(commas, stops, spans, plain=False)


def _inside(at: int, spans: list[Span]) -> bool:
    """Tell whether a place is inside of one of the groups."""
    before = bisect_right(spans, (at + 1,)) - 1
    return before >= 0 and at < spans[before].end
