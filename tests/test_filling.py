"""Crop with --fill-batches: what moves, what never does, and that the result depends on nothing but pictures and options."""

from __future__ import annotations

import json
import math
import random
import shlex
import shutil
from collections import Counter
from dataclasses import replace

import msgspec
import pytest
from click.testing import CliRunner
from PIL import Image

from datakit import Batching, CropOptions, Execution, crop_folder, plan_crop, plan_folder, read_manifest, shuffle_folder
from datakit.audit.concept import read_concepts
from datakit.cli.backend import check
from datakit.cli.steps import steps
from datakit.crop.options import planned_by
from datakit.crop.request import Given, Move
from datakit.crop.weighing import weigh
from datakit.dataset.batches import tally
from datakit.dataset.manifest import to_line
from datakit.dataset.samples import Sample
from datakit.dataset.source import open_source
from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.shuffle.variants import ShuffleOptions
from datakit.sizes import area_kept, choose_bucket, size_set
from datakit.trainers.filling import advice

# Small, so that hundreds of pictures take no time.
SIZES = "96x96 112x88 88x112 120x80 80x120 128x72 72x128"
PLAIN = CropOptions(sizes=SIZES, detector="none", saliency="none")
FILL = CropOptions(sizes=SIZES, detector="none", saliency="none", fill_batches=4)
LINE = size_set(SIZES)


def draw(path, size, number=0):
    Image.effect_noise(size, 40 + number % 50).convert("RGB").save(path)


@pytest.fixture
def source(tmp_path):
    """Forty pictures of any shape."""
    folder, numbers = tmp_path / "src", random.Random(1)
    folder.mkdir()
    for number in range(40):
        draw(folder / f"{number:03}.png", (240, round(240 / math.exp(numbers.uniform(-0.6, 0.6)))), number)
        (folder / f"{number:03}.txt").write_text(f"number {number}")
    return folder


def records(folder):
    return {record.source: record for record in read_manifest(folder)}


def counts(folder):
    return Counter(record.bucket for record in records(folder).values())


