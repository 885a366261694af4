"""Steps: the recipe's formula, SimpleTuner's count against a simulation and what it printed, and ways out."""

from __future__ import annotations

import itertools
import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.trainers.simpletuner.steps import bucket_loads, epoch, steps
from datakit.trainers.training import Batching, BucketLoad, plan_training, ways_out
from tests.conftest import BUCKETS
from tests.trainers.golden_cases import concept

SQUARE, WIDE, TALL, WIDER = Size(1024, 1024), Size(1152, 896), Size(896, 1152), Size(1216, 832)
COUNTS = st.dictionaries(st.sampled_from(BUCKETS), st.integers(1, 40), min_size=1)
BATCHINGS = st.builds(Batching, st.integers(1, 9), st.integers(1, 4), st.integers(1, 4))
PASSES = st.integers(1, 7)


def deal(pictures, gpus):
    """Deal the pictures of a bucket out, one to each GPU in turn."""
    hands = [[] for _ in range(gpus)]
    for picture, hand in zip(range(pictures), itertools.cycle(hands), strict=False):
        hand.append(picture)
    return hands


def run_through(pictures, passes, batching):
    """Run one epoch of a bucket: micro-batches beside each other on all GPUs, filled up from the same bucket."""
    batches = shown = 0
    for _ in range(passes):
        waiting = deal(pictures, batching.gpus)
        while any(waiting):
            waiting = [hand[batching.size :] for hand in waiting]
            shown += batching.size * batching.gpus
            batches += 1
    return batches, shown - pictures * passes


def count_ahead(pictures, passes, batching):
    """Count micro-batches of the fullest hand as if its passes were one long row."""
    row = deal(pictures, batching.gpus)[0] * passes
    return len(range(0, len(row), batching.size))


def optimizer_steps(batches, accumulate):
    """Count the steps of an epoch; what is left at its end is a step too."""
    steps = waiting = 0
    for _ in range(batches):
        waiting += 1
        if waiting == accumulate:
            steps, waiting = steps + 1, 0
    return steps + bool(waiting)


@given(COUNTS, PASSES, BATCHINGS)
def test_planned_and_real_batches_are_those_of_a_simulated_epoch(buckets, passes, batching):
    loads = bucket_loads("x", buckets, passes, batching)
    assert {load.bucket: load.pictures for load in loads} == buckets
    for load in loads:
        assert (load.real, load.padded) == run_through(load.pictures, passes, batching)
        assert load.planned == count_ahead(load.pictures, passes, batching)


@given(COUNTS, PASSES, BATCHINGS)
def test_a_bucket_is_too_small_where_its_pictures_run_out_within_one_step(buckets, passes, batching):
    for load in bucket_loads("x", buckets, passes, batching):
        shown = iter(list(range(load.pictures)) * passes)
        step = [next(shown, None) for _ in range(batching.accumulate) for _ in range(batching.gpus) for _ in range(batching.size)]
        assert load.too_small == (None in step)


@given(COUNTS, PASSES, BATCHINGS)
def test_an_epoch_has_the_steps_that_its_batches_add_up_to(buckets, passes, batching):
    loads = bucket_loads("x", buckets, passes, batching)
    training = plan_training([(sum(buckets.values()), passes)], batching, epochs=1, epoch=epoch(loads, batching))
    real = sum(run_through(pictures, passes, batching)[0] for pictures in buckets.values())
    planned = sum(count_ahead(pictures, passes, batching) for pictures in buckets.values())
    assert training.real_steps_per_epoch == optimizer_steps(real, batching.accumulate)
    assert training.planned_steps_per_epoch == optimizer_steps(planned, batching.accumulate)


@given(COUNTS, PASSES, st.integers(1, 9))
def test_the_trainer_never_plans_more_than_it_runs(buckets, passes, batch):
    for load in bucket_loads("x", buckets, passes, Batching(batch)):
        assert load.planned <= load.real
        assert load.planned == load.real or load.padded


