"""``datakit crop``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from datakit.cli.pipeline import only_checks, remember_stage
from datakit.cli.printing import print_report
from datakit.cli.sections import CHOOSE, RUN, SHOW, WRITE, SectionedCommand, section
from datakit.cli.shards import on_cluster, report_shards
from datakit.cli.shared import execution_options
from datakit.dataset.batches import LARGEST_BATCH, USUAL_LOSS
from datakit.detect import DETECTORS, SALIENCY
from datakit.picture.formats import DEFAULT_MAX_PIXELS
from datakit.sizes import DEFAULT_SIZES, SIZE_SETS, in_order, parse_bucket, parse_sizes, size_set

if TYPE_CHECKING:
    from datakit.dataset.manifest import CropPlan
    from datakit.run.stage import Execution


@click.command(cls=SectionedCommand)
@click.argument("source", metavar="SRC")
@click.argument("output", metavar="OUT", required=False)
@click.option(
    "--sizes",
    metavar="NAME|FILE",
    default=DEFAULT_SIZES,
    show_default=True,
    help=f"Set of sizes to choose from: {', '.join(SIZE_SETS)}, or a text file with one size a line, such as 640x960. "
    f"{DEFAULT_SIZES} has {' '.join(map(str, size_set()))}.",
)
@click.option("--bucket", "buckets", multiple=True, metavar="WxH", help="Use only this size of the set; repeat for several.")
@click.option(
    "--detector",
    type=click.Choice(list(DETECTORS)),
    default="auto",
    show_default=True,
    help="What finds faces; auto asks yunet and, where that is sure of none in a drawing, drawn.",
)
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
    help="The largest window, or one zoomed to head and shoulders, or to the face, upright or square.",
)
@click.option(
    "--crops",
    metavar="CROPS",
    help="Make several crops of each picture, a_full, a_portrait and so on, where they show clearly less: full with portrait,face "
    "(where there is a face) and main,detail (where there is none).",
)
@click.option(
    "--crop-captions",
    type=click.Choice(["keep", "distance", "trim"]),
    help="What closer crops do to their captions: distance adds close-up, portrait and so on and takes out what contradicts "
    "that, trim also takes out tokens of what may not be seen.  [default: distance with --crops, else keep]",
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
@click.option("--caption", metavar="TEXT", help="The caption of pictures that have none, such as the trigger word alone.")
@click.option(
    "--companion",
    "companion",
    multiple=True,
    metavar="NAME=PATTERN",
    help="Crop what goes with each picture as the picture itself, such as mask={stem}-masklabel.png or control=control/{stem}.*; "
    "repeat for several. What has mask in its NAME stays grey.",
)
@click.option(
    "--companions",
    type=click.Choice(["auto", "required"]),
    help="Take along the masks and control pictures that trainers' layouts tell, such as a-masklabel.png or masks/; required also "
    "refuses a picture without one. [default: only those of --companion]",
)
@click.option("--keep-alpha", is_flag=True, help="Write the transparency of a picture as its mask too, unless it has one.")
@click.option(
    "--max-pixels", type=click.IntRange(min=1), default=DEFAULT_MAX_PIXELS, show_default=True, help="Refuse larger pictures."
)
@click.option(
    "--fill-batches",
    type=click.IntRange(2, LARGEST_BATCH),
    metavar="B",
    help="Have pictures that lose next to nothing take a neighbour size, so that no size has fewer than B pictures and the fewest "
    "fill no batch of B.",
)
@click.option(
    "--fill-area",
    type=click.FloatRange(0, 1),
    default=USUAL_LOSS,
    show_default=True,
    metavar="SHARE",
    help="Of its area that a picture may lose for that.",
)
@click.option(
    "--fill-subject",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    metavar="SHARE",
    help="Of what stands out in it that a picture may lose for that; of a face never any.",
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
@click.option(
    "--list",
    "names",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Only the files of SRC, a folder or s3://bucket/..., that FILE names, a name a line, pictures and captions; OUT has shards.",
)
@section(WRITE)
@click.option(
    "--shard-size",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Pictures in a shard that is cut of a --list.  [default: 2000]",
)
@section(RUN)
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Of shards: the processes of this machine, or a Ray cluster.",
)
@click.option("--address", metavar="A", help="Of the Ray cluster; without it, and RAY_ADDRESS, one begins on this machine.")
@section(SHOW)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="List every warning and every problem.")
@execution_options
@click.pass_context
def crop(
    ctx: click.Context,
    *,
    source: str,
    output: str | None,
    sizes: str,
    buckets: tuple[str, ...],
    detector: str,
    saliency: str,
    framing: str,
    crops: str | None,
    crop_captions: str | None,
    upscale: float,
    file_format: str,
    quality: int,
    background: str,
    captions: str,
    caption: str | None,
    companion: tuple[str, ...],
    companions: str | None,
    keep_alpha: bool,
    max_pixels: int,
    fill_batches: int | None,
    fill_area: float,
    fill_subject: float,
    plan_file: Path | None,
    dry_run: bool,
    apply_file: Path | None,
    names: Path | None,
    shard_size: int | None,
    executor: str,
    address: str | None,
    as_json: bool,
    verbose: bool,
    execution: Execution,
) -> None:
    """Crop every picture in SRC to exactly one of a few sizes and write a dataset to OUT.

    Faces first, then what stands out, decide where the window lies; it is the largest that fits, and nothing
    is stretched or, unless --upscale allows it, enlarged. Written pictures are upright, sRGB, 8-bit, without
    alpha or tags; captions come along as clean UTF-8: a.txt, else a.caption, a.tags, a.json, else what metadata.jsonl
    and other tables say, else the prompt or the description inside the picture. Run again, only new and
    changed pictures are made. What people decided about single pictures, in datakit review or in a plan, is kept in
    OUT/decisions.jsonl and followed by every run.

    SRC may also be a pattern of WebDataset tars, in a folder or in object storage, which gives tars in OUT; that
    needs an extra, and docs/scaling.md says what else.

    \b
    datakit crop photos/ out/
    datakit crop photos/ out/ --bucket 1024x1024 --upscale 1.5
    datakit crop photos/ out/ --companion 'mask={stem}-masklabel.png' --companions required
    datakit crop photos/ out/ --caption 'ohwx woman'
    datakit crop photos/ out/ --fill-batches 4
    datakit crop photos/ out/ --crops full,portrait,face,main,detail
    datakit crop photos/ --plan plan.jsonl     (edit it, then:)
    datakit crop photos/ out/ --apply plan.jsonl
    datakit crop 'raw/{00000..00127}.tar' out/ --format jpg
    datakit crop photos/ out/ --list names.txt --format jpg
    """
    from datakit.crop.folder import crop_folder, plan_folder
    from datakit.crop.options import CropOptions
    from datakit.dataset.remembered import remember
    from datakit.dataset.source import open_source
    from datakit.shards.patterns import is_shards

    sizes = _named(sizes)
    options = CropOptions(
        sizes=sizes,
        buckets=in_order(parse_bucket(bucket, sizes) for bucket in buckets) or None,
        detector=detector,
        saliency=saliency,
        framing=framing,  # type: ignore[arg-type]  # click has checked it
        crops=tuple(crop.strip() for crop in crops.split(",")) if crops else (),  # type: ignore[misc]  # the options check it
        crop_captions=crop_captions,  # type: ignore[arg-type]
        upscale=upscale,
        format=file_format,  # type: ignore[arg-type]
        quality=quality,
        background=background,
        captions=captions,  # type: ignore[arg-type]
        caption=caption,
        companion=companion,
        companions=companions,  # type: ignore[arg-type]
        keep_alpha=keep_alpha,
        max_pixels=max_pixels,
        fill_batches=fill_batches,
        fill_area=fill_area,
        fill_subject=fill_subject,
    )
    if apply_file and fill_batches:
        raise click.UsageError("--apply takes sizes from the plan: give --fill-batches to the run that makes the plan")
    if apply_file and (buckets or sizes != DEFAULT_SIZES or framing != "full" or crops):
        raise click.UsageError(
            "--apply takes sizes and windows from the plan: leave out --sizes, --bucket, --framing and --crops"
        )
    if shard_size and not names:
        raise click.UsageError("--shard-size is of shards that are cut of a --list: tars are cropped one to one")
    if only_checks():
        if output and not (names or is_shards(source)):
            open_source(source).refuse_output(Path(output))
        return
    if names or is_shards(source):
        if dry_run or plan_file or apply_file:
            raise click.UsageError("--plan, --dry-run and --apply are for a folder: unpack the shards and crop that")
        execution = on_cluster(execution, executor, address)
        report_shards(ctx, source, output, options, execution, names=names, shard_size=shard_size, as_json=as_json)
    if executor != "local":
        raise click.UsageError("--executor ray is for shards: any tar of pictures is one, and --list cuts a folder into them")
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
        report = crop_folder(source, Path(output), options, plan=apply_file, execution=execution)
        if not report.withheld:
            remember(Path.cwd(), "crop", Path(output))
            remember_stage("crop", [Path(output)], source=source, output=output)
        print_report(report, as_json, verbose)
    ctx.exit(report.exit_code)


def _named(sizes: str) -> str:
    """Return the name of a set of sizes that is named, written out or in a file."""
    from datakit.errors import UsageError

    path = Path(sizes)
    if sizes in SIZE_SETS or not path.is_file():
        return parse_sizes(sizes)
    try:
        return parse_sizes(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--sizes {path} cannot be read as text: {error}") from error
    except UsageError as error:
        raise UsageError(f"--sizes {path}: {error}") from None


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
