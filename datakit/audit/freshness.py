"""Tell what was changed or decided since a dataset was made, so that it does not show it yet."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from datakit.dataset.decisions import is_pending, read_decisions, with_deleted
from datakit.dataset.manifest import MANIFEST, Record, read_manifest
from datakit.dataset.origin import read_origin, source_folders
from datakit.dataset.remembered import last_report
from datakit.report import counted, few


def behind(dataset: Path, records: Sequence[Record]) -> list[str]:
    """Return a sentence for each way in which a dataset is older than what it was made from or what a person decided.

    ``records`` are the dataset's.

    Raises
    ------
    PlanError
        A line of a manifest or of the decisions cannot be used.
    """
    said = [*_undecided(dataset, records), *_stale(dataset, records)]
    origin = read_origin(dataset)
    if origin is None or not os.path.isdir(origin.source):
        return said
    source, again = Path(origin.source), f"`datakit {origin.stage}`"
    if dataset.resolve() in (source, *source_folders(source)):
        return said  # renamed over its own source
    now: dict[str, Record] = {}
    if os.path.isfile(source / MANIFEST):
        now = {record.output: record for record in read_manifest(source)}
    made = {record.source: record for record in records}
    gone = sorted(name for name in made if name not in now and _is_gone(source / name))
    changed = sorted(name for name, record in made.items() if name in now and _changed(source, now[name], record))
    if gone:
        what = f"{counted(len(gone), 'picture')} trained although gone from {source}"
        said.append(f"{dataset}: {what}: {few(gone)}: {again} with --prune leaves them out")
    if changed:
        what = f"{counted(len(changed), 'picture or caption', 'pictures or captions')} changed in {source}"
        said.append(f"{dataset}: {what} since it was made: {few(changed)}: run {again} again")
    return said + behind(source, list(now.values())) if now else said


def _stale(dataset: Path, records: Sequence[Record]) -> list[str]:
    report = last_report(dataset)
    stale = sorted({*report.stale} & {record.output for record in records}) if report and not report.pruned else []
    if not stale:
        return []
    what = f"{counted(len(stale), 'picture')} of earlier options, which the last crop refused: {few(stale)}"
    return [f"{dataset}: {what}: `datakit crop` with --prune leaves them out"]


def _is_gone(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # somebody else may look at it
    return False


def _undecided(dataset: Path, records: Iterable[Record]) -> list[str]:
    records = list(records)
    decisions, report, origin = with_deleted(read_decisions(dataset), records), last_report(dataset), read_origin(dataset)
    source, made = Path(origin.source) if origin else None, {record.target: record for record in records}
    problems = {problem.source: problem.reason for problem in (*report.refused, *report.failed)} if report else {}
    considered = report.considered if report else {}
    pending = sorted(
        name
        for name, each in decisions.items()
        if is_pending(each, made.get(name), source, problems.get(each.source), considered.get(name))
    )
    if not pending:
        return []
    what = f"{counted(len(pending), 'decision')} not followed yet: {few(pending)}"
    return [f"{dataset}: {what}: run `datakit crop` again"]


def _changed(source: Path, now: Record, made: Record) -> bool:
    """Tell whether a picture of the source dataset, its caption or a companion is another than the one that was copied."""
    caption = None
    with suppress(OSError):
        caption = hashlib.sha256((source / now.caption).read_bytes()).hexdigest() if now.caption else None
    beside = {each.name: each.sha256 for each in now.companions} != {each.name: each.source_sha256 for each in made.companions}
    return beside or (now.output_sha256, caption) != (made.source_sha256, made.source_caption_sha256)
