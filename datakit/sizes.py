"""The eight sizes that a trainer takes, and how much of a picture each of them keeps."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from datakit.errors import UsageError
from datakit.geometry import Size

BUCKETS: tuple[Size, ...] = (
    Size(1024, 1024),
    Size(1152, 896),
    Size(896, 1152),
    Size(1216, 832),
    Size(832, 1216),
    Size(1344, 768),
    Size(768, 1344),
    Size(1472, 704),
)


def parse_bucket(text: str) -> Size:
    """Read one of the eight sizes from text such as ``1216x832``.

    Raises
    ------
    UsageError
        The text is not one of the eight sizes.
    """
    match = re.fullmatch(r"\s*(\d+)\s*[x×,]\s*(\d+)\s*", text, re.IGNORECASE)
    size = Size(int(match[1]), int(match[2])) if match else None
    if size not in BUCKETS:
        allowed = " ".join(map(str, BUCKETS))
        raise UsageError(f"bucket {text!r} is not one of the eight sizes: {allowed}")
    return size


def largest_window(size: Size, bucket: Size) -> Size:
    """Return the largest window of a bucket's aspect in a picture, rounded to whole pixels.

    One side always equals the picture's; the other is rounded, so the aspect is exact to half a pixel.
    """
    if size.width * bucket.height >= size.height * bucket.width:
        return Size(max(1, _round_ratio(size.height * bucket.width, bucket.height)), size.height)
    return Size(size.width, max(1, _round_ratio(size.width * bucket.height, bucket.width)))


def area_kept(size: Size, bucket: Size) -> float:
    """Return the share (0 to 1) of a picture that the largest window of a bucket keeps."""
    ratio = size.aspect / bucket.aspect
    return min(ratio, 1 / ratio)


# Above, a scale is an enlargement that shows; below, it comes of rounding a window to whole pixels.
ENLARGED = 1.01


def enlargement(window: Size, bucket: Size) -> float:
    """Return the factor by which a window must be enlarged to fill a bucket; 1 or less shrinks it."""
    return max(bucket.width / window.width, bucket.height / window.height)


# Decimals of a scale in plans and records, and by how much that may have moved it.
_SCALE_DECIMALS = 4
SCALE_ROUNDING = 0.5 * 10**-_SCALE_DECIMALS


def rounded_scale(scale: float) -> float:
    """Round a scale as plans and records hold it."""
    return round(scale, _SCALE_DECIMALS)


def choose_bucket(size: Size, buckets: Sequence[Size] = BUCKETS, upscale: float = math.inf) -> Size:
    """Return the bucket that keeps most of a picture.

    Buckets that can be filled without enlarging beyond ``upscale`` come first; where none can, the best of
    all is returned and the caller sees from `enlargement` what it would need. Ties go to the earlier bucket.
    """
    reachable = [bucket for bucket in buckets if enlargement(largest_window(size, bucket), bucket) <= upscale]
    return max(reachable or buckets, key=lambda bucket: area_kept(size, bucket))


def in_order(buckets: Iterable[Size]) -> tuple[Size, ...]:
    """Return buckets without repeats, in the order of the eight."""
    wanted = set(buckets)
    return tuple(bucket for bucket in BUCKETS if bucket in wanted)


def _round_ratio(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
