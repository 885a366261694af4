"""Shards as Parquet with the pictures inside, which the Hugging Face hub shows and `datasets` loads without code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from datakit.dataset.manifest import Record
from datakit.errors import OccupiedError, ShardError
from datakit.geometry import Size
from datakit.report import Problem, Report
from datakit.run.stage import Progress, silent
from datakit.shards.receipts import Shard, read_sharded
from datakit.shards.records import Stored, check_installed
from datakit.shards.storage import Blob, Storage, open_storage
from datakit.shards.unpack import contents, read_samples
from datakit.shards.writing import working_folder

# Pictures of a row group, which readers load at once: some tens of megabytes.
_GROUP = 100
_MARK = b"datakit"
# How `datasets` knows which column holds pictures (its arrow_writer.py: the key "huggingface" of the schema).
_FEATURES = {
    "image": {"_type": "Image"},
    "text": {"dtype": "string", "_type": "Value"},
    "file_name": {"dtype": "string", "_type": "Value"},
    "width": {"dtype": "int32", "_type": "Value"},
    "height": {"dtype": "int32", "_type": "Value"},
}


def write_parquet(
    address: str,
    output: str,
    *,
    keep: Callable[[Record], bool] = lambda record: True,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Report:
    """Write a dataset in shards as ``data/train-NAME.parquet``, one file a shard; what is there already is left alone.

    Parameters
    ----------
    address, output
        Where the shards lie, and a folder or another storage.
    keep
        Tells which samples are wanted.
    overwrite
        Replace files that are in the way.
    progress
        Shows how far the run is.

    Raises
    ------
    UsageError
        There are no finished shards.
    """
    check_installed("a dataset in shards")
    storage, target = open_storage(address), open_storage(output)
    storage.check()
    target.check()
    whole = read_sharded(storage)
    report = Report("unpack", storage.address, target.address)
    for shard in progress(whole.shards, len(whole.shards), "unpack"):
        try:
            samples = [sample for sample in read_samples(storage, shard)[0] if keep(sample.record)]
            if samples:
                _write(storage, shard, samples, target, report, overwrite=overwrite)
        except (ShardError, OccupiedError, OSError) as error:
            report.failed.append(Problem(shard.name, str(error), "shard"))
    report.sort()
    return report


def _write(
    storage: Storage, shard: Shard, samples: Sequence[Stored], target: Storage, report: Report, *, overwrite: bool
) -> None:
    """Write one file, unless it is there."""
    import pyarrow as pa
    from pyarrow import parquet

    name = f"data/train-{shard.name.removesuffix('.tar').replace('/', '-')}.parquet"
    wanted = [(sample.record.output, sample.record.output_sha256, sample.record.caption_sha256) for sample in samples]
    mark = hashlib.sha256(msgspec.json.encode(wanted)).hexdigest().encode()
    for sample in samples:
        report.buckets[sample.record.bucket] += 1
    there: Blob | None = next(target.heads([name]), None)
    if there is not None and not overwrite:
        if _mark_of(target, there) != mark:
            raise OccupiedError(f"{target.address}/{name} is in the way: it holds something else; use --overwrite to replace it")
        report.skipped += len(samples)
        return
    schema = _schema({_MARK: mark, b"huggingface": msgspec.json.encode({"info": {"features": _FEATURES}})})
    with working_folder(target.workspace) as work:
        with parquet.ParquetWriter(work / "file", schema, compression="zstd", write_statistics=False) as writer:
            rows = (_row(sample, content) for sample, content in contents(storage, shard, samples))
            for group in _grouped(rows):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
        target.put(name, work / "file")
    report.done += len(samples)


def _mark_of(target: Storage, blob: Blob) -> bytes | None:
    """Return what a file was made of; None where it says nothing."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with target.open(blob) as file:
            held: Mapping[bytes, bytes] = parquet.read_metadata(file).metadata or {}
            return held.get(_MARK)
    except pa.ArrowException:
        return None


def _schema(metadata: Mapping[bytes, bytes]) -> Any:
    import pyarrow as pa

    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    columns = {"image": image, "text": pa.string(), "file_name": pa.string(), "width": pa.int32(), "height": pa.int32()}
    return pa.schema(columns, metadata=metadata)


def _row(sample: Stored, content: bytes) -> dict[str, Any]:
    width, height = Size(*sample.record.bucket)
    image = {"bytes": content, "path": Path(sample.record.output).name}
    return {"image": image, "text": sample.text, "file_name": sample.record.output, "width": width, "height": height}


def _grouped(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while group := list(islice(rows, _GROUP)):
        yield group
