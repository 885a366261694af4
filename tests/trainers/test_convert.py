"""config.env and config.json into one another."""

from __future__ import annotations

import json
import math
import string
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datakit.errors import UsageError
from datakit.trainers.simpletuner.oldenv.convert import config_to_env, env_to_config, is_for_launcher, read_config, write_config
from datakit.trainers.simpletuner.options import REMOVED, environment, options

SIGNS = st.text(st.sampled_from("ab 7.-'\"#=+$`\\{}()é日\u00a0\n\t~;&!"), max_size=8)
NUMBERS = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.booleans() | NUMBERS | SIGNS | st.text(max_size=8)
NAMED = {known.option for name, known in environment().items() if not is_for_launcher(name) and "=" not in known.option}
OPTIONS = st.sampled_from(sorted({*NAMED, "lora_rank", "use_soft_min_snr"} - set(REMOVED))) | st.text(
    string.ascii_lowercase + "_", min_size=1, max_size=6
)


def as_text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_read(option, value):
    """Return a value as the trainer reads it: a word for true and false, a number where the option takes one."""
    text, kind = as_text(value), options()[option].latest.word if option in options() else ""
    if kind == "switch" and text in ("0", "1"):
        text = "true" if text == "1" else "false"
    if kind in ("int", "float"):
        with suppress(ValueError):
            if not math.isnan(float(text)):  # it would be unlike itself
                return float(text)
    return text.lower() if text.lower() in ("true", "false") else text


@given(st.dictionaries(OPTIONS, VALUES, max_size=5))
@example({"validation_prompt": "", "use_ema": False, "use_soft_min_snr": False, "gradient_checkpointing": False})
@example({"validation_prompt": 'a "red" car, 50% = $5 # of `it`', "tracker_run_name": "it's 日本", "lora_rank": 1e-05})
@example({"validation_prompt": "'", "x": "'", "y": '"', "z": "a+=b"})
@example({"sdnq_use_hadamard": 0, "use_ema": 1})
def test_every_value_survives_there_and_back_or_is_named(config):
    text, notices = config_to_env(config)
    back, said = env_to_config(text)
    assert {notice.kind for notice in said} <= {"release"}, "what is written reads the same in bash and in SimpleTuner"
    left_out = {option for option in config if any(notice.message.startswith(f"{option}: ") for notice in notices)}
    # A switch that is off by itself is not carried where a release would end at it.
    left_out |= {option for option, value in config.items() if as_text(value).lower() == "false" and option not in back}
    assert {option: as_read(option, value) for option, value in back.items()} == {
        option: as_read(option, value) for option, value in config.items() if option not in left_out
    }
    assert read_config(write_config(back))[0] == back


@given(
    st.sampled_from(["validation_prompt", "tracker_run_name", "hub_model_id"]),
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="'")), min_size=1)
    .map(lambda words: " ".join(filter(None, words)))
    .filter(lambda text: "+=" not in text and not (text[:1] == text[-1:] == '"')),
)
def test_any_text_with_single_blanks_and_without_single_quotes_survives(option, text):
    written, notices = config_to_env({option: text})
    assert notices == []
    assert {option: as_text(value) for option, value in env_to_config(written)[0].items()} in (
        {option: text},
        {option: text.lower()},
    )


def convert(text):
    config, notices = env_to_config(text)
    return config, [(notice.line, notice.kind) for notice in notices]


def test_values_keep_their_kind():
    text = 'export TRAIN_BATCH_SIZE=4\nLEARNING_RATE=1e-4\nUSE_EMA=false\nVALIDATION_PROMPT="a photo, of # x"\nTRACKER_RUN_NAME=007\nVALIDATION_GUIDANCE=5.5\n'
    assert convert(text)[0] == {
        "train_batch_size": 4,
        "learning_rate": 0.0001,
        "use_ema": False,
        "validation_prompt": "a photo, of # x",
        "tracker_run_name": "007",
        "validation_guidance": 5.5,
    }


def test_the_three_failure_cases_are_resolved_and_reported_with_their_lines():
    text = "# a comment line\nTRAIN_BATCH_SIZE=6  # per GPU\nOUTPUT_DIR=$HOME_DIR/out\nN=48\nR=5\nMAX_NUM_STEPS=$(($N * R / 6 * 10))\nHUB_MODEL_NAME=${N}x\n"
    config, notices = convert(text)
    assert config == {"train_batch_size": 6, "output_dir": "$HOME_DIR/out", "max_train_steps": 400, "hub_model_id": "48x"}
    assert notices == [(2, "comment"), (3, "reference"), (4, "dropped"), (5, "dropped"), (6, "arithmetic"), (7, "reference")]


