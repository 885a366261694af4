"""One epoch as diffusion-pipe runs it: pictures of all folders share their buckets, and a remainder is never trained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from datakit.geometry import Size
from datakit.sizes import in_order
from datakit.trainers.training import Batching, BucketLoad, Epoch

_NEVER = (
    "of each size what does not fill a whole step (batch size x accumulation x GPUs) is cut off once, for all epochs: the order is drawn "
    "from a fixed seed, so that the same pictures are never trained"
)


def steps(counts: Sequence[tuple[str, Mapping[Size, int], int]], batching: Batching) -> Epoch:
    """Say what each bucket gives in one epoch (``utils/dataset.py``: ConcatenatedBatchedDataset).

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
    number = sum(load.real for load in loads) // batching.accumulate
    return Epoch(loads, number, number, (_NEVER,) if any(load.dropped for load in loads) else ())


def _load(size: Size, shares: Sequence[tuple[str, int, int]], batching: Batching) -> BucketLoad:
    samples = sum(number * passes for _, number, passes in shares)
    one = len(shares) == 1
    batches = samples // batching.effective * batching.accumulate
    return BucketLoad(
        concept=" + ".join(name for name, _, _ in shares),
        bucket=size,
        pictures=shares[0][1] if one else samples,
        passes=shares[0][2] if one else 1,
        planned=batches,
        real=batches,
        padded=0,
        too_small=samples < batching.effective,
        dropped=samples % batching.effective,
        never=True,
    )
