"""A dataset in a folder to shards, byte for byte: a shard is a run of the manifest's lines."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from datakit.dataset.manifest import MANIFEST, lines_of, parse_record
from datakit.dataset.origin import is_inside, read_origin
from datakit.dataset.store import is_interrupted
from datakit.errors import DatakitError, ShardError, UsageError
from datakit.report import Problem
from datakit.run.stage import Execution
from datakit.shards.listed import DIGITS, SHARD_SIZE
from datakit.shards.receipts import Options, Portion, Receipt
from datakit.shards.records import check_installed
from datakit.shards.run import ShardReport, run_shards
from datakit.shards.storage import open_storage
from datakit.shards.writing import commit, working_folder, write_shard

_LAYOUT = 1


@dataclass(frozen=True, slots=True)
class _Packing:
    """What all shards of a run have in common; picklable."""

    dataset: str
    output: str
    key: str


def pack_dataset(dataset: Path, output: str, *, shard_size: int = SHARD_SIZE, execution: Execution = Execution()) -> ShardReport:
    """Write a dataset that crop or shuffle wrote into shards; every file is held against its sha256.

    Parameters
    ----------
    dataset
        Is only read.
    output
        A folder or another storage.
    shard_size
        Samples in a shard, 1 or more.
    execution
        Workers, what may be replaced.

    Raises
    ------
    UsageError
        It is no finished dataset, holds companions or pictures of several formats, or the place cannot be used.
    PlanError
        A line of its manifest cannot be used.
    MissingLibraryError
        What it needs is not installed.
    """
    check_installed("a dataset in shards")
    if not (dataset / MANIFEST).is_file() or is_interrupted(dataset):
        raise UsageError(f"{dataset} is no finished dataset: run the `datakit crop` or `datakit shuffle` that writes it")
    target = open_storage(output)
    target.check()
    if target.identity.startswith("/") and (is_inside(Path(output), dataset) or is_inside(dataset, Path(output))):
        raise UsageError(f"{output} and the dataset {dataset} lie in one another: name another place for the shards")
    origin = read_origin(dataset)
    stage, background = (origin.stage, origin.background) if origin else ("crop", "white")
    portions = list(_portions(dataset, shard_size))
    if not portions:
        raise UsageError(f"{dataset / MANIFEST} is empty: nothing to pack")
    key = hashlib.sha256(msgspec.json.encode(["pack", _LAYOUT, stage, background, shard_size])).hexdigest()[:12]
    source = origin.source if origin else str(dataset.resolve())
    wanted = Options(stage, key, {"shard_size": shard_size, "background": background}, source)
    packing = _Packing(str(dataset.resolve()), target.identity, key)
    report = run_shards(partial(pack_shard, packing=packing), portions, target, wanted, execution)
    report.stage, report.source = "pack", str(dataset)
    return report


def _portions(dataset: Path, shard_size: int) -> Iterator[Portion]:
    """Yield what each shard is made of: the place of its lines in the manifest, and the sha256 of them."""
    formats: Counter[str] = Counter()
    portions: list[Portion] = []
    digest, begin, end, number = hashlib.sha256(), 0, 0, 0

    def close() -> None:
        name = f"{len(portions):0{DIGITS}d}.tar"
        portions.append(Portion(name, number, digest.hexdigest(), f"{dataset.resolve()}/{name}", (begin, end)))

    for _, where, line in lines_of(dataset / MANIFEST):
        record = parse_record(line, where)
        if record.companions:
            raise UsageError(
                f"{dataset} has companions ({record.companions[0].output}), and shards hold pictures and captions alone: train from the "
                "folder, or crop it without --companion, --companions and --keep-alpha"
            )
        formats[os.path.splitext(record.output)[1]] += 1
        digest.update(line)
        end, number = end + len(line), number + 1
        if number == shard_size:
            close()
            digest, begin, number = hashlib.sha256(), end, 0
    if number:
        close()
    if len(formats) > 1:
        found = ", ".join(f"{count} {suffix}" for suffix, count in formats.most_common())
        raise UsageError(
            f"{dataset} holds pictures of several formats ({found}), and readers of shards expect the same fields of every sample: "
            "crop it again with --format jpg, png or webp"
        )
    return iter(portions)


def pack_shard(portion: Portion, packing: _Packing) -> Receipt | Problem:
    """Write one shard of a folder; what keeps it from being done is returned."""
    dataset, (begin, end) = Path(packing.dataset), portion.detail
    try:
        with (dataset / MANIFEST).open("rb") as manifest:
            manifest.seek(begin)
            lines = manifest.read(end - begin)
        if hashlib.sha256(lines).hexdigest() != portion.etag:
            raise ShardError(f"{dataset / MANIFEST} changed meanwhile: run again when nothing writes to it")
        records = [parse_record(line, str(dataset / MANIFEST)) for line in lines.splitlines()]
        target = open_storage(packing.output)
        with working_folder(target.workspace) as work:
            return commit(target, portion, write_shard(dataset, records, (), work), packing.key)
    except (DatakitError, OSError) as error:
        return Problem(portion.name, str(error), "shard" if isinstance(error, ShardError) else "not-written")
