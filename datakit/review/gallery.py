"""A dataset as the page sees it: one entry a source, the pictures behind it, buckets and batches."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from datakit.audit.concept import Concept, check_written, read_concept
from datakit.caption.captions import read_caption
from datakit.dataset.captioned import CaptionedFolder
from datakit.dataset.decisions import Decision, is_pending, read_decisions, with_deleted
from datakit.dataset.folder import caption_beside, holds
from datakit.dataset.layout import DECISIONS, REPORT
from datakit.dataset.manifest import MANIFEST, Record, is_relative, read_manifest
from datakit.dataset.origin import read_origin
from datakit.dataset.remembered import last_report
from datakit.dataset.targets import source_of
from datakit.errors import CaptionError
from datakit.report import KINDS, Problem, Warned
from datakit.review.entries import (
    Batches,
    BatchRow,
    Bucket,
    Copy,
    Dataset,
    Entry,
    attention_of,
    followed,
    is_guess,
    key_of,
    shown,
)
from datakit.sizes import DEFAULT_SIZES, in_order, size_set
from datakit.trainers import DEFAULT, trainer
from datakit.trainers.training import Batching


class Files(NamedTuple):
    """Where the pictures of a key lie; ``source`` is the one that the box is drawn on."""

    id: str
    source: Path | None
    output: Path | None
    record: Record | None


class Gallery:
    """A dataset folder as the page sees it; read again whenever its manifest changes.

    Raises
    ------
    UsageError
        The folder is no dataset of datakit.
    PlanError
        A line of its manifest or its decisions cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        check_written(folder)
        self.folder = folder
        self.stage, self.background = "other", "white"
        self.source: Path | None = None
        self._stamp: object = None
        self._concept: Concept | None = None
        # Texts of caption files with what tells that one has changed: to look is far faster than to read.
        self._captions: dict[Path, tuple[tuple[int, int, int] | None, str | None]] = {}
        # Captions in tables of the source, or inside pictures, of those that are not in the dataset; as of the last run.
        self._captioned: CaptionedFolder | None = None
        self._brought: dict[str, str | None] = {}
        self._files: dict[str, Files] = {}
        self._records: dict[str, list[Record]] = {}
        self._problems: dict[str, Problem] = {}
        self._considered: dict[str, str] = {}
        self.refresh()

    @property
    def editable(self) -> bool:
        """Whether decisions can be applied: crop wrote the dataset and its source is there."""
        return self.stage == "crop" and self.source is not None

    def refresh(self) -> bool:
        """Read what the last run left, if there was one since; tell whether there was."""
        stamp = [_signature(self.folder / name) for name in (MANIFEST, REPORT)]
        if stamp == self._stamp:
            return False
        records: dict[str, list[Record]] = defaultdict(list)
        self._concept = read_concept(self.folder) if os.path.getsize(self.folder / MANIFEST) else None
        for record in self._concept.records if self._concept else ():
            records[record.target].append(record)
        report = last_report(self.folder)
        problems = (*report.refused, *report.failed) if report else ()
        self._problems = {problem.source: problem for problem in problems if is_relative(problem.source)}
        self._considered = report.considered if report else {}
        origin = read_origin(self.folder)
        self.stage = origin.stage if origin and origin.stage in ("crop", "shuffle") else "other"
        self.background = origin.background if origin else "white"
        self.source = Path(origin.source) if origin and Path(origin.source).is_dir() else None
        self._captioned = CaptionedFolder(self.source) if self.source and self.stage == "crop" else None
        self._brought.clear()
        self._records = dict(records)
        self._files = self._index()
        self.know((*self._problems, *read_decisions(self.folder)))
        self._stamp = stamp
        return True

    def know(self, sources: Iterable[str]) -> None:
        """Find the pictures of sources that need not be in the dataset."""
        for source in sources:
            picture = self.source / source_of(source) if self.source else None
            self._files.setdefault(key_of(source), Files(source, picture, None, None))

    def companion(self, files: Files, name: str) -> tuple[Path, Path] | None:
        """Return a picture and what goes with it as they lie over each other in the source; None where there is none of that name."""
        found = next((each for each in files.record.companions if each.name == name), None) if files.record else None
        if found is None or files.source is None or not self.editable or self.source is None:
            return None
        return files.source, self.source / found.source

    def written_companions(self, files: Files) -> dict[str, Path]:
        """Return what was written beside an output, by name."""
        return {each.name: self.folder / each.output for each in files.record.companions} if files.record else {}

    def files(self, key: str) -> Files | None:
        """Return where the pictures of an entry or a copy lie; None for an unknown key."""
        return self._files.get(key)

    def dataset(self, batching: Batching, samples: bool = True) -> Dataset:
        """Put together everything that the page starts from, on request without the samples."""
        sets = {record.sizes for records in self._records.values() for record in records} or {DEFAULT_SIZES}
        buckets = Counter(record.bucket for records in self._records.values() for record in records)
        return Dataset(
            stage=self.stage,
            folder=str(self.folder),
            source=str(self.source) if self.source else None,
            editable=self.editable,
            buckets=tuple(Bucket(size, buckets[size]) for size in in_order(size for name in sets for size in size_set(name))),
            batches=self._batches(batching),
            samples=self.by_attention() if samples else (),
            kinds=KINDS,
        )

    def by_attention(self) -> list[Entry]:
        """Return all entries, what most needs an eye first."""
        return sorted(self.entries(), key=lambda entry: (-entry.attention, entry.id))

    def entries(self) -> Iterable[Entry]:
        """Yield one entry a source, refused ones too."""
        decisions = self._known(read_decisions(self.folder))
        for source in sorted({*self._records, *self._problems, *self._left_out(decisions)}):
            records = self._records.get(source, [])
            decision = decisions.get(source)
            entry = self._entry(source, records) if records else self._absent(source, decision)
            if records and source in self._problems:
                stale = Warned("not-made-anew", f"not made anew: {self._problems[source].reason}")
                entry = msgspec.structs.replace(entry, warnings=(*entry.warnings, stale))
            if records:
                entry = msgspec.structs.replace(entry, settled=followed(records[0], decision, entry.caption))
            if decision:
                entry = msgspec.structs.replace(
                    entry, decision=shown(decision), revision=decision.revision, applied=not self.is_pending(decision)
                )
            yield msgspec.structs.replace(entry, attention=attention_of(entry))

    def is_pending(self, decision: Decision) -> bool:
        """Tell whether the next crop will do something because of a decision."""
        record = next(iter(self._records.get(decision.target, ())), None)
        problem = self._problems.get(decision.source)
        reason = problem.reason if problem else None
        return is_pending(decision, record, self.source, reason, self._considered.get(decision.target))

    def _known(self, decisions: Mapping[str, Decision]) -> dict[str, Decision]:
        """Return decisions together with those whose line is gone and that the dataset still follows."""
        return with_deleted(decisions, (records[0] for records in self._records.values()))

    def problem(self, source: str) -> Problem | None:
        """Return why the last run did not use a picture; None where it did, or knows of none."""
        return self._problems.get(source)

    def _left_out(self, decisions: Mapping[str, Decision]) -> list[str]:
        """Return the sources that a decision keeps out of the dataset, or that the next crop will bring back."""
        return [
            source
            for source, decision in decisions.items()
            if source not in self._records and (decision.rejected or holds(self.source, decision.source))
        ]

    def _absent(self, source: str, decision: Decision | None) -> Entry:
        """Return the entry of a picture that is not in the dataset, with the caption that it would bring along."""
        problem = self._problems.get(source)
        if decision and decision.rejected:
            why = "rejected in review"
        else:
            why = problem.reason if problem else "left out until the changes are applied"
        return Entry(
            id=source,
            key=key_of(source),
            size=problem.size if problem else None,
            caption=self._in_source(source),
            refused=why,
            problem=problem.kind if problem else None,
            upscale_needed=problem.upscale_needed if problem else None,
        )

    def _entry(self, source: str, records: list[Record]) -> Entry:
        first = records[0]
        return Entry(
            id=source,
            key=key_of(source),
            output=first.output,
            size=first.source_size,
            bucket=first.bucket,
            box=first.box,
            anchor=first.anchor,
            why=first.why or "",
            faces=first.faces,
            saliency_kept=first.saliency_kept,
            scale=first.scale,
            caption=self.caption(first),
            warnings=tuple(dict.fromkeys(warning for record in records for warning in record.warnings)),
            confidence="low" if is_guess(first) else "ok",
            companions=tuple(each.name for each in first.companions),
            copies=()
            if self.stage == "crop"
            else tuple(
                Copy(key_of(record.output, "copy"), record.output, self.caption(record), record.augmentation or {})
                for record in sorted(records, key=lambda record: (record.copy or 1, record.output))
            ),
        )

    def caption(self, record: Record) -> str | None:
        """Return the caption of a record as it is in the dataset now."""
        if record.caption is None:
            return None
        return self._text(self.folder / record.caption)

    def _text(self, path: Path) -> str | None:
        """Return what a caption file says; None where it cannot be read."""
        signature = _signature(path)
        known, text = self._captions.get(path, (None, None))
        if signature is None or signature != known:
            try:
                text = read_caption(path).text
            except CaptionError:
                text = None
            self._captions[path] = signature, text
        return text

    def _in_source(self, source: str) -> str | None:
        """Return the caption that a picture has in the source, in a file of its own or where another tool wrote it."""
        source = source_of(source)
        beside = caption_beside(self.source, source) if self.source else None
        if beside:
            return self._text(beside)
        if self._captioned is not None and source not in self._brought:
            try:
                found = self._captioned.caption_elsewhere(source)
            except CaptionError:
                found = None
            self._brought[source] = found.text if found and found.lines else None
        return self._brought.get(source)

    def _index(self) -> dict[str, Files]:
        originals = self._originals()
        files: dict[str, Files] = {}
        for source, records in self._records.items():
            for record in records:
                picture = originals.get(source) or (self.source / record.source if self.source else None)
                output = self.folder / record.output
                files.setdefault(key_of(source), Files(source, picture, output, record))
                files[key_of(record.output, "copy")] = Files(source, picture, output, record)
        return files

    def _originals(self) -> dict[str, Path]:
        """Return what the pictures that shuffle copied were cropped from, as far as that is known."""
        if self.stage != "shuffle" or self.source is None or not (self.source / MANIFEST).is_file():
            return {}
        origin = read_origin(self.source)
        if origin is None or not Path(origin.source).is_dir():
            return {}
        return {record.output: Path(origin.source, record.source) for record in read_manifest(self.source)}

    def _batches(self, batching: Batching) -> Batches | None:
        concept = self._concept
        if concept is None:
            return None
        epoch = trainer(DEFAULT).steps([concept], batching)
        rows = tuple(BatchRow(load.bucket, load.pictures, load.real, load.padded, load.too_small) for load in epoch.loads)
        return Batches(batching.size, batching.gpus, batching.accumulate, rows, epoch.real_steps)


def _signature(path: str | Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def decisions_signature(folder: Path) -> tuple[int, int, int] | None:
    """Return what changes with every write of the decisions."""
    return _signature(folder / DECISIONS)
