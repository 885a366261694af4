"""Make one more file with a picture's bytes, at next to no cost where the file system allows."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from datakit.errors import SampleError


def place(picture: str, target: str, link: str, temporary: str) -> None:
    """Make a file with a picture's bytes, by one of `LINKS` or, for ``auto``, by the first of hard, reflink and copy that works.

    ``picture`` is an absolute path and no symbolic link: a hard link to one would be one more symbolic link. The file appears whole or not at all: what is not made in one step, or replaces a file, is made as ``temporary`` (on the
    same file system) and then moved.

    Raises
    ------
    SampleError
        That kind of link cannot be made here.
    OSError
        The copy cannot be written.
    """
    kinds = ("hard", "reflink", "copy") if link == "auto" else (link,)
    for kind in kinds:
        try:
            LINKS[kind](picture, target, temporary)
            return
        except FileNotFoundError:
            raise
        except OSError as error:
            if kind == "copy":
                raise
            if kind == kinds[-1]:
                raise SampleError(f"a {kind} link cannot be made here ({error.strerror or error}): use --link auto") from error


def why_not_hard(folder: Path) -> str | None:
    """Try a hard link in a folder and leave no trace; return why there are none here, None where they work."""
    try:
        before = folder.stat()
        with tempfile.TemporaryDirectory(prefix=".datakit-", dir=folder) as name:
            (Path(name) / "file").touch()
            os.link(Path(name) / "file", Path(name) / "link")
        os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    except OSError as error:
        return error.strerror or str(error)
    return None


def _hard(picture: str, target: str, temporary: str) -> None:
    _at_once(os.link, picture, target, temporary)


def _symbolic(picture: str, target: str, temporary: str) -> None:
    _at_once(os.symlink, picture, target, temporary)


def _at_once(make: Callable[[str, str], None], picture: str, target: str, temporary: str) -> None:
    try:
        make(picture, target)
    except FileExistsError:
        make(picture, temporary)
        os.replace(temporary, target)
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # moving a link onto another to the same file leaves both (POSIX rename)


def _reflink(picture: str, target: str, temporary: str) -> None:
    try:
        import fcntl
    except ImportError:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)) from None
    with open(picture, "rb") as source, open(temporary, "wb") as copy:
        # FICLONE of linux/fs.h: share the blocks until one of the two is written to (btrfs, xfs, bcachefs).
        fcntl.ioctl(copy.fileno(), 0x40049409, source.fileno())
    os.replace(temporary, target)


def _copy(picture: str, target: str, temporary: str) -> None:
    shutil.copyfile(picture, temporary)
    os.replace(temporary, target)


LINKS: dict[str, Callable[[str, str, str], None]] = {
    "hard": _hard,
    "reflink": _reflink,
    "symlink": _symbolic,
    "copy": _copy,
}
