"""Interruptions and failures, for every command: a second run ends where an undisturbed one does."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from datakit import Execution
from datakit.dataset.remembered import one_at_a_time
from datakit.run.executors import Crash
from datakit.run.processes import processes
from tests.commands import (
    COMMANDS,
    again,
    arguments,
    finish,
    ordinary_user,
    permissions_count,
    run,
    start,
    visible,
    wait_until_begun,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

each_command = pytest.mark.parametrize("command", COMMANDS)
where_permissions_count = pytest.mark.skipif(
    not permissions_count(), reason="root may read and write anywhere, and setpriv is missing"
)


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory):
    """What each command writes when nothing happens, and the seconds that it takes."""
    written = {}
    for command, (source, _) in COMMANDS.items():
        out = tmp_path_factory.mktemp("undisturbed") / "out"
        began = time.monotonic()
        assert run(command, corpus / source, out)[0] == 0
        written[command] = visible(out), time.monotonic() - began
    return written


@pytest.fixture
def copied(corpus, tmp_path):
    """Return a function that copies what a command reads, to be damaged."""

    def copy(command):
        return Path(shutil.copytree(corpus / COMMANDS[command][0], tmp_path / "in", symlinks=True))

    return copy


@pytest.mark.parametrize(
    ("number", "seed"),
    [*((signal.SIGKILL, seed) for seed in range(3)), *((signal.SIGINT, seed) for seed in range(2)), (signal.SIGTERM, 0)],
)
@each_command
def test_interrupted_at_any_moment_a_second_run_gives_the_same_folder(corpus, undisturbed, tmp_path, command, number, seed):
    source, out = corpus / COMMANDS[command][0], tmp_path / "out"
    expected, seconds = undisturbed[command]
    process = start(arguments(command, source, out), tmp_path)
    wait_until_begun(process)
    time.sleep(seconds * random.Random(f"{command} {number} {seed}").random())
    with suppress(ProcessLookupError):
        # A terminal's Ctrl-C goes to the workers too.
        (os.killpg if seed % 2 else os.kill)(process.pid, number)
    status, _ = finish(process)
    # Where all is done and only Python is left to end, the signal itself ends it.
    assert status in {-number, 0} | ({128 + number} - {128 + signal.SIGKILL}), status
    assert all(content == expected[name] for name, content in visible(out).items() if not name.endswith(".jsonl"))
    status, said = again(command, source, out)
    assert status == 0, said
    assert visible(out) == expected


@each_command
def test_two_runs_at_once_the_second_waits_or_refuses_by_name(corpus, undisturbed, tmp_path, command):
    source, out = corpus / COMMANDS[command][0], tmp_path / "out"
    both = [start(arguments(command, source, out), tmp_path) for _ in range(2)]
    ended = [finish(process) for process in both]
    assert 0 in {status for status, _ in ended}
    for status, said in ended:
        assert status == 0 or (status == 2 and "out is being written by another run" in said), said
    assert visible(out) == undisturbed[command][0]


def test_of_two_backends_that_write_one_file_each_writes_all_of_it(corpus, undisturbed, tmp_path):
    words = arguments("backend", corpus / "dataset", tmp_path / "out")
    for _ in range(3):
        both = [start([*words, f"--model-family={family}"], tmp_path) for family in ("sd3", "flux")]
        assert [finish(process)[0] for process in both] == [0, 0]
        written = (tmp_path / "out" / "multidatabackend.json").read_bytes()
        assert written.replace(b"flux", b"sd3") == undisturbed["backend"][0]["multidatabackend.json"]
        # What was written last is what is remembered, so that it may be replaced.
        assert finish(start(words, tmp_path))[0] == 0


def test_a_backend_waits_for_another_that_is_writing(corpus, undisturbed, tmp_path):
    out = tmp_path / "out"
    with one_at_a_time(out):
        process = start(arguments("backend", corpus / "dataset", out), tmp_path)
        time.sleep(2 * undisturbed["backend"][1])
        assert not (out / "multidatabackend.json").exists()
    assert finish(process)[0] == 0
    assert visible(out) == undisturbed["backend"][0]


@each_command
def test_a_full_disk_costs_nothing_that_was_written_and_a_second_run_completes(corpus, undisturbed, small_disk, command):
    source, out = corpus / COMMANDS[command][0], small_disk / "out"
    room = 0 if command == "backend" else 1 << 20
    fill(small_disk, room)
    status, said = run(command, source, out)
    assert status in (1, 2)
    assert "No space left" in said
    expected = undisturbed[command][0]
    assert all(content == expected[name] for name, content in visible(out).items() if not name.endswith(".jsonl"))
    (small_disk / "filling").unlink()
    status, said = again(command, source, out)
    assert status == 0, said
    assert visible(out) == expected


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine may not mount a tmpfs")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk, room):
    """Leave this many bytes free."""
    free = os.statvfs(disk)
    with open(disk / "filling", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - room)


@where_permissions_count
@each_command
def test_an_output_that_may_not_be_written_to_is_named(corpus, tmp_path, command):
    source, locked = corpus / COMMANDS[command][0], tmp_path / "locked"
    locked.mkdir(mode=0o500)
    for out in (locked, locked / "out"):
        status, said = finish(start(arguments(command, source, out), tmp_path, ordinary_user()))
        assert status == 2
        assert str(out) in said
        assert "Permission denied" in said
    assert list(locked.iterdir()) == []


@where_permissions_count
@each_command
def test_what_may_not_be_read_is_named_and_costs_no_other(copied, undisturbed, tmp_path, command):
    source, out = copied(command), tmp_path / "out"
    (source / "sub").mkdir()
    locked = [source / "fig0.jpg", source / "temple1.txt", source / "sub"]
    for path in locked:
        path.chmod(0)
    status, said = finish(start(arguments(command, source, out), tmp_path, ordinary_user()))
    assert status == 1
    assert all(path.name in said for path in locked[:2]), said
    if command != "backend":
        assert "sub: folder cannot be read" in said
        expected = undisturbed[command][0]
        left_out = ("fig0", "temple1", "manifest", "metadata")
        usable = {name: content for name, content in expected.items() if not name.startswith(left_out)}
        assert {name: content for name, content in visible(out).items() if not name.startswith(left_out)} == usable
    for path in locked:
        path.chmod(0o700)
    assert again(command, source, out)[0] == 0
    assert same_but_for_paths(visible(out), undisturbed[command][0])


def same_but_for_paths(one, other):
    """Tell whether two outputs are the same; a dataset config names its dataset, which lies elsewhere."""
    return one == other or [name for name in one if name != "multidatabackend.json"] == [] == [*set(one) ^ set(other)]


@pytest.mark.parametrize("command", ["crop", "shuffle", "augment"])
@pytest.mark.parametrize("fate", ["gone", "changed", "empty", "folder"])
def test_a_picture_that_vanishes_or_changes_during_a_run_costs_no_other(copied, undisturbed, tmp_path, command, fate):
    """The folder is listed and compared first; the change comes between that and the work."""
    source, out = copied(command), tmp_path / "out"
    victim, other = source / "fig1.jpg", source / "rocket1.jpg"

    def disturbing(items, total, label):
        if label != "checking":
            content = other.read_bytes()
            victim.unlink()
            if fate == "folder":
                victim.mkdir()
            elif fate != "gone":
                victim.write_bytes(content if fate == "changed" else b"")
        return items

    _, said = again(command, source, out, Execution(progress=disturbing))
    expected = undisturbed[command][0]
    assert {line.split(":")[0] for line in said.splitlines()} == (set() if fate == "changed" else {"fig1.jpg"})
    if fate == "folder":
        victim.rmdir()
    shutil.copy(source / "fig0.jpg", victim)  # the same picture
    written = visible(out)
    assert all(written[name] == content for name, content in expected.items() if name.endswith("jpg") and "fig1" not in name)
    assert again(command, source, out)[0] == 0
    assert visible(out) == expected


@pytest.mark.parametrize("seed", range(3))
def test_a_dataset_that_changes_under_backend_is_proved_or_refused(copied, tmp_path, seed):
    source, out = copied("backend"), tmp_path / "out"
    process = start(arguments("backend", source, out), tmp_path)
    time.sleep(0.6 + 0.2 * seed)
    for path in (source / "fig1.jpg", source / "temple1.txt"):
        path.unlink()
    status, said = finish(process)
    assert status in (0, 1)
    assert status == 0 or "fig1.jpg" in said or "temple1" in said
    assert (out / "multidatabackend.json").exists() == (status == 0)
    status, said = again("backend", source, out)
    assert status == 1
    assert "fig1.jpg" in said
    assert "temple1" in said


@pytest.mark.parametrize("fate", ["gone", "other", "smaller"])
def test_a_picture_that_changes_between_plan_and_apply_is_named(copied, tmp_path, fate, pictures):
    source, out = copied("crop"), tmp_path / "out"
    plan = [
        "crop",
        str(source),
        "--upscale=3",
        "--jobs=1",
        "--detector=none",
        "--saliency=none",
        f"--plan={tmp_path / 'plan.jsonl'}",
    ]
    assert finish(start(plan, tmp_path))[0] == 0
    (source / "fig1.jpg").unlink()
    if fate != "gone":
        shutil.copy(pictures / ("rocket.jpg" if fate == "other" else "flower.jpg"), source / "fig1.jpg")
    status, said = finish(
        start(["crop", str(source), str(out), "--upscale=3", "--jobs=1", f"--apply={tmp_path / 'plan.jsonl'}"], tmp_path)
    )
    assert status == 1
    assert "fig1.jpg: plan line" in said
    assert ("no such picture" if fate == "gone" else "plan again") in said
    assert len(list(out.glob("*.jpg"))) == 11


def wait_for_outputs(out, count):
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.jpg"))) < count and time.monotonic() < deadline:
        time.sleep(0.005)


def test_a_script_without_a_guard_can_use_workers(corpus, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from datakit import CropOptions, Execution, crop_folder\n"
        f"print(crop_folder({str(corpus / 'src')!r}, 'out', CropOptions(upscale=3), execution=Execution(jobs=2)).done)\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("12\n", "")


def test_an_interrupt_leaves_no_worker_behind(corpus, tmp_path):
    process = start([*arguments("crop", corpus / "src", tmp_path / "out"), "--jobs=2"], tmp_path)
    wait_for_outputs(tmp_path / "out", 1)
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 130
    assert left_of(process) == []


def test_an_interrupt_during_an_import_that_would_swallow_it_still_ends_the_run(corpus, tmp_path):
    # NumPy's C code imports more of NumPy, and makes an ImportError of whatever is raised meanwhile.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'numpy':\n"
        "            try:\n"
        "                os.kill(os.getpid(), signal.SIGINT)\n"
        "            except KeyboardInterrupt:\n"
        "                raise ImportError('numpy') from None\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    process = start(arguments("crop", corpus / "src", tmp_path / "out"), tmp_path, ["env", f"PYTHONPATH={tmp_path}"])
    status, said = finish(process)
    assert status == 130
    assert said.count("\n") == 1


def left_of(process):
    """What still runs of a process's group a moment after its end."""
    time.sleep(0.5)
    # A dead one that nobody has waited for yet (Z) is no worker.
    return [name for name, group, state in processes_of_all() if group == process.pid and state != "Z"]


