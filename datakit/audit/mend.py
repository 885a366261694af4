"""Mend the captions of a dataset that datakit made; the source is never touched."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from datakit.audit.checks import caption_fault
from datakit.audit.concept import untitled
from datakit.caption.captions import decode_caption
from datakit.dataset.layout import VIEW
from datakit.dataset.manifest import MANIFEST, Record, read_manifest, to_line, write_atomically
from datakit.dataset.metadata import METADATA, metadata_rows, read_metadata, write_card
from datakit.dataset.samples import caption_of
from datakit.dataset.store import Store, is_interrupted
from datakit.errors import CaptionError, UsageError
from datakit.report import of_picture


@dataclass(slots=True)
class Mended:
    """What `mend_captions` did.

    Attributes
    ----------
    cleaned
        Caption files rewritten without marks, carriage returns and blank edges, in UTF-8.
    adopted
        Caption files whose text somebody changed; the manifest now knows them.
    left
        (file, reason) of those that cannot be mended.
    """

    cleaned: list[str] = field(default_factory=list)
    adopted: list[str] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)


def mend_captions(folder: Path) -> Mended:
    """Rewrite unclean captions and take edited ones into the manifest.

    Captions are written first and the manifest last, each in one step: after an interruption a second run
    finishes the work. Pictures are not touched.

    Raises
    ------
    UsageError
        The dataset cannot be written to, or a run on it was interrupted.
    DatasetBusyError
        Another run holds it.
    """
    mended = Mended()
    if not (folder / MANIFEST).is_file():
        raise UsageError(f"{folder} has no {MANIFEST}: only a dataset that datakit wrote is mended, never a source")
    if (folder / VIEW).is_file():
        raise UsageError(f"{folder} is a view of a dataset: mend the dataset, and run `datakit backend` again")
    with Store(folder) as store:  # its lock keeps other runs away, and it clears unfinished files away
        if is_interrupted(folder):
            raise UsageError(f"{folder} holds the rest of an interrupted run: run the stage that wrote it again first")
        records, texts = [], {}
        for record in read_manifest(folder):
            if store.leads_out(record.output):
                mended.left.append((record.output, "lies behind a link that leads out of the dataset"))
                records.append(record)
                continue
            changed, text = _mend(folder, record, mended)
            records.append(changed)
            if changed is not record and text is not None:
                texts[changed.output] = text
        if any(record.output in texts for record in records):
            write_atomically(folder / METADATA, list(_metadata(folder, records, texts)))
            write_card(folder)
            write_atomically(folder / MANIFEST, map(to_line, records))
    return mended


def _mend(folder: Path, record: Record, mended: Mended) -> tuple[Record, str | None]:
    """Return the record of a caption as it now is, and its text; the same record where nothing changed."""
    name = record.caption or caption_of(record.output)
    path = folder / name
    if not path.exists():
        mended.left.append((name, "there is no such file: write it"))
        return record, None
    data = path.read_bytes()
    try:
        caption = decode_caption(data, name)
    except CaptionError as error:
        mended.left.append((name, str(error)))
        return record, None
    if not data and untitled(record) and record.caption_sha256 == hashlib.sha256(data).hexdigest():
        return record, None
    if not caption.lines:
        mended.left.append((name, "holds no text: write a caption into it"))
        return record, None
    clean = data if caption_fault(data, name) is None else caption.text.encode()
    if clean != data:
        write_atomically(path, clean)
        mended.cleaned.append(name)
    sha256 = hashlib.sha256(clean).hexdigest()
    if sha256 == record.caption_sha256:
        return record, None
    if clean == data:
        mended.adopted.append(name)
    warnings = (*of_picture(record.warnings), *decode_caption(clean, name).warnings)
    return msgspec.structs.replace(
        record,
        caption=name,
        caption_sha256=sha256,
        captions=len(caption.lines),
        caption_edited=True,
        caption_supplied=None,
        warnings=warnings,
    ), caption.text


def _metadata(folder: Path, records: Iterable[Record], texts: dict[str, str]) -> Iterable[bytes]:
    """Yield the rows of the metadata with the new texts."""
    before = read_metadata(folder)
    for record in records:
        if record.output in texts:
            yield metadata_rows(record.output, texts[record.output])
        elif record.output in before:
            yield before[record.output]
