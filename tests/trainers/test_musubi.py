"""musubi-tuner: the file it is given, the proof of files that people write, and an epoch."""

from __future__ import annotations

import json
import os
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit import BackendOptions, Batching, DatakitError, Execution, emit_backend, verify_backend
from datakit.audit.concept import read_concept
from datakit.cli.backend import backend, check
from datakit.cli.steps import steps
from datakit.cli.verify import verify
from datakit.geometry import Size
from datakit.trainers import trainer
from datakit.trainers.musubi.families import FAMILIES
from datakit.trainers.musubi.file import read, recognises, write
from datakit.trainers.musubi.replay import Bucketing
from tests.conftest import BUCKETS
from tests.trainers.conftest import draw
from tests.trainers.golden_cases import CASES

AREA = Size(1024, 1024)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30))
def test_any_path_is_read_back_as_written(tmp_path_factory, name):
    path = f"/{name}"
    if set(path) & set("*?["):
        with pytest.raises(DatakitError, match="finds no caches in a folder with"):
            write([(path, path, 1, None)], 1, Bucketing())
        return
    file = tmp_path_factory.mktemp("toml") / "musubi.toml"
    file.write_bytes(write([(path, path, 3, path), ("/b", f"{path}2", 1, None)], 4, Bucketing(AREA, True, True)))
    first, second = read(file)
    assert (first.source, first.cache_directory, first.options["num_repeats"]) == (path, path, 3)
    assert (first.faults, second.faults, second.source, first.bucketing) == ((), (), "/b", Bucketing(AREA, True, True))
    assert recognises(file.read_bytes())
    assert not trainer("kohya").recognises(file.read_bytes())


# The texts that its own code took, by what differs between them: (repeats of each dataset).
@pytest.mark.parametrize(
    ("case", "repeats"), [("cropped", [1]), ("copies", [1]), ("captions-only", [1]), ("two-concepts", [3, 2])]
)
def test_what_is_emitted_means_what_its_own_code_took(case, repeats):
    found = tomllib.loads(CASES[f"musubi-{case}.toml"]().decode())
    assert found["general"] == {
        "resolution": [1024, 1024],
        "batch_size": 1,
        "enable_bucket": True,
        "bucket_no_upscale": True,
        "caption_extension": ".txt",
    }
    assert [each.pop("num_repeats") for each in found["datasets"]] == repeats
    for each in found["datasets"]:
        assert each["cache_directory"] == f"{each['image_directory']}/cache"
        assert each.keys() == {"image_directory", "cache_directory"}


@pytest.fixture
def theirs(make_dataset, tmp_path):
    """Return a function that writes somebody's file for a dataset and proves it."""
    folder = make_dataset()

    def verdict(*general, dataset=None):
        own = (f"cache_directory = '{tmp_path}/caches'",) if dataset is None else dataset
        text = ["[general]", *general, "[[datasets]]", f"image_directory = '{folder}'", *own]
        verdict.file = tmp_path / "theirs.toml"
        verdict.file.write_text("\n".join(text))
        return verify_backend(verdict.file, execution=Execution())

    verdict.folder, verdict.caches = folder, tmp_path / "caches"
    return verdict


GOOD = ("resolution = [1024, 1024]", "enable_bucket = true", "bucket_no_upscale = true", 'caption_extension = ".txt"')


def problems(verdict):
    return {fault.problem for fault in verdict.faults}


@pytest.mark.parametrize(
    ("general", "problem"),
    [
        ((), "8 of 8 pictures would be resized or cropped: enable_bucket is not set"),
        (("enable_bucket = true",), "8 of 8 pictures would be resized or cropped: bucket_no_upscale is not set"),
        (
            ("enable_bucket = true", "bucket_no_upscale = true"),
            "8 of 8 pictures would be resized or cropped: resolution is 960x544, the default, in steps of 16",
        ),
        # The sample of its documentation.
        (
            ("resolution = [1024, 1024]", "enable_bucket = true"),
            "7 of 8 pictures would be resized or cropped: bucket_no_upscale is not set",
        ),
        (
            ("resolution = 1000", "enable_bucket = true", "bucket_no_upscale = true"),
            "8 of 8 pictures would be resized or cropped: resolution is 1000x1000, in steps of 16",
        ),
    ],
)
def test_its_defaults_are_rejected_with_counts_and_the_key_to_set(theirs, general, problem):
    verdict = theirs(*general, 'caption_extension = ".txt"')
    assert problems(verdict) == {problem}
    assert {fault.remedy for fault in verdict.faults} == {
        "write resolution = [1024, 1024], enable_bucket = true, bucket_no_upscale = true"
    }


