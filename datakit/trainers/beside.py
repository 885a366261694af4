"""Companions in a trainer's file: which of a dataset's it is given, and the proof of the folder that holds them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datakit.audit.concept import Concept
from datakit.dataset.companions import is_mask
from datakit.errors import UsageError
from datakit.report import counted, few
from datakit.run.stage import Execution
from datakit.trainers.proof import Seen, Trained, prove_folder
from datakit.trainers.protocol import NO_COMPANIONS, BackendOptions
from datakit.trainers.verdict import Fault, Verdict


@dataclass(frozen=True, slots=True)
class Takes:
    """What companions a trainer takes for one training.

    Attributes
    ----------
    title
        What it is called in a sentence.
    masks, controls
        How many masks, and how many pictures to condition on.
    both
        Whether masks and the others go together.
    needs_masks, needs_controls
        Whether a picture without one is refused.
    no_mask, no_control
        What it does with a picture that has none and needs one, as a clause.
    all_or_none
        Whether a dataset may lack what it needs altogether.
    """

    title: str
    masks: int = 0
    controls: int = 0
    both: bool = True
    needs_masks: bool = False
    needs_controls: bool = True
    no_mask: str = "stops there"
    no_control: str = "stops there"
    all_or_none: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """The companions that a trainer is given, by what they are called, and what is said of those that it is not."""

    masks: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, masks first."""
        return (*self.masks, *self.controls)


def taken(concepts: Sequence[Concept], options: BackendOptions, takes: Takes) -> Taken:
    """Decide on the companions that a trainer is given: those asked for, else all that it takes.

    Raises
    ------
    UsageError
        What was asked for is not there or not taken, more than it takes is there, or a picture lacks one without which it stops.
    """
    present = sorted({name for concept in concepts for name in concept.companions})
    asked = [name for name in options.companions if name != NO_COMPANIONS]
    unknown = [name for name in asked if name not in present]
    if unknown:
        raise UsageError(
            f"--companion {unknown[0]}: the datasets have {few(present) or 'none'}: crop with --companion or --companions"
        )
    wanted = asked if options.companions else present
    groups = {kind: tuple(name for name in wanted if is_mask(name) == kind) for kind in (True, False)}
    notes = []
    for kind, most, words in ((True, takes.masks, "masks"), (False, takes.controls, "pictures to condition on")):
        if groups[kind] and not most:
            if asked:
                raise UsageError(f"--companion {groups[kind][0]}: {takes.title} takes no {words} for this model family")
            notes.append(f"{takes.title} takes no {words} for this model family: {', '.join(groups[kind])} left out")
            groups[kind] = ()
        if len(groups[kind]) > most:
            raise UsageError(f"{takes.title} takes {most} of {', '.join(groups[kind])}: say which, --companion {groups[kind][0]}")
    if not takes.both and groups[True] and groups[False]:
        raise UsageError(
            f"{takes.title} takes either a mask or pictures to condition on, not {', '.join(groups[True] + groups[False])}: say which, "
            f"--companion {groups[True][0]}"
        )
    found = Taken(groups[True], groups[False], ())
    return replace(found, notes=(*notes, *_lacking(concepts, found, takes)))


def _lacking(concepts: Sequence[Concept], found: Taken, takes: Takes) -> list[str]:
    """Say which pictures lack a companion that others have. Raises UsageError where the trainer stops at that."""
    notes = []
    for name in found.names:
        for concept in concepts:
            without = [record.output for record in concept.records if name not in {each.name for each in record.companions}]
            if not without or (takes.all_or_none and len(without) == len(concept.records)):
                continue
            said = f"{counted(len(without), 'picture')} of {concept.folder} without a {name}: {few(without)}"
            needed, fate = (takes.needs_masks, takes.no_mask) if is_mask(name) else (takes.needs_controls, takes.no_control)
            if needed:
                raise UsageError(
                    f"{said}: {takes.title} {fate}; crop with --companions required, or leave it out with --companion {NO_COMPANIONS}"
                )
            notes.append(f"{said}, trained without")
    return notes


def same_stem(stem: str) -> tuple[str, ...]:
    """Return the stems of pictures that a companion of this stem may go with: the one that it shares."""
    return (stem,)


@dataclass(frozen=True, slots=True)
class Beside:
    """A folder of companions as a trainer's dataset file names it.

    Attributes
    ----------
    key
        Of the file.
    folder
        As it stands there.
    lacking
        What happens to a picture without one, as a clause; and whether that is a fault.
    extra
        What happens where a companion goes with no picture, as a clause; nothing where it is passed over.
    other_size
        What happens where one has another size than its picture.
    stems
        The stems of pictures that a companion of a stem may go with.
    same_name
        Whether a companion has the whole name of its picture, and not its stem alone.
    """

    key: str
    folder: str
    lacking: str
    stops: bool = True
    extra: str = ""
    other_size: str = "it is resized to the picture, out of proportion or not"
    stems: Callable[[str], tuple[str, ...]] = same_stem
    same_name: bool = False

    def paired(self, pictures: Sequence[str], companions: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
        """Return the companions of each picture that has any, and those of no picture."""
        by_part = {self._part(name): name for name in pictures}
        found: dict[str, list[str]] = defaultdict(list)
        strays: list[str] = []
        for name in companions:
            part = self._part(name)
            owner = next((by_part[stem] for stem in (part, *self.stems(part)) if stem in by_part), None)
            (strays if owner is None else found[owner]).append(name)
        return found, strays

    def _part(self, name: str) -> str:
        """Return what of its name a companion shares with its picture."""
        return name if self.same_name else os.path.splitext(name)[0]


def prove_beside(beside: Beside, trained: Trained, seen: Seen, execution: Execution, verdict: Verdict) -> None:
    """Look at every companion of a folder's pictures as at the pictures, and hold each against the one that it goes with."""
    folder = Path(beside.folder)
    entry = f"{trained.name} {beside.key}"
    if not folder.is_absolute():
        problem = f"{beside.key} {beside.folder!r} is relative: the trainer looks from wherever it is started"
        verdict.faults.append(Fault(entry, "", problem, "write the absolute path"))
    companions = prove_folder(replace(trained, name=entry, folder=folder, captions=None), execution, verdict)
    if not companions.pictures:
        return
    found, strays = beside.paired(seen.pictures, companions.pictures)
    without = [name for name in seen.pictures if name not in found]
    if without and beside.stops:
        problem, cure = f"no companion in {beside.key}: {beside.lacking}", "add it to the source folder, and crop again"
        verdict.faults += [Fault(trained.name, name, problem, cure) for name in without]
    elif without:
        verdict.notes.append(
            f"{trained.name}: {counted(len(without), 'picture')} without a companion in {beside.key} ({few(without)}): {beside.lacking}"
        )
    if beside.extra:
        verdict.faults += [Fault(entry, name, f"goes with no picture: {beside.extra}", "move it out") for name in strays]
    elif strays:
        verdict.notes.append(f"{entry}: {counted(len(strays), 'file')} of no picture: {few(strays)}")
    for name, names in found.items():
        size = seen.looks[name].size if name in seen.looks else None
        verdict.faults += [
            Fault(
                entry, each, f"another size than its picture: {beside.other_size}", "crop both again", f"{look.size}, not {size}"
            )
            for each in names
            if (look := companions.looks.get(each)) is not None and not look.error and size not in (None, look.size)
        ]
