"""Write one shard: the samples of a folder into a tar and its records, then both into place with a receipt."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from datakit.dataset.layout import receipt
from datakit.dataset.manifest import Record
from datakit.errors import ShardError
from datakit.report import Problem
from datakit.shards.receipts import Counts, Output, Portion, Receipt, records_of
from datakit.shards.records import Stored, encoded
from datakit.shards.storage import Storage
from datakit.shards.tar import TarWriter, field_names


@dataclass(frozen=True, slots=True)
class Written:
    """A shard that is finished, but not yet in its place."""

    tar: Path
    records: Path
    outputs: tuple[Output, Output]
    counts: Counts


def write_shard(folder: Path, records: Sequence[Record], problems: Sequence[Problem], work: Path) -> Written:
    """Write samples of a folder into a tar, and their records into a Parquet file.

    Parameters
    ----------
    folder
        The dataset that holds them.
    records
        Of the samples, in the order that they are to have.
    problems
        What was not made.
    work
        Where the two files are written.

    Raises
    ------
    ShardError
        A file is not as its record says.
    """
    samples = []
    tar, table = work / "tar", work / "records"
    with tar.open("wb") as file:
        writer = TarWriter(file)
        for record in records:
            picture, caption = field_names(record.output)
            content = _read(folder, record.output, record.output_sha256)
            words = _read(folder, record.caption, record.caption_sha256) if record.caption else b""
            offset = writer.add(picture, content)
            writer.add(caption, words)
            text = words.decode("utf-8") if record.caption else None
            samples.append(Stored(record, caption.removesuffix(".txt"), text, offset, len(content)))
        tar_output = Output(0, writer.end())
    rows = encoded(samples, problems)
    table.write_bytes(rows)
    outputs = (msgspec.structs.replace(tar_output, size=writer.size), Output(len(rows), hashlib.sha256(rows).hexdigest()))
    return Written(tar, table, outputs, Counts.of(records, problems))


def _read(folder: Path, name: str, sha256: str | None) -> bytes:
    """Return a file that is as its record says."""
    try:
        content = (folder / name).read_bytes()
    except FileNotFoundError:
        raise ShardError(f"{folder / name} is gone: run the stage that wrote it again") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ShardError(
            f"{folder / name} was edited since datakit wrote it: `datakit check {folder} --fix` takes captions into the manifest, "
            "a picture has to be cropped again"
        )
    return content


def commit(storage: Storage, portion: Portion, written: Written, key: str) -> Receipt:
    """Put a shard into place; while that lasts it has no receipt, so that it is never taken for done. Raises OSError."""
    shard = portion.name
    storage.delete(receipt(shard))
    etags = storage.put(shard, written.tar), storage.put(records_of(shard), written.records)
    tar, records = (msgspec.structs.replace(output, etag=etag) for output, etag in zip(written.outputs, etags, strict=True))
    held = Receipt(key, portion.origin, portion.size, portion.etag, tar, records, written.counts)
    write(storage, receipt(shard), [msgspec.json.encode(held)], written.tar.parent)
    return held


def write(storage: Storage, name: str, content: Iterable[bytes], work: Path, *, new: bool = False) -> None:
    """Write a file of a storage, whole or not at all. Raises OSError: FileExistsError where it is to be ``new`` and is there."""
    file = work / "file"
    with file.open("wb") as opened:
        opened.writelines(content)
    storage.put(name, file, new=new)


@contextmanager
def working_folder(workspace: Path) -> Iterator[Path]:
    """Give a folder for unfinished files that is removed in the end, or by the next run where this one is killed."""
    workspace.mkdir(parents=True, exist_ok=True)
    everyone = FileLock(workspace / ".lock")
    with everyone:
        _sweep(workspace)
        work = Path(tempfile.mkdtemp(prefix="shard-", dir=workspace))
        ours = FileLock(work / ".lock", timeout=0)
        ours.acquire()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        ours.release()


def _sweep(workspace: Path) -> None:
    """Remove the folders of processes that were killed: nobody holds their locks. The workspace is held meanwhile."""
    for folder in workspace.glob("shard-*"):
        try:
            with FileLock(folder / ".lock", timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (Timeout, OSError):
            continue
