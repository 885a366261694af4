"""Named sets of the sizes that a trainer takes, and how much of a picture each size keeps."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from datakit.errors import UsageError
from datakit.geometry import Size

# A set more is an entry here: options, plans, records, the page and the proofs ask for it by name.
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
    # The same shapes for squares of other sides: of the sizes that SimpleTuner makes of an area in steps of 64, and so keeps, the
    # nearest in shape (`datakit.trainers.simpletuner.replay`); every other trainer keeps what is a multiple of 64.
    "512": (
        Size(512, 512),
        Size(576, 448),
        Size(448, 576),
        Size(640, 448),
        Size(448, 640),
        Size(704, 384),
        Size(384, 704),
        Size(768, 320),
    ),
    "768": (
        Size(768, 768),
        Size(896, 704),
        Size(704, 896),
        Size(960, 640),
        Size(640, 960),
        Size(1024, 576),
        Size(576, 1024),
        Size(1152, 512),
    ),
    "1536": (
        Size(1536, 1536),
        Size(1728, 1344),
        Size(1344, 1728),
        Size(1856, 1280),
        Size(1280, 1856),
        Size(2048, 1152),
        Size(1152, 2048),
        Size(2304, 1024),
    ),
    "2048": (
        Size(2048, 2048),
        Size(2304, 1792),
        Size(1792, 2304),
        Size(2496, 1664),
        Size(1664, 2496),
        Size(2688, 1536),
        Size(1536, 2688),
        Size(2944, 1408),
    ),
    # What SD1.5 is tuned on where pictures may have the area of 512x768 (NovelAI, "Improvements on Stable Diffusion", 2022: of each
    # width in steps of 64 the greatest height, both turned, and 512x512), without the narrowest.
    "sd15": (
        Size(512, 512),
        Size(640, 576),
        Size(576, 640),
        Size(768, 512),
        Size(512, 768),
        Size(832, 448),
        Size(448, 832),
    ),
}
DEFAULT_SIZES = "sdxl"
# Sides of a set of one's own: no image model takes other than multiples of 8, as its autoencoder makes one of eight pixels.
_SIDE_STEP, _SHORTEST, _LONGEST = 8, 64, 8192
_SIZE = re.compile(r"(\d{1,9})[x×](\d{1,9})", re.IGNORECASE)


def size_set(name: str = DEFAULT_SIZES) -> tuple[Size, ...]:
    """Return the sizes of a set, in their order.

    ``name`` is a key of `SIZE_SETS`, or holds the sizes of a set of one's own, such as ``640x640 768x512``: plans and records
    that name it need no file beside them.

    Raises
    ------
    UsageError
        The name is unknown, or one of the sizes is none that a trainer could take.
    """
    return SIZE_SETS[name] if name in SIZE_SETS else _own_set(name)


@lru_cache
def _own_set(text: str) -> tuple[Size, ...]:
    words = text.split()
    strange = next((word for word in words or [text] if not _SIZE.fullmatch(word)), None)
    if strange is not None:
        what = f"{strange[:40]!r} is no size" if len(words) > 1 else f"set of sizes {strange[:40]!r} is unknown"
        raise UsageError(f"{what}: choose from {', '.join(SIZE_SETS)}, or write sizes such as '640x640 768x512'")
    sizes = [Size(int(match[1]), int(match[2])) for match in map(_SIZE.fullmatch, words) if match]
    for size in sizes:
        if not all(_SHORTEST <= side <= _LONGEST and side % _SIDE_STEP == 0 for side in size):
            raise UsageError(
                f"size {size}: no trainer keeps it; use sides of {_SHORTEST} to {_LONGEST} pixels that are multiples of {_SIDE_STEP}"
            )
    # In one order however they are written, so that the same set gives the same crops.
    return in_order(sizes)


def parse_sizes(text: str) -> str:
    """Return the name of a set of sizes that stands in text: one a line or several, behind ``#`` nothing.

    Raises
    ------
    UsageError
        There is none, or one of the sizes is none that a trainer could take.
    """
    sizes = size_set(" ".join(line.partition("#")[0].strip() for line in text.splitlines()).strip())
    return next((name for name, known in SIZE_SETS.items() if set(known) == set(sizes)), " ".join(map(str, sizes)))


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


def set_around(sizes: Iterable[Size], step: int = 64) -> tuple[Size, ...]:
    """Return the sizes that pictures of some sizes were meant to have: a named set that has them all, or themselves where they are
    whole in steps, as no picture is by chance; else the eight.
    """
    wanted = in_order(sizes)
    known = next((known for known in SIZE_SETS.values() if set(wanted) <= set(known)), None)
    if known is None and all(side % step == 0 for size in wanted for side in size):
        return wanted
    return known or SIZE_SETS[DEFAULT_SIZES]


def square_side(sizes: Iterable[Size], step: int) -> int:
    """Return the side of the smallest square, in steps, that has no less area than each of some sizes: 1024 for the eight."""
    least = math.isqrt(max(size.area for size in sizes) - 1) + 1
    return -(-least // step) * step


def _round_ratio(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
