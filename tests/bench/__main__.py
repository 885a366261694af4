"""Every benchmark, one after the other, and the machine that it ran on: python -m tests.bench --cache CACHE.

On a quiet machine that takes about half an hour, most of it ``speed`` with its peers. ``--quick`` goes through all of them
with next to no material in a minute or two, to see that they run: its figures say nothing. Names of benchmarks run these
alone. A benchmark that fails, or misses what it asks for, is named at the end, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

from tests.bench.measure import table

# What each is told beside the folder of the corpus, in full and to go through quickly.
BENCHES: dict[str, tuple[list[str], list[str]]] = {
    "start": ([], ["--rounds", "1"]),
    "speed": (
        ["--cache", "CACHE", "--rounds", "15"],
        ["--cache", "CACHE", "--pictures", "2", "--rounds", "1", "--kinds", "jpeg2", "--jobs", "1", "--peers", "limit", "pillow"],
    ),
    "quality": (["--cache", "CACHE"], ["--cache", "CACHE", "--pictures", "2", "--kinds", "jpeg2"]),
    "rerun": (["--cache", "CACHE"], ["--cache", "CACHE", "--pictures", "2", "--rounds", "2", "--kind", "jpeg2"]),
    "links": (["CACHE"], ["CACHE", "--pictures", "5", "--rounds", "1", "--allowed", "100"]),
    "scale": ([], ["--records", "50", "100"]),
    "review": ([], ["--samples", "20"]),
    "captions": ([], ["--captions", "200"]),
}
_LIBRARIES = ("numpy", "pillow", "onnxruntime", "opencv-contrib-python", "cykooz-resizer", "imagecodecs", "msgspec")


def machine() -> str:
    """Return what the figures depend on: processor, cores, memory, system, versions, and how busy it was at the start."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    rows = [
        ("processor", _processor()),
        ("cores", f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} of {os.cpu_count()}"),
        ("memory", f"{memory:.1f} GB"),
        ("system", platform.platform()),
        ("load", " ".join(f"{each:.2f}" for each in os.getloadavg()) + " in the last 1, 5 and 15 minutes"),
        ("Python", platform.python_version()),
        *((name, importlib.metadata.version(name)) for name in _LIBRARIES),
    ]
    return "\n".join(f"{name:24}{value}" for name, value in rows)


def _processor() -> str:
    """Return the processor's name as the system has it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> int:
    """Print the machine, then each benchmark under its name; return 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {' '.join(BENCHES)}")
    parser.add_argument("--cache", type=Path, required=True, help="where the corpus and the peers are kept")
    parser.add_argument("--quick", action="store_true", help="with next to no material")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHES]
    if unknown:
        parser.error(f"{unknown[0]} is unknown: choose from {' '.join(BENCHES)}")
    options.cache.mkdir(parents=True, exist_ok=True)
    print(machine())
    codes = {}
    for name in options.names or BENCHES:
        words = [str(options.cache) if word == "CACHE" else word for word in BENCHES[name][options.quick]]
        print(f"\n## {' '.join([name, *words])}\n", flush=True)
        codes[name] = subprocess.run([sys.executable, "-m", f"tests.bench.{name}", *words], check=False).returncode
    print()
    print(table(("", "exit code"), [(name, str(code)) for name, code in codes.items()]))
    return int(any(codes.values()))


if __name__ == "__main__":
    sys.exit(main())
