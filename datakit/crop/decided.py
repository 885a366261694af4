"""Let a run of crop follow what people decided: what each task is given, which pictures are left out, what is said of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial

import msgspec

from datakit.caption.captions import read_caption
from datakit.crop.options import CropOptions
from datakit.crop.request import Given
from datakit.dataset.decisions import Decision, clean_caption
from datakit.dataset.layout import DECISIONS
from datakit.dataset.manifest import CropPlan, Face, Record
from datakit.dataset.samples import caption_of
from datakit.dataset.source import Source, read_caption_of
from datakit.dataset.store import Store
from datakit.errors import CaptionError, SampleError
from datakit.report import Problem, Report, Warned, counted, few
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
        By source.
    options
        Of the run.
    overwrite
        Whether the run replaces captions that were edited by hand after the decision.
    """

    def __init__(
        self, store: Store, source: Source, decisions: Mapping[str, Decision], options: CropOptions, *, overwrite: bool
    ) -> None:
        self._store = store
        self._overwrite = overwrite
        self._source = source
        self._decisions = decisions
        self._options = options
        self.rejected = {source for source, decision in decisions.items() if decision.rejected}

    def follow(self, tasks: Iterable[Task], report: Report) -> list[Task]:
        """Return the tasks as people want them, those for rejected pictures left out."""
        tasks = list(tasks)
        records = self._records(tasks)
        followed: list[Task] = []
        changed: list[str] = []
        asked = 0
        for task in tasks:
            decision, record = self._decisions.get(task.source), records.get(task.source)
            if decision is None or decision.empty:
                followed.append(task)
                continue
            if decision.rejected:
                report.rejected.append(task.source)
                continue
            if record and record.source_sha256 != self._source.content_id(task.source, self._store.fingerprints):
                changed.append(task.source)
            asked += decision.asks
            followed.append(self._given(task, decision, record, report))
        if asked:
            report.notes.append(f"{counted(asked, 'picture')} made as decided in {DECISIONS}")
        if changed:
            what = f"{counted(len(changed), 'picture')} changed since somebody decided about them, which is kept"
            report.notes.append(f"{what}: look again at {few(changed)}")
        return followed

    def say_gone(self, present: AbstractSet[str], report: Report) -> None:
        """Name the pictures that somebody decided about and that are not in the source."""
        gone = sorted(source for source, decision in self._decisions.items() if source not in present and not decision.empty)
        if gone:
            report.notes.append(f"{counted(len(gone), 'decision')} in {DECISIONS} about pictures that are gone: {few(gone)}")

    def _records(self, tasks: Iterable[Task]) -> dict[str, Record]:
        """Return the record of each picture that somebody decided about, under whatever name it was written."""
        found: dict[str, Record] = {}
        missing: set[str] = set()
        for task in tasks:
            if task.source in self._decisions:
                record = self._store.record(task.output)
                if record is not None and record.source == task.source:
                    found[task.source] = record
                else:
                    missing.add(task.source)
        for output in self._store.outputs() if missing else ():
            record = self._store.record(output)
            if record is not None and record.source in missing:
                found.setdefault(record.source, record)
        return found

    def _given(self, task: Task, decision: Decision, record: Record | None, report: Report) -> Task:
        """Return a task that is given the window, the enlargement and the caption of a decision."""
        before: Given | None = task.detail
        given = replace(before or Given(DECISIONS), window_decided=decision.window_key)
        if decision.upscale is not None:
            given = replace(given, upscale=decision.upscale)
        key = task.key
        if decision.box is not None and decision.bucket is not None:
            plan = CropPlan(
                source=task.source,
                box=decision.box,
                bucket=decision.bucket,
                sizes=decision.sizes or DEFAULT_SIZES,
                source_size=decision.source_size,
                faces=self._faces(before, record),
            )
            given = replace(given, plan=plan, upscale=decision.upscale)
            key = self._options.window_key(decision.box, decision.bucket)
        given = self._with_caption(given, decision, record, task, report)
        caption = caption_of(task.output) if given.caption is not None else task.caption_output
        return replace(task, key=key, detail=given, caption_output=caption)

    def _faces(self, given: Given | None, record: Record | None) -> tuple[Face, ...]:
        if given is not None and given.plan is not None:
            return given.plan.faces
        return record.faces if record else ()

    def _with_caption(self, given: Given, decision: Decision, record: Record | None, task: Task, report: Report) -> Given:
        """Give the decided caption, unless the dataset's was edited by hand after the decision, or after it was followed."""
        if decision.caption is None:
            return given
        text = clean_caption(decision.caption)
        wanted = replace(given, caption=text, caption_decided=decision.caption_key)
        if self._overwrite or record is None or record.caption is None or not self._edited(record):
            return wanted
        now = self._text(record)
        if decision.caption_key == record.caption_decided:
            return replace(given, caption_decided=decision.caption_key)  # followed already; what was edited since stays
        if now in (text, decision.caption_before):
            return wanted
        report.notes.append(
            f"{task.source}: the caption stays as it is, other than decided: {record.caption} was edited after that"
        )
        return replace(given, caption_decided=record.caption_decided)

    def _edited(self, record: Record) -> bool:
        return record.caption_edited or record.caption in self._store.edited(record)

    def _text(self, record: Record) -> str | None:
        """Return the caption as it is in the dataset now; None where there is none that can be read."""
        try:
            return read_caption(self._store.folder / record.caption).text if record.caption else None
        except CaptionError:
            return None

    def stands(self, task: Task, record: Record) -> bool:
        """Tell whether a picture that was made with the same key would be made again, and by the same decision."""
        given: Given = task.detail or Given("")
        allowed = self._options.allowing(given.upscale).allow(record, given.plan)
        return allowed and record.window_decided == given.window_decided

    def withdrew(self, record: Record) -> bool:
        """Tell whether the decision that a window was made by was taken back."""
        decision = self._decisions.get(record.source)
        return record.window_decided is not None and (decision is None or decision.window_key is None)

    def to_mend(self, task: Task, record: Record) -> bool:
        """Tell whether a picture's caption is another than decided, or one that nobody decides on any more."""
        given: Given = task.detail or Given("")
        return given.caption_decided != record.caption_decided

    def mend_caption(self, task: Task) -> Made | Problem:
        """Write the caption that was decided, or the source's, beside a picture that stays as it is."""
        given: Given = task.detail or Given("")
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
        if given.caption is None and record.caption is not None and self._edited(record):
            # It stays as it is: nobody's decision any more.
            return Made(msgspec.structs.replace(record, caption_decided=given.caption_decided), None, picture)
        caption = given.words(task.sample, read_caption_of(task.sample, self._source), self._options)
        name, content = caption_of(task.output), caption.text.encode()
        self._store.check_free((None, name), record, partial(self._source.content_id, task.source, self._store.fingerprints))
        sha256 = hashlib.sha256(content).hexdigest()
        mended = msgspec.structs.replace(
            record,
            caption=name if content else None,
            caption_sha256=sha256 if content else None,
            source_caption_sha256=caption.sha256,
            captions=len(caption.lines),
            caption_edited=False,
            caption_decided=given.caption_decided,
            warnings=(*_of_picture(record.warnings), *caption.warnings),
        )
        if not content:
            return Made(mended, None, picture)
        file = write_temporary(self._store.temporary, f"{task.output}.txt", content), sha256
        return Made(mended, caption.text, (*picture, file), replaces_caption=True)


def _of_picture(warnings: tuple[Warned, ...]) -> tuple[Warned, ...]:
    return tuple(warning for warning in warnings if not warning.kind.startswith("caption-"))
