"""Put the signs of a line in the order they are drawn in: what runs from right to left is turned, Arabic letters are joined.

This needs no library of the system, so that a line looks the same on every machine. It is the Unicode Bidirectional
Algorithm (UAX 9) without explicit embeddings and without its rule for pairs of brackets. Letters are joined by the
presentation forms that Unicode has for Arabic, Persian and Urdu; where it has none (some letters of Pashto, Kurdish or
Sindhi, and all of Syriac and N'Ko) they stand alone.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import groupby

# A letter to be joined: lam and alef make one sign.
_UNITS = re.compile("\u0644[\u0622\u0623\u0625\u0627]|.", re.DOTALL)
# The presentation forms of single letters and of lam with alef, which know what they stand for.
_FORMS = (range(0xFB50, 0xFBEA), range(0xFBFC, 0xFC00), range(0xFE80, 0xFEFD))
# Tatweel and the zero-width joiner join what stands before and after them.
_JOINERS = {"\u0640", "\u200d"}
_MIRRORED = str.maketrans("()[]{}<>«»‹›≤≥", ")(][}{><»«›‹≥≤")
# A letter for each bidirectional class, so that its rules are replacements in a text; what is not here is neutral, O.
_CLASSES = {"L": "L", "R": "R", "AL": "A", "EN": "E", "AN": "N", "ES": "S", "CS": "C", "ET": "T", "NSM": "M"}


def in_drawing_order(line: str) -> str:
    """Return the signs of a line as they are drawn from left to right; a mark comes before its letter where these are turned."""
    if not any(unicodedata.bidirectional(sign) in {"R", "AL", "AN"} for sign in line):
        return line
    joined = _joined(line)
    levels = _levels(joined)
    signs = [(level, sign.translate(_MIRRORED) if level == 1 else sign) for level, sign in zip(levels, joined, strict=True)]
    for least in (2, 1):
        runs = groupby(signs, key=lambda sign: sign[0] >= least)
        signs = [sign for turned, run in runs for sign in (reversed(list(run)) if turned else run)]
    return "".join(sign for _, sign in signs)


def _levels(line: str) -> list[int]:
    """Return the level of each sign: 0 runs to the right, 1 to the left, 2 to the right within 1."""
    classes = "".join(_CLASSES.get(unicodedata.bidirectional(sign), "O") for sign in line)
    strong = re.search("[LRA]", classes)
    base = "L" if strong is None or strong[0] == "L" else "R"
    classes = re.sub("(.)(M+)", lambda found: found[1] * len(found[0]), classes).replace("M", "O")  # W1
    classes = re.sub("A[^LRA]*", lambda found: found[0].replace("E", "N"), classes).replace("A", "R")  # W2, W3
    classes = re.sub("(?<=N)C(?=N)", "N", re.sub("(?<=E)[SC](?=E)", "E", classes))  # W4
    classes = re.sub("T+(?=E)|(?<=E)T+", lambda found: "E" * len(found[0]), classes)  # W5
    classes = re.sub("[SCT]", "O", classes)  # W6
    classes = re.sub("L[^R]*" if base == "R" else "(^|L)[^R]*", lambda found: found[0].replace("E", "L"), classes)  # W7
    directions = base + re.sub("[EN]", "R", classes) + base
    neutral = re.sub("(?<=(.))O+(?=(.))", lambda found: (found[1] if found[1] == found[2] else base) * len(found[0]), directions)
    resolved = [sign if sign in "EN" else direction for sign, direction in zip(classes, neutral[1:-1], strict=True)]  # N1, N2
    return [1 if sign == "R" else 0 if sign == "L" == base else 2 for sign in resolved]  # I1, I2


def _joined(line: str) -> str:
    """Replace Arabic letters by the forms that they have at the beginning, in the middle and at the end of a word."""
    units = _UNITS.findall(line)
    letters = [unit for unit in units if not _is_mark(unit)]
    neighbours = zip(["", *letters], letters, [*letters[1:], ""], strict=False)
    shapes = iter([_form(before, letter, after) for before, letter, after in neighbours])
    return "".join(unit if _is_mark(unit) else next(shapes) for unit in units)


def _form(before: str, letter: str, after: str) -> str:
    forms = _forms()
    own = forms.get(letter)
    if own is None:
        return letter
    joins_before = "<final>" in own and (before in _JOINERS or "<initial>" in forms.get(before, {}))
    joins_after = "<initial>" in own and (after in _JOINERS or "<final>" in forms.get(after, {}))
    joined = (("<isolated>", "<initial>"), ("<final>", "<medial>"))[joins_before][joins_after]
    return own.get(joined, letter)


@lru_cache(maxsize=1)
def _forms() -> dict[str, dict[str, str]]:
    """Return the presentation forms of each letter by their kind."""
    forms: dict[str, dict[str, str]] = {}
    for code in (code for codes in _FORMS for code in codes):
        kind, *letters = unicodedata.decomposition(chr(code)).split() or [""]
        forms.setdefault("".join(chr(int(letter, 16)) for letter in letters), {})[kind] = chr(code)
    return forms


def _is_mark(unit: str) -> bool:
    return unicodedata.category(unit[0]) == "Mn"
