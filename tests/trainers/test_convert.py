"""config.env and config.json into one another."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datakit.errors import UsageError
from datakit.trainers.simpletuner.config import ENVIRONMENT, REMOVED
from datakit.trainers.simpletuner.oldenv.convert import config_to_env, env_to_config, read_config, write_config

SIGNS = st.text(st.sampled_from("ab 7.-'\"#=+$`\\{}()é日\u00a0\n\t~;&!"), max_size=8)
NUMBERS = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.booleans() | NUMBERS | SIGNS | st.text(max_size=8)
OPTIONS = st.sampled_from(sorted({*ENVIRONMENT.values(), "lora_rank", "use_soft_min_snr"} - set(REMOVED))) | st.text(
    string.ascii_lowercase + "_", min_size=1, max_size=6
)


def as_text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


@given(st.dictionaries(OPTIONS, VALUES, max_size=5))
@example({"validation_prompt": "", "use_ema": False, "use_soft_min_snr": False, "gradient_checkpointing": False})
@example({"validation_prompt": 'a "red" car, 50% = $5 # of `it`', "tracker_run_name": "it's 日本", "lora_rank": 1e-05})
@example({"validation_prompt": "'", "x": "'", "y": '"', "z": "a+=b"})
def test_every_value_survives_there_and_back_or_is_named(config):
    text, notices = config_to_env(config)
    back, said = env_to_config(text)
    assert said == [], "what is written reads the same in bash and in SimpleTuner"
    left_out = {option for option in config if any(notice.message.startswith(f"{option}: ") for notice in notices)}
    assert {option: as_text(value) for option, value in back.items()} == {
        option: value.lower() if value.lower() in ("true", "false") else value
        for option, value in ((option, as_text(value)) for option, value in config.items() if option not in left_out)
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
        "learning_rate": "1e-4",
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


def test_names_that_would_be_dropped_silently_are_named():
    names = ["INSTANCE_PROMPT", "VAE_BATCH_SIZE", "MIN_SNR_GAMMA", "EMA_DECAY"]
    config, notices = convert("".join(f"export {name}=1\n" for name in names))
    assert config == {}
    assert notices == [(number, "dropped") for number in range(1, 5)]


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
    assert (
        text
        == 'export USE_BITFIT=true\nexport TRAINER_EXTRA_ARGS="--lora_rank=64 --vae_enable_tiling --use_soft_min_snr=false"\n'
    )
    assert notices == []


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
        ("MAX_NUM_STEPS=$((EPOCHS * 10))", {"max_train_steps": "$((EPOCHS * 10))"}, [(1, "arithmetic")]),
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


@pytest.mark.parametrize(
    "text", ["", "[1]", "[]", "3", '{"a": [1]}', '{"a": null}', '{"a": {"b": 1}}', '{"a": NaN}', '{"a": 1e999}', "{", "[" * 10**5]
)
def test_what_is_no_object_of_plain_values_is_refused(text):
    with pytest.raises(UsageError, match=r"JSON|line 1"):
        read_config(text)
