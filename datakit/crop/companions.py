"""The companions of one picture, from bytes to bytes: each gets the picture's own window, size and turn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from datakit.crop.options import CropOptions
from datakit.crop.request import Request
from datakit.dataset.accompany import accompany, parse_companion
from datakit.dataset.companions import COMPANIONS, companion_of, is_mask
from datakit.dataset.manifest import Companion, CropPlan
from datakit.dataset.samples import Found
from datakit.errors import CompanionError, CompanionMissingError, PictureError, UsageError
from datakit.picture.encoding import encode
from datakit.picture.images import Picture, read_picture
from datakit.picture.material import Material, lay_over, settled, transparency
from datakit.report import Problem, Report, Warned, counted, few

if TYPE_CHECKING:
    from PIL.Image import Image

# What a picture's own transparency is called.
ALPHA = "mask"
# No brighter than this a mask holds numbers of labels, and not how much counts: 0 and 1 above all.
_LABEL = 9


class Accompaniment(NamedTuple):
    """What goes with a cropped picture: the bytes of each file, what the record says of it, and what the user should know."""

    data: tuple[bytes, ...] = ()
    companions: tuple[Companion, ...] = ()
    warnings: tuple[Warned, ...] = ()


def find_companions(found: Found, options: CropOptions, report: Report) -> tuple[Found, AbstractSet[str]]:
    """Pair the samples of a source with their companions; return the ids of those that lack a required one, and are refused.

    Raises
    ------
    UsageError
        The source has pictures where companions are written, or companions are required and none are known.
    """
    patterns = [parse_companion(text) for text in options.companion]
    paired = accompany(found, patterns, auto=options.companions is not None)
    wanted = bool(patterns) or options.companions is not None or options.keep_alpha
    theirs = next((sample.id for sample in paired.samples if sample.id.startswith(f"{COMPANIONS}/")), None)
    if wanted and theirs is not None:
        raise UsageError(f"{theirs} is a picture in a folder {COMPANIONS}/, where companions are written: give that another name")
    if options.companions is not None and not paired.missing and not options.keep_alpha:
        said = f"{report.source} has no companions of a known layout within it: move their folders there, or name them with --companion NAME=PATTERN"
        if options.companions == "required":
            raise UsageError(said)
        report.notes.append(said)
    if options.keep_alpha and (masks := paired.missing.get(ALPHA)):
        # Whether one is transparent is seen when it is cropped.
        paired = replace(paired, missing={name: ids for name, ids in paired.missing.items() if name != ALPHA})
        kept = "their transparency is kept as it, where they have any"
        report.notes.append(f"{counted(len(masks), 'picture')} without a companion {ALPHA}, {kept}: {few(masks)}")
    lacking: dict[str, list[str]] = {}
    for name, ids in paired.missing.items():
        for identity in ids:
            lacking.setdefault(identity, []).append(name)
    if options.companions != "required":
        report.notes += paired.notes()
        return replace(found, samples=paired.samples), frozenset()
    report.notes += replace(paired, missing={}).notes()
    for identity, names in lacking.items():
        reason = f"no companion {few(names)} of its name: give it one, or leave out --companions required"
        report.refused.append(Problem(identity, reason, CompanionMissingError.kind))
    return replace(found, samples=paired.samples), lacking.keys()


def crop_companions(
    request: Request, picture: Picture, plan: CropPlan, companions: Mapping[str, bytes], options: CropOptions
) -> Accompaniment:
    """Crop what goes with a picture, given as bytes by name, as its plan says.

    Raises
    ------
    CompanionError
        One cannot be read, or has another size than its picture.
    CompanionMissingError
        One is required, and there is neither that nor transparency.
    """
    warnings: list[Warned] = []
    rendered: list[tuple[str, str, str, Image]] = []
    for name, identity in request.sample.companions:
        try:
            companion = read_picture(companions[name], identity, options.max_pixels)
            material, notes = lay_over(companion, picture, mask=is_mask(name), background=options.background)
            rendered.append((name, identity, companion.sha256, _window_of(material, plan)))
        except PictureError as error:
            raise CompanionError(f"its {name} {identity}: {error}") from error
        warnings += (*companion.warnings, *notes)
    if options.keep_alpha and ALPHA not in companions:
        layer = transparency(picture)
        if layer is not None:
            rendered.append((ALPHA, request.sample.id, picture.sha256, _window_of(layer, plan)))
        elif options.companions == "required":
            raise CompanionMissingError(
                f"no {ALPHA} of its name, and no transparency: give it one, or leave out --companions required"
            )
    written, made = [], []
    for name, identity, sha256, image in sorted(rendered, key=lambda each: each[0]):
        if is_mask(name):
            warnings += _dark(name, image)
        content = encode(image, "png", options.quality)
        written.append(content)
        digest = hashlib.sha256(content).hexdigest()
        made.append(
            Companion(name=name, output=companion_of(request.output, name), sha256=digest, source=identity, source_sha256=sha256)
        )
    return Accompaniment(tuple(written), tuple(made), tuple(warnings))


def _dark(name: str, mask: Image) -> Iterator[Warned]:
    """Warn of a mask that lets next to nothing be trained."""
    brightest = max(value for value, number in enumerate(mask.histogram()) if number)
    if not brightest:
        yield Warned("companion-blank", f"its {name} is black all over in the window: nothing of it would be trained")
    elif brightest <= _LABEL:
        sentence = (
            f"the brightest value of its {name} is {brightest} of 255, so next to nothing of it would be trained: use 0 and 255"
        )
        yield Warned("companion-blank", sentence)


def _window_of(material: Material, plan: CropPlan) -> Image:
    return settled(material, material.render(plan.box, plan.bucket))
