"""Help: examples first, options by what they are about, and completion in shells."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from datakit.cli import main

TITLES = ["Choose", "Write", "Run", "Show"]
# Options that mean the same in every command stand in the same place everywhere.
PLACES = {
    "Run": {"--jobs", "--overwrite", "--prune", "--timeout", "--strict", "--verify", "--fix"},
    "Write": {"--output", "--output-dir"},
}
PLACES["Show"] = {"--json", "--verbose", "--dry-run", "--help", "--version"}


def commands(command=main, path=("datakit",)):
    """Every command and group with the words that call it."""
    yield path, command
    for name in command.list_commands(None) if isinstance(command, click.Group) else ():
        yield from commands(command.get_command(None, name), (*path, name))


ALL = dict(commands())
EVERY = pytest.mark.parametrize("path", ALL, ids=" ".join)


def shown(path) -> str:
    ended = CliRunner().invoke(main, [*path[1:], "--help"], prog_name="datakit", terminal_width=100)
    assert ended.exit_code == 0, ended.output
    return ended.output


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^(\w+):\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_there_are_many_commands():
    assert len(ALL) > 20
    assert ("datakit", "config", "write") in ALL


@EVERY
def test_examples_follow_the_first_sentence(path):
    """They begin with the command itself, or with what comes before it."""
    usage, sentence, first, *_ = shown(path).split("\n\n")
    assert usage.startswith(f"Usage: {' '.join(path)} ")
    assert sentence.endswith(".")
    assert re.match(r"  datakit \w", first), first


@EVERY
def test_every_option_stands_in_one_section(path):
    found = sections(shown(path))
    assert [title for title in found if title in TITLES] == [title for title in TITLES if title in found]
    assert set(found) <= {*TITLES, "Commands"}
    listed = [
        (name, title) for title in TITLES for name in re.findall(r"^  (?:-\w, )?(--[\w-]+)", found.get(title, ""), re.MULTILINE)
    ]
    options = [each.opts[-1] for each in ALL[path].params if isinstance(each, click.Option) and each.opts != ["--version"]]
    assert sorted(name for name, _ in listed if name not in ("--help", "--version")) == sorted(options)
    for title, names in PLACES.items():
        for name, where in listed:
            assert (name in names) <= (where == title), (name, where)


@EVERY
def test_the_examples_are_taken(path):
    """Their commands and options exist; they are not run."""
    for line in re.findall(r"^  (datakit .*)$", shown(path).split("\n\n")[2], re.MULTILINE):
        words = shlex.split(re.split(r"\s{3,}", line)[0])[1:]
        command = main
        while isinstance(command, click.Group):
            default = {"config": "write", "captions": "import"}.get(command.name)
            if words and command.get_command(click.Context(command), words[0]):
                command = command.get_command(click.Context(command), words.pop(0))
            elif default:
                command = command.get_command(click.Context(command), default)
            else:
                break
        known = {name for parameter in command.params for name in parameter.opts}
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known, (line, used - known)


@pytest.mark.parametrize("path", [path for path in ALL if isinstance(ALL[path], click.Group)], ids=" ".join)
def test_a_group_without_a_command_prints_its_help(path):
    """And no summary of a command is cut in a terminal of 80 columns."""
    helped = CliRunner().invoke(main, [*path[1:], "--help"], prog_name="datakit", terminal_width=80)
    assert "..." not in sections(helped.output)["Commands"]
    if path != ("datakit", "config"):  # its command `write` needs no name
        ended = CliRunner().invoke(main, path[1:], prog_name="datakit", terminal_width=80)
        assert (ended.exit_code, ended.output.strip()) == (2, helped.output.strip())


@pytest.mark.parametrize("words", [["review", "out", "--static"], ["check", "out", "--trigger"], ["config", "write", "--rank"]])
def test_an_option_without_its_value_points_to_its_own_help(words):
    ended = CliRunner().invoke(main, words, prog_name="datakit")
    assert ended.exit_code == 2
    assert ended.output.endswith(f"(see datakit {' '.join(word for word in words[:-1] if word != 'out')} --help)\n")


@pytest.mark.parametrize(
    ("words", "near"), [(["cropp"], "crop"), (["backend", "out", "--cache-root", "cache", "--trainer", "khoya"], "kohya")]
)
def test_what_is_misspelt_is_told_the_nearest(words, near):
    ended = CliRunner().invoke(main, words, prog_name="datakit")
    assert (ended.exit_code, f"Did you mean '{near}'?" in ended.output) == (2, True)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("datakit cr", "crop"), ("datakit crop --sal", "--saliency"), ("datakit backend --trainer mu", "musubi")],
)
def test_shells_complete_commands_options_and_values(typed, offered):
    script = "import sys; sys.argv[0] = 'datakit'; from datakit.__main__ import run; run()"
    asked = {"_DATAKIT_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | asked, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [f"plain,{offered}"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_overview_says_how_completion_is_turned_on(shell):
    assert f"{shell}_source" in shown(("datakit",))
