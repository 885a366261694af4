"""One copy of a picture with its companions: linked as they are, or made anew with other pixels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import msgspec

from datakit import __version__
from datakit.caption.captions import Caption
from datakit.dataset.companions import companion_of
from datakit.dataset.fingerprints import Fingerprints
from datakit.dataset.folder import Folder
from datakit.dataset.manifest import Companion, Record
from datakit.dataset.store import Store
from datakit.errors import CompanionError, PictureError, SampleError
from datakit.geometry import Box, Size
from datakit.picture.augment import augment, enlargement_of, shaped
from datakit.picture.encoding import encode
from datakit.picture.formats import KEPT
from datakit.picture.images import Picture, decode, open_picture
from datakit.picture.material import settled
from datakit.report import Problem, Warned
from datakit.run.task import Made, Task, not_written, write_temporary
from datakit.shuffle.layers import cropped_layers, uncropped_layers
from datakit.shuffle.variants import ShuffleOptions, Variant

_SOURCE_GONE = Warned("source-gone", "augmented from the cropped picture: the one it was cropped from is gone or changed")
_CARRIED = ("sizes", "source_size", "box", "anchor", "why", "faces", "saliency_kept", "area_kept", "scale", "moved_from")


@dataclass(frozen=True, slots=True)
class Material:
    """What a copy is made from: the decision, the caption as read, the record of its crop, and the crop's source folder."""

    variant: Variant
    caption: Caption
    crop: Record | None
    uncropped: Path | None


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every copy is made with: the folder of pictures, options, the folder for unfinished files, the crop's background."""

    folder: Path
    options: ShuffleOptions
    temporary: str
    background: str


@dataclass(frozen=True, slots=True)
class Original:
    """A picture that copies are linked to: where the file itself lies, what it holds, and what is known of it."""

    path: str
    sha256: str
    size: Size
    warnings: tuple[Warned, ...]
    crop: Record | None


def originals(store: Store, folder: Path, records: Mapping[str, Record]) -> Callable[[Task], Original]:
    """Return a function that looks at the picture of a task, once for all its copies, which come one after the other.

    The function raises `PictureError` where the picture is gone or, if no record describes it, cannot be read.
    """

    @lru_cache(maxsize=1)
    def original(source: str) -> Original:
        picture = folder / source
        sha256 = store.fingerprints.sha256(picture)
        if sha256 is None:
            raise PictureError("is gone since the folder was listed: run again")
        path = _real(picture)
        crop = records.get(source)
        if crop and crop.output_sha256 == sha256:
            return Original(path, sha256, crop.bucket, (), crop)
        opened = open_picture(picture)
        decode(opened, opened.size, opened.size)  # what no crop has decoded may be damaged behind its header
        return Original(path, sha256, opened.size, opened.warnings, None)

    return lambda task: original(task.source)


def linked(task: Task, workshop: Workshop, original: Callable[[Task], Original], fingerprints: Fingerprints) -> Made | Problem:
    """Describe one picture that is linked as it is, and write its caption."""
    try:
        found = original(task)
        companions = _companions_of(task, lambda name: fingerprints.sha256(workshop.folder / name))
        files = [(found.path, found.sha256), *((_real(workshop.folder / each.source), each.sha256) for each in companions)]
        return _made(task, workshop, found, (files, companions), workshop.options.link)
    except SampleError as error:
        return Problem.of(task.source, error)
    except OSError as error:
        return not_written(task.source, error)


