"""--fix mends captions and nothing else."""

from __future__ import annotations

import os

import msgspec
import pytest

from datakit.audit.concept import read_concept
from datakit.audit.mend import mend_captions
from datakit.dataset.metadata import METADATA
from datakit.dataset.store import Store
from datakit.errors import DatasetBusyError, UsageError
from tests.conftest import BUCKETS
from tests.trainers.conftest import findings_of


def test_captions_come_out_clean_and_known(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:5])
    dirty = {
        "p00": b"\xef\xbb\xbfa, b",
        "p01": b"a\r\n\r\nb \r\n",
        "p02": "caf\xe9".encode("cp1252"),
        "p03": b"by hand\nand more",
    }
    for stem, data in dirty.items():
        (folder / f"{stem}.txt").write_bytes(data)
    pictures = {path: path.read_bytes() for path in folder.glob("*.jpg")}
    before = read_concept(folder)

    mended = mend_captions(folder)

    assert (mended.cleaned, mended.adopted, mended.left) == (["p00.txt", "p01.txt", "p02.txt"], ["p03.txt"], [])
    assert [(folder / f"p0{number}.txt").read_bytes() for number in range(4)] == [
        b"a, b",
        b"a\nb",
        "café".encode(),
        b"by hand\nand more",
    ]
    after = read_concept(folder)
    assert findings_of(folder) == []
    assert [record.captions for record in after.records] == [1, 2, 1, 2, 1]
    assert after.id != before.id
    rows = [msgspec.json.decode(line) for line in (folder / METADATA).read_bytes().splitlines()]
    assert [(row["file_name"][:3], row["text"]) for row in rows] == [
        ("p00", "a, b"),
        ("p01", "a"),
        ("p01", "b"),
        ("p02", "café"),
        ("p03", "by hand"),
        ("p03", "and more"),
        ("p04", "ohwx, token 4, line 0, copy 1"),
    ]
    assert pictures == {path: path.read_bytes() for path in folder.glob("*.jpg")}


def test_a_clean_dataset_is_not_written_to(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    before = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}
    mended = mend_captions(folder)
    assert (mended.cleaned, mended.adopted) == ([], [])
    assert before == {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}


def test_an_interrupted_mending_is_finished_by_the_next(make_dataset, monkeypatch):
    folder = make_dataset(buckets=BUCKETS[:2])
    (folder / "p00.txt").write_bytes(b"a\r\n")
    (folder / "p01.txt").write_bytes(b"b\r\n")
    replace = os.replace
    done = []

    def replace_once(source, target):
        if done:
            raise KeyboardInterrupt
        done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_once)
    with pytest.raises(KeyboardInterrupt):
        mend_captions(folder)
    monkeypatch.undo()
    mended = mend_captions(folder)
    assert (mended.adopted, mended.cleaned) == (["p00.txt"], ["p01.txt"])
    assert findings_of(folder) == []


def test_what_cannot_be_mended_is_left_and_named(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:3])
    (folder / "p00.txt").write_bytes(b" \n")
    (folder / "p01.txt").write_bytes(b"a\0b")
    (folder / "p02.txt").unlink()
    assert [name for name, _ in mend_captions(folder).left] == ["p00.txt", "p01.txt", "p02.txt"]
    assert (folder / "p00.txt").read_bytes() == b" \n"


def test_a_dataset_in_use_or_unfinished_is_refused(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    with Store(folder), pytest.raises(DatasetBusyError):
        mend_captions(folder)
    record = next(iter(read_concept(folder).records))
    (folder / ".datakit" / "journal.jsonl").write_bytes(msgspec.json.encode({"record": record, "text": "x"}) + b"\n")
    with pytest.raises(UsageError, match="interrupted run"):
        mend_captions(folder)


def test_one_line_feed_at_the_end_stays(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    (folder / "p00.txt").write_bytes(b"by hand\n")
    assert mend_captions(folder).adopted == ["p00.txt"]
    assert (folder / "p00.txt").read_bytes() == b"by hand\n"
    assert findings_of(folder) == []
