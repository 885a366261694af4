"""Make a dataset in shards, one task a shard: what is up to date, commits, what is left over, and what the whole is last."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import msgspec

from datakit.dataset.layout import SHARDS, SHARDS_OPTIONS, receipt
from datakit.dataset.metadata import CARD, SHARDS_CARD
from datakit.errors import UsageError
from datakit.report import Problem, counted, few
from datakit.run.executors import Crash
from datakit.run.stage import Execution
from datakit.shards.receipts import (
    Counts,
    Options,
    Portion,
    Receipt,
    Shard,
    Sharded,
    is_whole,
    read_options,
    read_receipts,
    records_of,
    shard_of,
)
from datakit.shards.storage import Blob, Storage
from datakit.shards.writing import working_folder, write

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
        Shards that the source does not name, and whether they were deleted.
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


def run_shards(
    function: Callable[[Portion], Receipt | Problem],
    portions: Sequence[Portion],
    target: Storage,
    wanted: Options,
    execution: Execution,
    *,
    ready: Callable[[Portion], Portion] | None = None,
) -> ShardReport:
    """Make every shard that is not up to date, and write what the dataset is in the end.

    Parameters
    ----------
    function
        Makes one shard and puts it into place; picklable where there are workers.
    portions
        What each shard is made of.
    target
        Where the shards are put.
    wanted
        What they are made with.
    execution
        Workers, what may be replaced.
    ready
        Adds to a portion what is not held of all of them, when its turn comes.

    Raises
    ------
    UsageError
        The place holds something else, shards made with other options, or shards made from somewhere else.
    """
    state = _State(target, wanted, execution)
    pending = list(state.pending(portions))
    state.begin(pending)
    for portion, result in _results(function, pending, execution, wanted.stage, ready):
        state.take(portion, result)
    return state.finish()


def _results(
    function: Callable[[Portion], Receipt | Problem],
    portions: Sequence[Portion],
    execution: Execution,
    label: str,
    ready: Callable[[Portion], Portion] | None,
) -> Iterator[tuple[Portion, Receipt | Problem]]:
    """Yield what becomes of each shard; one whose process died is tried again."""
    # No limit of time for a whole shard: each of its pictures has one.
    run = replace(execution, timeout=None)
    for tries in range(1, _TRIES + 1):
        crashed = []
        given = map(ready, portions) if ready and tries == 1 else portions
        results: Iterable[tuple[Portion, Receipt | Problem | Crash]] = run.run(function, given) if portions else ()
        for portion, result in execution.progress(results, len(portions), label if tries == 1 else f"{label} again"):
            if not isinstance(result, Crash):
                yield portion, result
            elif tries == _TRIES:
                yield portion, Problem(portion.name, result.reason, "crashed")
            else:
                crashed.append(portion)
        portions = sorted(crashed, key=lambda portion: portion.name)


class _State:
    """The output while a run changes it."""

    def __init__(self, target: Storage, wanted: Options, execution: Execution) -> None:
        self._target = target
        self._wanted = wanted
        self._execution = execution
        self._report = ShardReport(wanted.stage, wanted.source, target.address)
        # Of many shards this is most of what is known of them: no more of each than is needed, and that no longer than it is.
        self._known: set[str] = set()
        self._files: dict[str, Blob] = {}
        for blob in target.listing():
            shard = shard_of(blob.name)
            if shard is None:
                self._files[blob.name] = blob
            else:
                self._known.add(shard)
        self._before = read_options(target)
        self._refuse_others(self._before)
        self._whole = SHARDS in self._files
        self._has_card = CARD in self._files
        # What `dataset.json` says of each shard, as it says it.
        self._lines: dict[str, bytes] = {}

    def _refuse_others(self, before: Options | None) -> None:
        """Make sure that nothing of somebody else's is replaced, nor shards made otherwise. Raises UsageError."""
        if self._execution.overwrite:
            return
        place, files = self._target.address, self._files
        if before is None and files:
            raise UsageError(f"{place} holds files ({min(files)}) and no shards of datakit: name a new place, or use --overwrite")
        if before is not None and (before.stage, before.key) != (self._wanted.stage, self._wanted.key):
            told = {name: value for name, value in before.options.items() if self._wanted.options.get(name) != value}
            named = ", ".join(f"{name} {value}" for name, value in told.items()) or f"another version of `datakit {before.stage}`"
            raise UsageError(
                f"{place} was made with other options ({named}): name another place, or use --overwrite to make it anew"
            )

    def pending(self, portions: Sequence[Portion]) -> Iterator[Portion]:
        """Yield the shards that are to be made. Raises UsageError where one was made from somewhere else."""
        here = [shard.name for shard in portions if shard.name in self._known]
        receipts = read_receipts(self._target, here)
        for shard in portions:
            held = next(receipts) if shard.name in self._known else None
            stands = held is not None and not self._execution.overwrite and self._stands(held, shard)
            for file in (shard.name, records_of(shard.name)):
                self._files.pop(file, None)
            if held is not None and stands:
                self._keep(shard.name, held)
                self._report.skipped += 1
                continue
            if held is not None and held.source != shard.origin and not self._execution.overwrite:
                raise UsageError(
                    f"{self._target.address}/{shard.name} was made from {held.source}, not from {shard.origin}: "
                    "name another place, or use --overwrite to make it from there"
                )
            yield shard
        self._report.removed = sorted(self._known.difference(here))
        self._report.pruned = self._execution.prune
        self._known, self._files = set(), {}

    def _stands(self, held: Receipt, shard: Portion) -> bool:
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

    def begin(self, pending: Sequence[Portion]) -> None:
        """Take away what will no longer be true, before anything changes."""
        prune = self._report.removed if self._execution.prune else []
        if pending or prune or self._wanted != self._before:
            self._claim()
            self._target.delete(SHARDS)
            self._whole = False
        for name in prune:
            for file in (receipt(name), name, records_of(name)):
                self._target.delete(file)

    def _claim(self) -> None:
        """Write the options down; of two runs that begin at once with other ones only the first goes on. Raises UsageError."""
        new = self._before is None and not self._execution.overwrite
        with working_folder(self._target.workspace) as work:
            try:
                write(self._target, SHARDS_OPTIONS, [msgspec.json.encode(self._wanted)], work, new=new)
            except FileExistsError:
                self._refuse_others(read_options(self._target))
            if not self._has_card:
                with suppress(FileExistsError):  # of the user's own, or of a run that began at once
                    write(self._target, CARD, [SHARDS_CARD], work, new=True)

    def take(self, shard: Portion, result: Receipt | Problem) -> None:
        """Take note of what became of a shard."""
        if isinstance(result, Problem):
            self._report.failed.append(result)
        else:
            self._report.done += 1
            self._keep(shard.name, result)

    def _keep(self, name: str, held: Receipt) -> None:
        self._report.counts.add(held.counts)
        self._lines[name] = _line(name, held)

    def finish(self) -> ShardReport:
        """Write what the dataset is, where every shard is there; return the report."""
        report = self._report
        report.failed.sort(key=lambda problem: problem.source)
        if report.failed:
            report.notes.append(
                f"{SHARDS} is written when every shard is there: run again, or leave {few([each.source for each in report.failed])} out"
            )
        elif not self._whole or self._changed():
            with working_folder(self._target.workspace) as work:
                write(self._target, SHARDS, self._content(), work)
        if report.removed and not report.pruned:
            report.notes.append(
                f"{counted(len(report.removed), 'shard')} that {report.source} does not name, no part of the dataset any more: "
                f"{few(report.removed)}; --prune deletes them"
            )
        return report

    def _content(self) -> Iterator[bytes]:
        """Yield the parts of `dataset.json`: what all shards have in common, and a line for each."""
        counts = msgspec.structs.replace(self._report.counts, buckets=dict(sorted(self._report.counts.buckets.items())))
        head = msgspec.json.encode(Sharded(self._wanted.stage, self._wanted.key, counts, self._wanted.options))
        yield head.removesuffix(b"]}")
        for number, name in enumerate(sorted(self._lines)):
            yield (b",\n" if number else b"\n") + self._lines[name]
        yield b"\n]}\n"

    def _changed(self) -> bool:
        """Tell whether `dataset.json` is to say something else than it does."""
        wanted = hashlib.sha256()
        for part in self._content():
            wanted.update(part)
        try:
            (there,) = self._target.heads([SHARDS])
            with self._target.open(there) as file:
                return hashlib.file_digest(file, "sha256").digest() != wanted.digest()
        except (OSError, ValueError):
            return True


def _line(name: str, held: Receipt) -> bytes:
    """Return what `dataset.json` says of a shard: what does not depend on where it lies."""
    tar, records = (msgspec.structs.replace(output, etag=None) for output in (held.tar, held.records))
    return msgspec.json.encode(Shard(name, held.counts.done, tar, records))
