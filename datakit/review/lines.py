"""Break a text into lines that fit, and shorten what does not."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from datakit.review.typesetting import Typesetter, clusters

# No line is made of more letters.
_MOST = 400
# Brackets and quotation marks do not end a line that goes on, and such signs do not begin one.
_OPENING, _CLOSING = {"Ps", "Pi"}, {"Pe", "Pf", "Po"}


def broken(typesetter: Typesetter, text: str, room: int, most: int) -> Iterator[str]:
    """Yield the beginning of a text in so many lines of at most ``room`` pixels; an ellipsis stands for the rest."""
    left = clusters(" ".join(text.split())[:_MOST])
    for number in range(1, most + 1):
        fits = _fitting(typesetter, left, room)
        if fits == len(left):
            yield "".join(left)
            return
        if number == most or not fits:
            fits = _fitting(typesetter, left, room - typesetter.width("…"))
            yield "".join(left[:fits]).rstrip() + "…"
            return
        end = next((at for at in range(fits, 0, -1) if _may_break(left[at - 1], left[at])), fits)
        yield "".join(left[:end]).rstrip()
        left = left[end + (left[end] == " ") :]


def _may_break(before: str, after: str) -> bool:
    """Tell whether a line may end between two letters: at a space, and where Chinese, Japanese or Korean is written."""
    if " " in (before, after):
        return True
    wide = any(unicodedata.east_asian_width(letter[0]) in {"W", "F"} for letter in (before, after))
    return wide and unicodedata.category(before[0]) not in _OPENING and unicodedata.category(after[0]) not in _CLOSING


def ending(typesetter: Typesetter, name: str, room: int) -> str:
    """Return the end of a file's name that fits: what tells it apart from others of its folder."""
    if typesetter.width(name) <= room:
        return name
    letters = clusters(name[-_MOST:])
    endings = ["…" + "".join(letters[start:]) for start in range(len(letters) + 1)]
    return endings[bisect_left(endings, True, hi=len(letters), key=lambda ending: typesetter.width(ending) <= room)]


def _fitting(typesetter: Typesetter, letters: list[str], room: int) -> int:
    """Return how many leading letters fit."""
    counts = range(1, len(letters) + 1)
    return bisect_right(counts, room, key=lambda count: typesetter.width("".join(letters[:count])))