# SimpleTuner 3.1.6 was given so many pictures of the first sizes and said what its step formula counts on, how many
# micro-batches its sampler gave in one epoch, and the optimizer steps it plans; of several GPUs, it ran as the first.
@pytest.mark.parametrize(
    ("counts", "passes", "batching", "planned", "real", "steps"),
    [
        ((7, 3, 4), 1, (2, 1, 1), 8, 8, 8),
        ((7, 3, 4), 2, (3, 1, 2), 10, 12, 5),
        ((7, 3, 4), 2, (1, 2, 3), 16, 16, 6),
        ((7, 3, 4), 3, (2, 3, 1), 10, 12, 10),
        ((7, 3, 4), 3, (2, 2, 2), 12, 12, 6),
        ((3, 2), 5, (5, 1, 2), 5, 10, 3),
        ((3, 2), 5, (3, 1, 3), 9, 10, 3),
        ((3, 2), 5, (4, 2, 1), 5, 10, 5),
        ((3, 2), 5, (1, 3, 1), 10, 10, 10),
        # One picture of each size, filled up to six each time it is shown.
        ((1,) * 8, 6, (6, 1, 1), 8, 48, 8),
        ((1,) * 8, 6, (5, 1, 1), 16, 48, 16),
    ],
)
def test_batches_and_steps_are_those_that_simpletuner_3_1_6_printed(counts, passes, batching, planned, real, steps):
    batching = Batching(*batching)
    loads = bucket_loads("x", dict(zip(BUCKETS, counts, strict=False)), passes, batching)
    assert not any(load.too_small for load in loads)
    assert (sum(load.planned for load in loads), sum(load.real for load in loads)) == (planned, real)
    assert (
        plan_training([(sum(counts), passes)], batching, steps=1, epoch=epoch(loads, batching)).planned_steps_per_epoch == steps
    )


@pytest.mark.parametrize(
    ("counts", "passes", "batching", "too_small"),
    [
        ((3, 2), 1, (3, 1, 1), [False, True]),
        ((3, 2), 5, (2, 2, 3), [False, True]),
    ],
)
def test_a_bucket_at_which_simpletuner_3_1_6_stopped_is_too_small(counts, passes, batching, too_small):
    loads = bucket_loads("x", dict(zip(BUCKETS, counts, strict=False)), passes, Batching(*batching))
    assert [load.too_small for load in loads] == too_small


@pytest.mark.parametrize(
    ("pictures", "passes", "batching", "planned", "real", "padded", "too_small"),
    [
        # The row of the README, and the same pictures with more of everything.
        (35, 1, (2, 1, 1), 18, 18, 1, False),
        (35, 3, (2, 1, 1), 53, 54, 3, False),
        (35, 1, (2, 2, 1), 9, 9, 1, False),
        (35, 3, (2, 2, 4), 27, 27, 3, False),
        # One picture cannot be dealt out to two GPUs: each shows it, and the batch is filled up with it.
        (1, 4, (3, 2, 1), 2, 4, 20, True),
        (1, 6, (3, 2, 1), 2, 6, 30, False),
    ],
)
def test_what_a_bucket_gives(pictures, passes, batching, planned, real, padded, too_small):
    (load,) = bucket_loads("x", {WIDER: pictures}, passes, Batching(*batching))
    assert load == BucketLoad("x", WIDER, pictures, passes, planned, real, padded, too_small)


def test_each_concept_brings_its_own_passes():
    loads = steps([concept("person", 10, passes=3), concept("style", 8)], Batching(2)).loads
    assert [(load.concept, load.pictures, load.passes, load.planned, load.real) for load in loads] == [
        ("person", 2, 3, 3, 3), ("person", 2, 3, 3, 3), *[("person", 1, 3, 2, 3)] * 6, *[("style", 1, 1, 1, 1)] * 8,
    ]  # fmt: skip


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


def test_epochs_count_as_they_are_written():
    # 0.1 as a float is a little more: 30 times it would round up to 4.
    assert plan_training([(30, 1)], Batching(), epochs=0.1).max_train_steps == 3
    assert plan_training([(30, 1)], Batching(), epochs=0.001).max_train_steps == 1


def test_steps_make_parts_of_epochs():
    training = plan_training([(10, 1)], Batching(4), steps=3)
    assert (training.epochs, training.recipe_steps_per_epoch) == (1.2, 2.5)


@pytest.mark.parametrize(("steps", "tenth"), [(1, 1), (3, 1), (16, 2), (25, 2), (35, 4), (375, 38), (4000, 400)])
def test_intervals_are_a_tenth_and_at_least_one_step(steps, tenth):
    training = plan_training([(1, 1)], Batching(), steps=steps)
    assert (training.lr_warmup_steps, training.checkpointing_steps, training.validation_steps) == (tenth, tenth, tenth)


def test_gpus_and_accumulation_divide_the_steps():
    assert Batching(2, 3, 4).effective == 24
    assert plan_training([(240, 1)], Batching(2, 3, 4), epochs=1).max_train_steps == 10
    assert Batching() == Batching(1, 1, 1)


