"""Several crops of one picture: where they lie, when they are made, what they are called and what is said of them."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datakit import CropOptions, Execution, crop_folder
from datakit.crop.crops import LOWEST_EDGE, MOST_OF_LARGER, Seen, crops_of, zoom_in
from datakit.crop.distance import face_heights
from datakit.crop.folder import plan_folder
from datakit.crop.framing import frame
from datakit.crop.picture import plan_crops
from datakit.dataset.decisions import Decision, change_decision
from datakit.dataset.manifest import Face, read_manifest, to_line
from datakit.detect.things import Thing
from datakit.errors import UsageError
from datakit.geometry import Area, Box, Size, share_inside
from datakit.picture.images import open_picture
from datakit.sizes import choose_bucket, enlargement
from tests.conftest import BUCKETS

ALL = ("full", "portrait", "face", "main", "detail")
SIZE = Size(6000, 4000)
# 300 pixels wide, 390 high.
FACE = Face(Area(2800, 900, 3100, 1290), 0.95)


def several(size, faces, upscale=1.0, things=(), crops=ALL):
    full = frame("a.jpg", size, choose_bucket(size, BUCKETS, upscale), faces)
    return crops_of(full, crops, BUCKETS, Seen(faces, None, things), upscale)


@st.composite
def scenes(draw):
    size = draw(st.builds(Size, st.integers(1200, 8000), st.integers(1200, 8000)))
    faces = []
    for _ in range(draw(st.integers(0, 3))):
        width = draw(st.floats(0.03, 0.4)) * min(size)
        left, top = draw(st.floats(0, 0.9)) * size.width, draw(st.floats(0, 0.9)) * size.height
        faces.append(Face(Area(left, top, left + width, top + 1.3 * width), draw(st.floats(0.8, 1.0))))
    return size, faces


@settings(max_examples=60)
@given(scenes(), st.floats(1, 4))
def test_each_crop_lies_in_the_picture_shows_clearly_less_and_is_enlarged_no_further_than_allowed(scene, upscale):
    size, faces = scene
    crops = several(size, faces, upscale)
    plans = list(crops.plans.values())
    assert crops.plans.keys() | crops.left_out.keys() == set(ALL)
    assert not crops.plans.keys() & crops.left_out.keys()
    for plan in plans:
        assert plan.box.inside(size)
        least = enlargement(crops.plans["full"].box.size, crops.plans["full"].bucket)
        assert enlargement(plan.box.size, plan.bucket) <= max(upscale, least) + 1e-9
        off = plan.box.size.width - plan.box.size.height * plan.bucket.aspect
        assert min(abs(off), abs(off) / plan.bucket.aspect) <= 1.5
    assert all(close.box.size.area <= MOST_OF_LARGER * larger.box.size.area for larger, close in pairwise(plans))
    for crop in crops.plans.keys() & {"portrait", "face"}:
        plan = crops.plans[crop]
        assert plan.faces[0].kept == 1
        assert plan.bucket.width <= plan.bucket.height
        assert face_heights(plan.faces[0].box, plan.box) <= LOWEST_EDGE[crop]


def test_a_portrait_is_upright_in_a_picture_that_is_not_and_has_room_above_the_head():
    crops = several(SIZE, [FACE], 1.2)
    assert list(crops.plans) == ["full", "portrait", "face"]
    portrait, face = crops.plans["portrait"], crops.plans["face"]
    # By hand: 0.8 face heights above and 2 below, of 390 pixels each.
    assert portrait.box.top <= 900 - 0.8 * 390
    assert portrait.box.bottom >= 1290 + 2 * 390 - 1
    assert 2.2 < face_heights(FACE.box, portrait.box) <= 3.2
    assert face_heights(FACE.box, face.box) < 2.2
    assert {crop: why.kind for crop, why in crops.left_out.items()} == {"main": "face", "detail": "face"}


def test_a_crop_for_which_a_picture_is_too_small_names_the_enlargement_that_makes_it():
    small = Face(Area(1400, 450, 1510, 593), 0.95)
    size = Size(3000, 2000)
    left_out = several(size, [small]).left_out["face"]
    assert left_out.kind == "too-small"
    assert "face" in several(size, [small], left_out.upscale_needed).plans
    assert several(Size(1200, 1300), [Face(Area(300, 200, 900, 980), 0.9)], 9.0).left_out["portrait"].kind == "no-closer"


def test_a_second_face_is_left_whole_or_out_where_there_is_room():
    beside = Face(Area(3400, 950, 3640, 1262), 0.9)  # without it, the portrait ends at 3400 or a little beyond
    for faces in ([FACE, beside], [FACE, Face(Area(3300, 900, 3560, 1238), 0.9)]):
        portrait = several(SIZE, faces).plans["portrait"]
        shares = [share_inside(face.box, portrait.box) for face in faces]
        assert shares[0] == 1
        assert min(shares[1], 1 - shares[1]) <= 0.03


def test_without_a_face_the_main_thing_is_shown_whole_and_furniture_is_none():
    dog, couch = Thing(Area(1000, 1500, 2200, 2500), 0.6, 16), Thing(Area(2500, 500, 5800, 3800), 0.9, 57)
    main = several(SIZE, [], things=[couch, dog]).plans["main"]
    assert share_inside(dog.box, main.box) == 1
    assert main.anchor == "saliency"
    small = Thing(Area(100, 100, 900, 700), 0.9, 16)  # 2 % of the picture: beside the point
    assert several(SIZE, [], things=[small]).plans["main"] == several(SIZE, []).plans["main"]
    # A thing that fills the picture is cut by nothing smaller.
    filling = several(SIZE, [], things=[Thing(Area(100, 100, 5900, 3900), 0.9, 16)])
    assert filling.left_out["main"].kind == "no-closer"


def test_framings_follow_the_same_rules_but_always_give_a_picture():
    full = frame("a.jpg", SIZE, Size(1216, 832), [FACE])
    close = zoom_in(full, BUCKETS, Seen([FACE]), "portrait", 1.0)
    assert close.box == several(SIZE, [FACE]).plans["portrait"].box
    alone = zoom_in(full, BUCKETS, Seen(), "portrait", 1.0)
    assert alone.box == full.box
    assert [warning.kind for warning in alone.warnings] == ["face-missing"]


def test_an_object_that_no_person_is_at_the_place_of_speaks_against_a_doubtful_face():
    size, bucket = Size(3000, 1000), Size(1024, 1024)
    doubtful, raccoon = Face(Area(100, 300, 300, 560), 0.7), Thing(Area(2000, 200, 2800, 900), 0.6, 16)
    person = Thing(Area(50, 200, 500, 1000), 0.6, 0)
    assert frame("a.jpg", size, bucket, [doubtful], None, [raccoon]).anchor != "face"
    assert frame("a.jpg", size, bucket, [doubtful], None, [raccoon, person]).anchor == "face"
    assert frame("a.jpg", size, bucket, [Face(doubtful.box, 0.8)], None, [raccoon]).anchor == "face"
    assert frame("a.jpg", size, bucket, [doubtful], None, [Thing(raccoon.box, 0.6, 57)]).anchor == "face"


def test_one_object_that_fits_is_kept_whole_rather_than_two_in_part():
    size, bucket = Size(3000, 1000), Size(1024, 1024)
    things = [Thing(Area(900, 100, 1650, 900), 0.6, 16), Thing(Area(1700, 100, 2300, 900), 0.6, 17)]
    box = frame("a.jpg", size, bucket, (), None, things).box
    assert any(box.left <= thing.box.left and box.right >= thing.box.right for thing in things)


# --- folders -----------------------------------------------------------------------------------------------------------

LOOSE = CropOptions(upscale=8, crops=ALL)


@pytest.fixture(scope="module")
def source(tmp_path_factory, pictures) -> Path:
    folder = tmp_path_factory.mktemp("crops") / "src"
    folder.mkdir()
    for name in ("astronaut.jpg", "flower.jpg"):
        (folder / name).write_bytes((pictures / name).read_bytes())
    (folder / "astronaut.txt").write_text("1girl, full body, brown boots")
    (folder / "flower.txt").write_text("a flower, wide shot")
    return folder


@pytest.fixture(scope="module")
def first(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "out"
    return out, crop_folder(source, out, LOOSE)


@pytest.fixture
def out(first, tmp_path):
    import shutil

    return Path(shutil.copytree(first[0], tmp_path / "out"))


def test_crops_have_names_records_and_captions_of_their_own(first):
    out, report = first
    records = {record.output: record for record in read_manifest(out)}
    assert {"astronaut_full.jpg", "astronaut_portrait.jpg", "flower_full.jpg", "flower_main.jpg"} <= records.keys()
    assert {record.crop for record in records.values()} == {name.rpartition("_")[2].partition(".")[0] for name in records}
    assert (out / "astronaut_full.txt").read_text() == "1girl, full body, brown boots"
    assert (out / "astronaut_portrait.txt").read_text() == "1girl, brown boots, portrait"
    assert (out / "flower_main.txt").read_text() == "a flower, wide shot"
    assert "'wide shot'" in next(each.sentence for each in records["flower_main.jpg"].warnings if each.kind == "caption-distance")
    kinds = {warning.kind for warning in records["astronaut_portrait.jpg"].warnings}
    assert {"caption-fitted", "caption-beyond"} <= kinds
    assert report.crops["full"] == 2
    assert {(source, crop) for source, crop, _ in report.left_out} >= {("flower.jpg", "portrait"), ("astronaut.jpg", "main")}
    assert report.to_json()["crops"]["full"] == 2


def test_no_closer_crop_is_made_of_what_an_object_says_is_no_face(pictures):
    """YuNet sees a face in a seed head, the object detector sees none; without it that is believed."""
    crops = plan_crops(open_picture(pictures / "dandelion.jpg"), "dandelion.jpg", LOOSE)[0]
    assert not {"portrait", "face"} & crops.plans.keys()
    assert crops.left_out["face"].kind == "no-face"
    alone = replace(LOOSE, saliency="none")
    assert "portrait" in plan_crops(open_picture(pictures / "dandelion.jpg"), "dandelion.jpg", alone)[0].plans


def test_a_second_run_makes_nothing_and_says_the_same(source, first, out):
    again = crop_folder(source, out, LOOSE)
    assert (again.done, again.skipped) == (0, first[1].done)
    assert (again.crops, again.left_out) == (first[1].crops, first[1].left_out)


def test_any_number_of_workers_gives_the_same_bytes(source, first, tmp_path):
    crop_folder(source, tmp_path / "out", LOOSE, execution=Execution(jobs=2))
    files = [path for path in sorted(first[0].rglob("*")) if path.is_file() and ".datakit" not in path.parts]
    assert {path.name: path.read_bytes() for path in files} == {
        path.name: (tmp_path / "out" / path.name).read_bytes() for path in files
    }


def test_crops_no_longer_asked_for_leave_the_dataset(source, out):
    crop_folder(source, out, CropOptions(upscale=8, crops=("full",)))
    assert sorted(path.name for path in out.glob("*.jpg")) == ["astronaut_full.jpg", "flower_full.jpg"]
    crop_folder(source, out, CropOptions(upscale=8))
    assert sorted(path.name for path in out.glob("*.jpg")) == ["astronaut.jpg", "flower.jpg"]


def test_a_decision_means_one_crop_and_a_rejection_of_the_picture_all(source, out):
    def decide(target, **what):
        change_decision(out, target, 0, lambda before: Decision(source=before.source, crop=before.crop, **what))

    decide("astronaut.jpg//portrait", caption="mine alone")
    crop_folder(source, out, LOOSE)
    assert (out / "astronaut_portrait.txt").read_text() == "mine alone"
    assert (out / "astronaut_full.txt").read_text() == "1girl, full body, brown boots"
    lines = [json.loads(line) for line in (out / "decisions.jsonl").read_text().splitlines()]
    assert [(line["source"], line["crop"]) for line in lines] == [("astronaut.jpg", "portrait")]
    decide("flower.jpg//main", rejected=True)
    report = crop_folder(source, out, LOOSE)
    assert report.rejected == ["flower.jpg//main"]
    assert not (out / "flower_main.jpg").exists()
    assert (out / "flower_full.jpg").exists()
    decide("flower.jpg", rejected=True)
    crop_folder(source, out, LOOSE)
    assert not list(out.glob("flower_*.jpg"))


def test_a_window_drawn_for_a_crop_that_was_left_out_makes_it(source, out):
    def draw(before: Decision) -> Decision:
        return Decision(source=before.source, crop=before.crop, box=Box(10, 10, 310, 310), bucket=Size(1024, 1024), upscale=8)

    change_decision(out, "flower.jpg//face", 0, draw)
    crop_folder(source, out, LOOSE)
    (record,) = (record for record in read_manifest(out) if record.output == "flower_face.jpg")
    assert (record.crop, record.box, record.anchor) == ("face", Box(10, 10, 310, 310), "manual")


def test_a_plan_holds_a_line_a_crop_and_applying_it_makes_the_same(source, first, tmp_path):
    plans, _ = plan_folder(source, LOOSE)
    (tmp_path / "plan.jsonl").write_bytes(b"".join(map(to_line, plans)))
    report = crop_folder(source, tmp_path / "out", CropOptions(upscale=8), plan=tmp_path / "plan.jsonl")
    assert report.done == first[1].done
    made = sorted(first[0].glob("*_*.jpg"))
    assert [path.read_bytes() for path in made] == [(tmp_path / "out" / path.name).read_bytes() for path in made]


def test_tokens_of_what_is_not_seen_are_taken_out_on_request(source, tmp_path):
    crop_folder(source, tmp_path / "trim", CropOptions(upscale=8, crops=ALL, crop_captions="trim"))
    crop_folder(source, tmp_path / "keep", CropOptions(upscale=8, crops=ALL, crop_captions="keep"))
    assert (tmp_path / "trim" / "astronaut_portrait.txt").read_text() == "1girl, portrait"
    assert (tmp_path / "keep" / "astronaut_portrait.txt").read_text() == "1girl, full body, brown boots"


def test_a_picture_that_has_the_name_of_a_crop_keeps_it(pictures, tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    for name in ("a.jpg", "a_full.jpg"):
        (source / name).write_bytes((pictures / "flower.jpg").read_bytes())
    crop_folder(source, tmp_path / "out", CropOptions(upscale=8, crops=("full",)))
    assert {record.source: record.output for record in read_manifest(tmp_path / "out")} == {
        "a.jpg": "a_crop_full.jpg",
        "a_full.jpg": "a_full_full.jpg",
    }


@pytest.mark.parametrize("crops", [("portrait",), ("full", "full"), ("full", "head")])
def test_crops_that_make_no_sense_are_refused(crops):
    with pytest.raises(UsageError):
        CropOptions(crops=crops)
    with pytest.raises(UsageError, match="one of them"):
        CropOptions(crops=("full", "face"), framing="face")
