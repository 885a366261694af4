"""A ComfyUI to talk to, and the command line in this process, where a start takes no time."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import invoke
from tests.trained.fake import Fake, served


@pytest.fixture
def comfy() -> Iterator[Fake]:
    with served(Fake()) as fake:
        yield fake


@pytest.fixture
def datakit(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in an empty folder."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        done = invoke([*map(str, arguments)], tmp_path)
        return subprocess.CompletedProcess([*arguments], done.exit_code, done.stdout, done.stderr)

    return run
