from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datakit import detect
from datakit.detect import models
from datakit.detect.networks import thinned
from datakit.errors import MissingLibraryError, UsageError, WeightsError
from datakit.geometry import Size
from datakit.picture.images import decode, open_picture
from datakit.picture.resampling import preview

MAPS = [name for name in detect.SALIENCY if name != "none"]
# Eyes of the astronaut, as shares of the picture's sides.
EYES = ((0.41, 0.22), (0.48, 0.22))


def small(path):
    picture = open_picture(path)
    return preview(picture, decode(picture, picture.size, Size(640, 640)), 640)


@pytest.mark.parametrize("name", ["yunet", "mediapipe"])
def test_the_face_of_a_portrait_is_found(pictures, name):
    faces = detect.face_detector(name)(small(pictures / "astronaut.jpg"))
    box = max(faces, key=lambda face: face.score).box
    assert all(box.left < x * 640 < box.right and box.top < y * 640 < box.bottom for x, y in EYES)


@pytest.mark.parametrize("name", ["yunet", "mediapipe"])
@pytest.mark.parametrize("stem", ["fig", "mountains", "coffee"])
def test_no_face_is_found_where_there_is_none(pictures, name, stem):
    path = next(path for path in pictures.glob(f"{stem}.*") if path.suffix != ".txt")
    assert detect.face_detector(name)(small(path)) == []


def test_faces_lie_where_opencvs_own_reading_of_the_network_puts_them(pictures):
    # FaceDetectorYN of OpenCV 5.0 on the same pixels: 640x640, and 500x333 whose sides are no multiples of 32.
    whole = small(pictures / "astronaut.jpg")
    for pixels, box, score in (
        (whole, (223.53748, 79.73149, 337.00256, 217.33855), 0.943125),
        (whole[:333, :500], (223.54468, 79.73069, 336.99780, 217.33542), 0.943111),
    ):
        (face,) = detect.face_detector("yunet")(pixels)
        assert tuple(face.box) == pytest.approx(box, abs=0.001)
        assert face.score == pytest.approx(score, abs=1e-5)


@given(st.lists(st.tuples(*[st.integers(0, 40)] * 4, st.floats(0, 1, width=32)), min_size=1, max_size=12), st.floats(0.05, 0.95))
def test_boxes_are_thinned_to_the_best_of_those_that_overlap(rows, most):
    boxes = np.array([(x, y, x + w + 1, y + h + 1) for x, y, w, h, _ in rows])
    scores = np.array([score for *_, score in rows], np.float32)
    kept = thinned(boxes, scores, most)

    def overlap(one, other):
        a, b = (
            {(x, y) for x in range(left, right) for y in range(top, bottom)}
            for left, top, right, bottom in (boxes[one], boxes[other])
        )
        return len(a & b) / len(a | b)

    assert [scores[index] for index in kept] == sorted((scores[index] for index in kept), reverse=True)
    assert all(overlap(one, other) <= most for one in kept for other in kept if one != other)
    for lost in set(range(len(rows))) - set(kept):
        assert any(overlap(lost, index) > most and scores[index] >= scores[lost] for index in kept)


@pytest.mark.parametrize("name", MAPS)
def test_a_map_prefers_the_object_to_its_surroundings(name):
    scene = np.full((480, 640, 3), 90, np.uint8)
    scene += np.random.default_rng(0).integers(0, 12, scene.shape).astype(np.uint8)
    scene[160:320, 380:520] = (220, 60, 40)
    found = detect.saliency_map(name)(scene)
    rows, columns = found.shape
    inside = found[int(rows / 3) : int(rows * 2 / 3), int(columns * 0.6) : int(columns * 0.8)]
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert inside.mean() > 1.5 * found.mean()


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("shape", [(640, 640), (640, 3), (1, 640), (427, 640)])
def test_a_map_of_a_blank_or_narrow_picture_is_finite(name, shape):
    assert np.isfinite(detect.saliency_map(name)(np.full((*shape, 3), 128, np.uint8))).all()


def test_none_is_none():
    assert detect.face_detector("none") is None
    assert detect.saliency_map("none") is None


@pytest.mark.parametrize("ask", [detect.face_detector, detect.saliency_map])
def test_an_unknown_name_lists_the_known_ones(ask):
    with pytest.raises(UsageError, match=r"'magic' is unknown: choose from .*none"):
        ask("magic")


def test_altered_weights_are_refused():
    altered = models.Weights(models.YUNET.file, "0" * 64, "", "")
    with pytest.raises(WeightsError, match="not 0000"):
        models.load(altered)
    with pytest.raises(WeightsError, match="reinstall"):
        models.load(models.Weights("gone.onnx", "", "", ""))


