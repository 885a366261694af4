"""The commands `datakit steps` and `datakit config`: parse, call the backend package, print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datakit.cli.shared import say_using

if TYPE_CHECKING:
    from datakit.backend.envfile import Notice
    from datakit.backend.training import Training

Command = Callable[..., Any]

datasets_argument = click.argument("datasets", nargs=-1, metavar="[DATASET]...", type=click.Path(path_type=Path, file_okay=False))
repeats_option = click.option(
    "--repeats", type=int, multiple=True, metavar="N",
    help="Times each source picture is seen in one epoch in all, 1 = once; once for all datasets or once for each. [default: as the dataset was written]",
)  # fmt: skip
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace files that datakit did not write, or that were edited since."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")


def batching_options(command: Command) -> Command:
    """Add --batch-size, --gpus and --accumulate to a command."""
    for option in (
        click.option(
            "--accumulate",
            type=int,
            default=1,
            show_default=True,
            metavar="A",
            help="Micro-batches added up before one optimizer step.",
        ),
        click.option("--gpus", type=int, default=1, show_default=True, metavar="G", help="GPUs that train beside each other."),
        click.option(
            "--batch-size", type=int, default=1, show_default=True, metavar="B", help="Pictures in one micro-batch on one GPU."
        ),
    ):
        command = option(command)
    return command


def length_options(command: Command) -> Command:
    """Add --epochs, --steps and --concept to a command."""
    for option in (
        click.option(
            "--concept",
            "counts",
            multiple=True,
            metavar="PxR",
            help="P pictures seen R times an epoch, such as 48x5, where there is no dataset yet; repeatable.",
        ),
        click.option("--steps", type=int, metavar="N", help="Optimizer steps in all; tells the epochs."),
        click.option(
            "--epochs", type=float, metavar="N", help="Epochs in all; tells the steps. [default: 10 where no --steps are given]"
        ),
    ):
        command = option(command)
    return command


def chosen(datasets: Sequence[Path]) -> list[Path]:
    """Return the datasets named, else the one that the last stage run from here wrote, saying so on stderr."""
    if datasets:
        return list(datasets)
    from datakit.last import last_dataset

    return [say_using(*last_dataset(Path.cwd()))]


def print_training(training: Training) -> None:
    """Print the numbers of a training as a table."""
    click.echo(
        f"max train steps       {training.max_train_steps:>8}   ({training.epochs:g} epochs of {training.recipe_steps_per_epoch:g} steps: pictures x repeats / batch)"
    )
    click.echo(f"warm-up steps         {training.lr_warmup_steps:>8}   (10 %)")
    click.echo(f"checkpoint every      {training.checkpointing_steps:>8}   steps")
    click.echo(f"validation every      {training.validation_steps:>8}   steps")
    if not training.loads:
        return
    click.echo("\nSimpleTuner, bucket by bucket, in one epoch on each GPU:")
    width = max(len(load.concept) for load in training.loads)
    click.echo(f"  {'':{width}}  {'bucket':>9} {'pictures':>8} {'passes':>6} {'planned':>7} {'real':>6} {'padded':>6}")
    for load in training.loads:
        mark = "  too few for one optimizer step" if load.too_small else ""
        click.echo(
            f"  {load.concept:{width}}  {load.bucket!s:>9} {load.pictures:>8} {load.passes:>6} {load.planned:>7} {load.real:>6} {load.padded:>6}{mark}"
        )
    planned, real = training.planned_steps_per_epoch, training.real_steps_per_epoch
    click.echo(
        f"optimizer steps an epoch: {planned} planned, {real} real; {training.max_train_steps} steps are {training.real_epochs:.4g} real epochs"
    )
    if planned != real:
        click.echo(
            "the trainer's own count of epochs will be off: it fills up the last batch of a bucket in every pass, which it does not plan for"
        )


def parse_counts(counts: Sequence[str]) -> list[tuple[int, int]]:
    """Read ``48x5`` as 48 pictures seen 5 times."""
    import re

    from datakit.errors import UsageError

    found = []
    for text in counts:
        match = re.fullmatch(r"(\d+)[x×](\d+)", text)
        if match is None:
            raise UsageError(f"--concept {text!r}: write pictures x repeats, such as 48x5")
        found.append((int(match[1]), int(match[2])))
    return found


def work_out(
    datasets: Sequence[Path], repeats: Sequence[int], counts: Sequence[str], batch_size: int, gpus: int, accumulate: int, epochs: float | None, steps: int | None,
) -> Training:  # fmt: skip
    """Work out a training from datasets, from counts, or from both."""
    from datakit.backend.concept import read_concepts
    from datakit.backend.training import Batching, concept_loads, plan_training

    batching = Batching(batch_size, gpus, accumulate)
    plain = parse_counts(counts)
    concepts = read_concepts(chosen(datasets), repeats=repeats) if datasets or not plain else []
    for concept in concepts:
        for note in concept.notes:
            click.echo(f"{concept.name}: {note}", err=True)
    known = [(len(concept.records), concept.passes) for concept in concepts]
    # What is only counted has no buckets, so SimpleTuner's own count cannot be told.
    loads = [] if plain else concept_loads(concepts, batching)
    return plan_training(known + plain, batching, 10.0 if epochs is None and steps is None else epochs, steps, loads)


@click.command()
@datasets_argument
@length_options
@repeats_option
@batching_options
@json_option
def steps(
    datasets: tuple[Path, ...], epochs: float | None, steps: int | None, counts: tuple[str, ...], repeats: tuple[int, ...],
    batch_size: int, gpus: int, accumulate: int, as_json: bool,
) -> None:  # fmt: skip
    """Tell training steps from epochs, or epochs from steps.

    The recipe's formula is the sum over all concepts of pictures x repeats / batch x epochs. Beside it stands
    what SimpleTuner will do bucket by bucket: the micro-batches it plans, those it really runs, and the
    samples it shows once more to fill the last batch of a bucket. Warm-up, checkpoints and validations are a
    tenth of the steps each.

    \b
    datakit steps out/ --epochs 10 --batch-size 6
    datakit steps --concept 48x5 --concept 100x1 --steps 3000
    """
    training = work_out(datasets, repeats, counts, batch_size, gpus, accumulate, epochs, steps)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(training.to_json()))
    else:
        print_training(training)


class _WritesByDefault(click.Group):
    """A group whose command `write` needs no name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["write", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_WritesByDefault)
