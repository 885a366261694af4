"""What musubi-tuner lists of a folder (``dataset/media_utils.py``: glob_images), and what it names its caches by."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Literal

# All lower or all upper case; .jxl only with a plug-in of its environment.
_PICTURES = frozenset(case for name in (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif") for case in (name, name.upper()))


class Reading:
    """See `datakit.audit.reader.Reader`: one folder, not those inside it, no hidden files."""

    def takes(self, name: str) -> Literal["", "picture", "video", "audio"]:
        """Return what it takes a file of this name for; nothing where it does not list it."""
        seen = "/" not in name and not name.startswith(".") and os.path.splitext(name)[1] in _PICTURES
        return "picture" if seen else ""

    def unseen_by(self, name: str) -> str:
        """Name what keeps it from seeing a picture of this name; nothing where it is seen."""
        if self.takes(name):
            return ""
        return "in a folder of its own" if "/" in name else os.path.splitext(name)[1]

    def cache_name(self, folder: str, name: str) -> str:
        """Return what it names its caches of a picture by: the path without the extension (get_latent_cache_path)."""
        return os.path.splitext(name)[0]


class Rows:
    """What it takes of a folder where a file names the pictures: those, whatever they are called."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def takes(self, name: str) -> Literal["", "picture", "video", "audio"]:
        """Return what it takes a file of this name for; nothing where it is not named."""
        return "picture" if name in self._names else ""

    def unseen_by(self, name: str) -> str:
        """Return nothing: what is not named is not meant."""
        return ""

    def cache_name(self, folder: str, name: str) -> str:
        """Return a name that no other picture has: caches go by all rows of a file, not by one folder."""
        return name
