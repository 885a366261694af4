"""What a dataset is held against: a trainer, as far as it reads the files of a folder."""

from __future__ import annotations

from typing import Protocol


class Reader(Protocol):
    """What the checks ask of a trainer; names are relative to the dataset, with forward slashes."""

    def reads(self, name: str) -> bool:
        """Tell whether it takes a file of this name, be it for a picture or for a video."""

    def reads_as_video(self, name: str) -> bool:
        """Tell whether it opens a file of this name as a video."""

    def cache_name(self, folder: str, name: str) -> str:
        """Return what it names its cache of a picture by; ``folder`` is absolute. Pictures of one such name share it."""
