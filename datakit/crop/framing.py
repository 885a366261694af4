"""Choose the window of a crop from where the subjects are: pure geometry, no pixels.

The window has the bucket's aspect and by default is the largest that fits, so it can slide along one axis
only. It goes where it keeps most: whole faces first, then saliency, then the centre.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from datakit.dataset.manifest import Anchor, CropPlan, Face
from datakit.geometry import Area, Box, Size, share_inside
from datakit.report import Warned
from datakit.sizes import enlargement, largest_window, rounded_scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from datakit.detect.things import Thing

    Floats = NDArray[np.float64]

# The figures below were chosen on about 2,900 annotated pictures; docs/crop.md, "How a window is chosen".
# Smaller faces are passers-by or false alarms: share of the picture's short side, and of the widest face.
MIN_FACE_SHARE, MIN_FACE_RATIO = 0.05, 0.5
# Where the best score is lower, the user is asked to look: it may be no face (a seed head, a knot in wood).
DOUBTFUL_SCORE = 0.75
# A head reaches beyond the detected face: sides, up and down as shares of the face's width and height.
HEAD_SIDES, HEAD_UP, HEAD_DOWN = 0.1, 0.2, 0.1
# Below a face there is a body: its width in face widths, its height in face heights, its share of the mass.
BODY_WIDTH, BODY_HEIGHT, BODY_WEIGHT = 3.0, 6.0, 0.25
# Photographers centre: every saliency map gains from a Gaussian about the centre on a floor.
PRIOR_FLOOR, PRIOR_SIGMA = 0.15, 0.33
FACE_WEIGHT, OFFSET_WEIGHT, PLATEAU = 10.0, 0.05, 0.01
# Of sums that are equal but for their last digits.
_ROUNDING = 1e-9
# Shares of a face's term: covered with its head, covered, and wholly inside.
COVER_HEAD, COVER_FACE, WHOLE_FACE = 0.35, 0.35, 0.3
# One object that is whole is worth this much of the map's mass, the largest and surest one most; by how much of its side
# a box may be wrong. Largest subject cut in 26 instead of 29 % of annotated pictures, square, and 45 instead of 48, opposite.
WHOLE_THING, THING_SCORE, THING_EDGE = 0.2, 0.3, 0.02
# Below this an object that no person is at the place of speaks against a face; held apart from what the user is told.
DISPUTED_SCORE = 0.8


def significant(faces: Sequence[Face], size: Size) -> tuple[Face, ...]:
    """Return the faces that a crop must keep, cut to the picture, largest first; in pixels of the upright picture."""
    seen = [Face(face.box.clipped(size), face.score) for face in faces]
    # What reaches into the picture by less than a pixel covers nothing of it, and has no body in it either.
    large = [face for face in seen if face.box.width >= MIN_FACE_SHARE * min(size) and face.box.height >= 1]
    widest = max((face.box.width for face in large), default=0.0)
    kept = [face for face in large if face.box.width >= MIN_FACE_RATIO * widest]
    return tuple(sorted(kept, key=lambda face: (-face.box.width * face.box.height, face.box)))


def believed(faces: Sequence[Face], things: Sequence[Thing]) -> bool:
    """Tell whether faces are taken for such: where none is sure, an object that is no person speaks against them."""
    if not faces or max(face.score for face in faces) >= DISPUTED_SCORE:
        return True
    sure = [thing for thing in things if thing.score >= THING_SCORE]
    people = [thing.box for thing in sure if thing.is_person]
    return not any(not (thing.is_person or thing.is_furniture) for thing in sure) or any(
        _holds_middle(box, face.box) for box in people for face in faces
    )


def frame(
    source: str,
    size: Size,
    bucket: Size,
    faces: Sequence[Face] = (),
    saliency: NDArray[np.float32] | None = None,
    things: Sequence[Thing] = (),
) -> CropPlan:
    """Decide where the largest window of a picture lies.

    Parameters
    ----------
    source
        The picture's name in the plan.
    size
        Of the upright picture, in pixels.
    bucket
        The size to fill.
    faces
        As detected, in pixels of the upright picture.
    saliency
        A non-negative map over the whole picture, any shape (rows, columns); None for none.
    things
        Objects as detected, in pixels of the upright picture.
    """
    subjects = significant(faces, size)
    doubted = () if believed(subjects, things) else subjects
    if doubted:
        subjects = ()
    mass = mass_of(size, subjects, saliency)
    box = _slid(size, largest_window(size, bucket), subjects, things, mass)
    kept = kept_faces(subjects, box)
    anchor, why = _reason(size, box, kept, saliency is not None)
    if doubted and anchor == "saliency":
        why += f"; what looked like a face (score {doubted[0].score:.2f}) is none, as an object is seen and no person"
    return CropPlan(
        source=source,
        box=box,
        bucket=bucket,
        anchor=anchor,
        why=why,
        source_size=size,
        faces=kept,
        saliency_kept=None if saliency is None else round(_mass_inside(mass, size, box), 4),
        area_kept=round(box.size.area / size.area, 4),
        scale=rounded_scale(enlargement(box.size, bucket)),
        warnings=(*cut_warnings(kept), *doubt_warnings(kept, box, size)),
    )


def kept_faces(faces: Sequence[Face], box: Box) -> tuple[Face, ...]:
    """Return faces with the share of each that a box keeps."""
    return tuple(Face(face.box, round(face.score, 4), round(share_inside(face.box, box), 4)) for face in faces)


def cut_warnings(faces: Sequence[Face]) -> list[Warned]:
    """Return a warning for each face that is not kept whole."""
    return [Warned("face-cut", f"a face does not fit: {face.kept:.0%} of it is kept") for face in faces if face.kept < 1]


def doubt_warnings(faces: Sequence[Face], box: Box, size: Size) -> list[Warned]:
    """Return a warning where a box was placed in a picture of a size by what may be no face."""
    best = max((face.score for face in faces), default=1.0)
    if best >= DOUBTFUL_SCORE or box.size == size:
        return []
    sentence = f"placed by what may be no face (score {best:.2f}): look at it, or use --detector none"
    return [Warned("face-doubtful", sentence)]


def slack(size: Size, bucket: Size) -> int:
    """Return how many pixels the largest window can slide: 0 where nothing is left to decide."""
    window = largest_window(size, bucket)
    return size.width - window.width + size.height - window.height


def _reason(size: Size, box: Box, faces: tuple[Face, ...], mapped: bool) -> tuple[Anchor, str]:
    if faces:
        count = "the face" if len(faces) == 1 else f"{len(faces)} faces"
        whole = sum(face.kept >= 1 for face in faces)
        return "face", f"keeps {count} whole" if whole == len(faces) else f"keeps {whole} of {len(faces)} faces whole"
    if box.size == size:
        return "center", "the window is the whole picture"
    if mapped:
        return "saliency", "keeps most of what stands out"
    free = size.width - box.size.width + size.height - box.size.height
    return "center", f"nothing to follow: the middle of the {free} pixels that the window can move"


def mass_of(size: Size, faces: tuple[Face, ...], saliency: NDArray[np.float32] | None) -> Floats:
    """Return the map whose sum inside the window counts, rows by columns, of sum 1 plus the bodies' weight."""
    rows, columns = (64, 64) if saliency is None else saliency.shape
    base = np.ones((rows, columns)) if saliency is None else np.asarray(saliency, np.float64)
    y = (np.arange(rows) + 0.5) / rows - 0.5
    x = (np.arange(columns) + 0.5) / columns - 0.5
    # In shares of each side, so that the prior has the picture's own shape.
    centre = np.exp(-0.5 * (y[:, None] ** 2 + x[None, :] ** 2) / PRIOR_SIGMA**2)
    mass = base * (PRIOR_FLOOR + centre)
    total = mass.sum()
    mass = mass / total if total > 0 else np.full_like(mass, 1 / mass.size)
    for face in faces:
        middle, width = (face.box.left + face.box.right) / 2, BODY_WIDTH * face.box.width
        body = Area(middle - width / 2, face.box.top, middle + width / 2, face.box.top + BODY_HEIGHT * face.box.height).clipped(
            size
        )
        cover = np.outer(
            _overlap(rows, size.height, body.top, body.bottom),
            _overlap(columns, size.width, body.left, body.right),
        )
        mass += BODY_WEIGHT / len(faces) * cover / cover.sum()
    return mass


