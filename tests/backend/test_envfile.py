"""config.env and config.json into one another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit.backend.bash import calculate
from datakit.backend.convert import config_to_env, env_to_config
from datakit.backend.simpletuner_config import ENVIRONMENT, REMOVED

WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="'\"$`\\#+=!"), min_size=1, max_size=8
)
VALUES = st.one_of(st.booleans(), st.integers(-(10**9), 10**9), st.lists(WORDS, min_size=1, max_size=3).map(" ".join))
OPTIONS = st.sampled_from(sorted(set(ENVIRONMENT.values()) - set(REMOVED)))


@given(st.dictionaries(OPTIONS, VALUES))
def test_there_and_back_again(config):
    text, notices = config_to_env(config)
    assert notices == []
    once, notices = env_to_config(text)
    assert notices == []
    assert {key: str(value).lower() for key, value in once.items()} == {key: str(value).lower() for key, value in config.items()}
    assert env_to_config(config_to_env(once)[0])[0] == once


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
    assert config == {"train_batch_size": 6, "output_dir": "/out", "max_train_steps": 400, "hub_model_id": "48x"}
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
    text = 'TRAINER_EXTRA_ARGS="--lora_rank=64 --report_to none"\nTRAINER_EXTRA_ARGS+="--use_soft_min_snr --allow_tf32"\n'
    config, notices = convert(text)
    assert config == {"lora_rank": 64, "report_to": "none", "use_soft_min_snr": True}
    assert notices == [(2, "removed")]


def test_options_without_a_name_of_their_own_become_extra_arguments():
    text, notices = config_to_env(
        {"--lora_rank": 64, "--vae_enable_tiling": True, "--use_soft_min_snr": False, "--layer_freeze_strategy": "bitfit"}
    )
    assert text == 'export USE_BITFIT=true\nexport TRAINER_EXTRA_ARGS="--lora_rank=64 --vae_enable_tiling"\n'
    assert notices == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("validation_prompt", 'say "hi"'),
        ("validation_prompt", "two  blanks"),
        ("caption_strategy_x", "a b"),
        ("allow_tf32", True),
    ],
)
def test_what_does_not_survive_is_left_out_and_named(key, value):
    text, notices = config_to_env({key: value})
    assert text == ""
    assert len(notices) == 1


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("2+3*4", 14),
        ("(2+3)*4", 20),
        ("-7/2", -3),
        ("-7%3", -1),
        ("1/0", None),
        ("2**3", None),
        ("__import__('os')", None),
        ("", None),
        ("1.5", None),
        ("-(3)", -3),
    ],
)
def test_arithmetic_is_that_of_bash(expression, result):
    assert calculate(expression) == result


def test_nested_parentheses():
    assert convert("MAX_NUM_STEPS=$((2*(3+4)))")[0] == {"max_train_steps": 14}
