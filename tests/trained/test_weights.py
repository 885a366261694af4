"""`datakit weights layers` and `merge`: the tutorial's own model, shards in every state, bytes, memory and time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit.errors import UsageError, WeightsFileError
from datakit.trained.weights.collection import open_weights
from datakit.trained.weights.groups import group_of, grouped
from datakit.trained.weights.merge import merge_weights
from datakit.trained.weights.writing import write_whole
from tests.commands import finish, start
from tests.trained.made import contents, index, metadata_of, save, sd35_large, sparse

ONE, TWO = "m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"


def sharded(folder: Path, *, total: int | None = None) -> dict[str, dict[str, np.ndarray]]:
    """Two shards with an index: numbers of different width, so that their order matters."""
    draw = np.random.default_rng(3)
    shards = {
        ONE: {"b.1": draw.standard_normal((3, 5)).astype(np.float16), "b.10": draw.standard_normal(7).astype(np.float16)},
        TWO: {"b.2": draw.standard_normal((4, 4)).astype(np.float32), "c": np.array([1, 2, 3], np.uint8)},
    }
    for name, tensors in shards.items():
        save(folder / name, tensors, {"format": "pt", "shard": name})
    index(folder, {name: dict.fromkeys(tensors, ("F32", ())) for name, tensors in shards.items()}, total)
    return shards


def test_the_tutorials_model_is_listed_by_blocks_in_natural_order(tmp_path):
    path = sparse(tmp_path / "sd35.safetensors", sd35_large())
    groups = grouped(open_weights(path).tensors())
    names = [group.name for group in groups]
    assert names == [
        "context_embedder",
        "norm_out",
        "pos_embed",
        "proj_out",
        "time_text_embed",
        *(f"transformer_blocks.{n}" for n in range(38)),
    ]
    assert sum(len(group.tensors) for group in groups) == 1227
    # 8.06 billion without the table of positions (stabilityai's model card says 8.1).
    parameters = sum(group.parameters for group in groups) - 384 * 384 * 2432
    assert 8.0e9 < parameters < 8.1e9


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("transformer_blocks.12.attn.to_q.weight", "transformer_blocks.12"),
        ("single_transformer_blocks.3.proj_out.weight", "single_transformer_blocks.3"),
        ("down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q.weight", "down_blocks.1.attentions.0.transformer_blocks.1"),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "model.diffusion_model.joint_blocks.0"),
        ("text_model.encoder.layers.11.mlp.fc1.weight", "text_model.encoder.layers.11"),
        ("lora_unet_joint_blocks_7_x_block_attn_qkv.lora_up.weight", "lora_unet_joint_blocks_7"),
        ("pos_embed.pos_embed", "pos_embed"),
        ("time_text_embed.text_embedder.linear_1.bias", "time_text_embed"),
        ("proj_out.bias", "proj_out"),
    ],
)
def test_a_tensor_belongs_to_the_block_of_its_longest_path(name, group):
    assert group_of(name) == group


def test_layers_prints_a_table_its_json_and_every_tensor(tmp_path, datakit):
    sharded(tmp_path)
    shown = datakit("weights", "layers", ".")
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[-1].split() == ["in", "all", "4", "tensors", "41", "2", "F16,", "1", "F32,", "1", "U8"]
    told = json.loads(datakit("weights", "layers", ".", "--json").stdout)
    assert told["parameters"] == 41
    assert told["groups"][0]["tensors"] == {
        "b.1": {"dtype": "F16", "shape": [3, 5]},
        "b.2": {"dtype": "F32", "shape": [4, 4]},
        "b.10": {"dtype": "F16", "shape": [7]},
    }
    assert "  b.2  F32 [4, 4]" in datakit("weights", "layers", ".", "-v").stdout
    assert datakit("weights", "layers", ".", "--output", "list.txt").returncode == 0
    assert (tmp_path / "list.txt").read_text() == shown.stdout


def test_only_headers_are_read_and_no_array_library_is_imported(tmp_path):
    sparse(tmp_path / "big.safetensors", sd35_large())
    code = (
        "import sys, time; from pathlib import Path; start = time.process_time()\n"
        "from datakit.trained.weights.collection import open_weights\nfrom datakit.trained.weights.groups import grouped\n"
        "grouped(open_weights(Path(sys.argv[1])).tensors())\nprint(time.process_time() - start)\n"
        "assert not {'numpy', 'torch', 'PIL', 'cv2'} & set(sys.modules)"
    )
    took = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "big.safetensors"], capture_output=True, text=True, check=True
        )
        took.append(float(done.stdout))
    assert min(took) < 0.2, took


def test_a_merged_file_holds_every_tensor_byte_for_byte(tmp_path, datakit):
    shards = sharded(tmp_path / "model")
    done = datakit("weights", "merge", "model", "whole.safetensors")
    assert done.returncode == 0, done.stderr
    found = contents(tmp_path / "whole.safetensors")
    expected = {name: array for tensors in shards.values() for name, array in tensors.items()}
    assert {name: (shape, data) for name, (_, shape, data) in found.items()} == {
        name: (list(array.shape), array.tobytes()) for name, array in expected.items()
    }
    assert metadata_of(tmp_path / "whole.safetensors") == {"format": "pt", "shard": ONE}
    assert sorted(os.listdir(tmp_path)) == ["model", "whole.safetensors"]


KINDS = st.sampled_from([np.float64, np.float32, np.float16, np.uint8])


@given(st.lists(st.tuples(st.integers(0, 3), KINDS, st.lists(st.integers(0, 4), max_size=3)), min_size=1, max_size=12), st.data())
def test_any_shards_merge_to_the_same_tensors_each_where_its_kind_may_begin(tmp_path_factory, drawn, data):
    folder = tmp_path_factory.mktemp("merge")
    shards: dict[str, dict[str, np.ndarray]] = {f"m-{n + 1:05}-of-00004.safetensors": {} for n in range(4)}
    for number, (shard, kind, shape) in enumerate(drawn):
        size = int(np.prod(shape))
        array = np.frombuffer(data.draw(st.binary(min_size=size * 8, max_size=size * 8)), np.uint8)[
            : size * np.dtype(kind).itemsize
        ]
        shards[f"m-{shard + 1:05}-of-00004.safetensors"][f"t{number}"] = array.view(kind).reshape(shape)
    for name, tensors in shards.items():
        save(folder / name, tensors)
    merge_weights(folder, folder / "whole")
    found = contents(folder / "whole")
    expected = {name: array.tobytes() for tensors in shards.values() for name, array in tensors.items()}
    assert {name: each[2] for name, each in found.items()} == expected
    header = next(iter(open_weights(folder / "whole").files))
    widths = {"F64": 8, "F32": 4, "F16": 2, "U8": 1}
    assert all((header.data + tensor.start) % widths[tensor.dtype] == 0 for tensor in header.tensors.values())


def test_a_missing_shard_another_home_a_double_name_and_a_damaged_shard_are_refused(tmp_path):
    shards = sharded(tmp_path)
    where = {name: shard for shard, tensors in shards.items() for name in tensors}

    def refused(kind: str) -> str:
        with pytest.raises(WeightsFileError) as caught:
            merge_weights(tmp_path, tmp_path / "whole")
        assert caught.value.kind == kind
        assert not (tmp_path / "whole").exists()
        return str(caught.value)

    path = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    for places, said in (
        (where | {"b.1": TWO}, f"b.1 is not in {TWO}, as the index says: it lies in {ONE}"),
        (where | {"gone": TWO}, "no shard holds it"),
        ({"b.1": "../elsewhere"}, "no file beside the index"),
    ):
        path.write_text(json.dumps({"weight_map": places}))
        assert said in refused("damaged")
    for broken in ("[]", "{", '{"weight_map": {}}', '{"weight_map": {"a": 1}}'):
        path.write_text(broken)
        refused("damaged")
    path.write_text(json.dumps({"weight_map": where | {"x": "m-00003-of-00003.safetensors"}}))
    assert "m-00003-of-00003.safetensors" in refused("missing")
    path.unlink()
    (tmp_path / TWO).rename(tmp_path / "away")
    assert "1 shard missing" in refused("missing")
    save(tmp_path / TWO, {"b.1": np.ones(2, np.float32)})
    assert f"tensor b.1 lies in {ONE} and in {TWO}" in refused("damaged")
    (tmp_path / TWO).write_bytes((tmp_path / "away").read_bytes()[:-1])
    assert TWO in refused("cut")


def test_what_is_odd_but_harmless_is_noted(tmp_path):
    sharded(tmp_path, total=1)
    save(tmp_path / ONE, {"b.1": np.ones(2, np.float32), "b.10": np.ones(2, np.float32), "more": np.ones(2, np.float32)})
    first, second = open_weights(tmp_path).notes
    assert "1 tensor that the index does not know: more" in first
    assert "1 bytes in all" in second
    assert "one shard of 2" in open_weights(tmp_path / ONE).notes[0]


def test_a_folder_of_several_models_or_of_none_is_told(tmp_path):
    (tmp_path / "transformer").mkdir()
    save(tmp_path / "transformer" / "a.safetensors", {"a": np.ones(2, np.float32)})
    with pytest.raises(WeightsFileError, match="transformer in it does"):
        open_weights(tmp_path)
    save(tmp_path / "a.safetensors", {"a": np.ones(2, np.float32)})
    assert len(open_weights(tmp_path).files) == 1
    save(tmp_path / "b.safetensors", {"a": np.ones(2, np.float32)})
    with pytest.raises(WeightsFileError, match=r"several models: a\.safetensors, b\.safetensors"):
        open_weights(tmp_path)


def test_nothing_is_replaced_and_one_file_is_not_merged(tmp_path, datakit):
    sharded(tmp_path / "model")
    (tmp_path / "taken").write_text("mine")
    done = datakit("weights", "merge", "model", "taken")
    assert done.returncode == 2
    assert "taken is there already" in done.stderr
    assert (tmp_path / "taken").read_text() == "mine"
    save(tmp_path / "one.safetensors", {"a": np.ones(2, np.float32)})
    assert "nothing to put together" in datakit("weights", "merge", "one.safetensors", "x").stderr
    assert "is no folder" in datakit("weights", "merge", "model", "nowhere/x").stderr


def test_a_merge_that_is_interrupted_leaves_nothing_and_one_that_is_killed_what_can_be_seen(tmp_path):
    for number, code, left in ((signal.SIGINT, 130, 0), (signal.SIGKILL, -9, 1)):
        for name in (ONE, TWO):
            sparse(tmp_path / "model" / name, {name: ("U8", (2**31,))})
        process = start(["weights", "merge", "model", "whole.safetensors"], tmp_path)
        while not (parts := list(tmp_path.glob("whole-*.part"))) or not parts[0].stat().st_size > 2**20:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(number)
        assert finish(process)[0] == code
        assert len(list(tmp_path.glob("whole*"))) == left


def test_where_there_are_no_hard_links_nothing_is_replaced_either(tmp_path, monkeypatch):
    def refuse(*paths: object) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    write_whole(tmp_path / "x", iter([b"one"]))
    assert os.listdir(tmp_path) == ["x"]
    with pytest.raises(UsageError, match="there already"):
        write_whole(tmp_path / "x", iter([b"two"]))
    assert (tmp_path / "x").read_bytes() == b"one"


def test_a_disk_that_is_full_after_all_names_the_file(tmp_path):
    """A limit on the size of files stands for the disk."""
    for name in (ONE, TWO):
        sparse(tmp_path / "model" / name, {name: ("U8", (2**20,))})
    code = (
        "import resource, signal, sys\nfrom datakit.cli import main\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\nmain(['weights', 'merge', 'model', 'whole'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "File too large: 'whole'" in done.stderr) == (2, True), done.stderr
    assert os.listdir(tmp_path) == ["model"]


def test_room_on_the_disk_is_asked_for_before_anything_is_written(tmp_path):
    huge = 2**42  # holes take no room; put together they would
    shards = {ONE: {"a": ("U8", (huge,))}, TWO: {"b": ("U8", (huge,))}}
    for name, shapes in shards.items():
        sparse(tmp_path / name, shapes)
    with pytest.raises(UsageError, match="needs 8796 GB"):
        merge_weights(tmp_path, tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


@pytest.mark.slow
def test_four_gigabytes_are_merged_in_64_megabytes(tmp_path):
    wide = {f"blocks.{n}": ("BF16", (1000, 25_000)) for n in range(80)}
    names = list(wide)
    sparse(tmp_path / ONE, {name: wide[name] for name in names[:40]})
    sparse(tmp_path / TWO, {name: wide[name] for name in names[40:]})
    code = (
        "import resource, sys\nfrom datakit.cli import main\n"
        "main(['weights', 'merge', sys.argv[1], sys.argv[2]], standalone_mode=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, tmp_path, tmp_path / "whole"], capture_output=True, text=True, check=True)
    most = int(done.stdout.splitlines()[-1]) / (1 if sys.platform != "darwin" else 1024)
    assert (tmp_path / "whole").stat().st_size > 4e9
    assert most < 64 * 1024, f"{most} kB in {time.monotonic() - started:.0f} s"