def test_a_file_that_keeps_everything_is_proved(theirs):
    verdict = theirs(*GOOD)
    assert (verdict.faults, verdict.notes, verdict.pictures) == ([], [], {"out": 8})
    assert theirs(*GOOD[1:], "resolution = 1024").faults == []


def test_what_a_dataset_says_wins_over_the_general_part(theirs):
    own = (f"cache_directory = '{theirs.caches}'", "bucket_no_upscale = false", "resolution = 1024")
    assert "7 of 8 pictures would be resized or cropped: bucket_no_upscale is not set" in problems(theirs(*GOOD, dataset=own))


@pytest.mark.parametrize(
    ("general", "dataset", "words"),
    [
        (GOOD[:3], None, 'caption_extension is not set: the trainer stops at the first caption; use ".txt"'),
        ((*GOOD[:3], 'caption_extension = "txt"'), None, "caption_extension is 'txt': the trainer stops at the first caption; use \".txt\""),
        (GOOD, (), "cache_directory is not set: caches are written among the pictures; name a folder outside the dataset"),
        (GOOD, ("cache_directory = 'caches'",), "cache_directory 'caches' is relative: the trainer looks from wherever it is started"),
        (GOOD, ("cache_directory = '/c[1]'",), "cache_directory '/c[1]': the trainer finds no caches in a folder with *, ? or [ in its path"),
        (GOOD, ("cache_directory = '/c'", "num_repeats = 1.5"), "dataset 1: num_repeats = 1.5: the trainer wants int and stops"),
        (GOOD, ("cache_directory = '/c'", "num_repeats = 0"), "num_repeats is less than 1: nothing is trained"),
        (GOOD, ("cache_directory = '/c'", "flip_aug = true"), "dataset 1: key 'flip_aug' is unknown to the trainer, which stops at it"),
        ((*GOOD, "cache_directory = '/c'"), (), "general: key 'cache_directory' is unknown to the trainer, which stops at it"),
        (('resolution = "1024"',), None, "general: resolution = '1024': the trainer wants int or list and stops"),
        (("resolution = [1024]", *GOOD[1:]), None, "resolution [1024]: use one or two whole numbers"),
        (("resolution = 24", *GOOD[1:]), None, "resolution 24 is too small for buckets: the trainer stops"),
        (GOOD, ("cache_directory = '/c'", "control_directory = '/x'"), "/x is not there"),
        (GOOD, ("cache_directory = '/c'", "control_directory = '/x'\nno_resize_control = true"), "no_resize_control is set: control pictures are resized for themselves, and no longer lie over their pictures"),
        (GOOD, ("cache_directory = '/c'", "multiple_target = true"), "multiple_target is true: what is trained beside each picture cannot be proved"),
    ],
)  # fmt: skip
def test_what_a_key_does_is_said(theirs, general, dataset, words):
    assert words in problems(theirs(*general, dataset=dataset))


def test_two_datasets_with_one_folder_of_caches_stop_the_trainer(theirs, tmp_path):
    theirs(*GOOD)
    theirs.file.write_text(
        theirs.file.read_text() + f"\n[[datasets]]\nimage_directory = '{theirs.folder}'\ncache_directory = '{theirs.caches}'"
    )
    assert problems(verify_backend(theirs.file)) == {
        f"cache_directory '{theirs.caches}' is another dataset's too: the trainer stops"
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[general]", "names no pictures"),
        ("general = 1\ndatasets = []", "general must be a table"),
        ("[[datasets", "is no TOML"),
        ("[[datasets]]\nvideo_directory = '/v'", "names videos only"),
    ],
)
def test_a_file_of_another_shape_cannot_be_used(tmp_path, text, words):
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(DatakitError, match=words):
        verify_backend(tmp_path / "x.toml", trainer="musubi")


