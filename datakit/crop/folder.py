"""Stage 1: crop a folder of pictures to exactly one of the eight sizes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from datakit.crop.amend import CAPTION_EMPTY, CAPTION_MISSING, Amendments, Decision
from datakit.crop.options import CropOptions
from datakit.dataset.last import remember_report
from datakit.dataset.manifest import MANIFEST, CropPlan, Record, read_plan
from datakit.dataset.origin import Origin, refuse_in_source, refuse_other_origin
from datakit.dataset.samples import Found, Sample, find_source, output_stems, shared_captions, shared_stems
from datakit.dataset.store import Store
from datakit.detect import check_available
from datakit.errors import PlanError, UsageError
from datakit.libraries import check_opencv
from datakit.picture.formats import KEPT
from datakit.report import Problem, Report, counted, few
from datakit.run.executors import processes, serial
from datakit.run.stage import Execution, Made, NotMade, Task, run_stage


def plan_crop(picture: str | os.PathLike[str], options: CropOptions = CropOptions()) -> CropPlan:
    """Decide how one picture is cropped, without writing anything.

    Raises
    ------
    PictureError
        The picture cannot be read.
    TooSmallError
        No allowed bucket can be filled within ``options.upscale``.
    """
    from datakit.crop.picture import plan_picture
    from datakit.picture.images import open_picture

    path = Path(picture)
    return plan_picture(open_picture(path, options.max_pixels), path.name, options)[0]


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

    Only new and changed pictures are made; see `datakit.run.stage`.

    Parameters
    ----------
    source, output
        The folder to read, never written to, and the dataset to write.
    options
        How to crop.
    plan
        A plan file to follow instead of deciding.
    apply_overrides
        Apply what was decided in the review; see `datakit.dataset.overrides`.
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
    refuse_in_source(target, [folder])
    if not execution.overwrite:
        refuse_other_origin(target, "crop", folder)
    report = Report("crop", str(folder), str(target))
    report.refused += [Problem(*refusal) for refusal in found.refused]
    stems = output_stems(found.samples)
    renamed = shared_stems(found.samples, stems)
    if renamed:
        report.notes.append(
            f"{len(renamed)} pictures share a name but for extension or case; their outputs carry the extension: {few(renamed)}"
        )
    # A caption is shared by its stem alone, so only those can share one.
    alike = set(renamed)
    sharing = shared_captions([sample for sample in found.samples if sample.id in alike])
    if sharing:
        report.notes.append(f"{len(sharing)} pictures share a caption file with another and get the same caption: {few(sharing)}")
    report.notes += _passed_over(found, folder)
    plans = None if plan is None else _read_plans(Path(plan), found, report)
    tasks = [
        _task(sample, stems[sample.id], options, None if plans is None else plans[sample.id])
        for sample in found.samples
        if plans is None or sample.id in plans
    ]
    with Store(target, overwrite=execution.overwrite, verify=execution.verify) as store:
        amendments = Amendments(store, apply_overrides, execution.overwrite, options, report)
        wanted, settled = amendments.follow(tasks)
        if plans is None and not execution.overwrite:
            wanted = _honouring_hand(store, wanted, settled, report)
        run_stage(
            store,
            wanted,
            {sample.id for sample in found.samples},
            partial(_maker, options, store.temporary, deciding=plan is None),
            origin=Origin("crop", str(folder.resolve()), options.background),
            execution=execution,
            report=report,
            unseen=[path for path, _ in found.refused],
            allowed=partial(_allowed, options),
        )
        report.notes += _without_captions(report, len(found.samples))
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
    from datakit.crop.picture import plan_sample

    folder = Path(source)
    found = find_source(folder, None)
    check_available(options.detector, options.saliency)
    report = Report("crop", str(folder), "")
    report.refused += [Problem(*refusal) for refusal in found.refused]
    run = processes if execution.jobs else serial
    results = run(partial(plan_sample, options=options), found.samples, execution.jobs, execution.timeout)
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


def _passed_over(found: Found, folder: Path) -> list[str]:
    """Say what of the source is used for nothing: a caption whose name is mistyped, pictures of a camera's own format."""
    notes = []
    if found.strays:
        notes.append(f"{counted(len(found.strays), 'caption file')} without a picture of that name: {few(found.strays)}")
    ours = ".jsonl" if (folder / MANIFEST).is_file() else None
    kinds = sorted((item for item in found.others.items() if item[0] != ours), key=lambda item: (-item[1], item[0]))
    if kinds:
        named = [f"{number} {kind or 'without extension'}" for kind, number in kinds]
        notes.append(f"left alone, as no pictures that can be read: {few(named)}")
    return notes


