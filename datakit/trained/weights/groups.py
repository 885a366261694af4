"""The architecture of a model as its header tells it: tensors by block, in natural order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from datakit.trained.weights.header import Tensor, natural

# A block is the longest path that ends in a number behind `blocks`; where nothing is called so, behind `layers`.
_BLOCK = re.compile(r"(.*blocks?[._]\d+)(?=[._]|$)")
_LAYER = re.compile(r"(.*layers?[._]\d+)(?=[._]|$)")


@dataclass(frozen=True, slots=True)
class Group:
    """The tensors of one block, or of what has no blocks."""

    name: str
    tensors: tuple[Tensor, ...]

    @property
    def parameters(self) -> int:
        """How many numbers they hold."""
        return sum(tensor.parameters for tensor in self.tensors)

    @property
    def dtypes(self) -> dict[str, int]:
        """How many of them are of each kind, most first."""
        return dict(Counter(tensor.dtype for tensor in self.tensors).most_common())

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        tensors = {tensor.name: {"dtype": tensor.dtype, "shape": tensor.shape} for tensor in self.tensors}
        return {"name": self.name, "parameters": self.parameters, "dtypes": self.dtypes, "tensors": tensors}


def group_of(name: str) -> str:
    """Return the block that a tensor belongs to, else the first part of its name."""
    block = _BLOCK.match(name) or _LAYER.match(name)
    return block[1] if block else name.split(".", maxsplit=1)[0]


def grouped(tensors: Iterable[Tensor]) -> list[Group]:
    """Return tensors by block; blocks, and the tensors of each, in natural order."""
    found: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        found.setdefault(group_of(tensor.name), []).append(tensor)
    by_name = sorted(found.items(), key=lambda item: natural(item[0]))
    return [Group(name, tuple(sorted(members, key=lambda tensor: natural(tensor.name)))) for name, members in by_name]
