"""Captions that other tools wrote: found where they lie, in a stated order, written out and taken back."""

from __future__ import annotations

import csv
import json
import struct

import pytest
from PIL import Image, PngImagePlugin

from datakit import CropOptions, crop_folder, read_manifest
from datakit.caption.foreign import read_table
from datakit.dataset.captioned import CaptionedFolder
from datakit.dataset.source import read_caption_of
from datakit.errors import CaptionError
from datakit.picture.words import words_in
from tests.commands import said, untouched

PLAIN = CropOptions(upscale=20, detector="none", saliency="none")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "src"
    (folder / "sub").mkdir(parents=True)
    return folder


def picture(path, **more):
    Image.new("RGB", (64, 48), (sum(path.name.encode()) % 255, 100, 200)).save(path, **more)


def captions(folder):
    """What each picture's caption is, as crop would read it."""
    opened = CaptionedFolder(folder)
    found = opened.find()
    read = {sample.id: read_caption_of(sample, opened) for sample in found.samples}
    for sample in found.samples:
        assert (opened.content_id(sample.caption_id) is not None) == (read[sample.id] is not None) if sample.caption_id else True
    return {name: None if data is None else data.decode() for name, data in read.items()}, found


@pytest.mark.parametrize(
    ("content", "caption"),
    [
        ({"caption": "a red house", "tags": ["house", "red"]}, "a red house"),
        ({"tags": ["house", "red"]}, "house, red"),
        ({"tag_string": "1girl long_hair"}, "1girl, long_hair"),
        ({"tags": {"general": ["house"], "artist": ["me"]}}, "house, me"),
        ({"url": "x", "text": " t "}, "t"),
        ({"url": "x"}, None),
        ([1, 2], None),
    ],
)
def test_a_json_file_beside_a_picture(source, content, caption):
    picture(source / "a.png")
    (source / "a.json").write_text(json.dumps(content))
    read, found = captions(source)
    assert read == {"a.png": caption}
    assert (".json" in found.others) == (caption is None)


TABLES = {
    "metadata.jsonl": '{"file_name": "a.png", "text": "red, A"}\n\n{"file_name": "sub/b.png", "text": "red, B"}\n',
    "metadata.csv": "\ufefffile_name;text\na.png;red, A\nsub/b.png;red, B\n",
    "captions.csv": 'image,caption\na.png,"red, A"\nsub/b.png,"red, B"\n',
    "captions.json": json.dumps({"a.png": "red, A", "sub/b.png": "red, B"}),
    "captions.jsonl": '{"image": "./a.png", "caption": "red, A"}\n{"image": "sub\\\\b.png", "caption": "red, B"}\n',
    "meta_cap.json": json.dumps({"/home/me/img/a": {"caption": "red, A"}, "C:\\img\\b": {"tags": "red, B"}}),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_the_folder(source, name):
    picture(source / "a.png")
    picture(source / "sub" / "b.png")
    (source / name).write_text(TABLES[name], encoding="utf-8")
    read, found = captions(source)
    assert read == {"a.png": "red, A", "sub/b.png": "red, B"}
    assert found.others == {}
    assert len(found.captions) == 1
    assert found.captions[0].startswith(f"2 captions from {name}")


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("metadata.jsonl", '{"file_name": "a.png", "text": "one"}\n{"file_name": "a.png", "text": "two"}\n' * 2),
        ("metadata.csv", "file_name,text\na.png,one\na.png,two\n"),
        ("captions.json", json.dumps({"a.png": ["one", "two"]})),
        ("captions.json", json.dumps([{"file_name": "a.png", "text": "one"}, {"file_name": "a.png", "text": "two"}])),
    ],
)
def test_several_rows_of_a_picture_are_several_captions(source, name, table):
    picture(source / "a.png")
    (source / name).write_text(table)
    assert captions(source)[0] == {"a.png": "one\ntwo"}


def test_a_table_in_parquet(source):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    picture(source / "a.png")
    parquet.write_table(arrow.table({"file_name": ["a.png"], "text": ["red, A"], "other": [1]}), source / "metadata.parquet")
    assert captions(source)[0] == {"a.png": "red, A"}