def test_videos_beside_pictures_are_not_looked_at(theirs):
    theirs(*GOOD)
    theirs.file.write_text(theirs.file.read_text() + "\n[[datasets]]\nvideo_directory = '/v'\nsource_fps = 30.0")
    verdict = verify_backend(theirs.file)
    assert (verdict.faults, verdict.notes) == ([], ["dataset 2 holds videos, which are not looked at"])


def test_a_dataset_of_neither_is_told(tmp_path):
    (tmp_path / "x.toml").write_text("[[datasets]]\ncache_directory = '/c'")
    assert problems(verify_backend(tmp_path / "x.toml")) == {
        "neither image_directory nor image_jsonl_file: the trainer looks for videos and stops"
    }


def test_a_picture_that_one_model_would_resize_is_noted(theirs, tmp_path):
    for path in theirs.folder.iterdir():
        if path.suffix in (".jpg", ".jsonl", ".txt"):
            path.unlink()
    draw(theirs.folder / "x.png", Size(1040, 1008), 1)
    (theirs.folder / "x.txt").write_text("x")
    verdict = theirs(*GOOD)
    assert verdict.faults == []
    assert verdict.notes == ["out: hidream-o1 goes in steps of 32 and would resize 1 picture: x.png"]


# Each fault, and what is said of it; nothing where it does no harm.
FAULTS = {
    "resized": (lambda folder: draw(folder / "p00.jpg", Size(1000, 1000), 1), "1 of 8 pictures would be resized or cropped"),
    "byte order mark": (lambda folder: (folder / "p00.txt").write_bytes(b"\xef\xbb\xbfx"), "a byte order mark"),
    "two stems alike": (lambda folder: draw(folder / "p00.png", BUCKETS[0], 1), "shares its stem with others"),
    "upper-case extension": (lambda folder: (folder / "p00.jpg").rename(folder / "p00.JPG"), ""),
    "mixed-case extension": (lambda folder: (folder / "p00.jpg").rename(folder / "p00.Jpg"), "an extension that the trainer does not see"),
    "in a folder of its own": (lambda folder: [(folder / "in").mkdir(), (folder / "p00.jpg").rename(folder / "in" / "p00.jpg")], "in a folder that the trainer does not enter"),
    "hidden file": (lambda folder: draw(folder / ".p99.png", BUCKETS[0], 1), ""),
    "no caption": (lambda folder: (folder / "p00.txt").unlink(), "no .txt beside it: left out of the training without a word"),
    "empty caption": (lambda folder: (folder / "p00.txt").write_bytes(b""), ""),
    "two lines": (lambda folder: (folder / "p00.txt").write_bytes(b"a\nb"), "several lines: all of them become one prompt"),
    "latin-1": (lambda folder: (folder / "p00.txt").write_bytes(b"caf\xe9"), "an encoding other than UTF-8"),
    "npz beside": (lambda folder: (folder / "p00_1024x1024_sdxl.npz").write_bytes(b"x"), ""),
    "truncated": (lambda folder: (folder / "p00.jpg").write_bytes((folder / "p00.jpg").read_bytes()[:999]), "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("manifest", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_in_a_folder_is_found_or_does_no_harm(theirs, fault, manifest):
    """Where there is a manifest, whatever is not as it says is found as well."""
    harm, words = FAULTS[fault]
    if not manifest:
        (theirs.folder / "manifest.jsonl").unlink()
    harm(theirs.folder)
    found = theirs(*GOOD).faults
    assert manifest or any(words in each.problem for each in found) == bool(words)
    assert not words or found
    assert manifest or words or not found


def test_an_empty_caption_is_an_empty_prompt(theirs):
    (theirs.folder / "manifest.jsonl").unlink()
    (theirs.folder / "p00.txt").write_bytes(b"")
    assert theirs(*GOOD).notes == ["out: 1 empty caption (p00.txt): the prompt is empty"]


def age(path, seconds):
    os.utime(path, (path.stat().st_mtime - seconds,) * 2)


@pytest.mark.parametrize(
    ("name", "seconds", "words"),
    [
        ("p00_1024x1024_zi.safetensors", -60, ""),
        ("p00_zi_te.safetensors", 60, ""),
        ("p00_1024x1024_zi.safetensors", 60, "1 cache in {} older than their pictures"),
        ("gone_1024x1024_zi.safetensors", -60, "1 cache in {} of pictures that are not there, which are trained all the same"),
        ("p00_0896x1152_zi.safetensors", -60, "1 cache in {} of pictures that are not there, which are trained all the same"),
    ],
)
def test_latents_that_are_of_no_picture_of_now_are_named(theirs, name, seconds, words):
    theirs.caches.mkdir()
    (theirs.caches / name).write_bytes(b"x")
    age(theirs.caches / name, seconds)
    assert problems(theirs(*GOOD)) == ({words.format(theirs.caches)} if words else set())


@pytest.fixture
def rows(theirs, tmp_path):
    """Return a function that writes rows into a file that takes the folder's place, and proves it."""

    def verdict(*lines):
        (tmp_path / "rows.jsonl").write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
        theirs(*GOOD)
        theirs.file.write_text(
            theirs.file.read_text().replace(f"image_directory = '{theirs.folder}'", f"image_jsonl_file = '{tmp_path}/rows.jsonl'")
        )
        return verify_backend(theirs.file)

    return verdict


def row(folder, name, caption="a cat"):
    return {"image_path": str(folder / name), "caption": caption}


def test_a_file_that_lists_pictures_is_proved_row_by_row(rows, theirs):
    verdict = rows(row(theirs.folder, "p00.jpg"), row(theirs.folder, "p03.jpg", ""))
    assert (verdict.faults, verdict.pictures) == ([], {"rows.jsonl": 2})


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("\n", "a line that is no row: the trainer stops"),
        ('{"image_path": "/x.jpg"}', "a line that is no row: the trainer stops"),
        ({"image_path": "p01.jpg", "caption": "x"}, "image_path in '' is relative"),
        (("gone.jpg", "x"), "in the file and not there: the trainer stops"),
        (("p01.jpg", "two\nlines"), "several lines: all of them become one prompt"),
        (("p01.jpg", " x"), "blanks or empty lines at an edge"),
        (("sub/p00.jpg", "x"), "shares its stem with other rows: only the last of them is trained"),
        (("big.png", "x"), "1 of 2 pictures would be resized or cropped: resolution is 1024x1024, in steps of 16"),
    ],
)
def test_what_is_wrong_with_a_row_is_found(rows, theirs, more, words):
    (theirs.folder / "manifest.jsonl").unlink()
    (theirs.folder / "sub").mkdir()
    draw(theirs.folder / "sub" / "p00.jpg", BUCKETS[0], 3)
    draw(theirs.folder / "big.png", Size(1200, 1200), 3)
    found = problems(rows(row(theirs.folder, "p00.jpg"), row(theirs.folder, *more) if isinstance(more, tuple) else more))
    assert any(words in problem for problem in found), found


