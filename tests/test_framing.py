from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from datakit.buckets import BUCKETS, choose_bucket, enlargement, largest_window
from datakit.framing import HEAD_DOWN, HEAD_SIDES, HEAD_UP, frame, significant, slack
from datakit.geometry import Area, Box, Size
from datakit.manifest import Face
from datakit.warned import Warned

sizes = st.builds(Size, st.integers(300, 6000), st.integers(300, 6000))
buckets = st.sampled_from(BUCKETS)


@st.composite
def faces_in(draw, size: Size, most: int = 4) -> list[Face]:
    faces = []
    for _ in range(draw(st.integers(1, most))):
        width = draw(st.floats(0.03, 0.5)) * min(size)
        left, top = draw(st.floats(-0.2, 1.0)) * size.width, draw(st.floats(-0.2, 1.0)) * size.height
        faces.append(Face(Area(left, top, left + width, top + 1.3 * width), draw(st.floats(0.6, 1.0))))
    return faces


@st.composite
def maps(draw) -> np.ndarray:
    shape = draw(st.tuples(st.integers(8, 40), st.integers(8, 40)))
    return np.random.default_rng(draw(st.integers(0, 2**32))).random(shape, dtype=np.float32) ** 4


@st.composite
def scenes(draw):
    size = draw(sizes)
    return size, draw(buckets), draw(st.one_of(st.just([]), faces_in(size))), draw(st.one_of(st.none(), maps()))


@given(scenes(), st.sampled_from(["full", "portrait", "face"]), st.floats(1, 3))
def test_the_box_is_inside_and_has_the_buckets_aspect(scene, framing, upscale):
    size, bucket, faces, saliency = scene
    box = frame("a.jpg", size, bucket, faces, saliency, framing=framing, upscale=upscale).box
    assert box.inside(size)
    window = box.size
    assert min(abs(window.width - window.height * bucket.aspect), abs(window.height - window.width / bucket.aspect)) <= 1


@given(scenes())
def test_full_framing_takes_the_largest_window(scene):
    size, bucket, faces, saliency = scene
    assert frame("a.jpg", size, bucket, faces, saliency).box.size == largest_window(size, bucket)


@given(scenes(), st.sampled_from(["portrait", "face"]), st.floats(1, 3))
def test_zooming_never_enlarges_beyond_the_limit_unless_the_picture_is_too_small(scene, framing, upscale):
    size, bucket, faces, _ = scene
    box = frame("a.jpg", size, bucket, faces, framing=framing, upscale=upscale).box
    least = max(upscale, enlargement(largest_window(size, bucket), bucket))
    assert enlargement(box.size, bucket) <= least * 1.002  # a window is rounded to whole pixels


@given(st.data())
def test_faces_that_fit_together_are_wholly_inside(data):
    size, bucket = data.draw(sizes), data.draw(buckets)
    faces = data.draw(faces_in(size))
    window = largest_window(size, bucket)
    kept = significant(faces, size)
    edges = [face.box.clipped(size) for face in kept]
    assume(edges)
    assume(max(e.right for e in edges) - min(e.left for e in edges) <= window.width - 1)
    assume(max(e.bottom for e in edges) - min(e.top for e in edges) <= window.height - 1)
    plan = frame("a.jpg", size, bucket, faces, data.draw(maps()))
    assert [face.kept for face in plan.faces] == [1.0] * len(kept)
    assert not any(warning.kind == "face-cut" for warning in plan.warnings)


@given(st.data())
def test_a_head_that_fits_keeps_its_room(data):
    size, bucket = data.draw(sizes), data.draw(buckets)
    (face,) = significant(data.draw(faces_in(size, most=1)), size) or (None,)
    assume(face is not None)
    head = face.box.grown(HEAD_SIDES, HEAD_UP, HEAD_DOWN).clipped(size)
    window = largest_window(size, bucket)
    assume(0 < head.width <= window.width - 1)
    assume(0 < head.height <= window.height - 1)
    box = frame("a.jpg", size, bucket, [face], data.draw(maps())).box
    assert box.left <= head.left + 1e-6
    assert box.right >= head.right - 1e-6
    assert box.top <= head.top + 1e-6
    assert box.bottom >= head.bottom - 1e-6


