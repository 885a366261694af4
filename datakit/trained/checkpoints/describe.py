"""What a checkpoint is by its header: kind, rank and alpha, and what ComfyUI would make of it."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datakit.errors import UsageError, WeightsFileError
from datakit.trained.checkpoints.comfy_keys import ALPHA, PAIRS, Reading, anywhere, family_of_lora, read_keys, split
from datakit.trained.checkpoints.layouts import Place
from datakit.trained.families import Family
from datakit.trained.weights.choice import Layer, Model
from datakit.trained.weights.collection import open_weights
from datakit.trained.weights.header import Header, read_header, read_scalars

# By a part of a tensor's name, the first that is there; LyCORIS' own LoRA carries its prefix.
_KINDS = (
    ("lokr_", "LoKr"),
    ("hada_", "LoHa"),
    ("oft_blocks", "OFT"),
    ("lora_mid", "LoCon"),
    ("on_input", "IA3"),
    (".b1.weight", "GLoRA"),
)
# No alpha is larger, and none that is can be written beside its layer as F32.
ALPHA_AT_MOST = 1e9
_DOWN = tuple(down for _, down in PAIRS)
# Where diffusers from 0.34 on, and SimpleTuner with it, notes what peft was told; peft's own file beside its weights.
_NOTED, _PEFT_FILE = "lora_adapter_metadata", "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint as its header tells it.

    Attributes
    ----------
    place
        Where it lies, and what it is of.
    kind
        LoRA, LoKr, ... or full.
    size
        Bytes on the disk.
    problem
        Why it cannot be used; what follows is then empty. ``fault`` says so in one word.
    ranks, alphas
        Of the layers that have them, in the file itself, each value once.
    noted
        The alpha that stands beside the tensors, where ComfyUI does not look, by layer; with rank-stabilised scaling, what
        ComfyUI needs to come to the same.
    reading
        What ComfyUI would read; None of a full model.
    header
        Of its one file.
    """

    place: Place
    kind: str
    size: int
    problem: str = ""
    fault: str = ""
    ranks: tuple[int, ...] = ()
    alphas: tuple[float, ...] = ()
    noted: Mapping[str, float] = field(default_factory=dict)
    reading: Reading | None = None
    header: Header | None = None

    @property
    def lost_strength(self) -> float | None:
        """The strength at which it was trained, of its strongest layer, where ComfyUI applies 1 because alpha is lost."""
        if not self.noted or self.header is None:
            return None
        ranks = ranks_by_layer(self.header)
        return max(alpha / ranks[layer] for layer, alpha in self.noted.items())

    @property
    def is_read(self) -> bool:
        """Whether ComfyUI reads all of it as it was trained."""
        if self.problem:
            return False
        return self.reading is None or (self.reading.known == self.reading.keys and self.lost_strength is None)

    @property
    def verdict(self) -> str:
        """What ComfyUI makes of it, in words."""
        if self.problem:
            return self.problem
        if self.reading is None:
            return "a whole model: link it into diffusion_models"
        if self.reading.family is None:
            return "names of no family that is known here"
        said = [f"{self.reading.known} of {self.reading.keys} keys"]
        if self.reading.misshapen:
            said.append(f"{len(self.reading.misshapen)} do not fit the model")
        if self.reading.text:
            said.append(f"{self.reading.text} of a text encoder, for a loader with CLIP")
        if self.lost_strength is not None:
            said.append(f"alpha is lost: trained at strength {self.lost_strength:g}, applied at 1")
        return "; ".join(said)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        reading = self.reading
        return {
            "path": str(self.place.path),
            "label": self.place.label,
            "series": self.place.series,
            "step": self.place.step,
            "epoch": self.place.epoch,
            "ema": self.place.ema,
            "kind": self.kind,
            "bytes": self.size,
            "ranks": self.ranks,
            "alphas": self.alphas,
            "lost_strength": self.lost_strength,
            "family": reading.family.name if reading and reading.family else None,
            "keys": reading.keys if reading else None,
            "known": reading.known if reading else None,
            "unknown": reading.unknown if reading else (),
            "misshapen": reading.misshapen if reading else (),
            "read": self.is_read,
            "verdict": self.verdict,
            "fault": self.fault,
        }


def describe(place: Place, known: Family | None = None, base: Model | None = None) -> Checkpoint:
    """Read the header of a checkpoint and hold it against what ComfyUI knows.

    Parameters
    ----------
    place
        Where it lies.
    known
        The family of its model, where the names are not to tell.
    base
        The model that it was trained on: its layers and their shapes.
    """
    try:
        if place.path.is_dir():
            weights = open_weights(place.path)
            if len(weights.files) == 1:
                return Checkpoint(place, "full", _size(weights.files[0].path), header=weights.files[0])
            sizes = sum(_size(header.path) for header in weights.files)
            command = f"datakit weights merge {shlex.quote(str(place.path))} TARGET"
            problem = f"{len(weights.files)} shards: put them together with `{command}`"
            return Checkpoint(place, "full", sizes, problem, "shards")
        return _of_header(place, read_header(place.path), known, base)
    except (WeightsFileError, UsageError, OSError) as error:
        size = _size(place.path) if place.path.is_file() else 0
        return Checkpoint(place, "", size, str(error), error.kind if isinstance(error, WeightsFileError) else "damaged")


