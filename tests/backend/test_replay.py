"""The replay of SimpleTuner's arithmetic: fixed points, and what is not one."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit.backend.replay import RELEASES, Resizing, bucket_name, replay_current, replay_recipe
from datakit.backend.simpletuner import emit
from datakit.backend.simpletuner_entry import Entry, EntryOnFile
from datakit.buckets import BUCKETS
from datakit.geometry import Size
from tests.backend.golden_cases import CACHE, concept

# The recipe's own entry: no cropping, all three sizes at one megapixel.
RECIPE = Resizing(1.0, "area", crop=False, square=False, smallest=1.0, largest=1.0, downsample=1.0)
SIZES = st.builds(Size, st.integers(64, 4000), st.integers(64, 4000))


def rule_of(entry: Entry) -> Resizing:
    rule = msgspec.convert(msgspec.to_builtins(entry), EntryOnFile).resizing()
    assert isinstance(rule, Resizing)
    return rule


@given(
    size=st.sampled_from(BUCKETS),
    release=st.sampled_from(sorted(RELEASES)),
    family=st.sampled_from(["sd3", "sdxl", "flux"]),
    passes=st.integers(1, 20),
)
def test_each_of_the_eight_sizes_is_a_fixed_point_of_the_emitted_entry(size, release, family, passes):
    rule = rule_of(emit([concept("out", passes=passes)], CACHE, family)[0])
    assert RELEASES[release](size, rule).keeps(size)


def test_the_recipes_own_entry_moves_five_of_the_eight_sizes_by_1_to_7_pixels():
    moved = {}
    for size in BUCKETS:
        fate = replay_recipe(size, RECIPE)
        if not fate.keeps(size):
            moved[size] = max(abs(fate.resized.width - size.width), abs(fate.resized.height - size.height))
    assert len(moved) == 5
    assert min(moved.values()) == 1
    assert max(moved.values()) == 7


@given(SIZES)
def test_only_sizes_of_whole_alignment_steps_are_kept(size):
    rule = rule_of(emit([concept("out")], CACHE)[0])
    fate = replay_current(size, rule)
    assert fate.cropped.width % 64 == fate.cropped.height % 64 == 0
    assert fate.keeps(size) <= (size.width % 64 == size.height % 64 == 0)


@given(SIZES)
def test_what_is_cropped_was_covered(size):
    for crop in (True, False):
        fate = replay_current(size, Resizing(1.0, "area", crop=crop, square=False))
        assert fate.resized.width >= fate.cropped.width
        assert fate.resized.height >= fate.cropped.height


@pytest.mark.parametrize(
    "rule",
    [
        Resizing(1.0, "area", crop=True, square=True),
        Resizing(1024, "pixel", crop=True, square=False),
        Resizing(0.5, "area", crop=True, square=False),
    ],
)
def test_squares_pixel_edges_and_other_areas_change_most_sizes(rule):
    assert sum(replay_current(size, rule).keeps(size) for size in BUCKETS) <= 1


@pytest.mark.parametrize(
    ("size", "rule", "resized", "cropped"),
    [
        ((3000, 2000), Resizing(1.0, "area", crop=True, square=False, largest=1.0, downsample=1.0), (1280, 853), (1280, 832)),
        ((700, 1900), Resizing(1.0, "area", crop=True, square=False, largest=1.0, downsample=0.5), (640, 1737), (640, 1664)),
        ((3000, 2000), Resizing(1024, "pixel", crop=True, square=False), (1536, 1024), (1536, 1024)),
        ((900, 1600), Resizing(1024, "pixel", crop=True, square=False), (1044, 1856), (1024, 1856)),
        ((1600, 900), Resizing(0.5, "area", crop=True, square=True), (1251, 704), (768, 768)),
        ((900, 1600), Resizing(1024, "pixel", crop=True, square=True, largest=512, downsample=1536), (1548, 2752), (1024, 1024)),
    ],
)
def test_other_entries_give_what_simpletuner_3_1_6_gave(size, rule, resized, cropped):
    fate = replay_current(Size(*size), rule)
    assert (fate.resized, fate.cropped) == (resized, cropped)


def test_a_minimum_size_drops_what_is_below():
    rule = Resizing(1.0, "area", crop=True, square=False, smallest=1.04)
    dropped = [size for size in BUCKETS if replay_current(size, rule).dropped]
    assert dropped == [size for size in BUCKETS if size.area < 1_040_000]
    assert replay_current(Size(1216, 832), rule).describe(Size(1216, 832)) == "dropped as too small"
    assert replay_current(Size(1023, 2000), Resizing(1.0, "pixel", crop=True, square=False, smallest=1024)).dropped


def test_the_eight_buckets_have_eight_names():
    names = ["1.0", "1.29", "0.78", "1.46", "0.68", "1.75", "0.57", "2.09"]
    assert [bucket_name(size) for size in BUCKETS] == names


def test_a_fate_says_what_is_done():
    size = Size(832, 1216)
    assert replay_recipe(size, RECIPE).describe(size) == "resized to 832x1223 and cropped to 832x1216"
    assert replay_current(size, RECIPE).describe(size) == "kept as it is"
