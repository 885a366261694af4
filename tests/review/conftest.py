"""A dataset under review, and a browser without a window that opens its page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from datakit import CropOptions, crop_folder

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

Serve = Callable[[Path], str]
Open = Callable[..., "Page"]


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
