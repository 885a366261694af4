"""A dataset in a folder to shards and back, what is said of it in shards, and who else reads it."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datakit import CropOptions, Execution, ShuffleOptions, crop_folder, read_manifest, shuffle_folder
from datakit.cli import main
from datakit.dataset.manifest import Record
from datakit.errors import OccupiedError, ShardError, UsageError
from datakit.report import LeftOut, Problem, Warned
from datakit.shards.pack import pack_dataset
from datakit.shards.receipts import read_sharded
from datakit.shards.records import Stored, decoded, encoded
from datakit.shards.shuffle import shuffle_shards
from datakit.shards.storage import open_storage
from datakit.shards.summary import concept_at, inspect
from datakit.shards.tar import stem_of
from datakit.shards.unpack import unpack_shards
from datakit.shards.where import wanted
from tests.commands import said
from tests.conftest import tree

OPTIONS = CropOptions(format="jpg", upscale=6, saliency="none")


@pytest.fixture(scope="module")
def whole(raw, tmp_path_factory):
    """In ``folder`` a dataset, in ``shards`` the same, three samples a shard; never written to."""
    place = tmp_path_factory.mktemp("whole")
    crop_folder(raw / "folder", place / "folder", OPTIONS)
    report = pack_dataset(place / "folder", str(place / "shards"), shard_size=3)
    assert (report.done, report.counts.done, report.exit_code) == (3, 7, 0)
    return place


def test_what_is_packed_and_unpacked_is_the_dataset_of_before(whole, tmp_path):
    report = unpack_shards(str(whole / "shards"), tmp_path / "out")
    assert (report.done, report.exit_code) == (7, 0)
    assert tree(tmp_path / "out") == tree(whole / "folder")
    assert unpack_shards(str(whole / "shards"), tmp_path / "out").skipped == 7
    pack_dataset(tmp_path / "out", str(tmp_path / "again"), shard_size=3)
    assert {name: data for name, data in tree(tmp_path / "again").items() if "_datakit" not in name} == {
        name: data for name, data in tree(whole / "shards").items() if "_datakit" not in name
    }


def test_an_unpacked_dataset_is_an_ordinary_one(raw, whole, tmp_path):
    out = tmp_path / "out"
    unpack_shards(str(whole / "shards"), out, keep=wanted(["captions>=1"]))
    assert shuffle_folder(out, tmp_path / "copies", ShuffleOptions(repeats=2)).done == 12
    _, text = said(f"check {out}", tmp_path)
    assert "differs" not in text
    assert "unknown" not in text
    report = crop_folder(raw / "folder", out, OPTIONS)  # it goes on where the dataset of before was
    assert (report.done, report.skipped) == (1, 6)
    assert tree(out) == tree(whole / "folder")


def test_a_run_that_was_interrupted_goes_on(whole, tmp_path):
    out = tmp_path / "out"
    assert unpack_shards(str(whole / "shards"), out, most=4).done == 4
    (out / "astronaut.jpg").unlink()
    report = unpack_shards(str(whole / "shards"), out)
    assert (report.done, report.skipped) == (4, 3)
    assert tree(out) == tree(whole / "folder")


def test_what_was_edited_is_not_replaced(whole, tmp_path):
    out = tmp_path / "out"
    unpack_shards(str(whole / "shards"), out)
    (out / "astronaut.jpg").write_bytes(b"mine")
    report = unpack_shards(str(whole / "shards"), out)
    assert [(problem.source, problem.kind) for problem in report.refused] == [("astronaut.jpg", OccupiedError.kind)]
    assert (out / "astronaut.jpg").read_bytes() == b"mine"
    unpack_shards(str(whole / "shards"), out, overwrite=True)
    assert tree(out) == tree(whole / "folder")
    shuffle_folder(out, tmp_path / "copies", ShuffleOptions(repeats=1))
    with pytest.raises(UsageError, match=r"copies was made from .*, these shards from"):
        unpack_shards(str(whole / "shards"), tmp_path / "copies")


def test_only_what_changed_is_packed_again(whole, tmp_path):
    folder, shards = tmp_path / "folder", tmp_path / "shards"
    shutil.copytree(whole / "folder", folder)
    pack_dataset(folder, str(shards), shard_size=3)
    (folder / "temple.txt").write_text("another caption")
    report = pack_dataset(folder, str(shards), shard_size=3, execution=Execution(overwrite=True))
    assert [problem.source for problem in report.failed] == ["00002.tar"]
    assert "temple.txt was edited since datakit wrote it" in report.failed[0].reason
    assert said(f"check {folder} --fix", tmp_path)[0] in (0, 1)
    assert pack_dataset(folder, str(shards), shard_size=3).done == 1
    assert unpack_shards(str(shards), tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "temple.txt").read_text() == "another caption"


def test_a_dataset_of_several_formats_is_refused(raw, tmp_path):
    crop_folder(raw / "folder", tmp_path / "mixed", CropOptions(upscale=6, detector="none", saliency="none"))
    with pytest.raises(UsageError, match=r"several formats \(5 \.jpg, 1 \.png, 1 \.webp\).*--format"):
        pack_dataset(tmp_path / "mixed", str(tmp_path / "shards"))
    with pytest.raises(UsageError, match="lie in one another"):
        pack_dataset(tmp_path / "mixed", str(tmp_path / "mixed" / "shards"))
    with pytest.raises(UsageError, match="is no finished dataset"):
        pack_dataset(raw / "folder", str(tmp_path / "shards"))


def test_a_dataset_with_companions_is_refused(raw, tmp_path):
    source, out = tmp_path / "src", tmp_path / "out"
    shutil.copytree(raw / "folder", source)
    with Image.open(source / "flower.jpg") as picture:
        Image.new("L", picture.size, 255).save(source / "flower-masklabel.png")
    crop_folder(source, out, CropOptions(format="jpg", upscale=6, detector="none", saliency="none", companions="auto"))
    with pytest.raises(UsageError, match=r"has companions \(companions/mask/flower.png\)"):
        pack_dataset(out, str(tmp_path / "shards"))
    assert not (tmp_path / "shards").exists()


def test_a_damaged_shard_gives_nothing_that_is_not_as_it_was(whole, tmp_path):
    shutil.copytree(whole / "shards", tmp_path / "shards")
    path = tmp_path / "shards" / "00001.tar"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (tmp_path / "shards" / "00002.parquet").write_bytes(b"no records")
    report = unpack_shards(str(tmp_path / "shards"), tmp_path / "out")
    assert [problem.source for problem in report.failed] == ["00001.tar", "00002.tar"]
    assert all(
        "not as it was written" in problem.reason or "as it was written (sha256" in problem.reason for problem in report.failed
    )
    assert tree(tmp_path / "out").items() <= tree(whole / "folder").items() | {
        item for item in tree(tmp_path / "out").items() if item[0] in ("manifest.jsonl", "metadata.jsonl")
    }


def test_check_tells_faults_faces_and_pictures_that_are_the_same(whole, tmp_path):
    found = inspect([whole / "shards"])
    assert (found.shards, found.counts.done, found.faults, found.duplicates) == (3, 7, [], [])
    cut = {
        record.output: record.faces[0].kept
        for record in read_manifest(whole / "folder")
        if record.faces and record.faces[0].kept < 1
    }
    assert {name.partition("/")[2]: kept for name, kept in found.faces_cut} == cut
    shutil.copytree(whole / "shards", tmp_path / "shards")
    both = inspect([whole / "shards", tmp_path / "shards"])
    assert len(both.duplicates) == 7
    assert all(len(group) == 2 and group[0] == group[1] for group in both.duplicates)
    (tmp_path / "shards" / "00000.tar").unlink()
    (tmp_path / "shards" / "more.tar").write_bytes(b"")
    data = (tmp_path / "shards" / "00001.tar").read_bytes()
    (tmp_path / "shards" / "00001.tar").write_bytes(data[:-1] + b"x")
    faults = dict(inspect([tmp_path / "shards"], verify=True).faults)
    assert [name.rpartition("/")[2] for name in sorted(faults)] == ["00000.tar", "00001.tar", "more.tar"]
    code, text = said(f"check {tmp_path / 'shards'} --json", tmp_path)
    assert (code, json.loads(text)["pictures"]["done"], len(json.loads(text)["faults"])) == (1, 7, 2)


def test_steps_and_sheet_read_shards(whole, tmp_path):
    in_shards, in_folder = said(f"steps {whole / 'shards'} --json", tmp_path), said(f"steps {whole / 'folder'} --json", tmp_path)
    assert in_shards == in_folder or in_shards[1].replace("shards", "folder") == in_folder[1]
    assert concept_at(whole / "shards").records == concept_at(whole / "folder").records
    code, text = said(f"sheet {whole / 'shards'} {tmp_path / 'sheet.png'} --columns 2 --rows 2", tmp_path)
    assert code == 0, text
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 400


CONDITIONS = [
    ("bucket=1216x832", lambda record: tuple(record.bucket) == (1216, 832)),
    ("bucket!=1216*", lambda record: record.bucket[0] != 1216),
    ("area_kept>=0.9", lambda record: record.area_kept >= 0.9),
    ("source = more/*", lambda record: record.source.startswith("more/")),
    ("captions=0", lambda record: record.captions == 0),
    ("width<420", lambda record: record.source_size[0] < 420),
    ("faces>0", lambda record: bool(record.faces)),
]


@pytest.mark.parametrize(("condition", "same"), CONDITIONS)
def test_where_chooses_what_it_says(whole, condition, same):
    records = list(read_manifest(whole / "folder"))
    assert [record for record in records if wanted([condition])(record)] == [record for record in records if same(record)]


@pytest.mark.parametrize("condition", ["bucket>1", "nothing=1", "faces=many", "faces", "output=", ""])
def test_a_condition_that_is_none_is_refused(condition):
    with pytest.raises(UsageError, match="--where"):
        wanted([condition])


DIGEST = st.binary(min_size=32, max_size=32).map(bytes.hex)
RECORDS = st.builds(
    Record,
    output=st.sampled_from(["a.jpg", "b/c.d.jpg"]),
    bucket=st.just((1024, 1024)),
    source=st.sampled_from(["a.png", "ü/b.tif"]),
    source_sha256=DIGEST,
    output_sha256=DIGEST,
    key=st.text(max_size=12),
    version=st.just("0"),
    caption=st.none(),
    scale=st.none() | st.floats(0.01, 9),
    area_kept=st.none() | st.floats(0, 1),
    box=st.none() | st.just((0, 1, 2, 3)),
    why=st.none() | st.text(),
    copy=st.none() | st.integers(1, 99),
    captions=st.integers(0, 9),
    caption_edited=st.booleans(),
    augmentation=st.none() | st.just({"brightness": 1.25, "flip": True}),
    moved_from=st.none() | st.just((832, 1216)),
    crop=st.none() | st.sampled_from(["full", "main"]),
    left_out=st.just({}) | st.just({"face": LeftOut("no-face"), "detail": LeftOut("too-small", 1.5)}),
    warnings=st.lists(st.builds(Warned, kind=st.sampled_from(["enlarged", "frames"]), sentence=st.text()), max_size=2).map(tuple),
)


@settings(max_examples=15)
@given(
    st.lists(RECORDS, max_size=4),
    st.lists(st.builds(Problem, st.text(min_size=1), st.text(), st.sampled_from(["picture", "crashed"])), max_size=2),
)
def test_records_come_back_as_they_were(records, problems):
    samples = [Stored(record, "key", None, 512, number) for number, record in enumerate(records)]
    data = encoded(samples, problems)
    assert encoded(samples, problems) == data
    back, left = decoded(data, "0.parquet")
    assert ([sample.record for sample in back], left) == (records, problems)
    assert [(sample.key, sample.offset, sample.size) for sample in back] == [
        ("key", 512, number) for number in range(len(records))
    ]


@pytest.mark.parametrize("output", ["../a.jpg", "/a.jpg", "b/../../a.jpg", ".hidden/a.jpg"])
def test_records_that_lead_out_of_the_folder_are_refused(output):
    record = Record(
        output=output, bucket=(1024, 1024), source="a.jpg", source_sha256="0" * 64, output_sha256="0" * 64, key="", version=""
    )
    with pytest.raises(ShardError, match=r"0\.parquet, row 1"):
        decoded(encoded([Stored(record, "a", None, 0, 1)], []), "0.parquet")


def test_datasets_streams_shards_as_they_are(whole):
    datasets = pytest.importorskip("datasets")
    urls = sorted(map(str, (whole / "shards").glob("*.tar")))
    rows = list(datasets.load_dataset("webdataset", data_files={"train": urls}, split="train", streaming=True))
    records = {record.output: record for record in read_manifest(whole / "folder")}
    assert {f"{stem_of(row['__key__'])}.jpg" for row in rows} == set(records)
    for row in rows:
        record = records[f"{stem_of(row['__key__'])}.jpg"]
        text = (whole / "folder" / record.caption).read_text() if record.caption else ""
        assert (row["jpg"].size, row["txt"]) == (tuple(record.bucket), text)


def test_a_script_that_names_the_folder_gets_the_samples(whole, tmp_path):
    """As diffusers' scripts do with --dataset_name, --image_column jpg and --caption_column txt."""
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset(str(whole / "shards"), None, cache_dir=str(tmp_path))["train"]
    records = list(read_manifest(whole / "folder"))
    assert sorted(f"{stem_of(row['__key__'])}.jpg" for row in rows) == sorted(record.output for record in records)
    assert {row["jpg"].size for row in rows} == {tuple(record.bucket) for record in records}


