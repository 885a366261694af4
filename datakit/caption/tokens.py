"""Split a caption into tokens, put them in another order, and join them again; text only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from datakit.seeds import permutation

# A wildcard comes first, so that separators inside it are passed over; only `split` with wildcards uses it.
_WILDCARD = r"\{[^{}]*\|[^{}]*\}"
# A comma anywhere; full stops only before space, a comma or the end, so never in "3.5" or "f/1.8".
_SEPARATORS = r",|\.+(?=[\s,]|$)"
# Words whose full stop ends no sentence, and those for which that holds before a number only ("no. 5").
_ABBREVIATIONS = re.compile(
    r"al|approx|ave|blvd|ca|capt|cf|co|col|corp|dept|dr|est|etc|feat|ft|gen|hon|inc|jr|lt|ltd|mr|mrs|ms|mt|mx|prof|rd|rev|sgt|sr|st|vs"
)
_NUMBERED = re.compile(r"ch|fig|no|nr|nos|op|p|pp|vol")
_LETTERS = re.compile(r"[^\W\d_](?:\.[^\W\d_])*")  # "J", "e.g", "p.m", "u.s.a"
_LAST_WORD = re.compile(r"[\w.]+$")
_LONGEST = 16


@dataclass(frozen=True, slots=True)
class Tokens:
    """A caption in pieces: what stays in front, what may move, what stays behind."""

    head: tuple[str, ...]
    movable: tuple[str, ...]
    tail: tuple[str, ...] = ()


def split(caption: str, separator: str | None = None, *, wildcards: bool = False) -> tuple[str, ...]:
    """Split a caption into tokens, without the space around them; empty ones are dropped.

    By default a token ends at every comma, and at full stops that end a sentence: they stand before space, a
    comma or the end, and not behind a single letter or letters joined by full stops ("J. S. Bach", "e.g.",
    "5 p.m."), an abbreviation ("st. peter", "mr. fox", "cats vs. dogs", "etc."), or one that introduces a number
    ("no. 5"). Where no rule can tell, as in "main st. At night", the token stays whole.

    With a ``separator`` the caption is split where exactly that text stands and nowhere else. With ``wildcards``
    nothing inside ``{a|b}`` separates.
    """
    pattern = _SEPARATORS if separator is None else re.escape(separator)
    tokens, start = [], 0
    for match in re.finditer(f"({_WILDCARD})|{pattern}" if wildcards else pattern, caption):
        inside = match.lastindex is not None
        if inside or (separator is None and match[0] == "." and _abbreviates(caption, match.start())):
            continue
        tokens.append(caption[start : match.start()].strip())
        start = match.end()
    tokens.append(caption[start:].strip())
    return tuple(token for token in tokens if token)


def parse(
    caption: str, keep: int = 0, separator: str | None = None, keep_separator: str | None = None, *, wildcards: bool = False
) -> Tokens:
    """Split a caption and tell which tokens may move: those behind the first ``keep``.

    Where ``keep_separator`` stands in the caption it decides instead: what is before its first occurrence stays
    in front, and what is behind a second one stays behind (``keep_tokens_separator`` of kohya's sd-scripts,
    library/train_util.py, `process_caption`).
    """
    if keep_separator and keep_separator in caption:
        head, movable, *tail = caption.split(keep_separator, 2)
        return Tokens(*(split(part, separator, wildcards=wildcards) for part in (head, movable, *tail)))
    tokens = split(caption, separator, wildcards=wildcards)
    return Tokens(tokens[:keep], tokens[keep:])


def join(tokens: Iterable[str], separator: str | None = None) -> str:
    """Join tokens with ", ", or with a separator and a space; what `split` makes of it are these tokens again."""
    glue = ", " if separator is None else separator if separator[-1:].isspace() else f"{separator} "
    return glue.join(tokens)


def orders(tokens: Sequence[str], draw: Callable[[int], Random], *, shuffle_first: bool = False) -> Iterator[tuple[str, ...]]:
    """Yield the orders of copy 1, 2, 3 and so on, without end; the first is the original unless ``shuffle_first``.

    They are distinct as long as that many exist, equal tokens counted as equal; then all come round again. The
    order of a copy does not depend on how many are taken. ``draw`` gives the random generator of a copy.
    """
    original = tuple(tokens)
    number = count_orders(original)
    seen: set[tuple[str, ...]] = set()
    for copy in count(1):
        if len(seen) == number:
            seen.clear()
        order = original
        if copy > 1 or shuffle_first:
            source = draw(copy)
            order = _permuted(original, source)
            while order in seen:
                order = _permuted(original, source)
        seen.add(order)
        yield order


def count_orders(tokens: Iterable[str], limit: int = 10**9) -> int:
    """Return how many distinct orders tokens have, or ``limit`` where there are more."""
    number, placed = 1, 0
    for equal in Counter(tokens).values():
        # Times "placed + equal choose equal", one factor after the other: each step divides exactly.
        for each in range(1, equal + 1):
            placed += 1
            number = number * placed // each
            if number >= limit:
                return limit
    return number


def without(tokens: Iterable[str], probability: float, source: Random) -> tuple[str, ...]:
    """Leave out each token with a probability (0 to 1)."""
    return tuple(token for token in tokens if source.random() >= probability)


def fill_wildcards(token: str, source: Random) -> str:
    """Replace each ``{a|b}`` by one of its choices, equally likely; braces without a bar stay, nesting is not read."""

    def choose(match: re.Match[str]) -> str:
        choices = match[0][1:-1].split("|")
        return choices[int(source.random() * len(choices))]

    return re.sub(_WILDCARD, choose, token).strip()


def _abbreviates(caption: str, at: int) -> bool:
    """Tell whether the full stop there belongs to the word before it."""
    word = _LAST_WORD.search(caption, max(0, at - _LONGEST), at)
    if word is None:
        return False
    spelt = word[0].casefold()
    if _NUMBERED.fullmatch(spelt):
        return caption[at + 1 : at + 3].strip()[:1].isdigit()
    if _ABBREVIATIONS.fullmatch(spelt):
        return True
    # Scripts without cases (Chinese, for one) write whole words with one letter.
    return _LETTERS.fullmatch(spelt) is not None and word[0].lower() != word[0].upper()


def _permuted(tokens: tuple[str, ...], source: Random) -> tuple[str, ...]:
    return tuple(tokens[index] for index in permutation(len(tokens), source))
