"""A pipeline file: tables of the stages' own options, read into command lines; every key and value is what the command says."""

from __future__ import annotations

import difflib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from datakit.cli.sections import CHOOSE, SHOW, WRITE, section_of

FILE = "datakit.toml"
# In the order in which they run, with the words that call them.
STAGES = {"crop": ("crop",), "shuffle": ("shuffle",), "backend": ("backend",), "config": ("config", "write")}
# The keys that say where a stage writes: nothing is left to where the last command was run.
_PLACES = ("output", "into")
_CACHES = "cache-root"
# What writes a folder of pictures.
_DATASETS = ("crop", "shuffle")
# In the context of a command that is only to check its options.
_CHECKING = "datakit.checking"


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a pipeline file.

    Attributes
    ----------
    table
        The table it stands in, as it is written there; the second of several is ``[[crop]] 2``.
    stage
        A name of `STAGES`.
    words
        What a user would type behind ``datakit``.
    takes
        The folders that it is run on, as they stand in the file.
    reads, writes
        All files and folders that it reads and writes, in the same way.
    caches
        Folders in which it writes views, and the trainer whatever it likes.
    """

    table: str
    stage: str
    words: tuple[str, ...]
    takes: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    caches: tuple[str, ...]

    def __str__(self) -> str:
        """The command line, as a shell takes it."""
        return shlex.join(["datakit", *self.words])


def stage_command(stage: str) -> click.Command:
    """Return the command of a stage."""
    from datakit.cli import main

    command: click.Command | None = main
    for word in STAGES[stage]:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    return command


def keys_of(command: click.Command) -> dict[str, click.Parameter]:
    """Return the arguments and options that a pipeline file may set, by key; what only says what is shown is none of them."""
    return {
        key_of(parameter): parameter
        for parameter in command.params
        if isinstance(parameter, click.Argument) or section_of(parameter) != SHOW
    }


def key_of(parameter: click.Parameter) -> str:
    """Return what a parameter is called in a pipeline file: an option as it is typed, without the dashes."""
    return str(parameter.name) if isinstance(parameter, click.Argument) else parameter.opts[-1].lstrip("-")


def read_pipeline(path: Path) -> list[Step]:
    """Return the commands of a pipeline file in the order in which they run.

    Raises
    ------
    UsageError
        The file cannot be read, or a table, a key or a value of it cannot be used.
    """
    from datakit.errors import UsageError
    from datakit.trainers.toml import read_toml

    content = read_toml(path)
    for name in content:
        if name not in STAGES:
            raise UsageError(f"{path}: [{name}] is unknown{_nearest(name, STAGES)}: tables are {', '.join(STAGES)}")
    steps = []
    for stage in STAGES:
        tables = content.get(stage, [])
        several = isinstance(tables, list)
        for number, table in enumerate(tables if several else [tables], 1):
            name = f"[[{stage}]] {number}" if several else f"[{stage}]"
            if not isinstance(table, dict):
                raise UsageError(
                    f"{path}: {stage} = {table!r} is no table: write [{stage}] on a line of its own, and its keys below"
                )
            steps.append(_step(f"{path}: {name}", name, stage, table))
    if not steps:
        raise UsageError(f"{path} names no stage: write a table {', '.join(f'[{stage}]' for stage in STAGES)}")
    _refuse_crossing(path, steps)
    return steps


def _refuse_crossing(path: Path, steps: Sequence[Step]) -> None:
    """Make sure that no two tables write the same, and that none writes what one before it reads. Raises UsageError."""
    from datakit.errors import UsageError

    def real(places: Sequence[str]) -> dict[str, str]:
        return {os.path.realpath(path.parent / place): place for place in places}

    for earlier, later in combinations(steps, 2):
        written = real(later.writes)
        for place in real(earlier.writes).keys() & written:
            raise UsageError(
                f"{path}: {earlier.table} and {later.table} both write {written[place]}: name another output in one of them"
            )
        for (read, source), place in product(real(earlier.reads).items(), written):
            nested = (later.stage in _DATASETS and Path(place) in Path(read).parents) or (
                _DATASETS[0] in (earlier.stage, later.stage) and Path(read) in Path(place).parents
            )
            if read == place or nested:
                way = f"write {later.table} before it, or " if earlier.stage == later.stage else ""
                raise UsageError(
                    f"{path}: {earlier.table} reads {source}, and {later.table} writes {written[place]} after that: {way}name another "
                    f"output in {later.table}"
                )


def _step(where: str, name: str, stage: str, table: Mapping[str, Any]) -> Step:
    from datakit.errors import UsageError

    command = stage_command(stage)
    keys = keys_of(command)
    for key in table:
        if key not in keys:
            raise UsageError(f"{where} {key} is unknown{_nearest(key, keys)}: keys are {', '.join(keys)}")
    for key, parameter in keys.items():
        if key not in table and (parameter.required or isinstance(parameter, click.Argument)):
            raise UsageError(f"{where} needs {key} ({_meaning(command, parameter)})")
    if table.keys().isdisjoint(_PLACES):
        places = [key for key in _PLACES if key in keys]
        raise UsageError(f"{where} needs {' or '.join(places)}: where the result is written")
    arguments: list[str] = []
    options: list[str] = []
    takes: list[str] = []
    reads: list[str] = []
    writes: list[str] = []
    caches: list[str] = []
    for key, parameter in keys.items():
        if isinstance(parameter, click.Option) and parameter.is_flag:
            options += _switched(f"{where} {key}", parameter.opts[-1], table.get(key, False))
            continue
        texts = _texts(f"{where} {key}", command, parameter, table[key]) if key in table else []
        if isinstance(parameter, click.Argument):
            arguments += texts
        else:
            options += [word for text in texts for word in (parameter.opts[-1], text)]
        if key == _CACHES:
            caches += texts
        elif key == "into":
            # What lies beside that is of other trainings, or what the trainer wrote.
            writes += [os.path.join(text, "config", str(table.get("name", ""))) for text in texts]
        elif _is_written(key, parameter):
            writes += texts
        elif isinstance(parameter, click.Argument):
            takes += texts
        elif isinstance(parameter.type, click.Path) or "FILE" in (parameter.metavar or ""):
            reads += texts or ([parameter.default] if isinstance(parameter.default, str) else [])
    if "-" in writes:
        raise UsageError(f"{where} would write to stdout: name a file")
    apart = ["--"] if any(text.startswith("-") for text in arguments) else []
    words = [*options, *apart, *arguments] if apart else [*arguments, *options]
    return Step(name, stage, (*STAGES[stage], *words), tuple(takes), (*takes, *reads), tuple(writes), tuple(caches))


def run_step(step: Step, where: str, *, check: bool = False) -> int:
    """Run a command as if it had been typed, or have it check its options alone; return its exit code.

    Raises
    ------
    UsageError
        It cannot be started; the message begins with ``where`` and the table.
    """
    from datakit.cli import main
    from datakit.errors import DatakitError, UsageError

    command = stage_command(step.stage)
    words = list(step.words[len(STAGES[step.stage]) :])
    try:
        with command.make_context(command.name, words, parent=click.Context(main, info_name="datakit")) as ctx:
            ctx.meta[_CHECKING] = check
            command.invoke(ctx)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.UsageError as error:
        raise UsageError(f"{where}: {step.table} {error.format_message()}") from error
    except DatakitError as error:
        raise UsageError(f"{where}: {step.table} {error}") from error
    return 0


def only_checks() -> bool:
    """Tell whether the command that runs is to end once its options are checked, for `datakit run` to check all tables first."""
    return bool(click.get_current_context().meta.get(_CHECKING))


def _is_written(key: str, parameter: click.Parameter) -> bool:
    """Tell whether a parameter names a file or a folder that the command writes."""
    places = key in _PLACES or (isinstance(parameter, click.Option) and section_of(parameter) == WRITE)
    return places and (key in _PLACES or isinstance(parameter.type, click.Path))


def _texts(where: str, command: click.Command, parameter: click.Parameter, value: Any) -> list[str]:
    """Return a value as it is typed, once for each time that it is. Raises UsageError."""
    from datakit.errors import UsageError

    several = parameter.multiple if isinstance(parameter, click.Option) else parameter.nargs == -1
    if isinstance(value, list) and not several:
        raise UsageError(f"{where} = {value!r}: it takes one value, not a list")
    texts = []
    if isinstance(value, dict) and "=" in (parameter.metavar or ""):
        pairs = [f"{key}={json.dumps(each) if isinstance(each, bool) else each}" for key, each in value.items()]
        raise UsageError(f"{where} is no table of its own: write {key_of(parameter)} = {pairs}")
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, bool) or not isinstance(each, str | int | float):
            raise UsageError(f"{where} = {each!r}: write a text in quotes, or a number")
        text = str(each)
        try:
            parameter.type.convert(text, parameter, click.Context(command))
        except click.UsageError as error:
            raise UsageError(f"{where}: {_number(parameter.type, text) or error.message}") from None
        texts.append(text)
    if isinstance(parameter, click.Argument) and not all(texts or [""]):
        raise UsageError(f"{where} is empty: name {_meaning(command, parameter)}")
    return texts


def _number(kind: Any, text: str) -> str:
    """Say which numbers can be written where a text is none of that kind; nothing for one that is only out of range."""
    whole = isinstance(kind, click.IntRange)
    try:
        if isinstance(kind, click.IntRange | click.FloatRange):
            _ = int(text) if whole else float(text)
    except ValueError:
        least, most = (f" {word} {end}" if end is not None else "" for word, end in (("from", kind.min), ("to", kind.max)))
        return f"{text!r} is no {'whole ' if whole else ''}number{least}{most}"
    return ""


def _switched(where: str, option: str, value: Any) -> list[str]:
    """Return an option without a value as it is typed, or not at all. Raises UsageError."""
    from datakit.errors import UsageError

    if not isinstance(value, bool):
        raise UsageError(f"{where} = {value!r}: write true or false")
    return [option] if value else []


def _meaning(command: click.Command, parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option):
        return str(parameter.help)
    return f"{parameter.make_metavar(click.Context(command))} of `{command.name}`"


def _nearest(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f" (is {near[0]} meant?)" if near else ""


def remember_stage(stage: str, made: Sequence[Path], **places: str | list[str]) -> None:
    """Note the command that runs, with the options that were typed and where it read and wrote, for `datakit init`.

    ``made`` are the datasets that it wrote, or read where it wrote a file; ``places`` are its values for keys that may be left out.
    What says how it was run, or what is shown, is left out: it is no part of what was made.
    """
    from datakit.dataset.remembered import Command, remember_command

    ctx = click.get_current_context()
    typed = {
        key: _plain(ctx.params[str(parameter.name)])
        for key, parameter in keys_of(ctx.command).items()
        if section_of(parameter) in (CHOOSE, WRITE)
        and ctx.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    }
    remember_command(Path.cwd(), Command(stage, places | typed | places), made)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [str(each) for each in value]
    return str(value) if isinstance(value, Path) else value
