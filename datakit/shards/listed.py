"""Loose pictures that a list names, cut into shards: a shard is a run of lines of the list.

Lines are in the order of their bytes, as object storage lists names and ``LC_ALL=C sort`` has them: what belongs to one picture stands
together then, no name is there twice, and neither needs memory to be known.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import msgspec

from datakit.dataset.manifest import is_relative
from datakit.dataset.samples import CAPTION_EXTENSIONS, PICTURE_EXTENSIONS
from datakit.errors import ShardError, UsageError
from datakit.report import counted, few
from datakit.shards.receipts import Portion
from datakit.shards.storage import Blob, Storage

# Pictures in a shard, and the digits of its number, so that the order of names is that of the lines.
SHARD_SIZE = 2000
DIGITS = 5
# Files of one shard read at once: waiting is most of what a small object costs.
_AHEAD = 8
# Shards whose files are asked for at once.
_AT_ONCE = 16


def find_listed(storage: Storage, path: Path, shard_size: int) -> tuple[list[Portion], bool]:
    """Return what each shard is made of, and whether any captions are named.

    Parameters
    ----------
    storage
        Where the files lie.
    path
        The list: a name a line, relative to the storage.
    shard_size
        Pictures in a shard, 1 or more.

    Raises
    ------
    UsageError
        The list is not in order, cannot be read or names no pictures, or files that are not there.
    """
    portions: list[Portion] = []
    missing: list[str] = []
    captions = False
    runs = _runs(path, shard_size)
    with ThreadPoolExecutor(_AT_ONCE) as asking:
        while some := list(islice(runs, _AT_ONCE)):
            names = [read_names(path, run) for run in some]
            for run, wanted, found in zip(some, names, asking.map(lambda each: _heads(storage, each), names), strict=True):
                missing += sorted(set(wanted).difference(blob.name for blob in found))[: 1000 - len(missing)]
                captions = captions or any(name.endswith(CAPTION_EXTENSIONS) for name in wanted)
                name, size = f"{len(portions):0{DIGITS}d}.tar", sum(blob.size for blob in found)
                portions.append(Portion(name, size, _digest(found), storage.identity, run))
    if missing:
        raise UsageError(f"{counted(len(missing), 'file')} of {path} not in {storage.address}: {few(missing)}")
    if not portions:
        raise UsageError(f"{path} names no pictures")
    return portions, captions


def read_names(path: Path, run: tuple[int, int]) -> list[str]:
    """Return the names of a run of lines, which begins and ends at so many bytes."""
    with path.open("rb") as file:
        file.seek(run[0])
        return [line.decode() for each in file.read(run[1] - run[0]).split(b"\n") if (line := each.rstrip(b"\r"))]


def fetch(storage: Storage, names: list[str], etag: str, folder: Path) -> None:
    """Write the files of a shard into a folder.

    Raises
    ------
    ShardError
        They are not what they were when the run began.
    OSError
        They cannot be read.
    """
    found = _heads(storage, names)
    if _digest(found) != etag:
        raise ShardError("what the list names changed since the run began: run again when nothing writes to it")

    def copy(blob: Blob) -> None:
        path = folder / blob.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with storage.open(blob) as file, path.open("xb") as target:
            shutil.copyfileobj(file, target)

    with ThreadPoolExecutor(_AHEAD) as reading:
        for _ in reading.map(copy, found):
            pass


def _heads(storage: Storage, names: list[str]) -> list[Blob]:
    return sorted(storage.heads(names))


def _digest(blobs: Iterable[Blob]) -> str:
    return hashlib.sha256(msgspec.json.encode(list(blobs))).hexdigest()


def _runs(path: Path, shard_size: int) -> Iterator[tuple[int, int]]:
    """Yield where the lines of each shard begin and end, in bytes; files that share a name up to its first dot stay together."""
    begin = pictures = 0
    for start, number in _groups(path):
        if number and pictures >= shard_size:
            yield begin, start
            begin, pictures = start, 0
        pictures += number
    if pictures:
        yield begin, path.stat().st_size


def _groups(path: Path) -> Iterator[tuple[int, int]]:
    """Yield where the lines of files that belong together begin, in bytes, and how many pictures are among them."""
    start = end = pictures = 0
    before = together = b""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if name := line.rstrip(b"\r\n"):
                    _check_line(name, before, f"{path}, line {number}")
                    if not (together and name.startswith(together)):
                        yield start, pictures
                        start, pictures = end, 0
                        folder, slash, base = name.rpartition(b"/")
                        together = folder + slash + base.partition(b".")[0] + b"."
                    pictures += os.path.splitext(name)[1].decode(errors="replace").lower() in PICTURE_EXTENSIONS
                    before = name
                end += len(line)
    except OSError as error:
        raise UsageError(f"--list {path} cannot be read: {error.strerror or error}") from None
    yield start, pictures


def _check_line(name: bytes, before: bytes, where: str) -> None:
    """Make sure that a line is a name, and stands where it belongs. Raises UsageError."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{where} is not UTF-8: {name!r}") from None
    if not is_relative(text):
        raise UsageError(f"{where}: {text!r} is no name inside SRC: write names relative to it, such as cats/a.jpg")
    if name <= before:
        how = "is there twice" if name == before else f"stands behind {before.decode()!r}"
        raise UsageError(f"{where}: {text!r} {how}: sort the list by `LC_ALL=C sort -u`")
