"""Safetensors files written by hand, from the format's own description: models, LoRAs, shards, and damaged ones."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

Shapes = Mapping[str, tuple[str, Iterable[int]]]
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1}
SD35_LARGE = (Path(__file__).parent / "sd35-large-keys.txt").read_text().split()
WIDTH = 2432


def table(shapes: Shapes, metadata: Mapping[str, str] | None = None) -> tuple[bytes, int]:
    """The beginning of a file with these tensors one behind another, and how many bytes they take."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, (dtype, shape) in shapes.items():
        end = at + BYTES[dtype] * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text, at


def sparse(path: Path, shapes: Shapes, metadata: Mapping[str, str] | None = None) -> Path:
    """Write a file whose tensors are holes, which take no room on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    begin, size = table(shapes, metadata)
    with path.open("wb") as file:
        file.write(begin)
        file.truncate(len(begin) + size)
    return path


def save(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> Path:
    """Write arrays (float32, float16, float64, int64, uint8)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "uint8": "U8"}
    begin, _ = table({name: (kinds[str(array.dtype)], array.shape) for name, array in tensors.items()}, metadata)
    path.write_bytes(begin + b"".join(array.tobytes() for array in tensors.values()))
    return path


def contents(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """What a file holds, read as the format's description says: kind, shape and bytes of every tensor."""
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    entries = json.loads(whole[8:start])
    entries.pop("__metadata__", None)
    return {
        name: (entry["dtype"], entry["shape"], whole[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]])
        for name, entry in entries.items()
    }


def metadata_of(path: Path) -> dict[str, str]:
    whole = path.read_bytes()
    found: dict[str, str] = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")]).get("__metadata__", {})
    return found


def index(folder: Path, shards: Mapping[str, Shapes], total: int | None = None) -> Path:
    """Write the index of shards."""
    places = {name: shard for shard, shapes in shards.items() for name in shapes}
    path = folder / "diffusion_pytorch_model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {} if total is None else {"total_size": total}, "weight_map": places}))
    return path


def sd35_large() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Every tensor of SD3.5 Large's transformer in diffusers' names, with its shape: 38 blocks of 2,432 columns."""
    wide = {
        "net.0.proj": (4 * WIDTH, WIDTH), "net.2": (WIDTH, 4 * WIDTH), "norm1.linear": (6 * WIDTH, WIDTH),
        "context_embedder": (WIDTH, 4096), "timestep_embedder.linear_1": (WIDTH, 256), "text_embedder.linear_1": (WIDTH, 2048),
        "norm_out.linear": (2 * WIDTH, WIDTH), "proj_out": (64, WIDTH),
    }  # fmt: skip
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name in SD35_LARGE:
        stem, end = name.rsplit(".", 1)
        if name == "pos_embed.pos_embed":
            shape: tuple[int, ...] = (1, 384 * 384, WIDTH)
        elif ".norm_" in name:
            shape = (64,)
        elif stem == "pos_embed.proj":
            shape = (WIDTH, 16, 2, 2)
        elif stem.endswith("norm1_context.linear"):
            shape = ((2 if ".37." in name else 6) * WIDTH, WIDTH)
        else:
            shape = next((shape for ending, shape in wide.items() if stem.endswith(ending)), (WIDTH, WIDTH))
        found[name] = ("BF16", shape if end != "bias" else shape[:1])
    return found
