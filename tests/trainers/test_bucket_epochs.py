"""What an epoch of diffusion-pipe and of diffusers' scripts is, number by number."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from datakit.audit.concept import Concept
from datakit.trainers.diffusers.steps import steps as diffusers
from datakit.trainers.diffusionpipe.steps import steps as diffusionpipe
from datakit.trainers.training import Batching, BucketLoad, Epoch
from tests.conftest import BUCKETS
from tests.trainers.golden_cases import concept

SQUARE, WIDE, HIGH = BUCKETS[0], BUCKETS[5], BUCKETS[6]
# a: 5 squares twice and 4 wide ones twice; b: 3 squares three times, one high one three times.


def dataset(name, counts, passes):
    """Return a dataset that lies nowhere, of so many pictures of each size."""
    (like,) = concept(name, 1).records
    sizes = [size for size, number in counts.items() for _ in range(number)]
    records = (msgspec.structs.replace(like, output=f"{number}.png", bucket=size) for number, size in enumerate(sizes))
    return Concept(Path("/data") / name, name, tuple(records), passes)


CONCEPTS = [dataset("a", {SQUARE: 5, WIDE: 4}, 2), dataset("b", {SQUARE: 3, HIGH: 1}, 3)]


def load(concept, bucket, pictures, passes, batches, dropped, *, too_small=False, never=False):
    return BucketLoad(concept, bucket, pictures, passes, batches, batches, 0, too_small, dropped, never)


@pytest.mark.parametrize(
    ("batching", "loads", "number"),
    [
        (Batching(1), ((19, 0), (8, 0), (3, 0)), 30),
        # Of 19, 8 and 3 samples in fours.
        (Batching(4), ((4, 3), (2, 0), (0, 3)), 6),
        # In whole steps of eight, each of two micro-batches on each GPU.
        (Batching(2, 2, 2), ((4, 3), (2, 0), (0, 3)), 3),
    ],
)
def test_diffusion_pipe_trains_whole_steps_alone(batching, loads, number):
    squares, wide, high = loads
    epoch = diffusionpipe(CONCEPTS, batching)
    assert epoch.loads == (
        load("a + b", SQUARE, 19, 1, *squares, never=True),
        load("a", WIDE, 4, 2, *wide, never=True),
        load("b", HIGH, 1, 3, *high, never=True, too_small=batching.effective > 3),
    )
    assert (epoch.planned_steps, epoch.real_steps) == (number, number)
    assert bool(epoch.notes) == (batching.effective > 1)


@pytest.mark.parametrize(
    ("batching", "loads", "number", "square"),
    [
        (Batching(1), ((19, 0), (8, 0), (3, 0)), 30, 30),
        # 4 + 2 + 0 batches of four; the 30 samples together are eight.
        (Batching(4), ((4, 3), (2, 0), (0, 3)), 6, 8),
        # 9 + 4 + 1 batches of two, seven on each GPU, four steps; the 30 samples are 15 batches, eight and four.
        (Batching(2, 2, 2), ((5, 1), (2, 0), (1, 1)), 4, 4),
        # 6 + 2 + 1 batches of three, two on each of six GPUs; the samples are ten.
        (Batching(3, 6), ((1, 1), (1, 2), (1, 0)), 2, 2),
        (Batching(8, 1, 2), ((2, 3), (1, 0), (0, 3)), 2, 2),
    ],
)
def test_diffusers_leaves_out_what_fills_no_batch(batching, loads, number, square):
    squares, wide, high = loads
    epoch = diffusers(CONCEPTS, batching)
    assert epoch.loads == (
        load("a + b", SQUARE, 19, 1, *squares),
        load("a", WIDE, 4, 2, *wide),
        load("b", HIGH, 1, 3, *high, too_small=batching.size > 3, never=batching.size > 3),
    )
    assert (epoch.planned_steps, epoch.real_steps) == (number, number)
    (note,) = epoch.notes
    assert note.endswith(f"leave nothing out: {square} optimizer steps an epoch")


def test_exactly_one_batch_is_enough():
    assert diffusionpipe([dataset("a", {SQUARE: 4}, 1)], Batching(4)) == Epoch((load("a", SQUARE, 4, 1, 1, 0, never=True),), 1, 1)
    assert diffusers([dataset("a", {SQUARE: 4}, 1)], Batching(4)).loads == (load("a", SQUARE, 4, 1, 1, 0),)