def processes_of_all():
    """Yield name, group and state of every process; a small Linux has no `ps`."""
    if not Path("/proc/self/stat").exists():
        every = subprocess.run(["ps", "-A", "-o", "pgid=,stat=,comm="], capture_output=True, text=True, check=True).stdout
        yield from ((name, int(group), state[0]) for group, state, name in (row.split(maxsplit=2) for row in every.splitlines()))
        return
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            # proc(5): the name stands in parentheses and may hold anything; behind it state, parent, group.
            name, _, rest = path.read_text().rpartition(")")
            state, _, group = rest.split()[:3]
            yield name, int(group), state


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


def test_a_second_interrupt_ends_no_later_than_the_first(corpus, tmp_path):
    for gap in (0.002, 0.006, 0.02):
        process = start([*arguments("crop", corpus / "src", tmp_path / f"out{gap}"), "--jobs=2"], tmp_path)
        wait_for_outputs(tmp_path / f"out{gap}", 1)
        for _ in range(2):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            time.sleep(gap)
        assert finish(process)[0] == 130
        assert left_of(process) == []


def test_a_script_that_fails_or_is_interrupted_between_two_pictures_ends(corpus, tmp_path):
    for trouble, status in (("raise RuntimeError('mine')", 1), ("signal.raise_signal(signal.SIGINT)", -signal.SIGINT)):
        script = tmp_path / "script.py"
        script.write_text(
            "import signal\n"
            "from datakit import CropOptions, Execution, crop_folder\n"
            "def progress(items, total, label):\n"
            "    for item in items:\n"
            "        yield item\n"
            f"        if label == 'crop': {trouble}\n"
            f"crop_folder({str(corpus / 'src')!r}, 'out', CropOptions(upscale=3), execution=Execution(jobs=2, progress=progress))\n"
        )
        done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, done.stderr
        assert done.stderr.count("Traceback") == 1


