"""Loose files that a list names, cut into shards."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datakit import CropOptions
from datakit.errors import UsageError
from datakit.shards.crop import crop_shards
from datakit.shards.listed import find_listed, read_names
from datakit.shards.storage import open_storage
from tests.commands import said
from tests.conftest import tree
from tests.shards.conftest import OPTIONS, WORDS
from tests.shards.test_crop import records_of, shards_of, unpacked


def write_list(path, names):
    path.write_bytes(b"".join(b"%s\n" % name for name in sorted(name.encode() for name in names)))
    return path


def cut(folder, path, shard_size):
    portions, _ = find_listed(open_storage(str(folder)), path, shard_size)
    return [read_names(path, portion.detail) for portion in portions]


def test_loose_pictures_are_those_of_the_folder(raw, as_folder, samples, tmp_path):
    path = write_list(tmp_path / "names.txt", samples)
    code, text = said(f"crop {raw / 'folder'} out --list names.txt --shard-size 3 {' '.join(WORDS)}", tmp_path)
    assert (code, "shards 3 done" in text) == (0, True), text
    assert unpacked(tmp_path / "out") == {name: data for name, data in tree(as_folder).items() if name.endswith((".jpg", ".txt"))}
    assert len(records_of(tmp_path / "out")) == 7
    again = crop_shards(str(raw / "folder"), str(tmp_path / "out"), OPTIONS, names=path, shard_size=3)
    assert (again.done, again.skipped, again.notes) == (0, 3, [])
    with pytest.raises(UsageError, match=r"other options \(shard_size 3\)"):
        crop_shards(str(raw / "folder"), str(tmp_path / "out"), OPTIONS, names=path, shard_size=4)


def test_only_shards_whose_files_changed_are_made_again(raw, samples, tmp_path):
    folder, out = tmp_path / "src", str(tmp_path / "out")
    shutil.copytree(raw / "folder", folder)
    names = write_list(tmp_path / "names.txt", [name for name in samples if not name.endswith(".txt")])
    report = crop_shards(str(folder), out, OPTIONS, names=names, shard_size=4)
    assert (report.done, len(report.notes)) == (2, 1)
    assert "names no captions" in report.notes[0]
    before = shards_of(tmp_path / "out")
    shutil.copy(folder / "coffee.png", folder / "temple.jpg")
    report = crop_shards(str(folder), out, OPTIONS, names=names, shard_size=4)
    assert (report.done, report.skipped) == (1, 1)
    assert shards_of(tmp_path / "out")["00000.tar"] == before["00000.tar"]


@settings(max_examples=40)
@given(
    st.sets(
        st.tuples(
            st.sampled_from(["", "a/", "a.b/"]), st.sampled_from("abc"), st.sampled_from([".jpg", ".txt", ".x.png", "-.jpg"])
        )
    ),
    st.integers(1, 4),
)
def test_a_shard_holds_so_many_pictures_and_what_belongs_to_them(tmp_path_factory, parts, size):
    folder = tmp_path_factory.mktemp("listed")
    names = {"".join(part) for part in parts}
    for name in names:
        (folder / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "src" / name).touch()
    path = write_list(folder / "names", names)
    pictures = [name for name in names if not name.endswith(".txt")]
    if not pictures:
        return
    shards = cut(folder / "src", path, size)
    assert [name for shard in shards for name in shard] == sorted(names, key=os.fsencode)
    for number, shard in enumerate(shards):
        assert number == len(shards) - 1 or sum(name in pictures for name in shard) >= size
        stems = {name.rpartition("/")[0] + "/" + name.rpartition("/")[2].partition(".")[0] for name in shard}
        for other in shards[:number]:
            assert stems.isdisjoint(name.rpartition("/")[0] + "/" + name.rpartition("/")[2].partition(".")[0] for name in other)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b"b.jpg\na.jpg\n", r"line 2: 'a\.jpg' stands behind 'b\.jpg': sort the list"),
        (b"a.jpg\na.jpg\n", r"line 2: 'a\.jpg' is there twice"),
        (b"../a.jpg\n", r"line 1: '\.\./a\.jpg' is no name inside SRC"),
        (b"/a.jpg\n", "is no name inside SRC"),
        (b"\xff.jpg\n", "line 1 is not UTF-8"),
        (b"a.jpg\nmissing.jpg\n", r"1 file of .* not in .*: missing\.jpg"),
        (b"a.txt\n", "names no pictures"),
        (b"", "names no pictures"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(tmp_path, lines, message):
    (tmp_path / "src").mkdir()
    for name in ("a.jpg", "a.txt", "b.jpg"):
        (tmp_path / "src" / name).touch()
    (tmp_path / "names").write_bytes(lines)
    with pytest.raises(UsageError, match=message):
        crop_shards(str(tmp_path / "src"), str(tmp_path / "out"), CropOptions(format="jpg"), names=tmp_path / "names")
    assert not (tmp_path / "out").exists()


def test_a_list_is_of_files_and_lies_apart_from_what_is_written(raw, samples, tmp_path):
    path = write_list(tmp_path / "names", samples)
    with pytest.raises(UsageError, match="cannot be read"):
        crop_shards(str(raw / "folder"), str(tmp_path / "out"), OPTIONS, names=tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"lies in .*folder, which is to be written"):
        crop_shards(str(raw / "folder"), str(raw / "folder"), OPTIONS, names=path)
    code, text = said(f"crop {raw / 'tars' / '*.tar'} out --shard-size 3 {' '.join(WORDS)}", tmp_path)
    assert (code, "of a --list" in text) == (2, True)
