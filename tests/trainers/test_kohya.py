"""sd-scripts: its arithmetic, the file it is given, and the proof of files that people write."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit import Batching, DatakitError, Execution, emit_backend
from datakit.audit.concept import read_concept
from datakit.cli.backend import backend, check
from datakit.cli.steps import steps
from datakit.cli.verify import verify
from datakit.geometry import Size
from datakit.trainers import trainer
from datakit.trainers.kohya.file import read, rule_of, write
from datakit.trainers.kohya.replay import Bucketing, replay
from datakit.trainers.protocol import BackendOptions
from tests.conftest import BUCKETS

AREA = Size(1024, 1024)
SQUARE, WIDE, HIGH = BUCKETS[0], BUCKETS[5], BUCKETS[7]


def kept(rule):
    return {str(size) for size in BUCKETS if replay(size, rule).keeps(size)}


NAMES = {str(size) for size in BUCKETS}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Bucketing(AREA, True, True, 8), NAMES),
        (Bucketing(AREA, True, True, 64), NAMES),
        (Bucketing(AREA, True, True, 128), {"1024x1024", "1152x896", "896x1152"}),
        (Bucketing(AREA, True, False, 64, 256, 2048), NAMES),
        (Bucketing(AREA, True, False, 32, 256, 1472), NAMES),
        (Bucketing(AREA, True, False, 16, 256, 1472), NAMES - {"1216x832", "832x1216"}),
        (Bucketing(AREA, True, False, 64, 256, 1344), NAMES - {"1472x704"}),
        (Bucketing(AREA, True, False, 64, 256, 1216), NAMES - {"1344x768", "768x1344", "1472x704"}),
        (Bucketing(AREA, True, False, 64), {"1024x1024"}),
        (Bucketing(AREA), {"1024x1024"}),
        (Bucketing(Size(512, 512), True, True), set()),
        (Bucketing(Size(768, 768), True, True), set()),
        (Bucketing(Size(1152, 1152), True, True, 64, 256, 2048), NAMES),
    ],
)
def test_the_eight_sizes_are_kept_where_its_own_code_keeps_them(rule, expected):
    assert kept(rule) == expected


@pytest.mark.parametrize(
    ("size", "bucket"),
    [(Size(1152, 896), "1024x768"), (Size(1216, 832), "1024x704"), (Size(1344, 768), "1024x576"), (Size(1472, 704), "1024x512")],
)
def test_its_default_limit_cuts_what_is_longer(size, bucket):
    assert str(replay(size, Bucketing(AREA, True)).cropped) == bucket


SIDES = st.integers(64, 4000)


@given(SIDES, SIDES, st.sampled_from([8, 16, 32, 64]), st.booleans())
def test_a_bucket_is_in_steps_and_within_the_area(width, height, step, upscale):
    fate = replay(Size(width, height), Bucketing(AREA, True, not upscale, step, 256, 2048))
    assert fate.cropped.width % step == fate.cropped.height % step == 0
    assert fate.cropped.width <= fate.resized.width
    assert fate.cropped.height <= fate.resized.height
    assert upscale or fate.resized.width <= width
    assert fate.cropped.width * fate.cropped.height <= 1024 * 1024 * 1.05


@given(SIDES, SIDES)
def test_without_enlargement_a_smaller_picture_only_loses_what_is_no_step(width, height):
    size, rule = Size(width, height), Bucketing(AREA, True, True)
    fate = replay(size, rule)
    if width * height <= 1024 * 1024:
        assert fate.resized == size
        assert fate.cropped == Size(width // 64 * 64, height // 64 * 64)
    again = replay(fate.cropped, rule)
    assert fate.cropped.width == 0 or fate.cropped.height == 0 or again.keeps(fate.cropped)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30))
def test_any_path_is_read_back_as_written(tmp_path_factory, name):
    if name.startswith('""') and "'" in name:
        with pytest.raises(DatakitError, match="use another name"):
            write([(name, 1, None)], 1, False, rule_of(BUCKETS))
        return
    file = tmp_path_factory.mktemp("toml") / "kohya.toml"
    file.write_bytes(write([(name, 3, None), ("/b", 1, None)], 4, False, rule_of(BUCKETS)))
    first, second = read(file)
    assert (first.image_dir, first.options["num_repeats"], first.options["batch_size"]) == (name, 3, 4)
    assert (first.faults, first.unset, second.image_dir) == ((), [], "/b")


def test_a_control_character_in_a_path_is_refused():
    with pytest.raises(DatakitError, match=r"'/a\\tb' holds a control character"):
        write([("/a\tb", 1, None)], 1, False, rule_of(BUCKETS))


@pytest.fixture
def theirs(make_dataset, tmp_path):
    """Return a function that writes somebody's file for a dataset and proves it."""
    folder = make_dataset()

    def verdict(*general, subset=()):
        text = ["[general]", *general, "[[datasets]]", "[[datasets.subsets]]", f"image_dir = '{folder}'", *subset]
        file = tmp_path / "theirs.toml"
        file.write_text("\n".join(text))
        return trainer("kohya").prove(file, (), EXECUTION)

    verdict.folder = folder
    return verdict


