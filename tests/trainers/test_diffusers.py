"""diffusers' scripts: the shell script that starts one, rows for captions and weights, the proof of scripts that people write."""

from __future__ import annotations

import json
import math
import shlex
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit import Batching, DatakitError, Execution, ShuffleOptions, emit_backend, shuffle_folder, verify_backend
from datakit.audit.concept import read_concept
from datakit.cli.backend import backend, check
from datakit.cli.steps import steps
from datakit.cli.verify import verify
from datakit.dataset.metadata import CARD, CARD_CONTENT, METADATA
from datakit.trainers import trainer
from datakit.trainers.diffusers.file import parse, recognises, rule_for, rule_of, write
from datakit.trainers.diffusers.replay import Listed, Square, WorkedOut
from datakit.trainers.diffusers.scripts import FAMILIES
from datakit.trainers.protocol import BackendOptions
from tests.conftest import BUCKETS
from tests.test_metadata import load

SQUARE, WIDE = BUCKETS[0], BUCKETS[5]
LIST = ";".join(f"{size.height},{size.width}" for size in BUCKETS)
FLUX2, SD3 = "train_dreambooth_lora_flux2.py", "train_dreambooth_lora_sd3.py"
SDXL = "text_to_image/train_text_to_image_lora_sdxl.py"
READ = ("--caption_column=text", "--instance_prompt=")
BUCKETED = ("--use_aspect_ratio_buckets", f"--aspect_ratio_buckets={LIST}")


def problems(verdict):
    return {fault.problem for fault in verdict.faults}


@pytest.fixture
def theirs(make_dataset, tmp_path):
    """Return a function that writes somebody's script for a dataset of datakit's, with its card, and proves it."""
    folder = make_dataset()
    (folder / CARD).write_bytes(CARD_CONTENT)

    def verdict(script, *options, folder=folder, named="--dataset_name"):
        file = tmp_path / "theirs.sh"
        named_so = [f"{named}={folder}"] if named else []
        file.write_text(shlex.join(["accelerate", "launch", script, *named_so, *options]))
        return trainer("diffusers").prove(file, (), Execution())

    verdict.folder = folder
    return verdict


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="*?[]$`"), min_size=1, max_size=30),
    st.sampled_from(sorted(FAMILIES)),
    st.sets(st.sampled_from(BUCKETS), min_size=1).map(sorted),
)
def test_what_is_written_is_read_back(folder, family, sizes):
    script = FAMILIES[family].of
    rule = rule_for(script, sizes)
    content = write(FAMILIES[family], f"/{folder}", rule, 3, "a prompt")
    assert recognises(content)
    (command,) = parse(content.decode())
    assert (command.script, command.unknown) == (script, [])
    assert command.options["--dataset_name" if script.dreambooth else "--train_data_dir"] == f"/{folder}"
    assert command.options["--train_batch_size"] == "3"
    assert rule_of(command) == rule


@pytest.mark.parametrize("name", ["a\tb", "a[1]", "why?", "a*", "$HOME"])
def test_a_path_that_would_not_be_found_is_refused(make_dataset, tmp_path, name):
    with pytest.raises(DatakitError, match="would not be found: use another --cache-root"):
        emit_backend([make_dataset(buckets=BUCKETS[:1])], tmp_path / name, BackendOptions("diffusers"))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_scripts_without_buckets_take_one_square_alone(make_dataset, tmp_path, family):
    all_sizes, squares = make_dataset("all"), make_dataset("squares", buckets=[SQUARE] * 2)
    emission = emit_backend([all_sizes], tmp_path / "cache", BackendOptions("diffusers", family))
    script = FAMILIES[family].of
    assert (emission.content is None) is not bool(script.bucketed)
    if not script.bucketed:
        assert len(emission.changed) == 7
        assert (
            f"1 picture of 1152x896 would be resized to 1316x1024 and cropped to 1024x1024: {script.name} has no buckets"
            in emission.changed[0]
        )
    assert emit_backend([squares], tmp_path / "cache", BackendOptions("diffusers", family)).content


