"""One epoch as diffusers' scripts with buckets run it: pictures of all folders share their buckets, remainders are left out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from datakit.geometry import Size
from datakit.sizes import in_order
from datakit.trainers.training import Batching, BucketLoad, Epoch


def steps(counts: Sequence[tuple[str, Mapping[Size, int], int]], batching: Batching) -> Epoch:
    """Say what each bucket gives in one epoch (BucketBatchSampler, which leaves out what fills no micro-batch, drawn anew each time).

    Parameters
    ----------
    counts
        (name, captions of each size, how often each is shown) of each folder.
    batching
        Batch size, GPUs, accumulation.
    """
    shares: dict[Size, list[tuple[str, int, int]]] = defaultdict(list)
    for name, buckets, passes in counts:
        for size, number in buckets.items():
            shares[size].append((name, number, passes))
    loads = tuple(_load(size, shares[size], batching) for size in in_order(shares))
    samples = sum(number * passes for each in shares.values() for _, number, passes in each)
    full = sum(sum(number * passes for _, number, passes in each) // batching.size for each in shares.values())
    number = _steps(full, batching)
    note = (
        "scripts without buckets, which train 1024x1024 alone, leave nothing out: "
        f"{_steps(math.ceil(samples / batching.size), batching)} optimizer steps an epoch"
    )
    return Epoch(loads, number, number, (note,))


def _steps(batches: int, batching: Batching) -> int:
    return math.ceil(math.ceil(batches / batching.gpus) / batching.accumulate)


def _load(size: Size, shares: Sequence[tuple[str, int, int]], batching: Batching) -> BucketLoad:
    samples = sum(number * passes for _, number, passes in shares)
    one = len(shares) == 1
    batches = math.ceil(samples // batching.size / batching.gpus)
    return BucketLoad(
        concept=" + ".join(name for name, _, _ in shares),
        bucket=size,
        pictures=shares[0][1] if one else samples,
        passes=shares[0][2] if one else 1,
        planned=batches,
        real=batches,
        padded=0,
        too_small=samples < batching.size,
        dropped=samples % batching.size,
        never=samples < batching.size,
    )
