"""Stage 1: crop a folder of pictures to exactly one of the eight sizes."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from datakit import __version__
from datakit.amend import CAPTION_EMPTY, CAPTION_MISSING, Amendments, Decision
from datakit.buckets import BUCKETS, choose_bucket, enlargement, in_order, largest_window
from datakit.captions import Caption, decode_caption, read_caption
from datakit.dataset import Found, Sample, find_source, output_stems, shared_stems
from datakit.detect import check_available, face_detector, saliency_map
from datakit.errors import CaptionError, PlanError, SampleError, TooLargeError, TooSmallError, UsageError
from datakit.execute import processes, serial
from datakit.framing import FRAMINGS, Framing, cut_warnings, frame, kept_faces, slack
from datakit.geometry import Box, Size
from datakit.images import (
    DEFAULT_MAX_PIXELS,
    FORMATS,
    Format,
    Picture,
    Pixels,
    dct_scale,
    decode,
    encode,
    open_picture,
    parse_colour,
    preview,
    render,
)
from datakit.last import remember_report
from datakit.manifest import CropPlan, Face, Record, read_plan
from datakit.report import Problem, Report, counted
from datakit.stage import Execution, Made, NotMade, Task, run_stage, write_temporary
from datakit.store import Origin, Store

if TYPE_CHECKING:
    from datakit.detect import Saliency

# Part of every options key: raise it when the same options give other bytes than before.
_RULES = 2
# Faces are found best when the picture is shrunk or enlarged to this long side (recall .94 against .86 at full size).
PREVIEW_SIDE = 640
# Objects are looked for where the window can move by this share of the long side. Below, Boolean Map Saliency keeps as
# much of the subjects of annotated pictures (99.5 %) in a ninth of the time.
OBJECTS_FROM = 0.15
# Where the window can move by less than this share of the long side, no map is made (it would move the window by at most
# 0.4 % of that side) and faces are looked for in a smaller copy: at 512 the largest face of annotated pictures is found as
# often as at 640 (43 of 44), of all that count 118 instead of 123 of 139.
DECIDED_BELOW, DECIDED_SIDE = 0.05, 512
# What a format is written as; all others become PNG, which loses nothing.
_KEPT: dict[str, Format] = {".jpg": "jpg", ".jpeg": "jpg", ".png": "png", ".webp": "webp"}
_FORMAT_NAMES: dict[str, Format] = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


@dataclass(frozen=True, slots=True)
class CropOptions:
    """What decides how pictures are cropped and written.

    Attributes
    ----------
    buckets
        The sizes that may be used, some or all of the eight.
    detector, saliency
        Names from `datakit.detect.DETECTORS` and `SALIENCY`.
    framing
        ``full``, ``portrait`` or ``face``; see `datakit.framing.frame`.
    upscale
        Largest enlargement allowed; 1 allows none.
    format
        ``keep`` (jpg, png and webp stay, the rest becomes png), ``jpg``, ``png`` or ``webp``.
    quality
        Of jpg and webp, 1 to 100.
    background
        CSS colour under transparent pixels.
    captions
        Whether a picture without a caption is refused (``required``) or used (``optional``).
    max_pixels
        Pictures with more pixels are refused.
    """

    buckets: tuple[Size, ...] = BUCKETS
    detector: str = "yunet"
    saliency: str = "objects"
    framing: Framing = "full"
    upscale: float = 1.0
    format: Literal["keep", "jpg", "png", "webp"] = "keep"
    quality: int = 95
    background: str = "white"
    captions: Literal["required", "optional"] = "optional"
    max_pixels: int = DEFAULT_MAX_PIXELS

    def __post_init__(self) -> None:
        unknown = [bucket for bucket in self.buckets if bucket not in BUCKETS]
        if unknown or not self.buckets:
            raise UsageError(f"buckets {list(map(str, unknown))} are not among the eight sizes: {' '.join(map(str, BUCKETS))}")
        if self.framing not in FRAMINGS:
            raise UsageError(f"framing {self.framing!r} is unknown: choose from {', '.join(FRAMINGS)}")
        if not (math.isfinite(self.upscale) and self.upscale >= 1):
            raise UsageError(f"upscale {self.upscale} is below 1: 1 enlarges nothing, 2 doubles each side at most")
        for name, value, allowed in (
            ("format", self.format, ("keep", *FORMATS)),
            ("captions", self.captions, ("required", "optional")),
        ):
            if value not in allowed:
                raise UsageError(f"{name} {value!r} is unknown: choose from {', '.join(allowed)}")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality {self.quality} is not between 1 and 100")
        parse_colour(self.background)

    def key(self, plan: CropPlan | None = None) -> str:
        """Return a short hash of everything that decides the bytes of a sample, an edited plan included."""
        decisive = asdict(self)
        # Options that say the same have one key, however they were written.
        decisive |= {
            "buckets": in_order(self.buckets),
            "upscale": float(self.upscale),
            "background": parse_colour(self.background),
        }
        if plan is not None:
            decisive = {"plan": [plan.box, plan.bucket], **{name: decisive[name] for name in ("quality", "background")}}
        text = msgspec.json.encode({"rules": _RULES, **decisive}, order="sorted")
        return hashlib.sha256(text).hexdigest()[:12]


def plan_crop(picture: str | os.PathLike[str], options: CropOptions = CropOptions()) -> CropPlan:
    """Decide how one picture is cropped, without writing anything.

    Raises
    ------
    PictureError
        The picture cannot be read.
    TooSmallError
        No allowed bucket can be filled within ``options.upscale``.
    """
    path = Path(picture)
    return _plan(open_picture(path, options.max_pixels), path.name, options)[0]


def crop_folder(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: CropOptions = CropOptions(),
    *,
    plan: str | os.PathLike[str] | None = None,
    apply_overrides: bool = False,
    execution: Execution = Execution(),
) -> Report:
    """Crop every picture of a folder into a dataset, and report what was done.

    Only new and changed pictures are made; see `datakit.stage`.

    Parameters
    ----------
    source, output
        The folder to read, never written to, and the dataset to write.
    options
        How to crop.
    plan
        A plan file to follow instead of deciding.
    apply_overrides
        Apply what was decided in the review; see `datakit.overrides`.
    execution
        Workers, limits, what may be replaced.

    Raises
    ------
    UsageError
        A folder or an option cannot be used.
    DatasetBusyError
        Another run is writing to ``output``.
    PlanError
        A line of the plan, of the overrides or of the dataset's manifest cannot be used.
    """
    if plan is not None and apply_overrides:
        raise UsageError("a plan and the overrides of the review both decide the windows: apply one of them")
    if apply_overrides and execution.strict:
        raise UsageError("a strict run refuses or writes all, the review is applied picture by picture: apply it first")
    folder, target = Path(source), Path(output)
    found = find_source(folder, target)
    report = Report("crop", str(folder), str(target))
    report.refused += [Problem(*refusal) for refusal in found.refused]
    stems = output_stems(found.samples)
    renamed = shared_stems(found.samples, stems)
    if renamed:
        report.notes.append(
            f"{len(renamed)} pictures share a name but for extension or case; their outputs carry the extension: {_few(renamed)}"
        )
    plans = None if plan is None else _read_plans(Path(plan), found, report)
    tasks = [
        _task(sample, stems[sample.id], options, None if plans is None else plans[sample.id])
        for sample in found.samples
        if plans is None or sample.id in plans
    ]
    _check_detectors(options, plan is None)
    with Store(target, overwrite=execution.overwrite, verify=execution.verify) as store:
        amendments = Amendments(store, apply_overrides, execution.overwrite, options.key, report)
        wanted, settled = amendments.follow(tasks)
        if plans is None and not execution.overwrite:
            wanted = [task if task.source in settled else _honouring_hand(store, task, report) for task in wanted]
        make = partial(_make, options=options, temporary=store.temporary)
        run_stage(
            store,
            wanted,
            {sample.id for sample in found.samples},
            make,
            origin=Origin("crop", str(folder.resolve()), options.background),
            execution=execution,
            report=report,
            unseen=[path for path, _ in found.refused],
        )
        if not report.withheld:
            amendments.finish(tasks)
            remember_report(target, report, asdict(options))
    return report


def plan_folder(
    source: str | os.PathLike[str],
    options: CropOptions = CropOptions(),
    *,
    execution: Execution = Execution(),
) -> tuple[list[CropPlan], Report]:
    """Decide how every picture of a folder is cropped; return the plans in the order of their sources."""
    folder = Path(source)
    found = find_source(folder, None)
    _check_detectors(options, True)
    report = Report("crop", str(folder), "")
    report.refused += [Problem(*refusal) for refusal in found.refused]
    run = processes if execution.jobs else serial
    results = run(partial(_plan_sample, options=options), found.samples, execution.jobs, execution.timeout)
    plans = []
    for sample, result in execution.progress(results, len(found.samples), "planning"):
        if isinstance(result, CropPlan):
            plans.append(result)
            report.done += 1
            report.buckets[result.bucket] += 1
            report.warnings += [(sample.id, warning) for warning in result.warnings]
            if result.faces and result.faces[0].kept < 1:
                report.faces_cut.append((sample.id, result.faces[0].kept))
        elif isinstance(result, NotMade) and result.refused:
            report.refused.append(Problem(sample.id, result.reason, result.factor))
        else:
            report.failed.append(Problem(sample.id, result.reason))
    report.sort()
    return sorted(plans, key=lambda each: each.source), report


def _check_detectors(options: CropOptions, deciding: bool) -> None:
    """Find out before any work whether the detectors can be used at all."""
    if deciding:
        check_available(options.detector, options.saliency)


def _task(sample: Sample, stem: str, options: CropOptions, numbered: tuple[int, CropPlan] | None) -> Task:
    written = options.format if options.format != "keep" else _KEPT.get(os.path.splitext(sample.id)[1].lower(), "png")
    return Task(
        source=sample.id,
        picture=sample.picture,
        caption=sample.caption,
        output=f"{stem}.{written}",
        caption_output=f"{stem}.txt" if sample.caption else None,
        key=options.key(None if numbered is None else numbered[1]),
        detail=numbered and Decision(f"plan line {numbered[0]}", numbered[1]),
    )


def _honouring_hand(store: Store, task: Task, report: Report) -> Task:
    """Take a window that was drawn by hand as up to date while its source is the same, whatever the options say."""
    record = store.record(task.output)
    if record is None or record.anchor != "manual" or store.missing(record):
        return task
    if not store.up_to_date(record, record.key, task.source, task.picture, task.caption):
        return task
    report.notes.append(f"{task.source} keeps its window drawn by hand (--overwrite decides anew)")
    return replace(task, key=record.key)


def _read_plans(path: Path, found: Found, report: Report) -> dict[str, tuple[int, CropPlan]]:
    """Read an edited plan; lines that name no sample of the source are reported."""
    samples = {sample.id for sample in found.samples}
    plans: dict[str, tuple[int, CropPlan]] = {}
    for number, plan in read_plan(path):
        if plan.bucket not in BUCKETS:
            raise PlanError(
                f"{path}, line {number}: bucket {Size(*plan.bucket)} is not one of the eight sizes: {' '.join(map(str, BUCKETS))}"
            )
        if plan.source in plans:
            raise PlanError(f"{path}, line {number}: {plan.source} was planned in line {plans[plan.source][0]} already")
        if plan.source in samples:
            plans[plan.source] = (number, plan)
        else:
            report.refused.append(Problem(plan.source, f"plan line {number}: no such picture in {report.source}"))
    left_out = len(samples - plans.keys())
    if left_out:
        report.notes.append(f"{counted(left_out, 'picture')} not in the plan: left alone")
    return plans


def _plan_sample(sample: Sample, options: CropOptions) -> CropPlan | NotMade:
    try:
        return _plan(open_picture(sample.picture, options.max_pixels), sample.id, options)[0]
    except SampleError as error:
        return _not_made(error)


def _plan(picture: Picture, source: str, options: CropOptions) -> tuple[CropPlan, Pixels]:
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


def _enlarged(scale: float) -> tuple[str, ...]:
    return (f"enlarged {round(scale, 4)} times",) if scale > 1 else ()


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


def _make(task: Task, options: CropOptions, temporary: Path) -> Made | NotMade:
    """Crop one sample into temporary files; runs in a worker."""
    try:
        caption = _caption(task, options)
        picture = open_picture(task.picture, options.max_pixels)
        decision: Decision | None = task.detail
        if decision is None or decision.plan is None:
            plan, pixels = _plan(picture, task.source, options)
        else:
            plan, pixels = check_window(picture, decision.where, decision.plan, options), None
        return _write(task, options, temporary, picture, plan, pixels, caption)
    except SampleError as error:
        return _not_made(error)
    except OSError as error:
        return NotMade(f"cannot be written: {error.strerror or error}")


def _not_made(error: SampleError) -> NotMade:
    refused = isinstance(error, (TooSmallError, TooLargeError, CaptionError))
    return NotMade(str(error), refused, error.factor if isinstance(error, TooSmallError) else None)


def _caption(task: Task, options: CropOptions) -> Caption:
    decision: Decision | None = task.detail
    if decision is not None and decision.caption is not None:
        source = read_caption(task.caption).sha256 if task.caption else None
        return Caption(decode_caption(decision.caption.encode(), task.source).lines, source)
    caption = read_caption(task.caption) if task.caption else Caption((), None)
    if not caption.lines:
        missing = CAPTION_EMPTY if task.caption else CAPTION_MISSING
        if options.captions == "required":
            raise CaptionError(f"{missing}: write one, or use --captions optional")
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
            f"{where}: was made for a picture of {Size(*plan.source_size)}, this one has {picture.size}: plan again"
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
    _check_enlargement(window, window, plan.bucket, options.upscale)
    faces = kept_faces(plan.faces, plan.box)
    by_hand = plan.anchor == "manual"
    return msgspec.structs.replace(
        plan,
        why="drawn by hand" if by_hand else plan.why,
        faces=faces,
        saliency_kept=None if by_hand else plan.saliency_kept,
        warnings=(*cut_warnings(faces), *_enlarged(enlargement(window, plan.bucket))),
        source_size=picture.size,
        area_kept=round(window.area / picture.size.area, 4),
        scale=round(enlargement(window, plan.bucket), 4),
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


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
