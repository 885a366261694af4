"""Make one more file with a picture's bytes, at next to no cost where the file system allows."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from datakit.errors import SampleError


def place(picture: Path, target: Path, link: str) -> None:
    """Make a file with a picture's bytes, by one of `LINKS` or, for ``auto``, the first that works.

    Raises
    ------
    SampleError
        That kind of link cannot be made here.
    OSError
        The copy cannot be written.
    """
    target.unlink(missing_ok=True)
    kinds = ("hard", "reflink", "copy") if link == "auto" else (link,)
    for kind in kinds:
        try:
            LINKS[kind](picture, target)
            return
        except OSError as error:
            target.unlink(missing_ok=True)
            if kind == "copy":
                raise
            if kind == kinds[-1]:
                raise SampleError(f"a {kind} link cannot be made here ({error.strerror or error}): use --link auto") from error


def _hard(picture: Path, target: Path) -> None:
    # Of the file itself: a hard link to a symbolic link would be one more symbolic link.
    os.link(os.path.realpath(picture) if os.path.islink(picture) else picture, target)


def _reflink(picture: Path, target: Path) -> None:
    try:
        import fcntl
    except ImportError:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)) from None
    with picture.open("rb") as source, target.open("wb") as copy:
        # FICLONE of linux/fs.h: share the blocks until one of the two is written to (btrfs, xfs, bcachefs).
        fcntl.ioctl(copy.fileno(), 0x40049409, source.fileno())


def _symbolic(picture: Path, target: Path) -> None:
    os.symlink(os.path.realpath(picture), target)


def _copy(picture: Path, target: Path) -> None:
    shutil.copyfile(picture, target)


LINKS: dict[str, Callable[[Path, Path], None]] = {"hard": _hard, "reflink": _reflink, "symlink": _symbolic, "copy": _copy}
