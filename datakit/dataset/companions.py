"""Masks, depth maps and the like: pictures that belong to another one and are not to be trained themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence

from datakit.dataset.samples import Sample, fold

# What a companion may be called, and the folder of a dataset in which those of each name have a folder of their own.
COMPANION_NAME = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")
COMPANIONS = "companions"
# Endings by which OneTrainer (-masklabel, -condlabel), mask editors and preprocessors of ControlNet name them beside the picture.
_ENDING = re.compile(
    r"^(.+?)([-_.](?:masklabel|condlabel|mask|conditioning|control|depth|canny|openpose|lineart|scribble|softedge)(?:[-_]?\d+)?)$",
    re.IGNORECASE | re.DOTALL,
)
# Folders in which trainers of masks and of ControlNet keep them under the picture's name.
_FOLDER = re.compile(
    r"(?:(?:.*[-_ ])?(?:masks?|controls?|conditionings?)(?:[-_ ](?:images?|data|maps?))?(?:[-_ ]?\d+)?"
    r"|condition_images|conditions?|depths?|depth_?maps?|canny|(?:open)?poses?"
    r"|normals?|normal_maps?|references?|reference_images?|segmentations?|segs?|lineart|scribbles?|softedge|hed|mlsd)",
    re.IGNORECASE | re.DOTALL,
)
# The folders of a dataset that datakit wrote.
_OURS = re.compile(r"((?:.+?/)?)(companions/([a-z0-9_-]+))/(.+)", re.DOTALL)
# What a folder is of, of whose pictures, or that it is one, says nothing of what the companions are.
_SAYS_NOTHING = frozenset(["train", "training", "my", "image", "images", "img", "data", "dataset", "map", "maps"])
# What the last of the other words stands for, where it is not that word itself without its plural.
_MEANS = {
    **dict.fromkeys(("masklabel", "masks"), "mask"),
    **dict.fromkeys(("condlabel", "conditioning", "conditionings", "condition", "conditions", "controls"), "control"),
    **dict.fromkeys(("depths", "depthmap", "depthmaps"), "depth"),
    **dict.fromkeys(("poses", "openpose", "openposes"), "pose"),
    "normals": "normal",
    **dict.fromkeys(("segmentations", "seg", "segs"), "segmentation"),
    "scribbles": "scribble",
    "references": "reference",
}


def is_mask(name: str) -> bool:
    """Tell whether what is called so is a mask: grey, and no colour but a share of what counts. All others are pictures."""
    return any(word in ("mask", "masks") for word in re.split(r"[_-]|\d+", name))


def companion_of(output: str, name: str) -> str:
    """Return where the companion of this name lies that goes with an output: without loss, whatever the picture's format."""
    return f"{COMPANIONS}/{name}/{_stem(output)}.png"


def companions_of(samples: Sequence[Sample]) -> set[str]:
    """Return the ids of samples that accompany another: they are called after it, and have no caption of their own.

    Beside ``a.jpg`` that is ``a-masklabel.png``, ``a_mask.png`` and so on; in a folder such as ``masks`` it is what the folder
    above, or one beside it, has a picture of the same name for.
    """
    silent = [sample.id for sample in samples if sample.caption_id is None]
    named = [(name, match[1]) for name in silent if (match := _ENDING.match(_stem(name)))]
    foldered = [name for name in silent if any(map(_FOLDER.fullmatch, name.split("/")[:-1]))]
    ours = [name for name in silent if _OURS.fullmatch(_stem(name))]
    if not named and not foldered and not ours:
        return set()
    suspects = {name for name, _ in named} | set(foldered) | set(ours)
    stems = {fold(_stem(sample.id)) for sample in samples if sample.id not in suspects}
    found = {name for name, stem in named if fold(stem) in stems}
    found |= {name for name in ours if (match := _OURS.fullmatch(_stem(name))) and fold(match[1] + match[4]) in stems}
    if foldered:
        mirrored = set(_without_a_folder(stems))
        for name in foldered:
            match = _ENDING.match(_stem(name))
            wanted = [_stem(name), *([match[1]] if match else [])]
            if any(_mirrors(fold(stem), stems, mirrored) for stem in wanted):
                found.add(name)
    return found


def layout_of(companion: str) -> tuple[str, str, str]:
    """Return what a companion of a known layout is called, the folder of such companions, and what follows the picture's stem."""
    ours = _OURS.fullmatch(_stem(companion))
    if ours:
        return ours[3], ours[2], ""
    match = _ENDING.match(_stem(companion))
    folders = [part for part in companion.split("/")[:-1] if _FOLDER.fullmatch(part)]
    ending = match[2] if match else ""
    return _meaning(folders[-1] if folders else ending[1:]), folders[-1] if folders else "", ending


def _meaning(text: str) -> str:
    """Return what companions are called that lie in a folder of this name, or end so: ``mask`` for ``My train_masks``."""
    words = re.findall(r"[a-z]+|\d+", text.lower())
    told = [_MEANS.get(word, word) for word in words if word not in _SAYS_NOTHING]
    return "_".join(told or words)


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
