"""What a recorded ComfyUI said, and what is made of it: refusals, jobs in every state, and who else's jobs are left alone."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from datakit.errors import NodeError, ServerError, UnreachableError, UsageError
from datakit.trained.comfy.graph import read_workflow
from datakit.trained.comfy.server import TOKEN, Image, Server
from tests.trained.fake import ANSWERS, TINY, Fake, history, recorded


@pytest.fixture
def server(comfy: Fake) -> Server:
    return Server(comfy.address)


GRAPH = read_workflow(TINY)
QUEUE = recorded("queue_running_and_pending")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lora_not_listed", "node 276 \"LoraLoaderModelOnly\": lora_name: Value not in list (value 'nope.safetensors')"),
        ("missing_input", 'node 3 "KSampler": seed: Required input is missing'),
        ("unknown_class", "Cannot execute because node Missing does not exist.: Node ID '#8'"),
        ("no_prompt", "No prompt provided: No prompt provided"),
        ("one_of_two_outputs_invalid", 'node 902 "EmptySD3LatentImage": batch_size: Value -1 smaller than min of 1 (value -1)'),
    ],
)
def test_a_refusal_names_node_and_value(comfy, server, name, said):
    comfy.refuses = lambda graph: name
    with pytest.raises(NodeError) as caught:
        server.submit(GRAPH, "job")
    assert str(caught.value) == said


def test_a_job_of_which_one_output_would_run_is_taken_back(comfy, server):
    comfy.refuses = lambda graph: "one_of_two_outputs_invalid"
    with pytest.raises(NodeError):
        server.submit(GRAPH, "job")
    assert ("POST", "/queue", {"delete": ["job"]}) in comfy.requests


def test_every_state_of_a_job_is_told(comfy, server):
    running, pending = QUEUE["queue_running"][0][1], [item[1] for item in QUEUE["queue_pending"]]
    comfy.answer = lambda method, path, query, body: (200, QUEUE if path == "/queue" else {})
    assert server.state(running).word == "running"
    assert [(server.state(job).word, server.state(job).ahead) for job in pending] == [
        ("queued", number + 1) for number in range(len(pending))
    ]
    assert server.state("nobody").word == "unknown"


def test_how_a_job_ended_is_told(comfy, server):
    comfy.done = {
        name: history(name)
        for name in ("success_history", "error_history", "interrupted_history", "cached_without_client_id_history")
    }
    done = server.state("success_history")
    assert (done.word, done.images) == ("done", {"314": (Image("ComfyUI_00006_.png", "", "output"),)})
    failed = server.state("error_history")
    assert (failed.word, failed.why) == ("failed", 'node 50 "TinyFault": RuntimeError: out of luck')
    assert server.state("interrupted_history").why == "interrupted on the server"
    assert server.state("cached_without_client_id_history").images == {}


def test_a_job_between_queue_and_history_is_not_lost(comfy, server):
    asked = []

    def answer(method, path, query, body):
        asked.append(path)
        if path.startswith("/history/") and len(asked) > 2:
            return 200, {"job": history("success_history")}
        return 200, {"queue_running": [], "queue_pending": []} if path == "/queue" else {}

    comfy.answer = answer
    assert server.state("job").word == "done"


def test_only_our_job_is_deleted_or_interrupted_and_only_where_it_runs(comfy, server):
    comfy.polls = -1
    server.submit(GRAPH, "ours")
    comfy.running["theirs"] = {"id": "theirs", "graph": {}, "left": -1}
    server.cancel("waiting")
    assert not [body for _, path, body in comfy.requests if path == "/interrupt"]
    server.cancel("ours")
    assert [body for _, path, body in comfy.requests if path == "/interrupt"] == [{"prompt_id": "ours"}]
    assert list(comfy.running) == ["theirs"]
    assert all(
        body == {"delete": ["waiting"]} or body == {"delete": ["ours"]}
        for method, path, body in comfy.requests
        if (method, path) == ("POST", "/queue")
    )


def test_a_client_id_is_sent_no_origin_and_the_token(comfy, monkeypatch):
    monkeypatch.setenv(TOKEN, "secret")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # of elsewhere, not for the loopback
    server = Server(comfy.address)
    server.submit(GRAPH, "job")
    (body,) = [body for _, path, body in comfy.requests if path == "/prompt"]
    assert (body["client_id"], body["prompt_id"]) == ("datakit", "job")
    assert body["prompt"] == json.loads(TINY.read_text())
    assert comfy.headers[-1]["Authorization"] == "Bearer secret"
    assert "Origin" not in comfy.headers[-1]


def test_who_does_not_answer_or_is_no_comfyui_is_named(comfy, server):
    with pytest.raises(UnreachableError, match=r"^no ComfyUI at http://127\.0\.0\.1:9: Connection refused$"):
        Server("127.0.0.1:9").version()
    comfy.status = 401
    with pytest.raises(ServerError, match=f"status 401: set {TOKEN}"):
        server.version()
    comfy.status = None
    comfy.answer = lambda *asked: (200, b"<html>a router's page</html>")
    for ask in (server.version, server.classes, lambda: server.models("loras"), lambda: server.state("x")):
        with pytest.raises(ServerError, match="as ComfyUI does"):
            ask()
    for wrong in ("ftp://x", "http://", "127.0.0.1:x", "127.0.0.1:99999"):
        with pytest.raises(UsageError, match="write an address"):
            Server(wrong)


def test_a_proxy_that_has_no_comfyui_behind_it_is_nobody_there(comfy, server):
    comfy.status = 502
    with pytest.raises(UnreachableError, match=r"no ComfyUI behind .*: status 502, Bad Gateway"):
        server.version()


@pytest.mark.parametrize(
    "answer",
    [
        {"queue_running": [None]},
        {"queue_running": ["x"]},
        {"queue_running": [[1]]},
        {"queue_pending": [[1, "job"], ["x", "other"]]},
        {"job": {"status": [1]}},
        {"job": {"status": {"messages": [["execution_error", []]]}}},
        {"job": {"status": {"messages": [1]}}},
        {"job": {"status": {"status_str": "success"}, "outputs": [1]}},
    ],
)
def test_an_answer_that_is_built_otherwise_is_an_error_of_the_server(comfy, server, answer):
    comfy.answer = lambda *asked: (200, answer)
    with pytest.raises(ServerError, match="as ComfyUI does"):
        server.state("job")


@pytest.mark.parametrize("errors", [[1], {"3": [1]}, {"3": {"errors": [1]}}])
def test_a_refusal_that_is_built_otherwise_is_one_too(comfy, server, errors):
    comfy.answer = lambda *asked: (400, {"error": "x", "node_errors": errors})
    with pytest.raises(ServerError, match="as ComfyUI does"):
        server.submit(GRAPH, "job")


def test_a_refusal_that_breaks_off_is_still_a_refusal():
    """The status came whole, its reasons did not."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b'HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\n{"err')

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ServerError, match=f"status 401: set {TOKEN}"):
            Server(f"127.0.0.1:{listening.getsockname()[1]}").version()
        thread.join()


def test_a_picture_that_is_gone_is_none(comfy, server):
    comfy.files["a b.png"] = b"bytes"
    assert server.picture(Image("a b.png", "sub", "output")) == b"bytes"
    assert server.picture(Image("gone.png", "", "output")) is None


def test_what_was_recorded_is_used():
    assert set(ANSWERS) >= {"models_loras", "queued", "success_history", "history_of_deleted"}
    assert recorded("history_of_deleted") == {}
