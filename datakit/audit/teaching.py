"""What the captions of a dataset will teach: in how many each word stands, with and without the trigger, and what is cut."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from datakit.audit.wording import estimate_tokens
from datakit.caption.tokens import Token, Tokens
from datakit.caption.trigger import WORD, holds_phrase

# What stands in so many captions is one thing with the trigger for the trainer: no prompt takes it away again.
FUSED = 0.85
# Of fewer captions no share says anything.
FEWEST = 5
# CLIP reads 75 tokens between its marks; T5 is cut at these lengths by the trainers of SD3 and Flux, its end mark included.
SEEN_BY_CLIP = 75
LIMITS = {"CLIP": SEEN_BY_CLIP, "T5 at 154": 153, "T5 at 256": 255, "T5 at 512": 511}
_MARKS = 2
# Words of a phrase at most; longer tokens are counted as they are, up to so many.
_PHRASE, _TOKEN = 3, 6
# So many phrases are kept in memory; of more, the rarest are let go, which are of no interest.
_KEPT = 400_000
_STOP = frozenset(
    [
        "a",
        "an",
        "the",
        "and",
        "or",
        "of",
        "in",
        "on",
        "at",
        "to",
        "for",
        "from",
        "by",
        "with",
        "without",
        "as",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "has",
        "have",
        "had",
        "it",
        "its",
        "this",
        "that",
        "these",
        "those",
        "there",
        "here",
        "he",
        "she",
        "they",
        "them",
        "his",
        "her",
        "their",
        "who",
        "which",
        "while",
        "into",
        "onto",
        "over",
        "under",
        "up",
        "down",
        "out",
        "off",
        "near",
        "behind",
        "front",
        "back",
        "left",
        "right",
        "side",
        "s",
        "t",
    ]
)
_PIECE = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|\d+")


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
    """

    trigger: str = ""
    measure: Callable[[str], int] = estimate_tokens
    planned: Planned | None = None
    captions: int = 0
    triggered: int = 0
    styles: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    _phrases: Counter[str] = field(default_factory=Counter)
    _alone: Counter[str] = field(default_factory=Counter)
    _words: Counter[str] = field(default_factory=Counter)
    _unseen: Counter[str] = field(default_factory=Counter)
    _sources: Counter[str] = field(default_factory=Counter)

    def add(self, text: str, tokens: Tokens, *, first: bool) -> None:
        """Count one caption; ``first`` says that it is the first of its picture's copies."""
        self.captions += 1
        self.styles[tokens.style] += 1
        whole = tokens.whole
        spelt = [_PIECE.findall(token.text.lower()) for token in whole if not token.fixed]
        words = {word for each in spelt for word in each if word not in _STOP}
        phrases = _phrases_of(spelt)
        self._words.update(words)
        self._phrases.update(phrases)
        if first:
            self._sources.update(words)
        if self.trigger:
            if holds_phrase(text, self.trigger):
                self.triggered += 1
            else:
                self._alone.update(words)
                self._alone.update(phrases)
        length = self.measure(text) - _MARKS
        self.lengths[length] += 1
        if length > SEEN_BY_CLIP or (self.planned and self.planned.drop):
            for phrase, missing in self._missing(whole, words | phrases).items():
                self._unseen[phrase] += missing  # type: ignore[assignment]  # a share of a caption
        if len(self._phrases) > _KEPT:
            self._let_go()

    def taught(self, least: float = 0.0) -> list[Taught]:
        """Return the words and phrases that stand in a share of the captions, the commonest first, of those the longest."""
        enough = max(1, least * self.captions)
        counts = {text: count for each in (self._words, self._phrases) for text, count in each.items() if count >= enough}
        return [
            Taught(
                text=text,
                count=count,
                alone=self._alone[text],
                share=count / self.captions,
                seen=max(0.0, count - self._unseen[text]) / self.captions,
            )
            for text, count in sorted(counts.items(), key=lambda item: (-item[1], -len(item[0]), item[0]))
        ]

    def commonest(self, number: int) -> list[Taught]:
        """Return so many of the commonest, without words that stand only inside of a longer phrase."""
        found: list[Taught] = []
        for each in self.taught():
            if len(found) == number:
                break
            same = (other.text for other in found if other.count == each.count)
            if not any(f" {each.text} " in f" {text} " for text in same):
                found.append(each)
        return found

    def fused(self, meant: Iterable[str]) -> list[Taught]:
        """Return what stands in nearly all captions and is not meant to, each as the longest phrase that does."""
        if self.captions < FEWEST:
            return []
        exempt = {word for text in (self.trigger, *meant) for word in _PIECE.findall(text.lower())}
        found: list[Taught] = []
        for each in sorted(self.taught(FUSED), key=lambda one: (-len(one.text.split()), -one.count, one.text)):
            words = each.text.split()
            inside = any(f" {each.text} " in f" {other.text} " for other in found)
            if exempt.isdisjoint(words) and not inside:
                found.append(each)
        return sorted(found, key=lambda one: (-one.count, one.text))

    def once(self) -> list[str]:
        """Return the words that stand in the captions of one picture only."""
        return sorted(word for word, count in self._sources.items() if count == 1 and not word.isdecimal())

    def longer_than(self, limit: int) -> int:
        """Return how many captions are cut at a number of tokenizer tokens."""
        return sum(count for length, count in self.lengths.items() if length > limit)

    def _missing(self, whole: Sequence[Token], phrases: set[str]) -> dict[str, float]:
        """Return with which probability each phrase of a caption is not read by CLIP."""
        expected: dict[str, float] = {}
        for token, share in zip(whole, self._read(whole), strict=True):
            spelt = _PIECE.findall(token.text.lower())
            read = spelt[: int(len(spelt) * share)] if self.planned is None else spelt
            for phrase in ({word for word in read if word not in _STOP} | _phrases_of([read])) if read else ():
                likely = 1.0 if self.planned is None else share
                expected[phrase] = max(expected.get(phrase, 0.0), likely)
        return {phrase: 1 - expected.get(phrase, 0.0) for phrase in phrases if expected.get(phrase, 0.0) < 1}

    def _read(self, whole: Sequence[Token]) -> list[float]:
        """Return which share of each token CLIP reads or, where a shuffle is planned, with which probability all of it."""
        sizes = [max(1, self.measure(f"{token.text}{token.after.rstrip()}") - _MARKS) for token in whole]
        if self.planned is None:
            shares, at = [], 0
            for size in sizes:
                shares.append(min(1.0, max(0.0, (SEEN_BY_CLIP - at) / size)))
                at += size
            return shares
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
        return [*([1.0] * min(keep, len(sizes))), *chances]

    def _let_go(self) -> None:
        """Let go of the rarest phrases."""
        below = 1
        while len(self._phrases) > _KEPT // 2:
            below += 1
            for phrase in [phrase for phrase, count in self._phrases.items() if count < below]:
                del self._phrases[phrase]
                self._alone.pop(phrase, None)
                self._unseen.pop(phrase, None)


def leading_phrase(firsts: Counter[str], captions: int) -> str:
    """Return the first token of nearly all captions, which is likely to be the trigger; nothing without one."""
    text, count = firsts.most_common(1)[0] if firsts else ("", 0)
    return text if captions >= FEWEST and count >= FUSED * captions and len(WORD.findall(text)) <= _PHRASE else ""


def _phrases_of(spelt: Iterable[list[str]]) -> set[str]:
    """Return the phrases of several words inside of tokens; none begins or ends with a word that says nothing."""
    found = set()
    for words in spelt:
        number = len(words)
        for start in range(number - 1):
            if words[start] in _STOP:
                continue
            for length in range(2, min(_PHRASE, number - start) + 1):
                if words[start + length - 1] not in _STOP:
                    found.add(" ".join(words[start : start + length]))
        if _PHRASE < number <= _TOKEN:
            found.add(" ".join(words))
    return found
