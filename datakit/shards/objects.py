"""Object storage (S3, Google Cloud, Azure) and, read only, the web as storages of shards, through obstore.

Reads are ranges of one version of an object; what is written is finished on this machine first and then put whole. Requests are
tried again for minutes, not a number of times. Keys, endpoint and region come from the environment, as each provider's
own tools read it; AWS profiles, roles and tokens through boto3.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any

from datakit.errors import ShardError, StorageError, UsageError
from datakit.libraries import extra, to_install_extra
from datakit.shards.storage import Blob, scheme_of

# Read at once: 8 MB need four times as many requests, of which S3 answers about 5,500 a second for one prefix.
_PIECE = 32 << 20
# An outage is waited out for so long; below five minutes, in which a request's own signature stays valid.
_PATIENCE = timedelta(seconds=240)
# So long is the first word of a storage waited for, which a wrong address never gives.
_FIRST = timedelta(seconds=10)
_AT_ONCE = 32
# More objects than that are found by listing, of which one request tells a thousand.
_ASKED = 64
_STATUS = re.compile(r"status code: (\d+)")
# No more of a message that is not understood here.
_LONGEST = 400
_WEB = ("http", "https")
_RIGHTS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_REGION; AWS_ENDPOINT_URL where it is not Amazon's",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or a token",
}


class ObjectStorage:
    """A `datakit.shards.storage.Storage` whose names are objects below an address."""

    def __init__(self, address: str) -> None:
        self._obstore = extra("obstore", "s3", address)
        self.address = self.identity = address.rstrip("/")
        self._scheme = scheme_of(address) or ""
        self._store = self._opened(_PATIENCE)

    @property
    def workspace(self) -> Path:
        """A folder of this user in the system's place for temporary files (TMPDIR)."""
        return Path(tempfile.gettempdir()) / f"datakit-{os.getuid()}"

    def check(self) -> None:
        """Make sure that the storage answers. Raises StorageError."""
        store = self._opened(_FIRST)
        with self._named(""):
            if self._scheme not in _WEB:
                next(iter(self._obstore.list(store, chunk_size=1)), None)

    def listing(self) -> Iterator[Blob]:
        """Yield all objects."""
        if self._scheme in _WEB:
            raise UsageError(f"{self.address} cannot be listed: name the shards by braces, such as {{00000..00127}}.tar")
        with self._named(""):
            for found in self._obstore.list(self._store):
                yield from map(_blob, found)

    def heads(self, names: list[str]) -> Iterator[Blob]:
        """Yield those of some objects that are there."""
        if len(names) > _ASKED and self._scheme not in _WEB:
            yield from self._between(set(names))
            return

        def head(name: str) -> Blob | None:
            with suppress(FileNotFoundError), self._named(name):
                return _blob(self._obstore.head(self._store, name))._replace(name=name)
            return None

        with ThreadPoolExecutor(_AT_ONCE) as asking:
            yield from filter(None, asking.map(head, names))

    def _between(self, names: set[str]) -> Iterator[Blob]:
        """Yield those of many objects that are there by listing from the first of them, in the order of names, to the last."""
        first, last = min(names), max(names)
        yield from self.heads([first])
        with self._named(""):
            for found in self._obstore.list(self._store, offset=first):
                yield from (_blob(each) for each in found if each["path"] in names)
                if found and found[-1]["path"] >= last:
                    return

    def open(self, blob: Blob) -> BufferedReader:
        """Open an object, to be read in large pieces; once it is another than the blob, that is a ShardError."""
        return BufferedReader(_Ranges(self, blob), max(1, min(_PIECE, blob.size)))

    def read(self, name: str) -> bytes:
        """Return an object."""
        with self._named(name):
            return bytes(self._obstore.get(self._store, name).bytes())

    def piece(self, blob: Blob, start: int, end: int) -> bytes:
        """Return a range of an object that is still the one meant."""
        options: dict[str, Any] = {"range": (start, end)}
        if blob.etag.startswith(('"', "W/")):
            options["if_match"] = blob.etag
        try:
            with self._named(blob.name):
                return bytes(self._obstore.get(self._store, blob.name, options=options).bytes())
        except self._obstore.exceptions.PreconditionError:
            raise ShardError(f"{blob.name} changed since it was listed: run again when nothing writes to it") from None

    def put(self, name: str, file: Path, *, new: bool = False) -> str | None:
        """Put a finished file, and remove it here; what is to be new is put on condition that nothing is there."""
        if self._scheme in _WEB:
            raise UsageError(f"{self.address} can only be read: name another place to write to")
        if not (new and self._created(name, file)):
            with self._named(name):
                etag: str | None = self._obstore.put(self._store, name, file)["e_tag"]
        file.unlink()
        return None if new else etag

    def _created(self, name: str, file: Path) -> bool:
        """Put a file where none is; tell whether the storage knows such a condition, else nothing is done. Raises FileExistsError."""
        errors = self._obstore.exceptions
        try:
            self._obstore.put(self._opened(_FIRST), name, file, mode="create")
        except errors.AlreadyExistsError:
            raise FileExistsError(errno.EEXIST, "is there already", f"{self.address}/{name}") from None
        except errors.BaseError:
            return False
        return True

    def delete(self, name: str) -> None:
        """Delete an object, however often the connection is lost: S3 deletes by POST, which obstore does not send twice."""
        last = time.monotonic() + _PATIENCE.total_seconds()
        with suppress(FileNotFoundError), self._named(name):
            while True:
                try:
                    self._obstore.delete(self._store, name)
                    return
                except self._obstore.exceptions.GenericError as error:
                    if _STATUS.search(str(error)) or time.monotonic() > last:
                        raise
                time.sleep(1)

    def _opened(self, patience: timedelta) -> Any:
        options: dict[str, Any] = {
            "retry_config": {"max_retries": 1000, "retry_timeout": patience},
            "client_options": {"timeout": timedelta(minutes=5), "connect_timeout": timedelta(seconds=5)},
        }
        endpoint = next((value for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") if (value := os.environ.get(name))), "")
        if self._scheme == "http" or endpoint.startswith("http://"):
            options["client_options"]["allow_http"] = True
        if self._scheme == "s3":
            options |= {"endpoint": endpoint} if endpoint else {}
            options |= _signing(os.environ, self.address)
        with self._named(""):
            return self._obstore.store.from_url(self.address, **options)

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        """Turn what goes wrong into an OSError that says where, and what to set."""
        errors = self._obstore.exceptions
        try:
            yield
        except errors.PreconditionError:
            raise
        except (errors.BaseError, FileNotFoundError) as error:
            raise self._told(error, name) from None

    def _told(self, error: Exception, name: str) -> OSError:
        """Return an error that says in one sentence what an error of obstore means."""
        place, text = f"{self.address}/{name}".rstrip("/"), str(error)
        status = found[1] if (found := _STATUS.search(text)) else ""
        missing = isinstance(error, FileNotFoundError | self._obstore.exceptions.NotFoundError) or status == "404"
        if missing and name and "NoSuchBucket" not in text:
            return FileNotFoundError(errno.ENOENT, "is not there", place)
        if missing:
            return StorageError(f"{place} is not there: no such bucket, or not in this region")
        if status in ("401", "403"):
            return StorageError(
                f"{place}: no right to do that ({status}); what tells who you are is {_RIGHTS.get(self._scheme, 'the address')}"
            )
        if status == "301":
            return StorageError(f"{place} lies in another region: set AWS_REGION")
        lines = text.partition("<?xml")[0].partition("Debug source")[0].split()
        return StorageError(f"{place}: {' '.join(lines)[:_LONGEST]}")


class _Ranges(RawIOBase):
    """An object as a file that can be sought in."""

    def __init__(self, storage: ObjectStorage, blob: Blob) -> None:
        self._storage = storage
        self._blob = blob
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._blob.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._blob.size)
        if end <= self._at:
            return 0
        data = self._storage.piece(self._blob, self._at, end)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _blob(found: Mapping[str, Any]) -> Blob:
    etag = found["e_tag"] or f"{found['size']:x}-{found['last_modified']:%Y%m%dT%H%M%S}"
    return Blob(found["path"], found["size"], etag)


def _signing(environment: Mapping[str, str], address: str) -> dict[str, Any]:
    """Return how requests to S3 are signed: by the keys of the environment, else by what boto3 finds, else not at all.

    Without keys obstore asks an address that only machines of Amazon's answer, for as long as its patience lasts.
    """
    if environment.get("AWS_ACCESS_KEY_ID") or environment.get("AWS_SKIP_SIGNATURE"):
        return {}
    try:
        boto3 = extra("boto3", "s3", address)
    except ImportError:
        if environment.get("AWS_PROFILE"):
            raise UsageError(f"{address}: AWS_PROFILE is read by boto3: {to_install_extra('s3')}") from None
        return {"skip_signature": True}
    from botocore.exceptions import BotoCoreError

    try:
        session = boto3.Session()
        held = session.get_credentials()
    except BotoCoreError as error:
        raise UsageError(f"{address}: {error}") from None
    if held is None:
        return {"skip_signature": True} | ({"region": session.region_name} if session.region_name else {})
    from obstore.auth.boto3 import Boto3CredentialProvider

    return {"credential_provider": Boto3CredentialProvider(session)}
