"""What the proof of a dataset file found, whichever trainer's it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Fault:
    """A picture that is not trained as written, or a key that leaves it open.

    Attributes
    ----------
    entry, path
        The entry's id, and the file, relative to the dataset; empty where it is about the whole.
    problem, remedy
        What happens and what to do; the same for all files of which the same is said.
    detail
        What is so of this file alone.
    """

    entry: str
    path: str
    problem: str
    remedy: str = ""
    detail: str = ""


@dataclass(slots=True)
class Verdict:
    """What `datakit.trainers.backend.verify_backend` found.

    Attributes
    ----------
    pictures
        Files looked at, by entry.
    buckets
        Files a bucket, by entry, under the trainer's own bucket names.
    faults
        Grounds to reject; none means every picture is trained pixel by pixel as written.
    notes
        What could not be seen from here, one sentence each.
    compared
        Datasets that were held against a view of them, which several views may show; nothing of the result.
    provided
        What the proof takes for granted, one clause each.
    """

    pictures: dict[str, int] = field(default_factory=dict)
    buckets: dict[str, dict[str, int]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    provided: list[str] = field(default_factory=list)
    compared: set[str] = field(default_factory=set, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as plain data for ``--json``."""
        return {
            "proved": not self.faults,
            "pictures": self.pictures,
            "buckets": self.buckets,
            "faults": [asdict(fault) for fault in self.faults],
            "notes": self.notes,
            "provided": self.provided,
        }
