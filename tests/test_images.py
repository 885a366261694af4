from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from datakit.errors import PictureError, UsageError
from datakit.geometry import Box, Size
from datakit.picture.colour import parse_colour
from datakit.picture.encoding import encode
from datakit.picture.images import dct_scale, decode, open_picture
from datakit.picture.resampling import preview, render
from datakit.report import Warned
from tests.conftest import BUCKETS

COLOUR = (
    "srgb.png", "srgb.jpg", "display_p3.png", "display_p3.jpg", "adobe_rgb.png", "adobe_rgb.jpg", "cmyk_profile.jpg", "cmyk_plain.jpg",
    "grey16.png", "rgb16.png", "palette.png", "palette_transparent.png", "rgba_hidden.png", "grey_alpha.png", "grey.jpg", "bilevel.png",
)  # fmt: skip


def whole(path, bucket=Size(1024, 1024), background="white"):
    picture = open_picture(path)
    pixels = decode(picture, picture.size, bucket, background)
    return render(picture, pixels, Box(0, 0, *picture.size), bucket)


@pytest.mark.parametrize("name", COLOUR)
def test_colours_come_out_as_a_colour_managed_viewer_shows_them(awkward, make, name):
    expected = make.EXPECTED[name]
    image = whole(awkward / "colour" / name)
    assert (image.mode, image.size) == ("RGB", (1024, 1024))
    found = [image.getpixel((int((i + 0.5) * 1024 / len(expected)), 512)) for i in range(len(expected))]
    # 3 levels for JPEG's rounding; Pillow keeps the high byte of 16-bit colours.
    assert np.abs(np.subtract(found, expected)).max() <= 3, (found, expected)


@pytest.mark.parametrize("name", COLOUR)
def test_every_colour_fixture_has_its_expectation(awkward, make, name):
    assert {path.name for path in (awkward / "colour").iterdir() if path.suffix != ".txt"} == set(make.EXPECTED) == set(COLOUR)


def test_a_background_shows_where_the_picture_is_transparent(awkward):
    assert whole(awkward / "colour" / "palette_transparent.png", background="#102030").getpixel((10, 512)) == (0x10, 0x20, 0x30)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_look_the_same_upright(awkward, make, orientation):
    (path,) = (awkward / "orientation").glob(f"*{orientation}.jpg")
    picture = open_picture(path)
    image = whole(path, Size(896, 1152) if picture.size.aspect < 1 else Size(1152, 896))
    corners = [(20, 20), (image.width - 20, 20), (20, image.height - 20), (image.width - 20, image.height - 20)]
    assert np.abs(np.subtract([image.getpixel(corner) for corner in corners], make.QUADRANTS)).max() <= 6
    small = preview(picture, decode(picture, picture.size, Size(640, 640)), 640)
    assert max(small.shape) == 640
    assert np.abs(small[10, 10].astype(int) - make.QUADRANTS[0]).max() <= 6


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_of_the_upright_picture_is_the_same_box_however_it_is_stored(tmp_path, suffix, orientation):
    blocks = np.random.default_rng(orientation).integers(0, 255, (15, 20, 3)).astype(np.uint8)
    path = tmp_path / f"stored.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.kron(blocks, np.ones((40, 40, 1), np.uint8))).save(path, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    picture, box, target = open_picture(path), Box(100, 50, 500, 350), Size(200, 150)
    image = render(picture, decode(picture, box.size, target), box, target)
    reference = upright.resize(target, Image.Resampling.LANCZOS, box=box)
    assert picture.size == upright.size
    # A JPEG is decoded smaller, so its block edges are a little softer.
    assert np.abs(np.asarray(image).astype(int) - np.asarray(reference)).mean() < (6 if suffix == "jpg" else 0.5)


def test_decoding_smaller_is_as_good_as_decoding_in_full(awkward):
    path = next((awkward / "sizes").glob("large*.jpg"))
    picture = open_picture(path)
    box, bucket = Box(0, 0, 3857, 3000), Size(1152, 896)
    scale = dct_scale(picture, box.size, bucket)
    assert scale == 2
    image = render(picture, decode(picture, box.size, bucket), box, bucket)
    reference = Image.open(path).convert("RGB").resize(bucket, Image.Resampling.LANCZOS, box=box)
    error = np.mean((np.asarray(image).astype(float) - np.asarray(reference)) ** 2)
    assert 10 * np.log10(255**2 / error) >= 40


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_sized_picture_keeps_every_pixel(tmp_path, bucket):
    pixels = np.random.default_rng(0).integers(0, 255, (bucket.height, bucket.width, 3)).astype(np.uint8)
    path = tmp_path / "exact.png"
    Image.fromarray(pixels).save(path)
    picture = open_picture(path)
    assert picture.final
    assert np.array_equal(np.asarray(whole(path, bucket)), pixels)


def test_a_16_bit_picture_is_never_taken_for_a_finished_one(awkward):
    assert not open_picture(awkward / "colour" / "rgb16.png").final
    assert not open_picture(awkward / "colour" / "grey16.png").final


