"""What every trainer is asked, and what goes in and comes out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from datakit.audit.concept import Concept
from datakit.audit.reader import Reader
from datakit.errors import UsageError
from datakit.run.stage import Execution
from datakit.trainers import DEFAULT, trainer
from datakit.trainers.leftovers import Leftover
from datakit.trainers.training import Batching, Epoch
from datakit.trainers.verdict import Verdict
from datakit.trainers.view import View

# Asks for none of the companions that a dataset has.
NO_COMPANIONS = "none"


def family_of(name: str, family: str | None) -> str:
    """Return a model family of a trainer, the first where none is named.

    Raises
    ------
    UsageError
        The trainer is unknown, or does not know the family.
    """
    families = trainer(name).families
    if family is None:
        return next(iter(families))
    if family not in families:
        raise UsageError(f"model family {family!r} is not known: use one of {' '.join(families)}")
    return family


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """What decides which dataset file is written.

    Attributes
    ----------
    trainer
        A name of `datakit.trainers.TRAINERS`.
    family
        One of the trainer's model families; its first where none is named.
    names, repeats
        Of the datasets, one each, or repeats once for all; see `datakit.audit.concept.read_concepts`.
    settings
        ``key=value`` for every image entry.
    caption_shuffle, keep
        Let the trainer shuffle each caption into so many orders, behind so many leading tokens.
    batch_size
        Pictures in one micro-batch on one GPU, where the dataset file says it.
    at, endpoint
        Addresses in an object store that the datasets were published at, one each, and the store's URL; the trainer reads them
        there instead of from their folders.
    companions
        What the trainer is given of the datasets' companions; none for all that it takes, `NO_COMPANIONS` for none of them.
    """

    trainer: str = DEFAULT
    family: str | None = None
    names: tuple[str, ...] = ()
    repeats: tuple[int, ...] = ()
    settings: tuple[str, ...] = ()
    caption_shuffle: int | None = None
    keep: int = 0
    batch_size: int | None = None
    at: tuple[str, ...] = ()
    endpoint: str | None = None
    companions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        family_of(self.trainer, self.family)

    @property
    def model_family(self) -> str:
        """The family named, or the trainer's first."""
        return family_of(self.trainer, self.family)


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """A trainer's dataset file as it would be written.

    Attributes
    ----------
    content
        Its bytes.
    entries
        The id of each concept's entry, in their order.
    changed
        A sentence for each size that the trainer would not train as it is; with any, the file is not to be used.
    needs
        A sentence for each thing that the trainer must be or have for the file to mean what it says.
    notes
        A sentence for each thing that the trainer will do with it and that may surprise.
    views
        Folders of links that the file names, to be made before it is used.
    command
        The command line that starts the trainer with it, as far as the dataset decides it; nothing where it does not.
    next_step
        The command of datakit that comes next, where the trainer is not started with the file itself.
    provided
        A clause for each thing that the proof takes for granted, as it cannot be seen from here.
    """

    content: bytes
    entries: tuple[str, ...]
    changed: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    views: tuple[View, ...] = ()
    command: str = ""
    next_step: str = ""
    provided: tuple[str, ...] = ()


class Trainer(Reader, Protocol):
    """A trainer: what it reads of a folder, what is written for it, and its arithmetic, re-derived.

    Attributes
    ----------
    title
        What it is called in a sentence.
    file_name
        What its dataset file is called where nobody names it.
    families
        Model families that it trains, the usual one first, and how many tokenizer tokens each of their text encoders sees.
    releases
        Its releases whose arithmetic is replayed.
    too_small
        What it does with a bucket that cannot fill one optimizer step, as a clause.
    published
        Whether its file can name a dataset in an object store.
    """

    title: str
    file_name: str
    families: Mapping[str, Mapping[str, int]]
    releases: tuple[str, ...]
    too_small: str
    published: bool

    def trained(self, concept: Concept, family: str) -> Concept:
        """Return a dataset as it is trained: itself, or with each caption counted as a file where it becomes one.

        Raises
        ------
        UsageError
            The repeats asked for do not go with that.
        """

    def left_behind(self, concept: Concept, ids: Collection[str]) -> list[Leftover]:
        """Return what it left in the folder of a dataset for entries of other ids than these."""

    def old_caches(self, concepts: Sequence[Concept], cache_root: Path) -> list[Leftover]:
        """Return its caches of some datasets as they were or were called before."""

    def check_options(self, options: BackendOptions) -> None:
        """Make sure, without a dataset, that it takes what is asked for. Raises UsageError."""

    def emit(self, concepts: Sequence[Concept], cache_root: Path, options: BackendOptions) -> DatasetFile:
        """Make the dataset file of some concepts, and replay what becomes of every size in it.

        Raises
        ------
        UsageError
            An option cannot be used, two concepts are the same, or the caches would lie inside a dataset.
        """

    def recognises(self, content: bytes) -> bool:
        """Tell whether a file of this content looks like a dataset file of this trainer, faulty or not."""

    def prove(self, file: Path, releases: Sequence[str], execution: Execution, datasets: Sequence[Path]) -> Verdict:
        """Check and replay every picture of a dataset file, whoever wrote it; each of ``releases`` must keep it.

        What lies elsewhere is held against that one of ``datasets`` which it was published from.

        Raises
        ------
        UsageError
            The file cannot be used, or trains no picture.
        """

    def steps(self, concepts: Sequence[Concept], batching: Batching) -> Epoch:
        """Say what each bucket gives in one epoch of some datasets as they are `trained`, and how many optimizer steps that makes."""


def refuse_settings(options: BackendOptions, title: str) -> None:
    """Make sure that nothing is asked for that only SimpleTuner's file can say.

    Raises
    ------
    UsageError
        Settings, a shuffle of captions, kept tokens or a place in an object store are asked for.
    """
    if options.at or options.endpoint is not None:
        raise UsageError(f"{title} reads nothing from an object store: leave out --at and --endpoint")
    if options.keep:
        raise UsageError(f"{title} keeps no tokens in front, as it shuffles none: give --keep to `datakit shuffle`")
    if options.settings:
        raise UsageError(
            f"{title} takes no --set {options.settings[0]}: edit the file, then `datakit verify` says what that does"
        )
    if options.caption_shuffle is not None:
        raise UsageError(f"{title} cannot shuffle captions behind kept tokens: write copies with `datakit shuffle` instead")