@pytest.mark.parametrize("weights", [models.YUNET, models.BLAZE_FACE, models.NANODET, models.ANIME_FACE])
def test_weights_are_documented_where_they_lie(weights):
    from importlib.resources import files

    readme = (files("datakit.detect") / "weights" / "README.md").read_text("utf-8")
    assert weights.file in readme
    assert weights.sha256 in readme
    assert weights.licence.split(",")[0] in readme


@pytest.mark.parametrize(
    ("module", "hint"), [("mediapipe", r"pip install 'datakit\[mediapipe\]'"), ("libEGL", "apt install libegl1")]
)
def test_what_mediapipe_lacks_is_named(tmp_path, module, hint, monkeypatch):
    error = "ModuleNotFoundError(\"No module named 'mediapipe'\", name='mediapipe')"
    if module == "libEGL":
        error = "OSError('libEGL.so.1: cannot open shared object file: No such file or directory')"
    (tmp_path / "mediapipe.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    for loaded in [name for name in sys.modules if name.split(".")[0] == "mediapipe" or name.endswith(".blazeface")]:
        monkeypatch.delitem(sys.modules, loaded)
    detect.face_detector.cache_clear()
    with pytest.raises(MissingLibraryError, match=hint):
        detect.check_available("mediapipe", "none")


def test_only_the_chosen_detector_is_imported(pictures):
    code = f"import sys, datakit\ndatakit.plan_crop({str(pictures / 'fig.jpg')!r})\nprint('mediapipe' in sys.modules)\n"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def drawing():
    """Return a face as cartoons have them: flat areas, hard lines, large eyes."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (400, 400), (150, 200, 240))
    draw, line, hair = ImageDraw.Draw(image), (20, 20, 20), (230, 200, 120)
    draw.ellipse((89, 65, 311, 328), hair, line, 3)
    face = [(103, 167.6), (117.55, 243.2), (200, 308), (282.45, 243.2), (297, 167.6), (200, 92)]
    draw.polygon(face, (255, 224, 200), line)
    fringe = [(103, 189.2), (103, 92), (297, 92), (297, 189.2), (248.5, 162.2), (219.4, 189.2), (190.3, 162.2), (151.5, 189.2)]
    draw.polygon(fringe, hair, line)
    for x in (152.47, 247.53):
        for width, height, fill, edge in (
            (21.34, 35.64, (255, 255, 255), 2),
            (14.94, 33.86, (150, 60, 60), 2),
            (7.47, 17.82, line, 1),
        ):
            draw.ellipse((x - width, 219.44 - height, x + width, 219.44 + height), fill, line, edge)
        draw.ellipse((x - 10.67, 190.93, x, 208.75), (255, 255, 255))
        draw.line((x - 21.34, 187.36, x + 21.34, 187.36), line, 5)
    draw.line((188.36, 273.44, 211.64, 273.44), (150, 60, 60), 2)
    return np.asarray(image)


def test_a_drawn_face_is_found_where_yunet_finds_none():
    assert detect.face_detector("yunet")(drawing()) == []
    (face,) = detect.face_detector("auto")(drawing())
    assert [face] == detect.face_detector("drawn")(drawing())
    assert all(face.box.left < x < face.box.right and face.box.top < 219 < face.box.bottom for x in (152, 248))
    assert 0.6 <= face.score <= 0.95


def test_drawings_are_told_from_photographs(pictures):
    from datakit.detect.drawn import _grey, is_drawing

    assert is_drawing(_grey(drawing()))
    stems = ("fig", "mountains", "coffee", "moose", "brushes")
    assert not any(is_drawing(_grey(small(path))) for stem in stems for path in pictures.glob(f"{stem}.[jpw]*"))


@pytest.mark.parametrize("stem", ["astronaut", "fig", "mountains", "coffee", "temple"])
def test_a_photograph_is_seen_by_auto_as_by_yunet(pictures, stem):
    preview_of = small(next(path for path in pictures.glob(f"{stem}.*") if path.suffix != ".txt"))
    assert detect.face_detector("auto")(preview_of) == detect.face_detector("yunet")(preview_of)


def test_what_the_object_map_comes_of_is_told_in_the_previews_pixels(pictures):
    preview_of = small(pictures / "dogs.jpg")
    saliency, things = detect.saliency_look("objects")(preview_of)
    assert np.array_equal(saliency, detect.saliency_map("objects")(preview_of))
    assert things
    assert all(0 <= t.box.left < t.box.right <= preview_of.shape[1] and 0.2 <= t.score <= 1 for t in things)
    assert [t.score for t in things] == sorted((t.score for t in things), reverse=True)
