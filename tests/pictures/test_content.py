"""The content of a file decides what it is; a refusal says what it is in truth."""

from __future__ import annotations

import io
import json
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from datakit.errors import PictureError
from datakit.picture.images import decode, open_picture
from tests.pictures import making

CHART = making.patches().astype(np.uint8)
FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP", "tif": "TIFF", "gif": "GIF", "avif": "AVIF"}


@pytest.mark.parametrize("file_format", FORMATS.values())
@pytest.mark.parametrize("suffix", ["heic", "jpg", "png", "jxl", "tif", "jfif", "jpe", "hif", "heics"])
def test_every_format_is_read_under_any_name(crop, file_format, suffix):
    out = crop(making.save(CHART, file_format), f"a.{suffix}")
    assert out.report.done == 1
    assert np.abs(out.pixels - CHART).mean() < 20  # a GIF has 256 colours


def heic(brand=b"heic"):
    return b"\0\0\0\x1cftyp" + brand + b"\0\0\0\0mif1heic" + bytes(2000)


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"hevc"])
def test_a_heic_named_jpg_is_called_what_it_is(crop, brand):
    (why,) = crop(heic(brand), "IMG_0042.jpg").why
    assert "HEIC" in why
    assert "named .jpg" in why
    assert "pip install pillow-heif" in why
    assert "not really" not in why


def test_a_heic_of_its_own_name_is_not_called_misnamed(crop):
    (why,) = crop(heic(), "IMG_0042.HEIC").why
    assert "named" not in why


def archive():
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        # With a date of its own, for the tests are named after what they are given.
        file.writestr(zipfile.ZipInfo("a.txt"), "a")
    return target.getvalue()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.7\n", "a PDF"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<?xml version='1.0'?>\n<!-- made by hand -->\n<svg/>", "an SVG drawing"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b'{"error": "not found"}', "a JSON text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "not downloaded"),
        (bytes(4096), "nothing but zeros"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "a camera's raw picture"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
        (b"v/1\x01\x02\0\0\0", "an OpenEXR picture"),
        (b"P6 8 8 255\n", "a Netpbm picture"),
        (b"404: page not found", "a text"),
        (archive(), "a ZIP archive"),
    ],
)
def test_what_is_no_picture_is_named(crop, data, what):
    (why,) = crop(data, "a.png").why
    assert what in why
    assert "not really" not in why


def test_what_nobody_knows_is_no_png(crop):
    (why,) = crop(b"\x01\x02\x03\x04 and so on", "a.png").why
    assert "not really a .png file" in why


def test_a_damaged_header_is_not_called_another_format(crop):
    (why,) = crop(making.png(CHART)[:20], "a.png").why
    assert "PNG" in why or "damaged" in why
    assert "not really" not in why


def picture_of(tmp_path, data, name="a.bmp"):
    (tmp_path / name).write_bytes(data)
    return open_picture(tmp_path / name)


@pytest.mark.parametrize("header", [40, 56, 108, 124])
def test_a_bmp_whose_alpha_is_nowhere_is_opaque(crop, header):
    stored = np.concatenate([CHART[..., ::-1], np.zeros_like(CHART[..., :1])], axis=-1)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    out = crop(making.bmp(stored, header=header, bits=32, compression=0 if header == 40 else 3, masks=masks), "a.bmp")
    assert np.array_equal(out.pixels, CHART)
    assert out.kinds == []


def test_a_bmp_of_other_masks_whose_alpha_is_nowhere_is_opaque(crop):
    stored = np.concatenate([CHART[..., [1, 2, 0]], np.zeros_like(CHART[..., :1])], axis=-1)
    masks = (0xFF0000, 0xFF, 0xFF00, 0xFF000000)
    out = crop(making.bmp(stored, header=124, bits=32, compression=3, masks=masks), "a.bmp")
    assert np.array_equal(out.pixels, CHART)


def test_a_bmp_with_alpha_somewhere_is_transparent_where_it_says_so(crop):
    stored = np.concatenate([CHART[..., ::-1], np.zeros_like(CHART[..., :1])], axis=-1)
    stored[:128, :, 3] = 255
    out = crop(making.bmp(stored, header=124, bits=32, compression=3, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000)), "a.bmp")
    assert np.array_equal(out.pixels[:128], CHART[:128])
    assert (out.pixels[128:] == 255).all()


