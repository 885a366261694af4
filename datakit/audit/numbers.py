"""Number the words of captions, so that many of them are counted and compared at once, as numbers."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from datakit.caption.trigger import WORD

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What ends a token; no text is left with one.
_END = "\x01"
_PIECE = re.compile(rf"{WORD.pattern}|{_END}")
# Words that say nothing by themselves; no phrase begins or ends with one.
_STOP = re.findall(
    r"\w+",
    "a an the and or of in on at to for from by with without as is are was were be been has have had it its this that these those "
    "there here he she they them his her their who which while into onto over under up down out off near behind front back left "
    "right side s t",
)
# Of ASCII, what is part of words or may join two of them; the rest is blank.
_SPELLS = bytes(ord(chr(sign).lower()) if chr(sign).isalnum() or chr(sign) in "'-\n" else 32 for sign in range(128)) + bytes(128)


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
        text = "\n".join(tokens)
        pieces = _spelt(text) if text.isascii() else _PIECE.findall(text.lower().replace(_END, " ").replace("\n", _END))
        numbers = [*map(self.__getitem__, pieces)]
        numbers.append(0)
        return array("I", numbers)


def sorting(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the places of keys in the order of the keys, equal ones in their own: a stable argsort, but several times as fast.

    What is sorted is the upper bits of each key with its place behind them, as numbers. Keys whose bits are spread, as these are,
    hardly ever differ in the lower ones alone: for them the slow way is good enough.
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


def _spelt(text: str) -> list[str]:
    """Return the words of a text of ASCII, and an end for each line feed; as the pattern finds them, but sooner."""
    pieces = text.encode().translate(_SPELLS).decode().replace("\n", f" {_END} ").split()
    if "-" not in text and "'" not in text:
        return pieces
    found: list[str] = []
    for piece in pieces:
        if piece.isalnum() or piece == _END:
            found.append(piece)
        else:
            found += WORD.findall(piece)
    return found
