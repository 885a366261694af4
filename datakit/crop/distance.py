"""How far a crop is taken from its main face, by where its lower edge lies."""

from __future__ import annotations

from collections.abc import Sequence

from datakit.dataset.manifest import Face
from datakit.geometry import Area, Box


def face_heights(face: Area, box: Box) -> float:
    """Return how many heights of a face lie between the face's top and the lower edge of a window."""
    return (box.bottom - face.top) / face.height


def distance_of(faces: Sequence[Face], box: Box) -> float | None:
    """Return the face heights down to the lower edge of a crop from its main face, the first; None where that is not whole."""
    return face_heights(faces[0].box, box) if faces and faces[0].kept >= 1 else None
