"""Prove a job of ai-toolkit: what each picture and caption will become, whoever wrote the file."""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.report import counted, few
from datakit.run.stage import Execution
from datakit.sizes import set_around
from datakit.trainers.aitoolkit.file import (
    NO_MASK,
    REPLACED,
    RESOLUTION,
    Dataset,
    Process,
    read_captions,
    read_job,
    resolution_of,
)
from datakit.trainers.aitoolkit.reading import Listed, Reading
from datakit.trainers.aitoolkit.replay import replay
from datakit.trainers.beside import Beside, prove_beside
from datakit.trainers.fate import Fate
from datakit.trainers.proof import Captions, Seen, Trained, prove_folder
from datakit.trainers.verdict import Fault, Verdict
from datakit.trainers.view import read_made

# What a model whose divisibility is not known is taken to need; that of most.
_USUAL = 32
# Behind a picture's stem, in a folder beside it: a hash of its name and of the sizes that it is scaled and cut to.
_LATENTS = "_latent_cache"
_CACHED = re.compile(rf"(?P<folder>(?:.*/)?){_LATENTS}/(?P<stem>[^/]+)_[\w-]{{22}}\.safetensors")
_NO_CAPTION = "ai-toolkit trains without a caption"


@dataclass(frozen=True, slots=True)
class _Read:
    """A dataset with what its process says about it, and what the verdict calls it."""

    name: str
    dataset: Dataset
    process: Process

    @property
    def embeddings_cached(self) -> bool:
        return self.dataset.cache_text_embeddings or self.process.train.cache_text_embeddings

    @property
    def trigger(self) -> str | None:
        own = self.dataset.trigger_word
        return self.process.trigger_word if own is None else own

    def fate(self, size: Size) -> Fate:
        """Say what becomes of a size: at the first of several resolutions that changes it."""
        divisibility = self.process.model.divisibility or _USUAL
        fates = [replay(size, self.dataset.resizing(each, divisibility)) for each in self.dataset.resolutions]
        return next((fate for fate in fates if not fate.keeps(size)), fates[0])

    @property
    def cause(self) -> str:
        """Why sizes are changed where they are."""
        said = [f"resolution is {self.dataset.resolution}"]
        said += ["buckets is false: all is cut to squares"] * (not self.dataset.buckets)
        said += ["square_crop is true"] * self.dataset.square_crop
        said += [f"scale is {self.dataset.scale:g}"] * (self.dataset.scale != 1)
        return ", ".join(said)


def prove(path: Path, execution: Execution) -> Verdict:
    """Check and replay every picture of every dataset of a job.

    Parameters
    ----------
    path
        A job file, YAML or JSON.
    execution
        Workers, limit of time, progress.

    Raises
    ------
    UsageError
        The file cannot be used, or has no dataset.
    """
    job = read_job(path)
    verdict = Verdict()
    for process in job.config.process:
        verdict.faults += [Fault("", "", *fault) for fault in _refused(process)]
        if process.datasets and process.model.divisibility is None:
            verdict.notes.append(
                f"it is not known what sides {process.model.name} needs: replayed for multiples of {_USUAL}, as most models need"
            )
        for dataset in process.datasets or []:
            name = os.path.basename(dataset.path.rstrip("/")) or "dataset"
            number = sum(each.partition(" #")[0] == name for each in verdict.pictures)
            _prove_dataset(_Read(f"{name} #{number + 1}" if number else name, dataset, process), execution, verdict)
    if not any(process.datasets for process in job.config.process):
        raise UsageError(f"{path} has no dataset in config.process")
    return verdict


def _refused(process: Process) -> Iterator[tuple[str, str]]:
    """Yield (why, what to do) of what ends the run."""
    datasets, train = process.datasets or [], process.train
    if len({dataset.buckets for dataset in datasets}) > 1:
        yield "some datasets have buckets and some have not, which ends the run", "set buckets to true in all"
    if train.gradient_accumulation > 1 and train.gradient_accumulation_steps != 1:
        yield "gradient_accumulation and gradient_accumulation_steps are both set, which ends the run", "take one out"
    cached = {dataset.cache_text_embeddings or train.cache_text_embeddings for dataset in datasets}
    if len(cached) > 1:
        yield "cache_text_embeddings is true in some datasets alone, which ends the run", "set it in all or in none"


