"""Crop over shards: the same as of the folder, whatever is killed meanwhile, and only what is new or changed."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from contextlib import nullcontext

import pytest
from PIL import Image

from datakit import CropOptions, Execution, crop_folder, read_manifest
from datakit.errors import UsageError
from datakit.shards.crop import crop_shards
from datakit.shards.receipts import read_sharded
from datakit.shards.storage import open_storage
from datakit.shards.tar import stem_of
from datakit.shards.unpack import read_samples
from tests.conftest import ROOT, tree
from tests.shards.conftest import OPTIONS, PLAIN, WORDS, write_tar


def shards_of(folder):
    """What a dataset in shards holds but for what tells of its making."""
    return {name: data for name, data in tree(folder).items() if not name.startswith("_datakit/")}


def unpacked(folder):
    """The pictures and captions of all shards by their names in a folder; a caption that is empty is none."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, field = member.name.rpartition(".")
                found[f"{stem_of(key)}.{field}"] = tar.extractfile(member).read()
    return {name: data for name, data in found.items() if data}


def records_of(folder):
    storage = open_storage(str(folder))
    return [sample.record for shard in read_sharded(storage).shards for sample in read_samples(storage, shard)[0]]


def test_pictures_captions_and_records_are_those_of_the_extracted_folder(as_shards, as_folder):
    files = {name: data for name, data in tree(as_folder).items() if name.endswith((".jpg", ".txt"))}
    assert unpacked(as_shards) == files
    assert sorted(records_of(as_shards), key=lambda record: record.output) == list(read_manifest(as_folder))


def test_several_crops_are_those_of_the_extracted_folder(raw, tmp_path):
    options = CropOptions(format="jpg", upscale=6, saliency="bms", crops=("full", "portrait", "main"))
    crop_folder(raw / "folder", tmp_path / "folder", options)
    report = crop_shards(f"{raw}/tars/*.tar", str(tmp_path / "shards"), options)
    assert report.exit_code == 0
    made = list(read_manifest(tmp_path / "folder"))
    assert {record.crop for record in made} >= {"full", "main"}
    assert sorted(records_of(tmp_path / "shards"), key=lambda record: record.output) == made
    assert unpacked(tmp_path / "shards") == {
        name: data for name, data in tree(tmp_path / "folder").items() if name.endswith((".jpg", ".txt"))
    }
    assert crop_shards(f"{raw}/tars/*.tar", str(tmp_path / "shards"), options).done == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fill_batches": 4}, "fill_batches .* one by one"),
        ({"companions": "auto"}, "no companions"),
        ({"companion": ("mask={stem}-m.png",)}, "no companions"),
        ({"keep_alpha": True}, "no companions"),
    ],
)
def test_what_one_shard_cannot_tell_or_hold_is_refused(raw, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        crop_shards(f"{raw}/tars/*.tar", str(tmp_path / "out"), CropOptions(format="jpg", upscale=6, **options))
    assert not (tmp_path / "out").exists()


def test_each_sample_lies_where_its_records_say_and_has_the_same_fields(as_shards):
    storage = open_storage(str(as_shards))
    for shard in read_sharded(storage).shards:
        data = storage.read(shard.name)
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            names = tar.getnames()
        samples, problems = read_samples(storage, shard)
        assert not problems
        assert names == [f"{sample.key}.{field}" for sample in samples for field in ("jpg", "txt")]
        assert all("." not in sample.key for sample in samples)
        for sample in samples:
            with Image.open(io.BytesIO(data[sample.offset : sample.offset + sample.size])) as picture:
                assert picture.size == sample.record.bucket


def test_only_new_and_changed_shards_are_made(as_shards, tars, samples, tmp_path):
    out, source = tmp_path / "out", f"{tars}/*.tar"
    crop_shards(source, str(out), OPTIONS)
    assert shards_of(out) == shards_of(as_shards)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and "tmp" not in path.parts}
    report = crop_shards(source, str(out), OPTIONS)
    assert (report.done, report.skipped, report.counts.done) == (0, 3, 7)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    first = (tars / "00000.tar").read_bytes()
    for content in ({"coffee.png": samples["coffee.png"]}, None):
        if content:
            write_tar(tars / "00000.tar", content)
        else:
            (tars / "00000.tar").write_bytes(first)  # as it was: the etag of the first is not that of a receipt
        report = crop_shards(source, str(out), OPTIONS)
        assert (report.done, report.skipped) == (1, 2)
    assert shards_of(out) == shards_of(as_shards)
    write_tar(tars / "00003.tar", {"new.png": samples["coffee.png"]})
    assert crop_shards(source, str(out), OPTIONS).done == 1
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"short")):
        damage(out / "00001.tar")
        assert crop_shards(source, str(out), OPTIONS).done == 1


