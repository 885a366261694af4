"""One epoch of diffusers' scripts: with buckets, what fills no micro-batch is left out; without, the last one is short."""

from __future__ import annotations

import math
from collections.abc import Sequence

from datakit.audit.concept import Concept
from datakit.trainers.pools import pooled
from datakit.trainers.training import Batching, Epoch


def steps(concepts: Sequence[Concept], batching: Batching) -> Epoch:
    """Say what each bucket gives in one epoch (BucketBatchSampler, which leaves out what fills no micro-batch, drawn anew each time)."""
    pools = pooled(concepts)
    loads = tuple(
        pool.load(
            math.ceil(pool.samples // batching.size / batching.gpus),
            dropped=pool.samples % batching.size,
            never=pool.samples < batching.size,
            too_small=pool.samples < batching.size,
        )
        for pool in pools
    )
    number = _steps(sum(pool.samples // batching.size for pool in pools), batching)
    unbucketed = _steps(math.ceil(sum(pool.samples for pool in pools) / batching.size), batching)
    note = f"scripts without buckets, which train 1024x1024 alone, leave nothing out: {unbucketed} optimizer steps an epoch"
    return Epoch(loads, number, number, (note,))


def _steps(batches: int, batching: Batching) -> int:
    return math.ceil(math.ceil(batches / batching.gpus) / batching.accumulate)
