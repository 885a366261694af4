"""Every emitted file is, byte for byte, what was last looked at."""

from __future__ import annotations

import pytest

from tests.trainers.golden_cases import CASES, GOLDEN


@pytest.mark.parametrize("name", CASES)
def test_is_as_last_looked_at(name):
    assert CASES[name]().decode() == (GOLDEN / name).read_text(), (
        "if the change is meant: python -m tests.trainers.refresh_golden"
    )


def test_no_golden_file_is_left_over():
    assert {path.name for path in GOLDEN.iterdir()} == set(CASES)
