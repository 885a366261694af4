"""Find captions that are the same, or nearly so, though their pictures are not; without comparing all with all."""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections import defaultdict
from functools import lru_cache
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from datakit.audit.numbers import Numbers, distinct, sorting

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
        # The words of all captions, those of one in the order of their numbers, and where those of each end.
        self._words, self._ends = array("I"), array("q", [0])
        self._groups = array("Q")
        self._waiting, self._lengths = array("I"), array("q")

    def add(self, name: str, numbers: array[int]) -> None:
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
        ends = np.frombuffer(other._ends, np.int64)
        self._keep(places[np.frombuffer(other._words, np.uint32)], ends[1:] - ends[:-1])

    def settle(self) -> None:
        """Find the words that come first of the captions taken since the last time."""
        if not self._lengths:
            return
        self._bits.extend(map(_bits, islice(self._numbers, len(self._bits), None)))
        begin = len(self._words)
        self._keep(np.frombuffer(self._waiting, np.uint32), np.frombuffer(self._lengths, np.int64))
        bits = np.frombuffer(self._bits, np.uint64)[np.frombuffer(self._words, np.uint32)[begin:]]
        starts = np.frombuffer(self._ends, np.int64)[-len(self._lengths) - 1 : -1] - begin
        least = np.column_stack([np.minimum.reduceat(bits * turn, starts) for turn in _TURNS])
        self._groups.frombytes((least.reshape(-1, _GROUPS, _LEAST) * _SPREAD).sum(axis=2).tobytes())
        self._waiting, self._lengths = array("I"), array("q")

    def _keep(self, numbers: NDArray[np.uint32], lengths: NDArray[np.int64]) -> None:
        """Keep each word of some captions once, those of a caption in the order of their numbers."""
        of = np.repeat(np.arange(len(lengths), dtype=np.uint64), lengths) << np.uint64(32)
        both = distinct((of | numbers)[numbers > 0])
        self._words.frombytes((both & _NUMBER).astype(np.uint32).tobytes())
        kept = np.bincount((both >> np.uint64(32)).astype(np.int64), minlength=len(lengths))
        self._ends.frombytes((self._ends[-1] + np.cumsum(kept, dtype=np.int64)).tobytes())

    def alike(self) -> list[Alike]:
        """Return what is alike; of captions that are nearly the same as several, each is named once, with the first."""
        self.settle()
        first_with: dict[bytes, int] = {}
        again: dict[int, list[int]] = defaultdict(list)
        with memoryview(self._words) as words:
            for index, (start, end) in enumerate(pairwise(self._ends)):
                first = first_with.setdefault(words[start:end].tobytes(), index)
                if first != index:
                    again[first].append(index)
        firsts = np.fromiter(first_with.values(), np.int64, len(first_with))
        same = [Alike(tuple(self._names[one] for one in (first, *again[first])), same=True) for first in sorted(again)]
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
            order = sorting(keys)
            again = np.concatenate([[False], keys[order][1:] == keys[order][:-1]])
            begin = np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))
            at = np.flatnonzero(again)
            pairs += [np.column_stack([firsts[order[at]], firsts[order[other]]]) for other in (begin[at], at - 1)]
        return np.unique(np.concatenate(pairs), axis=0).tolist()

    def _nearly(self, one: int, other: int) -> bool:
        first, second = (set(self._words[self._ends[index] : self._ends[index + 1]]) for index in (one, other))
        return min(len(first), len(second)) >= _FEWEST and len(first & second) >= _SHARED * len(first | second)


@lru_cache(maxsize=1 << 16)
def _bits(word: str) -> int:
    """Return 64 bits that are a word's own."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), sys.byteorder)
