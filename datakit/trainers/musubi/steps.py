"""One epoch of musubi-tuner: each dataset has its own buckets, and the last batch of each may be short."""

from __future__ import annotations

import math
from collections.abc import Sequence

from datakit.audit.concept import Concept
from datakit.report import counted
from datakit.trainers.pools import pooled
from datakit.trainers.training import Batching, Epoch


def steps(concepts: Sequence[Concept], batching: Batching) -> Epoch:
    """Say what each bucket gives in one epoch (``dataset/bucket.py``: BucketBatchManager)."""
    loads, batches, short = [], 0, 0
    for pool in (pool for concept in concepts for pool in pooled([concept])):
        full, rest = divmod(pool.samples, batching.size)
        batches += full + (rest > 0)
        short += rest > 0
        loads.append(pool.load(math.ceil((full + (rest > 0)) / batching.gpus)))
    number = math.ceil(math.ceil(batches / batching.gpus) / batching.accumulate)
    notes = (
        (f"{short} of {counted(batches, 'batch', 'batches')} are short: nothing is left out, and datasets share none",)
        if short
        else ()
    )
    return Epoch(tuple(loads), number, number, notes)