def _prove_dataset(read: _Read, execution: Execution, verdict: Verdict) -> None:
    """Check and replay every picture of one dataset."""
    dataset, path = read.dataset, Path(read.dataset.path)
    verdict.pictures.setdefault(read.name, 0)
    verdict.buckets.setdefault(read.name, {})
    verdict.faults += [Fault(read.name, "", *fault) for fault in _faults(dataset)]
    if not math.isfinite(dataset.scale):
        verdict.faults.append(Fault(read.name, "", f"scale is {dataset.scale}, which ends the run", "take scale out"))
        return
    if not dataset.resolutions or min(dataset.resolutions) < 1:
        verdict.faults.append(Fault(read.name, "", f"resolution {dataset.resolution} is none", f"set resolution to {RESOLUTION}"))
        return
    if not path.is_absolute() or not os.path.exists(path):
        problem = f"{dataset.path!r} is no absolute path of a folder or of a .json file that is there"
        verdict.faults.append(Fault(read.name, "", problem, "write the absolute path of a folder"))
        return
    verdict.notes += [f"{read.name}: {said}" for said in _notes(read)]
    if not path.is_dir():
        _prove_listed(read, path, execution, verdict)
        return
    reading = Reading(path)
    trained = _trained(read, path, reading)
    seen = prove_folder(trained, execution, verdict)
    for beside in _beside(dataset, read.process.train.batch_size):
        prove_beside(beside, trained, seen, execution, verdict)
    verdict.faults += [
        Fault(read.name, name, "in a folder that is a link, which ai-toolkit does not enter", "name the folder it leads to")
        for name in seen.files
        if reading.through_link(name) and Reading().takes(name)
    ]
    captions = {name: f"{os.path.splitext(name)[0]}{dataset.suffix}" for name in seen.pictures}
    verdict.faults += _replaced(read, {caption: _text(path / caption) for caption in captions.values()})
    _compare_latents(read, path, seen, verdict)


def _beside(dataset: Dataset, batch_size: int) -> Iterator[Beside]:
    """Yield the folders of masks and of control pictures (toolkit/dataloader_mixins.py, data_transfer_object/data_loader.py)."""
    if dataset.mask_path is not None and not dataset.alpha_mask:
        several = (dataset.batch_size or batch_size) > 1
        yield Beside("mask_path", dataset.mask_path, f"ai-toolkit {NO_MASK}" if several else "all of it counts", stops=several)
    for number, folder in enumerate(dataset.controls, 1):
        key = "control_path" if len(dataset.controls) == 1 else f"control_path {number}"
        yield Beside(key, folder, "it has nothing to be conditioned on")


def _trained(read: _Read, folder: Path, reader: Reading | Listed) -> Trained:
    missing = _NO_CAPTION if read.dataset.default_caption is None else f"ai-toolkit trains with {read.dataset.default_caption!r}"
    several = "ai-toolkit takes all of them for one caption, with the line ends in it"
    cure = f"write one line into a {read.dataset.suffix} of its name; several captions need a picture file each, as `datakit backend` makes"
    return Trained(
        name=read.name,
        folder=folder,
        reader=reader,
        fate=read.fate,
        why=lambda sizes: (read.cause, _cure(sizes)),
        captions=None if isinstance(reader, Listed) else Captions(read.dataset.suffix, missing, several, cure),
        whole=not isinstance(reader, Listed),
    )


def _cure(sizes: Collection[Size]) -> str:
    """Say what keeps pictures that were meant to have some sizes."""
    side = max(RESOLUTION, resolution_of(set_around(sizes)))
    return f"set resolution to {side} and buckets to true, and crop to sizes that are no larger in area than its square"


