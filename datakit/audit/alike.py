"""Find captions that are the same, or nearly so, though their pictures are not; without comparing all with all."""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict
from typing import NamedTuple

import numpy as np

from datakit.audit.likeness import near_pairs
from datakit.caption.trigger import WORD

# Of all words of two captions they share so many; of fewer words only the same captions are alike.
_SHARED, _FEWEST = 0.9, 6
# Bytes that 64 counts take; a caption has fewer than 65,536 different words.
_LANES = 128


class Alike(NamedTuple):
    """Pictures whose captions are the same, or the nearly same captions of two."""

    names: tuple[str, ...]
    same: bool


class _Known(dict[str, tuple[int, int]]):
    """Of each word its number, and 64 places of 16 bits that hold 1 where its own 64 bits do."""

    def __missing__(self, word: str) -> tuple[int, int]:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        bits = np.unpackbits(np.frombuffer(digest, np.uint8)).astype("<u2")
        return self.setdefault(word, (len(self), int.from_bytes(bits.tobytes(), "little")))


class Fingerprinted:
    """The captions of a dataset as 64-bit numbers that differ in few bits where the captions do (Charikar, STOC 2002)."""

    def __init__(self) -> None:
        self._known = _Known()
        self._names: list[str] = []
        self._prints: list[int] = []
        self._words: list[bytes] = []

    def add(self, name: str, text: str) -> None:
        """Take the caption of one picture."""
        known = self._known
        words = [known[word] for word in set(WORD.findall(text.lower()))]
        if words:
            total = sum([lanes for _, lanes in words]).to_bytes(_LANES, "little")
            ones = np.frombuffer(total, "<u2") * 2 > len(words)
            self._prints.append(int.from_bytes(np.packbits(ones).tobytes(), "big"))
            self._names.append(name)
            self._words.append(array("I", sorted(number for number, _ in words)).tobytes())

    def alike(self) -> list[Alike]:
        """Return what is alike."""
        groups: dict[bytes, list[int]] = defaultdict(list)
        for index, words in enumerate(self._words):
            groups[words].append(index)
        firsts = [indices[0] for indices in groups.values()]
        same = [Alike(tuple(self._names[index] for index in each), same=True) for each in groups.values() if len(each) > 1]
        near = [
            Alike((self._names[firsts[earlier]], self._names[firsts[later]]), same=False)
            for earlier, later, _ in near_pairs([self._prints[first] for first in firsts])
            if self._nearly(firsts[earlier], firsts[later])
        ]
        return [*same, *near]

    def _nearly(self, one: int, other: int) -> bool:
        first, second = (set(array("I", self._words[index])) for index in (one, other))
        return min(len(first), len(second)) >= _FEWEST and len(first & second) >= _SHARED * len(first | second)