def _overlap(cells: int, extent: int, start: float, end: float) -> Floats:
    """Return how much of each of so many equal cells lies between start and end, 0 to 1."""
    edges = np.arange(cells + 1) * (extent / cells)
    return np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, None) / (extent / cells)


def _mass_inside(mass: Floats, size: Size, box: Box) -> float:
    rows = _overlap(mass.shape[0], size.height, box.top, box.bottom)
    columns = _overlap(mass.shape[1], size.width, box.left, box.right)
    return float(rows @ mass @ columns / mass.sum())


def _slid(size: Size, window: Size, faces: tuple[Face, ...], things: Sequence[Thing], mass: Floats) -> Box:
    """Slide the largest window along its free axis to where it keeps most."""
    whole = [(thing.box, _worth(thing)) for thing in things if thing.score >= THING_SCORE and not thing.is_furniture]
    if window.width < size.width:
        offset = _best_offset(
            (size.width, window.width),
            mass.sum(axis=0),
            [(_head(face).left, face.box.left, face.box.right, _head(face).right) for face in faces],
            faces,
            [(box.left, box.right, worth) for box, worth in whole],
        )
        return Box(offset, 0, offset + window.width, window.height)
    if window.height < size.height:
        offset = _best_offset(
            (size.height, window.height),
            mass.sum(axis=1),
            [(_head(face).top, face.box.top, face.box.bottom, _head(face).bottom) for face in faces],
            faces,
            [(box.top, box.bottom, worth) for box, worth in whole],
        )
        return Box(0, offset, window.width, offset + window.height)
    return Box(0, 0, *size)


