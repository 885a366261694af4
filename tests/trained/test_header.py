"""Headers: what a file says of itself, and every way in which a file is not whole."""

from __future__ import annotations

import json
import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit.errors import WeightsFileError
from datakit.trained.weights.header import header_bytes, natural, read_header, read_scalars
from tests.trained.made import save, sparse, table

WHOLE = {"a.weight": ("F32", (2, 3)), "b": ("BF16", (4,)), "empty": ("F16", (0, 7))}


def refused(path) -> WeightsFileError:
    with pytest.raises(WeightsFileError) as caught:
        read_header(path)
    assert str(path) in str(caught.value)
    return caught.value


def test_a_header_tells_names_kinds_shapes_places_and_metadata(tmp_path):
    header = read_header(sparse(tmp_path / "x.safetensors", WHOLE, {"format": "pt"}))
    assert [(each.name, each.dtype, each.shape, each.start, each.end) for each in header.tensors.values()] == [
        ("a.weight", "F32", (2, 3), 0, 24),
        ("b", "BF16", (4,), 24, 32),
        ("empty", "F16", (0, 7), 32, 32),
    ]
    assert header.metadata == {"format": "pt"}
    assert header.size == 32
    assert (tmp_path / "x.safetensors").stat().st_size == header.data + header.size


