"""Presets of ``datakit config``: what a model asks for, and what the tutorial for SD3.5 Large sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from datakit.errors import UsageError
from datakit.trainers.simpletuner.options import Value


@dataclass(frozen=True, slots=True)
class Preset:
    """What a training is begun with.

    Attributes
    ----------
    options
        Those of ``config.json``, beside or instead of the ones that `datakit.trainers.simpletuner.config` writes for all.
    checkpoint_every, validation_every
        In steps or epochs, as `datakit.trainers.training.interval` reads them; None for a tenth of the training.
    accelerate
        A kind of `datakit.trainers.simpletuner.accelerate`.
    """

    options: Mapping[str, Value]
    checkpoint_every: str | None = None
    validation_every: str | None = None
    accelerate: str = "plain"

    @property
    def family(self) -> str:
        """Name of the model family that it trains."""
        return str(self.options["model_family"])

    @property
    def is_lora(self) -> bool:
        """Whether it trains a LoRA."""
        return self.options["model_type"] == "lora"


def _lora(rank: int) -> dict[str, Value]:
    return {"model_type": "lora", "lora_type": "standard", "lora_rank": rank, "lora_alpha": rank}


_SD3 = {"model_family": "sd3", "pretrained_model_name_or_path": "stabilityai/stable-diffusion-3.5-large"}
_SDXL = {"model_family": "sdxl", "pretrained_model_name_or_path": "stabilityai/stable-diffusion-xl-base-1.0"}
_FLUX = {"model_family": "flux", "pretrained_model_name_or_path": "black-forest-labs/FLUX.1-dev"}
# The tutorial's values for both of its trainings. What it leaves to a global option and the dataset's entry says
# better (minimum_image_size, instance_prompt) is not among them, nor what ends current releases.
_TUTORIAL: dict[str, Value] = {
    "caption_dropout_probability": 0,
    "resolution": 1024,
    "resolution_type": "pixel",
    "validation_resolution": 1024,
    "validation_guidance": 7.5,
    "validation_guidance_rescale": 0.0,
    "validation_num_inference_steps": 30,
    "validation_negative_prompt": "blurry, cropped, ugly",
    "report_to": "wandb",
    "tracker_project_name": "sd35-training",
    "push_to_hub": False,
    "push_checkpoints_to_hub": True,
    "hub_model_id": "sd35-training",
    "metadata_update_interval": 65,
    "vae_batch_size": 12,
    "delete_unwanted_images": False,
    "delete_problematic_images": False,
    "training_scheduler_timestep_spacing": "trailing",
    "inference_scheduler_timestep_spacing": "trailing",
    "snr_gamma": 5,
    "use_ema": False,
    "ema_decay": 0.999,
}
_TUTORIAL_LORA = _SD3 | _TUTORIAL | {"learning_rate": 1.05e-3, "checkpoints_total_limit": 60}

# Learning rates of the first four are those usual for AdamW with batches of 1 to 8.
PRESETS = {
    "sd3-lora": Preset(_SD3 | _lora(64) | {"learning_rate": 1e-4, "validation_guidance": 5.0}),
    "sd3-full": Preset(_SD3 | {"model_type": "full", "learning_rate": 1e-5, "use_ema": True, "validation_guidance": 5.0}),
    "sdxl-lora": Preset(_SDXL | _lora(32) | {"learning_rate": 1e-4, "validation_guidance": 7.0}),
    "flux-lora": Preset(_FLUX | _lora(16) | {"learning_rate": 1e-4, "flux_lora_target": "all", "validation_guidance": 3.5}),
    "tutorial-lora": Preset(_TUTORIAL_LORA | _lora(768), "1 epoch", "0.5 epochs"),
    "tutorial-lora-24gb": Preset(_TUTORIAL_LORA | _lora(128), "1 epoch", "0.5 epochs"),
    "tutorial-full": Preset(
        _SD3 | _TUTORIAL | {"model_type": "full", "learning_rate": 5e-5, "checkpoints_total_limit": 100},
        "100",
        "25",
        "deepspeed2-offload",
    ),
}


def preset(name: str) -> Preset:
    """Return the preset of a name.

    Raises
    ------
    UsageError
        The name is unknown.
    """
    if name not in PRESETS:
        raise UsageError(f"preset {name!r} is not known: use one of {' '.join(PRESETS)}")
    return PRESETS[name]
