"""Pictures of more than 8 bits a channel, and the TIFFs that few programs read: right, or refused with the true reason."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest

from tests.pictures import making
from tests.pictures.making import page, png, tiff
from tests.pictures.reference import ADOBE, power, srgb_values, to_srgb

CHART = making.patches()
GREY = CHART[..., :1]
MINISWHITE, MINISBLACK, RGB, PALETTE, CMYK, LAB = 0, 1, 2, 3, 5, 8


def of(values, bits):
    """0 to 255 as unsigned values of so many bits."""
    return np.round(values / 255 * (2**bits - 1)).astype(np.uint32 if bits > 16 else np.uint16 if bits > 8 else np.uint8)


def is_right(found, expected):
    assert np.abs(found - expected).max() <= 1


def linear_profile(make):
    """The profile of sRGB's primaries with light as it is: its curve is a gamma of 1 (ICC.1:2022, 10.6)."""
    profile = bytearray(make.rgb_profile("adobe_rgb"))
    return bytes(profile.replace(struct.pack(">H", round(563 / 256 * 256)), struct.pack(">H", 256)))


@pytest.mark.parametrize("file_format", ["png", "tif"])
def test_a_dark_linear_ramp_keeps_its_levels(crop, make, file_format):
    """8 bits of linear light hold 27 of its 90 levels: the profile is applied first."""
    ramp = np.linspace(0, 8192, making.SIDE).astype(np.uint16)
    pixels = np.broadcast_to(ramp[None, :, None], (making.SIDE, making.SIDE, 3))
    profile = linear_profile(make)
    data = png(pixels, making.iccp(profile)) if file_format == "png" else tiff(page(pixels, 16, RGB, _34675=profile))
    row = crop(data, f"a.{file_format}").pixels[7]
    expected = to_srgb(np.repeat(ramp[:, None], 3, 1) / 65535, ADOBE, power(1))
    assert np.abs(row - expected).max() <= 1
    assert len(np.unique(row[:, 1])) >= len(np.unique(np.round(expected[:, 1]))) - 1


def test_a_gamma_chunk_is_applied_before_the_cut(crop):
    ramp = np.linspace(0, 8192, making.SIDE).astype(np.uint16)
    pixels = np.broadcast_to(ramp[None, :, None], (making.SIDE, making.SIDE, 1))
    row = crop(png(pixels, making.gama(1.0))).pixels[7, :, 0]
    assert np.abs(row - srgb_values(ramp / 65535) * 255).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("file_format", ["png", "tif"])
def test_16_bits_are_rounded_not_cut(crop, channels, file_format):
    values = np.random.default_rng(3).integers(0, 65536, (making.SIDE, making.SIDE, channels)).astype(np.uint16)
    data = png(values) if file_format == "png" else tiff(page(values, 16, RGB if channels == 3 else MINISBLACK))
    assert np.abs(crop(data, f"a.{file_format}").pixels - values / 257).max() <= 0.5


def test_16_bit_alpha_is_laid_over_the_background(crop):
    alpha = np.linspace(0, 65535, making.SIDE)[None, :, None] * np.ones((making.SIDE, 1, 1))
    for colours in (of(CHART, 16), of(GREY, 16)):
        out = crop(png(np.concatenate([colours, alpha], axis=-1).astype(np.uint16)), background="#204060")
        share = alpha / 65535
        expected = (colours / 257) * share + np.array([0x20, 0x40, 0x60]) * (1 - share)
        is_right(out.pixels, expected)


def test_a_transparent_16_bit_colour_is_matched_in_full(crop):
    """PNG, third edition, 11.3.2.1: all 16 bits count."""
    values = np.full((making.SIDE, making.SIDE, 3), 0x1234, np.uint16)
    values[:, :128] = 0x1235
    out = crop(png(values, making.chunk(b"tRNS", struct.pack(">3H", *[0x1234] * 3))))
    assert (out.pixels[0, 0] == round(0x1235 / 257)).all()
    assert (out.pixels[0, -1] == 255).all()


@pytest.mark.parametrize("bits", [3, 5, 10, 12, 14, 16, 24, 32])
@pytest.mark.parametrize("photometric", [MINISBLACK, MINISWHITE, RGB])
def test_every_depth_of_tiff_is_read(crop, bits, photometric):
    values = CHART if photometric == RGB else GREY
    stored = of(255 - values if photometric == MINISWHITE else values, bits)
    out = crop(tiff(page(stored, bits, photometric)), "a.tif")
    steps = 2**bits - 1
    expected = np.round(values / 255 * steps) / steps * 255 if bits < 8 else values
    is_right(out.pixels, np.broadcast_to(expected, (making.SIDE, making.SIDE, 3)))
    assert out.kinds == []


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("big", [False, True])
def test_planes_of_either_byte_order_and_size_are_read(crop, order, bits, big):
    for planar in (False, True):
        data = tiff(page(of(CHART, bits), bits, RGB, planar=planar, order=order), order=order, big=big)
        is_right(crop(data, "a.tif").pixels, CHART)


@pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd", "packbits"])
@pytest.mark.parametrize("predictor", [False, True])
def test_packed_16_bits_are_read(crop, compression, predictor):
    import tifffile

    target = io.BytesIO()
    tifffile.imwrite(
        target, of(CHART, 16), photometric="rgb", compression=compression, predictor=predictor and compression != "packbits"
    )
    is_right(crop(target.getvalue(), "a.tif").pixels, CHART)


def inks(bits):
    """Cyan, magenta, yellow and black of greys without colour: what a bare CMYK picture is understood by."""
    black = 255 - GREY
    return of(np.concatenate([np.zeros_like(black).repeat(3, -1), black], axis=-1), bits)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", [False, True])
def test_cmyk_with_a_spot_colour_is_read(crop, bits, planar):
    spot = np.full_like(inks(bits)[..., :1], 77)
    plain = crop(tiff(page(inks(8), 8, CMYK)), "a.tif").pixels
    out = crop(tiff(page(np.concatenate([inks(bits), spot], -1), bits, CMYK, planar=planar, extra=(0,))), "a.tif")
    assert np.abs(out.pixels - plain).max() <= 2


def test_cmyk_of_16_bits_goes_through_its_profile(crop, make):
    profile = make.cmyk_profile()
    eight = crop(tiff(page(inks(8), 8, CMYK, _34675=profile)), "a.tif").pixels
    sixteen = crop(tiff(page(inks(16), 16, CMYK, _34675=profile)), "a.tif").pixels
    assert np.abs(eight - sixteen).max() <= 2


@pytest.mark.parametrize("extra", [False, True])
def test_lab_is_read(crop, extra):
    """TIFF 6.0, section 23: L of 0 to 255 stands for 0 to 100; grey has no a and no b."""
    lightness = np.linspace(0, 255, making.SIDE)[None, :, None] * np.ones((making.SIDE, 1, 1))
    lab = np.concatenate([lightness, np.zeros((making.SIDE, making.SIDE, 2 + extra))], -1).astype(np.uint8)
    out = crop(tiff(page(lab, 8, LAB, extra=(0,) if extra else ())), "a.tif")
    star = lab[0, :, 0] / 255 * 100
    light = np.where(star > 8, ((star + 16) / 116) ** 3, star / 903.3)
    assert np.abs(out.pixels[0] - srgb_values(light)[:, None] * 255).max() <= 2


@pytest.mark.parametrize("kind", [1, 2])
def test_alpha_of_a_16_bit_tiff_is_laid_over_the_background(crop, kind):
    share = np.linspace(0.1, 1, making.SIDE)[None, :, None] * np.ones((making.SIDE, 1, 1))
    colours = CHART * share if kind == 1 else CHART
    data = tiff(page(of(np.concatenate([colours, share * 255], -1), 16), 16, RGB, extra=(kind,)))
    is_right(crop(data, "a.tif").pixels, CHART * share + 255 * (1 - share))


