"""The records of a shard as Parquet: the manifest's fields, where each picture lies in the tar, and what was not made.

A row is a sample. ``__key__``, ``offset`` and ``size`` (of the picture's file, in bytes of the tar) and ``text`` (its captions, one
a line) are null where it was not made; ``problem`` and ``reason`` are null where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from datakit.dataset.manifest import Record, parse_record
from datakit.errors import PlanError, ShardError
from datakit.geometry import Size
from datakit.libraries import extra
from datakit.report import Problem

_DIGESTS = ("source_sha256", "output_sha256", "caption_sha256", "source_caption_sha256")
# Fields whose own names differ from row to row, as JSON.
_OPEN = ("augmentation", "left_out")
# What is alike in many rows of a shard, and is written once.
_REPEATED = ["problem", "bucket", "sizes", "key", "version", "source_size", "anchor", "why", "captions", "copy", "crop"]


@dataclass(frozen=True, slots=True)
class Stored:
    """One sample of a shard.

    Attributes
    ----------
    record
        How it was made.
    key
        What its members are called in the tar before the first dot.
    text
        Its captions, one a line; None where it has none.
    offset, size
        Where the picture's file begins in the tar, and how long it is, in bytes.
    """

    record: Record
    key: str
    text: str | None
    offset: int
    size: int


def check_installed(what: str) -> None:
    """Make sure that Parquet can be read and written. Raises MissingLibraryError; ``what`` opens the message."""
    extra("pyarrow.parquet", "parquet", what)


def encoded(samples: Sequence[Stored], problems: Sequence[Problem]) -> bytes:
    """Return the records of a shard as a Parquet file; the same rows give the same bytes with one release of pyarrow."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = [_row(sample) for sample in samples] + [_problem_row(problem) for problem in problems]
    sink = pa.BufferOutputStream()
    parquet.write_table(
        pa.Table.from_pylist(rows, schema=_schema()),
        sink,
        compression="zstd",
        use_dictionary=_REPEATED,
        write_statistics=False,
        store_schema=False,
    )
    return sink.getvalue().to_pybytes()


def decoded(data: bytes, name: str) -> tuple[list[Stored], list[Problem]]:
    """Read the records of a shard; ``name`` is what messages call the file.

    Raises
    ------
    ShardError
        It is no such file, or a row of it cannot be used.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        rows = parquet.read_table(pa.BufferReader(data)).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ShardError(f"{name} is no Parquet file that can be read: {error}") from None
    samples, problems = [], []
    for number, row in enumerate(rows, 1):
        try:
            if row.get("problem") is None:
                samples.append(_sample(row, f"{name}, row {number}"))
            else:
                problems.append(_problem(row))
        except (PlanError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ShardError(f"{name}, row {number} is no record of datakit: {error}") from None
    return samples, problems


def _schema() -> Any:
    import pyarrow as pa

    integers, text, digest, number = pa.list_(pa.int32()), pa.string(), pa.binary(32), pa.float64()
    face = pa.struct({"box": pa.list_(number), "score": number, "kept": number})
    return pa.schema(
        {
            "__key__": text,
            "offset": pa.int64(),
            "size": pa.int64(),
            "text": text,
            "problem": text,
            "reason": text,
            "upscale_needed": number,
            "output": text,
            "caption": pa.bool_(),
            "bucket": integers,
            "sizes": text,
            "source": text,
            **dict.fromkeys(_DIGESTS, digest),
            "key": text,
            "version": text,
            "source_size": integers,
            "box": integers,
            "anchor": text,
            "why": text,
            "faces": pa.list_(face),
            "saliency_kept": number,
            "area_kept": number,
            "scale": number,
            "copy": pa.int32(),
            "captions": pa.int32(),
            "caption_edited": pa.bool_(),
            "window_decided": text,
            "caption_decided": text,
            "caption_supplied": text,
            "augmentation": text,
            "moved_from": integers,
            "crop": text,
            "left_out": text,
            "warnings": pa.list_(pa.struct({"kind": text, "sentence": text})),
        }
    )


def _row(sample: Stored) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(sample.record)
    row |= {name: bytes.fromhex(row[name]) for name in _DIGESTS if name in row}
    row |= {name: msgspec.json.encode(row[name]).decode() for name in _OPEN if name in row}
    # Told, not left to a default that a later release may change.
    told = {"sizes": sample.record.sizes, "captions": sample.record.captions, "caption": sample.record.caption is not None}
    return row | told | {"__key__": sample.key, "offset": sample.offset, "size": sample.size, "text": sample.text}


def _sample(row: dict[str, Any], where: str) -> Stored:
    fields = {name: value for name, value in row.items() if value is not None and name in Record.__struct_fields__}
    fields |= {name: fields[name].hex() for name in _DIGESTS if name in fields}
    fields |= {name: msgspec.json.decode(fields[name]) for name in _OPEN if name in fields}
    if not fields.pop("caption"):
        del row["text"]
    else:
        fields["caption"] = f"{row['output'].rpartition('.')[0]}.txt"
    # As a line of a manifest: what is refused there is refused here.
    record = parse_record(msgspec.json.encode(fields), where)
    return Stored(record, row["__key__"], row.get("text"), row["offset"], row["size"])


def _problem_row(problem: Problem) -> dict[str, Any]:
    return {
        "source": problem.source,
        "problem": problem.kind,
        "reason": problem.reason,
        "upscale_needed": problem.upscale_needed,
        "source_size": problem.size,
    }


def _problem(row: dict[str, Any]) -> Problem:
    size = row["source_size"]
    return Problem(row["source"], row["reason"], row["problem"], row["upscale_needed"], Size(*size) if size else None)
