"""diffusion-pipe's bucket arithmetic, re-derived: what becomes of a picture of a given size.

Read in tdrussell/diffusion-pipe 8f83dbf, ``utils/dataset.py`` (DirectoryDataset, ARBucketDataset) and ``models/base.py``
(PreprocessMediaFile): a picture goes to the bucket whose aspect is nearest on a logarithmic scale; the bucket's sides are
rounded; the picture is cropped to that aspect and resized in one step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from datakit.geometry import Size
from datakit.trainers.fate import Fate

# Sides of what reaches a model are multiples of this, and for the models of `COARSE` of that.
STEP, COARSE_STEP = 16, 32
# Models by ``type``; of wan the one with 5 billion parameters.
COARSE = ("ltx-video", "ltx2", "minimax_h3", "wan 2.2 5B")


@dataclass(frozen=True, slots=True)
class SizeBuckets:
    """``size_buckets``: (width, height, frames) as they are listed, which matters."""

    listed: tuple[tuple[int, int, int], ...]

    @property
    def in_order(self) -> bool:
        """True where they stand from narrow to wide with no aspect twice, so that each is found by its own aspect."""
        aspects = [_rounded(width / height) for width, height, _ in self.listed]
        return aspects == sorted(set(aspects))


@dataclass(frozen=True, slots=True)
class AspectBuckets:
    """``resolutions``, each of which every picture is trained at, and the aspects that it may have there."""

    resolutions: tuple[float, ...]
    aspects: tuple[float, ...]


Rule = SizeBuckets | AspectBuckets


def replay(size: Size, rule: Rule, step: int = STEP) -> list[Fate]:
    """Return what becomes of a picture of this size, once for each time that a rule has it trained."""
    if isinstance(rule, SizeBuckets):
        bucket = _listed_bucket(size, rule)
        return [Fate(size, size, "too short for every bucket") if bucket is None else _fitted(size, bucket, step)]
    aspects = sorted({_rounded(aspect) for aspect in rule.aspects})
    aspect = aspects[_nearest(size, aspects)[0]]
    found = []
    for resolution in sorted({_rounded(resolution) for resolution in rule.resolutions}):
        width = math.sqrt(resolution**2 * aspect)
        found.append(_fitted(size, Size(_multiple(width, step), _multiple(resolution**2 / width, step)), step))
    return found


def spaced_aspects(least: float, most: float, number: int) -> tuple[float, ...]:
    """Return so many aspects from the least to the most, each as many times the one before."""
    if number == 1:
        return (least,)
    return tuple(least * (most / least) ** (place / (number - 1)) for place in range(number))


def _listed_bucket(size: Size, rule: SizeBuckets) -> Size | None:
    """Return the bucket that a picture is put into; None where there is none for a single frame.

    The aspects are rounded and sorted with none twice, the buckets stay as they are listed but for their frames, and the place
    of an aspect is taken for the place of its bucket.
    """
    buckets = sorted(rule.listed, key=lambda bucket: -bucket[2])
    aspects = sorted({_rounded(width / height) for width, height, _ in buckets})
    candidates = (buckets[place] for place in _nearest(size, aspects))
    return next((Size(width, height) for width, height, frames in candidates if frames <= 1), None)


def _nearest(size: Size, aspects: Sequence[float]) -> list[int]:
    """Return the places of all aspects, the nearest first, of two as near the first."""
    aspect = math.log(size.width / size.height)
    # One that rounds to nothing is the farthest, as its logarithm is without end.
    return sorted(range(len(aspects)), key=lambda place: abs(aspect - math.log(aspects[place])) if aspects[place] else math.inf)


def _fitted(size: Size, bucket: Size, step: int) -> Fate:
    target = Size(_multiple(bucket.width, step), _multiple(bucket.height, step))
    scale = max(target.width / size.width, target.height / size.height)
    return Fate(Size(round(size.width * scale), round(size.height * scale)), target)


def _multiple(length: float, step: int) -> int:
    return round(length / step) * step


def _rounded(value: float) -> float:
    """Round to three decimals as numpy does."""
    return round(value * 1000) / 1000
