"""What is damaged beside the pixels costs no picture; what is damaged in them costs the picture."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from tests.pictures import making
from tests.pictures.making import chunk, png

CHART = making.patches().astype(np.uint8)
JPEG = making.save(CHART, "JPEG", quality=95)


@pytest.mark.parametrize("kind", [b"iCCP", b"tEXt", b"pHYs", b"gAMA", b"tIME", b"eXIf", b"iTXt", b"bKGD", b"cICP", b"prIv"])
@pytest.mark.parametrize("behind", [False, True])
def test_a_wrong_checksum_of_what_nobody_needs_is_told(crop, kind, behind):
    damaged = chunk(kind, b"\0\1\2\3" * 3, check=7)
    out = crop(png(CHART, behind=damaged) if behind else png(CHART, damaged))
    assert np.array_equal(out.pixels, CHART)
    assert out.kinds == ["side-data"]
    assert kind.decode() in out.sentences[-1] + out.sentences[0]


def test_a_damaged_copy_is_never_taken_byte_for_byte(crop):
    data = png(CHART, chunk(b"prIv", b"abc", check=7))
    assert crop(data).data != data


def test_a_wrong_checksum_of_pixels_costs_the_picture(crop):
    data = bytearray(png(CHART))
    data[-20] ^= 0xFF
    assert crop(bytes(data)).pixels is None


def test_a_large_profile_is_applied(crop, make):
    """1.3 MB unpacked, a few kB packed: more than Pillow takes by itself."""
    profile = bytearray(make.rgb_profile("adobe_rgb"))
    small = crop(png(CHART, making.iccp(bytes(profile)))).pixels
    profile += bytes(1_300_000)
    struct.pack_into(">I", profile, 0, len(profile))
    out = crop(png(CHART, making.iccp(bytes(profile))))
    assert np.array_equal(out.pixels, small)
    assert not np.array_equal(out.pixels, CHART)
    assert out.kinds == []


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"tEXt"])
def test_a_long_text_is_no_matter(crop, kind):
    text = b"word " * 500_000
    body = {
        b"tEXt": b"parameters\0" + text,
        b"zTXt": b"parameters\0\0" + zlib.compress(text),
        b"iTXt": b"parameters\0\1\0\0\0" + zlib.compress(text),
    }[kind]
    out = crop(png(CHART, chunk(kind, body)))
    assert np.array_equal(out.pixels, CHART)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_what_unpacks_to_more_than_anybody_has_is_left_out_and_told(crop, kind):
    bomb = zlib.compress(bytes(100 * 2**20))
    body = {b"zTXt": b"a\0\0" + bomb, b"iTXt": b"a\0\1\0\0\0" + bomb, b"iCCP": b"a\0\0" + bomb}[kind]
    out = crop(png(CHART, chunk(kind, body)))
    assert np.array_equal(out.pixels, CHART)
    assert out.kinds == ["side-data"]


def test_a_png_without_its_end_is_used_and_told(crop):
    for data in (png(CHART, end=False), png(CHART)[:-1], png(CHART)[:-9], png(CHART)[:-14]):
        out = crop(data)
        assert np.array_equal(out.pixels, CHART)
        assert out.kinds == ["side-data"]


@pytest.mark.parametrize("lost", [40, 400, 2000])
def test_a_png_that_is_cut_in_its_pixels_is_refused(crop, lost):
    out = crop(png(np.random.default_rng(0).integers(0, 255, CHART.shape).astype(np.uint8))[:-lost])
    assert out.pixels is None
    assert len(out.why) == 1


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:2:0"}, {"optimize": True}])
@pytest.mark.parametrize("end", [b"", b"\xff"])
def test_a_jpeg_without_its_end_is_used_and_told(crop, options, end):
    data = making.save(CHART, "JPEG", quality=95, **options)
    assert data.endswith(b"\xff\xd9")
    out = crop(data[:-2] + end, "a.jpg")
    assert out.kinds == ["side-data"]
    assert np.array_equal(out.pixels, crop(data, "b.jpg").pixels)


@pytest.mark.parametrize("share", [0.5, 0.97, 0.999])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_is_cut_in_its_pixels_is_refused(crop, share, progressive):
    noise = np.random.default_rng(0).integers(0, 255, CHART.shape).astype(np.uint8)
    data = making.save(noise, "JPEG", quality=90, progressive=progressive)
    assert crop(data[: int(len(data) * share)], "a.jpg").pixels is None


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xe0\x00\x02",  # APP0 without any content
        b"\xff\xe0\x00\x07JFIF\0",
        b"\xff\xe0\x00\x0aJFIF\0\x01\x01\x00",
        b"\xff\xee\x00\x07Adobe",
        b"\xff\xed\x00\x05Pho",
    ],
)
def test_short_segments_of_a_jpeg_cost_nothing(crop, segment):
    whole = crop(JPEG, "b.jpg").pixels
    assert np.array_equal(crop(JPEG[:2] + segment + JPEG[2:], "a.jpg").pixels, whole)
    without_jfif = JPEG[:2] + segment + JPEG[20:]
    assert np.array_equal(crop(without_jfif, "a.jpg").pixels, whole)


def test_bytes_between_segments_are_passed_over_and_told(crop):
    out = crop(JPEG[:20] + b"nobody knows" + JPEG[20:], "a.jpg")
    assert np.array_equal(out.pixels, crop(JPEG, "b.jpg").pixels)
    assert out.kinds == ["side-data"]


@pytest.mark.parametrize(("marker", "reason"), [(0xC3, "lossless"), (0xC7, "hierarchical")])
def test_jpegs_of_other_processes_are_refused_by_name(crop, marker, reason):
    at = JPEG.index(b"\xff\xc0")
    (why,) = crop(JPEG[: at + 1] + bytes((marker,)) + JPEG[at + 2 :], "a.jpg").why
    assert reason in why


def test_a_jpeg_of_12_bits_is_refused_by_name(crop):
    at = JPEG.index(b"\xff\xc0")
    (why,) = crop(JPEG[: at + 1] + b"\xc1" + JPEG[at + 2 : at + 4] + b"\x0c" + JPEG[at + 5 :], "a.jpg").why
    assert "12 bits" in why


def test_a_jpeg_without_its_end_is_not_decoded_beyond_the_limit(crop):
    (why,) = crop(JPEG[:-2], "a.jpg", max_pixels=1000).why
    assert "--max-pixels" in why


def test_a_picture_without_its_end_is_used_though_its_thumbnail_has_one(crop):
    small = making.save(CHART[:64, :64], "JPEG")
    app = b"Exif\0\0" + small
    data = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(app) + 2) + app + JPEG[2:]
    out = crop(data[:-2], "a.jpg")
    assert "side-data" in out.kinds
    assert np.array_equal(out.pixels, crop(data, "b.jpg").pixels)
