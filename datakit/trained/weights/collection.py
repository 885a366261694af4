"""The weights of one model, in one file or in shards: a file, an index, or the folder that holds them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datakit.errors import WeightsFileError
from datakit.report import counted, few
from datakit.trained.weights.header import Header, Tensor, natural, read_header

SUFFIX, INDEX = ".safetensors", ".safetensors.index.json"
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")


@dataclass(frozen=True, slots=True)
class Weights:
    """The files of one model, in the order of their names.

    Attributes
    ----------
    source
        What was named.
    files
        Their headers; no two hold a tensor of the same name.
    notes
        What is odd, and harms nothing.
    """

    source: Path
    files: tuple[Header, ...]
    notes: tuple[str, ...] = ()

    def tensors(self) -> Iterator[Tensor]:
        """Yield all tensors, file by file."""
        for header in self.files:
            yield from header.tensors.values()

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(header.size for header in self.files)


def open_weights(source: Path) -> Weights:
    """Read the headers of a safetensors file, of the shards that an index names, or of what a folder holds.

    Raises
    ------
    WeightsFileError
        A file or a shard is missing, damaged or cut off, the index does not fit the shards, or a folder holds several models.
    """
    if source.is_dir():
        return _of_folder(source)
    if source.name.endswith(".index.json"):
        return _of_index(source)
    notes: tuple[str, ...] = ()
    if shard := _SHARD.fullmatch(source.name):
        notes = (f"{source.name} is one shard of {int(shard[3])}: name its folder for the whole model",)
    return Weights(source, (read_header(source),), notes)


def _of_folder(folder: Path) -> Weights:
    """Read what a folder holds: by its one index, as its one file, or all shards of one name."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    indices = [name for name in names if name.endswith(INDEX)]
    if len(indices) == 1:
        return _of_index(folder / indices[0])
    files = [name for name in names if name.endswith(SUFFIX)]
    if len(files) == 1 and not _SHARD.fullmatch(files[0]):
        return Weights(folder, (read_header(folder / files[0]),))
    if indices or not files:
        inside = sorted(path.parent.name for path in folder.glob(f"*/*{SUFFIX}"))
        hint = f"; {few(list(dict.fromkeys(inside)))} in it does" if inside else ""
        what = f"several models: {few(indices)}; name one" if indices else f"no {SUFFIX} file{hint}"
        raise WeightsFileError(f"{folder} holds {what}", "missing")
    shards = [_SHARD.fullmatch(name) for name in files]
    kinds = {(shard[1], int(shard[3])) for shard in shards if shard}
    if not all(shards) or len(kinds) != 1:
        raise WeightsFileError(f"{folder} holds several models: {few(files)}; name one", "missing")
    ((stem, number),) = kinds
    expected = [f"{stem}-{place:05}-of-{number:05}{SUFFIX}" for place in range(1, number + 1)]
    if lost := [name for name in expected if name not in files]:
        raise WeightsFileError(f"{folder}: {counted(len(lost), 'shard')} missing: {few(lost)}", "missing")
    headers = tuple(read_header(folder / name) for name in expected)
    _refuse_doubles(headers)
    return Weights(folder, headers, ("there is no index: the shards are taken as their names say",))


def _of_index(path: Path) -> Weights:
    """Read the shards that an index names and hold both against each other."""
    places, total = _index(path)
    names = sorted(set(places.values()), key=natural)
    lost = [name for name in names if not (path.parent / name).exists()]
    if lost:
        raise WeightsFileError(f"{path}: {counted(len(lost), 'shard')} missing: {few(lost)}", "missing")
    headers = tuple(read_header(path.parent / name) for name in names)
    _refuse_doubles(headers)
    homes = {tensor: header.path.name for header in headers for tensor in header.tensors}
    for tensor, shard in places.items():
        if homes.get(tensor) != shard:
            place = f"it lies in {homes[tensor]}" if tensor in homes else "no shard holds it"
            raise WeightsFileError(f"{path}: tensor {tensor} is not in {shard}, as the index says: {place}")
    weights = Weights(path, headers)
    notes = []
    if extra := [tensor for tensor in homes if tensor not in places]:
        notes.append(f"{counted(len(extra), 'tensor')} that the index does not know: {few(extra)}")
    if isinstance(total, int) and total != weights.size:
        notes.append(f"the index says {total} bytes in all, the shards hold {weights.size}")
    return Weights(path, headers, tuple(notes))


def _index(path: Path) -> tuple[Mapping[str, str], Any]:
    """Return the shard of each tensor, by a plain name, and how many bytes there are in all."""
    try:
        plain = json.loads(path.read_bytes())
        places, total = plain["weight_map"], (plain.get("metadata") or {}).get("total_size")
        fits = isinstance(places, dict) and places and all(isinstance(name, str) for name in places.values())
    except FileNotFoundError:
        raise WeightsFileError(f"{path} is not there", "missing") from None
    except OSError as error:
        raise WeightsFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WeightsFileError(f"{path} is no index of shards: {error}") from None
    if not fits:
        raise WeightsFileError(f"{path} is no index of shards: its weight_map names no files")
    for name in set(places.values()):
        if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise WeightsFileError(f"{path}: {name!r} is no file beside the index")
    return places, total


def _refuse_doubles(headers: tuple[Header, ...]) -> None:
    number = Counter(tensor for header in headers for tensor in header.tensors)
    double = next((tensor for tensor, count in number.items() if count > 1), None)
    if double is not None:
        files = [header.path.name for header in headers if double in header.tensors]
        raise WeightsFileError(f"{headers[0].path.parent}: tensor {double} lies in {' and in '.join(files)}")
