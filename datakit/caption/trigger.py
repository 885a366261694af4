"""Find the trigger in captions, and what looks like it but is not it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# Below so many letters every other word is near; from so many on, two slips are still the same word.
_SHORTEST, _LONG = 4, 8


def same_words(one: str, other: str) -> bool:
    """Tell whether two texts are the same words, whatever their case, blanks and underscores."""
    return _words(one) == _words(other)


def holds_phrase(text: str, phrase: str) -> bool:
    """Tell whether a phrase stands in a text as whole words, whatever its case, blanks and underscores."""
    return bool(phrase.split()) and _pattern(phrase).search(text) is not None


def near_misses(captions: Iterable[str], trigger: str) -> Counter[str]:
    """Count the captions without the trigger that hold something like it: "sksperso" for "sksperson".

    Like it is what one slip (a letter left out, put in, replaced, or two changed about) makes of it, or two of
    eight letters and more, and its words written as one or apart; a plural is not. Triggers of under four letters have no
    near misses.
    """
    wanted = _words(trigger)
    length = max(1, len(wanted.split()))
    found: Counter[str] = Counter()
    judged: dict[str, bool] = {}
    for caption in captions:
        if len(wanted) < _SHORTEST or holds_phrase(caption, trigger):
            continue
        words = WORD.findall(caption)
        for phrase in {" ".join(run) for number in range(max(1, length - 1), length + 2) for run in _runs(words, number)}:
            spelt = phrase.casefold()
            if spelt not in judged:
                judged[spelt] = _is_near(spelt, wanted)
            if judged[spelt]:
                found[phrase] += 1
    return found


def slips(one: str, other: str, most: int) -> int:
    """Count the slips between two words (optimal string alignment), up to ``most`` + 1."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, sign in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, another in enumerate(other, 1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (sign != another))
            if i > 1 and j > 1 and sign == other[j - 2] and one[i - 2] == another:
                best = min(best, last[j - 2] + 1)
            row.append(best)
        if min(row) > most:
            return most + 1
    return row[-1]


def _is_near(spelt: str, wanted: str) -> bool:
    if spelt.count(" ") != wanted.count(" "):
        return spelt.replace(" ", "") == wanted.replace(" ", "")
    most = 2 if len(wanted) >= _LONG else 1
    plural = {f"{wanted}s", f"{wanted}'s", f"{wanted}’s"}
    return spelt not in plural and 0 < slips(spelt, wanted, most) <= most


def _runs(words: list[str], length: int) -> Iterator[list[str]]:
    return (words[start : start + length] for start in range(len(words) - length + 1))


def _words(text: str) -> str:
    return " ".join(text.replace("_", " ").casefold().split())


@lru_cache(maxsize=64)
def _pattern(phrase: str) -> re.Pattern[str]:
    """Return what finds a phrase."""
    words = r"[\s_]+".join(map(re.escape, phrase.replace("_", " ").split()))
    return re.compile(rf"(?<![^\W_]){words}(?![^\W_])", re.IGNORECASE)
