"""What the captions of a dataset will teach: in how many each word stands, with and without the trigger, and what is cut."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from datakit.audit.numbers import Numbers
from datakit.audit.phrases import Phrases
from datakit.audit.wording import estimate_tokens
from datakit.caption.tokens import Token, Tokens
from datakit.caption.trigger import WORD, holds_phrase

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# What stands in so many captions is one thing with the trigger for the trainer: no prompt takes it away again.
FUSED = 0.85
# Of fewer captions no share says anything.
FEWEST = 5
# CLIP reads 75 tokens between its marks; T5 is cut at these lengths by the trainers of SD3 and Flux, its end mark included.
SEEN_BY_CLIP = 75
LIMITS = {"CLIP": SEEN_BY_CLIP, "T5 at 154": 153, "T5 at 256": 255, "T5 at 512": 511}
_MARKS = 2
# The words of a trigger at most.
_PHRASE = 3


@dataclass(frozen=True, slots=True)
class Taught:
    """A word or a phrase.

    Attributes
    ----------
    text
        In lower case.
    count, alone
        Captions it stands in, and those of them without the trigger.
    share
        Of all captions, 0 to 1.
    seen
        Share of all captions in which it lies within the first 75 tokenizer tokens.
    """

    text: str
    count: int
    alone: int
    share: float
    seen: float


@dataclass(frozen=True, slots=True)
class Planned:
    """A shuffle that is still to come: what stays in front, and with which probability the others are left out."""

    keep: int = 0
    drop: float = 0.0


@dataclass(slots=True)
class Counted:
    """What was counted, caption by caption.

    Parameters
    ----------
    trigger
        Nothing where there is none.
    measure
        Counts the tokenizer tokens of a text, both marks included; see `datakit.audit.wording`.
    planned
        None to take the captions in their own order.
    numbers
        The numbers of their words.
    """

    trigger: str = ""
    measure: Callable[[str], int] = estimate_tokens
    planned: Planned | None = None
    numbers: Numbers = field(default_factory=Numbers)
    captions: int = 0
    triggered: int = 0
    styles: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    phrases: Phrases = field(init=False)

    def __post_init__(self) -> None:
        self.phrases = Phrases(self.numbers, planned=self.planned is not None)

    def add(self, text: str, tokens: Tokens, source: str | None) -> array[int]:
        """Count one caption of a picture; ``source`` is None where it is a further copy. Return the numbers of its words."""
        self.captions += 1
        self.styles[tokens.style] += 1
        triggered = not self.trigger or holds_phrase(text, self.trigger)
        self.triggered += bool(self.trigger) and triggered
        length = self.measure(text) - _MARKS
        self.lengths[length] += 1
        whole = tokens.whole
        read = self._read(whole) if length > SEEN_BY_CLIP or (self.planned and self.planned.drop) else None
        numbers = self.numbers.of([token.text for token in whole if not token.fixed])
        self.phrases.add(numbers, read, triggered=triggered, source=source)
        return numbers

    def merge(self, other: Counted, places: NDArray[np.uint32]) -> None:
        """Add what was counted of other pictures, whose numbers are these here (see `Numbers.place`)."""
        self.captions += other.captions
        self.triggered += other.triggered
        self.styles += other.styles
        self.lengths += other.lengths
        self.phrases.merge(other.phrases, places)

    def taught(self, least: float = 0.0) -> list[Taught]:
        """Return the words and phrases that stand in a share of the captions, the commonest first, of those the longest."""
        found = [
            Taught(each.text, each.captions, each.alone, each.captions / self.captions, each.seen / self.captions)
            for each in self.phrases.at_least(max(1, least * self.captions))
        ]
        return sorted(found, key=lambda one: (-one.count, -len(one.text), one.text))

    def commonest(self, number: int) -> list[Taught]:
        """Return so many of the commonest, without words that stand only inside of a longer phrase."""
        least = 1.0
        while True:
            least /= 2
            found = _longest(self.taught(least))
            if len(found) >= number or least * self.captions < 1:
                return found[:number]

    def fused(self, meant: Iterable[str]) -> list[Taught]:
        """Return what stands in nearly all captions and is not meant to, each as the longest phrase that does."""
        if self.captions < FEWEST:
            return []
        exempt = {word for text in (self.trigger, *meant) for word in WORD.findall(text.lower())}
        found: list[Taught] = []
        for each in sorted(self.taught(FUSED), key=lambda one: (-len(one.text.split()), -one.count, one.text)):
            words = each.text.split()
            inside = any(f" {each.text} " in f" {other.text} " for other in found)
            if exempt.isdisjoint(words) and not inside:
                found.append(each)
        return sorted(found, key=lambda one: (-one.count, one.text))

    def once(self) -> list[str]:
        """Return the words that stand in the captions of one picture only."""
        return sorted(word for word in self.phrases.once() if not word.isdecimal())

    def longer_than(self, limit: int) -> int:
        """Return how many captions are cut at a number of tokenizer tokens."""
        return sum(count for length, count in self.lengths.items() if length > limit)

    def _read(self, whole: Sequence[Token]) -> list[float]:
        """Return which share of each token CLIP reads, up to the last that it does, or, where a shuffle is planned, with which probability all of it."""
        if self.planned is None:
            shares, at = [], 0
            for token in whole:
                if at >= SEEN_BY_CLIP:
                    break
                size = self._size(token)
                if not token.fixed:
                    shares.append(min(1.0, (SEEN_BY_CLIP - at) / size))
                at += size
            return shares
        sizes = [self._size(token) for token in whole]
        keep, stays = self.planned.keep, 1 - self.planned.drop
        room = SEEN_BY_CLIP - sum(sizes[:keep])
        moving = sum(sizes[keep:])
        # What comes before a token of a random order is about as likely to be any part of the others.
        chances = [
            stays
            * min(
                1.0, max(0.0, (room - size) / ((moving - size) * stays) if (moving - size) * stays > 0 else float(room >= size))
            )
            for size in sizes[keep:]
        ]
        return [share for share, token in zip([1.0] * min(keep, len(sizes)) + chances, whole, strict=True) if not token.fixed]

    def _size(self, token: Token) -> int:
        return max(1, self.measure(f"{token.text}{token.after.rstrip()}") - _MARKS)


def leading_phrase(firsts: Counter[str], captions: int) -> str:
    """Return the first token of nearly all captions, which is likely to be the trigger; nothing without one."""
    text, count = firsts.most_common(1)[0] if firsts else ("", 0)
    return text if captions >= FEWEST and count >= FUSED * captions and len(WORD.findall(text)) <= _PHRASE else ""


def _longest(taught: Iterable[Taught]) -> list[Taught]:
    """Leave out what stands only inside of a longer phrase."""
    found: list[Taught] = []
    same: dict[int, list[str]] = {}
    for each in taught:
        longer = same.setdefault(each.count, [])
        if not any(f" {each.text} " in f" {text} " for text in longer):
            longer.append(each.text)
            found.append(each)
    return found
