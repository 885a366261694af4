"""The executor of one machine: a pool of processes that survives its workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from threading import Thread, current_thread, main_thread
from typing import Any

from datakit.run.executors import Crash, Item, Result, tried

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
# Fork copies threads' locks in whatever state they are; a fresh interpreter is safe with OpenCV everywhere.
_CONTEXT = multiprocessing.get_context("spawn")


def processes(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    jobs: int = 1,
    timeout: float | None = None,
) -> Iterator[tuple[Item, Result | Crash]]:
    """Yield (item, result) as they are ready, from ``jobs`` worker processes.

    Each worker has one item at a time and one more is never queued: memory does not grow with the number of
    items. A worker that dies, or takes longer than ``timeout`` seconds for an item, costs that item only: its
    result is a `Crash` and a new worker takes over. Closing the iterator ends the workers.
    """
    source = iter(items)
    workers: list[_Worker] = []
    try:
        for item in source:
            _add(workers, function).give(item)
            if len(workers) == jobs:
                break
        while workers:
            for worker in _finished(workers, timeout):
                item, result, alive = worker.take(timeout)
                if not alive:
                    _remove(worker, workers)
                following = next(source, _NOTHING)
                if following is not _NOTHING:
                    (worker if alive else _add(workers, function)).give(following)
                elif alive:
                    _remove(worker, workers)
                yield item, result
    finally:
        with _uninterrupted():
            for worker in workers:
                worker.stop()


_NOTHING: Any = object()


class _Worker:
    """One process and the item it works on."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.connection, theirs = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=_work, args=(theirs, function), daemon=True)
        with _without_main():
            self.process.start()
        theirs.close()
        self.item: Any = None
        # When it began with its item; None while a new process is still importing.
        self.since: float | None = None
        self.starting = True

    def give(self, item: Any) -> None:
        self.item, self.since = item, None if self.starting else time.monotonic()
        with suppress(OSError):  # it died between two items; `take` finds out and says so
            self.connection.send(item)

    def left(self, timeout: float | None) -> float | None:
        """Return the seconds until its time is up, or None where there is no limit or it has not begun."""
        return None if timeout is None or self.since is None else self.since + timeout - time.monotonic()

    def begins(self) -> bool:
        """Take note of a new process's first word, that it has begun; tell whether that was it."""
        if self.starting and self.connection.poll():
            with suppress(EOFError, OSError):
                self.connection.recv()
                self.starting, self.since = False, time.monotonic()
                return True
        return False

    def take(self, timeout: float | None) -> tuple[Any, Any, bool]:
        """Return the item, its result, and whether the worker can take another."""
        try:
            if self.connection.poll():
                return self.item, self.connection.recv(), True
        except (EOFError, OSError):
            self.process.join(1.0)
        if self.process.is_alive():
            return self.item, Crash(f"took longer than {timeout:g} seconds"), False
        code = self.process.exitcode or 0
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return self.item, Crash(f"the worker process died of it ({cause})"), False

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()
        self.process.close()


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep a new process from importing the caller's main module: a script without a guard would start all over."""
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {name: main.__dict__.pop(name) for name in ("__spec__", "__file__") if name in main.__dict__}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(hidden)


def _add(workers: list[_Worker], function: Callable[[Any], Any]) -> _Worker:
    """Start one more worker; an interrupt finds it either not begun or among those to stop."""
    with _uninterrupted():
        workers.append(_Worker(function))
    return workers[-1]


def _remove(worker: _Worker, workers: list[_Worker]) -> None:
    """Stop a worker; an interrupt finds it either running or gone."""
    with _uninterrupted():
        worker.stop()
        workers.remove(worker)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off interrupts; a process started meanwhile inherits that Ctrl-C is not its to handle."""
    came: list[int] = []
    handlers = {}
    if current_thread() is main_thread() and not sys.is_finalizing():  # Python handles signals there, if at all
        handlers = {number: signal.signal(number, lambda number, _: came.append(number)) for number in _INTERRUPTS}
    masks = hasattr(signal, "pthread_sigmask")
    if masks:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        resource_tracker.ensure_running()  # to start it unblocks signals
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for each in came:
            signal.raise_signal(each)


def _finished(workers: list[_Worker], timeout: float | None) -> list[_Worker]:
    """Wait until some workers have answered, died or run out of time."""
    while True:
        times = [left for worker in workers if (left := worker.left(timeout)) is not None]
        # A worker's end closes its connection, so waiting for the connections covers deaths too.
        heard = set(wait([worker.connection for worker in workers], max(0.0, min(times)) if times else None))
        finished = []
        for worker in workers:
            left = worker.left(timeout)
            if (worker.connection in heard and not worker.begins()) or (left is not None and left <= 0):
                finished.append(worker)
        if finished:
            return finished


def _end_with_parent() -> None:
    """End this process when its parent is gone, however long its item would still take."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(connection: Connection, function: Callable[[Any], Any]) -> None:
    """Answer items until the other end closes; an interrupt is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    with suppress(OSError):
        connection.send(None)
    while True:
        try:
            item = connection.recv()
        except (EOFError, OSError):
            return
        result = tried(function, item)
        try:
            connection.send(result)
        except OSError:
            return
