"""What a dataset is held against: a trainer, as far as it reads the files of a folder."""

from __future__ import annotations

from typing import Literal, Protocol


class Reader(Protocol):
    """What the checks ask of a trainer; names are relative to the dataset, with forward slashes."""

    def takes(self, name: str) -> Literal["", "picture", "video", "audio"]:
        """Return what it takes a file of this name for; nothing where it does not take it."""

    def unseen_by(self, name: str) -> str:
        """Name what of it does not see a picture of this name, such as some of its releases; nothing where all see it."""

    def cache_name(self, folder: str, name: str) -> str:
        """Return what it names its cache of a picture by; ``folder`` is absolute. Pictures of one such name share it."""
