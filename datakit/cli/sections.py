"""Help as every command prints it: one sentence, examples, what it does, then the options by what they are about."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import click

# What is taken and how it is decided; what comes out and where; how a run goes, which changes no byte of it; what is said of it.
CHOOSE, WRITE, RUN, SHOW = "Choose", "Write", "Run", "Show"
_SECTIONS: WeakKeyDictionary[click.Parameter, str] = WeakKeyDictionary()


def section(title: str) -> Callable[[Any], Any]:
    """Put every option that stands below this decorator, and has no section yet, into the section of this title."""

    def mark(command: Any) -> Any:
        for parameter in getattr(command, "__click_params__", ()):
            _SECTIONS.setdefault(parameter, title)
        return command

    return mark


def section_of(parameter: click.Parameter) -> str:
    """Return the section of an option; the first for what has none, which stands above all markers."""
    return _SECTIONS.get(parameter, CHOOSE)


class SectionedCommand(click.Command):
    """A command whose help has the examples of its docstring, marked ``\\b``, behind the first sentence, and its options in sections."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words; an error that names no command, such as that of an option without its value, is this one's."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first sentence, the examples, then all else."""
        summary, *others = inspect.cleandoc(self.help or "").split("\n\n")
        others.sort(key=lambda paragraph: not paragraph.startswith("\b"))
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text("\n\n".join([summary, *others]))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options section by section."""
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in (CHOOSE, WRITE, RUN, SHOW)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections[SHOW if parameter.is_eager else section_of(parameter)].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class SectionedGroup(SectionedCommand, click.Group):
    """A group of such commands, which are listed before its own options."""

    command_class = SectionedCommand

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        SectionedCommand.format_options(self, ctx, formatter)
