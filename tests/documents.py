"""The README and the pages of docs/ as tests read them: their blocks, their commands, the options of each."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from datakit.cli import main
from tests.conftest import ROOT

PAGES = [Path("README.md"), *sorted(path.relative_to(ROOT) for path in ROOT.glob("docs/**/*.md"))]
# What a group does where no command of it is named.
DEFAULTS = {"config": "write", "captions": "import"}


def text(page: str | Path) -> str:
    """Return what a page holds."""
    return (ROOT / page).read_text("utf-8")


def blocks(page: str | Path, language: str) -> list[str]:
    """Return the fenced blocks of a language, without those that carry a mark, which other tests run."""
    return re.findall(rf"^(?<!-->\n)```{language}\n(.*?)^```", text(page), re.DOTALL | re.MULTILINE)


def lines(page: str | Path) -> list[str]:
    """Return every line of a block that calls datakit, as it is typed, whether it can be run here or not."""
    found = re.findall(r"^(?:\$ |    )?(datakit .*)$", "\n".join(re.findall(r"^```\w+\n.*?^```|^    .*$", text(page), re.DOTALL | re.MULTILINE)), re.MULTILINE)  # fmt: skip
    return [part.strip() for line in found for part in line.split("&&") if part.strip().startswith("datakit ")]


def typed(line: str) -> list[str]:
    """Return the words behind ``datakit``, without a remark."""
    program, *words = shlex.split(line, comments=True)
    assert program == "datakit", line
    return words


def command_of(words: list[str]) -> click.Command:
    """Return the command that the words call, and take its name from them."""
    command: click.Command = main
    while isinstance(command, click.Group):
        context = click.Context(command)
        named = command.get_command(context, words[0]) if words else None
        if named is None:
            named = command.get_command(context, DEFAULTS[str(command.name)])
        else:
            words.pop(0)
        command = named
    return command


def options_of(command: click.Command) -> set[str]:
    """Return all that may follow a command with one or two dashes."""
    return {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}


def every_option() -> set[str]:
    """Return the options of all commands."""

    def below(command: click.Command) -> set[str]:
        children = [command.get_command(click.Context(command), name) for name in command.list_commands(click.Context(command))] if isinstance(command, click.Group) else []  # fmt: skip
        return options_of(command).union(*map(below, children))

    return below(main)
