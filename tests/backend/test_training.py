"""Steps: the recipe's formula, and SimpleTuner's count against a simulation."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit.backend.training import Batching, bucket_loads, plan_training, ways_out
from datakit.buckets import BUCKETS
from datakit.errors import UsageError

COUNTS = st.dictionaries(st.sampled_from(BUCKETS), st.integers(1, 40), min_size=1)


def simulate(buckets, passes, batch):
    """Run one epoch: every pass goes through every bucket, filling up the last micro-batch from the same bucket."""
    batches = shown_again = 0
    for _ in range(passes):
        for pictures in buckets.values():
            waiting = list(range(pictures))
            while waiting:
                taken, waiting = waiting[:batch], waiting[batch:]
                shown_again += batch - len(taken)
                batches += 1
    return batches, shown_again


@given(COUNTS, st.integers(1, 7), st.integers(1, 9))
def test_real_batches_and_padding_are_those_of_a_simulated_epoch(buckets, passes, batch):
    loads = bucket_loads("x", buckets, passes, Batching(batch))
    assert (sum(load.real for load in loads), sum(load.padded for load in loads)) == simulate(buckets, passes, batch)


@given(COUNTS, st.integers(1, 7), st.integers(1, 9))
def test_the_trainer_never_plans_more_than_it_runs(buckets, passes, batch):
    for load in bucket_loads("x", buckets, passes, Batching(batch)):
        assert load.planned <= load.real
        assert load.planned == load.real or load.padded
        assert load.planned == math.ceil(load.pictures * passes / batch)


@given(COUNTS, st.integers(1, 7), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_every_gpu_gets_its_share(buckets, passes, batch, gpus, accumulate):
    batching = Batching(batch, gpus, accumulate)
    for load in bucket_loads("x", buckets, passes, batching):
        assert load.real * batch * gpus == load.pictures * passes + load.padded
        assert load.too_small == (load.pictures * passes < batch * gpus * accumulate)


@given(
    st.lists(st.tuples(st.integers(1, 500), st.integers(1, 20)), min_size=1, max_size=4), st.integers(1, 32), st.integers(1, 50)
)
def test_steps_follow_the_recipes_formula_and_lead_back_to_the_epochs(counts, batch, epochs):
    training = plan_training(counts, Batching(batch), epochs=epochs)
    exact = sum(pictures * repeats for pictures, repeats in counts) * epochs / batch
    assert exact <= training.max_train_steps < exact + 1
    back = plan_training(counts, Batching(batch), steps=training.max_train_steps)
    assert back.epochs >= epochs - 1e-9
    assert back.epochs - epochs < 1 / back.recipe_steps_per_epoch + 1e-9


def test_the_recipes_example():
    training = plan_training([(48, 5)], Batching(6), epochs=10)
    assert (training.max_train_steps, training.lr_warmup_steps) == (400, 40)
    assert (training.checkpointing_steps, training.validation_steps) == (40, 40)


def test_intervals_are_at_least_one_step():
    training = plan_training([(1, 1)], Batching(), steps=3)
    assert (training.lr_warmup_steps, training.checkpointing_steps, training.validation_steps) == (1, 1, 1)


def test_gpus_and_accumulation_divide_the_steps():
    assert plan_training([(240, 1)], Batching(2, 3, 4), epochs=1).max_train_steps == 10


def test_a_small_bucket_has_ways_out():
    square, wide, tall = BUCKETS[0], BUCKETS[1], BUCKETS[2]
    batching = Batching(6)
    loads = bucket_loads("x", {square: 12, wide: 2, tall: 6}, 1, batching)
    assert [load.too_small for load in loads] == [False, True, False]
    ways = ways_out(loads, batching)
    assert ways[0].startswith("x 1152x896: move its 2 pictures to 1024x1024")
    assert "show each picture 3 times an epoch (now 1), or add 4 pictures" in ways[1]
    assert ways[2] == "all: batch size 2 instead of 6"
    assert ways_out(bucket_loads("x", {square: 12}, 1, batching), batching) == []


@pytest.mark.parametrize(("epochs", "steps"), [(None, None), (1, 1), (0, None), (None, 0), (math.nan, None), (math.inf, None)])
def test_lengths_that_mean_nothing_are_refused(epochs, steps):
    with pytest.raises(UsageError):
        plan_training([(8, 1)], Batching(), epochs, steps)


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_batches_of_nothing_are_refused(numbers):
    with pytest.raises(UsageError, match="use 1 or more"):
        Batching(*numbers)
