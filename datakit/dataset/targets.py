"""Which crop of a picture is meant: the names of crops, and what decisions and messages call one of a picture's."""

from __future__ import annotations

from typing import Literal

# Which crop of a picture one is: the largest window, closer around the face, or around what stands out where there is none.
Crop = Literal["full", "portrait", "face", "main", "detail"]
CROPS: tuple[Crop, ...] = ("full", "portrait", "face", "main", "detail")


def target_of(source: str, crop: str | None) -> str:
    """Return what decisions and messages call a crop of a picture: its ``full`` one like the picture, since no other is without it.

    No path holds two slashes in a row.
    """
    return source if crop in (None, "full") else f"{source}//{crop}"


def source_of(target: str) -> str:
    """Return the picture that a crop is of."""
    return target.partition("//")[0]


def crop_in(target: str) -> Crop | None:
    """Return which crop of its picture a target is; None where it is the picture itself."""
    return next((crop for crop in CROPS if target.endswith(f"//{crop}")), None)
