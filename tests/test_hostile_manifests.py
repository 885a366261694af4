"""Files of datakit's own that somebody edited: refused by line, nothing written or deleted outside, never a traceback."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datakit.dataset.remembered import remember
from tests.commands import invoke, untouched


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    """Three samples and all that the commands write from them; copied before it is damaged."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "src").mkdir()
    for stem in ("fig0", "djembe0", "temple0"):
        shutil.copy(corpus / "src" / f"{stem}.jpg", folder / "src")
        shutil.copy(corpus / "src" / f"{stem}.txt", folder / "src")
    for line in (
        "crop src out --upscale=3 --detector=none --saliency=none --jobs=1",
        "crop src --plan=plan.jsonl --upscale=3 --detector=none --saliency=none --jobs=1",
        "shuffle out copies --repeats=2",
        "backend copies --cache-root=cache --output=b.json",
    ):
        assert datakit(folder, line).exit_code == 0
    return folder


@pytest.fixture
def work(made, tmp_path):
    """A copy of it, beside a folder that nobody may touch."""
    copy_to(made, tmp_path / "work")
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "a.jpg").write_bytes(b"mine")
    (tmp_path / "victim" / "a.txt").write_bytes(b"mine")
    return tmp_path / "work"


def copy_to(made, work):
    """Copy a made folder, and say anew where things are."""
    shutil.copytree(made, work)
    for path in (*work.rglob("origin.json"), *work.rglob("last.json"), work / "b.json"):
        path.write_text(path.read_text().replace(str(made), str(work)))


def datakit(work, line):
    """Run a command in this process, as a user in the folder would."""
    return invoke(line.split(), work)


# What reads each file, and in which folder the file's paths are.
READERS = {
    "plan.jsonl": ["crop src applied --upscale=3 --apply=plan.jsonl --jobs=1"],
    "out/manifest.jsonl": ["crop src out --upscale=3 --prune --jobs=1", "shuffle out copies --repeats=2", "steps out", "check out --fix", "backend out --cache-root=cache --output=o.json"],
    "copies/manifest.jsonl": ["shuffle out copies --repeats=1 --prune", "check copies", "verify b.json", "config copies", "backend copies --cache-root=cache --output=c.json"],
}  # fmt: skip

BAD_RECORDS = {
    "absolute": {"output": "VICTIM/a.jpg", "caption": None},
    "up": {"output": "../../victim/a.jpg", "caption": "../../victim/a.txt"},
    "caption up": {"caption": "../../victim/a.txt"},
    "caption of another": {"caption": "manifest.jsonl"},
    "working folder": {"output": ".datakit/lock.jpg", "caption": None},
    "no picture": {"output": "manifest.jsonl", "caption": None},
    "dots": {"output": "a/./b.jpg", "caption": "a/./b.txt"},
    "zero byte": {"output": "a\x00.jpg", "caption": "a\x00.txt"},
    "source up": {"source": "../victim/a.jpg"},
    "wrong type": {"output": 7},
    "no list": {"bucket": "1024x1024"},
    "huge": {"bucket": [10**40, 1024]},
    "negative": {"bucket": [-1024, 1024]},
    "zero": {"bucket": [0, 1024]},
    "infinite": {"scale": float("inf")},
    "not a number": {"area_kept": float("nan")},
    "negative captions": {"captions": -3},
    "null": {"output_sha256": None},
}


@pytest.mark.parametrize("bad", BAD_RECORDS)
@pytest.mark.parametrize("file", ["out/manifest.jsonl", "copies/manifest.jsonl"])
def test_a_record_that_cannot_be_is_refused_by_line(work, file, bad):
    lines = (work / file).read_text().splitlines()
    edited = json.loads(lines[1]) | BAD_RECORDS[bad]
    lines[1] = json.dumps(edited).replace("VICTIM", str(work.parent / "victim"))
    (work / file).write_text("\n".join(lines) + "\n")
    before = untouched(work.parent)
    for command in READERS[file]:
        ended = datakit(work, command)
        assert ended.exit_code == 2, (command, ended.output)
        assert "manifest.jsonl, line 2: " in ended.stderr, command
    assert contents(untouched(work.parent)) == contents(before)


def contents(found):
    """Leave out folders, whose time of change says that a lock lay there, and what datakit keeps for itself."""
    return {name: entry for name, entry in found.items() if entry[2] and ".datakit" not in name}


@pytest.mark.parametrize("file", ["out/manifest.jsonl", "copies/manifest.jsonl"])
def test_an_output_recorded_twice_is_refused_by_line(work, file):
    lines = (work / file).read_text().splitlines()
    (work / file).write_text("\n".join([*lines, lines[0]]) + "\n")
    for command in READERS[file]:
        ended = datakit(work, command)
        assert (ended.exit_code, f"line {len(lines) + 1}" in ended.stderr) == (2, True), (command, ended.output)


