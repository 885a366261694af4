"""Run one stage over a dataset: skip what is up to date, make the rest, commit, tidy up.

A stage describes each output as a `Task` and brings a function that makes one. What is common to all stages
(resuming, refusing to overwrite, worker crashes, outputs whose source is gone) happens here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import msgspec

from datakit.caption.captions import Caption, read_caption
from datakit.dataset.manifest import MANIFEST, METADATA, Record
from datakit.dataset.origin import Origin, remember_origin
from datakit.dataset.samples import Sample
from datakit.dataset.store import Store
from datakit.errors import CaptionError, SampleError
from datakit.report import Problem, Report, counted, few
from datakit.run.executors import Crash, processes, serial


@dataclass(frozen=True, slots=True)
class Task:
    """One output to make.

    Attributes
    ----------
    sample
        What it is made from.
    output, caption_output
        What will be written, relative to the dataset; the caption only where there is one.
    key
        Short hash of the options that decide the bytes.
    detail
        What the stage's function needs beyond this; picklable.
    light
        True where making it takes less than sending it to a worker would.
    """

    sample: Sample
    output: str
    caption_output: str | None
    key: str
    detail: Any = None
    light: bool = False

    @property
    def source(self) -> str:
        """The sample's id."""
        return self.sample.id

    @property
    def picture(self) -> Path:
        """The sample's picture."""
        return self.sample.picture

    @property
    def caption(self) -> Path | None:
        """The sample's caption file, if it has one."""
        return self.sample.caption


@dataclass(frozen=True, slots=True)
class Made:
    """What a worker made: the record, the caption's text, and finished files (temporary path, sha256).

    With ``link``, a name for `datakit.dataset.links.place`, the first file is the source's picture, to be linked: its real path.
    ``stamp`` is what `datakit.dataset.store.Fingerprints.learn` takes of the source's picture.
    """

    record: Record
    text: str | None
    files: tuple[tuple[str, str], ...]
    link: str | None = None
    stamp: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class NotMade:
    """Why a worker made nothing.

    Attributes
    ----------
    reason
        What the user is told.
    refused
        Whether the sample is refused; else it is damaged.
    ruled_out
        Whether it is a limit of this run that excludes it, so that what an earlier run made of it is stale.
    factor
        The enlargement that it would need, if that is it.
    """

    reason: str
    refused: bool = False
    ruled_out: bool = False
    factor: float | None = None


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
    timeout: float | None = 300.0
    overwrite: bool = False
    prune: bool = False
    verify: bool = False
    strict: bool = False
    progress: Progress = silent


def run_stage(
    store: Store,
    tasks: Sequence[Task],
    present: set[str],
    maker: Callable[[], Callable[[Task], Made | NotMade]],
    *,
    origin: Origin,
    execution: Execution,
    report: Report,
    unseen: Sequence[str] = (),
    make_light: Callable[[Task], Made | NotMade] | None = None,
    allowed: Callable[[Task, Record], bool] = lambda task, record: True,
) -> None:
    """Make what is not up to date and leave the dataset with a manifest of everything in it.

    Parameters
    ----------
    store
        The dataset, held for writing.
    tasks
        Every output the dataset should have, as far as this run decides it.
    present
        Ids of all samples in the source, those without a task included.
    maker
        Returns the function that makes one output, picklable when there are workers; called only where something is to make.
    origin
        Where the dataset comes from.
    execution
        Workers, limits, what may be replaced.
    report
        Where counts, problems and warnings go.
    unseen
        Paths in the source that could not be looked into: what lies there is not taken for gone.
    make_light
        Makes the outputs of light tasks, always in the calling process; without it there are none.
    allowed
        Whether the limits of this run, which are no part of a task's key, let an output stand as it is.
    """
    current = (lambda task, record: False) if execution.overwrite else allowed
    pending = list(_pending(store, execution.progress(tasks, len(tasks), "checking"), current, report))
    results = _results(pending, maker, make_light, execution, report.stage)
    if execution.strict:
        results = list(results)
        for task, result in results:
            if not isinstance(result, Made):
                _note(task, result, report)
        if report.exit_code:
            _withhold(store, report)
            return
    remember_origin(store.folder, origin)
    for task, result in results:
        if not isinstance(result, Made):
            _note(task, result, report)
        elif not (execution.strict and report.failed):
            _commit(store, task, result if execution.overwrite else _keeping_caption(store, result, report), report)
    if execution.strict and report.failed:
        report.notes.append("stopped there, as --strict asks: what was moved into place before is kept")
    else:
        _tidy(store, tasks, present, unseen, execution.prune, report)
    try:
        store.finish()
    except OSError as error:
        reason = f"cannot be brought up to date: {error.strerror or error}; nothing is lost, run again when it can be"
        name = METADATA if METADATA in f"{error.filename} {error.filename2}" else MANIFEST
        report.failed.append(Problem(name, reason))
    report.sort()


def _results(
    pending: Sequence[Task],
    maker: Callable[[], Callable[[Task], Made | NotMade]],
    make_light: Callable[[Task], Made | NotMade] | None,
    execution: Execution,
    label: str,
) -> Iterable[tuple[Task, Made | NotMade | Crash]]:
    """Return what becomes of each task, as it is made."""
    if not pending:
        return ()
    run = processes if execution.jobs else serial
    heavy = run(maker(), [task for task in pending if not task.light], execution.jobs, execution.timeout)
    light = serial(make_light, (task for task in pending if task.light)) if make_light else ()
    return execution.progress(chain(light, heavy), len(pending), label)


