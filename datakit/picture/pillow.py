"""Open pictures with Pillow: one format at a time, with limits that are the user's to set, and nothing said on stderr."""

from __future__ import annotations

import io
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, PngImagePlugin

from datakit.errors import PictureError
from datakit.libraries import to_install
from datakit.picture.formats import PLUGINS
from datakit.picture.kinds import misnamed, said
from datakit.picture.png import MOST_TEXT

_stderr = threading.Lock()
# What Pillow says it also raises, or it is said on stderr by its decoders.
logging.getLogger("PIL").addHandler(logging.NullHandler())
# What imagecodecs has libpng say of itself, not of the picture.
_OWN_LINES = re.compile("Interlace handling should be turned on")


@contextmanager
def limits_lifted() -> Iterator[None]:
    """Lift Pillow's own limits on pixels and on the text of a PNG, and put them back."""
    pixels, text = Image.MAX_IMAGE_PIXELS, (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)
    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MOST_TEXT
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = pixels
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = text


def opened(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    """Open a picture in memory without decoding it; whatever Pillow raises is raised."""
    with limits_lifted():
        return Image.open(io.BytesIO(data), formats=formats)


def add_plugin(kind: str, name: str) -> None:
    """Import what Pillow needs to read a format. Raises PictureError, which names the package, where it is missing."""
    if kind not in PLUGINS:
        return
    package, module, _ = PLUGINS[kind]
    try:
        imported = __import__(module)
    except ImportError:
        what = f"is a {said(kind)} picture{misnamed(kind, name)}"
        raise PictureError(f"{what}, which needs a plug-in: {to_install(package)}") from None
    if module == "pillow_heif":
        imported.register_heif_opener()


@contextmanager
def overheard() -> Iterator[list[str]]:
    """Catch what libraries in C write to stderr; the lines are in the list once the block has ended."""
    lines: list[str] = []
    with _stderr, tempfile.TemporaryFile() as caught:
        try:
            kept = os.dup(2)
        except OSError:  # there is no stderr
            yield lines
            return
        try:
            os.dup2(caught.fileno(), 2)
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            said_there = caught.read().decode("utf-8", "replace").splitlines()
            lines += dict.fromkeys(line.strip() for line in said_there if line.strip() and not _OWN_LINES.search(line))
