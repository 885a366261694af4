"""The header of a safetensors file: names, kinds and places of its tensors, without reading one of them.

The format: eight bytes that hold the length of the header, little-endian; the header in JSON, ``{name: {dtype, shape,
data_offsets}}`` and strings under ``__metadata__``; then the bytes of all tensors without a gap (safetensors, README
"Format"; its parser refuses headers of more than 100,000,000 bytes).
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from datakit.errors import WeightsFileError
from datakit.report import in_bytes

METADATA = "__metadata__"
_MOST = 100_000_000
# Bits of one number of each kind.
BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
# What a Git LFS pointer begins with, which stands where a file was not downloaded; and what other formats begin with.
_POINTER = b"version https://git-lfs"
_FOREIGN = {
    b"PK\x03\x04": "a PyTorch file (a zip of pickles)",
    b"\x80\x02": "a pickle",
    b"GGUF": "a GGUF file",
    b"<!DO": "a web page",
    b"<htm": "a web page",
}


class Tensor(NamedTuple):
    """One tensor: its kind as the format names it, its shape, and its bytes from ``start`` to ``end`` behind the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of its tensors, in the order of their bytes.

    Attributes
    ----------
    path
        The file.
    tensors
        By name.
    metadata
        What the writer noted.
    data
        Where the bytes of the tensors begin in the file.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    data: int

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return max((tensor.end for tensor in self.tensors.values()), default=0)


def read_header(path: Path) -> Header:
    """Read the header of a safetensors file and hold it against the file's size.

    Raises
    ------
    WeightsFileError
        The file is missing, of another format, damaged, cut off, or stands for one that was not downloaded.
    """
    try:
        if path.exists() and not path.is_file():
            raise WeightsFileError(f"{path} is no file")
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            begin = file.read(8)
            length = int.from_bytes(begin, "little")
            _check_beginning(path, begin, length, status.st_size)
            text = file.read(length)
    except FileNotFoundError:
        raise WeightsFileError(f"{path} is not there", "missing") from None
    except OSError as error:
        raise WeightsFileError(f"{path} cannot be read: {error.strerror or error}") from error
    tensors, metadata = _parsed(path, text)
    header = Header(path, tensors, metadata, 8 + length)
    over = status.st_size - header.data - header.size
    if over < 0:
        raise WeightsFileError(
            f"{path} is cut off or still being written: {in_bytes(-over)} of {in_bytes(status.st_size - over)} are missing", "cut"
        )
    if over:
        raise WeightsFileError(f"{path} is damaged: {in_bytes(over)} lie behind what its header says")
    return header


def _check_beginning(path: Path, begin: bytes, length: int, size: int) -> None:
    """Refuse what does not begin as the format does, for what it is."""
    if not size:
        raise WeightsFileError(f"{path} is empty: it is still being written, or the disk was full", "empty")
    if len(begin) == 8 and length > _MOST:
        # No length of a header: what other files begin with, read as one, is far more than any header has.
        if _POINTER.startswith(begin):
            raise WeightsFileError(f"{path} is a pointer of Git LFS, not the file: fetch it with `git lfs pull`", "pointer")
        for sign, what in _FOREIGN.items():
            if begin.startswith(sign):
                raise WeightsFileError(f"{path} is {what}, no safetensors file", "foreign")
        raise WeightsFileError(f"{path} is no safetensors file, or damaged: its header would have {length} bytes")
    if len(begin) < 8 or length > size - 8:
        raise WeightsFileError(f"{path} is cut off or still being written: it ends in its header", "cut")
    if length < 2:
        raise WeightsFileError(f"{path} is no safetensors file, or damaged: its header would have {length} bytes")


def _parsed(path: Path, text: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors in the order of their bytes, and the metadata."""
    try:
        plain = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise WeightsFileError(f"{path} is damaged: its header cannot be read ({error})") from None
    if not isinstance(plain, dict):
        raise WeightsFileError(f"{path} is damaged: its header is no table of tensors")
    metadata = plain.pop(METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise WeightsFileError(f"{path} is damaged: its metadata is more than names and texts")
    tensors = sorted((_tensor(path, name, entry) for name, entry in plain.items()), key=lambda tensor: tensor[3:])
    end = 0
    for tensor in tensors:
        if tensor.start != end:
            raise WeightsFileError(f"{path} is damaged: tensor {tensor.name} begins at {tensor.start}, not at {end}")
        end = tensor.end
    return {tensor.name: tensor for tensor in tensors}, metadata


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} stands there twice")
    return found


def _tensor(path: Path, name: str, entry: Any) -> Tensor:
    """Return one tensor of the header, its size held against its shape."""
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = (*shape, start, end)
    except (TypeError, KeyError, ValueError):
        raise WeightsFileError(f"{path} is damaged: tensor {name} has no kind, shape or place") from None
    if not isinstance(shape, list) or not all(type(number) is int and number >= 0 for number in numbers):
        raise WeightsFileError(f"{path} is damaged: tensor {name} has no such shape or place: {shape}, {start} to {end}")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise WeightsFileError(f"{path}: tensor {name} is of a kind that is not known: {dtype}")
    if math.prod(shape) * BITS[dtype] != 8 * (end - start):
        raise WeightsFileError(f"{path} is damaged: tensor {name}, {dtype} {shape}, takes no {end - start} bytes")
    return Tensor(name, dtype, tuple(shape), start, end)


def read_scalars(header: Header, names: Iterable[str]) -> dict[str, float]:
    """Return the numbers that tensors of one number hold; those of another kind or size are left out.

    Raises
    ------
    WeightsFileError
        The file is gone, or shorter than when its header was read.
    """
    found = {}
    try:
        with header.path.open("rb") as file:
            for name in names:
                tensor = header.tensors[name]
                kind = _SCALARS.get(tensor.dtype)
                if kind is None or tensor.parameters != 1:
                    continue
                file.seek(header.data + tensor.start)
                content = file.read(tensor.end - tensor.start)
                if len(content) != tensor.end - tensor.start:
                    raise WeightsFileError(f"{header.path} changes while it is read: it is still being written", "cut")
                (value,) = struct.unpack(kind, content.rjust(struct.calcsize(kind), b"\0"))
                found[name] = float(value)
    except OSError as error:
        raise WeightsFileError(f"{header.path} cannot be read: {error.strerror or error}") from error
    return found


# A BF16 is the upper half of an F32: in little-endian order the lower half stands before it.
_SCALARS = {"F16": "<e", "BF16": "<f", "F32": "<f", "F64": "<d", "I64": "<q", "I32": "<i"}


def header_bytes(tensors: Iterable[Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the beginning of a file with these tensors; padded with blanks so that the tensors begin at a multiple of 8."""
    table: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    table |= {each.name: {"dtype": each.dtype, "shape": each.shape, "data_offsets": (each.start, each.end)} for each in tensors}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def natural(name: str) -> tuple[str | int, ...]:
    """Return what a name is sorted by, so that block 10 stands behind block 2."""
    # More digits than a number of Python's may have are no number that anybody counts by.
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d{1,18})", name))