EXECUTION = Execution()
GOOD = ("resolution = 1024", "enable_bucket = true", "bucket_no_upscale = true", 'caption_extension = ".txt"')


def problems(verdict):
    return {fault.problem for fault in verdict.faults}


def test_its_defaults_are_rejected_with_counts_and_the_key_to_set(theirs):
    verdict = theirs("resolution = 1024")
    assert problems(verdict) == {
        "7 of 8 pictures would be resized or cropped: enable_bucket is not set",
        "no .caption beside it: trained without a caption",
    }
    bucketed = theirs("resolution = 1024", "enable_bucket = true", 'caption_extension = ".txt"')
    assert problems(bucketed) == {"7 of 8 pictures would be resized or cropped: max_bucket_reso is 1024"}
    assert {fault.remedy for fault in bucketed.faults} == {"write bucket_no_upscale = true, or max_bucket_reso = 2048"}
    assert theirs(*GOOD).faults == []


@pytest.mark.parametrize(
    ("general", "subset", "words"),
    [
        ((*GOOD, "flip_aug = true"), (), "flip_aug is set: pictures are mirrored at random"),
        (GOOD, ("color_aug = true",), "color_aug is set: pictures are changed in colour at random"),
        (GOOD, ("num_repeats = 0",), "num_repeats 0: the trainer leaves the folder out"),
        (GOOD, ("num_repeats = 1.5",), "a subset: num_repeats = 1.5: the trainer wants int and stops"),
        (GOOD, ("enable_bucket = 1",), "a subset: key 'enable_bucket' is unknown to the trainer, which stops at it"),
        ((*GOOD, "repeats = 2"), (), "general: key 'repeats' is unknown to the trainer, which stops at it"),
        (
            (*GOOD, "max_bucket_reso = 512"),
            (),
            "max_bucket_reso 512 is less than the resolution [1024, 1024]: the trainer stops; use 2048",
        ),
        ((*GOOD, "bucket_reso_steps = 10"), (), "bucket_reso_steps 10: the trainer stops; use 64"),
        (GOOD[1:], (), "no resolution is given: the command line decides over sizes"),
        (('resolution = "1024,1024"',), (), "general: resolution = '1024,1024': the trainer wants int or list and stops"),
    ],
)
def test_what_a_key_does_is_said(theirs, general, subset, words):
    assert words in problems(theirs(*general, subset=subset))


def test_what_the_command_line_could_change_is_said(theirs):
    (note,) = theirs(*GOOD).notes
    assert "the command line decides: enable_wildcard, alpha_mask, shuffle_caption" in note


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (
            lambda folder: (folder / "p00_1024x1024_sdxl.npz").write_bytes(b"x"),
            "1 cache beside the pictures, which the trainer trusts",
        ),
        (lambda folder: (folder / "p00.txt").write_text("two\nlines"), "edited since"),
        (lambda folder: (folder / "p00.txt").write_bytes(b"\xef\xbb\xbfx"), "a byte order mark"),
        (lambda folder: (folder / "p00.jpg").rename(folder / "p00.Jpg"), "in the manifest but gone"),
        (lambda folder: (folder / "sub").mkdir() or (folder / "p00.jpg").rename(folder / "sub" / "p00.jpg"), "gone"),
        (lambda folder: (folder / "p00.txt").unlink(), "no caption"),
    ],
)
def test_what_is_wrong_in_a_folder_of_somebodys_is_found(theirs, harm, words):
    harm(theirs.folder)
    assert any(words in problem for problem in problems(theirs(*GOOD)))


def test_lines_after_the_first_are_not_trained(make_dataset, tmp_path):
    folder = make_dataset("lines", buckets=BUCKETS[:2], lines=3)
    file = tmp_path / "theirs.toml"
    file.write_text(
        "\n".join([*GOOD, "[[datasets]]", "[[datasets.subsets]]", f"image_dir = '{folder}'"]).replace(
            "resolution", "[general]\nresolution", 1
        )
    )
    verdict = trainer("kohya").prove(file, (), EXECUTION)
    assert problems(verdict) == {"several lines: only the first is trained; enable_wildcard = true draws one of them"}
    file.write_text(file.read_text().replace("[general]", "[general]\nenable_wildcard = true"))
    assert trainer("kohya").prove(file, (), EXECUTION).faults == []


