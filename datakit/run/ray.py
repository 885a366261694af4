"""The executor of a cluster: Ray places items, tries again those whose worker or node is lost, and survives both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from datakit.libraries import extra
from datakit.run.executors import Crash, Item, Result, tried

# So often is an item given to another worker when its own dies. (What Ray itself ends for want of memory it tries for as long as
# the cluster's RAY_task_oom_retries says.)
_RETRIES = 10
# Items under way for each CPU, so that none waits for the driver.
_AHEAD = 2
# What tells a worker who it is in object storage: workers of a running cluster do not have the driver's environment.
_PASSED_ON = ("AWS_", "AZURE_", "GOOGLE_")
# Seconds after which nodes that joined are counted.
_LOOK = 10.0


def ray_tasks(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    jobs: int = 1,
    timeout: float | None = None,
) -> Iterator[tuple[Item, Result | Crash]]:
    """Yield (item, result) as they are ready, from the cluster that RAY_ADDRESS names, or from ``jobs`` CPUs of this machine.

    An item has one CPU. No more than two a CPU are under way; memory does not grow with the number of items. ``timeout``
    does not apply. Function and items have to be importable on every node.

    Raises
    ------
    MissingLibraryError
        Ray is not installed.
    """
    ray = extra("ray", "ray", "the executor ray")
    begun = not ray.is_initialized()
    if begun:
        _join(ray, jobs)
    pending: dict[Any, Item] = {}
    try:
        task = ray.remote(num_cpus=1, max_retries=_RETRIES)(tried)
        shared = ray.put(function)
        source = iter(items)
        more = True
        while more or pending:
            room = _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1))) - len(pending)
            for _ in range(room if more else 0):
                try:
                    item = next(source)
                except StopIteration:
                    more = False
                    break
                pending[task.remote(shared, item)] = item
            finished, _ = ray.wait(list(pending), num_returns=1, timeout=_LOOK) if pending else ([], [])
            for reference in finished:
                yield pending.pop(reference), _result(ray, reference)
    finally:
        for reference in pending:
            ray.cancel(reference, force=True)
        if begun:
            ray.shutdown()


def _join(ray: Any, jobs: int) -> None:
    """Connect to the cluster that is named, or begin one on this machine.

    Without an address Ray would look for a cluster that ran here before, and wait for it.
    """
    address = os.environ.get("RAY_ADDRESS") or "local"
    passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    here = {"num_cpus": jobs, "include_dashboard": False} if address == "local" else {"runtime_env": {"env_vars": passed}}
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that begins here reports to nobody
    ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=True, **here)


def _result(ray: Any, reference: Any) -> Any:
    """Return what an item came to."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        return Crash(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
