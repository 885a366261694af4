"""Tell whether the lines of a caption file are captions or the tags of one, and what else than commas may separate tags."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import Literal

from datakit.caption.scan import COMMAS, STOPS
from datakit.caption.tokens import join

# Captions are rarely as short as tags, and three of them on end even less.
_LINES, _WORDS = 3, 3
# So many of them hold no comma and end with no full stop; "nanashi inc." is a tag too.
_PLAIN = 0.75
# Editors wrap at a width of about so many signs; the last word decides how many exactly.
_WIDTH, _SLACK = 50, 20


def lines_are(lines: Sequence[str]) -> Literal["captions", "tags", "wrapped"]:
    """Tell whether lines are ``captions``, ``tags`` of one caption (Hydrus, gallery-dl), or one that is ``wrapped``."""
    if len(lines) < 2:
        return "captions"
    if all(line[-1:] in tuple(COMMAS) for line in lines[:-1]):
        return "wrapped"
    lengths = [len(line) for line in lines[:-1]]
    broken = all(line[-1:] not in tuple(STOPS) and not following[:1].isupper() for line, following in pairwise(lines))
    if len(lines) > 2 and broken and min(lengths) >= _WIDTH and max(lengths) - min(lengths) <= _SLACK:
        return "wrapped"
    plain = sum(not set(line) & set(COMMAS) and line[-1:] not in tuple(STOPS) for line in lines)
    if len(lines) >= _LINES and plain >= _PLAIN * len(lines) and fmean(len(line.split()) for line in lines) <= _WORDS:
        return "tags"
    return "captions"


def likely_separator(caption: str) -> str | None:
    """Return what seems to stand between the tags of a caption without commas: ";", "|", or " " where "_" joins words."""
    if set(caption) & set(COMMAS) or caption[-1:] in tuple(STOPS):
        return None
    for sign in ";|":
        if len([tag for tag in caption.split(sign) if tag.strip()]) > 2:
            return sign
    words = caption.split()
    joined = sum("_" in word.strip("_") for word in words)
    return " " if len(words) > 2 and joined and joined * 4 >= len(words) else None


def join_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Make one caption of lines that are tags, or one that is wrapped; captions stay as they are."""
    kind = lines_are(lines)
    if kind == "tags":
        return (join(lines),)
    return (" ".join(lines),) if kind == "wrapped" else tuple(lines)
