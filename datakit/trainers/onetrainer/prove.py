"""Prove a ``concepts.json``: what each picture and caption will become, whoever wrote the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from datakit.audit.concept import hash_in
from datakit.caption.captions import read_caption
from datakit.errors import CaptionError, UsageError
from datakit.report import counted
from datakit.run.stage import Execution
from datakit.trainers.onetrainer.captions import drawn
from datakit.trainers.onetrainer.file import VERSION, Entry, Training, doubled, read_file, resizing, seed_of
from datakit.trainers.onetrainer.reading import CONDITION, LEFT_OUT, MASK, Reading
from datakit.trainers.onetrainer.replay import Resizing, check, replay
from datakit.trainers.proof import Captions, Seen, Trained, prove_folder
from datakit.trainers.verdict import Fault, Verdict
from datakit.trainers.view import read_made

# What sides are rounded to (aspect_bucketing_quantization in modules/dataLoader/*.py); all other models have 64.
_QUANTIZATIONS = {"WUERSTCHEN_2": 128, "STABLE_CASCADE_1": 128, "SANA": 32, "PIXART_ALPHA": 16, "PIXART_SIGMA": 16}
_SMALLEST = 8
QUANTIZATION = 64
_A_SIZE_EACH = (
    "give each size a folder and a concept with enable_resolution_override and its own resolution_override, such as 1216x832, "
    "as `datakit backend --trainer onetrainer` does"
)


def prove(path: Path, execution: Execution) -> Verdict:
    """Check and replay every picture of every concept that is trained.

    Parameters
    ----------
    path
        A ``concepts.json``, or a train config, which tells the resolution and the model too.
    execution
        Workers, limit of time, progress.

    Raises
    ------
    UsageError
        The file cannot be used, or has no concept that is trained.
    """
    everything, training = read_file(path)
    entries = [entry for entry in everything if entry.trained]
    if not entries:
        raise UsageError(f"{path} has no concept that is switched on and trained")
    verdict = Verdict()
    verdict.notes += [
        f"{entry.title} is not trained: it is switched off, or there to validate" for entry in everything if not entry.trained
    ]
    verdict.faults += [Fault("", "", said, "give each its own seed") for said in doubled(entries)]
    for entry in entries:
        _prove_entry(entry, training, execution, verdict)
    return verdict


def _prove_entry(entry: Entry, training: Training, execution: Execution, verdict: Verdict) -> None:
    """Check and replay every picture of one concept."""
    folder, rule = Path(entry.path), resizing(entry, training, _quantization(training.model_type))
    if not folder.is_absolute() or not os.path.isdir(folder):
        problem = f"path {entry.path!r} is no absolute path of a folder: OneTrainer looks for a Hugging Face dataset of that name"
        verdict.faults.append(Fault(entry.title, "", problem, "write the absolute path of a folder"))
        return
    unreadable = check(rule)
    if unreadable:
        verdict.faults.append(Fault(entry.title, "", unreadable, _A_SIZE_EACH))
        return
    verdict.faults += [
        Fault(entry.title, "", f"{key} changes the pixels of its pictures", f"set {key} to false")
        for key in entry.image.changes()
    ]
    trained = Trained(
        name=entry.title,
        folder=folder,
        reader=Reading(deep=entry.include_subdirectories),
        fate=partial(replay, rule=rule),
        why=lambda _: (_cause(entry, training, rule), _A_SIZE_EACH),
        captions=Captions(missing="OneTrainer trains without a caption") if entry.text.prompt_source == "sample" else None,
    )
    seen = prove_folder(trained, execution, verdict)
    verdict.faults += [*_unlisted(entry, seen), *_captions(entry, seen), *_beside(entry, seen)]
    verdict.notes += [f"{entry.title}: {said}" for said in (*_notes(entry, folder, seen), *_switched(training, seen))]


def _quantization(model_type: str) -> int:
    """Return what the sides of a model are rounded to; where no model is named, as nearly all have it."""
    if model_type.startswith(("STABLE_DIFFUSION_15", "STABLE_DIFFUSION_2")):
        return _SMALLEST
    return _QUANTIZATIONS.get(model_type, QUANTIZATION)


def _cause(entry: Entry, training: Training, rule: Resizing) -> str:
    if entry.image.enable_resolution_override:
        said = f"resolution_override is {rule.resolution}"
    elif training == Training():
        said = (
            f"enable_resolution_override is off, and resolution is {rule.resolution} where the train config does not say another"
        )
    else:
        said = f"resolution of the train config is {rule.resolution}, and enable_resolution_override is off"
    return said if rule.bucketing else f"{said}, and aspect_ratio_bucketing is off"


def _unlisted(entry: Entry, seen: Seen) -> Iterator[Fault]:
    """Name pictures in folders that the concept does not look into."""
    deep = Reading(deep=True)
    for name in seen.files:
        if not entry.include_subdirectories and "/" in name and deep.takes(name):
            yield Fault(entry.title, name, "in a folder that is not looked into", "set include_subdirectories to true")


def _beside(entry: Entry, seen: Seen) -> Iterator[Fault]:
    """Name masks and conditions that are not read, or of another size than their picture."""
    pictures = {os.path.splitext(name)[0]: name for name in seen.pictures}
    for name in _companions(seen):
        stem, extension = os.path.splitext(name)
        picture = pictures.get(stem.rpartition("-")[0])
        if picture is None:
            yield Fault(
                entry.title, name, "a mask or a condition of no picture, which is never read", "rename it, or move it out"
            )
        elif extension != ".png":
            yield Fault(
                entry.title, name, "a mask or a condition that is no .png and is not read", "crop again with --companions auto"
            )
        elif (look := seen.looks.get(name)) is not None and not look.error and look.size != seen.looks[picture].size:
            problem = "another size than its picture: OneTrainer scales it to the picture, out of proportion or not"
            yield Fault(entry.title, name, problem, "crop both again", f"{look.size}, not {seen.looks[picture].size}")


def _companions(seen: Seen) -> list[str]:
    return [name for name in seen.files if os.path.splitext(name)[0].endswith(LEFT_OUT) and name in seen.looks]


def _switched(training: Training, seen: Seen) -> Iterator[str]:
    """Say how many pictures have a mask or a condition, and what they are without."""
    names = set(seen.files)
    stems = [os.path.splitext(name)[0] for name in seen.pictures]
    for ending, key, on, without in (
        (MASK, "masked_training", training.masked_training, "all of a picture without one counts"),
        (
            CONDITION,
            "custom_conditioning_image",
            training.custom_conditioning_image,
            "one without is conditioned on what its mask leaves of it",
        ),
    ):
        number = sum(f"{stem}{ending}.png" in names for stem in stems)
        if number or on:
            where = "is on" if on else "must be on in the train config, or none is read"
            yield f"{number} of {counted(len(stems), 'picture')} with a {ending} ({key} {where}); {without}"


def _captions(entry: Entry, seen: Seen) -> Iterator[Fault]:
    """Name captions that are never read, and those of several of which too few are ever drawn."""
    if entry.text.prompt_source != "sample":
        read = "the file's name" if entry.text.prompt_source == "filename" else "prompt_path"
        for name in seen.pictures:
            if _caption_of(name) in seen.files:
                problem = f"a caption that is not read: prompt_source takes {read}"
                yield Fault(entry.title, _caption_of(name), problem, "set prompt_source to sample")
        return
    for name, lines in _lines(entry, seen).items():
        if lines > entry.text_variations:
            problem = f"text_variations is {entry.text_variations}: of several captions so many are ever trained at most"
            cure = f"set text_variations and balancing to {lines}, or write copies with `datakit shuffle`"
            yield Fault(entry.title, _caption_of(name), problem, cure, f"{lines} captions")


def _lines(entry: Entry, seen: Seen) -> dict[str, int]:
    """Return how many captions each picture has that has more than one."""
    found = {}
    for name in seen.pictures:
        try:
            lines = len(read_caption(Path(entry.path) / _caption_of(name)).lines)
        except CaptionError:
            continue  # named already
        if lines > 1:
            found[name] = lines
    return found


def _notes(entry: Entry, folder: Path, seen: Seen) -> Iterator[str]:
    """Say what the concept does that may surprise."""
    yield from (f"{key} {said}" for key, said in entry.text.changes())
    if entry.text.prompt_source == "sample":
        yield from drawn(list(_lines(entry, seen).values()), entry.text_variations)
    if entry.balancing_strategy != "REPEATS":
        yield f"balancing_strategy {entry.balancing_strategy}: {entry.weight:g} of {counted(len(seen.pictures), 'picture')} in an epoch"
    elif entry.weight != int(entry.weight):
        yield f"balancing {entry.weight:g} is no whole number: epochs go on through the folder where the last one stopped"
    if entry.version < VERSION:
        yield f"__version is {entry.version}: OneTrainer rewrites the file as of version {VERSION}"
    if not _hashed(entry, folder):
        yield (
            "its seed does not follow from its content: where clear_cache_before_training is off, caches of other pictures are "
            "trained; leave that on, as it is by default"
        )


def _hashed(entry: Entry, folder: Path) -> bool:
    """Tell whether a concept's caches can only be those of its content: a view, with the seed of its name."""
    return read_made(folder) is not None and hash_in(folder.name) is not None and entry.seed == seed_of(folder)


def _caption_of(name: str) -> str:
    return f"{os.path.splitext(name)[0]}.txt"
