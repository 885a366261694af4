"""Crop one picture: decide on its window, or hold a given one against it, and write it; what a worker does."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from datakit import __version__
from datakit.caption.captions import Caption, decode_caption, read_caption
from datakit.crop.amend import CAPTION_EMPTY, CAPTION_MISSING, Decision
from datakit.crop.framing import cut_warnings, doubt_warnings, frame, kept_faces, slack
from datakit.crop.options import CropOptions
from datakit.dataset.manifest import CropPlan, Face, Record
from datakit.dataset.samples import Sample
from datakit.detect import face_detector, saliency_map
from datakit.errors import CaptionMissingError, SampleError, TooSmallError
from datakit.geometry import Box, Size
from datakit.picture.formats import Format
from datakit.picture.images import Picture, Pixels, dct_scale, decode, encode, open_picture, preview, render
from datakit.run.stage import Made, NotMade, Task, write_temporary
from datakit.sizes import choose_bucket, enlargement, largest_window, rounded_scale
from datakit.warned import Warned

if TYPE_CHECKING:
    from datakit.detect import Saliency

# Faces are found best when the picture is shrunk or enlarged to this long side (recall .94 against .86 at full size).
PREVIEW_SIDE = 640
# Objects are looked for where the window can move by this share of the long side. Below, Boolean Map Saliency keeps as
# much of the subjects of annotated pictures (99.5 %) in a ninth of the time.
OBJECTS_FROM = 0.15
# Where the window can move by less than this share of the long side, no map is made (it would move the window by at most
# 0.4 % of that side) and faces are looked for in a smaller copy: at 512 the largest face of annotated pictures is found as
# often as at 640 (43 of 44), of all that count 118 instead of 123 of 139.
DECIDED_BELOW, DECIDED_SIDE = 0.05, 512
_FORMAT_NAMES: dict[str, Format] = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


def plan_sample(sample: Sample, options: CropOptions) -> CropPlan | NotMade:
    """Decide on one sample of a folder; runs in a worker."""
    try:
        _read_caption(sample.caption, options)
        return plan_picture(open_picture(sample.picture, options.max_pixels), sample.id, options)[0]
    except SampleError as error:
        return _not_made(error)


def plan_picture(picture: Picture, source: str, options: CropOptions) -> tuple[CropPlan, Pixels]:
    """Decide on one picture; return the decoded pixels too, since rendering can go on from them."""
    bucket = choose_bucket(picture.size, options.buckets, options.upscale)
    window = largest_window(picture.size, bucket)
    _check_enlargement(picture.size, window, bucket, options.upscale)
    pixels = decode(picture, window, bucket, options.background)
    faces, saliency = [], None
    detect = face_detector(options.detector)
    salient = _salient(picture.size, bucket, options.saliency)
    if detect or salient:
        decided = options.framing == "full" and slack(picture.size, bucket) < DECIDED_BELOW * max(picture.size)
        small = preview(picture, pixels, DECIDED_SIDE if decided else PREVIEW_SIDE)
        factor = max(picture.size) / max(small.shape[:2])
        if detect:
            faces = [Face(face.box.scaled(factor).rounded(), face.score) for face in detect(small)]
        if salient:
            saliency = salient(small)
    plan = frame(source, picture.size, bucket, faces, saliency, framing=options.framing, upscale=options.upscale)
    return msgspec.structs.replace(plan, warnings=(*plan.warnings, *_enlarged(plan.scale or 1))), pixels


def _enlarged(scale: float) -> tuple[Warned, ...]:
    return (Warned("enlarged", f"enlarged {rounded_scale(scale)} times"),) if scale > 1 else ()


def _salient(size: Size, bucket: Size, name: str) -> Saliency | None:
    """Return the map worth its time: none where the window cannot move, a cheap one where it hardly can."""
    room = slack(size, bucket)
    if room < DECIDED_BELOW * max(size):
        return None
    return saliency_map("bms" if name == "objects" and room < OBJECTS_FROM * max(size) else name)


def _check_enlargement(size: Size, window: Size, bucket: Size, upscale: float) -> None:
    needed = enlargement(window, bucket)
    if needed > upscale:
        # Rounded up, so that the factor named is enough.
        factor = math.ceil(needed * 1000) / 1000
        raise TooSmallError(f"{size} is too small for {bucket}: --upscale {factor:g} would enlarge it", factor)


def make_crop(task: Task, options: CropOptions, temporary: Path) -> Made | NotMade:
    """Crop one sample into temporary files; runs in a worker."""
    try:
        caption = _caption(task, options)
        picture = open_picture(task.picture, options.max_pixels)
        decision: Decision | None = task.detail
        if decision is None or decision.plan is None:
            plan, pixels = plan_picture(picture, task.source, options)
        else:
            plan, pixels = check_window(picture, decision.where, decision.plan, options), None
        return _write(task, options, temporary, picture, plan, pixels, caption)
    except SampleError as error:
        return _not_made(error)
    except OSError as error:
        return NotMade(f"cannot be written: {error.strerror or error}")


def _not_made(error: SampleError) -> NotMade:
    return NotMade(str(error), error.refused, error.ruled_out, error.factor if isinstance(error, TooSmallError) else None)


def _caption(task: Task, options: CropOptions) -> Caption:
    decision: Decision | None = task.detail
    if decision is not None and decision.caption is not None:
        source = read_caption(task.caption).sha256 if task.caption else None
        return Caption(decode_caption(decision.caption.encode(), task.source).lines, source)
    return _read_caption(task.caption, options)


def _read_caption(path: Path | None, options: CropOptions) -> Caption:
    """Read a caption, if there is one; none is an error where captions are required, else a warning."""
    caption = read_caption(path) if path else Caption((), None)
    if not caption.lines:
        missing = CAPTION_EMPTY if path else CAPTION_MISSING
        if options.captions == "required":
            raise CaptionMissingError(f"{missing.sentence}: write one, or use --captions optional")
        return Caption((), caption.sha256, (*caption.warnings, missing))
    return caption


def check_window(picture: Picture, where: str, plan: CropPlan, options: CropOptions) -> CropPlan:
    """Hold an edited plan against its picture and fill in what follows from it; ``where`` opens a message.

    Raises
    ------
    SampleError
        The window is not inside the picture, or would be stretched.
    TooSmallError
        It would be enlarged beyond ``options.upscale``.
    """
    if plan.source_size not in (None, picture.size):
        raise SampleError(
            f"{where}: was made for a picture of {Size(*plan.source_size)}, this one has {picture.size}: "
            "plan again, or take the window back in datakit review"
        )
    if not plan.box.inside(picture.size):
        raise SampleError(f"{where}: box {list(plan.box)} is empty or not inside the picture of {picture.size}")
    window = plan.box.size
    exact = Size(round(window.height * plan.bucket.aspect), round(window.width / plan.bucket.aspect))
    off = min(abs(window.width - window.height * plan.bucket.aspect), abs(window.height - window.width / plan.bucket.aspect))
    stretch = max(window.aspect / plan.bucket.aspect, plan.bucket.aspect / window.aspect)
    # Half a pixel is what rounding costs, however small the window is.
    if off > 0.5 and (off > 1.5 or stretch > 1.01):
        raise SampleError(
            f"{where}: box of {window} would be stretched to {plan.bucket}: make it {Size(exact.width, window.height)}"
        )
    _check_enlargement(window, window, plan.bucket, options.most(plan))
    faces = kept_faces(plan.faces, plan.box)
    by_hand = plan.anchor == "manual"
    return msgspec.structs.replace(
        plan,
        why="drawn by hand" if by_hand else plan.why,
        faces=faces,
        saliency_kept=None if by_hand else plan.saliency_kept,
        warnings=(
            *cut_warnings(faces),
            *(() if by_hand else doubt_warnings(faces, plan.box, picture.size)),
            *_enlarged(enlargement(window, plan.bucket)),
        ),
        source_size=picture.size,
        area_kept=round(window.area / picture.size.area, 4),
        scale=rounded_scale(enlargement(window, plan.bucket)),
    )


def _write(
    task: Task, options: CropOptions, temporary: Path, picture: Picture, plan: CropPlan, pixels: Pixels | None, caption: Caption
) -> Made:
    """Render, encode and write to temporary files."""
    window = plan.box.size
    if pixels is None or pixels.scale != dct_scale(picture, window, plan.bucket):
        pixels = decode(picture, window, plan.bucket, options.background)
    file_format = os.path.splitext(task.output)[1][1:]
    whole = plan.box == Box(0, 0, *plan.bucket) and picture.size == plan.bucket
    if whole and picture.final and _FORMAT_NAMES.get(picture.format) == file_format:
        content = picture.data  # already what would be written: encoding it again could only lose
    else:
        content = encode(render(picture, pixels, plan.box, plan.bucket), file_format, options.quality)  # type: ignore[arg-type]
    sha256 = hashlib.sha256(content).hexdigest()
    files = [(write_temporary(temporary, task.output, content), sha256)]
    caption_sha256 = None
    if caption.lines:
        text = caption.text.encode()
        caption_sha256 = hashlib.sha256(text).hexdigest()
        files.append((write_temporary(temporary, f"{task.output}.txt", text), caption_sha256))
    record = Record(
        output=task.output,
        bucket=plan.bucket,
        source=task.source,
        source_sha256=picture.sha256,
        output_sha256=sha256,
        key=task.key,
        version=__version__,
        caption=task.caption_output if caption.lines else None,
        caption_sha256=caption_sha256,
        source_caption_sha256=caption.sha256,
        source_size=plan.source_size,
        box=plan.box,
        anchor=plan.anchor,
        why=plan.why,
        faces=plan.faces,
        saliency_kept=plan.saliency_kept,
        area_kept=plan.area_kept,
        scale=plan.scale,
        captions=len(caption.lines),
        caption_edited=isinstance(task.detail, Decision) and task.detail.caption is not None,
        warnings=(*picture.warnings, *plan.warnings, *caption.warnings),
    )
    return Made(record, caption.text if caption.lines else None, tuple(files), stamp=picture.stamp)
