"""``datakit steps``, and what `datakit config` has in common with it: the options of a training, worked out and printed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datakit.cli.sections import SectionedCommand
from datakit.cli.shared import (
    Command,
    batching_options,
    chosen,
    datasets_argument,
    family_option,
    json_option,
    repeats_option,
    trainer_option,
)
from datakit.trainers import DEFAULT

if TYPE_CHECKING:
    from datakit.audit.concept import Concept
    from datakit.trainers.protocol import Trainer
    from datakit.trainers.training import Batching, BucketLoad, Epoch, Training


@dataclass(frozen=True, slots=True)
class Planned:
    """A training as the options ask for it, with the ``folders`` of its datasets."""

    trainer: Trainer
    folders: Sequence[Path]
    batching: Batching
    training: Training


def training_options(command: Command) -> Command:
    """Add the datasets and the options that say how long and in what batches to train.

    The command is called with the training that follows from them, as ``planned``. Where there are too few pictures for
    one optimizer step, that is said behind it, and the exit code is 1.
    """

    @datasets_argument
    @click.option(
        "--epochs",
        type=click.FloatRange(0, 1_000_000, min_open=True),
        metavar="N",
        help="Epochs in all; tells the steps. [default: 10 where no --steps are given]",
    )
    @click.option("--steps", type=click.IntRange(1, 1_000_000_000), metavar="N", help="Optimizer steps in all; tells the epochs.")
    @click.option(
        "--concept",
        "counts",
        multiple=True,
        metavar="PxR",
        help="P pictures seen R times an epoch, such as 48x5, where there is no dataset yet; repeatable.",
    )
    @repeats_option
    @batching_options
    @functools.wraps(command)
    def wrapped(
        *,
        datasets: tuple[Path, ...],
        epochs: float | None,
        steps: int | None,
        counts: tuple[str, ...],
        repeats: tuple[int, ...],
        batching: Batching,
        trainer: str = DEFAULT,
        family: str | None = None,
        **options: Any,
    ) -> None:
        from datakit.trainers import trainer as trainer_of
        from datakit.trainers.protocol import family_of
        from datakit.trainers.training import Epoch, plan_training

        plain, target = _parse_counts(counts), trainer_of(trainer)
        folders = chosen(datasets) if datasets or not plain else []
        concepts = _read(folders, repeats, target, family_of(trainer, family))
        known = [(len(concept.records), concept.passes) for concept in concepts]
        epoch = target.steps(concepts, batching)
        if epochs is None and steps is None:
            epochs = 10.0
        # What is only counted has no buckets, so the trainer's own count of the whole cannot be told.
        training = plan_training(known + plain, batching, epochs, steps, Epoch() if plain else epoch)
        unmoved = [concept.unmoved for concept in concepts]
        if any(unmoved) and not plain:
            as_before = [other or concept for other, concept in zip(unmoved, concepts, strict=True)]
            training = replace(training, before=target.steps(as_before, batching))
        planned = Planned(target, folders, batching, training)
        command(planned=planned, **options)
        if too_few := _too_few(planned, epoch.loads):
            click.echo(too_few, err=True)
            click.get_current_context().exit(1)

    return wrapped


@click.command(cls=SectionedCommand)
@training_options
@trainer_option
@family_option
@json_option
def steps(planned: Planned, as_json: bool) -> None:
    """Tell training steps from epochs, or epochs from steps.

    For SimpleTuner by the recipe's formula, the sum over all concepts of pictures x repeats / batch x epochs; for
    every other trainer by the steps that an epoch of it really takes. Beside it stands
    what the trainer will do bucket by bucket: the micro-batches it plans, those it really runs, the samples it
    shows once more to fill the last batch of a bucket, and those it leaves out. Warm-up, checkpoints and validations are a
    tenth of the steps each. Exit 1 where there are too few pictures for one optimizer step, else 0.

    \b
    datakit steps out/ --epochs 10 --batch-size 6
    datakit steps --concept 48x5 --concept 100x1 --steps 3000
    """
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(planned.training.to_json()))
    else:
        print_training(planned.training, planned.trainer.title)


def print_training(training: Training, title: str) -> None:
    """Print the numbers of a training, with a trainer of this title, as a table."""
    per_epoch, formula = f"{training.real_steps_per_epoch}", f"as {title} runs them"
    if training.by_recipe:
        per_epoch, formula = f"{training.recipe_steps_per_epoch:g}", "pictures x repeats / batch"
    click.echo(
        f"max train steps       {training.max_train_steps:>8}   ({training.epochs:g} epochs of {per_epoch} steps: {formula})"
    )
    click.echo(f"warm-up steps         {training.lr_warmup_steps:>8}   (10 %)")
    click.echo(f"checkpoint every      {training.checkpointing_steps:>8}   steps")
    click.echo(f"validation every      {training.validation_steps:>8}   steps")
    if not training.loads:
        return
    click.echo(f"\n{title}, bucket by bucket, in one epoch on each GPU:")
    width = max(len(load.concept) for load in training.loads)
    click.echo(f"  {'':{width}}  {'bucket':>9} {'pictures':>8} {'passes':>6} {'planned':>7} {'real':>6} {'padded':>6}")
    for load in training.loads:
        mark = "  too few for one optimizer step" if load.too_small else ""
        mark += f"  {load.dropped} {'never trained' if load.never else 'left out'}" if load.dropped else ""
        click.echo(
            f"  {load.concept:{width}}  {load.bucket!s:>9} {load.pictures:>8} {load.passes:>6} {load.planned:>7} {load.real:>6} {load.padded:>6}{mark}"
        )
    planned, real = training.planned_steps_per_epoch, training.real_steps_per_epoch
    click.echo(
        f"optimizer steps an epoch: {planned} planned, {real} real; {training.max_train_steps} steps go {training.real_epochs:.4g} times through every bucket"
    )
    if training.before:
        _print_before(training, training.before)
    for note in training.notes:
        click.echo(note)


def _print_before(training: Training, before: Epoch) -> None:
    """Print the same epoch as it would be if no picture had taken another size to fill a batch."""
    from datakit.trainers.training import Epoch

    then, now = ({(load.concept, load.bucket): load.pictures for load in loads} for loads in (before.loads, training.loads))
    moved = [
        f"{concept} {bucket} {then.get((concept, bucket), 0)} -> {now.get((concept, bucket), 0)}"
        for concept, bucket in dict.fromkeys((*then, *now))
        if then.get((concept, bucket)) != now.get((concept, bucket))
    ]
    click.echo(f"pictures before batches were filled -> now: {', '.join(moved)}")
    said = {"too_small": "buckets too small", "padded": "padded", "dropped": "left out", "never": "never trained"}
    waste = Epoch(training.loads).waste
    changed = [f"{said[name]} {number} -> {waste[name]}" for name, number in before.waste.items() if number or waste[name]]
    changed.append(f"optimizer steps {before.real_steps} -> {training.real_steps_per_epoch}")
    click.echo(f"in an epoch: {', '.join(changed)}")


def _read(folders: Sequence[Path], repeats: Sequence[int], target: Trainer, family: str) -> list[Concept]:
    """Read datasets as a model family is trained on them, saying on stderr what was decided about them."""
    from datakit.audit.concept import read_concepts
    from datakit.shards.summary import concept_at

    read = read_concepts(folders, repeats=repeats, read=concept_at) if folders else []
    concepts = [target.trained(concept, family) for concept in read]
    for concept in concepts:
        for note in concept.notes:
            click.echo(f"{concept.name}: {note}", err=True)
    return concepts


def _too_few(planned: Planned, loads: Sequence[BucketLoad]) -> str:
    """Return a sentence where pictures are too few for a step, and what the trainer does then; else nothing."""
    where = ", ".join(f"{load.concept} {load.bucket}" for load in loads if load.too_small)
    if not where and planned.training.recipe_steps_per_epoch < 1:
        where = "all concepts together"
    return where and (
        f"too few pictures for one optimizer step of {planned.batching.effective}: {where}. {planned.trainer.too_small}: "
        "use a smaller --batch-size or more --repeats; datakit check tells the cheapest ways out"
    )


def _parse_counts(counts: Sequence[str]) -> list[tuple[int, int]]:
    """Read ``48x5`` as 48 pictures seen 5 times."""
    import re

    from datakit.errors import UsageError

    found = []
    for text in counts:
        match = re.fullmatch(r"(\d{1,9})[x×](\d{1,9})", text)
        if match is None:
            raise UsageError(f"--concept {text!r}: write pictures x repeats, such as 48x5, of at most nine digits each")
        found.append((int(match[1]), int(match[2])))
    return found
