"""What lies in people's folders: pictures of odd names, systems' own files, masks, captions of another spelling."""

from __future__ import annotations

import io
import json
import os
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datakit import CropOptions, ShuffleOptions, crop_folder, plan_shuffle, shuffle_folder
from datakit.dataset.folder import caption_beside, find_samples, holds
from datakit.dataset.pairing import pair

PLAIN = CropOptions(detector="none", saliency="none", upscale=20)
SYSTEMS = (
    "@eaDir/IMG_1.jpg/SYNOPHOTO_THUMB_XL.jpg", "#recycle/old.jpg", "$RECYCLE.BIN/S-1-5/$R0.jpg", "lost+found/x.jpg",
    "System Volume Information/y.jpg", "__MACOSX/._IMG_1.jpg", "._IMG_1.jpg", ".ipynb_checkpoints/IMG_1-checkpoint.jpg",
    ".Trash-1000/files/z.jpg", ".Trashes/501/z.jpg", ".@__thumb/s.jpg", "@Recycle/q.jpg", "#snapshot/daily/w.jpg", "Thumbs.db", "desktop.ini",
    ".DS_Store",
)  # fmt: skip


def lay(folder, *names, size=96):
    """Pictures of different colours, and captions, by name."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".txt", ".caption"):
            path.write_text(f"a, caption, of, {path.stem}")
        elif path.name.lower() in ("thumbs.db", "desktop.ini", ".ds_store"):
            path.write_bytes(b"\0\1")
        else:
            pixels = np.random.default_rng(number).integers(0, 255, (size, size, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(path, "JPEG")


def ids(folder):
    return [sample.id for sample in find_samples(folder).samples]


def test_what_systems_leave_behind_is_left_out_and_counted(tmp_path):
    lay(tmp_path / "src", "IMG_1.jpg", "IMG_1.txt", "holidays/a.jpg", *SYSTEMS)
    found = find_samples(tmp_path / "src")
    assert [sample.id for sample in found.samples] == ["IMG_1.jpg", "holidays/a.jpg"]
    (note,) = found.notes
    assert str(len({name.partition("/")[0] for name in SYSTEMS})) in note
    assert not found.others
    report = crop_folder(tmp_path / "src", tmp_path / "out", PLAIN)
    assert report.done == 2
    assert note in report.notes


def test_a_folder_of_another_name_is_the_users(tmp_path):
    names = ("recycle/a.jpg", "eaDir/b.jpg", "trash/c.jpg", "snapshot/d.jpg", "thumbs/e.jpg")
    lay(tmp_path, *names)
    assert ids(tmp_path) == sorted(names)


def test_what_is_still_in_icloud_is_named(tmp_path):
    lay(tmp_path, "a.jpg", "a.txt")
    (tmp_path / ".IMG_7.HEIC.icloud").write_bytes(b"bplist00")
    (tmp_path / ".notes.pages.icloud").write_bytes(b"bplist00")
    ((name, why),) = find_samples(tmp_path).refused
    assert name == "IMG_7.HEIC"
    assert "not downloaded" in why


def test_views_made_for_a_trainer_are_left_out_and_named(tmp_path):
    lay(tmp_path, "a.jpg", "cache/src-0a1b2c3d4e5f/a.jpg", "cache/notes/b.jpg")
    (tmp_path / "cache" / "src-0a1b2c3d4e5f" / ".datakit").mkdir()
    (tmp_path / "cache" / "src-0a1b2c3d4e5f" / ".datakit" / "view.json").write_text('{"trainer": "kohya"}')
    found = find_samples(tmp_path)
    assert [sample.id for sample in found.samples] == ["a.jpg", "cache/notes/b.jpg"]
    assert found.notes == ("left out, as datakit made it for a trainer: 1 (cache/src-0a1b2c3d4e5f)",)


@pytest.mark.parametrize(
    "ending", ["-masklabel", "-condlabel", "_mask", "-mask", "-MaskLabel", "_depth", ".control", "_canny", "-mask-0", "_mask1"]
)
def test_a_companion_beside_its_picture_is_left_out_and_named(tmp_path, ending):
    lay(tmp_path / "src", "p1.jpg", "p1.txt", f"p1{ending}.png", "sub/p2.jpg", "sub/p2.txt", f"sub/p2{ending}.webp")
    assert ids(tmp_path / "src") == ["p1.jpg", "sub/p2.jpg"]
    report = crop_folder(tmp_path / "src", tmp_path / "out", PLAIN)
    assert report.done == 2
    (note,) = [note for note in report.notes if "companions" in note]
    assert f"p1{ending}.png" in note


def test_what_is_called_like_a_companion_of_nothing_is_a_picture(tmp_path):
    names = ("carnival_mask.jpg", "p1-mask.jpg", "p1-mask.txt", "p1.jpg", "p1_masked.jpg", "sub/p1_mask.jpg")
    lay(tmp_path, *names)
    assert ids(tmp_path) == [name for name in sorted(names) if name.endswith(".jpg")]


@pytest.mark.parametrize("folder", ["masks", "control", "depth", "Masks", "train_masks", "conditioning_data"])
@pytest.mark.parametrize("pictures", ["", "images/", "set/images/", "set/"])
def test_folders_that_mirror_the_pictures_are_left_out(tmp_path, folder, pictures):
    above = "set/" if pictures.startswith("set/") else ""
    deep = "" if pictures in ("", "set/") else "deep/"
    lay(tmp_path, f"{pictures}p1.jpg", f"{pictures}p1.txt", f"{pictures}{deep}p2.jpg")
    lay(tmp_path, f"{above}{folder}/p1.png", f"{above}{folder}/{deep}p2.png")
    assert ids(tmp_path) == sorted({f"{pictures}p1.jpg", f"{pictures}{deep}p2.jpg"})


def test_a_folder_of_masks_that_mirrors_nothing_holds_pictures(tmp_path):
    names = (
        "masks/venice.jpg",
        "masks/venice.txt",
        "masks/tokyo.jpg",
        "depth/sea.jpg",
        "sea/other.jpg",
        "masks/p1.jpg",
        "masks/p1.txt",
        "p1.jpg",
    )
    lay(tmp_path, *names)
    assert ids(tmp_path) == [name for name in sorted(names) if name.endswith(".jpg")]


def forms(name):
    return unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)


@pytest.mark.parametrize("composed", [False, True])
def test_names_pair_in_either_unicode_form(tmp_path, composed):
    picture, caption = forms("café_été")[:: 1 if composed else -1]
    lay(tmp_path, f"{picture}.jpg", f"{caption}.txt")
    if len(os.listdir(tmp_path)) == 1:
        pytest.skip("this file system takes both for one")
    found = find_samples(tmp_path)
    assert [sample.caption_id for sample in found.samples] == [f"{caption}.txt"]
    assert (found.strays, found.notes) == ((), ())
    assert caption_beside(tmp_path, f"{picture}.jpg") == tmp_path / f"{caption}.txt"


def test_names_that_differ_in_case_pair_and_are_told(tmp_path):
    lay(tmp_path / "src", "IMG_0001.JPG", "img_0001.txt", "b.jpg", "B.caption", "c.jpg", "c.txt")
    found = find_samples(tmp_path / "src")
    assert {sample.id: sample.caption_id for sample in found.samples} == {
        "IMG_0001.JPG": "img_0001.txt", "b.jpg": "B.caption", "c.jpg": "c.txt"
    }  # fmt: skip
    (note,) = found.notes
    assert "2 captions" in note
    assert "img_0001.txt" in note
    assert note in crop_folder(tmp_path / "src", tmp_path / "out", PLAIN).notes
    assert caption_beside(tmp_path / "src", "IMG_0001.JPG") == tmp_path / "src" / "img_0001.txt"


def test_a_caption_that_two_could_claim_by_case_is_nobodys(tmp_path):
    lay(tmp_path, "IMG.jpg", "img.png", "Img.txt")
    if len(os.listdir(tmp_path)) < 3:
        pytest.skip("this file system takes them for one")
    found = find_samples(tmp_path)
    assert {sample.caption_id for sample in found.samples} == {None}
    assert found.strays == ("Img.txt",)


def test_a_caption_of_the_very_name_comes_first(tmp_path):
    lay(tmp_path, "a.jpg", "A.jpg", "a.txt")
    if len(os.listdir(tmp_path)) < 3:
        pytest.skip("this file system takes them for one")
    assert {sample.id: sample.caption_id for sample in find_samples(tmp_path).samples} == {"a.jpg": "a.txt", "A.jpg": None}


STEMS = st.lists(st.sampled_from(["a", "A", "é", "e\u0301", "É", "b", "B", "ß", "ss"]), unique=True)


@given(STEMS, STEMS, st.sampled_from([".txt", ".TXT", ".caption"]))
def test_no_caption_is_ever_lost_or_given_to_two(pictures, captions, ending):
    files = [f"{stem}{ending}" for stem in captions]
    pairs = pair(pictures, files)
    assert Counter([*pairs.of.values(), *pairs.strays]) == Counter(files)
    assert set(pairs.of) <= set(pictures)
    for stem in set(pictures) & set(captions):
        assert pairs.of[stem] == f"{stem}{ending}"
    assert pair(reversed(pictures), files[::-1]) == pairs or set(pair(reversed(pictures), files[::-1]).of.items()) == set(
        pairs.of.items()
    )


ODD = ("pin.jfif", "pin2.jpe", "pin3.jpg_large", "pin4.jpeg_orig", "pin5.JPG~", "pin6", "pin7.jpg!d", "pin8.hif")


def test_pictures_of_odd_names_are_used(tmp_path, datakit):
    lay(tmp_path / "src", *ODD, *(f"{name.partition('.')[0]}.txt" for name in ODD))
    assert ids(tmp_path / "src") == sorted(ODD)
    ran = datakit(
        "crop", tmp_path / "src", tmp_path / "out", "--upscale", "20", "--detector", "none", "--saliency", "none", "--json"
    )
    report = json.loads(ran.stdout)
    assert (report["done"], report["failed"]) == (len(ODD), [])
    captions = {path.stem for path in (tmp_path / "out").glob("*.txt")}
    assert len(captions) == len(ODD)
    assert (tmp_path / "out" / "pin.jpg").exists()
    for name in ODD:
        assert holds(tmp_path / "src", name)


def test_what_is_left_of_an_edited_picture_is_no_second_one(tmp_path):
    lay(tmp_path, "a.jpg", "a.jpg_original", "a.jpg~", "a")
    assert ids(tmp_path) == ["a.jpg"]


def test_other_files_of_odd_names_are_left_alone(tmp_path):
    lay(tmp_path, "a.jpg")
    for name in ("LICENSE", "notes", "b.jpg_large", "c.jpg.part", "Makefile"):
        (tmp_path / name).write_text("words")
    found = find_samples(tmp_path)
    assert [sample.id for sample in found.samples] == ["a.jpg"]
    assert sum(found.others.values()) == 5
    assert not holds(tmp_path, "LICENSE")


@pytest.fixture
def kohya(tmp_path):
    lay(
        tmp_path / "src",
        "10_ohwx woman/p1.jpg",
        "10_ohwx woman/p1.txt",
        "1_woman/r1.jpg",
        "1_woman/r1.txt",
        "plain/q.jpg",
        "plain/q.txt",
    )
    report = crop_folder(tmp_path / "src", tmp_path / "out", PLAIN)
    return tmp_path / "out", report


def copies(folder):
    return Counter(variant.source for variant in folder)


def test_folders_named_for_kohyas_trainer_are_told(kohya):
    folder, report = kohya
    (note,) = [note for note in report.notes if "kohya" in note]
    assert "10_ohwx woman (10 times an epoch)" in note
    assert "--repeats-from-folders" in note
    (note,) = [note for note in plan_shuffle(folder)[1].notes if "--repeats-from-folders" in note]
    assert "plain" not in note


def test_repeats_come_from_the_folders_where_they_are_asked_for(kohya, tmp_path, datakit):
    folder, _ = kohya
    variants, report = plan_shuffle(folder, ShuffleOptions(repeats=3, repeats_from_folders=True))
    assert copies(variants) == {"10_ohwx woman/p1.jpg": 10, "1_woman/r1.jpg": 1, "plain/q.jpg": 3}
    assert not [note for note in report.notes if "--repeats-from-folders" in note]
    assert copies(plan_shuffle(folder, ShuffleOptions(repeats=3))[0]) == dict.fromkeys(copies(variants), 3)
    ran = datakit("shuffle", folder, tmp_path / "copies", "--repeats", "3", "--repeats-from-folders", "--json")
    assert json.loads(ran.stdout)["done"] == 14
    assert len(list((tmp_path / "copies" / "10_ohwx woman").glob("*.jpg"))) == 10


def test_more_repeats_leave_the_copies_that_are_there(kohya, tmp_path):
    folder, _ = kohya
    first = shuffle_folder(folder, tmp_path / "copies", ShuffleOptions(repeats=2))
    assert first.done == 6
    more = shuffle_folder(folder, tmp_path / "copies", ShuffleOptions(repeats=2, repeats_from_folders=True))
    assert (more.done, more.skipped) == (8, 5)


def test_captions_of_one_file_come_as_often_as_the_folder_says(kohya):
    folder, _ = kohya
    variants, _ = plan_shuffle(folder, ShuffleOptions(repeats=2, repeats_from_folders=True, captions_only=True))
    assert {variant.source: variant.caption.count("\n") + 1 for variant in variants} == {
        "10_ohwx woman/p1.jpg": 10, "1_woman/r1.jpg": 1, "plain/q.jpg": 2
    }  # fmt: skip


def test_a_number_alone_names_no_repeats(tmp_path):
    target = io.BytesIO()
    Image.new("RGB", (96, 96)).save(target, "JPEG")
    for folder in ("2024", "2024-05_trip", "_10", "0_none"):
        (tmp_path / "src" / folder).mkdir(parents=True)
        (tmp_path / "src" / folder / "a.jpg").write_bytes(target.getvalue())
    report = crop_folder(tmp_path / "src", tmp_path / "out", PLAIN)
    assert not [note for note in report.notes if "kohya" in note]
