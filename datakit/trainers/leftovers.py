"""What a trainer left of datasets as they were or were called before: named with its size, deleted where asked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from datakit.errors import UsageError


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file or a folder that no dataset of now needs.

    Attributes
    ----------
    path
        Where it lies.
    what
        What it is, as a clause.
    ours
        True where its name is of the form that datakit gives, so that nothing but the trainer of its own file wrote it;
        only then is it ever deleted.
    """

    path: Path
    what: str
    ours: bool = True

    @property
    def size(self) -> int:
        """Bytes that its end frees: of the file, or of all files in the folder; those that have another name too do not count."""
        inside = [os.path.join(place, name) for place, _, names in os.walk(self.path) for name in names]
        total = 0
        for path in inside if self.path.is_dir() else [self.path]:
            with suppress(FileNotFoundError):  # the trainer may be at work
                status = os.lstat(path)
                total += status.st_size if status.st_nlink == 1 else 0
        return total

    def describe(self) -> str:
        """Return what it is, how big, and whether ``--prune`` deletes it."""
        way_out = (
            "--prune deletes it" if self.ours else "not of the form that datakit gives: delete it yourself if nothing needs it"
        )
        return f"{self.path}: {self.what}, {self.size / 1e6:.1f} MB: {way_out}"


def delete(leftovers: Iterable[Leftover]) -> list[Leftover]:
    """Delete what is of datakit's own form, and return it.

    Raises
    ------
    UsageError
        Something cannot be deleted.
    """
    deleted = []
    for leftover in leftovers:
        if not leftover.ours:
            continue
        try:
            if leftover.path.is_dir():
                shutil.rmtree(leftover.path)
            else:
                leftover.path.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"{leftover.path} cannot be deleted: {error.strerror or error}") from error
        deleted.append(leftover)
    return deleted