@given(cut=st.integers(0, 10_000))
def test_a_file_cut_anywhere_is_cut_off_or_empty(tmp_path_factory, cut):
    path = save(tmp_path_factory.mktemp("cut") / "x.safetensors", {"a": np.ones((5, 7), np.float32), "b": np.ones(3, np.float16)})
    whole = path.read_bytes()
    path.write_bytes(whole[: cut % len(whole)])
    error = refused(path)
    assert error.kind == ("cut" if cut % len(whole) else "empty")
    assert "still being written" in str(error)


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b"version https://git-lfs.example/spec/v1\noid sha256:00\nsize 5\n", "pointer", "git lfs pull"),
        (b"PK\x03\x04\x00\x00\x08\x08" + bytes(100), "foreign", "PyTorch"),
        (b"<!DOCTYPE html><html>", "foreign", "web page"),
        (b"GGUF" + bytes(100), "foreign", "GGUF"),
        (struct.pack("<Q", 10**12) + bytes(100), "damaged", "1000000000000 bytes"),
        (struct.pack("<Q", 0) + bytes(100), "damaged", "0 bytes"),
        (struct.pack("<Q", 4) + b"{}  x", "damaged", "1 byte"),
        (struct.pack("<Q", 4) + b"[1] ", "damaged", "no table"),
        (struct.pack("<Q", 4) + b'{"a ', "damaged", "cannot be read"),
        (struct.pack("<Q", 200_000) + b"[" * 200_000, "damaged", "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_whole_file_is_named_for_what_it_is(tmp_path, content, kind, said):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    error = refused(path)
    assert error.kind == kind
    assert said in str(error)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, "takes no 4 bytes"),
        ({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, "F99"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, "begins at 4, not at 0"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, "no such shape"),
        ({"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}, "no such shape"),
        ({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, "no such shape"),
        ({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, "no kind, shape or place"),
        ({"a": [1]}, "no kind, shape or place"),
        ({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, "not known: ['F32']"),
        ({"a": {"dtype": "F32", "shape": "", "data_offsets": [0, 4]}}, "no such shape"),
        ({"a": {"dtype": "F32", "shape": {}, "data_offsets": [0, 4]}}, "no such shape"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, float("nan")]}}, "no such shape or place"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, "takes no -4 bytes"),
        (
            {
                "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]},
            },
            "b begins at 2, not at 4",
        ),
        ({"__metadata__": {"n": 1}}, "metadata"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(tmp_path, entries, said):
    path = tmp_path / "x.safetensors"
    text = json.dumps(entries).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    assert said in str(refused(path))


# Bytes of eight numbers of each kind that the format has.
OF_EIGHT = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


@pytest.mark.parametrize("dtype", OF_EIGHT)
def test_every_kind_takes_as_many_bytes_as_it_says(tmp_path, dtype):
    path = tmp_path / "x.safetensors"
    for size in (OF_EIGHT[dtype], OF_EIGHT[dtype] + 1):
        text = json.dumps({"a": {"dtype": dtype, "shape": [2, 4], "data_offsets": [0, size]}}).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(size))
        if size == OF_EIGHT[dtype]:
            assert read_header(path).tensors["a"].parameters == 8
        else:
            assert f"takes no {size} bytes" in str(refused(path))


def test_what_is_missing_and_what_is_too_much_is_told_in_bytes(tmp_path):
    path = sparse(tmp_path / "x.safetensors", {"a": ("U8", (100,))})
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    assert f"7 bytes of {len(whole)} bytes are missing" in str(refused(path))
    path.write_bytes(whole + b"12")
    assert "2 bytes lie behind" in str(refused(path))
    path.write_bytes(struct.pack("<Q", 2) + b"{}")
    assert not read_header(path).tensors


def test_a_header_as_long_as_a_pickle_begins_is_a_header(tmp_path):
    """640 bytes: in little-endian order the mark of a pickle."""
    begin, _ = table({"a": ("U8", (0,))}, {"pad": "x" * 640})
    spare = int.from_bytes(begin[:8], "little") - 640
    path = sparse(tmp_path / "x.safetensors", {"a": ("U8", (0,))}, {"pad": "x" * (640 - spare)})
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert list(read_header(path).tensors) == ["a"]


def test_a_name_that_stands_there_twice_is_refused(tmp_path):
    entry = '{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    text = f'{{"b":{entry},"a":{entry},"a":{entry}}}'.encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"x")
    assert "a stands there twice" in str(refused(tmp_path / "x.safetensors"))


def test_a_file_that_is_not_there_or_no_file_is_named(tmp_path):
    assert refused(tmp_path / "none").kind == "missing"
    refused(tmp_path)


@given(
    st.dictionaries(
        st.text(min_size=1), st.tuples(st.sampled_from(["F32", "BF16", "F16", "U8"]), st.lists(st.integers(0, 5), max_size=3))
    )
)
def test_what_is_written_is_read_again(tmp_path_factory, shapes):
    shapes.pop("__metadata__", None)
    folder = tmp_path_factory.mktemp("again")
    header = read_header(sparse(folder / "a", shapes, {"é": "ü"}))
    begin = header_bytes(header.tensors.values(), header.metadata)
    assert len(begin) % 8 == 0
    (folder / "b").write_bytes(begin + bytes(header.size))
    again = read_header(folder / "b")
    assert (again.tensors, again.metadata) == (header.tensors, header.metadata)


def test_scalars_of_every_kind_are_read_and_others_left_out(tmp_path):
    begin, _ = table(
        {
            "f": ("F32", ()),
            "h": ("F16", (1,)),
            "d": ("F64", ()),
            "i": ("I64", ()),
            "b": ("BF16", ()),
            "two": ("F32", (2,)),
            "u": ("U8", ()),
        }
    )
    values = struct.pack("<fedq", 1.5, 0.5, 2.5, 7) + struct.pack("<f", -3.0)[2:] + struct.pack("<ffB", 1, 2, 9)
    path = tmp_path / "x"
    path.write_bytes(begin + values)
    header = read_header(path)
    assert read_scalars(header, header.tensors) == {"f": 1.5, "h": 0.5, "d": 2.5, "i": 7.0, "b": -3.0}


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path):
    path = save(tmp_path / "x.safetensors", {"a.alpha": np.float32(1).reshape(())})
    header = read_header(path)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(WeightsFileError, match="still being written"):
        read_scalars(header, header.tensors)
    path.unlink()
    with pytest.raises(WeightsFileError, match="cannot be read"):
        read_scalars(header, header.tensors)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX's")
def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.safetensors")
    assert "is no file" in str(refused(tmp_path / "x.safetensors"))


def test_natural_order():
    assert sorted(["9" * 5000, "8" * 5000, "7"], key=natural)[0] == "7"
    assert sorted(["b.10", "b.2", "a", "b.2.c"], key=natural) == ["a", "b.2", "b.2.c", "b.10"]
