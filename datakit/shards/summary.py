"""What a dataset in shards holds and whether it is whole, from its records alone: no picture is read."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datakit.audit.concept import Concept, concept_of, read_concept
from datakit.dataset.layout import SHARDS
from datakit.dataset.manifest import MANIFEST
from datakit.errors import DatakitError, ShardError
from datakit.run.stage import Progress, silent
from datakit.shards.patterns import SUFFIX
from datakit.shards.receipts import Counts, Shard, read_sharded, records_of
from datakit.shards.records import check_installed
from datakit.shards.storage import Blob, Storage, address_of, open_storage
from datakit.shards.unpack import read_samples

# Half of a sha256 tells any number of pictures apart.
_KEY = 16
# So many pictures with a cut face are named, the worst first.
_NAMED = 1000


@dataclass(slots=True)
class Inspection:
    """What was found in one or more datasets in shards.

    Attributes
    ----------
    counts
        Of all pictures.
    shards
        How many there are.
    faults
        (shard, what is wrong with it).
    faces_cut
        (picture, share of its largest face that is kept) of the worst, as shard and name.
    duplicates
        Pictures of the same bytes, as shards and names.
    """

    counts: Counts = field(default_factory=Counts)
    shards: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)
    faces_cut: list[tuple[str, float]] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 where there is nothing to report, else 1."""
        return 1 if self.faults or self.duplicates or self.faces_cut or self.counts.refused or self.counts.failed else 0


def is_sharded(folder: Path) -> bool:
    """Tell whether a dataset lies in shards: in object storage, or in a folder that says so."""
    return address_of(folder) != os.fspath(folder) or ((folder / SHARDS).is_file() and not (folder / MANIFEST).is_file())


def concept_at(folder: Path, name: str | None = None, repeats: int | None = None) -> Concept:
    """Read a dataset, in shards or in a folder, as one that is trained. Raises as `datakit.audit.concept.read_concept`, and OSError."""
    if not is_sharded(folder):
        return read_concept(folder, name, repeats)
    check_installed("a dataset in shards")
    storage = open_storage(address_of(folder))
    storage.check()
    whole = read_sharded(storage)
    records = [sample.record for shard in whole.shards for sample in read_samples(storage, shard)[0]]
    return concept_of(records, folder, name, repeats, whole.stage)


def inspect(folders: Sequence[Path], *, verify: bool = False, progress: Progress = silent) -> Inspection:
    """Look at datasets in shards: are all files there, what is in them, which pictures are the same.

    Parameters
    ----------
    folders
        Where they lie.
    verify
        Hash every tar, which reads all of it.
    progress
        Shows how far it is.

    Raises
    ------
    UsageError
        There is no finished dataset in shards.
    """
    check_installed("a dataset in shards")
    found = Inspection()
    keys, names = bytearray(), _Names()
    for folder in folders:
        storage = open_storage(address_of(folder))
        storage.check()
        whole = read_sharded(storage)
        found.counts.add(whole.counts)
        found.shards += len(whole.shards)
        files = {blob.name: blob for blob in storage.listing()}
        known = {shard.name for shard in whole.shards}
        found.faults += [
            (f"{storage.address}/{name}", f"no part of the dataset: {SHARDS} does not name it")
            for name in sorted(files)
            if name.endswith(SUFFIX) and name not in known
        ]
        for shard in progress(whole.shards, len(whole.shards), "check"):
            place = f"{storage.address}/{shard.name}"
            found.faults += [(place, fault) for fault in _faults(storage, shard, files, verify=verify)]
            try:
                table = _columns(storage, shard)
            except (DatakitError, OSError) as error:
                found.faults.append((place, str(error)))
                continue
            found.faces_cut += _faces_cut(table, shard.name)
            _add_keys(table, keys, names, shard.name)
        found.faces_cut = sorted(found.faces_cut, key=lambda cut: (cut[1], cut[0]))[:_NAMED]
    found.duplicates = [[names[number] for number in group] for group in _same(bytes(keys))]
    return found


class _Names:
    """What the pictures of all shards are called, by number; names are held a shard at a time, as Arrow holds them."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._columns: list[tuple[str, Any]] = []
        self._number = 0

    def add(self, shard: str, column: Any) -> None:
        self._starts.append(self._number)
        self._columns.append((shard, column))
        self._number += len(column)

    def __getitem__(self, number: int) -> str:
        place = bisect_right(self._starts, number) - 1
        shard, column = self._columns[place]
        return f"{shard}/{column[number - self._starts[place]].as_py()}"


def _faults(storage: Storage, shard: Shard, files: dict[str, Blob], *, verify: bool) -> Iterator[str]:
    """Yield what is wrong with the two files of a shard, by their sizes or, to ``verify``, by their bytes."""
    for name, output in ((shard.name, shard.tar), (records_of(shard.name), shard.records)):
        blob = files.get(name)
        if blob is None:
            yield f"{name} is gone: run the command that writes it again"
        elif blob.size != output.size:
            yield f"{name} has {blob.size} bytes, not the {output.size} that were written: run the command that writes it again"
        elif verify:
            with storage.open(blob) as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() != output.sha256:
                    yield f"{name} is not as it was written (sha256 differs): run the command that writes it again with --verify"


def _columns(storage: Storage, shard: Shard) -> Any:
    """Return the rows of the pictures of a shard, as far as they are looked at."""
    import pyarrow as pa
    from pyarrow import compute, parquet

    data = pa.BufferReader(storage.read(records_of(shard.name)))
    try:
        table = parquet.read_table(data, columns=["output", "output_sha256", "copy", "faces", "problem"])
    except (pa.ArrowException, ValueError) as error:
        raise ShardError(f"its records cannot be read: {error}") from None
    return table.filter(compute.is_null(table["problem"]))


def _faces_cut(table: Any, shard: str) -> list[tuple[str, float]]:
    rows = zip(table["output"].to_pylist(), table["faces"].to_pylist(), table["copy"].to_pylist(), strict=True)
    return [
        (f"{shard}/{output}", faces[0]["kept"])
        for output, faces, copy in rows
        if faces and faces[0]["kept"] < 1 and copy in (None, 1)
    ]


def _add_keys(table: Any, keys: bytearray, names: _Names, shard: str) -> None:
    """Add what tells the pictures of a shard apart; copies of one picture are meant to be the same."""
    import pyarrow.compute as pc

    first = table.filter(pc.or_kleene(pc.is_null(table["copy"]), pc.equal(table["copy"], 1)))
    for digest in first["output_sha256"].to_pylist():
        keys += digest[:_KEY]
    names.add(shard, first["output"].combine_chunks())


def _same(keys: bytes) -> list[list[int]]:
    """Return the numbers of keys that are equal, in order; 20 million are sorted in seconds."""
    import numpy as np

    halves = np.frombuffer(keys, dtype=np.uint64).reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    equal = np.all(halves[order][1:] == halves[order][:-1], axis=1)
    groups: list[list[int]] = []
    for place in np.flatnonzero(equal):
        if groups and groups[-1][-1] == order[place]:
            groups[-1].append(int(order[place + 1]))
        else:
            groups.append([int(order[place]), int(order[place + 1])])
    return sorted(sorted(group) for group in groups)