def _maker(options: CropOptions, temporary: Path, *, deciding: bool) -> Callable[[Task], Made | NotMade]:
    """Return what crops one sample; all that it needs is loaded here, so that a run with nothing to do is fast."""
    from datakit.crop.picture import make_crop

    check_opencv()  # writes every PNG
    if deciding:
        check_available(options.detector, options.saliency)
    return partial(make_crop, options=options, temporary=temporary)


def _task(sample: Sample, stem: str, options: CropOptions, numbered: tuple[int, CropPlan] | None) -> Task:
    written = options.format if options.format != "keep" else KEPT.get(os.path.splitext(sample.id)[1].lower(), "png")
    return Task(
        sample,
        output=f"{stem}.{written}",
        caption_output=f"{stem}.txt" if sample.caption_id else None,
        key=options.key(None if numbered is None else numbered[1]),
        detail=numbered and Decision(f"plan line {numbered[0]}", numbered[1]),
    )


def _allowed(options: CropOptions, task: Task, record: Record) -> bool:
    """Tell whether a record stands under the limits of this run."""
    decision: Decision | None = task.detail
    return options.allow(record, None if decision is None else decision.plan)


def _without_captions(report: Report, samples: int) -> list[str]:
    """Say so where most pictures have no caption: every trainer wants one, and later stages ask for it."""
    sources = {source for source, warning in report.warnings if warning.kind in (CAPTION_MISSING.kind, CAPTION_EMPTY.kind)}
    if 2 * len(sources) <= samples:
        return []
    return [
        f"{len(sources)} of {counted(samples, 'picture')} have no caption: shuffle and backend want one for each, as a .txt of its name"
    ]


def _honouring_hand(store: Store, tasks: list[Task], settled: set[str], report: Report) -> list[Task]:
    """Keep windows that were drawn by hand while their pictures are the same, whatever the options and their names are now.

    ``settled`` are sources whose window the review decides.
    """
    wanted = {task.output for task in tasks}
    renamed = {record.source: record for name in store.outputs() if name not in wanted and (record := store.record(name))}
    honouring = []
    for task in tasks:
        record = None if task.source in settled else store.record(task.output) or renamed.get(task.source)
        if record is None or record.anchor != "manual" or record.box is None:
            honouring.append(task)
        elif record.source_sha256 != store.fingerprints.sha256(task.picture):
            honouring.append(task)  # it was drawn on another picture
        else:
            report.notes.append(f"{task.source} keeps its window drawn by hand (--overwrite decides anew)")
            plan = CropPlan(
                source=task.source,
                box=record.box,
                bucket=record.bucket,
                source_size=record.source_size,
                faces=record.faces,
                scale=record.scale,
            )
            decision: Decision | None = task.detail
            caption = decision.caption if decision else None
            honouring.append(replace(task, key=record.key, detail=Decision("the window drawn by hand", plan, caption)))
    return honouring


def _read_plans(path: Path, found: Found, report: Report) -> dict[str, tuple[int, CropPlan]]:
    """Read an edited plan; lines that name no sample of the source are reported."""
    samples = {sample.id for sample in found.samples}
    plans: dict[str, tuple[int, CropPlan]] = {}
    for number, plan in read_plan(path):
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
