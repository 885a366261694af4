"""Audit the captions of a dataset: what they will teach, and where they are wrong about their pictures."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

import msgspec

from datakit.audit.alike import Fingerprinted
from datakit.audit.concept import check_written
from datakit.audit.contradictions import Contradictions
from datakit.audit.teaching import FUSED, LIMITS, Counted, Planned, leading_phrase
from datakit.audit.wording import estimate_tokens
from datakit.caption.captions import read_caption
from datakit.caption.lines import lines_are
from datakit.caption.tokens import Splitting, parse
from datakit.caption.trigger import near_misses
from datakit.dataset.manifest import MANIFEST, Record, read_manifest
from datakit.dataset.samples import caption_of
from datakit.errors import CaptionError
from datakit.report import counted as told
from datakit.run.executors import Crash
from datakit.run.stage import Execution

# The captions of so many pictures are looked at in one step: large ones are added up sooner, many let all processes end together.
_LEAST, _MOST, _STEPS = 1000, 3000, 20
# Fewer steps take less time than it takes to start processes.
_FEW = 4
_PACKED = msgspec.msgpack.Decoder(list[Record])
CURES = "take the words out of the captions where they are not the point, or vary the pictures"


@dataclass(frozen=True, slots=True)
class AuditedBy:
    """How captions are audited.

    Attributes
    ----------
    trigger
        The word that calls what is taught; nothing takes the first token of nearly all captions for it.
    meant
        Words that are meant to be part of it: its class, and what never varies.
    planned
        The shuffle that is still to come; None to take captions as they are.
    splitting
        How captions are read.
    measure
        Counts tokenizer tokens; see `datakit.audit.wording.tokenizer_counter`.
    """

    trigger: str = ""
    meant: Sequence[str] = ()
    planned: Planned | None = None
    splitting: Splitting = field(default_factory=Splitting)
    measure: Callable[[str], int] = estimate_tokens


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be looked at.

    Attributes
    ----------
    kind
        ``fused``, ``trigger-missing``, ``trigger-like``, ``lines``, ``contradiction``, ``same`` or ``nearly-same``.
    words
        What it is about.
    sentence, cure
        What is so, and what to do.
    files
        The pictures, where it is about some.
    """

    kind: str
    words: str
    sentence: str
    cure: str
    files: tuple[str, ...] = ()


@dataclass(slots=True)
class CaptionAudit:
    """What was found.

    Attributes
    ----------
    counted
        In how many captions each word stands.
    trigger, guessed
        The trigger, and whether it was guessed.
    remarks
        What is to be looked at.
    unread
        (caption, reason) of those that could not be read.
    """

    counted: Counted
    trigger: str = ""
    guessed: bool = False
    remarks: list[Remark] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)