@pytest.mark.scale  # where it is installed
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its files open
def test_webdataset_reads_shards_as_they_are(whole):
    webdataset = pytest.importorskip("webdataset")
    urls = sorted(map(str, (whole / "shards").glob("*.tar")))
    rows = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple("__key__", "jpg", "txt"))
    assert [f"{stem_of(key)}.jpg" for key, _, _ in rows] == [record.output for record in read_manifest(whole / "folder")]
    assert all(picture.size in {tuple(record.bucket) for record in read_manifest(whole / "folder")} for _, picture, _ in rows)


def test_commands_of_shards_say_what_they_did(whole, tmp_path):
    code, text = said(f"unpack {whole / 'shards'} out --where bucket=1216x832 --json", tmp_path)
    assert (code, json.loads(text)["done"]) == (
        0,
        sum(tuple(record.bucket) == (1216, 832) for record in read_manifest(whole / "folder")),
    )
    code, text = said("pack out packed", tmp_path)
    assert (code, "shards 1 done" in text) == (0, True)
    assert [shard.name for shard in read_sharded(open_storage(str(tmp_path / "packed"))).shards] == ["00000.tar"]
    assert {"pack", "unpack"} <= set(main.list_commands(None))


def test_captions_only_gives_each_picture_the_captions_that_it_has_in_a_folder(whole, tmp_path):
    options = ShuffleOptions(repeats=3, captions_only=True)
    folder = shuffle_folder(whole / "folder", tmp_path / "folder", options)
    report = shuffle_shards(str(whole / "shards"), str(tmp_path / "shards"), options)
    assert (report.done, report.counts.done, report.counts.refused) == (3, folder.done, len(folder.refused))
    assert folder.refused  # the picture without a caption
    assert inspect([tmp_path / "shards"]).faults == []
    unpack_shards(str(tmp_path / "shards"), tmp_path / "unpacked")
    assert tree(tmp_path / "unpacked") == tree(tmp_path / "folder")
    assert concept_at(tmp_path / "shards").passes == 3
    assert shuffle_shards(str(whole / "shards"), str(tmp_path / "shards"), options).skipped == 3
    with pytest.raises(UsageError, match="made with other options"):
        shuffle_shards(str(whole / "shards"), str(tmp_path / "shards"), ShuffleOptions(repeats=2, captions_only=True))
    with pytest.raises(UsageError, match="--captions-only, or unpack"):
        shuffle_shards(str(whole / "shards"), str(tmp_path / "copies"), ShuffleOptions(repeats=2))
    with pytest.raises(UsageError, match="lie in one another"):
        shuffle_shards(str(whole / "shards"), str(whole / "shards"), options)
    code, text = said(f"shuffle {whole / 'shards'} {tmp_path / 'cli'} --captions-only --repeats 3", tmp_path)
    assert (code, "shards 3 done" in text) == (1, True)


