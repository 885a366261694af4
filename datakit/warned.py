"""What the user should know of a sample that is used all the same: a warning has a kind, which code asks for, and a sentence."""

from __future__ import annotations

from dataclasses import dataclass

# What each kind says of a number of them, as in "3 enlarged".
KINDS = {
    "enlarged": "enlarged",
    "face-cut": "with a face that does not fit",
    "face-missing": "without the face that the framing wants",
    "face-doubtful": "placed by what may be no face",
    "caption-missing": "without a caption",
    "caption-empty": "with an empty caption",
    "caption-marked": "with a byte order mark in the caption",
    "caption-encoded": "with a caption that is not UTF-8",
    "frames": "of several frames or pages",
    "profile": "with a colour profile that is not used",
    "exif": "with a broken EXIF block",
    "source-gone": "augmented from the crop, its source being gone",
    "not-made-anew": "not made anew",
    "older": "noted by an older datakit",
}


@dataclass(frozen=True, slots=True, order=True)
class Warned:
    """One warning: its kind, a word of `KINDS`, and a sentence for people."""

    kind: str
    sentence: str