def content(folder):
    """Every file but datakit's own notes, which hold times."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".datakit" not in path.parts
    }


def test_no_size_is_short_of_a_batch_and_each_move_is_explained(source, tmp_path):
    crop_folder(source, tmp_path / "plain", PLAIN)
    report = crop_folder(source, tmp_path / "out", FILL)
    before, after = counts(tmp_path / "plain"), counts(tmp_path / "out")
    assert tally(before.values(), 4).short
    assert tally(after.values(), 4).short == tally(after.values(), 4).left == 0
    assert report.buckets == after
    assert report.table["sizes short of a batch"] == f"{tally(before.values(), 4).short} -> 0"
    assert report.table["pictures in no whole batch"] == f"{tally(before.values(), 4).left} -> 0"
    plain = records(tmp_path / "plain")
    moved = [record for record in records(tmp_path / "out").values() if record.moved_from]
    assert len(moved) == report.table["moved to a neighbour size"] > 0
    for record in moved:
        assert record.moved_from == plain[record.source].bucket == choose_bucket(record.source_size, LINE)
        lost = area_kept(record.source_size, record.moved_from) - area_kept(record.source_size, record.bucket)
        assert 0 <= lost <= 0.1
        (said,) = [warning.sentence for warning in record.warnings if warning.kind == "moved"]
        assert said == f"{record.bucket} instead of {record.moved_from}, to fill batches of 4: {lost:.1%} of it lost"
    for record in records(tmp_path / "out").values():
        if not record.moved_from:
            assert record == plain[record.source]


def test_the_same_bytes_from_workers_a_plan_and_after_pictures_came_and_went(source, tmp_path):
    crop_folder(source, tmp_path / "out", FILL)
    wanted = content(tmp_path / "out")
    crop_folder(source, tmp_path / "jobs", FILL, execution=Execution(jobs=2))
    assert content(tmp_path / "jobs") == wanted
    plans, report = plan_folder(source, FILL)
    (tmp_path / "plan.jsonl").write_bytes(b"".join(map(to_line, plans)))
    assert all(planned_by(plan) for plan in plans)
    assert report.buckets == counts(tmp_path / "out")
    crop_folder(source, tmp_path / "applied", PLAIN, plan=tmp_path / "plan.jsonl")
    assert content(tmp_path / "applied") == wanted
    assert crop_folder(source, tmp_path / "applied", FILL).done == 0
    # One picture more, and some fewer: others move, which is told; then back.
    draw(source / "more.png", (240, 160))
    gone = [source / f"{number:03}.png" for number in (3, 7, 11)]
    for path in gone:
        shutil.move(path, tmp_path / path.name)
    report = crop_folder(source, tmp_path / "out", FILL, execution=Execution(prune=True))
    crop_folder(source, tmp_path / "fresh", FILL)
    assert content(tmp_path / "out") == content(tmp_path / "fresh")
    assert any("cropped again to another size, as batches are filled anew" in note for note in report.notes)
    assert 1 < report.done < 38
    for path in gone:
        shutil.move(tmp_path / path.name, path)
    (source / "more.png").unlink()
    crop_folder(source, tmp_path / "out", FILL, execution=Execution(prune=True))
    assert content(tmp_path / "out") == wanted


def test_a_second_run_has_nothing_to_do_and_one_without_the_option_takes_all_back(source, tmp_path):
    moved = crop_folder(source, tmp_path / "out", FILL).table["moved to a neighbour size"]
    again = crop_folder(source, tmp_path / "out", FILL)
    assert (again.done, again.skipped) == (0, 40)
    assert again.table["moved to a neighbour size"] == moved
    assert crop_folder(source, tmp_path / "out", PLAIN).done == moved
    crop_folder(source, tmp_path / "plain", PLAIN)
    assert content(tmp_path / "out") == content(tmp_path / "plain")


def test_what_an_earlier_run_allowed_is_no_reason_to_allow_it_now(pictures, tmp_path):
    """Half of what stands out may go, then nothing: the second run gives what it would have given alone."""
    folder = tmp_path / "src"
    folder.mkdir()
    for name in ("coffee", "chelsea") if (pictures / "chelsea.png").exists() else ("coffee", "cat"):
        shutil.copy(pictures / f"{name}.png", folder)
    lax = CropOptions(sizes="128x128 192x128", detector="none", fill_batches=2, fill_area=1.0, fill_subject=1.0)
    shutil.copy(pictures / "astronaut.jpg", folder)
    shutil.copy(pictures / "camera.png", folder)
    assert crop_folder(folder, tmp_path / "out", lax).table["pictures in no whole batch"] == "0 -> 0"
    (folder / "camera.png").unlink()
    draw(folder / "wide.png", (768, 512))
    assert crop_folder(folder, tmp_path / "out", lax, execution=Execution(prune=True)).table["moved to a neighbour size"] == 1
    strict = replace(lax, fill_subject=0.0)
    crop_folder(folder, tmp_path / "out", strict)
    crop_folder(folder, tmp_path / "fresh", strict)
    assert content(tmp_path / "out") == content(tmp_path / "fresh")
    assert counts(tmp_path / "out") == {Size(192, 128): 3, Size(128, 128): 1}


def test_a_picture_that_does_not_come_out_fills_no_batch(source, tmp_path):
    """Its header is whole, and its pixels are not: that is found when it is decoded."""
    crop_folder(source, tmp_path / "whole", FILL)
    broken = source / "005.png"
    broken.write_bytes(broken.read_bytes()[:-20_000])
    report = crop_folder(source, tmp_path / "out", FILL)
    assert [problem.source for problem in report.failed] == ["005.png"]
    assert (report.done, report.skipped) == (39, 0)
    after = counts(tmp_path / "out")
    assert sum(after.values()) == 39
    assert tally(after.values(), 4).short == 0
    assert tally(after.values(), 4).left == 3
    again = crop_folder(source, tmp_path / "out", FILL)
    assert (again.done, again.skipped, len(again.failed)) == (0, 39, 1)
    broken.unlink()
    crop_folder(source, tmp_path / "without", FILL)
    assert content(tmp_path / "out") == content(tmp_path / "without")


def test_what_is_too_small_or_without_a_caption_is_not_counted_on(source, tmp_path):
    for number in range(5):
        draw(source / f"small{number}.png", (60, 60))
    required = replace(FILL, captions="required")
    (source / "004.txt").unlink()
    report = crop_folder(source, tmp_path / "out", required)
    assert len(report.refused) == 6
    assert tally(counts(tmp_path / "out").values(), 4).left == 39 % 4


def test_a_window_that_somebody_drew_stays_and_counts(source, tmp_path):
    crop_folder(source, tmp_path / "out", FILL)
    moved = next(record for record in records(tmp_path / "out").values() if record.moved_from)
    narrow = Size(72, 128)
    (plan,) = [plan for plan in plan_folder(source, PLAIN)[0] if plan.source == moved.source]
    drawn = msgspec.structs.replace(plan, box=(0, 0, 72, 128), bucket=narrow)
    (tmp_path / "drawn.jsonl").write_bytes(to_line(drawn))
    crop_folder(source, tmp_path / "out", PLAIN, plan=tmp_path / "drawn.jsonl")
    crop_folder(source, tmp_path / "out", FILL)
    after = records(tmp_path / "out")[moved.source]
    assert (after.bucket, after.box, after.anchor, after.moved_from) == (narrow, (0, 0, 72, 128), "manual", None)
    assert tally(counts(tmp_path / "out").values(), 4).left == 0


@pytest.fixture
def close_up(pictures, tmp_path):
    """A square that a face fills from top to bottom."""
    face = plan_crop(pictures / "astronaut.jpg", CropOptions(upscale=3)).faces[0].box
    folder = tmp_path / "faces"
    folder.mkdir()
    middle, half = (face.left + face.right) / 2, 0.56 * face.height
    with Image.open(pictures / "astronaut.jpg") as image:
        box = tuple(
            round(edge) for edge in (middle - half, face.top - 0.06 * face.height, middle + half, face.top + 1.06 * face.height)
        )
        image.crop(box).resize((512, 512)).save(folder / "a.jpg", quality=95)
    return folder


@pytest.mark.parametrize(("to", "cost"), [(Size(640, 448), "face"), (Size(512, 512), "")])
def test_a_face_is_never_the_price(close_up, to, cost):
    options = CropOptions(sizes="512", fill_batches=2, fill_area=1.0, fill_subject=1.0, upscale=2)
    item = Sample("a.jpg", None), Given(), Move(Size(512, 512), to, 2, 0.3)
    weighed = weigh(item, open_source(close_up), options)
    assert weighed == cost or (not cost and weighed.moved_from == (512, 512))


def test_what_stands_out_is_held_to_its_limit(pictures):
    def cost(limit):
        options = CropOptions(fill_batches=2, fill_area=1.0, fill_subject=limit, upscale=4, detector="none")
        item = Sample("coffee.png", None), Given(), Move(Size(1216, 832), Size(832, 1216), 2, 0.5)
        return weigh(item, open_source(pictures), options)

    lost = 1 - cost(1.0).saliency_kept
    assert 0.1 < lost < 0.9
    assert cost(lost + 0.01).bucket == (832, 1216)
    assert cost(0.05) == "subject"


def test_a_picture_whose_face_would_pay_stays_and_another_moves(close_up, tmp_path):
    """Of two squares of which one must go, the one with a face does not, though it costs no more."""
    for name in ("b", "c", "d"):
        draw(close_up / f"{name}.png", (768, 512))
    draw(close_up / "e.png", (590, 512))
    options = CropOptions(sizes="512x512 640x448", fill_batches=2, fill_area=0.5, fill_subject=1.0, upscale=2)
    for _ in range(2):
        report = crop_folder(close_up, tmp_path / "out", options)
    assert records(tmp_path / "out")["a.jpg"].bucket == (512, 512)
    assert report.table["pictures in no whole batch"] == "1 -> 1"


def test_copies_tell_where_their_picture_came_from(source, tmp_path):
    crop_folder(source, tmp_path / "out", FILL)
    shuffle_folder(tmp_path / "out", tmp_path / "copies", ShuffleOptions(repeats=2))
    moved = {record.source: record.moved_from for record in records(tmp_path / "out").values()}
    assert any(moved.values())
    assert all(record.moved_from == moved[f"{record.source}"] for record in read_manifest(tmp_path / "copies"))


def run(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False).stdout


def test_check_advises_it_and_steps_tells_before_and_after(source, tmp_path):
    plain, out = tmp_path / "plain", tmp_path / "out"
    crop_folder(source, plain, PLAIN)
    said, command = [line for line in run(check, plain, "--batch-size", 4).splitlines() if "--fill-batches" in line]
    words = shlex.split(command.partition("(")[0])
    assert words == ["datakit", "crop", str(source), str(plain), "--fill-batches", "4"]
    filled = crop_folder(source, out, FILL).table
    assert f"plain: crop again with --fill-batches 4: {filled['moved to a neighbour size']} pictures of 40" in said
    assert f"sizes short of a batch {filled['sizes short of a batch']}" in said
    assert f"pictures in no whole batch {filled['pictures in no whole batch']}" in said
    assert "--fill-batches" not in run(check, plain)
    assert "--fill-batches" not in run(check, out, "--batch-size", 4)
    # The trainer's own rules, before and after: diffusion-pipe drops, SimpleTuner pads.
    for name, word in (("diffusion-pipe", "never trained"), ("simpletuner", "padded"), ("onetrainer", "left out")):
        arguments = ("--batch-size", 4, "--trainer", name)
        was, now = (json.loads(run(steps, folder, *arguments, "--json")) for folder in (plain, out))
        assert "before" not in was
        waste = {key: sum(load[key] for load in was["buckets"]) for key in ("padded", "dropped", "too_small")}
        assert {key: now["before"][key] for key in waste} == waste
        assert now["before"]["real_steps_per_epoch"] == was["real_steps_per_epoch"]
        told = run(steps, out, *arguments)
        assert f"{word} {waste['padded'] or waste['dropped']} -> 0" in told
        assert f"optimizer steps {was['real_steps_per_epoch']} -> {now['real_steps_per_epoch']}" in told
        sizes = (
            {load["bucket"]: load["pictures"] for load in was["buckets"]},
            {load["bucket"]: load["pictures"] for load in now["buckets"]},
        )
        for size in {*sizes[0], *sizes[1]}:
            then, since = (each.get(size, 0) for each in sizes)
            assert (f"out {size} {then} -> {since}" in told) == (then != since)
        assert "-> now" not in run(steps, plain, *arguments)


def test_copies_and_passes_make_batches_of_fewer_pictures(source, tmp_path):
    crop_folder(source, tmp_path / "plain", PLAIN)
    shuffle_folder(tmp_path / "plain", tmp_path / "copies", ShuffleOptions(repeats=2))
    (said,) = advice(read_concepts([tmp_path / "copies"]), Batching(4, accumulate=2))
    assert said.startswith("copies: crop again with --fill-batches 4: ")
    assert advice(read_concepts([tmp_path / "copies"]), Batching(2)) == []
    assert f"datakit crop {tmp_path / 'src'} {tmp_path / 'plain'} --fill-batches 4   (" in said
    assert said.endswith("then datakit shuffle again)")
    strangers = [replace(each, records=()) for each in read_concepts([tmp_path / "plain"])]
    known = [msgspec.structs.replace(record, source_size=None) for record in read_manifest(tmp_path / "plain")]
    assert advice([replace(each, records=tuple(known)) for each in strangers], Batching(4)) == []
    (said,) = advice(read_concepts([tmp_path / "plain"], repeats=(3,)), Batching(6))
    assert "--fill-batches 2: " in said


def test_nothing_is_advised_that_crop_would_refuse(source, tmp_path):
    """Sizes that the crop was not allowed, and several crops."""
    two = (Size(72, 128), Size(128, 72))
    crop_folder(source, tmp_path / "few", replace(PLAIN, buckets=two))
    (said,) = advice(read_concepts([tmp_path / "few"]), Batching(16))
    told = crop_folder(source, tmp_path / "few", replace(FILL, buckets=two, fill_batches=16)).table
    assert f"{told['moved to a neighbour size']} pictures of 40" in said
    assert f"no whole batch {told['pictures in no whole batch']}" in said
    crop_folder(source, tmp_path / "plain", PLAIN)
    (concept,) = read_concepts([tmp_path / "plain"])
    assert advice([concept], Batching(4))
    several = tuple(msgspec.structs.replace(record, crop="full") for record in concept.records)
    assert advice([replace(concept, records=several)], Batching(4)) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"fill_batches": 1}, "use 2 to 1024"),
        ({"fill_batches": 4, "framing": "face"}, "use one of them"),
        ({"fill_area": 1.5}, "no share from 0 to 1"),
        ({"fill_subject": -0.1}, "no share from 0 to 1"),
    ],
)
def test_options_that_cannot_be(wrong, words):
    with pytest.raises(UsageError, match=words):
        CropOptions(**wrong)


def test_on_the_command_line(source, tmp_path, datakit):
    arguments = ("--sizes", SIZES, "--detector", "none", "--saliency", "none", "--fill-batches", "4")
    done = datakit("crop", source, tmp_path / "out", *arguments)
    assert "  sizes short of a batch: " in done.stdout
    assert "of a neighbour size, to fill batches" in done.stdout
    assert json.loads(datakit("crop", source, tmp_path / "out", *arguments, "--json").stdout)["table"]["batches of"] == 4
    none = datakit("crop", source, tmp_path / "out", *arguments, "--fill-area", "0")
    assert "  moved to a neighbour size: 0" in none.stdout
    assert "short of a batch of 4 all the same: " in none.stdout
    planned = datakit("crop", source, "--dry-run", *arguments)
    assert '"moved_from":[' in planned.stdout
    refused = datakit("crop", source, tmp_path / "out", "--apply", "p.jsonl", "--fill-batches", "4")
    assert "give --fill-batches to the run that makes the plan" in refused.stderr
