"""musubi-tuner's arithmetic: what its own functions gave, and an oracle over 3,000 sizes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit.geometry import Size
from datakit.trainers.musubi.replay import Bucketing, buckets, replay
from tests.conftest import BUCKETS

AREA = Size(1024, 1024)
ALL = {*map(str, BUCKETS), "704x1472"}
SIZES = [*BUCKETS, Size(704, 1472)]


# As BucketSelector of 30c658c has them.
@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        (Bucketing(AREA, True, True), ALL),
        (Bucketing(AREA, True, True, 32), ALL),
        (Bucketing(AREA, True), {"1024x1024"}),
        (Bucketing(AREA, True, step=32), ALL - {"1216x832", "832x1216"}),
        (Bucketing(AREA), {"1024x1024"}),
        # Without buckets the other key does nothing.
        (Bucketing(AREA, False, True), {"1024x1024"}),
        (Bucketing(), set()),
        (Bucketing(enable_bucket=True), set()),
        (Bucketing(enable_bucket=True, bucket_no_upscale=True), set()),
        (Bucketing(Size(768, 768), True, True), set()),
        (Bucketing(Size(1152, 1152), True, True), ALL),
        # The smallest area of the eight but one.
        (Bucketing(Size(1216, 832), True, True), {"1216x832", "832x1216"}),
    ],
)
def test_the_eight_sizes_are_kept_where_its_own_code_keeps_them(rule, kept):
    assert {str(size) for size in SIZES if replay(size, rule).keeps(size)} == kept


@pytest.mark.parametrize(
    ("size", "bucket"),
    [((1152, 896), "1168x896"), ((1216, 832), "1232x848"), ((1344, 768), "1360x768"), ((1472, 704), "1488x704")],
)
def test_the_sample_of_its_documentation_resizes_what_is_no_square(size, bucket):
    assert str(replay(Size(*size), Bucketing(AREA, True)).cropped) == bucket


# What its own functions made of pictures of random sizes.
@pytest.mark.parametrize(
    ("size", "rule", "resized", "cropped"),
    [
        ((2052, 2107), Bucketing(AREA), (1024, 1051), (1024, 1024)),
        ((977, 956), Bucketing(AREA, step=32), (1046, 1024), (1024, 1024)),
        ((962, 585), Bucketing(AREA, True), (1316, 800), (1296, 800)),
        ((2029, 1442), Bucketing(AREA, True), (1216, 864), (1200, 864)),
        ((371, 1822), Bucketing(AREA, True, False, 32), (512, 2514), (512, 2048)),
        ((2055, 845), Bucketing(AREA, True, True), (1595, 656), (1584, 656)),
        ((261, 2364), Bucketing(AREA, True, True), (260, 2352), (256, 2352)),
        ((346, 979), Bucketing(AREA, True, True, 32), (339, 960), (320, 960)),
        ((1190, 323), Bucketing(), (2004, 544), (960, 544)),
        ((218, 548), Bucketing(enable_bucket=True), (458, 1152), (448, 1152)),
        ((1866, 540), Bucketing(enable_bucket=True, step=32), (1344, 389), (1344, 384)),
        ((1140, 2300), Bucketing(enable_bucket=True, bucket_no_upscale=True), (512, 1033), (512, 1008)),
        ((1840, 641), Bucketing(Size(512, 768)), (2205, 768), (512, 768)),
        ((1059, 414), Bucketing(Size(512, 768), True), (1024, 400), (1024, 384)),
        ((499, 1013), Bucketing(Size(512, 768), True, False, 32), (448, 909), (448, 864)),
        ((1562, 262), Bucketing(Size(512, 768), True, True, 32), (1717, 288), (1344, 288)),
        # As many pixels as the resolution, and no bucket is as wide.
        ((4096, 256), Bucketing(AREA, True, True), (4096, 256), (4096, 256)),
        ((4096, 256), Bucketing(AREA, True), (8192, 512), (2048, 512)),
    ],
)
def test_other_sizes_become_what_its_own_functions_made_of_them(size, rule, resized, cropped):
    fate = replay(Size(*size), rule)
    assert (fate.resized, fate.cropped) == (resized, cropped)


def table_of(resolution, step):
    """All buckets, found anew: of every size in steps those whose one side is about the square's, and whose other just fits."""
    side, other = (numbers.ravel() for numbers in np.meshgrid(*[np.arange(step, 6000, step)] * 2))
    square = np.sqrt(resolution.area)
    near = (side > square // 2 - step) & (side < np.floor(square) + step)
    fits = (side * other <= resolution.area) & (resolution.area < side * (other + step))
    upright = np.stack([side[near & fits], other[near & fits]], axis=1)
    return np.concatenate([upright, upright[:, ::-1]])


@pytest.mark.parametrize("step", [16, 32])
@pytest.mark.parametrize("resolution", [AREA, Size(960, 544), Size(768, 1280)])
def test_3000_sizes_go_to_the_nearest_bucket_and_are_cut_to_it(resolution, step):
    numbers, table = random.Random(step), table_of(resolution, step)
    aspects = table[:, 0] / table[:, 1]
    sizes = SIZES + [Size(numbers.randint(64, 3000), numbers.randint(64, 3000)) for _ in range(500)]
    for size in sizes:
        rule = Bucketing(resolution, True, step=step)
        fate = replay(size, rule)
        distance = np.abs(aspects - size.aspect)
        assert fate.cropped in set(map(tuple, table[distance <= distance.min() + 1e-12].tolist())), size
        free = replay(size, Bucketing(resolution, True, True, step))
        small = size.area <= resolution.area
        assert free.cropped == ((size.width // step * step, size.height // step * step) if small else fate.cropped)
        for each in (fate, free, replay(size, Bucketing(resolution))):
            # One side is the bucket's, the other reaches over it, and both are the picture's to half a pixel.
            assert min(each.resized.width - each.cropped.width, each.resized.height - each.cropped.height) == 0
            assert abs(each.resized.width * size.height - each.resized.height * size.width) <= max(size) * 0.5 + 1e-6


@given(st.integers(1, 2000), st.integers(1, 2000), st.sampled_from([16, 32]))
def test_no_bucket_is_without_a_side_and_small_areas_have_none(width, height, step):
    found = buckets(Bucketing(Size(width, height), True, step=step))
    assert all(min(size) >= step for size in found)
    assert bool(found) == (width * height >= (2 * step) ** 2)
