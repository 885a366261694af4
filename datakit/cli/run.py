"""``datakit run``: the stages of a pipeline file, one after the other, only what changed."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datakit.cli.pipeline import FILE, STAGES, Step, read_pipeline, stage_command
from datakit.cli.sections import RUN, SHOW, SectionedCommand, section
from datakit.cli.shared import json_option, print_json

if TYPE_CHECKING:
    from datakit.dataset.unchanged import Ran

# Where exit code 1 of this stage means that nothing was written, so that what follows would work on what was there before.
_ALL_OR_NOTHING = "backend"


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
    A table names all that it reads and writes; paths are relative to FILE. Keys, values and the folders that stages are run
    on are checked before anything is run, or would be.

    A stage is passed over where its options, what it read and what it wrote are as they were when it last ended with
    exit code 0; files are told apart by name, size and time of change. One that left pictures out runs again, and names
    them again. Stages follow each other although pictures were refused, but not one that wrote nothing: backend, or any
    with strict = true. The exit code is the highest of theirs.

    \b
    datakit init                 (writes FILE from the commands used so far)
    datakit run --dry-run
    datakit run
    datakit run style.toml --all
    """
    steps = read_pipeline(file)
    # What the commands print is no part of the JSON.
    with contextlib.chdir(file.parent), contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        _check_places(file, steps)
        told = _dry_run(file, steps, everything) if dry_run else _run(file, steps, everything)
    if as_json:
        print_json(told)
    ctx.exit(max(int(each.get("exit_code", 0)) for each in told))


def _check_places(file: Path, steps: Iterable[Step]) -> None:
    """Make sure that each stage is run on what is there, or on what one before it writes. Raises UsageError."""
    from datakit.dataset.origin import is_inside
    from datakit.errors import UsageError

    written: list[Path] = []
    for step in steps:
        for place in step.takes:
            made = any(is_inside(Path(place), folder) for folder in written)
            if not (made or _is_elsewhere(place) or os.path.exists(place)):
                raise UsageError(f"{file}: {step.table} {place} does not exist, and no stage before writes it")
        written += map(Path, step.writes)


def _dry_run(file: Path, steps: Iterable[Step], everything: bool) -> list[dict[str, Any]]:
    """Say what `_run` would do."""
    from datakit.dataset.unchanged import read_state

    state, told = read_state(Path()), []
    pending: set[str] = set()
    for step in steps:
        why = _why(step, state.get(_key(file, step)), everything, pending)
        if why:
            pending |= _real(step.writes)
        click.echo(f"would run: {step}  # {why}" if why else f"up to date: {step}")
        told.append(_told(step, "would run" if why else "up to date", why))
    return told


def _run(file: Path, steps: Iterable[Step], everything: bool) -> list[dict[str, Any]]:
    """Run what changed, and note how each stage found and left its files."""
    from datakit.dataset.unchanged import Ran, read_state, write_state

    told = []
    for step in steps:
        state = read_state(Path())
        why = _why(step, state.pop(_key(file, step), None), everything)
        if not why:
            click.echo(f"{step.table} up to date", err=True)
            told.append(_told(step, "up to date"))
            continue
        click.echo(f"{step.table} {step}", err=True)
        read = _digest(step.reads)
        exit_code = _invoke(file, step)
        state[_key(file, step)] = Ran(list(step.words), read, _digest(step.writes), exit_code)
        write_state(Path(), state, map(Path, step.writes))
        told.append(_told(step, "ran", why) | {"exit_code": exit_code})
        if exit_code and (step.stage == _ALL_OR_NOTHING or "--strict" in step.words):
            click.echo(f"{file}: stopped at {step.table}, which wrote nothing", err=True)
            break
    return told


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
    if any(map(_is_elsewhere, (*step.reads, *step.writes))):
        return "what it reads or writes cannot be seen from here"
    if not _real(step.reads).isdisjoint(pending):
        return "what it reads may change before"
    if _digest(step.reads) != ran.read:
        return "what it reads has changed"
    return "what it wrote has changed" if _digest(step.writes) != ran.wrote else ""


def _is_elsewhere(place: str) -> bool:
    """Tell whether a place is no file or folder: an address, or a pattern of shards."""
    from datakit.shards.patterns import is_shards

    return "://" in place or (is_shards(place) and not os.path.exists(place))


def _invoke(file: Path, step: Step) -> int:
    """Run a command as if it had been typed, and return its exit code.

    Raises
    ------
    UsageError
        It cannot be started; the message names the file and the table.
    """
    from datakit.cli import main
    from datakit.errors import DatakitError, UsageError

    command = stage_command(step.stage)
    words = list(step.words[len(STAGES[step.stage]) :])
    try:
        with command.make_context(command.name, words, parent=click.Context(main, info_name="datakit")) as ctx:
            command.invoke(ctx)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.UsageError as error:
        raise UsageError(f"{file}: {step.table} {error.format_message()}") from error
    except DatakitError as error:
        raise UsageError(f"{file}: {step.table} {error}") from error
    return 0


def _key(file: Path, step: Step) -> str:
    return f"{file.name} {step.table}"


def _real(places: Iterable[str]) -> set[str]:
    return set(map(os.path.realpath, places))


def _digest(places: Iterable[str]) -> str:
    from datakit import __version__
    from datakit.dataset.unchanged import digest

    return digest(places, __version__)


def _told(step: Step, state: str, why: str = "") -> dict[str, Any]:
    told: dict[str, Any] = {"table": step.table, "command": ["datakit", *step.words], "state": state}
    return told | ({"why": why} if why else {})
