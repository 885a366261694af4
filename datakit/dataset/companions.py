"""Masks, depth maps and the like: pictures that belong to another one and are not to be trained themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence

from datakit.dataset.samples import Sample, fold

# Endings by which OneTrainer (-masklabel, -condlabel), mask editors and preprocessors of ControlNet name them beside the picture.
_ENDING = re.compile(
    r"^(.+?)[-_.](?:masklabel|condlabel|mask|conditioning|control|depth|canny|openpose|lineart|scribble|softedge)(?:[-_]?\d+)?$",
    re.IGNORECASE,
)
# Folders in which trainers of masks and of ControlNet keep them under the picture's name.
_FOLDER = re.compile(
    r"(?:(?:.*[-_ ])?(?:masks?|controls?|conditionings?)(?:[-_ ](?:images?|data|maps?))?(?:[-_ ]?\d+)?"
    r"|condition_images|conditions?|depths?|depth_?maps?|canny|(?:open)?poses?"
    r"|normals?|normal_maps?|segmentations?|segs?|lineart|scribbles?|softedge|hed|mlsd)",
    re.IGNORECASE,
)


def companions_of(samples: Sequence[Sample]) -> set[str]:
    """Return the ids of samples that accompany another: they are called after it, and have no caption of their own.

    Beside ``a.jpg`` that is ``a-masklabel.png``, ``a_mask.png`` and so on; in a folder such as ``masks`` it is what the folder
    above, or one beside it, has a picture of the same name for.
    """
    silent = [sample.id for sample in samples if sample.caption_id is None]
    named = [(name, match[1]) for name in silent if (match := _ENDING.match(_stem(name)))]
    foldered = [name for name in silent if any(map(_FOLDER.fullmatch, name.split("/")[:-1]))]
    if not named and not foldered:
        return set()
    suspects = {name for name, _ in named} | set(foldered)
    stems = {fold(_stem(sample.id)) for sample in samples if sample.id not in suspects}
    found = {name for name, stem in named if fold(stem) in stems}
    if foldered:
        mirrored = set(_without_a_folder(stems))
        for name in foldered:
            match = _ENDING.match(_stem(name))
            wanted = [_stem(name), *([match[1]] if match else [])]
            if any(_mirrors(fold(stem), stems, mirrored) for stem in wanted):
                found.add(name)
    return found


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _mirrors(stem: str, stems: set[str], mirrored: set[tuple[str, str]]) -> bool:
    """Tell whether a stem without its folder of companions, or with another in its place, is that of a picture."""
    parts = stem.split("/")
    for place, part in enumerate(parts[:-1]):
        if _FOLDER.fullmatch(part):
            above, below = "/".join(parts[:place]), "/".join(parts[place + 1 :])
            if (f"{above}/{below}" if above else below) in stems or (above, below) in mirrored:
                return True
    return False


def _without_a_folder(stems: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each stem with each of its folders left out, as what stands before it and behind it."""
    for stem in stems:
        parts = stem.split("/")
        for place in range(len(parts) - 1):
            yield "/".join(parts[:place]), "/".join(parts[place + 1 :])
