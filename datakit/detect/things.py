"""What an object detector saw: where, how sure, and whether a picture is taken of such a thing."""

from __future__ import annotations

from typing import NamedTuple

from datakit.geometry import Area

PERSON = 0
# Of COCO's 80 classes, in the order in which networks number them: what people sit, lie, eat at or cook with is scenery.
FURNITURE = frozenset((13, 56, 57, 59, 60, 61, 62, 68, 69, 70, 71, 72))


class Thing(NamedTuple):
    """An object: where, in pixels of the picture it was seen in; how sure (0 to 1); its class, a number of COCO's."""

    box: Area
    score: float
    kind: int

    @property
    def is_person(self) -> bool:
        """Whether it is a human being."""
        return self.kind == PERSON

    @property
    def is_furniture(self) -> bool:
        """Whether it is what rooms are furnished with."""
        return self.kind in FURNITURE
