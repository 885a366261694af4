"""The proof of an ``image_jsonl_file``: a picture and its caption in each row (``dataset/datasources.py``: ImageJsonlDatasource)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from datakit.audit.checks import caption_fault
from datakit.dataset.manifest import NOT_JSON
from datakit.report import few
from datakit.run.stage import Execution
from datakit.trainers.musubi.reading import Rows
from datakit.trainers.proof import Trained, prove_folder
from datakit.trainers.verdict import Fault, Verdict

_CURE = "write it again, an object with image_path and caption in each line"


class _Row(msgspec.Struct):
    image_path: str
    caption: str


def prove_rows(trained: Trained, execution: Execution, verdict: Verdict) -> None:
    """Check and replay the picture of every row of a file, which stands where other datasets have a folder."""
    file = trained.folder
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        verdict.faults.append(Fault(trained.name, "", f"{file} cannot be read: {error.strerror or error}"))
        return
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(msgspec.json.decode(line, type=_Row))
        except NOT_JSON as error:
            verdict.faults.append(
                Fault(trained.name, "", "a line that is no row: the trainer stops", _CURE, f"line {number}: {error}")
            )
    if not lines:
        verdict.faults.append(Fault(trained.name, "", f"{file} holds no row: nothing is trained", _CURE))
    folders: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        folder, name = os.path.split(row.image_path)
        folders[folder].add(name)
    verdict.faults += [Fault(trained.name, *said) for said in (*_alike(rows), *_captions(rows))]
    for folder, names in folders.items():
        absent = sorted(name for name in names if not os.path.isfile(os.path.join(folder, name)))
        verdict.faults += [
            Fault(trained.name, os.path.join(folder, name), "in the file and not there: the trainer stops", _CURE)
            for name in absent
        ]
        if not os.path.isabs(folder):
            problem = f"image_path in {folder!r} is relative: the trainer looks from wherever it is started"
            verdict.faults.append(Fault(trained.name, "", problem, "write absolute paths"))
        elif names.difference(absent):
            prove_folder(
                replace(trained, folder=Path(folder), reader=Rows(names), captions=None, whole=False), execution, verdict
            )


def _alike(rows: Sequence[_Row]) -> Iterator[tuple[str, str, str, str]]:
    """Name pictures whose caches have one name, of which the last wins."""
    by_stem: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        by_stem[os.path.splitext(os.path.basename(row.image_path))[0]].append(row.image_path)
    for paths in by_stem.values():
        if len(paths) > 1:
            problem = "shares its stem with other rows: only the last of them is trained"
            yield paths[0], problem, "rename them, and give each caption a picture file of its own", few(paths[1:])


def _captions(rows: Sequence[_Row]) -> Iterator[tuple[str, str, str, str]]:
    """Name captions that are not trained as a person means them: the trainer takes each as it stands."""
    for row in rows:
        fault = caption_fault(row.caption.encode("utf-8", "surrogatepass"), row.image_path) if row.caption else None
        if fault is not None or len(row.caption.splitlines()) > 1:
            problem = fault.problem if fault else "several lines: all of them become one prompt"
            yield row.image_path, problem, "write one line without blanks at its edges", row.caption[:60]
