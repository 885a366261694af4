"""A dataset says what happened since it was made."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from datakit import CropOptions, Execution, ShuffleOptions, crop_folder, shuffle_folder
from datakit.audit import freshness
from datakit.dataset.manifest import read_manifest
from tests.commands import ordinary_user, permissions_count
from tests.conftest import ROOT


def behind(folder):
    return freshness.behind(folder, list(read_manifest(folder)))


@pytest.fixture
def copies(tmp_path):
    """Copies of two cropped pictures, beside the dataset that they were made from."""
    source = tmp_path / "src"
    source.mkdir()
    for name in ("fig.jpg", "fig.txt", "dogs.jpg", "dogs.txt"):
        (source / name).write_bytes((ROOT / "fixtures" / "pictures" / name).read_bytes())
    crop_folder(source, tmp_path / "out", CropOptions(upscale=3))
    shuffle_folder(tmp_path / "out", tmp_path / "copies", ShuffleOptions(repeats=2))
    return tmp_path / "copies"


def test_what_is_as_it_was_made_has_nothing_to_say(copies):
    assert behind(copies) == behind(copies.parent / "out") == []


def test_a_caption_edited_and_a_picture_gone_since_the_copies_were_made_are_named(copies):
    out = copies.parent / "out"
    (out / "fig.txt").write_text("another")
    (copies.parent / "src" / "dogs.jpg").unlink()
    crop_folder(copies.parent / "src", out, CropOptions(upscale=3), execution=Execution(prune=True))
    gone, changed = behind(copies)
    assert "1 picture trained although gone from" in gone
    assert "dogs.jpg" in gone
    assert "1 picture or caption changed in" in changed
    assert "fig.jpg" in changed
    shuffle_folder(out, copies, ShuffleOptions(repeats=2), execution=Execution(prune=True))
    assert behind(copies) == []


def test_pictures_that_are_trained_although_their_source_is_gone_are_named(copies):
    out = copies.parent / "out"
    (copies.parent / "src" / "dogs.jpg").unlink()
    for folder in (out, copies):
        (said,) = behind(folder)
        assert "1 picture trained although gone from" in said
        assert "dogs.jpg" in said
    crop_folder(copies.parent / "src", out, CropOptions(upscale=3), execution=Execution(prune=True))
    assert behind(out) == []


def test_a_crop_of_a_crop_is_told_to_crop_again(copies):
    source, out = copies.parent / "src", copies.parent / "out"
    crop_folder(out, copies.parent / "again", CropOptions(upscale=3))
    (source / "fig.txt").write_text("another")
    crop_folder(source, out, CropOptions(upscale=3))
    (said,) = behind(copies.parent / "again")
    assert said.endswith("run `datakit crop` again")


def test_datasets_renamed_over_each_other_end(copies):
    out = copies.parent / "out"
    shutil.rmtree(out)
    copies.rename(out)
    assert behind(out) == []


@pytest.mark.skipif(not permissions_count(), reason="permissions stop nobody here")
def test_a_source_that_may_not_be_read_is_not_taken_for_gone(copies):
    out, source = copies.parent / "out", copies.parent / "src"
    code = f"import tests.trainers.test_freshness as t; from pathlib import Path; print(t.behind(Path({str(out)!r})))"
    source.chmod(0)
    done = subprocess.run([*ordinary_user(), sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    source.chmod(0o755)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_a_window_of_a_picture_that_is_gone_is_not_waited_for(copies):
    source, out = copies.parent / "src", copies.parent / "out"
    window = {"source": "fig.jpg", "box": [0, 0, 1024, 1024], "bucket": [1024, 1024]}
    (out / "decisions.jsonl").write_text(json.dumps(window) + "\n")
    crop_folder(source, out, CropOptions(upscale=3))
    (source / "fig.jpg").unlink()
    crop_folder(source, out, CropOptions(upscale=3), execution=Execution(prune=True))
    assert behind(out) == []


def test_decisions_not_followed_are_named_there_and_for_the_copies(copies):
    out = copies.parent / "out"
    (out / "decisions.jsonl").write_text(json.dumps({"source": "dogs.jpg", "rejected": True}) + "\n")
    for folder in (out, copies):
        (said,) = behind(folder)
        assert "1 decision not followed yet: dogs.jpg" in said