def test_what_is_other_is_refused_without_overwrite(tars, samples, tmp_path):
    out, source = tmp_path / "out", f"{tars}/{{00000..00001}}.tar"
    crop_shards(source, str(out), OPTIONS)
    whole = tree(out)
    with pytest.raises(UsageError, match=r"made with other options \(quality 95\).*--overwrite"):
        crop_shards(source, str(out), CropOptions(format="jpg", upscale=6, quality=90, **PLAIN))
    write_tar(tmp_path / "elsewhere" / "00000.tar", {"another.png": samples["coffee.png"]})
    with pytest.raises(UsageError, match=r"00000\.tar was made from .*tars/00000\.tar, not from"):
        crop_shards(f"{tmp_path}/elsewhere/*.tar", str(out), OPTIONS)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds files \(notes\.txt\) and no shards of datakit"):
        crop_shards(source, str(tmp_path / "mine"), OPTIONS)
    with pytest.raises(UsageError, match=r"lies in .*tars, which is to be written"):
        crop_shards(source, str(tars), OPTIONS)
    with pytest.raises(UsageError, match=r"one format.*--format"):
        crop_shards(source, str(out), CropOptions())
    with pytest.raises(UsageError, match="--strict is for a folder"):
        crop_shards(source, str(out), OPTIONS, execution=Execution(strict=True))
    assert tree(out) == whole
    other = CropOptions(format="jpg", upscale=6, quality=90, **PLAIN)
    report = crop_shards(source, str(out), other, execution=Execution(overwrite=True))
    assert report.done == 2
    assert tree(out)["00000.tar"] != whole["00000.tar"]


def test_shards_whose_source_is_gone_are_named_and_pruned(tars, as_shards, tmp_path):
    out = tmp_path / "out"
    crop_shards(f"{tars}/*.tar", str(out), OPTIONS)
    (tars / "00001.tar").unlink()
    report = crop_shards(f"{tars}/*.tar", str(out), OPTIONS)
    assert (report.removed, report.counts.done) == (["00001.tar"], 5)
    assert (out / "00001.tar").exists()
    assert [shard.name for shard in read_sharded(open_storage(str(out))).shards] == ["00000.tar", "00002.tar"]
    crop_shards(f"{tars}/*.tar", str(out), OPTIONS, execution=Execution(prune=True))
    assert not [name for name in tree(out) if "00001" in name]


def test_a_damaged_shard_fails_by_name_and_nothing_is_taken_for_whole(tars, as_shards, tmp_path):
    out, path = tmp_path / "out", tars / "00001.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    (tars / "00003.tar").write_bytes(bytes(10240))
    report = crop_shards(f"{tars}/*.tar", str(out), OPTIONS)
    assert (report.done, report.exit_code) == (2, 1)
    assert [problem.source for problem in report.failed] == ["00001.tar", "00003.tar"]
    assert "cut short" in report.failed[0].reason
    assert "holds no pictures" in report.failed[1].reason
    assert not (out / "dataset.json").exists()
    with pytest.raises(UsageError, match="was not finished"):
        read_sharded(open_storage(str(out)))
    path.write_bytes(whole)
    (tars / "00003.tar").unlink()
    report = crop_shards(f"{tars}/*.tar", str(out), OPTIONS)
    assert (report.done, report.skipped) == (1, 2)
    assert shards_of(out) == shards_of(as_shards)


def test_pictures_that_are_not_made_are_records(tars, samples, tmp_path):
    write_tar(tars / "00003.tar", {"broken.png": b"no picture", "fine.png": samples["coffee.png"]})
    report = crop_shards(f"{tars}/*.tar", str(tmp_path / "out"), CropOptions(format="jpg", upscale=2.5, **PLAIN))
    counts = report.counts
    assert (counts.failed, counts.problems["picture"], counts.refused, report.exit_code) == (
        1,
        1,
        counts.problems["too-small"],
        1,
    )
    assert counts.done + counts.refused + counts.failed == 9
    storage = open_storage(str(tmp_path / "out"))
    _, problems = read_samples(storage, read_sharded(storage).shards[3])
    assert "broken.png" in [problem.source for problem in problems]
    assert all(problem.upscale_needed > 2.5 and problem.size for problem in problems if problem.kind == "too-small")


