"""Follow what a person decided in the review: windows drawn, pictures rejected, captions edited.

Happens before a run of crop: what a worker has to do becomes part of its task, what needs no picture is done at once.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass, replace

import msgspec

from datakit.caption.captions import Caption, read_caption
from datakit.crop.options import CropOptions
from datakit.dataset.manifest import CropPlan, Record, read_manifest
from datakit.dataset.overrides import (
    Override,
    clean_caption,
    end_applying,
    is_pending,
    read_applied,
    read_applying,
    read_overrides,
    write_applied,
    write_applying,
)
from datakit.dataset.store import Store
from datakit.errors import CaptionError, SampleError
from datakit.report import Report, counted, few
from datakit.run.stage import Task, write_temporary
from datakit.warned import Warned

# What crop says of a picture without a caption; no longer true where the review gave it one.
CAPTION_EMPTY = Warned("caption-empty", "the caption is empty")
CAPTION_MISSING = Warned("caption-missing", "no caption (.txt or .caption) beside it")


@dataclass(frozen=True, slots=True)
class Decision:
    """What a worker follows instead of deciding: a window, a caption, or both; ``where`` opens its messages."""

    where: str
    plan: CropPlan | None = None
    caption: str | None = None


class Amendments:
    """The overrides of a dataset during one run of crop.

    Parameters
    ----------
    store
        The dataset, held for writing.
    apply
        Whether to act upon overrides that are not applied yet; else they are only counted.
    overwrite
        Whether the run makes everything anew, and so undoes windows and captions that it does not apply.
    options
        Of the run.
    report
        Where refusals and notes go.

    Raises
    ------
    PlanError
        A line of ``overrides.jsonl`` cannot be used.
    """

    def __init__(self, store: Store, apply: bool, overwrite: bool, options: CropOptions, report: Report) -> None:
        self._store = store
        self._apply = apply
        self._overwrite = overwrite
        self._options = options
        self._report = report
        self._overrides = read_overrides(store.folder)
        self._applied = read_applied(store.folder) if self._overrides else {}
        self._applying_before = read_applying(store.folder) if self._overrides else {}
        self._left: set[str] = set()
        self._records: dict[str, list[Record]] = defaultdict(list)
        for output in store.outputs() if self._overrides else ():
            record = store.record(output)
            if record is not None and record.source in self._overrides:
                self._records[record.source].append(record)

    def follow(self, tasks: list[Task]) -> tuple[list[Task], set[str]]:
        """Return the tasks as the overrides want them, and the sources whose window they settle."""
        followed: list[Task] = []
        settled: set[str] = set()
        pending = 0
        if self._apply and self._overrides:
            write_applying(self._store.folder, (self._applying_before | self._overrides_with_effect()).values())
        for task in tasks:
            override = self._overrides.get(task.source)
            records = self._records[task.source] if override else []
            if override is None:
                followed.append(task)
            elif override.rejected and (self._apply or not records):
                self._take_out(override, records)
            elif self._apply or self._follows(override):
                followed.append(self._applying(task, override))
                if override.box is not None or self._taken_back(override):
                    settled.add(task.source)
            else:
                undone = self._overwrite and (override.box is not None or override.caption is not None)
                pending += undone or is_pending(override, self._applied.get(task.source), next(iter(records), None))
                followed.append(task)
        for source in self._gone(tasks) if self._apply else ():
            if self._overrides[source].rejected and self._records[source]:
                self._take_out(self._overrides[source], self._records[source])
        if pending:
            self._report.notes.append(
                f"{counted(pending, 'decision')} of the review not applied yet: --apply-overrides applies them"
            )
        return followed, settled

    def finish(self, tasks: list[Task]) -> None:
        """Note which overrides the dataset follows now that the run is over, and say which are about older pictures."""
        if not self._overrides:
            return
        read = read_manifest(self._store.folder)
        records = {record.source: record for record in read if record.source in self._overrides}
        self._say_changed(records)
        if not self._apply:
            # A plain run leaves them out as well, and so follows them.
            kept_out = {source: self._overrides[source] for source in self._report.rejected}
            if any(self._applied.get(source) != override for source, override in kept_out.items()):
                write_applied(self._store.folder, (self._applied | kept_out).values())
            return
        gone = self._gone(tasks)
        ended = set(gone) - records.keys()
        left = self._left | {problem.source for problem in (*self._report.failed, *self._report.refused)}
        done = {
            source: override
            for source, override in self._overrides.items()
            if source not in left and (source in ended or not is_pending(override, override, records.get(source)))
        }
        write_applied(self._store.folder, (self._applied | done).values())
        end_applying(self._store.folder)
        if gone:
            self._report.notes.append(f"{counted(len(gone), 'decision')} of the review on pictures that are gone: {few(gone)}")

    def _gone(self, tasks: list[Task]) -> list[str]:
        """Return the sources that somebody decided about and that no task is about, in order."""
        return sorted(self._overrides.keys() - {task.source for task in tasks}) if self._overrides else []

    def _say_changed(self, records: dict[str, Record]) -> None:
        """Name the pictures that were looked at in the review, and are others now."""
        changed = [
            source
            for source, before in sorted(self._records.items())
            if before
            and source in records
            and not self._overrides[source].empty
            and before[0].source_sha256 != records[source].source_sha256
        ]
        if changed:
            what = counted(len(changed), "picture")
            self._report.notes.append(f"{what} changed since the review, whose decisions are kept: look again at {few(changed)}")

    def _follows(self, override: Override) -> bool:
        """Tell whether the dataset follows an override already: a later run keeps to it, under whatever name it writes."""
        record = next(iter(self._records[override.source]), None)
        return not (self._overwrite or override.rejected or is_pending(override, self._applied.get(override.source), record))

    def _overrides_with_effect(self) -> dict[str, Override]:
        return {source: each for source, each in self._overrides.items() if each.box is not None or each.caption is not None}

    def _earlier(self, source: str) -> list[Override]:
        """Return what an earlier run applied to a picture, or was applying when it was killed."""
        return [known[source] for known in (self._applied, self._applying_before) if source in known]

    def _taken_back(self, override: Override) -> bool:
        """Tell whether a window that an earlier run applied is no longer wanted."""
        return override.box is None and any(before.box is not None for before in self._earlier(override.source))

    def _take_out(self, override: Override, records: list[Record]) -> None:
        """Delete what datakit wrote of a rejected picture; what somebody edited stays and is named."""
        for record in records:
            ours = self._text(record) in self._captions_before(override.source)
            left = self._store.forget(msgspec.structs.replace(record, caption_edited=False) if ours else record)
            self._report.notes += [
                f"{name} was rejected in review, but edited since datakit wrote it: left there" for name in left
            ]
        self._report.rejected.append(override.source)

    def _applying(self, task: Task, override: Override) -> Task:
        """Return a task that draws the window and writes the caption of an override."""
        record = next((record for record in self._records[task.source] if record.output == task.output), None)
        caption = None if override.caption is None else clean_caption(override.caption)
        if record is not None and not self._store.missing(record):
            try:
                self._set_caption(task, override, record)
            except SampleError as error:
                self._report.notes.append(f"{task.source}: the caption stays as it is, other than in the review: {error}")
                self._left.add(task.source)
                caption = None
        if caption is not None:
            task = replace(task, caption_output=f"{os.path.splitext(task.output)[0]}.txt")
        if override.box is None or override.bucket is None:
            return task if caption is None else replace(task, detail=Decision("the review", caption=caption))
        plan = CropPlan(
            source=task.source,
            box=override.box,
            bucket=override.bucket,
            source_size=override.source_size,
            faces=record.faces if record else (),
            # What was allowed when it was applied is allowed now.
            scale=record.scale if record and (record.box, record.bucket) == (override.box, override.bucket) else None,
        )
        return replace(task, key=self._options.key(plan), detail=Decision("the review", plan, caption))

    def _set_caption(self, task: Task, override: Override, record: Record) -> None:
        """Write the caption of an override beside a picture that is there, or the source's where it was taken back.

        Raises
        ------
        SampleError
            The caption was edited in the dataset after the review, or cannot be written there.
        """
        before = self._captions_before(task.source)
        now = self._text(record)
        if override.caption is None:
            if now in before:
                source = read_caption(task.caption) if task.caption else Caption((), None)
                if not source.lines and self._options.captions == "required":
                    raise CaptionError("its source has none, and --captions required asks for one: write one there")
                self._write_caption(task, record, source, False)
            return
        text = clean_caption(override.caption)
        by_hand = record.caption_edited or record.caption in self._store.edited(record)
        applied = self._applied.get(task.source)
        if by_hand and (text == now or (applied and applied.caption and text == clean_caption(applied.caption))):
            return  # applied already; what was edited since then stays
        if by_hand and now != override.caption_before and now not in before:
            raise CaptionError(f"{record.caption} was edited after it: left as it is")
        self._write_caption(task, record, Caption(tuple(text.split("\n")), record.source_caption_sha256), True)

    def _captions_before(self, source: str) -> set[str | None]:
        """Return the captions that an earlier run applied to a picture."""
        return {clean_caption(before.caption) for before in self._earlier(source) if before.caption is not None}

    def _write_caption(self, task: Task, record: Record, caption: Caption, edited: bool) -> None:
        name = record.caption or f"{os.path.splitext(record.output)[0]}.txt"
        self._store.check_free((None, name), record, task.picture)
        content = caption.text.encode()
        sha256 = hashlib.sha256(content).hexdigest()
        changed = msgspec.structs.replace(
            record,
            caption=name if caption.lines else None,
            caption_sha256=sha256 if caption.lines else None,
            source_caption_sha256=caption.sha256,
            captions=len(caption.lines),
            caption_edited=edited,
            warnings=without_caption_warnings(record.warnings) if edited else record.warnings,
        )
        picture = (None, record.output_sha256)
        if caption.lines:
            file = write_temporary(self._store.temporary, f"{record.output}.txt", content), sha256
            self._store.commit(changed, caption.text, (picture, file))
        else:
            self._store.commit(changed, None, (picture,))
            (self._store.folder / name).unlink(missing_ok=True)

    def _text(self, record: Record) -> str | None:
        """Return the caption as it is in the dataset now; None where there is none that can be read."""
        try:
            return read_caption(self._store.folder / record.caption).text if record.caption else None
        except CaptionError:
            return None


def without_caption_warnings(warnings: tuple[Warned, ...]) -> tuple[Warned, ...]:
    """Leave out that there is no caption."""
    return tuple(warning for warning in warnings if warning.kind not in (CAPTION_EMPTY.kind, CAPTION_MISSING.kind))
