"""One job of a server, watched until it ends: through a server that starts anew, and taken back where nobody waits any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from datakit.errors import NodeError, ServerError, UnreachableError
from datakit.trained.comfy.graph import Graph
from datakit.trained.comfy.server import Server, State

# Seconds between two looks at a job, at first and at most.
_SOON, _LATER = 0.1, 1.0
# A job that is in no queue and no history so often in a row was lost with its server; and how often it is sent in all.
_LOST_AFTER, _SENT_AT_MOST = 3, 5


@dataclass(frozen=True, slots=True)
class Watch:
    """How many seconds a picture may take once it is running, and who is told of what holds it up."""

    timeout: float = 600.0
    say: Callable[[str], None] = lambda said: None


def await_job(server: Server, job: str, graph: Graph, watch: Watch) -> State:
    """Send a job unless the server has it, and return how it ended; where this is interrupted, take it back.

    Raises
    ------
    NodeError
        A node refuses its values, or the job takes too long.
    ServerError
        The server does not come back, or loses the job again and again.
    """
    watched = _Watched(server, job, graph, watch)
    try:
        while True:
            ended = watched.look()
            if ended is not None:
                return ended
            time.sleep(watched.wait)
    except BaseException as error:
        if not isinstance(error, UnreachableError):
            with suppress(ServerError):  # nobody there to take it back from
                server.cancel(job)
        raise


class _Watched:
    """What was seen of a job so far."""

    def __init__(self, server: Server, job: str, graph: Graph, watch: Watch) -> None:
        self._server, self._job, self._graph, self._watch = server, job, graph, watch
        self._sent = self._ahead = 0
        self._unknown = _LOST_AFTER  # as if lost, so that the first look that does not find it sends it
        self._running: float | None = None
        self._silent: float | None = None
        self.wait = _SOON

    def look(self) -> State | None:
        """Look once, and return how the job ended, if it did."""
        self.wait = min(_LATER, self.wait * 1.3)
        try:
            state = self._server.state(self._job)
            if state.word == "unknown":
                self._miss()
            self._silent = None
        except UnreachableError as error:
            self._hear_nothing(error)
            return None
        if state.word in ("done", "failed"):
            return state
        if state.word == "running":
            self._time()
        elif state.word == "queued" and state.ahead != self._ahead:
            self._ahead = state.ahead
            self._watch.say(f"{state.ahead} of others' jobs are before ours")
        if state.word != "unknown":
            self._unknown = 0
        return None

    def _miss(self) -> None:
        """Send the job where it was not found often enough: between two places of the server it is in none for a moment."""
        self._unknown += 1
        if self._unknown < _LOST_AFTER:
            return
        if self._sent >= _SENT_AT_MOST:
            raise ServerError(
                f"job {self._job} was lost {self._sent} times: somebody deletes it, or the server starts anew each time"
            )
        self._server.submit(self._graph, self._job)
        self._sent, self._unknown, self._running, self.wait = self._sent + 1, 0, None, _SOON

    def _time(self) -> None:
        now = time.monotonic()
        self._running = self._running or now
        if now - self._running > self._watch.timeout:
            raise NodeError(f"took longer than {self._watch.timeout:g} seconds, the limit of --timeout")

    def _hear_nothing(self, error: UnreachableError) -> None:
        """Say once that nobody answers; give up after the limit of one picture."""
        now = time.monotonic()
        if self._silent is None:
            self._silent = now
            self._watch.say(f"{error}; waiting for it to come back")
        elif now - self._silent > self._watch.timeout:
            raise error
        self.wait = _LATER
