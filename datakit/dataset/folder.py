"""A folder as a source: pictures and captions in it and in all folders below."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from datakit.dataset.fingerprints import Fingerprints, hash_file
from datakit.dataset.origin import refuse_in_source
from datakit.dataset.samples import CAPTION_EXTENSIONS, PICTURE_EXTENSIONS, Found, Sample
from datakit.dataset.source import Opened
from datakit.errors import NoPicturesError, UsageError


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
    """Walk a folder recursively and pair each picture with its caption.

    Hidden files and folders are left out. Links are followed; a link back to a folder that encloses it is
    refused. The caption of ``a.jpg`` is ``a.txt``, else ``a.caption``, in any case.

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

    def __iter__(self) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
        """Yield each folder, as what its files' names begin with, and what lies in it that is not hidden."""
        while self._stack:
            inside, self._above = self._stack.pop()
            try:
                with os.scandir(self._folder / inside) as listing:
                    entries = sorted((entry for entry in listing if not entry.name.startswith(".")), key=lambda entry: entry.name)
            except OSError as error:
                if not inside:
                    raise UsageError(f"{self._folder} cannot be read: {error.strerror or error}") from error
                self._refused.append((inside.removesuffix("/"), f"folder cannot be read: {error.strerror or error}"))
                continue
            yield inside, entries

    def sort_out(self, inside: str, entries: list[os.DirEntry[str]]) -> None:
        """Take the samples of one folder, and note what else is in it."""
        captions = _captions_by_stem(entries)
        pictured: set[str] = set()
        for entry in entries:
            stem, extension = os.path.splitext(entry.name)
            if _is(entry.is_dir):
                self._enter(inside + entry.name)
            elif extension.lower() in PICTURE_EXTENSIONS:
                pictured.add(stem)
                caption = captions.get(stem)
                self._take(entry, inside + entry.name, inside + caption if caption else None)
            elif extension.lower() not in CAPTION_EXTENSIONS:
                self._others[_printable(extension.lower())] += 1
        self._strays += (_printable(inside + captions[stem]) for stem in captions.keys() - pictured)

    def _enter(self, name: str) -> None:
        identity = _identity(self._folder / name)
        if identity in self._above:
            self._refused.append((name, "link leads back to a folder that encloses it"))
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
        samples = sorted(self._samples, key=lambda sample: sample.id)
        return Found(tuple(samples), tuple(refused), tuple(sorted(self._strays)), self._others)


def holds(folder: Path | None, name: str) -> bool:
    """Tell whether a folder is there and holds a picture of this name."""
    return folder is not None and os.path.splitext(name)[1].lower() in PICTURE_EXTENSIONS and os.path.isfile(folder / name)


def caption_beside(folder: Path, name: str) -> Path | None:
    """Return where the caption of a picture lies, as `find_samples` pairs them; None where there is none."""
    inside, _, base = name.rpartition("/")
    try:
        with os.scandir(folder / inside) as listing:
            beside = _captions_by_stem([entry for entry in listing if not entry.name.startswith(".")])
    except OSError:
        return None
    caption = beside.get(os.path.splitext(base)[0])
    return folder / inside / caption if caption else None


def _captions_by_stem(entries: list[os.DirEntry[str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for extension in CAPTION_EXTENSIONS:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)
            if suffix.lower() == extension and _is(entry.is_file):
                found.setdefault(stem, entry.name)
    return found


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
