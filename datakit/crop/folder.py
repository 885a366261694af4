"""Stage 1: crop a source of pictures into a dataset, each to exactly one size of a set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

from datakit.crop.companions import find_companions
from datakit.crop.decided import Decided
from datakit.crop.options import CropOptions, allowance, marked, planned_by
from datakit.crop.request import CAPTION_EMPTY, CAPTION_MISSING, Given
from datakit.dataset.captioned import agreed_encoding
from datakit.dataset.decisions import Decision, add_windows, read_decisions, with_window
from datakit.dataset.manifest import MANIFEST, CropPlan, read_plan
from datakit.dataset.origin import Origin, refuse_other_origin
from datakit.dataset.remembered import remember_report
from datakit.dataset.samples import Found, Sample, crop_stems, output_stems, repeats_told, shared_captions, shared_stems
from datakit.dataset.source import Source, open_source, read_picture_of
from datakit.dataset.store import Store
from datakit.dataset.targets import CROPS, Crop, source_of, target_of
from datakit.detect import check_available
from datakit.errors import PlanError, SampleError
from datakit.libraries import check_opencv
from datakit.picture.formats import kept
from datakit.report import Problem, Report, counted, few
from datakit.run.stage import Execution, JointMaker, Maker, Stage, run_stage
from datakit.run.task import Task, as_problem
from datakit.sizes import needed_upscale


def plan_crop(picture: str | os.PathLike[str], options: CropOptions = CropOptions()) -> CropPlan:
    """Decide how one picture is cropped, without writing anything; of several crops the ``full`` one.

    Raises
    ------
    PictureError
        The picture cannot be read.
    TooSmallError
        No allowed size can be filled within ``options.upscale``.
    """
    from datakit.crop.picture import plan_crops
    from datakit.picture.images import open_picture

    path = Path(picture)
    return plan_crops(open_picture(path, options.max_pixels), path.name, options)[0].plans["full"]


def crop_folder(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: CropOptions = CropOptions(),
    *,
    plan: str | os.PathLike[str] | None = None,
    execution: Execution = Execution(),
) -> Report:
    """Crop every picture of a source into a dataset, and report what was done.

    Only new and changed pictures are made; see `datakit.run.stage`. What people decided about single pictures is
    followed; see `datakit.dataset.decisions`.

    Parameters
    ----------
    source, output
        The folder to read, never written to, and the dataset to write.
    options
        How to crop.
    plan
        A plan file to follow instead of deciding; windows in it that a person drew or edited are kept as decisions.
    execution
        Workers, limits, what may be replaced.

    Raises
    ------
    UsageError
        A folder or an option cannot be used.
    DatasetBusyError
        Another run is writing to ``output``.
    PlanError
        A line of the plan, of the decisions or of the dataset's manifest cannot be used.
    """
    report, counted_on = _crop_folder(source, output, options, plan, execution)
    if report.withheld or not counted_on.intersection(problem.source for problem in (*report.failed, *report.refused)):
        return report
    # A picture that did not come out fills no batch: now that it is known, the others are dealt out without it.
    again, _ = _crop_folder(source, output, options, plan, replace(execution, overwrite=False, strict=False))
    again.skipped = min(report.skipped, again.skipped)
    again.done = sum(again.buckets.values()) - again.skipped
    again.notes = list(dict.fromkeys((*report.notes, *again.notes)))
    return again


def _crop_folder(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: CropOptions,
    plan: str | os.PathLike[str] | None,
    execution: Execution,
) -> tuple[Report, set[str]]:
    """Crop every picture of a source once, as `crop_folder` does; return the report, and the pictures counted on to fill batches."""
    opened, target = open_source(source), Path(output)
    opened.refuse_output(target)
    found = opened.find()
    if not execution.overwrite:
        refuse_other_origin(target, "crop", opened)
    report = Report("crop", opened.address, str(target))
    found, lacking = find_companions(found, options, report)
    stems = output_stems(found.samples)
    _say_found(found, stems, report)
    known = read_decisions(target)
    planned = _Planned({}, []) if plan is None else _read_plans(Path(plan), found, opened, options, known, report)
    tasks = [
        _task(sample, stem, options, given, crop)
        for sample, crop, stem in _named(found.samples, stems, _crops(options, planned))
        if sample.id not in lacking
        and (given := planned.given.get(target_of(sample.id, crop), Given() if plan is None else None))
    ]
    several = any(task.crop for task in tasks)
    with Store(target, overwrite=execution.overwrite, verify=execution.verify) as store:
        windows = {window.target: with_window(known.get(window.target), window) for window in planned.windows}
        decisions = known | windows
        # Every caption is read for it, so only where one is to be read anyway.
        agreed = cache(partial(agreed_encoding, found.samples, opened))
        decided = Decided(store, opened, decisions, options, agreed, overwrite=execution.overwrite)
        stage = Stage(
            origin=Origin("crop", opened.identity, options.background),
            source=opened,
            maker=partial(
                _maker,
                opened,
                options,
                str(store.temporary),
                agreed,
                deciding=plan is None or bool(planned.windows),
                together=several,
            ),
            together=several,
            make_light=decided.mend_caption,
            present={sample.id for sample in found.samples},
            unseen=[path for path, _ in found.refused],
            unwanted=decided.rejected,
            withdrawn=decided.withdrew,
            allowed=decided.stands,
            to_mend=decided.to_mend,
            begin=partial(add_windows, target, planned.windows, known),
        )
        followed, counted_on = decided.follow(tasks, report), set[str]()
        if options.fill_batches is not None:
            from datakit.crop.filling import fill_tasks

            followed, counted_on = fill_tasks(followed, store, opened, options, execution, agreed=agreed, report=report)
        run_stage(stage, store, followed, execution, report)
        decided.say(stage.present, report)
        report.notes += _about_captions(report, len(found.samples))
        if not report.withheld:
            ran = {"options": asdict(options), "considered": decided.considered, "planned": plan is not None}
            remember_report(target, report, ran)
    return report, counted_on


def plan_folder(
    source: str | os.PathLike[str],
    options: CropOptions = CropOptions(),
    *,
    execution: Execution = Execution(),
) -> tuple[list[CropPlan], Report]:
    """Decide how every picture of a source is cropped; return the plans in the order of their sources."""
    from datakit.crop.worker import plan_crop_of

    opened = open_source(source)
    found = opened.find()
    check_available(options.detector, options.saliency)
    report = Report("crop", opened.address, "")
    report.refused += [Problem(*refusal, "listing") for refusal in found.refused]
    found, lacking = find_companions(found, options, report)
    samples = [sample for sample in found.samples if sample.id not in lacking]
    agreed = agreed_encoding(found.samples, opened)
    results = execution.run(partial(plan_crop_of, source=opened, options=options, agreed=agreed), samples)
    plans = []
    for sample, result in execution.progress(results, len(samples), "planning"):
        if isinstance(result, tuple):
            plans += [marked(plan, options) for plan in result]
            for plan in result:
                _count_plan(plan, report)
        else:
            report.add(as_problem(sample.id, result))
    plans.sort(key=lambda each: (each.source, CROPS.index(each.crop or "full")))
    if options.fill_batches is not None:
        from datakit.crop.filling import fill_plans

        plans = fill_plans(plans, found.samples, opened, options, execution, report)
        report.buckets = Counter(each.bucket for each in plans)
        report.warnings = [(each.target, warning) for each in plans for warning in each.warnings]
    report.sort()
    return plans, report


def _count_plan(plan: CropPlan, report: Report) -> None:
    report.done += 1
    report.buckets[plan.bucket] += 1
    report.warnings += [(plan.target, warning) for warning in plan.warnings]
    if plan.crop:
        report.crops[plan.crop] += 1
    if plan.faces and plan.faces[0].kept < 1:
        report.faces_cut.append((plan.target, plan.faces[0].kept))


def _crops(options: CropOptions, planned: _Planned) -> tuple[Crop | None, ...]:
    """Return the crops that a run makes of a picture, in their order: those of the options, or those that a plan speaks of."""
    wanted: set[Crop | None] = {given.plan.crop for given in planned.given.values() if given.plan} or set(options.crops) or {None}
    return tuple(crop for crop in (None, *CROPS) if crop in wanted)


def _named(
    samples: Sequence[Sample], stems: Mapping[str, str], crops: Sequence[Crop | None]
) -> Iterator[tuple[Sample, Crop | None, str]]:
    """Yield each sample with each of its crops and what that is called, those of one sample in a row."""
    starts = crop_stems(stems, [crop for crop in crops if crop]) if any(crops) else {}
    for sample in samples:
        for crop in crops:
            yield sample, crop, f"{starts[sample.id]}{crop}" if crop else stems[sample.id]


def _say_found(found: Found, stems: Mapping[str, str], report: Report) -> None:
    """Report what cannot be read of a source, which outputs get other names, and what is used for nothing."""
    report.refused += [Problem(*refusal, "listing") for refusal in found.refused]
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
    if found.strays:
        report.notes.append(f"{counted(len(found.strays), 'caption file')} without a picture of that name: {few(found.strays)}")
    ours = (".jsonl", ".md") if os.path.isfile(os.path.join(report.source, MANIFEST)) else ()
    kinds = sorted((item for item in found.others.items() if item[0] not in ours), key=lambda item: (-item[1], item[0]))
    report.notes += (*found.notes, *found.captions)
    counts = repeats_told(found.samples)
    if counts:
        report.notes.append(
            f"folders named as kohya's trainer wants them, {few(counts)}: datakit shuffle --repeats-from-folders takes these numbers"
        )
    if kinds:
        named = [f"{number} {kind or 'without extension'}" for kind, number in kinds]
        report.notes.append(f"left alone, as no pictures that can be read: {few(named)}")


def _maker(
    source: Source, options: CropOptions, temporary: str, agreed: Callable[[], str | None], *, deciding: bool, together: bool
) -> Maker | JointMaker:
    """Return what crops one sample; all that it needs is loaded here, so that a run with nothing to do is fast."""
    from datakit.crop.worker import make_crop, make_crops

    check_opencv()  # writes every PNG
    if deciding:
        check_available(options.detector, options.saliency)
    if together:
        return partial(make_crops, source=source, options=options, temporary=temporary, agreed=agreed())
    return partial(make_crop, source=source, options=options, temporary=temporary, agreed=agreed())


def _task(sample: Sample, stem: str, options: CropOptions, given: Given, crop: Crop | None) -> Task:
    written = options.format if options.format != "keep" else kept(os.path.splitext(sample.id)[1])
    return Task(
        sample,
        output=f"{stem}.{written}",
        caption_output=f"{stem}.txt" if sample.caption_id or options.caption is not None else None,
        key=options.key(planned_by(given.plan) if given.plan else None),
        detail=given,
        crop=crop,
    )


def _about_captions(report: Report, samples: int) -> list[str]:
    """Say how many captions the options gave, or that most pictures have none: every trainer wants one, and later stages ask for it."""
    if report.captions_supplied:
        return [f"{counted(report.captions_supplied, 'caption')} given by --caption, to pictures that have no other"]
    without = (CAPTION_MISSING.kind, CAPTION_EMPTY.kind)
    sources = {source_of(target) for target, warning in report.warnings if warning.kind in without}
    if 2 * len(sources) <= samples:
        return []
    return [
        f"{len(sources)} of {counted(samples, 'picture')} {'has' if len(sources) == 1 else 'have'} no caption: shuffle and backend want one for each, as a .txt of its name; --caption TEXT gives all of them one"
    ]


@dataclass(frozen=True, slots=True)
class _Planned:
    """What a plan file gives: each picture's window, and of these the ones that a person decided."""

    given: Mapping[str, Given]
    windows: list[Decision]


