"""What is wrong with a dataset is named, file by file, with a remedy."""

from __future__ import annotations

import io
import struct
import zlib

import msgspec
import pytest
from PIL import Image

from datakit.audit.checks import caption_fault, check_folder, list_files
from datakit.audit.concept import read_concept
from datakit.audit.looks import look_at_all
from datakit.dataset.manifest import MANIFEST, read_manifest, to_line
from datakit.geometry import Size
from datakit.run.stage import Execution
from datakit.trainers.simpletuner.reading import Reading
from tests.conftest import BUCKETS
from tests.trainers.conftest import findings_of, sha256


def kinds(folder):
    return [(finding.kind, finding.path) for finding in findings_of(folder)]


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


def test_pictures_whose_cache_files_the_trainer_takes_for_one_another(tmp_path):
    folder = tmp_path / "d"
    inner = folder / str(folder).lstrip("/")
    inner.mkdir(parents=True)
    for place in (folder, inner):
        Image.new("RGB", (1024, 1024)).save(place / "dogs.jpg")
        (place / "dogs.txt").write_text("two dogs")
    files = list_files(folder)
    assert [finding.kind for finding in check_folder(folder, files, look_at_all(folder, files), Reading())] == ["stem"]


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


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_sixteen_bits_in_colour(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    width, height = BUCKETS[0]

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x12\x34" * 3 * width) * height, 1)
    (folder / "p00.jpg").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    adopt(folder)
    assert kinds(folder) == [("depth", "p00.jpg")]


@pytest.mark.parametrize("bits", [24, 16])
def test_a_bmp_has_no_more_than_8_bits_a_channel(make_dataset, bits):
    # The bytes of one of its rows are 4416, which has a 16 in it; 16 bits are those of a whole pixel.
    folder = make_dataset(buckets=[Size(1472, 704)])
    save(folder, Image.new("RGB", (1472, 704)), format="BMP")
    if bits == 16:
        header = bytearray((folder / "p00.jpg").read_bytes()[:54])
        header[28:30] = (16).to_bytes(2, "little")
        (folder / "p00.jpg").write_bytes(bytes(header) + bytes(1472 * 704 * 2))
        adopt(folder)
    assert kinds(folder) == []


def test_a_truncated_picture_is_found_though_the_manifest_knows_it(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    (folder / "p00.jpg").write_bytes((folder / "p00.jpg").read_bytes()[:5000])
    adopt(folder)
    assert kinds(folder) == [("picture-unreadable", "p00.jpg")]


def test_a_picture_that_would_fill_the_memory_is_a_finding_like_any_other(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    header = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    (folder / "p00.jpg").write_bytes(header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    adopt(folder)
    assert kinds(folder) == [("picture-unreadable", "p00.jpg")]


def test_many_pictures_are_looked_at_in_processes_with_the_same_result(make_dataset):
    folder = make_dataset(buckets=[BUCKETS[0]] * 5, copies=10)
    (folder / "p03_7.jpg").write_bytes(b"")
    files = list_files(folder)
    here = look_at_all(folder, files)
    assert [name for name, look in here.items() if look.error] == ["p03_7.jpg"]
    assert look_at_all(folder, files, Execution(jobs=2)) == here
    assert sorted(here) == sorted(f"p{number:02}_{copy}.jpg" for number in range(5) for copy in range(1, 11))


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
    assert kinds(folder) == [
        ("picture-unknown", ".hidden.png"),
        ("picture-unknown", "extra.png"),
        ("caption-unknown", "orphan.txt"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        *("a.ppm", "a.jp2", "a.gif", "a.tif", "a.mp4", "a.psd", "a.jxl", "a.heic", ".cache/a.png", "._p00.jpg", ".png"),
        *("song.mp3", "a.wav", "a.flac", "a.ogg", "a.mkv", "a.wmv", "a.m4v", "a.flv", "a.3gp", "a.MP3", ".trash/a.JPG", "a.PPM"),
    ],
)
def test_everything_that_the_trainer_lists_is_refused_by_name(make_dataset, name):
    folder = make_dataset(buckets=BUCKETS[:1])
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    assert ("picture-unknown", name) in kinds(folder)


@pytest.mark.parametrize("name", ["notes.md", "a.json", ".cache/a.txt", ".cache/a.thumbnail", "a.svg", "a.raw"])
def test_what_the_trainer_does_not_list_is_no_finding(make_dataset, name):
    folder = make_dataset(buckets=BUCKETS[:1])
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    assert kinds(folder) == []


def test_the_rest_of_an_interrupted_run_is_found(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    left = folder / ".datakit" / "tmp" / "p00.jpg"
    left.write_bytes(b"x")
    assert kinds(folder) == [("interrupted", ".datakit"), ("picture-unknown", ".datakit/tmp/p00.jpg")]
    left.unlink()
    (folder / ".datakit" / "journal.jsonl").write_bytes(b"{")
    assert kinds(folder) == [("interrupted", ".datakit")]
    assert "run the stage that wrote the dataset again" in findings_of(folder)[0].remedy


def test_a_file_under_several_names_is_looked_at_once(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:2])
    for number in range(3):
        (folder / f"again{number}.jpg").hardlink_to(folder / "p00.jpg")
    counted = []
    execution = Execution(progress=lambda items, total, label: counted.append(total) or items)
    looks = look_at_all(folder, list_files(folder), execution, frozenset({"p00.jpg"}))
    assert counted == [2]
    assert looks["again2.jpg"] == looks["p00.jpg"]
    assert looks["p00.jpg"].sharpness
    assert not looks["p01.jpg"].sharpness


def test_links_are_followed_but_not_in_circles(make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:1])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.png").write_bytes(b"x")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "circle").symlink_to(folder)
    (folder / "broken.png").symlink_to(tmp_path / "gone.png")
    assert kinds(folder) == [("picture-unknown", "linked/x.png")]


def test_names_that_the_trainer_does_not_see_or_confuses(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    Image.new("RGB", BUCKETS[0]).save(folder / "P00.PNG")
    assert set(kinds(folder)) == {("extension", "P00.PNG"), ("picture-unknown", "P00.PNG"), ("stem", "P00.PNG")}


def test_a_caption_left_out_on_purpose_is_no_finding(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:2], copies=2)
    (folder / "p00_2.txt").write_bytes(b"")
    assert kinds(folder) == [("caption-empty", "p00_2.txt")]
    records = [
        msgspec.structs.replace(record, captions=0, caption_sha256=sha256(folder / record.caption))
        if record.output == "p00_2.jpg"
        else record
        for record in read_manifest(folder)
    ]
    (folder / MANIFEST).write_bytes(b"".join(map(to_line, records)))
    assert kinds(folder) == []
    assert any("1 of 4 copies have an empty caption" in note for note in read_concept(folder).notes)
    (folder / "p01_2.txt").write_bytes(b"\n")
    assert kinds(folder) == [("caption-empty", "p01_2.txt")]


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
        (b"a, b\n\n", "blanks or empty lines at an edge"),
    ],
)
def test_unclean_captions_say_what_they_hold(data, words):
    fault = caption_fault(data, "a.txt")
    assert fault is not None
    assert fault.problem == words
    assert "--fix" in fault.remedy


@pytest.mark.parametrize("data", [b"a, b", b"a, b\n", "à, 😀\nzwei".encode()])
def test_clean_captions_have_no_fault(data):
    assert caption_fault(data, "a.txt") is None


def test_what_an_earlier_training_left(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    concept = read_concept(folder)
    (folder / f"aspect_ratio_bucket_indices_{concept.id}.json").write_text("{}")
    assert kinds(folder) == []
    (folder / "aspect_ratio_bucket_metadata_out-00000000.json").write_text("{}")
    assert kinds(folder) == [("trainer-cache", "aspect_ratio_bucket_metadata_out-00000000.json")]
