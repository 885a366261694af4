"""Captions that say other than what is known of their picture: sides of a mirrored copy, how many faces, how large."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from datakit.dataset.manifest import Record

# A face of so small a share of the picture is no portrait, one of so large a share no whole figure.
_SMALL_FACE, _LARGE_FACE = 0.05, 0.25
# Surer than this, two faces are two people.
_SURE = 0.7
# So much taller than wide is no landscape.
_TALL = 1.1
_SIDE = re.compile(r"(?<![^\W_])(left|right)(?![^\W_])", re.IGNORECASE)
_ONE = re.compile(
    r"(?<!\w)(?:1girl|1boy|1other|solo(?! focus)|one (?:person|man|woman|girl|boy)|a lone (?:man|woman|girl|boy))(?!\w)",
    re.IGNORECASE,
)
_MORE = re.compile(
    r"(?<!\w)(?:[2-9]\+?(?:girls|boys|others)|multiple (?:girls|boys|others|people|views)|crowd|couple|group of|twins|"
    r"(?:two|three|several) (?:people|persons|women|men|girls|boys|children)|1girl\W+1boy|1boy\W+1girl)(?!\w)",
    re.IGNORECASE,
)
_NEAR = re.compile(r"(?<!\w)(?:portrait(?![ -](?:orientation|format))|close-?up|head ?shot|face focus)(?!\w)", re.IGNORECASE)
_FAR = re.compile(r"(?<!\w)(?:full[ -]body|wide shot|long shot|very wide shot)(?!\w)", re.IGNORECASE)
# Without one of these in it a text need not be searched for the words above, which takes longer; without a letter of two lower cases.
_ONE_HAS, _NEAR_HAS, _FAR_HAS = ("1g", "1b", "1o", "solo", "one "), ("portra", "close", "shot", "face"), ("full", "shot")
_WIDE_HAS = ("landscape",)
_LANDSCAPE = re.compile(r"(?:^|,)\s*landscape(?: orientation)?\s*(?:,|$)", re.IGNORECASE)


@dataclass(slots=True)
class Contradictions:
    """Holds captions against the records of their pictures, one after the other; copies of a picture follow each other."""

    _sides: dict[str, list[str]] = field(default_factory=dict)

    def of(self, record: Record, text: str) -> list[tuple[str, str]]:
        """Return (word of the caption, what is known of the picture)."""
        found = [*self._faces(record, text)]
        tall = record.bucket.height > _TALL * record.bucket.width
        if tall and _holds(text.casefold(), _WIDE_HAS) and _LANDSCAPE.search(text):
            found.append(("landscape", f"the picture is {record.bucket}, taller than wide"))
        sides = self._mirrored(record, text)
        return [*found, *([sides] if sides else [])]

    def _faces(self, record: Record, text: str) -> list[tuple[str, str]]:
        found = []
        sure = [face for face in record.faces if face.score >= _SURE and face.kept > 0]
        folded = text.casefold() if sure else ""
        one = _ONE.search(text) if len(sure) > 1 and _holds(folded, _ONE_HAS) else None
        if one and not _MORE.search(text):
            found.append((one[0], f"{len(sure)} faces were found"))
        if sure and record.box:
            share = max(face.box.width * face.box.height for face in sure) / record.box.size.area
            near = _NEAR.search(text) if not _SMALL_FACE <= share <= _LARGE_FACE and _holds(folded, _NEAR_HAS) else None
            if near and share < _SMALL_FACE:
                found.append((near[0], f"the largest face takes {share:.1%} of the picture"))
            far = _FAR.search(text) if share > _LARGE_FACE and not near and _holds(folded, _FAR_HAS) else None
            if far:
                found.append((far[0], f"the largest face takes {share:.0%} of the picture"))
        return found

    def _mirrored(self, record: Record, text: str) -> tuple[str, str] | None:
        """Compare the sides that a mirrored copy speaks of with those of a copy that is not."""
        sides = sorted(side.lower() for side in _SIDE.findall(text)) if record.copy is not None else []
        if not sides:
            return None
        if "flip" not in (record.augmentation or {}):
            self._sides = {record.source: sides}
            return None
        swapped = sorted({"left": "right", "right": "left"}[side] for side in self._sides.get(record.source, []))
        same = sides == self._sides.get(record.source)
        return (sides[0], "the copy is mirrored, its words are not") if same and sides != swapped else None


def _holds(text: str, parts: tuple[str, ...]) -> bool:
    return any(part in text for part in parts)
