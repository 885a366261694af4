"""The doors: one picture without any file, and sources, executors and sets of sizes that come in at one place each."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datakit import (
    CropOptions,
    Execution,
    ShuffleOptions,
    audit_datasets,
    crop_folder,
    emit_backend,
    read_manifest,
    shuffle_folder,
)
from datakit.crop.folder import plan_folder
from datakit.crop.picture import Cropped, crop_picture
from datakit.crop.request import Given, Request
from datakit.dataset.manifest import CropPlan, read_plan, to_line
from datakit.dataset.samples import Found, Sample
from datakit.dataset.source import SOURCES, Opened, open_source
from datakit.errors import PlanError, UsageError
from datakit.geometry import Box, Size
from datakit.report import Problem
from datakit.run.executors import EXECUTORS, executor
from datakit.sizes import SIZE_SETS
from tests.conftest import ROOT, tree

PLAIN = {"detector": "none", "saliency": "none"}


@pytest.fixture
def source(pictures, tmp_path):
    folder = tmp_path / "src"
    (folder / "sub").mkdir(parents=True)
    for name, place in (("fig.jpg", "fig.jpg"), ("coffee.png", "sub/coffee.png"), ("rocket.jpg", "sub/rocket.jpg")):
        shutil.copy(pictures / name, folder / place)
    (folder / "fig.txt").write_bytes(b"\xef\xbb\xbfhalf a fig, fruit\r\n")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def test_one_picture_goes_from_bytes_to_bytes_without_a_file(source, tmp_path, monkeypatch):
    options = CropOptions(upscale=2.5)
    crop_folder(source, tmp_path / "out", options)
    (record,) = (each for each in read_manifest(tmp_path / "out") if each.source == "fig.jpg")
    request = Request(Sample("fig.jpg", "fig.txt"), "fig.jpg", options.key())
    data, caption = (source / "fig.jpg").read_bytes(), (source / "fig.txt").read_bytes()

    def no_file(*_, **__):
        raise AssertionError("a file was opened")

    for name in ("builtins.open", "io.open", "os.open"):
        monkeypatch.setattr(name, no_file)
    cropped = crop_picture(request, data, caption, options)
    monkeypatch.undo()
    assert isinstance(cropped, Cropped)
    assert (cropped.record, cropped.caption) == (record, "half a fig, fruit")
    assert cropped.data == (tmp_path / "out" / "fig.jpg").read_bytes()


@pytest.mark.parametrize(
    ("name", "data", "caption", "options", "kind"),
    [
        ("a.png", b"no picture", None, {}, "picture"),
        ("a.jpg", b"", None, {}, "picture"),
        ("fig.jpg", None, None, {"max_pixels": 1000}, "too-large"),
        ("rocket.jpg", None, None, {}, "too-small"),
        ("fig.jpg", None, b"\x81\x00", {}, "caption"),
        ("fig.jpg", None, None, {"captions": "required"}, "caption-missing"),
    ],
)
def test_a_picture_that_is_not_made_says_why_in_a_word_and_in_a_sentence(pictures, name, data, caption, options, kind):
    data = (pictures / name).read_bytes() if data is None else data
    problem = crop_picture(Request(Sample(name, "a.txt"), "a.png", ""), data, caption, CropOptions(**PLAIN, **options))
    assert isinstance(problem, Problem)
    assert (problem.source, problem.kind, len(problem.reason) > 10) == (name, kind, True)


@settings(max_examples=25)
@given(st.integers(0, 600), st.integers(0, 400))
def test_a_given_window_is_drawn_to_the_pixel(left, top):
    noise = np.random.default_rng(5).integers(0, 256, (1300, 1900, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG", compress_level=0)
    box = Box(left, top, left + 1216, top + 832)
    drawn = Given("here", CropPlan(source="a.png", box=box, bucket=Size(1216, 832)))
    cropped = crop_picture(Request(Sample("a.png", None), "a.png", "", drawn), file.getvalue(), None, CropOptions(**PLAIN))
    assert isinstance(cropped, Cropped)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(cropped.data))), noise[box.top : box.bottom, box.left : box.right])


class Memory:
    """A source that is no folder."""

    files: ClassVar[dict[str, bytes]] = {}

    def __init__(self, address):
        self.address = self.identity = str(address)

    def find(self):
        names = sorted(name for name in self.files if not name.endswith(".txt"))
        captions = {name: f"{name.rpartition('.')[0]}.txt" for name in names}
        return Found(tuple(Sample(name, text if (text := captions[name]) in self.files else None) for name in names), ())

    def read(self, name):
        if name not in self.files:
            raise FileNotFoundError(2, "is gone", name)
        return Opened(self.files[name], (len(self.files[name]), 0))

    def content_id(self, name, seen=None):
        return hashlib.sha256(self.files[name]).hexdigest() if name in self.files else None

    def learn(self, name, stamp, sha256, seen):
        pass

    def refuse_output(self, output):
        pass


def test_another_kind_of_source_gives_the_same_dataset(source, tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "memory", "tests.test_doors:Memory")
    monkeypatch.setattr(Memory, "files", dict(tree(source)))
    options = CropOptions(upscale=2.5)
    report = crop_folder("memory://here", tmp_path / "memory", options)
    assert report.source == "memory://here"
    assert [problem.source for problem in report.failed] == ["broken.png"]
    crop_folder(source, tmp_path / "folder", options)
    assert tree(tmp_path / "memory") == tree(tmp_path / "folder")
    assert crop_folder("memory://here", tmp_path / "memory", options).skipped == 3
    Memory.files["fig.txt"] = b"another"
    assert crop_folder("memory://here", tmp_path / "memory", options).done == 1
    plans, _ = plan_folder("memory://here", options)
    assert plans == plan_folder(source, options)[0]


def test_an_unknown_name_lists_the_known_ones(source, tmp_path):
    with pytest.raises(UsageError, match="'gopher' is unknown: choose from folder"):
        open_source("gopher://here")
    with pytest.raises(UsageError, match="'ray' is unknown: choose from serial, processes"):
        executor("ray")
    with pytest.raises(UsageError, match="'ray' is unknown"):
        crop_folder(source, tmp_path / "out", CropOptions(**PLAIN), execution=Execution(executor="ray"))
    with pytest.raises(UsageError, match="'sd9' is unknown: choose from sdxl"):
        CropOptions(sizes="sd9")


def test_an_unknown_kind_of_source_is_one_line(datakit, tmp_path):
    done = datakit("crop", "gopher://here/pictures", "out")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "source gopher://here/pictures: 'gopher' is unknown: choose from folder" in done.stderr


def threads(function, items, jobs, timeout):
    items = list(items)
    with ThreadPoolExecutor(jobs) as pool:
        yield from zip(items, pool.map(function, items), strict=True)


def test_another_executor_gives_the_same_dataset(source, tmp_path, monkeypatch):
    monkeypatch.setitem(EXECUTORS, "threads", "tests.test_doors:threads")
    options = CropOptions(upscale=2.5, **PLAIN)
    reports = [
        crop_folder(source, tmp_path / name, options, execution=Execution(jobs=2, executor=name))
        for name in ("serial", "processes", "threads")
    ]
    assert {report.done for report in reports} == {3}
    assert tree(tmp_path / "threads") == tree(tmp_path / "serial") == tree(tmp_path / "processes")


def test_a_set_of_sizes_more_is_a_line(source, tmp_path, monkeypatch):
    monkeypatch.setitem(SIZE_SETS, "tiny", (Size(256, 256), Size(320, 192)))
    out, copies, options = tmp_path / "out", tmp_path / "copies", CropOptions(sizes="tiny", **PLAIN)
    assert crop_folder(source, out, options).done == 3
    assert crop_folder(source, out, options).skipped == 3
    for record in read_manifest(out):
        assert (record.sizes, record.bucket in SIZE_SETS["tiny"]) == ("tiny", True)
        with Image.open(out / record.output) as picture:
            assert picture.size == record.bucket
    plans, _ = plan_folder(source, options)
    (tmp_path / "plan.jsonl").write_bytes(b"".join(map(to_line, plans)))
    assert {plan.sizes for _, plan in read_plan(tmp_path / "plan.jsonl")} == {"tiny"}
    assert crop_folder(source, out, options, plan=tmp_path / "plan.jsonl").skipped == 3
    for path in (source / "sub").iterdir():
        path.with_suffix(".txt").write_text("a, b, c")
    crop_folder(source, out, options)
    assert shuffle_folder(out, copies, ShuffleOptions(repeats=2)).done == 6
    assert {record.sizes for record in read_manifest(copies)} == {"tiny"}
    found = audit_datasets([out, copies]).findings
    assert not [finding for _, finding in found if finding.kind == "size"]
    assert emit_backend([out], tmp_path / "cache").changed == ()
    with pytest.raises(UsageError, match="not among the sizes of tiny: 256x256 320x192"):
        CropOptions(sizes="tiny", buckets=(Size(1024, 1024),))


def test_records_of_a_set_that_is_not_known_are_refused_by_line(source, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(SIZE_SETS, "tiny", (Size(256, 256),))
        crop_folder(source, tmp_path / "out", CropOptions(sizes="tiny", **PLAIN))
    with pytest.raises(PlanError, match=r"manifest\.jsonl, line 1: set of sizes 'tiny' is unknown: choose from sdxl"):
        list(read_manifest(tmp_path / "out"))


def test_each_record_is_read_once_in_a_run_with_nothing_to_do(source, tmp_path, monkeypatch):
    from datakit.dataset import records

    options = CropOptions(upscale=2.5, **PLAIN)
    crop_folder(source, tmp_path / "out", options)
    read: list[str] = []
    parse = records.parse_record

    def parsed(line, where):
        read.append(where)
        return parse(line, where)

    monkeypatch.setattr(records, "parse_record", parsed)
    assert crop_folder(source, tmp_path / "out", options).skipped == 3
    assert len(read) == 3


def test_names_of_datakits_own_files_stand_in_one_place():
    spelt = [
        path.name
        for path in (ROOT / "datakit").rglob("*.py")
        if re.search(
            r"^(?! *#).*[\"'/]\.datakit\b(?!-)", re.sub(r'""".*?"""', "", path.read_text("utf-8"), flags=re.DOTALL), re.MULTILINE
        )
    ]
    assert spelt == ["layout.py"]
