"""Colours that stand elsewhere than in an ICC profile come out as sRGB, held against published formulas."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess

import numpy as np
import pytest
from PIL import Image

from tests.pictures import making
from tests.pictures.reference import (
    ADOBE,
    BT601_625,
    BT2020,
    D65,
    P3,
    SRGB,
    hlg_values,
    power,
    pq_values,
    rolled_off,
    srgb_light,
    srgb_values,
    to_srgb,
)

CHART = making.patches().astype(np.uint8)


def far(found, expected):
    return np.abs(found - expected).mean()


def is_right(found, expected):
    """Within 2 of 255 on average, as a viewer's rounding allows, and nowhere far off."""
    assert far(found, expected) < 1
    assert np.abs(found - expected).max() < 4


def adobe_profile(make):
    return make.rgb_profile("adobe_rgb")


@pytest.mark.parametrize("exponent", [1.0, 1 / 1.8, 0.35, 1 / 2.6])
def test_gamma_of_a_png_is_applied(crop, exponent):
    out = crop(making.png(CHART, making.gama(exponent)))
    is_right(out.pixels, to_srgb(CHART / 255, curve=power(1 / exponent)))
    assert far(out.pixels, CHART) > 4  # taken as sRGB it would have been wrong


@pytest.mark.parametrize("exponent", [0.45455, 0.45, 0.46])
def test_the_gamma_that_most_pngs_say_changes_nothing(crop, exponent):
    out = crop(making.png(CHART, making.gama(exponent), making.chrm(SRGB, D65)))
    assert np.array_equal(out.pixels, CHART)


@pytest.mark.parametrize("gamma", [None, 1 / 2.2, 1.0])
def test_primaries_of_a_png_are_applied(crop, gamma):
    out = crop(making.png(CHART, *([making.gama(gamma)] if gamma else []), making.chrm(ADOBE, D65)))
    is_right(out.pixels, to_srgb(CHART / 255, ADOBE, power(1) if gamma == 1 else srgb_light))


def test_another_white_becomes_white(crop):
    out = crop(making.png(CHART, making.gama(1.0), making.chrm(SRGB, (0.3457, 0.3585))))
    is_right(out.pixels, to_srgb(CHART / 255, SRGB, power(1), (0.3457, 0.3585)))
    assert (out.pixels[0, 40] >= 254).all()


def test_gamma_of_a_grey_png_is_applied(crop):
    grey = CHART[..., :1]
    out = crop(making.png(grey, making.gama(1.0)))
    is_right(out.pixels, to_srgb(np.repeat(grey, 3, -1) / 255, curve=power(1)))


@pytest.mark.parametrize(("code", "primaries"), [(12, P3), (9, BT2020), (5, BT601_625), (1, SRGB)])
@pytest.mark.parametrize(("transfer", "curve"), [(13, srgb_light), (8, power(1)), (4, power(2.2))])
def test_codes_of_a_png_are_applied(crop, code, primaries, transfer, curve):
    out = crop(making.png(CHART, making.cicp(code, transfer)))
    is_right(out.pixels, to_srgb(CHART / 255, primaries, curve))


def test_codes_of_a_narrow_range_are_spread(crop):
    out = crop(making.png(np.clip(CHART, 16, 235), making.cicp(1, 13, 0, 0)))
    is_right(out.pixels, (np.clip(CHART, 16, 235) - 16) / 219 * 255)


def test_the_chunk_that_counts_most_decides(crop, make):
    """PNG, third edition, 4.3: cICP before iCCP before sRGB before gAMA and cHRM."""
    weak = (making.gama(1.0), making.chrm(BT2020, D65))
    profile, codes, plain = making.iccp(adobe_profile(make)), making.cicp(12, 13), making.chunk(b"sRGB", b"\0")
    is_right(crop(making.png(CHART, codes, profile, plain, *weak)).pixels, to_srgb(CHART / 255, P3))
    is_right(crop(making.png(CHART, profile, plain, *weak)).pixels, to_srgb(CHART / 255, ADOBE, power(563 / 256)))
    assert np.array_equal(crop(making.png(CHART, plain, *weak)).pixels, CHART)
    assert np.array_equal(crop(making.png(CHART, making.cicp(1, 13), profile)).pixels, CHART)


