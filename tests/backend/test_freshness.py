"""A dataset says what happened since it was made."""

from __future__ import annotations

import json

import pytest

from datakit import CropOptions, Execution, ShuffleOptions, crop_folder, shuffle_folder
from datakit.backend import freshness
from datakit.manifest import read_manifest
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
    assert "1 picture no longer in" in gone
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


def test_decisions_not_applied_are_named_there_and_for_the_copies(copies):
    out = copies.parent / "out"
    (out / "overrides.jsonl").write_text(json.dumps({"source": "dogs.jpg", "rejected": True}) + "\n")
    for folder in (out, copies):
        (said,) = behind(folder)
        assert "1 decision of the review not applied yet: dogs.jpg" in said
