"""Find what separates a caption, and what in it is one piece: groups, quotations, numbers, faces of signs."""

from __future__ import annotations

import re
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
_NUMBER = re.compile(r"\d,\d")
_ARE_COMMAS = frozenset(COMMAS)
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
    """What may separate tokens: a stretch of signs outside of any group, a comma or a full stop of whatever script."""

    start: int
    end: int
    is_stop: bool


class Span(NamedTuple):
    """A group that is one piece."""

    start: int
    end: int


def scan(caption: str) -> tuple[list[Mark], list[Span]]:
    """Return the commas and full stops outside of groups, and the outermost groups, both in order.

    A group is what stands in brackets of any kind that are closed again, or in quotation marks; a bracket in a face
    (``:(``) and one without its other half are signs like any other, and an escaped one has an escaped other half.
    """
    marks: list[Mark] = []
    spans: list[Span] = []
    open_: list[tuple[str, int]] = []
    waiting: defaultdict[str, int] = defaultdict(int)
    seen = 0
    for place in (_PLACES_AND_DIGITS if _NUMBER.search(caption) else _PLACES).finditer(caption):
        at = place.start()
        if at < seen:
            continue
        if place[0] in _ARE_COMMAS:  # most places are: nothing else begins with one
            marks.append(Mark(at, at + 1, is_stop=False))
            continue
        match = _SCAN.match(caption, at)
        if match is None:
            continue
        seen = match.end()
        kind, sign = match.lastgroup, match[0]
        if kind == "stop":
            marks.append(Mark(at, seen, is_stop=True))
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
    return _outside(marks, spans), spans


def separated_by(caption: str, separator: str) -> list[Mark]:
    """Return where a separator of the user's own stands; not inside a group, unless it is a blank or part of one."""
    found = [Mark(match.start(), match.end(), is_stop=False) for match in re.finditer(re.escape(separator), caption)]
    return found if not separator.strip() or set(separator) & set(_PAIRS) else _outside(found, scan(caption)[1])


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


def _outside(marks: list[Mark], spans: list[Span]) -> list[Mark]:
    """Leave out the marks inside of spans."""
    if not spans:
        return marks
    found, at = [], 0
    for mark in marks:
        while at < len(spans) and spans[at].end <= mark.start:
            at += 1
        if at == len(spans) or mark.start < spans[at].start:
            found.append(mark)
    return found
