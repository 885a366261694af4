"""What a trainer lists that looks into one folder and none inside it, by extensions in all lower or all upper case."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal


class FlatListing:
    """See `datakit.audit.reader.Reader`: one folder, not those inside it, no hidden files.

    ``extensions`` are in lower case, with their dot.
    """

    def __init__(self, extensions: Iterable[str]) -> None:
        self._pictures = frozenset(case for name in extensions for case in (name, name.upper()))

    def takes(self, name: str) -> Literal["", "picture", "video", "audio"]:
        """Return what it takes a file of this name for; nothing where it does not list it."""
        seen = "/" not in name and not name.startswith(".") and os.path.splitext(name)[1] in self._pictures
        return "picture" if seen else ""

    def unseen_by(self, name: str) -> str:
        """Name what keeps it from seeing a picture of this name; nothing where it is seen."""
        if self.takes(name):
            return ""
        return "in a folder of its own" if "/" in name else os.path.splitext(name)[1]

    def cache_name(self, folder: str, name: str) -> str:
        """Return what it names its caches of a picture by: the path without the extension."""
        return os.path.splitext(name)[0]
