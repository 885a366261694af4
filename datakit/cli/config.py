"""``datakit config``: write the trainer's own config files; `datakit.cli.convert` looks after those that exist."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datakit.cli.convert import check, convert
from datakit.cli.pipeline import only_checks, remember_stage
from datakit.cli.sections import CHOOSE, SHOW, WRITE, SectionedGroup, section
from datakit.cli.shared import Command, overwrite_option, shortened, write_files
from datakit.cli.steps import Planned, print_training, training_options

if TYPE_CHECKING:
    from datakit.trainers.simpletuner.config import ConfigOptions
    from datakit.trainers.simpletuner.layout import Layout


class _WritesByDefault(SectionedGroup):
    """A group whose command `write` needs no name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["write", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_WritesByDefault)
def config() -> None:
    """Write the trainer's config files, convert one, or check one.

    `datakit config ...` is short for `datakit config write ...`: see `datakit config write --help` for the
    presets and all options.

    \b
    datakit config out_shuffled/ --preset sd3-lora --epochs 10 --batch-size 6
    datakit config --preset tutorial-lora --into SimpleTuner/ --name fantasy
    datakit config convert old.env --output converted.json
    datakit config check config.json
    """


config.add_command(convert)
config.add_command(check)


@dataclass(frozen=True, slots=True)
class Target:
    """Which files are to be written, and where; no ``config`` stands for stdout.

    Attributes
    ----------
    config, env, accelerate
        ``config.json``, ``config.env`` and the accelerate YAML.
    kind
        Of the YAML; None for the preset's.
    layout
        What the launcher expects, where all of it is to be laid out.
    """

    config: Path | None
    env: Path | None
    accelerate: Path | None
    kind: str | None
    layout: Layout | None


def target_options(command: Command) -> Command:
    """Add where the files are to be written, and pass it on as ``target``."""
    file = click.Path(path_type=Path, dir_okay=False)

    @section(WRITE)
    @click.option("--output", metavar="FILE", help="Where to write config.json; - for stdout. [default: config.json]")
    @click.option(
        "--env",
        "env_file",
        type=file,
        metavar="FILE",
        help="Also write the high-level config.env there; without --env none is written.",
    )
    @click.option(
        "--accelerate",
        "yaml_file",
        type=file,
        metavar="FILE",
        help="Also write an accelerate YAML there, and name it in config.env.",
    )
    @click.option(
        "--deepspeed", is_flag=True, help="DeepSpeed ZeRO stage 2 in the accelerate YAML; needs --accelerate or --into."
    )
    @click.option("--offload", is_flag=True, help="The same, with optimizer and parameters in the CPU's memory.")
    @click.option(
        "--into",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Lay out all that the launcher expects below DIR: config/config.env, and in config/NAME/ config.json, "
        "accelerate.yaml and multidatabackend.json.",
    )
    @functools.wraps(command)
    def wrapped(
        *,
        output: str | None,
        env_file: Path | None,
        yaml_file: Path | None,
        deepspeed: bool,
        offload: bool,
        into: Path | None,
        name: str | None,
        **options: Any,
    ) -> Any:
        from datakit.trainers.simpletuner.layout import Layout

        if into is not None and (output or env_file or yaml_file):
            raise click.UsageError("--into says where every file goes: leave out --output, --env and --accelerate")
        if (deepspeed or offload) and into is None and yaml_file is None:
            raise click.UsageError("--deepspeed and --offload are set in the accelerate YAML: name one with --accelerate FILE")
        if "-" in (str(env_file), str(yaml_file)):
            raise click.UsageError("only --output can go to stdout: name a file for --env and --accelerate")
        kind = "deepspeed2-offload" if offload else "deepspeed2" if deepspeed else None
        if into is None:
            target = Target(None if output == "-" else Path(output or "config.json"), env_file, yaml_file, kind, None)
        else:
            layout = Layout(Path(os.path.abspath(into)), name)
            target = Target(layout.config, layout.launcher, layout.accelerate, kind, layout)
        return command(target=target, name=name, **options)

    return wrapped


