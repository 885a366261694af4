"""Remember what was done: the dataset last written from a folder, the commands, the config files, the last run of crop.

All of it is kept in the ``.datakit`` of that folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from datakit.dataset.layout import COMMANDS, FILES, FILES_LOCK, LAST, REPORT, STATE_FOLDER
from datakit.dataset.manifest import NOT_JSON, write_atomically
from datakit.dataset.origin import source_around
from datakit.errors import DatasetBusyError, UsageError
from datakit.report import Problem, Report, counted

# Seconds that a run waits for another one that writes a few small files.
_PATIENCE = 10


class _Last(msgspec.Struct):
    stage: str
    dataset: str


class LastReport(msgspec.Struct, frozen=True):
    """What the last run of crop used and left out of a dataset and why.

    Attributes
    ----------
    options
        Of that run, as plain data.
    considered
        The `datakit.dataset.decisions.Decision.state` that it knew, by source.
    planned
        Whether it followed a plan.
    """

    done: int = 0
    skipped: int = 0
    refused: tuple[Problem, ...] = ()
    failed: tuple[Problem, ...] = ()
    stale: tuple[str, ...] = ()
    pruned: bool = False
    options: dict[str, Any] = {}
    considered: dict[str, str] = {}
    planned: bool = False


def remember_report(dataset: Path, report: Report, ran: dict[str, Any]) -> None:
    """Keep the report of a run in its dataset, with what else `LastReport` holds of it; a full disk is no error."""
    with suppress(OSError):
        content = msgspec.json.encode(report.to_json() | ran)
        write_atomically(dataset / REPORT, msgspec.json.format(content) + b"\n")


def last_report(dataset: Path) -> LastReport | None:
    """Return what the last run on a dataset reported; None where nothing is known."""
    try:
        return msgspec.json.decode((dataset / REPORT).read_bytes(), type=LastReport)
    except (OSError, *NOT_JSON):
        return None


def why_empty(dataset: Path) -> str:
    """Say why a dataset holds no pictures, where the last run of crop left all of them out; else nothing."""
    report = last_report(dataset)
    problems = (*report.refused, *report.failed) if report and not report.done + report.skipped else ()
    if not problems:
        return ""
    return (
        f"{dataset} holds no pictures: the last crop used none of {counted(len(problems), 'picture')}. "
        f"{problems[0].source}: {problems[0].reason}"
    )


def remember(folder: Path, stage: str, dataset: Path) -> None:
    """Note that a stage run from a folder wrote a dataset; a source, or a folder that cannot be written to, is left alone."""
    if source_around(folder, [dataset]):
        return
    try:
        write_atomically(folder / LAST, msgspec.json.encode(_Last(stage, str(dataset.resolve()))))
    except OSError:
        return


def last_dataset(folder: Path) -> tuple[Path, str]:
    """Return the dataset that the last stage run from a folder wrote, and the stage's name.

    Raises
    ------
    UsageError
        No stage was run from this folder, or what it wrote is gone.
    """
    try:
        last = msgspec.json.decode((folder / LAST).read_bytes(), type=_Last)
    except (OSError, *NOT_JSON):
        raise UsageError(
            "no dataset named, and none is remembered for this folder (in a source folder none ever is): name the one to use"
        ) from None
    dataset = Path(last.dataset)
    if not dataset.is_dir():
        raise UsageError(f"{dataset}, which the last {last.stage} wrote, is gone: name the folder to use")
    return dataset, last.stage


class Command(msgspec.Struct, frozen=True):
    """A command that wrote something: its stage, and its arguments and options by the names that they have in a pipeline file."""

    stage: str
    values: dict[str, str | int | float | bool | list[str]]

    @property
    def written(self) -> str:
        """Where it wrote to, as it was typed."""
        return str(self.values.get("output") or self.values.get("into"))


def remember_command(folder: Path, command: Command, datasets: Iterable[Path]) -> None:
    """Note a command run from a folder, in the place of one that wrote the same; a source is left alone, as by `remember`."""
    if source_around(folder, datasets):
        return

    def same(each: Command) -> tuple[str, str]:
        return each.stage, os.path.realpath(folder / each.written)

    known = {same(each): each for each in remembered_commands(folder)} | {same(command): command}
    with suppress(OSError):
        write_atomically(folder / COMMANDS, msgspec.json.encode(list(known.values())))


def remembered_commands(folder: Path) -> list[Command]:
    """Return the commands that were run from a folder, as far as what they wrote is still there, the first first."""
    try:
        known = msgspec.json.decode((folder / COMMANDS).read_bytes(), type=list[Command])
    except (OSError, *NOT_JSON):
        return []
    return [command for command in known if os.path.lexists(folder / command.written)]


def written_for(folder: Path, command: Command) -> list[str]:
    """Return the datasets, as they were typed, that a file was for which this command is about to replace; none for the same ones."""
    before = next(
        (each for each in remembered_commands(folder) if (each.stage, each.written) == (command.stage, command.written)), None
    )

    def datasets(of: Command) -> list[str]:
        named = of.values.get("datasets")
        return named if isinstance(named, list) else []

    if before is None or {os.path.realpath(folder / each) for each in datasets(before)} == {
        os.path.realpath(folder / each) for each in datasets(command)
    }:
        return []
    return datasets(before)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until no other run is writing files to a folder and taking note of them.

    Raises
    ------
    DatasetBusyError
        Another run does not end.
    """
    lock = FileLock(folder / FILES_LOCK, timeout=_PATIENCE)
    with ExitStack() as held:
        try:
            (folder / STATE_FOLDER).mkdir(parents=True, exist_ok=True)
            held.enter_context(lock)
        except Timeout:
            raise DatasetBusyError(f"another run of datakit is writing files to {folder}: wait until it has ended") from None
        except OSError:
            pass  # nothing can be noted here, so there is nothing to guard
        yield


def remember_files(folder: Path, files: Mapping[Path, bytes]) -> None:
    """Note, in a folder, the content of the files that were written to it, so that a later run may replace them."""
    known = _files(folder) | {path.name: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    with suppress(OSError):
        write_atomically(folder / FILES, msgspec.json.encode(known))


def edited(files: Iterable[Path]) -> Iterator[Path]:
    """Yield the files that are not as datakit wrote them: replacing one would lose something of the user's."""
    known: dict[Path, dict[str, str]] = {}
    for path in files:
        if path.parent not in known:
            known[path.parent] = _files(path.parent)
        if known[path.parent].get(path.name) != hashlib.sha256(path.read_bytes()).hexdigest():
            yield path


def _files(folder: Path) -> dict[str, str]:
    """Return the sha256 of the files of a folder by their names, which stay true where the folder is moved."""
    try:
        known = msgspec.json.decode((folder / FILES).read_bytes(), type=dict[str, str])
        return {os.path.basename(name): sha256 for name, sha256 in known.items()}  # 0.1 noted absolute ones
    except (OSError, *NOT_JSON):
        return {}
