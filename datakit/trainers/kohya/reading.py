"""What sd-scripts lists of a folder (``library/train_util.py``: glob_images), and what it makes of captions."""

from __future__ import annotations

import os
from typing import Literal

# All lower or all upper case; .avif and .jxl only with plug-ins of its environment.
_PICTURES = frozenset(case for name in (".png", ".jpg", ".jpeg", ".webp", ".bmp") for case in (name, name.upper()))


class Reading:
    """See `datakit.audit.reader.Reader`: one folder, not those inside it, no hidden files."""

    def takes(self, name: str) -> Literal["", "picture", "video", "audio"]:
        """Return what it takes a file of this name for; nothing where it does not list it."""
        seen = "/" not in name and not name.startswith(".") and os.path.splitext(name)[1] in _PICTURES
        return "picture" if seen else ""

    def unseen_by(self, name: str) -> str:
        """Name what does not see a picture of this name; nothing where it is seen."""
        if self.takes(name):
            return ""
        return "in a folder of its own" if "/" in name else os.path.splitext(name)[1]

    def cache_name(self, folder: str, name: str) -> str:
        """Return what it names its caches of a picture by: the path without the extension."""
        return os.path.splitext(name)[0]
