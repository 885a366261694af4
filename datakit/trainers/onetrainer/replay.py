"""OneTrainer's bucket, resize and crop arithmetic, re-derived: what becomes of a picture of a given size.

Read in mgds 3a6994a, the data loader that OneTrainer 23df383 pins (pipelineModules/AspectBucketing.py and
SingleAspectCalculation.py). A picture is scaled until it covers its bucket and cut to it; one that equals it is left alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.trainers.fate import Fate

# Long side over short side of the buckets of a number; each lies across and upright.
_ASPECTS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0)


@dataclass(frozen=True, slots=True)
class Resizing:
    """What decides over sizes.

    Attributes
    ----------
    resolution
        As it is written: ``1216x832`` is that one size, ``1024`` the side of a square with as many pixels as each of its
        buckets, and of ``512,1024`` one is drawn for each picture in each epoch.
    quantization
        What sides are rounded to; it follows from the model.
    bucketing
        Whether there are buckets at all (``aspect_ratio_bucketing``); else all is cut to squares.
    """

    resolution: str
    quantization: int = 64
    bucketing: bool = True


def check(rule: Resizing) -> str:
    """Say why OneTrainer cannot read a resolution, as a clause; nothing where it can."""
    try:
        targets = _targets(rule)
    except ValueError:
        form = "a number such as 1024" if not rule.bucketing else "1216x832 or a number such as 1024"
        return f"resolution {rule.resolution!r} ends the run: it takes {form}"
    smallest = min(min(target) if isinstance(target, Size) else target // 2 for target in targets)
    return "" if smallest >= 1 else f"resolution {rule.resolution!r} is too small for any picture"


def replay(size: Size, rule: Resizing) -> Fate:
    """Say what becomes of a picture; where one of several resolutions is drawn, by the first that changes it.

    Raises
    ------
    UsageError
        The resolution cannot be read.
    """
    problem = check(rule)
    if problem:
        raise UsageError(problem)
    fates = [_replay(size, target, rule) for target in _targets(rule)]
    return next((fate for fate in fates if not fate.keeps(size)), fates[0])


@lru_cache(maxsize=64)
def buckets(target: int, quantization: int) -> tuple[Size, ...]:
    """Return the buckets of a number, each once."""
    found: dict[Size, None] = {}
    for aspect in _ASPECTS:
        short, long = (_rounded(side, quantization) for side in (target / math.sqrt(aspect), target * math.sqrt(aspect)))
        found |= dict.fromkeys((Size(long, short), Size(short, long)))
    return tuple(bucket for bucket in found if min(bucket) > 0)


def _targets(rule: Resizing) -> list[Size | int]:
    """Read a resolution as the trainer does. Raises ValueError."""
    if rule.bucketing and "x" in rule.resolution and "," not in rule.resolution:
        width, height, *_ = (int(side) for side in rule.resolution.strip().split("x"))
        return [Size(_rounded(width, rule.quantization), _rounded(height, rule.quantization))]
    return [int(number) for number in rule.resolution.split(",")]


def _replay(size: Size, target: Size | int, rule: Resizing) -> Fate:
    if isinstance(target, Size):
        bucket = target
    elif rule.bucketing:
        # The nearest height / width by their difference, not by their ratio.
        bucket = min(
            buckets(target, rule.quantization), key=lambda each: abs(each.height / each.width - size.height / size.width)
        )
    else:
        bucket = Size(target, target)
    if size.height / size.width > bucket.height / bucket.width:
        return Fate(Size(bucket.width, round(size.height * (bucket.width / size.width))), bucket)
    return Fate(Size(round(size.width * (bucket.height / size.height)), bucket.height), bucket)


def _rounded(side: float, quantization: int) -> int:
    # Half to even, as Python rounds.
    return round(side / quantization) * quantization
