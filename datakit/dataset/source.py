"""The door of sources: where samples come from. A kind of source is a module and a line in `SOURCES`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from datakit.dataset.samples import caption_name
from datakit.errors import CaptionError, CompanionError, PictureError
from datakit.libraries import imported

if TYPE_CHECKING:
    from datakit.dataset.fingerprints import Fingerprints
    from datakit.dataset.samples import Found, Sample

# What makes a source of its address, by the address's scheme; one without a scheme is a folder.
SOURCES: Mapping[str, str] = {"folder": "datakit.dataset.captioned:CaptionedFolder"}
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://")


class Opened(NamedTuple):
    """What a source holds under one name, and what tells that it has not changed since: size and time, in nanoseconds."""

    data: bytes
    stamp: tuple[int, int]


class Source(Protocol):
    """Where samples come from: lists them, opens one as bytes, tells what it holds. It is only read, and sent to workers."""

    @property
    def address(self) -> str:
        """What it is called in reports and messages."""
        ...

    @property
    def identity(self) -> str:
        """What it is called from anywhere: datasets remember it as their origin."""
        ...

    def find(self) -> Found:
        """List the samples. Raises NoPicturesError where there are none, UsageError where it cannot be read."""
        ...

    def read(self, name: str) -> Opened:
        """Return what is there under a name that `find` gave. Raises OSError."""
        ...

    def content_id(self, name: str, seen: Fingerprints | None = None) -> str | None:
        """Return the sha256 of what is there under a name, as far as possible from what was seen; None where it is gone."""
        ...

    def learn(self, name: str, stamp: tuple[int, int], sha256: str, seen: Fingerprints) -> None:
        """Have the sha256 remembered of what was read when it had this stamp."""
        ...

    def refuse_output(self, output: Path) -> None:
        """Make sure that a dataset written there leaves the source as it is. Raises UsageError."""
        ...


def read_picture_of(sample: Sample, source: Source) -> Opened:
    """Return a sample's picture as it lies in its source. Raises PictureError."""
    try:
        return source.read(sample.id)
    except OSError as error:
        raise PictureError(f"cannot be read: {error.strerror or error}") from error


def read_caption_of(sample: Sample, source: Source) -> bytes | None:
    """Return a sample's caption file as it lies in its source; None where it has none. Raises CaptionError."""
    if sample.caption_id is None:
        return None
    try:
        return source.read(sample.caption_id).data
    except OSError as error:
        raise CaptionError(f"caption {caption_name(sample.caption_id)} cannot be read: {error.strerror or error}") from error


def read_companions_of(sample: Sample, source: Source) -> dict[str, bytes]:
    """Return a sample's companions by name as they lie in their source. Raises CompanionError."""
    found = {}
    for name, identity in sample.companions:
        try:
            found[name] = source.read(identity).data
        except OSError as error:
            raise CompanionError(f"{name} {identity} cannot be read: {error.strerror or error}") from error
    return found


def open_source(address: str | os.PathLike[str]) -> Source:
    """Return the source of an address: a folder, or one whose scheme (``scheme://``) is in `SOURCES`.

    Raises
    ------
    UsageError
        The scheme is unknown.
    """
    scheme = _SCHEME.match(os.fspath(address))
    name = scheme[1] if scheme else "folder"
    source: Source = imported(SOURCES, f"source {os.fspath(address)}:", name)(address)
    return source
