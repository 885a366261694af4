"""One epoch as diffusion-pipe runs it: pictures of all folders share their buckets, and a remainder is never trained."""

from __future__ import annotations

from collections.abc import Sequence

from datakit.audit.concept import Concept
from datakit.trainers.pools import pooled
from datakit.trainers.training import Batching, Epoch

_NEVER = (
    "of each size what does not fill a whole step (batch size x accumulation x GPUs) is cut off once, for all epochs: the order is drawn "
    "from a fixed seed, so that the same pictures are never trained"
)


def steps(concepts: Sequence[Concept], batching: Batching) -> Epoch:
    """Say what each bucket gives in one epoch (``utils/dataset.py``: ConcatenatedBatchedDataset)."""
    loads = tuple(
        pool.load(
            pool.samples // batching.effective * batching.accumulate,
            dropped=pool.samples % batching.effective,
            never=True,
            too_small=pool.samples < batching.effective,
        )
        for pool in pooled(concepts)
    )
    number = sum(load.real for load in loads) // batching.accumulate
    return Epoch(loads, number, number, (_NEVER,) if any(load.dropped for load in loads) else ())
