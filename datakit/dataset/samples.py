"""Samples, and an output name for each that no other sample has."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# What is looked at as a picture. HEIC and JPEG XL need a plug-in and are refused by name without it.
PICTURE_EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .tif .tiff .avif .gif .heic .heics .heif .heifs .hif .jxl".split()  # noqa: SIM905
)
# What downloads make of one: .jpg_large, .jpeg~, .png!d, or nothing at all. Whether it is a picture its content says.
_ODD = re.compile(r"(?:\.(?:jpe?g|jfif|png|webp|gif|bmp|tiff?|avif|heic)[^a-z0-9].*)?", re.IGNORECASE | re.DOTALL)
CAPTION_EXTENSIONS = (".txt", ".caption", ".tags")
# Stands in the name of a caption that is no file of its own, between the file and what it is called there.
ENTRY = "//"
# A folder's name that says how often what is in it is seen.
_REPEATS = re.compile(r"([1-9][0-9]{0,5})_.+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture and its caption file.

    Attributes
    ----------
    id
        The picture's name in its source, with forward slashes.
    caption_id
        The caption's, likewise; None where it has none.
    companions
        (what it is called, its name in the source) of each picture that goes with it; see `datakit.dataset.companions`.
    """

    id: str
    caption_id: str | None
    companions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What a source holds.

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
    notes
        What else the user should know, as sentences.
    captions
        Which captions were read from elsewhere than text files, and from where; what there is that could not be read.
    companions
        Ids of masks and other companions of pictures, which are no samples themselves.
    """

    samples: tuple[Sample, ...]
    refused: tuple[tuple[str, str], ...]
    strays: tuple[str, ...] = ()
    others: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()


def may_be_picture(name: str) -> bool:
    """Tell whether a file without a picture's extension may be one all the same; its content decides."""
    return _ODD.fullmatch(os.path.splitext(name)[1]) is not None


def caption_of(output: str) -> str:
    """Return the name of the caption file that every trainer looks for beside a picture."""
    return f"{os.path.splitext(output)[0]}.txt"


def caption_name(caption_id: str) -> str:
    """Return what messages call a caption: the name of its file, and what it is called in there."""
    file, _, entry = caption_id.partition(ENTRY)
    return f"{os.path.basename(file)} ({entry})" if entry else os.path.basename(file)


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
    return _starts(stems, [str(number) for number in range(1, copies + 1)], "copy")


def crop_stems(stems: Mapping[str, str], crops: Sequence[str]) -> dict[str, str]:
    """Map each sample id to what its crops are called before their own names, ``a_`` or ``a_crop_``, as `copy_stems` does."""
    return _starts(stems, crops, "crop")


def _starts(stems: Mapping[str, str], endings: Sequence[str], word: str) -> dict[str, str]:
    def names(start: str) -> set[str]:
        return {fold(f"{start}{ending}") for ending in endings}

    pictures = {fold(stem) for stem in stems.values()}
    starts = {sample: f"{stem}_" for sample, stem in stems.items()}
    clashing = sorted(sample for sample, start in starts.items() if names(start) & pictures)
    if clashing:
        kept = starts.keys() - set(clashing)
        taken = pictures.union(*(names(starts[sample]) for sample in kept))
        for sample in clashing:
            start = f"{stems[sample]}_{word}_"
            while names(start) & taken:
                start = f"{start.removesuffix('_')}_{word}_"
            starts[sample] = start
            taken |= names(start)
    return starts


def repeats_of(identity: str) -> int | None:
    """Return what the innermost folder of a picture says in the manner of kohya's trainer, 10 for ``10_name``; else None.

    There ``10_name`` means that each picture in it is seen ten times an epoch (kohya-ss/sd-scripts, config_util.py).
    """
    return next((int(match[1]) for part in reversed(identity.split("/")[:-1]) if (match := _REPEATS.fullmatch(part))), None)


def repeats_told(samples: Iterable[Sample]) -> list[str]:
    """Return the folders of some samples that name a number of repeats, each with it."""
    folders = {sample.id.rpartition("/")[0]: repeats_of(sample.id) for sample in samples if "/" in sample.id}
    return [
        f"{folder} ({number} {'time' if number == 1 else 'times'} an epoch)"
        for folder, number in sorted(folders.items())
        if number
    ]


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
