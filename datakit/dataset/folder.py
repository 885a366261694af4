"""A folder as a source: pictures and captions in it and in all folders below."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from datakit.dataset.companions import companions_of
from datakit.dataset.fingerprints import Fingerprints, hash_file
from datakit.dataset.layout import VIEW
from datakit.dataset.origin import refuse_in_source
from datakit.dataset.pairing import is_caption, pair
from datakit.dataset.samples import CAPTION_EXTENSIONS, PICTURE_EXTENSIONS, Found, Sample, may_be_picture
from datakit.dataset.source import Opened
from datakit.dataset.systems import is_system_file, is_system_folder, not_downloaded
from datakit.errors import NoPicturesError, UsageError
from datakit.picture.kinds import kind_of
from datakit.report import counted, few


class Folder:
    """A `datakit.dataset.source.Source` whose names are paths relative to a folder."""

    def __init__(self, address: str | os.PathLike[str]) -> None:
        self.address = os.fspath(address)
        self._folder = Path(address)

    @property
    def identity(self) -> str:
        """The absolute path, links resolved."""
        return str(self._folder.resolve())

    def path(self, name: str) -> Path:
        """Return where a picture or a caption lies."""
        return self._folder / name

    def find(self) -> Found:
        """Find the samples.

        Raises
        ------
        NoPicturesError
            The folder holds no pictures.
        UsageError
            The folder does not exist, is no folder, or cannot be read.
        """
        found = find_samples(self._folder)
        if not found.samples and not found.refused:
            raise NoPicturesError(
                f"{self.address} holds no pictures: looked for .jpg .png .webp .bmp .tif .avif .gif and more, "
                "in all folders that are not hidden"
            )
        return found

    def read(self, name: str) -> Opened:
        """Return a file and the size and time of change that it had before it was read. Raises OSError."""
        with self.path(name).open("rb") as file:
            status = os.fstat(file.fileno())
            return Opened(file.read(), (status.st_size, status.st_mtime_ns))

    def content_id(self, name: str, seen: Fingerprints | None = None) -> str | None:
        """Return the sha256 of a file; None where it is gone or cannot be read."""
        if seen is not None:
            return seen.sha256(self.path(name))
        try:
            return hash_file(self.path(name))
        except OSError:
            return None

    def learn(self, name: str, stamp: tuple[int, int], sha256: str, seen: Fingerprints) -> None:
        """Have the sha256 remembered of a file that was read when it had this stamp."""
        seen.learn(self.path(name), stamp, sha256)

    def refuse_output(self, output: Path) -> None:
        """Make sure that a dataset written there leaves the folder, and what it was made from, alone.

        Raises
        ------
        UsageError
            The output is a file, the folder itself or inside it, encloses it, or lies in a source of it.
        """
        folder, place = self._folder.resolve(), output.resolve()
        nothing = "nothing in a source is ever changed"
        if output.exists() and self._folder.exists() and place == folder:
            raise UsageError(f"{output} is the source folder itself: name another folder to write to, {nothing}")
        if output.exists() and not output.is_dir():
            raise UsageError(f"{output} is a file: name a folder to write to")
        if folder in place.parents:
            raise UsageError(f"{output} lies inside the source folder {self.address}: name a folder outside it, {nothing}")
        if place in folder.parents:
            raise UsageError(f"the source folder {self.address} lies inside {output}: name another folder to write to")
        refuse_in_source(output, [self._folder])


def find_samples(folder: Path) -> Found:
    """Walk a folder recursively and pair each picture with its caption; see `datakit.dataset.pairing.pair`.

    Hidden files and folders are left out, and what belongs to a system, accompanies another picture, or is a view made for a trainer. Links are followed; a
    link back to a folder that encloses it is refused. What has no extension of a picture is looked into where its name says
    little, as that of some downloads.

    Raises
    ------
    UsageError
        The folder does not exist, is no folder, or cannot be read.
    """
    if not folder.exists():
        raise UsageError(f"{folder} does not exist")
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    walk = _Walk(folder)
    for inside, entries in walk:
        walk.sort_out(inside, entries)
    return walk.found()


class _Walk:
    """The way through a folder, and what was found on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Folders still to look into, each with the identities of those that enclose it.
        self._stack: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", (_identity(folder),))]
        self._above: tuple[tuple[int, int], ...] = ()
        self._samples: list[Sample] = []
        self._refused: list[tuple[str, str]] = []
        self._strays: list[str] = []
        self._others: Counter[str] = Counter()
        self._systems: list[str] = []
        self._by_case: list[str] = []
        self._views: list[str] = []

    def __iter__(self) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
        """Yield each folder, as what its files' names begin with, and what lies in it that is the user's and not hidden."""
        while self._stack:
            inside, self._above = self._stack.pop()
            try:
                with os.scandir(self._folder / inside) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                if not inside:
                    raise UsageError(f"{self._folder} cannot be read: {error.strerror or error}") from error
                self._refused.append((inside.removesuffix("/"), f"folder cannot be read: {error.strerror or error}"))
                continue
            yield inside, [entry for entry in entries if self._is_users(inside, entry)]

    def _is_users(self, inside: str, entry: os.DirEntry[str]) -> bool:
        if is_system_folder(entry.name) if _is(entry.is_dir) else is_system_file(entry.name):
            self._systems.append(_printable(inside + entry.name))
            return False
        if entry.name.startswith("."):
            away = not_downloaded(entry.name)
            if away and may_hold_picture(away):
                self._refused.append((inside + away, "is in iCloud and not downloaded to this machine: open it there first"))
            return False
        return True

    def sort_out(self, inside: str, entries: list[os.DirEntry[str]]) -> None:
        """Take the samples of one folder, and note what else is in it."""
        pictures: list[os.DirEntry[str]] = []
        unsure: list[os.DirEntry[str]] = []
        captions: list[str] = []
        for entry in entries:
            extension = os.path.splitext(entry.name)[1].lower()
            if _is(entry.is_dir):
                self._enter(inside + entry.name)
            elif extension in PICTURE_EXTENSIONS:
                pictures.append(entry)
            elif extension not in CAPTION_EXTENSIONS:
                unsure.append(entry)
            elif _is(entry.is_file):
                captions.append(entry.name)
        stems = {os.path.splitext(entry.name)[0] for entry in pictures}
        for entry in unsure:
            stem, extension = os.path.splitext(entry.name)
            # Beside a.jpg, a.jpg~ and a.jpg_original are what it was before somebody changed it.
            if stem not in stems and may_hold_picture(entry.name, entry):
                pictures.append(entry)
            else:
                self._others[_printable(extension.lower())] += 1
        pairs = pair((os.path.splitext(entry.name)[0] for entry in pictures), captions)
        for entry in pictures:
            caption = pairs.of.get(os.path.splitext(entry.name)[0])
            self._take(entry, inside + entry.name, inside + caption if caption else None)
        self._strays += (_printable(inside + caption) for caption in pairs.strays)
        self._by_case += (_printable(inside + caption) for caption, _ in pairs.by_case)

    def _enter(self, name: str) -> None:
        identity = _identity(self._folder / name)
        if identity in self._above:
            self._refused.append((name, "link leads back to a folder that encloses it"))
        elif os.path.lexists(self._folder / name / VIEW):  # not what may not be looked into
            self._views.append(_printable(name))
        else:
            self._stack.append((f"{name}/", (*self._above, identity)))

    def _take(self, entry: os.DirEntry[str], name: str, caption: str | None) -> None:
        if not _is_unicode(name):
            self._refused.append((name, "name is not valid UTF-8: rename the file"))
        elif not _is(entry.is_file):
            self._refused.append((name, "link leads nowhere" if entry.is_symlink() else "is no regular file"))
        else:
            self._samples.append(Sample(name, caption))

    def found(self) -> Found:
        """Return all of it in order."""
        refused = sorted((_printable(name), why) for name, why in self._refused)
        accompany = companions_of(self._samples)
        samples = sorted((sample for sample in self._samples if sample.id not in accompany), key=lambda sample: sample.id)
        notes = []
        if self._by_case:
            number = counted(len(self._by_case), "caption")
            notes.append(f"{number} paired with a picture whose name differs in letter case: {few(sorted(self._by_case))}")
        if self._systems:
            notes.append(f"left out, as the system's own: {len(self._systems)} ({few(sorted(self._systems))})")
        if self._views:
            notes.append(f"left out, as datakit made it for a trainer: {len(self._views)} ({few(sorted(self._views))})")
        return Found(
            tuple(samples),
            tuple(refused),
            tuple(sorted(self._strays)),
            self._others,
            tuple(notes),
            companions=tuple(sorted(accompany)),
        )


