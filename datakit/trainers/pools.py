"""Buckets that datasets share: what of each size comes together, and how often each file is shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from datakit.audit.concept import Concept
from datakit.geometry import Size
from datakit.sizes import in_order
from datakit.trainers.training import BucketLoad


@dataclass(frozen=True, slots=True)
class Pool:
    """The pictures of one size in some datasets.

    Attributes
    ----------
    name
        Of the datasets, joined.
    size
        Of the pictures.
    pictures, passes
        Files, and how often each is shown; where datasets differ in that, samples that are shown once.
    """

    name: str
    size: Size
    pictures: int
    passes: int

    @property
    def samples(self) -> int:
        """How many pictures an epoch shows."""
        return self.pictures * self.passes

    def load(self, batches: int, *, dropped: int = 0, never: bool = False, too_small: bool = False) -> BucketLoad:
        """Return what it gives in an epoch of so many micro-batches on each GPU, none of them padded."""
        return BucketLoad(self.name, self.size, self.pictures, self.passes, batches, batches, 0, too_small, dropped, never)


def pooled(concepts: Sequence[Concept]) -> list[Pool]:
    """Put together what some datasets hold of each size, in the order of the sizes."""
    sharing: dict[Size, list[Concept]] = defaultdict(list)
    for concept in concepts:
        for size in concept.buckets:
            sharing[size].append(concept)
    return [_pool(size, sharing[size]) for size in in_order(sharing)]


def _pool(size: Size, concepts: Sequence[Concept]) -> Pool:
    often = {concept.passes for concept in concepts}
    passes = often.pop() if len(often) == 1 else 1
    samples = sum(concept.buckets[size] * concept.passes for concept in concepts)
    return Pool(" + ".join(concept.name for concept in concepts), size, samples // passes, passes)
