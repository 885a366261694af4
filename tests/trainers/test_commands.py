"""The commands as a user types them: results on stdout, the rest on stderr, exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from datakit import crop_folder
from datakit.audit.concept import read_concept
from datakit.cli.backend import backend, check
from datakit.cli.config import config
from datakit.cli.steps import steps
from datakit.cli.verify import verify
from datakit.dataset.origin import Origin, remember_origin
from datakit.dataset.remembered import remember
from datakit.dataset.store import Store
from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.shuffle.folder import shuffle_folder
from datakit.shuffle.variants import ShuffleOptions
from datakit.trainers.simpletuner.options import REMOVED
from tests.conftest import BUCKETS


def test_without_a_dataset_the_last_stage_s_is_taken_and_the_file_is_proved(run, make_dataset, tmp_path):
    folder = make_dataset(copies=2)
    remember(tmp_path, "shuffle", folder)
    result = run(backend, "--cache-root", "cache")
    assert f"using {folder.relative_to(tmp_path)}/ (from the last shuffle)" in result.stderr
    assert "16 pictures in 8 buckets, each file seen once an epoch" in result.stdout
    entries = json.loads((tmp_path / "multidatabackend.json").read_text())
    assert entries[0]["cache_dir_vae"].startswith(str(tmp_path / "cache"))
    assert "proved" in run(verify).stdout


def test_copies_older_than_the_last_crop_are_mentioned(run, make_dataset, tmp_path):
    folder, copies = make_dataset(), make_dataset("out_shuffled", copies=2)
    with Store(copies) as store:
        remember_origin(store.folder, Origin("shuffle", str(folder)))
    remember(tmp_path, "crop", folder)
    assert "out_shuffled/ was shuffled before that" in run(backend, "--cache-root", "cache").stderr
    assert "out_shuffled" not in run(backend, folder, "--cache-root", "cache").stderr


def test_ways_out_that_cut_a_quarter_off_are_left_out(run, make_dataset):
    folder = make_dataset(buckets=[BUCKETS[0]] * 6 + [Size(1472, 704), BUCKETS[1]])
    ways = json.loads(run(check, folder, "--batch-size", 6, "--json", exit_code=1).stdout)["ways_out"]
    assert any("1152x896: move" in way for way in ways)
    assert not any("1472x704: move" in way for way in ways)


def test_without_any_dataset_the_user_is_told_to_name_one(run):
    with pytest.raises(UsageError, match="name the one"):
        run(backend, "--cache-root", "cache")


def test_stdout_holds_the_file_and_nothing_else(run, make_dataset):
    folder = make_dataset(buckets=BUCKETS[:2])
    assert len(json.loads(run(backend, folder, "--cache-root", "c", "--output", "-").stdout)) == 2
    report = json.loads(run(backend, folder, "--cache-root", "c", "--json").stdout)
    assert report["entries"] == [{"id": read_concept(folder).id, "pictures": 2, "passes": 1}]


def test_captions_that_shuffle_left_out_are_trained_and_mentioned(run, make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:2])
    shuffle_folder(folder, tmp_path / "copies", ShuffleOptions(repeats=4, drop_caption=0.5))
    empty = sum(path.stat().st_size == 0 for path in (tmp_path / "copies").glob("*.txt"))
    assert 0 < empty < 8
    assert f"{empty} of 8 copies have an empty caption" in run(backend, "copies", "--cache-root", "cache").stdout
    run(verify)
    assert run(check, "copies", "--fix", "--json").exit_code == 0


def test_a_faulty_dataset_is_refused_until_it_is_fixed(run, make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:2])
    (folder / "p00.txt").write_bytes(b"\xef\xbb\xbfa, b\r\n")
    result = run(backend, folder, "--cache-root", "cache", exit_code=1)
    assert f"out: a byte order mark and carriage returns: p00.txt\n  run `datakit check {folder} --fix`" in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "multidatabackend.json").exists()
    plain = json.loads(run(backend, folder, "--cache-root", "cache", "--json", exit_code=1).stdout)
    assert [finding["kind"] for finding in plain["findings"]] == ["caption-dirty"]
    assert "mended 1 caption: p00.txt" in run(backend, folder, "--cache-root", "cache", "--fix").stderr


def test_settings_that_break_the_proof_are_refused(run, make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:2])
    assert "would be resized" in run(backend, folder, "--cache-root", "c", "--set", "resolution=0.5", exit_code=1).stderr
    assert not (tmp_path / "multidatabackend.json").exists()


def test_a_changed_caption_gives_a_new_id_and_new_caches(run, make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:1])

    def emitted():
        run(backend, folder, "--cache-root", "c", "--fix")
        first, text = json.loads((tmp_path / "multidatabackend.json").read_text())
        return {first["id"], first["cache_dir_vae"], text["id"], text["cache_dir"]}

    before = emitted()
    assert emitted() == before
    (folder / "p00.txt").write_text("something else")
    assert not emitted() & before


def test_the_trainer_shuffles_captions_where_asked(run, make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:1])
    result = run(backend, folder, "--cache-root", "c", "--caption-shuffle", 5, "--keep", 2, "--repeats", 5)
    entry = json.loads((tmp_path / "multidatabackend.json").read_text())[0]
    assert entry["caption_shuffle"]["count"] == 5
    assert entry["caption_shuffle"]["position_start"] == 2
    assert entry["repeats"] == 4
    assert "4.0.5 or later" in result.stderr


def test_check_reports_files_content_and_training(run, make_dataset):
    folder = make_dataset(buckets=[BUCKETS[0]] * 6 + [BUCKETS[1]], scale=1.5)
    (folder / "p00.txt").unlink()
    result = run(check, folder, "--batch-size", 6, "--trigger", "sks", exit_code=1)
    for words in (
        "out: no caption: p00.jpg",
        "without the trigger word 'sks': p01.txt, p02.txt",
        "enlarged: p00.jpg (1.50 times), p01.jpg (1.50 times)",
        "1152x896      1 picture x 1: 1 micro-batch, 5 padded samples  too small",
        "move its 1 picture to 1024x1024",
        "one real epoch takes 2 optimizer steps",
    ):
        assert words in result.stdout
    plain = json.loads(run(check, folder, "--json", exit_code=1).stdout)
    assert {finding["kind"] for finding in plain["findings"]} == {"caption-missing", "upscaled"}


@pytest.mark.parametrize("command", [check, steps])
def test_epochs_that_the_trainer_will_miscount_are_told(run, make_dataset, command):
    folder = make_dataset(buckets=[BUCKETS[0]] * 7)
    epochs = ["--epochs", 1] if command is steps else []
    told = "it plans 5 steps an epoch and runs 8"
    assert told in run(command, folder, "--batch-size", 6, "--repeats", 4, *epochs).stdout
    assert told not in run(command, folder, "--batch-size", 7, "--repeats", 4, *epochs).stdout


def test_check_of_a_clean_dataset_exits_0_and_says_so(run, make_dataset):
    assert run(check, make_dataset(), "--trigger", "ohwx").stdout.endswith("clean\n")


def test_long_lists_are_cut_on_paper_and_whole_in_json(run, make_dataset):
    folder = make_dataset(buckets=[BUCKETS[0]] * 12)
    for caption in folder.glob("*.txt"):
        caption.unlink()
    assert (
        "no caption: p00.jpg, p01.jpg, p02.jpg, p03.jpg, p04.jpg and 7 more (-v lists all)\n"
        in run(check, folder, exit_code=1).stdout
    )
    assert "p10.jpg, p11.jpg\n" in run(check, folder, "-v", exit_code=1).stdout
    assert len(json.loads(run(check, folder, "--json", exit_code=1).stdout)["findings"]) == 12


def test_steps_from_epochs_and_back(run, make_dataset):
    folder = make_dataset(buckets=[BUCKETS[0]] * 4 + [BUCKETS[1]] * 3)
    plain = json.loads(run(steps, folder, "--epochs", 10, "--batch-size", 2, "--json").stdout)
    assert (plain["max_train_steps"], plain["recipe_steps_per_epoch"], plain["real_steps_per_epoch"]) == (35, 3.5, 4)
    assert "35 steps go 8.75 times through every bucket" in run(steps, folder, "--epochs", 10, "--batch-size", 2).stdout
    assert json.loads(run(steps, "--concept", "48x5", "--concept", "60x1", "--steps", 600, "--json").stdout)["epochs"] == 2.0
    with pytest.raises(UsageError, match="such as 48x5"):
        run(steps, "--concept", "48")


def test_config_and_steps_agree(run, make_dataset, tmp_path):
    folder = make_dataset(lines=5)
    options = (folder, "--epochs", 10, "--batch-size", 2, "--accumulate", 2)
    numbers = json.loads(run(steps, *options, "--json").stdout)
    run(config, *options, "--preset", "sd3-full", "--env", "config.env", "--accelerate", "a.yaml", "--deepspeed")
    written = json.loads((tmp_path / "config.json").read_text())
    for key in ("max_train_steps", "lr_warmup_steps", "checkpointing_steps", "validation_steps"):
        assert written[f"--{key}"] == numbers[key]
    assert f"ACCELERATE_CONFIG_PATH={tmp_path / 'a.yaml'}" in (tmp_path / "config.env").read_text()
    assert "zero_stage: 2" in (tmp_path / "a.yaml").read_text()


def test_config_for_another_family_than_the_caches_says_so(run, make_dataset):
    folder = make_dataset()
    run(backend, folder, "--cache-root", "cache")
    said = run(config, folder, "--preset", "flux-lora").stderr
    assert "keeps the latents of sd3 apart" in said
    assert "--model-family flux" in said
    run(backend, folder, "--cache-root", "cache", "--model-family", "flux")
    assert run(config, folder, "--preset", "flux-lora").stderr == ""


@pytest.mark.parametrize("captions", [0, 1])
def test_a_dataset_whose_captions_are_mostly_missing_is_checked_all_the_same(run, pictures, tmp_path, captions):
    (tmp_path / "src").mkdir()
    for number, name in enumerate(("dogs", "fig", "mountains", "dandelion")):
        shutil.copy(pictures / f"{name}.jpg", tmp_path / "src")
        if number < captions:
            (tmp_path / "src" / f"{name}.txt").write_text(
                "two dogs on a balcony\nwhite curtain, two dogs\ndogs in front of a wall"
            )
    crop_folder(tmp_path / "src", tmp_path / "out")
    said = run(check, "out", exit_code=1).stdout
    assert "no caption: " in said
    assert "fig.jpg" in said
    assert f"{4 - captions} findings, " in said
    assert ("3 captions a picture" in said) == bool(captions)
    assert json.loads(run(steps, "out", "--json").stdout)["max_train_steps"]


def test_a_first_run_that_was_interrupted_is_no_riddle(run, make_dataset):
    folder = make_dataset()
    (folder / ".datakit" / "journal.jsonl").write_bytes((folder / "manifest.jsonl").read_bytes())
    (folder / "manifest.jsonl").unlink()
    with pytest.raises(UsageError, match="was not finished: run the command that writes it again"):
        run(check, folder)


def test_config_names_what_it_leaves_out_where_asked_and_overwrites_nothing(run, tmp_path):
    result = run(config, "--concept", "48x5", "--output", "-")
    assert result.stderr == ""
    assert json.loads(result.stdout)["--model_family"] == "sd3"
    said = run(config, "--concept", "48x5", "--output", "-", "-v").stderr
    manual = run(config, "write", "--help").stdout
    for option in REMOVED:
        assert f"left out {option}" in said
        assert option in manual
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(UsageError, match="--overwrite"):
        run(config, "--concept", "48x5", "--env", "config.env")
    assert not (tmp_path / "config.env").exists()
    run(config, "write", "--concept", "48x5", "--overwrite")
    with pytest.raises(UsageError, match="sd3-lora sd3-full sdxl-lora flux-lora"):
        run(config, "--preset", "sd4", "--concept", "48x5", "--output", "-")


@pytest.mark.parametrize(
    "names",
    [("--output", "a", "--env", "./a"), ("--env", "link", "--accelerate", "real"), ("--accelerate", "config.json")],
)
def test_config_refuses_one_file_for_two(run, tmp_path, names):
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(UsageError, match="named for two"):
        run(config, "--concept", "48x5", *names)
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_config_writes_all_files_or_none(run, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="folder is a folder"):
        run(config, "--concept", "48x5", "--output", "folder", "--env", "e")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        run(config, "--concept", "48x5", "--output", "file/config.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    "wrong",
    [
        "--deepspeed",
        "--batch-size 0",
        "--gpus -1",
        "--accumulate 0",
        "--steps 0",
        "--epochs 0",
        "--epochs inf",
        "--repeats 0",
        f"--batch-size {10**30}",
        f"--steps {10**30}",
        "--env -",
    ],
)
def test_config_refuses_a_wrong_call(run, tmp_path, wrong):
    assert "Error: " in run(config, "--concept", "48x5", *wrong.split(), exit_code=2).stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "allowed"),
    [
        ("--learning-rate nan", "more than 0 and at most 1"),
        ("--learning-rate inf", "more than 0 and at most 1"),
        ("--learning-rate -1", "more than 0 and at most 1"),
        ("--learning-rate 0", "more than 0 and at most 1"),
        ("--epochs nan", "more than 0"),
        ("--epochs 1000000 --concept 999999999x9", "1000000000 at most"),
        ("--concept 0x5", "1 or more"),
        (f"--concept {'9' * 5000}x1", "nine digits"),
        ("--output-dir \udcff", "not in UTF-8"),
    ],
)
def test_config_says_what_a_number_may_be(run, tmp_path, wrong, allowed):
    with pytest.raises(UsageError, match=allowed):
        run(config, "--concept", "48x5", *wrong.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [steps, config])
def test_too_few_pictures_for_one_optimizer_step_end_with_1_and_a_sentence(run, make_dataset, command):
    folder = make_dataset(buckets=[BUCKETS[0]] * 4 + [BUCKETS[1]])
    assert "too few" not in run(command, folder, "--batch-size", 1).output
    said = run(command, folder, "--batch-size", 4, exit_code=1).stderr
    assert "too few pictures for one optimizer step of 4: out 1152x896" in said
    assert "out 1152x896" in run(command, folder, "--concept", "48x5", "--batch-size", 4, exit_code=1).stderr
    assert "too few pictures" in run(command, "--concept", "2x1", "--batch-size", 4, exit_code=1).stderr


def test_config_env_names_a_yaml_with_blanks_so_that_bash_reads_it_too(run, tmp_path):
    run(config, "--concept", "48x5", "--env", "config.env", "--accelerate", "my $files/a.yaml")
    assert f"export ACCELERATE_CONFIG_PATH='{tmp_path}/my $files/a.yaml'" in (tmp_path / "config.env").read_text()
    with pytest.raises(UsageError, match=r"cannot be named in config\.env"):
        run(config, "--concept", "48x5", "--env", "e", "--accelerate", "it's $5.yaml")


def test_the_overview_of_config_leads_to_its_options(run):
    overview = run(config, "--help").stdout
    assert "`datakit config write --help` for the presets" in " ".join(overview.split())
    assert "..." not in overview.partition("Commands:")[2]


@pytest.mark.parametrize("command", [config, *config.commands.values(), steps])
def test_help_fits_80_columns(run, command):
    shown = CliRunner().invoke(command, ["--help"], terminal_width=80, max_content_width=100).stdout
    assert max(map(len, shown.splitlines())) <= 80


def test_convert_reports_with_file_and_line(run, tmp_path):
    (tmp_path / "config.env").write_text("TRAIN_BATCH_SIZE=6 # each\nSEEDS=1\n")
    result = run(config, "convert", "config.env", exit_code=1)
    assert json.loads(result.stdout) == {"--train_batch_size": 6}
    assert "config.env:1: TRAIN_BATCH_SIZE" in result.stderr
    assert "config.env:2: SEEDS is no option" in result.stderr
    (tmp_path / "config.json").write_text(result.stdout)
    assert run(config, "convert", "config.json").stdout == "export TRAIN_BATCH_SIZE=6\n"


def test_convert_says_where_a_key_of_config_json_is_lost(run, tmp_path):
    (tmp_path / "config.json").write_text('{\n "--seed": 1,\n "seed": 2,\n "validation_prompt": "two  blanks"\n}')
    result = run(config, "convert", "config.json", exit_code=1)
    assert result.stdout == "export TRAINING_SEED=2\n"
    assert "config.json:3: seed was set to 1 in line 2" in result.stderr
    assert "config.json:4: validation_prompt" in result.stderr


def test_convert_does_not_replace_what_it_reads(run, tmp_path):
    (tmp_path / "config.env").write_text("TRAINING_SEED=1\n")
    with pytest.raises(UsageError, match="name another --output"):
        run(config, "convert", "config.env", "--output", "./config.env", "--overwrite")
    with pytest.raises(UsageError, match="cannot be read"):
        run(config, "convert", "gone.env")
    assert (tmp_path / "config.env").read_text() == "TRAINING_SEED=1\n"


@pytest.mark.parametrize("content", [b"\xff", b"[1]", b'{"a": 1e999}'])
def test_convert_refuses_what_is_no_config(run, tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.json"):
        run(config, "convert", "x.json")


@pytest.mark.parametrize("command", [backend, check, steps, verify, config, *config.commands.values()])
def test_every_command_and_option_has_help(command):
    assert command.help
    for parameter in command.params:
        assert parameter.param_type_name == "argument" or parameter.help


def test_the_commands_import_no_picture_library():
    heavy = "{'numpy', 'PIL', 'cv2', 'mediapipe', 'onnxruntime', 'tqdm', 'msgspec'}"
    code = f"import sys, datakit.cli.backend; sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True).stderr == ""


def test_a_backend_file_that_is_not_ours_or_was_edited_is_not_overwritten(run, make_dataset, tmp_path):
    folder = make_dataset()
    file = tmp_path / "multidatabackend.json"
    file.write_text("[]")
    with pytest.raises(UsageError, match="was not written by datakit, or edited since"):
        run(backend, folder, "--cache-root", "cache")
    run(backend, folder, "--cache-root", "cache", "--overwrite")
    run(backend, folder, "--cache-root", "elsewhere")
    assert "elsewhere" in file.read_text()
    file.write_text(file.read_text().replace("elsewhere", "edited"))
    with pytest.raises(UsageError, match="use --overwrite"):
        run(backend, folder, "--cache-root", "cache")


def test_a_dataset_that_changed_since_is_no_longer_proved(run, make_dataset):
    folder = make_dataset()
    run(backend, folder, "--cache-root", "cache")
    run(verify)
    manifest = folder / "manifest.jsonl"
    first, *rest = manifest.read_bytes().splitlines(keepends=True)
    record = json.loads(first)
    record["output_sha256"] = "0" * 64
    manifest.write_bytes(json.dumps(record).encode() + b"\n" + b"".join(rest))
    assert "the dataset has changed since" in run(verify, exit_code=1).output


def test_what_a_file_was_for_is_said_where_it_is_replaced(run, make_dataset):
    first, second = make_dataset("first"), make_dataset("second", copies=2)
    assert "note" not in run(backend, first, "--cache-root", "cache").stderr
    assert "note" not in run(backend, first, "--cache-root", "cache").stderr
    said = run(backend, second, "--cache-root", "cache")
    assert said.stderr.endswith(f"note: multidatabackend.json is replaced, which was for {first}\n")


def test_the_model_family_and_what_comes_next_are_said(run, make_dataset):
    folder = make_dataset()
    said = run(backend, folder, "--cache-root", "cache").stdout
    assert "\nfor sd3 (another: --model-family)\nnext: datakit config --backend-config multidatabackend.json\n" in said
    said = run(backend, folder, "--cache-root", "cache", "--model-family", "flux", "--output", "b.json").stdout
    assert "\nfor flux (another: --model-family)\nnext: datakit config --preset flux-lora --backend-config b.json\n" in said
    assert "\nfor sdxl (another: --model-family)\n" in run(backend, folder, "--cache-root", "cache", "--trainer", "kohya").stdout


def test_a_cache_root_among_pictures_or_that_cannot_be_made_is_said(run, make_dataset, tmp_path):
    folder = make_dataset()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    assert "note: photos holds pictures (a.jpg)" in run(backend, folder, "--cache-root", "photos").stderr
    assert "note: --cache-root /proc/x cannot be made here" in run(backend, folder, "--cache-root", "/proc/x").stderr