@pytest.mark.parametrize(("family", "expanded"), [("sdxl", False), ("flux", True), ("sd3", True)])
def test_several_captions_are_drawn_or_written_out_as_the_family_allows(run, make_dataset, tmp_path, family, expanded):
    make_dataset("lines", buckets=BUCKETS[:2], lines=3)
    said = run(backend, "lines", "--trainer=kohya", "--cache-root=cache", f"--model-family={family}").output
    (subset,) = read(tmp_path / "kohya.toml")
    assert subset.options["enable_wildcard"] is not expanded
    assert subset.options["num_repeats"] == (1 if expanded else 3)
    assert ("do not cache text encoder outputs" in said) is not expanded
    assert f"lines-{subset.image_dir[-8:]}: 2 pictures {'with 6 captions ' if expanded else ''}in 2 buckets" in said
    run(verify, "kohya.toml")


def test_braces_are_a_choice_of_words_where_lines_are_drawn(run, make_dataset, tmp_path):
    folder = make_dataset("lines", buckets=BUCKETS[:1], lines=2)
    (folder / "p00.txt").write_text("a {red|blue} hat\nanother")
    run(check, "lines", "--fix")
    with pytest.raises(DatakitError, match=r"p00\.txt: sd-scripts takes the braces for a choice"):
        emit_backend([folder], tmp_path / "cache", BackendOptions("kohya"))
    assert emit_backend([folder], tmp_path / "cache", BackendOptions("kohya", "flux")).content


@pytest.mark.parametrize("option", [{"settings": ("probability=1",)}, {"caption_shuffle": 3}])
def test_what_only_simpletuners_file_says_is_refused(make_dataset, tmp_path, option):
    with pytest.raises(DatakitError, match="sd-scripts"):
        emit_backend([make_dataset(buckets=BUCKETS[:1])], tmp_path / "cache", BackendOptions("kohya", **option))


def test_folders_share_their_buckets(run, make_dataset):
    make_dataset("a", buckets=[SQUARE, SQUARE, WIDE])
    make_dataset("b", buckets=[SQUARE])
    said = run(steps, "a", "b", "--repeats=3", "--repeats=1", "--trainer=kohya", "--batch-size=2", "--epochs=1").output
    rows = [line.split() for line in said.splitlines() if "1024x1024" in line or "1344x768" in line]
    # 2 x 3 + 1 squares in batches of 2 are four, the last of them short; 3 wide ones are two.
    assert [(row[-6:]) for row in rows] == [["1024x1024", "7", "1", "4", "4", "0"], ["1344x768", "1", "3", "2", "2", "0"]]
    assert "optimizer steps an epoch: 6 planned, 6 real" in said
    assert "an epoch is not exactly an epoch" in said


def test_short_batches_are_trained(make_dataset):
    epoch = trainer("kohya").steps([read_concept(make_dataset())], Batching(4, 2, 3))
    assert (epoch.real_steps, [load.too_small for load in epoch.loads]) == (2, [False] * 8)


def test_the_command_to_start_it_names_the_file(run, make_dataset, tmp_path):
    make_dataset()
    said = run(backend, "out", "--trainer=kohya", "--cache-root=cache", "--batch-size=4", "--output=my set.toml").output
    assert (
        f"start it with, your own options added: accelerate launch sdxl_train_network.py --cache_latents --dataset_config '{tmp_path}/my set.toml'"
        in said
    )
    assert read(tmp_path / "my set.toml")[0].options["batch_size"] == 4


def test_a_file_of_no_bytes_stops_it_and_a_lone_line_feed_does_not(theirs):
    for name in ("manifest.jsonl", "metadata.jsonl"):
        (theirs.folder / name).unlink()
    (theirs.folder / "p00.txt").write_bytes(b"")
    assert problems(theirs(*GOOD)) == {"a file of no bytes: the trainer stops at it"}
    (theirs.folder / "p00.txt").write_bytes(b"\n")
    verdict = theirs(*GOOD)
    assert not verdict.faults
    assert any("1 empty caption (p00.txt): trained without a caption" in note for note in verdict.notes)


def test_braces_in_a_folder_of_somebodys_are_a_fault_where_lines_are_drawn(theirs):
    for name in ("manifest.jsonl", "metadata.jsonl"):
        (theirs.folder / name).unlink()
    (theirs.folder / "p00.txt").write_text("a {red|blue} hat\na hat")
    (fault,) = theirs(*GOOD, "enable_wildcard = true").faults
    assert (fault.path, fault.problem) == (
        "p00.txt",
        "braces, which the trainer takes for a choice of words as enable_wildcard is set",
    )
    (theirs.folder / "p00.txt").write_text("a {red|blue} hat")
    assert not theirs(*GOOD).faults


def test_the_command_line_as_plain_data_names_the_file_and_the_views(make_dataset, tmp_path, run):
    make_dataset(buckets=BUCKETS[:1])
    said = json.loads(run(backend, "out", "--trainer", "kohya", "--cache-root", "cache", "--json").stdout)
    assert said["command"].endswith(f"--dataset_config {tmp_path / 'kohya.toml'}")
    assert [os.path.isdir(view) for view in said["views"]] == [True]
