"""The table of promises in docs/guarantees.md: every test that it names is there."""

from __future__ import annotations

import re

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
TESTS = {
    name
    for path in ROOT.glob("tests/**/test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
}


def rows() -> list[list[str]]:
    """The cells of each row of the table."""
    table = PAGE.split("| fault | promise | test |\n|---|---|---|\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()]


def test_every_promise_names_tests_that_exist():
    assert len(rows()) > 15
    for fault, promise, tests in rows():
        named = re.findall(r"`(\w+)`", tests)
        assert named, (fault, promise)
        assert set(named) <= TESTS, set(named) - TESTS
