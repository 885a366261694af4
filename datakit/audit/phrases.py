"""Count in how many captions each word and phrase stands; many at a time, in memory that does not grow with them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from datakit.audit.numbers import Numbers, distinct, sorting, starts

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A phrase has three words at most; tokens of up to six are counted as they are.
_PHRASE, _TOKEN = 3, 6
# So many words are looked at in one step, which takes some ten megabytes.
_AT_ONCE = 1 << 18
# So many phrases are kept in memory; of more, the rarest are let go, which are of no interest.
_KEPT = 400_000
# An odd number whose powers spread the words of a phrase over 64 bits.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


class Tally(NamedTuple):
    """A word or a phrase in lower case, the captions that it stands in, those of them without the trigger, those read by CLIP."""

    text: str
    captions: int
    alone: int
    seen: float


class _Counted(NamedTuple):
    """Phrases, each by a key of 64 bits, with the numbers of its words and its captions: all, without the trigger, read."""

    keys: NDArray[np.uint64]
    rows: NDArray[np.uint32]
    sums: NDArray[np.float64]


class _Captions(NamedTuple):
    """What is known of each word of a stream, its caption and how much of it is read, and of each caption."""

    of: NDArray[np.int64]
    read: NDArray[np.float32]
    triggered: NDArray[np.bool_]


class Phrases:
    """The words and phrases of a dataset, counted once a caption.

    Parameters
    ----------
    numbers
        The numbers of their words.
    planned
        Whether tokens are read by CLIP whole or not at all, as a shuffle that is still to come has it.
    """

    def __init__(self, numbers: Numbers, *, planned: bool = False) -> None:
        self._planned = planned
        self._known = numbers
        self._words = np.zeros((0, 3))
        self._in_pictures = np.zeros(0, np.int64)
        self._phrases = _Counted(np.zeros(0, np.uint64), np.zeros((0, _TOKEN), np.uint32), np.zeros((0, 3)))
        self._picture, self._source = 0, ""
        self._begin()

    def _begin(self) -> None:
        self._stream = array("I")
        # Of captions that CLIP does not read whole, where in the stream they begin and end, and how much it reads of each word.
        self._read: list[tuple[int, int, list[float]]] = []
        self._lengths, self._pictures = array("q"), array("q")
        self._triggered = bytearray()

    def add(self, numbers: array[int], read: Sequence[float] | None, *, triggered: bool, source: str | None) -> None:
        """Take one caption.

        Parameters
        ----------
        numbers
            Those of its words, with a 0 behind each token.
        read
            The share of each token that CLIP reads or, planned, with which probability it reads it, up to the last of which it
            reads anything; None where it reads all.
        triggered
            Whether it holds the trigger.
        source
            The picture that it is of; None for a further copy. Captions of one picture follow each other.
        """
        if source is None or source != self._source:
            self._picture += 1
            if len(self._stream) > _AT_ONCE:
                self.settle()
        self._source = source or ""
        begins = len(self._stream)
        self._stream += numbers
        self._lengths.append(len(numbers))
        self._pictures.append(self._picture if source is not None else 0)
        self._triggered.append(triggered)
        if read is None:
            return
        shares: list[float] = []
        for share in read:
            length = numbers.index(0, len(shares)) - len(shares)
            whole = 0 if self._planned else int(length * share)
            shares += [1.0] * whole + [share if self._planned else 0.0] * (length + 1 - whole)
        self._read.append((begins, len(self._stream), shares))

    def merge(self, other: Phrases, places: NDArray[np.uint32]) -> None:
        """Add what was counted of other pictures, whose numbers are these here (see `Numbers.place`)."""
        self.settle()
        other.settle()
        self._grow()
        known = places[: len(other._words)]
        self._words[known] += other._words
        self._in_pictures[known] += other._in_pictures
        rows = places.take(other._phrases.rows)
        self._phrases = _kept(_merged(self._phrases, _Counted(_keys(rows), rows, other._phrases.sums)))

    def at_least(self, least: float) -> Iterator[Tally]:
        """Yield the words and phrases of so many captions, in no order."""
        self.settle()
        words = list(self._known)
        for number in np.flatnonzero(self._words[:, 0] >= least).tolist():
            yield _tally(words[number], self._words[number].tolist())
        for place in np.flatnonzero(self._phrases.sums[:, 0] >= least).tolist():
            row = self._phrases.rows[place].tolist()
            yield _tally(" ".join(words[number] for number in row if number), self._phrases.sums[place].tolist())

    def once(self) -> list[str]:
        """Return the words that stand in the captions of one picture only."""
        self.settle()
        words = list(self._known)
        return [words[number] for number in np.flatnonzero(self._in_pictures == 1).tolist()]

    def __len__(self) -> int:
        """How many phrases are kept in memory."""
        return len(self._phrases.keys)

    def _grow(self) -> None:
        """Make room for the words that are new."""
        missing = len(self._known) - len(self._words)
        self._words = np.vstack([self._words, np.zeros((missing, 3))])
        self._in_pictures = np.concatenate([self._in_pictures, np.zeros(missing, np.int64)])

    def settle(self) -> None:
        """Count the captions taken since the last time."""
        if not self._stream:
            return
        stream = np.frombuffer(self._stream, np.uint32)
        read = np.ones(len(stream), np.float32)
        for begin, end, shares in self._read:
            read[begin : begin + len(shares)] = shares
            read[begin + len(shares) : end] = 0
        captions = _Captions(
            of=np.repeat(np.arange(len(self._lengths)), np.frombuffer(self._lengths, np.int64)),
            read=read,
            triggered=np.frombuffer(self._triggered, np.bool_),
        )
        self._grow()
        words = np.flatnonzero(stream > Numbers.nothing_said)
        _, first, sums = _counted(stream[words] * _SPREAD, words, captions)
        self._words[stream[words[first]]] += sums
        pictures = np.frombuffer(self._pictures, np.int64)[captions.of[words]]
        pairs = distinct((pictures << 32 | stream[words])[pictures > 0].astype(np.uint64)) & np.uint64(0xFFFFFFFF)
        self._in_pictures += np.bincount(pairs.astype(np.int64), minlength=len(self._in_pictures))
        keys, places, lengths = _phrases_in(stream)
        found, first, sums = _counted(keys, places + lengths - 1, captions)
        rows = np.zeros((len(found), _TOKEN), np.uint32)
        begins, lengths = places[first], lengths[first]
        for word in range(_TOKEN):
            within = lengths > word
            rows[within, word] = stream[begins[within] + word]
        self._phrases = _kept(_merged(self._phrases, _Counted(found, rows, sums)))
        self._begin()


def _phrases_in(stream: NDArray[np.uint32]) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the key of each phrase in a stream of words, where it begins, and how many words it has."""
    says = stream > Numbers.nothing_said
    begins_token = np.concatenate([[True], stream[:-1] == 0])
    keys, places, lengths = [], [], []
    key = stream.astype(np.uint64)
    inside = stream > 0
    for length in range(2, _TOKEN + 1):
        at = len(stream) - length + 1
        if at <= 0:
            break
        key = key[:at] * _SPREAD + stream[length - 1 :]
        inside = inside[:at] & (stream[length - 1 :] > 0)
        if length <= _PHRASE:
            wanted = inside & says[:at] & says[length - 1 :]
        else:
            wanted = inside & begins_token[:at] & (np.append(stream[length:], 0)[:at] == 0)
        place = np.flatnonzero(wanted)
        keys.append(key[place])
        places.append(place)
        lengths.append(np.full(len(place), length))
    if not keys:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(keys), np.concatenate(places), np.concatenate(lengths)


