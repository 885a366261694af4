"""What a person does on the page and what is then on the disk, for the tests that drive it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from datakit.dataset.manifest import Record, read_manifest
from datakit.geometry import Box

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
expect.set_options(timeout=15_000)


def decisions(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / "decisions.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {entry["source"]: entry for entry in map(json.loads, lines)}


def records(folder: Path) -> dict[str, Record]:
    return {record.source: record for record in read_manifest(folder)}


def report(folder: Path) -> dict[str, Any]:
    """What the last run of crop said."""
    said: dict[str, Any] = json.loads((folder / ".datakit" / "report.json").read_text())
    return said


def eventually(check: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for something on the disk."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def card(page: Page, name: str) -> Locator:
    return page.get_by_role("listitem").get_by_role("button", name=re.compile(f"^{re.escape(name)},"))


def open_sample(page: Page, name: str) -> None:
    card(page, name).click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def box_shown(page: Page) -> Box:
    return Box(*map(int, (page.locator(".box").get_attribute("data-box") or "").split()))


def saved(page: Page) -> None:
    expect(page.locator("#saved")).to_have_text("All changes saved")


def drag(page: Page, where: str, dx: float, dy: float) -> None:
    """Drag the middle of an element by some pixels of the screen."""
    place = page.locator(where).bounding_box()
    assert place is not None
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx / 2, y + dy / 2)
    page.mouse.move(x + dx, y + dy)
    page.mouse.up()


def apply(page: Page) -> None:
    page.get_by_role("button", name="Apply").click()
    dialog = page.get_by_role("dialog", name="Applied")
    expect(dialog).to_be_visible(timeout=60_000)
    dialog.get_by_role("button", name="Close").click()
    expect(page.get_by_role("button", name="Apply", exact=True)).to_be_disabled()
