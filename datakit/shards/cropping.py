"""Crop one shard: its tar, or the files that a list names, into a folder, that into a dataset, the dataset into a tar with its records.

A shard is cropped as the folder that it holds, by the same function as any folder, so that it gives the same bytes.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

from datakit.crop.folder import crop_folder
from datakit.crop.options import CropOptions
from datakit.dataset.manifest import read_manifest
from datakit.errors import DatakitError, NoPicturesError, ShardError
from datakit.report import Problem, Report
from datakit.run.stage import Execution
from datakit.shards.listed import fetch
from datakit.shards.receipts import Portion, Receipt
from datakit.shards.storage import Blob, open_storage
from datakit.shards.tar import extract
from datakit.shards.writing import commit, working_folder, write_shard


@dataclass(frozen=True, slots=True)
class Cropping:
    """What all shards of a run have in common; picklable.

    Attributes
    ----------
    source, output
        Addresses of the storages.
    options, key
        How to crop, and the short hash of it.
    execution
        How the pictures of one shard are made: in what process, in how much time.
    """

    source: str
    output: str
    options: CropOptions
    key: str
    execution: Execution


def crop_shard(shard: Portion, cropping: Cropping) -> Receipt | Problem:
    """Crop one shard of a storage, a tar or a run of a list's files, into another; what keeps it from being done is returned."""
    try:
        source, output = open_storage(cropping.source), open_storage(cropping.output)
        with working_folder(output.workspace) as work:
            if shard.detail:
                fetch(source, shard.detail, shard.etag, work / "source")
            else:
                with source.open(Blob(shard.name, shard.size, shard.etag)) as file:
                    extract(file, shard.name, shard.size, work / "source")
            report = _cropped(work, shard.name, cropping)
            problems = sorted((*report.refused, *report.failed), key=lambda problem: (problem.source, problem.reason))
            records = list(read_manifest(work / "dataset"))
            written = write_shard(work / "dataset", records, problems, work)
            return commit(output, shard, written, cropping.key)
    except NoPicturesError:
        return Problem(shard.name, "holds no pictures: leave it out of the pattern", "shard")
    except (DatakitError, OSError) as error:
        return Problem(shard.name, str(error), "shard" if isinstance(error, ShardError) else "not-written")


def _cropped(work: Path, name: str, cropping: Cropping) -> Report:
    """Crop the folder of a shard; what killed its process is given a second try, as somebody else may have killed it.

    Raises
    ------
    ShardError
        It holds no pictures, or cannot be written.
    """
    # A worker of the local pool is a daemon, which may not have the process that keeps a picture's crash to itself.
    multiprocessing.current_process().daemon = False
    for _ in range(2):
        report = crop_folder(work / "source", work / "dataset", cropping.options, execution=cropping.execution)
        if not any(problem.kind == "crashed" for problem in report.failed):
            break
    unwritten = next((problem for problem in report.failed if problem.kind == "not-written"), None)
    if unwritten:
        raise OSError(f"{name}: {unwritten.source} {unwritten.reason}")
    return report
