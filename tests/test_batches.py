"""The search that fills batches: against all there is to choose from in small cases, and at the size that is promised."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit.dataset.batches import Tally, fill, line_of, neighbours, tally
from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.sizes import area_kept, choose_bucket, size_set
from tests.conftest import BUCKETS

LINE = line_of(BUCKETS)


def value(homes, losses, moves, batch, fixed):
    """What is to be least, in the order in which it counts; None for a move that is not allowed."""
    if any(move not in losses for move in moves.items()):
        return None
    counts = Counter({**homes, **moves}.values()) + Counter(fixed)
    rest = [count % batch for count in counts.values()]
    short = sum(0 < count < batch for count in counts.values())
    return short, sum(rest), sum(each > 0 for each in rest), sum(1 + round(losses[move] * 10_000) for move in moves.items())


@st.composite
def cases(draw):
    line = LINE[: draw(st.integers(2, 4))]
    names = "abcdef"[: draw(st.integers(1, 6))]
    homes = {name: draw(st.sampled_from(line)) for name in names}
    losses = {
        (name, size): draw(st.integers(0, 5)) / 100
        for name in names
        for size in neighbours(line, homes[name])
        if draw(st.integers(0, 3))
    }
    fixed = {size: draw(st.integers(0, 2)) for size in line}
    return line, homes, losses, draw(st.integers(2, 4)), fixed


@given(cases())
def test_no_other_choice_of_pictures_is_better(case):
    line, homes, losses, batch, fixed = case
    choices = [[home, *neighbours(line, home)] for home in homes.values()]
    best = min(
        found
        for each in itertools.product(*choices)
        if (found := value(homes, losses, {n: s for n, s in zip(homes, each, strict=True) if s != homes[n]}, batch, fixed))
        is not None
    )
    moves = fill(line, homes, losses, batch, fixed)
    assert value(homes, losses, moves, batch, fixed) == best


def made(number, seed=0):
    """Pictures of any shape from 9:20 to 20:9."""
    draw = random.Random(seed)
    sizes = {f"{index:05}.jpg": Size(2000, round(2000 / math.exp(draw.uniform(-0.8, 0.8)))) for index in range(number)}
    homes = {name: choose_bucket(size, BUCKETS) for name, size in sizes.items()}
    losses = {
        (name, size): loss
        for name, home in homes.items()
        for size in neighbours(LINE, home)
        if (loss := area_kept(sizes[name], home) - area_kept(sizes[name], size)) <= 0.1
    }
    return homes, losses


@pytest.mark.parametrize("batch", [2, 4, 7, 16, 48])
@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_pictures_fill_their_batches_and_hardly_lose_anything(batch, seed):
    homes, losses = made(1000, seed)
    begun = time.process_time()
    moves = fill(LINE, homes, losses, batch, {})
    assert time.process_time() - begun < 2
    before, after = tally(Counter(homes.values()).values(), batch), tally(Counter({**homes, **moves}.values()).values(), batch)
    assert after.short == 0
    assert after.left == 1000 % batch
    assert 2 * after.left <= before.left
    assert after.partial <= 1
    assert sum(losses[move] for move in moves.items()) / 1000 <= 0.01


def test_the_same_whatever_order_the_pictures_come_in():
    homes, losses = made(300)
    turned = dict(reversed(homes.items())), dict(reversed(losses.items()))
    assert fill(LINE, homes, losses, 16, {}) == fill(LINE, *turned, 16, {})
    assert list(fill(LINE, *turned, 16, {})) == sorted(fill(LINE, homes, losses, 16, {}))


def test_where_all_may_go_to_either_side():
    """Pictures of one camera: each may go to both neighbours, and none goes twice."""
    middle = Size(1152, 896)
    homes = dict.fromkeys([f"{number:03}" for number in range(100)], middle) | {"x": Size(1024, 1024), "y": Size(1216, 832)}
    losses = {(name, size): 0.05 for name, home in homes.items() if home == middle for size in neighbours(LINE, middle)}
    moves = fill(LINE, homes, losses, 8, {})
    counts = Counter({**homes, **moves}.values())
    assert counts == {Size(1024, 1024): 8, middle: 88 - 2, Size(1216, 832): 8} or tally(counts.values(), 8) == Tally(0, 6, 1)


def test_pictures_that_stay_count_too():
    homes = {"a": Size(1024, 1024), "b": Size(1152, 896)}
    losses = {("b", Size(1024, 1024)): 0.1}
    assert fill(LINE, homes, losses, 2, {}) == {"b": Size(1024, 1024)}
    assert fill(LINE, homes, losses, 2, {Size(1024, 1024): 1, Size(1152, 896): 1}) == {}


def test_nothing_moves_where_all_is_full():
    homes = {str(number): BUCKETS[number % 8] for number in range(64)}
    assert fill(LINE, homes, {(n, s): 0.0 for n, h in homes.items() for s in neighbours(LINE, h)}, 8, {}) == {}


@pytest.mark.parametrize("batch", [1, 0, -4, 1025])
def test_batches_of_other_sizes_are_refused(batch):
    with pytest.raises(UsageError, match="use 2 to 1024"):
        fill(LINE, {}, {}, batch, {})


def test_a_line_goes_from_narrow_to_wide():
    assert LINE[0] == Size(768, 1344)
    assert LINE[-1] == Size(1472, 704)
    assert neighbours(LINE, LINE[0]) == (LINE[1],)
    assert neighbours(LINE, LINE[-1]) == (LINE[-2],)
    assert neighbours(LINE, Size(1024, 1024)) == (Size(896, 1152), Size(1152, 896))
    assert line_of([*size_set("sd15"), *size_set("512")])[0] == Size(448, 832)


def test_a_tally():
    assert tally([0, 3, 4, 9], 4) == Tally(short=1, left=4, partial=2)
