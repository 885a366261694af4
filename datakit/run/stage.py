"""Run one stage over a dataset: skip what is up to date, make the rest, commit, tidy up.

A stage describes each output as a `Task` and brings a function that makes one. What is common to all stages
(resuming, refusing to overwrite, worker crashes, outputs whose source is gone) happens here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby, repeat
from typing import Any, Protocol

import msgspec

from datakit.caption.captions import Caption, read_caption
from datakit.dataset.companions import companion_of
from datakit.dataset.manifest import MANIFEST, Record
from datakit.dataset.metadata import CARD, METADATA, about_card
from datakit.dataset.origin import Origin, remember_origin
from datakit.dataset.source import Source
from datakit.dataset.store import Store
from datakit.errors import CaptionError, SampleError
from datakit.report import Problem, Report, counted, few, of_picture
from datakit.run.executors import Crash, Item, Result, executor
from datakit.run.serial import serial
from datakit.run.task import Made, NotWanted, Task, as_problem, not_written


class Progress(Protocol):
    """Wraps an iterable of known length to show how far it is, as tqdm does."""

    def __call__(self, items: Iterable[Any], total: int, label: str) -> Iterable[Any]:
        """Yield the items; ``label`` says what is being done to them."""
        ...


def silent(items: Iterable[Any], total: int, label: str) -> Iterable[Any]:
    """Show nothing."""
    return items


@dataclass(frozen=True, slots=True)
class Execution:
    """How a stage is run; nothing here changes a byte of the result.

    Attributes
    ----------
    jobs
        Worker processes; 0 works in the calling process.
    executor
        A name of `datakit.run.executors.EXECUTORS`; None takes processes where there are jobs, else the calling process.
    timeout
        Seconds that one sample may take before its worker is ended; needs ``jobs`` of at least 1.
    overwrite
        Make everything anew and replace files that are in the way.
    prune
        Delete outputs whose source is gone.
    verify
        Hash every file instead of trusting its size and time of change.
    strict
        Write all or nothing: everything is made in the dataset's own working folder first, and moved into place only
        if no sample was refused and none failed. Takes no longer, but room for all new files at once.
    progress
        Shows how far the run is.
    """

    jobs: int = 0
    executor: str | None = None
    timeout: float | None = 300.0
    overwrite: bool = False
    prune: bool = False
    verify: bool = False
    strict: bool = False
    progress: Progress = silent

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result | Crash]]:
        """Yield (item, result) in any order. Raises UsageError where there is no such executor."""
        name = self.executor or ("processes" if self.jobs else "serial")
        return executor(name)(function, items, self.jobs, self.timeout)


Maker = Callable[[Task], Made | Problem]
JointMaker = Callable[[tuple[Task, ...]], tuple[Made | Problem | NotWanted, ...]]
Outcome = Made | Problem | NotWanted | Crash


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What one stage brings to a run.

    Attributes
    ----------
    origin
        Where the dataset comes from.
    source
        What the tasks' samples are read from.
    maker
        Returns the function that makes one output, picklable when there are workers; called only where something is to make.
    together
        Whether that function makes all outputs of a sample that are to be made at once: it is given them in a tuple and returns
        one of what becomes of each.
    make_light
        Makes the outputs of light tasks, always in the calling process; without it there are none.
    present, unseen
        Ids of all samples in the source, those without a task included; and paths that could not be looked into: what lies
        there is not taken for gone.
    unwanted
        Ids of samples, or targets of single crops, whose outputs a person took out of the dataset.
    withdrawn
        Whether an output was let in by a decision that was taken back since.
    allowed
        Whether what is no part of a task's key lets an output stand as it is.
    to_mend
        Whether an output that stands needs its caption alone made anew, by ``make_light``.
    begin
        Called once it is certain that the run goes on, before the first file is written.
    """

    origin: Origin
    source: Source
    maker: Callable[[], Maker | JointMaker]
    together: bool = False
    make_light: Maker | None = None
    present: AbstractSet[str]
    unseen: Sequence[str] = ()
    unwanted: AbstractSet[str] = frozenset()
    withdrawn: Callable[[Record], bool] = lambda record: False
    allowed: Callable[[Task, Record], bool] = lambda task, record: True
    to_mend: Callable[[Task, Record], bool] = lambda task, record: False
    begin: Callable[[], None] = lambda: None