def _read_plans(
    path: Path, found: Found, source: Source, options: CropOptions, known: Mapping[str, Decision], report: Report
) -> _Planned:
    """Read a plan; lines that name no sample of the source are reported."""
    samples = {sample.id: sample for sample in found.samples}
    numbers: dict[str, int] = {}
    given: dict[str, Given] = {}
    windows: list[Decision] = []
    for number, plan in read_plan(path):
        if plan.target in numbers:
            raise PlanError(f"{path}, line {number}: {plan.target} was planned in line {numbers[plan.target]} already")
        numbers[plan.target] = number
        if plan.source not in samples:
            report.refused.append(Problem(plan.source, f"plan line {number}: no such picture in {report.source}", "listing"))
            continue
        where = f"plan line {number}"
        try:
            if planned_by(plan) is None:
                decided = known.get(plan.target)
                allowing = options.allowing(decided.upscale if decided else None)
                windows.append(_drawn(plan, where, samples[plan.source], source, allowing))
        except SampleError as error:
            report.add(Problem.of(plan.source, error))
            continue
        given[plan.target] = Given(where, plan, allowance(plan))
    left_out = len(samples.keys() - {source_of(target) for target in numbers})
    if left_out:
        report.notes.append(f"{counted(left_out, 'picture')} not in the plan: left alone")
    return _Planned(given, windows)


def _drawn(plan: CropPlan, where: str, sample: Sample, source: Source, options: CropOptions) -> Decision:
    """Return what a person decided who drew a window in a plan; an enlargement that is allowed now always will be.

    Raises
    ------
    SampleError
        The window cannot be: nothing is decided then.
    """
    from datakit.crop.picture import check_window
    from datakit.picture.images import read_picture

    size = plan.source_size or read_picture(read_picture_of(sample, source).data, sample.id, options.max_pixels).size
    upscale = max(options.upscale, allowance(plan))
    check_window(size, where, plan, upscale)
    return Decision(
        source=plan.source,
        crop=None if plan.crop == "full" else plan.crop,
        box=plan.box,
        bucket=plan.bucket,
        sizes=plan.sizes,
        source_size=plan.source_size,
        upscale=needed_upscale(plan.box.size, plan.bucket, upscale),
    )
