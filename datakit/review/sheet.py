"""Write contact sheets: the pictures of a dataset as they will be trained, with size and caption under each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from PIL import Image

from datakit.errors import SampleError, UsageError
from datakit.formats import FORMATS, Format
from datakit.geometry import Size
from datakit.images import encode
from datakit.manifest import write_atomically
from datakit.review.gallery import Entry, Gallery
from datakit.review.thumbnails import Thumbnails

if TYPE_CHECKING:
    from numpy.typing import NDArray

# In pixels: what a picture and the text below it take, and what lies between.
_CELL, _TEXT, _GAP, _MARGIN = 240, 54, 20, 28
_COLUMNS, _ROWS = 6, 8
_PAPER, _WELL, _INK, _MUTED = (255, 255, 255), (241, 241, 239), (29, 31, 32), (90, 95, 99)
_SIZE, _WEIGHT, _LINE, _CAPTION_LINES = 13, 400, 17, 2
# A text is measured as if it were never wrapped.
_ENDLESS = (1 << 20, 1 << 10)
_QUALITY = 90


def write_sheets(folder: Path, path: Path, *, columns: int = _COLUMNS, rows: int = _ROWS, overwrite: bool = False) -> list[Path]:
    """Write a dataset's pictures to sheets and return their files: ``path``, then ``path`` with -2, -3 and so on.

    Parameters
    ----------
    folder
        A dataset that crop or shuffle wrote.
    path
        A .jpg, .png or .webp file.
    columns, rows
        Pictures across and down one sheet, 1 or more.
    overwrite
        Replace files that are there.

    Raises
    ------
    UsageError
        The folder is no dataset or holds no pictures, the format is unknown, or a file is there already.
    """
    written = path.suffix.lower().removeprefix(".").replace("jpeg", "jpg")
    if written not in FORMATS:
        raise UsageError(f"{path} has no format that can be written: name it .jpg, .png or .webp")
    gallery = Gallery(folder)
    entries = sorted(entry for whole in gallery.entries() if whole.output for entry in _shown(whole))
    if not entries:
        raise UsageError(f"{folder} holds no pictures: nothing to show")
    each = columns * rows
    sheets = [path if not start else path.with_stem(f"{path.stem}-{start // each + 1}") for start in range(0, len(entries), each)]
    taken = [sheet for sheet in sheets if sheet.exists()]
    if taken and not overwrite:
        raise UsageError(f"{taken[0]} is there already: name another file, or use --overwrite to replace it")
    thumbnails = Thumbnails(folder, gallery.background)
    for number, sheet in enumerate(sheets):
        shown = entries[number * each : (number + 1) * each]
        image = _drawn(gallery, thumbnails, shown, min(columns, len(entries)))
        write_atomically(sheet, encode(image, _format(written), _QUALITY))
    return sheets


class _Shown(NamedTuple):
    """One picture of a sheet."""

    name: str
    key: str
    bucket: str
    caption: str | None


def _shown(entry: Entry) -> Iterator[_Shown]:
    """Yield each copy of an entry, or the one picture that it has."""
    bucket = str(Size(*entry.bucket)) if entry.bucket else ""
    for copy in entry.copies:
        yield _Shown(copy.output, copy.key, bucket, copy.caption)
    if not entry.copies:
        yield _Shown(entry.id, entry.key, bucket, entry.caption)


def _format(name: str) -> Format:
    return next(known for known in FORMATS if known == name)


def _drawn(gallery: Gallery, thumbnails: Thumbnails, entries: list[_Shown], columns: int) -> Image.Image:
    """Draw one sheet."""
    rows = math.ceil(len(entries) / columns)
    step = Size(_CELL + _GAP, _CELL + _TEXT + _GAP)
    size = Size(2 * _MARGIN + columns * step.width - _GAP, 2 * _MARGIN + rows * step.height - _GAP)
    sheet = np.full((size.height, size.width, 3), _PAPER, np.uint8)
    for index, entry in enumerate(entries):
        left, top = _MARGIN + index % columns * step.width, _MARGIN + index // columns * step.height
        sheet[top : top + _CELL, left : left + _CELL] = _WELL
        picture = _picture(gallery, thumbnails, entry)
        if picture is None:
            _write(sheet, "no picture", left + (_CELL - _width("no picture")) // 2, top + (_CELL - _SIZE) // 2, _MUTED)
        else:
            x, y = left + (_CELL - picture.width) // 2, top + (_CELL - picture.height) // 2
            sheet[y : y + picture.height, x : x + picture.width] = np.asarray(picture)
        below = top + _CELL + 6
        room = _width(entry.bucket)
        _write(sheet, _ending(entry.name, _CELL - room - 10), left, below, _INK)
        _write(sheet, entry.bucket, left + _CELL - room, below, _MUTED)
        for number, line in enumerate(_lines((entry.caption or "no caption").replace("\n", " | "), _CELL, _CAPTION_LINES)):
            _write(sheet, line, left, below + (number + 1) * _LINE, _MUTED)
    return Image.fromarray(sheet)


@lru_cache(maxsize=1)
def _font() -> cv2.FontFace:
    """Return OpenCV's own font, which has the letters of nearly all languages."""
    return cv2.FontFace("sans")


def _write(sheet: NDArray[np.uint8], text: str, left: int, top: int, colour: tuple[int, int, int]) -> None:
    """Draw a line of text with the top of its letters at ``top``."""
    cv2.putText(sheet, text, (left, top + _SIZE), colour, _font(), _SIZE, _WEIGHT)


def _width(text: str) -> int:
    """Return how many pixels a line of text takes."""
    return cv2.getTextSize(_ENDLESS, text, (0, 0), _font(), _SIZE, _WEIGHT)[2]


def _picture(gallery: Gallery, thumbnails: Thumbnails, entry: _Shown) -> Image.Image | None:
    """Return what was written of an entry, as large as a cell takes it; None where it cannot be read."""
    found = gallery.files(entry.key)
    if found is None or found.output is None:
        return None
    try:
        return thumbnails.image(found.output, _CELL)
    except (SampleError, OSError):
        return None


def _lines(text: str, room: int, most: int) -> Iterator[str]:
    """Yield the beginning of a text in so many lines of at most ``room`` pixels; an ellipsis stands for the rest."""
    left = " ".join(text.split())
    for number in range(most):
        if not left:
            return
        fits = _fitting(left, room)
        if fits == len(left):
            yield left
            return
        if number == most - 1:
            yield left[: _fitting(left, room - _width("…"))].rstrip() + "…"
            return
        space = left.rfind(" ", 1, fits + 1)
        end = space if space > 0 else max(1, fits)
        yield left[:end].rstrip()
        left = left[end:].lstrip()


def _ending(name: str, room: int) -> str:
    """Return the end of a file's name that fits: what tells it apart from others of its folder."""
    if _fitting(name, room) == len(name):
        return name
    return "…" + name[len(name) - _fitting(name[::-1], room - _width("…")) :]


def _fitting(text: str, room: int) -> int:
    """Return how many leading characters fit."""
    low, high = 0, min(len(text), 400)  # no cell holds more
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _width(text[:middle]) <= room else (low, middle - 1)
    return low
