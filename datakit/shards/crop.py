"""Stage 1 over shards: crop every shard of a pattern into one of the same name, one task a shard, and write what the whole is last."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import msgspec

from datakit.crop.options import CropOptions
from datakit.dataset.layout import SHARDS, SHARDS_OPTIONS, receipt
from datakit.detect import check_available
from datakit.errors import UsageError
from datakit.libraries import check_opencv
from datakit.report import Problem, counted, few
from datakit.run.executors import Crash
from datakit.run.stage import Execution, silent
from datakit.shards.cropping import Cropping, crop_shard
from datakit.shards.patterns import find_shards
from datakit.shards.receipts import (
    Counts,
    Options,
    Receipt,
    Shard,
    Sharded,
    is_whole,
    read_options,
    read_receipts,
    records_of,
    shards_with_receipts,
)
from datakit.shards.records import check_installed
from datakit.shards.storage import Blob, Storage, open_storage
from datakit.shards.writing import working_folder, write

# Part of the key of every shard: raise it when the same options give other files than before.
_LAYOUT = 1
# So often is a shard tried whose process dies. What the storage refuses is tried for as long as it is set to.
_TRIES = 3


@dataclass(slots=True)
class ShardReport:
    """What a run over shards did.

    Attributes
    ----------
    stage, source, output
        Which command ran, from where to where.
    done, skipped
        Shards written in this run, and those that were up to date.
    failed
        Shards that could not be made.
    removed, pruned
        Shards whose source is gone, and whether they were deleted.
    counts
        Of the pictures of all shards that are there.
    notes
        What else the user should know.
    """

    stage: str
    source: str
    output: str
    done: int = 0
    skipped: int = 0
    failed: list[Problem] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    pruned: bool = False
    counts: Counts = field(default_factory=Counts)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 where every shard is there and every picture was used, else 1."""
        return 1 if self.failed or self.counts.refused or self.counts.failed else 0

    def to_json(self) -> dict[str, object]:
        """Return the report as plain data for ``--json``."""
        counts: dict[str, object] = msgspec.to_builtins(self.counts)
        return {
            "stage": self.stage,
            "source": self.source,
            "output": self.output,
            "shards": {
                "done": self.done,
                "skipped": self.skipped,
                "failed": [problem.to_json() for problem in self.failed],
                "removed": self.removed,
                "pruned": self.pruned,
            },
            "pictures": counts,
            "notes": self.notes,
            "exit_code": self.exit_code,
        }


def crop_shards(
    source: str, output: str, options: CropOptions = CropOptions(format="jpg"), *, execution: Execution = Execution()
) -> ShardReport:
    """Crop every picture of every shard that a pattern names, and report what was done.

    Only shards that are new, or changed, are made. A shard is put into place whole: the tar, its records, a receipt; ``dataset.json``
    is there only while every shard is. Two runs at once write the same bytes.

    Parameters
    ----------
    source
        A pattern; see `datakit.shards.patterns.find_shards`.
    output
        A folder or another storage.
    options
        How to crop; ``format`` is one, not ``keep``, as every sample of a shard has the same fields.
    execution
        Workers, limits, what may be replaced; all or nothing (``strict``) is not offered.

    Raises
    ------
    UsageError
        The pattern, an option or the output cannot be used, or the output was written with other options.
    MissingLibraryError
        What it needs is not installed.
    """
    if options.format == "keep":
        raise UsageError(
            "shards hold pictures of one format, since readers expect the same fields of every sample: add --format jpg, png or webp"
        )
    if execution.strict:
        raise UsageError("--strict is for a folder: a run over shards puts each into place when it is finished")
    check_installed("a dataset in shards")
    check_opencv()
    check_available(options.detector, options.saliency)
    place, shards = find_shards(source)
    target = open_storage(output)
    _refuse_overlap(place, shards, target)
    wanted = Options("crop", _key(options), _plain(options), source)
    state = _State(target, wanted, execution, ShardReport("crop", source, output))
    pending = list(state.pending(place, shards))
    state.begin(pending)
    inside = replace(execution, jobs=1, executor="processes" if execution.jobs else "serial")
    made = replace(inside, overwrite=False, prune=False, verify=False, progress=silent)
    cropping = Cropping(place.identity, target.identity, options, wanted.key, made)
    for shard, result in _results(pending, cropping, execution):
        state.take(shard, result)
    return state.finish()


def _key(options: CropOptions) -> str:
    """Return a short hash of everything that decides the bytes of a shard: limits too, as they decide what is in it."""
    limits = [options.sizes, options.upscale, options.captions, options.max_pixels]
    return hashlib.sha256(msgspec.json.encode([_LAYOUT, options.key(), limits])).hexdigest()[:12]


def _plain(options: CropOptions) -> dict[str, object]:
    buckets = {"buckets": [str(bucket) for bucket in options.allowed_buckets]}
    return asdict(options) | buckets


def _refuse_overlap(source: Storage, shards: list[Blob], target: Storage) -> None:
    """Make sure that nothing is written where it is read. Raises UsageError."""
    home = f"{target.identity}/"
    inside = next((shard.name for shard in shards if f"{source.identity}/{shard.name}".startswith(home)), None)
    if inside is not None:
        raise UsageError(
            f"{inside} lies in {target.address}, which is to be written: name another place, nothing in a source is ever changed"
        )


