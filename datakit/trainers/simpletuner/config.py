"""SimpleTuner's ``config.json`` and the high-level ``config.env`` beside it.

Valid in 3.1.6 and later; names that the commit of October 2024 knows too are preferred, and so are keys with
leading dashes, which all of them read.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from datakit.errors import UsageError
from datakit.trainers.simpletuner.oldenv.envfile import write_assignment
from datakit.trainers.simpletuner.options import CURRENT, REMOVED, Value, nearest, options, refusals, typed
from datakit.trainers.simpletuner.presets import preset
from datakit.trainers.training import Batching, Training, paced

# Options that datakit computes, and what changes them.
_COMPUTED = {
    "max_train_steps": "it follows from the dataset: use --epochs or --steps",
    "num_train_epochs": "SimpleTuner takes steps or epochs, and datakit writes steps: use --epochs",
    "train_batch_size": "the steps follow from it: use --batch-size",
    "gradient_accumulation_steps": "the steps follow from it: use --accumulate",
    "lr_warmup_steps": "it is a tenth of the steps: use --epochs or --steps",
    "checkpointing_steps": "use --checkpoint-every",
    "checkpoint_step_interval": "use --checkpoint-every",
    "checkpoints_total_limit": "use --keep-checkpoints",
    "validation_steps": "use --validation-every",
    "validation_step_interval": "use --validation-every",
    "validation_prompt": "use --validation-prompt",
    "learning_rate": "use --learning-rate",
    "lora_rank": "use --rank",
    "lora_alpha": "use --alpha",
    "model_family": "the caches of the dataset follow it: use --preset",
    "model_type": "use --preset",
    "data_backend_config": "use --backend-config",
    "output_dir": "use --output-dir, or --name",
    "report_to": "use --tracker",
    "tracker_run_name": "use --name",
    "num_processes": "it is the launcher's: use --gpus and --env",
    "minimum_image_size": "the dataset's entry says 0, for anything else drops pictures",
    "aspect_bucket_rounding": "the sizes of the dataset are proved for 2",
    "aspect_bucket_alignment": "the sizes of the dataset are proved for 64",
}
_TRACKERS = ("wandb", "tensorboard", "none")


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where a training is watched, and what it is called there.

    Attributes
    ----------
    tracker
        Instead of the preset's: wandb, tensorboard or none.
    name
        Of the training.
    """

    tracker: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.tracker is not None and self.tracker not in _TRACKERS:
            raise UsageError(f"tracker {self.tracker!r} is not known: use one of {' '.join(_TRACKERS)}")
        name = self.name
        if name is not None and (name in ("", ".", "..", "default", "examples") or set(name) & set("/\\ \t\n\"'$`")):
            raise UsageError(
                f"name {name!r} cannot be used: it becomes the name of a folder and stands in config.env; use letters, "
                'digits, ".", "-" and "_", and neither default nor examples, which SimpleTuner uses itself'
            )


@dataclass(frozen=True, slots=True)
class ConfigOptions:
    """What is to stand in ``config.json`` beside the steps of a training.

    Attributes
    ----------
    preset
        A key of `datakit.trainers.simpletuner.presets.PRESETS`.
    backend_config, output_dir
        Where the trainer finds ``multidatabackend.json`` and writes checkpoints.
    validation_prompt
        What is drawn at each validation.
    learning_rate, rank, alpha, keep_checkpoints
        Instead of the preset's; alpha is the rank where only that is given.
    checkpoint_every, validation_every
        In steps or epochs, such as "400" or "0.5 epochs", instead of the preset's.
    tracking
        Where the training is watched.
    settings
        ``key=value`` for any other option.
    """

    preset: str = "sd3-lora"
    backend_config: str = "multidatabackend.json"
    output_dir: str = "output"
    validation_prompt: str = "a photo"
    learning_rate: float | None = None
    rank: int | None = None
    alpha: int | None = None
    keep_checkpoints: int | None = None
    checkpoint_every: str | None = None
    validation_every: str | None = None
    tracking: Tracking = Tracking()
    settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        chosen = preset(self.preset)
        if (self.rank is not None or self.alpha is not None) and not chosen.is_lora:
            raise UsageError(f"preset {self.preset} trains the whole model, which has no rank: leave out --rank and --alpha")
        rate = self.learning_rate
        if rate is not None and not 0 < rate <= 1:
            raise UsageError(f"learning rate {rate}: use more than 0 and at most 1, such as 1e-4")
        for what, text in (
            ("backend config", self.backend_config),
            ("output folder", self.output_dir),
            ("validation prompt", self.validation_prompt),
            ("name", self.tracking.name or ""),
            *(("setting", setting) for setting in self.settings),
        ):
            if any(unicodedata.category(sign) == "Cs" for sign in text):
                raise UsageError(f"{what} {text!r} is not in UTF-8")


def pace(asked: ConfigOptions, training: Training) -> Training:
    """Return a training with the checkpoints and validations that are asked for, else those of the preset.

    Raises
    ------
    UsageError
        Either is neither steps nor epochs.
    """
    chosen = preset(asked.preset)
    return paced(training, asked.checkpoint_every or chosen.checkpoint_every, asked.validation_every or chosen.validation_every)