@pytest.mark.parametrize(
    ("edit", "status", "said"),
    [
        ({"source": "/etc/passwd"}, 2, "plan.jsonl, line 2"),
        ({"source": "../victim/a.jpg"}, 2, "plan.jsonl, line 2"),
        ({"box": [float("nan"), 0, 10, 10]}, 2, "plan.jsonl, line 2"),
        ({"box": [0, 0, 1.5, 10]}, 2, "plan.jsonl, line 2"),
        ({"bucket": [64, 64]}, 2, "plan.jsonl, line 2"),
        ({"bucket": [10**9, 10**9]}, 2, "plan.jsonl, line 2"),
        ({"anchor": "../x"}, 2, "plan.jsonl, line 2"),
        ({"source": "temple0.jpg"}, 2, "plan.jsonl, line 3: temple0.jpg was planned in line 2"),
        ({"box": [-5, -5, 500, 500]}, 1, "plan line 2"),
        ({"box": [0, 0, 2**62, 2**62]}, 1, "plan line 2"),
        ({"box": [0, 0, 10**30, 10]}, 1, "plan line 2"),
        ({"box": [10, 10, 10, 10]}, 1, "plan line 2"),
        ({"box": [20, 20, 10, 10]}, 1, "plan line 2"),
        ({"source": "no such.jpg"}, 1, "plan line 2"),
    ],
)
def test_a_plan_edited_beyond_what_can_be_is_refused_by_line(work, edit, status, said):
    lines = (work / "plan.jsonl").read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | edit)
    (work / "plan.jsonl").write_text("\n".join(lines) + "\n")
    before = untouched(work.parent)
    ended = datakit(work, READERS["plan.jsonl"][0])
    assert ended.exit_code == status, ended.output
    assert said in ended.output
    assert {path.name for path in (work / "applied").glob("*.jpg")} == ({"djembe0.jpg", "temple0.jpg"} if status == 1 else set())
    after = contents(untouched(work.parent))
    assert {name: after[name] for name in contents(before)} == contents(before)


def damaged(value: object) -> st.SearchStrategy[object]:
    """What a hand or a bad disk could make of a value."""
    other = st.one_of(
        st.none(), st.booleans(), st.integers(), st.sampled_from([0, -1, 2**31, 2**63, 10**30, 1e308, float("inf"), float("nan"), "", ".", "..", "../../victim/a.jpg", "/etc/passwd", "a\x00b", "\ud800", [], {}, [[]], [1], "a/../b.jpg", ".datakit/lock", "manifest.jsonl"]),
        st.floats(), st.text(max_size=5),
    )  # fmt: skip
    if isinstance(value, dict) and value:
        keys = st.sampled_from(sorted(value))
        return st.one_of(
            keys.flatmap(lambda key: damaged(value[key]).map(lambda new: value | {key: new})),
            keys.map(lambda key: {name: item for name, item in value.items() if name != key}),
            other,
        )
    if isinstance(value, list) and value:
        places = st.integers(0, len(value) - 1)
        return st.one_of(
            places.flatmap(lambda place: damaged(value[place]).map(lambda new: [*value[:place], new, *value[place + 1 :]])),
            st.just(value + value),
            other,
        )
    return other


def damaged_bytes(data: bytes) -> st.SearchStrategy[bytes]:
    """The same of raw bytes: cut off, changed, said twice."""
    return st.one_of(
        st.integers(0, len(data)).map(lambda end: data[:end]),
        st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)).map(
            lambda change: data[: change[0]] + bytes([change[1]]) + data[change[0] + 1 :]
        ),
        st.binary(max_size=40),
        st.just(data + data),
    )


FILES = {
    "plan.jsonl": "crop src applied --upscale=3 --apply=plan.jsonl",
    "out/manifest.jsonl": "crop src out --upscale=3 --detector=none --saliency=none --prune",
    "out/.datakit/origin.json": "shuffle out fresh --repeats=2 --augment=brightness",
    "copies/manifest.jsonl": "backend copies --cache-root=cache --output=c.json --fix",
    "copies/metadata.jsonl": "check copies --fix",
    "b.json": "verify b.json",
    ".datakit/last.json": "shuffle --repeats=2",
    ".datakit/files.json": "backend copies --cache-root=cache --output=b.json",
    "copies/.datakit/journal.jsonl": "shuffle out copies --repeats=2 --prune",
}


@pytest.mark.parametrize("file", FILES)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_no_edit_of_a_file_of_datakits_own_ends_in_a_traceback_or_outside(made, file, data):
    top = made.parent / "edited"  # in one place, since a path is part of what is edited
    shutil.rmtree(top, ignore_errors=True)
    work = top / "work"
    copy_to(made, work)
    (top / "victim").mkdir()
    (top / "victim" / "a.jpg").write_bytes(b"mine")
    remember(work, "crop", work / "out")
    content = journal(work) if file.endswith("journal.jsonl") else (work / file).read_bytes()
    if data.draw(st.booleans()):
        if file.endswith(".jsonl"):
            lines = content.splitlines()
            number = data.draw(st.integers(0, len(lines) - 1))
            lines[number] = to_json(data.draw(damaged(json.loads(lines[number]))))
            content = b"\n".join(lines) + b"\n"
        else:
            content = to_json(data.draw(damaged(json.loads(content))))
    else:
        content = data.draw(damaged_bytes(content))
    (work / file).write_bytes(content)
    before = [untouched(top / "victim"), untouched(work / "src")]
    ended = datakit(work, FILES[file])
    assert ended.exit_code in (0, 1, 2), ended.output
    assert [untouched(top / "victim"), untouched(work / "src")] == before
    assert sorted(path.name for path in top.iterdir()) == ["victim", "work"]


def to_json(value: object) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def journal(work: Path) -> bytes:
    """What a run that was killed would have left of the records."""
    lines = (work / "copies" / "manifest.jsonl").read_text().splitlines()
    return b"".join(to_json({"record": json.loads(line), "text": "a, b"}) + b"\n" for line in lines)
