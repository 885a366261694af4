"""LoRAs of a tiny SD3 (two blocks of 128 columns) in every dialect that trainers write, made by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.trained.made import save

DEPTH, WIDTH, RANK = 2, 128, 4
LAYERS = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
# What stands before a layer's name, what joins its parts, and what the halves are called: down, up.
DIALECTS = {
    "diffusers": ("transformer.", ".", "lora_A.weight", "lora_B.weight"),
    "simpletuner-2024-10": ("transformer.", ".", "lora.down.weight", "lora.up.weight"),
    "peft": ("base_model.model.", ".", "lora_A.weight", "lora_B.weight"),
    "lycoris": ("lycoris_", "_", "lora_down.weight", "lora_up.weight"),
    "onetrainer": ("lora_transformer_", "_", "lora_down.weight", "lora_up.weight"),
    # ComfyUI knows none of these.
    "simpletuner-comfyui": ("diffusion_model.", ".", "lora_A.weight", "lora_B.weight"),
    "unet": ("unet.", ".", "lora_A.weight", "lora_B.weight"),
    "bare": ("", ".", "lora_A.weight", "lora_B.weight"),
    "kohya-of-diffusers": ("lora_unet_", "_", "lora_down.weight", "lora_up.weight"),
}
READ = ("diffusers", "simpletuner-2024-10", "peft", "lycoris", "onetrainer", "kohya-sd3")


def lora(
    dialect: str = "diffusers", *, strength: float = 1.0, alpha: float | None = None, width: int = WIDTH
) -> dict[str, np.ndarray]:
    """The same LoRA in one of the dialects; ``alpha`` beside each layer where it is given."""
    draw = np.random.default_rng(7)
    found: dict[str, np.ndarray] = {}
    for block in range(DEPTH):
        for layer in LAYERS:
            down = draw.standard_normal((RANK, width)).astype(np.float32) / 8
            up = (draw.standard_normal((width, RANK)) * strength).astype(np.float32)
            if dialect == "kohya-sd3":
                continue
            prefix, join, below, above = DIALECTS[dialect]
            name = prefix + f"transformer_blocks.{block}.{layer}".replace(".", join)
            found |= {f"{name}.{below}": down, f"{name}.{above}": up}
            if alpha is not None:
                found[f"{name}.alpha"] = np.float32(alpha).reshape(())
        if dialect == "kohya-sd3":
            for layer, columns, rows in (
                ("attn_qkv", WIDTH, 3 * WIDTH),
                ("attn_proj", WIDTH, WIDTH),
                ("mlp_fc1", WIDTH, 4 * WIDTH),
            ):
                name = f"lora_unet_joint_blocks_{block}_x_block_{layer}"
                found[f"{name}.lora_down.weight"] = draw.standard_normal((RANK, columns)).astype(np.float32) / 8
                found[f"{name}.lora_up.weight"] = (draw.standard_normal((rows, RANK)) * strength).astype(np.float32)
                found[f"{name}.alpha"] = np.float32(RANK).reshape(())
    return found


def lycoris(kind: str) -> dict[str, np.ndarray]:
    """What SimpleTuner writes of LyCORIS' other kinds; ComfyUI knows nothing of ia3."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "lokr": {"lokr_w1": (4, 4), "lokr_w2": (WIDTH // 4, WIDTH // 4), "alpha": ()},
        "loha": {"hada_w1_a": (WIDTH, 4), "hada_w1_b": (4, WIDTH), "hada_w2_a": (WIDTH, 4), "hada_w2_b": (4, WIDTH), "alpha": ()},
        "full": {"diff": (WIDTH, WIDTH)},
        "ia3": {"weight": (WIDTH,), "on_input": ()},
    }
    draw = np.random.default_rng(3)
    return {
        f"lycoris_transformer_blocks_{block}_{layer.replace('.', '_')}.{end}": np.asarray(
            draw.standard_normal(shape) / 50, np.float32
        )
        for block in range(DEPTH)
        for layer in LAYERS
        for end, shape in shapes[kind].items()
    }


def noted(alpha: float, **more: object) -> dict[str, str]:
    """What SimpleTuner 3.1.6 writes into the metadata, where ComfyUI does not look."""
    told = {
        "transformer.r": RANK,
        "transformer.lora_alpha": alpha,
        **{f"transformer.{key}": value for key, value in more.items()},
    }
    return {"format": "pt", "lora_adapter_metadata": json.dumps(told)}


def run_of(
    folder: Path, steps: Mapping[int, float], metadata: Mapping[str, str] | None = None, dialect: str = "diffusers"
) -> Path:
    """A folder as SimpleTuner leaves it, with one checkpoint for each step, and its strength."""
    for step, strength in steps.items():
        save(folder / f"checkpoint-{step}" / "pytorch_lora_weights.safetensors", lora(dialect, strength=strength), metadata)
    return folder
