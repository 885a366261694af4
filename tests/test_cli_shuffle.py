"""``datakit shuffle`` as a user starts it."""

from __future__ import annotations

import json
import shutil

import pytest


@pytest.fixture
def folder(pictures, tmp_path):
    """A folder in which three pictures were just cropped."""
    from datakit import CropOptions, crop_folder
    from datakit.dataset.remembered import remember

    (tmp_path / "src").mkdir()
    for stem in ("fig", "djembe", "mountains"):
        shutil.copy(pictures / f"{stem}.jpg", tmp_path / "src")
        shutil.copy(pictures / f"{stem}.txt", tmp_path / "src")
    crop_folder(tmp_path / "src", tmp_path / "out", CropOptions(detector="none", saliency="none", upscale=2))
    remember(tmp_path, "crop", tmp_path / "out")
    return tmp_path


def test_without_folders_it_takes_the_last_dataset_and_writes_beside_it(datakit, folder):
    done = datakit("shuffle", "--repeats", 5, "--keep", 2)
    assert done.returncode == 0
    assert done.stderr == "using out/ (from the last crop)\n"
    assert "shuffle out -> out_shuffled: 15 done" in done.stdout
    assert "seed: 42" in done.stdout
    assert "movable tokens, median: 5" in done.stdout
    assert len(list((folder / "out_shuffled").glob("*.jpg"))) == 15


def test_run_again_it_goes_on_with_the_same_folders(datakit, folder):
    datakit("shuffle", "--repeats", 2)
    again = datakit("shuffle", "--repeats", 2)
    assert again.stderr == "using out/ (from the last shuffle, which read it)\n"
    assert "out -> out_shuffled: 0 done, 6 up to date" in again.stdout


def test_explicit_folders_win(datakit, folder):
    assert datakit("shuffle", folder / "src", "else/where", "--repeats", 1).returncode == 0
    assert len(list((folder / "else" / "where").glob("*.jpg"))) == 3
    assert datakit("shuffle", "src/").returncode == 0
    assert len(list((folder / "src_shuffled").glob("*.jpg"))) == 15


def test_it_says_when_there_is_no_last_dataset(datakit, tmp_path):
    done = datakit("shuffle")
    assert done.returncode == 2
    assert "no dataset named, and none is remembered for this folder" in done.stderr


def test_a_dry_run_prints_every_copy_and_writes_nothing(datakit, folder):
    before = sorted(folder.rglob("*"))
    done = datakit("shuffle", "out", "--repeats", 3, "--augment", "rotate,flip=1", "--dry-run")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["output"] for line in lines][:3] == ["djembe_1.jpg", "djembe_2.jpg", "djembe_3.jpg"]
    assert lines[0]["augmentation"] == {}
    assert set(lines[1]["augmentation"]) == {"flip", "rotate"}
    assert sorted(lines[1]["caption"].split(", ")) == sorted(lines[0]["caption"].split(", "))
    assert sorted(folder.rglob("*")) == before


def test_the_report_as_json(datakit, folder):
    report = json.loads(datakit("shuffle", "out", "--json", "--captions-only", "--repeats", 3).stdout)
    assert (report["done"], report["exit_code"], report["table"]["copies"]) == (3, 0, 3)
    assert len((folder / "out_shuffled" / "fig.txt").read_text().split("\n")) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--augment", "spin"], "augmentation 'spin' is unknown: choose from flip, rotate"),
        (["--captions-only", "--augment", "flip"], "captions_only writes no copies"),
        (["--repeats", "0"], "0 is not in the range"),
        (["--drop-tokens", "2"], "2"),
    ],
)
def test_wrong_options_are_explained(datakit, folder, options, message):
    done = datakit("shuffle", "out", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (folder / "out_shuffled").exists()


def test_the_help_names_every_augmentation_with_its_range_and_the_trainers(datakit):
    from datakit.picture.augment import AUGMENTATIONS

    shown = datakit("shuffle", "--help").stdout
    for name, kind in AUGMENTATIONS.items():
        assert f"{name}={kind.default:g} " in shown
        assert f"{kind.most:g}" in shown
    assert "OneTrainer" in shown
    assert "kohya" in shown


def test_copies_of_copies_are_mentioned(datakit, folder):
    datakit("shuffle", "--repeats", "2", cwd=folder)
    done = datakit("shuffle", "out_shuffled", "more", "--repeats", "2", cwd=folder)
    assert "out_shuffled is shuffled already" in done.stdout
    assert "is shuffled already" not in datakit("shuffle", "out", "other", "--repeats", "2", cwd=folder).stdout


def test_an_uncaptioned_picture_sets_the_exit_code(datakit, folder):
    (folder / "out" / "fig.txt").unlink()
    done = datakit("shuffle", "--repeats", 2)
    assert done.returncode == 1
    assert "fig.jpg: no caption beside it, in a table or in the picture: write one, or crop with --caption TEXT" in done.stdout
