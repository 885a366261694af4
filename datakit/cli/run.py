"""``datakit run``: the stages of a pipeline file, one after the other, only what changed."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datakit.cli.pipeline import FILE, Step, read_pipeline, run_step
from datakit.cli.sections import RUN, SHOW, SectionedCommand, section
from datakit.cli.shared import json_option, print_json

if TYPE_CHECKING:
    from datakit.dataset.unchanged import Ran
    from datakit.errors import UsageError

# Where exit code 1 of this stage means that nothing was written, so that what follows would work on what was there before.
_ALL_OR_NOTHING = "backend"
# Whose files name absolute paths, which are wrong once the folder is moved.
_ABSOLUTE = ("backend", "config")


@click.command(cls=SectionedCommand)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default=FILE)
@section(RUN)
@click.option("--all", "everything", is_flag=True, help="Run every stage, whether anything changed or not.")
@section(SHOW)
@click.option("--dry-run", is_flag=True, help="Say which stages would run, and why, and stop.")
@json_option
@click.pass_context
def run(ctx: click.Context, *, file: Path, everything: bool, dry_run: bool, as_json: bool) -> None:
    """Run crop, shuffle, backend and config as FILE writes them down, only what changed.

    FILE is datakit.toml by default. Each table is one command: [crop], [shuffle], [backend], [config], or [[crop]] for
    each of several concepts. Its keys are the arguments and options of that command without the dashes, as its --help
    lists them under Choose, Write and Run; a list stands for an option that is repeated, true for one without a value.
    A table names all that it reads and writes; paths are relative to FILE. Keys, values, the folders that stages are run on
    and where tables cross are checked before anything is run; what only the pictures tell, when their table's turn comes.

    A stage is passed over where its options, what it read and what it wrote are as they were when it last ended with
    exit code 0; files are told apart by name, size and time of change. One that left pictures out runs again, and names
    them again. So do backend and config where the folder was moved: they write absolute paths. Stages follow each other
    although pictures were refused, but not one that wrote nothing: backend, or any with strict = true. The exit code is
    the highest of theirs; 2 where one cannot be started.

    \b
    datakit init                 (writes FILE from the commands used so far)
    datakit run --dry-run
    datakit run
    datakit run style.toml --all
    """
    steps = read_pipeline(file)
    told: list[dict[str, Any]] = []
    try:
        # What the commands print is no part of the JSON.
        with contextlib.chdir(file.parent), contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            for step in steps:
                _start(file, step, told, check=True)
            _check_places(file, steps, told)
            (_dry_run if dry_run else _run)(file, steps, everything, told)
    finally:
        if as_json:
            print_json(told)
    ctx.exit(max(int(each.get("exit_code", 0)) for each in told))


def _check_places(file: Path, steps: Iterable[Step], told: list[dict[str, Any]]) -> None:
    """Make sure that each stage is run on what is there, or on what one before it writes. Raises UsageError."""
    from datakit.dataset.origin import is_inside
    from datakit.errors import UsageError

    written: list[Path] = []
    for step in steps:
        for place in step.takes:
            made = any(is_inside(Path(place), folder) for folder in written)
            if not (made or _is_elsewhere(place) or os.path.exists(place)):
                error = UsageError(f"{file}: {step.table} {place} does not exist, and no stage before writes it")
                raise _not_started(step, error, told)
        written += map(Path, step.writes)


def _dry_run(file: Path, steps: Iterable[Step], everything: bool, told: list[dict[str, Any]]) -> None:
    """Say what `_run` would do."""
    from datakit.dataset.unchanged import read_state

    state = read_state(Path())
    pending: set[str] = set()
    for step in steps:
        why = _why(step, state.get(_key(file, step)), everything, pending)
        if why:
            pending |= _real(step.writes)
        click.echo(f"would run: {step}  # {why}" if why else f"up to date: {step}")
        told.append(_told(step, "would run" if why else "up to date", why))


def _run(file: Path, steps: Iterable[Step], everything: bool, told: list[dict[str, Any]]) -> None:
    """Run what changed, and note how each stage found and left its files."""
    from datakit.dataset.unchanged import Ran, read_state, write_state

    for step in steps:
        state = read_state(Path())
        why = _why(step, state.pop(_key(file, step), None), everything)
        if not why:
            click.echo(f"{step.table} up to date", err=True)
            told.append(_told(step, "up to date"))
            continue
        click.echo(f"{step.table} {step}", err=True)
        read = _digest(step.reads)
        exit_code = _start(file, step, told)
        state[_key(file, step)] = Ran(list(step.words), read, _digest(_written(step)), _place(step), exit_code)
        write_state(Path(), state, map(Path, step.writes))
        told.append(_told(step, "ran", why) | {"exit_code": exit_code})
        if exit_code and (step.stage == _ALL_OR_NOTHING or "--strict" in step.words):
            click.echo(f"{file}: stopped at {step.table}, which wrote nothing", err=True)
            break


def _start(file: Path, step: Step, told: list[dict[str, Any]], *, check: bool = False) -> int:
    """Run a stage, or have it check its options; where it cannot be started, that is told too."""
    from datakit.errors import UsageError

    try:
        return run_step(step, str(file), check=check)
    except UsageError as error:
        raise _not_started(step, error, told) from None


def _not_started(step: Step, error: UsageError, told: list[dict[str, Any]]) -> UsageError:
    """Tell of a stage that cannot be started, for `--json` too, and return the error to raise."""
    told.append(_told(step, "not started") | {"message": str(error), "exit_code": 2})
    return error


def _why(step: Step, ran: Ran | None, everything: bool, pending: Collection[str] = ()) -> str:
    """Return why a stage is to run; nothing where all is as it was. ``pending`` is what stages before it would write."""
    if everything:
        return "--all"
    if ran is None:
        return "`datakit run` has not run it so far; what is up to date stays as it is"
    if ran.exit_code:
        return "it left something out when it last ran"
    if ran.words != list(step.words):
        return "its options have changed"
    if ran.place != _place(step):
        return "the folder was moved, and what it wrote names absolute paths"
    if any(map(_is_elsewhere, (*step.reads, *step.writes))):
        return "what it reads or writes cannot be seen from here"
    if not _real(step.reads).isdisjoint(pending):
        return "what it reads may change before"
    if _digest(step.reads) != ran.read:
        return "what it reads has changed"
    return "what it wrote has changed" if _digest(_written(step)) != ran.wrote else ""


def _place(step: Step) -> str:
    """Return the folder that a stage runs in, where what it writes depends on that."""
    return os.getcwd() if step.stage in _ABSOLUTE else ""


def _is_elsewhere(place: str) -> bool:
    """Tell whether a place is no file or folder: an address, or a pattern of shards."""
    from datakit.shards.patterns import is_shards

    return "://" in place or (is_shards(place) and not os.path.exists(place))


def _key(file: Path, step: Step) -> str:
    return f"{file.name} {step.table}"


def _real(places: Iterable[str]) -> set[str]:
    return set(map(os.path.realpath, places))


def _written(step: Step) -> list[str]:
    """Return what a stage wrote itself: of the caches its views alone, in which the trainer writes too."""
    from datakit.trainers import DEFAULT
    from datakit.trainers.view import written_in

    trainer = step.words[step.words.index("--trainer") + 1] if "--trainer" in step.words else DEFAULT
    return [*step.writes, *(file for cache in step.caches for file in written_in(Path(cache), trainer, step.reads))]


def _digest(places: Iterable[str]) -> str:
    from datakit import __version__
    from datakit.dataset.unchanged import digest

    return digest(places, __version__)


def _told(step: Step, state: str, why: str = "") -> dict[str, Any]:
    told: dict[str, Any] = {"table": step.table, "command": ["datakit", *step.words], "state": state}
    return told | ({"why": why} if why else {})
