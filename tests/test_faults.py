"""Interruptions and failures: a second run ends where an undisturbed one does."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from datakit import CropOptions, Execution, crop_folder
from datakit.execute import Crash, processes
from tests.conftest import tree

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture(scope="module")
def source(pictures, tmp_path_factory):
    """Two dozen small samples."""
    folder = tmp_path_factory.mktemp("faults") / "src"
    folder.mkdir()
    for copy in range(4):
        for stem in ("astronaut", "flower", "fig", "djembe", "rocket", "temple"):
            shutil.copy(pictures / f"{stem}.jpg", folder / f"{stem}{copy}.jpg")
            shutil.copy(pictures / f"{stem}.txt", folder / f"{stem}{copy}.txt")
    return folder


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    crop_folder(source, out, CropOptions(upscale=3))
    return tree(out)


def start(source, out, jobs=2):
    command = [sys.executable, "-m", "datakit", "crop", str(source), str(out), "--upscale", "3", "--jobs", str(jobs)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def wait_for_outputs(out, count):
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.jpg"))) < count and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_interrupted_at_any_moment_a_second_run_gives_the_same_folder(source, undisturbed, tmp_path, number, seed):
    out = tmp_path / "out"
    moment = random.Random(f"{number} {seed}")
    process = start(source, out)
    wait_for_outputs(out, moment.randrange(0, 20))
    time.sleep(moment.random() * 0.05)
    process.send_signal(number)
    process.wait(60)
    assert all(content == undisturbed[name] for name, content in tree(out).items() if name.endswith((".jpg", ".txt")))
    report = crop_folder(source, out, CropOptions(upscale=3))
    assert report.exit_code == 0
    assert tree(out) == undisturbed


def test_a_script_without_a_guard_can_use_workers(source, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from datakit import CropOptions, Execution, crop_folder\n"
        f"print(crop_folder({str(source)!r}, 'out', CropOptions(upscale=3), execution=Execution(jobs=2)).done)\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("24\n", "")


def test_an_interrupt_leaves_no_worker_behind(source, tmp_path):
    process = start(source, tmp_path / "out")
    wait_for_outputs(tmp_path / "out", 1)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    time.sleep(0.5)
    left = subprocess.run(["ps", "-e", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    ours = [line.split(maxsplit=2) for line in left.splitlines()]
    # A dead one that nobody has waited for yet is no worker.
    assert [row for row in ours if row[0] == str(process.pid) and not row[1].startswith("Z")] == []


def test_two_runs_on_one_folder_the_second_refuses_by_name(source, tmp_path, datakit):
    process = start(source, tmp_path / "out", jobs=1)
    try:
        wait_for_outputs(tmp_path / "out", 1)
        second = datakit("crop", source, tmp_path / "out")
        assert second.returncode == 2
        assert "out is being written by another run" in second.stderr
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(os.geteuid() != 0 if hasattr(os, "geteuid") else True, reason="mounting needs root")
def test_a_full_disk_costs_nothing_that_was_written_and_a_second_run_completes(source, undisturbed, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine may not mount a tmpfs")
    try:
        report = crop_folder(source, disk / "out", CropOptions(upscale=3), execution=Execution(jobs=2))
        assert report.exit_code == 1
        assert report.failed
        assert all("No space left" in problem.reason for problem in report.failed)
        subprocess.run(["mount", "-o", "remount,size=300m", disk], check=True)
        assert crop_folder(source, disk / "out", CropOptions(upscale=3)).exit_code == 0
        assert tree(disk / "out") == undisturbed
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write and read anywhere")
def test_folders_without_permission_are_reported(source, tmp_path, datakit):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert "cannot be written to" in datakit("crop", source, locked / "out").stderr


def square_or_worse(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 5:
        time.sleep(60)
    if number == 7:
        raise ValueError("seven")
    return number * number


def test_a_worker_that_dies_hangs_or_raises_costs_one_item():
    results = dict(processes(square_or_worse, range(10), jobs=2, timeout=3))
    assert {n: r for n, r in results.items() if not isinstance(r, Crash)} == {n: n * n for n in range(10) if n not in (3, 5, 7)}
    assert "SIGSEGV" in results[3].reason
    assert "longer than 3 seconds" in results[5].reason
    assert results[7].reason == "ValueError: seven"


def test_items_are_taken_only_as_workers_are_free():
    taken = []

    def items():
        for number in (0, 1, 2, 4, 6, 8, 9):
            taken.append(number)
            yield number

    results = processes(square_or_worse, items(), jobs=2)
    next(results)
    assert len(taken) <= 4
    assert len(list(results)) == 6
