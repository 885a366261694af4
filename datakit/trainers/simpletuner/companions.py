"""Companions as SimpleTuner takes them: a dataset of its own, linked to that of the pictures, whose files have the pictures' names.

Read in SimpleTuner 3.1.6 (helpers/data_backend/factory.py, metadata/utils/duplicator.py, multiaspect/sampler.py): the scan of the
pictures is taken over with the folder replaced, extension and all, and every sample of a batch must have one of the same type. It
lists all folders inside a dataset, so that pictures and companions are given a view each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from datakit.audit.concept import Concept
from datakit.dataset.companions import is_mask
from datakit.dataset.origin import is_inside
from datakit.run.stage import Execution
from datakit.trainers.beside import Beside, Taken, Takes, prove_beside
from datakit.trainers.proof import Seen, Trained
from datakit.trainers.simpletuner.entry import CONDITIONING_TYPES, ConditioningEntry, Entry, EntryOnFile, ImageEntry
from datakit.trainers.verdict import Fault, Verdict
from datakit.trainers.view import Layout, View, companion_view, plan_view

# What decides over sizes, which a companion must share.
_SHARED = (
    "resolution", "resolution_type", "crop", "crop_aspect", "crop_style", "minimum_image_size", "maximum_image_size",
    "target_downsample_size", "repeats",
)  # fmt: skip
# Of these, what a file may give to either alone.
_ALIGNED = ("resolution", "resolution_type", "crop", "crop_aspect", "crop_style")
# How it is to read pictures to condition on. ControlNets and models that edit take either type alike (training/collate.py), but of
# ``controlnet`` no folder is scanned where the model takes pixels, as SDXL does, and the trainer stops at an empty dataset.
_ALIGNED_TYPE = "reference_strict"
# Read in both, training/collate.py; the first counts one companion a picture, whatever is drawn.
SEVERAL = (
    "several companions of a picture need SimpleTuner 4.8, as 3.1.6 stops at its first batch, and conditioning_multidataset_sampling "
    "combined in its config, or one of them is drawn for each picture"
)
NAME = "simpletuner"
TAKES = Takes("SimpleTuner", masks=1, controls=9, both=False, needs_masks=True)
_LAYOUT = Layout(NAME)


def view_of(concept: Concept, cache_root: Path) -> View:
    """Lay out the pictures of a dataset without their companions."""
    return plan_view([concept], cache_root, _LAYOUT)


def shown(concepts: Sequence[Concept], views: Sequence[View]) -> list[Concept]:
    """Return datasets as they are read from their views, under the names and ids that they have."""
    return [replace(concept, folder=view.folder) for concept, view in zip(concepts, views, strict=True)]


def linked(entries: Sequence[Entry], views: Sequence[View], given: Taken, cache: Path) -> tuple[list[Entry], list[View]]:
    """Link the image entries to datasets of companions, which stand behind them; return these datasets' views too.

    Parameters
    ----------
    entries
        Of a file, those of the views first and in their order.
    views
        Of the pictures.
    given
        The companions.
    cache
        Folder for the latents of companions.
    """
    images: list[Entry] = []
    more: list[Entry] = []
    made: list[View] = []
    for entry, view in zip(entries, views, strict=False):
        assert isinstance(entry, ImageEntry)
        names = []
        for name in given.names:
            beside = companion_view(view, [name], same_name=True)
            if not beside.links:
                continue
            made.append(beside)
            names.append(beside.folder.name)
            more.append(
                ConditioningEntry(
                    id=beside.folder.name,
                    conditioning_type="mask" if is_mask(name) else _ALIGNED_TYPE,
                    source_dataset_id=entry.id,
                    instance_data_dir=os.fspath(beside.folder),
                    cache_dir_vae=os.fspath(cache / beside.folder.name),
                    **{key: getattr(entry, key) for key in _SHARED},
                )
            )
        images.append(
            msgspec.structs.replace(entry, conditioning_data=names[0] if len(names) == 1 else names) if names else entry
        )
    return [*images, *more, *entries[len(images) :]], made


def prove_companions(
    entry: EntryOnFile,
    others: Mapping[str, EntryOnFile],
    seen: Seen,
    trained: Trained,
    execution: Execution,
    verdict: Verdict,
) -> None:
    """Look at the companions of an image entry as at its pictures, and hold each against the one that it goes with.

    ``others`` are the enabled datasets of companions of the file, by their ids.
    """
    verdict.faults += [Fault(entry.id, "", *said) for said in _refusals(entry, others)]
    if len(entry.companions) > 1:
        verdict.notes.append(f"{entry.id}: {SEVERAL}")
    for name in entry.companions:
        other = others.get(name)
        if other is not None and other.conditioning_type == "controlnet":
            verdict.notes.append(
                f"{name}: conditioning_type controlnet ends SDXL's training before it starts: use {_ALIGNED_TYPE}"
            )
        if other is not None and other.type == "local":
            beside = Beside(name, other.instance_data_dir, "the trainer stops", same_name=True)
            prove_beside(beside, trained, seen, execution, verdict)


def _refusals(entry: EntryOnFile, others: Mapping[str, EntryOnFile]) -> Iterator[tuple[str, str]]:
    """Yield (what keeps SimpleTuner from linking an entry to its companions, what to do)."""
    types = set()
    for name in entry.companions:
        other = others.get(name)
        if other is None:
            yield f"conditioning_data {name!r} is no enabled conditioning dataset of this file: the trainer stops", "name one"
            continue
        types.add(other.conditioning_type)
        if other.conditioning_type not in CONDITIONING_TYPES:
            known = ", ".join(CONDITIONING_TYPES)
            yield f"{name}: conditioning_type {other.conditioning_type!r} is none, and the trainer stops", f"use one of {known}"
        if other.type != "local":
            yield f"{name} cannot be proved: type {other.type} reads its pictures from no folder", "give it a folder"
        elif is_inside(Path(other.instance_data_dir), Path(entry.instance_data_dir)):
            yield f"{name} lies inside the dataset, whose every folder the trainer searches for pictures", "move it out"
        for key in _ALIGNED:
            if (value := getattr(other, key)) is not None and value != getattr(entry, key):
                yield f"{name}: {key} is {value}, and {getattr(entry, key)} of its pictures: they part", f"write the same {key}"
    if len(types) > 1:
        yield "companions of several types, at which the trainer stops", "link those of one conditioning_type"
