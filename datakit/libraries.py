"""Say which system package is missing where a library of OpenCV or MediaPipe cannot be opened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from datakit.errors import MissingLibraryError

# On Debian and Ubuntu. What OpenCV opens when it is imported (libGL, libX11, libxcb, libgthread, ...) comes with the first
# two, what MediaPipe opens when its first detector is built with the others.
_OPENCV, _MEDIAPIPE = "libgl1 libglib2.0-0", "libegl1 libgles2"
_PACKAGES = (
    (re.compile(r"lib(EGL|GLES)"), _MEDIAPIPE),
    (re.compile(r"lib(GL|X|xcb|SM|ICE|g|z)"), _OPENCV),
)
_LIBRARY = re.compile(r"[\w+-]+(?:\.so|\.dylib)[\w.]*|\w[\w.+-]*\.(?:dylib|framework)")


@contextmanager
def named(what: str) -> Iterator[None]:
    """Turn the error of a library that cannot be opened into a `MissingLibraryError` that says what to install.

    ``what`` needs the library. A Python module that is missing is not meant.
    """
    try:
        yield
    except ModuleNotFoundError:
        raise
    except (ImportError, OSError) as error:  # MediaPipe opens its libraries by hand, which raises OSError
        message = missing(what, error)
        if message is None:
            raise
        raise MissingLibraryError(message) from error


def missing(what: str, error: BaseException) -> str | None:
    """Return what to do about a library that could not be opened; None where the error is about none."""
    found = _LIBRARY.search(str(error))
    if found is None:
        return None
    package = next((package for pattern, package in _PACKAGES if pattern.match(found[0])), None)
    remedy = f"apt install {package}" if package else f"install the package that holds it (apt-file search {found[0]})"
    return f"{what} needs a system library that is not installed ({error}): {remedy}"


def check_opencv() -> None:
    """Import OpenCV, so that a library it lacks is named before any work. Raises MissingLibraryError."""
    with named("OpenCV"):
        import_module("cv2")
