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
    """Which stage wrote a dataset, from which folder (absolute), and the colour it laid under transparent pixels."""

    stage: str
    source: str
    background: str = "white"


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
    if source := source_around(path, datasets):
        raise UsageError(f"{path} would be written into {source}, a source, where nothing is ever changed: write elsewhere")


def remember_origin(dataset: Path, origin: Origin) -> None:
    """Note where a dataset comes from, for a later stage that goes back to it."""
    with suppress(OSError):  # a full disk: the later stage does without
        write_atomically(dataset / STATE_FOLDER / _ORIGIN, msgspec.json.encode(origin))