def test_rows_that_cannot_be_read_are_told(theirs):
    theirs(*GOOD)
    theirs.file.write_text(
        theirs.file.read_text().replace(f"image_directory = '{theirs.folder}'", "image_jsonl_file = '/none.jsonl'")
    )
    assert problems(verify_backend(theirs.file)) == {"/none.jsonl cannot be read: No such file or directory"}


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if not family.edits])
def test_every_family_keeps_every_size_and_has_its_command(run, make_dataset, tmp_path, family):
    make_dataset()
    said = run(backend, "out", "--trainer=musubi", "--cache-root=cache", f"--model-family={family}").output
    assert "_train_network.py" in said
    assert said.count(f"--dataset_config {tmp_path}/musubi.toml") == 3
    run(verify, "musubi.toml")


def test_each_caption_becomes_a_file_and_each_dataset_has_its_own_caches(run, make_dataset, tmp_path):
    make_dataset("lines", buckets=BUCKETS[:2], lines=3)
    make_dataset("style", buckets=BUCKETS[:1])
    run(backend, "lines", "style", "--repeats=6", "--repeats=2", "--trainer=musubi", "--cache-root=cache", "--batch-size=4")
    first, second = read(tmp_path / "musubi.toml")
    assert [each.options["num_repeats"] for each in (first, second)] == [2, 2]
    assert first.options["batch_size"] == 4
    texts = sorted(path.read_text() for path in (tmp_path / first.source).glob("*.txt"))
    assert len(set(texts)) == len(texts) == 6
    assert not any("\n" in text for text in texts)
    assert len({first.cache_directory, second.cache_directory}) == 2
    assert sorted(verify_backend(tmp_path / "musubi.toml").pictures.values()) == [1, 6]


