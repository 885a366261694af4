"""The commands as the fault tests start them: one table, so that every fault meets every command."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

from click.testing import CliRunner, Result

from datakit import CropOptions, Execution, crop_folder
from datakit.cli import main
from datakit.picture.augment import parse_augmentations
from datakit.run.executors import EXECUTORS
from datakit.shuffle.folder import shuffle_folder
from datakit.shuffle.variants import ShuffleOptions
from tests.conftest import tree

# For each command: what it reads (a folder of the corpus), and its arguments, in which IN and OUT stand for folders.
COMMANDS = {
    "crop": ("src", ["crop", "IN", "OUT", "--upscale=3", "--detector=none", "--saliency=none", "--jobs=1"]),
    "shuffle": ("dataset", ["shuffle", "IN", "OUT", "--repeats=20", "--keep=1"]),
    "augment": ("dataset", ["shuffle", "IN", "OUT", "--repeats=2", "--augment=brightness", "--jobs=1"]),
    "backend": ("dataset", ["backend", "IN", "--cache-root=/cache", "--output=OUT/multidatabackend.json"]),
}


def arguments(name: str, source: Path, out: Path) -> list[str]:
    """What a user types after ``datakit``."""
    return [word.replace("IN", str(source)).replace("OUT", str(out)) for word in COMMANDS[name][1]]


def ordinary_user() -> list[str]:
    """What starts a command so that permissions count: root sets aside its right to ignore them. Empty where it cannot."""
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("setpriv"):
        return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    return []


def permissions_count() -> bool:
    """Tell whether `ordinary_user` starts a command that permissions stop."""
    return hasattr(os, "geteuid") and (os.geteuid() != 0 or bool(ordinary_user()))


def start(words: list[str], cwd: Path, before: list[str] | None = None) -> subprocess.Popen[str]:
    """Start ``datakit`` in a process group of its own."""
    return subprocess.Popen(
        [*(before or []), sys.executable, "-m", "datakit", *words],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        start_new_session=True,
    )


def wait_until_begun(process: subprocess.Popen[str]) -> None:
    """Wait until datakit itself answers signals: before, it is Python that starts, and says so with a traceback."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        caught = re.search(r"SigCgt:\s*(\w+)", status.read_text()) if status.exists() else None
        if caught is None:
            time.sleep(0.5)  # no Linux
            return
        if int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.002)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return a process's exit status and all that it said; an error that nobody foresaw is none of its ways to end."""
    stdout, stderr = process.communicate(timeout=300)
    assert "Traceback" not in stderr, stderr
    return process.returncode, stdout + stderr


def run(name: str, source: Path, out: Path, *more: str, before: list[str] | None = None) -> tuple[int, str]:
    """Run a command of the table to its end, from the folder that holds OUT."""
    return finish(start([*arguments(name, source, out), *more], out.parent, before))


def invoke(words: list[str], cwd: Path) -> Result:
    """Run ``datakit`` in this process, its workers' part too; an error that nobody foresaw is raised."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with (
            contextlib.chdir(cwd),
            mock.patch.dict(EXECUTORS, processes=EXECUTORS["serial"]),
        ):
            return CliRunner().invoke(main, words, catch_exceptions=False)
    finally:
        signal.signal(signal.SIGTERM, handler)


def said(words: str, cwd: Path) -> tuple[int, str]:
    """Do so with words as they are typed; return the exit status and all that was said."""
    ended = invoke(words.split(), cwd)
    return ended.exit_code, ended.output


def again(name: str, source: Path, out: Path, execution: Execution = Execution()) -> tuple[int, str]:
    """Run a command of the table in this process, which takes less time than to start one."""
    plain = CropOptions(upscale=3, detector="none", saliency="none")
    if name == "backend":
        ended = invoke(arguments(name, source, out), out.parent)
        return ended.exit_code, ended.output
    if name == "crop":
        report = crop_folder(source, out, plain, execution=execution)
    elif name == "shuffle":
        report = shuffle_folder(source, out, ShuffleOptions(repeats=20, keep=1), execution=execution)
    else:
        options = ShuffleOptions(repeats=2, augment=parse_augmentations("brightness"))
        report = shuffle_folder(source, out, options, execution=execution)
    return report.exit_code, "\n".join(f"{problem.source}: {problem.reason}" for problem in (*report.refused, *report.failed))


def visible(folder: Path) -> dict[str, bytes]:
    """The files of an output without hidden ones, such as what a killed process was writing beside its place."""
    return {name: content for name, content in tree(folder).items() if not Path(name).name.startswith(".")}


def untouched(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time of change and sha256 of everything in a folder, the folder itself and hidden files included."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        content = path.readlink().as_posix() if path.is_symlink() else "" if path.is_dir() else _sha256(path)
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_mtime_ns, content)
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
