"""Stage 3 as functions: a trainer's dataset file, given only where it is proved, and the audit before it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datakit.audit.checks import Finding, check_dataset, list_files
from datakit.audit.concept import Concept, read_concepts
from datakit.audit.freshness import behind
from datakit.audit.likeness import compared_names, find_likeness
from datakit.audit.listed import stale_files
from datakit.audit.looks import Look, look_at_all
from datakit.audit.wording import check_wording
from datakit.dataset.origin import refuse_in_source
from datakit.errors import UsageError
from datakit.run.stage import Execution
from datakit.sizes import ENLARGED
from datakit.trainers import trainer
from datakit.trainers.simpletuner.backend import FAMILIES
from datakit.trainers.simpletuner.entry import CaptionShuffle
from datakit.trainers.simpletuner.steps import Batching, BucketLoad, Training, concept_loads, plan_training, ways_out


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """What decides which dataset file is written.

    Attributes
    ----------
    trainer
        A name of `datakit.trainers.TRAINERS`.
    family
        Model family, whose latents are kept apart.
    names, repeats
        Of the datasets, one each, or repeats once for all; see `datakit.audit.concept.read_concepts`.
    settings
        ``key=value`` for every image entry.
    caption_shuffle, keep
        Let the trainer shuffle each caption into so many orders, behind so many leading tokens.
    """

    trainer: str = "simpletuner"
    family: str = "sd3"
    names: tuple[str, ...] = ()
    repeats: tuple[int, ...] = ()
    settings: tuple[str, ...] = ()
    caption_shuffle: int | None = None
    keep: int = 0

    def __post_init__(self) -> None:
        trainer(self.trainer)


@dataclass(frozen=True, slots=True)
class Emission:
    """A trainer's dataset file, or why there is none.

    Attributes
    ----------
    content
        The file's bytes; None where anything was found.
    entries
        (id, dataset) of each image entry.
    findings, changed
        What is wrong with files, and a sentence for each size that the trainer would change.
    notes
        A sentence for each way in which a dataset is older than what it was made from.
    """

    content: bytes | None
    entries: tuple[tuple[str, Concept], ...]
    findings: tuple[tuple[Concept, Finding], ...]
    changed: tuple[str, ...]
    notes: tuple[str, ...]


def emit_backend(
    datasets: Sequence[str | os.PathLike[str]],
    cache_root: str | os.PathLike[str],
    options: BackendOptions = BackendOptions(),
    *,
    execution: Execution = Execution(),
) -> Emission:
    """Look at every file of some datasets and make the trainer's dataset file, if every picture is trained as written.

    Raises
    ------
    UsageError
        A folder is no dataset, an option cannot be used, or ``cache_root`` lies in a source.
    PlanError
        A line of a manifest cannot be used.
    """
    written_by = trainer(options.trainer)
    folders = [Path(dataset) for dataset in datasets]
    refuse_in_source(Path(cache_root), folders)
    concepts = read_concepts(folders, options.names, options.repeats)
    count = options.caption_shuffle
    shuffle = None if count is None else CaptionShuffle(count=count, position_start=options.keep)
    entries = written_by.emit(concepts, Path(cache_root), options.family, options.settings, shuffle)
    findings = [(concept, finding) for concept in concepts for finding in _look(concept, execution)[0]]
    changed = written_by.changed_sizes(entries, concepts)
    return Emission(
        content=None if findings or changed else written_by.to_json(entries),
        entries=tuple((entry.id, concept) for entry, concept in zip(entries, concepts, strict=False)),
        findings=tuple(findings),
        changed=tuple(changed),
        notes=_behind(folders, concepts),
    )


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """What a dataset is held against.

    Attributes
    ----------
    repeats
        As in `BackendOptions`.
    batching
        Batch size, GPUs, accumulation.
    family
        Whose text encoders cut captions.
    trigger
        A word that every caption must hold.
    counter
        Counts the tokens of a caption exactly, as `datakit.audit.wording.tokenizer_counter` does; else they are estimated.
    """

    repeats: tuple[int, ...] = ()
    batching: Batching = field(default_factory=Batching)
    family: str = "sd3"
    trigger: str | None = None
    counter: Callable[[str], int] | None = None

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise UsageError(f"model family {self.family!r} is not known: use one of {' '.join(FAMILIES)}")


@dataclass(frozen=True, slots=True)
class Audit:
    """What is wrong with datasets, and what training will do with them.

    Attributes
    ----------
    concepts
        The datasets.
    findings
        (dataset, finding), in order.
    training
        One epoch, bucket by bucket.
    ways_out
        What would let every bucket fill a batch, cheapest first.
    notes
        As in `Emission`.
    """

    concepts: tuple[Concept, ...]
    findings: tuple[tuple[Concept, Finding], ...]
    training: Training
    ways_out: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def too_small(self) -> tuple[BucketLoad, ...]:
        """The buckets that cannot fill one optimizer step."""
        return tuple(load for load in self.training.loads if load.too_small)


def audit_datasets(
    datasets: Sequence[str | os.PathLike[str]],
    options: AuditOptions = AuditOptions(),
    *,
    execution: Execution = Execution(),
) -> Audit:
    """Report what is wrong with datasets, alone and beside each other, and what training will do with them.

    Raises
    ------
    UsageError
        A folder is no dataset, or an option cannot be used.
    PlanError
        A line of a manifest cannot be used.
    """
    folders = [Path(dataset) for dataset in datasets]
    concepts = read_concepts(folders, repeats=options.repeats)
    looked = [_look(concept, execution, compared=True) for concept in concepts]
    alike = find_likeness(concepts, [looks for _, looks in looked])
    findings = [
        (concept, finding)
        for concept, (found, _), similar in zip(concepts, looked, alike, strict=True)
        for finding in (
            *found,
            *similar,
            *check_wording(concept, options.family, options.trigger, options.counter),
            *_enlarged(concept),
        )
    ]
    loads = concept_loads(concepts, options.batching)
    counts = [(len(concept.records), concept.passes) for concept in concepts]
    return Audit(
        concepts=tuple(concepts),
        findings=tuple(findings),
        training=plan_training(counts, options.batching, epochs=1.0, loads=loads),
        ways_out=tuple(ways_out(loads, options.batching)),
        notes=_behind(folders, concepts),
    )


def _look(concept: Concept, execution: Execution, compared: bool = False) -> tuple[list[Finding], dict[str, Look]]:
    """Look at every file of a dataset; return what is wrong with it, and what was seen of its pictures."""
    files = list_files(concept.folder)
    looks = look_at_all(concept.folder, files, execution, compared_names(concept) if compared else frozenset())
    return check_dataset(concept, files, looks, stale_files(concept.folder, concept.id)), looks


def _behind(folders: Sequence[Path], concepts: Sequence[Concept]) -> tuple[str, ...]:
    return tuple(said for folder, concept in zip(folders, concepts, strict=True) for said in behind(folder, concept.records))


def _enlarged(concept: Concept) -> list[Finding]:
    remedy = "take a larger source, or leave it out"
    return [
        Finding("upscaled", record.output, "enlarged", remedy, f"{record.scale:.2f} times", refused=False)
        for record in concept.originals
        if record.scale is not None and record.scale > ENLARGED
    ]
