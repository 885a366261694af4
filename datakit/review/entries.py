"""What the page receives of a dataset: plain data, what most needs an eye, what is a guess."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from datakit.crop.framing import DOUBTFUL_SCORE
from datakit.dataset.decisions import Decision, undecided
from datakit.dataset.manifest import Anchor, Face, Record
from datakit.geometry import Box, Size
from datakit.report import Warned
from datakit.sizes import ENLARGED

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
    refused, problem, upscale_needed
        Why it is not in the dataset, as a sentence and as a word, and the enlargement that would let it in.
    attention, confidence
        How much it needs an eye (0 not at all; more is more), and whether the decision is a guess.
    companions
        What goes with it: masks, control pictures.
    copies
        What shuffle wrote of it.
    decision, revision, applied
        What somebody decided, and whether the dataset follows it.
    settled
        What the dataset follows.
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
    problem: str | None = None
    upscale_needed: float | None = None
    attention: float = 0.0
    confidence: Literal["low", "ok"] = "ok"
    companions: tuple[str, ...] = ()
    copies: tuple[Copy, ...] = ()
    decision: ShownDecision | None = None
    revision: int = 0
    applied: bool = True
    settled: ShownDecision | None = None


class ShownDecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody decided, as the page sends and receives it."""

    box: Box | None = None
    bucket: Size | None = None
    upscale: Annotated[float, msgspec.Meta(ge=1)] | None = None
    rejected: bool = False
    accepted: bool = False
    caption: str | None = None


class Bucket(msgspec.Struct, frozen=True):
    """One of the sizes and how many pictures have it."""

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
        Whether decisions can be applied.
    buckets, batches, samples
        The sizes, the batch plan of one epoch, and every picture, what most needs an eye first.
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


def key_of(name: str, kind: str = "source") -> str:
    """Return a short name for a source or an output that is safe in addresses."""
    return hashlib.sha256(f"{kind}\n{name}".encode("utf-8", "surrogatepass")).hexdigest()[:20]


def shown(decision: Decision) -> ShownDecision | None:
    """Return a decision as the page sees it; None where everything was taken back."""
    if decision.empty:
        return None
    return ShownDecision(decision.box, decision.bucket, decision.upscale, decision.rejected, decision.accepted, decision.caption)


def followed(record: Record, decision: Decision | None, caption: str | None) -> ShownDecision | None:
    """Return what a picture in the dataset was made by, as far as its record and its caption (None: unknown) say."""
    window, text = record.window_decided, record.caption_decided
    if window is None and text is None:
        return None
    now = decision or undecided(record.target)
    box, bucket, upscale = (now.box, now.bucket, now.upscale) if window == now.window_key else (record.box, record.bucket, None)
    if window is None:
        box = bucket = upscale = None
    words = None if text is None else now.caption if text == now.caption_key else caption
    return ShownDecision(box, bucket, upscale, caption=words)


def is_guess(record: Record) -> bool:
    """Tell whether a window was decided on too little: a face that is cut or may be none, a map that says not much."""
    if record.anchor == "face":
        return (
            any(face.kept < 1 for face in record.faces)
            or max((face.score for face in record.faces), default=0.0) < DOUBTFUL_SCORE
        )
    if record.anchor == "saliency":
        return record.saliency_kept is not None and record.saliency_kept < _SALIENCY_LOW
    return record.anchor == "center" and (record.area_kept or 1) < _AREA_LOW


def attention_of(entry: Entry) -> float:
    """Add up what may be wrong: what is lost weighs more than what is doubtful, and that more than what is said."""
    if entry.decision and (entry.decision.accepted or entry.decision.rejected):
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
