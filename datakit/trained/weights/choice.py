"""Which layers of a model are to be trained: by block, by what they do, with or without those that take the inputs in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from datakit.errors import UsageError
from datakit.trained.families import Family, family_of
from datakit.trained.weights.collection import Weights
from datakit.trained.weights.header import Tensor, natural

# What a layer does, by parts of ".name." as diffusers calls it. The embedders take text, time and picture in.
PARTS = {
    "attention": (".attn.", ".attn1.", ".attn2."),
    "context": (".attn.add_", ".attn.to_add_out.", ".ff_context.", ".norm1_context."),
    "mlp": (".ff.", ".ff_context.", ".proj_mlp.", ".proj_out."),
    "modulation": (".norm1.linear.", ".norm1_context.linear.", ".norm.linear."),
}
EMBEDDERS = ("context_embedder", "time_text_embed", "pos_embed", "x_embedder", "time_embedding", "add_embedding")
_BLOCK = re.compile(r"(single_)?transformer_blocks\.(\d+)\.")
# Before the names of one file that holds a whole model.
_PREFIXES = ("model.diffusion_model.", "diffusion_model.")


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear or convolutional layer: diffusers' name, and what it holds.

    Attributes
    ----------
    name
        Such as ``transformer_blocks.0.attn.to_q``.
    inputs, outputs
        Columns and rows of its weight; a LoRA of rank 1 has as many parameters as both together.
    parameters
        Of weight and bias.
    """

    name: str
    inputs: int
    outputs: int
    parameters: int

    @property
    def block(self) -> tuple[bool, int] | None:
        """Whether its block is one of Flux's single ones, and the block's number; None outside of them."""
        found = _BLOCK.match(self.name)
        return (bool(found[1]), int(found[2])) if found else None

    @property
    def embeds(self) -> bool:
        """Whether it takes an input of the model in."""
        return self.name.startswith(EMBEDDERS)

    def does(self, part: str) -> bool:
        """Tell whether it does what a key of `PARTS` says; layers outside of the blocks do none of it."""
        return "blocks." in self.name and any(sign in f".{self.name}." for sign in PARTS[part])


@dataclass(frozen=True, slots=True)
class Model:
    """The layers of a model that can be adapted, in natural order, and all other modules that a rule may hit by accident."""

    family: Family
    layers: tuple[Layer, ...]
    others: frozenset[str]

    @property
    def names(self) -> tuple[str, ...]:
        """What the layers are called."""
        return tuple(layer.name for layer in self.layers)

    def blocks(self, single: bool = False) -> list[int]:
        """Return the numbers of the blocks, or of Flux's single blocks, in order."""
        return sorted({layer.block[1] for layer in self.layers if layer.block and layer.block[0] == single})


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for.

    Attributes
    ----------
    blocks, single_blocks
        Numbers; None for all, unless the other is given.
    only
        A key of `PARTS`.
    embedders
        False leaves out the layers that take inputs in.
    """

    blocks: frozenset[int] | None = None
    single_blocks: frozenset[int] | None = None
    only: str | None = None
    embedders: bool = True

    @property
    def is_all_but_embedders(self) -> bool:
        """Whether nothing else was asked for than to leave the embedders out."""
        return not self.embedders and self.only is None and self.blocks is None and self.single_blocks is None

    def takes(self, layer: Layer) -> bool:
        """Tell whether a layer is to be trained."""
        if self.blocks is not None or self.single_blocks is not None:
            if layer.block is None:
                return False
            single, number = layer.block
            if number not in ((self.single_blocks if single else self.blocks) or ()):
                return False
        return (self.embedders or not layer.embeds) and (self.only is None or layer.does(self.only))


def numbers(text: str) -> frozenset[int]:
    """Read numbers and ranges: ``0-29``, ``0,3,10-12``.

    Raises
    ------
    UsageError
        It is something else.
    """
    found: set[int] = set()
    for piece in text.split(","):
        ends = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", piece)
        if not ends or int(ends[2] or ends[1]) < int(ends[1]):
            raise UsageError(f"blocks {text!r}: write numbers and ranges, such as 0-29 or 0,3,10-12")
        found |= set(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
    return frozenset(found)


def ranges(found: Iterable[int]) -> str:
    """Return numbers as they are read: ``0-29``, ``0, 3, 10-12``."""
    said: list[list[int]] = []
    for number in sorted(found):
        if said and said[-1][1] == number - 1:
            said[-1][1] = number
        else:
            said.append([number, number])
    return ", ".join(f"{first}-{last}" if first != last else str(first) for first, last in said)


def read_model(weights: Weights) -> Model:
    """Return the layers of a whole model, whether its tensors are called as diffusers or as the model's own code does.

    Raises
    ------
    UsageError
        It is no model of a family that is known.
    """
    tensors = {_bare(tensor.name): tensor for tensor in weights.tensors()}
    known = family_of(tensors)
    if known is None:
        raise UsageError(f"{weights.source} is no transformer or U-Net of Stable Diffusion 3, XL or Flux")
    layers, others = [], set()
    for name, tensor in tensors.items():
        stem, _, end = name.rpartition(".")
        others |= {stem[:at] for at in (*(dot.start() for dot in re.finditer(r"\.", stem)), len(stem))}
        if end == "weight" and len(tensor.shape) > 1:
            layers += _layers(known, stem, tensors)
    layers.sort(key=lambda layer: natural(layer.name))
    if not layers:
        raise UsageError(f"{weights.source} holds no layer of {known.title} that could be trained: name the model, not a LoRA")
    return Model(known, tuple(layers), frozenset(others - {layer.name for layer in layers} - {""}))


def _bare(name: str) -> str:
    return next((name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix)), name)


def _layers(known: Family, stem: str, tensors: dict[str, Tensor]) -> list[Layer]:
    """Return the layer of a weight, or those that are fused in it; none for what the family has not."""
    weight, bias = tensors[f"{stem}.weight"], tensors.get(f"{stem}.bias")
    rows, columns = weight.shape[0], weight.parameters // max(1, weight.shape[0])
    total = weight.parameters + (bias.parameters if bias else 0)
    if known.diffusers_name(stem) == stem:
        return [Layer(stem, columns, rows, total)]
    return [Layer(name, columns, rows * part.share // part.of, total * part.share // part.of) for name, part in known.parts(stem)]