def config() -> None:
    """Write the trainer's config.json, or convert one.

    `datakit config ...` is short for `datakit config write ...`.
    """


@config.command()
@datasets_argument
@click.option(
    "--preset",
    default="sd3-lora",
    show_default=True,
    metavar="NAME",
    help="sd3-lora or sd3-full (SD3.5 Large), sdxl-lora, flux-lora.",
)
@length_options
@repeats_option
@batching_options
@click.option("--learning-rate", type=float, metavar="X", help="Instead of the preset's.")
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
@click.option("--output-dir", default="output", show_default=True, metavar="DIR", help="Where the trainer writes checkpoints.")
@click.option(
    "--output", default="config.json", show_default=True, metavar="FILE", help="Where to write config.json; - for stdout."
)
@click.option(
    "--env",
    "env_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the high-level config.env there.",
)
@click.option(
    "--accelerate",
    "yaml_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write an accelerate YAML there.",
)
@click.option("--deepspeed", is_flag=True, help="DeepSpeed ZeRO stage 2 in the accelerate YAML.")
@overwrite_option
def write(
    datasets: tuple[Path, ...], preset: str, epochs: float | None, steps: int | None, counts: tuple[str, ...], repeats: tuple[int, ...],
    batch_size: int, gpus: int, accumulate: int, learning_rate: float | None, validation_prompt: str, backend_config: str, output_dir: str,
    output: str, env_file: Path | None, yaml_file: Path | None, deepspeed: bool, overwrite: bool,
) -> None:  # fmt: skip
    """Write config.json for SimpleTuner 3.1.6 or later, with the steps of these datasets.

    max_train_steps, lr_warmup_steps, checkpointing_steps and validation_steps are those that `datakit steps`
    prints for the same options.

    \b
    datakit config out_shuffled/ --preset sd3-lora --epochs 10 --batch-size 6
    datakit config --preset flux-lora --steps 3000 --output -
    """
    from datakit.backend.accelerate import accelerate_yaml
    from datakit.backend.simpletuner_config import REMOVED, config_to_json, launcher_env, trainer_config
    from datakit.backend.training import Batching

    folders = chosen(datasets) if datasets or not counts else []
    training = work_out(folders, repeats, counts, batch_size, gpus, accumulate, epochs, steps)
    batching = Batching(batch_size, gpus, accumulate)
    filled = trainer_config(preset, training, batching, backend_config, output_dir, validation_prompt, learning_rate)
    files = []
    if env_file is not None:
        files.append((env_file, launcher_env(batching, None if yaml_file is None else str(yaml_file))))
    if yaml_file is not None:
        files.append((yaml_file, accelerate_yaml(batching, "deepspeed2" if deepspeed else "plain")))
    if output == "-":
        click.echo(config_to_json(filled), nl=False)
    else:
        files.insert(0, (Path(output), config_to_json(filled)))
    write_files(files, overwrite, folders, quiet=output == "-")
    for option, instead in REMOVED.items():
        click.echo(f"left out {option}: {instead}", err=True)
    if output != "-":
        print_training(training)