def _worth(thing: Thing) -> float:
    return math.sqrt(thing.box.width * thing.box.height) * thing.score


def _holds_middle(box: Area, of: Area) -> bool:
    x, y = (of.left + of.right) / 2, (of.top + of.bottom) / 2
    return box.left <= x <= box.right and box.top <= y <= box.bottom


def _head(face: Face) -> Area:
    return face.box.grown(HEAD_SIDES, HEAD_UP, HEAD_DOWN)


def _best_offset(
    along: tuple[int, int],
    profile: Floats,
    spans: list[tuple[float, float, float, float]],
    faces: tuple[Face, ...],
    whole: list[tuple[float, float, float]],
) -> int:
    """Return the offset along one axis, given the extents of picture and window along it.

    A span is (head start, face start, face end, head end) on that axis; ``whole`` holds (start, end, worth) of objects.
    """
    extent, length = along
    free = extent - length
    spans = [tuple(min(max(edge, 0.0), float(extent)) for edge in span) for span in spans]  # type: ignore[misc]
    offsets = _allowed(free, length, spans)
    cumulative = np.concatenate([[0.0], np.cumsum(profile)])
    edges = np.arange(len(cumulative)) * (extent / len(profile))
    score = np.interp(offsets + length, edges, cumulative) - np.interp(offsets, edges, cumulative)
    weights = np.array([np.sqrt(face.box.width * face.box.height) * face.score for face in faces])
    for span, weight in zip(spans, weights, strict=True):
        head_start, start, end, head_end = span
        term = (
            COVER_HEAD * _covered(offsets, length, head_start, head_end)
            + COVER_FACE * _covered(offsets, length, start, end)
            + WHOLE_FACE * ((offsets <= start) & (offsets + length >= end))
        )
        score = score + FACE_WEIGHT * weight / weights.sum() * term
    score = score + WHOLE_THING * _best_whole(offsets, length, whole)
    score = score - OFFSET_WEIGHT * np.abs(offsets - free / 2) / (free / 2)
    best = int(np.argmax(score))
    near = score >= score[best] - PLATEAU - _ROUNDING  # offsets as far from the centre on either side are as good
    first = last = best
    while first > 0 and near[first - 1]:
        first -= 1
    while last < len(near) - 1 and near[last + 1]:
        last += 1
    return int(offsets[first] + offsets[last]) // 2


def _best_whole(offsets: NDArray[np.int64], length: int, whole: list[tuple[float, float, float]]) -> Floats:
    """Return at each offset the worth of the best object that is wholly inside, as a share of that of the best of all."""
    most = max((worth for *_, worth in whole), default=0.0)
    best = np.zeros(len(offsets))
    for start, end, worth in whole if most > 0 else ():
        edge = THING_EDGE * (end - start)
        best = np.maximum(best, worth / most * ((offsets <= start + edge) & (offsets + length >= end - edge)))
    return best


def _allowed(free: int, length: int, spans: list[tuple[float, float, float, float]]) -> NDArray[np.int64]:
    """Return the offsets that keep all heads, else all faces, else every offset: what fits is never cut."""
    everything = np.arange(free + 1)
    if not spans:
        return everything
    for start, end in ((0, 3), (1, 2)):
        low, high = min(span[start] for span in spans), max(span[end] for span in spans)
        inside = everything[(everything <= low) & (everything + length >= high)]
        if len(inside):
            return inside
    return everything


def _covered(offsets: NDArray[np.int64], length: int, start: float, end: float) -> Floats:
    return np.clip(np.minimum(offsets + length, end) - np.maximum(offsets, start), 0, None) / (end - start)
