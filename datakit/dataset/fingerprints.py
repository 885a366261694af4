"""The sha256 of files, so that a file that has not changed is hashed once."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from datakit.dataset.layout import FINGERPRINTS

_SCHEMA = "CREATE TABLE IF NOT EXISTS seen (path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, sha256 TEXT) WITHOUT ROWID"


def hash_file(path: Path) -> str:
    """Return a file's sha256 as hexadecimal, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Fingerprints:
    """The sha256 of files, remembered by path, size and time of change.

    With ``verify`` nothing remembered by an earlier run is believed.
    """

    def __init__(self, database: Path, verify: bool = False) -> None:
        self._verify = verify
        # Size, time and sha256 by path, learnt in this run and not yet saved: one statement for many is far faster.
        self._fresh: dict[str, tuple[int, int, str]] = {}
        self._trusted: sqlite3.Connection | None = None
        try:
            self._seen = self._connect(database)
        except sqlite3.DatabaseError:
            # It only saves time; a damaged one is made anew.
            database.unlink()
            self._seen = self._connect(database)

    def _connect(self, database: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(database)
        # Safe against a killed process; only a power cut can damage it, and then it is made anew.
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(_SCHEMA)
        return connection

    def trust(self, dataset: Path) -> None:
        """Believe what another dataset remembers too; it is only read."""
        database = (dataset / FINGERPRINTS).absolute()
        with suppress(sqlite3.DatabaseError):  # there is none, or it is being written: files are hashed instead
            self._trusted = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)

    def sha256(self, path: Path) -> str | None:
        """Return a file's sha256 as hexadecimal, or None where there is no such file."""
        try:
            status = path.stat()
        except OSError:
            return None
        name, stamp = os.path.abspath(path), (status.st_size, status.st_mtime_ns)
        digest = self._known(name, stamp)
        if digest is None:
            try:
                digest = hash_file(path)
            except OSError:
                return None
        self._note(name, stamp, digest)
        return digest

    def remember(self, path: str, sha256: str) -> None:
        """Take note of a file, by its absolute path, whose sha256 is known because it was just written."""
        status = os.stat(path)
        self._note(path, (status.st_size, status.st_mtime_ns), sha256)

    def learn(self, path: Path, stamp: tuple[int, int], sha256: str) -> None:
        """Take note of a file whose sha256 is known because it was read when it had this size and time of change (ns)."""
        self._note(os.path.abspath(path), stamp, sha256)

    def close(self) -> None:
        """Save what was learnt."""
        self._save()
        with suppress(sqlite3.DatabaseError):  # a full disk: the next run hashes again
            self._seen.commit()
        self._seen.close()
        if self._trusted:
            self._trusted.close()

    def _known(self, name: str, stamp: tuple[int, int]) -> str | None:
        """Return the sha256 remembered of a file that still has this size and time of change."""
        fresh = self._fresh.get(name)
        if fresh is not None and fresh[:2] == stamp:
            return fresh[2]
        for seen in () if self._verify else filter(None, (self._seen, self._trusted)):
            with suppress(sqlite3.DatabaseError):
                row = seen.execute("SELECT size, mtime, sha256 FROM seen WHERE path = ?", (name,)).fetchone()
                if row is not None and row[:2] == stamp:
                    return str(row[2])
        return None

    def _note(self, name: str, stamp: tuple[int, int], sha256: str) -> None:
        self._fresh[name] = (*stamp, sha256)
        if len(self._fresh) == 10_000:
            self._save()

    def _save(self) -> None:
        with suppress(sqlite3.DatabaseError):
            self._seen.executemany(
                "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", ((name, *row) for name, row in self._fresh.items())
            )
        self._fresh.clear()
