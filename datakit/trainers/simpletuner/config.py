"""SimpleTuner's ``config.json`` and ``config.env``: the only file that spells its trainer options.

Valid in 3.1.6 and later; names that the commit of October 2024 knows too are preferred, and so are keys with
leading dashes, which all of them read.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from datakit.errors import UsageError
from datakit.trainers.simpletuner.oldenv.envfile import write_assignment
from datakit.trainers.training import Batching, Training

# Options of the recipe that end 3.1.6 and later with an argument error, and what took their place.
REMOVED = {
    "enable_xformers_memory_efficient_attention": "attention is fast by default; attention_mechanism chooses another",
    "allow_tf32": "TF32 is on by default; disable_tf32 turns it off",
}

# config.env calls an option by its name in capitals, but for these. Options outside both tables are not read
# from config.env at all, without a word.
_RENAMED = {
    "RESUME_CHECKPOINT": "resume_from_checkpoint",
    "DATALOADER_CONFIG": "data_backend_config",
    "TRAINING_SEED": "seed",
    "ACCELERATE_CONFIG_PATH": "accelerate_config",
    "USE_XFORMERS": "enable_xformers_memory_efficient_attention",
    "MINIMUM_RESOLUTION": "minimum_image_size",
    "PUSH_CHECKPOINTS": "push_checkpoints_to_hub",
    "MAX_NUM_STEPS": "max_train_steps",
    "NUM_EPOCHS": "num_train_epochs",
    "CHECKPOINTING_STEPS": "checkpointing_steps",
    "CHECKPOINTING_LIMIT": "checkpoints_total_limit",
    "HUB_MODEL_NAME": "hub_model_id",
    "MODEL_NAME": "pretrained_model_name_or_path",
    "USE_GRADIENT_CHECKPOINTING": "gradient_checkpointing",
    "VALIDATION_STEPS": "validation_steps",
    "LR_SCHEDULE": "lr_scheduler",
    "TRAINING_NUM_PROCESSES": "num_processes",
    "TRAINING_NUM_MACHINES": "num_machines",
    "TRAINING_DYNAMO_BACKEND": "dynamo_backend",
}
_CAPITALS = (
    "accelerate_extra_args", "allow_tf32", "aspect_bucket_rounding", "aws_max_pool_connections", "base_model_precision",
    "caption_dropout_probability", "checkpoint_epoch_interval", "checkpoint_step_interval", "disable_benchmark",
    "enable_chunked_feed_forward", "feed_forward_chunk_size", "flux_guidance_value", "flux_lora_target",
    "gradient_accumulation_steps", "image_processing_batch_size", "inference_scheduler_timestep_spacing", "learning_rate",
    "lora_type", "lr_end", "lr_warmup_steps", "lycoris_config", "metadata_update_interval", "mixed_precision",
    "model_card_safe_for_work", "model_family", "model_type", "optimizer", "output_dir", "post_checkpoint_script",
    "post_upload_script", "publishing_config", "push_to_hub", "push_to_hub_background", "read_batch_size", "resolution",
    "resolution_type", "torch_num_threads", "tracker_project_name", "tracker_run_name", "training_scheduler_timestep_spacing",
    "train_batch_size", "use_dora", "use_ema", "validation_epoch_interval", "validation_external_background",
    "validation_external_script", "validation_guidance", "validation_guidance_real", "validation_guidance_rescale",
    "validation_method", "validation_negative_prompt", "validation_no_cfg_until_timestep", "validation_num_inference_steps",
    "validation_prompt", "validation_resolution", "validation_seed", "validation_step_interval", "validation_torch_compile",
    "write_batch_size",
)  # fmt: skip
ENVIRONMENT: dict[str, str] = {**{name.upper(): name for name in _CAPITALS}, **_RENAMED}
# A switch in config.env that stands for an option with a value.
SWITCHES = {"USE_BITFIT": ("layer_freeze_strategy", "bitfit")}
# Whitespace-separated options of any name.
EXTRA_ARGUMENTS = "TRAINER_EXTRA_ARGS"
# Names that steer the launcher or reach libraries through the environment; they stay in config.env.
_LAUNCHER = ("ENV", "CONFIG_BACKEND", "CONFIG_TYPE", "CONFIG_PATH")
_LAUNCHER_PREFIXES = ("SIMPLETUNER_", "CUDA_", "HF_", "NCCL_", "PYTORCH_", "TOKENIZERS_", "WANDB_")
# Of the options in `ENVIRONMENT`, the one that is on where nothing is said; `false` in config.env says nothing.
ON_BY_DEFAULT = "gradient_checkpointing"


def is_for_launcher(name: str) -> bool:
    """Tell whether a name in ``config.env`` is no option, but steers the launcher or a library."""
    return name in _LAUNCHER or name.startswith(_LAUNCHER_PREFIXES)


class TrainerConfig(msgspec.Struct, frozen=True, kw_only=True, rename=lambda name: f"--{name}", forbid_unknown_fields=True):
    """``config.json``: what the recipe sets, in its order."""

    model_type: Literal["lora", "full"]
    model_family: Literal["sd3", "sdxl", "flux"]
    pretrained_model_name_or_path: str
    data_backend_config: str
    output_dir: str
    resume_from_checkpoint: str = "latest"
    seed: int = 42
    lora_type: Literal["standard"] | UnsetType = UNSET
    lora_rank: int | UnsetType = UNSET
    lora_alpha: int | UnsetType = UNSET
    flux_lora_target: str | UnsetType = UNSET
    max_train_steps: int
    # Of the two only one may be above 0.
    num_train_epochs: Literal[0] = 0
    train_batch_size: int
    gradient_accumulation_steps: int = 1
    gradient_checkpointing: bool = True
    mixed_precision: Literal["bf16"] = "bf16"
    base_model_precision: str | UnsetType = UNSET
    optimizer: str = "adamw_bf16"
    learning_rate: float
    lr_scheduler: str = "cosine"
    lr_warmup_steps: int
    use_ema: bool | UnsetType = UNSET
    caption_dropout_probability: float = 0.1
    aspect_bucket_rounding: int = 2
    minimum_image_size: int = 0
    checkpointing_steps: int
    checkpoints_total_limit: int = 5
    validation_steps: int
    validation_prompt: str
    validation_resolution: str = "1024x1024"
    validation_guidance: float
    validation_num_inference_steps: int = 30
    validation_seed: int = 42
    report_to: str = "tensorboard"


@dataclass(frozen=True, slots=True)
class Preset:
    """What a model asks for; learning rates are those usual for AdamW with batches of 1 to 8."""

    model_type: Literal["lora", "full"]
    family: Literal["sd3", "sdxl", "flux"]
    model: str
    learning_rate: float
    guidance: float
    rank: int | None = None


PRESETS = {
    "sd3-lora": Preset("lora", "sd3", "stabilityai/stable-diffusion-3.5-large", 1e-4, 5.0, rank=64),
    "sd3-full": Preset("full", "sd3", "stabilityai/stable-diffusion-3.5-large", 1e-5, 5.0),
    "sdxl-lora": Preset("lora", "sdxl", "stabilityai/stable-diffusion-xl-base-1.0", 1e-4, 7.0, rank=32),
    "flux-lora": Preset("lora", "flux", "black-forest-labs/FLUX.1-dev", 1e-4, 3.5, rank=16),
}


@dataclass(frozen=True, slots=True)
class ConfigOptions:
    """What is to stand in ``config.json`` beside the steps of a training.

    Attributes
    ----------
    preset
        A key of `PRESETS`.
    backend_config, output_dir
        Where the trainer finds ``multidatabackend.json`` and writes checkpoints.
    validation_prompt
        What is drawn at each validation.
    learning_rate
        Instead of the preset's.
    """

    preset: str = "sd3-lora"
    backend_config: str = "multidatabackend.json"
    output_dir: str = "output"
    validation_prompt: str = "a photo"
    learning_rate: float | None = None


def trainer_config(options: ConfigOptions, training: Training, batching: Batching) -> TrainerConfig:
    """Fill in a preset with the steps of a training.

    Raises
    ------
    UsageError
        The preset is unknown, the learning rate is not above 0 and at most 1, or a text is no valid Unicode.
    """
    if options.preset not in PRESETS:
        raise UsageError(f"preset {options.preset!r} is not known: use one of {' '.join(PRESETS)}")
    rate = options.learning_rate
    if rate is not None and not 0 < rate <= 1:
        raise UsageError(f"learning rate {rate}: use more than 0 and at most 1, such as 1e-4")
    for what, text in (
        ("backend config", options.backend_config),
        ("output folder", options.output_dir),
        ("validation prompt", options.validation_prompt),
    ):
        if any(unicodedata.category(sign) == "Cs" for sign in text):
            raise UsageError(f"{what} {text!r} is not in UTF-8")
    chosen = PRESETS[options.preset]
    lora = chosen.model_type == "lora"
    return TrainerConfig(
        model_type=chosen.model_type,
        model_family=chosen.family,
        pretrained_model_name_or_path=chosen.model,
        data_backend_config=options.backend_config,
        output_dir=options.output_dir,
        lora_type="standard" if lora else UNSET,
        lora_rank=chosen.rank or UNSET,
        lora_alpha=chosen.rank or UNSET,
        flux_lora_target="all" if chosen.family == "flux" and lora else UNSET,
        max_train_steps=training.max_train_steps,
        train_batch_size=batching.size,
        gradient_accumulation_steps=batching.accumulate,
        learning_rate=chosen.learning_rate if rate is None else rate,
        lr_warmup_steps=training.lr_warmup_steps,
        use_ema=UNSET if lora else True,
        checkpointing_steps=training.checkpointing_steps,
        validation_steps=training.validation_steps,
        validation_prompt=options.validation_prompt,
        validation_guidance=chosen.guidance,
    )


def config_to_json(config: TrainerConfig) -> bytes:
    """Return ``config.json``: indented, keys in a fixed order."""
    return msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n"


def launcher_env(batching: Batching, accelerate_config: str | None = None) -> bytes:
    """Return the high-level ``config.env``: where the options are, how many processes; nothing of the training.

    The launcher of the recipe's commit sources the file in bash while later ones read it literally: values are
    written so that both read the same.

    Raises
    ------
    UsageError
        The name of the accelerate YAML cannot be written so.
    """
    values = {
        "CONFIG_BACKEND": "json",
        "MIXED_PRECISION": "bf16",
        "TRAINING_NUM_PROCESSES": str(batching.gpus),
        "TRAINING_NUM_MACHINES": "1",
        "TRAINING_DYNAMO_BACKEND": "no",
    }
    if accelerate_config is not None:
        values["ACCELERATE_CONFIG_PATH"] = accelerate_config
    lines = {name: write_assignment(name, value) for name, value in values.items()}
    if lines.get("ACCELERATE_CONFIG_PATH", "") is None:
        raise UsageError(f"{accelerate_config!r} cannot be named in config.env: leave out quotes and double blanks")
    return "".join(f"{line}\n" for line in lines.values()).encode()
