"""``datakit checkpoints``: what a training left, links for ComfyUI; `datakit.cli.strip` has ComfyUI make pictures of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from datakit.cli.sections import CHOOSE, RUN, SHOW, WRITE, SectionedGroup, section
from datakit.cli.shared import json_option, print_json
from datakit.cli.strip import compare, strip

if TYPE_CHECKING:
    from datakit.trained.checkpoints.describe import Checkpoint

run_argument = click.argument("run", type=click.Path(path_type=Path))
family_option = click.option("--family", metavar="NAME", help="sd3, flux or sdxl, where the names in a file do not tell.")
base_option = click.option(
    "--base",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The model that was trained: each layer is held against its layers and shapes. A file, or a folder of shards.",
)
steps_option = click.option(
    "--steps",
    metavar="LIST",
    help="Only these: 500:4000:500 (from, to, every), single numbers, last. Epochs where there are no steps.",
)


@click.group(cls=SectionedGroup)
def checkpoints() -> None:
    """Choose among the checkpoints of a training, with ComfyUI.

    \b
    datakit checkpoints list output/fantasy/
    datakit checkpoints link output/fantasy/ ComfyUI/models/loras/
    datakit checkpoints strip workflow.json strips/ --loras fantasy --base
    datakit checkpoints compare workflow.json apg/ --lora fantasy/fantasy-002000.safetensors
    """


checkpoints.add_command(strip)
checkpoints.add_command(compare)


def read_run(run: Path, steps: str | None, family: str | None, base: Path | None) -> tuple[list[Checkpoint], list[str]]:
    """Return the checkpoints of a run, described, and what is to be said of the rest."""
    from datakit.trained.checkpoints.describe import describe
    from datakit.trained.checkpoints.layouts import chosen, find_checkpoints
    from datakit.trained.families import family as family_named
    from datakit.trained.weights.choice import read_model
    from datakit.trained.weights.collection import open_weights

    known = family_named(family) if family else None
    model = read_model(open_weights(base)) if base else None
    places, notes = find_checkpoints(run)
    return [describe(place, known, model) for place in chosen(places, steps)], notes


@checkpoints.command("list", short_help="List checkpoints, and whether ComfyUI reads them.")
@run_argument
@section(CHOOSE)
@family_option
@base_option
@steps_option
@json_option
@click.option("-v", "--verbose", is_flag=True, help="Name the tensors that ComfyUI would pass over.")
@click.pass_context
def list_(
    ctx: click.Context, run: Path, family: str | None, base: Path | None, steps: str | None, as_json: bool, verbose: bool
) -> None:
    """List the checkpoints in RUN in the order of the training, and whether ComfyUI reads them as they were trained.

    RUN is the folder that SimpleTuner, sd-scripts, musubi-tuner, ai-toolkit, OneTrainer, diffusers' scripts or
    diffusion-pipe wrote checkpoints into, or one file. ComfyUI passes over names that it does not know and reports
    success: the picture is then that of the model without the LoRA. And it knows an alpha only where one stands
    beside each layer's weights; without, it applies strength 1. Both are mended by `datakit checkpoints link`.

    Exit 1 where a file is damaged, cut off, still being written, or not wholly read by ComfyUI as it was trained.

    \b
    datakit checkpoints list output/fantasy/
    datakit checkpoints list output/fantasy/ --steps 1000::1000,last --json
    """
    found, notes = read_run(run, steps, family, base)
    if as_json:
        print_json({"checkpoints": [checkpoint.to_json() for checkpoint in found], "notes": notes})
    else:
        for line in _table(found):
            click.echo(line)
        for checkpoint in found if verbose else ():
            for key in (*checkpoint.reading.unknown, *checkpoint.reading.misshapen) if checkpoint.reading else ():
                click.echo(f"{checkpoint.place.label}: {key}")
        for note in notes:
            click.echo(f"note: {note}", err=True)
    ctx.exit(0 if all(checkpoint.is_read for checkpoint in found) else 1)


def _table(found: Sequence[Checkpoint]) -> list[str]:
    """Return the list as lines, columns as wide as they must be."""
    from datakit.report import in_bytes

    several = len({checkpoint.place.series for checkpoint in found}) > 1
    rows = [("checkpoint", "kind", "size", "rank", "alpha", "ComfyUI")]
    for checkpoint in found:
        place = checkpoint.place
        noted = sorted(set(checkpoint.noted.values()))
        alphas = _span(checkpoint.alphas) or (f"({_span(noted)})" if noted else "")
        label = f"{place.series} {place.label}" if several and place.series else place.label
        rows.append((label, checkpoint.kind, in_bytes(checkpoint.size), _span(checkpoint.ranks), alphas, checkpoint.verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]).rstrip() for row in rows]


def _span(values: Sequence[float]) -> str:
    return "" if not values else f"{values[0]:g}" if values[0] == values[-1] else f"{values[0]:g}-{values[-1]:g}"


@checkpoints.command(short_help="Link checkpoints where ComfyUI finds them.")
@run_argument
@click.argument("loras", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", metavar="NAME", help="Of the folder in LORAS, and before each number. [default: the name of RUN]")
@steps_option
@section(CHOOSE)
@click.option("--ema", is_flag=True, help="Link the moving averages too.")
@section(WRITE)
@click.option("--copy", is_flag=True, help="Copies instead of links.")
@click.option("--as-is", is_flag=True, help="Link files unchanged, whatever ComfyUI would make of them.")
@section(CHOOSE)
@click.option("--alpha", type=float, metavar="X", help="Of layers without one, where a file does not tell.")
@section(RUN)
@click.option("--prune", is_flag=True, help="Delete links of this command's own whose checkpoint is gone.")
@section(SHOW)
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@section(CHOOSE)
@family_option
@base_option
@json_option
@click.pass_context
def link(
    ctx: click.Context,
    run: Path,
    loras: Path,
    name: str | None,
    steps: str | None,
    ema: bool,
    copy: bool,
    as_is: bool,
    alpha: float | None,
    prune: bool,
    dry_run: bool,
    family: str | None,
    base: Path | None,
    as_json: bool,
) -> None:
    """Link the checkpoints in RUN as LORAS/NAME/NAME-000500.safetensors, which ComfyUI lists in order at once.

    Where ComfyUI would not read a file as it was trained, a mended copy stands instead of a link: a new header with
    names that it knows and one alpha a layer, every tensor byte for byte. Run it again as the training goes on.
    A name is never given to other content, for ComfyUI remembers files by name: what a trainer wrote over gets a new
    one, NAME-000500-2. Exit 1 where a checkpoint could not be linked.

    \b
    datakit checkpoints link output/fantasy/ ComfyUI/models/loras/ --steps 1000::1000,last
    datakit checkpoints link output/fantasy/ ComfyUI/models/loras/ --prune
    """
    from datakit.errors import UsageError
    from datakit.trained.checkpoints.link import LinkOptions, link_checkpoints

    name = name or run.resolve().name.removesuffix(".safetensors")
    if not name or name in (".", "..") or "/" in name or "\\" in name or name.startswith("."):
        raise UsageError(f"name {name!r} cannot be used: it becomes the name of a folder in {loras}")
    found, notes = read_run(run, steps, family, base)
    wanted = [checkpoint for checkpoint in found if ema or not checkpoint.place.ema]
    linked = link_checkpoints(run, loras, wanted, LinkOptions(name, copy, as_is, alpha, prune, dry_run))
    if as_json:
        print_json(linked.to_json())
    else:
        for file, how in linked.made:
            click.echo(f"{'would be ' * dry_run}{name}/{file}  {how}")
        for file in linked.pruned:
            click.echo(f"{'would be ' * dry_run}deleted {name}/{file}")
        for label, why in linked.refused:
            click.echo(f"{label}: not linked: {why}", err=True)
        for note in (*notes, *linked.notes):
            click.echo(f"note: {note}", err=True)
        click.echo(
            f"{linked.folder}: {len(linked.made)} {'to link' if dry_run else 'linked'}, {len(linked.kept)} there already, {len(linked.refused)} not linked"
        )
    ctx.exit(1 if linked.refused else 0)
