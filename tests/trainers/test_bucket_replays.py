"""The replays of diffusion-pipe and of diffusers' scripts do what the second writing of the facts does, size by size."""

from __future__ import annotations

import random

import pytest

from datakit.geometry import Size
from datakit.trainers.diffusers.replay import Listed, Square, WorkedOut
from datakit.trainers.diffusers.replay import replay as diffusers
from datakit.trainers.diffusionpipe.file import ordered
from datakit.trainers.diffusionpipe.replay import AspectBuckets, SizeBuckets, spaced_aspects
from datakit.trainers.diffusionpipe.replay import replay as diffusionpipe
from tests.conftest import BUCKETS
from tests.trainers import bucket_oracles as oracle

_DRAW = random.Random(20)
SIZES = [
    *BUCKETS,
    *(Size(_DRAW.randint(300, 2200), _DRAW.randint(300, 2200)) for _ in range(3000)),
    *(Size(64 * _DRAW.randint(4, 40), 64 * _DRAW.randint(4, 40)) for _ in range(500)),
]
SORTED = tuple(sorted(BUCKETS, key=lambda size: size.width / size.height))
ODD = tuple(Size(_DRAW.randint(10, 90) * 16, _DRAW.randint(10, 90) * 16) for _ in range(12))
TWINS = (Size(1024, 1024), Size(512, 512), Size(768, 1024), Size(1024, 512), Size(768, 768))


def unequal(replayed, expected):
    assert len(SIZES) >= 3000
    return [(size, replayed(size), expected(size)) for size in SIZES if replayed(size) != expected(size)][:3]


@pytest.mark.parametrize("buckets", [SORTED, BUCKETS, BUCKETS[::-1], ODD, TWINS], ids=["sorted", "set", "turned", "odd", "twins"])
def test_diffusion_pipe_mixes_up_buckets_as_the_oracle_does(buckets):
    rule = SizeBuckets(tuple((*size, 1) for size in buckets))
    assert (
        unequal(lambda size: tuple(diffusionpipe(size, rule)[0].cropped), lambda size: oracle.diffusionpipe_sizes(size, buckets))
        == []
    )


@pytest.mark.parametrize("multiple", [16, 32])
@pytest.mark.parametrize("resolution", [512, 1000, 1024])
@pytest.mark.parametrize("bounds", [(0.5, 2.0, 7), (1, 1, 1), (0.3, 2.9, 12)])
def test_diffusion_pipe_turns_areas_into_sizes_as_the_oracle_does(bounds, resolution, multiple):
    least, most, number = bounds
    aspects = [least * (most / least) ** (place / max(number - 1, 1)) for place in range(number)]
    assert spaced_aspects(*bounds) == pytest.approx(aspects)
    rule = AspectBuckets((resolution,), spaced_aspects(*bounds))
    assert (
        unequal(
            lambda size: tuple(diffusionpipe(size, rule, multiple)[0].cropped),
            lambda size: oracle.diffusionpipe_aspects(size, resolution, aspects, multiple),
        )
        == []
    )


@pytest.mark.parametrize("buckets", [BUCKETS, BUCKETS[::-1], ODD, TWINS], ids=["set", "turned", "odd", "twins"])
def test_diffusers_finds_the_bucket_that_the_oracle_does(buckets):
    rule = Listed(tuple(buckets))
    assert unequal(lambda size: _both(diffusers(size, rule)), lambda size: oracle.diffusers_listed(size, buckets)) == []


@pytest.mark.parametrize("resolution", [512, 1024])
def test_diffusers_works_out_the_buckets_that_the_oracle_does(resolution):
    def expected(size):
        return oracle.diffusers_listed(size, oracle.diffusers_ladder(min(resolution, round((size.width * size.height) ** 0.5))))

    assert unequal(lambda size: _both(diffusers(size, WorkedOut(resolution))), expected) == []


@pytest.mark.parametrize("resolution", [512, 1024])
def test_diffusers_makes_the_square_that_the_oracle_does(resolution):
    assert (
        unequal(lambda size: _both(diffusers(size, Square(resolution))), lambda size: oracle.diffusers_square(size, resolution))
        == []
    )


def _both(fate):
    return tuple(fate.resized), tuple(fate.cropped)


