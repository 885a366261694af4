"""Tar files: damage is found, the same content gives the same bytes, no two names become one."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datakit.errors import ShardError
from datakit.shards.tar import TarWriter, extract, field_names, key_of, stem_of
from tests.conftest import tree
from tests.shards.conftest import write_tar

STEM = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12)
NAMES = st.lists(STEM.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3).map("/".join)


def written(files):
    file = io.BytesIO()
    writer = TarWriter(file)
    offsets = {name: writer.add(name, data) for name, data in files.items()}
    writer.end()
    assert writer.size == len(file.getvalue())
    return file.getvalue(), offsets


def extracted(data, folder):
    extract(io.BytesIO(data), "0.tar", len(data), folder)
    return tree(folder)


@settings(max_examples=40)
@given(st.dictionaries(NAMES.map(lambda stem: f"{key_of(stem)}.jpg"), st.binary(max_size=2000), max_size=5))
def test_what_is_written_is_read_by_others_and_lies_where_it_is_said(files):
    data, offsets = written(files)
    assert all(data[offset : offset + len(files[name])] == files[name] for name, offset in offsets.items())
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}
        assert {(member.mtime, member.uid, member.gid, member.uname) for member in tar} <= {(0, 0, 0, "")}
    assert found == files
    assert written(files)[0] == data


@given(NAMES)
def test_a_key_has_no_dot_keeps_its_folders_and_gives_its_stem_back(stem):
    key = key_of(stem)
    assert "." not in key
    assert key.count("/") == stem.count("/")
    assert stem_of(key) == stem


@given(st.sets(NAMES, min_size=2, max_size=2))
def test_no_two_stems_have_one_key(stems):
    assert len({key_of(stem) for stem in stems}) == 2


def test_fields_are_told_by_the_first_dot():
    assert field_names("cats/a.b%.jpg") == ("cats/a%2Eb%25.jpg", "cats/a%2Eb%25.txt")


@pytest.fixture(scope="module")
def whole():
    files = {f"{number:03d}.{kind}": bytes([number]) * (400 + number) for number in range(15) for kind in ("jpg", "txt")}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return files, file.getvalue()


def test_a_whole_tar_is_read(whole, tmp_path):
    files, data = whole
    assert extracted(data, tmp_path / "out") == files


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_tar_never_loses_a_file_silently(whole, data):
    files, tar = whole
    end = len(files) * 2 * 1024 // 2  # each has a header and a block
    damage = data.draw(st.sampled_from(["cut", "zeroed", "changed"]))
    if damage == "cut":
        # The filling behind the two blocks of the end is nobody's loss.
        damaged = tar[: data.draw(st.integers(0, end + 1023))]
    else:
        # A header: what lies in a file is found when the picture is decoded.
        place = 1024 * data.draw(st.integers(0, len(files) - 1)) + data.draw(
            st.integers(0, 511) if damage == "zeroed" else st.integers(0, 156)
        )
        length = 512 - place % 512 if damage == "zeroed" and data.draw(st.booleans()) else 1
        new = bytes(length) if damage == "zeroed" else bytes([tar[place] ^ 0x55])
        damaged = tar[:place] + new + tar[place + length :]
    if damaged == tar:
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = extracted(damaged, Path(folder) / "out")
        except ShardError:
            return
        assert found == files


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "damaged, cut short, or no uncompressed tar"),
        (lambda data: b"\x1f\x8b" + data, "no uncompressed tar"),
        (lambda data: data[:15360], "cut short"),  # between two files
        (lambda data: data[:15800], "cut short"),  # in a header
        (lambda data: data[:16000], "cut short"),  # in a file
        (lambda data: data[:16384] + bytes(512) + data[16896:], "damaged at byte 16384"),
        (lambda data: data[:16384] + b"\xff" * 512 + data[16896:], "damaged at byte 16384"),
        (lambda data: data[:16384] + bytes(len(data)), "empty bytes, as an unfinished download"),
    ],
)
def test_what_tarfile_takes_for_the_end_is_refused(whole, tmp_path, damage, message):
    with pytest.raises(ShardError, match=rf"^0\.tar.*{message}"):
        extracted(damage(whole[1]), tmp_path / "out")


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "b/../../a.jpg", "a/./b.jpg", "a//b.jpg"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, name):
    write_tar(tmp_path / "0.tar", {"b.jpg": b"", name: b"x"})
    with pytest.raises(ShardError, match="is no path inside a folder"):
        extracted((tmp_path / "0.tar").read_bytes(), tmp_path / "deep" / "out")
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"0.tar", "b.jpg"}


def test_a_file_that_is_there_twice_and_a_link_are_refused(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
        tar.addfile(tarfile.TarInfo("a.jpg"))
    with pytest.raises(ShardError, match=r"'a\.jpg' twice"):
        extracted(file.getvalue(), tmp_path / "twice")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(ShardError, match="a link or a device"):
        extracted(file.getvalue(), tmp_path / "link")


def test_a_tar_of_a_folder_as_gnu_tar_writes_it_is_read(tmp_path):
    import subprocess

    files = {"a.jpg": b"a", "deep/" * 30 + "b.jpg": b"b" * 3000, "grüße/ß.txt": b"c"}
    for name, data in files.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    subprocess.run(["tar", "-cf", tmp_path / "0.tar", "-C", tmp_path / "in", "."], check=True)
    assert extracted((tmp_path / "0.tar").read_bytes(), tmp_path / "out") == files
