"""Make the folder of a view: hard links to pictures and their companions, captions, listings, and its own manifest."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import msgspec
from filelock import FileLock

from datakit.caption.captions import decode_caption
from datakit.dataset.fingerprints import hash_file
from datakit.dataset.layout import STATE_FOLDER, VIEW, VIEWS_LOCK, VIEWS_TEMPORARY
from datakit.dataset.links import place
from datakit.dataset.manifest import MANIFEST, to_line, write_atomically
from datakit.dataset.samples import PICTURE_EXTENSIONS, caption_of
from datakit.errors import SampleError, UsageError
from datakit.report import few
from datakit.trainers.view import Link, Made, View, beside_of, read_made


def make_view(view: View) -> bool:
    """Make the folder of a view, whole or not at all; one that is there already is completed. Return whether it is new.

    Raises
    ------
    UsageError
        The folder is somebody else's, holds pictures that are not the view's or files that were changed, or a file cannot be read
        or written.
    """
    root = view.folder.parent
    try:
        (root / STATE_FOLDER).mkdir(parents=True, exist_ok=True)
        with FileLock(root / VIEWS_LOCK):
            temporary = root / VIEWS_TEMPORARY
            shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
            new = not view.folder.exists()
            if new:
                _fill(view, temporary)
                os.rename(temporary, view.folder)
            else:
                _refuse_strange(view)
                _fill(view, view.folder)
    except OSError as error:
        raise UsageError(f"{view.folder} cannot be made: {error.strerror or error}") from error
    return new


def _refuse_strange(view: View) -> None:
    made = read_made(view.folder)
    if made is None or made.trainer != view.trainer:
        raise UsageError(
            f"{view.folder} is no view that datakit made for {view.trainer}: move it away, or name another --cache-root"
        )
    expected = {link.name for link in view.links}
    expected |= {each.output for link in view.links for each in beside_of(link, view.beside)}
    strange = [
        name
        for name in sorted(os.listdir(view.folder))
        if name.lower().endswith(tuple(PICTURE_EXTENSIONS)) and name not in expected
    ]
    if strange:
        raise UsageError(f"{view.folder} holds pictures that are not of the dataset: {few(strange)}: move them out")


def _fill(view: View, folder: Path) -> None:
    """Make what is missing in a folder."""
    temporary = folder / STATE_FOLDER / "new"
    temporary.parent.mkdir(parents=True, exist_ok=True)
    captioned, records = [], []
    for link in view.links:
        _place(link.dataset / link.record.output, folder / link.name, link.record.output_sha256, temporary)
        beside, known = beside_of(link, view.beside), {each.name: each for each in link.record.companions}
        for each in beside:
            _place(link.dataset / known[each.name].output, folder / each.output, each.sha256, temporary)
        written, lines = _caption(link, view.empty)
        captioned.append((link, lines))
        name = caption_of(link.name)
        if written is not None:
            _write(folder / name, written)
        records.append(
            msgspec.structs.replace(
                link.record,
                output=link.name,
                caption=None if written is None else name,
                caption_sha256=None if written is None else hashlib.sha256(written).hexdigest(),
                captions=len(lines),
                caption_edited=False,
                companions=tuple(beside),
            )
        )
    for name, content in (view.listing(captioned) if view.listing else {}).items():
        write_atomically(folder / name, content)
    write_atomically(folder / MANIFEST, [to_line(record) for record in records])
    made = read_made(folder)
    # Copies of a dataset that have its name share its view.
    datasets = {**(made.datasets if made else {}), **view.datasets}
    write_atomically(folder / VIEW, msgspec.json.encode(Made(view.trainer, datasets), order="sorted") + b"\n")


def _place(file: Path, target: Path, sha256: str, temporary: Path) -> None:
    real = os.path.realpath(file)
    if target.exists():
        if not os.path.samefile(real, target) and hash_file(target) != sha256:
            raise _changed(target)
        return
    try:
        place(real, os.fspath(target), "auto", os.fspath(temporary))
    except SampleError as error:
        raise UsageError(f"{file}: {error}") from error


def _write(path: Path, content: bytes) -> None:
    try:
        if path.read_bytes() != content:
            raise _changed(path)
    except FileNotFoundError:
        write_atomically(path, content)


def _changed(path: Path) -> UsageError:
    return UsageError(
        f"{path} is not as datakit made it: change the dataset instead, and move this file away to have it made anew"
    )


def _caption(link: Link, empty: bytes) -> tuple[bytes | None, tuple[str, ...]]:
    """Return what is written as the caption of a link, and the captions in it."""
    name = link.record.caption
    if name is None:
        return None, ()
    data = (link.dataset / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != link.record.caption_sha256:
        raise UsageError(f"{link.dataset / name} was changed just now: run the command again")
    lines = decode_caption(data, name).lines
    if link.line is not None:
        lines = lines[link.line : link.line + 1]
        data = "".join(lines).encode()
    return (data if lines else empty), lines
