"""A server that answers as ComfyUI 0.3.75 did when its answers were recorded, and whose jobs do what a test wants."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image, PngImagePlugin

HERE = Path(__file__).parent
ANSWERS: dict[str, Any] = json.loads((HERE / "recorded" / "answers.json").read_text())
OBJECT_INFO: dict[str, Any] = json.loads((HERE / "recorded" / "object_info.json").read_text())
TINY = HERE / "workflows" / "tiny_sd3_api.json"
TUTORIAL = HERE / "workflows" / "tutorial_like_api.json"
LORAS: list[str] = ANSWERS["models_loras"]["json"]
Job = dict[str, Any]


def recorded(name: str) -> Any:
    """A recorded answer's body."""
    return copy.deepcopy(ANSWERS[name]["json"])


def history(name: str) -> dict[str, Any]:
    """The entry of a recorded history."""
    entry: dict[str, Any] = next(iter(recorded(name).values()))
    return entry


def drawn(graph: dict[str, Any]) -> bytes:
    """A picture that depends on everything but the file's name, with its workflow in it as ComfyUI writes it."""
    plain = {
        name: (node["class_type"], {k: v for k, v in node["inputs"].items() if k != "filename_prefix"})
        for name, node in graph.items()
    }
    colours = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).digest()
    image = Image.frombytes("RGB", (2, 2), colours[:12]).resize((48, 64), Image.Resampling.BILINEAR)
    told = PngImagePlugin.PngInfo()
    told.add_text("prompt", json.dumps(graph))
    buffer = io.BytesIO()
    image.save(buffer, "png", pnginfo=told)
    return buffer.getvalue()


class Fake:
    """What the server was asked and what it holds.

    ``polls`` is how often a job is seen running before it ends, -1 for never; ``ends`` turns a history entry into what the
    test wants; ``picture`` draws.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.polls = 0
        self.ends: Callable[[Job, dict[str, Any]], dict[str, Any]] = lambda job, entry: entry
        self.picture: Callable[[dict[str, Any]], bytes] = drawn
        self.refuses: Callable[[dict[str, Any]], str | None] = lambda graph: None
        self.loras = list(LORAS)
        self.models = ["tiny_sd3.safetensors", "run/a-000100.safetensors", "run/a-000200.safetensors"]
        self.requests: list[tuple[str, str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.running: dict[str, Job] = {}
        self.pending: list[list[Any]] = []
        self.done: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.sent: list[str] = []
        self.status: int | None = None
        self.address = ""

    def sent_graphs(self) -> list[dict[str, Any]]:
        return [body["prompt"] for method, path, body in self.requests if (method, path) == ("POST", "/prompt")]

    def restart(self) -> None:
        """Forget everything, as a server that was killed does."""
        with self.lock:
            self.running.clear()
            self.pending.clear()
            self.done.clear()

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if self.status is not None:
            return self.status, {}
        if path == "/system_stats":
            return 200, {"system": {"comfyui_version": "0.3.75"}}
        if path == "/object_info":
            return 200, OBJECT_INFO
        if path.startswith("/models/"):
            return 200, self.loras if path == "/models/loras" else self.models
        if path == "/prompt":
            return self._prompt(body)
        if path == "/queue":
            return self._queue(method, body)
        if path == "/interrupt":
            job = self.running.pop(body["prompt_id"], None)
            if job:
                self.done[body["prompt_id"]] = history("interrupted_history")
            return 200, {}
        if path.startswith("/history/"):
            job_id = path.removeprefix("/history/")
            return 200, {job_id: self.done[job_id]} if job_id in self.done else {}
        if path == "/view":
            content = self.files.get(query["filename"][0])
            return (404, {}) if content is None else (200, content)
        return 404, {}

    def _prompt(self, body: Any) -> tuple[int, Any]:
        self.sent.append(body["prompt_id"])
        name = self.refuses(body["prompt"])
        if name:
            return ANSWERS[name]["status"], {
                **recorded(name),
                **({"prompt_id": body["prompt_id"]} if ANSWERS[name]["status"] == 200 else {}),
            }
        self.running[body["prompt_id"]] = {"id": body["prompt_id"], "graph": body["prompt"], "left": self.polls}
        return 200, {**recorded("queued"), "prompt_id": body["prompt_id"]}

    def _queue(self, method: str, body: Any) -> tuple[int, Any]:
        if method == "POST":
            self.pending = [item for item in self.pending if item[1] not in body["delete"]]
            return 200, {}
        shown = [[1, job["id"], job["graph"], {}, []] for job in self.running.values()]
        pending = list(self.pending)
        for job in list(self.running.values()):
            if job["left"] == 0:
                self._end(job)
            job["left"] -= 1
        return 200, {"queue_running": shown, "queue_pending": pending}

    def _end(self, job: Job) -> None:
        del self.running[job["id"]]
        entry = history("success_history")
        save = next(name for name, node in job["graph"].items() if node["class_type"] in ("SaveImage", "PreviewImage"))
        file = f"{job['graph'][save]['inputs'].get('filename_prefix', 'temp').replace('/', '_')}_{len(self.files):05}_.png"
        self.files[file] = self.picture(job["graph"])
        entry["outputs"] = {save: {"images": [{"filename": file, "subfolder": "", "type": "output"}]}}
        self.done[job["id"]] = self.ends(job, entry)


@contextmanager
def served(fake: Fake, port: int = 0) -> Iterator[Fake]:
    """Serve on the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            self.reply("GET")

        def do_POST(self) -> None:
            self.reply("POST")

        def reply(self, method: str) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            parts = urlsplit(self.path)
            with fake.lock:
                fake.requests.append((method, parts.path, body))
                fake.headers.append(dict(self.headers))
                status, content = fake.answer(method, parts.path, parse_qs(parts.query), body)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    fake.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
