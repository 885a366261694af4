"""A folder as a storage of shards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from datakit.dataset.layout import SHARDS_TEMPORARY
from datakit.errors import ShardError
from datakit.shards.storage import Blob


class FolderStorage:
    """A `datakit.shards.storage.Storage` whose names are paths relative to a folder; an etag is size and time of change."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/") or "/"
        self._folder = Path(address)

    @property
    def identity(self) -> str:
        """The absolute path, links resolved."""
        return str(self._folder.resolve())

    @property
    def workspace(self) -> Path:
        """A folder inside, so that a finished file only has to be renamed."""
        return self._folder / SHARDS_TEMPORARY

    def check(self) -> None:
        """A folder answers."""

    def listing(self) -> Iterator[Blob]:
        """Yield all files, those that are not finished left out."""
        for place, folders, names in os.walk(self._folder):
            inside = Path(place).relative_to(self._folder)
            folders[:] = [name for name in folders if (inside / name).as_posix() != SHARDS_TEMPORARY]
            yield from self.heads([(inside / name).as_posix() for name in names])

    def heads(self, names: list[str]) -> Iterator[Blob]:
        """Yield those of some files that are there."""
        for name in names:
            with suppress(FileNotFoundError, NotADirectoryError):
                yield _blob(name, os.stat(self._folder / name))

    def open(self, blob: Blob) -> BufferedReader:
        """Open a file as it was listed.

        Raises
        ------
        ShardError
            It changed since.
        """
        file = (self._folder / blob.name).open("rb")
        if _blob(blob.name, os.fstat(file.fileno())) != blob:
            file.close()
            raise ShardError(f"{blob.name} changed since it was listed: run again when nothing writes to it")
        return file

    def read(self, name: str) -> bytes:
        """Return a file."""
        return (self._folder / name).read_bytes()

    def put(self, name: str, file: Path, *, new: bool = False) -> str | None:
        """Rename a finished file; one that is to be new is given a second name, which fails where that is taken."""
        (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
        if new:
            os.link(file, self._folder / name)
            file.unlink()
        else:
            os.replace(file, self._folder / name)
        return None

    def delete(self, name: str) -> None:
        """Delete a file."""
        with suppress(FileNotFoundError):
            os.unlink(self._folder / name)


def _blob(name: str, status: os.stat_result) -> Blob:
    return Blob(name, status.st_size, f"{status.st_size:x}-{status.st_mtime_ns:x}")
