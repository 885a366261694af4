"""Named sets of the sizes that a trainer takes, and how much of a picture each size keeps."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from datakit.errors import UsageError
from datakit.geometry import Size

# A set more is a line here: options, plans, records, the page and the proofs ask for it by name.
SIZE_SETS: Mapping[str, tuple[Size, ...]] = {
    "sdxl": (
        Size(1024, 1024),
        Size(1152, 896),
        Size(896, 1152),
        Size(1216, 832),
        Size(832, 1216),
        Size(1344, 768),
        Size(768, 1344),
        Size(1472, 704),
    ),
}
DEFAULT_SIZES = "sdxl"


def size_set(name: str = DEFAULT_SIZES) -> tuple[Size, ...]:
    """Return the sizes of a set, in their order.

    Raises
    ------
    UsageError
        The name is unknown.
    """
    if name not in SIZE_SETS:
        raise UsageError(f"set of sizes {name!r} is unknown: choose from {', '.join(SIZE_SETS)}")
    return SIZE_SETS[name]


def check_size(size: Size | str, sizes: str = DEFAULT_SIZES) -> Size:
    """Return a size if it belongs to a set; a text is none.

    Raises
    ------
    UsageError
        It does not, or there is no set of that name.
    """
    allowed = size_set(sizes)
    if isinstance(size, str) or size not in allowed:
        raise UsageError(f"bucket {str(size)!r} is not one of the sizes of {sizes}: {' '.join(map(str, allowed))}")
    return size


def parse_bucket(text: str, sizes: str = DEFAULT_SIZES) -> Size:
    """Read one size of a set from text such as ``1216x832``.

    Raises
    ------
    UsageError
        The text is no size of the set.
    """
    match = re.fullmatch(r"\s*(\d+)\s*[x×,]\s*(\d+)\s*", text, re.IGNORECASE)
    return check_size(Size(int(match[1]), int(match[2])) if match else text, sizes)


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


def needed_upscale(window: Size, bucket: Size, limit: float) -> float | None:
    """Return the limit that lets a window be enlarged to a bucket, rounded up; None where none is needed, or it is beyond ``limit``."""
    needed = enlargement(window, bucket) if min(window) > 0 else math.inf
    return math.ceil(needed * 1000) / 1000 if 1 < needed <= limit else None


# Decimals of a scale in plans and records, and by how much that may have moved it.
_SCALE_DECIMALS = 4
SCALE_ROUNDING = 0.5 * 10**-_SCALE_DECIMALS


def rounded_scale(scale: float) -> float:
    """Round a scale as plans and records hold it."""
    return round(scale, _SCALE_DECIMALS)


def choose_bucket(size: Size, buckets: Sequence[Size], upscale: float = math.inf) -> Size:
    """Return the bucket that keeps most of a picture.

    Buckets that can be filled without enlarging beyond ``upscale`` come first; where none can, the best of
    all is returned and the caller sees from `enlargement` what it would need. Ties go to the earlier bucket.
    """
    reachable = [bucket for bucket in buckets if enlargement(largest_window(size, bucket), bucket) <= upscale]
    return max(reachable or buckets, key=lambda bucket: area_kept(size, bucket))


def in_order(buckets: Iterable[Size]) -> tuple[Size, ...]:
    """Return buckets without repeats, in the order of their set; what is in no set comes last."""
    wanted = set(buckets)
    known = tuple(dict.fromkeys(bucket for sizes in SIZE_SETS.values() for bucket in sizes if bucket in wanted))
    return (*known, *sorted(wanted.difference(known)))


def _round_ratio(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