def test_processes_that_somebody_kills_cost_nothing(raw, as_shards, tmp_path, faults):
    out = tmp_path / "out"
    faults("worker", "picture")
    report = crop_shards(f"{raw}/tars/00001.tar", str(out), OPTIONS, execution=Execution(jobs=1))
    assert faults.left() == []
    assert (report.done, report.exit_code) == (1, 0)
    assert (out / "00001.tar").read_bytes() == (as_shards / "00001.tar").read_bytes()
    assert not list((out / "_datakit" / "tmp").glob("shard-*"))  # what the killed worker left is swept up


def test_a_driver_that_somebody_kills_goes_on_where_it_was(raw, as_shards, tmp_path, faults):
    out = tmp_path / "out"
    faults("driver")
    assert begun(raw, out).wait() == -signal.SIGKILL
    assert not (out / "dataset.json").exists()
    report = crop_shards(f"{raw}/tars/*.tar", str(out), OPTIONS)
    assert (report.done, report.skipped) == (2, 1)
    assert shards_of(out) == shards_of(as_shards)


def test_a_picture_that_kills_its_decoder_costs_itself(raw, as_shards, tmp_path, faults):
    out = tmp_path / "out"
    faults("picture", always=True)
    report = crop_shards(f"{raw}/tars/00001.tar", str(out), OPTIONS, execution=Execution(jobs=1))
    assert (report.done, report.counts.done, report.counts.problems, report.exit_code) == (1, 1, {"crashed": 1}, 1)
    assert unpacked(out) == {name: data for name, data in unpacked(as_shards).items() if name.startswith("moose")}


def begun(raw, out):
    """Crop in a process of its own, as one says it in Python."""
    words = f"crop_shards({f'{raw}/tars/*.tar'!r}, {str(out)!r}, OPTIONS)"
    code = f"from tests.shards.test_crop import OPTIONS, crop_shards; raise SystemExit({words}.exit_code)"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)


def test_two_runs_at_once_end_in_the_same_bytes(raw, as_shards, tmp_path):
    both = [begun(raw, tmp_path / "out") for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert shards_of(tmp_path / "out") == shards_of(as_shards)
    report = crop_shards(f"{raw}/tars/*.tar", str(tmp_path / "out"), OPTIONS)
    assert (report.done, report.skipped) == (0, 3)


def test_of_two_runs_that_begin_at_once_the_first_says_with_which_options(raw, as_shards, tmp_path):
    storage, file = open_storage(str(tmp_path / "new")), tmp_path / "file"
    for content in ("first", "second"):
        file.write_text(content)
        with nullcontext() if content == "first" else pytest.raises(FileExistsError):
            storage.put("_datakit/options.json", file, new=True)
    assert (tmp_path / "new" / "_datakit" / "options.json").read_text() == "first"
    # Options alone are a run that was killed before its first shard, or that has just begun.
    shutil.copytree(as_shards / "_datakit", tmp_path / "out" / "_datakit", ignore=shutil.ignore_patterns("*.tar.json"))
    with pytest.raises(UsageError, match="made with other options"):
        crop_shards(f"{raw}/tars/*.tar", str(tmp_path / "out"), CropOptions(format="jpg", upscale=6, quality=90, **PLAIN))
    assert crop_shards(f"{raw}/tars/*.tar", str(tmp_path / "out"), OPTIONS).done == 3


def test_verify_finds_what_has_the_right_size_and_other_bytes(tars, tmp_path):
    out = tmp_path / "out"
    crop_shards(f"{tars}/*.tar", str(out), OPTIONS)
    data = (out / "00001.tar").read_bytes()
    (out / "00001.tar").write_bytes(data[:-1] + b"x")
    assert crop_shards(f"{tars}/*.tar", str(out), OPTIONS).done == 0
    assert crop_shards(f"{tars}/*.tar", str(out), OPTIONS, execution=Execution(verify=True)).done == 1
    assert (out / "00001.tar").read_bytes() == data


def test_without_pyarrow_it_is_said_how_to_install_it_and_a_folder_is_cropped(raw, tmp_path):
    """In one process: what is not installed is not imported either."""
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from click.testing import CliRunner; from datakit.cli import main\n"
        f"run = lambda *words: CliRunner().invoke(main, ['crop', *words, *{WORDS!r}])\n"
        f"refused, done = run({f'{raw}/tars/*.tar'!r}, 'shards'), run({str(raw / 'folder')!r}, 'out', '--jobs=1')\n"
        "print(refused.exit_code, refused.output, done.exit_code)\n"
        "assert not {'obstore', 'ray', 'boto3'} & set(sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("2 "), ended.stdout
    assert "needs the extra parquet: pip install 'datakit[parquet]'" in ended.stdout
    assert ended.stdout.endswith(" 0\n")
    assert not (tmp_path / "shards").exists()
