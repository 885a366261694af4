"""The page's server over real HTTP: who is answered, what is answered, what a change does to the disk."""

from __future__ import annotations

import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import msgspec
import numpy as np
import pytest
from PIL import Image

from datakit import CropOptions, Execution, Size, crop_folder, plan_folder
from datakit.dataset.decisions import DECISIONS, read_decisions
from datakit.dataset.manifest import read_manifest, to_line
from datakit.errors import UsageError
from datakit.review.server import Server
from datakit.review.session import Session
from datakit.shuffle.folder import shuffle_folder
from datakit.shuffle.variants import ShuffleOptions
from tests.conftest import tree

WINDOW = {"box": [0, 0, 1024, 1024], "bucket": [1024, 1024]}


@pytest.fixture
def ask(tmp_path):
    """Serve a dataset in a thread and return a client of it."""
    open_now = []

    def start(folder):
        server = Server(Session(folder))
        thread = threading.Thread(target=server.run)
        thread.start()
        client = httpx.Client(base_url=server.address, timeout=60)
        open_now.append((server, thread, client))
        return client

    yield start
    for server, thread, client in open_now:
        client.close()
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


def samples(client):
    return {sample["id"]: sample for sample in client.get("api/dataset").json()["samples"]}


def change(client, key, decision, revision=0, caption=None):
    return client.put(f"api/decision/{key}", json={"revision": revision, "decision": decision, "caption": caption})


def applied(client):
    assert client.post("api/apply", json={}).status_code == 202
    for _ in range(600):
        state = client.get("api/apply").json()
        if not state["running"]:
            return state
        time.sleep(0.05)
    raise AssertionError("applying did not end")


def test_the_dataset_is_told_as_it_is(ask, out, source):
    told = ask(out).get("api/dataset").json()
    assert (told["stage"], told["source"], told["editable"], told["upscale"]) == ("crop", str(source), True, 1.5)
    assert len(told["buckets"]) == 8
    assert sum(bucket["pictures"] for bucket in told["buckets"]) == 4
    by_id = {sample["id"]: sample for sample in told["samples"]}
    for record in read_manifest(out):
        sample = by_id[record.source]
        assert (sample["output"], sample["box"], sample["bucket"]) == (record.output, list(record.box), list(record.bucket))
        assert sample["caption"] == (out / record.caption).read_text()
        assert (sample["decision"], sample["revision"], sample["applied"]) == (None, 0, True)
    attention = [sample["attention"] for sample in told["samples"]]
    assert attention == sorted(attention, reverse=True)


def test_the_batch_plan_follows_the_question(ask, out):
    client = ask(out)
    plan = client.get("api/dataset?batch=3&gpus=1&accumulate=2&samples=0").json()
    assert plan["samples"] == []
    rows = plan["batches"]["rows"]
    assert sum(row["pictures"] for row in rows) == 4
    assert all(row["too_small"] for row in rows)
    assert all(row["pictures"] + row["padded"] == 3 * row["micro_batches"] for row in rows)
    assert client.get("api/dataset?batch=0").json() == {"error": "batch '0' is no whole number of 1 or more"}


def test_what_needs_an_eye_comes_first(ask, out, source):
    (source / "broken.jpg").write_bytes(b"no picture")
    (source / "mountains.txt").unlink()
    crop_folder(source, out, CropOptions(upscale=1.5))
    first, second = ask(out).get("api/dataset").json()["samples"][:2]
    assert first["id"] == "broken.jpg"
    assert "no picture that can be read" in first["refused"]
    assert (first["output"], first["box"]) == (None, None)
    assert second["attention"] > 0


