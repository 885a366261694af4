"""``datakit config``: options by name, presets, the launcher's layout, and checks of files that exist."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit.cli.backend import backend
from datakit.cli.config import config
from datakit.dataset.remembered import remember
from datakit.errors import UsageError
from datakit.trainers.simpletuner.config import ConfigOptions, Tracking, config_to_json, parse_options, trainer_config
from datakit.trainers.simpletuner.options import CURRENT, RELEASES, environment, options, refusals
from datakit.trainers.simpletuner.presets import PRESETS
from datakit.trainers.training import Batching, interval, paced, plan_training

CALL = ("--concept", "476x5", "--steps", "24000", "--batch-size", "6")


def written(run, *asked):
    text = run(config, *CALL, "--output", "-", *asked).stdout
    return {name.removeprefix("--"): value for name, value in json.loads(text).items()}


def test_the_table_of_options_knows_every_release():
    assert {release for option in options().values() for release in option.kinds} == set(RELEASES)
    assert options()["snr_gamma"].kinds["2024-10"].takes(5.5)
    assert not options()["snr_gamma"].kinds["4.8.0"].takes(5.0)
    assert options()["allow_tf32"].unknown_to() == list(CURRENT)
    assert {str(option.latest) for option in options().values()} >= {"true or false", "a whole number", "a number", "some text"}
    for known in environment().values():
        assert known.option.partition("=")[0] in options()
        assert set(known.releases) <= set(RELEASES)


@pytest.mark.parametrize("preset", PRESETS)
def test_current_releases_take_every_option_of_every_preset(preset):
    training = plan_training([(48, 5)], Batching(6), epochs=10)
    for name, value in trainer_config(ConfigOptions(preset), training, Batching(6)).items():
        assert refusals(name, value, CURRENT) == []


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("vae_batch_size=4", 4),
        ("--vae_batch_size=4", 4),
        ("snr_gamma=5", 5),
        ("validation_guidance_rescale=0.7", 0.7),
        ("adam_epsilon=1e-8", 1e-8),
        ("use_dora=true", True),
        ("use_dora=False", False),
        ("lr_scheduler=constant", "constant"),
        ("instance_prompt=k4s4 =", "k4s4 ="),
        ("hub_model_id=007", "007"),
        ("text_encoder_batch_size=4", 4),
    ],
)
def test_a_setting_has_the_kind_of_its_option(setting, value):
    (found,) = parse_options([setting]).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("vae_batch_size", "write key=value"),
        ("vae_batch=4", "did you mean vae_batch_size"),
        ("snr=4", "did you mean snr_gamma"),
        ("qqqqqqq=1", "no option of SimpleTuner"),
        ("vae_batch_size=4.5", "a whole number"),
        ("vae_batch_size=1_0", "a whole number"),
        ("adam_epsilon=nan", "a number"),
        ("use_dora=maybe", "true or false"),
        ("lr_scheduler=cosinus", "linear or sine or cosine"),
        ("allow_tf32=true", "disable_tf32"),
        ("validation_torch_compile_mode=fast", "default or reduce-overhead or max-autotune"),
        ("flow_matching_loss=sd35", "only of 2024-10"),
        ("max_train_steps=4", "use --epochs or --steps"),
        ("lora_rank=4", "use --rank"),
        ("num_train_epochs=4", "writes steps"),
        ("aspect_bucket_alignment=8", "proved for 64"),
    ],
)
def test_a_setting_that_cannot_be_used_says_why(setting, said):
    with pytest.raises(UsageError, match=said):
        parse_options([setting])


@given(st.text())
def test_no_setting_breaks_anything(text):
    try:
        found = parse_options([text])
    except UsageError:
        return
    json.loads(config_to_json(found).decode())


def test_an_option_that_one_current_release_ends_at_is_written_and_said(run):
    said = run(config, *CALL, "--output", "-", "--set", "text_encoder_batch_size=4")
    assert json.loads(said.stdout)["--text_encoder_batch_size"] == 4
    assert "text_encoder_batch_size: in SimpleTuner 3.1.6 it is no option, and ends the run" in said.stderr


def test_options_of_the_command_line_are_taken_instead_of_the_presets(run):
    given_all = written(
        run, "--rank", "32", "--checkpoint-every", "1 epoch", "--validation-every", "0.5 epochs", "--keep-checkpoints", "60",
        "--tracker", "none", "--name", "fantasy", "--set", "validation_seed=7", "--learning-rate", "2e-4",
    )  # fmt: skip
    assert given_all["lora_rank"] == given_all["lora_alpha"] == 32
    assert (given_all["checkpointing_steps"], given_all["validation_steps"], given_all["checkpoints_total_limit"]) == (
        397,
        198,
        60,
    )
    assert (given_all["report_to"], given_all["tracker_run_name"]) == ("none", "fantasy")
    assert (given_all["validation_seed"], given_all["learning_rate"]) == (7, 2e-4)
    assert given_all["output_dir"] == os.path.abspath("output/fantasy")
    assert written(run, "--rank", "32", "--alpha", "16")["lora_alpha"] == 16
    assert written(run, "--alpha", "16")["lora_rank"] == 64


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--preset", "sd3-full", "--rank", "8"), "has no rank"),
        (("--tracker", "comet"), "wandb tensorboard none"),
        (("--name", "a b"), "name of a folder"),
        (("--name", "default"), "name of a folder"),
        (("--name", ".."), "name of a folder"),
        (("--set", "instance_prompt=\udcff"), "not in UTF-8"),
        (("--checkpoint-every", "0"), "such as 400"),
        (("--checkpoint-every", "0.5"), "such as 400"),
        (("--validation-every", "two epochs"), "such as 400"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(run, wrong, said):
    with pytest.raises(UsageError, match=said):
        run(config, *CALL, "--output", "-", *wrong)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("400", 400),
        ("1 epoch", 397),
        ("1epoch", 397),
        ("0.5 epochs", 198),
        (".5 epochs", 198),
        ("2 epochs", 793),
        ("0.001 epochs", 1),
    ],
)
def test_an_interval_is_steps_or_epochs(text, steps):
    training = plan_training([(476, 5)], Batching(6), epochs=10)
    assert interval(text, training) == steps
    assert paced(training, text, None).checkpointing_steps == steps
    assert paced(training, None, None) == training


def test_into_lays_out_what_the_launcher_expects(run, make_dataset, tmp_path):
    run(backend, make_dataset(), "--cache-root", "cache")
    run(config, *CALL, "--preset", "tutorial-full", "--into", "st", "--name", "fantasy")
    folder = tmp_path / "st" / "config" / "fantasy"
    launcher = (tmp_path / "st" / "config" / "config.env").read_text()
    assert "export ENV=fantasy\n" in launcher
    assert "export CONFIG_BACKEND=json\n" in launcher
    assert f"export ACCELERATE_CONFIG_PATH={folder}/accelerate.yaml\n" in launcher
    options_written = json.loads((folder / "config.json").read_text())
    assert Path(options_written["--data_backend_config"]).read_bytes() == (tmp_path / "multidatabackend.json").read_bytes()
    assert options_written["--data_backend_config"] == f"{folder}/multidatabackend.json"
    assert options_written["--output_dir"] == f"{tmp_path}/st/output/fantasy"
    assert "offload_optimizer_device: cpu" in (folder / "accelerate.yaml").read_text()
    # A second training lies beside it.
    run(config, *CALL, "--into", "st", "--name", "portraits", "--deepspeed")
    assert "export ENV=portraits\n" in (tmp_path / "st" / "config" / "config.env").read_text()
    assert "offload_optimizer_device: none" in (tmp_path / "st/config/portraits/accelerate.yaml").read_text()
    assert (folder / "config.json").is_file()


def test_the_steps_are_those_of_the_datasets_that_the_backend_file_names(run, make_dataset, tmp_path):
    """Not of what was cropped since; and where others are named, that is said."""
    first, second = make_dataset("first"), make_dataset("second", copies=3)
    run(backend, first, "--cache-root", "cache")
    remember(tmp_path, "crop", second)
    said = run(config, "--epochs", "1")
    assert "using first/ (from multidatabackend.json); the last crop wrote second/: to train that" in said.stderr
    assert json.loads((tmp_path / "config.json").read_text())["--max_train_steps"] == 8
    said = run(config, "second", "--epochs", "1")
    assert "multidatabackend.json trains first/, and the steps are counted for second/" in said.stderr
    assert json.loads((tmp_path / "config.json").read_text())["--max_train_steps"] == 24
    run(backend, second, "--cache-root", "cache")
    assert run(config, "--epochs", "1").stderr.startswith("using second/ (from the last crop)\n")


def test_into_without_a_name_and_without_datasets_says_what_is_missing(run, tmp_path):
    said = run(config, *CALL, "--into", "st").stderr
    assert f"write it with `datakit backend --output {tmp_path}/st/config/multidatabackend.json`" in said
    assert "ENV=" not in (tmp_path / "st" / "config" / "config.env").read_text()
    assert json.loads((tmp_path / "st/config/config.json").read_text())["--output_dir"] == f"{tmp_path}/st/output"
    for other in (("--output", "x.json"), ("--env", "e"), ("--accelerate", "a")):
        assert "leave out --output" in run(config, *CALL, "--into", "st", *other, exit_code=2).stderr


def test_a_file_edited_by_hand_is_shown_with_its_difference_and_kept(run, datakit, tmp_path):
    run(config, *CALL, "--into", "st", "--name", "fantasy")
    edited = tmp_path / "st" / "config" / "fantasy" / "config.json"
    edited.write_text(edited.read_text().replace('"--seed": 42', '"--seed": 43'))
    mine = edited.read_bytes()
    said = datakit("config", *CALL, "--into", "st", "--name", "fantasy")
    assert said.returncode == 2
    assert "--overwrite" in said.stderr
    assert '-  "--seed": 43,\n+  "--seed": 42,' in said.stderr
    assert edited.read_bytes() == mine
    run(config, *CALL, "--into", "st", "--name", "fantasy", "--overwrite")
    assert json.loads(edited.read_text())["--seed"] == 42


def check(run, tmp_path, content, *asked, found=True):
    (tmp_path / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return run(config, "check", "config.json", *asked, exit_code=1 if found else 0).stdout


def whole(**more):
    training = plan_training([(48, 5)], Batching(6), epochs=10)
    return {**trainer_config(ConfigOptions(tracking=Tracking(name="x")), training, Batching(6)), **more}


def test_check_takes_what_datakit_writes(run, tmp_path):
    assert "good for SimpleTuner 3.1.6 and 4.8.0" in check(run, tmp_path, whole(), found=False)
    assert "good for SimpleTuner 2024-10" in check(run, tmp_path, whole(), "--release", "2024-10", found=False)


def test_check_takes_a_number_in_quotes_and_what_is_null(run, tmp_path):
    quoted = whole(train_batch_size="6", learning_rate="1e-4", seed=None, ema_decay=" .5 ")
    assert "good for" in check(run, tmp_path, quoted, found=False)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"allow_tf32": True}, "in SimpleTuner 3.1.6 and 4.8.0 it is no option, and ends the run: take it out; TF32"),
        ({"vae_batchsize": 4}, "did you mean vae_batch_size?"),
        ({"text_encoder_batch_size": 4}, "in SimpleTuner 3.1.6 it is no option"),
        ({"validation_torch_compile": False}, "in SimpleTuner 4.8.0 it is no option"),
        ({"snr_gamma": 5.0}, "it is a whole number, and 5.0 ends the run"),
        ({"lr_scheduler": "cosinus"}, "it is linear or sine or"),
        ({"use_dora": "yes, please"}, "it is true or false"),
        ({"train_batch_size": "6.0"}, 'it is a whole number, and "6.0" ends the run'),
        ({"learning_rate": "fast"}, 'it is a number, and "fast" ends the run'),
        ({"webhook_config": {"a": 1}}, "a list or an object"),
        ({"repeats": 5}, "5 is dropped without a word"),
        ({"gradient_checkpointing": "false"}, '"false" is dropped without a word'),
        ({"hub_model_id": False}, "false becomes that word"),
        ({"hub_model_id": "true"}, 'it is some text, and "true" ends the run'),
        ({"num_train_epochs": 3}, "max_train_steps and num_train_epochs are both above 0"),
        ({"model_type": "full"}, "lora_rank says nothing"),
        ({"checkpoint_step_interval": 7}, "one option with two values"),
        ({"metadata_update_interval": 30}, "less than 60 seconds"),
    ],
)
def test_check_names_what_a_release_would_not_take(run, tmp_path, more, said):
    assert said in check(run, tmp_path, whole(**more))


def test_what_the_commit_of_october_2024_does_with_false_is_told_apart():
    assert refusals("use_dora", False, RELEASES) == []
    assert refusals("gradient_checkpointing", False, RELEASES) == []
    assert refusals("validation_torch_compile", False, RELEASES) == ["in SimpleTuner 4.8.0 it is no option, and ends the run"]
    assert refusals("ema_foreach_disable", False, ["2024-10"]) == ["in SimpleTuner 2024-10 false is dropped without a word"]
    assert refusals("use_dora", 1, RELEASES) == ["in SimpleTuner 2024-10 it is true or false, and 1 ends the run"]
    assert refusals("no_option", "false", ["4.8.0"]) == ['in SimpleTuner 4.8.0 "false" is dropped without a word']


def test_check_reads_what_is_missing_lines_and_env_files(run, tmp_path):
    assert "model_family is missing" in check(run, tmp_path, {"seed": 1})
    assert "config.json:2: it" not in check(run, tmp_path, '{"seed": 1,\n"allow_tf32": true}')
    assert "config.json:2: allow_tf32" in check(run, tmp_path, '{"seed": 1,\n"allow_tf32": true}')
    assert "config.json:1: SimpleTuner cannot read a file with a comma" in check(run, tmp_path, '{"seed": 1,}')
    (tmp_path / "old.env").write_text("VAE_BATCH_SIZE=4\n")
    assert "old.env:1: VAE_BATCH_SIZE" in run(config, "check", "old.env", exit_code=1).stdout
    assert "use_ema ends the run in SimpleTuner 2024-10" in check(run, tmp_path, whole(use_ema=True), "--release", "2024-10")
    with pytest.raises(UsageError, match=r"2024-10 3\.1\.6 4\.8\.0"):
        run(config, "check", "config.json", "--release", "5")
    with pytest.raises(UsageError, match="cannot be read"):
        run(config, "check", "gone.json")


def test_check_names_buckets_smaller_than_a_batch(run, make_dataset, tmp_path):
    run(backend, make_dataset(), "--cache-root", "cache")
    file = str(tmp_path / "multidatabackend.json")
    assert "use a smaller batch" in check(run, tmp_path, whole(data_backend_config=file, train_batch_size=50))
    check(run, tmp_path, whole(data_backend_config=file, train_batch_size=1), found=False)


def test_a_check_of_an_env_file_is_about_the_releases_asked_for(run, tmp_path):
    old = tmp_path / "old.env"
    old.write_text("ALLOW_TF32=true\nQUANTIZE_VIA=cpu\n")
    said = {
        release: run(config, "check", old, "--release", release, exit_code=1).stdout for release in ("2024-10", "3.1.6", "4.8.0")
    }
    assert {release for release, text in said.items() if "allow_tf32 no longer exists" in text} == {"3.1.6", "4.8.0"}
    assert {release for release, text in said.items() if "QUANTIZE_VIA: of SimpleTuner's releases" in text} == {
        "2024-10",
        "3.1.6",
    }


@pytest.mark.parametrize("name", [None, "fantasy"])
def test_of_a_launcher_s_env_the_config_that_it_chooses_is_checked(run, tmp_path, name):
    run(config, "--concept", "48x5", "--into", "st", *(["--name", name] if name else []))
    result = run(config, "check", tmp_path / "st" / "config" / "config.env")
    assert f"{tmp_path / 'st' / 'config' / (name or '') / 'config.json'}: all of its" in result.stdout
    (tmp_path / "st" / "config" / (name or "") / "config.json").unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        run(config, "check", tmp_path / "st" / "config" / "config.env")


def test_an_output_folder_inside_a_dataset_is_refused_and_found(run, make_dataset, tmp_path):
    folder = make_dataset()
    for asked in (("--output-dir", folder / "models"), ("--into", folder), ("--output-dir", folder)):
        with pytest.raises(UsageError, match="would train on the pictures of its own validations"):
            run(config, folder, *asked)
    run(backend, folder, "--cache-root", "cache")
    run(config, folder)
    file = tmp_path / "config.json"
    content = file.read_text()
    file.write_text(content.replace(f"{tmp_path}/output", f"{folder}/models"))
    assert "lies inside the dataset" in run(config, "check", file, exit_code=1).stdout
    file.write_text(content)
    assert "lies inside the dataset" not in run(config, "check", file).stdout