def kept(replayed):
    return {str(size) for size in BUCKETS if all(fate.keeps(size) for fate in replayed(size))}


NAMES = {str(size) for size in BUCKETS}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (ordered(BUCKETS), NAMES),
        (ordered(BUCKETS[:3]), {str(size) for size in BUCKETS[:3]}),
        (SizeBuckets(tuple((*size, 1) for size in SORTED[::-1])), set()),
        (AspectBuckets((1024,), (1.0,)), {"1024x1024"}),
        (AspectBuckets((1024,), spaced_aspects(0.5, 2.0, 7)), {"1024x1024"}),
        (AspectBuckets((1024,), tuple(size.aspect for size in BUCKETS)), {"1024x1024"}),
        (AspectBuckets((512, 1024), (1.0,)), set()),
    ],
)
def test_what_diffusion_pipe_keeps_of_the_eight_sizes(rule, expected):
    assert kept(lambda size: diffusionpipe(size, rule)) == expected


def test_diffusion_pipe_keeps_two_of_the_eight_in_the_order_of_the_set():
    assert len(kept(lambda size: diffusionpipe(size, SizeBuckets(tuple((*each, 1) for each in BUCKETS))))) == 2


@pytest.mark.parametrize("buckets", [SORTED, ODD], ids=["sorted", "odd"])
def test_a_picture_is_scaled_until_it_covers_its_bucket(buckets):
    rule = SizeBuckets(tuple((*size, 1) for size in buckets))
    assert (
        unequal(
            lambda size: tuple(diffusionpipe(size, rule)[0].resized),
            lambda size: oracle.diffusers_listed(size, [oracle.diffusionpipe_sizes(size, buckets)])[0],
        )
        == []
    )


@pytest.mark.parametrize(
    ("rule", "in_order"),
    [
        (ordered(BUCKETS), True),
        (SizeBuckets(((1344, 768, 1), (1024, 1024, 1))), False),
        (SizeBuckets(((1024, 1024, 1), (512, 512, 1))), False),
        (SizeBuckets(((768, 1344, 1), (1344, 768, 1))), True),
        (SizeBuckets(((1344, 768, 1), (768, 1344, 1))), False),
        (SizeBuckets(((832, 1216, 1), (1024, 1024, 1), (1024, 1023, 1))), True),
    ],
)
def test_buckets_are_in_order_where_each_aspect_finds_its_own(rule, in_order):
    assert rule.in_order is in_order


@pytest.mark.parametrize(
    ("size", "bucket"), [(Size(768, 1344), "768x1344"), (Size(1024, 1024), "768x1344"), (Size(1344, 768), "1344x768")]
)
def test_buckets_for_films_push_the_others_out_of_place(size, bucket):
    """Buckets are sorted by frames before their places are taken for those of the aspects."""
    for frames in (2, 33):
        rule = SizeBuckets(((768, 1344, 1), (1024, 1024, frames), (1344, 768, 1)))
        assert str(diffusionpipe(size, rule)[0].cropped) == bucket


def test_a_bucket_for_longer_films_takes_no_picture():
    rule = SizeBuckets(((1024, 1024, 33), (768, 1344, 33)))
    assert diffusionpipe(BUCKETS[0], rule)[0].describe(BUCKETS[0]) == "dropped as too short for every bucket"


def test_a_size_that_is_no_multiple_is_rounded():
    size = Size(1000, 1000)
    assert diffusionpipe(size, ordered([size]))[0].cropped == Size(992, 992)
    assert diffusionpipe(Size(1008, 1008), ordered([Size(1008, 1008)]), 32)[0].cropped == Size(1024, 1024)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Listed(tuple(BUCKETS)), NAMES),
        (Listed((Size(1024, 1024),)), {"1024x1024"}),
        (WorkedOut(1024), {"1024x1024"}),
        (Square(1024), {"1024x1024"}),
        (Square(512), set()),
    ],
)
def test_what_diffusers_keeps_of_the_eight_sizes(rule, expected):
    assert kept(lambda size: [diffusers(size, rule)]) == expected


def test_diffusers_own_buckets_move_a_wide_picture_by_16_pixels():
    assert str(diffusers(Size(1152, 896), WorkedOut(1024)).cropped) == "1168x880"
