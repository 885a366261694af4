"""One epoch as OneTrainer runs it (mgds 3a6994a, pipelineModules/AspectBatchSorting.py, VariationSorting.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from datakit.audit.concept import Concept
from datakit.trainers.pools import pooled
from datakit.trainers.training import Batching, Epoch


def steps(concepts: Sequence[Concept], batching: Batching) -> Epoch:
    """Say what each size gives in one epoch: samples of all concepts together, and the rest of a division is left out.

    What is left out is drawn anew in each epoch; a size with fewer samples than a batch is never trained.
    """
    batch = batching.size * batching.gpus
    loads = tuple(
        pool.load(pool.samples // batch, dropped=pool.samples % batch, never=pool.samples < batch, too_small=pool.samples < batch)
        for pool in pooled(concepts)
    )
    batches = sum(load.real for load in loads)
    taken = math.ceil(batches / batching.accumulate)
    running_on = (
        f"OneTrainer accumulates on from epoch to epoch: {batches} micro-batches are {batches / batching.accumulate:.2f} optimizer steps",
    )
    return Epoch(loads, taken, taken, running_on if batches % batching.accumulate else ())
