"""Fill batches before anything is cropped: which pictures take a neighbour size, so that no size is short of a batch.

What a move loses of a picture's area follows from sizes alone, so the search (`datakit.dataset.batches.fill`) comes first; only pictures that
it would move are looked at, and where that would cost a face or too much of what stands out, it is made again without them. What
it finds depends on the pictures and the options, never on an earlier run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from datakit.crop.options import CropOptions, marked
from datakit.crop.request import Given, Move
from datakit.crop.weighing import Measured, home_of, measure, weigh
from datakit.dataset.batches import fill, line_of, neighbours, tally
from datakit.dataset.manifest import CropPlan
from datakit.dataset.samples import Sample
from datakit.dataset.source import Source
from datakit.dataset.store import Store
from datakit.detect import check_available
from datakit.errors import TooSmallError
from datakit.geometry import Size
from datakit.report import Report, counted, few
from datakit.run.stage import Execution
from datakit.run.task import Task
from datakit.sizes import area_kept, enlargement, in_order, largest_window

# Returns those of some moves that may be made, by the picture's name.
Weigher = Callable[[Mapping[str, Move]], Mapping[str, object]]


@dataclass(slots=True)
class Filled:
    """What was decided to fill batches.

    Attributes
    ----------
    moves
        By the picture's name.
    weighed
        What the weigher returned of each.
    before, after
        Pictures of each size.
    spared
        Pictures that stay, as a face or a subject would have paid for it.
    """

    moves: dict[str, Move]
    before: Counter[Size]
    after: Counter[Size]
    weighed: dict[str, object] = field(default_factory=dict)
    spared: set[str] = field(default_factory=set)


def choose(
    measured: Mapping[str, tuple[Measured, float]], fixed: Mapping[Size, int], options: CropOptions, weigher: Weigher
) -> Filled:
    """Choose which pictures take which neighbour size.

    Parameters
    ----------
    measured
        Each picture that may move, with the enlargement that is allowed to it.
    fixed
        Pictures of each size that stay there whatever is gained.
    options
        Of the run; ``fill_batches`` is set.
    weigher
        Asked about moves that the search wants, before they are made.
    """
    batch = options.fill_batches or 0
    line = line_of(options.allowed_buckets)
    homes = {name: each.home for name, (each, _) in measured.items()}
    losses = {
        (name, size): loss
        for name, (each, upscale) in measured.items()
        for size in neighbours(line, each.home)
        if (loss := _loss(each, size)) <= options.fill_area and enlargement(largest_window(each.size, size), size) <= upscale
    }
    before = Counter(homes.values()) + Counter(fixed)
    found = Filled({}, before, before)
    allowed: dict[tuple[str, Size], object] = {}
    while True:
        wanted = fill(line, homes, losses, batch, fixed)
        moves = {name: Move(homes[name], size, batch, losses[name, size]) for name, size in wanted.items()}
        asked = {name: move for name, move in moves.items() if (name, move.to) not in allowed}
        if not asked:
            break
        answers = weigher(asked)
        for name, move in asked.items():
            if name in answers:
                allowed[name, move.to] = answers[name]
            else:
                found.spared.add(name)
                del losses[name, move.to]
    found.moves = moves
    found.weighed = {name: allowed[name, move.to] for name, move in moves.items()}
    found.spared.difference_update(moves)
    found.after = Counter({**homes, **wanted}.values()) + Counter(fixed)
    return found


def fill_tasks(
    tasks: Sequence[Task],
    store: Store,
    source: Source,
    options: CropOptions,
    execution: Execution,
    *,
    agreed: Callable[[], str | None],
    report: Report,
) -> tuple[list[Task], set[str]]:
    """Return the tasks of a run, those that fill a batch with the size that they take, and the pictures that were counted on.

    What that does is reported.
    """
    fixed = Counter(task.detail.plan.bucket for task in tasks if task.detail.plan)
    free = {task.source: task for task in tasks if not task.detail.plan}
    measured = _measured(free.values(), store, source, options, execution, agreed)
    upscales = {name: task.detail.narrow(options).upscale for name, task in free.items()}

    def moved(name: str, move: Move) -> Task:
        task = free[name]
        return replace(
            task, key=options.key(move.among(options).planning_key(move.reason(options))), detail=replace(task.detail, move=move)
        )

    def weigher(asked: Mapping[str, Move]) -> Mapping[str, object]:
        """Allow what was made so before of the same picture, and look at the others."""
        known = {name: True for name, move in asked.items() if _made_so(store, source, moved(name, move))}
        items = [(free[name].sample, free[name].detail, move) for name, move in asked.items() if name not in known]
        return known | _weigh(items, source, options, execution)

    found = choose({name: (each, upscales[name]) for name, each in measured.items()}, fixed, options, weigher)
    tell(found, options, report)
    followed = [moved(task.source, found.moves[task.source]) if task.source in found.moves else task for task in tasks]
    _tell_changed(followed, measured, store, report)
    return followed, {task.source for task in tasks if task.detail.plan or task.source in measured}


def fill_plans(
    plans: Sequence[CropPlan],
    samples: Sequence[Sample],
    source: Source,
    options: CropOptions,
    execution: Execution,
    report: Report,
) -> list[CropPlan]:
    """Return the plans of a run, those that fill a batch with the size that they take, and report what that does."""
    by_name = {sample.id: sample for sample in samples}
    measured = {plan.source: (Measured(Size(*plan.source_size or plan.box.size), plan.bucket), options.upscale) for plan in plans}

    def weigher(asked: Mapping[str, Move]) -> Mapping[str, object]:
        return _weigh([(by_name[name], Given(), move) for name, move in asked.items()], source, options, execution)

    found = choose(measured, {}, options, weigher)
    tell(found, options, report)
    moved = {
        name: marked(plan, move.among(options), move.reason(options))
        for name, move in found.moves.items()
        if isinstance(plan := found.weighed[name], CropPlan)
    }
    return [moved.get(plan.source, plan) for plan in plans]


def tell(found: Filled, options: CropOptions, report: Report) -> None:
    """Put into a report how batches are filled, before and after."""
    batch, number = options.fill_batches or 0, sum(found.before.values())
    before, after = (tally(counts.values(), batch) for counts in (found.before, found.after))
    lost = [move.lost for move in found.moves.values()]
    report.table |= {
        "batches of": batch,
        "moved to a neighbour size": len(found.moves),
        "area lost, mean of all": f"{sum(lost) / max(1, number):.2%}",
        "area lost, most by one": f"{max(lost, default=0):.1%}",
        "left where they are, for a face or the subject": len(found.spared),
        "sizes short of a batch": f"{before.short} -> {after.short}",
        "pictures in no whole batch": f"{before.left} -> {after.left}",
    }
    short = [f"{size} ({found.after[size]})" for size in in_order(found.after) if 0 < found.after[size] < batch]
    if short:
        report.notes.append(
            f"short of a batch of {batch} all the same: {', '.join(short)}: allow more with --fill-area or --fill-subject, or leave a size "
            "out with --bucket"
        )


def _loss(measured: Measured, size: Size) -> float:
    return max(0.0, area_kept(measured.size, measured.home) - area_kept(measured.size, size))


def _measured(
    tasks: Iterable[Task],
    store: Store,
    source: Source,
    options: CropOptions,
    execution: Execution,
    agreed: Callable[[], str | None],
) -> dict[str, Measured]:
    """Return the pictures that will be cropped: as they are recorded where nothing has changed, else as they are read."""
    found: dict[str, Measured] = {}
    unknown = []
    for task in tasks:
        size = _recorded(store, source, task)
        if size is None:
            unknown.append((task.sample, task.detail))
        elif size.area <= options.max_pixels and not (options.captions == "required" and task.caption_output is None):
            try:
                found[task.source] = home_of(size, task.detail.narrow(options))
            except TooSmallError:
                continue
    if not unknown:
        return found
    # What has no record though others do may be damaged: a picture that does not come out fills no batch.
    work = partial(measure, source=source, options=options, agreed=agreed(), decoding=len(store) > 0)
    for (sample, _), result in execution.progress(execution.run(work, unknown), len(unknown), "measuring"):
        if isinstance(result, Measured):
            found[sample.id] = result
    return dict(sorted(found.items()))


def _recorded(store: Store, source: Source, task: Task) -> Size | None:
    """Return the size of a picture that is recorded and has not changed since."""
    record, caption = store.record(task.output), task.sample.caption_id
    if record is None or record.source != task.source or record.source_size is None or min(record.source_size) < 1:
        return None
    same = record.source_sha256 == source.content_id(task.source, store.fingerprints) and record.source_caption_sha256 == (
        source.content_id(caption, store.fingerprints) if caption else None
    )
    return Size(*record.source_size) if same else None


def _made_so(store: Store, source: Source, task: Task) -> bool:
    """Tell whether a picture is there as a move would make it."""
    record = store.record(task.output)
    return record is not None and record.key == task.key and _recorded(store, source, task) is not None


def _weigh(
    items: Sequence[tuple[Sample, Given, Move]], source: Source, options: CropOptions, execution: Execution
) -> dict[str, object]:
    """Return the plans of the moves that cost nothing that they may not."""
    if not items:
        return {}
    check_available(options.detector, options.saliency)
    results = execution.run(partial(weigh, source=source, options=options), items)
    return {
        item[0].id: result for item, result in execution.progress(results, len(items), "weighing") if isinstance(result, CropPlan)
    }


def _tell_changed(tasks: Sequence[Task], measured: Mapping[str, Measured], store: Store, report: Report) -> None:
    """Name pictures that take another size than before though they are the same, since other pictures fill the batches now."""
    changed = []
    for task in tasks:
        record, move = store.record(task.output), task.detail.move
        if record is None or record.source != task.source or task.source not in measured or task.detail.plan:
            continue
        now = move.to if move else measured[task.source].home
        if now != record.bucket and (move or record.moved_from):
            changed.append(task.source)
    if changed:
        report.notes.append(
            f"{counted(len(changed), 'picture')} cropped again to another size, as batches are filled anew: {few(changed)}"
        )
