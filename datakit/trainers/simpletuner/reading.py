"""What SimpleTuner takes from a dataset folder, release by release, and what it names its caches by."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

# Only these are pictures to the commit of October 2024; it knows no videos.
_RECIPE_PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tiff", ".tif"})
# Listed only where the trainer's environment has the plug-in for it.
_WITH_PLUGIN = frozenset({".jxl"})
_AUDIO = frozenset(
    {
        ".wav",
        ".wave",
        ".flac",
        ".mp3",
        ".mp4a",
        ".m4a",
        ".aac",
        ".ogg",
        ".oga",
        ".opus",
        ".wma",
        ".aiff",
        ".aif",
        ".aifc",
        ".alac",
    }
)


@dataclass(frozen=True, slots=True)
class Listing:
    """Which files of a dataset folder one version lists: in every folder, hidden ones too.

    Attributes
    ----------
    pictures
        Extensions that it opens as pictures; None for whatever Pillow can open by name.
    videos, audio
        Those that it lists beside the pictures, and then opens as something else.
    any_case
        Whether it lists extensions in upper case too.
    """

    pictures: frozenset[str] | None = None
    videos: frozenset[str] = frozenset()
    audio: frozenset[str] = frozenset()
    any_case: bool = False

    def takes(self, name: str) -> Literal["", "picture", "video", "audio"]:
        """Return what it takes a file of this name for; nothing where it does not list it."""
        extension = name[name.rfind(".") :] if "." in name else ""
        extension = extension.lower() if self.any_case else extension
        if extension in self.videos:
            return "video"
        if extension in self.audio:
            return "audio"
        return "picture" if extension in (_opened_by_pillow() if self.pictures is None else self.pictures) else ""


LISTINGS: Mapping[str, Listing] = {
    "2024-10": Listing(pictures=_RECIPE_PICTURES),
    "3.1.6": Listing(videos=frozenset({".mp4", ".avi", ".gif", ".mov", ".webm"})),
    "4.8": Listing(
        videos=frozenset(
            {".mp4", ".avi", ".mov", ".mkv", ".webm", ".flv", ".wmv", ".m4v", ".mpeg", ".mpg", ".3gp", ".ogv"},
        ),
        audio=_AUDIO,
        any_case=True,
    ),
}
# Which versions stand behind the name of a release.
_VERSIONS: Mapping[str, tuple[str, ...]] = {"current": ("3.1.6", "4.8"), "2024-10": ("2024-10",)}


@lru_cache(maxsize=1)
def _opened_by_pillow() -> frozenset[str]:
    from PIL import Image

    known = Image.registered_extensions()
    return frozenset(extension.lower() for extension, name in known.items() if name in Image.OPEN) | _WITH_PLUGIN


class Reading:
    """What some releases take between them; see `datakit.audit.reader.Reader`."""

    def __init__(self, releases: Sequence[str] = tuple(_VERSIONS)) -> None:
        versions = {version for release in releases for version in _VERSIONS[release]}
        self._listings = {version: listing for version, listing in LISTINGS.items() if version in versions}

    def takes(self, name: str) -> Literal["", "picture", "video", "audio"]:
        """Return what a file of this name is taken for; a picture only where no release takes it for anything else."""
        taken = {listing.takes(name) for listing in self._listings.values()}
        return next((kind for kind in ("video", "audio", "picture") if kind in taken), "")

    def unseen_by(self, name: str) -> str:
        """Name the releases that do not list a file of this name; nothing where all do."""
        versions = [version for version, listing in self._listings.items() if not listing.takes(name)]
        return f"SimpleTuner {' and '.join(versions)}" if versions else ""

    def cache_name(self, folder: str, name: str) -> str:
        """Return what it names its cache of a picture by."""
        return cache_name(folder, name)


def cache_name(folder: str, name: str) -> str:
    """Return the name of a picture's cache file without its ending.

    It is the picture's path without its extension and without the folder's path, which 3.1.6 takes out wherever it
    occurs (helpers/caching/vae.py): in a folder /a, /a/b.jpg and /a/a/b.jpg share one.
    """
    return f"{folder}/{os.path.splitext(name)[0]}".replace(folder, "")
