"""Where a dataset came from: kept in its state, not in its records, as the same dataset may be made in another place."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from datakit.dataset import STATE_FOLDER
from datakit.errors import UsageError
from datakit.manifest import NOT_JSON, write_atomically

_ORIGIN = "origin.json"


class Origin(msgspec.Struct, frozen=True):
    """Where a dataset came from.

    Attributes
    ----------
    stage, source
        Which command wrote it, from which folder (absolute).
    background
        The colour that it laid under transparent pixels.
    dataset
        Where the dataset itself lay (absolute): a copy of it may go on with a copy of its source.
    """

    stage: str
    source: str
    background: str = "white"
    dataset: str = ""


def read_origin(dataset: Path) -> Origin | None:
    """Return where a dataset came from; None where nothing is known."""
    try:
        return msgspec.json.decode((dataset / STATE_FOLDER / _ORIGIN).read_bytes(), type=Origin)
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


def refuse_other_source(dataset: Path, source: Path) -> None:
    """Make sure that a dataset is not mixed from two folders, whose pictures of one name would replace each other.

    A source that was moved is no longer where it was, and so is a copy of both: they may go on.

    Raises
    ------
    UsageError
        The dataset was made from another folder, which is still there.
    """
    origin = read_origin(dataset)
    if origin is None or origin.dataset != str(dataset.resolve()):
        return
    if Path(origin.source).is_dir() and not Path(origin.source).samefile(source):
        raise UsageError(
            f"{dataset} was made from {origin.source}: name another folder for what is made from {source}, "
            "or use --overwrite to make it from there"
        )


def remember_origin(dataset: Path, origin: Origin) -> None:
    """Note where a dataset comes from, for a later stage that goes back to it."""
    placed = msgspec.structs.replace(origin, dataset=str(dataset.resolve()))
    with suppress(OSError):  # a full disk: the later stage does without
        write_atomically(dataset / STATE_FOLDER / _ORIGIN, msgspec.json.encode(placed))