def holds(folder: Path | None, name: str) -> bool:
    """Tell whether a folder is there and holds a picture of this name."""
    return folder is not None and may_hold_picture(name, folder / name)


def may_hold_picture(name: str, file: os.PathLike[str] | None = None) -> bool:
    """Tell whether a file is looked at as a picture: by its extension, else by its content; without a file, by its name alone."""
    known = os.path.splitext(name)[1].lower() in PICTURE_EXTENSIONS
    if file is None:
        return known
    if not os.path.isfile(file) or not (known or may_be_picture(name)):
        return False
    try:
        with open(file, "rb") as opened:
            return known or kind_of(opened.read(64)) is not None
    except OSError:
        return known


def caption_beside(folder: Path, name: str) -> Path | None:
    """Return where the caption of a picture lies, as `find_samples` pairs them; None where there is none."""
    inside, _, base = name.rpartition("/")
    try:
        with os.scandir(folder / inside) as listing:
            names = [entry.name for entry in listing if not entry.name.startswith(".") and _is(entry.is_file)]
    except OSError:
        return None
    stems = {os.path.splitext(other)[0] for other in names if may_hold_picture(other)} | {os.path.splitext(base)[0]}
    caption = pair(stems, [other for other in names if is_caption(other)]).of.get(os.path.splitext(base)[0])
    return folder / inside / caption if caption else None


def _is(kind: Callable[[], bool]) -> bool:
    """Ask an entry what it is; a link to itself is nothing."""
    try:
        return kind()
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _printable(name: str) -> str:
    """Write out byte by byte what is no UTF-8, as reports in JSON have to."""
    return name.encode("utf-8", "backslashreplace").decode()


def _is_unicode(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
