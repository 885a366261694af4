"""What a LoRA's tensors must be called for ComfyUI to read them; what it does not know it passes over with a line in its log.

The one file that knows ComfyUI's names. Checked against ComfyUI 0.3.75 (its maps of names for SD3.5 Large and Medium, Flux and SDXL,
and its log over files of every kind); read in 0.38.1, which knows diffusers' bare names of Flux besides. Facts of comfy/lora.py
and comfy/weight_adapter: no code of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from datakit.trained.families import FAMILIES, Family, family

CHECKED = "ComfyUI 0.3.75"
# (prefix, whose names stand behind it, with dots or underscores) that ComfyUI knows, by family.
_OF_DIFFUSERS, _OWN = True, False
_TRANSFORMER = (
    ("transformer.", _OF_DIFFUSERS, "."),
    ("lora_transformer_", _OF_DIFFUSERS, "_"),
    ("lycoris_", _OF_DIFFUSERS, "_"),
    ("diffusion_model.", _OWN, "."),
    ("lora_unet_", _OWN, "_"),
)
_FORMS = {
    "sd3": (*_TRANSFORMER, ("base_model.model.", _OF_DIFFUSERS, ".")),
    "flux": _TRANSFORMER,
    "sdxl": (
        ("lora_unet_", _OF_DIFFUSERS, "_"),
        ("lycoris_", _OF_DIFFUSERS, "_"),
        ("lora_unet_", _OWN, "_"),
        ("diffusion_model.", _OWN, "."),
    ),
}
# Text encoders, whose layers only a loader with CLIP changes.
_TEXT = re.compile(
    r"lora_te[123]?_text_model_encoder_layers_\d+_(?:mlp_fc[12]|self_attn_[kqv]_proj|self_attn_out_proj)"
    r"|text_encoder(?:_2)?\.text_model\.encoder\.layers\.\d+\.(?:mlp\.fc[12]|self_attn\.[kqv]_proj|self_attn\.out_proj)"
    r"|lora_te[123]_(?:encoder_block_\d+_layer_\d+_\w+|text_projection)"
)
# The two halves of a LoRA: up and down. Neither counts without the other.
PAIRS = (
    (".lora_up.weight", ".lora_down.weight"),
    ("_lora.up.weight", "_lora.down.weight"),
    (".lora_B.weight", ".lora_A.weight"),
    (".lora.up.weight", ".lora.down.weight"),
    (".lora_B", ".lora_A"),
    (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
    (".lora_B.default.weight", ".lora_A.default.weight"),
)
_LOHA = (".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b")
_GLORA = (".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight")
# What else may stand behind a layer's name, and what must stand there beside it.
_TOGETHER = (*PAIRS, _LOHA, _GLORA)
_ALONE = (
    ".lokr_w1", ".lokr_w2", ".lokr_w1_a", ".lokr_w1_b", ".lokr_w2_a", ".lokr_w2_b", ".lokr_t2", ".hada_t1", ".hada_t2",
    ".oft_blocks", ".rescale", ".lora_mid.weight", ".reshape_weight", ".diff", ".diff_b", ".set_weight", ".w_norm", ".b_norm",
    ".alpha", ".dora_scale",
)  # fmt: skip
_NEEDED: dict[str, tuple[str, ...]] = {suffix: group for group in _TOGETHER for suffix in group} | dict.fromkeys(_ALONE, ())
_SUFFIXES = tuple(sorted(_NEEDED, key=len, reverse=True))
ALPHA = ".alpha"
# What trainers put before names, whether ComfyUI knows it there or not.
_PREFIXES = (
    "base_model.model.transformer.", "base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.", "unet.",
    "lora_unet_", "lora_transformer_", "lycoris_", "",
)  # fmt: skip
# Columns of the model, where the names alone do not tell Flux from SD3.
_FLUX_WIDTH = 3072


@dataclass(frozen=True, slots=True)
class Reading:
    """What ComfyUI makes of a file's tensors.

    Attributes
    ----------
    family
        Of the model that they are for; None where it is none that is known here.
    keys
        How many tensors there are.
    unknown
        Those that ComfyUI passes over.
    text
        How many belong to a text encoder.
    misshapen
        Those whose shape does not fit the model, which ComfyUI passes over too.
    unfit
        Those that the model has no layer for, or one of another shape, whatever they are called.
    """

    family: Family | None
    keys: int
    unknown: tuple[str, ...] = ()
    text: int = 0
    misshapen: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()

    @property
    def known(self) -> int:
        """How many it reads and uses."""
        return self.keys - len(self.unknown) - len(self.misshapen)


def split(key: str) -> tuple[str, str]:
    """Return the layer's name in a tensor's name, and what stands behind it; nothing stands behind what is not known."""
    for suffix in _SUFFIXES:
        if key.endswith(suffix):
            return key.removesuffix(suffix), suffix
    return key, ""


def layer_of(known: Family, name: str) -> str | None:
    """Return the layer that ComfyUI takes a name for, as diffusers or as the model's own code calls it; None for none."""
    for prefix, of_diffusers, join in _FORMS[known.name]:
        if not name.startswith(prefix):
            continue
        bare = name.removeprefix(prefix)
        found = known.diffusers_name(bare) if of_diffusers else known.own_name(bare)
        if found and bare == found.replace(".", join):
            return found
    if known.name == "sdxl":
        return _old_attention(known, name)
    return None


