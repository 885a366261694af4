"""What is wrong with a dataset is named, file by file, with a remedy."""

from __future__ import annotations

import io

import msgspec
import pytest
from PIL import Image

from datakit.backend.checks import caption_fault, check_dataset
from datakit.backend.concept import read_concept
from datakit.backend.simpletuner import stale_files
from datakit.buckets import BUCKETS
from datakit.geometry import Size
from datakit.manifest import MANIFEST, read_manifest, to_line
from tests.backend.conftest import sha256


def kinds(folder):
    concept = read_concept(folder)
    return [(finding.kind, finding.path) for finding in check_dataset(concept, stale_files(concept))]


def adopt(folder, output="p00.jpg"):
    """Make the manifest agree with a picture that a test put in place of datakit's."""
    records = [
        msgspec.structs.replace(record, output_sha256=sha256(folder / output)) if record.output == output else record
        for record in read_manifest(folder)
    ]
    (folder / MANIFEST).write_bytes(b"".join(map(to_line, records)))


def save(folder, image, name="p00.jpg", **options):
    buffer = io.BytesIO()
    image.save(buffer, options.pop("format", "PNG"), **options)
    (folder / name).write_bytes(buffer.getvalue())
    adopt(folder, name)


def test_a_dataset_as_written_is_clean(make_dataset):
    assert kinds(make_dataset()) == []
    assert kinds(make_dataset("copies", BUCKETS[:2], copies=3)) == []


def test_pictures_that_are_gone_changed_or_damaged(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:4])
    (folder / "p00.jpg").unlink()
    (folder / "p01.jpg").write_bytes((folder / "p01.jpg").read_bytes() + b"\0")
    (folder / "p02.jpg").write_bytes(b"")
    assert kinds(folder) == [("picture-missing", "p00.jpg"), ("picture-changed", "p01.jpg"), ("picture-unreadable", "p02.jpg")]


def test_a_size_outside_the_eight(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    save(folder, Image.new("RGB", (1000, 1000)))
    assert kinds(folder) == [("size", "p00.jpg")]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha(make_dataset, mode):
    folder = make_dataset(buckets=BUCKETS[:1])
    save(folder, Image.new(mode, BUCKETS[0]))
    assert kinds(folder) == [("alpha", "p00.jpg")]


def test_sixteen_bits(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    save(folder, Image.new("I;16", BUCKETS[0]))
    assert kinds(folder) == [("depth", "p00.jpg")]


def test_sixteen_bits_in_colour(make_dataset):
    import struct
    import zlib

    folder = make_dataset(buckets=BUCKETS[:1])
    width, height = BUCKETS[0]

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x12\x34" * 3 * width) * height, 1)
    (folder / "p00.jpg").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    adopt(folder)
    assert kinds(folder) == [("depth", "p00.jpg")]


def test_a_comment_or_a_side_of_1216_is_no_finding(make_dataset):
    folder = make_dataset(buckets=[Size(1216, 832)])
    save(folder, Image.new("RGB", (1216, 832)), format="JPEG", comment=b"16 bits")
    assert kinds(folder) == []


def test_a_colour_profile_and_a_palette(make_dataset, make):
    folder = make_dataset(buckets=BUCKETS[:2])
    save(folder, Image.new("RGB", BUCKETS[0]), format="JPEG", icc_profile=make.rgb_profile("display_p3"))
    save(folder, Image.new("P", BUCKETS[1]), "p01.jpg")
    assert kinds(folder) == [("profile", "p00.jpg"), ("depth", "p01.jpg")]


def test_an_orientation_tag(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    exif = Image.Exif()
    exif[0x0112] = 3
    save(folder, Image.new("RGB", BUCKETS[0]), format="JPEG", exif=exif)
    assert kinds(folder) == [("orientation", "p00.jpg")]


def test_files_that_the_manifest_does_not_know(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    Image.new("RGB", BUCKETS[0]).save(folder / "extra.png")
    (folder / "orphan.txt").write_text("x")
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "notes.md").write_text("x")
    assert kinds(folder) == [("picture-unknown", "extra.png"), ("caption-unknown", "orphan.txt")]


def test_names_that_the_trainer_does_not_see_or_confuses(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    Image.new("RGB", BUCKETS[0]).save(folder / "P00.PNG")
    assert set(kinds(folder)) == {("extension", "P00.PNG"), ("picture-unknown", "P00.PNG"), ("stem", "P00.PNG")}


def test_captions_that_are_gone_empty_or_edited(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:3])
    (folder / "p00.txt").unlink()
    (folder / "p01.txt").write_bytes(b"\n \n")
    (folder / "p02.txt").write_text("by hand")
    assert kinds(folder) == [("caption-missing", "p00.jpg"), ("caption-empty", "p01.txt"), ("caption-edited", "p02.txt")]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xef\xbb\xbfa, b", "a byte order mark"),
        ("a, b".encode("utf-16"), "a byte order mark and an encoding other than UTF-8"),
        ("caf\xe9".encode("cp1252"), "an encoding other than UTF-8"),
        (b"a\r\nb", "carriage returns"),
        (b"a, b ", "blanks or empty lines at an edge"),
        (b"\n\na, b", "blanks or empty lines at an edge"),
    ],
)
def test_unclean_captions_say_what_they_hold(data, words):
    fault = caption_fault(data, "a.txt")
    assert fault is not None
    assert fault.problem == f"has {words}"
    assert "--fix" in fault.remedy


@pytest.mark.parametrize("data", [b"a, b", "à, 😀\nzwei".encode()])
def test_clean_captions_have_no_fault(data):
    assert caption_fault(data, "a.txt") is None


def test_what_an_earlier_training_left(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    concept = read_concept(folder)
    (folder / f"aspect_ratio_bucket_indices_{concept.id}.json").write_text("{}")
    assert kinds(folder) == []
    (folder / "aspect_ratio_bucket_metadata_out-00000000.json").write_text("{}")
    assert kinds(folder) == [("trainer-cache", "aspect_ratio_bucket_metadata_out-00000000.json")]