def _withhold(store: Store, report: Report) -> None:
    """Leave the dataset as it was found."""
    store.withdraw()
    report.withheld = True
    report.notes.append("nothing was written, as --strict asks")
    report.sort()


def write_temporary(folder: Path, output: str, content: bytes) -> str:
    """Write an output's bytes to a folder under a name of its own and return the path."""
    # Named by the output: two outputs with the same bytes may be on their way at once.
    path = f"{folder}{os.sep}{hashlib.sha256(output.encode('utf-8', 'surrogatepass')).hexdigest()}"
    # Without a file object, which takes longer to make than a caption to write.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    try:
        while content:
            content = content[os.write(file, content) :]
    finally:
        os.close(file)
    return path


def _pending(store: Store, tasks: Iterable[Task], current: Callable[[Task, Record], bool], report: Report) -> Iterator[Task]:
    for task in tasks:
        record = store.record(task.output)
        if (
            record is not None
            and current(task, record)
            and store.up_to_date(record, task.key, task.source, task.picture, task.caption)
            and not store.missing(record)
        ):
            report.notes += [f"{name} was edited since datakit wrote it: left as it is" for name in store.edited(record)]
            report.skipped += 1
            report.warnings += [(task.source, warning) for warning in record.warnings]
            _count(record, report)
            continue
        try:
            store.check_free((task.output, task.caption_output), record, task.picture)
        except SampleError as error:
            report.refused.append(Problem(task.source, str(error)))
            continue
        yield task


def _keeping_caption(store: Store, made: Made, report: Report) -> Made:
    """Leave a caption that somebody edited in the dataset as it is, though its picture is made anew."""
    if made.record.caption_edited:
        return made  # it is what somebody decided
    edited = store.edited_caption(made.record.output)
    if edited is None:
        return made
    name, sha256 = edited
    try:
        caption = read_caption(store.folder / name)
    except CaptionError:
        caption = Caption((), None)
    report.notes.append(f"{name} was edited since datakit wrote it: left as it is; delete it to have it written anew")
    record = msgspec.structs.replace(
        made.record, caption=name, caption_sha256=sha256, captions=len(caption.lines), caption_edited=True
    )
    return Made(record, caption.text, made.files[:1], made.link)


def _commit(store: Store, task: Task, made: Made, report: Report) -> None:
    before = store.record(task.output)
    try:
        if before is not None and before.caption and before.caption != made.record.caption:
            (store.folder / before.caption).unlink(missing_ok=True)
        store.commit(made.record, made.text, made.files, made.link)
    except SampleError as error:
        report.failed.append(Problem(task.source, str(error)))
        return
    except OSError as error:
        report.failed.append(Problem(task.source, f"cannot be written: {error.strerror or error}"))
        return
    if made.stamp:
        store.fingerprints.learn(task.picture, made.stamp, made.record.source_sha256)
    report.done += 1
    report.warnings += [(task.source, warning) for warning in made.record.warnings]
    _count(made.record, report)


def _note(task: Task, result: NotMade | Crash, report: Report) -> None:
    if isinstance(result, NotMade) and result.refused:
        report.refused.append(Problem(task.source, result.reason, result.factor, result.ruled_out))
    else:
        report.failed.append(Problem(task.source, result.reason))


def _count(record: Record, report: Report) -> None:
    report.buckets[record.bucket] += 1
    if record.faces and record.faces[0].kept < 1 and record.copy in (None, 1):
        report.faces_cut.append((record.source, record.faces[0].kept))


def _tidy(
    store: Store,
    tasks: Sequence[Task],
    present: set[str],
    unseen: Sequence[str],
    prune: bool,
    report: Report,
) -> None:
    """Deal with outputs that no task stands for any more: their source is gone, ruled out now, or written under another name."""
    report.pruned = prune
    failed = {problem.source for problem in (*report.failed, *report.refused)}
    excluded = {problem.source for problem in report.refused if problem.ruled_out}
    wanted = {task.output: task.source for task in tasks}
    decided = set(wanted.values())
    forgotten: list[Record] = []
    left: list[str] = []
    renamed = 0
    for output in store.outputs():
        record = None if output in wanted and wanted[output] not in failed else store.record(output)
        if record is None:
            continue
        drop = prune
        if record.source not in present and not any(f"{record.source}/".startswith(f"{path}/") for path in unseen):
            report.removed.append(output)
        elif record.source in excluded and not _is_by_hand(store, record):
            report.stale.append(output)
        elif record.source in failed:
            left.append(output)
            drop = False
        else:
            drop = record.source in decided
            renamed += drop
        if drop:
            forgotten.append(record)
    if left:
        report.notes.append(
            f"{counted(len(left), 'output')} of an earlier run kept, made from pictures not used now: {few(left)}"
        )
    for record in forgotten:
        report.notes += [f"{name} is no longer wanted, but was edited: left as it is" for name in store.forget(record)]
    if renamed:
        report.notes.append(f"deleted {counted(renamed, 'output')} of earlier options: renamed now, or copies beyond --repeats")


def _is_by_hand(store: Store, record: Record) -> bool:
    """Tell whether a person drew the window of an output, or edited it or its caption."""
    return record.anchor == "manual" or record.caption_edited or bool(store.edited(record))