def _faults(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Yield (what is wrong with a dataset, what to do) that its keys tell alone."""
    if len(dataset.resolutions) > 1:
        yield (
            f"every picture is trained {len(dataset.resolutions)} times, at resolutions {', '.join(map(str, dataset.resolutions))}",
            f"set resolution to {RESOLUTION}",
        )
    for key in dataset.changes():
        yield f"{key} changes pixels", f"take {key} out"
    if dataset.type != "image" or dataset.poi is not None:
        key = "poi" if dataset.poi is not None else f"type {dataset.type!r}"
        yield f"{key} ends the run", "take it out"
    if dataset.alpha_mask:
        yield (
            "alpha_mask takes the transparency of pictures for masks, which pictures as crop writes them have not",
            "set mask_path",
        )
    if dataset.controls and not dataset.full_size_control_images:
        yield "full_size_control_images is false: control pictures become 512x512", "set it to true"
    if dataset.control_from_same_folder:
        yield "control_from_same_folder conditions each picture on others drawn at random", "set control_path"
    if dataset.num_frames > 1 or dataset.auto_frame_count:
        yield "num_frames or auto_frame_count has it look for videos too, which are not proved", "take both out"
    if dataset.batch_size is not None and not dataset.buckets:
        yield "batch_size in a dataset without buckets ends the run", "set buckets to true"


def _notes(read: _Read) -> Iterator[str]:
    """Say what a dataset does to captions and masks that may surprise."""
    dataset = read.dataset
    if dataset.mask_path:
        yield "masks are blurred a little, drawn anew each time, by up to 0.5 % of their shorter side"
    if dataset.invert_mask:
        yield "invert_mask turns masks into their opposite"
    if dataset.caption_dropout_rate and not read.embeddings_cached:
        yield f"caption_dropout_rate leaves out {dataset.caption_dropout_rate:.0%} of captions"
    if dataset.token_dropout_rate and not read.embeddings_cached:
        yield f"token_dropout_rate leaves out {dataset.token_dropout_rate:.0%} of what stands between commas"
    if dataset.shuffle_tokens:
        yield "shuffle_tokens shuffles all that stands between commas: keep_tokens keeps nothing in its place"
    if read.trigger:
        yield f"the trigger word {read.trigger!r} is put before captions without it"
    if dataset.random_triggers:
        yield "random_triggers adds words to captions"


def _prove_listed(read: _Read, path: Path, execution: Execution, verdict: Verdict) -> None:
    """Check and replay the pictures that a ``.json`` file names, folder by folder."""
    captions = read_captions(path)
    if read.embeddings_cached:
        problem = "with cache_text_embeddings the captions of a .json file are not read, but the .txt beside each picture"
        verdict.faults.append(Fault(read.name, "", problem, "set cache_text_embeddings to false, or name a folder"))
    folders: dict[str, set[str]] = defaultdict(set)
    for picture in captions:
        folder, name = os.path.split(picture)
        if os.path.basename(folder) == "_controls":
            continue
        folders[folder].add(name)
        if not os.path.isfile(picture):
            verdict.faults.append(Fault(read.name, picture, "named, but not there: ai-toolkit leaves it out", "take it out"))
    for folder, names in sorted(folders.items()):
        if os.path.isdir(folder):
            seen = prove_folder(_trained(read, Path(folder), Listed(frozenset(names))), execution, verdict)
            _compare_latents(read, Path(folder), seen, verdict)
    bare = [picture for picture, caption in captions.items() if not (caption or "").strip()]
    if bare:
        verdict.notes.append(f"{read.name}: {counted(len(bare), 'empty caption')} ({few(bare)}): {_NO_CAPTION}")
    verdict.faults += _replaced(read, {picture: caption or "" for picture, caption in captions.items()})


def _replaced(read: _Read, captions: Mapping[str, str]) -> list[Fault]:
    """Name captions that hold what ai-toolkit puts another word for; with a trigger word that is what they hold it for."""
    if read.trigger:
        return []
    return [
        Fault(
            read.name,
            name,
            f"{mark} in a caption is taken out, as no trigger word is set",
            "set trigger_word, or write the word itself",
        )
        for name, text in captions.items()
        for mark in REPLACED
        if mark in text
    ]


def _compare_latents(read: _Read, folder: Path, seen: Seen, verdict: Verdict) -> None:
    """Name pictures that were written after their latents; those of a view are right, as its name holds its content."""
    if not read.dataset.cache_latents_to_disk or read_made(folder) is not None:
        return
    cached = _latents(seen.files)
    problem = "its latents are older than the picture, and ai-toolkit goes on using them"
    remedy = f"delete {_LATENTS} beside it, or let `datakit backend` write the job"
    stems = {name: os.path.splitext(name)[0] for name in seen.pictures}
    verdict.faults += [
        Fault(read.name, name, problem, remedy)
        for name, stem in stems.items()
        if any(_older(folder / latents, folder / name) for latents in cached.get(stem, ()))
    ]
    if any(stem in cached for stem in stems.values()):
        verdict.notes.append(
            f"{read.name}: latents beside the pictures are trusted by name and size, so that it is beyond proof whether a picture was "
            "exchanged, after they were made, for one of an earlier date"
        )


def _latents(files: Sequence[str]) -> dict[str, list[str]]:
    """Return the files with latents by the name, without its extension, of the picture that they belong to."""
    found: dict[str, list[str]] = defaultdict(list)
    for match in filter(None, map(_CACHED.fullmatch, files)):
        found[match["folder"] + match["stem"]].append(match[0])
    return found


def _older(latents: Path, picture: Path) -> bool:
    with suppress(FileNotFoundError):  # the trainer may be at work
        return latents.stat().st_mtime_ns < picture.stat().st_mtime_ns
    return False


def _text(path: Path) -> str:
    with suppress(OSError, ValueError):  # no UTF-8, or a name that no file can have
        return path.read_text("utf-8")
    return ""
