"""The records of a dataset while it is written: the manifest of before, and a journal of what is new, on disk as they are."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec

from datakit.dataset.layout import JOURNAL
from datakit.dataset.manifest import MANIFEST, NOT_JSON, Record, check_recorded_once, parse_record
from datakit.errors import PlanError

# So many records are kept as they were read when the dataset was opened; more are read again, as a million would fill memory.
_KEPT = 20_000


class _Entry(msgspec.Struct):
    """One line of the journal: a record, the text of its caption, and the sha256 of an edited caption that it replaces."""

    record: msgspec.Raw
    text: str | None = None
    replaces: str | None = None


_ENTRY = msgspec.json.Decoder(_Entry)


class _Place(NamedTuple):
    """Where a line lies."""

    path: Path
    offset: int
    length: int


class Records:
    """Every record of a dataset by its output; a new one is written to the journal before it counts.

    Raises
    ------
    PlanError
        A line of the manifest or of the journal cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._open = ExitStack()
        self._manifest, self._journal_path = folder / MANIFEST, folder / JOURNAL
        self._places: dict[str, _Place] = {}
        self._kept: dict[str, Record] = {}
        # What the manifest said of outputs that the journal of an interrupted run speaks of.
        self._former: dict[str, Record | None] = {}
        try:
            self._index_manifest()
            self._index_journal()
            self._journal = self._open.enter_context(self._journal_path.open("ab", buffering=0))
            self._size = os.fstat(self._journal.fileno()).st_size
            self._readers = {
                path: self._open.enter_context(path.open("rb")) for path in (self._manifest, self._journal_path) if path.exists()
            }
        except BaseException:
            self._open.close()
            raise

    def __len__(self) -> int:
        return len(self._places)

    def outputs(self) -> list[str]:
        """Return the outputs of all records, sorted."""
        return sorted(self._places)

    def record(self, output: str) -> Record | None:
        """Return the record of an output, or None."""
        if output in self._kept:
            return self._kept[output]
        line = self.line(output)
        return None if line is None else parse_record(line, output)

    def line(self, output: str) -> bytes | None:
        """Return the record of an output as a line of JSON without its end, or None."""
        place = self._places.get(output)
        if place is None:
            return None
        line = self._read(place)
        return bytes(_ENTRY.decode(line).record) if place.path == self._journal_path else line.rstrip()

    def journalled(self, output: str) -> tuple[bool, str | None]:
        """Return whether the record of an output is new, and the text of its caption then."""
        place = self._places[output]
        return (True, _ENTRY.decode(self._read(place)).text) if place.path == self._journal_path else (False, None)

    def interrupted(self) -> Iterator[tuple[Record, Record | None, str | None]]:
        """Yield (record, record before, sha256 of a caption it replaces) of each output in an interrupted run's journal."""
        for output, former in self._former.items():
            record = self.record(output)
            if record is not None:
                yield record, former, _ENTRY.decode(self._read(self._places[output])).replaces

    def add(self, record: Record, text: str | None, replaces: str | None = None) -> _Place | None:
        """Append a record to the journal; return where the one before lies, for `restore`. Raises OSError on a full disk."""
        line = msgspec.json.encode({"record": record, "text": text, "replaces": replaces}) + b"\n"
        if self._journal.write(line) != len(line):
            # A full disk takes part of a line: take it back, or the next line would be glued to it.
            self._journal.truncate(self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        before = self._places.get(record.output)
        self._places[record.output] = _Place(self._journal_path, self._size, len(line))
        self._kept.pop(record.output, None)
        self._size += len(line)
        return before

    def restore(self, output: str, before: _Place | None) -> None:
        """Go back to what was known of an output."""
        self.drop(output)
        if before is not None:
            self._places[output] = before

    def drop(self, output: str) -> None:
        """Forget the record of an output."""
        self._places.pop(output, None)
        self._kept.pop(output, None)

    def end_journal(self) -> None:
        """Empty the journal: everything in it stands in the manifest."""
        self._journal.truncate(0)
        self._size = 0

    def close(self) -> None:
        """Close the files; an empty journal is removed."""
        if self._journal_path.stat().st_size == 0:
            self._journal_path.unlink()
        self._open.close()

    def _read(self, place: _Place) -> bytes:
        return os.pread(self._readers[place.path].fileno(), place.length, place.offset)

    def _index_manifest(self) -> None:
        if not self._manifest.exists():
            return
        offset = 0
        with self._manifest.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                where = f"{self._manifest}, line {number}"
                record = parse_record(line, where)
                check_recorded_once(record, self._places, where)
                self._places[record.output] = _Place(self._manifest, offset, len(line))
                if len(self._kept) < _KEPT:
                    self._kept[record.output] = record
                offset += len(line)

    def _index_journal(self) -> None:
        """Read what an interrupted run left; a last line that was cut short was never acted upon."""
        if not self._journal_path.exists():
            return
        offset = 0
        before: dict[str, _Place | None] = {}
        with self._journal_path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break
                where = f"{self._journal_path}, line {number}"
                try:
                    record = parse_record(bytes(_ENTRY.decode(line).record), where)
                except NOT_JSON as error:
                    raise PlanError(f"{where}: no entry of a journal: {error}; delete the file and run again") from None
                before.setdefault(record.output, self._places.get(record.output))
                self._places[record.output] = _Place(self._journal_path, offset, len(line))
                self._kept.pop(record.output, None)
                offset += len(line)
        os.truncate(self._journal_path, offset)
        self._former = dict.fromkeys(before)
        if self._manifest.exists():
            with self._manifest.open("rb") as lines:
                for output, place in before.items():
                    if place is not None:
                        self._former[output] = parse_record(os.pread(lines.fileno(), place.length, place.offset), output)