def _keys(rows: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return the key of each row of words, as `_phrases_in` makes it."""
    keys = rows[:, 0].astype(np.uint64)
    for word in range(1, _TOKEN):
        keys = np.where(rows[:, word] > 0, keys * _SPREAD + rows[:, word], keys)
    return keys


def _counted(
    keys: NDArray[np.uint64], ends: NDArray[np.int64], captions: _Captions
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.float64]]:
    """Return each different key, the first of its places in ``keys``, and its captions: all, without the trigger, read."""
    if not len(keys):
        return keys, np.zeros(0, np.int64), np.zeros((0, 3))
    of = captions.of[ends]
    order = sorting(keys)  # a key stands in the order of its captions
    keys, of, read = keys[order], of[order], captions.read[ends[order]]
    another = np.concatenate([[True], keys[1:] != keys[:-1]])
    once = np.flatnonzero(another | np.concatenate([[True], of[1:] != of[:-1]]))
    first = np.flatnonzero(another[once])
    each = (np.ones(len(once)), (~captions.triggered[of[once]]).astype(np.float64), np.maximum.reduceat(read, once))
    sums = np.column_stack([np.add.reduceat(one, first, dtype=np.float64) for one in each])
    return keys[once[first]], order[once[first]], sums


def _merged(one: _Counted, other: _Counted) -> _Counted:
    """Add the counts of two, in neither of which a key stands twice."""
    if not len(one.keys):
        return other
    keys = np.concatenate([one.keys, other.keys])
    order = sorting(keys)
    first = starts(keys[order])
    both = np.flatnonzero(np.diff(first, append=len(keys)) > 1)
    sums = np.concatenate([one.sums, other.sums])
    rows = np.concatenate([one.rows, other.rows])
    kept = order[first]
    found = _Counted(keys[kept], rows.take(kept, axis=0), sums.take(kept, axis=0))
    found.sums[both] += sums.take(order[first[both] + 1], axis=0)
    return found


def _kept(counted: _Counted) -> _Counted:
    """Let go of the rarest where there are too many."""
    below = 1
    most = _KEPT if len(counted.keys) <= _KEPT else _KEPT // 2
    enough = np.arange(len(counted.keys))
    while len(enough) > most:
        below += 1
        enough = np.flatnonzero(counted.sums[:, 0] >= below)
    if below == 1:
        return counted
    return _Counted(counted.keys[enough], counted.rows.take(enough, axis=0), counted.sums.take(enough, axis=0))


def _tally(text: str, sums: list[float]) -> Tally:
    return Tally(text, round(sums[0]), round(sums[1]), sums[2])
