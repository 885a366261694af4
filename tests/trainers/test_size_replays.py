"""What OneTrainer and ai-toolkit do to sizes: thousands of them against whole-number oracles, the eight, and what defaults do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.trainers.aitoolkit import replay as aitoolkit
from datakit.trainers.onetrainer import replay as onetrainer
from tests.conftest import BUCKETS
from tests.trainers import size_oracles

SIZES = st.tuples(st.integers(60, 2600), st.integers(60, 2600))
# Numbers, one size, and sizes that are rounded to the step.
RESOLUTIONS = ("512", "1010", "1018", "1019", "1024", "1216x832", "1472x704", "1000x700")


@settings(max_examples=1000, deadline=None)
@given(SIZES, st.sampled_from(RESOLUTIONS), st.sampled_from((8, 16, 32, 64)))
def test_onetrainer_as_the_oracle_has_it(size, resolution, step):
    fate = onetrainer.replay(Size(*size), onetrainer.Resizing(resolution, step))
    scaled, cut = size_oracles.onetrainer(size, resolution, step)
    assert fate.resized in scaled
    assert fate.cropped in cut


@settings(max_examples=1000, deadline=None)
@given(SIZES, st.sampled_from((512, 768, 1024, 1536)), st.sampled_from((8, 16, 32, 64)))
def test_aitoolkit_as_the_oracle_has_it(size, resolution, step):
    fate = aitoolkit.replay(Size(*size), aitoolkit.Resizing(resolution, step))
    scaled, cut = size_oracles.aitoolkit(size, resolution, step)
    assert fate.resized in scaled
    assert fate.cropped in cut


@given(st.integers(300, 2600), st.integers(300, 2600), st.integers(512, 2000), st.sampled_from((8, 16, 32, 64)))
def test_aitoolkit_keeps_what_is_no_larger_than_the_square_and_whole_in_steps(width, height, resolution, step):
    size = Size(width, height)
    fate = aitoolkit.replay(size, aitoolkit.Resizing(resolution, step))
    assert fate.cropped.area <= resolution**2
    whole = size.width % step == size.height % step == 0
    assert fate.keeps(size) == (whole and size.area <= resolution**2)


@pytest.mark.parametrize("step", [8, 16, 32, 64])
def test_the_eight_sizes_are_kept_by_one_concept_a_size_and_by_a_resolution_of_1024(step):
    for size in BUCKETS:
        assert onetrainer.replay(size, onetrainer.Resizing(str(size), step)).keeps(size)
        assert aitoolkit.replay(size, aitoolkit.Resizing(1024, step)).keeps(size)


def kept_by(number, step=64):
    rule = onetrainer.Resizing(str(number), step)
    return {str(size) for size in BUCKETS if onetrainer.replay(size, rule).keeps(size)}


# Whole resolutions between which OneTrainer keeps a size, as run in its own code.
@pytest.mark.parametrize(
    ("size", "first", "last"),
    [
        ("1024x1024", 992, 1056),
        ("1152x896", 1002, 1037),
        ("896x1152", 1002, 1037),
        ("1216x832", 980, 1018),
        ("832x1216", 980, 1018),
        ("1344x768", 992, 1040),
        ("768x1344", 992, 1040),
        ("1472x704", 1019, 1040),
    ],
)
def test_onetrainer_keeps_a_size_between_two_resolutions(size, first, last):
    kept = [number for number in range(512, 1537) if size in kept_by(number)]
    assert (kept[0], kept[-1], len(kept)) == (first, last, last - first + 1)


@pytest.mark.parametrize(("step", "most"), [(64, 7), (32, 6), (16, 6), (8, 6)])
def test_onetrainer_has_no_number_that_keeps_all_eight(step, most):
    assert max(len(kept_by(number, step)) for number in range(960, 1080)) <= most


def test_onetrainers_wide_pictures_at_1024():
    fate = onetrainer.replay(Size(1216, 832), onetrainer.Resizing("1024"))
    assert fate.describe(Size(1216, 832)) == "resized to 1280x876 and cropped to 1280x832"
    assert len(kept_by(1024)) == 6
    assert kept_by(512) == set()


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        (onetrainer.Resizing("1024", bucketing=False), 1),
        (onetrainer.Resizing("1024,1024"), 6),
        (onetrainer.Resizing("1018, 1019"), 5),
        (onetrainer.Resizing("1216x832", 128), 0),
        (aitoolkit.Resizing(512), 0),
        (aitoolkit.Resizing(1024, buckets=False), 1),
        (aitoolkit.Resizing(1024, square_crop=True), 1),
        (aitoolkit.Resizing(1024, buckets=False, random_crop=True), 1),
        (aitoolkit.Resizing(1024, scale=0.5), 0),
        (aitoolkit.Resizing(2048), 8),
    ],
)
def test_what_else_can_be_written(rule, kept):
    module = onetrainer if isinstance(rule, onetrainer.Resizing) else aitoolkit
    assert sum(module.replay(size, rule).keeps(size) for size in BUCKETS) == kept


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (onetrainer.Resizing("large"), "ends the run"),
        (onetrainer.Resizing("1216x"), "ends the run"),
        (onetrainer.Resizing("1216x832", bucketing=False), "it takes a number"),
        (onetrainer.Resizing("20x20"), "too small"),
        (onetrainer.Resizing("0"), "too small"),
    ],
)
def test_what_onetrainer_cannot_read(rule, words):
    with pytest.raises(UsageError, match=words):
        onetrainer.replay(Size(1024, 1024), rule)


# As its code has it where it makes no bucket of a picture's own, or scales the picture first.
@pytest.mark.parametrize(
    ("size", "rule", "resized", "cropped", "dropped"),
    [
        ((2048, 2048), aitoolkit.Resizing(1024, scale=0.5), (1024, 1024), (1024, 1024), False),
        ((1000, 700), aitoolkit.Resizing(1024, scale=2.0), (1248, 874), (1248, 832), False),
        ((1000, 2000), aitoolkit.Resizing(1024, buckets=False), (1024, 2048), (1024, 1024), False),
        ((1000, 2000), aitoolkit.Resizing(1024, buckets=False, random_crop=True), (1000, 2000), (1024, 1024), True),
        ((1100, 2000), aitoolkit.Resizing(1024, buckets=False, random_crop=True), (1100, 2000), (1024, 1024), False),
        ((1216, 832), aitoolkit.Resizing(1024, random_crop=True), (1216, 832), (1216, 832), False),
        ((2, 2), aitoolkit.Resizing(1024, scale=0.5), (32, 32), (32, 32), False),
        ((1, 100), aitoolkit.Resizing(1024, scale=0.5), (0, 50), (0, 50), True),
    ],
)
def test_what_aitoolkit_does_without_a_bucket_of_its_own(size, rule, resized, cropped, dropped):
    fate = aitoolkit.replay(Size(*size), rule)
    assert (fate.resized, fate.cropped, bool(fate.dropped)) == (resized, cropped, dropped)
