"""``datakit init``: a pipeline file with comments, from the commands used so far."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datakit.cli.pipeline import FILE, STAGES, key_of, keys_of, stage_command
from datakit.cli.sections import CHOOSE, RUN, WRITE, SectionedCommand, section_of
from datakit.cli.shared import overwrite_option, write_files

if TYPE_CHECKING:
    from datakit.dataset.remembered import Command

_HEAD = """\
# `datakit run` does what stands here, and only what changed; `datakit run --dry-run` says what that is.
# Each table is a command, and its keys are that command's arguments and options: `datakit crop --help` says more.
# For several concepts write [[crop]] and [[shuffle]] once for each. Paths are relative to this file.
"""
_WIDTH = 120


@click.command(cls=SectionedCommand)
@overwrite_option
def init(*, overwrite: bool) -> None:
    """Write datakit.toml from the commands used so far in this folder, for `datakit run`.

    What crop, shuffle, backend and config last wrote from here is written down as it was asked for; what says how a
    command was run (--jobs, --overwrite, ...) is left out, and all other options stand there as comments. Where
    nothing was run yet, the three commands of the README are written down, to be edited.

    A file that was edited is not replaced without --overwrite.

    \b
    datakit init
    datakit run --dry-run
    """
    from datakit.dataset.remembered import Command, remembered_commands

    commands = sorted(remembered_commands(Path.cwd()), key=lambda command: list(STAGES).index(command.stage))
    _refuse_among_pictures(Path.cwd(), begun=bool(commands) or os.path.exists(FILE))
    if not commands:
        commands = [
            Command("crop", {"source": "src", "output": "out"}),
            Command("shuffle", {"source": "out", "output": "out_shuffled", "repeats": 5, "keep": 2}),
            Command("backend", {"datasets": ["out_shuffled"], "cache-root": "cache", "output": "multidatabackend.json"}),
        ]
        click.echo("no command was run from here yet: edit the paths", err=True)
    lone = {stage for stage in STAGES if sum(command.stage == stage for command in commands) == 1}
    content = "\n".join([_HEAD, *("\n".join(_table(command, command.stage in lone)) for command in commands)])
    write_files([(Path(FILE), content.encode())], overwrite, [Path(command.written) for command in commands])


def _refuse_among_pictures(here: Path, *, begun: bool) -> None:
    """Make sure that nothing is written into a source or a dataset; where nothing was ``begun``, pictures make a folder a source.

    Raises
    ------
    UsageError
        A command that was run from here, or from a folder around it, reads or writes pictures here.
    """
    from datakit.dataset.origin import is_inside
    from datakit.dataset.remembered import remembered_commands
    from datakit.dataset.samples import PICTURE_EXTENSIONS
    from datakit.errors import UsageError

    for folder in (here, *here.parents):
        for command in remembered_commands(folder):
            places = [command.values.get("source", ""), command.written if command.stage in ("crop", "shuffle") else ""]
            inside = next((place for place in map(str, places) if place and is_inside(here, folder / place)), None)
            if inside:
                raise UsageError(
                    f"{FILE} would lie in {folder / inside}, which holds pictures: run `datakit init` beside that folder"
                )
    pictures = (each for each in sorted(here.iterdir()) if each.name.lower().endswith(tuple(PICTURE_EXTENSIONS)))
    picture = None if begun else next((each.name for each in pictures if each.is_file() and each.stat().st_size), None)
    if picture:
        raise UsageError(
            f"{FILE} would lie among pictures ({picture}): run `datakit init` beside their folder, where nothing is a source"
        )


def _table(command: Command, lone: bool) -> Iterator[str]:
    """Yield the lines of a table: what was asked for, then every other option as a comment."""
    from datakit.trainers.toml import table

    keys = keys_of(stage_command(command.stage))
    asked = {key: value for key, value in command.values.items() if key in keys}
    yield table(f"[{command.stage}]" if lone else f"[[{command.stage}]]", asked)
    for title in (CHOOSE, WRITE, RUN):
        others = [each for key, each in keys.items() if key not in asked and section_of(each) == title]
        options = [each for each in others if isinstance(each, click.Option)]
        if options:
            yield f"# {title}:"
            yield from map(_comment, options)
    yield ""


def _comment(option: click.Option) -> str:
    """Return an option as a comment that can be taken in by deleting its first sign, and its help as far as a line goes."""
    from datakit.trainers.toml import table

    line = table("", {key_of(option): _value(option)}).strip()
    said = [option.help or ""]
    choices = ", ".join(map(str, option.type.choices)) if isinstance(option.type, click.Choice) else ""
    if choices not in said[0]:
        said.insert(0, f"{choices}:")
    if isinstance(option.show_default, str):
        said.append(f"[default: {option.show_default}]")
    text = f"# {line:24}  # {' '.join(' '.join(said).split())}"
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH].rpartition(' ')[0]} ..."


def _value(option: click.Option) -> str | int | float | bool | list[Any]:
    """Return the default of an option, or else what could stand there."""
    kind, default = option.type, option.default
    if option.is_flag:
        return True
    if isinstance(default, str | int | float) and default != "":
        return default
    example: str | int = option.metavar or "..."
    if isinstance(kind, click.Choice):
        example = str(kind.choices[0])
    elif isinstance(kind, click.IntRange | click.FloatRange | click.types.IntParamType | click.types.FloatParamType):
        example = int(getattr(kind, "min", None) or 1)
    return [example] if option.multiple else example
