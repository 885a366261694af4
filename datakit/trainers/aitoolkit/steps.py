"""One epoch as ai-toolkit runs it (27a03a9, toolkit/dataloader_mixins.py, build_batch_indices)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from datakit.audit.concept import Concept
from datakit.geometry import Size
from datakit.trainers.training import Batching, BucketLoad, Epoch


def steps(concepts: Sequence[Concept], batching: Batching) -> Epoch:
    """Say what each bucket of several datasets gives in one epoch.

    Datasets share no batch. The last batch of a bucket is filled up with pictures of its own.
    """
    loads = [
        _load(concept.name, size, files, concept.passes, batching)
        for concept in concepts
        for size, files in concept.buckets.items()
    ]
    taken = math.ceil(sum(load.real for load in loads) / batching.accumulate)
    each = ("ai-toolkit deals nothing out to several GPUs: each goes through all pictures",) if batching.gpus > 1 else ()
    return Epoch(tuple(loads), taken, taken, each)


def batches(buckets: Mapping[Size, int], repeats: int, size: int) -> int:
    """Return how many batches an epoch of one dataset has."""
    return sum(math.ceil(files * repeats / size) for files in buckets.values())


def _load(name: str, size: Size, files: int, repeats: int, batching: Batching) -> BucketLoad:
    number = batches({size: files}, repeats, batching.size)
    return BucketLoad(
        concept=name,
        bucket=size,
        pictures=files,
        passes=repeats,
        planned=number,
        real=number,
        padded=number * batching.size - files * repeats,
        too_small=False,
    )