@pytest.mark.parametrize(("family", "script"), [("flux2", FLUX2), ("sdxl", SDXL.rpartition("/")[2])])
def test_what_is_written_is_loaded_row_by_row(run, make_dataset, tmp_path, family, script):
    """`datasets` itself reads the view: two datasets in one folder, each caption a row, weights as rows."""
    make_dataset("a", buckets=[SQUARE] * 2, lines=[2, 2])
    make_dataset("b", buckets=[SQUARE])
    repeats = ("--repeats=2", "--repeats=3")
    options = ("--trainer=diffusers", "--cache-root=cache", f"--model-family={family}", "--batch-size=2")
    said = run(backend, "a", "b", *repeats, *options).output
    assert "datasets 3.4 or later" in said
    assert f"start it with, your own options added: sh {tmp_path / 'diffusers.sh'}  # in examples/" in said
    (command,) = parse((tmp_path / "diffusers.sh").read_text())
    assert (command.script.name, command.options["--train_batch_size"]) == (script, "2")
    folder = (
        tmp_path / "cache" / command.options["--dataset_name" if family == "flux2" else "--train_data_dir"].rpartition("/")[2]
    )
    (loaded,) = load(tmp_path / "home", folder)
    rows = Counter((name, text) for name, text, _ in loaded["rows"])
    assert rows == {
        **{(f"a_p0{number}.jpg", f"ohwx, token {number}, line {line}, copy 1"): 1 for number in (0, 1) for line in (0, 1)},
        ("b_p00.jpg", "ohwx, token 0, line 0, copy 1"): 3,
    }
    run(verify, "diffusers.sh")


def test_other_weights_are_another_view(make_dataset, tmp_path):
    folder = make_dataset(buckets=[SQUARE])
    names = {
        emit_backend([folder], tmp_path / "cache", BackendOptions("diffusers", repeats=repeats)).views[0].folder
        for repeats in ((), (1,), (2,), (3,))
    }
    assert len(names) == 3


def test_captions_left_out_on_purpose_are_the_empty_prompt(make_dataset, run, tmp_path):
    folder = make_dataset(buckets=[SQUARE] * 3)
    shuffle_folder(folder, tmp_path / "copies", ShuffleOptions(repeats=4, drop_caption=0.5))
    run(backend, "copies", "--trainer=diffusers", "--cache-root=cache")
    (command,) = parse((tmp_path / "diffusers.sh").read_text())
    assert command.options["--instance_prompt"] == ""
    assert "with an empty caption, trained as the empty caption" in run(verify, "diffusers.sh").output


def test_defaults_are_rejected_with_counts_and_the_option_to_set(theirs):
    squares = theirs(FLUX2, *READ)
    assert problems(squares) == {
        "8 of 8 pictures would be resized or cropped: without --aspect_ratio_buckets every picture becomes a square of 512"
    }
    assert {fault.remedy for fault in squares.faults} == {f'write --use_aspect_ratio_buckets --aspect_ratio_buckets="{LIST}"'}
    assert problems(theirs(FLUX2, *READ, "--resolution=1024", "--use_aspect_ratio_buckets")) == {
        "7 of 8 pictures would be resized or cropped: --use_aspect_ratio_buckets without a list works out sizes of its own"
    }
    assert problems(theirs(SD3, *READ, "--resolution", "1024")) == {
        f"7 of 8 pictures would be resized or cropped: {SD3} has no buckets: every picture becomes a square of 1024"
    }
    assert theirs(FLUX2, *READ, *BUCKETED).faults == []
    assert theirs(FLUX2.replace("flux2", "ideogram4"), *READ, BUCKETED[1]).faults == []


@pytest.mark.parametrize(
    ("script", "options", "words"),
    [
        (FLUX2, (*READ, BUCKETED[1]), "--aspect_ratio_buckets without --use_aspect_ratio_buckets: the script stops"),
        (
            FLUX2,
            (*READ, BUCKETED[0], "--aspect_ratio_buckets=1024x1024"),
            "--aspect_ratio_buckets '1024x1024': write height,width",
        ),
        (FLUX2, (*READ, BUCKETED[0], "--aspect_ratio_buckets=0,64"), "--aspect_ratio_buckets '0,64': write height,width"),
        (FLUX2, (*READ, "--resolution=big"), "--resolution 'big': use a whole number"),
        (FLUX2, BUCKETED, "no --caption_column: every picture is trained as ''"),
        (FLUX2, (*BUCKETED, "--caption_column=caption"), "no row with the column 'caption': the script stops"),
        (FLUX2, (*READ, *BUCKETED, "--random_flip"), "--random_flip is set: pictures are mirrored at random"),
        (FLUX2, (*READ, *BUCKETED, "--repeats=0"), "--repeats 0: use 1 or more"),
        (FLUX2, (*READ, *BUCKETED, "--image_column=picture"), "--image_column picture: the pictures of a folder are in"),
        (FLUX2, (*READ, *BUCKETED, "--dataset_config_name=x"), "--dataset_config_name x: a folder has none of that name"),
        (
            FLUX2,
            (*READ, BUCKETED[0], "--aspect_ratio_buckets=$LIST"),
            "--aspect_ratio_buckets holds '$LIST', which the file does not set",
        ),
        (SDXL, ("--max_train_samples=4",), "--max_train_samples 4: the other pictures are never trained"),
    ],
)
def test_what_an_option_does_is_said(theirs, script, options, words):
    assert any(problem.startswith(words) for problem in problems(theirs(script, *options)))


