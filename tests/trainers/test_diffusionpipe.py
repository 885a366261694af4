"""diffusion-pipe: the file it is given, several captions, the proof of files that people write, what it never trains."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit import Batching, DatakitError, Execution, emit_backend, verify_backend
from datakit.audit.concept import read_concept
from datakit.cli.backend import backend, check
from datakit.cli.steps import steps
from datakit.cli.verify import verify
from datakit.geometry import Size
from datakit.trainers import trainer
from datakit.trainers.diffusionpipe.file import ordered, read, write
from datakit.trainers.diffusionpipe.replay import SizeBuckets
from datakit.trainers.protocol import BackendOptions
from tests.conftest import BUCKETS

SQUARE, WIDE = BUCKETS[0], BUCKETS[5]
LISTED = tomllib.loads(write([], ordered(BUCKETS)).decode())["size_buckets"]
GOOD = (f"size_buckets = {LISTED}",)


def problems(verdict):
    return {fault.problem for fault in verdict.faults}


@pytest.fixture
def theirs(make_dataset, tmp_path):
    """Return a function that writes somebody's file for a folder, datakit's or not, and proves it."""
    folder = make_dataset()

    def verdict(*top, directory=(), folder=folder):
        file = tmp_path / "theirs.toml"
        file.write_text("\n".join([*top, "[[directory]]", f"path = '{folder}'", *directory]))
        return trainer("diffusion-pipe").prove(file, (), Execution())

    verdict.folder = folder
    return verdict


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30),
    st.sets(st.sampled_from(BUCKETS), min_size=1),
)
def test_what_is_written_is_read_back(tmp_path_factory, name, sizes):
    if name.startswith('""') and "'" in name:
        return
    file = tmp_path_factory.mktemp("toml") / "diffusion-pipe.toml"
    file.write_bytes(write([(name, 3, {"mask_path": name}), ("/b", 1, {})], ordered(sizes)))
    first, second = read(file)
    assert (first.path, first.repeats, second.path, second.repeats) == (name, 3, "/b", 1)
    assert (first.options["mask_path"], "mask_path" in second.options) == (name, False)
    assert first.faults == second.faults == ()
    assert first.rule == second.rule == ordered(sizes)
    assert first.rule.in_order


def test_its_example_is_rejected_with_counts_and_the_key_to_set(theirs):
    example = theirs("resolutions = [512]", "enable_ar_bucket = true", "min_ar = 0.5", "max_ar = 2.0", "num_ar_buckets = 7")
    said = "8 of 8 pictures would be resized or cropped: resolutions [512] give an area, and aspects no sizes"
    assert problems(example) == {said}
    assert {fault.remedy for fault in example.faults} == {f"write size_buckets = {LISTED}"}
    squares = theirs("resolutions = [1024]")
    assert problems(squares) == {
        "7 of 8 pictures would be resized or cropped: there are no size_buckets and no enable_ar_bucket, so that every picture becomes a square"
    }
    assert theirs(*GOOD).faults == []


def test_buckets_in_another_order_are_rejected_with_the_right_one(theirs):
    shuffled = theirs(f"size_buckets = {[[*size, 1] for size in BUCKETS]}")
    said = "6 of 8 pictures would be resized or cropped: size_buckets are not listed from narrow to wide with no aspect twice, which mixes them up"
    assert problems(shuffled) == {said}
    assert {fault.remedy for fault in shuffled.faults} == {f"write size_buckets = {LISTED}"}


@pytest.mark.parametrize(
    ("top", "directory", "words"),
    [
        ((), (), "neither size_buckets nor resolutions, but None: the trainer stops"),
        (("resolutions = [512, 768, 1024, 1280]",), (), "resolutions lists 4: the trainer stops at more than 3"),
        (("resolutions = [512, 1024]",), (), "resolutions lists 2: every picture is trained once at each"),
        (("resolutions = [1024]", "enable_ar_bucket = true"), (), "enable_ar_bucket without ar_buckets, or min_ar"),
        (("size_buckets = [[1024, 1024]]",), (), "size_buckets [[1024, 1024]]: write [width, height, 1] for each size"),
        (("size_buckets = []",), (), "size_buckets []: write"),
        (("size_buckets = [[1024, 1024, 33]]",), (), "8 of 8 pictures would be dropped: "),
        (GOOD, ("num_repeats = 0",), "num_repeats 0: the trainer stops"),
        (GOOD, ("num_repeats = 0.5",), "num_repeats 0.5: only that share of the captions of each size is trained"),
        ((*GOOD, "subsample_ratio = 0.5"), (), "subsample_ratio 0.5: only that share of the batches is trained"),
        ((*GOOD, "online_captions = true"), (), "online_captions: captions are looked up"),
    ],
)
def test_what_a_key_does_is_said(theirs, top, directory, words):
    assert any(problem.startswith(words) for problem in problems(theirs(*top, directory=directory)))


def test_keys_of_a_directory_win_and_what_changes_captions_is_noted(theirs):
    verdict = theirs("resolutions = [512]", "caption_prefix = 'x, '", directory=(*GOOD, "cache_shuffle_num = 3"))
    assert verdict.faults == []
    assert verdict.notes == [
        "out: captions are given a prefix by the trainer (caption_prefix)",
        "out: captions are shuffled, each into so many by the trainer (cache_shuffle_num)",
    ]


def test_a_size_that_is_not_listed_is_named(theirs):
    verdict = theirs(f"size_buckets = {[bucket for bucket in LISTED if bucket != [1216, 832, 1]]}")
    assert problems(verdict) == {
        "1 of 8 pictures would be resized or cropped: their size is not in size_buckets, or its sides are no multiples of 16"
    }
    (fault,) = verdict.faults
    assert (fault.path, fault.detail) == ("p03.jpg", "1216x832 is resized to 1310x896 and cropped to 1152x896")


def test_sizes_that_only_some_models_take_are_noted(make_dataset, theirs):
    folder = make_dataset("odd", buckets=[Size(1008, 1008)])
    (folder / "manifest.jsonl").unlink()
    verdict = theirs("size_buckets = [[1008, 1008, 1]]", folder=folder)
    assert verdict.faults == []
    assert verdict.notes == [
        "odd: 1008x1008 would be resized for ltx-video, ltx2, minimax_h3, wan 2.2 5B, which take multiples of 32"
    ]


def test_the_config_of_a_training_is_told_from_its_dataset_file(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("dataset = 'examples/dataset.toml'\nepochs = 10\n")
    with pytest.raises(DatakitError, match=r"it is the config of a training, whose dataset file is examples/dataset\.toml"):
        verify_backend(file)


def test_each_of_several_captions_is_a_sample_of_its_own(run, make_dataset, tmp_path):
    folder = make_dataset("lines", buckets=[SQUARE, WIDE], lines=[3, 2])
    (folder / "p00.txt").write_text("größer, \u2028 eins\nzwei\ndrei", "utf-8")
    run(check, "lines", "--fix")
    said = run(backend, "lines", "--trainer=diffusion-pipe", "--cache-root=cache").output
    (directory,) = read(tmp_path / "diffusion-pipe.toml")
    view = tmp_path / "cache" / directory.path.rpartition("/")[2]
    assert f"{view.name}: 2 pictures with 5 captions in 2 buckets, each caption seen once an epoch" in said
    text = (view / "captions.json").read_text("ascii")
    assert json.loads(text) == {
        "p00.jpg": ["größer, \u2028 eins", "zwei", "drei"],
        "p01.jpg": [f"ohwx, token 1, line {line}, copy 1" for line in range(2)],
    }
    assert directory.repeats == 1
    verdict = run(verify, "diffusion-pipe.toml").output
    assert "captions are read from captions.json, each as a sample of its own" in verdict
    run(backend, "lines", "--trainer=diffusion-pipe", "--cache-root=cache", "--repeats=6", "--overwrite")
    assert read(tmp_path / "diffusion-pipe.toml")[0].repeats == 3  # most pictures have two captions


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no JSON: the trainer stops at it"),
        ("[]", "no object of pictures: the trainer stops at it"),
        ({}, "not in captions.json: the trainer leaves the picture out"),
        ({"p00.jpg": "a"}, "no list of texts in captions.json: the trainer stops at it"),
        ({"p00.jpg": [1]}, "no list of texts in captions.json: the trainer stops at it"),
        ({"p00.jpg": []}, "an empty list in captions.json: the picture is never trained"),
        ({"p00.jpg": ["a\nb"]}, "a caption of several lines in captions.json, which are trained as one"),
        ({"p00.jpg": ["another"]}, "other captions in captions.json than in its .txt, and the trainer reads the first"),
        ({"p00.jpg": ["ohwx, token 0, line 0, copy 1"]}, ""),
    ],
)
def test_captions_json_is_held_against_the_pictures(make_dataset, theirs, content, words):
    folder = make_dataset("one", buckets=[SQUARE])
    (folder / "captions.json").write_text(content if isinstance(content, str) else json.dumps(content))
    assert problems(theirs(*GOOD, folder=folder)) == ({words} if words else set())


def test_lines_without_captions_json_are_one_caption(make_dataset, theirs):
    folder = make_dataset("lines", buckets=[SQUARE], lines=2)
    assert problems(theirs(*GOOD, folder=folder)) == {"several lines: they are trained as one caption"}


def test_two_datasets_share_their_buckets_and_keep_their_repeats(run, make_dataset, tmp_path):
    make_dataset("a", buckets=[SQUARE, WIDE])
    make_dataset("b", buckets=[BUCKETS[2]])
    said = run(backend, "a", "b", "--repeats=3", "--repeats=2", "--trainer=diffusion-pipe", "--cache-root=cache").output
    first, second = read(tmp_path / "diffusion-pipe.toml")
    assert (first.repeats, second.repeats) == (3, 2)
    assert first.rule == second.rule == SizeBuckets(((896, 1152, 1), (1024, 1024, 1), (1344, 768, 1)))
    assert (
        f"start it with, your own options added: deepspeed --num_gpus=1 train.py --deepspeed --config CONFIG.toml  # CONFIG.toml names as its dataset: {tmp_path}"
        in said
    )
    run(verify, "diffusion-pipe.toml")


def test_what_fills_no_step_is_never_trained(run, make_dataset):
    make_dataset("a", buckets=[SQUARE] * 3 + [WIDE])
    make_dataset("b", buckets=[SQUARE] * 2)
    said = run(steps, "a", "b", "--trainer=diffusion-pipe", "--batch-size=2", "--accumulate=2", "--epochs=1", exit_code=1).output
    rows = [line for line in said.splitlines() if "1024x1024" in line or "1344x768" in line]
    assert [row.partition("too few")[0].split()[-3:] for row in rows[:1]] == [["1", "never", "trained"]]
    assert "too few for one optimizer step" in rows[1]
    assert "1 never trained" in rows[1]
    assert "optimizer steps an epoch: 1 planned, 1 real" in said
    assert "the same pictures are never trained" in said
    assert "too few pictures for one optimizer step of 4: a 1344x768. diffusion-pipe never trains it" in said
    assert "diffusion-pipe never trains it" in run(check, "a", "--trainer=diffusion-pipe", "--batch-size=4", exit_code=1).output


@pytest.mark.parametrize("batching", [Batching(1), Batching(4), Batching(2, 2, 2)])
def test_every_sample_is_trained_or_said_to_be_left_out(make_dataset, batching):
    concept = trainer("diffusion-pipe").trained(read_concept(make_dataset(buckets=BUCKETS[:3] * 5, lines=3)), "flux")
    epoch = trainer("diffusion-pipe").steps([concept], batching)
    assert sum(load.real * batching.size * batching.gpus + load.dropped for load in epoch.loads) == 45
    assert epoch.real_steps == sum(15 // batching.effective for _ in range(3))


@pytest.mark.parametrize("option", [{"settings": ("probability=1",)}, {"caption_shuffle": 3}])
def test_what_only_simpletuners_file_says_is_refused(make_dataset, tmp_path, option):
    with pytest.raises(DatakitError, match="diffusion-pipe"):
        emit_backend([make_dataset(buckets=BUCKETS[:1])], tmp_path / "cache", BackendOptions("diffusion-pipe", **option))
