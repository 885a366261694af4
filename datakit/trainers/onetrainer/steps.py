"""One epoch as OneTrainer runs it (mgds 3a6994a, pipelineModules/AspectBatchSorting.py, VariationSorting.py)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from datakit.audit.concept import Concept
from datakit.geometry import Size
from datakit.sizes import in_order
from datakit.trainers.training import Batching, BucketLoad, Epoch


def steps(concepts: Sequence[Concept], batching: Batching) -> Epoch:
    """Say what each size gives in one epoch: samples of all concepts together, and the rest of a division is left out.

    What is left out is drawn anew in each epoch; a size with fewer samples than a batch is never trained.
    """
    by_size: dict[Size, list[Concept]] = defaultdict(list)
    for concept in concepts:
        for size in concept.buckets:
            by_size[size].append(concept)
    loads = [_load(size, by_size[size], batching) for size in in_order(by_size)]
    batches = sum(load.real for load in loads)
    taken = math.ceil(batches / batching.accumulate)
    running_on = (
        f"OneTrainer accumulates on from epoch to epoch: {batches} micro-batches are {batches / batching.accumulate:.2f} optimizer steps",
    )
    return Epoch(tuple(loads), taken, taken, running_on if batches % batching.accumulate else ())


def _load(size: Size, concepts: Sequence[Concept], batching: Batching) -> BucketLoad:
    """Add up one size; concepts that are shown differently often are counted by their samples."""
    passes = {concept.passes for concept in concepts}
    often = passes.pop() if len(passes) == 1 else 1
    samples = sum(concept.buckets[size] * concept.passes for concept in concepts)
    batch = batching.size * batching.gpus
    batches = samples // batch
    return BucketLoad(
        concept=" + ".join(concept.name for concept in concepts),
        bucket=size,
        pictures=samples // often,
        passes=often,
        planned=batches,
        real=batches,
        padded=0,
        too_small=not batches,
        dropped=samples % batch,
        never=not batches,
    )