def trainer_config(asked: ConfigOptions, training: Training, batching: Batching) -> dict[str, Value]:
    """Fill in a preset with the steps of a training; options by their names without dashes, in the recipe's order.

    Raises
    ------
    UsageError
        One of the settings cannot be used, or checkpoints or validations are neither in steps nor in epochs.
    """
    chosen, training = preset(asked.preset), pace(asked, training)
    config: dict[str, Value | None] = {
        **{name: chosen.options.get(name) for name in ("model_type", "model_family", "pretrained_model_name_or_path")},
        "data_backend_config": asked.backend_config,
        "output_dir": asked.output_dir,
        "resume_from_checkpoint": "latest",
        "seed": 42,
        **{name: chosen.options.get(name) for name in ("lora_type", "lora_rank", "lora_alpha", "flux_lora_target")},
        "max_train_steps": training.max_train_steps,
        # Of the two only one may be above 0.
        "num_train_epochs": 0,
        "train_batch_size": batching.size,
        "gradient_accumulation_steps": batching.accumulate,
        "gradient_checkpointing": True,
        "mixed_precision": "bf16",
        "optimizer": "adamw_bf16",
        "learning_rate": None,
        "lr_scheduler": "cosine",
        "lr_warmup_steps": training.lr_warmup_steps,
        "use_ema": None,
        "caption_dropout_probability": 0.1,
        "aspect_bucket_rounding": 2,
        "minimum_image_size": 0,
        "checkpointing_steps": training.checkpointing_steps,
        "checkpoints_total_limit": 5,
        "validation_steps": training.validation_steps,
        "validation_prompt": asked.validation_prompt,
        "validation_resolution": "1024x1024",
        "validation_guidance": None,
        "validation_num_inference_steps": 30,
        "validation_seed": 42,
        "report_to": "tensorboard",
    }
    config |= {**chosen.options, **_asked(asked), **parse_options(asked.settings)}
    return {name: value for name, value in config.items() if value is not None}


def parse_options(settings: Sequence[str]) -> dict[str, Value]:
    """Read ``key=value`` pairs for ``config.json``, each of a kind that a current release takes.

    Raises
    ------
    UsageError
        An option is unknown to all current releases or computed by datakit, or a value is of another kind.
    """
    found: dict[str, Value] = {}
    for setting in settings:
        name, separator, text = setting.removeprefix("--").partition("=")
        if not separator or not name:
            raise UsageError(f"--set {setting!r}: write key=value, such as --set snr_gamma=5")
        found[name] = _parse_option(name, text)
    return found


def _parse_option(name: str, text: str) -> Value:
    if name in _COMPUTED:
        raise UsageError(f"--set {name}: not for --set: {_COMPUTED[name]}")
    if name in REMOVED:
        raise UsageError(f"--set {name}: it ends SimpleTuner {' and '.join(CURRENT)}: {REMOVED[name]}")
    if name not in options():
        raise UsageError(f"--set {name}: no option of SimpleTuner: {nearest(name) or 'see its OPTIONS.md for all of them'}")
    option = options()[name]
    if option.unknown_to(CURRENT) == list(CURRENT):
        raise UsageError(f"--set {name}: no option of SimpleTuner {' or '.join(CURRENT)}, only of {' and '.join(option.kinds)}")
    return typed(option, text)


def needs(config: Mapping[str, Value]) -> list[str]:
    """Say which of the options one of the current releases would not take, one sentence each."""
    return [f"{name}: {clause}" for name, value in config.items() for clause in refusals(name, value, CURRENT)]


def config_to_json(config: Mapping[str, Value]) -> bytes:
    """Return ``config.json``: indented, in the order given, every key with its dashes."""
    content = msgspec.json.encode({f"--{name}": value for name, value in config.items()})
    return msgspec.json.format(content, indent=2) + b"\n"


def _asked(asked: ConfigOptions) -> dict[str, Value]:
    """Return what is asked for instead of the preset's values."""
    given: dict[str, Value | None] = {
        "learning_rate": asked.learning_rate,
        "lora_rank": asked.rank,
        "lora_alpha": asked.rank if asked.alpha is None else asked.alpha,
        "checkpoints_total_limit": asked.keep_checkpoints,
        "report_to": asked.tracking.tracker,
        "tracker_run_name": asked.tracking.name,
    }
    return {name: value for name, value in given.items() if value is not None}


def launcher_env(batching: Batching, accelerate_config: str | None = None, name: str | None = None) -> bytes:
    """Return the high-level ``config.env``: where the options are, how many processes; nothing of the training.

    With a ``name`` the launcher takes its options from ``config/NAME/``, so that several trainings lie side by side.

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
    if name is not None:
        values["ENV"] = name
    if accelerate_config is not None:
        values["ACCELERATE_CONFIG_PATH"] = accelerate_config
    lines = {name: write_assignment(name, value) for name, value in values.items()}
    if lines.get("ACCELERATE_CONFIG_PATH", "") is None:
        raise UsageError(f"{accelerate_config!r} cannot be named in config.env: leave out quotes and double blanks")
    return "".join(f"{line}\n" for line in lines.values()).encode()
