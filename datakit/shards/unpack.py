"""Shards to a dataset in a folder, byte for byte, all of it or what a filter lets through."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from datakit.dataset.manifest import Record
from datakit.dataset.origin import Origin, read_origin, remember_origin
from datakit.dataset.samples import caption_of
from datakit.dataset.store import Store
from datakit.errors import SampleError, ShardError, UsageError
from datakit.report import Problem, Report
from datakit.run.stage import Progress, silent
from datakit.run.task import not_written, write_temporary
from datakit.shards.receipts import Shard, Sharded, read_options, read_sharded, records_of
from datakit.shards.records import Stored, check_installed, decoded
from datakit.shards.storage import Blob, Storage, address_of, open_storage


def unpack_shards(
    address: str,
    dataset: Path,
    *,
    keep: Callable[[Record], bool] = lambda record: True,
    most: int | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Report:
    """Write the samples of shards into a folder as the dataset that crop or shuffle would have written there.

    What is there already, as it was written, is left alone: an interrupted run goes on where it was.

    Parameters
    ----------
    address
        Where the shards lie.
    dataset
        The folder to write.
    keep
        Tells which samples are wanted.
    most
        So many samples at most, the first ones.
    overwrite
        Replace files that are in the way.
    progress
        Shows how far the run is.

    Returns
    -------
    What was done; a shard that is damaged is a problem of its own.

    Raises
    ------
    UsageError
        There are no finished shards, or the folder holds another dataset.
    DatasetBusyError
        Another run is writing to the folder.
    """
    check_installed("a dataset in shards")
    storage = open_storage(address)
    storage.check()
    whole = read_sharded(storage)
    origin = origin_of(storage, whole)
    before = read_origin(dataset)
    if before is not None and before != origin and not overwrite:
        raise UsageError(f"{dataset} was made from {before.source}, these shards from {origin.source}: name another folder")
    report = Report("unpack", storage.address, str(dataset))
    with Store(dataset, overwrite=overwrite) as store:
        remember_origin(dataset, origin)
        for shard in progress(whole.shards, len(whole.shards), "unpack"):
            left = None if most is None else most - report.done - report.skipped
            if left != 0:
                _unpack(storage, shard, store, report, keep, left)
        store.finish()
    report.sort()
    return report


@contextmanager
def unpacked(folder: Path, most: int) -> Iterator[Path]:
    """Give a folder that holds the first samples of shards, for as long as it is looked at. Raises as `unpack_shards`."""
    with tempfile.TemporaryDirectory(prefix="datakit-") as place:
        unpack_shards(address_of(folder), Path(place) / "dataset", most=most)
        yield Path(place) / "dataset"


def unpack_shard(storage: Storage, shard: Shard, origin: Origin, dataset: Path) -> None:
    """Write all samples of one shard into a new folder.

    Raises
    ------
    ShardError
        It is damaged.
    OSError
        It cannot be read, or the folder not be written to.
    """
    report = Report("unpack", storage.address, str(dataset))
    with Store(dataset) as store:
        remember_origin(dataset, origin)
        _unpack(storage, shard, store, report, lambda record: True, None)
        store.finish()
    for problem in (*report.failed, *report.refused):
        raise ShardError(f"{shard.name}: {problem.reason}" if problem.source != shard.name else problem.reason)


def origin_of(storage: Storage, whole: Sharded) -> Origin:
    """Return where the samples came from."""
    options = read_options(storage)
    source = options.source if options and options.source else storage.identity
    return Origin(whole.stage, source, str(whole.options.get("background", "white")))


def read_samples(storage: Storage, shard: Shard) -> tuple[list[Stored], list[Problem]]:
    """Return the samples of a shard and what was not made.

    Raises
    ------
    ShardError
        Its records are not as they were written, or cannot be used.
    OSError
        They cannot be read.
    """
    name = records_of(shard.name)
    data = storage.read(name)
    if hashlib.sha256(data).hexdigest() != shard.records.sha256:
        raise ShardError(f"{name} is not as it was written (sha256 differs): run the command that writes it again")
    return decoded(data, name)


def _unpack(
    storage: Storage, shard: Shard, store: Store, report: Report, keep: Callable[[Record], bool], most: int | None
) -> None:
    """Write the samples of one shard that are wanted."""
    try:
        samples = [sample for sample in read_samples(storage, shard)[0] if keep(sample.record)][:most]
        missing = [sample for sample in samples if not _is_there(store, sample.record)]
        report.skipped += len(samples) - len(missing)
        for sample, content in contents(storage, shard, missing):
            _commit(store, sample, content, report)
        for sample in samples:
            report.buckets[sample.record.bucket] += 1
    except (ShardError, OSError) as error:
        report.failed.append(Problem(shard.name, str(error), "shard"))


def _is_there(store: Store, record: Record) -> bool:
    """Tell whether a sample lies in the folder as it was packed."""
    held = store.record(record.output)
    return held == record and not (store.is_unfinished(held) or store.missing(held) or store.edited(held))


def contents(storage: Storage, shard: Shard, samples: Sequence[Stored]) -> Iterator[tuple[Stored, bytes]]:
    """Yield the picture of each sample, as its record says.

    Raises
    ------
    ShardError
        The shard is not as it was written.
    OSError
        It cannot be read.
    """
    blob: Blob | None = next(storage.heads([shard.name]), None) if samples else None
    if not samples:
        return
    if blob is None or blob.size != shard.tar.size:
        raise ShardError(
            f"{shard.name} is {'not there' if blob is None else 'of another size'}: run the command that writes it again"
        )
    with storage.open(blob) as file:
        for sample in samples:
            file.seek(sample.offset)
            content = file.read(sample.size)
            if hashlib.sha256(content).hexdigest() != sample.record.output_sha256:
                raise ShardError(
                    f"{shard.name} does not hold {sample.record.output} as it was written (sha256 differs): fetch or write it again"
                )
            yield sample, content


def _commit(store: Store, sample: Stored, content: bytes, report: Report) -> None:
    """Put one sample into the folder."""
    record = sample.record
    try:
        store.check_free((record.output, record.caption), store.record(record.output), lambda _: None)
        files = [(write_temporary(store.temporary, record.output, content), record.output_sha256)]
        if record.caption is not None:
            words = (sample.text or "").encode()
            if hashlib.sha256(words).hexdigest() != record.caption_sha256:
                raise ShardError(f"the records do not hold {caption_of(record.output)} as it was written (sha256 differs)")
            files.append((write_temporary(store.temporary, f"{record.output}.txt", words), str(record.caption_sha256)))
        store.commit(record, sample.text, files)
    except SampleError as error:
        report.add(Problem.of(record.output, error))
    except OSError as error:
        report.failed.append(not_written(record.output, error))
    else:
        report.done += 1
