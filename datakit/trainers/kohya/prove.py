"""The proof of a ``--dataset_config``: each folder that it names, held against what sd-scripts does with it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from datakit.geometry import Size
from datakit.report import counted, few
from datakit.run.stage import Execution
from datakit.sizes import set_around
from datakit.trainers.beside import Beside, prove_beside
from datakit.trainers.kohya.file import STEPS, Subset, read, rule_of
from datakit.trainers.kohya.reading import LISTING
from datakit.trainers.kohya.replay import Bucketing, replay
from datakit.trainers.proof import Captions, Seen, Trained, prove_folder
from datakit.trainers.verdict import Fault, Verdict
from datakit.trainers.view import read_made

# Keys that change pixels, where they are set to true; and those that change captions, which is what they are for.
_PIXELS = {
    "flip_aug": "mirrored at random",
    "color_aug": "changed in colour at random",
    "face_crop_aug_range": "cropped to faces",
}
_CAPTIONS = {
    "shuffle_caption": "shuffled",
    "caption_prefix": "given a prefix",
    "caption_suffix": "given a suffix",
    "caption_dropout_rate": "left out at random",
    "caption_dropout_every_n_epochs": "left out in some epochs",
    "caption_tag_dropout_rate": "thinned out at random",
    "token_warmup_step": "cut short at first",
    "secondary_separator": "changed where the second separator stands",
}


def prove(path: Path, execution: Execution) -> Verdict:
    """Check and replay every picture of every subset of a file, whoever wrote it.

    Raises
    ------
    UsageError
        The file cannot be used, or names no folder of pictures.
    """
    verdict, seen = Verdict(), set()
    for subset in read(path):
        name = Path(subset.image_dir).name
        verdict.faults += [Fault(name, "", reason) for reason in subset.faults]
        if subset.image_dir in seen:
            verdict.faults.append(Fault(name, "", f"{subset.image_dir} is named twice: the trainer leaves the second out"))
        seen.add(subset.image_dir)
        if subset.faults:
            continue
        verdict.faults += _options(name, subset.options)
        verdict.notes += [f"{name}: {note}" for note in _notes(subset)]
        if subset.bucketing is None:
            verdict.faults.append(
                Fault(name, "", "no resolution is given: the command line decides over sizes", "write resolution = 1024")
            )
            continue
        folder = Path(subset.image_dir)
        if not folder.is_absolute():
            problem = f"image_dir {subset.image_dir!r} is relative: the trainer looks from wherever it is started"
            verdict.faults.append(Fault(name, "", problem, "write the absolute path"))
        trained = Trained(
            name,
            folder,
            LISTING,
            partial(replay, rule=subset.bucketing),
            partial(_cause, subset.bucketing),
            captions=_captions(subset),
        )
        found = prove_folder(trained, execution, verdict)
        if subset.beside is not None:
            prove_beside(_beside(subset.beside), trained, found, execution, verdict)
        verdict.faults += [*_caches(trained, found), *_choices(subset, trained, found)]
    return verdict


def _beside(folder: str) -> Beside:
    """Say what becomes of companions (library/train_util.py, ControlNetDataset): whatever is wrong with one ends the run."""
    stops = "the trainer stops"
    return Beside("conditioning_data_dir", folder, stops, extra=stops, other_size=stops)


def _cause(rule: Bucketing, sizes: Collection[Size]) -> tuple[str, str]:
    """Say why some sizes are changed where they are, and what keeps them."""
    if not rule.enable_bucket:
        return "enable_bucket is not set", "write enable_bucket = true and bucket_no_upscale = true"
    if not rule.bucket_no_upscale and rule.max_bucket_reso < 1472:
        return f"max_bucket_reso is {rule.max_bucket_reso}", "write bucket_no_upscale = true, or max_bucket_reso = 2048"
    area, kept = f"resolution is {rule.resolution}", rule_of(set_around(sizes))
    return (
        f"{area}, in steps of {rule.bucket_reso_steps}",
        f"write resolution = {max(1024, kept.resolution.width)}, bucket_no_upscale = true, bucket_reso_steps = {STEPS}",
    )


def _captions(subset: Subset) -> Captions:
    several = (
        "" if subset.options.get("enable_wildcard") else "only the first is trained; enable_wildcard = true draws one of them"
    )
    missing = "trained without a caption"
    if subset.options.get("class_tokens"):
        missing = f"trained as {subset.options['class_tokens']!r}"
    cure = (
        'write caption_extension = ".txt"'
        if subset.caption_extension != ".txt"
        else "write it into a .txt of its name, on one line"
    )
    return Captions(subset.caption_extension, missing, several, cure, stops_at_nothing=True)


def _options(name: str, options: Mapping[str, Any]) -> Iterator[Fault]:
    for key, words in _PIXELS.items():
        if options.get(key):
            yield Fault(name, "", f"{key} is set: pictures are {words}", f"write {key} = false")
    if options.get("num_repeats", 1) < 1:
        yield Fault(name, "", f"num_repeats {options['num_repeats']}: the trainer leaves the folder out", "write 1 or more")


def _notes(subset: Subset) -> Iterator[str]:
    for key, words in _CAPTIONS.items():
        if subset.options.get(key):
            yield f"captions are {words} by the trainer ({key})"
    if subset.options.get("enable_wildcard"):
        yield (
            "one line of each caption file is drawn at every sampling (enable_wildcard); not with text encoder outputs that are cached, "
            "where all lines become one prompt"
        )
    if subset.options.get("is_reg"):
        yield "regularisation pictures: the trainer repeats or cuts them to as many as it trains"
    if subset.bucketing and subset.bucketing.enable_bucket and subset.bucketing.bucket_reso_steps % STEPS:
        steps = subset.bucketing.bucket_reso_steps
        yield f"bucket_reso_steps {steps}: scripts for SD take {STEPS}, those for SDXL, SD3 and Flux multiples of 32, and stop at others"
    if subset.unset:
        yield f"not in the file, so that the command line decides: {', '.join(subset.unset)}"


def _choices(subset: Subset, trained: Trained, seen: Seen) -> Iterator[Fault]:
    """Name captions whose braces the trainer takes for a choice of words where it draws lines."""
    for picture in seen.pictures if subset.options.get("enable_wildcard") else ():
        name = os.path.splitext(picture)[0] + subset.caption_extension
        with suppress(OSError, ValueError):  # named already
            if set(b"{}").intersection((trained.folder / name).read_bytes()):
                problem = "braces, which the trainer takes for a choice of words as enable_wildcard is set"
                yield Fault(trained.name, name, problem, "take them out, or write copies with `datakit shuffle`")


def _caches(trained: Trained, seen: Seen) -> list[Fault]:
    """Name caches that the trainer would trust by their name, in a folder whose content may have changed since."""
    caches = [file for file in seen.files if file.endswith(".npz") or file == "metadata_cache.json"]
    if not caches or read_made(trained.folder):
        return []
    problem = (
        f"{counted(len(caches), 'cache')} beside the pictures, which the trainer trusts by name, whatever the pictures are now"
    )
    return [Fault(trained.name, "", problem, "delete them, or have `datakit backend` write a view", few(caches))]
