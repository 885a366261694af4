"""Which shards a pattern means: braces as in bash, ``{00000..00127}`` and ``{a,b}``, and ``*``, ``?``, ``[...]`` within a folder."""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Iterator

from datakit.errors import UsageError
from datakit.report import counted, few
from datakit.shards.storage import STORAGES, Blob, Storage, open_storage, scheme_of

SUFFIX = ".tar"
_SPECIAL = re.compile(r"[{*?\[]")
_GLOB = re.compile(r"[*?\[]")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
# A typing error in a range would fill memory with names.
_MOST = 1_000_000


def is_shards(address: str) -> bool:
    """Tell whether a source is meant as shards: its name ends like one, or it lies where no folders are."""
    return address.endswith(SUFFIX) or (scheme_of(address) or "folder") in STORAGES.keys() - {"folder"}


def expanded(pattern: str) -> Iterator[str]:
    """Yield what the braces of a pattern stand for, in order; a range keeps the zeros of its longer end, as in bash."""
    found = _BRACES.search(pattern)
    if found is None:
        yield pattern
        return
    before, after = pattern[: found.start()], pattern[found.end() :]
    if (numbers := _RANGE.fullmatch(found[1])) is not None:
        first, last = int(numbers[1]), int(numbers[2])
        padded = any(end.startswith("0") and len(end) > 1 for end in numbers.groups())
        width = max(map(len, numbers.groups())) if padded else 0
        step = 1 if first <= last else -1
        choices: Iterator[str] = (f"{number:0{width}d}" for number in range(first, last + step, step))
    else:
        choices = iter(found[1].split(","))
    for choice in choices:
        yield from expanded(f"{before}{choice}{after}")


def find_shards(address: str) -> tuple[Storage, list[Blob]]:
    """Return where the shards of a pattern lie, and each of them once, in the order of their names.

    Names are relative to the folder before the first sign of the pattern, which is the storage.

    Raises
    ------
    UsageError
        The pattern names no shards, one that is not there, or something else than shards.
    """
    special = _SPECIAL.search(address)
    cut = address.rfind("/", 0, special.start() if special else len(address)) + 1
    base, pattern = address[:cut] or ".", address[cut:]
    names = list(itertools.islice(expanded(pattern), _MOST + 1))
    if len(names) > _MOST:
        raise UsageError(f"{address} stands for more than {_MOST} names: mind the ranges in its braces")
    others = [name for name in names if not name.endswith(SUFFIX)]
    if others:
        raise UsageError(f"{base.rstrip('/')}/{others[0]} is no name of a shard: shards are uncompressed tar files, named .tar")
    storage = open_storage(base)
    storage.check()
    plain = [name for name in names if not _GLOB.search(name)]
    found: dict[str, Blob] = {}
    if len(plain) < len(names):
        globs = [name.split("/") for name in names if _GLOB.search(name)]
        found = {blob.name: blob for blob in storage.listing() if any(_matches(blob.name, parts) for parts in globs)}
    found |= {blob.name: blob for blob in storage.heads([name for name in plain if name not in found])}
    missing = [name for name in plain if name not in found]
    if missing:
        raise UsageError(f"{counted(len(missing), 'shard')} of {address} not there: {few(missing)}")
    if not found:
        raise UsageError(f"{address} matches no shards: looked in {storage.address}")
    return storage, [found[name] for name in sorted(found)]


def _matches(name: str, parts: list[str]) -> bool:
    """Tell whether a name fits a pattern, part by part; ``*`` passes over hidden files, as in a shell."""
    found = name.split("/")
    return len(found) == len(parts) and all(
        fnmatch.fnmatchcase(each, part) and (not each.startswith(".") or part.startswith("."))
        for each, part in zip(found, parts, strict=True)
    )