def config_options(command: Command) -> Command:
    """Add what is to stand in config.json beside the steps, and pass it on as ``options``."""

    @section(CHOOSE)
    @click.option(
        "--preset",
        default="sd3-lora",
        show_default=True,
        metavar="NAME",
        help="sd3-lora or sd3-full (SD3.5 Large), sdxl-lora, flux-lora; with the values of the tutorial for SD3.5 Large "
        "tutorial-lora (32 GB), tutorial-lora-24gb, tutorial-full (80 GB).",
    )
    @click.option(
        "--learning-rate", type=float, metavar="X", help="Instead of the preset's: more than 0 and at most 1, such as 1e-4."
    )
    @click.option("--rank", type=click.IntRange(1, 100_000), metavar="N", help="Of a LoRA, instead of the preset's.")
    @click.option("--alpha", type=click.IntRange(1, 100_000), metavar="N", help="Of a LoRA. [default: the rank]")
    @click.option(
        "--checkpoint-every",
        metavar="N",
        help="In steps or epochs: 400, '1 epoch', '0.5 epochs'. [default: the preset's, or a tenth of the steps]",
    )
    @click.option("--validation-every", metavar="N", help="In steps or epochs, as --checkpoint-every.")
    @click.option(
        "--keep-checkpoints", type=click.IntRange(1, 1_000_000), metavar="N", help="The last so many; older ones are deleted."
    )
    @click.option(
        "--validation-prompt", default="a photo", show_default=True, metavar="TEXT", help="What is drawn at each validation."
    )
    @click.option("--tracker", metavar="NAME", help="wandb, tensorboard or none, instead of the preset's.")
    @click.option(
        "--name",
        metavar="NAME",
        help="What the training is called: by its tracker, its output folder, and with --into its folder.",
    )
    @click.option(
        "--backend-config",
        type=click.Path(),
        default="multidatabackend.json",
        show_default=True,
        metavar="PATH",
        help="Where the trainer finds multidatabackend.json; with --into it is copied from there.",
    )
    @section(WRITE)
    @click.option(
        "--output-dir",
        metavar="DIR",
        help="Where the trainer writes checkpoints. [default: output, below DIR of --into; with --name output/NAME]",
    )
    @section(CHOOSE)
    @click.option(
        "--targets",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Train the layers that FILE names, as `datakit weights targets` wrote it.",
    )
    @click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Any other option of SimpleTuner, such as vae_batch_size=12; repeatable.",
    )
    @functools.wraps(command)
    def wrapped(
        *,
        target: Target,
        preset: str,
        learning_rate: float | None,
        rank: int | None,
        alpha: int | None,
        checkpoint_every: str | None,
        validation_every: str | None,
        keep_checkpoints: int | None,
        validation_prompt: str,
        tracker: str | None,
        name: str | None,
        backend_config: str,
        output_dir: str | None,
        targets: Path | None,
        settings: tuple[str, ...],
        datasets: tuple[Path, ...],
        counts: tuple[str, ...],
        **options: Any,
    ) -> Any:
        from datakit.trainers.simpletuner.config import ConfigOptions, Tracking, parse_options
        from datakit.trainers.simpletuner.targets import target_settings

        layout = target.layout
        asked = ConfigOptions(
            preset=preset,
            # The launcher may be started anywhere, so nothing is left to where datakit was.
            backend_config=os.path.abspath(layout.backend if layout else backend_config),
            output_dir=os.path.abspath(output_dir or (layout.output if layout else Path("output", name or ""))),
            validation_prompt=validation_prompt,
            learning_rate=learning_rate,
            rank=rank,
            alpha=alpha,
            keep_checkpoints=keep_checkpoints,
            checkpoint_every=checkpoint_every,
            validation_every=validation_every,
            tracking=Tracking(tracker, name),
            settings=(*(target_settings(targets) if targets else ()), *settings),
        )
        if only_checks():
            parse_options(settings)
            return None
        file = Path(backend_config)
        if datasets or not counts:
            datasets = _as_trained(datasets, file)
        return command(target=target, options=asked, backend_config=file, datasets=datasets, counts=counts, **options)

    return wrapped