def test_pictures_are_small_upright_and_kept(ask, out, source):
    client = ask(out)
    key = samples(client)["dogs.jpg"]["key"]
    answer = client.get(f"api/thumbnail/{key}")
    assert answer.headers["content-type"] == "image/jpeg"
    small = Image.open(io.BytesIO(answer.content))
    assert max(small.size) == 320
    with Image.open(source / "dogs.jpg") as whole:
        assert abs(small.width / small.height - whole.width / whole.height) < 0.01
    assert Image.open(io.BytesIO(client.get(f"api/thumbnail/{key}?side=output").content)).size == (219, 320)
    assert max(Image.open(io.BytesIO(client.get(f"api/picture/{key}").content)).size) <= 1600
    kept = [path for path in (out / ".datakit" / "thumbnails").rglob("*") if path.is_file()]
    assert len(kept) == 2
    assert not [path for path in kept if path.suffix]  # a trainer that looks there must not take them for its pictures
    again = client.get(f"api/thumbnail/{key}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    shutil.copy(source / "fig.jpg", source / "dogs.jpg")
    assert client.get(f"api/thumbnail/{key}", headers={"If-None-Match": answer.headers["etag"]}).status_code == 200


def test_a_mask_lies_over_the_whole_picture_and_shows_what_counts(ask, tmp_path):
    rng = np.random.default_rng(5)
    (tmp_path / "src").mkdir()
    pixels = rng.integers(0, 255, (1000, 1300, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "src/a.png")
    mask = np.zeros((1000, 1300), np.uint8)
    mask[:, :650] = 255
    Image.fromarray(mask).save(tmp_path / "src/a-masklabel.png")
    Image.fromarray(pixels).save(tmp_path / "src/a-condlabel.png")
    crop_folder(tmp_path / "src", tmp_path / "out", CropOptions(detector="none", companions="auto"))
    client = ask(tmp_path / "out")
    sample = samples(client)["a.png"]
    assert sample["companions"] == ["control", "mask"]
    answer = client.get(f"api/companion/{sample['key']}/mask")
    assert answer.headers["content-type"] == "image/png"
    over = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert over.shape == (1000, 1300, 4)
    assert over[:, :640, 3].min() > 100
    assert over[:, 660:, 3].max() == 0
    control = np.asarray(Image.open(io.BytesIO(client.get(f"api/companion/{sample['key']}/control").content)))
    assert (control[..., :3] == pixels).all()
    assert client.get(f"api/companion/{sample['key']}/depth").status_code == 404
    (tmp_path / "src/a-masklabel.png").unlink()
    assert client.get(f"api/companion/{sample['key']}/mask").status_code == 404


def test_heat_lies_over_the_whole_picture_and_shows_something(ask, out):
    client = ask(out)
    key = samples(client)["fig.jpg"]["key"]
    heat = Image.open(io.BytesIO(client.get(f"api/heat/{key}").content))
    assert heat.mode == "RGBA"
    assert abs(heat.width / heat.height - 1800 / 1218) < 0.1
    alpha = np.asarray(heat)[..., 3]
    assert alpha.min() < 40
    assert alpha.max() > 150


def test_a_change_is_on_the_disk_before_the_answer(ask, out):
    client = ask(out)
    key = samples(client)["fig.jpg"]["key"]
    state = change(client, key, WINDOW | {"caption": "new words"}).json()
    assert (state["revision"], state["decision"]["box"], state["applied"]) == (1, WINDOW["box"], False)
    decision = read_decisions(out)["fig.jpg"]
    assert (decision.box, decision.caption, decision.source_size) == (tuple(WINDOW["box"]), "new words", (1800, 1218))
    assert samples(client)["fig.jpg"]["decision"]["caption"] == "new words"
    undone = change(client, key, None, 1).json()
    assert (undone["revision"], undone["decision"], undone["applied"]) == (2, None, True)


def test_a_stale_page_changes_nothing_and_learns_the_current_state(ask, out):
    one, other = ask(out), ask(out)  # two servers, as two commands would be
    key = samples(one)["fig.jpg"]["key"]
    stamp = other.get("api/changes?since=0").json()["stamp"]
    assert change(one, key, {"rejected": True}).status_code == 200
    stale = change(other, key, {"accepted": True})
    assert (stale.status_code, stale.json()["revision"]) == (409, 1)
    assert stale.json()["decision"]["rejected"] is True
    news = other.get(f"api/changes?since={stamp}").json()
    assert [(each["key"], each["revision"]) for each in news["changed"]] == [(key, 1)]
    assert other.get(f"api/changes?since={news['stamp']}").json()["changed"] == []


def test_a_size_alone_gets_its_best_window(ask, out):
    client = ask(out)
    sample = samples(client)["dogs.jpg"]
    state = change(client, sample["key"], {"bucket": [1024, 1024]}).json()
    left, top, right, bottom = state["decision"]["box"]
    assert right - left == bottom - top == min(sample["size"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"box": [0, 0, 1024, 700], "bucket": [1024, 1024]}, "would be stretched"),
        ({"box": [-1, 0, 1023, 1024], "bucket": [1024, 1024]}, "not inside the picture"),
        ({"box": [0, 0, 500, 500], "bucket": [1024, 1024]}, "--upscale 2.048"),
        ({"box": [0, 0, 64, 64], "bucket": [64, 64]}, "one of the sizes of sdxl"),
        ({"caption": "\n "}, "the caption is empty"),
        ({"caption": "\ud800"}, "no change"),
        ({"accepted": True, "rejected": True}, "either accepted or rejected"),
        ({"nonsense": 1}, "no change"),
    ],
)
def test_what_cannot_be_is_refused_and_not_written(ask, out, wrong, message):
    client = ask(out)
    key = samples(client)["fig.jpg"]["key"]
    body = json.dumps({"revision": 0, "decision": wrong})
    answer = client.put(f"api/decision/{key}", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert message in answer.json()["error"]
    assert not (out / DECISIONS).exists()


def test_applying_writes_the_drawn_pixels_and_leaves_the_rest(ask, out, source):
    client = ask(out)
    before = {path.name: path.read_bytes() for path in out.glob("*.jpg")}
    found = samples(client)
    change(client, found["fig.jpg"]["key"], WINDOW)
    change(client, found["dogs.jpg"]["key"], {"rejected": True})
    runs = client.get("api/changes?since=0").json()["runs"]
    state = applied(client)
    assert state["error"] is None
    assert (state["report"]["done"], state["report"]["skipped"]) == (1, 2)
    assert client.get("api/changes?since=0").json()["runs"] > runs
    written = np.asarray(Image.open(out / "fig.jpg"), float)
    wanted = np.asarray(Image.open(source / "fig.jpg").convert("RGB"), float)[:1024, :1024]
    assert np.abs(written - wanted).mean() < 3
    assert (out / "mountains.jpg").read_bytes() == before["mountains.jpg"]
    found = samples(client)
    assert (found["fig.jpg"]["anchor"], found["fig.jpg"]["applied"]) == ("manual", True)
    gone = found["dogs.jpg"]
    assert (gone["output"], gone["refused"], gone["applied"]) == (None, "rejected in review", True)
    assert client.get(f"api/thumbnail/{gone['key']}").status_code == 200
    assert client.get(f"api/thumbnail/{gone['key']}?side=output").status_code == 404
    assert change(client, gone["key"], None, 1).json()["applied"] is False
    back = samples(ask(out))["dogs.jpg"]
    assert (back["decision"], back["applied"], back["refused"]) == (None, False, "left out until the changes are applied")
    applied(client)
    assert (out / "dogs.jpg").read_bytes() == before["dogs.jpg"]


def pending(client):
    return [name for name, sample in samples(client).items() if not sample["applied"]]


def test_a_window_is_held_against_the_picture_that_it_was_drawn_on(ask, out, source):
    """Deciding something else about the sample neither renews its window nor is refused for it."""
    client = ask(out)
    key = samples(client)["fig.jpg"]["key"]
    small = {"box": [0, 0, 800, 800], "bucket": [1024, 1024]}
    change(client, key, small)
    applied(client)
    crop_folder(source, out, CropOptions())  # allows no enlargement any more
    assert change(client, key, {**small, "accepted": True}, 1).status_code == 200
    shutil.copy(source / "dogs.jpg", source / "fig.jpg")
    assert change(client, key, {**small, "caption": "another"}, 2).status_code == 200
    (failed,) = applied(client)["report"]["failed"]
    assert "was made for a picture of 1800x1218" in failed["reason"]
    assert any("was made for" in warning["sentence"] for warning in samples(client)["fig.jpg"]["warnings"])


def test_decisions_about_pictures_that_are_gone_come_to_an_end(ask, out, source):
    client = ask(out)
    found = samples(client)
    for name, decision in (("fig.jpg", {"rejected": True}), ("dogs.jpg", WINDOW)):
        change(client, found[name]["key"], decision)
        (source / name).unlink()
    applied(client)
    assert not (out / "fig.jpg").exists()
    crop_folder(source, out, CropOptions(upscale=1.5), execution=Execution(prune=True))
    applied(client)
    assert not pending(client)
    answer = change(client, found["dogs.jpg"]["key"], {"accepted": True}, 1)
    assert answer.status_code == 200  # a decision is known: it may come back
    (source / "mountains.jpg").unlink()
    crop_folder(source, out, CropOptions(upscale=1.5), execution=Execution(prune=True))
    client.get("api/changes?since=0")
    answer = change(client, found["mountains.jpg"]["key"], {"accepted": True})
    assert (answer.status_code, "no longer in the dataset" in answer.json()["error"]) == (422, True)


def test_a_rejection_that_a_plain_run_followed_can_be_taken_back(ask, out, source):
    client = ask(out)
    key = samples(client)["fig.jpg"]["key"]
    change(client, key, {"rejected": True})
    applied(client)
    shutil.rmtree(out / ".datakit")
    crop_folder(source, out, CropOptions(upscale=1.5))
    assert change(client, key, None, 1).json()["applied"] is False
    assert pending(client) == ["fig.jpg"]
    crop_folder(source, out, CropOptions(upscale=1.5))
    assert (out / "fig.jpg").exists()
    assert not pending(client), "there is nothing left to apply"


def test_many_decisions_are_told_as_fast_as_one(ask, out):
    lines = (f'{{"source": "gone {number}.jpg", "rejected": true, "revision": 1}}\n' for number in range(5000))
    (out / DECISIONS).write_text("".join(lines))
    shutil.copy(out / DECISIONS, out / ".datakit" / "applied.jsonl")
    client = ask(out)
    client.timeout = 20  # to look each up in the file anew would take minutes
    assert len(client.get("api/changes?since=0").json()["changed"]) == 5000


def test_a_change_that_cannot_be_written_yet_is_not_given_up(ask, out):
    client = ask(out)
    key = samples(client)["fig.jpg"]["key"]
    (out / ".datakit" / "decisions.lock").mkdir()
    answer = change(client, key, {"accepted": True})
    assert (answer.status_code, "not saved yet" in answer.json()["error"]) == (503, True)
    (out / ".datakit" / "decisions.lock").rmdir()
    assert change(client, key, {"accepted": True}).status_code == 200


def test_a_fault_while_applying_ends_it(ask, out, monkeypatch, capsys):
    def at_fault(*arguments, **options):
        raise RuntimeError("something that nobody thought of")

    client = ask(out)
    change(client, samples(client)["dogs.jpg"]["key"], {"rejected": True})
    with monkeypatch.context() as patch:
        patch.setattr("datakit.review.session.crop_folder", at_fault)
        assert "something that nobody thought of" in applied(client)["error"]
    assert "Traceback" in capsys.readouterr().err
    assert applied(client)["error"] is None


def test_copies_of_a_shuffled_dataset_stand_side_by_side(ask, out, tmp_path):
    shuffle_folder(out, tmp_path / "copies", ShuffleOptions(repeats=3, keep=1, augment={"flip": 1.0}))
    client = ask(tmp_path / "copies")
    told = client.get("api/dataset").json()
    assert (told["stage"], told["editable"], told["upscale"]) == ("shuffle", False, None)
    fig = next(sample for sample in told["samples"] if sample["id"] == "fig.jpg")
    assert [copy["output"] for copy in fig["copies"]] == ["fig_1.jpg", "fig_2.jpg", "fig_3.jpg"]
    assert [copy["caption"] for copy in fig["copies"]] == [
        (tmp_path / "copies" / f"fig_{number}.txt").read_text() for number in (1, 2, 3)
    ]
    assert fig["copies"][1]["augmentation"]["flip"] is True
    assert fig["size"] == [1800, 1218]
    shown = Image.open(io.BytesIO(client.get(f"api/picture/{fig['key']}").content))
    assert shown.size == (1600, 1083)  # the original, where its box fits
    for copy in fig["copies"]:
        assert client.get(f"api/thumbnail/{copy['key']}?side=output").status_code == 200
    assert change(client, fig["key"], {"accepted": True}).status_code == 422
    assert client.post("api/apply", json={}).status_code == 422


def test_a_dataset_whose_source_is_gone_can_be_looked_at_alone(ask, out, source):
    shutil.rmtree(source)
    client = ask(out)
    told = client.get("api/dataset").json()
    assert (told["source"], told["editable"]) == (None, False)
    key = told["samples"][0]["key"]
    assert client.get(f"api/thumbnail/{key}").status_code == 404
    assert client.get(f"api/thumbnail/{key}?side=output").status_code == 200
    assert change(client, key, {"accepted": True}).status_code == 422


def test_a_damaged_picture_is_an_answer_and_no_crash(ask, out, source):
    client = ask(out)
    key = samples(client)["fig.jpg"]["key"]
    (source / "fig.jpg").write_bytes(b"no picture")
    answer = client.get(f"api/thumbnail/{key}")
    assert (answer.status_code, "no picture that can be read" in answer.json()["error"]) == (422, True)


# Who is answered


@pytest.mark.parametrize("path", ["", "api/dataset", "api/thumbnail/x", "page.css", "../", "x"])
def test_nobody_without_the_token_is_answered(ask, out, path):
    client = ask(out)
    base = f"http://127.0.0.1:{client.base_url.port}"
    for token in ("", "x", "api", client.base_url.path.strip("/")[:-1], client.base_url.path.strip("/") + "x"):
        assert httpx.get(f"{base}/{token}/{path}").status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1.evil.example"},
    ],
)
def test_nobody_from_elsewhere_is_answered(ask, out, headers):
    client = ask(out)
    assert client.get("api/dataset", headers=headers).status_code == 403
    key = samples(client)["fig.jpg"]["key"]
    answer = client.put(f"api/decision/{key}", json={"revision": 0, "decision": {"rejected": True}}, headers=headers)
    assert answer.status_code == 403
    assert not (out / DECISIONS).exists()


