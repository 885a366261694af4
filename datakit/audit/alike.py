"""Find captions that are the same, or nearly so, though their pictures are not; without comparing all with all."""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict
from typing import NamedTuple

import numpy as np

from datakit.caption.trigger import WORD

# Of all words of two captions they share so many; of fewer words only the same captions are alike.
_SHARED, _FEWEST = 0.9, 6
# Two captions that share 0.9 of their words have one of so many groups of so many least words in common but once in 2,000.
_GROUPS, _LEAST = 10, 6
_CHANCE = np.random.Generator(np.random.PCG64(16))
_TURNS = _CHANCE.integers(1, 1 << 63, _GROUPS * _LEAST, np.uint64) * np.uint64(2) + np.uint64(1)
_SPREAD = _CHANCE.integers(1, 1 << 63, _LEAST, np.uint64) * np.uint64(2) + np.uint64(1)


class Alike(NamedTuple):
    """Pictures whose captions are the same, or nearly the same as that of the first."""

    names: tuple[str, ...]
    same: bool


class _Known(dict[str, tuple[int, int]]):
    """Of each word its number, and 64 bits that are its own."""

    def __missing__(self, word: str) -> tuple[int, int]:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return self.setdefault(word, (len(self), int.from_bytes(digest, "little")))


class Fingerprinted:
    """The captions of a dataset, of each the words that come first in 60 orders of all words.

    Two captions have as many of these in common as they share of their words (Broder, On the resemblance and containment
    of documents, 1997): only those that have a group of them in common are compared.
    """

    def __init__(self) -> None:
        self._known = _Known()
        self._names: list[str] = []
        self._words: list[bytes] = []
        self._groups = array("Q")

    def add(self, name: str, text: str) -> None:
        """Take the caption of one picture."""
        known = self._known
        words = [known[word] for word in set(WORD.findall(text.lower()))]
        if words:
            bits = np.array([own for _, own in words], np.uint64)
            least = (bits[:, None] * _TURNS).min(axis=0).reshape(_GROUPS, _LEAST)
            self._groups.frombytes((least * _SPREAD).sum(axis=1).tobytes())
            self._names.append(name)
            self._words.append(array("I", sorted([number for number, _ in words])).tobytes())

    def alike(self) -> list[Alike]:
        """Return what is alike; of captions that are nearly the same as several, each is named once, with the first."""
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
