"""How long a training takes: steps from epochs and back by the recipe's formula, and what buckets too small for a batch need."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.report import counted
from datakit.sizes import area_kept

# The recipe warms the learning rate up over a tenth of the training.
WARMUP_SHARE = Fraction(1, 10)
# A way out that cuts off more of each picture than this is none.
WORTH_CUTTING = 0.25
# A checkpoint and a validation after each tenth: ten of either, whatever the length.
INTERVAL_SHARE = Fraction(1, 10)
# More than anybody trains for; beyond, numbers no longer fit into config files.
MOST_STEPS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Batching:
    """How pictures are put together for one optimizer step.

    Attributes
    ----------
    size
        Pictures in a micro-batch on one GPU.
    gpus, accumulate
        Micro-batches of one optimizer step: beside each other, and one after the other.
    """

    size: int = 1
    gpus: int = 1
    accumulate: int = 1

    def __post_init__(self) -> None:
        for word, value in (("batch size", self.size), ("GPUs", self.gpus), ("accumulation", self.accumulate)):
            if value < 1:
                raise UsageError(f"{word} {value}: use 1 or more")

    @property
    def effective(self) -> int:
        """Pictures of one optimizer step."""
        return self.size * self.gpus * self.accumulate


@dataclass(frozen=True, slots=True)
class BucketLoad:
    """What one bucket of one concept gives in an epoch.

    Attributes
    ----------
    pictures, passes
        Files, and how many times each is shown.
    planned, real
        Micro-batches on each GPU that the trainer counts on, and those that it really runs.
    padded
        Samples shown once more to fill the last micro-batch of each pass.
    too_small
        True where the bucket cannot fill one optimizer step, and the trainer does not train it as it is.
    dropped
        Samples left out of the epoch, as they fill no micro-batch.
    never
        Whether those are the same in every epoch, so that they are never trained.
    """

    concept: str
    bucket: Size
    pictures: int
    passes: int
    planned: int
    real: int
    padded: int
    too_small: bool
    dropped: int = 0
    never: bool = False


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch of some concepts as a trainer runs it; without any, nothing is known of it.

    Attributes
    ----------
    loads
        Bucket by bucket.
    planned_steps, real_steps
        Optimizer steps that the trainer counts on, and those that it really takes.
    notes
        A sentence for each thing about its epochs that may surprise.
    recipe
        Whether its trainings are planned by the recipe's formula instead of by the steps that it really takes.
    """

    loads: tuple[BucketLoad, ...] = ()
    planned_steps: int = 0
    real_steps: int = 0
    notes: tuple[str, ...] = ()
    recipe: bool = False

    @property
    def waste(self) -> dict[str, int]:
        """What does not come out even: buckets too small, samples padded and left out, and of these those never trained."""
        return {
            "too_small": sum(load.too_small for load in self.loads),
            "padded": sum(load.padded for load in self.loads),
            "dropped": sum(load.dropped for load in self.loads),
            "never": sum(load.dropped for load in self.loads if load.never),
        }


