"""Tar files of shards: read so that damage is found, written so that the same content gives the same bytes.

A member's name is a sample's key and, behind the first dot, what it is of the sample (WebDataset). Python's tarfile and
webdataset take a damaged header for the end of the file; what stands behind the last member is looked at here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import urllib.parse
from pathlib import Path
from typing import IO, BinaryIO

from datakit.dataset.manifest import is_relative
from datakit.errors import ShardError

# A tar ends in two blocks of zeros, and is filled up with more to a whole number of records (POSIX pax, ustar).
_BLOCK, _RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
# More zeros than that are no filling: a download that was given its size in advance ends so.
_MOST_ZEROS = 2 * _RECORD
_PIECE = 1 << 20


def extract(file: BinaryIO, name: str, size: int, folder: Path) -> int:
    """Write every file of a tar into a folder and return how many there are.

    Parameters
    ----------
    file
        The tar, from its beginning.
    name
        What messages call it.
    size
        In bytes.
    folder
        Is made; nothing is written elsewhere.

    Raises
    ------
    ShardError
        The tar is damaged, cut short or compressed, or holds a link, a file twice, or a path that leaves the folder.
    """
    folder.mkdir(parents=True)
    number = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                inside = _name(member, name)
                if not member.isdir():
                    _write(tar, member, folder / inside, name)
                    number += 1
            end = tar.offset
    except tarfile.TarError as error:
        raise ShardError(f"{name} is damaged, cut short, or no uncompressed tar ({error}): fetch or write it again") from None
    _check_end(file, name, end, size)
    return number


def _name(member: tarfile.TarInfo, tar: str) -> str:
    """Return the path of a member inside the folder."""
    name = member.name
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    if member.isdir() and name in ("", "."):
        return "."
    if not is_relative(name):
        raise ShardError(f"{tar} holds {member.name!r}, which is no path inside a folder: write it again without")
    if not (member.isreg() or member.isdir()):
        raise ShardError(f"{tar} holds {member.name!r}, which is no file but a link or a device: write the file itself there")
    return name


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, name: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = path.open("xb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise ShardError(
            f"{name} holds {member.name!r} twice, as a file and a folder, or names that differ in letter case alone: rename one"
        ) from None
    with target:
        opened = tar.extractfile(member)
        assert opened is not None  # it is a file
        shutil.copyfileobj(opened, target, _PIECE)
        if target.tell() != member.size:
            raise ShardError(f"{name} is cut short in {member.name!r}: fetch or write it again")


def _check_end(file: BinaryIO, name: str, end: int, size: int) -> None:
    """Make sure that nothing but the end of a tar stands behind its last member."""
    file.seek(end)
    rest = file.read(_MOST_ZEROS + 1)
    if len(rest) < 2 * _BLOCK:
        raise ShardError(f"{name} is cut short: it has no end, so that files may be missing: fetch or write it again")
    if rest.strip(b"\0"):
        raise ShardError(f"{name} is damaged at byte {end} of {size}: what follows cannot be read; fetch or write it again")
    if len(rest) > _MOST_ZEROS:
        raise ShardError(f"{name} ends in {size - end} empty bytes, as an unfinished download does: fetch or write it again")


class TarWriter:
    """Writes a tar whose bytes depend on names and contents alone.

    Attributes
    ----------
    size
        Bytes written so far.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def add(self, name: str, content: bytes) -> int:
        """Write a file and return where its content begins, in bytes."""
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), 0o644
        self._write(member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        offset = self.size
        self._write(content)
        self._write(bytes(-len(content) % _BLOCK))
        return offset

    def end(self) -> str:
        """Write the end and return the sha256 of everything."""
        self._write(bytes(2 * _BLOCK))
        self._write(bytes(-self.size % _RECORD))
        return self._hash.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)


def key_of(stem: str) -> str:
    """Return the key of a sample in a tar, where a dot ends it: one for each stem of a path, folders kept."""
    return stem.replace("%", "%25").replace(".", "%2E")


def stem_of(key: str) -> str:
    """Return the stem that a key was made of."""
    return urllib.parse.unquote(key)


def field_names(output: str) -> tuple[str, str]:
    """Return what a picture of a dataset and its caption are called in a tar."""
    stem, suffix = os.path.splitext(output)
    return f"{key_of(stem)}{suffix}", f"{key_of(stem)}.txt"