def test_single_quotes_are_literal():
    assert convert("VALIDATION_PROMPT='costs $HOME # really'") == ({"validation_prompt": "costs $HOME # really"}, [])


def test_names_that_would_be_dropped_silently_are_carried_over_where_config_json_knows_them():
    names = ["INSTANCE_PROMPT", "VAE_BATCH_SIZE", "MIN_SNR_GAMMA", "EMA_DECAY"]
    config, notices = convert("".join(f"export {name}=1\n" for name in names) + "PURE_BF16=true\nmin_snr_gamma=1\n")
    assert config == {"instance_prompt": 1, "vae_batch_size": 1, "snr_gamma": 1, "ema_decay": 1}
    assert notices == [(1, "carried"), (2, "carried"), (3, "carried"), (4, "carried"), (5, "dropped"), (6, "dropped")]


def test_removed_launcher_and_broken_lines_are_told_apart():
    config, notices = convert("USE_XFORMERS=true\nALLOW_TF32=true\nCONFIG_BACKEND=env\nnonsense\nUSE_BITFIT=true\n")
    assert config == {"layer_freeze_strategy": "bitfit"}
    assert notices == [(1, "removed"), (2, "removed"), (3, "launcher"), (4, "malformed")]


def test_extra_arguments_and_appending():
    text = 'TRAINER_EXTRA_ARGS="--lora_rank=64 --report_to none"\nTRAINER_EXTRA_ARGS+=" --use_soft_min_snr --allow_tf32"\n'
    config, notices = convert(text)
    assert config == {"lora_rank": 64, "report_to": "none", "use_soft_min_snr": True}
    assert notices == [(2, "removed")]


def test_options_without_a_name_of_their_own_become_extra_arguments():
    text, notices = config_to_env(
        {"--lora_rank": 64, "--vae_enable_tiling": True, "--use_soft_min_snr": False, "--layer_freeze_strategy": "bitfit"}
    )
    assert text == 'export USE_BITFIT=true\nexport TRAINER_EXTRA_ARGS="--lora_rank=64 --vae_enable_tiling"\n'
    # The commit of October 2024 ends at a switch with a value.
    assert [(notice.kind, notice.message.partition(":")[0]) for notice in notices] == [("release", "use_soft_min_snr")]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("validation_prompt", 'it\'s "hi"'),
        ("validation_prompt", '"hi"'),
        ("validation_prompt", "a+=b"),
        ("validation_prompt", "a\x00b"),
        ("lora_rank", ""),
        ("no option", 1),
        ("validation_prompt", "two  blanks"),
        ("caption_strategy_x", "a b"),
        ("allow_tf32", True),
    ],
)
def test_what_does_not_survive_is_left_out_and_named(key, value):
    text, notices = config_to_env({key: value})
    assert text == ""
    assert len(notices) == 1


def test_nested_parentheses():
    assert convert("MAX_NUM_STEPS=$((2*(3+4)))")[0] == {"max_train_steps": 14}


