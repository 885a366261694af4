"""Shards put together into one file: bytes are streamed from file to file, none is held in memory."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from datakit.errors import UsageError, WeightsFileError
from datakit.report import in_bytes
from datakit.trained.weights.collection import Weights, open_weights
from datakit.trained.weights.header import BITS, Header, Tensor, header_bytes

# So many bytes are moved at once, which is all that is held of a model.
_PIECE = 16 * 2**20


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
    _check_room(target, len(start) + weights.size)
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


def _check_room(target: Path, needed: int) -> None:
    """Refuse before anything is written where the disk has no room."""
    folder = target.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: make it first, or name another target")
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(f"{target} needs {in_bytes(needed)}, and {folder} has {in_bytes(free)} free")


Span = tuple[int, int, int]
Part = bytes | Span


def _moved(placed: list[tuple[Header, Tensor, Tensor]], progress: Callable[[int], object]) -> Iterator[Part]:
    """Yield (file, start, length) of pieces to move; what lies side by side in a shard is one run of pieces."""
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
            for start in range(header.data + first.start, header.data + end, _PIECE):
                length = min(_PIECE, header.data + end - start)
                yield file, start, length
                progress(length)
        finally:
            os.close(file)


def write_whole(target: Path, parts: Iterator[Part]) -> None:
    """Write a large file beside its place, see that it is on the disk, and move it there unless something is there by now.

    A part is bytes, or (open file, start, length) of bytes to move.

    Raises
    ------
    UsageError
        Something is at the target.
    WeightsFileError
        A file that is read from ended too early.
    """
    temporary = target.parent / f".datakit-{secrets.token_hex(8)}"
    with temporary.open("xb", buffering=0) as file:
        try:
            for part in parts:
                if isinstance(part, bytes):
                    file.write(part)
                else:
                    _move(file.fileno(), *part)
            os.fsync(file.fileno())
            _put(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def _put(temporary: Path, target: Path) -> None:
    try:
        os.link(temporary, target)  # unlike a move, it replaces nothing
    except FileExistsError:
        raise UsageError(f"{target} is there already: something else wrote it meanwhile") from None
    except OSError:  # a file system without hard links
        os.replace(temporary, target)


def _move(target: int, source: int, start: int, length: int) -> None:
    """Move bytes from file to file inside the system where it can, else through a buffer."""
    end = start + length
    while start < end:
        try:
            moved = os.sendfile(target, source, start, end - start)
        except (AttributeError, OSError):  # macOS sends to sockets alone
            moved = os.write(target, os.pread(source, end - start, start))
        if not moved:
            raise WeightsFileError("a shard ended too early while it was read: something else changed it", "cut")
        start += moved
