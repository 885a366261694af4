"""Shards put together into one file: bytes are streamed from file to file, none is held in memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from datakit.errors import UsageError
from datakit.report import in_bytes
from datakit.trained.weights.collection import Weights, open_weights
from datakit.trained.weights.header import BITS, Header, Tensor, header_bytes
from datakit.trained.weights.writing import Span, spans, write_whole


def merge_weights(source: Path, target: Path, progress: Callable[[int], object] = lambda moved: None) -> Weights:
    """Write the shards of a model as one file, every tensor byte for byte, and return what was read.

    Tensors of wider numbers come first, so that each begins where its kind has to; else they keep their order. The file
    appears whole, or not at all.

    Parameters
    ----------
    source
        A folder of shards, or their index.
    target
        The file to write; nothing may be there.
    progress
        Told how many bytes were moved, piece by piece.

    Raises
    ------
    WeightsFileError
        A shard is missing, damaged or cut off, or does not fit the index.
    UsageError
        Something is at the target, there are no shards to put together, or the disk has no room.
    """
    if target.is_symlink() or target.exists():
        raise UsageError(f"{target} is there already: name another file, or move it away")
    weights = open_weights(source)
    if len(weights.files) == 1:
        raise UsageError(f"{weights.files[0].path} is one file: there is nothing to put together")
    metadata: dict[str, str] = {}
    for header in weights.files:
        metadata = {**header.metadata, **metadata}
    placed = _placed(weights)
    start = header_bytes((tensor for _, _, tensor in placed), metadata)
    check_room(target, len(start) + weights.size)
    write_whole(target, chain([start], _moved(placed, progress)))
    return weights


def _placed(weights: Weights) -> list[tuple[Header, Tensor, Tensor]]:
    """Return each tensor's file, where it is, and where it goes."""
    there = [(header, tensor) for header in weights.files for tensor in header.tensors.values()]
    there.sort(key=lambda item: -BITS[item[1].dtype])
    placed, at = [], 0
    for header, tensor in there:
        end = at + tensor.end - tensor.start
        placed.append((header, tensor, tensor._replace(start=at, end=end)))
        at = end
    return placed


def check_room(target: Path, needed: int) -> None:
    """Make sure, before anything is written, that there is a folder for a file, and room on its disk.

    Raises
    ------
    UsageError
        There is not.
    """
    folder = target.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: make it first, or name another target")
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(f"{target} needs {in_bytes(needed)}, and {folder} has {in_bytes(free)} free")


def _moved(placed: list[tuple[Header, Tensor, Tensor]], progress: Callable[[int], object]) -> Iterator[Span]:
    """Yield what to move; tensors that lie side by side in a shard are moved at once."""
    number = 0
    while number < len(placed):
        header, first, _ = placed[number]
        end = first.end
        while number + 1 < len(placed) and placed[number + 1][0] is header and placed[number + 1][1].start == end:
            number += 1
            end = placed[number][1].end
        number += 1
        file = os.open(header.path, os.O_RDONLY)
        try:
            for span in spans(file, header.data + first.start, header.data + end):
                yield span
                progress(span[2])
        finally:
            os.close(file)
