"""`datakit checkpoints strip` and `compare`, against a server that answers as recorded: labels, resuming, every fault."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datakit.trained.comfy import watching
from datakit.trained.comfy.graph import read_workflow
from datakit.trained.comfy.grid import Cell, Column, Row, key_of
from datakit.trained.comfy.pictures import Pictures
from datakit.trained.comfy.server import Server
from tests.commands import finish, invoke, start, untouched, wait_until_begun
from tests.trained.fake import TINY, TUTORIAL, Fake, drawn, history, served

RUN = ["run1/checkpoint-500_lora.safetensors", "run1/checkpoint-1000_lora.safetensors", "run1/checkpoint-2000_lora.safetensors"]
# 2 prompts x 2 seeds x (base + 3 checkpoints).
ALL = ["--loras", "run1", "--base", "--prompt", "a lighthouse", "--prompt", "a cat", "--seed", "1", "--seed", "2"]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """No test waits for a job longer than it must."""
    monkeypatch.setattr(watching, "_SOON", 0.005)
    monkeypatch.setattr(watching, "_LATER", 0.02)


def words(comfy: Fake, *more: str, out: str = "out", workflow: Path = TINY, command: str = "strip") -> list[str]:
    return ["checkpoints", command, str(workflow), out, "--server", comfy.address, *more]


def strip(comfy: Fake, folder: Path, *more: str, **options: Any) -> tuple[int, str]:
    done = invoke(words(comfy, *more, **options), folder)
    return done.exit_code, done.output


def graph_of(path: Path) -> dict[str, Any]:
    """The workflow that a picture carries."""
    with Image.open(path) as picture:
        found: dict[str, Any] = json.loads(picture.info["prompt"])
    return found


def test_rows_and_columns_are_what_their_names_say(comfy, tmp_path):
    code, said = strip(comfy, tmp_path, *ALL)
    assert (code, said.splitlines()[-1]) == (0, "out/index.html: 4 strips of 4 pictures: 16 made, 0 kept, 0 failed")
    pictures = tmp_path / "out" / "pictures"
    for prompt, folder in (("a lighthouse", "01-a-lighthouse"), ("a cat", "02-a-cat")):
        for seed in (1, 2):
            for name, lora in (("base", None), ("0500", RUN[0]), ("1000", RUN[1]), ("2000", RUN[2])):
                graph = graph_of(next((pictures / folder / f"seed-{seed}").glob(f"*{name.lstrip('0')}.png")))
                assert graph["6"]["inputs"]["text"] == prompt
                assert graph["3"]["inputs"]["seed"] == seed
                assert graph.get("276", {"inputs": {"lora_name": None}})["inputs"]["lora_name"] == lora
    assert sorted(os.listdir(tmp_path / "out" / "strips")) == [
        f"{row}-seed-{seed}.png" for row in ("01-a-lighthouse", "02-a-cat") for seed in (1, 2)
    ]
    records = [json.loads(line) for line in (tmp_path / "out" / "cells.jsonl").read_text().splitlines()]
    assert len({record["key"] for record in records}) == 16
    assert {record["version"] for record in records} == {"0.3.75"}
    # The checkpoint changes fastest: texts stay encoded on the server.
    assert [graph["3"]["inputs"]["seed"] for graph in comfy.sent_graphs()[:8]] == [1] * 4 + [2] * 4


def test_a_second_run_makes_nothing_and_more_columns_make_only_those(comfy, tmp_path):
    strip(comfy, tmp_path, *ALL, "--steps", "500")
    first = {name: each for name, each in untouched(tmp_path / "out" / "pictures").items() if name.endswith(".png")}
    assert strip(comfy, tmp_path, *ALL)[1].endswith("8 made, 8 kept, 0 failed\n")
    assert strip(comfy, tmp_path, *ALL)[1].endswith("0 made, 16 kept, 0 failed\n")
    assert {name: each for name, each in untouched(tmp_path / "out" / "pictures").items() if name in first} == first
    assert len(comfy.sent) == 16
    # A prompt put before the others moves rows, and makes none of them anew.
    assert strip(comfy, tmp_path, "--prompt", "first", *ALL)[1].endswith("8 made, 16 kept, 0 failed\n")


def test_a_picture_that_is_gone_or_changed_is_made_anew_and_one_of_other_values_stays(comfy, tmp_path):
    strip(comfy, tmp_path, *ALL)
    pictures = tmp_path / "out" / "pictures" / "01-a-lighthouse" / "seed-1"
    (pictures / "base.png").unlink()
    (pictures / "2000.png").write_bytes(b"edited")
    comfy.restart()
    code, said = strip(comfy, tmp_path, *ALL)
    assert said.endswith("2 made, 14 kept, 0 failed\n")
    assert (pictures / "2000.png").read_bytes() == b"edited", "what is not ours is not replaced"
    assert code == 0
    before = (pictures / "base.png").read_bytes()
    assert strip(comfy, tmp_path, *ALL, "--set", "3.steps=5")[1].endswith("16 made, 0 kept, 0 failed\n")
    assert (pictures / "base.png").read_bytes() == before
    assert graph_of(pictures / "base~2.png")["3"]["inputs"]["steps"] == 5
    assert strip(comfy, tmp_path, *ALL)[1].endswith("0 made, 16 kept, 0 failed\n")


def test_the_job_of_a_run_that_was_killed_is_awaited_not_made_twice(comfy, tmp_path):
    comfy.polls = -1
    process = start(words(comfy, *ALL), tmp_path)
    while not comfy.running:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    comfy.polls = 0
    with comfy.lock:
        for job in comfy.running.values():
            job["left"] = 2
    # What it wrote last may be half a line.
    (tmp_path / "out" / "cells.jsonl").write_bytes(b'{"key":"ab')
    assert strip(comfy, tmp_path, *ALL)[1].endswith("16 made, 0 kept, 0 failed\n")
    assert len(comfy.sent) == len(set(comfy.sent)) == 16
    assert strip(comfy, tmp_path, *ALL)[1].endswith("0 made, 16 kept, 0 failed\n")


def test_a_job_that_ended_while_nobody_watched_is_fetched(comfy, tmp_path):
    strip(comfy, tmp_path, *ALL)
    shutil.rmtree(tmp_path / "out")
    assert strip(comfy, tmp_path, *ALL)[1].endswith("16 made, 0 kept, 0 failed\n")
    assert len(comfy.sent) == 16


def test_a_server_that_starts_anew_gets_its_job_again(comfy, tmp_path):
    seen = []

    def ends(job, entry):
        return entry

    def answer(method, path, query, body, _answer=comfy.answer):
        if path == "/queue" and comfy.running and not seen:
            seen.append(path)
            comfy.restart()
        return _answer(method, path, query, body)

    comfy.polls, comfy.ends, comfy.answer = 1, ends, answer
    assert strip(comfy, tmp_path, *ALL, "--steps", "500")[1].endswith("8 made, 0 kept, 0 failed\n")
    assert len(comfy.sent) == 9
    assert len(set(comfy.sent)) == 8


def test_a_job_is_sent_again_when_it_was_missed_three_times_in_a_row_and_five_times_at_most(comfy, tmp_path):
    looks: list[int] = []

    def answer(method, path, query, body, _answer=comfy.answer):
        if path == "/prompt":
            looks.append(sum(path == "/queue" for _, path, _ in comfy.requests))
            comfy.sent.append(body["prompt_id"])
            return 200, {"prompt_id": body["prompt_id"]}  # and forgets it
        return _answer(method, path, query, body)

    comfy.answer = answer
    code, said = strip(comfy, tmp_path, "--loras", RUN[0])
    assert (code, "was lost 5 times" in said, len(comfy.sent), len(set(comfy.sent))) == (1, True, 5, 1)
    assert [after - before for before, after in itertools.pairwise(looks)] == [3] * 4


def test_a_server_that_is_gone_for_a_while_is_waited_for(tmp_path):
    fake = Fake()
    fake.polls = -1
    with served(fake):
        port = int(fake.address.rpartition(":")[2])
        process = start(words(fake, "--loras", "run1"), tmp_path)
        while not fake.running:
            assert process.poll() is None
            time.sleep(0.01)
    fake.restart()
    fake.polls = 0
    time.sleep(1.5)
    with served(fake, port):
        code, said = finish(process)
    assert (code, "waiting for it to come back" in said, "3 made" in said) == (0, True, True)


def test_a_server_behind_a_proxy_is_waited_for_too(comfy, tmp_path):
    away = []

    def answer(method, path, query, body, _answer=comfy.answer):
        if len(comfy.sent) == 2 and len(away) < 3:
            away.append(path)
            comfy.restart()
            return 503, {}
        return _answer(method, path, query, body)

    comfy.answer = answer
    code, said = strip(comfy, tmp_path, "--loras", "run1")
    assert (code, said.count("status 503, Service Unavailable; waiting for it to come back"), len(away)) == (0, 1, 3)
    assert said.endswith("3 made, 0 kept, 0 failed\n")


def test_what_another_run_made_is_known_when_its_turn_comes(comfy, tmp_path):
    """Two at once: the second waits for the first, whose records are not there yet when it starts."""
    graph = read_workflow(TINY)
    cell = Cell(Row(1, None, None), Column("base", "base"), graph, key_of(graph))
    second = Pictures(tmp_path / "out", Server(comfy.address), "314")
    Pictures(tmp_path / "out", Server(comfy.address), "314").make(cell)
    assert second.is_there(cell)


def test_a_server_that_never_answers_is_named(tmp_path):
    done = invoke(["checkpoints", "strip", str(TINY), "out", "--server", "127.0.0.1:9"], tmp_path)
    assert (done.exit_code, done.output) == (2, "datakit: no ComfyUI at http://127.0.0.1:9: Connection refused\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_job_of_ours_and_shows_what_there_is(comfy, tmp_path, number):
    comfy.ends = lambda job, entry: (setattr(comfy, "polls", -1), entry)[1]  # the first ends, the second never does
    comfy.running["theirs"] = {"id": "theirs", "graph": {}, "left": -1}
    process = start(words(comfy, "--loras", "run1"), tmp_path)
    wait_until_begun(process)
    while len(comfy.sent) < 2 or len(comfy.running) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    code, _ = finish(process)
    assert code == 128 + number
    assert list(comfy.running) == ["theirs"]
    assert [body for _, path, body in comfy.requests if path == "/interrupt"] == [{"prompt_id": comfy.sent[-1]}]
    assert "not made yet" in (tmp_path / "out" / "index.html").read_text()
    comfy.polls, comfy.ends = 0, lambda job, entry: entry
    assert strip(comfy, tmp_path, "--loras", "run1")[1].endswith("2 made, 1 kept, 0 failed\n")


def test_one_failed_picture_costs_one_place_which_says_so(comfy, tmp_path):
    comfy.ends = lambda job, entry: history("error_history") if job["graph"]["276"]["inputs"]["lora_name"] == RUN[1] else entry
    code, said = strip(comfy, tmp_path, "--loras", "run1", "--seed", "1")
    assert code == 1
    assert '01-workflow/seed-1/1000: failed: node 50 "TinyFault": RuntimeError: out of luck' in said
    assert said.endswith("2 made, 0 kept, 1 failed\n")
    assert sorted(os.listdir(tmp_path / "out" / "pictures" / "01-workflow" / "seed-1")) == ["2000.png", "500.png"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.index(">500<") < page.index("RuntimeError: out of luck") < page.index("pictures/01-workflow/seed-1/2000.png")
    # The third place of the strip is under the third label: the failed one is not closed up.
    with Image.open(tmp_path / "out" / "strips" / "01-workflow-seed-1.png") as drawn_strip:
        width = drawn_strip.width
        third = drawn_strip.crop((width - 24 - 384, 48, width - 24, 48 + 512)).resize((48, 64), Image.Resampling.BOX)
    with Image.open(tmp_path / "out" / "pictures" / "01-workflow" / "seed-1" / "2000.png") as expected:
        assert np.abs(np.asarray(third, int) - np.asarray(expected.convert("RGB"), int)).mean() < 4
    comfy.ends = lambda job, entry: entry
    assert strip(comfy, tmp_path, "--loras", "run1", "--seed", "1")[1].endswith("1 made, 2 kept, 0 failed\n")


def test_three_equal_failures_in_a_row_stop_the_run(comfy, tmp_path):
    comfy.ends = lambda job, entry: history("error_history")
    code, said = strip(comfy, tmp_path, *ALL)
    assert code == 1
    assert "stopped: 3 pictures in a row failed alike" in said
    assert said.endswith("0 made, 0 kept, 3 failed, 13 not tried\n")


def test_a_picture_that_takes_too_long_fails_and_its_job_is_taken_back(comfy, tmp_path):
    comfy.polls = -1
    code, said = strip(comfy, tmp_path, "--loras", RUN[0], "--timeout", "1")
    assert (code, "took longer than 1 seconds" in said) == (1, True)
    assert not comfy.running


def test_waiting_behind_others_is_no_time_of_ours(comfy, tmp_path):
    """Their jobs end after the limit; ours counts from when it runs."""
    began = time.monotonic()

    def answer(method, path, query, body, _answer=comfy.answer):
        if path == "/queue" and method == "GET" and comfy.sent and time.monotonic() - began < 2:
            return 200, {"queue_running": [[0, "theirs", {}, {}, []]], "queue_pending": [[1, comfy.sent[0], {}, {}, []]]}
        return _answer(method, path, query, body)

    comfy.answer = answer
    code, said = strip(comfy, tmp_path, "--loras", RUN[0], "--timeout", "1")
    assert (code, "1 of others' jobs are before ours" in said, "1 made" in said) == (0, True, True)


def test_cached_outputs_and_deleted_files_are_saved_again_under_another_name(comfy, tmp_path):
    comfy.ends = lambda job, entry: {**entry, "outputs": {}} if len(comfy.sent) == 1 else entry
    assert strip(comfy, tmp_path, "--loras", RUN[0])[0] == 0
    prefixes = [graph["314"]["inputs"]["filename_prefix"] for graph in comfy.sent_graphs()]
    assert len(set(prefixes)) == 2
    assert all(prefix.startswith("datakit/") for prefix in prefixes)
    shutil.rmtree(tmp_path / "out")
    comfy.files.clear()
    assert strip(comfy, tmp_path, "--loras", RUN[0])[0] == 0
    comfy.ends = lambda job, entry: {**entry, "outputs": {}}
    shutil.rmtree(tmp_path / "out")
    comfy.restart()
    code, said = strip(comfy, tmp_path, "--loras", RUN[0])
    assert (code, "left no picture" in said) == (1, True)


def test_a_refused_value_names_node_and_value(comfy, tmp_path):
    comfy.refuses = lambda graph: "lora_not_listed"
    code, said = strip(comfy, tmp_path, "--loras", RUN[0])
    assert code == 1
    assert "node 276 \"LoraLoaderModelOnly\": lora_name: Value not in list (value 'nope.safetensors')" in said


def test_what_cannot_be_is_refused_before_anything_is_drawn(comfy, tmp_path):
    editor = tmp_path / "editor.json"
    editor.write_text('{"nodes": [], "links": []}')
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"x")
    for more, options, said in (
        (["--loras", "run9"], {}, "'run9' is not on the server"),
        ([], {"workflow": editor}, "Workflow > Export (API)"),
        (["--loras", "run1"], {"workflow": TUTORIAL}, "--save-node names one"),
        (["--loras", "run1"], {"out": "mine"}, "holds other things than strips"),
        (["--loras", "run1", "--set", "3.nothing=1"], {}, "has no input 'nothing'; it has model"),
        (["--loras", "run1", "--set", "x"], {}, "write NODE.INPUT=VALUE"),
        (["--loras", "run1", "--strength", "nan"], {}, "strengths nan: write numbers"),
        (["--loras", "run1", "--models", "x"], {}, "leave out --loras"),
        (["--loras", "run1", "--steps", "600"], {}, "names no checkpoint"),
    ):
        code, output = strip(comfy, tmp_path, *more, **options)
        assert (code, said in output) == (2, True), output
    assert not comfy.sent
    assert os.listdir(tmp_path / "mine") == ["photo.jpg"]


def test_a_dry_run_tells_nodes_and_numbers_and_writes_nothing(comfy, tmp_path):
    code, said = strip(comfy, tmp_path, *ALL, "--dry-run")
    assert code == 0
    assert 'LoRA: node 276 "LoraLoaderModelOnly" lora_name' in said
    assert "columns: base, 500, 1000, 2000" in said
    assert said.endswith("16 pictures: 16 to make, 0 there\n")
    assert not (tmp_path / "out").exists()
    assert not comfy.sent
    told = json.loads(strip(comfy, tmp_path, *ALL, "--dry-run", "--json")[1])
    assert len(told["pictures"]) == 16


def test_a_picture_serves_as_workflow_and_prompts_come_from_a_file(comfy, tmp_path):
    (tmp_path / "ComfyUI_00001_.png").write_bytes(drawn(json.loads(TINY.read_text())))
    (tmp_path / "prompts.txt").write_text("\ufeffa dog\n\n  a bird \n", "utf-8")
    code, said = strip(
        comfy,
        tmp_path,
        "--loras",
        RUN[0],
        "--prompts",
        "prompts.txt",
        "--negative",
        "ugly",
        workflow=tmp_path / "ComfyUI_00001_.png",
    )
    assert (code, said.endswith("2 made, 0 kept, 0 failed\n")) == (0, True)
    assert [graph["6"]["inputs"]["text"] for graph in comfy.sent_graphs()] == ["a dog", "a bird"]
    assert {graph["7"]["inputs"]["text"] for graph in comfy.sent_graphs()} == {"ugly"}
    (tmp_path / "none.txt").write_text("\n")
    assert "holds no prompt" in strip(comfy, tmp_path, "--loras", RUN[0], "--prompts", "none.txt")[1]


def test_strengths_and_whole_models_are_columns_too(comfy, tmp_path):
    strip(comfy, tmp_path, "--loras", RUN[0], "--strength", "0.5", "--strength", "1")
    assert [graph["276"]["inputs"]["strength_model"] for graph in comfy.sent_graphs()] == [0.5, 1.0]
    code, said = strip(comfy, tmp_path, "--models", "run", "--base", "--seed", "5", out="full")
    assert (code, said.endswith("1 strip of 3 pictures: 3 made, 0 kept, 0 failed\n")) == (0, True)
    models = [graph["4"]["inputs"]["unet_name"] for graph in comfy.sent_graphs()[2:]]
    assert models == ["tiny_sd3.safetensors", "run/a-000100.safetensors", "run/a-000200.safetensors"]


def test_the_folder_that_link_wrote_tells_what_each_name_holds(comfy, tmp_path):
    from tests.trained.loras import run_of

    run_of(tmp_path / "fantasy", {500: 1.0})
    (tmp_path / "loras").mkdir()
    assert invoke(["checkpoints", "link", "fantasy", "loras"], tmp_path).exit_code == 0
    comfy.loras.append("fantasy/fantasy-000500.safetensors")
    code, _ = strip(comfy, tmp_path, "--loras", "loras/fantasy")
    assert code == 0
    record = json.loads((tmp_path / "out" / "cells.jsonl").read_text())
    content = (tmp_path / "fantasy" / "checkpoint-500" / "pytorch_lora_weights.safetensors").read_bytes()
    import hashlib

    assert record["lora_sha256"] == hashlib.sha256(content).hexdigest()
    comfy.loras.remove("fantasy/fantasy-000500.safetensors")
    assert "the server lists none of the files" in strip(comfy, tmp_path, "--loras", "loras/fantasy")[1]


def test_black_unchanged_and_copied_pictures_are_told(comfy, tmp_path, pictures):
    (tmp_path / "training").mkdir()
    for name in ("fig.jpg", "djembe.jpg"):
        shutil.copy(pictures / name, tmp_path / "training")
    import io

    buffer = io.BytesIO()
    with Image.open(pictures / "fig.jpg") as fig:
        fig.convert("RGB").resize((fig.width // 2, fig.height // 2)).save(buffer, "png")
    fake: dict[str | None, bytes] = {RUN[0]: buffer.getvalue(), RUN[2]: b""}
    black = io.BytesIO()
    Image.new("RGB", (48, 64)).save(black, "png")
    fake[RUN[1]] = black.getvalue()

    def picture(graph):
        lora = graph["276"]["inputs"]["lora_name"] if "276" in graph else None
        return fake.get(lora) or drawn({})

    comfy.picture = picture
    fake[RUN[0]] = black.getvalue()
    assert "seed-workflow/1000: the same as the one before\n" in strip(comfy, tmp_path, "--loras", "run1", out="without")[1]
    fake[RUN[0]] = buffer.getvalue()
    comfy.restart()
    code, said = strip(comfy, tmp_path, "--loras", "run1", "--base", "--dataset", "training")
    assert code == 0
    assert "01-workflow/seed-workflow/1000: black" in said
    assert "01-workflow/seed-workflow/2000: the same as the base: the LoRA changed nothing" in said
    assert "copies fig.jpg" in (tmp_path / "out" / "index.html").read_text()
    assert "djembe" not in (tmp_path / "out" / "index.html").read_text()


def test_compare_is_base_lora_and_lora_with_apg_at_the_same_guidance(comfy, tmp_path):
    code, said = strip(comfy, tmp_path, "--lora", RUN[2], command="compare")
    assert code == 0
    assert "APG at cfg 4.5 guides about as much as cfg 5.5 without it; --same-scale lowers it to 3.5" in said
    base, lora, apg = comfy.sent_graphs()
    assert [
        sorted(node["class_type"] for node in graph.values() if node["class_type"] in ("LoraLoaderModelOnly", "APG"))
        for graph in (base, lora, apg)
    ] == [[], ["LoraLoaderModelOnly"], ["APG", "LoraLoaderModelOnly"]]
    assert "data-slider=true" in (tmp_path / "out" / "index.html").read_text()
    code, said = strip(
        comfy, tmp_path, "--lora", RUN[2], "--same-scale", "--apg", "eta=0,norm_threshold=15,momentum=-0.5", command="compare"
    )
    assert "guides about" not in said
    assert said.endswith("1 made, 2 kept, 0 failed\n")
    lowered = comfy.sent_graphs()[-1]
    assert lowered["3"]["inputs"]["cfg"] == 3.5
    (node,) = [node["inputs"] for node in lowered.values() if node["class_type"] == "APG"]
    assert (node["eta"], node["norm_threshold"], node["momentum"]) == (0.0, 15.0, -0.5)
    assert strip(comfy, tmp_path, "--lora", RUN[2], "--set", "3.cfg=1", command="compare")[0] == 2


def test_what_is_printed_as_json(comfy, tmp_path):
    comfy.ends = lambda job, entry: history("error_history") if job["graph"]["276"]["inputs"]["lora_name"] == RUN[1] else entry
    done = subprocess.run(
        [sys.executable, "-m", "datakit", *words(comfy, "--loras", "run1", "--json")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout)
    assert (told["made"], told["kept"], len(told["failed"]), done.returncode) == (2, 0, 1, 1)
    assert told["page"] == "out/index.html"


def test_a_picture_that_is_none_and_a_record_that_leads_elsewhere_are_not_believed(comfy, tmp_path):
    comfy.picture = lambda graph: b"no picture"
    code, said = strip(comfy, tmp_path, "--loras", RUN[0])
    assert (code, "no whole picture" in said) == (1, True)
    comfy.picture = drawn
    comfy.restart()
    assert strip(comfy, tmp_path, "--loras", RUN[0])[0] == 0
    path = tmp_path / "out" / "cells.jsonl"
    record = json.loads(path.read_text())
    (tmp_path / "x.png").write_bytes((tmp_path / "out" / record["path"]).read_bytes())
    (tmp_path / "out" / record["path"]).unlink()
    path.write_text(json.dumps({**record, "path": "../x.png"}) + "\n")
    assert strip(comfy, tmp_path, "--loras", RUN[0])[1].endswith("1 made, 0 kept, 0 failed\n")
