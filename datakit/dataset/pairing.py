"""Which caption belongs to which picture of a folder: the one of its stem, however the two systems spelt it."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from datakit.dataset.samples import CAPTION_EXTENSIONS, fold


@dataclass(slots=True)
class Pairs:
    """The captions of one folder.

    Attributes
    ----------
    of
        The caption's name by the stem of its picture.
    strays
        Captions that no picture claims.
    by_case
        (caption, picture's stem) of those whose names differ in letter case.
    """

    of: dict[str, str] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    by_case: list[tuple[str, str]] = field(default_factory=list)


def pair(stems: Iterable[str], files: Sequence[str]) -> Pairs:
    """Pair the stems of a folder's pictures with its caption files.

    The caption of ``a.jpg`` is ``a.txt``, else ``a.caption``, the extension in any case. Where there is none of that very
    name, one in another Unicode form is, or one that differs in letter case and that no other picture could claim.
    """
    captions = _by_stem(files)
    free = dict(captions)
    pairs = Pairs()
    wanting = sorted(set(stems))
    for stem in wanting:
        if stem in captions:
            pairs.of[stem] = captions[stem]
            free.pop(stem, None)
    for same in (_composed, fold):
        wanting = [stem for stem in wanting if stem not in pairs.of]
        if not free or not wanting:
            break
        for stem, caption in _alike(wanting, free, same):
            pairs.of[stem] = free.pop(caption)
            if same is fold:
                pairs.by_case.append((pairs.of[stem], stem))
    pairs.strays = list(free.values())
    return pairs


def is_caption(name: str) -> bool:
    """Tell whether a file name ends like a caption."""
    return os.path.splitext(name)[1].lower() in CAPTION_EXTENSIONS


def _by_stem(files: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for extension in CAPTION_EXTENSIONS:
        for name in files:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() == extension:
                found.setdefault(stem, name)
    return found


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _alike(stems: Sequence[str], captions: Iterable[str], same: Callable[[str], str]) -> list[tuple[str, str]]:
    """Return the stems and captions that have nothing but each other to pair with."""
    pictures, texts = defaultdict(list), defaultdict(list)
    for stem in stems:
        pictures[same(stem)].append(stem)
    for caption in captions:
        texts[same(caption)].append(caption)
    return [(pictures[key][0], found[0]) for key, found in texts.items() if len(found) == len(pictures.get(key, ())) == 1]
