"""``datakit config convert`` and ``datakit config check``: config files that exist, turned into one another or looked at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from datakit.cli.sections import WRITE, SectionedCommand, section
from datakit.cli.shared import overwrite_option, write_files

if TYPE_CHECKING:
    from datakit.trainers.simpletuner.oldenv.envfile import Notice


@click.command(cls=SectionedCommand, short_help="Turn config.env into config.json, or back.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@section(WRITE)
@click.option("--output", default="-", show_default=True, metavar="FILE", help="Where to write the other format; - for stdout.")
@overwrite_option
@click.pass_context
def convert(ctx: click.Context, file: Path, output: str, overwrite: bool) -> None:
    """Turn a low-level config.env into config.json, or config.json into config.env.

    A name that ends in .json is taken for config.json, every other for config.env. SimpleTuner reads inline
    comments, references such as $NAME and arithmetic such as $((2*3)) in config.env literally: they come out
    as bash means them; what cannot be resolved is left as it is, and commands are never run. Each is reported
    with its line on stderr, as is every name that SimpleTuner drops from config.env without a word (carried over
    where config.json knows it), what only some releases read or take, whatever is read otherwise than bash means
    it, and what cannot be written in the other format. Exit 0 where nothing had to be reported but names that
    belong to the launcher, else 1.

    \b
    datakit config convert old.env --output converted.json
    datakit config convert config.json --output converted.env
    """
    from datakit.errors import UsageError

    if output != "-" and os.path.realpath(output) == os.path.realpath(file):
        raise UsageError(f"{file} would be replaced by its other format: name another --output")
    text = _read(file)
    try:
        content, notices = _other_format(text, from_json=_is_json(file))
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from error
    target = Path(output)
    if output == "-":
        click.echo(content, nl=False)
    elif target.exists() and not overwrite and target.read_bytes() != content.encode():
        # It may be what `config write` wrote, with far more in it.
        raise UsageError(f"{target} is there already: name another --output, or use --overwrite to replace it")
    else:
        write_files([(target, content.encode())], overwrite)
    for notice in notices:
        click.echo(f"{file}:{notice.line or ''}{': ' if notice.line else ' '}{notice.message}", err=True)
    ctx.exit(1 if any(notice.kind != "launcher" for notice in notices) else 0)


def _other_format(text: str, from_json: bool) -> tuple[str, list[Notice]]:
    """Return the content of the other file, and what is to be said about it."""
    from datakit.trainers.simpletuner.oldenv.convert import config_to_env, env_to_config, read_config, write_config

    if not from_json:
        config, notices = env_to_config(text)
        return write_config(config), notices
    config, lines, notices = read_config(text)
    environment, more = config_to_env(config, lines)
    return environment, sorted([*notices, *more], key=lambda notice: notice.line)


@click.command(cls=SectionedCommand, short_help="Tell what a release would refuse, ignore or mis-read.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--release",
    "releases",
    multiple=True,
    metavar="RELEASE",
    help="2024-10 (the recipe's commit), 3.1.6 or 4.8.0; repeatable. [default: 3.1.6 and 4.8.0]",
)
@click.pass_context
def check(ctx: click.Context, file: Path, releases: tuple[str, ...]) -> None:
    """Hold a config.json, or a low-level config.env, against the options of SimpleTuner.

    Of a config.env that leaves the options to config.json (CONFIG_BACKEND=json), the one that ENV chooses is checked.

    Names options that a release does not know (with the nearest that it does), ignores, or takes no such value
    for; options that it does not start without; and what contradicts itself: steps and epochs at once, a rank
    without a LoRA, a batch larger than the smallest bucket of the datasets in data_backend_config. FILE is only
    read. Exit 0 where nothing was found, else 1.

    \b
    datakit config check config/fantasy/config.json
    datakit config check old.env --release 2024-10
    """
    from datakit.errors import UsageError
    from datakit.trainers.simpletuner.checkconfig import check_config
    from datakit.trainers.simpletuner.oldenv.convert import chosen_config, env_to_config, read_config
    from datakit.trainers.simpletuner.options import CURRENT

    text, asked = _read(file), releases or CURRENT
    chosen = None if _is_json(file) else chosen_config(text)
    if chosen is not None:
        file = file.parent / chosen
        click.echo(f"the options stand in {file}, which the launcher takes", err=True)
        text = _read(file)
    try:
        if _is_json(file):
            options, lines, notices = read_config(text)
        else:
            (options, notices), lines = env_to_config(text, asked, asked), {}
        found = check_config(options, asked)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from error
    said = [(notice.line, notice.message) for notice in notices if notice.kind != "launcher"]
    said += [(lines.get(option, 0), message) for option, message in found]
    for line, message in sorted(said):
        click.echo(f"{file}:{line or ''}{': ' if line else ' '}{message}")
    if not said:
        click.echo(f"{file}: all of its {len(options)} options are good for SimpleTuner {' and '.join(asked)}")
    ctx.exit(1 if said else 0)


def _read(file: Path) -> str:
    from datakit.errors import UsageError

    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not in UTF-8: {error}") from error


def _is_json(file: Path) -> bool:
    return file.suffix.lower() == ".json"
