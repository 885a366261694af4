"""What SimpleTuner made of a dataset when it started, its scan and its latents, held against the files of now."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from datakit.dataset.manifest import NOT_JSON
from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.trainers.fate import Fate
from datakit.trainers.simpletuner.entry import EntryOnFile
from datakit.trainers.simpletuner.reading import cache_name
from datakit.trainers.simpletuner.replay import bucket_name
from datakit.trainers.verdict import Fault

# Written into the dataset folder; the entry's id is part of the name.
_INDEX = "aspect_ratio_bucket_indices"
_METADATA = "aspect_ratio_bucket_metadata"
_AGAIN = "stop it, delete its aspect_ratio_bucket files, start again"


class _BucketIndex(msgspec.Struct):
    aspect_ratio_bucket_indices: dict[str, list[str]] = {}


class _Seen(msgspec.Struct):
    """What the trainer keeps of one picture: its size, and what it crops it to, and where.

    Its ``intermediary_size`` tells nothing: the commit of October 2024 writes one that it does not use where it crops.
    """

    original_size: tuple[int, int] | None = None
    target_size: tuple[int, int] | None = None
    crop_coordinates: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """What the trainer wrote about a dataset; either is None before it ran.

    Attributes
    ----------
    buckets
        The buckets of each picture, by its path.
    seen
        Its sizes, by its path.
    """

    buckets: Mapping[str, set[str]] | None
    seen: Mapping[str, _Seen] | None


def scanned_ids(folder: Path) -> dict[Path, str]:
    """Return the files that the trainer left in a dataset folder, sorted, and the id of the entry that each is for."""
    return {
        path: path.name.removeprefix(f"{kind}_").removesuffix(".json")
        for kind in (_INDEX, _METADATA)
        for path in sorted(folder.glob(f"{kind}_*.json"))
    }


def read_scan(folder: Path, name: str) -> Scan:
    """Read what the trainer wrote about a dataset for the entry of this id.

    Raises
    ------
    UsageError
        A file is there and cannot be read.
    """
    index, metadata = folder / f"{_INDEX}_{name}.json", folder / f"{_METADATA}_{name}.json"
    buckets: dict[str, set[str]] | None = None
    seen: dict[str, _Seen] | None = None
    try:
        if index.exists():
            buckets = defaultdict(set)
            for bucket, paths in msgspec.json.decode(index.read_bytes(), type=_BucketIndex).aspect_ratio_bucket_indices.items():
                for path in paths:
                    buckets[os.path.normpath(folder / path)].add(bucket)
        if metadata.exists():
            known = msgspec.json.decode(metadata.read_bytes(), type=dict[str, _Seen])
            seen = {os.path.normpath(folder / path): each for path, each in known.items()}
    except (OSError, *NOT_JSON) as error:
        raise UsageError(f"the trainer's files in {folder} cannot be read ({error}): wait until it has written them") from error
    return Scan(buckets, seen)


def scan_faults(
    entry: EntryOnFile, scan: Scan, pictures: Sequence[str], sizes: Mapping[str, Size], fates: Mapping[Size, Sequence[Fate]]
) -> Iterator[Fault]:
    """Compare what the trainer wrote at start-up with the folder; its scan can lose pictures in a race.

    Parameters
    ----------
    entry, scan
        The entry, and what the trainer wrote for it.
    pictures
        All that the trainer takes.
    sizes
        Of those that can be read.
    fates
        What the releases asked for do with each size.
    """
    folder = Path(entry.instance_data_dir)
    held = [each for each in (scan.buckets, scan.seen) if each is not None]
    paths = {os.path.normpath(folder / name): name for name in pictures}
    for path, name in paths.items():
        lost = [
            words
            for words, each in (("put it into no bucket", scan.buckets), ("read no size of it", scan.seen))
            if each is not None and path not in each
        ]
        if lost:
            yield Fault(entry.id, name, f"the trainer {' and '.join(lost)}", _AGAIN)
        elif held and name in sizes and (differs := _differs(scan, path, sizes[name], fates[sizes[name]])):
            remedy = f"stop it, delete its aspect_ratio_bucket files and its latents in {entry.cache_dir_vae}, start again"
            yield Fault(entry.id, name, "not what the trainer scanned under this name", remedy, differs)
    for path in sorted({path for each in held for path in each} - paths.keys()):
        yield Fault(entry.id, os.path.relpath(path, folder), "the trainer holds it, but it is gone from the dataset", _AGAIN)


def _differs(scan: Scan, path: str, size: Size, fates: Sequence[Fate]) -> str:
    """Say how the trainer's scan of a picture differs from what it would be now."""
    seen = scan.seen[path] if scan.seen else _Seen()
    if seen.original_size not in (None, size):
        return f"{_size(seen.original_size)} then, {size} now"
    if seen.target_size is not None and seen.target_size not in [fate.cropped for fate in fates]:
        return f"cropped to {_size(seen.target_size)} then, to {fates[0].cropped} now"
    if seen.crop_coordinates not in (None, (0, 0)) and any(fate.keeps(size) for fate in fates):
        return f"cropped from {seen.crop_coordinates} then, from the corner now"
    buckets = scan.buckets[path] if scan.buckets else set()
    named = {bucket_name(fate.cropped) for fate in fates}
    if not buckets <= named:
        return f"in bucket {' and '.join(sorted(buckets))} then, in {' or '.join(sorted(named))} now"
    return ""


def _size(sides: tuple[int, int] | None) -> str:
    return "x".join(map(str, sides or ()))


def latents(entry: EntryOnFile, pictures: Sequence[str]) -> dict[str, list[Path]]:
    """Return the files with latents of each picture that has any; their names carry its stem, or a hash of it."""
    folder, cache = entry.instance_data_dir, Path(entry.cache_dir_vae)
    if not entry.cache_dir_vae or not os.path.isdir(cache):
        return {}
    found = {}
    for name in pictures:
        plain = cache / cache_name(folder.rstrip("/"), name).lstrip("/")
        hashed = hashlib.sha256(plain.name.encode("utf-8", "surrogatepass")).hexdigest()
        files = [path for path in (plain.with_name(f"{plain.name}.pt"), plain.with_name(f"{hashed}.pt")) if os.path.isfile(path)]
        if files:
            found[name] = files
    return found


def older(folder: Path, cached: Mapping[str, Sequence[Path]]) -> list[str]:
    """Return the pictures that were written after their latents."""
    found = []
    for name, files in cached.items():
        with suppress(FileNotFoundError):  # the trainer may be at work
            if any(path.stat().st_mtime_ns < (folder / name).stat().st_mtime_ns for path in files):
                found.append(name)
    return found