def test_the_signals_that_a_caller_blocks_stay_as_they_were():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        assert dict(processes(abs, [-1, -2], jobs=2)) == {-1: 1, -2: 2}
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before | {signal.SIGTERM}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux who is whose child")
def test_workers_end_with_a_caller_that_is_killed_in_the_midst_of_an_item(tmp_path):
    item = f"open({str(tmp_path / 'begun')!r}, 'w').close(); import time; time.sleep(600)"
    caller = subprocess.Popen(
        [sys.executable, "-c", f"from datakit.run.processes import processes\nlist(processes(exec, [{item!r}], 1))"]
    )
    while caller.poll() is None and not (tmp_path / "begun").exists():
        time.sleep(0.1)
    workers = Path(f"/proc/{caller.pid}/task/{caller.pid}/children").read_text().split()
    assert workers
    caller.kill()
    caller.wait()
    for _ in range(300):
        if not any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers):
            return
        time.sleep(0.1)
    raise AssertionError(workers)


def test_what_an_interrupt_left_half_made_says_nothing(tmp_path):
    script = """
import os, signal, sys
import click
import datakit.__main__, datakit.cli

class Bar:
    def __init__(self):
        os.kill(os.getpid(), signal.SIGINT)
        self.closed = True

    def __del__(self):
        self.closed

datakit.cli.main.get_command(click.Context(datakit.cli.main), "doctor").callback = lambda **options: Bar()
sys.argv = ["datakit", "doctor"]
datakit.__main__.run()
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (130, 1), ended.stderr
