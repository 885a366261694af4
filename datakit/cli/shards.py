"""``datakit pack`` and ``datakit unpack``, and what `datakit crop` says of a run over shards."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from datakit.cli.printing import Say, print_bars, print_list, print_report
from datakit.cli.sections import CHOOSE, RUN, WRITE, SectionedCommand, section
from datakit.cli.shared import cores, json_option, overwrite_option, print_json, progress_bar

if TYPE_CHECKING:
    from datakit.crop.options import CropOptions
    from datakit.run.stage import Execution
    from datakit.shards.receipts import Counts
    from datakit.shards.run import ShardReport
    from datakit.shards.summary import Inspection


@click.command(cls=SectionedCommand)
@click.argument("dataset", metavar="DATASET", type=click.Path(path_type=Path, file_okay=False))
@click.argument("shards", metavar="SHARDS")
@section(WRITE)
@click.option(
    "--shard-size", type=click.IntRange(1, 1_000_000), default=2000, show_default=True, metavar="N", help="Samples in a shard."
)
@section(RUN)
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=None, show_default="one a core", help="Worker processes.")
@click.option("--overwrite", is_flag=True, help="Make everything anew, also where SHARDS holds something else.")
@click.option("--prune", is_flag=True, help="Delete shards that the dataset is too small for now.")
@click.option("--verify", is_flag=True, help="Hash every shard that is there instead of trusting its size.")
@json_option
@click.pass_context
def pack(
    ctx: click.Context,
    *,
    dataset: Path,
    shards: str,
    shard_size: int,
    jobs: int | None,
    overwrite: bool,
    prune: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Write a dataset that crop or shuffle wrote into SHARDS: tar files as webdataset and `datasets` read them.

    Each picture lies there with its caption, byte for byte and held against its sha256; beside each tar lie its records as
    Parquet, with the place of every picture. Run again, only shards that changed are written. All pictures have to
    be of one format: crop with --format.

    \b
    datakit pack out/ shards/
    datakit pack out/ shards/ --shard-size 1000
    """
    from datakit.run.stage import Execution
    from datakit.shards.pack import pack_dataset

    execution = Execution(jobs=jobs or cores(), overwrite=overwrite, prune=prune, verify=verify, progress=shard_bar)
    report = pack_dataset(dataset, shards, shard_size=shard_size, execution=execution)
    print_run(ctx, report, as_json)