def run_stage(stage: Stage, store: Store, tasks: Sequence[Task], execution: Execution, report: Report) -> None:
    """Make what is not up to date and leave the dataset with a manifest of everything in it.

    Parameters
    ----------
    stage
        What is made of what.
    store
        The dataset, held for writing.
    tasks
        Every output the dataset should have, as far as this run decides it.
    execution
        Workers, limits, what may be replaced.
    report
        Where counts, problems and warnings go.
    """
    checked = execution.progress(tasks, len(tasks), "checking")
    pending = list(_pending(stage, store, checked, execution.overwrite, report))
    results = _results(stage, pending, execution, report.stage)
    if execution.strict:
        results = list(results)
        for task, result in results:
            if not isinstance(result, Made | NotWanted):
                report.add(as_problem(task.source, result))
        if report.exit_code:
            _withhold(store, report)
            return
    stage.begin()
    remember_origin(store.folder, stage.origin)
    left_out = _commit_all(stage, store, results, execution, report)
    if store.replaced:
        said = f"not datakit's, or edited since: replaced, as --overwrite asks: {', '.join(store.replaced)}"
        report.notes.append(f"{counted(len(store.replaced), 'file')} {said}")
    if execution.strict and report.failed:
        report.notes.append("stopped there, as --strict asks: what was moved into place before is kept")
    else:
        _tidy(stage, store, [task for task in tasks if task.output not in left_out], execution.prune, report)
    try:
        store.finish()
    except OSError as error:
        reason = f"cannot be brought up to date: {error.strerror or error}; nothing is lost, run again when it can be"
        name = next((name for name in (METADATA, CARD) if name in f"{error.filename} {error.filename2}"), MANIFEST)
        report.failed.append(Problem(name, reason, "not-written"))
    report.notes += about_card(store.folder)
    report.sort()


def _commit_all(
    stage: Stage, store: Store, results: Iterable[tuple[Task, Outcome]], execution: Execution, report: Report
) -> set[str]:
    """Move what was made into place, report the rest, and return the outputs of crops that are not to be made."""
    left_out = set()
    for task, result in results:
        if isinstance(result, NotWanted):
            left_out.add(task.output)
            report.left_out.append((task.source, task.crop or "", result.why))
        elif not isinstance(result, Made):
            report.add(as_problem(task.source, result))
        elif not (execution.strict and report.failed):
            _commit(stage, store, task, _keeping_caption(store, result, execution.overwrite, report), report)
    return left_out


def _results(stage: Stage, pending: Sequence[Task], execution: Execution, label: str) -> Iterable[tuple[Task, Outcome]]:
    """Return what becomes of each task, as it is made."""
    if not pending:
        return ()
    heavy = [task for task in pending if not task.light]
    made: Iterable[tuple[Task, Outcome]] = ()
    if heavy:
        make = stage.maker()
        made = _together(make, heavy, execution) if stage.together else execution.run(make, heavy)  # type: ignore[arg-type]
    light = serial(stage.make_light, (task for task in pending if task.light)) if stage.make_light else ()
    return execution.progress(chain(light, made), len(pending), label)


def _together(make: Any, tasks: Iterable[Task], execution: Execution) -> Iterator[tuple[Task, Outcome]]:
    """Yield what becomes of tasks, those of one sample made at once."""
    several = (tuple(group) for _, group in groupby(tasks, key=lambda task: task.source))
    for group, results in execution.run(make, several):
        yield from zip(group, repeat(results) if isinstance(results, Crash) else results, strict=False)