@config.command(short_help="Write config.json, on request config.env and YAML.")
@target_options
@config_options
@training_options
@overwrite_option
@section(SHOW)
@click.option("-v", "--verbose", is_flag=True, help="Name the recipe's options that are left out, and what took their place.")
def write(
    planned: Planned,
    options: ConfigOptions,
    target: Target,
    backend_config: Path,
    overwrite: bool,
    verbose: bool,
) -> None:
    """Write config.json for SimpleTuner 3.1.6 or later, with the steps of these datasets.

    max_train_steps, lr_warmup_steps, checkpointing_steps and validation_steps are those that `datakit steps`
    prints for the same options. Without DATASET and --concept, the datasets that --backend-config names are counted; where
    that file is not here, what the last stage run from here wrote.
    All paths are written absolute. A file that was edited by hand is not replaced: the difference is shown, and
    --overwrite takes the new one.

    With --into DIR and --name several trainings lie side by side; the one written last is chosen by ENV in
    DIR/config/config.env. Start SimpleTuner in DIR.

    Two options of the recipe are left out, for they end SimpleTuner 3.1.6 and later with an error:
    enable_xformers_memory_efficient_attention and allow_tf32. Both are what it does anyway.

    Exit 1 where there are too few pictures for one optimizer step: SimpleTuner would stop. Else 0.

    \b
    datakit config out_shuffled/ --preset sd3-lora --epochs 10 --batch-size 6
    datakit config --preset flux-lora --steps 3000 --output -
    datakit config --env config.env --accelerate accelerate.yaml --deepspeed
    datakit config --preset tutorial-lora --into st/ --name fantasy --batch-size 6
    """
    from datakit.errors import UsageError
    from datakit.trainers.simpletuner.accelerate import accelerate_yaml
    from datakit.trainers.simpletuner.checkconfig import output_fault
    from datakit.trainers.simpletuner.config import config_to_json, launcher_env, needs, pace, trainer_config
    from datakit.trainers.simpletuner.presets import preset

    for folder in planned.folders:
        if fault := output_fault(options.output_dir, os.fspath(folder)):
            raise UsageError(f"the output folder {fault}: name another one")
    training, batching = pace(options, planned.training), planned.batching
    written = trainer_config(options, training, batching)
    content = config_to_json(written)
    files = [] if target.config is None else [(target.config, content)]
    if target.env is not None:
        yaml = None if target.accelerate is None else os.path.abspath(target.accelerate)
        files.append((target.env, launcher_env(batching, yaml, target.layout.name if target.layout else None)))
    if target.accelerate is not None:
        files.append((target.accelerate, accelerate_yaml(batching, target.kind or preset(options.preset).accelerate)))
    files += _copied(target.layout, backend_config)
    if not overwrite:
        _show_differences(files)
    write_files(files, overwrite, planned.folders, quiet=target.config is None)
    if target.config is not None and planned.folders:
        places = {} if target.layout else {"output": str(target.config)}
        remember_stage("config", list(planned.folders), datasets=list(map(str, planned.folders)), **places)
    for need in needs(written):
        click.echo(need, err=True)
    _say_apart(options, backend_config, verbose)
    if target.config is None:
        click.echo(content, nl=False)
    else:
        print_training(training, planned.trainer.title)


def _as_trained(datasets: tuple[Path, ...], backend_config: Path) -> tuple[Path, ...]:
    """Return the datasets named, else those that the trainer's dataset file names; say on stderr where the two, or the last stage, differ."""
    from datakit.dataset.remembered import last_dataset
    from datakit.errors import UsageError
    from datakit.trainers.simpletuner.backend import datasets_of

    def listed(folders: Sequence[Path]) -> str:
        return " ".join(f"{shortened(each)}/" for each in folders)

    trained = [each.resolve() for each in datasets_of(backend_config)]
    if not trained:
        return datasets
    if datasets:
        named = [each.resolve() for each in datasets]
        if set(named) != set(trained):
            click.echo(
                f"{backend_config} trains {listed(trained)}, and the steps are counted for {listed(named)}: name the same ones, "
                f"or write it again with `datakit backend {listed(named)} --cache-root DIR`",
                err=True,
            )
        return datasets
    try:
        last, stage = last_dataset(Path.cwd())
    except UsageError:
        last, stage = trained[0], ""
    if trained == [last] and stage:
        return datasets
    since = (
        ""
        if not stage or last in trained
        else f"; the last {stage} wrote {listed([last])}: to train that, run datakit backend again"
    )
    click.echo(f"using {listed(trained)} (from {backend_config}){since}", err=True)
    return tuple(map(shortened, trained))


def _copied(layout: Layout | None, backend_config: Path) -> list[tuple[Path, bytes]]:
    """Return the copy of multidatabackend.json that belongs into a layout; say so where there is none to copy."""
    if layout is None:
        return []
    try:
        return [(layout.backend, backend_config.read_bytes())]
    except OSError:
        if not layout.backend.exists():
            click.echo(f"{layout.backend} is missing: write it with `datakit backend --output {layout.backend}`", err=True)
        return []


def _show_differences(files: Sequence[tuple[Path, bytes]]) -> None:
    """Show on stderr what would change in files that were edited by hand."""
    import difflib

    from datakit.dataset.remembered import edited

    for path, content in files:
        if path.is_file() and path.read_bytes() != content and any(edited([path])):
            old, new = (text.decode(errors="replace").splitlines() for text in (path.read_bytes(), content))
            for line in difflib.unified_diff(old, new, str(path), "as datakit would write it", lineterm="", n=0):
                click.echo(line, err=True)


def _say_apart(options: ConfigOptions, backend_config: Path, verbose: bool) -> None:
    """Say on stderr where latents are kept apart from those of another family, and on request what was left out."""
    from datakit.trainers.simpletuner.backend import families_of
    from datakit.trainers.simpletuner.options import REMOVED
    from datakit.trainers.simpletuner.presets import preset

    trained = preset(options.preset).family
    for family in families_of(backend_config):
        if family != trained:
            click.echo(
                f"{backend_config} keeps the latents of {family} apart, and {options.preset} trains {trained}: "
                f"write it again with `datakit backend --model-family {trained}`",
                err=True,
            )
    if verbose:
        for option, instead in REMOVED.items():
            click.echo(f"left out {option}: {instead}", err=True)
