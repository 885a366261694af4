"""What musubi-tuner lists of a folder (``dataset/media_utils.py``: glob_images), and what it names its caches by."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from datakit.trainers.flat import FlatListing

# .jxl only with a plug-in of its environment. Caches go by the path without the extension (get_latent_cache_path).
LISTING = FlatListing((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"))


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