def _results(pending: list[Blob], cropping: Cropping, execution: Execution) -> Iterator[tuple[Blob, Receipt | Problem]]:
    """Yield what becomes of each shard; one whose process died is tried again."""
    # No limit of time for a whole shard: each of its pictures has one.
    run = replace(execution, timeout=None)
    shards = pending
    for tries in range(1, _TRIES + 1):
        crashed = []
        label = "crop" if tries == 1 else "crop again"
        results: Iterable[tuple[Blob, Receipt | Problem | Crash]] = run.run(partial(crop_shard, cropping=cropping), shards)
        for shard, result in execution.progress(results, len(shards), label):
            if not isinstance(result, Crash):
                yield shard, result
            elif tries == _TRIES:
                yield shard, Problem(shard.name, result.reason, "crashed")
            else:
                crashed.append(shard)
        shards = sorted(crashed)
        if not shards:
            return


class _State:
    """The output while a run changes it."""

    def __init__(self, target: Storage, wanted: Options, execution: Execution, report: ShardReport) -> None:
        self._target = target
        self._wanted = wanted
        self._execution = execution
        self._report = report
        files = {blob.name: blob for blob in target.listing()}
        self._refuse_others(files)
        self._held: Mapping[str, Receipt] = read_receipts(target, shards_with_receipts(files))
        self._files = files
        self._shards: dict[str, Shard] = {}

    def _refuse_others(self, files: Mapping[str, Blob]) -> None:
        """Make sure that nothing of somebody else's is replaced, nor shards made otherwise. Raises UsageError."""
        if self._execution.overwrite:
            return
        before, place = read_options(self._target), self._target.address
        if before is None and files:
            raise UsageError(f"{place} holds files ({min(files)}) and no shards of datakit: name a new place, or use --overwrite")
        if before is not None and (before.stage, before.key) != (self._wanted.stage, self._wanted.key):
            told = {name: value for name, value in before.options.items() if self._wanted.options.get(name) != value}
            named = ", ".join(f"{name} {value}" for name, value in told.items()) or f"another version of `datakit {before.stage}`"
            raise UsageError(
                f"{place} was made with other options ({named}): name another place, or use --overwrite to make it anew"
            )

    def pending(self, source: Storage, shards: list[Blob]) -> Iterator[Blob]:
        """Yield the shards that are to be made. Raises UsageError where one was made from somewhere else."""
        for shard in shards:
            held = self._held.get(shard.name)
            if held is not None and not self._execution.overwrite and self._stands(held, shard):
                self._keep(shard.name, held)
                self._report.skipped += 1
                continue
            address = f"{source.identity}/{shard.name}"
            if held is not None and held.source != address and not self._execution.overwrite:
                raise UsageError(
                    f"{self._target.address}/{shard.name} was made from {held.source}, not from {address}: "
                    "name another place, or use --overwrite to make it from there"
                )
            yield shard
        wanted = {shard.name for shard in shards}
        self._report.removed = [name for name in self._held if name not in wanted]
        self._report.pruned = self._execution.prune

    def _stands(self, held: Receipt, shard: Blob) -> bool:
        """Tell whether a shard was made from the same content by the same options, and is there as it was written."""
        same = (held.key, held.source_size, held.source_etag) == (self._wanted.key, shard.size, shard.etag)
        return (
            same and is_whole(held, shard.name, self._files) and (not self._execution.verify or self._is_sound(held, shard.name))
        )

    def _is_sound(self, held: Receipt, name: str) -> bool:
        """Tell whether both files of a shard have the sha256 that they were written with."""
        for file, output in ((name, held.tar), (records_of(name), held.records)):
            with self._target.open(self._files[file]) as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() != output.sha256:
                    return False
        return True

    def begin(self, pending: list[Blob]) -> None:
        """Take away what will no longer be true, before anything changes."""
        prune = self._report.removed if self._execution.prune else []
        if pending or prune or self._wanted != read_options(self._target):
            self._target.delete(SHARDS)
            self._files.pop(SHARDS, None)
            with working_folder(self._target.workspace) as work:
                write(self._target, SHARDS_OPTIONS, msgspec.json.encode(self._wanted), work)
        for name in prune:
            for file in (receipt(name), name, records_of(name)):
                self._target.delete(file)

    def take(self, shard: Blob, result: Receipt | Problem) -> None:
        """Take note of what became of a shard."""
        if isinstance(result, Problem):
            self._report.failed.append(result)
        else:
            self._report.done += 1
            self._keep(shard.name, result)

    def _keep(self, name: str, held: Receipt) -> None:
        self._report.counts.add(held.counts)
        self._shards[name] = Shard(name, held.counts.done, held.tar, held.records)

    def finish(self) -> ShardReport:
        """Write what the dataset is, where every shard is there; return the report."""
        report = self._report
        report.failed.sort(key=lambda problem: problem.source)
        if report.failed:
            report.notes.append(
                f"{SHARDS} is written when every shard is there: run again, or leave {few([each.source for each in report.failed])} out"
            )
        else:
            shards = [self._shards[name] for name in sorted(self._shards)]
            counts = msgspec.structs.replace(report.counts, buckets=dict(sorted(report.counts.buckets.items())))
            whole = Sharded(self._wanted.stage, self._wanted.key, counts, shards, self._wanted.options)
            if SHARDS not in self._files or self._changed(whole):
                with working_folder(self._target.workspace) as work:
                    write(self._target, SHARDS, msgspec.json.format(msgspec.json.encode(whole)) + b"\n", work)
        if report.removed and not report.pruned:
            report.notes.append(
                f"{counted(len(report.removed), 'shard')} whose source is gone, no part of the dataset any more: "
                f"{few(report.removed)}; --prune deletes them"
            )
        return report

    def _changed(self, whole: Sharded) -> bool:
        try:
            return msgspec.json.decode(self._target.read(SHARDS), type=Sharded) != whole
        except (OSError, msgspec.DecodeError):
            return True
