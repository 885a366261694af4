"""What the commands have in common where a dataset lies in shards: progress, and what a run did."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import click

from datakit.cli.printing import print_bars, print_list
from datakit.cli.shared import print_json, progress_bar

if TYPE_CHECKING:
    from datakit.crop.options import CropOptions
    from datakit.run.stage import Execution
    from datakit.shards.crop import ShardReport
    from datakit.shards.receipts import Counts


def report_shards(
    ctx: click.Context, source: str, output: str | None, options: CropOptions, execution: Execution, as_json: bool
) -> NoReturn:
    """Crop shards, print what was done, and end with the exit code."""
    from dataclasses import replace

    from datakit.shards.crop import crop_shards

    if output is None:
        raise click.UsageError("missing argument OUT: where to write the shards")
    report = crop_shards(source, output, options, execution=replace(execution, progress=shard_bar))
    print_shards(report, as_json)
    ctx.exit(report.exit_code)


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
    from datakit.report import KINDS, counted

    if as_json:
        print_json(report.to_json())
        return
    say = functools.partial(click.echo, color=None if "NO_COLOR" not in os.environ else False)
    numbers = ((report.done, "done"), (report.skipped, "up to date"), (len(report.failed), "failed"))
    shown = [f"{number} {word}" for number, word in numbers if number or word == "done"]
    say(f"{report.stage} {report.source} -> {report.output}: shards {', '.join(shown)}")
    counts = report.counts
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
        say(f"{counted(len(report.removed), 'shard')} whose source is gone deleted")
    for note in report.notes:
        say(f"note: {note}")
