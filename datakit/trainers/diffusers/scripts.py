"""diffusers' example scripts: which there are for each model, and what each of them can do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# How buckets are asked for: not at all, by a list that needs a switch beside it, by a list alone.
Bucketed = Literal["", "switch", "list"]
SCRIPT = re.compile(r"train_(?:dreambooth|text_to_image)\w*\.py$")
_SWITCHED = re.compile(r"train_dreambooth_lora_(?:flux2\w*|flux_kontext|krea2|qwen_image|z_image)\.py$")
# Those of models that take latents, an eighth of the picture, in squares of two (_pack_latents, _patchify_latents; patch_size).
_PAIRED = re.compile(r"train_dreambooth_lora_(?:flux|krea2|qwen_image|z_image|ideogram4|sd3|hidream|lumina2)")
# The oldest ones open every file of a folder as a picture.
_WITHOUT_CAPTIONS = re.compile(r"train_dreambooth(?:_lora|_flax)?\.py$")


@dataclass(frozen=True, slots=True)
class Script:
    """One script of ``examples/``, by its file name.

    Attributes
    ----------
    name
        Such as ``train_dreambooth_lora_flux2.py``.
    """

    name: str

    @property
    def dreambooth(self) -> bool:
        """Whether it is one of DreamBooth, else of text to image."""
        return self.name.startswith("train_dreambooth")

    @property
    def bucketed(self) -> Bucketed:
        """How it is asked for buckets."""
        if _SWITCHED.match(self.name):
            return "switch"
        return "list" if self.name == "train_dreambooth_lora_ideogram4.py" else ""

    @property
    def step(self) -> int:
        """What sides are multiples of, or it stops at its first batch."""
        if "_sana" in self.name:
            return 32  # its autoencoder makes one pixel of 32
        return 16 if _PAIRED.match(self.name) else 1

    @property
    def reads_captions(self) -> bool:
        """Whether it reads captions at all."""
        return _WITHOUT_CAPTIONS.match(self.name) is None

    @property
    def resolution(self) -> int:
        """``--resolution`` where nothing is said."""
        return 1024 if "sdxl" in self.name else 512


@dataclass(frozen=True, slots=True)
class Family:
    """A model that the scripts train: the usual script, the model's name, and the tokens that each text encoder sees.

    Attributes
    ----------
    script
        A file below ``examples/``.
    model
        For ``--pretrained_model_name_or_path``.
    encoders
        The scripts' own ``--max_sequence_length``, or what the tokenizer takes.
    """

    script: str
    model: str
    encoders: Mapping[str, int] = field(default_factory=dict)

    @property
    def of(self) -> Script:
        """What the script can do."""
        return Script(self.script.rpartition("/")[2])


FAMILIES: Mapping[str, Family] = {
    "flux2": Family("dreambooth/train_dreambooth_lora_flux2.py", "black-forest-labs/FLUX.2-dev", {"Mistral": 512}),
    "flux2-klein": Family("dreambooth/train_dreambooth_lora_flux2_klein.py", "black-forest-labs/FLUX.2-klein-4B", {"Qwen": 512}),
    "qwen-image": Family("dreambooth/train_dreambooth_lora_qwen_image.py", "Qwen/Qwen-Image", {"Qwen": 512}),
    "z-image": Family("dreambooth/train_dreambooth_lora_z_image.py", "Tongyi-MAI/Z-Image", {"Qwen": 512}),
    "krea2": Family("dreambooth/train_dreambooth_lora_krea2.py", "krea/Krea-2-Raw", {"Qwen": 512}),
    "ideogram4": Family("dreambooth/train_dreambooth_lora_ideogram4.py", "ideogram-ai/ideogram-4-nf4-diffusers", {"Qwen": 2048}),
    "kontext": Family("dreambooth/train_dreambooth_lora_flux_kontext.py", "black-forest-labs/FLUX.1-Kontext-dev", {"CLIP": 77, "T5": 512}),
    "sdxl": Family("text_to_image/train_text_to_image_lora_sdxl.py", "stabilityai/stable-diffusion-xl-base-1.0", {"CLIP": 77}),
    "sd": Family("text_to_image/train_text_to_image_lora.py", "stable-diffusion-v1-5/stable-diffusion-v1-5", {"CLIP": 77}),
    "sd3": Family("dreambooth/train_dreambooth_lora_sd3.py", "stabilityai/stable-diffusion-3.5-medium", {"CLIP": 77, "T5": 77}),
    "flux": Family("dreambooth/train_dreambooth_lora_flux.py", "black-forest-labs/FLUX.1-dev", {"CLIP": 77, "T5": 512}),
    "hidream": Family("dreambooth/train_dreambooth_lora_hidream.py", "HiDream-ai/HiDream-I1-Full", {"CLIP": 77, "T5": 128, "Llama": 128}),
    "lumina2": Family("dreambooth/train_dreambooth_lora_lumina2.py", "Alpha-VLLM/Lumina-Image-2.0", {"Gemma": 256}),
    "sana": Family("dreambooth/train_dreambooth_lora_sana.py", "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers", {"Gemma": 300}),
}  # fmt: skip
