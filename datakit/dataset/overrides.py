"""What a person decided about pictures of a dataset: ``overrides.jsonl``, one line a source.

A line outlives what it says: taken back, it stays as a bare revision, so that two people who change the same picture
never take an old state for the current one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import msgspec
from filelock import FileLock

from datakit.caption.captions import decode_caption
from datakit.dataset.manifest import NOT_JSON, Record, check_decided, lines_of, to_line, write_atomically
from datakit.dataset.samples import STATE_FOLDER
from datakit.errors import CaptionError, PlanError
from datakit.geometry import Box, Size

OVERRIDES = "overrides.jsonl"
# The overrides as crop last applied them, in the dataset's state: what differs is still to be applied or taken back.
_APPLIED = "applied.jsonl"
# Those that a run of crop is applying, left there by one that was killed: some of them may be followed already.
_APPLYING = "applying.jsonl"


class Override(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What was decided about one picture; what is not set stays as crop decided.

    Attributes
    ----------
    source
        The picture, relative to the source folder.
    box, bucket
        The window in pixels of the upright source and the size it is resized to; both or neither.
    source_size
        Of the upright source when the window was drawn; a source of another size needs a new window.
    rejected
        The picture is taken out of the dataset.
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
    box: Box | None = None
    bucket: Size | None = None
    source_size: Size | None = None
    rejected: bool = False
    accepted: bool = False
    caption: str | None = None
    caption_before: str | None = None
    revision: Annotated[int, msgspec.Meta(ge=0)] = 0

    @property
    def decision(self) -> tuple[Box | None, Size | None, bool, str | None]:
        """What crop acts upon."""
        return self.box, self.bucket, self.rejected, self.caption

    @property
    def empty(self) -> bool:
        """True where everything was taken back."""
        return self == Override(source=self.source, revision=self.revision)


_DECODER = msgspec.json.Decoder(Override)


class ChangedMeanwhileError(Exception):
    """Somebody else changed the override first; it holds the current one."""

    def __init__(self, current: Override) -> None:
        super().__init__(f"{current.source} is at revision {current.revision}")
        self.current = current


def read_overrides(dataset: Path) -> dict[str, Override]:
    """Return the overrides of a dataset by source; none where there is no file.

    Raises
    ------
    PlanError
        The file cannot be read, or a line is no override.
    """
    return _read(dataset / OVERRIDES)


def change_override(dataset: Path, source: str, revision: int, change: Callable[[Override], Override]) -> Override:
    """Change what was decided about one picture, at once, and return it with its new revision.

    Parameters
    ----------
    dataset, source
        The dataset and the picture, relative to the source folder.
    revision
        The revision that the change was made from; 0 where there was none.
    change
        Makes the new override of the current one.

    Raises
    ------
    ChangedMeanwhileError
        The override has another revision by now.
    PlanError
        The file cannot be read, or a line is no override.
    """
    (dataset / STATE_FOLDER).mkdir(exist_ok=True)
    # Not the dataset's lock: a picture may be judged while crop runs, and two pages may be open.
    with FileLock(dataset / STATE_FOLDER / "overrides.lock", timeout=10):
        overrides = read_overrides(dataset)
        current = overrides.get(source, Override(source=source))
        if current.revision != revision:
            raise ChangedMeanwhileError(current)
        overrides[source] = msgspec.structs.replace(change(current), source=source, revision=revision + 1)
        _write(dataset / OVERRIDES, overrides.values())
        return overrides[source]


def read_applied(dataset: Path) -> dict[str, Override]:
    """Return the overrides as crop last applied them; none where nothing is known."""
    return _read_own(dataset / STATE_FOLDER / _APPLIED)


def write_applied(dataset: Path, applied: Iterable[Override]) -> None:
    """Note which overrides the dataset now follows."""
    _write(dataset / STATE_FOLDER / _APPLIED, applied)


def read_applying(dataset: Path) -> dict[str, Override]:
    """Return the overrides that a killed run was applying; none where no run was."""
    return _read_own(dataset / STATE_FOLDER / _APPLYING)


def write_applying(dataset: Path, overrides: Iterable[Override]) -> None:
    """Note which overrides a run is about to follow."""
    _write(dataset / STATE_FOLDER / _APPLYING, overrides)


def end_applying(dataset: Path) -> None:
    """Note that the run which followed them is over."""
    (dataset / STATE_FOLDER / _APPLYING).unlink(missing_ok=True)


def is_new(override: Override, applied: Override | None) -> bool:
    """Tell whether a decision is another than the one that crop last applied."""
    return override.decision != (applied or Override(source=override.source)).decision


def is_pending(override: Override, applied: Override | None, record: Record | None) -> bool:
    """Tell whether crop has still to act: ``record`` is the picture's in the manifest, None where it is not in the dataset."""
    if override.rejected:
        return record is not None
    if record is None:
        return is_new(override, applied) or override.box is not None
    # With a picture that is in the dataset it is of no account that it was rejected once.
    if is_new(override, applied and msgspec.structs.replace(applied, rejected=False)):
        return True
    if override.caption is not None and not record.caption_edited:
        return True
    return override.box is not None and (record.box, record.bucket) != (override.box, override.bucket)


def _write(path: Path, overrides: Iterable[Override]) -> None:
    write_atomically(path, map(to_line, sorted(overrides, key=lambda override: override.source)))


def _read(path: Path) -> dict[str, Override]:
    overrides: dict[str, Override] = {}
    for _, where, line in lines_of(path) if path.exists() else ():
        if line.strip():
            override = _parsed(line, where)
            if override.source in overrides:
                raise PlanError(f"{where}: {override.source} has a line already: leave one of the two")
            overrides[override.source] = override
    return overrides


def _read_own(path: Path) -> dict[str, Override]:
    """Read what only datakit writes; a damaged file is as good as none."""
    try:
        return _read(path)
    except PlanError:
        return {}


def _parsed(line: bytes, where: str) -> Override:
    try:
        override = _DECODER.decode(line)
    except NOT_JSON as error:
        raise PlanError(f"{where}: no override: {error}") from None
    check_decided(override.source, override.bucket, where)
    if (override.box is None) != (override.bucket is None):
        raise PlanError(f"{where}: box and bucket belong together: give both, or neither")
    if override.accepted and override.rejected:
        raise PlanError(f"{where}: {override.source} is both accepted and rejected: leave one of the two")
    if override.caption is not None:
        try:
            clean_caption(override.caption)
        except CaptionError as error:
            raise PlanError(f"{where}: {error}") from None
    return override


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
    clean = decode_caption(data, "of the override").text
    if not clean:
        raise CaptionError("the caption is empty: write one, or reject the picture")
    return clean
