"""What is never lost: interruptions between two moves, links out of the dataset, files of the user's."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from datakit import CropOptions, Execution, crop_folder, read_manifest
from datakit.errors import UsageError
from datakit.report import Warned
from tests.conftest import tree

NEW = CropOptions(quality=70)


@pytest.fixture
def source(pictures, tmp_path):
    folder = tmp_path / "src"
    (folder / "sub").mkdir(parents=True)
    for place in (folder, folder / "sub"):
        shutil.copy(pictures / "fig.jpg", place)
        shutil.copy(pictures / "fig.txt", place)
    return folder


# Ends the process at the n-th move of a file into the dataset, as a kill at that moment would.
KILLED = """
import os, sys
from datakit import CropOptions, crop_folder
moves, replace = [0], os.replace
def dying(source, target):
    if "fig" in str(target):
        moves[0] += 1
        if moves[0] == int(sys.argv[3]):
            os._exit(9)
    replace(source, target)
os.replace = dying
crop_folder(sys.argv[1], sys.argv[2], CropOptions(quality=70))
"""


@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("again", [False, True])
def test_killed_between_two_moves_a_second_run_ends_where_an_undisturbed_one_does(source, tmp_path, at, again):
    out = tmp_path / "out"
    if again:
        crop_folder(source, out)
        (source / "fig.txt").write_text("new words")
    done = subprocess.run([sys.executable, "-c", KILLED, source, out, str(at)], check=False)
    assert done.returncode == 9
    report = crop_folder(source, out, NEW)
    assert report.exit_code == 0
    assert not [note for note in report.notes if "edited" in note]
    crop_folder(source, tmp_path / "fresh", NEW)
    assert tree(out) == tree(tmp_path / "fresh")


def test_a_source_inside_the_output_is_refused(source, tmp_path):
    with pytest.raises(UsageError, match="lies inside"):
        crop_folder(source / "sub", source, execution=Execution(overwrite=True))


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_nothing_is_written_through_a_link_out_of_the_dataset(source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "sub").symlink_to(source / "sub")
    before = tree(source)
    report = crop_folder(source, out, execution=Execution(overwrite=True))
    assert tree(source) == before
    assert [problem.source for problem in report.refused] == ["sub/fig.jpg"]


def test_a_metadata_file_of_the_users_is_not_replaced(source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "metadata.jsonl").write_text('{"file_name": "mine.png", "text": "mine"}\n')
    with pytest.raises(UsageError, match=r"metadata\.jsonl was not written by datakit"):
        crop_folder(source, out)


@pytest.mark.parametrize("damage", [None, "no json\n"])
def test_lost_metadata_is_made_again(source, tmp_path, damage):
    out = tmp_path / "out"
    crop_folder(source, out)
    before = (out / "metadata.jsonl").read_bytes()
    (out / "metadata.jsonl").unlink()
    if damage:
        (out / "metadata.jsonl").write_text(damage)
    crop_folder(source, out)
    assert (out / "metadata.jsonl").read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_what_cannot_be_seen_is_not_taken_for_gone(source, tmp_path):
    out = tmp_path / "out"
    crop_folder(source, out)
    shutil.move(source / "fig.jpg", tmp_path / "away.jpg")
    (source / "fig.jpg").symlink_to(tmp_path / "unplugged" / "fig.jpg")
    report = crop_folder(source, out, execution=Execution(prune=True))
    assert (out / "fig.jpg").exists()
    assert report.removed == []


def test_outputs_of_pictures_that_are_refused_now_are_named(source, tmp_path, pictures):
    shutil.copy(pictures / "coffee.png", source)
    crop_folder(source, tmp_path / "out", CropOptions(upscale=3))
    report = crop_folder(source, tmp_path / "out")
    assert (report.stale, report.notes) == (["coffee.png"], [])


def test_captions_can_be_required_of_a_dataset_that_is_there(source, tmp_path):
    (source / "fig.txt").unlink()
    assert crop_folder(source, tmp_path / "out").exit_code == 0
    report = crop_folder(source, tmp_path / "out", CropOptions(captions="required"))
    assert [problem.source for problem in report.refused] == ["fig.jpg"]


def test_a_damaged_journal_is_named_by_line(source, tmp_path):
    crop_folder(source, tmp_path / "out")
    (tmp_path / "out" / ".datakit" / "journal.jsonl").write_text("no entry\n")
    with pytest.raises(ValueError, match=r"journal\.jsonl, line 1"):
        crop_folder(source, tmp_path / "out")


def test_options_that_say_the_same_have_one_key():
    assert CropOptions(upscale=3).key() == CropOptions(upscale=3.0).key()
    assert CropOptions(background="white").key() == CropOptions(background="#ffffff").key()


def test_an_applied_plan_tells_the_truth_about_its_box(source, tmp_path, pictures):
    from datakit import plan_folder
    from datakit.dataset.manifest import to_line

    shutil.copy(pictures / "astronaut.jpg", source)
    plans, _ = plan_folder(source, CropOptions(upscale=4))
    line = json.loads(to_line(next(plan for plan in plans if plan.source == "astronaut.jpg")))
    (tmp_path / "plan.jsonl").write_text(json.dumps(line | {"box": [256, 256, 512, 512], "anchor": "manual"}) + "\n")
    report = crop_folder(source, tmp_path / "out", CropOptions(upscale=4), plan=tmp_path / "plan.jsonl")
    (record,) = read_manifest(tmp_path / "out")
    assert (record.why, record.faces[0].kept < 0.5, record.scale) == ("drawn by hand", True, 4.0)
    assert Warned("enlarged", "enlarged 4.0 times") in record.warnings
    assert report.faces_cut == [("astronaut.jpg", record.faces[0].kept)]
    (tmp_path / "plan.jsonl").write_text(json.dumps(line | {"source_size": [999, 999]}) + "\n")
    report = crop_folder(source, tmp_path / "other", CropOptions(upscale=4), plan=tmp_path / "plan.jsonl")
    assert "plan again" in report.failed[0].reason
