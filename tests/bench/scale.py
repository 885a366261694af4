"""What a record costs in time, memory and disk, on synthetic samples: python -m tests.bench.scale --records 20000 100000.

Every sample is a real file of a few bytes, so that listing and looking at files is counted; nothing is decoded.
Each phase is a process of its own, and what grows with the number of records is told by the difference of two sizes.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from datakit.dataset.folder import Folder
from datakit.dataset.manifest import MANIFEST, Record
from datakit.dataset.origin import Origin
from datakit.dataset.samples import output_stems, shared_stems
from datakit.dataset.store import Store
from datakit.geometry import Box, Size
from datakit.report import Report
from datakit.run.stage import Execution, Stage, run_stage
from datakit.run.task import Made, Task, write_temporary
from tests.bench.measure import Cost, run, table
from tests.conftest import BUCKETS

_FOLDER_SIZE = 1000
_KEY = "0123456789ab"
_MILLION = 1_000_000


def make_sources(root: Path, records: int) -> None:
    """Write this many small sources, a thousand a folder."""
    for number in range(records):
        path = root / "in" / f"{number // _FOLDER_SIZE:04}" / f"{number:07}.jpg"
        if number % _FOLDER_SIZE == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"%d" % number)


def list_samples(root: Path) -> list[Task]:
    """Find the samples and name their outputs, as every stage does first."""
    samples = Folder(root / "in").find().samples
    stems = output_stems(samples)
    shared_stems(samples, stems)
    return [Task(sample, f"{stems[sample.id]}.jpg", None, _KEY) for sample in samples]


def run_synthetic(root: Path) -> None:
    """Run a stage that makes outputs of a few bytes; the second time there is nothing to make."""
    tasks = list_samples(root)
    with Store(root / "out") as store:
        source = Folder(root / "in")
        make = partial(_make, source=source, temporary=store.temporary)
        origin, present = Origin("crop", source.identity), {task.source for task in tasks}
        stage = Stage(origin=origin, source=source, maker=lambda: make, present=present)
        run_stage(stage, store, tasks, Execution(), Report("crop", "in", "out"))


def _make(task: Task, source: Folder, temporary: Path) -> Made:
    content = source.read(task.source).data
    sha256 = hashlib.sha256(content).hexdigest()
    record = Record(
        output=task.output,
        bucket=BUCKETS[1],
        source=task.source,
        source_sha256=sha256,
        output_sha256=sha256,
        key=task.key,
        version="0",
        source_size=Size(4000, 3000),
        box=Box(71, 0, 3928, 3000),
        anchor="center",
        why="no face; the window is centred",
        area_kept=0.9643,
        scale=0.2987,
    )
    return Made(record, None, ((write_temporary(temporary, task.output, content), sha256),))


def import_only(root: Path) -> None:
    """Do nothing: what the other phases cost before they begin."""


PHASES: dict[str, Callable[[Path], object]] = {
    "import": import_only,
    "list": list_samples,
    "make": run_synthetic,
    "resume": run_synthetic,
}


def main() -> None:
    """Run all phases at each size and print the cost of a record, and of a million."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", nargs=2, type=int, default=[20_000, 100_000], metavar=("FEWER", "MORE"))
    parser.add_argument("--phase", nargs=2, metavar=("NAME", "FOLDER"), help="run one phase in this process")
    options = parser.parse_args()
    if options.phase:
        PHASES[options.phase[0]](Path(options.phase[1]))
        return
    costs: dict[int, dict[str, Cost]] = {}
    bytes_each: dict[int, float] = {}
    for records in options.records:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            make_sources(root, records)
            command = [sys.executable, "-m", "tests.bench.scale", "--phase"]
            costs[records] = {phase: run([[*command, phase, name]]) for phase in PHASES}
            state = [root / "out" / MANIFEST, *(root / "out" / ".datakit").iterdir()]
            bytes_each[records] = sum(path.stat().st_size for path in state if path.is_file()) / records
    fewer, more = options.records
    rows = []
    for phase in PHASES:
        low, high = costs[fewer][phase], costs[more][phase]
        seconds = (high.cpu - low.cpu) / (more - fewer)
        memory = (high.memory - low.memory) / (more - fewer)
        rows.append((
            phase,
            f"{low.cpu:.2f}",
            f"{high.cpu:.2f}",
            f"{high.memory:.0f}",
            f"{_MILLION * seconds:.1f}",
            f"{_MILLION * memory:.0f}",
        ))  # fmt: skip
    print(table(("phase", f"s CPU, {fewer}", f"s CPU, {more}", "MB", "µs a record = s a million", "MB a million"), rows))
    print(f"on disk: {bytes_each[more]:.0f} bytes a record (manifest and fingerprints)")


if __name__ == "__main__":
    main()
