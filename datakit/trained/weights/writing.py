"""Write a large file from bytes and from pieces of other files: whole or not at all, replacing nothing, in little memory."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from datakit.errors import UsageError, WeightsFileError

# So many bytes are moved at once, which is all that is held of a model.
PIECE = 16 * 2**20
# An open file, where to begin in it, and how many bytes to move.
Span = tuple[int, int, int]


def spans(file: int, start: int, end: int) -> Iterator[Span]:
    """Yield what lies between two places of an open file in pieces."""
    for at in range(start, end, PIECE):
        yield file, at, min(PIECE, end - at)


def write_whole(target: Path, parts: Iterator[bytes | Span]) -> None:
    """Write a large file beside its place, see that it is on the disk, and move it there unless something is there by now.

    Raises
    ------
    UsageError
        Something is at the target.
    WeightsFileError
        A file that is read from ended too early.
    """
    # In plain sight: where this is killed, gigabytes stay behind.
    temporary = target.parent / f"{target.stem[:40]}-{secrets.token_hex(4)}.part"
    with temporary.open("xb", buffering=0) as file:
        try:
            for part in parts:
                if isinstance(part, bytes):
                    file.write(part)
                else:
                    _move(file.fileno(), *part)
            os.fsync(file.fileno())
            _put(temporary, target)
        except OSError as error:  # of an open file that is written to, the system does not say which it is
            raise OSError(error.errno, error.strerror, error.filename or str(target)) from error
        finally:
            temporary.unlink(missing_ok=True)


def _put(temporary: Path, target: Path) -> None:
    try:
        os.link(temporary, target)  # unlike a move, it replaces nothing
    except FileExistsError:
        raise UsageError(f"{target} is there already: something else wrote it meanwhile") from None
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise UsageError(f"{target} is there already: something else wrote it meanwhile") from None
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
            raise WeightsFileError("a file of weights ended too early while it was read: something else changed it", "cut")
        start += moved