def test_the_first_frame_of_an_animation_is_used_and_reported(awkward, make):
    for path in (awkward / "animated").iterdir():
        if path.suffix in (".gif", ".webp"):
            picture = open_picture(path)
            assert [warning.kind for warning in picture.warnings] == ["frames"]
            assert not picture.final
            middle = whole(path).getpixel((512, 512))
            assert np.abs(np.subtract(middle, make.FIRST_FRAME)).max() <= 6


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty.png", "empty"),
        ("text.jpg", "no picture that can be read"),
        ("bomb.png", "--max-pixels"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(awkward, name, reason):
    with pytest.raises(PictureError, match=reason):
        open_picture(awkward / "broken" / name)


@pytest.mark.parametrize("name", ["truncated.jpg", "truncated.png"])
def test_a_truncated_picture_is_refused_not_filled_with_grey(awkward, name):
    picture = open_picture(awkward / "broken" / name)
    with pytest.raises(PictureError, match="damaged"):
        decode(picture, picture.size, picture.size)


def test_broken_tags_cost_no_picture(awkward):
    (warning,) = open_picture(awkward / "broken" / "broken_icc.jpg").warnings
    assert warning == Warned("profile", "its colour profile is broken: taken as sRGB")
    assert open_picture(awkward / "broken" / "garbage_exif.jpg").orientation == 1
    assert open_picture(awkward / "broken" / "jpeg_inside.png").format == "JPEG"


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(PictureError, match="cannot be read"):
        open_picture(tmp_path / "gone.jpg")


def test_float_pixels_are_refused(tmp_path):
    Image.fromarray(np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)).save(tmp_path / "f.tif")
    picture = open_picture(tmp_path / "f.tif")
    with pytest.raises(PictureError, match="float"):
        decode(picture, picture.size, picture.size)


@pytest.mark.parametrize(
    ("start", "package"), [(b"\x00\x00\x00\x18ftypheic", "pillow-heif"), (b"\xff\x0a\x00\x00", "pillow-jxl-plugin")]
)
@pytest.mark.parametrize("name", ["a.heic", "a.jxl", "a.jpg"])
def test_without_its_plugin_a_format_names_the_package(tmp_path, name, start, package):
    (tmp_path / name).write_bytes(start)
    with pytest.raises(PictureError, match=f"pip install {package}$"):
        open_picture(tmp_path / name)


@pytest.mark.parametrize("file_format", ["jpg", "png", "webp"])
def test_written_pictures_carry_nothing_but_pixels(awkward, file_format):
    image = whole(awkward / "colour" / "display_p3.jpg")
    written = Image.open(io.BytesIO(encode(image, file_format, 95)))
    assert (written.mode, written.size) == ("RGB", (1024, 1024))
    assert not set(written.info) - {
        "jfif",
        "jfif_version",
        "jfif_unit",
        "jfif_density",
        "loop",
        "background",
        "timestamp",
        "duration",
    }
    assert dict(written.getexif()) == {}


@pytest.mark.parametrize("text", ["no such colour", "#12", ""])
def test_an_unknown_colour_is_refused(text):
    with pytest.raises(UsageError, match="white"):
        parse_colour(text)


def png_chunked(path, image, *chunks, **options):
    """Save a PNG with chunks behind its header."""
    import struct
    import zlib

    target = io.BytesIO()
    image.save(target, "PNG", **options)
    data = target.getvalue()
    extra = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    path.write_bytes(data[:33] + extra + data[33:])


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "P"])
def test_a_png_that_says_it_is_srgb_is_read_as_any_other(tmp_path, mode):
    image = Image.new("L", (1024, 1024), 255).convert(mode)
    png_chunked(tmp_path / "a.png", image, (b"sRGB", b"\x00"))
    out = whole(tmp_path / "a.png")
    assert (out.mode, out.getpixel((5, 5))) == ("RGB", (255, 255, 255))
    picture = open_picture(tmp_path / "a.png")
    assert preview(picture, decode(picture, picture.size, picture.size), 640).shape == (640, 640, 3)


def test_a_profile_counts_more_than_a_chunk_that_says_srgb(tmp_path, make):
    image = Image.new("RGB", (1024, 1024), (200, 50, 50))
    png_chunked(tmp_path / "a.png", image, (b"sRGB", b"\x00"), icc_profile=make.rgb_profile("display_p3"))
    assert (
        np.abs(np.subtract(whole(tmp_path / "a.png").getpixel((5, 5)), make.rgb_to_srgb((200, 50, 50), "display_p3"))).max() <= 2
    )


def test_a_profile_for_other_pixels_is_left_out_and_reported(tmp_path, make):
    Image.new("RGB", (1024, 1024), (200, 30, 30)).save(tmp_path / "a.png", icc_profile=make.cmyk_profile())
    (warning,) = open_picture(tmp_path / "a.png").warnings
    assert warning == Warned("profile", "its colour profile is for other pixels than it has: taken as sRGB")
    assert whole(tmp_path / "a.png").getpixel((5, 5)) == (200, 30, 30)


def test_a_transparent_16_bit_grey_shows_the_background(tmp_path):
    values = np.full((1024, 1024), 30000, np.uint16)
    values[:, :512] = 1234
    png_chunked(tmp_path / "a.png", Image.fromarray(values), (b"tRNS", (1234).to_bytes(2, "big")))
    image = whole(tmp_path / "a.png")
    assert (image.getpixel((5, 5)), image.getpixel((1000, 5))) == ((255, 255, 255), (117, 117, 117))


def test_a_bucket_sized_avif_becomes_a_png(tmp_path):
    from datakit import crop_folder

    (tmp_path / "src").mkdir()
    Image.new("RGB", (1024, 1024), (10, 20, 30)).save(tmp_path / "src" / "a.avif")
    assert crop_folder(tmp_path / "src", tmp_path / "out").done == 1
    assert (tmp_path / "out" / "a.png").exists()