def test_a_training_as_plain_data():
    batching = Batching(2, 1, 2)
    loads = bucket_loads("x", {SQUARE: 5}, 3, batching)
    assert plan_training([(5, 3)], batching, steps=36, epoch=epoch(loads, batching)).to_json() == {
        "max_train_steps": 36,
        "epochs": 9.6,
        "recipe_steps_per_epoch": 3.75,
        "planned_steps_per_epoch": 4,
        "real_steps_per_epoch": 5,
        "real_epochs": 7.2,
        "lr_warmup_steps": 4,
        "checkpointing_steps": 4,
        "validation_steps": 4,
        "buckets": [
            {
                "bucket": "1024x1024", "concept": "x", "pictures": 5, "passes": 3,
                "planned": 8, "real": 9, "padded": 3, "too_small": False, "dropped": 0, "never": False,
            },
        ],
        "notes": [
            "SimpleTuner's own count of epochs will be off: it plans 4 steps an epoch and runs 5, for it fills up the last batch of a bucket in every pass",
        ],
    }  # fmt: skip


def test_without_a_dataset_nobody_knows_the_trainers_epochs():
    training = plan_training([(5, 3)], Batching(2), steps=30)
    assert (training.planned_steps_per_epoch, training.real_steps_per_epoch, training.real_epochs) == (0, 0, None)


MOVE = "x 1152x896: move its {} to 1024x1024 (crop them again; cuts 22% off)"
SHOW = "x 1152x896: show each picture {} times an epoch (now {}), or add {}"


@pytest.mark.parametrize(
    ("buckets", "passes", "batching", "ways"),
    [
        ({SQUARE: 12}, 1, (6, 1, 1), []),
        ({SQUARE: 6, WIDE: 6}, 1, (6, 1, 1), []),
        (
            {SQUARE: 12, WIDE: 2, TALL: 6},
            1,
            (6, 1, 1),
            [MOVE.format("2 pictures"), SHOW.format(3, 1, "4 pictures"), "all: batch size 2 instead of 6"],
        ),
        # The nearest size is taken that would be full with them, the one with the most pictures or not.
        (
            {TALL: 40, SQUARE: 7, WIDER: 1, WIDE: 3},
            2,
            (2, 2, 3),
            [
                "x 1216x832: show each picture 12 times an epoch (now 2), or add 5 pictures",
                "x 1152x896: move its 3 pictures to 1024x1024 (crop them again; cuts 22% off)",
                "x 1152x896: show each picture 4 times an epoch (now 2), or add 3 pictures",
                "all: accumulate fewer micro-batches or use fewer GPUs",
            ],
        ),
        # Full exactly: two halves may go either way.
        (
            {SQUARE: 4, WIDE: 2},
            2,
            (6, 2, 1),
            [
                "x 1024x1024: move its 4 pictures to 1152x896 (crop them again; cuts 22% off)",
                "x 1024x1024: show each picture 3 times an epoch (now 2), or add 2 pictures",
                MOVE.format("2 pictures"),
                SHOW.format(6, 2, "4 pictures"),
                "all: batch size 2 instead of 6",
            ],
        ),
        # One less than full is none.
        (
            {SQUARE: 3, WIDE: 2},
            2,
            (6, 2, 1),
            [
                "x 1024x1024: show each picture 4 times an epoch (now 2), or add 3 pictures",
                SHOW.format(6, 2, "4 pictures"),
                "all: batch size 2 instead of 6",
            ],
        ),
        # Times and pictures are rounded up: 7 / 2 and 7 / 3.
        ({WIDE: 2}, 3, (7, 1, 1), [SHOW.format(4, 3, "1 picture"), "all: batch size 6 instead of 7"]),
        # GPUs and accumulation divide what there is, and are what must shrink where nothing is left.
        ({WIDE: 3}, 4, (5, 2, 3), [SHOW.format(10, 4, "5 pictures"), "all: batch size 2 instead of 5"]),
        ({WIDE: 3}, 4, (3, 3, 2), [SHOW.format(6, 4, "2 pictures"), "all: batch size 2 instead of 3"]),
        ({WIDE: 3}, 2, (3, 3, 2), [SHOW.format(6, 2, "6 pictures"), "all: batch size 1 instead of 3"]),
        ({WIDE: 3}, 1, (1, 4, 1), [SHOW.format(2, 1, "1 picture"), "all: accumulate fewer micro-batches or use fewer GPUs"]),
        ({WIDE: 3}, 1, (1, 1, 4), [SHOW.format(2, 1, "1 picture"), "all: accumulate fewer micro-batches or use fewer GPUs"]),
    ],
)  # fmt: skip
def test_a_small_bucket_has_ways_out(buckets, passes, batching, ways):
    batching = Batching(*batching)
    assert ways_out(bucket_loads("x", buckets, passes, batching), batching) == ways


