"""Measure datakit beside its peers, in turn, several times over.

    python -m tests.bench.speed --cache CACHE --pictures 12 --rounds 3

Each program makes pictures of the same sizes at the same JPEG quality. What it costs to start is told apart by
running it on one picture of each size too. Peers are found and installed by `tests.bench.peers`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from datakit.geometry import Size
from datakit.sizes import choose_bucket, size_set
from tests.bench.corpus import KINDS
from tests.bench.measure import Cost, median, run, table
from tests.bench.peers import ENVIRONMENT, Peer, find_peers

DATAKIT = "datakit"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one program cost in one round: on all pictures, and on the few that tell its start."""

    all: Cost
    few: Cost

    def each(self, pictures: int, few: int) -> tuple[float, float]:
        """Return the CPU and wall seconds that one more picture takes."""
        more = pictures - few
        return (self.all.cpu - self.few.cpu) / more, (self.all.wall - self.few.wall) / more


def main() -> None:
    """Build the corpus, run all programs in turn and print a table for each kind and number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="where the corpus and the peers are kept")
    parser.add_argument("--pictures", type=int, default=12, help="of each kind")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--jobs", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--peers", nargs="+", help="only these")
    options = parser.parse_args()
    peers = find_peers(options.cache, options.peers or ())
    for peer in peers:
        if peer.missing:
            print(f"{peer.name} is left out: {peer.missing}")
    present = [peer for peer in peers if not peer.missing]
    corpus = options.cache / "corpus"
    # In a process of its own: the peak memory of a new process begins with that of the one it was forked from.
    corpus_command = [
        "tests.bench.corpus",
        corpus,
        "--cache",
        options.cache,
        "--pictures",
        str(options.pictures),
        "--kinds",
        *options.kinds,
    ]
    subprocess.run([sys.executable, "-m", *corpus_command], check=True)
    for kind in options.kinds:
        _measure_kind(kind, sorted((corpus / kind).iterdir())[: options.pictures], present, options.jobs, options.rounds)


def _measure_kind(kind: str, pictures: list[Path], peers: list[Peer], workers: Sequence[int], rounds: int) -> None:
    groups: dict[Size, list[Path]] = defaultdict(list)
    for picture in pictures:
        groups[choose_bucket(Size(*Image.open(picture).size), size_set())].append(picture)
    few = {size: group[:1] for size, group in groups.items()}
    samples: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    written: dict[str, int] = {}
    for _ in range(rounds):
        for jobs in workers:
            for name, peer in [(DATAKIT, None), *((peer.name, peer) for peer in peers)]:
                try:
                    whole, written[name] = _run(peer, groups, jobs)
                    samples[name, jobs].append(Sample(whole, _run(peer, few, jobs)[0]))
                except subprocess.CalledProcessError as error:
                    print(f"{name} failed on {kind}: {error.stderr.decode(errors='replace').strip()[-200:]}")
    for jobs in workers:
        print(f"\n{kind}, {len(pictures)} pictures, {jobs} worker{'s' * (jobs > 1)}, median of {rounds}")
        print(_table({name: of for (name, n), of in samples.items() if n == jobs}, written, len(pictures), len(few)))
    if len(workers) > 1:
        speeds = {
            jobs: median([1 / sample.each(len(pictures), len(few))[1] for sample in samples[DATAKIT, jobs]]) for jobs in workers
        }
        first = workers[0]
        print(
            "".join(
                f"\n{DATAKIT}: {jobs} workers are {speeds[jobs] / speeds[first]:.2f} x {first} by wall" for jobs in workers[1:]
            )
        )


def _run(peer: Peer | None, groups: dict[Size, list[Path]], jobs: int) -> tuple[Cost, int]:
    """Return the cost of one program on groups of pictures, and how many pictures of the right size it made."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out = folder / "out"
        cost = _datakit(folder, groups, jobs) if peer is None else Cost(0, 0, 0)
        for size, group in groups.items() if peer else ():
            shares = [group[start::jobs] for start in range(min(jobs, len(group)))]
            outs = [out / f"{size}-{start}" for start in range(len(shares))]
            for each in outs:
                each.mkdir(parents=True)
            cost += run([peer.command(share, size, each) for share, each in zip(shares, outs, strict=True)], ENVIRONMENT)
        made = [path for path in out.rglob("*.*") if path.suffix in (".jpg", ".png") and "sources" not in path.parts]
        return cost, sum(Image.open(path).size in groups for path in made)


def _datakit(folder: Path, groups: dict[Size, list[Path]], jobs: int) -> Cost:
    source = folder / "in"
    source.mkdir()
    for picture in (picture for group in groups.values() for picture in group):
        shutil.copy(picture, source)
    return run([[sys.executable, "-m", "datakit", "crop", str(source), str(folder / "out"), "--jobs", str(jobs)]])


def _table(samples: dict[str, list[Sample]], written: dict[str, int], pictures: int, few: int) -> str:
    head = ("", "ms CPU", "a CPU s", "a wall s", "datakit is", "start ms", "MB", "made")
    rows = []
    for name, of in samples.items():
        cpu = [sample.each(pictures, few)[0] for sample in of]
        ratios = [theirs / ours.each(pictures, few)[0] for ours, theirs in zip(samples[DATAKIT], cpu, strict=False)]
        rows.append((
            name,
            f"{1000 * median(cpu):.1f}",
            f"{median([1 / each for each in cpu]):.1f}",
            f"{median([1 / sample.each(pictures, few)[1] for sample in of]):.1f}",
            f"{median(ratios):.2f} x",
            f"{1000 * median([sample.few.cpu - few * each for sample, each in zip(of, cpu, strict=True)]):.0f}",
            f"{max(sample.all.memory for sample in of):.0f}",
            f"{written[name]}",
        ))  # fmt: skip
    return table(head, rows)


if __name__ == "__main__":
    main()
