"""One epoch as sd-scripts counts and runs it: pictures of all folders share their buckets, and none is left out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from datakit.geometry import Size
from datakit.sizes import in_order
from datakit.trainers.training import Batching, BucketLoad, Epoch

# The collator shuffles only after each worker's first batch: library/train_util.py, collator_class and set_current_epoch.
_INEXACT = (
    "an epoch is not exactly an epoch: sd-scripts shuffles after the first batches of the new one were drawn, so that some pictures "
    "are shown twice and as many not at all (about one in six of 164 at batch 4 with its 8 workers); over many epochs it evens out"
)


def steps(counts: Sequence[tuple[str, Mapping[Size, int], int]], batching: Batching) -> Epoch:
    """Say what each bucket gives in one epoch.

    Parameters
    ----------
    counts
        (name, files of each size, how often each is shown) of each folder.
    batching
        Batch size, GPUs, accumulation.
    """
    shares: dict[Size, list[tuple[str, int, int]]] = defaultdict(list)
    for name, buckets, passes in counts:
        for size, pictures in buckets.items():
            shares[size].append((name, pictures, passes))
    loads = [_load(size, shares[size], batching) for size in in_order(shares)]
    batches = sum(_batches(shares[size], batching) for size in shares)
    number = math.ceil(math.ceil(batches / batching.gpus) / batching.accumulate)
    return Epoch(tuple(loads), number, number, (_INEXACT,))


def _batches(shares: Sequence[tuple[str, int, int]], batching: Batching) -> int:
    """Return the micro-batches of a bucket on all GPUs together; the last of them may be short."""
    return math.ceil(sum(pictures * passes for _, pictures, passes in shares) / batching.size)


def _load(size: Size, shares: Sequence[tuple[str, int, int]], batching: Batching) -> BucketLoad:
    samples = sum(pictures * passes for _, pictures, passes in shares)
    one = len(shares) == 1
    batches = math.ceil(_batches(shares, batching) / batching.gpus)
    return BucketLoad(
        concept=" + ".join(name for name, _, _ in shares),
        bucket=size,
        pictures=shares[0][1] if one else samples,
        passes=shares[0][2] if one else 1,
        planned=batches,
        real=batches,
        padded=0,
        too_small=False,
    )
