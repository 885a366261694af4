"""A dataset under review."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datakit import CropOptions, crop_folder

Serve = Callable[[Path], str]


@pytest.fixture
def source(pictures: Path, tmp_path: Path) -> Path:
    """Four pictures that are large enough for several sizes, with their captions."""
    folder = tmp_path / "src"
    folder.mkdir()
    for name in ("dogs", "fig", "mountains", "dandelion"):
        for path in pictures.glob(f"{name}.*"):
            shutil.copy(path, folder)
    return folder


@pytest.fixture
def out(source: Path, tmp_path: Path) -> Path:
    """What crop wrote of them; a face that fits nowhere is not among them."""
    crop_folder(source, tmp_path / "out", CropOptions(upscale=1.5))
    return tmp_path / "out"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start the command on a dataset and return the address that it prints; ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> str:
        process = subprocess.Popen(
            [sys.executable, "-m", "datakit", "review", str(folder), "--no-open"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), address
        return address

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=20)
