"""What the page shows of a dataset: one entry a source, what most needs an eye, buckets and batches."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from datakit.audit.concept import Concept, check_written, read_concept
from datakit.caption.captions import read_caption
from datakit.crop.framing import DOUBTFUL_SCORE
from datakit.dataset.last import last_report
from datakit.dataset.manifest import MANIFEST, Anchor, Face, Record, is_relative, read_manifest
from datakit.dataset.origin import read_origin
from datakit.dataset.overrides import OVERRIDES, Override, is_new, is_pending, read_applied, read_overrides
from datakit.errors import CaptionError
from datakit.geometry import Box, Size
from datakit.sizes import BUCKETS, ENLARGED
from datakit.trainers import DEFAULT, trainer
from datakit.trainers.training import Batching
from datakit.warned import KINDS, Warned

Side = Literal["source", "output"]

# Below this share of the saliency inside the window, or, where nothing was found, this share of the picture kept, the
# decision is a guess.
_SALIENCY_LOW, _AREA_LOW = 0.7, 0.9


class Copy(msgspec.Struct, frozen=True):
    """One written copy of a picture: its key in addresses, file, caption, and pixel changes."""

    key: str
    output: str
    caption: str | None
    augmentation: dict[str, float | bool | tuple[float, ...]]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One sample as the page shows it; what is not known is None.

    Attributes
    ----------
    id, key
        The source's path, and a short name for it that is safe in addresses.
    output, caption
        The picture in the dataset, and its caption's text.
    size, box, bucket, anchor, why, faces, saliency_kept, scale, warnings
        As in `datakit.dataset.manifest.Record`; size is the source's.
    refused
        Why it is not in the dataset.
    attention, confidence
        How much it needs an eye (0 not at all; more is more), and whether the decision is a guess.
    copies
        What shuffle wrote of it.
    override, revision, applied
        What somebody decided, and whether the dataset follows it.
    settled
        What the dataset followed when the overrides were last applied.
    """

    id: str
    key: str
    output: str | None = None
    size: Size | None = None
    bucket: Size | None = None
    box: Box | None = None
    anchor: Anchor | None = None
    why: str = ""
    faces: tuple[Face, ...] = ()
    saliency_kept: float | None = None
    scale: float | None = None
    caption: str | None = None
    warnings: tuple[Warned, ...] = ()
    refused: str | None = None
    attention: float = 0.0
    confidence: Literal["low", "ok"] = "ok"
    copies: tuple[Copy, ...] = ()
    override: ShownOverride | None = None
    revision: int = 0
    applied: bool = True
    settled: ShownOverride | None = None


