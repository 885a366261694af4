"""Decide on every crop that is made of one picture, and why the others are not: pure geometry, no pixels.

The first is the largest window; each closer one is kept only where it shows clearly less than the next larger one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from datakit.crop.distance import face_heights
from datakit.crop.framing import believed, cut_warnings, doubt_warnings, kept_faces, significant
from datakit.crop.zoom import AROUND, Zoomed, around_face, around_thing, detail_of, main_face, main_part, worthy
from datakit.dataset.manifest import Anchor, CropPlan, Face, Framing
from datakit.dataset.targets import Crop
from datakit.geometry import Size
from datakit.report import LeftOut, Warned
from datakit.sizes import area_kept as fit
from datakit.sizes import enlargement, needed_upscale, rounded_scale

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datakit.detect.things import Thing

# A crop that shows more than this share of the next larger one would teach nearly the same picture twice.
MOST_OF_LARGER = 0.6
# The lower edge of a framing lies at most so many face heights below the top of the face, or the framing is none; see
# `datakit.crop.distance`. Closer than it wants it never is.
LOWEST_EDGE: dict[Crop, float] = {"portrait": 5.0, "face": 2.2}
# An upscale at which every picture is large enough.
_ANY = 1000.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found in a picture, in pixels of the upright picture: faces, a map of what stands out, things."""

    faces: Sequence[Face] = ()
    saliency: NDArray[np.float32] | None = None
    things: Sequence[Thing] = ()


@dataclass(frozen=True, slots=True)
class Crops:
    """The crops of one picture: a plan for each that is made, and why each other is not."""

    plans: dict[Crop, CropPlan] = field(default_factory=dict)
    left_out: dict[Crop, LeftOut] = field(default_factory=dict)


def zoom_in(plan: CropPlan, buckets: Sequence[Size], seen: Seen, framing: Framing, upscale: float) -> CropPlan:
    """Return a plan of the largest window zoomed to a framing; as it is, with a warning, where there is no face to zoom to.

    The picture is used all the same where it is too small for the framing: the window is as close as ``upscale`` allows.
    """
    size = plan.source_size or plan.box.size
    faces = _faces(size, seen)
    if not faces:
        missing = Warned("face-missing", f"no face found for {framing} framing: the largest window was used")
        return msgspec.structs.replace(plan, warnings=(missing, *plan.warnings))
    zoomed = around_face(size, buckets, faces, framing, upscale)
    return plan if zoomed is None else _planned(plan, zoomed, faces, "face")


def crops_of(full: CropPlan, wanted: Sequence[Crop], buckets: Sequence[Size], seen: Seen, upscale: float) -> Crops:
    """Decide on the crops of a picture.

    Parameters
    ----------
    full
        The plan of its largest window.
    wanted
        The crops asked for. ``portrait`` and ``face`` are made of pictures with a face, ``main`` and ``detail`` of others.
    buckets
        The sizes that may be used.
    seen
        What was found in the picture.
    upscale
        The largest enlargement allowed.
    """
    size = full.source_size or full.box.size
    faces = _faces(size, seen)
    crops = Crops({"full": msgspec.structs.replace(full, crop="full")})
    larger = Zoomed(full.box, full.bucket)
    for crop in ("portrait", "face", "main", "detail"):
        if crop not in wanted:
            continue
        if bool(faces) != (crop in LOWEST_EDGE):
            crops.left_out[crop] = LeftOut("no-face" if crop in LOWEST_EDGE else "face")
            continue
        close = _close(crop, larger, buckets, (size, faces, seen), upscale)
        if close is None or not _is_closer(close, larger, crop, faces):
            crops.left_out[crop] = _why(crop, larger, buckets, (size, faces, seen), upscale)
            continue
        anchor: Anchor = "face" if faces else "saliency"
        crops.plans[crop] = msgspec.structs.replace(_planned(full, close, faces, anchor), crop=crop)
        larger = close
    return crops


_Subjects = tuple[Size, Sequence[Face], Seen]


def _faces(size: Size, seen: Seen) -> list[Face]:
    """Return all faces of a picture whose main one is large enough and no false alarm, cut to the picture; else none."""
    subjects = significant(seen.faces, size)
    if not subjects or not believed(subjects, seen.things):
        return []
    others = (Face(face.box.clipped(size), face.score) for face in seen.faces)
    small = [
        face for face in others if face.box.width >= 1 and face.box.height >= 1 and face.box not in {s.box for s in subjects}
    ]
    return [*subjects, *small]


def _close(crop: Crop, larger: Zoomed, buckets: Sequence[Size], subjects: _Subjects, upscale: float) -> Zoomed | None:
    size, faces, seen = subjects
    if crop in AROUND:
        return around_face(size, buckets, faces, crop, upscale)
    if crop == "main":
        if worthy(size, seen.things):  # one that fills the picture is cut by nothing smaller
            return around_thing(size, buckets, seen.things, upscale)
        return main_part(size, max(buckets, key=lambda bucket: fit(size, bucket)), seen.saliency, upscale)
    return detail_of(size, larger, seen.saliency, upscale)


def _is_closer(close: Zoomed, larger: Zoomed, crop: Crop, faces: Sequence[Face]) -> bool:
    """Tell whether a window shows clearly less than the next larger one, and no more than its name says."""
    if close.box.size.area > MOST_OF_LARGER * larger.box.size.area:
        return False
    face = main_face(faces)
    return face is None or crop not in LOWEST_EDGE or face_heights(face.box, close.box) <= LOWEST_EDGE[crop]


def _why(crop: Crop, larger: Zoomed, buckets: Sequence[Size], subjects: _Subjects, upscale: float) -> LeftOut:
    """Return why a crop is not made: with more enlargement it would be, or it would show nearly what the larger one does."""
    close = _close(crop, larger, buckets, subjects, _ANY)
    if close is None or not _is_closer(close, larger, crop, subjects[1]):
        return LeftOut("no-closer")
    return LeftOut("too-small", needed_upscale(close.box.size, close.bucket, _ANY))


def _planned(full: CropPlan, zoomed: Zoomed, faces: Sequence[Face], anchor: Anchor) -> CropPlan:
    """Return the plan of a closer window of the picture that another plan is of; of its faces, those that can be seen."""
    size = full.source_size or full.box.size
    box, bucket = zoomed
    main = main_face(faces)
    kept = kept_faces([main, *(face for face in faces if face is not main)] if main else [], box)
    shown = tuple(face for place, face in enumerate(kept) if place == 0 or face.kept > 0)
    why = "around the face" if main else "around what stands out"
    return msgspec.structs.replace(
        full,
        box=box,
        bucket=bucket,
        anchor=anchor,
        why=why + (f", with {len(shown) - 1} more" if len(shown) > 1 else ""),
        faces=shown,
        saliency_kept=None,
        area_kept=round(box.size.area / size.area, 4),
        scale=rounded_scale(enlargement(box.size, bucket)),
        warnings=(*cut_warnings(shown), *doubt_warnings(shown, box, size)),
    )