def _of_header(place: Place, header: Header, known: Family | None, base: Model | None) -> Checkpoint:
    """Return what the header of a checkpoint in one file says."""
    size = header.data + header.size
    if not header.tensors:
        return Checkpoint(place, "", size, f"{place.path} holds no tensor", "empty")
    kind = _kind(header)
    if kind == "full":
        return Checkpoint(place, kind, size, header=header)
    known = (
        known or (base.family if base else None) or family_of_lora({each.name: each.shape for each in header.tensors.values()})
    )
    reading = read_keys(header.tensors, known)
    if base and known:
        reading = _held_against(reading, known, header, base)
    alphas = read_scalars(header, (name for name in header.tensors if name.endswith(ALPHA)))
    return Checkpoint(
        place,
        kind,
        size,
        ranks=tuple(sorted(set(ranks_by_layer(header).values()))),
        alphas=tuple(sorted(set(alphas.values()))),
        noted=_noted(header),
        reading=reading,
        header=header,
    )


def _size(path: Path) -> int:
    return path.stat().st_size


def _kind(header: Header) -> str:
    for sign, kind in _KINDS:
        if any(sign in name for name in header.tensors):
            return kind
    if any(split(name)[1] in _DOWN for name in header.tensors):
        return "LyCORIS" if any(name.startswith("lycoris_") for name in header.tensors) else "LoRA"
    if any(name.endswith((".diff", ".diff_b", ".set_weight")) for name in header.tensors):
        return "LyCORIS full"
    return "full"


def ranks_by_layer(header: Header) -> dict[str, int]:
    """Return the rank of each layer that has a LoRA: the rows of its down half."""
    found = {}
    for name, tensor in header.tensors.items():
        layer, suffix = split(name)
        if suffix in _DOWN and tensor.shape and tensor.shape[0]:
            found[layer] = tensor.shape[0]
    return found


def _noted(header: Header) -> dict[str, float]:
    """Return the alphas that only the metadata knows, by layer, where they are not the rank and stand in no tensor."""
    told = _told(header)
    if told is None:
        return {}
    found = {}
    for layer, rank in ranks_by_layer(header).items():
        if layer + ALPHA in header.tensors:
            continue
        alpha = next((value for name, value in told.by_layer.items() if f".{layer}".endswith(f".{name}")), told.alpha)
        if told.stabilised:
            alpha *= math.sqrt(rank)  # alpha / sqrt(rank) there (Kalajdzievski 2023), alpha / rank in ComfyUI
        if alpha != rank:
            found[layer] = alpha
    return found


@dataclass(frozen=True, slots=True)
class _Told:
    """What peft was told: alpha for all layers, and for those whose names end so; whether scaling is rank-stabilised."""

    alpha: float
    by_layer: Mapping[str, float]
    stabilised: bool


def _told(header: Header) -> _Told | None:
    """Return what the metadata, or the file of peft beside the weights, says of alpha."""
    noted = header.metadata.get(_NOTED)
    try:
        if noted is not None:
            whole = {re.sub(r"^(transformer|unet)\.", "", key): value for key, value in json.loads(noted).items()}
        elif header.path.name == "adapter_model.safetensors":
            whole = json.loads((header.path.parent / _PEFT_FILE).read_bytes())
        else:
            return None
        pattern = whole.get("alpha_pattern") or {}
        return _Told(
            _alpha(whole["lora_alpha"]),
            {str(key): _alpha(value) for key, value in pattern.items()},
            bool(whole.get("use_rslora")),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None


def _alpha(value: Any) -> float:
    """Return an alpha if it can be one."""
    alpha = float(value)
    if not abs(alpha) <= ALPHA_AT_MOST:
        raise ValueError(alpha)
    return alpha


def _held_against(reading: Reading, known: Family, header: Header, base: Model) -> Reading:
    """Return a reading in which layers that the model has not are unknown, and those of another shape misshapen."""
    layers = {layer.name: layer for layer in base.layers}
    absent, misshapen = [], []
    for name in header.tensors:
        layer_name, _ = split(name)
        found = anywhere(known, layer_name)
        if found is None:
            continue
        parts = [found[0]] if found[1] else [part for part, _ in known.parts(found[0])]
        there = [layers[part] for part in parts if part in layers]
        if not there:
            if found[0].split(".")[-1].startswith(("norm", "ln_")):
                continue  # of norms only the modules' names are known, not their shapes
            absent.append(name)
        elif not _fits(header, layer_name, there):
            misshapen.append(name)
    passed = set(reading.unknown)
    return replace(
        reading,
        unknown=(*reading.unknown, *(name for name in absent if name not in passed)),
        misshapen=tuple(name for name in misshapen if name not in passed),
        unfit=(*absent, *misshapen),
    )


def _fits(header: Header, layer: str, there: list[Layer]) -> bool:
    """Tell whether the halves of a LoRA multiply to the shape of the layers that it changes; of other kinds nothing is told."""
    for up, down in PAIRS:
        if layer + up in header.tensors and layer + down in header.tensors:
            above, below = header.tensors[layer + up].shape, header.tensors[layer + down].shape
            return above[:1] == (sum(each.outputs for each in there),) and math.prod(below[1:]) == there[0].inputs
    return True
