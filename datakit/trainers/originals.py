"""The datasets that a view shows: what was changed in them since, so that the view trains something else."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from datakit.audit.checks import list_files
from datakit.audit.concept import content_hash
from datakit.audit.looks import is_readable
from datakit.dataset.fingerprints import hash_file
from datakit.dataset.layout import STATE_FOLDER
from datakit.dataset.manifest import Record, read_manifest
from datakit.errors import DatakitError
from datakit.report import counted, few
from datakit.trainers.verdict import Fault, Verdict
from datakit.trainers.view import read_made

_AGAIN = "take captions into the manifest with `datakit check DATASET --fix`, or crop again; then run `datakit backend` again"


def compare_datasets(name: str, view: Path, verdict: Verdict) -> None:
    """Add to a verdict what is no longer as a view shows it; of copies of a dataset, one as it was is enough.

    ``name`` is what the verdict calls the view; a folder that is none is passed over.
    """
    made = read_made(view)
    if made is None or verdict.compared.issuperset(made.datasets):
        return
    verdict.compared.update(made.datasets)
    linked = _linked(view)
    copies: dict[str, dict[Path, str]] = defaultdict(dict)
    for folder, content in made.datasets.items():
        copies[content][Path(folder)] = _content(Path(folder))
    for content, now in copies.items():
        as_it_was = [dataset for dataset, other in now.items() if other == content]
        changed = [os.fspath(dataset) for dataset, other in now.items() if other not in ("", content)]
        problem = f"the dataset {few(changed)} has changed since this was written, and is trained as it was"
        if changed and as_it_was:
            verdict.notes.append(f"{name}: {problem}, as a copy of it still is")
        elif changed:
            verdict.faults.append(Fault(name, "", problem, "run datakit backend again"))
        elif not as_it_was:
            gone = few([os.fspath(dataset) for dataset in now])
            verdict.notes.append(f"{name}: the dataset {gone} is gone; what it held is trained as it was")
        edited = {dataset: _edited(dataset, linked) for dataset in as_it_was}
        if as_it_was and all(edited.values()):
            for dataset, files in edited.items():
                said = f"{counted(len(files), 'file')} of {dataset} changed by hand, and trained as before: {few(files)}"
                verdict.faults.append(Fault(name, "", said, _AGAIN.replace("DATASET", os.fspath(dataset))))


def _content(dataset: Path) -> str:
    try:
        return content_hash(read_manifest(dataset))
    except DatakitError:
        return ""


def _linked(view: Path) -> Mapping[tuple[int, int], str]:
    """Return the sha256 of each picture of a view by the file that it is, which the proof of the view holds against its manifest."""
    known = {}
    for record in read_manifest(view):
        with suppress(OSError):
            status = os.stat(view / record.output)
            known[status.st_dev, status.st_ino] = record.output_sha256
    return known


def _edited(dataset: Path, linked: Mapping[tuple[int, int], str]) -> list[str]:
    """Return the files of a dataset that are not as its manifest has them, and pictures that it does not know."""
    records = list(read_manifest(dataset))
    outputs = {name for record in records for name, _ in record.files}
    new = [
        name
        for name in list_files(dataset)
        if is_readable(name) and name not in outputs and not name.startswith((".", f"{STATE_FOLDER}/"))
    ]
    return sorted([*new, *(name for record in records for name in _differing(dataset, record, linked))])


def _differing(dataset: Path, record: Record, linked: Mapping[tuple[int, int], str]) -> list[str]:
    found = []
    for name, sha256 in record.files:
        try:
            status = os.stat(dataset / name)
            now = linked.get((status.st_dev, status.st_ino)) or hash_file(dataset / name)
        except OSError:
            now = ""
        if now != sha256:
            found.append(name)
    return found
