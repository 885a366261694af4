"""One epoch as sd-scripts counts and runs it: pictures of all folders share their buckets, and none is left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from datakit.audit.concept import Concept
from datakit.trainers.pools import pooled
from datakit.trainers.training import Batching, Epoch

# The collator shuffles only after each worker's first batch: library/train_util.py, collator_class and set_current_epoch.
_INEXACT = (
    "an epoch is not exactly an epoch: sd-scripts shuffles after the first batches of the new one were drawn, so that some pictures "
    "are shown twice and as many not at all (about one in six of 164 at batch 4 with its 8 workers); over many epochs it evens out"
)


def steps(concepts: Sequence[Concept], batching: Batching) -> Epoch:
    """Say what each bucket gives in one epoch; the last batch of each may be short."""
    pools = pooled(concepts)
    batches = [math.ceil(pool.samples / batching.size) for pool in pools]
    loads = [pool.load(math.ceil(number / batching.gpus)) for pool, number in zip(pools, batches, strict=True)]
    number = math.ceil(math.ceil(sum(batches) / batching.gpus) / batching.accumulate)
    return Epoch(tuple(loads), number, number, (_INEXACT,))
