"""Stage 2 over shards: several captions for each picture, as lines of its ``.txt``; the pictures stay as they are."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import partial

import msgspec

from datakit.dataset.manifest import read_manifest
from datakit.dataset.origin import Origin
from datakit.errors import DatakitError, ShardError, UsageError
from datakit.report import Problem
from datakit.run.stage import Execution
from datakit.shards.receipts import Options, Portion, Receipt, read_sharded
from datakit.shards.records import check_installed
from datakit.shards.run import ShardReport, run_shards
from datakit.shards.storage import open_storage
from datakit.shards.unpack import origin_of, unpack_shard
from datakit.shards.writing import commit, working_folder, write_shard
from datakit.shuffle.folder import shuffle_folder
from datakit.shuffle.variants import ShuffleOptions

_LAYOUT = 1


@dataclass(frozen=True, slots=True)
class _Shuffling:
    """What all shards of a run have in common; picklable."""

    source: str
    output: str
    origin: Origin
    options: ShuffleOptions
    key: str


def shuffle_shards(source: str, output: str, options: ShuffleOptions, *, execution: Execution = Execution()) -> ShardReport:
    """Write shards of the same pictures with several captions each, and report what was done.

    A picture's captions are those that `datakit.shuffle.folder.shuffle_folder` gives it in a folder.

    Parameters
    ----------
    source, output
        Where the shards lie, and where to write.
    options
        How the captions differ; ``captions_only``.
    execution
        Workers, what may be replaced; all or nothing (``strict``) is not offered.

    Raises
    ------
    UsageError
        Copies of pictures are wanted, there are no finished shards, or the output cannot be used.
    MissingLibraryError
        What it needs is not installed.
    """
    if not options.captions_only:
        raise UsageError("in shards each picture lies once: add --captions-only, or unpack them (`datakit unpack`) for copies")
    if execution.strict:
        raise UsageError("--strict is for a folder: a run over shards puts each into place when it is finished")
    check_installed("a dataset in shards")
    place, target = open_storage(source), open_storage(output)
    place.check()
    target.check()
    if f"{target.identity}/".startswith(f"{place.identity}/") or f"{place.identity}/".startswith(f"{target.identity}/"):
        raise UsageError(f"{output} and {source} lie in one another: name another place to write to")
    whole = read_sharded(place)
    key = hashlib.sha256(
        msgspec.json.encode(["shuffle", _LAYOUT, whole.key, options.key(), options.repeats_from_folders])
    ).hexdigest()[:12]
    plain = {name: value for name, value in asdict(options).items() if name not in ("augment", "link", "quality")}
    wanted = Options("shuffle", key, msgspec.to_builtins(plain), place.identity)
    shuffling = _Shuffling(place.identity, target.identity, origin_of(place, whole), options, key)
    portions = [
        Portion(shard.name, shard.tar.size, f"{shard.tar.sha256}-{shard.records.sha256}", f"{place.identity}/{shard.name}", shard)
        for shard in whole.shards
    ]
    return run_shards(partial(shuffle_shard, shuffling=shuffling), portions, target, wanted, execution)


def shuffle_shard(portion: Portion, shuffling: _Shuffling) -> Receipt | Problem:
    """Write one shard anew with other captions; what keeps it from being done is returned."""
    try:
        source, output = open_storage(shuffling.source), open_storage(shuffling.output)
        with working_folder(output.workspace) as work:
            unpack_shard(source, portion.detail, shuffling.origin, work / "source")
            report = shuffle_folder(work / "source", work / "dataset", shuffling.options)
            problems = sorted((*report.refused, *report.failed), key=lambda problem: (problem.source, problem.reason))
            unwritten = next((problem for problem in problems if problem.kind == "not-written"), None)
            if unwritten:
                raise OSError(f"{unwritten.source} {unwritten.reason}")
            written = write_shard(work / "dataset", list(read_manifest(work / "dataset")), problems, work)
            return commit(output, portion, written, shuffling.key)
    except (DatakitError, OSError) as error:
        return Problem(portion.name, str(error), "shard" if isinstance(error, ShardError) else "not-written")
