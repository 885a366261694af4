"""Print what `datakit backend`, `check` and `verify` found: each finding once, with the files that have it."""

from __future__ import annotations

import os
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datakit.cli.shared import print_json
from datakit.report import counted

if TYPE_CHECKING:
    from datakit.audit.checks import Finding
    from datakit.audit.concept import Concept
    from datakit.trainers.backend import Audit, Emission
    from datakit.trainers.training import BucketLoad
    from datakit.trainers.verdict import Fault, Verdict

_PROVED = "proved: every picture is trained pixel by pixel as written"
# Files named of those that have the same finding; -v and --json name all.
_SHOWN = 5


def print_verdict(verdict: Verdict, verbose: bool) -> None:
    """Print what `datakit verify` found, and whether everything is proved."""
    for name, count in verdict.pictures.items():
        buckets = ", ".join(f"{bucket}: {number}" for bucket, number in sorted(verdict.buckets[name].items()))
        click.echo(f"{name}: {counted(count, 'picture')} ({buckets})")
    for note in verdict.notes:
        click.echo(f"  {note}")
    rows = [(f"{fault.entry}: {fault.problem}", _subject(fault), fault.remedy) for fault in verdict.faults]
    print_grouped(rows, verbose, err=False)
    click.echo(f"not proved: {counted(len(rows), 'fault')}" if rows else _proved(verdict.provided))


def print_refusal(findings: Sequence[tuple[Concept, Finding]], changed: Sequence[str], as_json: bool, verbose: bool) -> None:
    """Print why no file is written."""
    if as_json:
        print_json({"written": None, "findings": [plain(*pair) for pair in findings], "changed": list(changed)})
        return
    print_findings(findings, verbose, err=True)
    for sentence in changed:
        click.echo(sentence, err=True)
    click.echo(f"nothing written: {counted(len(findings) + len(changed), 'finding')}", err=True)


def print_written(emission: Emission, file: str, err: bool) -> None:
    """Print what was written into a file, what it needs of the trainer, and how to start that."""
    for name, concept in emission.entries:
        often = "once" if concept.passes == 1 else f"{concept.passes} times"
        pictures, seen = len({record.output for record in concept.records}), "file"
        size = counted(pictures, "picture")
        if pictures < len(concept.records):
            size, seen = f"{size} with {counted(len(concept.records), 'caption')}", "caption"
        size += f" in {counted(len(concept.buckets), 'bucket')}"
        click.echo(f"{name}: {size}, each {seen} seen {often} an epoch", err=err)
        for note in concept.notes:
            click.echo(f"  {note}", err=err)
    click.echo(f"for {emission.family} (another: --model-family)", err=err)
    for sentence in emission.needs:
        click.echo(sentence, err=True)
    if emission.command:
        click.echo(f"start it with, your own options added: {start_of(emission, file)}", err=err)
    if emission.next_step and file != "-":
        click.echo(f"next: {emission.next_step.replace('FILE', shlex.quote(file))}", err=err)
    click.echo(_proved(emission.provided), err=err)


def replaced(file: str, folders: Sequence[Path]) -> list[str]:
    """Say which datasets a file was for that is about to be written for others."""
    from datakit.dataset.remembered import Command, written_for

    before = written_for(Path.cwd(), Command("backend", {"output": file, "datasets": list(map(str, folders))}))
    return [f"{file} is replaced, which was for {', '.join(before)}"] if before else []


def start_of(emission: Emission, file: str) -> str:
    """Return the command line that starts the trainer with what was written into a file."""
    return emission.command.replace("FILE", shlex.quote(os.path.abspath(file)))


def _proved(provided: Sequence[str]) -> str:
    return f"{_PROVED}, provided that {'; '.join(provided)}" if provided else _PROVED


def print_findings(findings: Sequence[tuple[Concept, Finding]], verbose: bool, err: bool = False) -> None:
    """Print findings, each with its dataset."""
    rows = [
        (f"{concept.name}: {finding.problem}", _subject(finding), finding.remedy_for(concept.folder))
        for concept, finding in findings
    ]
    print_grouped(rows, verbose, err)


def print_grouped(rows: Iterable[tuple[str, str, str]], verbose: bool, err: bool) -> None:
    """Print (problem, file, remedy) once for each problem, with the first files that have it and one remedy."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for problem, subject, remedy in rows:
        groups[problem, remedy].append(subject)
    for (problem, remedy), subjects in groups.items():
        files = [subject for subject in subjects if subject]
        click.echo(f"{problem}: {named(files, verbose)}" if files else problem, err=err)
        if remedy:
            click.echo(f"  {remedy}", err=err)


def named(names: Sequence[str], verbose: bool) -> str:
    """Return the first names, or all of them, as one line."""
    shown = names if verbose else names[:_SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more (-v lists all)" if more else "")


def _subject(finding: Finding | Fault) -> str:
    return f"{finding.path} ({finding.detail})" if finding.path and finding.detail else finding.path or finding.detail


def print_epoch(audit: Audit, too_small: str) -> None:
    """Print what one epoch is made of, and the ways out for buckets too small; what the trainer does with those is a clause."""
    for concept in audit.concepts:
        for note in concept.notes:
            click.echo(f"{concept.name}: {note}")
    for load in audit.training.loads:
        shown = f"{'picture' if load.pictures == 1 else 'pictures'} x {load.passes}"
        batches = counted(load.real, "micro-batch", "micro-batches")
        left = f", {_left_out(load)}" if load.dropped else ""
        mark = "  too small" if load.too_small else ""
        click.echo(
            f"{load.concept}: {load.bucket!s:>9} {load.pictures:>6} {shown}: {batches}, {counted(load.padded, 'padded sample')}{left}{mark}"
        )
    for note in audit.training.notes:
        click.echo(note)
    click.echo(f"one real epoch takes {audit.training.real_steps_per_epoch} optimizer steps")
    if audit.ways_out:
        click.echo(f"too small for one optimizer step; {too_small}. Ways out:")
        for way in audit.ways_out:
            click.echo(f"  {way}")
    for sentence in audit.advice:
        click.echo(sentence)


def _left_out(load: BucketLoad) -> str:
    return f"{counted(load.dropped, 'sample')} {'never trained' if load.never else 'left out'}"


def plain(concept: Concept, finding: Finding) -> dict[str, Any]:
    """Return a finding as plain data for ``--json``."""
    return {"dataset": str(concept.folder), **asdict(finding), "remedy": finding.remedy_for(concept.folder)}
