"""Captions out of a folder into a table that people edit, and back into a dataset as what they decided."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datakit.caption.captions import Caption, decode_caption, read_caption
from datakit.caption.encodings import is_utf8
from datakit.caption.foreign import Table, read_table
from datakit.caption.lines import join_lines
from datakit.dataset.captioned import agreed_encoding
from datakit.dataset.decisions import add_captions, read_decisions
from datakit.dataset.manifest import Record, read_manifest
from datakit.dataset.origin import read_origin
from datakit.dataset.samples import Sample, caption_name, caption_of
from datakit.dataset.source import Source, open_source, read_caption_of
from datakit.errors import CaptionError, SampleError, UsageError
from datakit.report import counted, few

FORMATS = ("csv", "jsonl", "txt")


@dataclass(slots=True)
class Exchanged:
    """What went out or came in.

    Attributes
    ----------
    captions
        Texts by the picture's name, lines joined by line feeds; empty where a picture has none.
    changed
        Pictures whose caption is another now.
    unknown
        Names for which there is no picture.
    problems
        (name, reason) of captions that could not be used.
    notes
        Where captions were found.
    """

    captions: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def export_captions(folder: str | os.PathLike[str]) -> Exchanged:
    """Read the captions of all pictures of a folder or a dataset. Raises UsageError where there are no pictures."""
    return _read(open_source(folder), None, joined=False)[0]


def written(captions: Mapping[str, str], kind: str, target: Path) -> list[tuple[Path, bytes]]:
    """Return the files of an export: one table of all pictures, or with ``txt`` a file for each caption in its picture's folder."""
    if kind == "txt":
        return [(target / caption_of(name), text.encode()) for name, text in captions.items() if text]
    if kind == "jsonl":
        rows = (json.dumps({"file_name": name, "text": text}, ensure_ascii=False) for name, text in captions.items())
        return [(target, "".join(f"{row}\n" for row in rows).encode())]
    table = io.StringIO(newline="")
    rows_out = csv.writer(table, lineterminator="\n")
    rows_out.writerow(("file_name", "text"))
    rows_out.writerows(captions.items())
    # With the mark, or spreadsheets take it for their own country's encoding.
    return [(target, table.getvalue().encode("utf-8-sig"))]


def import_captions(
    origin: Path, dataset: Path, *, joined: bool = False, encoding: str | None = None, dry_run: bool = False
) -> Exchanged:
    """Take captions into a dataset as decisions, which the next crop writes; nothing else is changed.

    Parameters
    ----------
    origin
        A table (.csv, .jsonl, .json, .parquet) or a folder with captions in whatever form crop reads.
    dataset
        What `datakit crop` wrote.
    joined
        Make one caption of the lines of a file that are tags, or that are wrapped.
    encoding
        Of captions that are not UTF-8, where it cannot be told.
    dry_run
        Only say what would change.

    Raises
    ------
    UsageError
        The dataset is not one of crop's, or the table cannot be read.
    PlanError
        A line of its manifest or its decisions cannot be used.
    """
    made_by = read_origin(dataset)
    if made_by is None or made_by.stage != "crop":
        raise UsageError(f"{dataset} was not written by datakit crop: import into the dataset that it was made from")
    records = list(read_manifest(dataset))
    if origin.is_dir():
        exchanged, samples = _read(open_source(origin), encoding, joined=joined)
        refused = {sample.id for sample in samples if encoding} - {record.source for record in records}
        texts = exchanged.captions
        wanted = {record.target: texts.get(record.source) or texts.get(record.output) for record in records}
        wanted |= {source: texts[source] for source in refused & texts.keys()}
    else:
        exchanged = Exchanged()
        table = _table(origin)
        wanted = _of_table(table, records, exchanged, joined=joined)
    before = {record.target: _now(dataset, record) for record in records}
    decided = {source: decision.caption for source, decision in read_decisions(dataset).items() if decision.caption is not None}
    now = before | decided
    new = {source: (text, before.get(source)) for source, text in wanted.items() if text and text != now.get(source)}
    for source in [source for source, (text, _) in new.items() if _is_lossy(now.get(source) or "", text)]:
        del new[source]
        exchanged.problems.append(
            (source, "holds ? where its caption has other signs: save the table as UTF-8, and import it again")
        )
    if dry_run:
        exchanged.changed = sorted(new)
        return exchanged
    exchanged.changed = sorted(add_captions(dataset, new))
    return exchanged


def _read(source: Source, encoding: str | None, *, joined: bool) -> tuple[Exchanged, tuple[Sample, ...]]:
    """Read all captions of a source."""
    found = source.find()
    exchanged = Exchanged(notes=list(found.captions))
    agreed = encoding or agreed_encoding(found.samples, source)
    for sample in found.samples:
        try:
            data = read_caption_of(sample, source)
            caption = Caption((), None) if data is None else _decoded(data, sample, agreed)
        except SampleError as error:
            exchanged.problems.append((sample.id, str(error)))
            continue
        exchanged.captions[sample.id] = "\n".join(join_lines(caption.lines) if joined else caption.lines)
    return exchanged, found.samples


def _decoded(data: bytes, sample: Sample, agreed: str | None) -> Caption:
    return decode_caption(data, caption_name(sample.caption_id or ""), None if is_utf8(data) else agreed)


def _table(path: Path) -> Table:
    try:
        table = read_table(path.read_bytes(), path.name)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except CaptionError as error:
        raise UsageError(str(error)) from None
    if not table.captions:
        raise UsageError(f"{path} holds no captions: give columns or keys file_name and text")
    return table


def _of_table(table: Table, records: Iterable[Record], exchanged: Exchanged, *, joined: bool) -> dict[str, str | None]:
    """Return the caption of each source in a table; what belongs to no picture, or is no caption, is noted."""
    wanted: dict[str, str | None] = {}
    used: set[str] = set()
    for record in records:
        entry = table.entry_of(record.output) or table.entry_of(record.source)
        if entry is None:
            continue
        used.add(entry)
        try:
            lines = decode_caption(table.captions[entry].encode(), entry).lines
        except (CaptionError, UnicodeEncodeError) as error:
            exchanged.problems.append((entry, str(error)))
            continue
        wanted[record.target] = "\n".join(join_lines(lines) if joined else lines)
    exchanged.unknown = sorted(table.captions.keys() - used)
    emptied = Table(dict.fromkeys(table.empty, ""))
    kept = [one.source for one in records if one.captions and (emptied.entry_of(one.output) or emptied.entry_of(one.source))]
    if kept:
        exchanged.notes.append(
            f"no caption is taken away: {counted(len(kept), 'empty one')} in the table left alone: {few(kept)}"
        )
    return wanted


def _is_lossy(before: str, text: str) -> bool:
    """Tell whether a text is what a program made of another one by writing ? for the signs that its encoding does not have."""
    if before.isascii() or text == before or "?" not in text:
        return False
    signs = "".join(re.escape(sign) if sign.isascii() else rf"(?:{re.escape(sign)}|\?{{1,2}})" for sign in before)
    return re.fullmatch(signs, text) is not None


def _now(dataset: Path, record: Record) -> str | None:
    try:
        return read_caption(dataset / record.caption).text if record.caption else None
    except CaptionError:
        return None
