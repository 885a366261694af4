"""Hostile input: nothing crashes, hangs or writes outside OUT, and every file is accounted for."""

from __future__ import annotations

import io
import random
import struct
import time
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from datakit import CropOptions, Execution, crop_folder, plan_crop, read_manifest
from datakit.dataset.samples import PICTURE_EXTENSIONS
from datakit.errors import SampleError
from tests.conftest import tree
from tests.pictures import making

OPTIONS = CropOptions(upscale=50, detector="none", saliency="none")
LIMITED = Execution(jobs=2, timeout=30)


def encoded(file_format: str, **options: object) -> bytes:
    """A small real picture in a format."""
    y, x = np.mgrid[0:48, 0:64]
    image = Image.fromarray(np.stack([x * 4, y * 5, (x + y) * 2], axis=-1).astype(np.uint8))
    target = io.BytesIO()
    if file_format == "GIF":
        image.save(target, "GIF", save_all=True, append_images=[image.rotate(90)] * 2)
    else:
        image.save(target, file_format, **options)
    return target.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


_DEEP = np.random.default_rng(0).integers(0, 65536, (48, 64, 3)).astype(np.uint16)
SEEDS = {
    "jpg": encoded("JPEG", exif=exif(6)),
    "jpeg": encoded("JPEG", progressive=True),
    "png": encoded("PNG"),
    "webp": encoded("WEBP"),
    "gif": encoded("GIF"),
    "bmp": encoded("BMP"),
    "tif": encoded("TIFF", compression="tiff_lzw"),
    "tiff": encoded("TIFF", compression="jpeg"),
    "avif": encoded("AVIF"),
    # What other decoders than Pillow's read; the content decides, whatever the name.
    "jfif": making.png(_DEEP, making.cicp(9, 16)),
    "jpe": making.tiff(making.page(_DEEP >> 4, 12, 2)),
    "hif": making.bmp(np.zeros((48, 128), np.uint8), bits=16, compression=3, masks=(0xF00, 0xF0, 0xF, 0)),
    "heics": making.avif(Image.fromarray((_DEEP >> 8).astype(np.uint8)), 9, 18),
    "heifs": making.tiff(making.page(_DEEP, 16, 2, planar=True, order=">"), order=">", big=True),
}


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change a file as damage or malice would: bytes, lengths, order, end."""
    content = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        place = chance.randrange(len(content))
        match chance.randrange(6):
            case 0:
                content[place] = chance.randrange(256)
            case 1:
                content[place : place + 4] = struct.pack(
                    chance.choice("<>") + "I", chance.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 65535])
                )
            case 2:
                del content[place:]
            case 3:
                content[place:place] = content[place // 2 : place]
            case 4:
                del content[place : place + chance.randrange(1, 64)]
            case 5:
                content[place : place + 8] = chance.randbytes(8)
        if not content:
            content = bytearray(b"\x00")
    return bytes(content)


@pytest.mark.parametrize("seed", range(3))
def test_no_mutated_file_crashes_hangs_or_vanishes(tmp_path, seed):
    chance = random.Random(seed)
    source = tmp_path / "src"
    source.mkdir()
    for number in range(180):
        suffix = chance.choice(sorted(SEEDS))
        (source / f"{number:03}.{chance.choice([suffix, suffix, 'png'])}").write_bytes(mutated(SEEDS[suffix], chance))
    before = tree(source)
    report = crop_folder(source, tmp_path / "out", OPTIONS, execution=LIMITED)
    assert report.done + len(report.refused) + len(report.failed) == len(before)
    assert not [problem for problem in report.failed if "died" in problem.reason or "longer than" in problem.reason]
    assert tree(source) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "src"]
    for record in read_manifest(tmp_path / "out"):
        with Image.open(tmp_path / "out" / record.output) as image:
            assert (image.mode, image.size) == ("RGB", tuple(record.bucket))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with(*extra: bytes) -> bytes:
    png = encoded("PNG")
    header = 8 + 25  # signature and IHDR
    return png[:header] + b"".join(extra) + png[header:]


HOSTILE = {
    "text_bomb.png": png_with(*[chunk(b"zTXt", b"k\x00\x00" + zlib.compress(b"x" * 60_000_000))] * 3),
    "megabytes_of_text.png": png_with(*[chunk(b"tEXt", b"k\x00" + b"x" * 900_000)] * 40),
    "profile_bomb.png": png_with(chunk(b"iCCP", b"p\x00\x00" + zlib.compress(b"\x00" * 50_000_000))),
    "size_of_a_planet.png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)),
    "no_size.png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 0, 8, 2, 0, 0, 0)),
    "absurd_tags.tif": b"II*\x00\x08\x00\x00\x00"
    + struct.pack("<H", 40)
    + b"".join(struct.pack("<HHII", 256 + n, 4, 2**32 - 1, 2**31) for n in range(40)),
    "directory_of_itself.tif": b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00",
    "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n(x) run\n",
    "markup.png": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "only_a_marker.jpg": b"\xff\xd8\xff",
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_file_is_refused_or_used_within_seconds(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(HOSTILE[name])
    started = time.monotonic()
    with suppress(SampleError):
        plan_crop(path, OPTIONS)
    assert time.monotonic() - started < 20


def test_thousands_of_frames_cost_no_more_than_one(tmp_path):
    frames = [Image.new("P", (40, 30), number % 200) for number in range(3000)]
    frames[0].save(tmp_path / "long.gif", save_all=True, append_images=frames[1:], optimize=False)
    started = time.monotonic()
    plan = plan_crop(tmp_path / "long.gif", OPTIONS)
    assert plan.bucket
    assert time.monotonic() - started < 5


def test_more_pixels_than_allowed_are_refused_before_they_are_decoded(tmp_path):
    Image.new("RGB", (2000, 1500)).save(tmp_path / "a.png")
    with pytest.raises(SampleError, match="2000x1500 is more than 1000000 pixels"):
        plan_crop(tmp_path / "a.png", CropOptions(max_pixels=1_000_000))
    assert plan_crop(tmp_path / "a.png", CropOptions(max_pixels=3_000_000, detector="none")).bucket


def test_ten_thousand_small_files_are_all_accounted_for(tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    for number in range(10_000):
        (source / f"{number:05}.png").write_bytes(b"no picture")
    report = crop_folder(source, tmp_path / "out", OPTIONS, execution=LIMITED)
    assert len(report.failed) == 10_000
    assert report.done == 0


def test_every_extension_looked_for_is_covered_here():
    assert {f".{suffix}" for suffix in SEEDS} | {".heic", ".heif", ".jxl"} == PICTURE_EXTENSIONS  # the last three need a plug-in
