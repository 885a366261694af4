"""What a person decided about pictures of a dataset: ``decisions.jsonl``, one line a crop, which every crop follows.

A line outlives what it says: taken back, it stays as a bare revision, so that two people who change the same picture
never take an old state for the current one. Which decision a picture was made by stands in its record, so that what
is still to be done is known from the two alone, whatever was interrupted between them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from filelock import FileLock

from datakit.caption.captions import decode_caption
from datakit.dataset.folder import holds
from datakit.dataset.layout import DECISIONS, DECISIONS_LOCK, STATE_FOLDER
from datakit.dataset.manifest import NOT_JSON, Record, check_decided, lines_of, to_line, write_atomically
from datakit.dataset.targets import CROPS, Crop, crop_in, source_of, target_of
from datakit.errors import CaptionError, PlanError
from datakit.geometry import Box, Size
from datakit.sizes import DEFAULT_SIZES

# Seconds that one change waits for another, which takes far less than one.
_PATIENCE = 10


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What was decided about one picture; what is not set stays as crop decides.

    Attributes
    ----------
    source
        The picture, relative to the source folder.
    crop
        Which of several crops of the picture is meant; None for the picture, where one is made, or its ``full`` one.
    box, bucket, sizes
        The window in pixels of the upright source, the size it is resized to, and the set of that (None: the default one); box
        and bucket, or neither.
    source_size
        Of the upright source when the window was drawn; a source of another size needs a new window.
    upscale
        The enlargement that is allowed for this picture, whatever the run allows.
    rejected
        The crop is taken out of the dataset; where no crop is named, all crops of the picture.
    accepted
        Somebody looked and found it good; crop does nothing with it.
    caption
        The new caption, one a line.
    caption_before
        The caption that it replaces: one edited in the dataset since then is left alone.
    revision
        Raised by each change.
    """

    source: str
    crop: Crop | None = None
    box: Box | None = None
    bucket: Size | None = None
    sizes: str | None = None
    source_size: Size | None = None
    upscale: Annotated[float, msgspec.Meta(ge=1)] | None = None
    rejected: bool = False
    accepted: bool = False
    caption: str | None = None
    caption_before: str | None = None
    revision: Annotated[int, msgspec.Meta(ge=0)] = 0

    @property
    def target(self) -> str:
        """The picture and which crop of it."""
        return target_of(self.source, self.crop)

    @property
    def window_key(self) -> str | None:
        """Short hash of what decides the window; None where crop does."""
        window = (self.box, self.bucket, self.sizes, self.upscale)
        return None if window == (None, None, None, None) else _short(msgspec.json.encode(window))

    @property
    def caption_key(self) -> str | None:
        """Short hash of the caption; None where the source's is used."""
        return None if self.caption is None else _short(clean_caption(self.caption).encode())

    @property
    def state(self) -> str:
        """What is decided, in a word, to be compared."""
        return "rejected" if self.rejected else f"{self.window_key} {self.caption_key}"

    @property
    def asks(self) -> bool:
        """True where crop would do something for the picture that it does for no other."""
        return self.window_key is not None or self.caption is not None

    @property
    def empty(self) -> bool:
        """True where everything was taken back."""
        return self == Decision(source=self.source, crop=self.crop, revision=self.revision)


_DECODER = msgspec.json.Decoder(Decision)


class ChangedMeanwhileError(Exception):
    """Somebody else changed the decision first; it holds the current one."""

    def __init__(self, current: Decision) -> None:
        super().__init__(f"{current.target} is at revision {current.revision}")
        self.current = current


def undecided(target: str) -> Decision:
    """Return the decision about a crop of a picture about which nothing was decided."""
    return Decision(source=source_of(target), crop=crop_in(target))


def read_decisions(dataset: Path) -> dict[str, Decision]:
    """Return the decisions about a dataset by target; none where there is no file.

    Raises
    ------
    PlanError
        The file cannot be read, or a line is no decision.
    """
    path = dataset / DECISIONS
    decisions: dict[str, Decision] = {}
    for _, where, line in lines_of(path) if path.exists() else ():
        if line.strip():
            decision = _parsed(line, where)
            if decision.target in decisions:
                raise PlanError(f"{where}: {decision.target} has a line already: leave one of the two")
            decisions[decision.target] = decision
    return decisions


def change_decision(dataset: Path, target: str, revision: int, change: Callable[[Decision], Decision]) -> Decision:
    """Change what was decided about one picture, at once, and return it with its new revision.

    Parameters
    ----------
    dataset, target
        The dataset, and the picture, relative to the source folder, with which crop of it.
    revision
        The revision that the change was made from; 0 where there was none.
    change
        Makes the new decision of the current one.

    Raises
    ------
    ChangedMeanwhileError
        The decision has another revision by now.
    OSError
        The disk is full, or somebody else is changing the file and does not end.
    PlanError
        The file cannot be read, or a line is no decision.
    """
    with _changing(dataset) as decisions:
        current = decisions.get(target, undecided(target))
        if current.revision != revision:
            raise ChangedMeanwhileError(current)
        changed = change(current)
        decisions[target] = msgspec.structs.replace(changed, source=current.source, crop=current.crop, revision=revision + 1)
        return decisions[target]


