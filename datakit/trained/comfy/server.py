"""ComfyUI's HTTP API: what a server has, one job sent, watched, fetched or taken back.

Run against ComfyUI 0.3.75; the answers of 0.38.1 were read. Only jobs of this tool's own are ever deleted or interrupted, each by
its name, for a server may be shared.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from datakit.errors import NodeError, ServerError, UnreachableError, UsageError
from datakit.trained.comfy.graph import Graph, to_api

TOKEN = "DATAKIT_COMFY_TOKEN"  # noqa: S105  # a variable's name
# Outputs of a workflow that was run before are told only to a client that says who it is.
_CLIENT = "datakit"
_PATIENCE = 60.0
# What a proxy says while the ComfyUI behind it is gone, or starts anew.
_AWAY = {502, 503, 504}
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Image(NamedTuple):
    """A picture that lies on the server."""

    filename: str
    subfolder: str
    type: str


@dataclass(frozen=True, slots=True)
class State:
    """What became of a job.

    Attributes
    ----------
    word
        queued, running, done, failed, or unknown: the server was started anew, or somebody deleted it.
    images
        What it saved, by node; of a job that is done.
    why
        Which node failed and how, of one that did; or that somebody interrupted it.
    ahead
        How many jobs run or wait before it.
    """

    word: Literal["queued", "running", "done", "failed", "unknown"]
    images: Mapping[str, tuple[Image, ...]]
    why: str = ""
    ahead: int = 0


_UNKNOWN = State("unknown", {})


class Server:
    """A ComfyUI at an address."""

    def __init__(self, address: str) -> None:
        """Take an address: ``127.0.0.1:8188``, or a whole URL; a token for it is read from the environment.

        Raises
        ------
        UsageError
            It is no address.
        """
        whole = address if "://" in address else f"http://{address}"
        parts = urllib.parse.urlsplit(whole)
        try:
            fits = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            fits = False
        if not fits:
            raise UsageError(f"server {address!r}: write an address such as 127.0.0.1:8188 or https://comfy.example/")
        self.address = whole.rstrip("/")
        # A proxy of the environment is for elsewhere.
        proxies = urllib.request.ProxyHandler({} if parts.hostname in _LOOPBACK else None)
        self._opener = urllib.request.build_opener(proxies)
        token = os.environ.get(TOKEN)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def version(self) -> str:
        """Return which ComfyUI answers."""
        system = self._json("GET", "/system_stats").get("system")
        return str(system.get("comfyui_version", "unknown")) if isinstance(system, dict) else "unknown"

    def classes(self) -> dict[str, Any]:
        """Return what every kind of node takes and gives."""
        found = self._json("GET", "/object_info")
        if not all(isinstance(each, dict) for each in found.values()):
            raise ServerError(f"{self.address} does not tell its nodes as ComfyUI does")
        return found

    def models(self, folder: str) -> list[str]:
        """Return the names of files in one of its folders of models, as its loaders take them."""
        found = self._request("GET", f"/models/{folder}")
        try:
            names = json.loads(found)
        except ValueError:
            names = None
        if not isinstance(names, list):
            raise ServerError(f"{self.address} does not list {folder} as ComfyUI does")
        return [str(name) for name in names]

    def submit(self, graph: Graph, job: str) -> None:
        """Send a job.

        Raises
        ------
        NodeError
            A node refuses its values; nothing of the job runs.
        """
        answer = self._json("POST", "/prompt", {"prompt": to_api(graph), "client_id": _CLIENT, "prompt_id": job}, refusals=(400,))
        errors = answer.get("node_errors")
        if errors or "error" in answer:
            if "prompt_id" in answer:  # one of several outputs was fine: it would run, and look like a success
                self.cancel(job)
            with self._understood("its refusals"):
                raise NodeError(_refusal(graph, answer))

    def state(self, job: str) -> State:
        """Return what became of a job. Between queue and history there is a gap, so that the history is asked twice."""
        return self._past(job) or self._waiting(job) or self._past(job) or _UNKNOWN

    def picture(self, image: Image) -> bytes | None:
        """Return the bytes of a picture; None where it is gone."""
        query = urllib.parse.urlencode(image._asdict())
        try:
            return self._request("GET", f"/view?{query}")
        except _AnswerError as error:
            if error.status in (400, 403, 404):
                return None
            raise

    def cancel(self, job: str) -> None:
        """Take a job back: out of the queue, or interrupted where it runs. No other job is touched."""
        self._request("POST", "/queue", {"delete": [job]})
        state = self._waiting(job)
        if state is not None and state.word == "running":
            self._request("POST", "/interrupt", {"prompt_id": job})

    def _past(self, job: str) -> State | None:
        """Return how a job ended, if it did."""
        entry = self._json("GET", f"/history/{job}").get(job)
        if not isinstance(entry, dict):
            return None
        with self._understood("how jobs ended"):
            return _ended(entry)

    def _waiting(self, job: str) -> State | None:
        """Return where a job stands in the queue, if it does."""
        queue = self._json("GET", "/queue")
        with self._understood("its queue"):
            running, pending = queue.get("queue_running") or [], queue.get("queue_pending") or []
            if any(item[1] == job for item in running):
                return State("running", {})
            numbers = {item[1]: item[0] for item in pending}
            if job not in numbers:
                return None
            return State("queued", {}, ahead=len(running) + sum(number < numbers[job] for number in numbers.values()))

    @contextmanager
    def _understood(self, what: str) -> Iterator[None]:
        """Take an answer that is built otherwise than ComfyUI builds it for an error of the server."""
        try:
            yield
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ServerError(f"{self.address} does not tell {what} as ComfyUI does") from error

    def _json(self, method: str, path: str, body: Any = None, refusals: tuple[int, ...] = ()) -> dict[str, Any]:
        try:
            content = self._request(method, path, body)
        except _AnswerError as error:
            if error.status not in refusals:
                raise
            content = error.body
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ServerError(f"{self.address}{path} does not answer as ComfyUI does")
        return found

    def _request(self, method: str, path: str, body: Any = None) -> bytes:
        """Ask the server for something. No Origin is sent, for ComfyUI refuses foreign ones."""
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers | ({"Content-Type": "application/json"} if data else {})
        request = urllib.request.Request(self.address + path, data, headers, method=method)  # noqa: S310  # http and https alone
        try:
            with self._opener.open(request, timeout=_PATIENCE) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            if error.code in _AWAY:
                raise UnreachableError(f"no ComfyUI behind {self.address}: status {error.code}, {error.reason}") from None
            raise _AnswerError(self.address, path, error.code, _body(error)) from None
        except urllib.error.URLError as error:
            raise UnreachableError(f"no ComfyUI at {self.address}: {_reason(error.reason)}") from None
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"no ComfyUI at {self.address}: {_reason(error)}") from None


class _AnswerError(ServerError):
    """The server answered with a status that says no."""

    def __init__(self, address: str, path: str, status: int, body: bytes) -> None:
        hint = f": set {TOKEN} to its token" if status in (401, 403) else ""
        super().__init__(f"{address}{path} answers with status {status}{hint}")
        self.status, self.body = status, body


def _body(error: urllib.error.HTTPError) -> bytes:
    """Return what an answer that says no holds, as far as it came."""
    with error:
        try:
            return error.read()
        except http.client.IncompleteRead as cut:
            return cut.partial
        except (OSError, http.client.HTTPException):
            return b""


def _reason(error: object) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _ended(entry: Mapping[str, Any]) -> State:
    """Return how a job ended by its entry in the history."""
    status = entry.get("status") or {}
    if status.get("status_str") == "success":
        return State("done", _images(entry.get("outputs") or {}))
    for event, told in reversed(status.get("messages") or []):
        if event == "execution_error":
            kind, message = told.get("exception_type", ""), str(told.get("exception_message", "")).strip()
            return State("failed", {}, f'node {told.get("node_id")} "{told.get("node_type")}": {kind}: {message}')
        if event == "execution_interrupted":
            return State("failed", {}, "interrupted on the server")
    return State("failed", {}, "failed without a word of why")


def _images(outputs: Mapping[str, Any]) -> dict[str, tuple[Image, ...]]:
    """Return the pictures of each node that saved some."""
    found = {}
    for node, output in outputs.items():
        images = output.get("images") if isinstance(output, dict) else None
        if isinstance(images, list):
            found[node] = tuple(
                Image(str(image["filename"]), str(image.get("subfolder", "")), str(image.get("type", "output")))
                for image in images
                if isinstance(image, dict) and "filename" in image
            )
    return found


def _refusal(graph: Graph, answer: Mapping[str, Any]) -> str:
    """Return the reasons of a refusal, by node and value: the error itself often says nothing."""
    reasons = []
    for node, told in (answer.get("node_errors") or {}).items():
        name = f'node {node} "{told.get("class_type", graph[node].kind if node in graph else "?")}"'
        for error in told.get("errors") or []:
            extra = error.get("extra_info") or {}
            value = f" (value {extra['received_value']!r})" if "received_value" in extra else ""
            details = str(error.get("details") or "")
            if len(details) > 200:  # lists every file that the server has
                details = str(extra.get("input_name", ""))
            reasons.append(f"{name}: {details + ': ' if details else ''}{error.get('message', error.get('type'))}{value}")
    if not reasons:
        error = answer.get("error")
        error = error if isinstance(error, dict) else {"message": error}
        reasons = [
            ": ".join(str(part) for part in (error.get("message"), error.get("details")) if part) or "refused without a word"
        ]
    return "; ".join(dict.fromkeys(reasons))
