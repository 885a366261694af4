"""A dataset folder while datakit writes it: lock, journal, what is up to date, atomic commits.

A worker puts finished files into ``.datakit/tmp``. `Store.commit` first appends the record to the journal and
then moves the files into place, so that after an interruption at any moment every file in the folder is
either known by its sha256 or not datakit's. `Store.finish` merges the journal into the manifest.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import msgspec
from filelock import FileLock, Timeout

from datakit.dataset.companions import COMPANIONS
from datakit.dataset.fingerprints import Fingerprints, hash_file
from datakit.dataset.layout import FINGERPRINTS, JOURNAL, LEFT, LOCK, STATE_FOLDER, TEMPORARY
from datakit.dataset.links import place
from datakit.dataset.manifest import MANIFEST, NOT_JSON, Record, write_atomically
from datakit.dataset.metadata import METADATA, metadata_rows, read_metadata, write_card
from datakit.dataset.origin import refuse_strangers_folder
from datakit.dataset.records import Records
from datakit.dataset.samples import caption_of, fold
from datakit.errors import DatasetBusyError, OccupiedError, SampleError, UsageError
from datakit.picture.formats import PICTURE_SUFFIXES


def is_interrupted(dataset: Path) -> bool:
    """Tell whether a dataset holds the rest of a run that was interrupted, or of one that is still at work."""
    with suppress(OSError):
        if (dataset / JOURNAL).stat().st_size:
            return True
    with suppress(OSError):
        return bool(os.listdir(dataset / TEMPORARY))
    return False


class EditedCaption(NamedTuple):
    """A caption file that somebody edited, its sha256 now, and which decision it had been written by before."""

    name: str
    sha256: str
    decided: str | None


def _read_left(dataset: Path) -> dict[str, str]:
    """Return the sha256 of files that were left in a dataset because somebody had edited them, by name."""
    try:
        return msgspec.json.decode((dataset / LEFT).read_bytes(), type=dict[str, str])
    except (OSError, *NOT_JSON):
        return {}


class Store:
    """A dataset folder held for writing; use it as a context manager.

    Raises
    ------
    UsageError
        The folder cannot be made or written to.
    DatasetBusyError
        Another run holds it.
    PlanError
        A line of its manifest cannot be used.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False, verify: bool = False) -> None:
        self.folder = folder
        self._root = os.path.abspath(folder)  # joined by hand below, where a Path for every file would cost half the time
        self.state = folder / STATE_FOLDER
        self.temporary = folder / TEMPORARY
        self._temporary = str(self.temporary)
        self._overwrite = overwrite
        self._open = ExitStack()
        # What `withdraw` takes away again.
        self._made = [each for each in (self.state, folder, *folder.absolute().parents) if not each.exists()]
        self._withdrawn = False
        if self.state in self._made and not overwrite:
            refuse_strangers_folder(folder)
        try:
            self._refuse_links()
            self.temporary.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / LOCK, timeout=0)
            lock.acquire()
            self._open.callback(lock.release)
            self._open.callback(self._remove_traces)
        except Timeout:
            raise DatasetBusyError(f"{folder} is being written by another run of datakit: wait until it has ended") from None
        except OSError as error:
            raise UsageError(f"{folder} cannot be written to: {error.strerror or error}") from error
        try:
            self.fingerprints = Fingerprints(folder / FINGERPRINTS, verify)
            self._open.callback(self.fingerprints.close)
            self._clear_temporary()
            # Nothing can be lost in a folder that holds nothing: the look at every file before it is written is saved.
            self._empty = os.listdir(folder) == [STATE_FOLDER]
            self._records = Records(folder)
            self._open.callback(self._records.close)
            self._unfinished: dict[str, frozenset[str]] = {}
            self._find_unfinished()
            self._left = _read_left(folder)
            foreign = (folder / METADATA).exists() and not (folder / MANIFEST).exists() and not self._records
            if foreign and not overwrite:
                raise UsageError(
                    f"{folder / METADATA} was not written by datakit: move it away, or use --overwrite to replace it"
                )
            # Files of somebody's own that were replaced, as a run was told to.
            self.replaced = [METADATA] if foreign else []
            self._empty = self._empty and not self._records
        except sqlite3.Error as error:
            self._open.close()
            raise UsageError(f"{folder} cannot be written to: {error}") from error
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def __len__(self) -> int:
        return len(self._records)

    def withdraw(self) -> None:
        """Leave the folder, at the end, as it was found: for a run that commits nothing."""
        self._withdrawn = True

    def _remove_traces(self) -> None:
        """Remove the unfinished files of a run that was withdrawn, and the folders that it made; the lock is still held."""
        if not self._withdrawn:
            return
        shutil.rmtree(self.state if self.state in self._made else self.temporary, ignore_errors=True)
        with suppress(OSError):  # somebody put a file there meanwhile
            for made in self._made[1:]:
                made.rmdir()

    def _refuse_links(self) -> None:
        """Make sure that the working folder is no way out of the dataset: files there are cut short and deleted."""
        places = [self.state, *(self.state.iterdir() if self.state.is_dir() else ())]
        for each in places:
            if each.is_symlink():
                raise UsageError(f"{each} is a link, which datakit never makes there: delete it and run again")

    def leads_out(self, name: str) -> bool:
        """Tell whether a file of the dataset would lie elsewhere, behind a link in place of a folder."""
        place = os.path.dirname(f"{self._root}/{name}")
        return os.path.realpath(place) != os.path.normpath(os.path.join(os.path.realpath(self._root), os.path.dirname(name)))

    def outputs(self) -> list[str]:
        """Return the outputs of all records, sorted."""
        return self._records.outputs()

    def record(self, output: str) -> Record | None:
        """Return the record of an output, or None."""
        return self._records.record(output)

    def is_unfinished(self, record: Record) -> bool:
        """Tell whether a run was interrupted before all files of a record lay in place."""
        return record.output in self._unfinished

    def missing(self, record: Record) -> bool:
        """Tell whether a file of a record is gone."""
        return any(not (self.folder / name).exists() for name, _ in record.files)

    def edited(self, record: Record) -> list[str]:
        """Return the files of a record that somebody changed since they were written."""
        found = [(name, digest, self.fingerprints.sha256(self.folder / name)) for name, digest in record.files]
        ours = self._unfinished.get(record.output, frozenset())
        return [name for name, digest, now in found if now not in (digest, None) and now not in ours]

    def edited_caption(self, output: str) -> EditedCaption | None:
        """Return the caption file beside an output if somebody edited it since datakit wrote it."""
        if self._empty:
            return None
        name = caption_of(output)
        owner = self._caption_owner(name)
        sha256 = self.fingerprints.sha256(self.folder / name) if owner or name in self._left else None
        if sha256 is None or not (self._left.get(name) == sha256 or (owner and self.has_edited_caption(owner))):
            return None
        return EditedCaption(name, sha256, owner.caption_decided if owner else None)

    def has_edited_caption(self, record: Record) -> bool:
        """Tell whether somebody edited the caption of a record, in this run's time or before."""
        return record.caption_edited or record.caption in self.edited(record)

    def check_free(self, names: Sequence[str | None], record: Record | None, held: Callable[[str], str | None]) -> None:
        """Make sure that writing these files, the picture, its caption and then its companions, loses nothing of the user's.

        ``held`` returns the sha256 of what a file is made from.

        Raises
        ------
        OccupiedError
            A file is there that datakit did not write, or that was edited since.
        """
        if self._empty:
            return
        for each in filter(None, names):
            if self.leads_out(each):
                raise OccupiedError(
                    f"{each} would be written through a link that leads out of the dataset: replace the link by a folder"
                )
        if self._overwrite or not any(os.path.lexists(f"{self._root}/{name}") for name in names if name):
            return
        owners = [owner for owner in (record, *(self._owner(name) for name in names if name)) if owner]
        edited = {name for owner in owners for name in self.edited(owner)}
        known = {name for owner in owners for name, _ in owner.files}
        # A link to its source changes when the source is edited: what the source still holds is not lost.
        edited -= {name for name in edited if self.fingerprints.sha256(self.folder / name) == held(name)}
        left = {name for name in names if name in self._left and self._left[name] == self.fingerprints.sha256(self.folder / name)}
        edited, known = edited | left, known | left
        for name in names:
            # An edited caption stays (see `edited_caption`), so only a picture is in the way.
            if name in edited and name != names[1]:
                raise OccupiedError(f"{name} was edited since datakit wrote it: move it away, or use --overwrite to replace it")
            if name is not None and name not in known and os.path.lexists(self.folder / name):
                raise OccupiedError(
                    f"{name} is in the way and is not, or no longer, datakit's: move it away, or use --overwrite to replace it"
                )

    def commit(
        self,
        record: Record,
        text: str | None,
        files: Sequence[tuple[str | None, str]],
        *,
        link: str | None = None,
        replaces: str | None = None,
    ) -> None:
        """Journal a record, then move its finished files (path, sha256) into place: the first of its files, as far as they change.

        A file whose path is None stays as it is.
        ``replaces`` is the sha256 of a caption edited by hand that the new one replaces.
        With ``link``, a name for `datakit.dataset.links.place`, the picture and its companions are linked and stay where they are.

        Raises
        ------
        SampleError
            That kind of link cannot be made here.
        OSError
            The disk is full, or a folder cannot be written to.
        """
        lost = self._about_to_lose(record, files) if self._overwrite and not self._empty else []
        before = self._records.add(record, text, replaces)
        try:
            for (name, _), (path, sha256) in zip(record.files, files, strict=False):
                if path is None:
                    continue
                final, linked = f"{self._root}/{name}", None if name == record.caption else link
                try:
                    self._put(path, final, linked)
                except FileNotFoundError:
                    os.makedirs(os.path.dirname(final), exist_ok=True)
                    self._put(path, final, linked)
                self.fingerprints.remember(final, sha256)
        except (OSError, SampleError):
            self._records.restore(record.output, before)
            raise
        self.replaced += lost

    def _about_to_lose(self, record: Record, files: Sequence[tuple[str | None, str]]) -> list[str]:
        """Return which files of somebody's own a record's replace, but for captions as `edited_caption` tells them."""
        lost = []
        for (name, _), (path, sha256) in zip(record.files, files, strict=False):
            owner = self.record(name) or self._owner(name)
            theirs = name in self.edited(owner) if owner else os.path.lexists(f"{self._root}/{name}")
            told = path is None or (name == record.caption and self.edited_caption(record.output))
            if theirs and not told and self.fingerprints.sha256(self.folder / name) not in (None, sha256):
                lost.append(name)
        return lost

    def _put(self, path: str, final: str, link: str | None) -> None:
        if link:
            place(path, final, link, f"{self._temporary}/link")
        else:
            os.replace(path, final)

    def forget(self, record: Record) -> list[str]:
        """Delete the files of a record and drop it; return those left because somebody edited them."""
        edited = self.edited(record)
        if record.caption_edited and record.caption and record.caption not in edited:
            edited.append(record.caption)
        self._records.drop(record.output)
        edited = [name for name in edited if name == record.output or self._owner(name) is None]
        self._left |= {name: self.fingerprints.sha256(self.folder / name) or "" for name in edited}
        if self.leads_out(record.output):
            return edited
        twins = self._stems[fold(os.path.splitext(record.output)[0])] - {record.output}
        for name, _ in record.files:
            if name not in edited and self._owner(name) is None and not (twins and self._is_alias(name)):
                (self.folder / name).unlink(missing_ok=True)
        return edited

    def drop_companions(self, before: Record, now: Record) -> None:
        """Delete the companions that an output had before and has no longer, but for those that somebody edited."""
        kept = {each.output for each in now.companions}
        gone = {each.output for each in before.companions} - kept
        for name in gone.difference(self.edited(before) if gone else ()):
            (self.folder / name).unlink(missing_ok=True)

    @cached_property
    def _stems(self) -> dict[str, set[str]]:
        """All outputs by their stems, those together that some disks take for one name."""
        stems: dict[str, set[str]] = defaultdict(set)
        for output in self.outputs():
            stems[fold(os.path.splitext(output)[0])].add(output)
        return stems

    def _is_alias(self, name: str) -> bool:
        """Tell whether a name, on some disks, finds a file that is listed under another case or Unicode form."""
        path = self.folder / name
        return path.exists() and path.name not in os.listdir(path.parent)

    def finish(self) -> None:
        """Write the manifest and the metadata, each in the order of the outputs, and the card, and end the journal."""
        outputs = self.outputs()
        self._write_if_changed(MANIFEST, ((self._records.line(output) or b"") + b"\n" for output in outputs))
        self._write_if_changed(METADATA, self._metadata(outputs))
        write_card(self.folder)
        self._records.end_journal()
        left = {name: sha256 for name, sha256 in self._left.items() if os.path.exists(f"{self._root}/{name}")}
        if left != _read_left(self.folder):
            write_atomically(self.folder / LEFT, msgspec.json.encode(left))
        shutil.rmtree(self.temporary, ignore_errors=True)

    def _write_if_changed(self, name: str, lines: Iterator[bytes]) -> None:
        fresh = self.temporary / name
        write_atomically(fresh, lines)
        digest = hash_file(fresh)
        if self.fingerprints.sha256(self.folder / name) == digest:
            fresh.unlink()
        else:
            os.replace(fresh, self.folder / name)
            self.fingerprints.remember(f"{self._root}/{name}", digest)

    def _metadata(self, outputs: list[str]) -> Iterator[bytes]:
        """Yield the rows of each picture."""
        before = read_metadata(self.folder)
        for output in outputs:
            new, text = self._records.journalled(output)
            if new:
                yield metadata_rows(output, text)
            elif output in before:
                yield before[output]
            else:
                yield metadata_rows(output, self._text(output))

    def _text(self, output: str) -> str | None:
        """Read the caption of an output again, where the metadata has lost it."""
        record = self.record(output)
        if record is None or record.caption is None:
            return None
        with suppress(OSError):
            return (self.folder / record.caption).read_text("utf-8", "replace")
        return None

    def _owner(self, name: str) -> Record | None:
        """Return the record that a caption file or a companion belongs to."""
        stem = os.path.splitext(name)[0]
        if name.startswith(f"{COMPANIONS}/") and name.endswith(".png"):
            stem = stem.split("/", 2)[-1]
        records = (self.record(f"{stem}{suffix}") for suffix in PICTURE_SUFFIXES)
        return next((each for each in records if each is not None and name in dict(each.files[1:])), None)

    def _caption_owner(self, name: str) -> Record | None:
        """Return the record whose caption file this is: a picture of the same stem, in any format written."""
        owner = self._owner(name)
        return owner if owner is not None and owner.caption == name else None

    def _find_unfinished(self) -> None:
        """Note outputs that were journalled but whose files were not all moved into place: they are made again.

        What lies there is then as the record before says, which is no edit of the user's.
        """
        for record, before, replaces in self._records.interrupted():
            then = {replaces, *(sha256 for _, sha256 in (before.files if before else ()))}
            for name, digest in record.files:
                now = self.fingerprints.sha256(self.folder / name)
                if now != digest and (now is None or now in then):
                    self._unfinished[record.output] = frozenset(filter(None, then))

    def _clear_temporary(self) -> None:
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(exist_ok=True)
