"""Which shards a pattern means."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datakit.errors import UsageError
from datakit.shards.patterns import expanded, find_shards, is_shards

ENDS = st.integers(0, 40).flatmap(lambda number: st.integers(0, 4).map(lambda width: f"{number:0{width}d}"))


def test_braces_are_what_bash_makes_of_them():
    patterns = [
        "a{000..012}.tar",
        "{9..11}",
        "{09..11}",
        "{3..1}",
        "x{a,b}{1..2}y",
        "{00..3}",
        "p{q",
        "{a,{1..3}}",
        "{7..7}",
        "{0..3}",
    ]
    bash = subprocess.run(["bash", "-c", f"echo {' '.join(patterns)}"], capture_output=True, text=True, check=True).stdout.split()
    assert {name for pattern in patterns for name in expanded(pattern)} == set(bash)


@settings(max_examples=25)
@given(st.lists(st.tuples(ENDS, ENDS), min_size=1, max_size=2))
def test_a_range_counts_from_end_to_end(ranges):
    names = list(expanded("-".join(f"{{{first}..{last}}}" for first, last in ranges)))
    number = 1
    for first, last in ranges:
        number *= abs(int(first) - int(last)) + 1
    assert len(set(names)) == len(names) == number
    for part, (first, last) in enumerate(ranges):
        assert {int(name.split("-")[part]) for name in names} == set(
            range(min(int(first), int(last)), max(int(first), int(last)) + 1)
        )


@pytest.fixture
def place(tmp_path):
    for name in ("a/0.tar", "a/1.tar", "a/.hidden.tar", "b/0.tar", "b/deep/9.tar", "b/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a/0.tar", ["0.tar"]),
        ("a/{0..1}.tar", ["0.tar", "1.tar"]),
        ("a/*.tar", ["0.tar", "1.tar"]),
        ("*/*.tar", ["a/0.tar", "a/1.tar", "b/0.tar"]),
        ("{a,b}/0.tar", ["a/0.tar", "b/0.tar"]),
        ("{b,a}/[01].tar", ["a/0.tar", "a/1.tar", "b/0.tar"]),
        ("a/{0,*}.tar", ["0.tar", "1.tar"]),
        ("b/*/?.tar", ["deep/9.tar"]),
        ("a/.h*.tar", [".hidden.tar"]),
    ],
)
def test_a_pattern_gives_each_shard_once_in_order(place, pattern, names):
    storage, shards = find_shards(f"{place}/{pattern}")
    assert [shard.name for shard in shards] == names
    assert all(storage.read(shard.name) == b"x" and shard.size == 1 for shard in shards)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a/{0..3}.tar", r"2 shards of .* not there: 2\.tar, 3\.tar"),
        ("c/*.tar", "matches no shards"),
        ("a/0.tar.gz", "uncompressed tar files"),
        ("{a/0.tar,b/notes.txt}", r"notes\.txt is no name of a shard"),
        ("{0..999999999}.tar", "more than 1000000 names"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused(place, pattern, message):
    with pytest.raises(UsageError, match=message):
        find_shards(f"{place}/{pattern}")


def test_a_folder_is_no_shards():
    assert [is_shards(name) for name in ("photos", "photos/", "a.tar", "x/*.tar", "memory://here")] == [
        False,
        False,
        True,
        True,
        False,
    ]
