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

from datakit import (
    Box,
    CropOptions,
    Execution,
    Record,
    ShuffleOptions,
    Size,
    crop_folder,
    plan_folder,
    read_manifest,
    shuffle_folder,
)
from datakit.audit.freshness import behind
from datakit.dataset.manifest import CropPlan, to_line, write_atomically
from datakit.errors import PlanError
from datakit.sizes import choose_bucket, enlargement, largest_window
from tests.conftest import BUCKETS

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


def test_what_somebody_edited_stays_whole_and_is_there_when_the_limit_goes(source, out):
    (out / "coffee.txt").write_text("mine")
    report = crop_folder(source, out, CropOptions(**PLAIN), execution=Execution(prune=True))
    assert report.notes == ["1 output of an earlier run kept, made from pictures not used now: coffee.png"]
    assert (out / "coffee.png").exists()
    assert "rocket.jpg" in report.stale
    again = crop_folder(source, out, LOOSE)
    assert (again.refused, (out / "coffee.txt").read_text()) == ([], "mine")


def test_a_caption_that_cannot_be_read_now_costs_no_output(source, out):
    (source / "coffee.txt").write_bytes(b"a\0b")
    report = crop_folder(source, out, LOOSE, execution=Execution(prune=True))
    assert [problem.source for problem in report.refused] == ["coffee.png"]
    assert report.stale == []
    assert (out / "coffee.png").exists()


def test_outputs_ruled_out_go_under_whatever_name_they_have_now(source, out):
    report = crop_folder(source, out, CropOptions(format="webp", **PLAIN))
    assert report.stale == ["coffee.png", "moose.webp", "rocket.jpg"]
    crop_folder(source, out, CropOptions(format="webp", **PLAIN), execution=Execution(prune=True))
    assert sizes_by_source(out).keys() == {"fig.jpg"}


def test_copies_of_what_has_no_caption_any_more_go_with_prune(source, out, tmp_path):
    options = ShuffleOptions(repeats=2)
    (source / "rocket.txt").write_text("a rocket, at night")
    crop_folder(source, out, LOOSE)
    shuffle_folder(out, tmp_path / "copies", options)
    (source / "coffee.txt").unlink()
    crop_folder(source, out, LOOSE)
    report = shuffle_folder(out, tmp_path / "copies", options)
    assert report.stale == ["coffee_1.png", "coffee_2.png"]
    shuffle_folder(out, tmp_path / "copies", options, execution=Execution(prune=True))
    assert not list((tmp_path / "copies").glob("coffee*"))


def test_what_an_earlier_run_left_is_told_before_it_is_trained(source, out):
    crop_folder(source, out, CropOptions(**PLAIN))
    (said,) = behind(out, list(read_manifest(out)))
    assert "3 pictures of earlier options, which the last crop refused: coffee.png, moose.webp, rocket.jpg" in said
    crop_folder(source, out, CropOptions(**PLAIN), execution=Execution(prune=True))
    assert behind(out, list(read_manifest(out))) == []


@pytest.fixture
def drawn(source, tmp_path):
    """A dataset in which the window of coffee.png was drawn by hand, enlarged 2.08 times."""
    line = {"source": "coffee.png", "box": [0, 0, 585, 400], "bucket": [1216, 832]}
    (tmp_path / "plan.jsonl").write_text(json.dumps(line) + "\n")
    report = crop_folder(source, tmp_path / "out", CropOptions(upscale=4, **PLAIN), plan=tmp_path / "plan.jsonl")
    assert report.exit_code == 0
    return tmp_path / "out"


@pytest.mark.parametrize("change", ["caption", "format", "both", "gone"])
def test_a_window_drawn_by_hand_stays_whatever_changes_around_it(source, drawn, change):
    options = CropOptions(format="webp" if change in ("format", "both") else "keep", **PLAIN)
    if change in ("caption", "both"):
        (source / "coffee.txt").write_text("new words")
    if change == "gone":
        (drawn / "coffee.png").unlink()
    for execution in (Execution(prune=True), Execution()):
        report = crop_folder(source, drawn, options, execution=execution)
        assert "1 picture as decided in decisions.jsonl" in report.notes
        (record,) = (record for record in read_manifest(drawn) if record.source == "coffee.png")
        assert (record.anchor, record.box) == ("manual", (0, 0, 585, 400))
        assert (drawn / record.output).exists()
        assert (drawn / record.caption).read_text() == (source / "coffee.txt").read_text().strip()
    assert (report.done, report.skipped) == (0, 2)


def test_a_plan_is_held_to_the_limit_unless_its_enlargement_was_decided_before(source, drawn, tmp_path):
    options, plan = CropOptions(**PLAIN), tmp_path / "plan.jsonl"
    for _ in range(2):
        report = crop_folder(source, tmp_path / "fresh", options, plan=plan)
        assert [problem.source for problem in report.refused] == ["coffee.png"]
    assert crop_folder(source, drawn, options, plan=plan).skipped == 1
    assert (drawn / "coffee.png").exists()


def test_a_plan_heeds_what_is_required_of_captions(source):
    plans, report = plan_folder(source, CropOptions(upscale=3.0, captions="required", **PLAIN))
    assert [problem.source for problem in report.refused] == ["rocket.jpg"]
    assert [plan.source for plan in plans] == ["coffee.png", "fig.jpg", "moose.webp"]


def test_an_applied_plan_still_says_what_may_be_no_face(pictures, tmp_path):
    (tmp_path / "src").mkdir()
    shutil.copy(pictures / "dandelion.jpg", tmp_path / "src")
    plans, _ = plan_folder(tmp_path / "src")
    (tmp_path / "plan.jsonl").write_bytes(b"".join(map(to_line, plans)))
    report = crop_folder(tmp_path / "src", tmp_path / "out", plan=tmp_path / "plan.jsonl")
    assert [warning.kind for _, warning in report.warnings] == ["caption-missing", "face-doubtful"]


def test_warnings_written_as_sentences_are_still_read(source, out, tmp_path):
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        line["warnings"] = [warning["sentence"] for warning in line.get("warnings", [])]
    (out / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = crop_folder(source, out, LOOSE)
    assert (report.done, report.skipped) == (0, 4)
    assert report.warned_of() == "4 noted by an older datakit"
    lines[0]["warnings"] = [1]
    (out / "manifest.jsonl").write_text(json.dumps(lines[0]) + "\n")
    with pytest.raises(PlanError, match=r"manifest\.jsonl, line 1: no record"):
        crop_folder(source, out, LOOSE)


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
    plan = CropPlan(source="a.jpg", box=Box(0, 0, *size), bucket=Size(*size), scale=1.0)
    assert CropOptions(buckets=others).allow(record, plan)
    assert not CropOptions(buckets=others, max_pixels=max(1, size.area - 1)).allow(record, plan)


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
