"""Crop one picture, from bytes to bytes: decide on its window, or hold a given one against it, render and encode it.

Nothing here knows a path, a clock or the environment: the same bytes and options give the same bytes anywhere.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from datakit import __version__
from datakit.caption.captions import Caption
from datakit.crop.companions import crop_companions
from datakit.crop.crops import Crops, Seen, crops_of, zoom_in
from datakit.crop.framing import DISPUTED_SCORE, cut_warnings, doubt_warnings, frame, kept_faces, significant, slack
from datakit.crop.options import CropOptions
from datakit.crop.request import Given, Request
from datakit.dataset.manifest import CropPlan, Face, Record
from datakit.dataset.samples import Sample, caption_of
from datakit.detect import face_detector, saliency_look
from datakit.errors import SampleError, TooSmallError, WindowError
from datakit.geometry import Box, Size
from datakit.picture.encoding import encode
from datakit.picture.formats import Format
from datakit.picture.images import Picture, Pixels, dct_scale, decode, read_picture
from datakit.picture.resampling import preview, render
from datakit.report import LeftOut, Problem, Warned
from datakit.sizes import choose_bucket, enlargement, largest_window, rounded_scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datakit.detect import Look, Preview

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


@dataclass(frozen=True, slots=True)
class Cropped:
    """One picture made: its file's bytes, its caption's text (None where it has none), the record, and its companions' bytes."""

    data: bytes
    caption: str | None
    record: Record
    companions: tuple[bytes, ...] = ()


def crop_picture(
    request: Request,
    data: bytes,
    caption: bytes | None,
    options: CropOptions,
    companions: Mapping[str, bytes] = MappingProxyType({}),
) -> Cropped | Problem:
    """Crop one picture, given as the bytes of its file, of its caption file (None where there is none), and of its companions."""
    (cropped,) = crop_together([request], data, caption, options, companions)
    return cropped if isinstance(cropped, Cropped | Problem) else Problem(request.sample.id, f"no such crop ({cropped.kind})")


def crop_together(
    requests: Sequence[Request],
    data: bytes,
    caption: bytes | None,
    options: CropOptions,
    companions: Mapping[str, bytes] = MappingProxyType({}),
) -> list[Cropped | Problem | LeftOut]:
    """Make several crops of one picture, which is looked at once; see `crop_picture`. What is not to be made is left out."""
    source = requests[0].sample.id
    texts = [_words(request, caption, options) for request in requests]
    if all(isinstance(text, Problem) for text in texts):
        return [text for text in texts if isinstance(text, Problem)]
    decided: Crops | Problem = Crops()
    pixels: Pixels | None = None
    try:
        picture = read_picture(data, source, options.max_pixels)
    except SampleError as error:
        return [Problem.of(source, error)] * len(requests)
    undecided = [request.given for request in requests if request.given.plan is None]
    if undecided:
        widest = max(undecided, key=lambda given: given.upscale or 0)
        try:
            decided, pixels = plan_crops(picture, source, widest.narrow(options))
        except SampleError as error:
            decided = Problem.of(source, error)
    return [
        text if isinstance(text, Problem) else _cropped(request, (picture, pixels), decided, text, options, companions)
        for request, text in zip(requests, texts, strict=True)
    ]


def _words(request: Request, caption: bytes | None, options: CropOptions) -> Caption | Problem:
    try:
        return request.given.words(request.sample, caption, options, request.agreed)
    except SampleError as error:
        return Problem.of(request.sample.id, error)


def _cropped(
    request: Request,
    read: tuple[Picture, Pixels | None],
    decided: Crops | Problem,
    text: Caption,
    options: CropOptions,
    companions: Mapping[str, bytes],
) -> Cropped | Problem | LeftOut:
    """Make one crop as it is given, or as it was decided on."""
    (picture, pixels), given, crop = read, request.given, request.crop or "full"
    if given.plan is None and isinstance(decided, Problem):
        return decided
    crops = Crops() if isinstance(decided, Problem) else decided
    try:
        if given.plan is not None:
            plan, pixels = _follow(picture, given.plan, given.where, options.allowing(given.upscale))
        elif crop in crops.left_out:
            return crops.left_out[crop]
        else:
            plan = crops.plans[crop]
        plan = given.move.noted(plan) if given.move else plan
        pixels = _decoded(picture, pixels, plan, options)
        content = _written(picture, pixels, plan, options, request.output)
        beside = crop_companions(request, picture, plan, companions, options)
    except SampleError as error:
        return Problem.of(request.sample.id, error)
    text = given.fitted(text, plan, options)
    record = _record(request, (picture, pixels), plan, content, text)
    if text.supplied:
        record = msgspec.structs.replace(record, caption_supplied=options.caption)
    if request.crop == "full":
        record = msgspec.structs.replace(record, left_out=crops.left_out)
    if beside.companions or beside.warnings:
        warnings = (*record.warnings, *beside.warnings)
        record = msgspec.structs.replace(record, companions=beside.companions, warnings=warnings)
    return Cropped(content, text.text if text.lines else None, record, beside.data)


