"""The executor without workers: one item after the other, in the calling process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from datakit.run.executors import Crash, Item, Result, tried


def serial(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    jobs: int = 0,
    timeout: float | None = None,
) -> Iterator[tuple[Item, Result | Crash]]:
    """Yield (item, result) in order; ``jobs`` and ``timeout`` do not apply."""
    for item in items:
        yield item, tried(function, item)
