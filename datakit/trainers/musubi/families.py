"""The models that musubi-tuner trains on pictures alone: steps of their buckets, tokens they see, scripts that train them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Family:
    """One model.

    Attributes
    ----------
    scripts
        What encodes the pictures, what encodes the captions, what trains; with what each needs to know of the model.
    encoders
        Tokenizer tokens that each text encoder sees, those of the prompt's frame included.
    step
        Sides of its buckets are multiples of it.
    controls
        How many pictures it can be conditioned on.
    edits
        Whether each picture needs one that it was made from.
    """

    scripts: tuple[str, str, str]
    encoders: Mapping[str, int] = field(default_factory=dict)
    step: int = 16
    controls: int = 0
    edits: bool = False


def _scripts(name: str, options: str = "") -> tuple[str, str, str]:
    return (
        f"{name}_cache_latents.py{options} --vae VAE",
        f"{name}_cache_text_encoder_outputs.py{options} --text_encoder TEXT_ENCODER",
        f"{name}_train_network.py{options} --dit DIT",
    )


# Limits: zimage/zimage_config.py, qwen_image/qwen_image_utils.py, flux_2/flux2_utils.py, krea2/krea2_encoder.py,
# ideogram4/ideogram4_utils.py (stops beyond it), hunyuan_model/text_encoder.py, wan/configs/shared_config.py and
# kandinsky5_cache_text_encoder_outputs.py, flux/flux_utils.py. HiDream-O1 cuts nothing. Steps: dataset/bucket.py. Controls:
# dataset/image_video_dataset.py, ImageDataset; as many as anybody has where it sets no limit.
_MANY = 9
FAMILIES: Mapping[str, Family] = {
    "z-image": Family(_scripts("zimage"), {"Qwen3": 512}),
    "qwen-image": Family(_scripts("qwen_image"), {"Qwen2.5-VL": 1024}),
    "flux2-dev": Family(_scripts("flux_2", " --model_version dev"), {"Mistral": 512}, controls=_MANY),
    "flux2-klein-4b": Family(_scripts("flux_2", " --model_version klein-base-4b"), {"Qwen3": 512}, controls=_MANY),
    "flux2-klein-9b": Family(_scripts("flux_2", " --model_version klein-base-9b"), {"Qwen3": 512}, controls=_MANY),
    "flux-kontext": Family(
        (
            "flux_kontext_cache_latents.py --vae VAE",
            "flux_kontext_cache_text_encoder_outputs.py --text_encoder1 T5 --text_encoder2 CLIP",
            "flux_kontext_train_network.py --dit DIT",
        ),
        {"CLIP": 77, "T5": 512},
        controls=1,
        edits=True,
    ),
    "qwen-image-edit": Family(
        _scripts("qwen_image", " --model_version edit-2511"), {"Qwen2.5-VL": 1024}, controls=_MANY, edits=True
    ),
    "krea2": Family(_scripts("krea2"), {"Qwen3-VL": 512}),
    "ideogram4": Family(_scripts("ideogram4"), {"Qwen3-VL": 2048}),
    "hidream-o1": Family(
        ("hidream_o1_cache_pixel.py", "hidream_o1_cache_text_encoder_outputs.py", "hidream_o1_train_network.py --dit DIT"),
        step=32,
        controls=_MANY,
    ),
    "hunyuan-video": Family(
        (
            "cache_latents.py --vae VAE",
            "cache_text_encoder_outputs.py --text_encoder1 LLAMA --text_encoder2 CLIP",
            "hv_train_network.py --dit DIT",
        ),
        {"LLaMA": 256, "CLIP": 77},
    ),
    "wan": Family(
        ("wan_cache_latents.py --vae VAE", "wan_cache_text_encoder_outputs.py --t5 T5", "wan_train_network.py --dit DIT"),
        {"UMT5": 512},
    ),
    "kandinsky5": Family(
        (
            "kandinsky5_cache_latents.py --vae VAE",
            "kandinsky5_cache_text_encoder_outputs.py --text_encoder_qwen QWEN --text_encoder_clip CLIP",
            "kandinsky5_train_network.py --task TASK --dit DIT",
        ),
        {"Qwen2.5-VL": 512, "CLIP": 77},
    ),
}
# A file says nothing of the model: what most have, and what the others have.
STEP = 16
OTHER_STEPS: Mapping[int, str] = {family.step: name for name, family in FAMILIES.items() if family.step != STEP}