@given(st.data())
@settings(max_examples=60)
def test_mirroring_the_picture_mirrors_the_window(data):
    size, bucket = data.draw(sizes), data.draw(buckets)
    # One blob off the centre: with several, equal scores may be decided either way.
    rows, columns = 30, 40
    y, x = np.mgrid[0:rows, 0:columns]
    saliency = np.exp(-(((x - data.draw(st.integers(0, 39))) / 5) ** 2 + ((y - data.draw(st.integers(0, 29))) / 5) ** 2)).astype(
        np.float32
    )
    box = frame("a.jpg", size, bucket, saliency=saliency).box
    mirrored = frame("a.jpg", size, bucket, saliency=np.ascontiguousarray(saliency[:, ::-1])).box
    assert abs(mirrored.left - (size.width - box.right)) <= 1
    assert mirrored.top == box.top


@given(sizes, buckets)
def test_with_nothing_to_go_by_the_window_is_in_the_middle(size, bucket):
    plan = frame("a.jpg", size, bucket)
    assert plan.anchor == "center"
    assert abs(plan.box.left - (size.width - plan.box.right)) <= 1
    assert abs(plan.box.top - (size.height - plan.box.bottom)) <= 1


@given(buckets, st.one_of(st.none(), maps()))
def test_a_bucket_sized_picture_is_kept_whole(bucket, saliency):
    plan = frame("a.jpg", bucket, bucket, saliency=saliency)
    assert plan.box == Box(0, 0, *bucket)
    assert (plan.scale, plan.area_kept, slack(bucket, bucket)) == (1.0, 1.0, 0)


def test_what_stands_out_pulls_the_window():
    saliency = np.zeros((20, 40), np.float32)
    saliency[5:15, 30:38] = 1
    plan = frame("a.jpg", Size(3000, 1000), Size(1024, 1024), saliency=saliency)
    assert plan.anchor == "saliency"
    assert plan.box.left > 1500
    assert plan.saliency_kept > 0.9


def test_a_face_outweighs_what_stands_out():
    saliency = np.zeros((20, 40), np.float32)
    saliency[5:15, 30:38] = 1
    face = Face(Area(200, 300, 400, 560), 0.9)
    plan = frame("a.jpg", Size(3000, 1000), Size(1024, 1024), [face], saliency)
    assert plan.anchor == "face"
    assert plan.faces[0].kept == 1
    assert plan.box.left < 300


def test_faces_that_cannot_all_fit_are_reported_and_the_larger_is_kept():
    faces = [Face(Area(100, 300, 400, 690), 0.9), Face(Area(2700, 300, 2900, 560), 0.9)]
    plan = frame("a.jpg", Size(3000, 1000), Size(1024, 1024), faces)
    assert [face.kept for face in plan.faces] == [1.0, 0.0]
    assert plan.warnings == (Warned("face-cut", "a face does not fit: 0% of it is kept"),)
    assert plan.why == "keeps 1 of 2 faces whole"


@pytest.mark.parametrize(("framing", "most"), [("portrait", 0.5), ("face", 0.15)])
def test_zooming_framings_zoom_to_the_face_with_head_room(framing, most):
    face = Face(Area(2800, 900, 3100, 1290), 0.95)
    size = Size(6000, 4000)
    plan = frame("a.jpg", size, Size(896, 1152), [face], framing=framing)
    assert plan.area_kept < most
    assert plan.faces[0].kept == 1
    assert plan.box.top < 900 - 0.3 * 390
    assert plan.scale <= 1


def test_portrait_without_a_face_says_so():
    plan = frame("a.jpg", Size(3000, 2000), Size(1024, 1024), framing="portrait")
    assert [warning.kind for warning in plan.warnings] == ["face-missing"]


@given(sizes)
def test_a_bucket_chosen_for_a_picture_leaves_room_on_one_axis_only(size):
    window = largest_window(size, choose_bucket(size))
    assert slack(size, choose_bucket(size)) == max(size.width - window.width, size.height - window.height)
