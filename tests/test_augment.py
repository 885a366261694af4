"""Augmentations: what is drawn, and what becomes of the pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from datakit.errors import UsageError
from datakit.geometry import Box, Size
from datakit.picture.augment import AUGMENTATIONS, augment, check_strengths, draw, enlargement_of, parse_augmentations
from datakit.picture.encoding import encode
from datakit.picture.images import open_picture

SIZE = Size(320, 240)
WHOLE = Box(0, 0, *SIZE)


@pytest.fixture
def photo(pictures, tmp_path):
    """A photograph of 320x240 without losses, and the same at three times the size."""
    with Image.open(pictures / "mountains.jpg") as picture:
        large = picture.convert("RGB").resize((960, 720), Image.Resampling.LANCZOS)
    large.save(tmp_path / "large.png")
    large.resize(SIZE, Image.Resampling.LANCZOS).save(tmp_path / "small.png")
    return open_picture(tmp_path / "small.png"), open_picture(tmp_path / "large.png")


def pixels(image):
    return np.asarray(image).astype(int)


def test_names_and_strengths_are_read():
    assert parse_augmentations("") == {}
    assert parse_augmentations(" rotate = 5 , flip") == {"flip": 0.5, "rotate": 5.0}
    assert parse_augmentations(",".join(AUGMENTATIONS)) == {name: kind.default for name, kind in AUGMENTATIONS.items()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spin", "augmentation 'spin' is unknown: choose from flip, rotate, crop, hue"),
        ("flip,flip", "given twice"),
        ("rotate=x", "'x' is no number: write rotate=3"),
        ("rotate=90", "rotate=90 is not between 0 and 45: degrees"),
        ("hue=nan", "hue=nan is not between"),
        ("crop=0.1", "not between 0.5 and 1"),
    ],
)
def test_what_cannot_be_read_is_explained(text, message):
    with pytest.raises(UsageError, match=message.replace(".", r"\.")):
        parse_augmentations(text)


def test_strengths_given_as_data_are_checked_too():
    with pytest.raises(UsageError, match="unknown"):
        check_strengths({"spin": 1})


@given(st.integers(2, 100), st.sets(st.sampled_from(sorted(AUGMENTATIONS)), min_size=1))
def test_what_is_drawn_depends_on_no_other_augmentation(copy, names):
    every = draw({name: kind.default for name, kind in AUGMENTATIONS.items()}, 42, "a.jpg", copy)
    some = draw({name: AUGMENTATIONS[name].default for name in names}, 42, "a.jpg", copy)
    assert some == {name: value for name, value in every.items() if name in names}


def test_no_strength_draws_no_change():
    nothing = {name: 1.0 if name == "crop" else 0.0 for name in AUGMENTATIONS}
    assert draw(nothing, 42, "a.jpg", 2) == {}


def test_draws_stay_in_their_range():
    drawn = [draw({"rotate": 3, "crop": 0.9, "brightness": 0.1, "blur": 2, "flip": 0.5}, 1, str(n), 2) for n in range(300)]
    assert all(abs(each["rotate"]) <= 3 and abs(each["brightness"] - 1) <= 0.1 and each["blur"] <= 2 for each in drawn)
    assert all(0.9 <= each["crop"][0] <= 1 and max(map(abs, each["crop"][1:])) <= 1 for each in drawn)
    assert 110 < sum("flip" in each for each in drawn) < 190


def test_nothing_drawn_changes_nothing(photo):
    small, _ = photo
    with Image.open(io.BytesIO(small.data)) as picture:
        assert np.array_equal(pixels(augment(small, WHOLE, SIZE, {})), pixels(picture))
        assert np.array_equal(pixels(augment(small, WHOLE, SIZE, {"flip": True})), pixels(picture)[:, ::-1])


@pytest.mark.parametrize("which", [0, 1])
def test_a_turn_loses_no_sharpness(photo, which):
    picture = photo[which]
    window = Box(0, 0, *picture.size)
    straight, turned = (pixels(augment(picture, window, SIZE, drawn)) for drawn in ({}, {"rotate": 0.0001}))
    assert np.abs(turned - straight).mean() < 0.5
    assert np.abs(np.diff(turned)).mean() > 0.98 * np.abs(np.diff(straight)).mean()


@pytest.mark.parametrize("angle", [-45.0, -3.0, 0.5, 10.0, 45.0])
@pytest.mark.parametrize("share", [(1.0, 0.0, 0.0), (0.8, 1.0, -1.0)])
@pytest.mark.parametrize("size", [(320, 240), (640, 480), (1600, 1200)])
def test_a_turned_window_never_shows_a_border(tmp_path, angle, share, size):
    """Whatever lies outside the picture would have to be made up; inside, all is white here."""
    Image.new("RGB", size, "white").save(tmp_path / "white.png")
    picture = open_picture(tmp_path / "white.png")
    turned = augment(picture, Box(0, 0, *size), SIZE, {"rotate": angle, "crop": share})
    assert turned.size == SIZE
    assert pixels(turned).min() == 255


def test_a_turn_goes_counterclockwise_about_the_middle(tmp_path):
    canvas = Image.new("RGB", (600, 600), "white")
    ImageDraw.Draw(canvas).rectangle((420, 290, 440, 310), fill="black")  # right of the middle
    canvas.save(tmp_path / "dot.png")
    turned = pixels(augment(open_picture(tmp_path / "dot.png"), Box(100, 100, 500, 500), Size(400, 400), {"rotate": 45.0}))
    y, x = (values.mean() for values in np.nonzero(turned[..., 0] < 128))
    # 130 right of the middle becomes 92 right of it and 92 above it.
    assert abs(x - 292) < 2
    assert abs(y - 108) < 2


def test_a_turn_reaches_beyond_the_box_where_the_source_goes_on(photo):
    _, large = photo
    middle = Box(320, 240, 640, 480)
    assert enlargement_of(large.size, middle, SIZE, {"rotate": 20.0}) == pytest.approx(1)
    assert enlargement_of(SIZE, WHOLE, SIZE, {"rotate": 20.0}) > 1.2


def test_a_crop_keeps_the_share_and_place_drawn(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 400).astype(np.uint8)[None, :, None], (300, 1, 3))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    picture = open_picture(tmp_path / "ramp.png")
    right = pixels(augment(picture, Box(0, 0, 400, 300), SIZE, {"crop": (0.5, 1.0, 0.0)}))
    assert abs(right[0, 0, 0] - 128) < 3
    assert right[0, -1, 0] > 253


GREY = 120.0


def flat(name, value, colour=(200, 100, 50)):
    change = AUGMENTATIONS[name].change
    return change(np.tile(np.array(colour, np.float32), (4, 4, 1)), value)[0, 0]


def test_colours_change_as_the_formulas_say():
    assert flat("brightness", 1.1) == pytest.approx((220, 110, 55))
    assert flat("contrast", 0.5, (100, 100, 100)) == pytest.approx((100, 100, 100))
    luma = 0.2126 * 200 + 0.7152 * 100 + 0.0722 * 50
    assert flat("grayscale", True) == pytest.approx((luma, luma, luma))
    assert flat("saturation", 0.0) == pytest.approx((luma, luma, luma), abs=0.01)
    assert flat("saturation", 1.0) == pytest.approx((200, 100, 50))
    assert flat("hue", 360.0) == pytest.approx((200, 100, 50), abs=0.01)
    assert flat("hue", 120.0, (255, 0, 0)).argmax() == 1


@pytest.mark.parametrize("degrees", [5.0, 90.0, 180.0])
def test_hue_keeps_grey_and_luma(degrees):
    assert flat("hue", degrees, (GREY, GREY, GREY)) == pytest.approx((GREY, GREY, GREY), abs=0.05)
    assert flat("hue", degrees) @ (0.2126, 0.7152, 0.0722) == pytest.approx(117.65, abs=0.3)


def test_noise_has_the_deviation_drawn_and_is_the_same_again():
    grey = np.full((200, 200, 3), GREY, np.float32)
    noisy = AUGMENTATIONS["noise"].change(grey, (5.0, 123.0))
    assert noisy.mean() == pytest.approx(GREY, abs=0.1)
    assert noisy.std() == pytest.approx(5, abs=0.1)
    assert np.array_equal(noisy, AUGMENTATIONS["noise"].change(grey, (5.0, 123.0)))
    assert not np.array_equal(noisy, AUGMENTATIONS["noise"].change(grey, (5.0, 124.0)))
    # Drawn from the raw stream of PCG64: if this changes, every dataset with noise changes.
    assert noisy[0, 0] == pytest.approx(NOISE, abs=0.001)


NOISE = (127.6786, 119.1149, 122.7988)


def test_everything_at_once_is_a_picture_of_the_same_size(photo):
    _, large = photo
    drawn = draw({name: kind.most for name, kind in AUGMENTATIONS.items()} | {"crop": 0.5}, 7, "x", 3)
    once, again = (augment(large, Box(0, 0, 960, 720), SIZE, drawn) for _ in range(2))
    assert once.size == SIZE
    assert once.mode == "RGB"
    assert encode(once, "png", 95) == encode(again, "png", 95)
