"""A folder whose captions may lie elsewhere than in a text file beside each picture."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from datakit.caption.captions import Caption, decode_caption
from datakit.caption.encodings import agree
from datakit.caption.foreign import TABLES, Table, read_sidecar, read_table
from datakit.dataset.fingerprints import Fingerprints
from datakit.dataset.folder import Folder
from datakit.dataset.manifest import MANIFEST
from datakit.dataset.metadata import METADATA
from datakit.dataset.samples import ENTRY, Found, Sample, caption_name
from datakit.dataset.source import Opened, Source, read_caption_of
from datakit.errors import CaptionError
from datakit.report import counted, few

ORDER = (
    "a.txt, a.caption, a.tags, a.json, then metadata.jsonl and other tables of its folder or one above, then the picture itself"
)
_INSIDE = "inside"


class CaptionedFolder(Folder):
    """A `datakit.dataset.folder.Folder` that gives captions which other tools wrote to pictures without a text file.

    In this order: ``a.json`` or ``a.png.json`` beside the picture, a table (`datakit.caption.foreign.TABLES`) in its folder
    or the nearest one above that has its name, the prompt or the description inside the picture's own file. A caption
    that is no file of its own is called after where it is found: ``metadata.jsonl//a.png``.
    """

    def __init__(self, address: str | os.PathLike[str]) -> None:
        super().__init__(address)
        self._tables: dict[str, Table | None] = {}
        self._tables_in: dict[str, list[str]] = {}
        self._faults: dict[str, str] = {}
        self._broken: list[str] = []

    def __getstate__(self) -> dict[str, object]:
        """Leave the tables behind: a worker reads those it needs."""
        return {**self.__dict__, "_tables": {}}

    def find(self) -> Found:
        """Find the samples. Raises as `datakit.dataset.folder.Folder.find`."""
        found = super().find()
        self._broken = []
        told: Counter[str] = Counter()
        used: set[str] = set()
        samples = []
        for sample in found.samples:
            place = None if sample.caption_id else self._place_of(sample.id)
            if place is not None:
                name, key = place
                file, _, entry = name.partition(ENTRY)
                told[f"{key} in pictures" if entry == _INSIDE else f"{file}{key}" if entry else f".json files{key}"] += 1
                used |= {file} if entry != _INSIDE else set()
                sample = replace(sample, caption_id=name)  # noqa: PLW2901
            samples.append(sample)
        others = Counter(found.others)
        others.subtract(os.path.splitext(name)[1].lower() for name in used)
        notes = tuple(f"{counted(number, 'caption')} from {where}" for where, number in told.items())
        if self._broken:
            self._faults[".json"] = (
                f"no captions from {counted(len(self._broken), '.json file')} that cannot be read: {few(self._broken)}"
            )
        kept = {extension: number for extension, number in others.items() if number > 0}
        return replace(found, samples=tuple(samples), others=kept, captions=(*notes, *self._faults.values()))

    def read(self, name: str) -> Opened:
        """Return a file, or a caption that another tool wrote, as UTF-8. Raises OSError."""
        file, _, entry = name.partition(ENTRY)
        if not entry and not _is_sidecar(name):
            return super().read(name)
        status = os.stat(self.path(file))
        return Opened(self._words(file, entry).encode(), (status.st_size, status.st_mtime_ns))

    def content_id(self, name: str, seen: Fingerprints | None = None) -> str | None:
        """Return the sha256 of a file or of a caption that another tool wrote; None where it is gone or cannot be read."""
        file, _, entry = name.partition(ENTRY)
        if not entry and not _is_sidecar(name):
            return super().content_id(name, seen)
        try:
            return hashlib.sha256(self._words(file, entry).encode()).hexdigest()
        except OSError:
            return None

    def caption_elsewhere(self, picture: str) -> Caption | None:
        """Return the caption that another tool wrote to a picture without a text file; None where there is none.

        Raises CaptionError where it is no text.
        """
        place = self._place_of(picture)
        try:
            return decode_caption(self.read(place[0]).data, caption_name(place[0])) if place else None
        except OSError:
            return None

    def _words(self, file: str, entry: str) -> str:
        """Return the caption of one picture; nothing where it is gone. Raises OSError."""
        if not entry:
            found = _sidecar(self.path(file), file)
            return found[0] if found else ""
        if entry == _INSIDE:
            from datakit.picture.words import words_in

            words = words_in(self.path(file).read_bytes())
            return words.text if words else ""
        table = self._table(file)
        return table.captions.get(entry, "") if table else ""

    def _place_of(self, picture: str) -> tuple[str, str] | None:
        """Return where the caption of a picture lies, and under which key; None where there is none."""
        for name in (f"{os.path.splitext(picture)[0]}.json", f"{picture}.json"):
            try:
                found = read_sidecar(self.path(name).read_bytes(), name) if os.path.isfile(self.path(name)) else None
            except (CaptionError, OSError):
                self._broken.append(name)
                continue
            if found:
                return name, f" ({found[1]})" if found[1] else ""
        for file in self._tables_above(picture):
            table = self._table(file)
            entry = table.entry_of(picture[len(file) - len(os.path.basename(file)) :]) if table else None
            if table and entry:
                return f"{file}{ENTRY}{entry}", f" ({', '.join(table.keys)})" if table.keys else ""
        from datakit.picture.words import HEAD, may_hold_words, words_in

        try:
            with self.path(picture).open("rb") as opened:
                head = opened.read(HEAD)
                words = words_in(head + opened.read()) if may_hold_words(head) else None
        except OSError:
            return None
        return (f"{picture}{ENTRY}{_INSIDE}", words.place) if words else None

    def _tables_above(self, picture: str) -> Iterator[str]:
        """Yield the tables in a picture's folder, then those in the folders above, the nearest first."""
        inside = os.path.dirname(picture)
        while True:
            if inside not in self._tables_in:
                start = f"{inside}/" if inside else ""
                # What datakit wrote there repeats the captions that lay beside the pictures: one taken away stays away.
                ours = {METADATA} if os.path.isfile(self.path(f"{start}{MANIFEST}")) else set()
                files = [f"{start}{name}" for name in TABLES if name not in ours]
                self._tables_in[inside] = [file for file in files if os.path.isfile(self.path(file))]
            yield from self._tables_in[inside]
            if not inside:
                return
            inside = os.path.dirname(inside)

    def _table(self, file: str) -> Table | None:
        """Return a table, read once; None where it cannot be."""
        if file not in self._tables:
            try:
                self._tables[file] = read_table(self.path(file).read_bytes(), file)
            except (CaptionError, OSError) as error:
                self._tables[file] = None
                self._faults[file] = f"no captions from {file}: {error}"
        return self._tables[file]


def agreed_encoding(samples: tuple[Sample, ...], source: Source) -> str | None:
    """Return the encoding that the captions of a source that are not UTF-8 have in common; None where there is none."""

    def captions() -> Iterator[bytes]:
        for sample in samples:
            try:
                yield read_caption_of(sample, source) or b""
            except CaptionError:
                continue

    return agree(captions())


def _is_sidecar(name: str) -> bool:
    return name.lower().endswith(".json")


def _sidecar(path: Path, name: str) -> tuple[str, str] | None:
    """Return the caption in a JSON file and its key; None where it holds none. Raises OSError."""
    try:
        return read_sidecar(path.read_bytes(), name)
    except CaptionError:
        return None
