"""`python -m tests.bench`: the machine, a table for each benchmark, and an exit code that says whether all of them ran."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.bench.__main__ import BENCHES, main
from tests.conftest import ROOT


def bench(folder, *words):
    command = [sys.executable, "-m", "tests.bench", "--quick", "--cache", folder / "cache", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_machine_and_each_table_are_printed(tmp_path):
    done = bench(tmp_path, "start", "scale")
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^cores +\d+ of {os.cpu_count()}$", done.stdout, re.MULTILINE)
    assert re.search(r"^onnxruntime +\d", done.stdout, re.MULTILINE)
    parts = re.split(r"^## (\w+)", done.stdout, flags=re.MULTILINE)
    assert parts[1::2] == ["start", "scale"]
    assert "datakit --help" in parts[2]
    assert "on disk:" in parts[4]


def test_a_benchmark_that_fails_is_named(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(BENCHES, "scale", ([], ["--records", "none"]))
    monkeypatch.setattr(sys, "argv", ["bench", "--quick", "--cache", str(tmp_path), "scale", "start"])
    assert main() == 1
    assert re.search(r"^scale +2\nstart +0$", capfd.readouterr().out, re.MULTILINE)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    done = bench(tmp_path, "sped")
    assert done.returncode == 2
    assert "sped is unknown: choose from start speed" in done.stderr


def test_every_benchmark_is_run():
    """But for what others build on."""
    there = {path.stem for path in (ROOT / "tests" / "bench").glob("*.py")} - {
        "__init__",
        "__main__",
        "corpus",
        "loops",
        "measure",
        "peers",
    }
    assert set(BENCHES) == there
