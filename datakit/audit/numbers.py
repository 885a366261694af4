"""Number the words of captions, so that many of them are counted and compared at once, as numbers."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from datakit.caption.trigger import WORD

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What ends a token; no token holds one.
_END = "\n"
_PIECE = re.compile(rf"{WORD.pattern}|{_END}")
# Words that say nothing by themselves; no phrase begins or ends with one.
_STOP = re.findall(
    r"\w+",
    "a an the and or of in on at to for from by with without as is are was were be been has have had it its this that these those "
    "there here he she they them his her their who which while into onto over under up down out off near behind front back left "
    "right side s t",
)


class Numbers(dict[str, int]):
    """The number of each word in lower case, as they come: 0 ends a token, and the words that say nothing follow it."""

    nothing_said = len(_STOP)

    def __init__(self) -> None:
        super().__init__({word: number for number, word in enumerate([_END, *_STOP])})

    def __missing__(self, word: str) -> int:
        return self.setdefault(word, len(self))

    def place(self, others: Numbers) -> NDArray[np.uint32]:
        """Return the number that each number of others has here."""
        return np.array([self[word] for word in others], np.uint32)

    def of(self, tokens: Sequence[str]) -> array[int]:
        """Return the numbers of the words of some tokens, with a 0 behind each token."""
        pieces = " \n ".join(tokens).split(" ")
        numbers = [*map(self.__getitem__, chain.from_iterable(map(_spelt, pieces)))]
        numbers.append(0)
        return array("I", numbers)


def sorting(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the places of keys in the order of the keys, equal ones in their own: a stable argsort, but several times as fast.

    What is sorted is the upper bits of each key with its place behind them, as numbers; that two keys differ in the lower bits
    alone is so unlikely that the slow way is good enough for it.
    """
    low = np.uint64(len(keys).bit_length())
    packed = np.sort(keys >> low << low | np.arange(len(keys), dtype=np.uint64))
    order = (packed & ((np.uint64(1) << low) - np.uint64(1))).astype(np.int64)
    found = keys[order]
    return np.argsort(keys, kind="stable") if (found[1:] < found[:-1]).any() else order


def distinct(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the different ones of some keys, in order."""
    keys = np.sort(keys)
    return keys[starts(keys)]


def starts(ordered: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the places where another key begins."""
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)])


@lru_cache(maxsize=1 << 16)
def _spelt(piece: str) -> tuple[str, ...]:
    """Return the words in what stands between two blanks, in lower case, and an end for each line feed."""
    return tuple(_PIECE.findall(piece.lower()))
