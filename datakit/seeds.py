"""Random generators that depend on what they are for and on nothing else."""

from __future__ import annotations

import hashlib
import random

DEFAULT_SEED = 42


def generator(seed: int, *purpose: str | int) -> random.Random:
    """Return a generator for a seed and a purpose such as ``(sample id, "shuffle", copy)``.

    The same arguments give the same sequence in every process, on every machine and Python version: the state
    comes from SHA-256 and only `random.Random.random` and what datakit derives from it should be drawn.
    """
    text = "\x00".join(f"{type(part).__name__}:{part}" for part in (seed, *purpose))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return random.Random(int.from_bytes(digest, "big"))


def permutation(length: int, source: random.Random) -> list[int]:
    """Return a random order of ``range(length)`` (Fisher-Yates, drawn from `random.Random.random` alone).

    Python promises that ``random()`` stays the same for a given seed across versions; it does not promise
    this of ``shuffle()``.
    """
    order = list(range(length))
    for last in range(length - 1, 0, -1):
        chosen = int(source.random() * (last + 1))
        order[last], order[chosen] = order[chosen], order[last]
    return order