@pytest.mark.parametrize("chunks", [(making.cicp(1, 13),), (making.chunk(b"sBIT", b"\x08\x08\x08"),), (making.gama(0.45455),)])
def test_a_png_that_says_anything_of_its_colours_is_never_copied(crop, chunks):
    data = making.png(CHART, *chunks)
    out = crop(data)
    assert out.data != data
    assert np.array_equal(out.pixels, CHART)
    plain = making.png(CHART)
    assert crop(plain).data == plain


def test_codes_that_nobody_knows_are_told(crop):
    out = crop(making.png(CHART, making.cicp(200, 13)))
    assert out.kinds == ["profile"]
    assert np.array_equal(out.pixels, CHART)


def test_values_of_few_significant_bits_span_the_whole_range(crop):
    """PNG, third edition, 11.3.3.4 and 13.12: filled up with zeros, white would be 248; filled up with themselves it is 255."""
    five = CHART >> 3
    zeros = crop(making.png(five << 3, making.chunk(b"sBIT", b"\x05\x05\x05")))
    is_right(zeros.pixels, five / 31 * 255)
    repeated = (five << 3 | five >> 2).astype(np.uint8)
    again = crop(making.png(repeated, making.chunk(b"sBIT", b"\x05\x05\x05")))
    assert np.array_equal(again.pixels, repeated)


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize(("code", "primaries"), [(12, P3), (9, BT2020)])
def test_codes_of_an_avif_are_applied(crop, code, primaries, bits):
    import imagecodecs

    if bits == 8:
        data = making.avif(Image.fromarray(CHART), code, 13)
    else:
        deep = np.round(making.patches(top=1023)).astype(np.uint16)
        data = making.with_codes(imagecodecs.avif_encode(deep, level=100, bitspersample=10, pixelformat="444"), code, 13)
    out = crop(data, "a.avif")
    # AVIF loses a little at the edges of the patches.
    assert far(out.pixels, to_srgb(CHART / 255, primaries)) < 2


def test_the_codes_of_an_ordinary_avif_change_nothing(crop):
    plain = crop(making.avif(Image.fromarray(CHART), 1, 13), "a.avif").pixels
    for codes in ((1, 1), (2, 2), (1, 6)):
        assert np.array_equal(crop(making.avif(Image.fromarray(CHART), *codes), "a.avif").pixels, plain)


@pytest.mark.parametrize("matrix", range(1, 16))
def test_a_matrix_of_an_avif_is_decoded_or_named(crop, matrix):
    data = making.with_matrix(making.avif(Image.fromarray(CHART)), matrix)
    try:
        Image.open(io.BytesIO(data)).load()
    except RuntimeError:
        reason = f"has colours of matrix {matrix} ("
        assert [said[: len(reason)] for said in crop(data, "a.avif").why] == [reason]
    else:
        assert crop(data, "a.avif").pixels.shape == CHART.shape


def test_colours_in_the_stream_of_an_avif_count_where_no_box_says_any(crop):
    plain = making.avif(Image.fromarray(CHART))
    out = crop(making.with_colours_in_the_stream(plain, 12, 13), "a.avif")
    assert out.kinds == []
    assert far(out.pixels, to_srgb(CHART / 255, P3)) < 2
    assert crop(making.with_colours_in_the_stream(plain, 9, 16), "a.avif").kinds == ["hdr"]
    ordinary = crop(making.with_colours_in_the_stream(plain, 1, 13), "a.avif")
    assert ordinary.kinds == []
    assert np.array_equal(ordinary.pixels, crop(plain, "b.avif").pixels)


def test_an_embedded_profile_counts_more_than_the_codes_of_an_avif(crop, make):
    data = making.avif(Image.fromarray(CHART), 9, 13, icc_profile=adobe_profile(make))
    assert far(crop(data, "a.avif").pixels, to_srgb(CHART / 255, ADOBE, power(563 / 256))) < 2


