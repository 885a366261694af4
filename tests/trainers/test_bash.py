"""Assignments as bash means them, held against bash itself."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datakit.trainers.simpletuner.oldenv.bash import calculate, logical_lines, read_words, unfinished

BASH = shutil.which("bash")
PIECES = st.lists(
    st.sampled_from(["'a b'", '"x $Z y"', '"q\\"q"', "\\ ", "\\$", "$Z", "${Z}", "${Q:-y}", "$((2*(3+4)))", "#", "=", "é", "''", " B=2", "  # c", "; C=$Z"]),
    max_size=5,
).map("".join)  # fmt: skip


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=3))
def test_values_are_those_that_bash_assigns(values):
    script = "Z=zed\n" + "".join(f"{name}={value}\n" for name, value in zip("ABC", values, strict=False))
    ours = {}
    for _, line in logical_lines(script):
        ours |= {word.name: word.text for word in read_words(line, ours)[0] if word.name}
    shown = 'printf "%s\\0" "${A-unset}" "${B-unset}" "${C-unset}"'
    done = subprocess.run(
        [BASH, "--norc", "-c", f"unset A B C Q Z\n{script}{shown}"], capture_output=True, check=True, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    )  # fmt: skip
    assert [ours.get(name, "unset") for name in "ABC"] == done.stdout.decode().split("\0")[:3]


@pytest.mark.parametrize(
    ("line", "mark"),
    [
        ("A=1", ""),
        ("A='1", "'"),
        ('A="1', '"'),
        ("A=1\\", "\\"),
        ("A=1 # it's", ""),
        ("A=1#'", "'"),
        ("A='\\", "'"),
        (r"A=\'", ""),
    ],
)
def test_what_is_open_at_the_end_of_a_line(line, mark):
    assert unfinished(line) == mark


def test_a_forgotten_quote_does_not_swallow_the_file():
    assert list(logical_lines("A='x\nB=1\nC='y\nz'")) == [(1, "A='x"), (2, "B=1"), (3, "C='y\nz'")]


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("2+3*4", 14),
        ("(2+3)*4", 20),
        ("-7/2", -3),
        ("-7%3", -1),
        ("1/0", None),
        ("2**3", None),
        ("__import__('os')", None),
        ("", None),
        ("1.5", None),
        ("-(3)", -3),
        ("9223372036854775807+1", None),
        ("1or 2", None),
    ],
)
def test_arithmetic_is_that_of_bash(expression, result):
    assert calculate(expression) == result


def test_names_stand_for_numbers_and_references_for_text():
    values = {"N": "2+3"}
    assert (calculate("N*2", values), calculate("$N*2", values), calculate("${N}*2", values)) == (10, 8, 8)
    assert calculate("M*2", values) is None
