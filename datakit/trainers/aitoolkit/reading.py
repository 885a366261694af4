"""What ai-toolkit takes from a folder (27a03a9, toolkit/data_loader.py, AiToolkitDataset)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_PICTURES = (".jpg", ".jpeg", ".png", ".webp")
# Where it makes and looks for control pictures.
_CONTROLS = "_controls"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one dataset takes; see `datakit.audit.reader.Reader`.

    All folders are looked into but hidden ones and links; hidden files do not count, the case of an extension makes no difference.

    Attributes
    ----------
    folder
        Absolute path, to know links by; without one there are none.
    """

    folder: Path | None = None

    def takes(self, name: str) -> Literal["", "picture", "video", "audio"]:
        """Return what a file of this name is taken for."""
        *folders, file = name.split("/")
        inside = not any(part.startswith(".") for part in (*folders, file)) and (not folders or folders[-1] != _CONTROLS)
        return "picture" if inside and file.lower().endswith(_PICTURES) and not self.through_link(name) else ""

    def unseen_by(self, name: str) -> str:
        """Name ai-toolkit, where it does not see a picture for its extension."""
        return "" if name.lower().endswith(_PICTURES) else "ai-toolkit"

    def cache_name(self, folder: str, name: str) -> str:
        """Return the name itself: its caches lie beside a picture, and their names hold a hash of the picture's whole name."""
        return name

    def through_link(self, name: str) -> bool:
        """Tell whether a file lies in a folder that is a link."""
        folders = name.split("/")[:-1]
        return self.folder is not None and any(
            os.path.islink(self.folder / "/".join(folders[: deep + 1])) for deep in range(len(folders))
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """What a dataset of a ``.json`` file takes of one folder: the files that it names there, and no other."""

    names: frozenset[str]

    def takes(self, name: str) -> Literal["", "picture", "video", "audio"]:
        """Return what a file of this name is taken for."""
        return "picture" if name in self.names else ""

    def unseen_by(self, name: str) -> str:
        """Return nothing: whatever is named is read."""
        return ""

    def cache_name(self, folder: str, name: str) -> str:
        """Return the name itself."""
        return name