@pytest.mark.parametrize("wide", [False, True])
def test_a_picture_that_is_transparent_everywhere_is_told(crop, wide):
    stored = np.concatenate([CHART, np.zeros_like(CHART[..., :1])], axis=-1)
    out = crop(making.png(stored.astype(np.uint16) * 257 if wide else stored))
    assert out.kinds == ["blank"]
    assert (out.pixels == 255).all()


def test_a_palette_of_nothing_but_black_is_told(crop):
    image = Image.fromarray(CHART[..., 0]).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette(bytes(768))
    target = io.BytesIO()
    image.save(target, "PNG")
    assert crop(target.getvalue()).kinds == ["blank"]


def test_a_picture_with_one_other_pixel_is_not_blank(crop):
    white = np.full_like(CHART, 255)
    white[3, 5] = 0
    assert crop(making.png(white)).kinds == []


def test_what_decoders_write_on_stderr_becomes_the_pictures_warning(datakit, tmp_path):
    """Names of inks in an RGB picture: libtiff reads it, and complains on stderr without a name."""
    import tifffile

    source = tmp_path / "src"
    source.mkdir()
    tifffile.imwrite(source / "inks.tif", CHART, photometric="rgb", compression="lzw", extratags=[(333, 2, 5, "abcd", True)])
    damaged = bytearray(making.save(CHART, "TIFF", compression="tiff_lzw"))
    damaged[1000:1200] = b"\xff" * 200
    (source / "damaged.tif").write_bytes(damaged)
    options = ("--upscale", "5", "--detector", "none", "--saliency", "none", "--jobs", "1")
    ran = datakit("crop", source, tmp_path / "out", *options, "--json")
    report = json.loads(ran.stdout)
    assert [problem["source"] for problem in report["failed"]] == ["damaged.tif"]
    assert next(warning["warning"] for warning in report["warnings"] if warning["kind"] == "decoder").count("InkNames") == 1
    assert "InkNames" not in ran.stderr
    assert "not yet in table" not in ran.stderr


def test_nothing_of_libpng_reaches_stderr(datakit, tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    image = Image.fromarray(CHART[..., 0].astype(np.uint16) * 257)
    image.save(source / "a.png")
    ran = datakit("crop", source, tmp_path / "out", "--upscale", "5", "--detector", "none", "--saliency", "none", "--jobs", "1")
    assert ran.returncode == 0
    assert "libpng" not in ran.stderr
    assert "warning" not in ran.stderr.lower()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.png", making.png(CHART.astype(np.uint16) * 257)),
        ("a.tif", making.tiff(making.page(CHART.astype(np.uint16) * 257, 12, 2))),
        ("a.bmp", making.bmp(np.zeros((256, 512), np.uint8), bits=16, compression=3, masks=(0xF00, 0xF0, 0xF, 0))),
        ("a.avif", making.with_clean_aperture(making.avif(Image.fromarray(CHART)), 200, 200)),
    ],
)
def test_every_way_of_decoding_keeps_to_the_limit_of_pixels(crop, name, data):
    out = crop(data, name, max_pixels=1000)
    assert ["--max-pixels" in why for why in out.why] == [True]


def test_a_tiff_of_absurd_channels_is_refused_before_it_takes_memory(crop):
    tags = making.page(CHART.astype(np.uint16), 16, 2) | {277: 60_000, 258: (16,)}
    (why,) = crop(making.tiff(tags), "a.tif").why
    assert "channels" in why or "damaged" in why


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    picture = picture_of(tmp_path, making.png(CHART.astype(np.uint16)), "a.png")
    with pytest.raises(PictureError, match="pip install imagecodecs"):
        decode(picture, picture.size, picture.size)


def test_a_picture_without_any_pixels_is_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(making.tiff(making.page(CHART, 8, 2) | {257: 0}))
    with pytest.raises(PictureError, match=r"no pixels|damaged"):
        open_picture(tmp_path / "a.tif")