def _old_attention(known: Family, name: str) -> str | None:
    """Return the layer of a U-Net as old releases of diffusers called it: with a processor between attention and layer."""
    bare = name.removeprefix("unet.")
    full = f"{bare}.0" if bare.endswith(".processor.to_out") else bare
    found = known.diffusers_name(full.replace(".processor.to_", ".to_"))
    if found and found.replace(".to_", ".processor.to_") == full:
        return found
    return None


def read_keys(keys: Iterable[str], known: Family | None) -> Reading:
    """Return which tensors ComfyUI would read, by their names."""
    listed = list(keys)
    if known is None:
        return Reading(None, len(listed), tuple(listed))
    there = set(listed)
    unknown, text = [], 0
    for key in listed:
        name, suffix = split(key)
        if _TEXT.fullmatch(name):
            text += 1
        elif layer_of(known, name) is None:
            unknown.append(key)
            continue
        if not suffix or any(name + other not in there for other in _NEEDED[suffix]):
            unknown.append(key)
    return Reading(known, len(listed), tuple(unknown), text)


def family_of_lora(shapes: Mapping[str, tuple[int, ...]]) -> Family | None:
    """Return the family that most of a LoRA's layers belong to, whatever stands before their names; None for no family here."""
    parts = [(key, *split(key)) for key in shapes]
    names = {name if suffix else key.rpartition(".")[0] for key, name, suffix in parts if not _TEXT.fullmatch(name)}
    if not names:
        return None
    counts = {each: sum(anywhere(family(each), name) is not None for name in names) for each in FAMILIES}
    most = max(counts.values())
    best = [each for each in FAMILIES if counts[each] == most]
    if 2 * most < len(names):
        return None
    if best[:2] == ["sd3", "flux"]:
        wide = any(_FLUX_WIDTH in shape for shape in shapes.values())
        return family("flux" if wide else "sd3")
    return family(best[0])


def anywhere(known: Family, name: str) -> tuple[str, bool] | None:
    """Return the layer that a name means behind any prefix that trainers use, and whether it is called as in diffusers."""
    for prefix in _PREFIXES:
        if not name.startswith(prefix):
            continue
        bare = name.removeprefix(prefix)
        for found, of_diffusers in ((known.diffusers_name(bare), True), (known.own_name(bare), False)):
            if found is not None:
                return found, of_diffusers
    return None


def renamed(known: Family, key: str) -> str:
    """Return a name for a tensor by which ComfyUI reads it; the same where it does, or where nothing is known of it."""
    name, suffix = split(key)
    if not suffix or layer_of(known, name) or _TEXT.fullmatch(name):
        return key
    found = anywhere(known, name)
    if found is None:
        return key
    layer, of_diffusers = found
    if known.name == "sdxl":
        return f"lora_unet_{layer.replace('.', '_')}{suffix}"
    return f"{'transformer' if of_diffusers else 'diffusion_model'}.{layer}{suffix}"
