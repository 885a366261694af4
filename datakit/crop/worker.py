"""What a worker does with one sample: read it from its source, crop it, write it to temporary files."""

from __future__ import annotations

from datakit.crop.options import CropOptions
from datakit.crop.picture import Cropped, crop_together, plan_sample
from datakit.crop.request import Given, Request
from datakit.dataset.manifest import CropPlan
from datakit.dataset.samples import Sample
from datakit.dataset.source import Source, read_caption_of, read_companions_of, read_picture_of
from datakit.errors import SampleError
from datakit.report import LeftOut, Problem
from datakit.run.task import Made, NotWanted, Task, not_written, write_temporary


def make_crop(task: Task, source: Source, options: CropOptions, temporary: str, agreed: str | None = None) -> Made | Problem:
    """Crop one sample into temporary files; ``agreed`` is the encoding that captions other than UTF-8 agreed on."""
    (made,) = make_crops((task,), source, options, temporary, agreed)
    assert not isinstance(made, NotWanted)
    return made


def make_crops(
    tasks: tuple[Task, ...], source: Source, options: CropOptions, temporary: str, agreed: str | None = None
) -> tuple[Made | Problem | NotWanted, ...]:
    """Make several crops of one sample into temporary files, in the order of their tasks; see `make_crop`."""
    sample = tasks[0].sample
    try:
        caption = read_caption_of(sample, source)
        data, stamp = read_picture_of(sample, source)
        companions = read_companions_of(sample, source)
    except SampleError as error:
        return tuple(Problem.of(task.source, error) for task in tasks)
    requests = [Request(sample, task.output, task.key, task.detail, agreed, task.crop) for task in tasks]
    made = crop_together(requests, data, caption, options, companions)
    return tuple(_kept(task, cropped, temporary, stamp) for task, cropped in zip(tasks, made, strict=True))


def _kept(
    task: Task, cropped: Cropped | Problem | LeftOut, temporary: str, stamp: tuple[int, int] | None
) -> Made | Problem | NotWanted:
    """Write a crop to temporary files."""
    if isinstance(cropped, LeftOut):
        return NotWanted(cropped)
    if isinstance(cropped, Problem):
        return cropped
    given: Given = task.detail
    record = cropped.record
    try:
        files = [(write_temporary(temporary, task.output, cropped.data), record.output_sha256)]
        if cropped.caption is not None and record.caption_sha256 is not None:
            files.append((write_temporary(temporary, f"{task.output}.txt", cropped.caption.encode()), record.caption_sha256))
        for companion, content in zip(record.companions, cropped.companions, strict=True):
            files.append((write_temporary(temporary, companion.output, content), companion.sha256))
    except OSError as error:
        return not_written(task.source, error)
    return Made(record, cropped.caption, tuple(files), replaces=given.replaces, stamp=stamp)


def plan_crop_of(
    sample: Sample, source: Source, options: CropOptions, agreed: str | None = None
) -> tuple[CropPlan, ...] | Problem:
    """Decide on the windows of one sample."""
    try:
        caption = read_caption_of(sample, source)
        return plan_sample(sample, read_picture_of(sample, source).data, caption, options, agreed)
    except SampleError as error:
        return Problem.of(sample.id, error)