@pytest.mark.parametrize(
    ("text", "config", "notices"),
    [
        (r'VALIDATION_PROMPT="say \"hi\""', {"validation_prompt": 'say "hi"'}, [(1, "differs")]),
        ('OUTPUT_DIR="out"put', {"output_dir": "output"}, [(1, "differs")]),
        ('OUTPUT_DIR="a" b', {"output_dir": '"a" b'}, [(1, "malformed")]),
        ("VALIDATION_PROMPT=a photo", {"validation_prompt": "a photo"}, [(1, "malformed")]),
        ("OUTPUT_DIR = out", {"output_dir": "out"}, [(1, "malformed")]),
        ("TRAIN_BATCH_SIZE=1 TRAINING_SEED=2", {"train_batch_size": 1, "seed": 2}, [(1, "differs")]),
        ("TRAIN_BATCH_SIZE=1; TRAINING_SEED=2", {"train_batch_size": 1, "seed": 2}, [(1, "differs")]),
        ("OUTPUT_DIR=a HUB_MODEL_NAME=${OUTPUT_DIR:-z}", {"output_dir": "a", "hub_model_id": "a"}, [(1, "reference"), (1, "differs")]),
        ("export OUTPUT_DIR=a HUB_MODEL_NAME=${OUTPUT_DIR:-z}", {"output_dir": "a", "hub_model_id": "z"}, [(1, "reference"), (1, "differs")]),
        ("TRAIN_BATCH_SIZE=1;", {"train_batch_size": 1}, [(1, "differs")]),
        ("OUTPUT_DIR=$(pwd)/out", {"output_dir": "$(pwd)/out"}, [(1, "command")]),
        ('OUTPUT_DIR="`pwd`/out"', {"output_dir": "`pwd`/out"}, [(1, "command")]),
        ("OUTPUT_DIR=${X:-y}", {"output_dir": "y"}, [(1, "reference")]),
        ("OUTPUT_DIR=a\nTRACKER_RUN_NAME=${OUTPUT_DIR:-y}", {"output_dir": "a", "tracker_run_name": "a"}, [(2, "reference")]),
        ("OUTPUT_DIR=${X%.*}", {"output_dir": "${X%.*}"}, [(1, "reference")]),
        ("OUTPUT_DIR=~/out", {"output_dir": "~/out"}, [(1, "reference")]),
        ("OUTPUT_DIR=$1", {"output_dir": "$1"}, [(1, "reference")]),
        ("OUTPUT_DIR=a\\\nb\nTRAINING_SEED=1", {"output_dir": "ab", "seed": 1}, [(1, "differs")]),
        ('TRAINER_EXTRA_ARGS="--a=1 \\\n --b=2"\nX=1', {"a": 1, "b": 2}, [(1, "differs"), (3, "dropped")]),
        ('TRAINER_EXTRA_ARGS="--a=1\n--b=2"', {"a": 1, "b": 2}, [(1, "differs")]),
        ("OUTPUT_DIR=bob's\nTRACKER_RUN_NAME=it's", {"output_dir": "bob's", "tracker_run_name": "it's"}, [(1, "malformed"), (2, "malformed")]),
        ("\ufeffTRAINING_SEED=1", {"seed": 1}, [(1, "malformed")]),
        ("ENVIRONMENT=default\nENV=default", {}, [(1, "dropped"), (2, "launcher")]),
        ("TRAINING_SEED=1\nTRAINING_SEED=2", {"seed": 2}, [(2, "duplicate")]),
        ('TRAINER_EXTRA_ARGS="--seed=2"\nTRAINING_SEED=1', {"seed": 2}, [(1, "duplicate")]),
        ("TRAINER_EXTRA_ARGS=\"--p='a b c' --q=1\"", {"p": "a b c", "q": 1}, [(1, "differs")]),
        ('TRAINER_EXTRA_ARGS="--p a b"', {"p": "a"}, [(1, "malformed")]),
        ('TRAINER_EXTRA_ARGS="--p="', {"p": ""}, [(1, "differs")]),
        ("TRAINER_EXTRA_ARGS=--a\nTRAINER_EXTRA_ARGS+=--b", {"a": True, "b": True}, [(2, "differs")]),
        ("USE_GRADIENT_CHECKPOINTING=false", {"gradient_checkpointing": False}, [(1, "differs")]),
        ("USE_BITFIT=maybe", {}, [(1, "malformed")]),
        ('VALIDATION_PROMPT="two  blanks"', {"validation_prompt": "two  blanks"}, [(1, "differs")]),
        ("VALIDATION_PROMPT=\"'a'\"", {"validation_prompt": "'a'"}, [(1, "differs")]),
        ("MAX_NUM_STEPS=$((EPOCHS * 10))", {"max_train_steps": "$((EPOCHS * 10))"}, [(1, "arithmetic"), (1, "release")]),
        ("HUB_MODEL_NAME=\r\nTRAINING_SEED=1\r\n", {"hub_model_id": "", "seed": 1}, []),
        ("; TRAINING_SEED=1", {}, [(1, "malformed")]),
        ("export", {}, []),
    ],
)  # fmt: skip
def test_nothing_is_lost_or_read_otherwise_in_silence(text, config, notices):
    assert convert(text) == (config, notices)


def test_a_key_that_stands_twice_is_reported_at_its_line():
    config, lines, notices = read_config('{\n  "--seed": 1,\n  "--output_dir": "\\"seed\\": 3",\n  "seed": 2\n}')
    assert config == {"seed": 2, "output_dir": '"seed": 3'}
    assert lines == {"seed": 4, "output_dir": 3}
    assert [(notice.line, notice.kind) for notice in notices] == [(4, "duplicate")]
    assert "1 in line 2" in notices[0].message


def test_a_byte_order_mark_is_taken_off_config_json():
    config, _, notices = read_config('\ufeff{"seed": 1}')
    assert config == {"seed": 1}
    assert [(notice.line, notice.kind) for notice in notices] == [(1, "malformed")]


