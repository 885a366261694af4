"""What all tests share: real pictures, awkward pictures, the command line as a user starts it, and a browser without a window."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from datakit.sizes import size_set

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).parent.parent
BUCKETS = size_set()
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# How long an example takes to draw says how busy the machine is. In CI the same examples are drawn each time: a change is judged by
# what it changes, not by what is found that day in code that was there before.
settings.register_profile(
    "datakit", deadline=None, print_blob=True, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("datakit")

# Where the suite itself runs in the background, the shell has interrupts ignored, and so would all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Datakit = Callable[..., "subprocess.CompletedProcess[str]"]
Open = Callable[..., "Page"]


def load_fixture(name: str) -> ModuleType:
    """Import a script of fixtures/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"fixtures_{name}", ROOT / "fixtures" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"fixtures_{name}"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make() -> ModuleType:
    """The script that makes the awkward pictures, with the colours it expects."""
    return load_fixture("make")


@pytest.fixture(scope="session")
def awkward(make: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of awkward pictures; never written to."""
    folder: Path = tmp_path_factory.mktemp("awkward") / "made"
    make.make(folder)
    return folder


@pytest.fixture(scope="session")
def pictures() -> Path:
    """The real pictures in the repository; never written to."""
    return ROOT / "fixtures" / "pictures"


@pytest.fixture
def datakit(tmp_path: Path) -> Datakit:
    """Run the command line in a process of its own, in an empty folder."""

    def run(*arguments: str | Path, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "datakit", *map(str, arguments)],
            cwd=cwd,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def corpus(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen small samples in ``src``, and in ``dataset`` the same cropped; never written to."""
    from datakit import CropOptions, crop_folder

    folder = tmp_path_factory.mktemp("corpus")
    (folder / "src").mkdir()
    for copy in range(2):
        for stem in ("astronaut", "flower", "fig", "djembe", "rocket", "temple"):
            shutil.copy(pictures / f"{stem}.jpg", folder / "src" / f"{stem}{copy}.jpg")
            shutil.copy(pictures / f"{stem}.txt", folder / "src" / f"{stem}{copy}.txt")
    crop_folder(folder / "src", folder / "dataset", CropOptions(upscale=3, detector="none", saliency="none"))
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """The files of a dataset by relative path, datakit's own state left out."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".datakit" not in path.parts
    }


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium; the tests skip where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("no Chromium is installed: apt install chromium")
    # Its sandbox does not work for root, as in a container.
    arguments = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Open]:
    """Open an address in a tab and wait until it shows the samples; an error in any tab fails the test."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def open_tab(address: str, *, width: int = 1280, height: int = 800, wait: bool = True, **options: object) -> Page:
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None)
        page.goto(address)
        if wait:
            page.wait_for_selector("body[data-ready]")
        return page

    yield open_tab
    for context in contexts:
        context.close()
    assert not errors
