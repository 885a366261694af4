"""What SimpleTuner 3.1.6 takes from a dataset folder, and what it leaves there at start-up."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from datakit.dataset.manifest import NOT_JSON
from datakit.errors import UsageError

# Listed beside the pictures and then opened as videos.
_VIDEOS = frozenset({".mp4", ".avi", ".gif", ".mov", ".webm"})
# Listed only where the trainer's environment has the plug-in for it.
_WITH_PLUGIN = frozenset({".jxl"})
# Written into the dataset folder; the entry's id is part of the name.
_INDEX = "aspect_ratio_bucket_indices"
_METADATA = "aspect_ratio_bucket_metadata"


@lru_cache(maxsize=1)
def listed_extensions() -> frozenset[str]:
    """Return the extensions of all files that the trainer takes: what Pillow can open by name, and videos.

    It looks for them in lower case, in every folder, hidden ones too.
    """
    from PIL import Image

    known = Image.registered_extensions()
    return frozenset(extension.lower() for extension, name in known.items() if name in Image.OPEN) | _VIDEOS | _WITH_PLUGIN


def reads(name: str) -> bool:
    """Tell whether the trainer takes a file of this name."""
    return _extension(name) in listed_extensions()


def reads_as_video(name: str) -> bool:
    """Tell whether the trainer opens a file of this name as a video."""
    return _extension(name) in _VIDEOS


def cache_name(folder: str, name: str) -> str:
    """Return the name of a picture's cache file without its ending.

    It is the picture's path without its extension and without the folder's path, which 3.1.6 takes out wherever it
    occurs (helpers/caching/vae.py): in a folder /a, /a/b.jpg and /a/a/b.jpg share one.
    """
    return f"{folder}/{os.path.splitext(name)[0]}".replace(folder, "")


def trainer_files(folder: Path) -> list[Path]:
    """Return the files that the trainer left in a dataset folder, sorted."""
    return sorted(path for name in (_INDEX, _METADATA) for path in folder.glob(f"{name}_*.json"))


def stale_files(folder: Path, name: str) -> list[Path]:
    """Return what the trainer left in a dataset folder for any entry but the one with this id."""
    return [path for path in trainer_files(folder) if not path.name.endswith(f"_{name}.json")]


class _BucketIndex(msgspec.Struct):
    aspect_ratio_bucket_indices: dict[str, list[str]] = {}


def bucketed_pictures(folder: Path, name: str) -> tuple[set[str] | None, set[str] | None]:
    """Return the paths that the trainer put into buckets for the entry of this id, and those it holds metadata of.

    Either is None before the trainer ran.

    Raises
    ------
    UsageError
        A file is there and cannot be read.
    """
    index, metadata = folder / f"{_INDEX}_{name}.json", folder / f"{_METADATA}_{name}.json"
    bucketed = known = None
    try:
        if index.exists():
            buckets = msgspec.json.decode(index.read_bytes(), type=_BucketIndex).aspect_ratio_bucket_indices
            bucketed = {path for paths in buckets.values() for path in paths}
        if metadata.exists():
            known = set(msgspec.json.decode(metadata.read_bytes(), type=dict[str, Any]))
    except (OSError, *NOT_JSON) as error:
        raise UsageError(f"the trainer's files in {folder} cannot be read ({error}): wait until it has written them") from error
    return bucketed, known


def _extension(name: str) -> str:
    return name[name.rfind(".") :] if "." in name else ""
