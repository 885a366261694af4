"""A dataset in an object store: its address, the keys of SimpleTuner's entry for it, and what these need.

Read in SimpleTuner 4.10.1 (``data_backend/aws.py``, ``builders/aws.py``, ``factory.py``, ``multiaspect/sampler.py``) and run
against an S3 server: an entry without endpoint or keys ends it; ``{env:NAME}`` in any value stands for a variable of its
environment; a prefix is what keys begin with, so that only a slash at its end keeps out those of ``http/fantasy2``; its sampler
puts the prefix before each key once more and ends at the first batch, but for keys that begin with http; its scan is written
beside the pictures, and so are latents unless an entry of their own keeps them on disk.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from datakit.audit.concept import Concept
from datakit.errors import UsageError
from datakit.trainers.simpletuner.entry import EntryOnFile

SINCE = "4.10.1"
_RELEASE_NEEDED = (
    f"an entry of type aws needs SimpleTuner {SINCE} or later: 3.1.6 and 4.8.0 cannot start with it, they and the commit of October "
    "2024 would take the whole bucket whatever the prefix is, and 3.1.6 wants the secrets in the file; for them leave out --at and "
    "train from a local copy"
)
_KEYS_NEEDED = (
    "no secret is written: SimpleTuner takes AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN where it is set, "
    "from the environment that it is started in, and its log shows them; they must allow it to list, to read, and to write its scan "
    "beside the pictures"
)
_REGION_NEEDED = "without --endpoint it asks Amazon S3 in the region that AWS_DEFAULT_REGION names, which must be set"
CREDENTIALS = {
    "aws_access_key_id": "{env:AWS_ACCESS_KEY_ID}",
    "aws_secret_access_key": "{env:AWS_SECRET_ACCESS_KEY}",
    "aws_session_token": "{env:AWS_SESSION_TOKEN}",
}
_AMAZON = "https://s3.{env:AWS_DEFAULT_REGION}.amazonaws.com"
# What a key must begin with for the sampler to leave it alone.
_UNTOUCHED = "http"
_JOINED = (
    f"SimpleTuner {SINCE} puts the prefix before each key once more and ends at its first batch, unless it begins with {_UNTOUCHED}: "
    f"publish into a bucket of its own, or below such a prefix, as s3://BUCKET/{_UNTOUCHED}/NAME"
)
# docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a dataset was published: the keys of its files are the prefix and their names in the dataset.

    Attributes
    ----------
    bucket
        Its name.
    prefix
        Empty, or ending with a slash.
    endpoint
        URL of the object store.
    """

    bucket: str
    prefix: str
    endpoint: str = _AMAZON

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def encloses(self, other: Place) -> bool:
        """Tell whether the trainer would find the files of the other place here too."""
        return (self.bucket, self.endpoint) == (other.bucket, other.endpoint) and other.prefix.startswith(self.prefix)


def read_places(addresses: Sequence[str], endpoint: str | None, datasets: int) -> list[Place]:
    """Read where datasets were published, one address for each in their order; none where there is no address.

    Raises
    ------
    UsageError
        An address or the endpoint cannot be used, their number is another, or one encloses another.
    """
    if not addresses:
        if endpoint is not None:
            raise UsageError("--endpoint says where the bucket of --at is: give --at too, or leave it out")
        return []
    if len(addresses) != datasets:
        raise UsageError(f"{len(addresses)} addresses for {datasets} datasets: give one --at for each, in the same order")
    url = _AMAZON if endpoint is None else _endpoint(endpoint)
    places = [_place(address, url) for address in addresses]
    for place in places:
        for other in places:
            if other is not place and place.encloses(other):
                raise UsageError(f"{place} holds {other} too: publish each dataset under a prefix of its own")
    return places


def shared_latents(prefix: str, names: Iterable[str]) -> list[list[str]]:
    """Return the names of files below a prefix that SimpleTuner keeps one file of latents for.

    It takes the prefix out of the folder of a key wherever it occurs, slash included (caching/vae.py).
    """
    by_cache: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folder, file = os.path.split(prefix + name)
        by_cache[os.path.join(folder.replace(prefix, "") if prefix else folder, os.path.splitext(file)[0])].append(name)
    return [names for names in by_cache.values() if len(names) > 1]


def needs_of(places: Sequence[Place]) -> tuple[str, ...]:
    """Say what SimpleTuner must be and have to read these places, one sentence each."""
    if not places:
        return ()
    region = (_REGION_NEEDED,) if any(place.endpoint == _AMAZON for place in places) else ()
    return (_RELEASE_NEEDED, _KEYS_NEEDED, *region)


def provided(published: Mapping[str, Concept]) -> tuple[str, ...]:
    """Say what a proof by folders takes for granted about the addresses that they were published at, one clause each."""
    return tuple(
        f"{address} holds the files of {concept.folder} and no other pictures, read by SimpleTuner {SINCE} or later"
        for address, concept in published.items()
    )


def address_faults(entry: EntryOnFile, releases: Iterable[str]) -> Iterator[str]:
    """Say what keeps a SimpleTuner from reading what an entry of type aws means, one clause each."""
    prefix = entry.aws_data_prefix or ""
    for key in ("aws_bucket_name", "aws_endpoint_url", "aws_access_key_id", "aws_secret_access_key"):
        if not getattr(entry, key):
            yield f"{key} is missing: SimpleTuner ends without it"
    if isinstance(prefix, list):
        yield "aws_data_prefix is a list, which ends SimpleTuner at the first batch: give each prefix an entry of its own"
    else:
        if prefix and not prefix.endswith("/"):
            yield f"aws_data_prefix {prefix!r} takes all keys that begin so, as those of {prefix}2/: let it end with /"
        if prefix and not prefix.startswith(_UNTOUCHED):
            yield f"aws_data_prefix {prefix!r}: {_JOINED}"
    if "current" not in releases:
        yield f"type aws needs SimpleTuner {SINCE} or later, which {' and '.join(releases)} is not: train from a local copy"


def _place(address: str, endpoint: str) -> Place:
    scheme, _, rest = address.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.rstrip("/")
    if scheme != "s3" or not _BUCKET.fullmatch(bucket):
        raise UsageError(f"--at {address}: give the address of a bucket and a prefix in it, such as s3://bucket/http/fantasy")
    # A brace would be read as a variable, and a path as `.` and `..` say it is none in a key.
    if (
        any(part in ("", ".", "..") for part in prefix.split("/") if prefix)
        or set("{}\\") & set(prefix)
        or not prefix.isprintable()
    ):
        raise UsageError(
            f"--at {address}: no part of a prefix can be empty, . or .., and {{ }} and \\ cannot be in it: publish under a plain one"
        )
    if prefix and not prefix.startswith(_UNTOUCHED):
        raise UsageError(f"--at {address}: {_JOINED}; or leave out --at and train from a local copy")
    return Place(bucket, f"{prefix}/" if prefix else "", endpoint)


def _endpoint(text: str) -> str:
    try:
        url = urlsplit(text)
        fits = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        fits = False
    if not fits or not text.isprintable() or set("{}@?# ") & set(text):
        raise UsageError(
            "--endpoint: give the URL of an object store, such as https://s3.eu-central-1.amazonaws.com or http://127.0.0.1:8333, "
            "without a user, a password or anything behind ?"
        )
    return text.rstrip("/")
