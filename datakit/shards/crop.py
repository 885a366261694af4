"""Stage 1 over shards: crop every shard of a pattern into one of the same name, one task a shard."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from functools import partial
from pathlib import Path

import msgspec

from datakit.crop.options import CropOptions
from datakit.detect import check_available
from datakit.errors import UsageError
from datakit.libraries import check_opencv
from datakit.run.stage import Execution
from datakit.shards.cropping import Cropping, crop_shard
from datakit.shards.listed import SHARD_SIZE, find_listed, read_names
from datakit.shards.patterns import find_shards
from datakit.shards.receipts import Options, Portion
from datakit.shards.records import check_installed
from datakit.shards.run import ShardReport, run_shards
from datakit.shards.storage import Storage, open_storage

# Part of the key of every shard: raise it when the same options give other files than before.
_LAYOUT = 1


def crop_shards(
    source: str,
    output: str,
    options: CropOptions = CropOptions(format="jpg"),
    *,
    names: Path | None = None,
    shard_size: int = SHARD_SIZE,
    execution: Execution = Execution(),
) -> ShardReport:
    """Crop every picture of every shard that a pattern names, or of a list of loose files, and report what was done.

    Only shards that are new, or changed, are made. A shard is put into place whole: the tar, its records, a receipt; ``dataset.json``
    is there only while every shard is. Two runs at once write the same bytes.

    Parameters
    ----------
    source
        A pattern; see `datakit.shards.patterns.find_shards`. With a list, where its files lie.
    output
        A folder or another storage.
    options
        How to crop; ``format`` is one, not ``keep``, as every sample of a shard has the same fields.
    names
        The list; see `datakit.shards.listed.find_listed`.
    shard_size
        Pictures in a shard that is made of a list.
    execution
        Workers, limits, what may be replaced; all or nothing (``strict``) is not offered.

    Raises
    ------
    UsageError
        The pattern, the list, an option or the output cannot be used, or the output was written with other options.
    MissingLibraryError
        What it needs is not installed.
    """
    if options.format == "keep":
        raise UsageError(
            "shards hold pictures of one format, since readers expect the same fields of every sample: add --format jpg, png or webp"
        )
    _refuse_options(options)
    if execution.strict:
        raise UsageError("--strict is for a folder: a run over shards puts each into place when it is finished")
    check_installed("a dataset in shards")
    check_opencv()
    check_available(options.detector, options.saliency)
    target = open_storage(output)
    target.check()
    if names is None:
        place, shards = find_shards(source)
        portions = [Portion(*shard, f"{place.identity}/{shard.name}") for shard in shards]
        _refuse_overlap(place, [shard.name for shard in shards], target)
        captions, size = True, None
    else:
        place = open_storage(source)
        place.check()
        portions, captions = find_listed(place, names, shard_size)
        _refuse_overlap(place, read_names(names, portions[0].detail), target)
        size = shard_size
    wanted = Options("crop", _key(options, size), _plain(options, size), source)
    # A picture that kills its decoder does so in a process of its own, but where the caller works in its own as well.
    alone = execution.executor in (None, "serial") and not execution.jobs
    made = Execution(jobs=1, executor="serial" if alone else "processes", timeout=execution.timeout)
    cropping = Cropping(place.identity, target.identity, options, wanted.key, made)
    ready = partial(_with_names, names) if names else None
    report = run_shards(partial(crop_shard, cropping=cropping), portions, target, wanted, execution, ready=ready)
    if not captions:
        report.notes.append(f"{names} names no captions, so that there are none: list a.txt beside a.jpg")
    return report


def _key(options: CropOptions, shard_size: int | None) -> str:
    """Return a short hash of everything that decides the bytes of a shard: limits too, as they decide what is in it."""
    limits: list[object] = [
        options.sizes,
        float(options.upscale),
        options.captions,
        options.max_pixels,
        *([shard_size] if shard_size else []),
    ]
    limits += [{"caption": options.caption}] if options.caption is not None else []
    return hashlib.sha256(msgspec.json.encode([_LAYOUT, options.key(), limits])).hexdigest()[:12]


def _plain(options: CropOptions, shard_size: int | None) -> dict[str, object]:
    """Return options as JSON gives them back, however they were written."""
    buckets = [str(bucket) for bucket in options.allowed_buckets]
    plain = asdict(options) | {"buckets": buckets, "upscale": float(options.upscale), "shard_size": shard_size}
    return msgspec.json.decode(msgspec.json.encode(plain), type=dict[str, object])


def _with_names(path: Path, portion: Portion) -> Portion:
    """Return a run of lines of a list with its names, when its turn comes: all names of a list would fill memory."""
    return portion._replace(detail=read_names(path, portion.detail))


def _refuse_options(options: CropOptions) -> None:
    """Make sure that nothing is asked that one shard alone cannot tell, or does not hold. Raises UsageError."""
    if options.fill_batches is not None:
        raise UsageError(
            "fill_batches deals out all pictures of a dataset, and shards are cropped one by one: leave it out, or unpack them"
        )
    if options.companion or options.companions or options.keep_alpha:
        raise UsageError(
            "shards hold pictures and captions, and no companions: leave out --companion, --companions and --keep-alpha, or crop a folder"
        )


def _refuse_overlap(source: Storage, names: list[str], target: Storage) -> None:
    """Make sure that nothing is written where it is read. Raises UsageError."""
    home = f"{target.identity}/"
    inside = next((name for name in names if f"{source.identity}/{name}".startswith(home)), None)
    if inside is not None:
        raise UsageError(
            f"{inside} lies in {target.address}, which is to be written: name another place, nothing in a source is ever changed"
        )