def test_what_is_broken_is_told_and_stops_nothing(source):
    picture(source / "a.png")
    (source / "metadata.jsonl").write_text('{"file_name": "a.png"')
    (source / "a.json").write_text("{")
    read, found = captions(source)
    assert read == {"a.png": None}
    assert found.captions[0].startswith("no captions from metadata.jsonl: metadata.jsonl, line 1 is no JSON")
    assert found.captions[1] == "no captions from 1 .json file that cannot be read: a.json"
    for data, name in ((b"[" * 100_000, "x.json"), (b"\x00", "x.parquet"), (b"\xff\xfe\xff", "x.csv")):
        with pytest.raises(CaptionError, match=r"x\."):
            read_table(data, name)


def test_a_name_that_two_pictures_have_is_neithers():
    table = read_table(json.dumps({"/x/a.png": "1", "/y/a.png": "2", "/y/b.png": "3"}).encode(), "captions.json")
    assert [table.entry_of(name) for name in ("a.png", "b.png", "y/b.jpg", "c.png")] == [None, "/y/b.png", "/y/b.png", None]


def generated(**more):
    chunks = PngImagePlugin.PngInfo()
    for key, value in more.items():
        chunks.add_text(key, value)
    return chunks


def test_the_prompt_or_the_description_inside_a_picture(source):
    prompt = "red scarf,\nsnow\nNegative prompt: hat\nSteps: 20, Sampler: Euler"
    picture(source / "a.png", pnginfo=generated(parameters=prompt))
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\x00" + prompt.encode("utf-16-be")
    picture(source / "b.jpg", exif=exif)
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\x00\x00\x00OLYMPUS DIGITAL CAMERA"
    picture(source / "c.jpg", exif=exif)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><dc:description><rdf:Alt><rdf:li xml:lang="x">salt &amp; sea</rdf:li></rdf:Alt></dc:description></x:xmpmeta>'
    picture(source / "d.jpg", xmp=xmp)
    block = b"\x1c\x02\x78" + struct.pack(">H", 5) + b"a dog"
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00" + struct.pack(">I", len(block)) + block + b"\x00" * (len(block) % 2)
    picture(source / "e.jpg")
    plain = (source / "e.jpg").read_bytes()
    (source / "e.jpg").write_bytes(plain[:2] + b"\xff\xed" + struct.pack(">H", len(iptc) + 2) + iptc + plain[2:])
    read, found = captions(source)
    assert read == {
        "a.png": "red scarf, snow",
        "b.jpg": "red scarf, snow",
        "c.jpg": None,
        "d.jpg": "salt & sea",
        "e.jpg": "a dog",
    }
    assert len(found.captions) == 4
    assert words_in(b"no picture") is None


def test_of_several_sources_the_first_of_the_order_is_taken(source):
    picture(source / "a.png", pnginfo=generated(parameters="inside"))
    order = ["a.txt", "a.caption", "a.tags", "a.json", "metadata.jsonl", "captions.json"]
    for name, content in zip(order, ["1", "2", "3", '"4"', '{"file_name": "a.png", "text": "5"}', '{"a.png": "6"}'], strict=True):
        (source / name).write_text(content)
    taken = []
    for name in order:
        taken.append(captions(source)[0]["a.png"])
        (source / name).unlink()
    assert [*taken, captions(source)[0]["a.png"]] == ["1", "2", "3", "4", "5", "6", "inside"]


def test_crop_follows_what_changes_in_a_table_and_its_own_table_is_none(source, tmp_path):
    for name in ("a", "b"):
        picture(source / f"{name}.png")
    table = source / "metadata.jsonl"
    table.write_text('{"file_name": "a.png", "text": "1"}\n{"file_name": "b.png", "text": "2"}\n')
    report = crop_folder(source, tmp_path / "out", PLAIN)
    assert report.done == 2
    assert "2 captions from metadata.jsonl (text)" in report.notes
    table.write_text(table.read_text().replace("2", "3"))
    assert [(report.done, report.skipped) for report in [crop_folder(source, tmp_path / "out", PLAIN)]] == [(1, 1)]
    assert (tmp_path / "out" / "b.txt").read_text() == "3"
    (tmp_path / "out" / "b.txt").unlink()
    assert captions(tmp_path / "out")[0] == {"a.png": "1", "b.png": None}


