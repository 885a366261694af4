"""What the page may do with a dataset: change a decision, apply all of them, learn what others changed."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterable
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import msgspec

from datakit.crop.folder import crop_folder
from datakit.crop.framing import frame
from datakit.crop.options import CropOptions
from datakit.crop.picture import check_window
from datakit.dataset.decisions import Decision, change_decision, clean_caption, read_decisions, undecided
from datakit.dataset.manifest import MANIFEST, CropPlan
from datakit.dataset.remembered import last_report
from datakit.errors import DatakitError, SampleError, TooSmallError, UsageError
from datakit.geometry import Size
from datakit.picture.images import open_picture
from datakit.report import Warned
from datakit.review.entries import Dataset, ShownDecision, key_of, shown
from datakit.review.gallery import Files, Gallery, decisions_signature
from datakit.review.thumbnails import Thumbnails
from datakit.run.stage import Execution
from datakit.sizes import check_size, needed_upscale
from datakit.trainers.training import Batching


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the page sends.

    Attributes
    ----------
    revision
        The last that it saw.
    decision
        All that is decided, or None to take everything back.
    caption
        The dataset's, as it was shown: one that was edited there since is not replaced unseen.
    """

    revision: int
    decision: ShownDecision | None
    caption: str | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided about one picture, as the page receives it."""

    revision: int
    decision: ShownDecision | None
    key: str
    applied: bool
    warnings: tuple[Warned, ...] = ()


class Changes(msgspec.Struct, frozen=True):
    """What changed since a stamp; ``runs`` counts the runs of crop seen, so that a page knows to load anew."""

    stamp: int
    runs: int
    changed: tuple[State, ...]


class Applying(msgspec.Struct, frozen=True):
    """How far applying is; once it has ended, its report or what stopped it."""

    running: bool = False
    done: int = 0
    total: int = 0
    report: dict[str, Any] | None = None
    error: str | None = None


class Session:
    """A dataset under review; its methods may be called from several threads.

    Parameters
    ----------
    folder
        The dataset.
    jobs
        Worker processes for applying.

    Raises
    ------
    UsageError
        The folder is no dataset of datakit.
    PlanError
        A line of its manifest or its decisions cannot be used.
    """

    def __init__(self, folder: Path, jobs: int = 0) -> None:
        self.gallery = Gallery(folder)
        self.thumbnails = Thumbnails(folder, self.gallery.background)
        self.applying = Applying()
        self._jobs = jobs
        self._lock = Lock()
        self._signature = decisions_signature(folder)
        self._decisions = read_decisions(folder)
        self._stamp, self._runs = 1, 1
        self._changed = dict.fromkeys(self._decisions, 1)

    @property
    def options(self) -> CropOptions:
        """The options of the last run of crop, so that applying decides nothing else anew."""
        return self._last_options() or CropOptions()

    def _last_options(self) -> CropOptions | None:
        last = last_report(self.gallery.folder)
        try:
            return msgspec.convert(last.options, CropOptions) if last else None
        except (msgspec.ValidationError, UsageError):
            return None

    def dataset(self, batching: Batching, samples: bool = True) -> Dataset:
        """Return everything that the page starts from, on request without the samples."""
        with self._lock:
            self._look()
            dataset = self.gallery.dataset(batching, samples)
            upscale = self.options.upscale if self.gallery.editable else None
            return msgspec.structs.replace(dataset, upscale=upscale, stamp=self._stamp, runs=self._runs)

    def change(self, key: str, change: Change) -> State:
        """Write a changed decision at once and return it with its new revision.

        Raises
        ------
        SampleError
            The change cannot be: a window outside the picture or of another aspect, an empty caption, a picture that
            is gone.
        ChangedMeanwhileError
            Somebody else changed it first.
        PlanError
            ``decisions.jsonl`` cannot be used.
        """
        if not self.gallery.editable:
            raise SampleError("only a dataset that crop wrote, whose source is still there, can be mended")
        with self._lock:
            self._look()
            files, decisions = self.gallery.files(key), self._decisions
        if files is None:
            raise SampleError("it is no longer in the dataset: nothing can be decided about it")
        wanted = undecided(files.id)
        warnings: tuple[Warned, ...] = ()
        if change.decision:
            wanted, warnings = self._wanted(files, change.decision, decisions.get(files.id, wanted))
        decision = change_decision(
            self.gallery.folder,
            files.id,
            change.revision,
            lambda before: _onto(before, wanted, change.caption, waiting=self.gallery.is_pending(before)),
        )
        return msgspec.structs.replace(self.state(decision), warnings=warnings)

    def state(self, decision: Decision) -> State:
        """Return a decision as the page receives it."""
        pending = self.gallery.is_pending(decision)
        return State(key=key_of(decision.target), revision=decision.revision, decision=shown(decision), applied=not pending)

    def changes(self, since: int) -> Changes:
        """Return every decision that changed after a stamp, whoever changed it."""
        with self._lock:
            self._look()
            changed = [
                self.state(self._decisions.get(source, undecided(source)))
                for source, stamp in self._changed.items()
                if stamp > since
            ]
            return Changes(self._stamp, self._runs, tuple(changed))

    def _look(self) -> None:
        """Take note of what changed on disk, whoever changed it."""
        self._runs += self.gallery.refresh()
        signature = decisions_signature(self.gallery.folder)
        if signature != self._signature:
            now = read_decisions(self.gallery.folder)
            different = [source for source in now.keys() | self._decisions if now.get(source) != self._decisions.get(source)]
            self._stamp += 1
            self._changed |= dict.fromkeys(different, self._stamp)
            self._decisions, self._signature = now, signature
            self.gallery.know(now)

    def start_applying(self) -> None:
        """Have crop apply the decisions, in a thread; while that runs, do nothing.

        Raises
        ------
        SampleError
            There is nothing to apply them with.
        """
        if not self.gallery.editable:
            raise SampleError("only a dataset that crop wrote, whose source is still there, can be mended")
        if not (self.gallery.folder / MANIFEST).is_file() or self._last_options() is None:
            raise SampleError(f"{self.gallery.folder} no longer says what it was made with: run datakit crop SRC OUT yourself")
        last = last_report(self.gallery.folder)
        if last and last.planned:
            raise SampleError("the last crop followed a plan, which the page does not have: run datakit crop SRC OUT yourself")
        with self._lock:
            if self.applying.running:
                return
            self.applying = Applying(running=True)
        Thread(target=self._apply, daemon=True).start()

    def _apply(self) -> None:
        assert self.gallery.source is not None
        execution = Execution(jobs=self._jobs, progress=self._progress)
        try:
            report = crop_folder(self.gallery.source, self.gallery.folder, self.options, execution=execution)
        except (DatakitError, OSError) as error:
            self.applying = Applying(error=str(error))
        except Exception as error:  # whatever it is: no page may wait for ever
            traceback.print_exc()
            self.applying = Applying(error=f"datakit is at fault ({error!r}); the terminal shows where")
        else:
            total = self.applying.total
            self.applying = Applying(done=total, total=total, report=report.to_json())

    def _progress(self, items: Iterable[Any], total: int, label: str) -> Iterable[Any]:
        for done, item in enumerate(items):
            self.applying = Applying(True, done, total)
            yield item

    def _wanted(self, files: Files, decision: ShownDecision, before: Decision) -> tuple[Decision, tuple[Warned, ...]]:
        """Check what is wanted and fill in what follows from it: a size alone gets its best window, a window its size."""
        if decision.accepted and decision.rejected:
            raise SampleError("a picture is either accepted or rejected")
        caption = None if decision.caption is None else clean_caption(decision.caption)
        wanted = msgspec.structs.replace(
            undecided(files.id),
            upscale=decision.upscale,
            rejected=decision.rejected,
            accepted=decision.accepted,
            caption=caption,
        )
        if decision.box is None and decision.bucket is None:
            return wanted, ()
        if decision.box is not None and (decision.box, decision.bucket) == (before.box, before.bucket):
            # Held against the picture that it was drawn on, which may be another by now: crop will say so.
            known = {name: getattr(before, name) for name in ("box", "bucket", "sizes", "source_size", "upscale")}
            return msgspec.structs.replace(wanted, **known), ()
        plan = self._window(files, decision)
        drawn = msgspec.structs.replace(
            wanted,
            box=plan.box,
            bucket=plan.bucket,
            sizes=plan.sizes,
            source_size=plan.source_size,
            # What was allowed once stays so until it is taken back.
            upscale=max(filter(None, (decision.upscale, needed_upscale(plan.box.size, plan.bucket, math.inf))), default=None),
        )
        return drawn, plan.warnings

    def _window(self, files: Files, decision: ShownDecision) -> CropPlan:
        """Hold a window against its picture; a size alone gets its best window."""
        record, options = files.record, self.options
        sizes = record.sizes if record else options.sizes
        bucket = decision.bucket or (record.bucket if record else None)
        if bucket is None:
            raise SampleError("a window needs its size: choose a bucket")
        try:
            check_size(bucket, sizes)
        except UsageError as error:
            raise SampleError(str(error)) from None
        assert files.source is not None
        picture = open_picture(files.source, options.max_pixels)
        faces = record.faces if record else ()
        box = decision.box or frame(files.id, picture.size, Size(*bucket), faces).box
        plan = CropPlan(source=files.id, box=box, bucket=bucket, sizes=sizes, faces=faces)
        problem = self.gallery.problem(files.id)
        # Who draws a window in a picture that was refused as too small wants it enlarged.
        rescued = record is None and problem is not None and problem.kind == TooSmallError.kind
        upscale = math.inf if rescued else options.allowing(decision.upscale).upscale
        return check_window(picture.size, "the window", plan, upscale)


def _onto(before: Decision, wanted: Decision, caption: str | None, *, waiting: bool) -> Decision:
    """Note which caption a new one replaces: the dataset's, which was shown unless an earlier one was waiting."""
    if wanted.caption is None:
        return wanted
    unseen = before.caption is not None and (waiting or wanted.caption == before.caption)
    return msgspec.structs.replace(wanted, caption_before=before.caption_before if unseen else caption)
