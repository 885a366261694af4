"""Tell whether the files that a stage reads and wrote are as they were when it ran, by their names, sizes and times of change."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from datakit.dataset.layout import PIPELINE, STATE_FOLDER
from datakit.dataset.manifest import NOT_JSON, write_atomically
from datakit.dataset.origin import source_around


class Ran(msgspec.Struct, frozen=True):
    """A stage as it ran.

    Attributes
    ----------
    words
        Its command line.
    read, wrote
        `digest` of what it read, before, and of what it wrote, after.
    place
        The folder that it ran in, where what it wrote names absolute paths; else nothing.
    exit_code
        What it ended with.
    """

    words: list[str]
    read: str
    wrote: str
    place: str = ""
    exit_code: int = 0


def digest(paths: Iterable[str], version: str) -> str:
    """Return a hash of what the files at and below some paths look like from outside, and of the version that asks."""
    content = hashlib.sha256(version.encode())
    for path in paths:
        for line in _lines(path):
            content.update(os.fsencode(line) + b"\0")
    return content.hexdigest()


def read_state(folder: Path) -> dict[str, Ran]:
    """Return what is known of the stages that a pipeline file in a folder names."""
    try:
        return msgspec.json.decode((folder / PIPELINE).read_bytes(), type=dict[str, Ran])
    except (OSError, *NOT_JSON):
        return {}


def write_state(folder: Path, state: dict[str, Ran], written: Iterable[Path]) -> None:
    """Note what is known of them; in a source nothing is, so that every stage is run each time."""
    if not source_around(folder, written):
        with suppress(OSError):
            write_atomically(folder / PIPELINE, msgspec.json.encode(state))


def _lines(path: str) -> Iterator[str]:
    """Yield a line for a path and one for all that lies below it, in order; datakit's own state is left out."""
    yield path
    folders, seen = [path], set()
    while folders:
        folder = folders.pop()
        try:
            status = os.stat(folder)
            if not os.path.isdir(folder):
                yield f"{status.st_size} {status.st_mtime_ns}"
                continue
            if (status.st_dev, status.st_ino) in seen:
                continue  # links in a loop
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield f"{folder} {error.errno}"
            continue
        for entry in entries:
            if entry.name == STATE_FOLDER:
                continue
            if entry.is_dir():
                folders.append(entry.path)
            with suppress(OSError):
                status = entry.stat()
                yield f"{entry.path} {status.st_size} {status.st_mtime_ns}" if not entry.is_dir() else entry.path
