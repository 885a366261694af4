"""One epoch as SimpleTuner counts and runs it, bucket by bucket."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from datakit.audit.concept import Concept
from datakit.geometry import Size
from datakit.trainers.training import Batching, BucketLoad, Epoch


def steps(concepts: Sequence[Concept], batching: Batching) -> Epoch:
    """Say what each bucket of several concepts gives in one epoch, and how many optimizer steps that makes."""
    return epoch(
        [load for concept in concepts for load in bucket_loads(concept.name, concept.buckets, concept.passes, batching)],
        batching,
    )


def epoch(loads: Sequence[BucketLoad], batching: Batching) -> Epoch:
    """Add up an epoch: what is left at its end, too little to accumulate, is one more step."""
    planned, real = (
        math.ceil(sum(counts) / batching.accumulate)
        for counts in ([load.planned for load in loads], [load.real for load in loads])
    )
    off = (
        f"SimpleTuner's own count of epochs will be off: it plans {planned} steps an epoch and runs {real}, for it fills up the last "
        "batch of a bucket in every pass"
    )
    return Epoch(tuple(loads), planned, real, (off,) if planned != real else (), recipe=True)


def bucket_loads(name: str, buckets: Mapping[Size, int], passes: int, batching: Batching) -> list[BucketLoad]:
    """Say what each bucket of a concept gives in one epoch.

    SimpleTuner deals the pictures of a bucket out to the GPUs, counts ``ceil(n x passes / batch)``
    micro-batches for it, and runs through it ``passes`` times, filling up the last micro-batch each time
    with pictures of the same bucket: ``passes x ceil(n / batch)``.
    """
    loads = []
    for bucket, pictures in buckets.items():
        each = math.ceil(pictures / batching.gpus)
        batches = math.ceil(each / batching.size)
        loads.append(
            BucketLoad(
                concept=name,
                bucket=bucket,
                pictures=pictures,
                passes=passes,
                planned=math.ceil(each * passes / batching.size),
                real=passes * batches,
                padded=passes * (batches * batching.size * batching.gpus - pictures),
                too_small=pictures * passes < batching.effective,
            ),
        )
    return loads
