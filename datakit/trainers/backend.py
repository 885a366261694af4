"""Stage 3 as functions: a trainer's dataset file, given only where it is proved, the audit before it, the proof after it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datakit.audit.checks import Finding, check_dataset, list_files
from datakit.audit.concept import Concept, check_apart, read_concepts
from datakit.audit.freshness import behind
from datakit.audit.likeness import compared_names, find_likeness
from datakit.audit.looks import Look, look_at_all
from datakit.audit.wording import check_wording
from datakit.dataset.origin import refuse_in_source
from datakit.dataset.samples import PICTURE_EXTENSIONS
from datakit.errors import UsageError
from datakit.report import few
from datakit.run.stage import Execution
from datakit.sizes import ENLARGED
from datakit.trainers import DEFAULT, TRAINERS, trainer
from datakit.trainers.filling import advice
from datakit.trainers.leftovers import Leftover
from datakit.trainers.protocol import BackendOptions, Trainer, family_of
from datakit.trainers.training import Batching, BucketLoad, Training, plan_training, ways_out
from datakit.trainers.verdict import Verdict
from datakit.trainers.view import View


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
        A sentence for each way in which a dataset is older than what it was made from, and for each thing that the trainer will
        do and that may surprise.
    leftovers
        Caches of the datasets as they were or were called before; `datakit.trainers.leftovers.delete` deletes datakit's own.
    family
        The model family that it is written for.
    needs, provided, views, command, next_step
        As in `datakit.trainers.protocol.DatasetFile`; make the views before the file is used, with `datakit.trainers.making.make_view`.
    """

    content: bytes | None
    entries: tuple[tuple[str, Concept], ...]
    findings: tuple[tuple[Concept, Finding], ...]
    changed: tuple[str, ...]
    notes: tuple[str, ...]
    leftovers: tuple[Leftover, ...]
    needs: tuple[str, ...]
    provided: tuple[str, ...]
    views: tuple[View, ...]
    command: str
    next_step: str
    family: str


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
    target = trainer(options.trainer)
    folders, concepts = _read(datasets, cache_root, options)
    file = target.emit(concepts, Path(cache_root), options)
    trained = [target.trained(concept, options.model_family) for concept in concepts]
    findings = [(concept, finding) for concept in concepts for finding in _look(concept, concepts, target, execution)[0]]
    return Emission(
        content=None if findings or file.changed else file.content,
        entries=tuple(zip(file.entries, trained, strict=True)),
        findings=tuple(findings),
        changed=file.changed,
        notes=(*_behind(folders, concepts), *file.notes, *_told_of(Path(cache_root))),
        leftovers=tuple(
            each
            for each in target.old_caches(concepts, Path(cache_root))
            if each.path not in {view.folder for view in file.views}
        ),
        needs=file.needs,
        provided=file.provided,
        views=file.views,
        command=file.command,
        next_step=file.next_step,
        family=options.model_family,
    )


def _read(
    datasets: Sequence[str | os.PathLike[str]], cache_root: str | os.PathLike[str], options: BackendOptions
) -> tuple[list[Path], list[Concept]]:
    """Return folders and concepts, once it is clear that caches lie neither in a source nor in a dataset."""
    folders = [Path(dataset) for dataset in datasets]
    refuse_in_source(Path(cache_root), folders)
    concepts = read_concepts(folders, options.names, options.repeats)
    check_apart(concepts, Path(cache_root))
    return folders, concepts


def find_leftovers(
    datasets: Sequence[str | os.PathLike[str]], cache_root: str | os.PathLike[str], options: BackendOptions = BackendOptions()
) -> tuple[list[Leftover], list[Leftover]]:
    """Return what the trainer left of some datasets as they were or were called before, for `datakit.trainers.leftovers.delete`.

    First what lies in their folders under other ids, which `emit_backend` refuses; then below ``cache_root`` the caches and views
    of another content or of another id, which a dataset file of before may still name until a new one is written.

    Raises
    ------
    UsageError
        A folder is no dataset, or ``cache_root`` lies in a source or in a dataset.
    PlanError
        A line of a manifest cannot be used.
    """
    target = trainer(options.trainer)
    _, concepts = _read(datasets, cache_root, options)
    ids = {concept.id for concept in concepts}
    left = [leftover for concept in concepts for leftover in target.left_behind(concept, ids)]
    return left, target.old_caches(concepts, Path(cache_root))


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
        Whose text encoders cut captions; the trainer's first where none is named.
    trigger
        A word that every caption must hold.
    counter
        Counts the tokens of a caption exactly, as `datakit.audit.wording.tokenizer_counter` does; else they are estimated.
    trainer
        A name of `datakit.trainers.TRAINERS`.
    """

    repeats: tuple[int, ...] = ()
    batching: Batching = field(default_factory=Batching)
    family: str | None = None
    trigger: str | None = None
    counter: Callable[[str], int] | None = None
    trainer: str = DEFAULT

    def __post_init__(self) -> None:
        family_of(self.trainer, self.family)


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
        A sentence for each way in which a dataset is older than what it was made from.
    advice
        A sentence for each dataset whose pictures would fill batches better in other sizes.
    """

    concepts: tuple[Concept, ...]
    findings: tuple[tuple[Concept, Finding], ...]
    training: Training
    ways_out: tuple[str, ...]
    notes: tuple[str, ...]
    advice: tuple[str, ...] = ()

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
    target = trainer(options.trainer)
    family = family_of(options.trainer, options.family)
    encoders, trained = target.families[family], [target.trained(concept, family) for concept in concepts]
    looked = [_look(concept, concepts, target, execution, compared=True) for concept in concepts]
    alike = find_likeness(concepts, [looks for _, looks in looked])
    findings = [
        (concept, finding)
        for concept, (found, _), similar in zip(concepts, looked, alike, strict=True)
        for finding in (
            *found,
            *similar,
            *check_wording(concept, encoders, options.trigger, options.counter),
            *_enlarged(concept),
        )
    ]
    epoch = target.steps(trained, options.batching)
    counts = [(len(concept.records), concept.passes) for concept in trained]
    return Audit(
        concepts=tuple(trained),
        findings=tuple(findings),
        training=plan_training(counts, options.batching, epochs=1.0, epoch=epoch),
        ways_out=tuple(ways_out(epoch.loads, options.batching)),
        notes=_behind(folders, concepts),
        advice=tuple(advice(concepts, options.batching)),
    )