def fixed(primaries):
    """CIEXYZTRIPLE: x, y and z of each as 2.30 fixed point (Windows GDI)."""
    return [round(value * 2**30) for x, y in primaries for value in (x, y, 1 - x - y)]


def test_endpoints_and_gamma_of_a_bmp_are_applied(crop):
    data = making.bmp(CHART[..., ::-1], header=108, endpoints=fixed(ADOBE), gamma=round(1.8 * 65536))
    is_right(crop(data, "a.bmp").pixels, to_srgb(CHART / 255, ADOBE, power(1.8)))


@pytest.mark.parametrize("header", [40, 108])
def test_a_bmp_that_says_nothing_of_its_colours_is_srgb(crop, header):
    assert np.array_equal(crop(making.bmp(CHART[..., ::-1], header=header), "a.bmp").pixels, CHART)


def test_the_embedded_profile_of_a_bmp_is_applied(crop, make):
    data = making.bmp(CHART[..., ::-1], header=124, space=b"DEBM", profile=adobe_profile(make))
    is_right(crop(data, "a.bmp").pixels, to_srgb(CHART / 255, ADOBE, power(563 / 256)))


def test_a_profile_that_a_bmp_only_links_to_is_told(crop):
    data = making.bmp(CHART[..., ::-1], header=124, space=b"KNIL", profile=b"profile.icm\0")
    assert crop(data, "a.bmp").kinds == ["profile"]


def exif_of(space, index):
    """EXIF with a colour space and an interoperability index (EXIF 2.32, 4.6.5 and 4.6.7)."""
    exif = Image.Exif()
    exif._ifds[0x8769] = {0xA001: space, 0xA005: {1: index, 2: b"0100"}}
    return exif


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_adobe_rgb_by_exif_alone_is_applied_and_told(crop, suffix):
    options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {"lossless": True}
    target = io.BytesIO()
    Image.fromarray(CHART).save(target, {"jpg": "JPEG", "webp": "WEBP"}[suffix], exif=exif_of(0xFFFF, "R03"), **options)
    out = crop(target.getvalue(), f"_DSC1.{suffix}")
    assert out.kinds == ["profile-guessed"]
    assert far(out.pixels, to_srgb(CHART / 255, ADOBE, power(563 / 256))) < 2


@pytest.mark.parametrize(("space", "index"), [(1, "R98"), (0xFFFF, "R98"), (1, "R03")])
def test_other_exif_says_nothing_of_adobe_rgb(crop, space, index):
    target = io.BytesIO()
    Image.fromarray(CHART).save(target, "WEBP", exif=exif_of(space, index), lossless=True)
    out = crop(target.getvalue(), "a.webp")
    assert out.kinds == []
    assert np.array_equal(out.pixels, CHART)


# --- HDR: light of up to white is as bright as in SDR, and what is brighter keeps its order and its hue ---------------

WHITE = 203  # ITU-R BT.2408: cd/m² of white paper
TO_2020 = np.linalg.inv(np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]))


def hdr_chart():
    """The chart as HDR of the same looks: PQ in BT.2020 with white at 203 cd/m² (the matrix is that of ITU-R BT.2087)."""
    light = srgb_light(CHART / 255) @ TO_2020.T
    return pq_values(np.clip(light, 0, None) * WHITE)


@pytest.mark.parametrize("bits", [8, 16])
def test_hdr_without_highlights_looks_as_in_sdr(crop, bits):
    top = 2**bits - 1
    stored = np.round(hdr_chart() * top).astype(np.uint8 if bits == 8 else np.uint16)
    out = crop(making.png(stored, making.cicp(9, 16)))
    assert out.kinds == ["hdr"]
    assert "BT.2390" in out.sentences[-1] or any("BT.2390" in sentence for sentence in out.sentences)
    assert far(out.pixels, CHART) < (4 if bits == 8 else 1)


