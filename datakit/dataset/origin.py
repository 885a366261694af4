"""Where a dataset came from: kept in its state, not in its records, as the same dataset may be made in another place."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec

from datakit.dataset.layout import ORIGIN
from datakit.dataset.manifest import MANIFEST, NOT_JSON, read_manifest, write_atomically
from datakit.dataset.samples import PICTURE_EXTENSIONS
from datakit.dataset.source import Source
from datakit.errors import UsageError

# So many pictures tell whether one folder is a copy of another.
_COMPARED = 20


class Origin(msgspec.Struct, frozen=True):
    """Which stage wrote a dataset, from which folder (absolute), and the colour it laid under transparent pixels."""

    stage: str
    source: str
    background: str = "white"


def read_origin(dataset: Path) -> Origin | None:
    """Return where a dataset came from; None where nothing is known."""
    try:
        return msgspec.json.decode((dataset / ORIGIN).read_bytes(), type=Origin)
    except (OSError, *NOT_JSON):
        return None


def source_folders(dataset: Path) -> list[Path]:
    """Return the folders that a dataset was made from, stage by stage, as far as is known."""
    folders: list[Path] = []
    origin = read_origin(dataset)
    while origin and Path(origin.source) not in folders:
        folders.append(Path(origin.source))
        origin = read_origin(folders[-1])
    return folders


def source_around(path: Path, datasets: Iterable[Path]) -> Path | None:
    """Return the source folder of these datasets in which a path lies: nothing is ever written there."""
    place = path.resolve()
    return next((folder for dataset in datasets for folder in source_folders(dataset) if place.is_relative_to(folder)), None)


def refuse_in_source(path: Path, datasets: Iterable[Path]) -> None:
    """Make sure that what is written does not lie where one of the datasets came from.

    Raises
    ------
    UsageError
        It does.
    """
    source = source_around(path, datasets)
    if source == path.resolve():
        raise UsageError(f"{path} is a source, where nothing is ever changed: name another folder")
    if source:
        raise UsageError(f"{path} would be written into {source}, a source, where nothing is ever changed: write elsewhere")


def is_inside(path: Path, folder: Path) -> bool:
    """Tell whether a path is a folder or lies in it, links resolved; neither need exist."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def refuse_other_origin(dataset: Path, stage: str, source: Source) -> None:
    """Make sure that a dataset is not mixed from two folders, whose pictures of one name would replace each other.

    A source that was moved no longer holds the pictures where they were, and a copy holds the same: both may go on.

    Raises
    ------
    UsageError
        The dataset was written by another stage, or from another folder, which is still there.
    """
    origin = read_origin(dataset)
    if origin is None or not (dataset / MANIFEST).is_file():
        return
    if origin.stage != stage:
        raise UsageError(f"{dataset} was written by datakit {origin.stage}: name another folder for what datakit {stage} writes")
    before = Path(origin.source)
    if origin.source == source.identity or not os.path.isdir(before):
        return
    there = list(islice((each for each in read_manifest(dataset) if os.path.exists(before / each.source)), _COMPARED))
    if there and not any(source.content_id(record.source) == record.source_sha256 for record in there):
        raise UsageError(
            f"{dataset} was made from {before}: name another folder for what is made from {source.address}, or use --overwrite "
            "to make it from there, which also replaces what was edited by hand"
        )


def remember_origin(dataset: Path, origin: Origin) -> None:
    """Note where a dataset comes from, for a later stage that goes back to it."""
    with suppress(OSError):  # a full disk: the later stage does without
        write_atomically(dataset / ORIGIN, msgspec.json.encode(origin))


def refuse_strangers_folder(folder: Path) -> None:
    """Make sure that no dataset is begun among pictures of somebody's own, as where arguments are the wrong way round. Raises UsageError."""
    with suppress(OSError):
        theirs = next((name for name in sorted(os.listdir(folder)) if name.lower().endswith(tuple(PICTURE_EXTENSIONS))), None)
        if theirs is not None and not (folder / MANIFEST).exists():
            raise UsageError(
                f"{folder} holds pictures ({theirs}) and is no dataset of datakit: name a new folder, "
                "or use --overwrite to write among them, which replaces files of the same names"
            )
