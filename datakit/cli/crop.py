"""``datakit crop``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from datakit.cli.pipeline import remember_stage
from datakit.cli.printing import print_report
from datakit.cli.sections import CHOOSE, SHOW, WRITE, SectionedCommand, section
from datakit.cli.shared import execution_options
from datakit.detect import DETECTORS, SALIENCY
from datakit.picture.formats import DEFAULT_MAX_PIXELS
from datakit.sizes import DEFAULT_SIZES, SIZE_SETS, in_order, parse_bucket, size_set

if TYPE_CHECKING:
    from datakit.dataset.manifest import CropPlan
    from datakit.run.stage import Execution


@click.command(cls=SectionedCommand)
@click.argument("source", metavar="SRC")
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path), required=False)
@click.option(
    "--sizes",
    type=click.Choice(list(SIZE_SETS)),
    default=DEFAULT_SIZES,
    show_default=True,
    help=f"Set of sizes to choose from; {DEFAULT_SIZES} has {' '.join(map(str, size_set()))}.",
)
@click.option("--bucket", "buckets", multiple=True, metavar="WxH", help="Use only this size of the set; repeat for several.")
@click.option("--detector", type=click.Choice(list(DETECTORS)), default="yunet", show_default=True, help="What finds faces.")
@click.option(
    "--saliency",
    type=click.Choice(list(SALIENCY)),
    default="objects",
    show_default=True,
    help="What finds the subject where there is no face.",
)
@click.option(
    "--framing",
    type=click.Choice(["full", "portrait", "face"]),
    default="full",
    show_default=True,
    help="The largest window, or one zoomed to head and shoulders, or to the face.",
)
@click.option(
    "--upscale",
    type=float,
    default=1.0,
    show_default=True,
    metavar="FACTOR",
    help="Enlarge pictures by up to this factor; 1 refuses what is too small.",
)
@section(WRITE)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["keep", "jpg", "png", "webp"]),
    default="keep",
    show_default=True,
    help="What to write; keep turns what trainers do not read into png.",
)
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="Of jpg and webp.")
@click.option(
    "--background", default="white", show_default=True, metavar="COLOUR", help="Under transparent pixels: a CSS name or #rrggbb."
)
@section(CHOOSE)
@click.option(
    "--captions",
    type=click.Choice(["required", "optional"]),
    default="optional",
    show_default=True,
    help="Whether a picture without a caption is refused.",
)
@click.option(
    "--max-pixels", type=click.IntRange(min=1), default=DEFAULT_MAX_PIXELS, show_default=True, help="Refuse larger pictures."
)
@section(SHOW)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Write the plan as JSON lines (- for stdout) and stop; what people decided is left out of it.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan on stdout and stop; the same as --plan -.")
@section(CHOOSE)
@click.option(
    "--apply",
    "apply_file",
    type=click.Path(path_type=Path),
    metavar="PLAN",
    help="Crop as a plan says, and keep what was edited in it.",
)
@section(SHOW)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="List every warning and every problem.")
@execution_options
@click.pass_context
def crop(
    ctx: click.Context,
    *,
    source: str,
    output: Path | None,
    sizes: str,
    buckets: tuple[str, ...],
    detector: str,
    saliency: str,
    framing: str,
    upscale: float,
    file_format: str,
    quality: int,
    background: str,
    captions: str,
    max_pixels: int,
    plan_file: Path | None,
    dry_run: bool,
    apply_file: Path | None,
    as_json: bool,
    verbose: bool,
    execution: Execution,
) -> None:
    """Crop every picture in SRC to exactly one of eight sizes and write a dataset to OUT.

    Faces first, then what stands out, decide where the window lies; it is the largest that fits, and nothing
    is stretched or, unless --upscale allows it, enlarged. Written pictures are upright, sRGB, 8-bit, without
    alpha or tags; captions come along as clean UTF-8: a.txt, else a.caption, a.tags, a.json, else what metadata.jsonl
    and other tables say, else the prompt or the description inside the picture. Run again, only new and
    changed pictures are made. What people decided about single pictures, in datakit review or in a plan, is kept in
    OUT/decisions.jsonl and followed by every run.

    \b
    datakit crop photos/ out/
    datakit crop photos/ out/ --bucket 1024x1024 --upscale 1.5
    datakit crop photos/ --plan plan.jsonl     (edit it, then:)
    datakit crop photos/ out/ --apply plan.jsonl
    """
    from datakit.crop.folder import crop_folder, plan_folder
    from datakit.crop.options import CropOptions
    from datakit.dataset.remembered import remember

    options = CropOptions(
        sizes=sizes,
        buckets=in_order(parse_bucket(bucket, sizes) for bucket in buckets) or None,
        detector=detector,
        saliency=saliency,
        framing=framing,  # type: ignore[arg-type]  # click has checked it
        upscale=upscale,
        format=file_format,  # type: ignore[arg-type]
        quality=quality,
        background=background,
        captions=captions,  # type: ignore[arg-type]
        max_pixels=max_pixels,
    )
    if apply_file and (buckets or sizes != DEFAULT_SIZES or framing != "full"):
        raise click.UsageError("--apply takes sizes and windows from the plan: leave out --sizes, --bucket and --framing")
    if dry_run or plan_file:
        if apply_file:
            raise click.UsageError("--apply follows a plan, --plan and --dry-run make one: use one of them")
        plans, report = plan_folder(source, options, execution=execution)
        to_stdout = plan_file is None or str(plan_file) == "-"
        if not (execution.strict and report.exit_code):
            _write_plan(plans, None if to_stdout else plan_file, Path(source), execution.overwrite)
        print_report(report, as_json, verbose, err=to_stdout)
    else:
        if output is None:
            raise click.UsageError("missing argument OUT: the folder to write to (--plan and --dry-run need none)")
        report = crop_folder(source, output, options, plan=apply_file, execution=execution)
        if not report.withheld:
            remember(Path.cwd(), "crop", output)
            remember_stage("crop", [output], source=source, output=str(output))
        print_report(report, as_json, verbose)
    ctx.exit(report.exit_code)


def _write_plan(plans: list[CropPlan], path: Path | None, source: Path, overwrite: bool) -> None:
    from datakit.dataset.manifest import to_line, write_atomically
    from datakit.errors import UsageError

    if path is None:
        for plan in plans:
            click.echo(to_line(plan), nl=False)
        return
    if path.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{path} would lie in the source folder {source}, where nothing is ever changed: write it elsewhere")
    content = b"".join(map(to_line, plans))
    if path.exists() and not overwrite and path.read_bytes() != content:
        raise UsageError(f"{path} is there already and differs: it may have been edited, use --overwrite to replace it")
    write_atomically(path, content)
