"""Measure and draw lines of text in any script: with the fonts that come with the project, then with the system's."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from functools import cached_property, lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from PIL import ImageDraw, ImageFont, features

from datakit.review.right_to_left import in_drawing_order

# The first font that has a word draws it. fonts/README.md says what each is for and where it is from.
FONTS = (
    "DejaVuSans.ttf",
    "DroidSansFallback.ttf",
    "NotoSansArabic-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansThai-Regular.ttf",
    "NotoEmoji-Regular.ttf",
)
# Where Linux and macOS keep fonts; so many are tried at most.
SYSTEM_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "~/Library/Fonts",
)
_MOST_FONTS = 1000
# No font has it: what is drawn for it is drawn for every sign that is missing.
_NONCHARACTER = "\U0010fffe"
_BOX = "□"
# The zero-width joiner and non-joiner have no shape, but say how the signs around them are joined.
_JOINER, _NON_JOINER = "\u200d", "\u200c"
# Besides marks, what changes the sign before it; without Raqm nothing is drawn for these.
_MODIFIERS = {_JOINER, _NON_JOINER, *"🏻🏼🏽🏾🏿"}
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_FLAGS = re.compile("[\U0001f1e6-\U0001f1ff]{2}")


class Typesetter:
    """Draw lines of text at one size; where the project's own fonts have the signs, they look the same on every machine.

    Scripts that run from right to left are put in order and joined by ``right_to_left``, not by Pillow. Marks that
    have no letter of their own with them, the syllables of Indian scripts, and flags and families of emoji are put
    together by Pillow's Raqm layout where it finds the FriBiDi library; elsewhere their parts stand one after another.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._own = [_Font(files("datakit.review") / "fonts" / name, size) for name in FONTS]
        self._chosen: dict[str, _Font | None] = {}
        self._missing: dict[str, None] = {}

    @property
    def missing(self) -> tuple[str, ...]:
        """The signs drawn so far that no font has: boxes stand for them."""
        return tuple(self._missing)

    def width(self, line: str) -> int:
        """Return how many pixels a line takes."""
        return sum(run.width for run in self._runs(line))

    def draw(self, canvas: ImageDraw.ImageDraw, line: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
        """Draw a line whose left end and baseline are ``at``."""
        left, baseline = at
        for run in self._runs(line):
            canvas.text((left, baseline), run.signs, colour, run.font, anchor="ls")
            left += run.width
            self._missing |= dict.fromkeys(run.missing)

    def _runs(self, line: str) -> Iterator[_Run]:
        """Yield what one font draws at once, from left to right."""
        words = re.findall(r" +|[^ ]+", in_drawing_order(_drawable(line)))
        pieces = (piece for word in words for piece in self._pieces(word))
        for font, run in groupby(pieces, key=lambda piece: piece[0]):
            signs = "".join(piece for _, piece in run)
            yield font.run(signs) if font else self._own[0].run(_BOX * len(signs))._replace(missing=signs)

    def _pieces(self, part: str) -> Iterator[tuple[_Font | None, str]]:
        """Yield a word with its font; where no font has all of it, cluster by cluster, then sign by sign."""
        if part not in self._chosen:
            self._chosen[part] = next((font for font in self._fonts(part) if all(map(font.has, part))), None)
        font = self._chosen[part]
        if font or len(part) == 1:
            yield font, part
            return
        smaller = _clusters(part)
        for piece in smaller if len(smaller) > 1 else part:
            yield from self._pieces(piece)

    def _fonts(self, part: str) -> Iterator[_Font]:
        """Yield the fonts to try: for pictographs that of emoji first, for whole words none of the system's."""
        if unicodedata.category(part[0]) == "So" and unicodedata.east_asian_width(part[0]) == "W":
            yield self._own[-1]
        yield from self._own
        if len(_clusters(part)) == 1:
            yield from self._system

    @cached_property
    def _system(self) -> list[_Font]:
        """The system's fonts, regular ones first."""
        found = {
            path
            for folder in SYSTEM_FOLDERS
            for path in Path(os.path.expanduser(folder)).rglob("*.[ot]t[fc]")
            if not path.name.startswith("LastResort")  # the one on macOS that draws a box for every sign
        }
        fonts = []
        for path in sorted(found, key=lambda path: ("regular" not in path.name.lower(), path))[:_MOST_FONTS]:
            try:
                fonts.append(_Font(path, self._size))
            except OSError:  # damaged, or with bitmaps of other sizes only
                continue
        return fonts


class _Run(NamedTuple):
    """Signs that one font draws at once; ``missing`` are those that boxes stand for."""

    font: ImageFont.FreeTypeFont
    signs: str
    missing: str = ""

    @property
    def width(self) -> int:
        return round(self.font.getlength(self.signs))


class _Font:
    """A font at one size, and which signs it has."""

    def __init__(self, path: Traversable, size: int) -> None:
        self._path, self._size = str(path), size
        self._plain = ImageFont.truetype(self._path, size, layout_engine=ImageFont.Layout.BASIC)
        self._known: dict[str, bool] = dict.fromkeys((" ", _JOINER, _NON_JOINER), True)

    def has(self, sign: str) -> bool:
        """Tell whether the font has a shape for a sign that is not the one for missing signs."""
        known = self._known.get(sign)
        if known is None:
            shape = self._shape(sign)
            known = self._known[sign] = any(shape) and shape != self._none
        return known

    def run(self, signs: str) -> _Run:
        """Return signs with the layout that they need."""
        composed = any(_is_mark(sign) or sign in _MODIFIERS for sign in signs) or _FLAGS.search(signs)
        # Raqm would turn again what is turned already.
        if composed and not any(unicodedata.bidirectional(sign) in {"R", "AL"} for sign in signs) and features.check("raqm"):
            return _Run(self._shaping, signs)
        return _Run(self._plain, "".join(sign for sign in signs if sign not in _MODIFIERS))

    @cached_property
    def _shaping(self) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(self._path, self._size, layout_engine=ImageFont.Layout.RAQM)

    @cached_property
    def _none(self) -> bytes:
        return self._shape(_NONCHARACTER)

    def _shape(self, sign: str) -> bytes:
        try:
            return bytes(self._plain.getmask(sign))
        except OSError:  # damaged
            return b""


def clusters(text: str) -> list[str]:
    """Return the parts of a text that must not be cut: letters with their marks, joined emoji."""
    return _clusters(_drawable(text))


def _clusters(text: str) -> list[str]:
    found: list[str] = []
    for sign in text:
        if found and (found[-1][-1] == _JOINER or sign in _MODIFIERS or _is_mark(sign)):
            found[-1] += sign
        else:
            found.append(sign)
    return found


def _drawable(text: str) -> str:
    """Return a text with letters and accents composed, spaces of one kind, and none of the signs that have no shape."""
    return "".join(map(_kept, unicodedata.normalize("NFC", text)))


@lru_cache(maxsize=4096)
def _kept(sign: str) -> str:
    category = unicodedata.category(sign)
    if category in {"Cc", "Zs", "Zl", "Zp"}:
        return " "
    shapeless = category == "Cf" and sign not in {_JOINER, _NON_JOINER}
    return "" if shapeless or _SELECTORS.match(sign) else sign


def _is_mark(sign: str) -> bool:
    return unicodedata.category(sign)[0] == "M"
