"""What diffusion-pipe lists of a folder (``utils/dataset.py``: DirectoryDataset), and how it reads captions.json."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from datakit.audit.looks import is_readable
from datakit.caption.captions import read_caption
from datakit.dataset.manifest import NOT_JSON
from datakit.dataset.samples import caption_of
from datakit.errors import CaptionError
from datakit.trainers.verdict import Fault

CAPTIONS = "captions.json"
# It opens every other file, and passes over what turns out to be no picture, as the manifest does.
_UNOPENED = frozenset({".txt", ".npz", ".json", ".parquet", ".bak", ".db"})
# Of the endings of imageio's list of videos those that are met, in lower or upper case.
_VIDEOS = frozenset(
    case
    for name in (".mp4", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".m4v", ".mpg", ".mpeg", ".flv", ".ogv", ".3gp", ".ts", ".mpo")
    for case in (name, name.upper())
)
_REMEDY = "run datakit backend, which writes it for a view, or give each caption as a text in a list"


class Reading:
    """See `datakit.audit.reader.Reader`: one folder, not those inside it; hidden files and any case of an extension."""

    def takes(self, name: str) -> Literal["", "picture", "video", "audio"]:
        """Return what it takes a file of this name for; nothing where it passes it over."""
        extension = os.path.splitext(name)[1]
        if "/" in name or extension in _UNOPENED:
            return ""
        return "video" if extension in _VIDEOS else "picture" if is_readable(name) else ""

    def unseen_by(self, name: str) -> str:
        """Name what does not see a picture of this name; nothing where it is seen."""
        return "in a folder of its own" if "/" in name else ""

    def cache_name(self, folder: str, name: str) -> str:
        """Return what it knows its caches of a picture by: the whole path."""
        return name


def listing(captions: Mapping[str, Sequence[str]]) -> bytes:
    """Return the captions.json of some pictures by name; one without a caption is trained with the empty one.

    In ASCII, as the trainer reads it in whatever encoding its system has.
    """
    import json

    whole = {name: list(lines) or [""] for name, lines in captions.items()}
    return json.dumps(whole, indent=1).encode() + b"\n"


def caption_faults(entry: str, folder: Path, pictures: Sequence[str], written: bool) -> list[Fault]:
    """Hold a captions.json against the pictures of its folder, and where datakit wrote that, against the ``.txt`` beside each.

    Parameters
    ----------
    entry
        What the verdict calls the folder.
    folder, pictures
        The folder, and the names of its pictures.
    written
        Whether the folder has a manifest.
    """
    try:
        found = msgspec.json.decode((folder / CAPTIONS).read_bytes())
    except OSError as error:
        return [Fault(entry, CAPTIONS, f"cannot be read: {error.strerror or error}", "make it a file that you may read")]
    except NOT_JSON as error:
        return [Fault(entry, CAPTIONS, "no JSON: the trainer stops at it", _REMEDY, str(error))]
    if not isinstance(found, dict):
        return [Fault(entry, CAPTIONS, "no object of pictures: the trainer stops at it", _REMEDY)]
    faults = []
    for name in pictures:
        problem = _fault(found.get(name))
        if not problem and written and found[name] != (_lines(folder / caption_of(name)) or [""]):
            problem = f"other captions in {CAPTIONS} than in its .txt, and the trainer reads the first"
        if problem:
            faults.append(Fault(entry, name, problem, _REMEDY))
    return faults


def _fault(captions: Any) -> str:
    """Say what is wrong with the entry of a picture."""
    if captions is None:
        return f"not in {CAPTIONS}: the trainer leaves the picture out"
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        return f"no list of texts in {CAPTIONS}: the trainer stops at it"
    if not captions:
        return f"an empty list in {CAPTIONS}: the picture is never trained"
    if any("\n" in caption for caption in captions):
        return f"a caption of several lines in {CAPTIONS}, which are trained as one"
    return ""


def _lines(path: Path) -> list[str]:
    try:
        return list(read_caption(path).lines)
    except CaptionError:
        return []  # named with the files