class ShownOverride(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody decided, as the page sends and receives it."""

    box: Box | None = None
    bucket: Size | None = None
    rejected: bool = False
    accepted: bool = False
    caption: str | None = None


class Bucket(msgspec.Struct, frozen=True):
    """One of the eight sizes and how many pictures have it."""

    size: Size
    pictures: int


class BatchRow(msgspec.Struct, frozen=True):
    """What one bucket gives in an epoch; see `datakit.trainers.training.BucketLoad`."""

    bucket: Size
    pictures: int
    micro_batches: int
    padded: int
    too_small: bool


class Batches(msgspec.Struct, frozen=True):
    """The batch plan of one epoch, and its optimizer steps."""

    batch_size: int
    gpus: int
    accumulate: int
    rows: tuple[BatchRow, ...]
    steps: int


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the page starts from.

    Attributes
    ----------
    stage, folder, source
        Which command wrote the dataset, where it lies, and what it was made from, if that is still there.
    editable
        Whether overrides can be applied.
    buckets, batches, samples
        The eight sizes, the batch plan of one epoch, and every picture, what most needs an eye first.
    upscale
        The enlargement that applying will allow.
    stamp, runs
        Where asking for changes starts, and how many runs of crop were seen.
    kinds
        What each kind of warning says of a number of them.
    """

    stage: str
    folder: str
    source: str | None
    editable: bool
    buckets: tuple[Bucket, ...]
    batches: Batches | None
    samples: Sequence[Entry]
    upscale: float | None = None
    stamp: int = 0
    runs: int = 0
    kinds: dict[str, str]


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
        A line of its manifest or its overrides cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        check_written(folder)
        self.folder = folder
        self.stage, self.background = "other", "white"
        self.source: Path | None = None
        self._stamp: object = None
        self._concept: Concept | None = None
        # Texts of caption files with what tells that one has changed: to look is far faster than to read.
        self._captions: dict[str, tuple[tuple[int, int, int] | None, str | None]] = {}
        self._files: dict[str, Files] = {}
        self._records: dict[str, list[Record]] = {}
        self._problems: dict[str, str] = {}
        self.refresh()

    @property
    def editable(self) -> bool:
        """Whether overrides can be applied: crop wrote the dataset and its source is there."""
        return self.stage == "crop" and self.source is not None

    def refresh(self) -> bool:
        """Read what the last run left, if there was one since; tell whether there was."""
        stamp = [_signature(self.folder / name) for name in (MANIFEST, ".datakit/report.json")]
        if stamp == self._stamp:
            return False
        records: dict[str, list[Record]] = defaultdict(list)
        self._concept = read_concept(self.folder) if os.path.getsize(self.folder / MANIFEST) else None
        for record in self._concept.records if self._concept else ():
            records[record.source].append(record)
        report = last_report(self.folder)
        problems = (*report.refused, *report.failed) if report else ()
        self._problems = {problem.source: problem.reason for problem in problems if is_relative(problem.source)}
        origin = read_origin(self.folder)
        self.stage = origin.stage if origin and origin.stage in ("crop", "shuffle") else "other"
        self.background = origin.background if origin else "white"
        self.source = Path(origin.source) if origin and Path(origin.source).is_dir() else None
        self._records = dict(records)
        self._files = self._index()
        self.know((*self._problems, *read_overrides(self.folder)))
        self._stamp = stamp
        return True

    def know(self, sources: Iterable[str]) -> None:
        """Find the pictures of sources that need not be in the dataset."""
        for source in sources:
            self._files.setdefault(key_of(source), Files(source, self.source / source if self.source else None, None, None))

    def files(self, key: str) -> Files | None:
        """Return where the pictures of an entry or a copy lie; None for an unknown key."""
        return self._files.get(key)

    def dataset(self, batching: Batching, samples: bool = True) -> Dataset:
        """Put together everything that the page starts from, on request without the samples."""
        buckets = Counter(record.bucket for records in self._records.values() for record in records)
        return Dataset(
            stage=self.stage,
            folder=str(self.folder),
            source=str(self.source) if self.source else None,
            editable=self.editable,
            buckets=tuple(Bucket(size, buckets[size]) for size in BUCKETS),
            batches=self._batches(batching),
            samples=self.by_attention() if samples else (),
            kinds=KINDS,
        )

    def by_attention(self) -> list[Entry]:
        """Return all entries, what most needs an eye first."""
        return sorted(self.entries(), key=lambda entry: (-entry.attention, entry.id))

    def entries(self) -> Iterable[Entry]:
        """Yield one entry a source, refused ones too."""
        overrides, applied = read_overrides(self.folder), read_applied(self.folder)
        absent = _left_out(overrides, applied) | self._problems
        for source in sorted({*self._records, *absent}):
            records = self._records.get(source, [])
            entry = self._entry(source, records) if records else Entry(id=source, key=key_of(source), refused=absent[source])
            if records and source in self._problems:
                stale = Warned("not-made-anew", f"not made anew: {self._problems[source]}")
                entry = msgspec.structs.replace(entry, warnings=(*entry.warnings, stale))
            override = overrides.get(source)
            if override:
                record = records[0] if records else None
                pending = is_pending(override, applied.get(source), record)
                entry = msgspec.structs.replace(entry, override=shown(override), revision=override.revision, applied=not pending)
            if source in applied:
                entry = msgspec.structs.replace(entry, settled=shown(applied[source]))
            yield msgspec.structs.replace(entry, attention=_attention(entry))

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
            confidence="low" if _is_guess(first) else "ok",
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
        signature = _signature(f"{self.folder}/{record.caption}")
        known, text = self._captions.get(record.caption, (None, None))
        if signature is None or signature != known:
            try:
                text = read_caption(self.folder / record.caption).text
            except CaptionError:
                text = None
            self._captions[record.caption] = signature, text
        return text

    def _index(self) -> dict[str, Files]:
        originals = self._originals()
        files: dict[str, Files] = {}
        for source, records in self._records.items():
            for record in records:
                picture = originals.get(source) or (self.source / source if self.source else None)
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


def key_of(name: str, kind: str = "source") -> str:
    """Return a short name for a source or an output that is safe in addresses."""
    return hashlib.sha256(f"{kind}\n{name}".encode("utf-8", "surrogatepass")).hexdigest()[:20]


def shown(override: Override) -> ShownOverride | None:
    """Return an override as the page sees it; None where everything was taken back."""
    if override.empty:
        return None
    return ShownOverride(override.box, override.bucket, override.rejected, override.accepted, override.caption)


def _left_out(overrides: dict[str, Override], applied: dict[str, Override]) -> dict[str, str]:
    """Return the sources that a decision keeps out of the dataset, or changes once it is applied, and why each is not there."""
    reasons: dict[str, str] = {}
    for source, override in overrides.items():
        if override.rejected:
            reasons[source] = "rejected in review"
        elif is_new(override, applied.get(source)):
            reasons[source] = "left out until the changes are applied"
    return reasons


def _is_guess(record: Record) -> bool:
    if record.anchor == "face":
        return any(face.kept < 1 for face in record.faces) or max(face.score for face in record.faces) < DOUBTFUL_SCORE
    if record.anchor == "saliency":
        return record.saliency_kept is not None and record.saliency_kept < _SALIENCY_LOW
    return record.anchor == "center" and (record.area_kept or 1) < _AREA_LOW


def _attention(entry: Entry) -> float:
    """Add up what may be wrong: what is lost weighs more than what is doubtful, and that more than what is said."""
    if entry.override and (entry.override.accepted or entry.override.rejected):
        return 0.0
    if entry.refused is not None:
        return 100.0
    if entry.anchor == "manual":
        return float(len(entry.warnings))
    score = 5.0 * len(entry.warnings)
    if entry.faces:
        score += 60 * (1 - entry.faces[0].kept) + 20 * sum(1 - face.kept for face in entry.faces[1:])
    if entry.saliency_kept is not None and not entry.faces:
        score += 40 * (1 - entry.saliency_kept)
    if entry.scale is not None and entry.scale > ENLARGED:
        score += 10 * min(entry.scale - 1, 2)
    if not entry.caption:
        score += 15
    if entry.confidence == "low":
        score += 20
    return round(score, 2)


def _signature(path: str | Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def overrides_signature(folder: Path) -> tuple[int, int, int] | None:
    """Return what changes with every write of the overrides."""
    return _signature(folder / OVERRIDES)