@dataclass(frozen=True, slots=True)
class Training:
    """The steps of a training.

    Attributes
    ----------
    max_train_steps
        Optimizer steps in all, by the recipe's formula, by the trainer's real steps, or as the user gave them.
    epochs
        The same training in epochs, of the recipe's formula or of the trainer's real steps.
    by_recipe
        Which of the two.
    recipe_steps_per_epoch
        Pictures x repeats / batch, not rounded.
    planned_steps_per_epoch, real_steps_per_epoch
        As the trainer counts, and what an epoch over its buckets really takes.
    lr_warmup_steps, checkpointing_steps, validation_steps
        A tenth of ``max_train_steps`` each, at least 1, where nothing else is asked for.
    loads, notes
        As in `Epoch`.
    before
        The epoch as it would be if no picture had taken another size to fill a batch; None where none has.
    """

    max_train_steps: int
    epochs: float
    recipe_steps_per_epoch: float
    planned_steps_per_epoch: int
    real_steps_per_epoch: int
    lr_warmup_steps: int
    checkpointing_steps: int
    validation_steps: int
    loads: tuple[BucketLoad, ...] = ()
    notes: tuple[str, ...] = ()
    by_recipe: bool = True
    before: Epoch | None = None

    @property
    def real_epochs(self) -> float | None:
        """Epochs that the trainer runs through in ``max_train_steps``; None without a dataset."""
        return self.max_train_steps / self.real_steps_per_epoch if self.real_steps_per_epoch else None

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as plain data for ``--json``."""
        return {
            "max_train_steps": self.max_train_steps,
            "epochs": self.epochs,
            "recipe_steps_per_epoch": self.recipe_steps_per_epoch,
            "planned_steps_per_epoch": self.planned_steps_per_epoch,
            "real_steps_per_epoch": self.real_steps_per_epoch,
            "real_epochs": self.real_epochs,
            "lr_warmup_steps": self.lr_warmup_steps,
            "checkpointing_steps": self.checkpointing_steps,
            "validation_steps": self.validation_steps,
            "buckets": [load_to_json(load) for load in self.loads],
            "notes": list(self.notes),
            **({"before": {"real_steps_per_epoch": self.before.real_steps, **self.before.waste}} if self.before else {}),
        }


def load_to_json(load: BucketLoad) -> dict[str, Any]:
    """Return what one bucket gives as plain data for ``--json``."""
    names = ("concept", "pictures", "passes", "planned", "real", "padded", "too_small", "dropped", "never")
    return {"bucket": str(load.bucket)} | {name: getattr(load, name) for name in names}


def plan_training(
    counts: Sequence[tuple[int, int]],
    batching: Batching,
    epochs: float | None = None,
    steps: int | None = None,
    epoch: Epoch = Epoch(),
) -> Training:
    """Work out the steps of a training from its epochs, or its epochs from the steps.

    Parameters
    ----------
    counts
        (pictures, repeats) of each concept; repeats 1 = once.
    batching
        Batch size, GPUs, accumulation. The recipe's formula knows the first alone; the other two divide
        the steps in the same way.
    epochs, steps
        One of the two.
    epoch
        One epoch of the same concepts, from the trainer's ``steps``.

    Raises
    ------
    UsageError
        Not exactly one of ``epochs`` and ``steps`` is given, a number is not positive, or the steps exceed `MOST_STEPS`.
    """
    if (epochs is None) == (steps is None):
        raise UsageError("give either the epochs or the steps")
    if any(pictures < 1 or repeats < 1 for pictures, repeats in counts) or not counts:
        raise UsageError("pictures and repeats must be 1 or more")
    if (epochs is not None and not (epochs > 0 and math.isfinite(epochs))) or (steps is not None and steps < 1):
        raise UsageError("epochs and steps must be more than 0")
    recipe = Fraction(sum(pictures * repeats for pictures, repeats in counts), batching.effective)
    by_recipe = epoch.recipe or not epoch.real_steps
    per_epoch = recipe if by_recipe else Fraction(epoch.real_steps)
    total = steps if steps is not None else math.ceil(per_epoch * Fraction(str(epochs)))
    if total > MOST_STEPS:
        raise UsageError(f"{total} optimizer steps: use {MOST_STEPS} at most")
    return Training(
        max_train_steps=total,
        epochs=float(epochs if epochs is not None else total / per_epoch),
        recipe_steps_per_epoch=float(recipe),
        planned_steps_per_epoch=epoch.planned_steps,
        real_steps_per_epoch=epoch.real_steps,
        lr_warmup_steps=_share(total, WARMUP_SHARE),
        checkpointing_steps=_share(total, INTERVAL_SHARE),
        validation_steps=_share(total, INTERVAL_SHARE),
        loads=epoch.loads,
        notes=epoch.notes,
        by_recipe=by_recipe,
    )


def interval(text: str, training: Training) -> int:
    """Return how many optimizer steps ``400``, ``1 epoch`` or ``0.5 epochs`` are, at least 1; epochs by the recipe's formula.

    Raises
    ------
    UsageError
        It is neither.
    """
    match = re.fullmatch(r"(?P<number>\d{1,9}|\d{0,9}\.\d{1,9})(?P<epochs> ?epochs?)?", text.strip())
    number = Fraction(match["number"]) if match else Fraction(0)
    if match is None or not number or (match["epochs"] is None and number.denominator != 1):
        raise UsageError(f"interval {text!r}: give steps such as 400, or epochs such as '1 epoch' or '0.5 epochs'")
    steps = number if match["epochs"] is None else number * Fraction(str(training.recipe_steps_per_epoch))
    return min(MOST_STEPS, max(1, round(steps)))


def paced(training: Training, checkpoint_every: str | None, validation_every: str | None) -> Training:
    """Return a training with checkpoints and validations at other intervals; None leaves either as it is.

    Raises
    ------
    UsageError
        An interval is neither steps nor epochs.
    """
    return replace(
        training,
        checkpointing_steps=training.checkpointing_steps if checkpoint_every is None else interval(checkpoint_every, training),
        validation_steps=training.validation_steps if validation_every is None else interval(validation_every, training),
    )


def ways_out(loads: Sequence[BucketLoad], batching: Batching) -> list[str]:
    """Return what would let every bucket fill an optimizer step, one sentence each, cheapest first.

    Moving pictures costs nothing but the area that the neighbouring size cuts off, and is left out where that
    is more than `WORTH_CUTTING`; a smaller batch changes the training; more repeats make it longer.
    """
    small = [load for load in loads if load.too_small]
    if not small:
        return []
    ways = []
    for load in small:
        others = [other for other in loads if other.concept == load.concept and other.bucket != load.bucket]
        full = [other.bucket for other in others if (other.pictures + load.pictures) * load.passes >= batching.effective]
        if full:
            nearest = max(full, key=lambda size: area_kept(load.bucket, size))
            share = 1 - area_kept(load.bucket, nearest)
            if share <= WORTH_CUTTING:
                ways.append(
                    f"{load.concept} {load.bucket}: move its {counted(load.pictures, 'picture')} to {nearest} (crop them again; cuts {share:.0%} off)"
                )
        needed = math.ceil(batching.effective / load.pictures)
        ways.append(
            f"{load.concept} {load.bucket}: show each picture {needed} times an epoch (now {load.passes}), or add {counted(_short_of(load, batching), 'picture')}"
        )
    fits = min(load.pictures * load.passes for load in loads) // (batching.gpus * batching.accumulate)
    if fits >= 1:
        ways.append(f"all: batch size {fits} instead of {batching.size}")
    else:
        ways.append("all: accumulate fewer micro-batches or use fewer GPUs")
    return ways


def _short_of(load: BucketLoad, batching: Batching) -> int:
    return math.ceil(batching.effective / load.passes) - load.pictures


def _share(steps: int, share: Fraction) -> int:
    return max(1, round(steps * share))
