"""``datakit weights``: what is in files of weights, shards put together, and which layers a trainer is to train."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from datakit.cli.sections import WRITE, SectionedGroup, section
from datakit.cli.shared import json_option, overwrite_option, print_json, write_files

if TYPE_CHECKING:
    from datakit.trained.weights.groups import Group

weights_argument = click.argument("source", metavar="FILE|FOLDER|INDEX", type=click.Path(path_type=Path))


@click.group(cls=SectionedGroup)
def weights() -> None:
    """Look into safetensors files, put shards together, choose layers to train.

    Only the headers are read, so that the size of a model does not matter.

    \b
    datakit weights layers stable-diffusion-3.5-large/transformer/
    datakit weights merge stable-diffusion-3.5-large/transformer/ sd35-large.safetensors
    datakit weights targets sd35-large.safetensors --trainer simpletuner --blocks 0-29 --only attention
    """


@weights.command(short_help="List the blocks of a model.")
@weights_argument
@section(WRITE)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the list there.")
@overwrite_option
@json_option
@click.option("-v", "--verbose", is_flag=True, help="Name every tensor with its kind and shape.")
def layers(source: Path, output: Path | None, overwrite: bool, as_json: bool, verbose: bool) -> None:
    """List a model block by block: tensors, parameters and kinds of numbers of each, in natural order, and in all.

    A folder stands for its one file or for the shards that its index names; each shard's header is held against its
    file, and the index against the shards. Exit 2 where a file is damaged, cut off or missing.

    \b
    datakit weights layers stable-diffusion-3.5-large/transformer/
    datakit weights layers sd35-large.safetensors --output layers.txt
    """
    from datakit.trained.weights.collection import open_weights
    from datakit.trained.weights.groups import grouped

    opened = open_weights(source)
    for note in opened.notes:
        click.echo(f"note: {note}", err=True)
    groups = grouped(opened.tensors())
    if as_json:
        print_json(
            {
                "files": [str(header.path) for header in opened.files],
                "metadata": {key: value for header in opened.files for key, value in header.metadata.items()},
                "bytes": opened.size,
                "parameters": sum(group.parameters for group in groups),
                "groups": [group.to_json() for group in groups],
                "notes": opened.notes,
            }
        )
        return
    lines = _listed(groups, verbose)
    if output is None:
        click.echo("\n".join(lines))
    else:
        write_files([(output, "".join(f"{line}\n" for line in lines).encode())], overwrite)


def _listed(groups: Sequence[Group], verbose: bool) -> list[str]:
    """Return the table of blocks, with what all of them come to at its end."""
    from datakit.report import counted
    from datakit.trained.weights.groups import Group

    total = Group("in all", tuple(tensor for group in groups for tensor in group.tensors))
    width = max(len(group.name) for group in (*groups, total))
    lines = []
    for group in (*groups, total):
        kinds = ", ".join(kind if len(group.dtypes) == 1 else f"{count} {kind}" for kind, count in group.dtypes.items())
        lines.append(
            f"{group.name:<{width}}  {counted(len(group.tensors), 'tensor'):>12}  {group.parameters:>14,}  {kinds}".rstrip()
        )
        if verbose and group is not total:
            lines += [f"  {tensor.name}  {tensor.dtype} {list(tensor.shape)}" for tensor in group.tensors]
    return lines


@weights.command(short_help="Put shards together into one file.")
@click.argument("source", metavar="FOLDER|INDEX", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@json_option
def merge(source: Path, target: Path, as_json: bool) -> None:
    """Put the shards of a model together into one safetensors file, byte for byte, at the cost of 16 MB of memory.

    The index is held against the shards and the room on the disk is asked for before anything is written; TARGET
    appears whole or not at all, and must not be there yet.

    \b
    datakit weights merge stable-diffusion-3.5-large/transformer/ sd35-large.safetensors
    """
    from tqdm import tqdm

    from datakit.report import counted, in_bytes
    from datakit.trained.weights.merge import merge_weights

    bar = tqdm(unit="B", unit_scale=True, desc="merging", disable=None if sys.stderr else True, leave=False)
    with bar:
        merged = merge_weights(source, target, bar.update)
    for note in merged.notes:
        click.echo(f"note: {note}", err=True)
    number = sum(len(header.tensors) for header in merged.files)
    if as_json:
        print_json({"written": str(target), "shards": len(merged.files), "tensors": number, "bytes": merged.size})
    else:
        click.echo(f"wrote {target}: {number} tensors of {counted(len(merged.files), 'shard')}, {in_bytes(merged.size)}")


@weights.command(short_help="Say which layers a trainer is to train.")
@weights_argument
@click.option("--trainer", required=True, metavar="NAME", help="Who is to be told; an unknown name lists those known.")
@click.option("--blocks", metavar="N-M", help="Numbers of blocks: 0-29, or 0,3,10-12. Layers outside of them are left out.")
@click.option("--single-blocks", metavar="N-M", help="The same of Flux's single blocks.")
@click.option(
    "--only",
    type=click.Choice(["attention", "context", "mlp", "modulation"]),
    help="What the layers do; context is the text's side of each block.",
)
@click.option("--without", type=click.Choice(["embedders"]), help="Leave out the layers that take text, time and picture in.")
@section(WRITE)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the text there.")
@overwrite_option
@json_option
def targets(
    source: Path,
    trainer: str,
    blocks: str | None,
    single_blocks: str | None,
    only: str | None,
    without: str | None,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Print the text that tells a trainer which layers of a model to train, and what it means.

    The text is replayed over the model's own header by the rule with which that trainer looks for layers; where no text
    means exactly what is asked for, it is refused with what can be done instead. Stderr says how many layers and
    parameters it means and what the text is put into.

    \b
    datakit weights targets transformer/ --trainer simpletuner --only attention --output targets.json
    datakit weights targets transformer/ --trainer simpletuner-lycoris --blocks 0-29 --only attention
    datakit weights targets transformer/ --trainer kohya --only context
    """
    from datakit.errors import UsageError
    from datakit.trained.weights.choice import Choice, numbers, read_model
    from datakit.trained.weights.collection import open_weights
    from datakit.trained.weights.targets import write_targets

    if not (blocks or single_blocks or only or without):
        raise UsageError("say which layers: --blocks, --only or --without embedders")
    choice = Choice(numbers(blocks) if blocks else None, numbers(single_blocks) if single_blocks else None, only, without is None)
    found = write_targets(read_model(open_weights(source)), trainer, choice)
    if as_json:
        print_json(found.to_json())
        return
    click.echo(found.describe(), err=True)
    if found.out_of_reach:
        from datakit.report import few

        click.echo(
            f"{found.trainer} never trains {len(found.out_of_reach)} of those asked for: {few(found.out_of_reach)}", err=True
        )
    if not found.text:
        click.echo(f"{found.trainer} does so by itself: there is nothing to set", err=True)
    elif output is None:
        click.echo(f"for {found.where}:", err=True)
        click.echo(found.text, nl=False)
    else:
        write_files([(output, found.text.encode())], overwrite)
        click.echo(f"for {found.where}", err=True)
