"""Find the samples of a folder and give each an output name that no other sample has."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datakit.errors import NoPicturesError, UsageError

# What is looked at as a picture. HEIC and JPEG XL need a plug-in and are refused by name without it.
PICTURE_EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".gif", ".heic", ".heif", ".jxl")
)
CAPTION_EXTENSIONS = (".txt", ".caption")
# datakit's own working folder inside a dataset: the lock, the journal and unfinished files.
STATE_FOLDER = ".datakit"


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture and its caption file.

    Attributes
    ----------
    id
        The picture's path relative to the source folder, with forward slashes.
    caption_id
        The caption's, likewise; None where it has none.
    folder
        The source folder: a million samples share it, whole paths of their own would take most of their memory.
    """

    id: str
    caption_id: str | None
    folder: Path

    @property
    def picture(self) -> Path:
        """Where the picture lies."""
        return self.folder / self.id

    @property
    def caption(self) -> Path | None:
        """Where its caption lies; None where it has none."""
        return None if self.caption_id is None else self.folder / self.caption_id


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder holds.

    Attributes
    ----------
    samples
        In the order of their ids.
    refused
        What was passed over: path and reason.
    strays
        Caption files without a picture.
    others
        How many other files there are, by extension.
    """

    samples: tuple[Sample, ...]
    refused: tuple[tuple[str, str], ...]
    strays: tuple[str, ...] = ()
    others: Mapping[str, int] = field(default_factory=dict)


def find_source(folder: Path, output: Path | None) -> Found:
    """Find the samples of a stage's source folder and make sure that its output leaves them alone.

    Raises
    ------
    NoPicturesError
        The folder holds no pictures.
    UsageError
        The output is a file, the folder itself or inside it.
    """
    if output is not None and output.exists() and folder.exists() and output.resolve() == folder.resolve():
        raise UsageError(
            f"{output} is the source folder itself: name another folder to write to, nothing in a source is ever changed"
        )
    if output is not None and output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file: name a folder to write to")
    if output is not None and folder.resolve() in output.resolve().parents:
        raise UsageError(
            f"{output} lies inside the source folder {folder}: name a folder outside it, nothing in a source is ever changed"
        )
    if output is not None and output.resolve() in folder.resolve().parents:
        raise UsageError(f"the source folder {folder} lies inside {output}: name another folder to write to")
    found = find_samples(folder)
    if not found.samples and not found.refused:
        raise NoPicturesError(
            f"{folder} holds no pictures: looked for .jpg .png .webp .bmp .tif .avif .gif and more, in all folders that are not hidden"
        )
    return found


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
    samples: list[Sample] = []
    refused: list[tuple[str, str]] = []
    strays: list[str] = []
    others: Counter[str] = Counter()
    stack: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", (_identity(folder),))]
    while stack:
        inside, above = stack.pop()
        try:
            with os.scandir(folder / inside) as listing:
                entries = sorted((entry for entry in listing if not entry.name.startswith(".")), key=lambda entry: entry.name)
        except OSError as error:
            if not inside:
                raise UsageError(f"{folder} cannot be read: {error.strerror or error}") from error
            refused.append((inside.removesuffix("/"), f"folder cannot be read: {error.strerror or error}"))
            continue
        captions = _captions_by_stem(entries)
        pictured: set[str] = set()
        for entry in entries:
            name = inside + entry.name
            stem, extension = os.path.splitext(entry.name)
            if _is(entry.is_dir):
                identity = _identity(folder / name)
                if identity in above:
                    refused.append((name, "link leads back to a folder that encloses it"))
                else:
                    stack.append((f"{name}/", (*above, identity)))
            elif extension.lower() in PICTURE_EXTENSIONS:
                pictured.add(stem)
                if not _is_unicode(name):
                    refused.append((name, "name is not valid UTF-8: rename the file"))
                elif not _is(entry.is_file):
                    refused.append((name, "link leads nowhere" if entry.is_symlink() else "is no regular file"))
                else:
                    caption = captions.get(stem)
                    samples.append(Sample(name, inside + caption if caption else None, folder))
            elif extension.lower() not in CAPTION_EXTENSIONS:
                others[_printable(extension.lower())] += 1
        strays += (_printable(inside + captions[stem]) for stem in captions.keys() - pictured)
    samples.sort(key=lambda sample: sample.id)
    return Found(tuple(samples), tuple(sorted((_printable(name), why) for name, why in refused)), tuple(sorted(strays)), others)


def output_stems(samples: Iterable[Sample]) -> dict[str, str]:
    """Map each sample id to the output path without extension, one that no other sample has.

    A sample keeps its path and stem. Samples whose stems are equal (but for case or Unicode form, since some
    file systems and a trainer's cache treat those as one) each get their extension appended, ``a_jpg`` and
    ``a_png``; what still collides is numbered in the order of the ids, ``a_jpg_2``.
    """
    first: dict[str, str] = {}
    more: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        key = fold(os.path.splitext(sample.id)[0])
        if first.setdefault(key, sample.id) != sample.id:
            more[key].append(sample.id)
    names = {identity: os.path.splitext(identity)[0] for key, identity in first.items() if key not in more}
    taken = first.keys() - more.keys()
    for key in sorted(more):
        for identity in sorted((first[key], *more[key])):
            stem, extension = os.path.splitext(identity)
            names[identity] = free_name(f"{stem}_{extension[1:].lower()}", taken)
    return names


def copy_stems(stems: Mapping[str, str], copies: int) -> dict[str, str]:
    """Map each sample id to what its copies are called before their number, so that no copy has a picture's name.

    Copies of ``a`` are called ``a_1``, ``a_2`` and so on. Where a picture already has one of these names, all
    copies of ``a`` are called ``a_copy_1`` and so on, with one more ``_copy`` as long as those are taken.
    """

    def names(start: str) -> set[str]:
        return {fold(f"{start}{number}") for number in range(1, copies + 1)}

    pictures = {fold(stem) for stem in stems.values()}
    starts = {sample: f"{stem}_" for sample, stem in stems.items()}
    clashing = sorted(sample for sample, start in starts.items() if names(start) & pictures)
    if clashing:
        kept = starts.keys() - set(clashing)
        taken = pictures.union(*(names(starts[sample]) for sample in kept))
        for sample in clashing:
            start = f"{stems[sample]}_copy_"
            while names(start) & taken:
                start = f"{start.removesuffix('_')}_copy_"
            starts[sample] = start
            taken |= names(start)
    return starts


def free_name(name: str, taken: set[str]) -> str:
    """Return a name, or the first of ``name_2``, ``name_3`` and so on, that is not taken; it then is.

    ``taken`` holds names as `fold` gives them.
    """
    candidate, number = name, 2
    while fold(candidate) in taken:
        candidate, number = f"{name}_{number}", number + 1
    taken.add(fold(candidate))
    return candidate


def fold(name: str) -> str:
    """Return what two names have in common that some file systems take for one: letter case and Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def shared_captions(samples: Sequence[Sample]) -> list[str]:
    """Return the ids of samples that have one caption file between them, in order."""
    uses = Counter(sample.caption_id for sample in samples if sample.caption_id)
    return [sample.id for sample in samples if uses[sample.caption_id or ""] > 1]


def shared_stems(samples: Iterable[Sample], stems: Mapping[str, str]) -> list[str]:
    """Return the ids of samples whose output name differs from their own, in order."""
    return [sample.id for sample in samples if stems[sample.id] != os.path.splitext(sample.id)[0]]


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
