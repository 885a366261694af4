"""The door of executors: what applies a function to many items. A kind of executor is a module and a line in `EXECUTORS`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from datakit.libraries import imported

Item = TypeVar("Item")
Result = TypeVar("Result")

EXECUTORS: Mapping[str, str] = {
    "serial": "datakit.run.serial:serial",
    "processes": "datakit.run.processes:processes",
    "ray": "datakit.run.ray:ray_tasks",
}


@dataclass(frozen=True, slots=True)
class Crash:
    """What stands in for the result of an item that killed its worker, ran too long or raised."""

    reason: str


class Executor(Protocol):
    """Applies a function to items; one item's death costs that item alone, and no more than a few are held at once."""

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], jobs: int, timeout: float | None
    ) -> Iterator[tuple[Item, Result | Crash]]:
        """Yield (item, result) in any order, from so many workers; an item may take so many seconds."""
        ...


def executor(name: str) -> Executor:
    """Return the executor of a name.

    Raises
    ------
    UsageError
        The name is unknown.
    """
    found: Executor = imported(EXECUTORS, "executor", name)
    return found


def tried(function: Callable[[Item], Result], item: Item) -> Result | Crash:
    """Return what a function makes of an item, or that it raised."""
    try:
        return function(item)
    except Exception as error:
        return Crash(f"{type(error).__name__}: {error}")