def add_windows(dataset: Path, windows: Sequence[Decision], known: Mapping[str, Decision]) -> None:
    """Decide on the windows of some pictures, but where somebody decided otherwise than is known. Raises as `change_decision`."""
    if not windows:
        return
    with _changing(dataset) as decisions:
        for window in windows:
            if decisions.get(window.target) == known.get(window.target):
                decisions[window.target] = with_window(decisions.get(window.target), window)


def add_captions(dataset: Path, captions: Mapping[str, tuple[str, str | None]]) -> list[str]:
    """Decide on the captions of some pictures and return those for which that is another than before.

    Parameters
    ----------
    dataset
        The dataset.
    captions
        By target: the new caption, and the one in the dataset that it replaces.

    Raises
    ------
    CaptionError
        A caption is empty, or no text.
    OSError, PlanError
        As `change_decision`.
    """
    changed = []
    with _changing(dataset) as decisions:
        for target, (text, before) in captions.items():
            current = decisions.get(target, undecided(target))
            caption = clean_caption(text)
            if caption != current.caption:
                revision = current.revision + 1
                decisions[target] = msgspec.structs.replace(current, caption=caption, caption_before=before, revision=revision)
                changed.append(target)
    return changed


def with_window(current: Decision | None, window: Decision) -> Decision:
    """Return a decision with another window; its revision is raised where that changes anything."""
    if current is None:
        return msgspec.structs.replace(window, revision=1)
    changed = {name: getattr(window, name) for name in ("box", "bucket", "sizes", "source_size")}
    upscale = max(filter(None, (current.upscale, window.upscale)), default=None)
    wanted = msgspec.structs.replace(current, **changed, upscale=upscale)
    return current if wanted == current else msgspec.structs.replace(wanted, revision=current.revision + 1)


def is_pending(
    decision: Decision,
    record: Record | None,
    source: Path | None,
    problem: str | None = None,
    considered: str | None = None,
) -> bool:
    """Tell whether the next crop will do something because of a decision.

    Parameters
    ----------
    decision
        About one picture.
    record
        The picture's in the manifest, None where it is not in the dataset.
    source
        The folder that the dataset is made from, if that is known: of a picture that is in neither, nothing will be made.
    problem
        Why the last run did not use it, if that is known.
    considered
        The state of the decision that the last run knew: as far as it could, it followed that.
    """
    if considered == decision.state or (record is None and not holds(source, decision.source)):
        return False
    if decision.rejected:
        return record is not None
    if record is None:
        return problem is None or decision.asks
    return (decision.window_key, decision.caption_key) != (record.window_decided, record.caption_decided)


def with_deleted(decisions: Mapping[str, Decision], records: Iterable[Record]) -> dict[str, Decision]:
    """Return decisions together with an empty one for each picture that was made by a decision whose line is gone."""
    made = (record.target for record in records if record.window_decided or record.caption_decided)
    return {target: undecided(target) for target in made} | dict(decisions)


@contextmanager
def _changing(dataset: Path) -> Iterator[dict[str, Decision]]:
    """Hand out the decisions about a dataset to be changed, and write them."""
    (dataset / STATE_FOLDER).mkdir(exist_ok=True)
    # Not the dataset's lock: a picture may be judged while crop runs, and two pages may be open.
    with FileLock(dataset / DECISIONS_LOCK, timeout=_PATIENCE):
        decisions = read_decisions(dataset)
        before = dict(decisions)
        yield decisions
        if decisions != before:
            lines = map(to_line, sorted(decisions.values(), key=lambda decision: decision.target))
            write_atomically(dataset / DECISIONS, lines)


def _parsed(line: bytes, where: str) -> Decision:
    try:
        decision = _DECODER.decode(line)
    except NOT_JSON as error:
        allowed = f" (a crop is {', '.join(CROPS)})" if "`$.crop`" in str(error) else ""
        raise PlanError(f"{where}: no decision: {error}{allowed}: mend or delete the line") from None
    check_decided(decision.source, decision.bucket, decision.sizes or DEFAULT_SIZES, where)
    if (decision.box is None) != (decision.bucket is None):
        raise PlanError(f"{where}: box and bucket belong together: give both, or neither")
    if decision.accepted and decision.rejected:
        raise PlanError(f"{where}: {decision.target} is both accepted and rejected: leave one of the two")
    if decision.caption is not None:
        try:
            clean_caption(decision.caption)
        except CaptionError as error:
            raise PlanError(f"{where}: {error}") from None
    return decision


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def clean_caption(text: str) -> str:
    """Return a caption as it is written to a file: lines without blank edges.

    Raises
    ------
    CaptionError
        It holds nothing, or what no text holds.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise CaptionError("the caption holds half a character (a lone surrogate): type it again") from None
    clean = decode_caption(data, "of the decision").text
    if not clean:
        raise CaptionError("the caption is empty: write one, or reject the picture")
    return clean
