"""Captions that SimpleTuner draws or shuffles itself: how many an epoch shows, and which keep one order, is said."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from datakit.audit.concept import read_concept
from datakit.cli.backend import backend, check
from datakit.cli.steps import steps
from datakit.cli.verify import verify
from tests.conftest import BUCKETS


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs a command in an empty folder and gives all that it says."""
    monkeypatch.chdir(tmp_path)

    def run(command, *arguments):
        result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
        return result.output

    return run


@pytest.mark.parametrize("command", [check, steps, backend])
@pytest.mark.parametrize(
    ("lines", "repeats", "told"),
    [
        (5, None, "about 13 of 20 captions (67%) are expected in one epoch"),
        (5, 1, "about 4 of 20 captions (20%)"),
        ([1, 1, 1, 3], None, "about 4 of 6 captions (67%)"),
        ([1, 1, 1, 3], 3, "about 5 of 6 captions (85%)"),
    ],
)
def test_the_share_of_captions_that_an_epoch_shows_is_told(run, make_dataset, command, lines, repeats, told):
    folder = make_dataset(buckets=BUCKETS[:4], lines=lines)
    often = ["--repeats", repeats] if repeats else []
    assert told in run(command, folder, *often, *(["--cache-root", "cache"] if command is backend else []))


def test_captions_of_one_line_are_all_shown_and_nothing_is_told(make_dataset):
    assert read_concept(make_dataset(buckets=BUCKETS[:2])).notes == ()


def test_how_many_orders_the_trainer_makes_and_which_captions_keep_one_is_told(run, make_dataset):
    folder = make_dataset(buckets=BUCKETS[:4])
    (folder / "p00.txt").write_text("A dog runs. A cat sleeps. It rains.")
    (folder / "p01.txt").write_text("ohwx, a dog")
    said = run(backend, folder, "--cache-root", "cache", "--fix", "--caption-shuffle", 5, "--keep", 1)
    assert "up to 6 captions for each line: the line itself and 5 orders of it" in said
    assert "out: 2 of 4 captions keep their one order: SimpleTuner splits at each comma only" in said
    assert "behind the first 1 part" in said
    assert "keep their one order" not in run(backend, make_dataset("commas"), "--cache-root", "c", "--caption-shuffle", 5)


def test_lines_can_be_kept_together_by_a_setting_that_only_some_releases_know(run, make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:2], lines=2)
    said = run(backend, folder, "--cache-root", "cache", "--set", "disable_multiline_split=true")
    assert "one caption from SimpleTuner 4.0.1 on; earlier ones ignore it" in said
    assert json.loads((tmp_path / "multidatabackend.json").read_text())[0]["disable_multiline_split"] is True
    assert "one caption from SimpleTuner 4.0.1 on" in run(verify)
