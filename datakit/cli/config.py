"""``datakit config``: write the trainer's own config files, or convert them."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datakit.cli.shared import Command, overwrite_option, write_files
from datakit.cli.steps import Planned, print_training, training_options

if TYPE_CHECKING:
    from datakit.trainers.simpletuner.config import ConfigOptions
    from datakit.trainers.simpletuner.oldenv.envfile import Notice


class _WritesByDefault(click.Group):
    """A group whose command `write` needs no name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["write", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_WritesByDefault)
def config() -> None:
    """Write the trainer's config files, or convert one.

    `datakit config ...` is short for `datakit config write ...`: see `datakit config write --help` for the
    presets and all options.

    \b
    datakit config out_shuffled/ --preset sd3-lora --epochs 10 --batch-size 6
    datakit config convert old.env --output converted.json
    """


def config_options(command: Command) -> Command:
    """Add what is to stand in config.json beside the steps, and pass it on as ``options``."""

    @click.option(
        "--preset",
        default="sd3-lora",
        show_default=True,
        metavar="NAME",
        help="sd3-lora or sd3-full (SD3.5 Large), sdxl-lora, flux-lora.",
    )
    @click.option(
        "--learning-rate", type=float, metavar="X", help="Instead of the preset's: more than 0 and at most 1, such as 1e-4."
    )
    @click.option(
        "--validation-prompt", default="a photo", show_default=True, metavar="TEXT", help="What is drawn at each validation."
    )
    @click.option(
        "--backend-config",
        default="multidatabackend.json",
        show_default=True,
        metavar="PATH",
        help="Where the trainer finds multidatabackend.json.",
    )
    @click.option(
        "--output-dir", default="output", show_default=True, metavar="DIR", help="Where the trainer writes checkpoints."
    )
    @functools.wraps(command)
    def wrapped(
        *,
        preset: str,
        learning_rate: float | None,
        validation_prompt: str,
        backend_config: str,
        output_dir: str,
        **options: Any,
    ) -> Any:
        from datakit.trainers.simpletuner.config import ConfigOptions

        asked = ConfigOptions(preset, backend_config, output_dir, validation_prompt, learning_rate)
        return command(options=asked, **options)

    return wrapped


@config.command(short_help="Write config.json, on request config.env and YAML.")
@config_options
@training_options
@click.option(
    "--output", default="config.json", show_default=True, metavar="FILE", help="Where to write config.json; - for stdout."
)
@click.option(
    "--env",
    "env_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the high-level config.env there; without --env none is written.",
)
@click.option(
    "--accelerate",
    "yaml_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write an accelerate YAML there, and name it in config.env.",
)
@click.option("--deepspeed", is_flag=True, help="DeepSpeed ZeRO stage 2 in the accelerate YAML; needs --accelerate.")
@overwrite_option
@click.option("-v", "--verbose", is_flag=True, help="Name the recipe's options that are left out, and what took their place.")
def write(
    planned: Planned,
    options: ConfigOptions,
    output: str,
    env_file: Path | None,
    yaml_file: Path | None,
    deepspeed: bool,
    overwrite: bool,
    verbose: bool,
) -> None:
    """Write config.json for SimpleTuner 3.1.6 or later, with the steps of these datasets.

    max_train_steps, lr_warmup_steps, checkpointing_steps and validation_steps are those that `datakit steps`
    prints for the same options. Without DATASET and --concept, what the last stage run from here wrote is used.

    Two options of the recipe are left out, for they end SimpleTuner 3.1.6 and later with an error:
    enable_xformers_memory_efficient_attention and allow_tf32. Both are what it does anyway.

    Exit 1 where there are too few pictures for one optimizer step: SimpleTuner would stop. Else 0.

    \b
    datakit config out_shuffled/ --preset sd3-lora --epochs 10 --batch-size 6
    datakit config --preset flux-lora --steps 3000 --output -
    datakit config --env config.env --accelerate accelerate.yaml --deepspeed
    """
    from datakit.trainers.simpletuner.accelerate import accelerate_yaml
    from datakit.trainers.simpletuner.config import config_to_json, launcher_env, trainer_config

    if deepspeed and yaml_file is None:
        raise click.UsageError("--deepspeed is set in the accelerate YAML: name one with --accelerate FILE")
    if "-" in (str(env_file), str(yaml_file)):
        raise click.UsageError("only --output can go to stdout: name a file for --env and --accelerate")
    training, batching = planned.training, planned.batching
    content = config_to_json(trainer_config(options, training, batching))
    files = [] if output == "-" else [(Path(output), content)]
    if env_file is not None:
        files.append((env_file, launcher_env(batching, None if yaml_file is None else str(yaml_file))))
    if yaml_file is not None:
        files.append((yaml_file, accelerate_yaml(batching, "deepspeed2" if deepspeed else "plain")))
    write_files(files, overwrite, planned.folders, quiet=output == "-")
    _say_apart(options, verbose)
    if output == "-":
        click.echo(content, nl=False)
    else:
        print_training(training, planned.trainer.title)


def _say_apart(options: ConfigOptions, verbose: bool) -> None:
    """Say on stderr where latents are kept apart from those of another family, and on request what was left out."""
    from datakit.trainers.simpletuner.backend import families_of
    from datakit.trainers.simpletuner.config import PRESETS, REMOVED

    trained = PRESETS[options.preset].family
    for family in families_of(Path(options.backend_config)):
        if family != trained:
            click.echo(
                f"{options.backend_config} keeps the latents of {family} apart, and {options.preset} trains {trained}: "
                f"write it again with `datakit backend --model-family {trained}`",
                err=True,
            )
    if verbose:
        for option, instead in REMOVED.items():
            click.echo(f"left out {option}: {instead}", err=True)


@config.command(short_help="Turn config.env into config.json, or back.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--output", default="-", show_default=True, metavar="FILE", help="Where to write the other format; - for stdout.")
@overwrite_option
@click.pass_context
def convert(ctx: click.Context, file: Path, output: str, overwrite: bool) -> None:
    """Turn a low-level config.env into config.json, or config.json into config.env.

    A name that ends in .json is taken for config.json, every other for config.env. SimpleTuner reads inline
    comments, references such as $NAME and arithmetic such as $((2*3)) in config.env literally: they come out
    as bash means them; what cannot be resolved is left as it is, and commands are never run. Each is reported
    with its line on stderr, as is every name that SimpleTuner would drop without a word, whatever it reads
    otherwise than bash, and what cannot be written in the other format. Exit 0 where nothing had to be
    reported but names that belong to the launcher, else 1.

    \b
    datakit config convert old.env --output converted.json
    datakit config convert config.json --output converted.env
    """
    from datakit.errors import UsageError

    if output != "-" and os.path.realpath(output) == os.path.realpath(file):
        raise UsageError(f"{file} would be replaced by its other format: name another --output")
    try:
        text = file.read_text(encoding="utf-8")
        content, notices = _other_format(text, from_json=file.suffix.lower() == ".json")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not in UTF-8: {error}") from error
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
