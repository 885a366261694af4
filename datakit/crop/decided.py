"""Let a run of crop follow what people decided: what each task is given, which pictures are left out, what is said of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

import msgspec

from datakit.caption.captions import read_caption
from datakit.crop.options import CropOptions
from datakit.crop.request import Given
from datakit.dataset.decisions import Decision, clean_caption, undecided
from datakit.dataset.layout import DECISIONS
from datakit.dataset.manifest import CropPlan, Record
from datakit.dataset.samples import caption_of
from datakit.dataset.source import Source, read_caption_of
from datakit.dataset.store import Store
from datakit.dataset.targets import source_of
from datakit.errors import CaptionError, SampleError
from datakit.report import PASSING, Problem, Report, counted, few, of_picture
from datakit.run.task import Made, Task, not_written, write_temporary
from datakit.sizes import DEFAULT_SIZES


class Decided:
    """The decisions about a dataset during one run of crop.

    Parameters
    ----------
    store
        The dataset, held for writing.
    source
        What it is made from.
    decisions
        By target.
    options
        Of the run.
    agreed
        Tells the encoding that the captions of the source agreed on, where they are not UTF-8.
    overwrite
        Whether the run replaces captions that were edited by hand after the decision.
    """

    def __init__(
        self,
        store: Store,
        source: Source,
        decisions: Mapping[str, Decision],
        options: CropOptions,
        agreed: Callable[[], str | None],
        *,
        overwrite: bool,
    ) -> None:
        self._agreed = agreed
        self._store = store
        self._overwrite = overwrite
        self._source = source
        self._decisions = decisions
        self._options = options
        # Which decision about each picture the run knew, for who asks whether another run would do more.
        self.considered: dict[str, str] = {}
        self._asked: set[str] = set()
        self._kept: list[str] = []
        self._changed: list[str] = []
        self.rejected = {target for target, decision in decisions.items() if decision.rejected}

    def follow(self, tasks: Iterable[Task], report: Report) -> list[Task]:
        """Return the tasks as people want them, those for rejected pictures left out."""
        tasks = list(tasks)
        records = self._records(tasks)
        followed: list[Task] = []
        for task in tasks:
            if task.source in self.rejected:
                self.considered[task.source] = self._decisions[task.source].state
                continue
            decision, record = self._decisions.get(task.target), records.get(task.target)
            if decision is None or decision.empty:
                followed.append(task)
                continue
            self.considered[decision.target] = decision.state
            if decision.rejected:
                continue
            if record and record.source_sha256 != self._source.content_id(task.source, self._store.fingerprints):
                self._changed.append(task.target)
            if decision.asks:
                self._asked.add(task.target)
            followed.append(self._given(task, decision, record, report))
        return followed

    def say(self, present: AbstractSet[str], report: Report) -> None:
        """Say what came of the decisions, now that the run is over."""
        problems = {problem.source for problem in (*report.refused, *report.failed)}
        for problem in report.failed:
            if problem.kind in PASSING:
                self.considered.pop(problem.source, None)
        asked = set() if report.withheld else {target for target in self._asked if source_of(target) not in problems}
        report.rejected = sorted(target for target in self.rejected if source_of(target) in present)
        gone = sorted(target for target, one in self._decisions.items() if one.source not in present and not one.empty)
        if asked:
            report.notes.append(f"{counted(len(asked), 'picture')} as decided in {DECISIONS}")
        if self._kept:
            what = f"{counted(len(self._kept), 'picture')} of the plan with a window that was decided on before, which is kept"
            report.notes.append(f"{what}: {few(self._kept)}")
        if self._changed:
            what = f"{counted(len(self._changed), 'picture')} that somebody decided about changed since the last run"
            report.notes.append(f"{what}: look again at {few(self._changed)}")
        if gone:
            report.notes.append(f"{counted(len(gone), 'decision')} in {DECISIONS} about pictures that are gone: {few(gone)}")

    def _records(self, tasks: Iterable[Task]) -> dict[str, Record]:
        """Return the record of each picture that somebody decided about, under whatever name it was written."""
        found: dict[str, Record] = {}
        missing: set[str] = set()
        for task in tasks:
            if task.target in self._decisions and task.target not in self.rejected:
                record = self._store.record(task.output)
                if record is not None and record.target == task.target:
                    found[task.target] = record
                else:
                    missing.add(task.target)
        for output in self._store.outputs() if missing else ():
            record = self._store.record(output)
            if record is not None and record.target in missing:
                found.setdefault(record.target, record)
        return found

    def _given(self, task: Task, decision: Decision, record: Record | None, report: Report) -> Task:
        """Return a task that is given the window, the enlargement and the caption of a decision."""
        planned: Given = task.detail
        given = replace(
            planned,
            where=planned.where or DECISIONS,
            upscale=max(filter(None, (planned.upscale, decision.upscale)), default=None),
            window_decided=decision.window_key,
        )
        key = task.key
        if decision.box is not None and decision.bucket is not None:
            plan = CropPlan(
                source=task.source,
                crop=task.crop,
                box=decision.box,
                bucket=decision.bucket,
                sizes=decision.sizes or DEFAULT_SIZES,
                source_size=decision.source_size,
            )
            if planned.plan and (planned.plan.box, planned.plan.bucket) != (decision.box, decision.bucket):
                self._kept.append(task.target)
                given = replace(given, where=DECISIONS)
            given = replace(given, plan=plan)
            key = self._options.window_key(decision.box, decision.bucket)
        if decision.caption is not None:
            given = self._with_caption(given, decision, record, task, report)
            return replace(task, key=key, detail=given, caption_output=caption_of(task.output))
        return replace(task, key=key, detail=given)

    def _with_caption(self, given: Given, decision: Decision, record: Record | None, task: Task, report: Report) -> Given:
        """Give the decided caption, and say whether it may replace one that was edited by hand in the dataset."""
        text = clean_caption(decision.caption or "")
        wanted = replace(given, caption=text, caption_decided=decision.caption_key)
        if record is None or record.caption != caption_of(task.output) or not self._store.has_edited_caption(record):
            return wanted
        if decision.caption_key == record.caption_decided:
            return wanted  # followed already: what was edited since stays
        now = self._text(record)
        if now is not None and now in (text, decision.caption_before):
            return replace(wanted, replaces=self._store.fingerprints.sha256(self._store.folder / record.caption))
        if not self._overwrite:
            report.notes.append(
                f"{task.source}: the caption stays as it is, other than decided: {record.caption} was edited after that"
            )
            self._asked.discard(task.target)
            wanted = replace(wanted, caption_decided=record.caption_decided)
        return wanted

    def _text(self, record: Record) -> str | None:
        """Return the caption as it is in the dataset now; None where there is none that can be read."""
        try:
            return read_caption(self._store.folder / record.caption).text if record.caption else None
        except CaptionError:
            return None

    def stands(self, task: Task, record: Record) -> bool:
        """Tell whether a picture that was made with the same key would be made again, and by the same decision."""
        given: Given = task.detail
        allowed = given.narrow(self._options).allow(record, given.plan)
        return allowed and record.window_decided == given.window_decided

    def withdrew(self, record: Record) -> bool:
        """Tell whether a decision that a picture was made by was taken back."""
        decision = self._decisions.get(record.target, undecided(record.target))
        window = record.window_decided is not None and decision.window_key is None
        return window or (record.caption_decided is not None and decision.caption_key is None)

    def to_mend(self, task: Task, record: Record) -> bool:
        """Tell whether a picture's caption is another than decided, or one that nobody decides on any more."""
        given: Given = task.detail
        return given.caption_decided != record.caption_decided or self._supplies_another(record)

    def _supplies_another(self, record: Record) -> bool:
        """Tell whether the options supply another caption than a picture without one has, or none any more."""
        if self._options.caption == record.caption_supplied or (record.caption and record.caption_supplied is None):
            return False
        return not (record.caption_decided or self._store.has_edited_caption(record))

    def mend_caption(self, task: Task) -> Made | Problem:
        """Write the caption that was decided, or the source's, beside a picture that stays as it is."""
        given: Given = task.detail
        record = self._store.record(task.output)
        assert record is not None
        try:
            return self._mended(task, given, record)
        except SampleError as error:
            return Problem.of(task.source, error)
        except OSError as error:
            return not_written(task.source, error)

    def _mended(self, task: Task, given: Given, record: Record) -> Made:
        picture: tuple[tuple[str | None, str], ...] = ((None, record.output_sha256),)
        if given.caption is None and record.caption is not None and self._store.has_edited_caption(record):
            # It stays as it is, and is nobody's decision any more.
            edited = msgspec.structs.replace(record, caption_edited=True, caption_decided=None, caption_supplied=None)
            sha256 = self._store.fingerprints.sha256(self._store.folder / record.caption)
            return Made(edited, self._text(record), picture, replaces=sha256)
        words = given.words(task.sample, read_caption_of(task.sample, self._source), self._options, self._agreed())
        caption = given.fitted(words, record, self._options)
        name, content = caption_of(task.output), caption.text.encode()
        self._store.check_free((None, name), record, lambda _: self._source.content_id(task.source, self._store.fingerprints))
        sha256 = hashlib.sha256(content).hexdigest()
        mended = msgspec.structs.replace(
            record,
            caption=name if content else None,
            caption_sha256=sha256 if content else None,
            source_caption_sha256=caption.sha256,
            captions=len(caption.lines),
            caption_edited=False,
            caption_decided=given.caption_decided,
            caption_supplied=self._options.caption if caption.supplied else None,
            warnings=(*of_picture(record.warnings), *caption.warnings),
        )
        if not content:
            return Made(mended, None, picture)
        file = write_temporary(self._store.temporary, f"{task.output}.txt", content), sha256
        return Made(mended, caption.text, (*picture, file), replaces=given.replaces)