@click.command(cls=SectionedCommand)
@click.argument("shards", metavar="SHARDS")
@click.argument("dataset", metavar="DATASET", type=click.Path(path_type=Path, file_okay=False))
@section(CHOOSE)
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Only samples that meet this, such as bucket=1024x1024, area_kept>=0.9 or source=cats/*; repeat for several.",
)
@click.option("--most", type=click.IntRange(min=1), metavar="N", help="The first N of them.")
@section(WRITE)
@click.option(
    "--to",
    "kind",
    type=click.Choice(["folder", "parquet"]),
    default="folder",
    show_default=True,
    help="A dataset as a folder, or Parquet with the pictures inside for the Hugging Face hub.",
)
@overwrite_option
@json_option
@click.option("-v", "--verbose", is_flag=True, help="List every problem.")
@click.pass_context
def unpack(
    ctx: click.Context,
    *,
    shards: str,
    dataset: Path,
    conditions: tuple[str, ...],
    most: int | None,
    kind: str,
    overwrite: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Write the samples of SHARDS into the folder DATASET, as crop or shuffle would have written them there.

    Every file is held against its sha256. What is there already is left alone, so that an interrupted run goes on. The folder
    is a dataset like any other: shuffle, backend, review and check work on it.

    \b
    datakit unpack shards/ out/
    datakit unpack shards/ some/ --where 'face_kept<1' --most 200
    datakit unpack shards/ hub/ --to parquet
    """
    from datakit.dataset.remembered import remember
    from datakit.shards.parquet import write_parquet
    from datakit.shards.storage import address_of
    from datakit.shards.unpack import unpack_shards
    from datakit.shards.where import wanted

    bar = functools.partial(progress_bar, unit="shard")
    if kind == "parquet":
        if most is not None:
            raise click.UsageError("--most is for --to folder: of Parquet files choose with --where")
        report = write_parquet(shards, address_of(dataset), keep=wanted(conditions), overwrite=overwrite, progress=bar)
    else:
        report = unpack_shards(shards, dataset, keep=wanted(conditions), most=most, overwrite=overwrite, progress=bar)
        remember(Path.cwd(), "unpack", dataset)
    print_report(report, as_json, verbose)
    ctx.exit(report.exit_code)


def report_shards(
    ctx: click.Context,
    source: str,
    output: str | None,
    options: CropOptions,
    execution: Execution,
    *,
    names: Path | None,
    shard_size: int | None,
    as_json: bool,
) -> NoReturn:
    """Crop shards, print what was done, and end with the exit code."""
    from datakit.shards.crop import crop_shards
    from datakit.shards.listed import SHARD_SIZE

    if output is None:
        raise click.UsageError("missing argument OUT: where to write the shards")
    report = crop_shards(
        source, output, options, names=names, shard_size=shard_size or SHARD_SIZE, execution=over_shards(execution)
    )
    print_run(ctx, report, as_json)


def over_shards(execution: Execution) -> Execution:
    """Return how a run over shards is executed: it shows shards, not pictures."""
    from dataclasses import replace

    return replace(execution, progress=shard_bar)


def print_run(ctx: click.Context, report: ShardReport, as_json: bool) -> NoReturn:
    """Print what a run over shards did, and end with its exit code."""
    print_shards(report, as_json)
    ctx.exit(report.exit_code)


def on_cluster(execution: Execution, executor: str, address: str | None) -> Execution:
    """Return how shards are run: here, or on the cluster of an address."""
    from dataclasses import replace

    if executor == "local":
        if address:
            raise click.UsageError("--address is that of a Ray cluster: add --executor ray")
        return execution
    if address:
        os.environ["RAY_ADDRESS"] = address  # as Ray's own tools read it
    return replace(execution, executor=executor)


def shard_bar(items: Iterable[Any], total: int, label: str) -> Iterator[Any]:
    """Show how far a run over shards is, at what rate, what is left, and how many shards and pictures have failed."""
    shards = pictures = 0
    bar = progress_bar(items, total, label, "shard")
    for shard, result in bar:
        counts: Counts | None = getattr(result, "counts", None)
        shards += counts is None
        pictures += counts.failed if counts else 0
        if (shards or pictures) and hasattr(bar, "set_postfix_str"):
            bar.set_postfix_str(f"{shards} shards and {pictures} pictures failed")
        yield shard, result


def print_shards(report: ShardReport, as_json: bool) -> None:
    """Print what a run over shards did: a summary for people, or all of it as JSON."""
    from datakit.report import counted

    if as_json:
        print_json(report.to_json())
        return
    say = functools.partial(click.echo, color=None if "NO_COLOR" not in os.environ else False)
    numbers = ((report.done, "done"), (report.skipped, "up to date"), (len(report.failed), "failed"))
    shown = [f"{number} {word}" for number, word in numbers if number or word == "done"]
    say(f"{report.stage} {report.source} -> {report.output}: shards {', '.join(shown)}")
    _print_counts(say, report.counts)
    if report.failed:
        say(click.style(f"{counted(len(report.failed), 'shard')} failed:", fg="red"))
        print_list(
            say,
            [
                problem.reason if problem.reason.startswith(problem.source) else f"{problem.source}: {problem.reason}"
                for problem in report.failed
            ],
        )
    if report.removed and report.pruned:
        say(f"{counted(len(report.removed), 'shard')} that the source does not name deleted")
    for note in report.notes:
        say(f"note: {note}")


def _print_counts(say: Say, counts: Counts) -> None:
    """Say what became of the pictures."""
    from datakit.report import KINDS, counted

    say(f"{counted(counts.done, 'picture')}, {counts.refused} refused, {counts.failed} failed")
    print_bars(say, sorted(counts.buckets.items(), key=lambda item: (-item[1], item[0])))
    for title, kinds in (
        ("not used", counts.problems),
        ("warnings", {KINDS.get(kind, kind): n for kind, n in counts.warnings.items()}),
    ):
        if kinds:
            say(f"{title} (the records name each): {', '.join(f'{number} {kind}' for kind, number in sorted(kinds.items()))}")
    if counts.faces_cut:
        say(f"{counted(counts.faces_cut, 'picture')} whose largest face is not whole")


def check_shards(ctx: click.Context, folders: Sequence[Path], *, verify: bool, as_json: bool, verbose: bool) -> NoReturn:
    """Report what is wrong with datasets in shards, and end with the exit code."""
    from datakit.report import counted
    from datakit.shards.summary import inspect

    found = inspect(folders, verify=verify, progress=functools.partial(progress_bar, unit="shard"))
    if as_json:
        print_json(_plain(found))
        ctx.exit(found.exit_code)
    say = functools.partial(click.echo, color=None if "NO_COLOR" not in os.environ else False)
    say(counted(found.shards, "shard"))
    _print_counts(say, found.counts)
    for title, lines in (
        ("wrong", [f"{place}: {fault}" for place, fault in found.faults]),
        ("the largest face is not whole", [f"{name}: {kept:.0%} of the face kept" for name, kept in found.faces_cut]),
        ("the same picture", [" = ".join(group) for group in found.duplicates]),
    ):
        if lines:
            say(click.style(f"{title}:", fg="yellow"))
            print_list(say, lines, verbose)
    if not found.exit_code:
        say("clean")
    ctx.exit(found.exit_code)


def _plain(found: Inspection) -> dict[str, Any]:
    """Return what was found as plain data."""
    import msgspec

    return {
        "shards": found.shards,
        "pictures": msgspec.to_builtins(found.counts),
        "faults": [{"shard": place, "problem": fault} for place, fault in found.faults],
        "faces_cut": [{"picture": name, "kept": kept} for name, kept in found.faces_cut],
        "duplicates": found.duplicates,
        "exit_code": found.exit_code,
    }
