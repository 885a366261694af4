"""The door of storages: where shards lie. A kind of storage is a module and a line in `STORAGES`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple, Protocol

from datakit.libraries import imported

# What makes a storage of its address, by the address's scheme; one without a scheme is a folder.
_OBJECTS = "datakit.shards.objects:ObjectStorage"
STORAGES: Mapping[str, str] = {"folder": "datakit.shards.local:FolderStorage"} | dict.fromkeys(
    ("s3", "gs", "az", "http", "https"), _OBJECTS
)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")


class Blob(NamedTuple):
    """One file of a storage: its name there, its size in bytes, and what is another for another content."""

    name: str
    size: int
    etag: str


class Storage(Protocol):
    """Holds files by names with forward slashes; a file is there whole or not at all. It is made anew in each worker.

    Every method raises OSError (a `datakit.errors.StorageError` where it is no folder).
    """

    @property
    def address(self) -> str:
        """What it is called in reports and messages, without a slash at its end."""
        ...

    @property
    def identity(self) -> str:
        """What it is called from anywhere, likewise."""
        ...

    @property
    def workspace(self) -> Path:
        """A folder of this machine for files that are not finished; `put` takes them from there."""
        ...

    def check(self) -> None:
        """Make sure that it answers, before anything is begun. Raises StorageError."""
        ...

    def listing(self) -> Iterator[Blob]:
        """Yield all files below the address, in any order."""
        ...

    def heads(self, names: list[str]) -> Iterator[Blob]:
        """Yield those of some files that are there."""
        ...

    def open(self, blob: Blob) -> BufferedReader:
        """Open a file that can be sought in; reading fails once its content is no longer that of the blob."""
        ...

    def read(self, name: str) -> bytes:
        """Return a small file."""
        ...

    def put(self, name: str, file: Path, *, new: bool = False) -> str | None:
        """Move a finished file of the workspace into place; return its etag where it tells the content, else None.

        One that is to be ``new`` and is there already is a FileExistsError, as far as the storage can tell.
        """
        ...

    def delete(self, name: str) -> None:
        """Take a file away; one that is gone already is none."""
        ...


def scheme_of(address: str) -> str | None:
    """Return the scheme of an address; None where it has none."""
    found = _SCHEME.match(address)
    return found[1] if found else None


def address_of(path: Path) -> str:
    """Return the address that was given as a path, which keeps one slash of two."""
    found = re.fullmatch(r"([a-z0-9]+):/([^/].*)", path.as_posix())
    return f"{found[1]}://{found[2]}" if found and found[1] in STORAGES else str(path)


def open_storage(address: str) -> Storage:
    """Return the storage of an address: a folder, or one whose scheme is in `STORAGES`.

    Raises
    ------
    UsageError
        The scheme is unknown.
    MissingLibraryError
        What reads it is not installed.
    """
    storage: Storage = imported(STORAGES, f"storage {address}:", scheme_of(address) or "folder")(address)
    return storage
