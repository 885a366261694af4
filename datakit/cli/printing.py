"""Print what a run of crop or shuffle did, for people or as JSON."""

from __future__ import annotations

import functools
import os
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from datakit.cli.shared import print_json

if TYPE_CHECKING:
    from datakit.report import Problem, Report

Say = Callable[[str], None]

# Lines printed of a list, and of warnings, which are counted where there are more; -v prints all.
_SHOWN, _FEW = 20, 3
# Unicode categories of what moves a terminal's cursor, begins a line, or is no character.
_CONTROLS = ("Cc", "Cs", "Zl", "Zp")


def print_report(report: Report, as_json: bool, verbose: bool = False, err: bool = False) -> None:
    """Print what a run did: a summary for people, or all of it as JSON."""
    if as_json:
        print_json(report.to_json(), err)
        return
    say = functools.partial(click.echo, err=err, color=None if "NO_COLOR" not in os.environ else False)
    _counts(say, report)
    _left_out(say, report, verbose)
    _outdated(say, report, verbose)
    for note in report.notes:
        say(f"note: {_line(note)}")
    _warnings(say, report, verbose)


def _counts(say: Say, report: Report) -> None:
    """Say how many pictures were done, by size, and what was counted beside."""
    target = f" -> {report.output}" if report.output else ""
    counts = (
        (report.done, "done" if report.output else "planned"),
        (report.skipped, "up to date"),
        (len(report.refused), "refused"),
        (len(report.failed), "failed"),
    )
    shown = [f"{count} {word}" for count, word in counts if count or word in ("done", "planned")]
    say(f"{report.stage} {report.source}{target}: {', '.join(shown)}")
    for bucket, count in sorted(report.buckets.items(), key=lambda item: (-item[1], item[0])):
        say(f"  {bucket!s:>9}  {count:>6}  {'#' * max(1, round(40 * count / max(report.buckets.values())))}")
    for name, value in report.table.items():
        say(f"  {name}: {value:g}" if isinstance(value, float) else f"  {name}: {value}")
    for line in _crops(report):
        say(f"  {_line(line)}")


def _crops(report: Report) -> list[str]:
    """Return a line for each of several crops: how many there are, and how many pictures have none, by why."""
    from datakit.dataset.targets import CROPS
    from datakit.report import ABSENCES, few

    lines = []
    asked = {*report.crops, *(crop for _, crop, _ in report.left_out)}
    for crop in (crop for crop in CROPS if crop in asked):
        said = [f"{report.crops[crop]}"]
        for kind, words in ABSENCES.items():
            without = [(source, why.upscale_needed) for source, name, why in report.left_out if (name, why.kind) == (crop, kind)]
            if without:
                factor = max((needed or 0 for _, needed in without), default=0)
                cure = f": {few([source for source, _ in without])}; --upscale {factor:g} would frame all" if factor else ""
                said.append(f"{len(without)} pictures {words}{cure}" if len(without) > 1 else f"1 picture {words}{cure}")
        lines.append(f"crop {crop}: {', '.join(said)}")
    return lines


def _left_out(say: Say, report: Report, verbose: bool) -> None:
    """Name the pictures that did not come out, or not whole."""
    from datakit.report import counted

    if report.faces_cut:
        say(f"{counted(len(report.faces_cut), 'picture')} whose largest face is not whole:")
        _list(say, [f"{source}: {kept:.0%} of the face kept" for source, kept in report.faces_cut], verbose)
    if report.refused:
        say(click.style(f"{len(report.refused)} refused:", fg="yellow"))
        _list(say, _reasons(report.refused), verbose)
        too_small = sum(problem.upscale_needed is not None for problem in report.refused)
        if too_small > 1:
            say(f"  --upscale {report.upscale_needed:g} would take all {too_small} that are too small")
    if report.failed:
        say(click.style(f"{len(report.failed)} failed:", fg="red"))
        _list(say, _reasons(report.failed), verbose)
    if report.rejected:
        say(f"{len(report.rejected)} rejected in review, left out:")
        _list(say, report.rejected, verbose)


def _outdated(say: Say, report: Report, verbose: bool) -> None:
    """Name the outputs that the source or the options no longer call for."""
    from datakit.report import counted

    ending = "deleted" if report.pruned else "kept; --prune deletes them"
    for title, outputs in (("whose source is gone", report.removed), ("of earlier options, refused now", report.stale)):
        if outputs:
            say(f"{counted(len(outputs), 'output')} {title} ({ending}):")
            _list(say, outputs, verbose)


def _reasons(problems: list[Problem]) -> list[str]:
    return [f"{problem.source}: {problem.reason}" for problem in problems]


def _warnings(say: Say, report: Report, verbose: bool) -> None:
    from datakit.report import counted

    if not report.warnings:
        return
    if verbose or len(report.warnings) <= _FEW:
        say(f"{counted(len(report.warnings), 'warning')}:")
        for source, warning in report.warnings:
            say(f"  {_line(source)}: {warning.sentence}")
        return
    pictures = len({source for source, _ in report.warnings})
    kept = "; manifest.jsonl keeps them" if report.output else ""
    say(f"{counted(len(report.warnings), 'warning')} on {counted(pictures, 'picture')} (-v lists them{kept}):")
    say(f"  {report.warned_of()}")


def _line(text: str) -> str:
    """Return a text on one line, whatever the file names in it would do to a terminal."""
    return "".join(repr(sign)[1:-1] if unicodedata.category(sign) in _CONTROLS else sign for sign in text)


def _list(say: Say, lines: list[str], verbose: bool) -> None:
    shown = lines if verbose else lines[:_SHOWN]
    for line in shown:
        say(f"  {_line(line)}")
    if len(shown) < len(lines):
        say(f"  ... and {len(lines) - len(shown)} more (-v lists all)")
