"""All or nothing: a strict run writes what a plain run writes, or leaves everything as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from datakit import Execution
from datakit.report import counted
from tests.commands import COMMANDS, again, finish, start, untouched, visible

STRICT = Execution(strict=True)
STAGES = ["crop", "shuffle", "augment"]


@pytest.fixture
def copied(corpus, tmp_path):
    """Return a function that copies what a command reads."""
    return lambda command: Path(shutil.copytree(corpus / COMMANDS[command][0], tmp_path / "in"))


@pytest.mark.parametrize("command", STAGES)
def test_without_problems_it_writes_what_a_plain_run_writes(copied, tmp_path, command):
    source = copied(command)
    assert again(command, source, tmp_path / "plain")[0] == 0
    assert again(command, source, tmp_path / "strict", STRICT)[0] == 0
    assert visible(tmp_path / "strict") == visible(tmp_path / "plain")


@pytest.mark.parametrize("command", STAGES)
@pytest.mark.parametrize("problem", ["damaged", "undecodable", "caption", "linked"])
@pytest.mark.parametrize("before", [False, True])
def test_with_one_problem_nothing_at_all_changes(copied, tmp_path, command, problem, before):
    source, out = copied(command), tmp_path / "new" / "out"
    if before:
        assert again(command, source, out)[0] == 0
        (source / "temple0.txt").write_text("other, words, now, and, again")
    match problem:
        case "damaged":
            (source / "fig1.jpg").write_bytes(b"no picture")
        case "undecodable":
            # Its header is whole: only decoding it shows what is wrong.
            data = (source / "fig1.jpg").read_bytes()
            (source / "fig1.jpg").write_bytes(data[: len(data) // 2])
        case "caption":
            (source / "fig1.txt").write_bytes(b"\x00\x01\xff\xfe")
        case "linked":
            (source / "gone.jpg").symlink_to("nowhere.jpg")
    earlier = visible(out) if before else None
    status, said = again(command, source, out, STRICT)
    assert (status, len(set(said.splitlines()))) == (1, 1), said
    assert said.startswith("gone.jpg: " if problem == "linked" else "fig1.jpg: ")
    if before:
        assert visible(out) == earlier
        assert not list((out / ".datakit").glob("tmp/*"))
    else:
        assert not (tmp_path / "new").exists()


def test_the_command_names_every_problem_and_remembers_nothing(copied, tmp_path):
    source = copied("crop")
    (source / "fig1.jpg").write_bytes(b"no picture")
    words = ["crop", "in", "out", "--upscale=3", "--detector=none", "--saliency=none", "--strict"]
    status, said = finish(start(words, tmp_path))
    assert status == 1
    assert "crop in -> out: 0 done, 1 failed" in said
    assert "fig1.jpg" in said
    assert "note: nothing was written, as --strict asks" in said
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    status, said = finish(start([*words, "--json"], tmp_path))
    assert (json.loads(said)["withheld"], json.loads(said)["done"]) == (True, 0)
    (source / "fig1.jpg").unlink()
    assert finish(start(words, tmp_path))[0] == 0
    assert (tmp_path / ".datakit" / "last.json").exists()


@pytest.mark.parametrize("command", ["crop", "shuffle"])
def test_a_strict_plan_is_written_whole_or_not_at_all(copied, tmp_path, command):
    source = copied(command)
    words = [command, "in", "--dry-run", "--strict", *(["--upscale=3", "--detector=none"] if command == "crop" else [])]
    assert finish(start(words, tmp_path))[1].count('"source"') > 10
    (source / ("fig1.jpg" if command == "crop" else "fig1.txt")).write_bytes(b"")
    status, said = finish(start(words, tmp_path))
    assert status == 1
    assert '"source"' not in said


def test_a_link_that_cannot_be_made_stops_a_strict_run_at_once(copied, tmp_path, monkeypatch):
    """Which is found out only when files are moved into place; here nothing was yet."""
    from datakit.dataset import links
    from datakit.shuffle.folder import shuffle_folder
    from datakit.shuffle.variants import ShuffleOptions

    def cannot(*places):
        raise OSError(95, "Operation not supported")

    monkeypatch.setitem(links.LINKS, "reflink", cannot)
    report = shuffle_folder(copied("shuffle"), tmp_path / "out", ShuffleOptions(link="reflink"), execution=STRICT)
    assert (len(report.failed), report.done) == (1, 0)
    assert "stopped there, as --strict asks" in report.notes[-1]
    assert not list((tmp_path / "out").glob("*.jpg"))


def test_a_strict_run_takes_an_earlier_output_out_of_nobodys_way(copied, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "fig1.txt").write_bytes(b"mine")
    before = untouched(out)
    status, said = again("crop", copied("crop"), out, STRICT)
    assert status == 1
    assert "fig1.txt is in the way" in said
    # The folder's own time of change is new: the lock lay there for a while.
    assert {name: entry for name, entry in untouched(out).items() if name != "."} == {
        name: entry for name, entry in before.items() if name != "."
    }


def test_numbers_go_with_their_nouns():
    assert [counted(number, "output") for number in (0, 1, 2)] == ["0 outputs", "1 output", "2 outputs"]
    assert counted(2, "copy", "copies") == "2 copies"