@pytest.mark.parametrize("text", ["", "[1]", "[]", "3", '{"a": NaN}', '{"a": 1e999}', "{", "[" * 10**5])
def test_what_is_no_object_of_plain_values_is_refused(text):
    with pytest.raises(UsageError, match=r"JSON|line 1"):
        read_config(text)


def test_a_switch_that_a_release_does_not_know_is_left_out_where_it_is_off():
    config, notices = convert("VALIDATION_TORCH_COMPILE=false\nTRAINING_NUM_PROCESSES=2\nDELETE_SMALL_IMAGES=0\n")
    assert config == {"delete_unwanted_images": False}
    assert notices == [(1, "release"), (1, "release"), (2, "launcher"), (3, "carried")]
    config, notices = env_to_config("VALIDATION_TORCH_COMPILE=true")
    assert config == {"validation_torch_compile": True}
    assert "in SimpleTuner 4.8.0 it is no option, and ends the run" in notices[-1].message


def test_a_switch_that_is_on_by_itself_is_turned_off_and_the_release_that_ends_there_is_named():
    text, notices = config_to_env({"compress_disk_cache": False, "delete_unwanted_images": False, "use_ema": False})
    assert text == "export USE_EMA=false\nexport TRAINER_EXTRA_ARGS=--compress_disk_cache=false\n"
    assert [notice.message.partition("; ")[2] for notice in notices] == ["", "left out"]
    assert "2024-10 ends at --compress_disk_cache=false" in notices[0].message


def test_names_that_only_some_releases_read_are_carried_over_and_those_releases_named():
    config, notices = env_to_config(
        "QUANTIZE_VIA=cpu\nVALIDATE_AFTER_STEP=100\nTEXT_ENCODER_BATCH_SIZE=4\nPUSH_TO_HUB_BACKGROUND=true\n"
    )
    assert config == {
        "quantize_via": "cpu",
        "validate_after_step": 100,
        "text_encoder_batch_size": 4,
        "push_to_hub_background": True,
    }
    assert {notice.kind for notice in notices} == {"release"}
    said = "\n".join(f"{notice.line}: {notice.message}" for notice in notices)
    assert "1: QUANTIZE_VIA: of SimpleTuner's releases 4.8.0 read it from config.env, not 2024-10 and 3.1.6" in said
    assert "2: VALIDATE_AFTER_STEP: in SimpleTuner 3.1.6 it is no option, and ends the run; carried over" in said
    assert "4: PUSH_TO_HUB_BACKGROUND: of SimpleTuner's releases 3.1.6 and 4.8.0 read it from config.env, not 2024-10" in said


def test_references_of_4_8_0_are_resolved_where_the_file_sets_them():
    config, notices = env_to_config("TRACKER_RUN_NAME=run-{env:MODEL_TYPE}\nMODEL_TYPE=lora\nOUTPUT_DIR={env:HOME}/out\n")
    assert config == {"tracker_run_name": "run-lora", "model_type": "lora", "output_dir": "{env:HOME}/out"}
    assert [(notice.line, notice.kind) for notice in notices] == [(1, "reference"), (3, "reference")]
    assert "HOME is not set in this file" in notices[1].message


def test_debug_extra_args_reach_config_json():
    config, notices = convert('DEBUG_EXTRA_ARGS="--report_to=wandb"\nTRAINER_EXTRA_ARGS="--lora_rank=8"\n')
    assert config == {"report_to": "wandb", "lora_rank": 8}
    assert notices == [(1, "carried")]
    assert convert('DEBUG_EXTRA_ARGS=""') == ({}, [])


@pytest.mark.parametrize("end", [",}", ",\n}\n", " , \n } "])
def test_a_comma_before_the_last_bracket_is_taken_off_and_said(end):
    config, _, notices = read_config('{"seed": 1,\n "tracker_run_name": ",}"' + end)
    assert config == {"seed": 1, "tracker_run_name": ",}"}
    assert [(notice.line, notice.kind) for notice in notices] == [(2, "malformed")]
    with pytest.raises(json.JSONDecodeError):
        json.loads('{"seed": 1' + end)


def test_lists_and_objects_are_passed_over_and_named_and_what_says_nothing_is_left_out():
    config, lines, notices = read_config('{"a": [1, {"x": 2}],\n"b": {"c":\n1},\n"seed": 3, "d": 1, "d": null, "e": null}')
    assert config == {"seed": 3}
    assert lines["seed"] == 4
    assert [(notice.line, notice.kind, notice.message[0]) for notice in notices] == [
        (1, "unwritable", "a"),
        (2, "unwritable", "b"),
    ]