def test_parquet_with_pictures_is_what_datasets_loads(whole, tmp_path):
    datasets = pytest.importorskip("datasets")
    code, text = said(f"unpack {whole / 'shards'} hub --to parquet", tmp_path)
    assert (code, "7 done" in text) == (0, True)
    rows = datasets.load_dataset(str(tmp_path / "hub"), split="train", streaming=True)
    found = {row["file_name"]: row for row in rows.cast_column("image", datasets.Image(decode=False))}
    records = {record.output: record for record in read_manifest(whole / "folder")}
    assert found.keys() == records.keys()
    for name, row in found.items():
        caption = records[name].caption
        assert row["image"]["bytes"] == (whole / "folder" / name).read_bytes()
        assert row["text"] == ((whole / "folder" / caption).read_text() if caption else None)
        assert (row["width"], row["height"]) == tuple(records[name].bucket)
    first = next(iter(rows))
    assert first["image"].size == (first["width"], first["height"])  # it knows by itself which column holds pictures
    assert "7 up to date" in said(f"unpack {whole / 'shards'} hub --to parquet", tmp_path)[1]
    code, text = said(f"unpack {whole / 'shards'} hub --to parquet --where bucket=1216x832", tmp_path)
    assert (code, "in the way" in text) == (1, True)
    (tmp_path / "hub" / "data" / "train-00000.parquet").write_bytes(b"mine")
    code, text = said(f"unpack {whole / 'shards'} hub --to parquet", tmp_path)
    assert (code, (tmp_path / "hub" / "data" / "train-00000.parquet").read_bytes()) == (1, b"mine")
