"""Print, as JSON, the names that a ComfyUI knows for LoRAs of SD3.5 Large and Medium, Flux and SDXL: run by its Python in its folder.

Models are made without weights, from the shapes that each is known by.
"""

import json
import sys

sys.argv = [sys.argv[0], "--cpu"]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import comfy.lora  # noqa: E402
import comfy.supported_models as supported  # noqa: E402
import torch  # noqa: E402


def mmdit(depth, positions, twice):
    context = {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 64 * depth}}
    return {
        "in_channels": 16, "patch_size": 2, "depth": depth, "num_blocks": depth, "input_size": None, "adm_in_channels": 2048,
        "context_embedder_config": context, "qk_norm": "rms", "pos_embed_max_size": positions, "num_patches": positions**2,
        "x_block_self_attn_layers": list(range(twice)),
    }  # fmt: skip


FLUX = {
    "image_model": "flux", "in_channels": 16, "out_channels": 16, "vec_in_dim": 768, "context_in_dim": 4096, "hidden_size": 3072,
    "mlp_ratio": 4.0, "num_heads": 24, "depth": 19, "depth_single_blocks": 38, "axes_dim": [16, 56, 56], "theta": 10000,
    "qkv_bias": True, "guidance_embed": True, "patch_size": 2,
}  # fmt: skip
SDXL = {
    "use_checkpoint": False, "image_size": 32, "use_spatial_transformer": True, "legacy": False, "num_classes": "sequential",
    "adm_in_channels": 2816, "in_channels": 4, "out_channels": 4, "model_channels": 320, "num_res_blocks": [2, 2, 2],
    "transformer_depth": [0, 0, 2, 2, 10, 10], "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10], "channel_mult": [1, 2, 4],
    "transformer_depth_middle": 10, "use_linear_in_transformer": True, "context_dim": 2048, "num_head_channels": 64,
    "use_temporal_attention": False, "use_temporal_resblock": False,
}  # fmt: skip
MODELS = {
    "sd3.5-large": (supported.SD3, mmdit(38, 192, 0)),
    "sd3.5-medium": (supported.SD3, mmdit(24, 384, 13)),
    "flux": (supported.Flux, FLUX),
    "sdxl": (supported.SDXL, SDXL),
}

maps = {}
for name, (kind, config) in MODELS.items():
    made = kind(config)
    made.unet_config = config
    made.set_inference_dtype(torch.float16, None)
    with torch.device("meta"):
        maps[name] = sorted(comfy.lora.model_lora_keys_unet(made.get_model({}, "", device="meta"), {}))
json.dump(maps, sys.stdout)
