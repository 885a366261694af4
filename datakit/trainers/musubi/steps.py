"""One epoch of musubi-tuner: each dataset has its own buckets, and the last batch of each may be short."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from datakit.geometry import Size
from datakit.report import counted
from datakit.trainers.training import Batching, BucketLoad, Epoch


def steps(counts: Sequence[tuple[str, Mapping[Size, int], int]], batching: Batching) -> Epoch:
    """Say what each bucket gives in one epoch (``dataset/bucket.py``: BucketBatchManager).

    Parameters
    ----------
    counts
        (name, files of each size, how often each is shown) of each dataset.
    batching
        Batch size, GPUs, accumulation.
    """
    loads, batches, short = [], 0, 0
    for name, buckets, passes in counts:
        for size, pictures in buckets.items():
            full, rest = divmod(pictures * passes, batching.size)
            batches += full + (rest > 0)
            short += rest > 0
            each = math.ceil((full + (rest > 0)) / batching.gpus)
            loads.append(BucketLoad(name, size, pictures, passes, planned=each, real=each, padded=0, too_small=False))
    number = math.ceil(math.ceil(batches / batching.gpus) / batching.accumulate)
    notes = (
        (f"{short} of {counted(batches, 'batch', 'batches')} are short: nothing is left out, and datasets share none",)
        if short
        else ()
    )
    return Epoch(tuple(loads), number, number, notes)