def _withhold(store: Store, report: Report) -> None:
    """Leave the dataset as it was found."""
    store.withdraw()
    report.withheld = True
    report.notes.append("nothing was written, as --strict asks")
    report.sort()


def _pending(stage: Stage, store: Store, tasks: Iterable[Task], overwrite: bool, report: Report) -> Iterator[Task]:
    full: Record | None = None  # of the sample whose tasks come now, the first of which it is, if that stands
    for task in tasks:
        record = store.record(task.output)
        # By the same options: a window that a person drew for it since makes a crop that was left out.
        if record is None and full and (full.source, full.key) == (task.source, task.key) and task.crop in full.left_out:
            report.left_out.append((task.source, task.crop, full.left_out[task.crop]))
            continue
        if record is not None and not overwrite and _stands(stage, store, task, record):
            if stage.to_mend(task, record):
                yield replace(task, light=True)
                continue
            report.notes += [f"{name} was edited since datakit wrote it: left as it is" for name in store.edited(record)]
            report.skipped += 1
            full = record if record.crop == "full" else full
            report.warnings += [(task.target, warning) for warning in record.warnings]
            _count(record, report)
            continue
        try:
            sources = {task.output: task.source}
            sources |= {companion_of(task.output, name): source for name, source in task.sample.companions}
            held = partial(_held, stage, store, sources)
            picture, *companions = sources
            store.check_free((picture, task.caption_output, *companions), record, held)
        except SampleError as error:
            report.refused.append(Problem.of(task.source, error))
            continue
        yield task


def _stands(stage: Stage, store: Store, task: Task, record: Record) -> bool:
    """Tell whether the picture of a record was made from the same files by the same options, and is still there."""
    caption = task.sample.caption_id
    return (
        (record.key, record.target, record.crop) == (task.key, task.target, task.crop)
        and stage.allowed(task, record)
        and not store.is_unfinished(record)
        and record.source_sha256 == stage.source.content_id(task.source, store.fingerprints)
        and record.source_caption_sha256 == (stage.source.content_id(caption, store.fingerprints) if caption else None)
        and _companions_stand(stage, store, task, record)
        and not store.missing(record)
    )


def _held(stage: Stage, store: Store, sources: Mapping[str, str], name: str) -> str | None:
    """Return the sha256 of what an output's file is made from."""
    return stage.source.content_id(sources[name], store.fingerprints) if name in sources else None


def _companions_stand(stage: Stage, store: Store, task: Task, record: Record) -> bool:
    """Tell whether the companions of a record are those of the sample, unchanged; a picture's own transparency is one too."""
    known = {each.name: (each.source, each.source_sha256) for each in record.companions if each.source != record.source}
    now = {name: (source, stage.source.content_id(source, store.fingerprints)) for name, source in task.sample.companions}
    return known == now


def _keeping_caption(store: Store, made: Made, overwrite: bool, report: Report) -> Made:
    """Leave a caption that somebody edited in the dataset as it is, though its picture is made anew, or say that it is replaced."""
    edited = store.edited_caption(made.record.output)
    if edited is None or edited.sha256 == made.replaces:
        return made
    said = f"{(name := edited.name)} was edited since datakit wrote it"
    if overwrite:
        report.notes.append(f"{said}: replaced, as --overwrite asks")
        return made
    caption = Caption((), None)
    with suppress(CaptionError):
        caption = read_caption(store.folder / name)
    report.notes.append(f"{said}: left as it is; delete it to have it written anew")
    record = msgspec.structs.replace(
        made.record,
        caption=name,
        caption_sha256=edited.sha256,
        captions=len(caption.lines),
        caption_edited=True,
        caption_decided=edited.decided,
        caption_supplied=None,
        warnings=(*of_picture(made.record.warnings), *caption.warnings),
    )
    companions = made.files[2 if made.record.caption else 1 :]
    return replace(made, record=record, text=caption.text, files=(made.files[0], (None, edited.sha256), *companions))


