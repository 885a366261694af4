"""What the commands share: how a run is executed, its progress, and its report."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from datakit.report import Problem, Report

_SHOWN = 20


def execution_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a run that change no byte of its result, and pass them on as ``execution``."""

    @click.option("-j", "--jobs", type=click.IntRange(min=1), default=None, show_default="one a core", help="Worker processes.")
    @click.option(
        "--timeout",
        type=click.FloatRange(min=1),
        default=300,
        show_default=True,
        metavar="SECONDS",
        help="Give up on a picture after this long.",
    )
    @click.option("--overwrite", is_flag=True, help="Make everything anew and replace files that are in the way.")
    @click.option("--prune", is_flag=True, help="Delete outputs whose source is gone.")
    @click.option("--verify", is_flag=True, help="Hash every file instead of trusting size and time of change.")
    @click.option(
        "--strict",
        is_flag=True,
        help="All or nothing: write only if no picture is refused and none fails, else exit with 1. All are made first "
        "and then moved into place, which only a failing disk or a kill can still cut short.",
    )
    @functools.wraps(command)
    def wrapped(
        *, jobs: int | None, timeout: float, overwrite: bool, prune: bool, verify: bool, strict: bool, **options: Any
    ) -> Any:
        from datakit.stage import Execution

        execution = Execution(
            jobs=jobs or cores(),
            timeout=timeout,
            overwrite=overwrite,
            prune=prune,
            verify=verify,
            strict=strict,
            progress=progress_bar,
        )
        return command(execution=execution, **options)

    return wrapped


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def progress_bar(items: Iterable[Any], total: int, label: str) -> Iterable[Any]:
    """Show on stderr how far a run is, at what rate, and what is left; nothing where stderr is no terminal."""
    from tqdm import tqdm

    return tqdm(items, total=total, desc=label, unit="picture", disable=None, leave=False, smoothing=0.05, dynamic_ncols=True)


def print_json(value: Any, err: bool = False) -> None:
    """Print plain data as JSON on stdout, or on stderr where stdout holds something else."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), err=err)


def print_report(report: Report, as_json: bool, verbose: bool = False, err: bool = False) -> None:
    """Print what a run did: a summary for people, or all of it as JSON."""
    from datakit.report import counted

    if as_json:
        print_json(report.to_json(), err)
        return
    say = functools.partial(click.echo, err=err, color=None if "NO_COLOR" not in os.environ else False)
    target = f" -> {report.output}" if report.output else ""
    say(
        f"{report.stage} {report.source}{target}: "
        + ", ".join(
            f"{count} {word}"
            for count, word in (
                (report.done, "done" if report.output else "planned"),
                (report.skipped, "up to date"),
                (len(report.refused), "refused"),
                (len(report.failed), "failed"),
            )
            if count or word in ("done", "planned")
        )
    )
    for bucket, count in sorted(report.buckets.items(), key=lambda item: (-item[1], item[0])):
        say(f"  {bucket!s:>9}  {count:>6}  {'#' * max(1, round(40 * count / max(report.buckets.values())))}")
    for name, value in report.table.items():
        say(f"  {name}: {value:g}" if isinstance(value, float) else f"  {name}: {value}")
    if report.faces_cut:
        say(f"{counted(len(report.faces_cut), 'picture')} whose largest face is not whole:")
        _list(say, [f"{source}: {kept:.0%} of the face kept" for source, kept in report.faces_cut], verbose)
    for title, problems, colour in (("refused", report.refused, "yellow"), ("failed", report.failed, "red")):
        if problems:
            say(click.style(f"{len(problems)} {title}:", fg=colour))
            _list(say, _reasons(problems), verbose)
    if report.removed:
        ending = "deleted" if report.pruned else "kept; --prune deletes them"
        say(f"{counted(len(report.removed), 'output')} whose source is gone ({ending}):")
        _list(say, report.removed, verbose)
    for note in report.notes:
        say(f"note: {note}")
    _warnings(say, report, verbose)


def _reasons(problems: list[Problem]) -> list[str]:
    return [f"{problem.source}: {problem.reason}" for problem in problems]


def _warnings(say: Callable[[str], None], report: Report, verbose: bool) -> None:
    from datakit.report import counted

    if not report.warnings:
        return
    if verbose:
        say(f"{counted(len(report.warnings), 'warning')}:")
        for source, warning in report.warnings:
            say(f"  {source}: {warning}")
    else:
        pictures = len({source for source, _ in report.warnings})
        say(
            f"{counted(len(report.warnings), 'warning')} on {counted(pictures, 'picture')} (-v lists them; manifest.jsonl keeps them)"
        )


def _list(say: Callable[[str], None], lines: list[str], verbose: bool) -> None:
    shown = lines if verbose else lines[:_SHOWN]
    for line in shown:
        say(f"  {line!r}"[3:-1] if "\n" in line else f"  {line}")
    if len(shown) < len(lines):
        say(f"  ... and {len(lines) - len(shown)} more (-v lists all)")


def say_using(dataset: Path, stage: str) -> Path:
    """Say on stderr which dataset is used though none was named; return it as short as it can be written."""
    short = dataset.relative_to(Path.cwd()) if dataset.is_relative_to(Path.cwd()) else dataset
    click.echo(f"using {short}/ (from the last {stage})", err=True)
    return short