def test_a_folder_that_is_opened_file_by_file_is_refused(theirs):
    verdict = theirs(FLUX2, *READ, *BUCKETED, named="--instance_data_dir")
    assert problems(verdict) == {"--instance_data_dir reads no captions, and stops at every file that is no picture"}
    old = theirs("train_dreambooth_lora.py", "--instance_prompt=x", "--resolution=1024", named="--instance_data_dir")
    assert "train_dreambooth_lora.py reads no captions, and stops at every file that is no picture" in problems(old)


def test_no_folder_or_one_from_elsewhere_cannot_be_proved(theirs):
    assert problems(theirs(FLUX2, *READ, *BUCKETED, named="")) == {"none of --dataset_name --instance_data_dir names a folder"}
    (problem,) = problems(theirs(FLUX2, *READ, *BUCKETED, folder="somebody/dogs"))
    assert problem == "--dataset_name 'somebody/dogs' is no folder here: a dataset from elsewhere cannot be proved"


def test_without_a_card_the_captions_would_be_the_dataset(theirs):
    (theirs.folder / CARD).unlink()
    assert problems(theirs(FLUX2, *READ, *BUCKETED)) == {
        "8 .txt to 8 pictures of one extension: `datasets` loads no pictures, but those"
    }
    # Text to image names the kind itself, so that nothing is guessed.
    assert not [fault for fault in theirs(SDXL, named="--train_data_dir").faults if "datasets" in fault.problem]
    for caption in theirs.folder.glob("*.txt"):
        caption.unlink()
    (theirs.folder / "manifest.jsonl").unlink()
    assert theirs(FLUX2, *READ, *BUCKETED).faults == []
    (theirs.folder / "p00.jpg").rename(theirs.folder / "test_shot.jpg")
    (theirs.folder / METADATA).write_text((theirs.folder / METADATA).read_text().replace("p00.jpg", "test_shot.jpg"))
    (fault,) = theirs(FLUX2, *READ, *BUCKETED).faults
    assert (fault.path, fault.detail) == ("test_shot.jpg", "test")
    assert fault.problem.startswith("a name that `datasets` makes a split of its own of")


def test_a_card_of_somebodys_own_counts_where_it_says_what_datakits_does(theirs):
    (theirs.folder / CARD).write_bytes(b"---\nlicense: mit\n" + CARD_CONTENT.removeprefix(b"---\n") + b"\n# Mine\n")
    assert theirs(FLUX2, *READ, *BUCKETED).faults == []
    (theirs.folder / CARD).write_bytes(b"---\nconfigs:\n- config_name: other\n---\n")
    assert problems(theirs(FLUX2, *READ, *BUCKETED)) == {f"a {CARD} that names other files, which is beyond proof"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": ["a", "b"]}, "a list of captions in one row: the script stops; give each its row"),
        ({"text": None}, "no caption, trained as ''"),
        ({"text": "a\nb"}, "several lines in one row, which are trained as one caption"),
        ({"text": "another"}, "other captions in metadata.jsonl than in its .txt, and only the first are trained"),
    ],
)
def test_rows_are_held_against_the_pictures(theirs, row, words):
    file = theirs.folder / METADATA
    first, *others = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps(json.loads(first) | row), *others]))
    assert problems(theirs(FLUX2, *READ, *BUCKETED)) == {words}


