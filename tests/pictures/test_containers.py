"""Which of several pictures in a file is meant, which part of it, and which way up."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.pictures import making
from tests.pictures.making import page, tiff

CHART = making.patches().astype(np.uint8)
SMALL = np.full((76, 76, 3), 40, np.uint8)
RGB = 2


@pytest.mark.parametrize("right", [0, 40, -40])
@pytest.mark.parametrize("bits", [8, 10])
def test_the_clean_aperture_of_an_avif_is_the_picture(crop, right, bits):
    import imagecodecs

    wide = np.pad(CHART, ((60, 80), (100, 120), (0, 0)), constant_values=7)
    if bits == 8:
        data = making.avif(Image.fromarray(wide))
    else:
        deep = np.round(wide / 255 * 1023).astype(np.uint16)
        data = making.with_codes(imagecodecs.avif_encode(deep, level=100, bitspersample=10, pixelformat="444"), 9, 13)
    # The window's centre lies 10 left of the picture's and 10 above it.
    data = making.with_clean_aperture(data, making.SIDE, making.SIDE, -10 + right, -10)
    whole = crop(data, "a.avif").pixels
    assert whole.shape == CHART.shape
    if bits == 8:
        shown = wide[60 : 60 + making.SIDE, 100 + right : 100 + right + making.SIDE]
        assert np.abs(whole - shown).mean() < 1.5


def test_a_clean_aperture_outside_the_picture_is_told(crop):
    out = crop(making.with_clean_aperture(making.avif(Image.fromarray(CHART)), 2000, 2000), "a.avif")
    assert out.kinds == ["side-data"]
    assert np.abs(out.pixels - CHART).mean() < 1.5


def test_an_avif_whose_alpha_says_no_size_is_read(crop):
    """What libavif is strict about, browsers are not."""
    alpha = np.full((*CHART.shape[:2], 1), 255, np.uint8)
    alpha[:, :128] = 0
    data = making.avif(Image.fromarray(np.concatenate([CHART, alpha], -1)))
    for name, content in (("a.avif", data), ("b.avif", making.without_size_of_alpha(data))):
        out = crop(content, name)
        assert np.abs(out.pixels[:, 132:] - CHART[:, 132:]).mean() < 1.5
        assert (out.pixels[:, :124] > 250).all()


def test_an_avif_with_two_lists_of_properties_is_read(crop):
    alpha = np.full((*CHART.shape[:2], 1), 255, np.uint8)
    data = making.avif(Image.fromarray(np.concatenate([CHART, alpha], -1)))
    out = crop(making.with_two_lists(data), "a.avif")
    assert np.abs(out.pixels - CHART).mean() < 1.5


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("thumbnail_first", [False, True])
def test_the_largest_page_of_a_tiff_is_meant(crop, bits, thumbnail_first):
    chart = CHART if bits == 8 else CHART.astype(np.uint16) * 257
    pages = [page(SMALL, 8, RGB, _254=1), page(chart, bits, RGB, _254=0)]
    out = crop(tiff(*(pages if thumbnail_first else pages[::-1])), "a.tif")
    assert np.array_equal(out.pixels, CHART)
    assert out.kinds == ["frames"]
    assert ("page 2" in "".join(out.sentences)) == thumbnail_first


def test_of_pages_of_one_size_the_first_is_meant(crop):
    out = crop(tiff(page(CHART, 8, RGB), page(255 - CHART, 8, RGB)), "a.tif")
    assert np.array_equal(out.pixels, CHART)
    assert "only the first" in "".join(out.sentences)


def test_the_first_picture_of_an_mpo_is_meant(crop):
    target = io.BytesIO()
    Image.fromarray(CHART).save(
        target, "MPO", save_all=True, append_images=[Image.fromarray(255 - CHART)], quality=95, subsampling=0
    )
    assert np.abs(crop(target.getvalue(), "a.jpg").pixels - CHART).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_avif_of_which_a_window_is_meant_is_upright(crop, orientation):
    wide = np.pad(CHART, ((0, 128), (0, 256), (0, 0)), constant_values=7)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = making.with_clean_aperture(making.avif(Image.fromarray(wide), exif=exif), making.SIDE, making.SIDE, -128, -64)
    turned = {
        1: CHART,
        2: CHART[:, ::-1],
        3: CHART[::-1, ::-1],
        4: CHART[::-1],
        5: CHART.transpose(1, 0, 2),
        6: CHART.transpose(1, 0, 2)[:, ::-1],
        7: CHART.transpose(1, 0, 2)[::-1, ::-1],
        8: CHART.transpose(1, 0, 2)[::-1],
    }[orientation]
    assert np.abs(crop(data, "a.avif").pixels - turned).mean() < 1.5
