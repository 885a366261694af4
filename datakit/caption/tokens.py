"""Split a caption into tokens, put them in another order, and join them again; text only."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import count, pairwise
from random import Random
from typing import Literal, NamedTuple, TypeVar

from datakit.caption.scan import BREAK, COMMAS, WIDE_STOPS, Mark, scan, separated_by
from datakit.caption.sentences import Segment, abbreviates, closes, segments
from datakit.errors import UsageError
from datakit.seeds import permutation

STYLES = ("auto", "tags", "sentences")
Style = Literal["tags", "sentences", "both"]
T = TypeVar("T", bound=Hashable)

_WILDCARD = re.compile(r"\{[^{}]*\|[^{}]*\}")
# In captions of an image board a full stop at the very end is part of the last name ("nanashi inc."), as in front of a comma.
_BOARD = re.compile(r"(?<!\w)(?:\d\+?(?:girl|boy|other)s?|solo|no humans)(?!\w)|\w_\w|(?:rating|character|artist):\w")
# A list of plain words and commas, which most captions are, is read without looking for more; so are names with something in
# brackets that no face of signs (":(") can be part of.
_PLAIN = re.compile(r"(?:[\w ,:/+-]|(?<![:o^-])(?:\([\w /+-]*\)|\\\([\w /+-]*\\\))(?![:o^-]))*")
_NUMBER = re.compile(r",(?<=\d,)\d")


class Token(NamedTuple):
    """A piece of a caption.

    Attributes
    ----------
    text
        Its words.
    after
        What stands between it and the token behind it, wherever it moves.
    fixed
        Whether it has its place, as BREAK has; its text then holds what stands around it.
    """

    text: str
    after: str = ", "
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Tokens:
    """A caption in pieces: what stays in front, what may move, what stays behind.

    Attributes
    ----------
    head, movable, tail
        In the order of the caption.
    end
        What stands behind the last token, whichever that is: the full stop of a list of tags, for one.
    style
        How it was read: as ``tags``, as ``sentences``, or as ``both``.
    """

    head: tuple[Token, ...]
    movable: tuple[Token, ...]
    tail: tuple[Token, ...] = ()
    end: str = ""
    style: Style = "tags"

    @property
    def whole(self) -> tuple[Token, ...]:
        """All tokens in the caption's own order."""
        return (*self.head, *self.movable, *self.tail)

    @property
    def pinned(self) -> frozenset[int]:
        """Which of the movable tokens have their place."""
        return frozenset(number for number, token in enumerate(self.movable) if token.fixed)


@dataclass(frozen=True, slots=True)
class Splitting:
    """How captions are read.

    Attributes
    ----------
    separator
        What stands between tokens; None for commas and the ends of sentences.
    style
        ``tags``, ``sentences``, or ``auto``, which looks at each caption.
    """

    separator: str | None = None
    style: str = "auto"

    def __post_init__(self) -> None:
        if self.separator == "":
            raise UsageError("an empty separator separates nothing: give the text that stands between tokens")
        if self.style not in STYLES:
            raise UsageError(f"style {self.style!r} is unknown: choose from {', '.join(STYLES)}")
        if self.separator is not None and self.style == "sentences":
            raise UsageError("sentences end at their full stops: give a separator or the style sentences, not both")


def split(caption: str, splitting: Splitting = Splitting()) -> tuple[str, ...]:
    """Split a caption into tokens, without the space around them; empty ones are dropped.

    By default a token ends at every comma of whatever script, and where a sentence ends; see
    `datakit.caption.sentences.segments`. A sentence is one token. Groups (``(a, b:1.4)``, ``[a, b]``, ``{a|b}``,
    ``<lora:x:1>``, quotations, numbers such as 1,000) are never torn; BREAK and ``|||`` have their places.
    """
    return tuple(token.text.strip() for token in parse(caption, splitting=splitting).whole)


