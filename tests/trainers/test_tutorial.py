"""What the tutorial for SD3.5 Large sets, option by option, against what datakit writes and converts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datakit.cli.config import config
from datakit.trainers.simpletuner.oldenv.convert import env_to_config
from datakit.trainers.simpletuner.options import CURRENT, REMOVED, refusals

FASTER = REMOVED["enable_xformers_memory_efficient_attention"]
TF32 = REMOVED["allow_tf32"]
SAME = object()
# Option, its value in the tutorial's config.json, datakit's value (None: not written), and why they differ.
TABLE = [
    ("model_type", "lora", SAME, ""),
    ("model_family", "sd3", SAME, ""),
    ("resume_from_checkpoint", "latest", SAME, ""),
    ("checkpointing_steps", 400, 397, "one epoch of 476 x 5 / 6, not rounded to hundreds; --checkpoint-every 400 gives 400"),
    ("checkpoints_total_limit", 60, SAME, ""),
    ("learning_rate", 1.05e-3, SAME, ""),
    ("pretrained_model_name_or_path", "stabilityai/stable-diffusion-3.5-large", SAME, ""),
    ("report_to", "wandb", SAME, ""),
    ("tracker_project_name", "sd35-training", SAME, ""),
    ("tracker_run_name", "simpletuner-fantasy-art-lora-01", SAME, ""),
    ("max_train_steps", 24000, SAME, ""),
    ("num_train_epochs", 0, SAME, ""),
    ("data_backend_config", "/data/multidatabackend.json", SAME, ""),
    ("output_dir", "/data/models", SAME, ""),
    ("push_to_hub", False, SAME, ""),
    ("push_checkpoints_to_hub", True, SAME, ""),
    ("hub_model_id", "sd35-training", SAME, ""),
    ("resolution", 1024, SAME, ""),
    ("resolution_type", "pixel", SAME, ""),
    ("minimum_image_size", 1024, 0, "an entry without limits of its own would lose all pictures but 1024x1024 and larger"),
    ("instance_prompt", "k4s4 ", None, "the captions carry the trigger word, and the entry says prepend_instance_prompt false"),
    ("validation_prompt", "k4s4, a waist up view of a beautiful blonde woman, green eyes", SAME, ""),
    ("validation_guidance", 7.5, SAME, ""),
    ("validation_guidance_rescale", 0.0, SAME, ""),
    ("validation_steps", 200, 198, "half an epoch of 476 x 5 / 6; --validation-every 200 gives 200"),
    ("validation_num_inference_steps", 30, SAME, ""),
    ("validation_negative_prompt", "blurry, cropped, ugly", SAME, ""),
    ("validation_seed", 42, SAME, ""),
    ("validation_resolution", 1024, SAME, ""),
    ("train_batch_size", 6, SAME, ""),
    ("gradient_accumulation_steps", 1, SAME, ""),
    ("lr_scheduler", "cosine", SAME, ""),
    ("lr_warmup_steps", 2400, SAME, ""),
    ("caption_dropout_probability", 0, SAME, ""),
    ("metadata_update_interval", 65, SAME, ""),
    ("vae_batch_size", 12, SAME, ""),
    ("delete_unwanted_images", False, SAME, ""),
    ("delete_problematic_images", False, SAME, ""),
    ("training_scheduler_timestep_spacing", "trailing", SAME, ""),
    ("inference_scheduler_timestep_spacing", "trailing", SAME, ""),
    ("snr_gamma", 5, SAME, ""),
    ("enable_xformers_memory_efficient_attention", True, None, FASTER),
    ("gradient_checkpointing", True, SAME, ""),
    ("allow_tf32", True, None, TF32),
    ("optimizer", "adamw_bf16", SAME, ""),
    ("use_ema", False, SAME, ""),
    ("ema_decay", 0.999, SAME, ""),
    ("seed", 42, SAME, ""),
    ("mixed_precision", "bf16", SAME, ""),
    ("lora_rank", 768, SAME, ""),
    ("lora_alpha", 768, SAME, ""),
    ("lora_type", "standard", SAME, ""),
]
TUTORIAL = {name: value for name, value, _, _ in TABLE}
CALL = (
    "--concept", "476x5", "--steps", 24000, "--batch-size", 6, "--name", TUTORIAL["tracker_run_name"], "--output-dir", "/data/models",
    "--backend-config", "/data/multidatabackend.json", "--validation-prompt", TUTORIAL["validation_prompt"], "--output", "-",
)  # fmt: skip


def written(run, preset, *options):
    text = run(config, *CALL, "--preset", preset, *options).stdout
    return {name.removeprefix("--"): value for name, value in json.loads(text).items()}


def test_each_option_of_the_tutorial_is_written_or_the_difference_has_a_reason(run):
    ours = written(run, "tutorial-lora")
    for name, tutorial, datakit, reason in TABLE:
        assert ours.get(name) == (tutorial if datakit is SAME else datakit), name
        assert bool(reason) == (datakit is not SAME), name
    # Datakit's own: buckets are told apart by aspects of two decimals.
    assert ours.keys() - TUTORIAL.keys() == {"aspect_bucket_rounding"}


def test_what_datakit_leaves_to_the_user_can_be_set_to_the_tutorials_value(run):
    asked = ("--checkpoint-every", 400, "--validation-every", "200", "--set", "instance_prompt=k4s4 ")
    ours = written(run, "tutorial-lora", *asked)
    assert {name for name in TUTORIAL if ours.get(name) != TUTORIAL[name]} == {*REMOVED, "minimum_image_size"}


def test_the_other_two_trainings_of_the_tutorial(run):
    small, full, lora = (written(run, f"tutorial-{name}") for name in ("lora-24gb", "full", "lora"))
    assert {name: small[name] for name in lora if small[name] != lora[name]} == {"lora_rank": 128, "lora_alpha": 128}
    assert {name: full.get(name) for name in lora if full.get(name) != lora[name]} == {
        "model_type": "full",
        "lora_type": None,
        "lora_rank": None,
        "lora_alpha": None,
        "learning_rate": 5e-5,
        "checkpointing_steps": 100,
        "checkpoints_total_limit": 100,
        "validation_steps": 25,
    }


@pytest.mark.parametrize("preset", ["tutorial-lora", "tutorial-lora-24gb", "tutorial-full"])
def test_every_release_takes_every_option_of_the_tutorials_presets(run, preset):
    for name, value in written(run, preset).items():
        assert refusals(name, value, ("2024-10", *CURRENT)) == []


def test_converting_the_tutorials_env_gives_its_config_json():
    converted, notices = env_to_config((Path(__file__).parent / "tutorial" / "lora.env").read_text())
    assert {name: converted.get(name) for name in {*TUTORIAL, *converted} if converted.get(name) != TUTORIAL.get(name)} == {
        # The two that current releases no longer have.
        "enable_xformers_memory_efficient_attention": None,
        "allow_tf32": None,
        # The env sets them so, or says nothing where its JSON does.
        "validation_steps": 70,
        "hub_model_id": None,
        "lora_type": None,
        # Both off, as they are where nothing is said.
        "use_dora": False,
        "controlnet": False,
    }
    said = [(notice.kind, notice.message.partition(":")[0].partition(" ")[0]) for notice in notices]
    assert sorted(name for kind, name in said if kind == "removed") == ["ALLOW_TF32", "USE_XFORMERS"]
    assert sorted(name for kind, name in said if kind == "carried") == [
        "CONTROLNET", "DEBUG_EXTRA_ARGS", "DELETE_ERRORED_IMAGES", "DELETE_SMALL_IMAGES", "EMA_DECAY", "INSTANCE_PROMPT",
        "MIN_SNR_GAMMA", "VAE_BATCH_SIZE",
    ]  # fmt: skip
    assert [name for kind, name in said if kind == "dropped"] == ["PURE_BF16"]
    assert {kind for kind, _ in said} == {"removed", "carried", "dropped", "launcher", "differs"}
