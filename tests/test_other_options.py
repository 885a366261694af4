"""A dataset that is cropped again with other options: only what would come out otherwise is made anew, nothing old lies about."""

from __future__ import annotations

import json
import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datakit import BUCKETS, CropOptions, Execution, Record, Size, crop_folder, plan_folder, read_manifest
from datakit.dataset.manifest import to_line, write_atomically
from datakit.sizes import choose_bucket, enlargement, largest_window

PLAIN = {"detector": "none", "saliency": "none"}
LOOSE = CropOptions(upscale=3.0, **PLAIN)


@pytest.fixture
def source(pictures, tmp_path):
    folder = tmp_path / "src"
    folder.mkdir()
    for name in ("fig.jpg", "fig.txt", "coffee.png", "coffee.txt", "moose.webp", "moose.txt", "rocket.jpg"):
        shutil.copy(pictures / name, folder)
    return folder


@pytest.fixture
def out(source, tmp_path):
    crop_folder(source, tmp_path / "out", LOOSE)
    return tmp_path / "out"


def sizes_by_source(folder):
    return {record.source: record.bucket for record in read_manifest(folder)}


@pytest.mark.parametrize("limit", [{"upscale": 2.5}, {"upscale": 9.0}, {"max_pixels": 4_000_000}, {"captions": "optional"}])
def test_a_limit_that_every_picture_keeps_makes_nothing_anew(source, out, limit):
    before = (out / "manifest.jsonl").read_bytes()
    report = crop_folder(source, out, CropOptions(**(PLAIN | {"upscale": 3.0} | limit)))
    assert (report.done, report.skipped, report.refused) == (0, 4, [])
    assert (out / "manifest.jsonl").read_bytes() == before


def test_captions_may_become_required_without_making_anything_anew(source, out):
    report = crop_folder(source, out, CropOptions(upscale=3.0, captions="required", **PLAIN))
    assert (report.done, [problem.source for problem in report.refused]) == (0, ["rocket.jpg"])
    assert report.stale == ["rocket.jpg"]


@pytest.mark.parametrize(
    ("limit", "refused"), [({"upscale": 1.5}, ["coffee.png", "rocket.jpg"]), ({"max_pixels": 700_000}, ["fig.jpg"])]
)
def test_what_a_limit_refuses_now_is_named_and_goes_with_prune(source, out, limit, refused):
    options = CropOptions(**(PLAIN | {"upscale": 3.0} | limit))
    report = crop_folder(source, out, options)
    assert [problem.source for problem in report.refused] == refused
    assert report.stale == refused
    assert (report.pruned, all((out / name).exists() for name in refused)) == (False, True)
    for execution in (Execution(prune=True, overwrite=True), Execution(prune=True)):
        again = crop_folder(source, out, options, execution=execution)
        assert [problem.source for problem in again.refused] == refused
        assert not any((out / name).exists() or (out / name).with_suffix(".txt").exists() for name in refused)
        assert sizes_by_source(out).keys().isdisjoint(refused)
    assert again.stale == []


def test_what_somebody_edited_stays_though_its_picture_is_refused_and_pruned(source, out):
    (out / "coffee.txt").write_text("mine")
    report = crop_folder(source, out, CropOptions(**PLAIN), execution=Execution(prune=True))
    assert report.notes == ["coffee.txt is no longer wanted, but was edited: left as it is"]
    assert (out / "coffee.txt").read_text() == "mine"
    assert not (out / "coffee.png").exists()


def test_a_picture_that_cannot_be_read_now_keeps_its_output_though_pruned(source, out):
    (source / "fig.jpg").write_bytes(b"broken")
    report = crop_folder(source, out, LOOSE, execution=Execution(prune=True))
    assert [problem.source for problem in report.failed] == ["fig.jpg"]
    assert (out / "fig.jpg").exists()
    assert "1 output of an earlier run kept, made from pictures not used now: fig.jpg" in report.notes


def test_the_limit_is_part_of_a_framing_that_zooms_as_far_as_it_allows():
    portrait = {CropOptions(framing="portrait", upscale=factor).key() for factor in (1.0, 2.0)}
    full = {CropOptions(upscale=factor, captions=word).key() for factor in (1.0, 2.0) for word in ("required", "optional")}
    assert (len(portrait), len(full)) == (2, 1)


@settings(max_examples=3)
@given(st.integers(0, 10_000))
def test_a_plan_made_with_an_enlargement_applies_without_one_refusal(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("plans")
    draw = random.Random(seed)
    (folder / "src").mkdir()
    for number in range(40):
        Image.new("L", (draw.randrange(300, 1500), draw.randrange(300, 1500)), 128).save(folder / "src" / f"{number}.png")
    plans, _ = plan_folder(folder / "src", LOOSE)
    (folder / "plan.jsonl").write_bytes(b"".join(map(to_line, plans)))
    report = crop_folder(
        folder / "src", folder / "out", CropOptions(**PLAIN, quality=1, format="jpg"), plan=folder / "plan.jsonl"
    )
    assert (report.refused, report.failed, report.done) == ([], [], len(plans))


def test_a_plan_does_not_allow_more_than_it_was_made_with(source, tmp_path):
    plans, _ = plan_folder(source, LOOSE)
    lines = [json.loads(to_line(plan)) for plan in plans]
    coffee = next(line for line in lines if line["source"] == "coffee.png")
    width, height = 1216 / (coffee["scale"] + 0.01), 832 / (coffee["scale"] + 0.01)
    coffee["box"] = [0, 0, round(width), round(height)]
    (tmp_path / "plan.jsonl").write_text(json.dumps(coffee) + "\n")
    report = crop_folder(source, tmp_path / "out", CropOptions(**PLAIN), plan=tmp_path / "plan.jsonl")
    assert [problem.source for problem in report.refused] == ["coffee.png"]


@given(st.tuples(st.integers(64, 4000), st.integers(64, 4000)), st.floats(1, 8))
def test_a_record_is_allowed_where_the_same_options_would_make_it(size, upscale):
    size = Size(*size)
    bucket = choose_bucket(size, BUCKETS, upscale)
    needed = enlargement(largest_window(size, bucket), bucket)
    record = Record(
        output="a.jpg", bucket=bucket, source="a.jpg", source_sha256="", output_sha256="", key="", version="", source_size=size
    )
    assert CropOptions(upscale=upscale).allow(record) == (needed <= upscale)
    assert CropOptions(upscale=upscale, max_pixels=size.area).allow(record) == (needed <= upscale)
    assert not CropOptions(upscale=upscale, max_pixels=max(1, size.area - 1)).allow(record)
    others = tuple(each for each in BUCKETS if each != bucket)
    assert not CropOptions(upscale=upscale, buckets=others).allow(record)
    assert CropOptions(buckets=others).allow(record, decided=False)


def test_files_are_written_with_the_masks_rights_from_any_thread(tmp_path):
    before = os.umask(0o027)
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda number: write_atomically(tmp_path / f"{number}", b"x"), range(400)))
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert len(list(tmp_path.iterdir())) == 400
