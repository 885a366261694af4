"""What OneTrainer takes from a folder (mgds 3a6994a, pipelineModules/CollectPaths.py; OneTrainer 23df383, util/path_util.py)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

_PICTURES = frozenset({".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".avif"})
# Masks and conditioning pictures, which it leaves out wherever they lie.
MASK, CONDITION = "-masklabel", "-condlabel"
LEFT_OUT = (MASK, CONDITION)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one concept takes; see `datakit.audit.reader.Reader`.

    Hidden files count, hidden folders do not, and other folders only where ``deep``. The case of an extension makes no difference.
    """

    deep: bool = False

    def takes(self, name: str) -> Literal["", "picture", "video", "audio"]:
        """Return what a file of this name is taken for."""
        *folders, file = name.split("/")
        stem, extension = os.path.splitext(file)
        if (folders and not self.deep) or any(folder.startswith(".") for folder in folders):
            return ""
        return "picture" if extension.lower() in _PICTURES and not stem.endswith(LEFT_OUT) else ""

    def unseen_by(self, name: str) -> str:
        """Name OneTrainer, where it does not see a picture for its extension; other folders are not this one's."""
        return "" if self.takes(name) or "/" in name or os.path.splitext(name)[1].lower() in _PICTURES else "OneTrainer"

    def cache_name(self, folder: str, name: str) -> str:
        """Return the name itself: it knows its caches by the place of a picture in the folder."""
        return name
