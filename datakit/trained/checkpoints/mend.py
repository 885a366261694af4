"""A copy of a LoRA that ComfyUI reads as it was trained: other names, one alpha a layer, every other byte as it was."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datakit.trained.checkpoints.comfy_keys import ALPHA, read_keys, renamed
from datakit.trained.checkpoints.describe import Checkpoint, ranks_by_layer
from datakit.trained.weights.header import Header, Tensor, header_bytes
from datakit.trained.weights.writing import Span, spans, write_whole


@dataclass(frozen=True, slots=True)
class Mending:
    """The new beginning of a file.

    Attributes
    ----------
    beginning
        Header and alphas; the tensors follow as they are in the file.
    names, alphas
        How many tensors are called otherwise, and how many layers get an alpha.
    known
        How many of the tensors ComfyUI reads then.
    """

    beginning: bytes
    names: int
    alphas: int
    known: int

    def describe(self) -> str:
        """Return what was changed."""
        parts = [f"{self.names} names changed"] if self.names else []
        parts += [f"alpha written for {self.alphas} layers"] if self.alphas else []
        return ", ".join(parts)


def mending(checkpoint: Checkpoint, alpha: float | None = None) -> Mending | None:
    """Return what makes ComfyUI read a checkpoint as it was trained; None where nothing has to be, or can be, done.

    Parameters
    ----------
    checkpoint
        One whose header was read.
    alpha
        For layers without one, where the file says nothing of it.
    """
    header, reading = checkpoint.header, checkpoint.reading
    if header is None or reading is None or reading.family is None:
        return None
    names = {name: renamed(reading.family, name) for name in header.tensors}
    if len(set(names.values())) != len(names):
        names = {name: name for name in names}  # two layers would get one name: nothing is certain then
    changed = sum(old != new for old, new in names.items())
    alphas = _alphas(checkpoint, header, alpha)
    if not changed and not alphas:
        return None
    # Alphas first: their F32 needs a place that is a multiple of 4, which bytes of BF16 do not promise.
    at, tensors = 0, []
    for layer in alphas:
        tensors.append(Tensor(renamed(reading.family, layer + ALPHA), "F32", (), at, at + 4))
        at += 4
    tensors += [
        each._replace(name=names[each.name], start=each.start + at, end=each.end + at) for each in header.tensors.values()
    ]
    known = read_keys((each.name for each in tensors), reading.family).known - len(alphas) - len(reading.unfit)
    values = struct.pack(f"<{len(alphas)}f", *alphas.values())
    return Mending(header_bytes(tensors, header.metadata) + values, changed, len(alphas), known)


def _alphas(checkpoint: Checkpoint, header: Header, alpha: float | None) -> dict[str, float]:
    """Return the alpha of each layer that has none in the file and needs one."""
    if checkpoint.noted or alpha is None:
        return dict(checkpoint.noted)

    return {
        layer: alpha for layer, rank in ranks_by_layer(header).items() if layer + ALPHA not in header.tensors and rank != alpha
    }


def write_mended(header: Header, found: Mending, target: Path) -> None:
    """Write the copy: the new beginning, then the tensors of the file byte for byte."""
    file = os.open(header.path, os.O_RDONLY)
    try:
        write_whole(target, _parts(found.beginning, file, header))
    finally:
        os.close(file)


def _parts(beginning: bytes, file: int, header: Header) -> Iterator[bytes | Span]:
    yield beginning
    yield from spans(file, header.data, header.data + header.size)