def test_repeats_that_do_not_go_with_the_captions_are_refused(make_dataset, tmp_path):
    folder = make_dataset("lines", buckets=BUCKETS[:2], lines=3)
    with pytest.raises(DatakitError, match="repeats 4 would show some more often"):
        emit_backend([folder], tmp_path / "cache", BackendOptions("musubi", repeats=(4,)))


def test_datasets_share_no_batch(run, make_dataset):
    make_dataset("a", buckets=[BUCKETS[0], BUCKETS[0], BUCKETS[5]])
    make_dataset("b", buckets=[BUCKETS[0]])
    said = run(steps, "a", "b", "--repeats=3", "--repeats=1", "--trainer=musubi", "--batch-size=4", "--epochs=1").output
    # 6 squares in batches of 4 are two, the second short; 3 wide ones and the square of the other dataset are one each.
    assert "optimizer steps an epoch: 4 planned, 4 real" in said
    assert "3 of 4 batches are short" in said


# (batch size, GPUs, accumulation) -> micro-batches of each bucket on each GPU, optimizer steps, short batches.
@pytest.mark.parametrize(
    ("batching", "loads", "number", "short"),
    [
        ((1, 1, 1), [5, 3, 1], 9, 0),
        ((2, 1, 1), [3, 2, 1], 6, 3),
        ((2, 2, 1), [2, 1, 1], 3, 3),
        ((2, 1, 4), [3, 2, 1], 2, 3),
        ((2, 4, 1), [1, 1, 1], 2, 3),
        ((3, 2, 2), [1, 1, 1], 1, 2),
        ((5, 1, 1), [1, 1, 1], 3, 2),
    ],
)
def test_batches_are_dealt_out_to_the_gpus_and_accumulated(make_dataset, batching, loads, number, short):
    sizes = [*[BUCKETS[0]] * 5, *[BUCKETS[1]] * 3, BUCKETS[2]]
    epoch = trainer("musubi").steps([read_concept(make_dataset(buckets=sizes))], Batching(*batching))
    assert [(load.planned, load.real) for load in epoch.loads] == [(each, each) for each in loads]
    assert {(load.padded, load.dropped, load.too_small) for load in epoch.loads} == {(0, 0, False)}
    assert (epoch.planned_steps, epoch.real_steps) == (number, number)
    assert [note.split(" batch")[0] for note in epoch.notes] == ([f"{short} of {number_of(sizes, batching[0])}"] if short else [])


def number_of(sizes, batch):
    return sum(-(-sizes.count(size) // batch) for size in set(sizes))


def test_a_changed_dataset_is_told_of_the_file_that_was_written_before(run, make_dataset, tmp_path):
    folder = make_dataset()
    run(backend, "out", "--trainer=musubi", "--cache-root=cache")
    (folder / "p00.txt").write_text("another caption")
    run(check, "out", "--fix")
    assert "has changed since this was written" in run(verify, "musubi.toml", exit_code=1).output
    run(backend, "out", "--trainer=musubi", "--cache-root=cache", "--overwrite", "--prune")
    run(verify, "musubi.toml")
    assert len([path for path in (tmp_path / "cache").iterdir() if path.name.startswith("out-")]) == 1