def plan_sample(
    sample: Sample, data: bytes, caption: bytes | None, options: CropOptions, agreed: str | None = None
) -> tuple[CropPlan, ...] | Problem:
    """Decide on the windows of one picture, given as the bytes of its file and of its caption file."""
    try:
        Given().words(sample, caption, options, agreed)
        crops, _ = plan_crops(read_picture(data, sample.id, options.max_pixels), sample.id, options)
        return tuple(crops.plans.values())
    except SampleError as error:
        return Problem.of(sample.id, error)


def plan_crops(picture: Picture, source: str, options: CropOptions) -> tuple[Crops, Pixels]:
    """Decide on the windows of one picture; return the decoded pixels too, since rendering can go on from them.

    Raises
    ------
    PictureError
        It cannot be decoded.
    TooSmallError
        No allowed size can be filled within ``options.upscale``.
    """
    bucket = choose_bucket(picture.size, options.allowed_buckets, options.upscale)
    window = largest_window(picture.size, bucket)
    _check_enlargement(picture.size, window, bucket, options.upscale)
    pixels = decode(picture, window, bucket, options.background)
    room = slack(picture.size, bucket) / max(picture.size)
    seen = _look(picture, pixels, room, options)
    plan = frame(source, picture.size, bucket, seen.faces, seen.saliency, seen.things)
    if options.zooms and room < OBJECTS_FROM:
        seen = _look_closer(picture, pixels, seen, options)
    if options.framing != "full":
        plan = zoom_in(plan, options.allowed_buckets, seen, options.framing, options.upscale)
    plan = _told(plan, options)
    if not options.crops:
        return Crops({"full": plan}), pixels
    crops = crops_of(plan, options.crops, options.allowed_buckets, seen, options.upscale)
    return Crops({crop: _told(each, options) for crop, each in crops.plans.items()}, crops.left_out), pixels


def _told(plan: CropPlan, options: CropOptions) -> CropPlan:
    """Return a plan that says which set its size is of, and how far it is enlarged."""
    others = tuple(warning for warning in plan.warnings if warning.kind != "enlarged")
    return msgspec.structs.replace(plan, sizes=options.sizes, warnings=(*others, *_enlarged(plan.scale or 1)))


def _look(picture: Picture, pixels: Pixels, room: float, options: CropOptions) -> Seen:
    """Look for faces, and for what stands out where the window can move by ``room`` (a share of the long side) or more."""
    detect, look = face_detector(options.detector), _salient(room, options.saliency)
    if not detect and not look:
        return Seen()
    small = preview(picture, pixels, DECIDED_SIDE if room < DECIDED_BELOW and not options.zooms else PREVIEW_SIDE)
    faces = _faces(picture, small, options.detector)
    return _seen(picture, small, faces, look)


def _look_closer(picture: Picture, pixels: Pixels, seen: Seen, options: CropOptions) -> Seen:
    """Look for objects too where no sure face decides on closer crops: they speak against one, or are what is shown."""
    faces = significant(seen.faces, picture.size)
    look = saliency_look(options.saliency)
    if look is None or any(face.score >= DISPUTED_SCORE for face in faces):
        return seen
    return _seen(picture, preview(picture, pixels, PREVIEW_SIDE), seen.faces, look)


def _seen(picture: Picture, small: Preview, faces: Sequence[Face], look: Look | None) -> Seen:
    saliency, things = look(small) if look else (None, [])
    factor = max(picture.size) / max(small.shape[:2])
    return Seen(faces, saliency, [thing._replace(box=thing.box.scaled(factor)) for thing in things])


def _faces(picture: Picture, small: Preview, detector: str) -> list[Face]:
    """Return the faces in a small copy of a picture, in pixels of the picture."""
    detect = face_detector(detector)
    factor = max(picture.size) / max(small.shape[:2])
    return [Face(face.box.scaled(factor).rounded(), face.score) for face in detect(small)] if detect else []


def _follow(picture: Picture, given: CropPlan, where: str, options: CropOptions) -> tuple[CropPlan, Pixels | None]:
    """Hold a given window against its picture; of one that a person drew, find out which faces it keeps."""
    plan = check_window(picture.size, where, given, options.upscale)
    if plan.anchor != "manual" or options.detector == "none":
        return plan, None
    pixels = decode(picture, plan.box.size, plan.bucket, options.background)
    faces = significant(_faces(picture, preview(picture, pixels, PREVIEW_SIDE), options.detector), picture.size)
    return check_window(picture.size, where, msgspec.structs.replace(given, faces=faces), options.upscale), pixels


def _enlarged(scale: float) -> tuple[Warned, ...]:
    return (Warned("enlarged", f"enlarged {rounded_scale(scale)} times"),) if scale > 1 else ()


