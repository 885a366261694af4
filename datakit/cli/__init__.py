"""The command line: parse, call a stage, print its report, set the exit code."""

from __future__ import annotations

import signal
import sys
from difflib import get_close_matches
from importlib import import_module
from types import FrameType

import click

from datakit import __version__
from datakit.cli.sections import SectionedGroup
from datakit.errors import DatakitError
from datakit.libraries import named

INTERRUPTED = "datakit: interrupted; what is finished is kept, the same command goes on from there"
# Where each command lives and what the overview says of it; a command's module is imported when it is called.
_COMMANDS = {
    "crop": ("datakit.cli.crop:crop", "Crop a folder of pictures to exactly one of a few sizes each."),
    "shuffle": ("datakit.cli.shuffle:shuffle", "Write copies with shuffled captions, linked or augmented."),
    "captions": ("datakit.cli.captions:captions", "Write captions out, take them back, see what they will teach."),
    "review": ("datakit.cli.review:review", "Look at a dataset in the browser, and mend what is wrong."),
    "sheet": ("datakit.cli.sheet:sheet", "Write a contact sheet of a dataset as a picture."),
    "backend": ("datakit.cli.backend:backend", "Write a trainer's dataset file, checked and proved."),
    "check": ("datakit.cli.backend:check", "Report what is wrong with a dataset, and what training will do with it."),
    "steps": ("datakit.cli.steps:steps", "Tell training steps from epochs, or epochs from steps."),
    "verify": ("datakit.cli.verify:verify", "Prove that every picture is trained as written."),
    "config": ("datakit.cli.config:config", "Write or convert the trainer's own config files."),
    "pack": ("datakit.cli.shards:pack", "Write a dataset into shards: tar files with their records."),
    "unpack": ("datakit.cli.shards:unpack", "Write shards into a folder, all or some of the samples."),
    "init": ("datakit.cli.init:init", "Write a pipeline file from the commands used so far."),
    "run": ("datakit.cli.run:run", "Run the stages that a pipeline file writes down, only what changed."),
    "checkpoints": ("datakit.cli.checkpoints:checkpoints", "List and link a training's checkpoints, compare them in ComfyUI."),
    "weights": ("datakit.cli.weights:weights", "List a model's layers, merge shards, choose layers to train."),
    "doctor": ("datakit.cli.doctor:doctor", "Say what is installed, what is missing, and what this machine can do."),
}


class _Commands(SectionedGroup):
    """Imports a command when it is called, and turns datakit's own errors into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[name][0].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest; click knows none before they are imported."""
        near = [] if args[0] in _COMMANDS or ctx.resilient_parsing else get_close_matches(args[0], _COMMANDS, 1)
        if near:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            with named("this command"):
                return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise  # a group without a command: click prints its help
        except click.UsageError as error:
            names: list[str | None] = []
            at = error.ctx
            while at is not None and at.parent is not None:  # the name of the first may be "python -m datakit"
                names.insert(0, at.info_name)
                at = at.parent
            click.echo(f"datakit: {error.format_message()} (see {' '.join(('datakit', *map(str, names)))} --help)", err=True)
            ctx.exit(2)
        except DatakitError as error:
            click.echo(f"datakit: {error}", err=True)
            ctx.exit(2)
        except BrokenPipeError:
            raise  # whoever read the output has seen enough: click ends quietly
        except OSError as error:
            click.echo(f"datakit: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            signal.signal(
                signal.SIGINT, signal.SIG_IGN
            )  # all is tidied away; click would make an exit code of its own of another
            click.echo(INTERRUPTED, err=True)
            ctx.exit(128 + signal.SIGINT)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="datakit")
def main() -> None:
    """Turn a folder of pictures with captions into a dataset that a trainer takes as it is.

    \b
    datakit crop src/ out/                 crop around faces and what stands out
    datakit shuffle --repeats 5 --keep 2   copies with shuffled captions
    datakit backend --cache-root cache/    the trainer's dataset file, checked
    datakit init                           all of it in one file, for datakit run

    Nothing in a source folder is ever changed. Exit codes: 0 all done, 1 some pictures were refused or
    failed (each is named), 2 nothing could be started, 130 interrupted.

    To have commands and options completed with Tab, put eval "$(_DATAKIT_COMPLETE=bash_source datakit)" into ~/.bashrc,
    the same with zsh_source into ~/.zshrc, or _DATAKIT_COMPLETE=fish_source datakit | source into fish's config.fish.
    """
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        # Names that are not valid UTF-8, or that a terminal cannot show, are no reason to stop.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _terminate(number: int, frame: FrameType | None) -> None:
    """End as an interrupt does: workers are stopped, the journal is kept, the lock is released."""
    sys.exit(128 + number)
