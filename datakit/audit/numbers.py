"""Number the words of captions, so that many of them are counted and compared at once, as numbers."""

from __future__ import annotations

import re
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
_SPELLS = {sign: chr(sign).lower() if chr(sign).isalnum() or chr(sign) in "'-\n" else " " for sign in range(128)}


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

    def of(self, tokens: Sequence[str]) -> list[int]:
        """Return the numbers of the words of some tokens, with a 0 behind each token."""
        text = "\n".join(tokens)
        pieces = _spelt(text) if text.isascii() else _PIECE.findall(text.lower().replace(_END, " ").replace("\n", _END))
        numbers = [*map(self.__getitem__, pieces)]
        numbers.append(0)
        return numbers


def _spelt(text: str) -> list[str]:
    """Return the words of a text of ASCII, and an end for each line feed; as the pattern finds them, but sooner."""
    pieces = text.translate(_SPELLS).replace("\n", f" {_END} ").split()
    if "-" not in text and "'" not in text:
        return pieces
    found: list[str] = []
    for piece in pieces:
        if piece.isalnum() or piece == _END:
            found.append(piece)
        else:
            found += WORD.findall(piece)
    return found
