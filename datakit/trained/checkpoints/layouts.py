"""Where trainers leave checkpoints, and which step or epoch each is of.

As seen in folders of SimpleTuner (October 2024, 3.1.6, 4.10.1), sd-scripts and musubi-tuner, ai-toolkit, OneTrainer, diffusers'
scripts and diffusion-pipe; each pattern below names whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from datakit.errors import UsageError
from datakit.report import few

# SimpleTuner and diffusers' scripts: a folder a checkpoint; SimpleTuner 4 keeps one more that it writes over and over.
_STEP_FOLDER = re.compile(r"checkpoint-(\d+)(-rolling)?")
_UNFINISHED = re.compile(r"checkpoint-.*tmp.*|tmp.*checkpoint-.*")
# diffusion-pipe.
_OTHER_FOLDER = re.compile(r"(epoch|step)(\d+)")
# The files in such a folder, and where the moving average of one lies.
_IN_FOLDER = (
    ("pytorch_lora_weights.safetensors", False),
    ("adapter_model.safetensors", False),
    ("ema/pytorch_lora_weights.safetensors", True),
    ("ema/ema_model.safetensors", True),
)
_FULL = (("transformer", False), ("unet", False), ("transformer_ema", True), ("unet_ema", True))
# One file a checkpoint: OneTrainer; steps and epochs of sd-scripts and musubi-tuner; ai-toolkit.
_FILES = (
    re.compile(r"(?P<series>.*?)\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-save-(?P<step>\d+)-(?P<epoch>\d+)-\d+"),
    re.compile(r"(?P<series>.+)-step(?P<step>\d{8})"),
    re.compile(r"(?P<series>.+)-(?P<epoch>\d{6})"),
    re.compile(r"(?P<series>.+)_(?P<step>\d{9})"),
)
_UNNAMED = {"pytorch_lora_weights", "adapter_model"}
SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one checkpoint lies.

    Attributes
    ----------
    path
        Its file, or the folder of a whole model.
    series
        What the training is called, where the file's name says it.
    step, epoch
        What it is of; neither is known of the last.
    ema
        Whether it is the moving average.
    rolling
        Whether the trainer writes over it.
    """

    path: Path
    series: str = ""
    step: int | None = None
    epoch: int | None = None
    ema: bool = False
    rolling: bool = False

    @property
    def is_last(self) -> bool:
        """Whether it is what the training ended with."""
        return self.step is None and self.epoch is None

    @property
    def label(self) -> str:
        """A name that sorts as the training went: ``000500``, ``epoch-000010``, ``last``; ``-ema`` for the moving average."""
        name = "last" if self.epoch is None else f"epoch-{self.epoch:06}"
        if self.step is not None:
            name = f"{self.step:06}"
        return f"{name}{'-rolling' * self.rolling}{'-ema' * self.ema}"

    @property
    def order(self) -> tuple[str, bool, bool, int, bool]:
        """What checkpoints are sorted by: training, steps behind epochs, numbers, the last at the end."""
        return (self.series, self.is_last, self.step is not None, self.step or self.epoch or 0, self.ema)


def find_checkpoints(run: Path) -> tuple[list[Place], list[str]]:
    """Return the checkpoints that a training left in a folder, in order, and what is to be said of the rest.

    Raises
    ------
    UsageError
        There is no such folder, or no checkpoint in it.
    """
    if run.is_file():
        return [_of_file(run)], []
    if not run.is_dir():
        raise UsageError(f"{run} is not there: name the folder that the trainer wrote checkpoints into")
    places: list[Place] = []
    notes: list[str] = []
    for entry in sorted(run.iterdir()):
        if entry.is_dir():
            places += _in_folder(entry, notes)
        elif entry.suffix == SUFFIX:
            places.append(_of_file(entry))
    places += [Place(run / name, ema=ema) for name, ema in _FULL if _has_weights(run / name)]
    if not places:
        raise UsageError(f"{run} holds no checkpoint: {'; '.join(notes) or 'no safetensors file is where trainers put them'}")
    places.sort(key=lambda place: place.order)
    counted = [place for place in places if not place.is_last]
    if any(place.step is None for place in counted) and any(place.step is not None for place in counted):
        notes.append("some checkpoints are counted in epochs and some in steps: they are two rows, not one")
    if len(series := sorted({place.series for place in counted if place.series})) > 1:
        notes.append(f"several trainings lie here: {few(series)}")
    return places, notes


def _of_file(path: Path) -> Place:
    """Return what the name of a file says of it."""
    stem = path.name.removesuffix(SUFFIX)
    for pattern in _FILES:
        if found := pattern.fullmatch(stem):
            said = found.groupdict()
            number = {key: int(said[key]) for key in ("step", "epoch") if said.get(key)}
            return Place(path, said["series"].strip("-_ "), number.get("step"), number.get("epoch"))
    return Place(path, "" if stem in _UNNAMED else stem)


def _in_folder(folder: Path, notes: list[str]) -> Iterator[Place]:
    """Yield the checkpoints of a folder, if it is one of a trainer's."""
    if _UNFINISHED.fullmatch(folder.name):
        notes.append(f"{folder.name} is still being written")
        return
    by_step, other = _STEP_FOLDER.fullmatch(folder.name), _OTHER_FOLDER.fullmatch(folder.name)
    if by_step:
        of = Place(folder, step=int(by_step[1]), rolling=bool(by_step[2]))
    elif other:
        number = int(other[2])
        of = Place(folder, step=number) if other[1] == "step" else Place(folder, epoch=number)
    else:
        return
    try:
        found = [(folder / name, ema) for name, ema in _IN_FOLDER if (folder / name).is_file()]
        found += [(folder / name, ema) for name, ema in _FULL if _has_weights(folder / name)]
    except PermissionError:
        found = [(folder, False)]  # whoever reads it says so
    if not found:
        notes.append(f"{folder.name} holds no weights")
    for path, ema in found:
        yield replace(of, path=path, ema=ema)


def _has_weights(folder: Path) -> bool:
    return folder.is_dir() and any(folder.glob(f"*{SUFFIX}"))


def chosen(places: list[Place], steps: str | None) -> list[Place]:
    """Return the checkpoints that ``500:4000:500,last,750`` names: from, to and every how many; single numbers; the last.

    Numbers are steps, or epochs where a checkpoint has no step. A range takes what lies in it and is a multiple of its
    third number, counted from its first.

    Raises
    ------
    UsageError
        It is written otherwise, or names none of them.
    """
    if steps is None:
        return places
    taken: set[Place] = set()
    for piece in steps.split(","):
        found = re.fullmatch(r"\s*(?:(?P<last>last)|(?P<start>\d+)(?::(?P<end>\d*)(?::(?P<every>[1-9]\d*))?)?)\s*", piece)
        if found is None:
            raise UsageError(f"steps {steps!r}: write numbers, ranges such as 500:4000:500, and last")
        matching = {place for place in places if _matches(place, found)}
        if not matching:
            there = ", ".join(dict.fromkeys(place.label.removesuffix("-ema") for place in places))
            raise UsageError(f"steps {steps!r}: {piece.strip()} names no checkpoint; there are {there}")
        taken |= matching
    return [place for place in places if place in taken]


def _matches(place: Place, found: re.Match[str]) -> bool:
    if found["last"]:
        return place.is_last
    number = place.step if place.step is not None else place.epoch
    if number is None:
        return False
    start = int(found["start"])
    if found["end"] is None:
        return number == start
    end = int(found["end"]) if found["end"] else number
    return start <= number <= end and (number - start) % int(found["every"] or 1) == 0