def _salient(room: float, name: str) -> Look | None:
    """Return the map worth its time: none where the window cannot move, a cheap one where it hardly can."""
    if room < DECIDED_BELOW:
        return None
    return saliency_look("bms" if name == "objects" and room < OBJECTS_FROM else name)


def _check_enlargement(size: Size, window: Size, bucket: Size, upscale: float) -> None:
    needed = enlargement(window, bucket)
    if needed > upscale:
        # Rounded up, so that the factor named is enough.
        factor = math.ceil(needed * 1000) / 1000
        raise TooSmallError(f"{size} is too small for {bucket}: --upscale {factor:g} would enlarge it", factor, size)


def check_window(size: Size, where: str, plan: CropPlan, upscale: float) -> CropPlan:
    """Hold a given window against the size of its picture and fill in what follows from it; ``where`` opens a message.

    Raises
    ------
    WindowError
        The window is not inside the picture, or would be stretched.
    TooSmallError
        It would be enlarged by more than ``upscale``.
    """
    if plan.source_size not in (None, size):
        raise WindowError(
            f"{where}: was made for a picture of {Size(*plan.source_size)}, this one has {size}: "
            "plan again, or take the window back in datakit review"
        )
    if not plan.box.inside(size):
        raise WindowError(f"{where}: box {list(plan.box)} is empty or not inside the picture of {size}")
    window = plan.box.size
    off = min(abs(window.width - window.height * plan.bucket.aspect), abs(window.height - window.width / plan.bucket.aspect))
    stretch = max(window.aspect / plan.bucket.aspect, plan.bucket.aspect / window.aspect)
    # Half a pixel is what rounding costs, however small the window is.
    if off > 0.5 and (off > 1.5 or stretch > 1.01):
        raise WindowError(
            f"{where}: box of {window} would be stretched to {plan.bucket}: make it {largest_window(window, plan.bucket)}"
        )
    _check_enlargement(window, window, plan.bucket, upscale)
    faces = kept_faces(plan.faces, plan.box)
    by_hand = plan.anchor == "manual"
    return msgspec.structs.replace(
        plan,
        why="drawn by hand" if by_hand else plan.why,
        faces=faces,
        saliency_kept=None if by_hand else plan.saliency_kept,
        warnings=(
            *cut_warnings(faces),
            *(() if by_hand else doubt_warnings(faces, plan.box, size)),
            *_enlarged(enlargement(window, plan.bucket)),
            *(warning for warning in plan.warnings if warning.kind == "moved" and not by_hand),
        ),
        moved_from=msgspec.UNSET if by_hand else plan.moved_from,
        source_size=size,
        area_kept=round(window.area / size.area, 4),
        scale=rounded_scale(enlargement(window, plan.bucket)),
    )


def _decoded(picture: Picture, pixels: Pixels | None, plan: CropPlan, options: CropOptions) -> Pixels:
    """Return pixels fine enough for a plan: those there are, if they are."""
    if pixels is None or pixels.scale != dct_scale(picture, plan.box.size, plan.bucket):
        return decode(picture, plan.box.size, plan.bucket, options.background)
    return pixels


def _written(picture: Picture, pixels: Pixels, plan: CropPlan, options: CropOptions, output: str) -> bytes:
    """Return the bytes of the output's file."""
    file_format = os.path.splitext(output)[1][1:]
    whole = plan.box == Box(0, 0, *plan.bucket) and picture.size == plan.bucket
    if whole and picture.final and _FORMAT_NAMES.get(picture.format) == file_format:
        return picture.data  # already what would be written: encoding it again could only lose
    return encode(render(picture, pixels, plan.box, plan.bucket), file_format, options.quality)  # type: ignore[arg-type]


def _record(request: Request, read: tuple[Picture, Pixels], plan: CropPlan, content: bytes, caption: Caption) -> Record:
    """Put together how a picture was made."""
    (picture, pixels), given = read, request.given
    text = caption.text.encode()
    return Record(
        output=request.output,
        bucket=plan.bucket,
        sizes=plan.sizes,
        source=request.sample.id,
        source_sha256=picture.sha256,
        output_sha256=hashlib.sha256(content).hexdigest(),
        key=request.key,
        version=__version__,
        caption=caption_of(request.output) if text else None,
        caption_sha256=hashlib.sha256(text).hexdigest() if text else None,
        source_caption_sha256=caption.sha256,
        source_size=plan.source_size,
        box=plan.box,
        anchor=plan.anchor,
        why=plan.why,
        crop=request.crop,
        faces=plan.faces,
        saliency_kept=plan.saliency_kept,
        area_kept=plan.area_kept,
        scale=plan.scale,
        captions=len(caption.lines),
        window_decided=given.window_decided,
        caption_decided=given.caption_decided,
        warnings=(*picture.warnings, *pixels.warnings, *plan.warnings, *caption.warnings),
        moved_from=None if plan.moved_from is msgspec.UNSET else plan.moved_from,
    )
