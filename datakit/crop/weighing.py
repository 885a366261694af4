"""What a worker does with one sample before batches are filled: measure it, and weigh what a neighbour size would cost it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from datakit.crop.framing import HEAD_DOWN, HEAD_SIDES, HEAD_UP
from datakit.crop.options import CropOptions
from datakit.crop.picture import plan_crops
from datakit.crop.request import Given, Move
from datakit.dataset.manifest import CropPlan, Face
from datakit.dataset.samples import Sample
from datakit.dataset.source import Source, read_caption_of, read_picture_of
from datakit.errors import SampleError, TooSmallError
from datakit.geometry import Area, Size, share_inside
from datakit.picture.images import decode, read_picture
from datakit.report import Problem
from datakit.sizes import choose_bucket, enlargement, largest_window

# What a move may not cost; what cannot be read any more is "gone".
Cost = Literal["face", "subject", "gone"]


@dataclass(frozen=True, slots=True)
class Measured:
    """The size of a picture, upright, and the one of a run's sizes that keeps most of it."""

    size: Size
    home: Size


def home_of(size: Size, options: CropOptions) -> Measured:
    """Return where a picture of a size belongs. Raises TooSmallError."""
    home = choose_bucket(size, options.allowed_buckets, options.upscale)
    needed = enlargement(largest_window(size, home), home)
    if needed > options.upscale:
        raise TooSmallError(f"{size} is too small for {home}", needed, size)
    return Measured(size, home)


def measure(
    item: tuple[Sample, Given], source: Source, options: CropOptions, agreed: str | None, decoding: bool
) -> Measured | Problem:
    """Read the header of one sample, or decode all of it, and its caption; a Problem where it could not be cropped."""
    sample, given = item
    try:
        given.words(sample, read_caption_of(sample, source), options, agreed)
        picture = read_picture(read_picture_of(sample, source).data, sample.id, options.max_pixels)
        measured = home_of(picture.size, given.narrow(options))
        if decoding:
            decode(picture, largest_window(picture.size, measured.home), measured.home, options.background)
    except SampleError as error:
        return Problem.of(sample.id, error)
    return measured


def weigh(item: tuple[Sample, Given, Move], source: Source, options: CropOptions) -> CropPlan | Cost:
    """Plan one sample at the size that it would take; return what of it that may not cost is lost, where anything is."""
    sample, given, move = item
    allowing = given.narrow(options)
    try:
        picture = read_picture(read_picture_of(sample, source).data, sample.id, options.max_pixels)
        before, after = (
            plan_crops(picture, sample.id, each)[0].plans["full"]
            for each in (replace(allowing, buckets=(move.home,)), move.among(allowing))
        )
    except SampleError:
        return "gone"
    if any(share < known for share, known in zip(*(_kept(plan, before, after) for plan in (after, before)), strict=True)):
        return "face"
    if _subject_kept(before) - _subject_kept(after) > options.fill_subject:
        return "subject"
    return move.noted(after)


def _kept(plan: CropPlan, *seen: CropPlan) -> list[float]:
    """Return the shares of all faces that were seen, and of their heads, that a plan keeps."""
    size = Size(*plan.source_size or plan.box.size)
    areas = (area for each in seen for face in each.faces for area in (face.box, _head(face, size)))
    return [round(share_inside(area, plan.box), 6) for area in areas]


def _head(face: Face, size: Size) -> Area:
    return face.box.grown(HEAD_SIDES, HEAD_UP, HEAD_DOWN).clipped(size)


def _subject_kept(plan: CropPlan) -> float:
    """Return the share of what stands out that a plan keeps; all of it where no map was needed to place its window."""
    return 1.0 if plan.saliency_kept is None else plan.saliency_kept
