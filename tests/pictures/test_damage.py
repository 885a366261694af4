"""Malformed side data of every format: the pixels are used and it is told; what is cut or made up is refused for what it is."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.pictures import making
from tests.pictures.making import bmp, chunk, page, png, tiff
from tests.pictures.reference import ADOBE, P3, power, to_srgb

CHART = making.patches().astype(np.uint8)
DEEP = CHART.astype(np.uint16) * 257
JPEG = making.save(CHART, "JPEG", quality=95)
WEBP = making.save(CHART, "WEBP", lossless=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
NOISE = np.clip(np.random.default_rng(5).normal(128, 30, (making.SIDE, making.SIDE, 3)), 0, 255).astype(np.uint8)


def segment(marker, body):
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


# --- PNG ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"iCCP", b"tRNS"])
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("pixels", [CHART, DEEP])
def test_a_chunk_too_short_for_what_it_is_costs_nothing(crop, kind, behind, pixels):
    """Its checksum is right: a program wrote it so."""
    short = chunk(kind)
    out = crop(png(pixels, behind=short) if behind else png(pixels, short))
    assert np.array_equal(out.pixels, CHART)
    assert out.kinds == ["side-data"]
    assert kind.decode() in out.sentences[-1] + out.sentences[0]


@pytest.mark.parametrize("body", [b"name without an end", b"a\0\1" + zlib.compress(b"x" * 200), b"a\0\0no deflate"])
def test_a_profile_that_cannot_be_unpacked_is_told_and_gamma_counts(crop, body):
    out = crop(png(CHART, chunk(b"iCCP", body), making.gama(1.0)))
    assert out.kinds == ["side-data"]
    assert np.abs(out.pixels - to_srgb(CHART / 255, curve=power(1))).max() <= 1


def test_a_profile_whose_packing_has_a_wrong_checksum_is_applied(crop, make):
    packed = zlib.compress(make.rgb_profile("adobe_rgb"))[:-4] + b"zzzz"
    out = crop(png(CHART, chunk(b"iCCP", b"some\0\0" + packed)))
    assert np.abs(out.pixels - to_srgb(CHART / 255, ADOBE, power(563 / 256))).max() <= 1


@pytest.mark.parametrize("body", [b"", b"\0\0", b"\0" * 26, b"\xff" * 40])
@pytest.mark.parametrize("kind", [b"acTL", b"fcTL", b"fdAT"])
def test_a_broken_animation_leaves_the_default_picture(crop, kind, body):
    out = crop(png(CHART, chunk(b"acTL", struct.pack(">II", 2, 0)), behind=chunk(kind, body)))
    assert np.array_equal(out.pixels, CHART)
    assert out.kinds == ["frames"]


@pytest.mark.parametrize(
    "points",
    [
        (0.3,) * 8,
        (0.3127, 0.329, 0.64, 0.33, 0.64, 0.33, 0.15, 0.06),
        (0.3127, 0.329, 2, 3, 0.3, 0.6, 0.15, 0.06),
        (0.3127, 0) * 4,
    ],
)
@pytest.mark.parametrize("pixels", [CHART, DEEP])
def test_impossible_chromaticities_are_told(crop, points, pixels):
    body = struct.pack(">8I", *(round(value * 100_000) for value in points))
    out = crop(png(pixels, chunk(b"cHRM", body)))
    assert np.array_equal(out.pixels, CHART)
    assert out.kinds == ["profile"]


@pytest.mark.parametrize("pixels", [CHART, DEEP])
def test_a_chunk_that_nobody_knows_is_told(crop, pixels):
    out = crop(png(pixels, chunk(b"ABCD", b"x")))
    assert np.array_equal(out.pixels, CHART)
    assert out.kinds == ["side-data"]


def test_a_damaged_palette_and_apples_own_png_are_refused_by_name(crop):
    target = io.BytesIO()
    Image.fromarray(CHART).quantize(16).save(target, "PNG")
    paletted = bytearray(target.getvalue())
    paletted[paletted.index(b"PLTE") + 5] ^= 0xFF
    assert ["PLTE" in why for why in crop(bytes(paletted)).why] == [True]
    whole = png(CHART)
    assert ["Apple" in why for why in crop(whole[:8] + chunk(b"CgBI", b"\x50\0\x20\2") + whole[8:]).why] == [True]


# --- JPEG --------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"ICC_PROFILE\0", b"ICC_PROFILE\0\1", b"ICC"])
def test_a_short_segment_of_a_profile_costs_nothing(crop, body):
    out = crop(JPEG[:2] + segment(0xE2, body) + JPEG[2:], "a.jpg")
    assert np.array_equal(out.pixels, crop(JPEG, "b.jpg").pixels)
    assert out.kinds == ["side-data"]


def test_broken_notes_of_photoshop_cost_nothing(crop):
    out = crop(JPEG[:2] + segment(0xED, b"Photoshop 3.0\x008BIM\4\4") + JPEG[2:], "a.jpg")
    assert np.array_equal(out.pixels, crop(JPEG, "b.jpg").pixels)
    assert out.kinds == ["side-data"]


def test_pieces_of_a_profile_are_put_together_and_one_that_lacks_is_told(crop, make):
    profile = make.rgb_profile("adobe_rgb")

    def pieces(*places, number=2):
        half = len(profile) // 2
        parts = {1: profile[:half], 2: profile[half:]}
        return b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes((place, number)) + parts[place]) for place in places)

    whole = crop(JPEG[:2] + pieces(1, 2) + JPEG[2:], "a.jpg").pixels
    assert not np.array_equal(whole, crop(JPEG, "b.jpg").pixels)
    for order in ((2, 1), (1, 1, 2)):
        out = crop(JPEG[:2] + pieces(*order) + JPEG[2:], "a.jpg")
        assert np.array_equal(out.pixels, whole)
        assert out.kinds == []
    for order, number in (((1,), 2), ((1, 2), 3)):
        out = crop(JPEG[:2] + pieces(*order, number=number) + JPEG[2:], "a.jpg")
        assert np.array_equal(out.pixels, crop(JPEG, "b.jpg").pixels)
        assert out.kinds == ["profile"]


def test_the_other_way_to_say_adobe_rgb_in_exif_counts(crop):
    """Outside the standard, the colour space is 2 (ExifTool, EXIF tags)."""
    exif = Image.Exif()
    exif._ifds[0x8769] = {0xA001: 2}
    out = crop(making.save(CHART, "WEBP", lossless=True, exif=exif), "a.webp")
    assert out.kinds == ["profile-guessed"]
    assert np.abs(out.pixels - to_srgb(CHART / 255, ADOBE, power(563 / 256))).max() <= 1


def test_a_camera_called_after_adobe_rgb_keeps_its_orientation(crop):
    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = "R03", 6
    exif._ifds[0x8769] = {0xA001: 0xFFFF}
    out = crop(making.save(CHART, "WEBP", lossless=True, exif=exif), "a.webp")
    assert np.array_equal(out.pixels, np.rot90(CHART, -1))
    assert out.kinds == []


def test_exif_left_from_another_picture_says_nothing_of_a_png(crop):
    exif = Image.Exif()
    exif._ifds[0x8769] = {0xA001: 0xFFFF, 0xA005: {1: "R03", 2: b"0100"}}
    out = crop(making.save(CHART, "PNG", exif=exif))
    assert np.array_equal(out.pixels, CHART)
    assert out.kinds == []


@pytest.mark.parametrize("before", [1, 2, -1])
def test_a_progressive_jpeg_that_is_cut_between_its_scans_is_refused(crop, before):
    data = making.save(NOISE, "JPEG", quality=90, progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert crop(data[: scans[before]], "a.jpg").pixels is None
    assert crop(data[:-2], "b.jpg").kinds == ["side-data"]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_whose_end_comes_too_early_is_refused(crop, progressive, mode):
    """Decoders fill up the rest with one colour, and say nothing."""
    pixels = NOISE if mode == "RGB" else NOISE[..., 0]
    data = making.save(pixels, "JPEG", quality=90, progressive=progressive)
    if progressive:
        at = data.index(b"\xff\xda") + 400
        data = data[:at] + b"\xff\xd9"
    else:
        data = data[: len(data) // 2] + b"\xff\xd9"
    assert ["end early" in why for why in crop(data, "a.jpg").why] == [True]


@pytest.mark.parametrize("colour", [(200, 60, 60), (255, 255, 255), (0, 0, 0)])
@pytest.mark.parametrize("behind", [b"", JPEG])
def test_a_jpeg_whose_last_rows_are_one_colour_is_whole(crop, colour, behind):
    pixels = NOISE.copy()
    pixels[-64:] = colour
    out = crop(making.save(pixels, "JPEG", quality=90) + behind, "a.jpg")
    assert out.pixels is not None
    assert out.kinds == []


def test_a_jpeg_taller_in_its_header_than_in_its_pixels_is_refused(crop):
    data = bytearray(making.save(NOISE[: making.SIDE // 2], "JPEG", quality=90))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 2] = struct.pack(">H", making.SIDE)
    assert ["end early" in why for why in crop(bytes(data), "a.jpg").why] == [True]


# --- WebP, BMP ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        WEBP[:-3],
        WEBP[: WEBP.index(b"EXIF")],
        WEBP[:4] + b"\0\0\0\x7f" + WEBP[8:],
        WEBP[:4] + b"\0\0\0\0" + WEBP[8:],
    ],
    ids=["cut-in-exif", "cut-behind-pixels", "too-long", "no-length"],
)
def test_a_webp_that_is_cut_behind_its_pixels_is_used_and_told(crop, data):
    out = crop(data, "a.webp")
    assert np.array_equal(out.pixels, CHART)
    assert "side-data" in out.kinds
    assert out.data != data


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 90}])
def test_a_webp_that_is_cut_in_its_pixels_is_refused_for_that(crop, options):
    data = making.save(NOISE, "WEBP", **options)
    for share in (0.3, 0.9):
        assert ["cut within its pixels" in why for why in crop(data[: int(len(data) * share)], "a.webp").why] == [True]


def test_of_an_animated_webp_that_is_cut_later_the_first_frame_is_used(crop):
    target = io.BytesIO()
    frames = [Image.fromarray(CHART), Image.fromarray(NOISE)]
    frames[0].save(target, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert np.array_equal(crop(target.getvalue()[:-1000], "a.webp").pixels, CHART)


def test_a_palette_of_more_colours_than_there_are_is_cut_and_told(crop):
    target = io.BytesIO()
    Image.fromarray(CHART).quantize(64).save(target, "BMP")
    data = bytearray(target.getvalue())
    struct.pack_into("<I", data, 46, 300)
    out = crop(bytes(data), "a.bmp")
    assert np.array_equal(out.pixels, CHART)
    assert out.kinds == ["side-data"]


def test_endpoints_that_span_no_space_are_told(crop):
    out = crop(bmp(CHART[..., ::-1], header=108, endpoints=(2**30,) * 9, gamma=65536), "a.bmp")
    assert np.array_equal(out.pixels, CHART)
    assert out.kinds == ["profile"]


# --- TIFF --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16])
def test_pages_that_lead_in_a_circle_are_read_once(crop, bits):
    data = tiff(page(DEEP if bits == 16 else CHART, bits, 2))
    out = crop(data[:-4] + data[4:8], "a.tif")
    assert np.array_equal(out.pixels, CHART)


@pytest.mark.parametrize("change", [{339: (4, 4, 4)}, {262: None}], ids=["undefined", "no-photometric"])
@pytest.mark.parametrize("bits", [8, 16])
def test_what_a_tiff_leaves_unsaid_is_taken_as_libtiff_takes_it(crop, change, bits):
    made = {tag: value for tag, value in (page(DEEP if bits == 16 else CHART, bits, 2) | change).items() if value is not None}
    assert np.array_equal(crop(tiff(made), "a.tif").pixels, CHART)


def test_a_larger_mask_is_not_the_picture(crop):
    mask = page(np.ones((making.SIDE * 2, making.SIDE * 2, 1), np.uint8), 1, 4, _254=4)
    out = crop(tiff(page(CHART, 8, 2), mask), "a.tif")
    assert np.array_equal(out.pixels, CHART)
    assert out.kinds == ["frames"]


@pytest.mark.parametrize("compression", ["webp", "jpegxl", "png"])
def test_a_tiff_that_pillow_cannot_unpack_is_read(crop, compression):
    import tifffile

    target = io.BytesIO()
    level = {"compressionargs": {"level": 101}} if compression == "webp" else {}
    tifffile.imwrite(target, CHART, photometric="rgb", compression=compression, **level)
    assert np.array_equal(crop(target.getvalue(), "a.tif").pixels, CHART)


def test_bare_tiles_that_stand_over_the_edge_are_read(crop):
    import tifffile

    grey = CHART[..., 0]
    target = io.BytesIO()
    tifffile.imwrite(target, 255 - grey, photometric="miniswhite", tile=(96, 96))
    assert np.array_equal(crop(target.getvalue(), "a.tif").pixels[..., 0], grey)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (page(CHART[..., :1], 8, 3), "no colour map"),
        (page(CHART, 8, 2) | {258: (5, 6, 5)}, "5, 6, 5 bits"),
        (page(CHART, 8, 2) | {259: 32809}, "THUNDERSCAN"),
        (page(CHART, 8, 6, _530=(2, 1)), "YCBCR"),
        (page(DEEP, 16, 2) | {"data": [b""]}, "empty"),
        (page(CHART, 8, 2) | {259: 5555}, "5555"),
    ],
)
def test_other_tiffs_are_refused_for_what_they_are(crop, made, reason):
    assert [reason in why for why in crop(tiff(made), "a.tif").why] == [True]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_cut_before_its_pages_is_refused_for_that(crop, bits):
    data = tiff(page(DEEP if bits == 16 else CHART, bits, 2))
    assert ["was it cut" in why for why in crop(data[: len(data) // 2], "a.tif").why] == [True]


@pytest.mark.parametrize(
    "data", [tiff(page(CHART, 8, 2) | {256: b"\1"}), tiff(page(DEEP, 16, 2) | {257: b"abcdefgh", 277: b"x"})]
)
def test_no_reason_is_one_of_pythons_own(crop, data):
    for why in crop(data, "a.tif").why:
        assert not any(word in why for word in ("'int'", "operand", "NoneType", "object", "tuple"))


def test_display_p3_by_profile_in_a_turned_progressive_jpeg_is_right(crop, make):
    """All of it together, so that none of the mends costs an ordinary picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = make.rgb_profile("adobe_rgb")
    data = making.save(CHART, "JPEG", quality=100, subsampling=0, progressive=True, exif=exif, icc_profile=profile)
    out = crop(data, "a.jpg")
    assert out.kinds == []
    expected = np.rot90(to_srgb(CHART / 255, ADOBE, power(563 / 256)), -1)
    assert np.abs(out.pixels - expected).mean() < 2
    assert np.abs(out.pixels - np.rot90(to_srgb(CHART / 255, P3), -1)).mean() > 2
