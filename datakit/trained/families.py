"""Families of models: what diffusers calls each layer, and what the model's own code does, from which fused layers differ.

Facts of diffusers 0.35.2 (``SD3Transformer2DModel``, ``FluxTransformer2DModel``, ``UNet2DConditionModel`` of SDXL) and of the
published single files. ``#`` stands for the number of a block.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

from datakit.errors import UsageError


class Part(NamedTuple):
    """Which rows of a fused layer a layer is: ``share`` parts from ``first`` on, of ``of`` equal ones."""

    first: int = 0
    share: int = 1
    of: int = 1


class Own(NamedTuple):
    """What a layer is called in the model's own code, and which part of that it is."""

    name: str
    part: Part = Part()


WHOLE = Part()
# The block that a name begins with; in its number families of transformers differ from one size to the next.
_NUMBER = re.compile(r"(?<=blocks[._])\d+")


@dataclass(frozen=True)
class Family:
    """The layers of one family of models, by diffusers' names.

    Attributes
    ----------
    name, title
        As options and people call it.
    layers
        Own name by diffusers' name.
    numbered
        Whether ``#`` in the names stands for any number.
    signs
        Parts of names that no other family has.
    """

    name: str
    title: str
    layers: Mapping[str, Own]
    numbered: bool
    signs: tuple[str, ...]

    def diffusers_name(self, name: str) -> str | None:
        """Return diffusers' name for diffusers' name, with dots or with underscores; None for what the family has not."""
        return self._found(self._by_diffusers, name)

    def own_name(self, name: str) -> str | None:
        """Return the own name for the own name, with dots or with underscores; None for what the family has not."""
        return self._found(self._by_own, name)

    def own(self, diffusers_name: str) -> Own:
        """Return what a layer of this family is called in the model's own code."""
        template, number = self._template(diffusers_name)
        own = self.layers[template]
        return own._replace(name=own.name.replace("#", number))

    def parts(self, own_name: str) -> list[tuple[str, Part]]:
        """Return diffusers' names of the layers that are fused in one of the model's own, with their parts."""
        template, number = self._template(own_name)
        return [(name.replace("#", number), part) for name, part in self._parts.get(template, ())]

    def _template(self, name: str) -> tuple[str, str]:
        found = _NUMBER.search(name) if self.numbered else None
        return (f"{name[: found.start()]}#{name[found.end() :]}", found[0]) if found else (name, "")

    def _found(self, table: Mapping[str, str], name: str) -> str | None:
        template, number = self._template(name)
        found = table.get(template)
        return None if found is None else found.replace("#", number)

    @cached_property
    def _by_diffusers(self) -> dict[str, str]:
        return _both_ways(self.layers)

    @cached_property
    def _by_own(self) -> dict[str, str]:
        return _both_ways(own.name for own in self.layers.values())

    @cached_property
    def _parts(self) -> dict[str, list[tuple[str, Part]]]:
        found: dict[str, list[tuple[str, Part]]] = {}
        for name, own in self.layers.items():
            found.setdefault(own.name, []).append((name, own.part))
        return found


def _both_ways(names: Iterable[str]) -> dict[str, str]:
    """Return names with dots by themselves and by the same with underscores."""
    listed = list(names)
    return {name.replace(".", "_"): name for name in listed} | {name: name for name in listed}


def _thirds(stem: str, own: str, names: tuple[str, str, str]) -> dict[str, Own]:
    return {f"{stem}.{name}": Own(own, Part(number, 1, 3)) for number, name in enumerate(names)}


_QUERY = ("to_q", "to_k", "to_v")
_ADDED = ("add_q_proj", "add_k_proj", "add_v_proj")


