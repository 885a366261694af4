"""Import what a name in a table stands for, and say what to install where something is missing: a package, an extra, a library."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from datakit.errors import MissingLibraryError, UsageError

# On Debian and Ubuntu. What OpenCV opens when it is imported (libGL, libX11, libxcb, libgthread, ...) comes with the first
# two, what MediaPipe opens when its first detector is built with the others.
_OPENCV, _MEDIAPIPE = "libgl1 libglib2.0-0", "libegl1 libgles2"
_PACKAGES = (
    (re.compile(r"lib(EGL|GLES)"), _MEDIAPIPE),
    (re.compile(r"lib(GL|X|xcb|SM|ICE|gthread|glib)"), _OPENCV),
)
# What the loaders of Linux and macOS say: of a library that is there but too old, or of a symbol, they say something else.
_CANNOT_OPEN = re.compile(r"([^\s:/]+): cannot open shared object file|Library not loaded: (?:\S*/)?([^\s/]+)")


@dataclass(frozen=True, slots=True)
class Extra:
    """An optional dependency: the packages that it installs, and what that brings, as a clause."""

    packages: tuple[str, ...]
    brings: str


# As pyproject.toml has them; `dev` is for working on datakit itself.
EXTRAS: Mapping[str, Extra] = {
    "mediapipe": Extra(("mediapipe",), "a second face detector, --detector mediapipe"),
    "parquet": Extra(("pyarrow",), "captions in .parquet tables, datasets in shards"),
    "s3": Extra(("boto3", "obstore", "pyarrow"), "shards in object storage"),
    "ray": Extra(("pyarrow", "ray"), "shards on a cluster, --executor ray"),
    "tokenizer": Extra(("tokenizers",), "exact counts of caption tokens, --tokenizer FILE"),
}
# What the tools that give a program an environment of its own leave at its top: pipx, and `uv tool`.
_MARKS = {"pipx": "pipx_metadata.json", "uv": "uv-receipt.toml"}


def installer() -> str:
    """Return which tool looks after this installation: pipx, uv or pip."""
    return next((tool for tool, mark in _MARKS.items() if os.path.exists(os.path.join(sys.prefix, mark))), "pip")


def to_install(package: str) -> str:
    """Return the command that adds a package to this installation."""
    return {
        "pipx": f"pipx inject {os.path.basename(sys.prefix)} {package}",
        "uv": f"uv tool install datakit --with {package}",
        "pip": f"pip install {package}",
    }[installer()]


def to_install_extra(name: str) -> str:
    """Return the command that adds an extra to this installation."""
    tool = installer()
    if tool == "pipx":
        return to_install(" ".join(EXTRAS[name].packages))  # it adds no extras to what is there
    return f"{'uv tool' if tool == 'uv' else 'pip'} install 'datakit[{name}]'"


def imported(table: Mapping[str, str | None], kind: str, name: str) -> Any:
    """Import what a table says of a name, ``module:attribute``; None where it says nothing. ``kind`` opens the message.

    Raises
    ------
    UsageError
        The name is unknown.
    """
    if name not in table:
        raise UsageError(f"{kind} {name!r} is unknown: choose from {', '.join(table)}")
    path = table[name]
    if path is None:
        return None
    module, attribute = path.split(":")
    return getattr(import_module(module), attribute)


@contextmanager
def named(what: str) -> Iterator[None]:
    """Turn the error of a library that cannot be opened into a `MissingLibraryError` that says what to install.

    ``what`` needs the library. A Python module that is missing is not meant.
    """
    try:
        yield
    except (ModuleNotFoundError, MissingLibraryError):
        raise
    except (ImportError, OSError) as error:  # MediaPipe opens its libraries by hand, which raises OSError
        message = missing(what, error)
        if message is None:
            raise
        raise MissingLibraryError(message) from error


def missing(what: str, error: BaseException) -> str | None:
    """Return what to do about a library that could not be opened; None where the error is about none."""
    found = _CANNOT_OPEN.search(str(error))
    if found is None:
        return None
    library = found[1] or found[2]
    package = next((package for pattern, package in _PACKAGES if pattern.match(library)), None)
    remedy = f"apt install {package}" if package else f"install the package of your system that holds {library}"
    return f"{what} needs a system library that is not installed ({error}): {remedy}"


def extra(module: str, name: str, what: str) -> Any:
    """Import a module that an extra installs.

    Parameters
    ----------
    module
        As it is imported.
    name
        Of the extra.
    what
        Needs it; opens the message.

    Raises
    ------
    MissingLibraryError
        It is not installed; the message says how to install it where datakit is.
    """
    package = module.partition(".")[0]
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingLibraryError(f"{what} needs the extra {name}: {to_install_extra(name)}") from error
    return import_module(module)


def check_opencv() -> None:
    """Import OpenCV, so that a library it lacks is named before any work. Raises MissingLibraryError."""
    with named("OpenCV"):
        import_module("cv2")