@config.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--output", default="-", show_default=True, metavar="FILE", help="Where to write the other format; - for stdout.")
@overwrite_option
@click.pass_context
def convert(ctx: click.Context, file: Path, output: str, overwrite: bool) -> None:
    """Turn a low-level config.env into config.json, or config.json into config.env.

    A name that ends in .json is taken for config.json, every other for config.env. SimpleTuner reads inline
    comments, references such as $NAME and arithmetic such as $((2*3)) in config.env literally: they come out
    as bash means them, and each is reported with its line on stderr, as is every name that SimpleTuner would
    drop without a word. Exit 0 where nothing had to be reported, else 1.

    \b
    datakit config convert config.env --output config.json
    datakit config convert config.json --output config.env
    """
    import msgspec

    from datakit.backend.envfile import config_to_env, env_to_config
    from datakit.errors import UsageError
    from datakit.manifest import NOT_JSON

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    notices: Sequence[Notice]
    if file.suffix.lower() == ".json":
        try:
            options = msgspec.json.decode(text, type=dict[str, str | int | float | bool])
        except NOT_JSON as error:
            raise UsageError(f"{file} is no config.json of plain values: {error}") from None
        environment, notices = config_to_env(options)
        content = environment.encode()
    else:
        options, notices = env_to_config(text)
        content = (
            msgspec.json.format(msgspec.json.encode({f"--{key}": value for key, value in options.items()}), indent=2) + b"\n"
        )
    if output == "-":
        click.echo(content, nl=False)
    else:
        write_files([(Path(output), content)], overwrite)
    for notice in notices:
        click.echo(f"{file}:{notice.line or ''}{': ' if notice.line else ' '}{notice.message}", err=True)
    ctx.exit(1 if any(notice.kind != "launcher" for notice in notices) else 0)


def write_files(files: Sequence[tuple[Path, bytes]], overwrite: bool, datasets: Sequence[Path] = (), quiet: bool = False) -> None:
    """Write files all at once or none: one that is not as datakit wrote it, or would lie in a source, stops it before."""
    from contextlib import ExitStack

    from datakit.errors import UsageError
    from datakit.last import one_at_a_time, source_around

    for path, _ in files:
        source = source_around(path, datasets)
        if source:
            raise UsageError(f"{path} would lie in {source}, a source, where nothing is ever changed: write elsewhere")
    with ExitStack() as held:
        for folder in sorted({path.resolve().parent for path, _ in files}):
            held.enter_context(one_at_a_time(folder))
        _write_files(files, overwrite, quiet)


def _write_files(files: Sequence[tuple[Path, bytes]], overwrite: bool, quiet: bool) -> None:
    from datakit.errors import UsageError
    from datakit.last import is_ours, remember_file
    from datakit.manifest import write_atomically

    for path, content in files:
        if path.exists() and not overwrite and path.read_bytes() != content and not is_ours(path):
            raise UsageError(
                f"{path} was not written by datakit, or edited since: use --overwrite to replace it, or write elsewhere"
            )
    for path, content in files:
        try:
            write_atomically(path, content)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
        remember_file(path, content)
        click.echo(f"wrote {path}", err=quiet)
