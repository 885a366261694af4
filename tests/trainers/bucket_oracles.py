"""What diffusion-pipe and diffusers' scripts do with a size, written down a second time, as plainly as the facts are: no line of datakit's.

Held against the trainers' own functions where their trees are: the same on thousands of sizes. Sizes are (width, height).
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def diffusionpipe_sizes(size, buckets):
    """``size_buckets`` of one frame: the aspects are rounded to 3 digits, deduplicated and sorted, the buckets are not.

    The place of the nearest aspect is looked up in the list as written.
    """
    aspects = np.unique(np.round(np.array([width / height for width, height in buckets]), 3))
    return tuple(buckets[int(np.argmin(np.abs(np.log(size[0] / size[1]) - np.log(aspects))))])


def diffusionpipe_aspects(size, resolution, aspects, multiple):
    """A resolution and aspects (width / height): the area is kept, both sides go to the nearest multiple."""
    rounded = np.unique(np.round(np.array(aspects, float), 3))
    aspect = float(rounded[int(np.argmin(np.abs(np.log(size[0] / size[1]) - np.log(rounded))))])
    width = math.sqrt(resolution * resolution * aspect)
    return tuple(int(np.rint(side / multiple)) * multiple for side in (width, resolution * resolution / width))


def diffusers_listed(size, buckets):
    """An explicit list: the bucket of least \\|height x bucket width - width x bucket height\\|, a later one where it is as near.

    Returns the size that covers the bucket, and the bucket.
    """
    best, least = None, math.inf
    for bucket in buckets:
        apart = abs(size[1] * bucket[0] - size[0] * bucket[1])
        if apart <= least:
            best, least = bucket, apart
    by_width = Fraction(best[0], size[0]) > Fraction(best[1], size[1])
    scale = best[0] / size[0] if by_width else best[1] / size[1]
    return (round(size[0] * scale), round(size[1] * scale)), tuple(best)


def diffusers_ladder(resolution):
    """The buckets that ``--use_aspect_ratio_buckets`` alone makes for an area: 11 aspects, sides to the nearest 16."""
    ladder = []
    for wide, high in [(1, 1), (4, 5), (5, 4), (2, 3), (3, 2), (3, 4), (4, 3), (9, 16), (16, 9), (1, 2), (2, 1)]:
        height = math.sqrt(resolution**2 * high / wide)
        bucket = tuple(max(16, 16 * round(side / 16)) for side in (height * wide / high, height))
        if bucket not in ladder:
            ladder.append(bucket)
    return ladder


def diffusers_square(size, resolution):
    """No buckets: the short side becomes the resolution, the long one is cut to whole pixels, then a square."""
    short = min(size)
    resized = tuple(resolution if side == short else int(resolution * side / short) for side in size)
    return resized, (resolution, resolution)
