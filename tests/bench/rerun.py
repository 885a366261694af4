"""Run datakit again on an unchanged folder: python -m tests.bench.rerun --cache CACHE --pictures 400."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.bench.corpus import KINDS, build
from tests.bench.measure import Cost, median, run, table

# Distinct pictures at most; the folder repeats them under other names.
_DISTINCT = 12


def main() -> None:
    """Crop a folder, then do it again as often as asked for, and print what both took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="where the corpus is kept")
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--kind", choices=KINDS, default="jpeg12")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="of running it again")
    options = parser.parse_args()
    distinct = min(_DISTINCT, options.pictures)
    corpus = build(options.cache / "corpus", options.cache, distinct, (options.kind,))[options.kind]
    pictures = sorted(corpus.iterdir())[:distinct]
    with tempfile.TemporaryDirectory(dir=options.cache) as name:
        source = Path(name) / "in"
        source.mkdir()
        for number in range(options.pictures):
            shutil.copy(pictures[number % len(pictures)], source / f"{number:06}{pictures[0].suffix}")
        command = [sys.executable, "-m", "datakit", "crop", str(source), str(Path(name) / "out"), "--jobs", str(options.jobs)]
        first = run([command])
        again = [run([command]) for _ in range(options.rounds)]
        verified = run([[*command, "--verify"]])
    later = Cost(median([each.cpu for each in again[1:]]), median([each.wall for each in again[1:]]), 0)
    runs = {"first": first, "second": again[0], "later": later, "with --verify": verified}
    rows = [
        (name, f"{cost.cpu:.2f}", f"{cost.wall:.2f}", f"{first.cpu / cost.cpu:.0f} x", f"{first.wall / cost.wall:.0f} x")
        for name, cost in runs.items()
    ]
    print(f"{options.pictures} pictures ({options.kind}), {options.jobs} worker(s)")
    print(table(("", "s CPU", "s wall", "faster, CPU", "faster, wall"), rows))


if __name__ == "__main__":
    main()