def test_the_page_itself_is_answered_under_both_names_of_this_machine(ask, out):
    client = ask(out)
    port = client.base_url.port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        answer = client.get("", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert client.get("main.js").headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_only_json_of_known_length_is_taken(ask, out, method):
    client = ask(out)
    key = samples(client)["fig.jpg"]["key"]
    path = f"api/decision/{key}" if method == "PUT" else "api/apply"
    body = b'{"revision": 0, "decision": {"rejected": true}}'
    assert client.request(method, path, content=body, headers={"Content-Type": "text/plain"}).status_code == 415
    json_type = {"Content-Type": "application/json"}
    assert client.request(method, path, content=iter([body]), headers=json_type).status_code == 413
    assert client.request(method, path, content=b"{}" * (1 << 20), headers=json_type).status_code == 413
    assert not (out / DECISIONS).exists()


def test_nothing_outside_the_dataset_is_answered(ask, out, source):
    (out.parent / "secret.txt").write_text("a secret")
    client = ask(out)
    port, token = client.base_url.port, client.base_url.path.strip("/")
    for path in (
        "../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "/etc/passwd", "..%5csecret.txt",
        "api/thumbnail/..%2f..%2fsecret.txt", "api/picture/fig.jpg", "api/thumbnail/%00", "../server.py", "%2e%2e/server.py",
    ):  # fmt: skip
        with socket.create_connection(("127.0.0.1", port)) as line:  # as it stands: a client would tidy the path
            line.sendall(f"GET /{token}/{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: line.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 404"), path
        assert b"secret" not in answer
        assert b"import" not in answer


def test_a_picture_named_by_the_last_report_stays_inside_the_source(ask, out, source):
    shutil.copy(source / "fig.jpg", source.parent / "secret.jpg")
    report = out / ".datakit" / "report.json"
    kept = json.loads(report.read_text())
    kept["failed"] = [{"source": "../secret.jpg", "reason": "x"}]
    report.write_text(json.dumps(kept))
    assert "../secret.jpg" not in samples(ask(out))


# The command


def test_the_command_prints_its_address_and_ctrl_c_ends_it_quietly(out, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "datakit", "review", out, "--no-open"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    address = process.stdout.readline().strip()
    assert httpx.get(f"{address}api/dataset").json()["stage"] == "crop"
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest) == (0, "")
    assert "Traceback" not in errors
    assert "interrupted" not in errors


def test_without_a_name_the_last_dataset_is_shown(datakit, source, tmp_path):
    datakit("crop", source, "out")
    process = subprocess.Popen(
        [sys.executable, "-m", "datakit", "review", "--no-open"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    process.terminate()
    _, errors = process.communicate(timeout=20)
    assert "using out/ (from the last crop)" in errors


def test_what_cannot_be_shown_is_one_line(datakit, out, tmp_path):
    (tmp_path / "empty").mkdir()
    done = datakit("review", "empty", "--no-open")
    assert (done.returncode, done.stdout) == (2, "")
    assert "empty has no manifest.jsonl" in done.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = datakit("review", out, "--no-open", "--port", str(taken.getsockname()[1]))
    assert (done.returncode, "cannot be used" in done.stderr) == (2, True)


def test_a_taken_port_is_a_usage_error(out):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="leave out --port"):
            Server(Session(out), taken.getsockname()[1])


def test_a_caption_edited_by_hand_that_the_page_never_showed_is_kept(ask, out):
    client = ask(out)
    found = samples(client)["fig.jpg"]
    change(client, found["key"], {"caption": "first"}, caption=found["caption"])
    (out / "fig.txt").write_text("by hand")
    shown = samples(client)["fig.jpg"]
    change(client, shown["key"], {"caption": "second"}, 1, caption=shown["caption"])
    applied(client)
    assert (out / "fig.txt").read_text() == "by hand"
    assert not pending(client)
    change(client, shown["key"], {"caption": "third"}, 2, caption="by hand")  # now it was shown
    applied(client)
    assert (out / "fig.txt").read_text() == "third"


def test_a_caption_of_a_picture_that_is_too_small_waits_for_one_run_alone(ask, source, tmp_path):
    crop_folder(source, tmp_path / "small", CropOptions(upscale=1.0))
    with Image.open(source / "fig.jpg") as picture:
        picture.resize((300, 200)).save(source / "fig.jpg")
    out = tmp_path / "out"
    crop_folder(source, out, CropOptions(upscale=1.5))
    client = ask(out)
    found = samples(client)["fig.jpg"]
    assert (found["problem"], found["size"], found["caption"]) == (
        "too-small",
        [300, 200],
        (source / "fig.txt").read_text().strip(),
    )
    change(client, found["key"], {"caption": "mine"})
    assert pending(client) == ["fig.jpg"]
    applied(client)
    assert not pending(client)
    box = {"box": [0, 0, 200, 200], "bucket": [1024, 1024], "caption": "mine"}
    assert change(client, found["key"], box, 1).json()["decision"]["upscale"] == 5.12
    applied(client)
    record = next(record for record in read_manifest(out) if record.source == "fig.jpg")
    assert (record.scale, (out / "fig.txt").read_text()) == (5.12, "mine")


def test_a_plan_that_was_applied_is_not_undone_by_the_page(ask, source, tmp_path):
    plans, _ = plan_folder(source, CropOptions(upscale=1.5, buckets=(Size(1024, 1024),)))
    plans[0] = msgspec.structs.replace(plans[0], anchor="face", faces=())
    (tmp_path / "plan.jsonl").write_bytes(b"".join(map(to_line, plans)))
    out = tmp_path / "out"
    crop_folder(source, out, CropOptions(upscale=1.5), plan=tmp_path / "plan.jsonl")
    before = tree(out)
    client = ask(out)
    assert samples(client)
    answer = client.post("api/apply", json={})
    assert (answer.status_code, "followed a plan" in answer.json()["error"]) == (422, True)
    assert tree(out) == before


def test_pictures_that_are_left_out_show_the_caption_that_another_tool_wrote(ask, source, tmp_path):
    for name, size in (("a", 300), ("b", 1024), ("c", 1024)):
        Image.new("RGB", (size, size), "red").save(source / f"{name}.png")
    (source / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "text": "too small"}\n{"file_name": "b.png", "text": "turned away"}'
    )
    (source / "c.json").write_text('{"caption": "in JSON"}')
    crop_folder(source, tmp_path / "out")
    client = ask(tmp_path / "out")
    for name in "bc":
        change(client, samples(client)[f"{name}.png"]["key"], {"rejected": True})
    crop_folder(source, tmp_path / "out")
    shown = samples(client)
    assert [shown[f"{name}.png"]["caption"] for name in "abc"] == ["too small", "turned away", "in JSON"]
    assert all(shown[f"{name}.png"]["refused"] for name in "abc")