@pytest.mark.parametrize("bits", [4, 5, 8])
@pytest.mark.parametrize("top", [255, 65535])
def test_colour_maps_of_8_and_16_bits_are_read(crop, bits, top):
    colours = np.random.default_rng(0).integers(0, 256, (2**bits, 3))
    indices = np.add.outer(np.arange(making.SIDE), np.arange(making.SIDE)) // 8 % 2**bits
    mapped = tuple(int(value) for value in (colours * (top // 255)).T.ravel())
    out = crop(tiff(page(indices[..., None].astype(np.uint8), bits, PALETTE, _320=mapped)), "a.tif")
    is_right(out.pixels, colours[indices])
    assert out.kinds == []


@pytest.mark.parametrize(
    ("dtype", "bits", "reason"), [("f4", 32, "32-bit float"), ("f2", 16, "16-bit float"), ("f8", 64, "64-bit float")]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_floats_are_refused_for_what_they_are(crop, dtype, bits, reason, channels):
    values = (CHART[..., :channels] / 255).astype(dtype)
    out = crop(tiff(page(values, bits, RGB if channels == 3 else MINISBLACK, kind=3)), "a.tif")
    assert [reason in why and "convert it to 8 or 16 bits" in why for why in out.why] == [True]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_signed_values_are_refused_for_what_they_are(crop, bits, channels):
    data = tiff(page(of(CHART[..., :channels], bits), bits, RGB if channels == 3 else MINISBLACK, kind=2))
    assert ["signed" in why for why in crop(data, "a.tif").why] == [True]


def test_what_is_packed_in_no_known_way_is_refused_by_its_name(crop):
    made = page(of(CHART, 16), 16, RGB) | {259: 34676}
    (why,) = crop(tiff(made), "a.tif").why
    assert "SGILOG" in why


@pytest.mark.parametrize("turned", range(1, 9))
def test_a_16_bit_tiff_is_turned_upright(crop, turned):
    """TIFF 6.0, section 8, Orientation: where row 0 and column 0 are seen."""
    upright = CHART[:224]
    upright = np.pad(upright, ((0, 0), (0, 32), (0, 0)), mode="edge")  # 288 x 224
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[turned]
    out = crop(tiff(page(of(stored, 16), 16, RGB, _274=turned)), "a.tif")
    is_right(out.pixels, upright)


@pytest.mark.parametrize(("bits", "masks"), [
    (16, (0xF00, 0xF0, 0xF, 0)), (16, (0x1F, 0x7E0, 0xF800, 0)), (32, (0x3FF00000, 0xFFC00, 0x3FF, 0)), (32, (0xFF000000, 0xFF0000, 0xFF00, 0)),
    (32, (0xFF0000, 0xFF, 0xFF00, 0)),
])  # fmt: skip
def test_a_bmp_is_read_wherever_its_masks_put_the_channels(crop, bits, masks):
    values = np.zeros((making.SIDE, making.SIDE), np.uint32)
    expected = np.empty_like(CHART)
    for channel, mask in enumerate(masks[:3]):
        shift, top = (mask & -mask).bit_length() - 1, mask >> ((mask & -mask).bit_length() - 1)
        level = np.round(CHART[..., channel] / 255 * top).astype(np.uint32)
        values |= level << shift
        expected[..., channel] = level / top * 255
    rows = values.astype("<u2" if bits == 16 else "<u4").view(np.uint8)
    out = crop(making.bmp(rows, bits=bits, compression=3, masks=masks), "a.bmp")
    is_right(out.pixels, expected)


@pytest.mark.parametrize(("bits", "compression", "reason"), [(2, 0, "2 bits a pixel"), (64, 0, "64 bits a pixel")])
def test_other_bmps_are_refused_for_what_they_are(crop, bits, compression, reason):
    data = making.bmp(np.zeros((64, 64), np.uint8), bits=bits, compression=compression)
    assert [reason in why for why in crop(data, "a.bmp").why] == [True]


def test_the_same_bytes_come_out_of_deep_pictures_again_and_again(crop, make):
    data = png(of(CHART, 16), making.iccp(make.rgb_profile("adobe_rgb")))
    assert crop(data).data == crop(data).data


def test_a_png_of_12_significant_bits_in_16_is_white_where_it_was_white(crop):
    twelve = of(CHART, 12).astype(np.uint16)
    is_right(crop(png(twelve << 4, making.chunk(b"sBIT", b"\x0c\x0c\x0c"))).pixels, CHART)


def grey_profile(gamma):
    """A profile of one curve (ICC.1:2022, 8.4.2): grey, white at D50."""
    d50 = struct.pack(">4s4x3I", b"XYZ ", 0xF6D6, 0x10000, 0xD32D)
    curve = struct.pack(">4s4xIH2x", b"curv", 1, round(gamma * 256))
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 16)
    size = 128 + len(tags) + len(d50) + len(curve)
    head = struct.pack(">I4sI4s4s4s12x4s", size, b"lcms", 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp").ljust(68, b"\0")
    return (head + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)).ljust(128, b"\0") + tags + d50 + curve


@pytest.mark.parametrize("bits", [8, 16])
def test_a_profile_of_grey_is_applied(crop, bits):
    ramp = np.linspace(0, 255, making.SIDE)
    pixels = np.broadcast_to(of(ramp, bits)[None, :, None], (making.SIDE, making.SIDE, 1))
    row = crop(png(pixels, making.iccp(grey_profile(1.0)))).pixels[7]
    error = np.abs(row - srgb_values(of(ramp, bits) / (2**bits - 1))[:, None] * 255)
    assert error.max() <= 1 if bits == 16 else error.mean() < 1