def parse(caption: str, keep: int = 0, keep_separator: str | None = None, splitting: Splitting = Splitting()) -> Tokens:
    """Split a caption and tell which tokens may move: those behind the first ``keep``.

    Where ``keep_separator`` stands in the caption it decides instead: what is before its first occurrence stays
    in front, and what is behind a second one stays behind (``keep_tokens_separator`` of kohya's sd-scripts,
    library/train_util.py, `process_caption`). What `format_tokens` makes of the whole is the caption but for blanks.
    """
    if keep_separator and keep_separator in caption:
        parts = [_parse(part, splitting) for part in caption.split(keep_separator, 2)]
        head, movable, tail = (*(part.whole for part in parts), ())[:3]
        return Tokens(head, movable, tail, parts[-1].end, _style_of([part.style for part in parts if part.whole]))
    tokens = _parse(caption, splitting)
    if not keep:
        return tokens
    places = [number for number, token in enumerate(tokens.movable) if not token.fixed]
    at = places[keep - 1] + 1 if 0 < keep <= len(places) else len(tokens.movable)
    return Tokens(tokens.movable[:at], tokens.movable[at:], (), tokens.end, tokens.style)


def format_tokens(tokens: Sequence[Token], end: str = "") -> str:
    """Write tokens out as a caption; in the order they were read in, it is that caption but for blanks."""
    written: list[str] = []
    for token, following in zip(tokens, (*tokens[1:], None), strict=False):
        written.append(token.text)
        if following is not None and not following.fixed:
            written.append(token.after)
    last = "".join(written).rstrip()
    # A full stop of another token is none of one that ends by itself.
    own = bool(tokens) and tokens[-1].after.strip() == end
    return (last if closes(last) and end == "." and not own else last + end).strip()


def join(tokens: Iterable[str], separator: str | None = None) -> str:
    """Join words with ", ", or with a separator and a space; what `split` makes of it are these words again."""
    return _glue(separator).join(tokens)


def _glue(separator: str | None) -> str:
    return ", " if separator is None else separator if separator[-1:].isspace() else f"{separator} "


def _parse(caption: str, splitting: Splitting) -> Tokens:
    """Split a caption of which no token is kept."""
    if "BREAK" not in caption and "|||" not in caption:
        return _region(caption, splitting)
    tokens: list[Token] = []
    styles: list[Style] = []
    end, start = "", 0
    for fixed in (*BREAK.finditer(caption), None):
        read = _region(caption[start : fixed.start() if fixed else len(caption)], splitting)
        tokens += read.movable
        if read.movable:
            styles.append(read.style)
        end = read.end
        if fixed:
            # The full stop of the part stays in front of the break.
            tokens.append(Token(f"{read.end}{_tidy(fixed[0])}", "", fixed=True))
            start = fixed.end()
    return Tokens((), tuple(tokens), (), end, _style_of(styles))


def _style_of(styles: Iterable[Style]) -> Style:
    several = set(styles) or {"tags"}
    return several.pop() if len(several) == 1 else "both"


def _region(text: str, splitting: Splitting) -> Tokens:
    """Split what stands between two breaks."""
    if splitting.separator is not None:
        return _cut(text, separated_by(text, splitting.separator), _glue(splitting.separator))
    if splitting.style != "sentences" and _PLAIN.fullmatch(text) and not _NUMBER.search(text):
        words = [piece.strip() for piece in text.split(",")]
        if all(words):
            return Tokens((), tuple(map(Token, words)))
    scanned = scan(text)
    read = segments(text, scanned, splitting.style)
    tokens = _written(text, read) if scanned.plain else None
    if tokens is not None:
        return tokens
    commas, stops = scanned.commas, scanned.stops
    cuts: list[tuple[int, int]] = []
    sentences: list[tuple[int, int]] = []
    for segment in read:
        until = segment.lead if segment.is_sentence else segment.end
        cuts += [(at, at + 1) for at in commas[bisect_left(commas, segment.start) : bisect_left(commas, until)]]
        if segment.is_sentence:
            sentences.append((segment.lead, segment.end))
        if segment.stop is not None:
            cuts.append(_separating(text, segment.stop))
        elif segment.end < len(text):
            cuts.append((segment.end, segment.end))
    if not sentences:
        cuts += [stop for stop in stops if text[stop.start : stop.end].strip(WIDE_STOPS) == ""]
    last = _last_stop(text, stops, said=bool(sentences))
    return _cut(text, sorted({*cuts, *((last,) if last else ())}), None, sentences)


