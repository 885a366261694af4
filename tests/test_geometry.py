from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit.errors import UsageError
from datakit.geometry import Area, Box, Size, share_inside
from datakit.sizes import area_kept, choose_bucket, enlargement, in_order, largest_window, parse_bucket
from tests.conftest import BUCKETS

sizes = st.builds(Size, st.integers(1, 20_000), st.integers(1, 20_000))
pictures = st.builds(Size, st.integers(200, 12_000), st.integers(200, 12_000))
buckets = st.sampled_from(BUCKETS)


def test_the_eight_sizes_are_these_in_this_order():
    assert tuple(map(tuple, BUCKETS)) == (
        (1024, 1024), (1152, 896), (896, 1152), (1216, 832), (832, 1216), (1344, 768), (768, 1344), (1472, 704),
    )  # fmt: skip


@given(sizes, buckets)
def test_the_largest_window_fits_and_touches_two_sides(size, bucket):
    window = largest_window(size, bucket)
    assert Box(0, 0, *window).inside(size)
    assert window.width == size.width or window.height == size.height


@given(sizes, buckets)
def test_the_largest_window_has_the_aspect_to_half_a_pixel(size, bucket):
    window = largest_window(size, bucket)
    across = abs(window.width - window.height * bucket.aspect)
    down = abs(window.height - window.width / bucket.aspect)
    assert min(across, down) <= 0.5 + 1e-9 or 1 in window


@given(buckets)
def test_a_bucket_sized_picture_maps_to_itself(bucket):
    assert choose_bucket(bucket, BUCKETS, upscale=1.0) == bucket
    assert largest_window(bucket, bucket) == bucket
    assert enlargement(bucket, bucket) == 1


@given(pictures)
def test_no_bucket_keeps_more_than_the_chosen_one(size):
    chosen = choose_bucket(size, BUCKETS)
    assert area_kept(size, chosen) == max(area_kept(size, bucket) for bucket in BUCKETS)


@given(pictures, st.floats(1, 4))
def test_a_bucket_within_the_limit_is_chosen_where_there_is_one(size, upscale):
    within = [b for b in BUCKETS if enlargement(largest_window(size, b), b) <= upscale]
    chosen = choose_bucket(size, BUCKETS, upscale=upscale)
    assert chosen in (within or BUCKETS)


@pytest.mark.parametrize("text", ["1216x832", "1216X832", " 1216 x 832 ", "1216,832", "1216×832"])
def test_a_bucket_is_read_from_text(text):
    assert parse_bucket(text) == Size(1216, 832)


@pytest.mark.parametrize("text", ["", "1024", "1000x1000", "704x1472", "1024x1024x3", "-1024x1024"])
def test_what_is_no_bucket_is_refused_with_the_eight(text):
    with pytest.raises(UsageError, match="1472x704"):
        parse_bucket(text)


@given(st.lists(buckets))
def test_restricted_buckets_keep_the_order_of_the_eight(chosen):
    assert in_order(chosen) == tuple(bucket for bucket in BUCKETS if bucket in chosen)


areas = st.builds(
    lambda left, top, width, height: Area(left, top, left + width, top + height),
    st.floats(-500, 500), st.floats(-500, 500), st.floats(0.1, 900), st.floats(0.1, 900),
)  # fmt: skip


@given(areas)
def test_a_share_is_one_inside_and_zero_outside(area):
    assert share_inside(area, area.grown(1, 1, 1)) == 1
    assert share_inside(area, Area(area.right, area.top, area.right + 10, area.bottom)) == 0
    assert share_inside(area, Area(area.left, area.top, area.left + area.width / 2, area.bottom)) == pytest.approx(0.5)
