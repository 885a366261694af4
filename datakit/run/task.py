"""One output of a stage: what is to be made, and what was made."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any

from datakit.dataset.manifest import Record
from datakit.dataset.samples import Sample
from datakit.dataset.targets import Crop, target_of
from datakit.report import LeftOut, Problem
from datakit.run.executors import Crash


@dataclass(frozen=True, slots=True)
class Task:
    """One output to make.

    Attributes
    ----------
    sample
        What it is made from.
    output, caption_output
        What will be written, relative to the dataset; the caption only where there is one.
    key
        Short hash of the options that decide the bytes.
    detail
        What the stage's function needs beyond this; picklable.
    light
        True where making it takes less than sending it to a worker would.
    crop
        Which of several crops of the sample it is; None where one is made.
    """

    sample: Sample
    output: str
    caption_output: str | None
    key: str
    detail: Any = None
    light: bool = False
    crop: Crop | None = None

    @property
    def source(self) -> str:
        """The sample's id."""
        return self.sample.id

    @property
    def target(self) -> str:
        """The sample and which crop of it, as decisions and messages name it."""
        return target_of(self.sample.id, self.crop)


@dataclass(frozen=True, slots=True)
class NotWanted:
    """What stands in for a crop that is not made of a picture: that is no fault, and the reason is kept with its other crops."""

    why: LeftOut


@dataclass(frozen=True, slots=True)
class Made:
    """What was made of a task.

    Attributes
    ----------
    record, text
        The record, and the caption's text; None where it has none.
    files
        Finished files as (temporary path, sha256), in the order of the record's; a path of None leaves the file as it is, and
        so does one that is left out at the end.
    link
        A name for `datakit.dataset.links.place`: the picture and its companions are the source's, to be linked.
    replaces
        The sha256 of the caption edited in the dataset that its caption replaces; any other is left as it is.
    stamp
        What `datakit.dataset.source.Source.learn` takes of the source's picture.
    """

    record: Record
    text: str | None
    files: tuple[tuple[str | None, str], ...]
    link: str | None = None
    replaces: str | None = None
    stamp: tuple[int, int] | None = None


def as_problem(source: str, result: Problem | Crash) -> Problem:
    """Return why nothing was made of a sample, whether its function said so or did not end well."""
    return result if isinstance(result, Problem) else Problem(source, result.reason, "crashed")


def not_written(source: str, error: OSError) -> Problem:
    """Return what a disk that is full, or a folder that cannot be written to, costs a sample."""
    return Problem(source, f"cannot be written: {error.strerror or error}", "not-written")


def write_temporary(folder: str | os.PathLike[str], output: str, content: bytes) -> str:
    """Write an output's bytes to a folder under a name of its own and return the path."""
    # Named by the output: two outputs with the same bytes may be on their way at once.
    path = f"{os.fspath(folder)}{os.sep}{hashlib.sha256(output.encode('utf-8', 'surrogatepass')).hexdigest()}"
    # Without a file object, which takes longer to make than a caption to write.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    try:
        while content:
            content = content[os.write(file, content) :]
    finally:
        os.close(file)
    return path