def _written(text: str, read: Sequence[Segment]) -> Tokens | None:
    """Take sentences and the tags before them apart as `_cut` does, but sooner; None where marks follow each other, and without a last full stop."""
    words: list[str] = []
    after: list[str] = []
    said: list[bool] = []
    behind = 0
    for start, end, stop, is_sentence, lead in read:
        if stop is None or stop.end - stop.start > 1:
            return None
        pieces = text[start : lead if is_sentence else end].split(",")
        after += [", "] * (len(pieces) - 1) + [". "]
        said += [False] * (len(pieces) - 1) + [is_sentence and not pieces[-1].strip()]
        if is_sentence:
            pieces[-1] += text[lead:end]
        words += pieces
        behind = stop.end
    words = [piece.strip() for piece in words]
    if behind < len(text) or not any(said) or not all(words):
        return None
    after[-1] = _missing(words[-1], after[:-1], said[-1], None)
    return Tokens((), tuple(map(Token, words, after)), (), ".", "sentences" if all(said) else "both")


def _separating(text: str, stop: Mark) -> Mark:
    """Return the part of a full stop that is no part of its sentence: of "." all, of "?!" nothing."""
    plain = text[stop.start : stop.end] in (".", "。", "｡", "۔", "।")
    return stop if plain else Mark(stop.end, stop.end)


def _last_stop(text: str, stops: Sequence[Mark], *, said: bool) -> Mark | None:
    """Return the full stop at the very end, unless it is part of a name there."""
    last = stops[-1] if stops else None
    if last is None or last.end != len(text.rstrip()) or _separating(text, last) != last or abbreviates(text, last.start):
        return None
    name = text[last.start] == "." and not said and _BOARD.search(text)
    return None if name else last


def _cut(text: str, cuts: Sequence[tuple[int, int]], glue: str | None, sentences: Sequence[tuple[int, int]] = ()) -> Tokens:
    """Cut a text at marks; what stands between two tokens is kept with the first of them."""
    words: list[str] = []
    begins: list[int] = []
    gaps: list[str] = []
    between, start = "", 0
    for before, behind in (*cuts, (len(text), len(text))):
        piece = text[start:before]
        spelt = piece.strip()
        if spelt:
            words.append(spelt)
            begins.append(start + piece.index(spelt))
            gaps.append(between)
            between = text[before:behind]
        else:
            between += text[start:behind]
        start = behind
        if text[start : start + 1].isspace():
            between += text[start]
            start += 1
    if not words:
        # a caption of nothing but separators
        return Tokens((), (Token(_tidy(between).strip()),) if between.strip() else ())
    starts = [first for first, _ in sentences]
    places = [bisect_right(starts, at) - 1 for at in begins] if sentences else [-1]
    # Whether a token is a sentence, or part of one.
    said = [place >= 0 and at < sentences[place][1] for place, at in zip(places, begins, strict=False)]
    end = between.strip()
    behind_gap = {gap: _behind(gap, glue) for gap in {*gaps[1:]}}
    after = [behind_gap[gap] for gap in gaps[1:]]
    doubled = end == "." and closes(words[-1])  # as in: a sign that says "STOP.".
    after.append(". " if doubled else _missing(words[-1], after, said[-1], glue))
    # What stands in front of all has its own place.
    front = (Token(_tidy(gaps[0]), "", fixed=True),) if gaps[0].strip() else ()
    style: Style = "tags" if not any(said) else "sentences" if all(said) else "both"
    return Tokens((), (*front, *map(Token, words, after)), (), end, style)


