"""Find captions that are the same, or nearly so, though their pictures are not; without comparing all with all."""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from datakit.audit.numbers import Numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of all words of two captions they share so many; of fewer words only the same captions are alike.
_SHARED, _FEWEST = 0.9, 6
# Two captions that share 0.9 of their words have one of so many groups of so many least words in common but once in 2,000.
_GROUPS, _LEAST = 10, 6
# So many words are looked at in one step, which takes some megabytes.
_AT_ONCE = 1 << 16
_NUMBER = np.uint64(0xFFFFFFFF)
_CHANCE = np.random.Generator(np.random.PCG64(16))
_TURNS = _CHANCE.integers(1, 1 << 63, _GROUPS * _LEAST, np.uint64) * np.uint64(2) + np.uint64(1)
_SPREAD = _CHANCE.integers(1, 1 << 63, _LEAST, np.uint64) * np.uint64(2) + np.uint64(1)


class Alike(NamedTuple):
    """Pictures whose captions are the same, or nearly the same as that of the first."""

    names: tuple[str, ...]
    same: bool


class Fingerprinted:
    """The captions of a dataset, of each the words that come first in 60 orders of all words.

    Two captions have as many of these in common as they share of their words (Broder, On the resemblance and containment
    of documents, 1997): only those that have a group of them in common are compared.
    """

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        # Of each word 64 bits that are its own.
        self._bits = array("Q")
        self._names: list[str] = []
        self._words: list[bytes] = []
        self._groups = array("Q")
        self._waiting: list[int] = []
        self._lengths: list[int] = []

    def add(self, name: str, numbers: list[int]) -> None:
        """Take the numbers of the words of one picture's caption."""
        if any(numbers):
            self._names.append(name)
            self._waiting += numbers
            self._lengths.append(len(numbers))
            if len(self._waiting) > _AT_ONCE:
                self.settle()

    def merge(self, other: Fingerprinted, places: NDArray[np.uint32]) -> None:
        """Take the captions of other pictures, the numbers of whose words are these here (see `Numbers.place`)."""
        self.settle()
        other.settle()
        self._names += other._names
        self._groups.extend(other._groups)
        # The words of a caption stand in the order of their numbers.
        self._words += [np.sort(places[np.frombuffer(words, np.uint32)]).tobytes() for words in other._words]

    def settle(self) -> None:
        """Find the words that come first of the captions taken since the last time."""
        if not self._lengths:
            return
        for word in islice(self._numbers, len(self._bits), None):
            self._bits.frombytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        of = np.repeat(np.arange(len(self._lengths), dtype=np.uint64), self._lengths)
        # Each word of a caption once, those of a caption in the order of their numbers.
        both = np.unique(of << np.uint64(32) | np.array(self._waiting, np.uint64))
        both = both[both & _NUMBER > 0]
        numbers = (both & _NUMBER).astype(np.uint32)
        starts = np.flatnonzero(np.diff(both >> np.uint64(32), prepend=np.uint64(1 << 32)))
        bits = np.frombuffer(self._bits, np.uint64)[numbers]
        least = np.column_stack([np.minimum.reduceat(bits * turn, starts) for turn in _TURNS])
        self._groups.frombytes((least.reshape(-1, _GROUPS, _LEAST) * _SPREAD).sum(axis=2).tobytes())
        self._words += [words.tobytes() for words in np.split(numbers, starts[1:])]
        self._waiting, self._lengths = [], []

    def alike(self) -> list[Alike]:
        """Return what is alike; of captions that are nearly the same as several, each is named once, with the first."""
        self.settle()
        groups: dict[bytes, list[int]] = defaultdict(list)
        for index, words in enumerate(self._words):
            groups[words].append(index)
        firsts = np.array([indices[0] for indices in groups.values()], np.int64)
        same = [Alike(tuple(self._names[index] for index in each), same=True) for each in groups.values() if len(each) > 1]
        near: dict[int, list[int]] = defaultdict(list)
        named = -1
        for later, earlier in self._candidates(firsts):
            if later != named and self._nearly(earlier, later):
                near[earlier].append(later)
                named = later
        return [
            *same,
            *(Alike(tuple(self._names[one] for one in (first, *others)), same=False) for first, others in near.items()),
        ]

    def _candidates(self, firsts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[list[int]]:
        """Return (later, earlier) of captions with a group in common: of each such set, with its first and with the one before."""
        table = np.frombuffer(self._groups, np.uint64).reshape(-1, _GROUPS)[firsts]
        pairs = [np.zeros((0, 2), np.int64)]
        for keys in table.T:
            order = np.argsort(keys, kind="stable")
            again = np.concatenate([[False], keys[order][1:] == keys[order][:-1]])
            begin = np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))
            at = np.flatnonzero(again)
            pairs += [np.column_stack([firsts[order[at]], firsts[order[other]]]) for other in (begin[at], at - 1)]
        return np.unique(np.concatenate(pairs), axis=0).tolist()

    def _nearly(self, one: int, other: int) -> bool:
        first, second = (set(array("I", self._words[index])) for index in (one, other))
        return min(len(first), len(second)) >= _FEWEST and len(first & second) >= _SHARED * len(first | second)