def _sd3() -> dict[str, Own]:
    block, context, picture = "transformer_blocks.#", "joint_blocks.#.context_block", "joint_blocks.#.x_block"
    layers = {
        "context_embedder": Own("context_embedder"),
        "pos_embed.proj": Own("x_embedder.proj"),
        "time_text_embed.timestep_embedder.linear_1": Own("t_embedder.mlp.0"),
        "time_text_embed.timestep_embedder.linear_2": Own("t_embedder.mlp.2"),
        "time_text_embed.text_embedder.linear_1": Own("y_embedder.mlp.0"),
        "time_text_embed.text_embedder.linear_2": Own("y_embedder.mlp.2"),
        "norm_out.linear": Own("final_layer.adaLN_modulation.1"),
        "proj_out": Own("final_layer.linear"),
    }
    layers |= _thirds(f"{block}.attn", f"{picture}.attn.qkv", _QUERY)
    layers |= _thirds(f"{block}.attn", f"{context}.attn.qkv", _ADDED)
    layers |= _thirds(f"{block}.attn2", f"{picture}.attn2.qkv", _QUERY)  # of SD3.5 Medium
    return layers | {
        f"{block}.{name}": Own(own)
        for name, own in {
            "attn.to_out.0": f"{picture}.attn.proj",
            "attn.norm_q": f"{picture}.attn.ln_q",
            "attn.norm_k": f"{picture}.attn.ln_k",
            "attn2.to_out.0": f"{picture}.attn2.proj",
            "attn2.norm_q": f"{picture}.attn2.ln_q",
            "attn2.norm_k": f"{picture}.attn2.ln_k",
            "ff.net.0.proj": f"{picture}.mlp.fc1",
            "ff.net.2": f"{picture}.mlp.fc2",
            "norm1.linear": f"{picture}.adaLN_modulation.1",
            "attn.to_add_out": f"{context}.attn.proj",
            "attn.norm_added_q": f"{context}.attn.ln_q",
            "attn.norm_added_k": f"{context}.attn.ln_k",
            "ff_context.net.0.proj": f"{context}.mlp.fc1",
            "ff_context.net.2": f"{context}.mlp.fc2",
            "norm1_context.linear": f"{context}.adaLN_modulation.1",
        }.items()
    }


def _flux() -> dict[str, Own]:
    block, own, single, own_single = "transformer_blocks.#", "double_blocks.#", "single_transformer_blocks.#", "single_blocks.#"
    layers = {"x_embedder": Own("img_in"), "context_embedder": Own("txt_in"), "proj_out": Own("final_layer.linear")}
    layers["norm_out.linear"] = Own("final_layer.adaLN_modulation.1")
    for name, own_name in (("timestep", "time_in"), ("text", "vector_in"), ("guidance", "guidance_in")):
        layers[f"time_text_embed.{name}_embedder.linear_1"] = Own(f"{own_name}.in_layer")
        layers[f"time_text_embed.{name}_embedder.linear_2"] = Own(f"{own_name}.out_layer")
    layers |= _thirds(f"{block}.attn", f"{own}.img_attn.qkv", _QUERY)
    layers |= _thirds(f"{block}.attn", f"{own}.txt_attn.qkv", _ADDED)
    for side, mark, out in (("img", "", "to_out.0"), ("txt", "_context", "to_add_out")):
        layers |= {
            f"{block}.attn.{out}": Own(f"{own}.{side}_attn.proj"),
            f"{block}.ff{mark}.net.0.proj": Own(f"{own}.{side}_mlp.0"),
            f"{block}.ff{mark}.net.2": Own(f"{own}.{side}_mlp.2"),
            f"{block}.norm1{mark}.linear": Own(f"{own}.{side}_mod.lin"),
        }
    # One layer holds queries, keys and values, and four times as many rows of the perceptron.
    layers |= {f"{single}.attn.{name}": Own(f"{own_single}.linear1", Part(number, 1, 7)) for number, name in enumerate(_QUERY)}
    return layers | {
        f"{single}.proj_mlp": Own(f"{own_single}.linear1", Part(3, 4, 7)),
        f"{single}.proj_out": Own(f"{own_single}.linear2"),
        f"{single}.norm.linear": Own(f"{own_single}.modulation.lin"),
    }