def _behind(between: str, glue: str | None) -> str:
    """Return what stands behind a token, wherever it moves, of what stands between it and the next."""
    if glue is None:
        return between if between == ", " else _tidy(between) or " "
    # Doubled separators of the user's own are kept as they are, but for blanks.
    times = max(1, between.count(glue.strip())) if glue.strip() else 1
    return glue if times == 1 else f"{glue.strip() * times} "


def _missing(words: str, after: Sequence[str], said: bool, glue: str | None) -> str:
    """Return what is to stand behind the last token where another follows it."""
    if glue is not None:
        return glue
    if said:
        ends = next((signs for signs in reversed(after) if closes(signs.strip())), ". ")
        return " " if closes(words) else ends
    return next((signs for signs in reversed(after) if signs[:1] in tuple(COMMAS)), ", ")


def _tidy(between: str) -> str:
    """Write what stands between two tokens without blanks but one at its end, which signs of full width need not have."""
    signs = "".join(between.split())
    wide = signs[-1:] in tuple(f"，、；﹐﹑､{WIDE_STOPS}") and not between[-1:].isspace()
    if signs.strip(COMMAS) in ("BREAK", "|||"):
        front, word, back = signs.partition(signs.strip(COMMAS))
        return f"{front} {word}{back} "
    return signs if wide else f"{signs} "


def orders(
    tokens: Sequence[T], draw: Callable[[int], Random], *, shuffle_first: bool = False, pinned: AbstractSet[int] = frozenset()
) -> Iterator[tuple[T, ...]]:
    """Yield the orders of copy 1, 2, 3 and so on, without end; the first is the original unless ``shuffle_first``.

    The tokens at the places ``pinned`` stay there, and no other crosses them. The orders are distinct as long as that many exist, equal tokens counted as equal; then all come round again. The
    order of a copy does not depend on how many are taken. ``draw`` gives the random generator of a copy.
    """
    original = tuple(tokens)
    number = count_orders(original, pinned=pinned)
    seen: set[tuple[T, ...]] = set()
    for copy in count(1):
        if len(seen) == number:
            seen.clear()
        order = original
        if copy > 1 or shuffle_first:
            source = draw(copy)
            order = _permuted(original, source, pinned)
            while order in seen:
                order = _permuted(original, source, pinned)
        seen.add(order)
        yield order


def count_orders(tokens: Iterable[Hashable], limit: int = 10**9, *, pinned: AbstractSet[int] = frozenset()) -> int:
    """Return how many distinct orders tokens have, or ``limit`` where there are more."""
    number = 1
    for stretch in _stretches(tuple(tokens), pinned):
        placed = 0
        for equal in Counter(stretch).values():
            # Times "placed + equal choose equal", one factor after the other: each step divides exactly.
            for each in range(1, equal + 1):
                placed += 1
                number = number * placed // each
                if number >= limit:
                    return limit
    return number


def without(tokens: Iterable[Token], probability: float, source: Random) -> tuple[Token, ...]:
    """Leave out each token with a probability (0 to 1), but for those that have their places."""
    return tuple(token for token in tokens if token.fixed or source.random() >= probability)


def fill_wildcards(token: str, source: Random) -> str:
    """Replace each ``{a|b}`` by one of its choices, equally likely; braces without a bar stay, nesting is not read."""

    def choose(match: re.Match[str]) -> str:
        choices = match[0][1:-1].split("|")
        return choices[int(source.random() * len(choices))]

    return _WILDCARD.sub(choose, token).strip()


def _stretches(tokens: tuple[T, ...], pinned: AbstractSet[int]) -> list[tuple[T, ...]]:
    """Return the tokens between those that are pinned."""
    edges = [-1, *sorted(pinned), len(tokens)]
    return [tokens[start + 1 : end] for start, end in pairwise(edges)]


def _permuted(tokens: tuple[T, ...], source: Random, pinned: AbstractSet[int]) -> tuple[T, ...]:
    moved: list[T] = []
    for stretch in _stretches(tokens, pinned):
        moved += (stretch[index] for index in permutation(len(stretch), source))
        moved += tokens[len(moved) : len(moved) + 1]
    return tuple(moved)