def test_hdr_in_an_avif_looks_as_in_sdr(crop):
    import imagecodecs

    stored = np.round(hdr_chart() * 1023).astype(np.uint16)
    encoded = imagecodecs.avif_encode(stored, level=100, bitspersample=10, pixelformat="444")
    out = crop(making.with_codes(encoded, 9, 16), "a.avif")
    assert out.kinds == ["hdr"]
    assert far(out.pixels, CHART) < 2


def test_hlg_of_less_than_white_looks_as_in_sdr(crop):
    levels = np.linspace(0, 255, making.SIDE)
    nits = srgb_light(levels / 255) * WHITE
    stored = np.round(hlg_values(nits) * 65535).astype(np.uint16)
    pixels = np.broadcast_to(stored[None, :, None], (making.SIDE, making.SIDE, 3))
    out = crop(making.png(pixels, making.cicp(9, 18)))
    assert np.abs(out.pixels[5, :, 1] - levels).max() < 1.5
    assert out.kinds == ["hdr"]


def test_highlights_of_hdr_are_rolled_off_in_order(crop):
    nits = np.geomspace(0.5, 4000, making.SIDE)
    stored = np.round(pq_values(nits) * 65535).astype(np.uint16)
    pixels = np.broadcast_to(stored[None, :, None], (making.SIDE, making.SIDE, 3))
    row = crop(making.png(pixels, making.cicp(9, 16))).pixels[5, :, 1]
    assert (np.diff(row) >= 0).all()
    assert row[-1] == 255
    assert 215 < row[np.searchsorted(nits, 1000)] < 255  # what is twice as bright as another is told from it
    assert 150 < row[np.searchsorted(nits, WHITE)] < 235  # and white paper stays light
    dark = nits < 20
    assert np.abs(row[dark] - to_srgb(np.repeat(nits[dark, None] / WHITE, 3, 1), curve=lambda x: x)[:, 1]).max() < 1


@pytest.mark.parametrize("peak", [400, 1000, 4000, 10_000])
def test_highlights_are_rolled_off_as_bt_2390_says(crop, peak):
    nits = np.geomspace(0.5, peak, making.SIDE)
    stored = np.round(pq_values(nits) * 65535).astype(np.uint16)
    pixels = np.broadcast_to(stored[None, :, None], (making.SIDE, making.SIDE, 3))
    row = crop(making.png(pixels, making.cicp(9, 16))).pixels[5, :, 1]
    assert np.abs(row - srgb_values(rolled_off(nits, peak, WHITE) / WHITE) * 255).max() <= 1


def test_a_profile_that_names_pq_is_hdr(crop, make):
    profile = bytearray(make.rgb_profile("display_p3"))
    (count,) = struct.unpack_from(">I", profile, 128)
    profile[132:132] = struct.pack(">4sII", b"cicp", len(profile) + 12, 12)
    for at in range(144, 144 + 12 * count, 12):
        struct.pack_into(">I", profile, at + 4, struct.unpack_from(">I", profile, at + 4)[0] + 12)
    struct.pack_into(">I", profile, 128, count + 1)
    profile += b"cicp\0\0\0\0" + bytes((9, 16, 0, 1))
    struct.pack_into(">I", profile, 0, len(profile))
    out = crop(making.png(np.round(hdr_chart() * 65535).astype(np.uint16), making.iccp(bytes(profile))))
    assert out.kinds == ["hdr"]
    assert far(out.pixels, CHART) < 1


@pytest.mark.skipif(shutil.which("vips") is None, reason="libvips is not installed")
def test_libvips_agrees_on_16_bits_and_a_profile(crop, make, tmp_path):
    deep = np.round(making.patches(top=65535)).astype(np.uint16)
    data = making.png(deep, making.iccp(adobe_profile(make)))
    (tmp_path / "a.png").write_bytes(data)
    subprocess.run(
        [
            "vips",
            "icc_transform",
            tmp_path / "a.png",
            tmp_path / "b.png",
            "srgb",
            "--embedded",
            "--intent",
            "relative",
            "--depth",
            "8",
        ],
        check=True,
        capture_output=True,
    )
    with Image.open(tmp_path / "b.png") as image:
        assert far(crop(data).pixels, np.asarray(image.convert("RGB"))) < 1
