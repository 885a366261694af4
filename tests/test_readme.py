"""The README is true: its transcripts are what the commands print, its Python runs, its options exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from datakit.trainers import TRAINERS, trainer
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
TRANSCRIPTS = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def steps(transcript: str) -> list[tuple[str, str]]:
    """(command, what it prints) of a transcript."""
    parts = re.split(r"^\$ (.*)\n", transcript, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def without_hashes(text: str) -> str:
    """Leave out content hashes, which differ between versions of the encoders."""
    return re.sub(r"-[0-9a-f]{8}\b", "", text).strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with the repository's fixtures in it."""
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    return tmp_path


def run(command: str, folder: Path) -> str:
    words = shlex.split(command)
    assert words[0] == "datakit"
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"}, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_the_readme_shows_transcripts():
    assert TRANSCRIPTS


def test_every_transcript_is_what_the_commands_print_one_after_the_other(folder):
    for transcript in TRANSCRIPTS:
        for command, expected in steps(transcript):
            assert without_hashes(run(command, folder)) == without_hashes(expected), command


@pytest.mark.parametrize("code", PYTHON)
def test_the_python_runs(folder, code):
    script = folder / "readme.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_option_named_exists():
    from datakit.cli import main

    # Of other programs: pytest, ruff, pip, the benchmarks, vipsthumbnail.
    known = {"--cov", "--check", "--quiet", "--cache", "--smartcrop"}
    for name in main.list_commands(None):
        command = main.get_command(None, name)
        known |= {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
        for sub in getattr(command, "commands", {}).values():
            known |= {option for parameter in sub.params for option in parameter.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) <= known


def test_every_command_is_described():
    from datakit.cli import main

    assert all(f"datakit {name}" in README for name in main.list_commands(None))


def test_the_page_on_trainers_names_every_trainer_and_its_families():
    page = (ROOT / "docs" / "trainers.md").read_text("utf-8")
    for name in TRAINERS:
        assert f"| `{name}` | {', '.join(trainer(name).families)} |" in page
        assert f"`{trainer(name).file_name}`" in page