def test_captions_go_out_into_a_spreadsheet_and_come_back(source, tmp_path):
    for name, caption in (("a", "red, é"), ("sub/b", "1girl\nsolo\nlong hair"), ("c", "x")):
        picture(source / f"{name}.png")
        (source / f"{name}.txt").write_text(caption)
    crop_folder(source, tmp_path / "out", PLAIN)
    before = untouched(source)
    assert said("captions export out t.csv", tmp_path) == (0, "wrote t.csv\n3 captions of out\n")
    with (tmp_path / "t.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[:2] == [["file_name", "text"], ["a.png", "red, é"]]
    rows[1][1] = "blue, é"
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows([*rows, ["gone.png", "y"]])
    code, output = said("captions import t.csv out", tmp_path)
    assert code == 0
    assert "1 caption changed in out\n  a.png\nnote: no picture is called gone.png\n" in output
    code, output = said("captions import src out --join-lines --dry-run", tmp_path)
    assert "2 captions would change in out\n  a.png\n  sub/b.png\n" in output
    assert said("captions src out --join-lines", tmp_path)[0] == 0
    crop_folder(source, tmp_path / "out", PLAIN)
    assert (tmp_path / "out" / "sub" / "b.txt").read_text() == "1girl, solo, long hair"
    assert said("captions export src texts", tmp_path)[0] == 0
    assert (tmp_path / "texts" / "sub" / "b.txt").read_text() == "1girl\nsolo\nlong hair"
    assert untouched(source) == before
    for words in (
        "captions export src src/t.csv",
        "captions export src t.xlsx",
        "captions import src texts",
        "captions import t.csv",
    ):
        assert said(words, tmp_path)[0] == 2, words


def test_a_spreadsheet_holds_pictures_without_a_caption_too_and_what_it_lost_or_emptied_is_not_taken(source, tmp_path):
    for name, caption in (("a", "red, 公園 🚗"), ("b", "x"), ("c", None)):
        picture(source / f"{name}.png")
        if caption:
            (source / f"{name}.txt").write_text(caption)
    crop_folder(source, tmp_path / "out", PLAIN)
    assert said("captions export out t.csv", tmp_path) == (0, "wrote t.csv\n2 captions of out, and 1 picture without\n")
    assert (tmp_path / "t.csv").read_text("utf-8-sig").endswith("c.png,\n")
    (tmp_path / "t.csv").write_text('file_name;text\na.png;"red, ?? ??"\nb.png;\nc.png;new')
    code, output = said("captions import t.csv out", tmp_path)
    assert code == 1
    assert "1 caption changed in out\n  c.png\n" in output
    assert "note: no caption is taken away: 1 empty one in the table left alone: b.png\n" in output
    assert "a.png: holds ? where its caption has other signs: save the table as UTF-8, and import it again" in output
    crop_folder(source, tmp_path / "out", PLAIN)
    assert [(tmp_path / "out" / f"{name}.txt").read_text() for name in "abc"] == ["red, 公園 🚗", "x", "new"]


def test_an_encoding_that_cannot_be_told_can_be_said(source, tmp_path):
    picture(source / "a.png")
    (source / "a.txt").write_bytes("zielone oczy, łąka, żółty".encode("cp1250"))
    assert crop_folder(source, tmp_path / "out", PLAIN).refused[0].kind == "caption"
    assert said("captions import src out --encoding klingon", tmp_path)[0] == 2
    assert said("captions import src out --encoding cp1250", tmp_path)[0] == 0
    assert crop_folder(source, tmp_path / "out", PLAIN).done == 1
    assert [record.captions for record in read_manifest(tmp_path / "out")] == [1]
    assert (tmp_path / "out" / "a.txt").read_text() == "zielone oczy, łąka, żółty"
