"""What a worker does with one sample: read it from its source, crop it, write it to temporary files."""

from __future__ import annotations

from datakit.crop.options import CropOptions
from datakit.crop.picture import crop_picture, plan_sample
from datakit.crop.request import Given, Request
from datakit.dataset.manifest import CropPlan
from datakit.dataset.samples import Sample
from datakit.dataset.source import Source, read_caption_of, read_companions_of, read_picture_of
from datakit.errors import SampleError
from datakit.report import Problem
from datakit.run.task import Made, Task, not_written, write_temporary


def make_crop(task: Task, source: Source, options: CropOptions, temporary: str, agreed: str | None = None) -> Made | Problem:
    """Crop one sample into temporary files; ``agreed`` is the encoding that captions other than UTF-8 agreed on."""
    given: Given = task.detail
    try:
        caption = read_caption_of(task.sample, source)
        data, stamp = read_picture_of(task.sample, source)
        companions = read_companions_of(task.sample, source)
    except SampleError as error:
        return Problem.of(task.source, error)
    cropped = crop_picture(Request(task.sample, task.output, task.key, given, agreed), data, caption, options, companions)
    if isinstance(cropped, Problem):
        return cropped
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


def plan_crop_of(sample: Sample, source: Source, options: CropOptions, agreed: str | None = None) -> CropPlan | Problem:
    """Decide on the window of one sample."""
    try:
        caption = read_caption_of(sample, source)
        return plan_sample(sample, read_picture_of(sample, source).data, caption, options, agreed)
    except SampleError as error:
        return Problem.of(sample.id, error)
