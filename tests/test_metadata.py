"""What `datasets` reads of a folder: every picture with each of its captions, whatever the files are called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from datakit import CropOptions, Execution, crop_folder, read_manifest
from datakit.audit.mend import mend_captions
from datakit.dataset.metadata import CARD, CARD_CONTENT, METADATA, metadata_rows
from datakit.picture.formats import PICTURE_SUFFIXES
from datakit.shuffle.folder import shuffle_folder
from datakit.shuffle.variants import ShuffleOptions
from tests.commands import said

PLAIN = CropOptions(detector="none", saliency="none")
# Words that `datasets` takes for splits, folders that hide from it, and signs that mean something in its patterns.
NAMES = (
    "test.png", "train.jpg", "a.jpg", "test/a.jpg", "validation/dev shot.webp", "__x/a.jpg", "b [1].jpg", "c#d%20e.png", "{f}.jpg", "日本/1.jpg",
)  # fmt: skip

# Prints what a trainer's script would get of each folder, without a word of its own; a process of its own, as it warns of this and that.
LOADED = """
import json, os, sys
import datasets
datasets.disable_progress_bars()
loaded = {}
for folder in sys.argv[1:]:
    splits = datasets.load_dataset(folder)
    undecoded = splits["train"].cast_column("image", datasets.Image(decode=False))
    names = [os.path.relpath(row["image"]["path"], folder) for row in undecoded]
    rows = [(name, row["text"], row["image"].size) for name, row in zip(names, splits["train"], strict=True)]
    loaded[folder] = {"splits": list(splits), "columns": splits["train"].column_names, "rows": rows}
print(json.dumps(loaded))
"""


def load(home: Path, *folders: Path) -> list[dict]:
    """Load folders as `datasets.load_dataset(FOLDER)` does."""
    alone = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *map(str, folders)], capture_output=True, text=True, check=False, env=os.environ | alone
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(done.stdout.splitlines()[-1])[str(folder)] for folder in folders]


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / METADATA).read_bytes().splitlines()]


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "src"
    for number, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1024, 1024), (20 * number, 90, 200)).save(path)
        path.with_suffix(".txt").write_text(f"ohwx, picture {number}, {name}, red, green, blue", "utf-8")
    return folder


def test_load_dataset_gives_every_picture_with_its_captions_whatever_the_files_are_called(source, tmp_path):
    crop_folder(source, tmp_path / "out", PLAIN)
    lines = ShuffleOptions(repeats=3, keep=1, captions_only=True)
    shuffle_folder(tmp_path / "out", tmp_path / "lines", lines)
    shuffle_folder(tmp_path / "out", tmp_path / "copies", ShuffleOptions(repeats=2, keep=1))
    folders = [tmp_path / name for name in ("out", "lines", "copies")]
    for folder, loaded, captions in zip(folders, load(tmp_path / "home", *folders), (1, 3, 1), strict=True):
        assert (loaded["splits"], loaded["columns"]) == (["train"], ["image", "text"])
        wanted = [
            (record.output, line, list(record.bucket))
            for record in read_manifest(folder)
            for line in (folder / record.caption).read_text("utf-8").split("\n")
        ]
        assert len(wanted) == len(set(map(str, wanted))) == captions * sum(1 for _ in read_manifest(folder)) >= len(NAMES)
        assert [tuple(row) for row in loaded["rows"]] == wanted


def test_every_suffix_that_a_dataset_may_hold_is_named(tmp_path):
    for number, suffix in enumerate(PICTURE_SUFFIXES):
        Image.new("RGB", (64 + number, 64)).save(tmp_path / f"test{suffix}")
        (tmp_path / f"test{suffix}.txt").write_text("a")
    (tmp_path / METADATA).write_bytes(b"".join(metadata_rows(f"test{suffix}", None) for suffix in PICTURE_SUFFIXES))
    (tmp_path / CARD).write_bytes(CARD_CONTENT)
    (loaded,) = load(tmp_path / "home", tmp_path)
    assert sorted(name for name, _, _ in loaded["rows"]) == sorted(f"test{suffix}" for suffix in PICTURE_SUFFIXES)


def test_a_caption_that_is_missing_and_one_that_is_empty_are_rows_too():
    assert metadata_rows("a.jpg", None) == b'{"file_name":"a.jpg","text":null}\n'
    assert metadata_rows("a.jpg", "") == b'{"file_name":"a.jpg","text":""}\n'
    assert metadata_rows("a.jpg", "x\ny\n") == b'{"file_name":"a.jpg","text":"x"}\n{"file_name":"a.jpg","text":"y"}\n'


def test_lines_of_one_row_become_rows_and_what_else_a_row_holds_stays(source, tmp_path):
    out = tmp_path / "out"
    crop_folder(source, out, PLAIN)
    rows = rows_of(out)
    rows[0] |= {"text": "one\ntwo"}
    rows[1] |= {"rating": 5}
    (out / METADATA).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    crop_folder(source, out, PLAIN)
    assert [row["text"] for row in rows_of(out)[:2]] == ["one", "two"]
    assert rows_of(out)[2:] == rows[1:]


def test_the_card_comes_back_with_the_next_run_and_with_mended_captions(source, tmp_path):
    out = tmp_path / "out"
    crop_folder(source, out, PLAIN)
    assert (out / CARD).read_bytes() == CARD_CONTENT
    (out / CARD).unlink()
    assert crop_folder(source, out, PLAIN).skipped == len(NAMES)
    assert (out / CARD).read_bytes() == CARD_CONTENT
    (out / CARD).unlink()
    (out / "a.txt").write_text("by hand\nin two lines")
    mend_captions(out)
    assert (out / CARD).read_bytes() == CARD_CONTENT
    assert [row["text"] for row in rows_of(out) if row["file_name"] == "a.jpg"] == ["by hand", "in two lines"]


@pytest.mark.parametrize("link", [False, True])
def test_a_card_of_the_users_own_is_never_touched(source, tmp_path, link):
    out, mine = tmp_path / "out", b"# My dataset\n"
    crop_folder(source, out, PLAIN)
    (out / CARD).unlink()
    if link:
        (tmp_path / "mine.md").write_bytes(mine)
        (out / CARD).symlink_to(tmp_path / "mine.md")
    else:
        (out / CARD).write_bytes(mine)
    for execution in (Execution(), Execution(overwrite=True), Execution(prune=True)):
        report = crop_folder(source, out, PLAIN, execution=execution)
        assert [note for note in report.notes if note.startswith("README.md is yours and stays, but names no files")]
        assert ((out / CARD).read_bytes(), (out / CARD).is_symlink()) == (mine, link)
    (out / CARD).write_bytes(mine + CARD_CONTENT)
    assert not [note for note in crop_folder(source, out, PLAIN).notes if "README.md" in note]


def test_a_dataset_as_a_source_is_not_said_to_hold_what_cannot_be_read(source, tmp_path):
    crop_folder(source, tmp_path / "out", PLAIN)
    report = crop_folder(tmp_path / "out", tmp_path / "again", PLAIN)
    assert not [note for note in report.notes if "left alone" in note]


def test_a_run_that_writes_nothing_leaves_no_card(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.jpg").write_bytes(b"no picture")
    status, _ = said("crop src out --strict", tmp_path)
    assert status == 1
    assert not (tmp_path / "out").exists()
