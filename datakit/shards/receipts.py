"""What is known of a dataset in shards: the options it is made with, a receipt for each shard, and in the end what it is as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec

from datakit.dataset.layout import SHARDS, SHARDS_OPTIONS, SHARDS_STATE, receipt
from datakit.dataset.manifest import NOT_JSON, Record
from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.report import Problem, Report
from datakit.shards.storage import Blob, Storage

RECORDS = ".parquet"
# Receipts asked for at once, each by a request of its own, and held at once.
_AT_ONCE, _HELD = 32, 1024


class Portion(NamedTuple):
    """What one shard is made of.

    Attributes
    ----------
    name
        Of the shard: that of its tar.
    size, etag
        What is another for another content.
    origin
        Where it lies, for messages and receipts.
    detail
        What the function that makes the shard needs beyond this; picklable.
    """

    name: str
    size: int
    etag: str
    origin: str
    detail: Any = None


class Counts(msgspec.Struct):
    """How many pictures of one or more shards were made, and what became of the others.

    Attributes
    ----------
    done, refused, failed
        As in `datakit.report.Report`.
    buckets, warnings, problems
        How many there are by size, by kind of warning, and by kind of problem.
    faces_cut
        Pictures whose largest face is not whole.
    """

    done: int = 0
    refused: int = 0
    failed: int = 0
    buckets: dict[str, int] = {}
    warnings: dict[str, int] = {}
    problems: dict[str, int] = {}
    faces_cut: int = 0

    def add(self, other: Counts) -> None:
        """Add those of another shard."""
        for name in ("done", "refused", "failed", "faces_cut"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("buckets", "warnings", "problems"):
            total: dict[str, int] = dict(getattr(self, name))
            for key, number in getattr(other, name).items():
                total[key] = total.get(key, 0) + number
            setattr(self, name, total)

    @classmethod
    def of(cls, records: Iterable[Record], problems: Iterable[Problem]) -> Counts:
        """Count the records of a shard, and what was not made."""
        problems = sorted(problems, key=lambda problem: problem.kind)
        report = Report("", "", "", refused=[each for each in problems if each.refused])
        counts = cls(refused=len(report.refused), failed=len(problems) - len(report.refused))
        buckets: Counter[Size] = Counter()
        warnings: Counter[str] = Counter()
        for record in records:
            counts.done += 1
            buckets[record.bucket] += 1
            warnings.update(warning.kind for warning in record.warnings)
            counts.faces_cut += bool(record.faces and record.faces[0].kept < 1)
        counts.buckets = {str(Size(*bucket)): number for bucket, number in sorted(buckets.items())}
        counts.warnings = dict(sorted(warnings.items()))
        counts.problems = dict(Counter(problem.kind for problem in problems))
        return counts


class Output(msgspec.Struct, frozen=True):
    """One file of a shard as it was written; ``etag`` where the storage tells its content by it."""

    size: int
    sha256: str
    etag: str | None = None


class Receipt(msgspec.Struct, frozen=True):
    """What a shard was made of, and what was made.

    Attributes
    ----------
    key
        Of the options.
    source, source_size, source_etag
        The shard that it was made of: address, bytes, and what is another for another content.
    tar, records
        The two files.
    counts
        Of its pictures.
    """

    key: str
    source: str
    source_size: int
    source_etag: str
    tar: Output
    records: Output
    counts: Counts


class Options(msgspec.Struct, frozen=True):
    """What a whole dataset in shards is made with.

    Attributes
    ----------
    stage
        Which command writes it.
    key
        Short hash of the options that decide its bytes.
    options
        As plain data, for people.
    source
        The address as it was given.
    """

    stage: str
    key: str
    options: dict[str, Any] = {}
    source: str = ""


class Shard(msgspec.Struct, frozen=True):
    """A shard of a finished dataset: the name of its tar, how many samples it holds, and its two files."""

    name: str
    samples: int
    tar: Output
    records: Output


class Sharded(msgspec.Struct, frozen=True):
    """A finished dataset in shards, as ``dataset.json`` says it; nothing in it depends on when or where it was made."""

    stage: str
    key: str
    counts: Counts
    options: dict[str, Any] = {}
    shards: list[Shard] = []


def records_of(shard: str) -> str:
    """Return where the records of a shard lie."""
    return f"{shard.removesuffix('.tar')}{RECORDS}"


def read_options(storage: Storage) -> Options | None:
    """Return what a dataset is made with; None where it was not begun. Raises OSError."""
    try:
        return msgspec.json.decode(storage.read(SHARDS_OPTIONS), type=Options)
    except FileNotFoundError:
        return None
    except NOT_JSON:
        raise UsageError(f"{storage.address}/{SHARDS_OPTIONS} cannot be read: delete it, and use --overwrite") from None


def read_receipts(storage: Storage, shards: Sequence[str]) -> Iterator[Receipt | None]:
    """Yield the receipt of each shard, in their order; None where there is none, or what is there is none. Raises OSError.

    Many are read at once, and no more are held.
    """

    def read(shard: str) -> Receipt | None:
        try:
            return msgspec.json.decode(storage.read(receipt(shard)), type=Receipt)
        except (FileNotFoundError, *NOT_JSON):
            return None

    with ThreadPoolExecutor(_AT_ONCE) as readers:
        for start in range(0, len(shards), _HELD):
            yield from readers.map(read, shards[start : start + _HELD])


def shard_of(file: str) -> str | None:
    """Return the shard whose receipt a file is; None where it is none."""
    inside = f"{SHARDS_STATE}/"
    return file[len(inside) : -len(".json")] if file.startswith(inside) and file.endswith(".tar.json") else None


def is_whole(held: Receipt, shard: str, files: Mapping[str, Blob]) -> bool:
    """Tell whether both files of a shard are there as they were written, as far as size and etag tell."""
    for name, output in ((shard, held.tar), (records_of(shard), held.records)):
        blob = files.get(name)
        if blob is None or blob.size != output.size or output.etag not in (None, blob.etag):
            return False
    return True


def read_sharded(storage: Storage) -> Sharded:
    """Return what a finished dataset in shards is.

    Raises
    ------
    UsageError
        It is none, or not finished.
    """
    try:
        return msgspec.json.decode(storage.read(SHARDS), type=Sharded)
    except FileNotFoundError:
        begun = read_options(storage) is not None
        raise UsageError(
            f"{storage.address} was not finished: run the command that writes it again, it goes on from there"
            if begun
            else f"{storage.address} has no {SHARDS}: name a place where datakit wrote shards"
        ) from None
    except NOT_JSON as error:
        raise UsageError(f"{storage.address}/{SHARDS} cannot be read: {error}") from None