def _sdxl() -> dict[str, Own]:
    layers = {
        "conv_in": Own("input_blocks.0.0"),
        "conv_out": Own("out.2"),
        "time_embedding.linear_1": Own("time_embed.0"),
        "time_embedding.linear_2": Own("time_embed.2"),
        "add_embedding.linear_1": Own("label_emb.0.0"),
        "add_embedding.linear_2": Own("label_emb.0.2"),
    }
    # Blocks down and up with how many transformer blocks each of their attentions has.
    for x, depth in enumerate((0, 2, 10)):
        for i in range(2):
            at = 1 + 3 * x + i
            layers |= _resnet(f"down_blocks.{x}.resnets.{i}", f"input_blocks.{at}.0")
            layers |= _attention(f"down_blocks.{x}.attentions.{i}", f"input_blocks.{at}.1", depth)
        layers[f"down_blocks.{x}.downsamplers.0.conv"] = Own(f"input_blocks.{3 * x + 3}.0.op")
    for i in range(2):
        layers |= _resnet(f"mid_block.resnets.{i}", f"middle_block.{2 * i}")
    layers |= _attention("mid_block.attentions.0", "middle_block.1", 10)
    for x, depth in enumerate((10, 2, 0)):
        for i in range(3):
            layers |= _resnet(f"up_blocks.{x}.resnets.{i}", f"output_blocks.{3 * x + i}.0")
            layers |= _attention(f"up_blocks.{x}.attentions.{i}", f"output_blocks.{3 * x + i}.1", depth)
        layers[f"up_blocks.{x}.upsamplers.0.conv"] = Own(f"output_blocks.{3 * x + 2}.{2 if depth else 1}.conv")
    return layers


def _resnet(name: str, own: str) -> dict[str, Own]:
    pairs = (
        ("norm1", "in_layers.0"),
        ("conv1", "in_layers.2"),
        ("time_emb_proj", "emb_layers.1"),
        ("norm2", "out_layers.0"),
        ("conv2", "out_layers.3"),
        ("conv_shortcut", "skip_connection"),
    )
    return {f"{name}.{each}": Own(f"{own}.{its}") for each, its in pairs}


def _attention(name: str, own: str, depth: int) -> dict[str, Own]:
    if not depth:
        return {}
    ends = [f"attn{number}.{layer}" for number in (1, 2) for layer in (*_QUERY, "to_out.0")]
    ends += ["ff.net.0.proj", "ff.net.2", "norm1", "norm2", "norm3"]
    inner = [f"transformer_blocks.{block}.{end}" for block in range(depth) for end in ends]
    return {f"{name}.{each}": Own(f"{own}.{each}") for each in ("norm", "proj_in", "proj_out", *inner)}


_MADE = {
    "sd3": ("Stable Diffusion 3 and 3.5", _sd3, True, ("joint_blocks", "add_q_proj", "norm1_context", "context_block")),
    "flux": ("Flux", _flux, True, ("single_transformer_blocks", "single_blocks", "double_blocks")),
    "sdxl": (
        "Stable Diffusion XL",
        _sdxl,
        False,
        ("down_blocks", "up_blocks", "mid_block", "input_blocks", "output_blocks", "middle_block"),
    ),
}
FAMILIES = tuple(_MADE)


@cache
def family(name: str) -> Family:
    """Return a family by its name.

    Raises
    ------
    UsageError
        The name is unknown.
    """
    if name not in _MADE:
        raise UsageError(f"model family {name!r} is unknown here: choose from {', '.join(FAMILIES)}")
    title, layers, numbered, signs = _MADE[name]
    return Family(name, title, layers(), numbered, signs)


def family_of(names: Iterable[str]) -> Family | None:
    """Return the family whose layers these are, whatever stands before and behind them; None where nothing tells.

    Flux has the context layers of SD3 too, so that its own blocks are looked for first.
    """
    text = "\n".join(names)
    for name in ("flux", "sdxl", "sd3"):
        known = family(name)
        if any(sign in text for sign in known.signs):
            return known
    return family("sd3") if "transformer_blocks" in text else None
