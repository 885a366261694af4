"""The replay of SimpleTuner's arithmetic: fixed points, what is not one, what is dropped, and how it is said."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit.geometry import Size
from datakit.trainers.fate import Fate
from datakit.trainers.simpletuner.backend import emit
from datakit.trainers.simpletuner.entry import Entry, EntryOnFile
from datakit.trainers.simpletuner.replay import RELEASES, Resizing, bucket_name, replay_current, replay_recipe, unkept
from tests.conftest import BUCKETS
from tests.trainers.golden_cases import CACHE, concept

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


# What SimpleTuner 3.1.6's own sample preparation did with a picture of each size.
@pytest.mark.parametrize(
    ("size", "rule", "resized", "cropped"),
    [
        # Megapixels, cropped to the bucket.
        ((307, 2397), Resizing(0.5, "area", crop=True, square=False), (256, 1998), (256, 1984)),
        ((1792, 832), Resizing(0.9840635, "area", crop=True, square=False), (1408, 653), (1408, 640)),
        ((832, 576), Resizing(0.001, "area", crop=True, square=False), (92, 64), (64, 64)),
        # Not cropped: the bucket is the same.
        ((768, 960), Resizing(0.2, "area", crop=False, square=False), (409, 512), (384, 512)),
        # Squares: round megapixels stand for a side, others are rounded to 64; some are larger than the resized picture.
        ((1024, 1024), Resizing(0.2, "area", crop=True, square=True), (512, 512), (512, 512)),
        ((256, 640), Resizing(0.25, "area", crop=True, square=True), (512, 1282), (512, 512)),
        ((1600, 900), Resizing(0.29, "area", crop=True, square=True), (910, 512), (512, 512)),
        ((1600, 900), Resizing(0.5, "area", crop=True, square=True), (1251, 704), (768, 768)),
        ((1600, 900), Resizing(0.54, "area", crop=True, square=True), (1251, 704), (768, 768)),
        ((1600, 900), Resizing(0.8, "area", crop=True, square=True), (1592, 896), (896, 896)),
        ((1358, 1354), Resizing(0.861184, "area", crop=True, square=True), (898, 896), (896, 896)),
        ((1600, 900), Resizing(0.96, "area", crop=True, square=True), (1706, 960), (1024, 1024)),
        ((1600, 900), Resizing(1.2, "area", crop=True, square=True), (1934, 1088), (1088, 1088)),
        ((1871, 1344), Resizing(1.5, "area", crop=True, square=True), (1692, 1216), (1216, 1216)),
        ((1600, 900), Resizing(1.96, "area", crop=True, square=True), (2503, 1408), (1536, 1536)),
        ((571, 578), Resizing(2.0, "area", crop=True, square=True), (1536, 1536), (1536, 1536)),
        ((704, 320), Resizing(4.0, "area", crop=True, square=True), (4364, 1984), (2048, 2048)),
        # The pixels of the short side.
        ((3000, 2000), Resizing(1024, "pixel", crop=True, square=False), (1536, 1024), (1536, 1024)),
        ((900, 1600), Resizing(1024, "pixel", crop=True, square=False), (1044, 1856), (1024, 1856)),
        ((684, 266), Resizing(90, "pixel", crop=True, square=False), (256, 99), (256, 64)),
        ((674, 1685), Resizing(512, "pixel", crop=True, square=False), (512, 1280), (512, 1280)),
        ((1978, 1977), Resizing(1000, "pixel", crop=False, square=False), (1024, 1024), (1000, 1000)),
        ((1664, 1024), Resizing(600, "pixel", crop=False, square=False), (975, 600), (960, 576)),
        ((512, 2048), Resizing(600, "pixel", crop=False, square=False), (608, 2432), (576, 2432)),
        ((280, 887), Resizing(768, "pixel", crop=False, square=False), (768, 2432), (768, 2432)),
        ((320, 576), Resizing(90, "pixel", crop=False, square=False), (90, 162), (64, 128)),
        # Made smaller first, where both sizes are set and the picture is not of the bucket's area.
        ((3000, 2000), Resizing(1.0, "area", crop=True, square=False, largest=1.0, downsample=1.0), (1280, 853), (1280, 832)),
        ((700, 1900), Resizing(1.0, "area", crop=True, square=False, largest=1.0, downsample=0.5), (640, 1737), (640, 1664)),
        ((700, 1900), Resizing(0.5, "area", crop=True, square=False, largest=1.0), (448, 1216), (448, 1152)),
        ((700, 1900), Resizing(0.5, "area", crop=True, square=False, downsample=1.0), (448, 1216), (448, 1152)),
        ((1024, 1024), Resizing(1.0, "area", crop=True, square=False, largest=2.0, downsample=1.5), (1024, 1024), (1024, 1024)),
        ((1344, 768), Resizing(0.5, "area", crop=True, square=True, largest=1.0, downsample=0.5), (1345, 768), (768, 768)),
        ((459, 2326), Resizing(1.0, "area", crop=True, square=True, largest=2.0, downsample=1.5), (1024, 5193), (1024, 1024)),
        ((1728, 1312), Resizing(0.25, "area", crop=True, square=True, largest=0.5, downsample=0.2), (673, 512), (512, 512)),
        ((900, 1600), Resizing(1024, "pixel", crop=True, square=True, largest=512, downsample=1536), (1548, 2752), (1024, 1024)),
        ((384, 1408), Resizing(1024, "pixel", crop=True, square=False, largest=2000, downsample=700), (1024, 3754), (1024, 3776)),
        ((816, 441), Resizing(640, "pixel", crop=True, square=False, largest=600, downsample=576), (1152, 622), (1152, 640)),
        # As many pixels as the square, and yet another size.
        (
            (1089, 1024),
            Resizing(1056, "pixel", crop=True, square=False, largest=512, downsample=1536),
            (1633, 1536),
            (1088, 1024),
        ),
    ],
)
def test_other_entries_give_what_simpletuner_3_1_6_gave(size, rule, resized, cropped):
    assert replay_current(Size(*size), rule) == Fate(Size(*resized), Size(*cropped))


# The same picture on the recipe's release: the aspect is rounded, to 1.56, before the picture is resized; and where it is
# cropped and no sizes are set, it is not resized at all.
@pytest.mark.parametrize(
    ("rule", "resized"),
    [
        (Resizing(1.0, "area", crop=True, square=False), (1400, 900)),
        (Resizing(1.0, "area", crop=True, square=False, largest=1.0), (1400, 900)),
        (Resizing(1.0, "area", crop=True, square=False, downsample=1.0), (1400, 900)),
        (Resizing(1.0, "area", crop=True, square=False, largest=1.0, downsample=1.0), (1297, 832)),
        (Resizing(1.0, "area", crop=False, square=False), (1297, 832)),
        (Resizing(1.0, "area", crop=False, square=False, largest=1.0, downsample=1.0), (1297, 832)),
    ],
)
def test_the_recipes_release_crops_without_resizing_where_no_sizes_are_set(rule, resized):
    assert replay_recipe(Size(1400, 900), rule) == Fate(Size(*resized), Size(1280, 832))


def test_a_minimum_size_drops_what_is_below():
    rule = Resizing(1.0, "area", crop=True, square=False, smallest=1.04)
    dropped = [size for size in BUCKETS if replay_current(size, rule).dropped]
    assert dropped == [size for size in BUCKETS if size.area < 1_040_000]


# As SimpleTuner 3.1.6 compares: either side where pixels count, the area where megapixels do, and for squares of so
# many megapixels their whole side as well.
@pytest.mark.parametrize("replay", RELEASES.values())
@pytest.mark.parametrize(
    ("unit", "crop", "square", "smallest", "kept", "dropped"),
    [
        ("pixel", True, False, 1024, [(1024, 2000), (2000, 1024)], [(1023, 2000), (2000, 1023)]),
        ("area", True, False, 1.0, [(1000, 1000), (500, 2000), (2000, 500)], [(999, 1001), (1000, 999)]),
        ("area", False, True, 1.0, [(1000, 1000), (500, 2000)], [(999, 1001)]),
        ("area", True, True, 1.0, [(1000, 1000), (1000, 2000), (2000, 1000)], [(999, 2000), (2000, 999), (999, 1001)]),
        # The side of 1.0005 megapixels is 1000.2 pixels, of which 1000 count; the area counts all the same.
        ("area", True, True, 1.0005, [(1000, 1001)], [(1000, 1000), (999, 1002)]),
    ],
)
def test_a_picture_is_too_small_below_its_limit_alone(replay, unit, crop, square, smallest, kept, dropped):
    rule = Resizing(1.0 if unit == "area" else 1024, unit, crop, square, smallest=smallest)
    for size in map(Size._make, kept):
        assert replay(size, rule).dropped == ""
    for size in map(Size._make, dropped):
        assert replay(size, rule) == Fate(size, size, "too small")


@pytest.mark.parametrize("replay", RELEASES.values())
@pytest.mark.parametrize(
    ("limits", "dropped"),
    [
        ({}, ""),
        # A bucket counts by its name: 1216 / 832 is 1.4615, its name 1.46.
        ({"narrowest": 1.46, "widest": 1.46}, ""),
        ({"narrowest": 1.461}, "too narrow (aspect 1.46, minimum_aspect_ratio 1.461)"),
        ({"widest": 1.459}, "too wide (aspect 1.46, maximum_aspect_ratio 1.459)"),
        ({"narrowest": 0.5, "widest": 2.0}, ""),
        ({"narrowest": 2.0}, "too narrow (aspect 1.46, minimum_aspect_ratio 2)"),
        ({"widest": 1.0}, "too wide (aspect 1.46, maximum_aspect_ratio 1)"),
    ],
)
def test_buckets_outside_the_limits_of_the_aspect_are_dropped(replay, limits, dropped):
    size = Size(1216, 832)
    fate = replay(size, Resizing(1.0, "area", crop=True, square=False, **limits))
    assert (fate.dropped, fate.keeps(size)) == (dropped, not dropped)


def test_the_eight_buckets_have_eight_names():
    names = ["1.0", "1.29", "0.78", "1.46", "0.68", "1.75", "0.57", "2.09"]
    assert [bucket_name(size) for size in BUCKETS] == names


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        (Fate(Size(832, 1216), Size(832, 1216)), "kept as it is"),
        (Fate(Size(832, 1223), Size(832, 1216)), "resized to 832x1223 and cropped to 832x1216"),
        (Fate(Size(640, 960), Size(640, 960)), "resized to 640x960"),
        (Fate(Size(832, 1216), Size(832, 1152)), "cropped to 832x1152"),
        # Whatever else would become of it.
        (Fate(Size(832, 1223), Size(832, 1216), "too small"), "dropped as too small"),
        (Fate(Size(832, 1216), Size(832, 1216), "too small"), "dropped as too small"),
    ],
)
def test_a_fate_says_what_is_done(fate, words):
    size = Size(832, 1216)
    assert (fate.describe(size), fate.keeps(size)) == (words, words == "kept as it is")


def test_a_size_that_one_release_moves_is_laid_to_that_release():
    assert unkept(Size(832, 1216), RECIPE) == ["resized to 832x1223 and cropped to 832x1216 by SimpleTuner 2024-10"]
    assert unkept(Size(832, 1216), RECIPE, ["current"]) == []


def test_what_all_releases_do_is_said_once():
    rule = Resizing(1.0, "area", crop=True, square=False, smallest=2.0)
    assert unkept(Size(1024, 1024), rule) == ["dropped as too small by SimpleTuner current and 2024-10"]


def test_what_releases_do_differently_is_said_of_each():
    rule = Resizing(1.0, "area", crop=True, square=False)
    assert unkept(Size(1400, 900), rule) == [
        "resized to 1294x832 and cropped to 1280x832 by SimpleTuner current",
        "cropped to 1280x832 by SimpleTuner 2024-10",
    ]
