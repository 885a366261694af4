"""Stage 3: what a trainer reads, what is written for it, and the proof; a folder a trainer."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from datakit.errors import UsageError

# Where the module lies that turns concepts into a trainer's dataset entries (`emit`) and writes them (`to_json`).
TRAINERS = {"simpletuner": "datakit.trainers.simpletuner.backend"}


def trainer(name: str) -> Any:
    """Return the module of a trainer.

    Raises
    ------
    UsageError
        The name is unknown.
    """
    if name not in TRAINERS:
        raise UsageError(f"trainer {name!r} is unknown: choose from {', '.join(TRAINERS)}")
    return import_module(TRAINERS[name])