def augmented(task: Task, workshop: Workshop) -> Made | Problem:
    """Make one copy with other pixels, from the source of its crop where that is still there; runs in a worker."""
    material: Material = task.detail
    drawn = material.variant.augmentation
    try:
        picture = open_picture(workshop.folder / task.source)
        crop = material.crop if material.crop and material.crop.output_sha256 == picture.sha256 else None
        base, box, warnings = picture, Box(0, 0, *picture.size), picture.warnings
        beside = cropped_layers(workshop.folder, task.sample.companions, picture)
        if crop and crop.box:
            original = _original(crop, material.uncropped)
            layers = uncropped_layers(crop, original, material.uncropped, workshop.background) if original else None
            if original and crop.box.inside(original.size) and layers is not None:
                base, box, beside = original, crop.box, layers
            else:
                warnings = (*warnings, _SOURCE_GONE)
        scale = enlargement_of(base.size, box, picture.size, drawn)
        image = augment(base, box, picture.size, drawn, workshop.background)
        contents = {task.output: encode(image, KEPT[os.path.splitext(task.output)[1]], workshop.options.quality)}
        for name, layer in beside.items():
            moved = settled(layer, shaped(layer, box, picture.size, drawn))
            contents[companion_of(task.output, name)] = encode(moved, "png", workshop.options.quality)
        files = [
            (write_temporary(workshop.temporary, name, content), hashlib.sha256(content).hexdigest())
            for name, content in contents.items()
        ]
        companions = [
            msgspec.structs.replace(each, sha256=sha256)
            for each, (_, sha256) in zip(_companions_of(task, Folder(workshop.folder).content_id), files[1:], strict=True)
        ]
        made = _made(task, workshop, Original("", picture.sha256, picture.size, warnings, crop), (files, companions))
        return replace(made, record=msgspec.structs.replace(made.record, scale=round(scale, 4)))
    except SampleError as error:
        return Problem.of(task.source, error)
    except OSError as error:
        return not_written(task.source, error)


def _original(crop: Record, folder: Path | None) -> Picture | None:
    """Return the picture that a crop was made from, if it is still there and the same."""
    if folder is None or crop.source_size is None:
        return None
    try:
        picture = open_picture(folder / crop.source, crop.source_size.area)
    except SampleError:
        return None
    return picture if picture.sha256 == crop.source_sha256 else None


def _real(path: Path) -> str:
    """Return where a file itself lies."""
    return os.path.realpath(path) if os.path.islink(path) else os.path.abspath(path)


def _companions_of(task: Task, sha256_of: Callable[[str], str | None]) -> list[Companion]:
    """Return what goes with a copy, as it is in the folder that is shuffled. Raises CompanionError where one is gone."""
    found = []
    for name, source in task.sample.companions:
        sha256 = sha256_of(source)
        if sha256 is None:
            raise CompanionError(f"its {name} {source} is gone since the folder was listed: run again")
        output = companion_of(task.output, name)
        found.append(Companion(name=name, output=output, sha256=sha256, source=source, source_sha256=sha256))
    return found


def _made(
    task: Task,
    workshop: Workshop,
    original: Original,
    made: tuple[Sequence[tuple[str, str]], Sequence[Companion]],
    link: str | None = None,
) -> Made:
    """Write the caption to a temporary file and put the record together; what the crop's record says is carried on.

    ``made`` holds the picture's file and those of its companions, and what is known of these.
    """
    material: Material = task.detail
    known = {} if original.crop is None else {name: getattr(original.crop, name) for name in _CARRIED}
    text = material.variant.caption.encode()
    text_sha256 = hashlib.sha256(text).hexdigest()
    (picture, *beside), companions = made
    files = picture, (write_temporary(workshop.temporary, f"{task.output}.txt", text), text_sha256), *beside
    record = Record(
        output=task.output,
        bucket=original.size,
        source=task.source,
        source_sha256=original.sha256,
        output_sha256=picture[1],
        key=task.key,
        version=__version__,
        caption=task.caption_output,
        caption_sha256=text_sha256,
        source_caption_sha256=material.caption.sha256,
        copy=material.variant.copy,
        captions=material.variant.caption.count("\n") + 1 if text else 0,
        augmentation=material.variant.augmentation or None,
        companions=tuple(companions),
        warnings=(*original.warnings, *material.caption.warnings),
        **known,
    )
    return Made(record, material.variant.caption, files, link)