def audit_captions(dataset: Path, how: AuditedBy = AuditedBy(), execution: Execution = Execution()) -> CaptionAudit:
    """Audit the captions of a dataset; memory grows with its words, not with its captions.

    Raises
    ------
    UsageError
        It is no dataset that a stage has finished.
    PlanError
        A line of its manifest cannot be used.
    """
    check_written(dataset)
    trigger = how.trigger or _guess(dataset, how.splitting)
    looked = partial(_look, dataset, how, trigger)
    seen = _Seen.of(how, trigger)
    pictures = _pictures(dataset)
    at_once = min(_MOST, max(_LEAST, pictures // _STEPS))
    parts = _parts(dataset, at_once)
    first = list(islice(parts, _FEW))
    few = execution.jobs <= 1 or len(first) < _FEW
    found = (replace(execution, executor="serial") if few else execution).run(looked, enumerate(chain(first, parts)))
    waiting: dict[int, _Seen] = {}
    merged = 0
    for (number, part), result in execution.progress(found, -(-pictures // at_once), "reading captions"):
        # What raised or took too long is looked at here, where it may raise and take its time.
        waiting[number] = looked((number, part)) if isinstance(result, Crash) else result
        while merged in waiting:
            seen.merge(waiting.pop(merged))
            merged += 1
    return _told(dataset, how, seen, guessed=bool(trigger and not how.trigger))


@dataclass(slots=True)
class _Seen:
    """What was seen in some of the captions.

    Attributes
    ----------
    counted, prints
        In how many captions each word stands, and which captions are alike.
    wrong, like
        The pictures of each contradiction, and of each word that is nearly the trigger.
    missing, torn
        Pictures whose captions lack the trigger, and whose caption file holds a tag a line.
    unread
        (caption, reason) of those that could not be read.
    """

    counted: Counted
    prints: Fingerprinted
    wrong: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    like: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, how: AuditedBy, trigger: str) -> _Seen:
        counted = Counted(trigger, how.measure, how.planned)
        return cls(counted, Fingerprinted(counted.numbers))

    def merge(self, other: _Seen) -> None:
        """Add what was seen in the captions of the pictures that follow."""
        places = self.counted.numbers.place(other.counted.numbers)
        self.counted.merge(other.counted, places)
        self.prints.merge(other.prints, places)
        for fault, files in other.wrong.items():
            self.wrong.setdefault(fault, []).extend(files)
        for word, files in other.like.items():
            self.like.setdefault(word, []).extend(files)
        self.missing += other.missing
        self.torn += other.torn
        self.unread += other.unread


def _parts(dataset: Path, at_once: int) -> Iterator[bytes]:
    """Yield the pictures, at least so many at a time and packed, as a worker gets them; the copies of one stay together."""
    part: list[Record] = []
    for record in read_manifest(dataset):
        if len(part) >= at_once and record.source != part[-1].source:
            yield msgspec.msgpack.encode(part)
            part = []
        part.append(record)
    if part:
        yield msgspec.msgpack.encode(part)


def _pictures(dataset: Path) -> int:
    """Return how many pictures there are at most."""
    with (dataset / MANIFEST).open("rb") as lines:
        return sum(1 for _ in lines)


def _look(dataset: Path, how: AuditedBy, trigger: str, item: tuple[int, bytes]) -> _Seen:
    """Look at the captions of some pictures."""
    seen, contradictions = _Seen.of(how, trigger), Contradictions()
    counted = seen.counted
    for record, lines in _read(dataset, _PACKED.decode(item[1]), seen.unread):
        first = record.copy in (None, 1)
        words = array("I")
        triggered = counted.triggered
        for line in lines:
            words += counted.add(line, parse(line, splitting=how.splitting), record.source if first else None)
        if first and lines_are(lines) != "captions":
            seen.torn.append(record.output)
        text = "\n".join(lines)
        for fault in contradictions.of(record, text):
            seen.wrong.setdefault(fault, []).append(record.output)
        if trigger and counted.triggered - triggered < len(lines):
            near = near_misses(lines, trigger)
            for word in near:
                seen.like.setdefault(word, []).append(record.output)
            if not near:
                seen.missing.append(record.output)
        if first:
            seen.prints.add(record.output, words)
    counted.phrases.settle()
    seen.prints.settle()
    return seen


def _told(dataset: Path, how: AuditedBy, seen: _Seen, *, guessed: bool) -> CaptionAudit:
    """Return what is to be said of what was seen."""
    found = CaptionAudit(seen.counted, seen.counted.trigger, guessed=guessed, unread=seen.unread)
    found.remarks += _fused(seen.counted, how.meant)
    found.remarks += _about_trigger(seen.counted, found.trigger, seen.missing, seen.like)
    if seen.torn:
        sentence = (
            f"{told(len(seen.torn), 'picture')} whose caption file holds one tag a line or wrapped lines: each is a caption"
        )
        cure = "datakit captions import SRC DATASET --join-lines makes one caption of them, in a dataset that crop wrote"
        found.remarks.append(Remark("lines", "", sentence, cure, tuple(seen.torn)))
    found.remarks += [
        Remark("contradiction", words, f"{words!r}, but {known}", "mend the caption, or choose another window", tuple(files))
        for (words, known), files in seen.wrong.items()
    ]
    # Pictures with the trigger alone share it as they are meant to.
    found.remarks += [each for each in _alike(dataset, seen.prints) if each.words != found.trigger]
    return found


def _read(dataset: Path, records: Iterable[Record], unread: list[tuple[str, str]]) -> Iterator[tuple[Record, tuple[str, ...]]]:
    """Yield the captions of each picture that has any."""
    for record in records:
        if record.caption is None:
            continue
        try:
            lines = read_caption(os.path.join(dataset, record.caption)).lines
        except CaptionError as error:
            unread.append((record.caption, str(error)))
            continue
        if lines:
            yield record, lines


def _guess(dataset: Path, splitting: Splitting) -> str:
    """Return the token that nearly all captions begin with; it is likely to be the trigger."""
    firsts: Counter[str] = Counter()
    captions = 0
    for number, (record, lines) in enumerate(_read(dataset, read_manifest(dataset), [])):
        if number >= 1000:
            break
        if record.copy in (None, 1):
            captions += len(lines)
            firsts.update(tokens[0].text for tokens in (parse(line, splitting=splitting).whole for line in lines) if tokens)
    return leading_phrase(firsts, captions)


def _fused(counted: Counted, meant: Sequence[str]) -> list[Remark]:
    with_it = "the trigger" if counted.trigger else "what is taught"
    return [
        Remark(
            "fused",
            each.text,
            f"{each.text!r} stands in {each.share:.0%} of the captions (over {FUSED:.0%}): it becomes part of {with_it}, and no prompt "
            "takes it away",
            f"{CURES}; if it is meant to be part of it, say --fuse",
        )
        for each in counted.fused(meant)
    ]


def _about_trigger(counted: Counted, trigger: str, missing: list[str], like: dict[str, list[str]]) -> list[Remark]:
    remarks = [
        Remark(
            "trigger-like",
            word,
            f"{word!r} in the captions of {told(len(files), 'picture')} looks like the trigger {trigger!r}",
            "mend the captions",
            tuple(files),
        )
        for word, files in sorted(like.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    if missing and counted.triggered:
        sentence = f"{told(len(missing), 'picture')} whose captions lack the trigger {trigger!r}"
        remarks.append(Remark("trigger-missing", trigger, sentence, "datakit shuffle --prefix puts it there", tuple(missing)))
    elif trigger and not counted.captions:
        cure = f"datakit crop SRC OUT --caption {trigger!r} gives each picture that one, or write captions beside the pictures"
        remarks.append(
            Remark("trigger-missing", trigger, f"no picture has a caption, so none holds the trigger {trigger!r}", cure)
        )
    elif trigger and not counted.triggered:
        remarks.append(
            Remark(
                "trigger-missing", trigger, f"no caption holds the trigger {trigger!r}", "datakit shuffle --prefix puts it there"
            )
        )
    return remarks


def _alike(dataset: Path, prints: Fingerprinted) -> list[Remark]:
    def read(name: str) -> str:
        try:
            return read_caption(dataset / caption_of(name)).text
        except CaptionError:
            return ""

    remarks = []
    for each in prints.alike():
        said = "have the same caption" if each.same else "have nearly the same caption"
        kind = "same" if each.same else "nearly-same"
        cure = "say what tells the pictures apart, or leave one out"
        remarks.append(Remark(kind, read(each.names[0])[:80], f"{len(each.names)} pictures {said}", cure, each.names))
    return remarks


def plain(audit: CaptionAudit, top: int) -> dict[str, object]:
    """Return an audit as plain data for ``--json``."""
    counted = audit.counted
    return {
        "captions": counted.captions,
        "styles": dict(counted.styles),
        "trigger": {"words": audit.trigger, "guessed": audit.guessed, "captions": counted.triggered},
        "words": [
            {
                "text": each.text,
                "captions": each.count,
                "share": round(each.share, 4),
                "without_trigger": each.alone if audit.trigger else None,
                "seen": round(each.seen, 4),
            }
            for each in counted.commonest(top)
        ],
        "once": counted.once(),
        "longer": {name: counted.longer_than(limit) for name, limit in LIMITS.items()},
        "findings": [
            {"kind": each.kind, "words": each.words, "problem": each.sentence, "remedy": each.cure, "files": list(each.files)}
            for each in audit.remarks
        ],
        "unread": [{"caption": name, "reason": reason} for name, reason in audit.unread],
    }