def _commit(stage: Stage, store: Store, task: Task, made: Made, report: Report) -> None:
    before = store.record(task.output)
    # Whether a picture brings its own transparency along is known only now.
    unforeseen = {each.output: each.source for each in made.record.companions if each.source == task.source}
    try:
        if unforeseen:
            store.check_free((None, None, *unforeseen), before, partial(_held, stage, store, unforeseen))
        if before is not None and before.caption and before.caption != made.record.caption:
            (store.folder / before.caption).unlink(missing_ok=True)
        if before is not None:
            store.drop_companions(before, made.record)
        store.commit(made.record, made.text, made.files, link=made.link, replaces=made.replaces)
    except SampleError as error:
        report.add(Problem.of(task.source, error))
        return
    except OSError as error:
        report.failed.append(not_written(task.source, error))
        return
    if made.stamp:
        stage.source.learn(task.source, made.stamp, made.record.source_sha256, store.fingerprints)
    report.done += 1
    report.warnings += [(task.target, warning) for warning in made.record.warnings]
    _count(made.record, report)


def _count(record: Record, report: Report) -> None:
    report.captions_supplied += record.caption_supplied is not None
    report.buckets[record.bucket] += 1
    if record.faces and record.faces[0].kept < 1 and record.copy in (None, 1):
        report.faces_cut.append((record.target, record.faces[0].kept))
    if record.crop is not None:
        report.crops[record.crop] += 1


def _tidy(stage: Stage, store: Store, tasks: Sequence[Task], prune: bool, report: Report) -> None:
    """Deal with outputs that no task stands for: unwanted, their source gone or ruled out, or written under another name."""
    report.pruned = prune
    found = _leftovers(stage, store, tasks, report)
    report.removed += [record.output for record in found["removed"]]
    report.stale += [record.output for record in found["stale"]]
    if left := [record.output for record in found["not used"]]:
        report.notes.append(
            f"{counted(len(left), 'output')} of an earlier run kept, made from pictures not used now: {few(left)}"
        )
    if gone := [record.output for record in found["withdrawn"]]:
        report.notes.append(
            f"deleted {counted(len(gone), 'output')} that only a decision had let in, which was taken back: {few(gone)}"
        )
    dropped = (*found["unwanted"], *found["withdrawn"], *found["renamed"], *(found["removed"] + found["stale"] if prune else ()))
    for record in dropped:
        what = "was rejected" if {record.source, record.target} & stage.unwanted else "is no longer wanted"
        report.notes += [f"{name} {what}, but edited since datakit wrote it: left there" for name in store.forget(record)]
    if renamed := len(found["renamed"]):
        report.notes.append(
            f"deleted {counted(renamed, 'output')} of earlier options: renamed now, crops that are made no more, or copies beyond --repeats"
        )


def _leftovers(stage: Stage, store: Store, tasks: Sequence[Task], report: Report) -> Mapping[str, list[Record]]:
    """Return the records that no task stands for, or whose picture was not used, by what has become of them."""
    failed = {problem.source for problem in (*report.failed, *report.refused)}
    excluded = {problem.source for problem in report.refused if problem.ruled_out}
    wanted = {task.output: task.source for task in tasks}
    decided = set(wanted.values())

    def fate(record: Record) -> str:
        if {record.source, record.target} & stage.unwanted:
            return "unwanted"
        if record.source not in stage.present and not any(f"{record.source}/".startswith(f"{path}/") for path in stage.unseen):
            return "removed"
        if record.source in excluded and stage.withdrawn(record):
            return "withdrawn"
        if record.source in excluded and not _is_edited(store, record):
            return "stale"
        if record.source in failed:
            return "not used"
        return "renamed" if record.source in decided else "left alone"

    found: dict[str, list[Record]] = defaultdict(list)
    for output in store.outputs():
        record = None if output in wanted and wanted[output] not in failed else store.record(output)
        if record is not None:
            found[fate(record)].append(record)
    return found


def _is_edited(store: Store, record: Record) -> bool:
    """Tell whether a person edited an output or its caption."""
    return record.caption_edited or bool(store.edited(record))
