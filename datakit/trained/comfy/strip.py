"""One row of pictures as one picture: labels above, prompt and seed below; a picture that failed leaves its place, and says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from datakit.geometry import Size
from datakit.review.lines import broken
from datakit.review.typesetting import Typesetter

_MARGIN, _GAP = 24, 12
_SIZE, _LINE, _LINES = 18, 24, 3
_PAPER, _WELL, _INK, _MUTED, _BAD = (255, 255, 255), (241, 241, 239), (29, 31, 32), (90, 95, 99), (161, 40, 30)


@dataclass(frozen=True, slots=True)
class Shown:
    """One place in a strip: the label above it, and its picture, or why there is none."""

    label: str
    picture: Path | None
    why: str = ""


def draw_strip(shown: Sequence[Shown], caption: str, height: int) -> Image.Image:
    """Draw a row of pictures, each ``height`` pixels high, in sRGB."""
    typesetter = Typesetter(_SIZE)
    pictures = [_scaled(each.picture, height) for each in shown]
    known = [picture.width for picture in pictures if picture]
    missing = max(known, default=height)
    widths = [picture.width if picture else missing for picture in pictures]
    width = 2 * _MARGIN + sum(widths) + _GAP * (len(widths) - 1)
    lines = list(broken(typesetter, caption, width - 2 * _MARGIN, _LINES))
    size = Size(width, 2 * _MARGIN + _LINE + height + 10 + _LINE * len(lines))
    sheet = Image.new("RGB", size, _PAPER)
    canvas = ImageDraw.Draw(sheet)
    left, top = _MARGIN, _MARGIN + _LINE
    for each, picture, room in zip(shown, pictures, widths, strict=True):
        for line in broken(typesetter, each.label, room, 1):
            typesetter.draw(canvas, line, (left, top - 8), _INK)
        if picture:
            sheet.paste(picture, (left, top))
        else:
            sheet.paste(_WELL, (left, top, left + room, top + height))
            for number, line in enumerate(broken(typesetter, f"failed: {each.why}", room - 16, max(1, height // _LINE - 1))):
                typesetter.draw(canvas, line, (left + 8, top + _LINE * (number + 1)), _BAD)
        left += room + _GAP
    for number, line in enumerate(lines):
        typesetter.draw(canvas, line, (_MARGIN, top + height + 10 + _SIZE + _LINE * number), _MUTED)
    return sheet


def _scaled(path: Path | None, height: int) -> Image.Image | None:
    if path is None:
        return None
    with Image.open(path) as picture:
        size = (max(1, round(picture.width * height / picture.height)), height)
        return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