def test_a_list_of_captions_is_drawn_from_by_text_to_image(make_dataset, theirs):
    folder = make_dataset("squares", buckets=[SQUARE])
    (folder / "manifest.jsonl").unlink()
    (folder / METADATA).write_text('{"file_name": "p00.jpg", "text": ["a", "b"]}\n')
    assert theirs(SDXL, folder=folder, named="--train_data_dir").faults == []
    (folder / METADATA).write_text("no json\n")
    assert problems(theirs(SDXL, folder=folder, named="--train_data_dir")) == {"cannot be read: loading ends"}
    (folder / METADATA).unlink()
    assert problems(theirs(SDXL, folder=folder, named="--train_data_dir")) == {
        "no metadata.jsonl: the pictures have no captions, and .txt files are not read"
    }


def test_a_script_as_people_write_it_is_read(make_dataset, tmp_path):
    folder = make_dataset(buckets=[SQUARE])
    (folder / CARD).write_bytes(CARD_CONTENT)
    file = tmp_path / "run me.sh"
    file.write_text(
        f"""#!/usr/bin/env bash
        set -e  # as always
        export DATA="{folder.parent}" NAME=out
        PROMPT='a photo of
        ohwx'
        python prepare.py --dataset_name=other
        accelerate launch --mixed_precision=bf16 examples/dreambooth/{SD3} \\
          --dataset_name "$DATA/${{NAME}}" \\
          --caption_column text --instance_prompt "$PROMPT" \\
          --resolution=512 --resolution=1024 --center_crop --with_prior_preservation && echo --random_flip
        """
    )
    (command,) = parse(file.read_text())
    assert command.options["--dataset_name"] == str(folder)
    assert "\n" in command.options["--instance_prompt"]
    assert rule_of(command) == Square(1024)
    verdict = verify_backend(file)
    assert verdict.faults == []
    assert verdict.notes == ["out: class pictures are trained beside these (--with_prior_preservation)"]


def test_what_decides_over_sizes_follows_the_script():
    def rule(script, *options):
        return rule_of(parse(shlex.join([script, *options]))[0])

    assert rule("train_text_to_image_lora.py") == Square(512)
    assert rule("train_text_to_image_lora_sdxl.py") == Square(1024)
    assert rule(FLUX2) == Listed((SQUARE._replace(width=512, height=512),))
    assert rule(FLUX2, "--use_aspect_ratio_buckets", "--resolution", "768") == WorkedOut(768)
    assert rule(FLUX2, *BUCKETED) == Listed(tuple(BUCKETS))


def test_what_is_no_script_of_its_is_refused(tmp_path):
    file = tmp_path / "other.sh"
    file.write_text("accelerate launch train_network.py --dataset_config=x")
    assert not recognises(file.read_bytes())
    with pytest.raises(DatakitError, match="starts none of diffusers' scripts"):
        verify_backend(file, trainer="diffusers")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(DatakitError, match="is no shell script"):
        verify_backend(file, trainer="diffusers")


def test_what_fills_no_batch_is_left_out_of_an_epoch(run, make_dataset):
    make_dataset("a", buckets=[SQUARE] * 5 + [WIDE])
    said = run(steps, "a", "--trainer=diffusers", "--batch-size=2", "--epochs=1", exit_code=1).output
    assert "1 left out" in said
    assert "1 never trained" in said
    assert "optimizer steps an epoch: 2 planned, 2 real" in said
    assert "leave nothing out: 3 optimizer steps an epoch" in said
    assert (
        "diffusers' scripts with buckets never train it"
        in run(check, "a", "--trainer=diffusers", "--batch-size=2", exit_code=1).output
    )


@pytest.mark.parametrize("batching", [Batching(1), Batching(4), Batching(2, 2, 2), Batching(3, 4)])
def test_every_sample_is_trained_or_said_to_be_left_out(make_dataset, batching):
    concept = trainer("diffusers").trained(read_concept(make_dataset(buckets=BUCKETS[:3] * 5, lines=3)), "flux2")
    epoch = trainer("diffusers").steps([concept], batching)
    full = 3 * (15 // batching.size)
    assert sum(15 - load.dropped for load in epoch.loads) == full * batching.size
    assert epoch.real_steps == math.ceil(math.ceil(full / batching.gpus) / batching.accumulate)


@pytest.mark.parametrize("option", [{"settings": ("probability=1",)}, {"caption_shuffle": 3}])
def test_what_only_simpletuners_file_says_is_refused(make_dataset, tmp_path, option):
    with pytest.raises(DatakitError, match="diffusers"):
        emit_backend([make_dataset(buckets=BUCKETS[:1])], tmp_path / "cache", BackendOptions("diffusers", **option))
