"""The models that ai-toolkit trains: how a job names them, and what follows for sizes and captions.

Read in ai-toolkit 27a03a9. Names and schedulers: config/examples, ui/src/app/jobs/new/options.tsx. Divisibility:
``get_bucket_divisibility`` of each model. Tokens: toolkit/train_tools.py, stable_diffusion_model.py, extensions_built_in/diffusion_models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Family:
    """A model: how a job names it, what the sides of its buckets are rounded to, and how many tokens its encoders see."""

    model: Mapping[str, str | bool]
    divisibility: int
    tokens: Mapping[str, int]
    scheduler: str = "flowmatch"
    # Whether two blanks are another token than one to its tokenizer.
    minds_blanks: bool = False


FAMILIES: Mapping[str, Family] = {
    "flux": Family({"name_or_path": "black-forest-labs/FLUX.1-dev", "is_flux": True, "quantize": True}, 32, {"CLIP": 77, "T5": 512}),
    "sd3": Family({"name_or_path": "stabilityai/stable-diffusion-3.5-large", "is_v3": True, "quantize": True}, 32, {"CLIP": 77, "T5": 256}),
    "sdxl": Family({"name_or_path": "stabilityai/stable-diffusion-xl-base-1.0", "is_xl": True}, 16, {"CLIP": 77}, "ddpm"),
    "flux2": Family(
        {"name_or_path": "black-forest-labs/FLUX.2-dev", "arch": "flux2", "quantize": True}, 16, {"Mistral": 512}, minds_blanks=True
    ),
    "qwen-image": Family(
        {"name_or_path": "Qwen/Qwen-Image", "arch": "qwen_image", "quantize": True}, 32, {"Qwen": 512}, minds_blanks=True
    ),
    "z-image": Family({"name_or_path": "Tongyi-MAI/Z-Image", "arch": "zimage", "quantize": True}, 16, {"Qwen": 512}, minds_blanks=True),
    "chroma": Family({"name_or_path": "lodestones/Chroma1-Base", "arch": "chroma", "quantize": True}, 32, {"T5": 512}),
    "hidream": Family(
        {"name_or_path": "HiDream-ai/HiDream-I1-Full", "arch": "hidream", "quantize": True},
        16,
        {"CLIP": 128, "T5": 128, "Llama": 128},
        minds_blanks=True,
    ),
}  # fmt: skip
# The same for models that are not among these.
_DIVISIBILITIES = {
    "sd1": 16, "sd2": 16, "ssd": 16, "vega": 16, "flux_kontext": 16, "flux2_klein_4b": 16, "flux2_klein_9b": 16, "hidream_e1": 16,
    "wan21": 16, "wan22_14b": 16, "wan22_14b_i2v": 16, "wan22_5b": 32, "qwen_image_edit": 32, "qwen_image_edit_plus": 32,
    "ltx2": 32, "ltx2.3": 32, "ltx2.5": 32, "ernie_image": 32, "anima": 32,
}  # fmt: skip


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """Which model a process trains."""

    arch: str | None = None
    is_flux: bool = False
    is_v3: bool = False
    is_xl: bool = False
    is_v2: bool = False

    @property
    def name(self) -> str:
        """The architecture, however it is named."""
        if self.arch is not None:
            plain = self.arch.partition(":")[0]
            return "flux" if plain == "flex1" else plain
        flags = {"sd3": self.is_v3, "sdxl": self.is_xl, "flux": self.is_flux, "sd2": self.is_v2}
        return next((name for name, here in flags.items() if here), "sd1")

    @property
    def divisibility(self) -> int | None:
        """What sides of its buckets are rounded to; None where that is not known."""
        known = _DIVISIBILITIES | {str(each.model.get("arch", name)): each.divisibility for name, each in FAMILIES.items()}
        return known.get(self.name)
