"""Write contact sheets: the pictures of a dataset as they will be trained, with size and caption under each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

from datakit.dataset.companions import is_mask
from datakit.dataset.manifest import write_atomically
from datakit.errors import SampleError, UsageError
from datakit.geometry import Size
from datakit.picture.encoding import encode
from datakit.picture.formats import FORMATS, Format
from datakit.report import few
from datakit.review.entries import Entry
from datakit.review.gallery import Gallery
from datakit.review.lines import broken, ending
from datakit.review.thumbnails import Thumbnails
from datakit.review.typesetting import Typesetter

# In pixels: what a picture and the text below it take, and what lies between.
_CELL, _TEXT, _GAP, _MARGIN = 240, 54, 20, 28
_COLUMNS, _ROWS = 6, 8
_PAPER, _WELL, _INK, _MUTED = (255, 255, 255), (241, 241, 239), (29, 31, 32), (90, 95, 99)
_SIZE, _LINE, _CAPTION_LINES = 13, 17, 2
_QUALITY = 90


@dataclass(frozen=True, slots=True)
class Sheets:
    """What was written: the files, and the signs that no font here has, for which boxes stand."""

    files: tuple[Path, ...]
    missing: tuple[str, ...]


def write_sheets(
    folder: Path,
    path: Path,
    *,
    columns: int = _COLUMNS,
    rows: int = _ROWS,
    companion: str | None = None,
    overwrite: bool = False,
) -> Sheets:
    """Write a dataset's pictures to sheets: ``path``, then ``path`` with -2, -3 and so on.

    Parameters
    ----------
    folder
        A dataset that crop or shuffle wrote.
    path
        A .jpg, .png or .webp file.
    columns, rows
        Pictures across and down one sheet, 1 or more.
    companion
        Which of their companions lies over the pictures, such as ``mask``; none where it is not given.
    overwrite
        Replace files that are there.

    Raises
    ------
    UsageError
        The folder is no dataset or holds no pictures or no such companion, the format is unknown, or a file is there already.
    """
    written = path.suffix.lower().removeprefix(".").replace("jpeg", "jpg")
    if written not in FORMATS:
        raise UsageError(f"{path} has no format that can be written: name it .jpg, .png or .webp")
    gallery = Gallery(folder)
    wholes = [whole for whole in gallery.entries() if whole.output]
    entries = sorted(entry for whole in wholes for entry in _shown(whole))
    known = sorted({name for whole in wholes for name in whole.companions})
    if companion is not None and companion not in known:
        raise UsageError(f"--companion {companion}: the pictures have {few(known) or 'none'}")
    if not entries:
        raise UsageError(f"{folder} holds no pictures: nothing to show")
    each = columns * rows
    files = [path if not start else path.with_stem(f"{path.stem}-{start // each + 1}") for start in range(0, len(entries), each)]
    taken = [file for file in files if file.exists()]
    if taken and not overwrite:
        raise UsageError(f"{taken[0]} is there already: name another file, or use --overwrite to replace it")
    thumbnails = Thumbnails(folder, gallery.background)
    typesetter = Typesetter(_SIZE)
    for number, file in enumerate(files):
        shown = entries[number * each : (number + 1) * each]
        pictures = [_picture(gallery, thumbnails, entry, companion) for entry in shown]
        image = _drawn(typesetter, shown, pictures, min(columns, len(entries)))
        write_atomically(file, encode(image, _format(written), _QUALITY))
    return Sheets(tuple(files), typesetter.missing)


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


def _drawn(typesetter: Typesetter, entries: list[_Shown], pictures: list[Image.Image | None], columns: int) -> Image.Image:
    """Draw one sheet."""
    rows = math.ceil(len(entries) / columns)
    step = Size(_CELL + _GAP, _CELL + _TEXT + _GAP)
    size = Size(2 * _MARGIN + columns * step.width - _GAP, 2 * _MARGIN + rows * step.height - _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    canvas = ImageDraw.Draw(sheet)

    def write(text: str, left: int, top: int, colour: tuple[int, int, int]) -> None:
        typesetter.draw(canvas, text, (left, top + _SIZE), colour)

    for index, (entry, picture) in enumerate(zip(entries, pictures, strict=True)):
        left, top = _MARGIN + index % columns * step.width, _MARGIN + index // columns * step.height
        sheet.paste(_WELL, (left, top, left + _CELL, top + _CELL))
        if picture is None:
            write("no picture", left + (_CELL - typesetter.width("no picture")) // 2, top + (_CELL - _SIZE) // 2, _MUTED)
        else:
            sheet.paste(picture, (left + (_CELL - picture.width) // 2, top + (_CELL - picture.height) // 2))
        below = top + _CELL + 6
        room = typesetter.width(entry.bucket)
        write(ending(typesetter, entry.name, _CELL - room - 10), left, below, _INK)
        write(entry.bucket, left + _CELL - room, below, _MUTED)
        caption = (entry.caption or "no caption").replace("\n", " | ")
        for number, line in enumerate(broken(typesetter, caption, _CELL, _CAPTION_LINES)):
            write(line, left, below + (number + 1) * _LINE, _MUTED)
    return sheet


def _picture(gallery: Gallery, thumbnails: Thumbnails, entry: _Shown, companion: str | None) -> Image.Image | None:
    """Return what was written of an entry, under its companion if it has that, as large as a cell takes it; None where it cannot be
    read.
    """
    found = gallery.files(entry.key)
    if found is None or found.output is None:
        return None
    over = gallery.written_companions(found).get(companion) if companion else None
    try:
        if over is None or companion is None:
            return thumbnails.image(found.output, _CELL)
        return thumbnails.covered(found.output, over, _CELL, mask=is_mask(companion))
    except (SampleError, OSError):
        return None