@pytest.mark.parametrize(
    ("size", "neighbour", "moves"),
    [
        (Size(1024, 1024), Size(1024, 768), True),  # cuts a quarter off
        (Size(1024, 1024), Size(1024, 767), False),
        (Size(1024, 768), Size(1024, 1024), True),
        (Size(1472, 704), Size(832, 1216), False),
        (Size(1344, 768), Size(1216, 832), True),
    ],
)
def test_pictures_move_only_where_at_most_a_quarter_is_cut_off(size, neighbour, moves):
    batching = Batching(4)
    ways = ways_out(bucket_loads("x", {size: 1, neighbour: 8}, 1, batching), batching)
    assert any("move its 1 picture to" in way for way in ways) == moves


def test_pictures_do_not_move_to_another_concept():
    batching = Batching(4)
    loads = [*bucket_loads("x", {WIDE: 1}, 1, batching), *bucket_loads("y", {SQUARE: 8, WIDE: 8}, 1, batching)]
    assert not any("move" in way for way in ways_out(loads, batching))


@given(COUNTS, PASSES, BATCHINGS)
def test_a_way_out_leads_out_and_asks_no_more_than_needed(buckets, passes, batching):
    small = {load.bucket for load in bucket_loads("x", buckets, passes, batching) if load.too_small}
    assume(small)

    def too_small(counts, times=passes, batching=batching):
        return {load.bucket for load in bucket_loads("x", counts, times, batching) if load.too_small}

    shown = set()
    for way in ways_out(bucket_loads("x", buckets, passes, batching), batching):
        if moved := re.match(r"x (\d+)x(\d+): move its .* to (\d+)x(\d+) ", way):
            size, other = Size(int(moved[1]), int(moved[2])), Size(int(moved[3]), int(moved[4]))
            assert other not in too_small({other: buckets[other] + buckets[size]})
        elif more := re.match(r"x (\d+)x(\d+): show each picture (\d+) times .* or add (\d+) picture", way):
            size, times, extra = Size(int(more[1]), int(more[2])), int(more[3]), int(more[4])
            shown.add(size)
            assert [bool(too_small({size: buckets[size]}, n)) for n in (times - 1, times)] == [True, False]
            assert [bool(too_small({size: buckets[size] + n})) for n in (extra - 1, extra)] == [True, False]
        elif less := re.match(r"all: batch size (\d+) instead", way):
            sizes = [int(less[1]), int(less[1]) + 1]
            assert [bool(too_small(buckets, passes, Batching(n, batching.gpus, batching.accumulate))) for n in sizes] == [
                False,
                True,
            ]
        else:
            assert way == "all: accumulate fewer micro-batches or use fewer GPUs"
            assert too_small(buckets, passes, Batching(1, batching.gpus, batching.accumulate))
    assert shown == small


@pytest.mark.parametrize(
    ("epochs", "steps", "message"),
    [
        (None, None, "either the epochs or the steps"),
        (1, 1, "either the epochs or the steps"),
        (0, None, "more than 0"),
        (-1, None, "more than 0"),
        (math.nan, None, "more than 0"),
        (math.inf, None, "more than 0"),
        (None, 0, "more than 0"),
        (None, 1_000_000_001, "^1000000001 optimizer steps: use 1000000000 at most$"),
        (125_000_000.125, None, "^1000000001 optimizer steps: use 1000000000 at most$"),
    ],
)
def test_lengths_that_mean_nothing_are_refused(epochs, steps, message):
    with pytest.raises(UsageError, match=message):
        plan_training([(8, 1)], Batching(), epochs, steps)


def test_the_longest_training_is_a_thousand_million_steps():
    assert plan_training([(8, 1)], Batching(), steps=10**9).epochs == 125_000_000
    assert plan_training([(8, 1)], Batching(), epochs=125_000_000).max_train_steps == 10**9


@pytest.mark.parametrize("counts", [[], [(0, 1)], [(1, 0)], [(8, 1), (0, 5)], [(8, 1), (5, -1)]])
def test_concepts_of_nothing_are_refused(counts):
    with pytest.raises(UsageError, match="pictures and repeats must be 1 or more"):
        plan_training(counts, Batching(), epochs=1)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 1, 1), "batch size 0: use 1 or more"),
        ((1, 0, 1), "GPUs 0: use 1 or more"),
        ((1, 1, -1), "accumulation -1: use 1 or more"),
    ],
)
def test_batches_of_nothing_are_refused(numbers, message):
    with pytest.raises(UsageError, match=message):
        Batching(*numbers)
