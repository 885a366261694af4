"""Have a server make pictures one by one: what was made is kept, what was begun is awaited, and nothing is made twice."""

from __future__ import annotations

import hashlib
import io
import os
import time
import uuid
from contextlib import suppress
from functools import cached_property
from itertools import count
from pathlib import Path

import msgspec

from datakit.dataset.layout import CELLS
from datakit.dataset.manifest import NOT_JSON, write_atomically
from datakit.errors import NodeError, ServerError
from datakit.trained.comfy.grid import Cell, with_prefix
from datakit.trained.comfy.server import Image, Server
from datakit.trained.comfy.watching import Watch, await_job

# A job's name follows from what it makes, so that a run that was killed finds its own job again. ComfyUI from 0.38 on takes
# no other names than UUIDs.
_JOBS = uuid.UUID("6a0b5a1c-3d5e-5b43-9d0f-6f2f2c7a9a11")
# So often in a row a job may end well without a picture.
_EMPTY_AT_MOST = 5


class Made(msgspec.Struct, frozen=True):
    """How a picture was made: a line of ``cells.jsonl``.

    Attributes
    ----------
    key
        Of everything that decided about its pixels.
    path
        Relative to the folder.
    sha256
        Of the file.
    seconds
        From when the job was sent until the picture was there.
    version
        Of ComfyUI.
    lora
        The name that the server knows it by, and its sha256 where that is known.
    lora_sha256
        See ``lora``.
    """

    key: str
    path: str
    sha256: str
    seconds: float
    version: str
    lora: str | None = None
    lora_sha256: str = ""


class Pictures:
    """The pictures in a folder, and the server that makes those that are missing."""

    def __init__(self, out: Path, server: Server, save: str, watch: Watch = Watch()) -> None:
        self.out = out
        self.made = 0
        self._server, self._save, self._watch = server, save, watch
        self._version = server.version()

    @cached_property
    def _records(self) -> dict[str, Made]:
        """What was made before; read when first asked for, which is when no other run writes here any more."""
        return read_made(self.out)

    def is_there(self, cell: Cell) -> bool:
        """Tell whether the picture of a cell was made before and its bytes are still those."""
        return self._content(cell) is not None

    def kept(self, cell: Cell) -> Path | None:
        """Return the picture of a cell if it is there, put where the cell has it by now; None where it has to be made."""
        found = self._content(cell)
        if found is None:
            return None
        path, content = found
        wanted = self._free(cell, path.suffix)
        if not wanted.exists():
            write_atomically(wanted, content)
        return wanted

    def _content(self, cell: Cell) -> tuple[Path, bytes] | None:
        record = self._records.get(cell.key)
        if record is None:
            return None
        path = self.out / record.path
        with suppress(OSError):
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == record.sha256:
                return path, content
        return None

    def make(self, cell: Cell) -> Path:
        """Have the picture of a cell made, and return it.

        Raises
        ------
        NodeError
            A node refused, failed, or took too long.
        ServerError
            The server is gone, or answers otherwise than ComfyUI.
        """
        started = time.monotonic()
        for attempt in count():
            job = str(uuid.uuid5(_JOBS, f"{cell.key} {attempt}"))
            state = self._server.state(job)
            if state.word == "failed":
                continue  # of an earlier run
            graph = with_prefix(cell.graph, self._save, f"datakit/{cell.key[:16]}{f'-{attempt}' if attempt else ''}")
            if state.word != "done":
                state = await_job(self._server, job, graph, self._watch)
            if state.word == "failed":
                raise NodeError(state.why)
            image = next(iter(state.images.get(self._save) or next(iter(state.images.values()), ())), None)
            content = self._server.picture(image) if image else None
            if image is None or content is None:
                if attempt > _EMPTY_AT_MOST:
                    raise ServerError(f"job {job} ended well and left no picture")
                continue  # the file was deleted on the server: only the node that saves it runs again
            return self._store(cell, image, content, time.monotonic() - started)
        raise AssertionError  # attempts do not end

    def _store(self, cell: Cell, image: Image, content: bytes, seconds: float) -> Path:
        """Write a picture and its record."""
        from PIL import Image as Pillow

        try:
            with Pillow.open(io.BytesIO(content)) as picture:
                picture.load()
        except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
            raise ServerError(f"{image.filename} came from the server as no whole picture: {error}") from None
        path = self._free(cell, os.path.splitext(image.filename)[1].lower() or ".png")
        write_atomically(path, content)
        self._note(
            Made(
                cell.key,
                path.relative_to(self.out).as_posix(),
                hashlib.sha256(content).hexdigest(),
                round(seconds, 2),
                self._version,
                cell.column.lora or cell.column.model,
                cell.column.sha256,
            )
        )
        self.made += 1
        return path

    def _note(self, made: Made) -> None:
        self._records[made.key] = made
        with (self.out / CELLS).open("ab") as file:
            file.write(b"\n" * _is_torn(file.name) + msgspec.json.encode(made) + b"\n")

    def _free(self, cell: Cell, suffix: str) -> Path:
        """Return where a picture goes: a picture of other values that lies there stays, for it cost time."""
        for number in count(1):
            path = self.out / "pictures" / f"{cell.stem}{f'~{number}' if number > 1 else ''}{suffix}"
            if not path.exists() or self._is_of(path, cell.key):
                return path
        raise AssertionError  # numbers do not end

    def _is_of(self, path: Path, key: str) -> bool:
        record = self._records.get(key)
        return record is not None and hashlib.sha256(path.read_bytes()).hexdigest() == record.sha256


def read_made(out: Path) -> dict[str, Made]:
    """Return how the pictures in a folder were made, by key; a line that a killed run did not finish is left out."""
    found: dict[str, Made] = {}
    try:
        lines = (out / CELLS).read_bytes().splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            made = msgspec.json.decode(line, type=Made)
        except NOT_JSON:
            continue
        if not Path(made.path).is_absolute() and ".." not in Path(made.path).parts:
            found[made.key] = made
    return found


def _is_torn(name: str) -> bool:
    """Tell whether a file ends in the middle of a line."""
    with open(name, "rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