def verify_backend(
    file: str | os.PathLike[str],
    releases: Sequence[str] = (),
    execution: Execution = Execution(),
    *,
    trainer: str | None = None,
    datasets: Sequence[str | os.PathLike[str]] = (),
) -> Verdict:
    """Check and replay every picture of a trainer's dataset file, whoever wrote it.

    Parameters
    ----------
    file
        A dataset file, such as ``multidatabackend.json``.
    releases
        Of the trainer; a picture must be kept by each. Without any, by all whose arithmetic is known.
    execution
        Workers, limit of time, progress.
    trainer
        A name of `datakit.trainers.TRAINERS`; without one the file tells whose it is.
    datasets
        Folders that were published where the file says: what lies there is not read, the folder is held to stand for it.

    Raises
    ------
    UsageError
        The file cannot be used, is no trainer's, or trains no picture; the trainer or a release is unknown; a folder is no dataset.
    PlanError
        A line of a manifest cannot be used.
    """
    path = Path(file)
    target = _trainer_of(path, trainer)
    for release in releases:
        if release not in target.releases:
            raise UsageError(f"release {release!r} is not known: use {' or '.join(target.releases)}")
    if datasets and not target.published:
        raise UsageError(f"{target.title} reads nothing from an object store: leave out the dataset {datasets[0]}")
    return target.prove(path, releases or target.releases, execution, [Path(dataset) for dataset in datasets])


def _trainer_of(path: Path, name: str | None) -> Trainer:
    """Return the trainer of this name, or without one the trainer whose dataset file this is."""
    if name is not None:
        return trainer(name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    for known in map(trainer, TRAINERS):
        if known.recognises(content):
            return known
    raise UsageError(
        f"{path} is no dataset file of any trainer ({', '.join(TRAINERS)}): write one with `datakit backend`, or name its trainer to learn "
        "what is wrong with it"
    )


def _look(
    concept: Concept, concepts: Sequence[Concept], target: Trainer, execution: Execution, compared: bool = False
) -> tuple[list[Finding], dict[str, Look]]:
    """Look at every file of one of some datasets; return what is wrong with it, and what was seen of its pictures."""
    files = list_files(concept.folder)
    looks = look_at_all(concept.folder, files, execution, compared_names(concept) if compared else frozenset())
    left = {leftover.path.name: leftover.what for leftover in target.left_behind(concept, {each.id for each in concepts})}
    return check_dataset(concept, files, looks, target, left), looks


def _behind(folders: Sequence[Path], concepts: Sequence[Concept]) -> tuple[str, ...]:
    return tuple(said for folder, concept in zip(folders, concepts, strict=True) for said in behind(folder, concept.records))


def _told_of(cache_root: Path) -> list[str]:
    """Say what is odd about a folder for caches: pictures in it, or that it cannot be made here."""
    if cache_root.is_dir():
        names = sorted(each.name for each in os.scandir(cache_root) if each.name.lower().endswith(tuple(PICTURE_EXTENSIONS)))
        return [f"{cache_root} holds pictures ({few(names)}), and the trainer writes its caches among them"] if names else []
    there = next(each for each in Path(os.path.abspath(cache_root)).parents if each.exists())
    try:
        os.rmdir(tempfile.mkdtemp(dir=there))
    except OSError as error:
        return [
            f"--cache-root {cache_root} cannot be made here ({error.strerror or error}): the trainer needs a folder to write to"
        ]
    return []


def _enlarged(concept: Concept) -> list[Finding]:
    remedy = "take a larger source, or leave it out"
    return [
        Finding("upscaled", record.output, "enlarged", remedy, f"{record.scale:.2f} times", refused=False)
        for record in concept.originals
        if record.scale is not None and record.scale > ENLARGED
    ]
