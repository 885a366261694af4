"""Masks and control pictures: found by pattern or layout, cropped, copied and turned exactly as the picture that they go with."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datakit import CropOptions, Size, crop_folder, read_manifest
from datakit.dataset.accompany import accompany, parse_companion
from datakit.dataset.folder import find_samples
from datakit.errors import CompanionError, UsageError
from datakit.geometry import Box
from datakit.picture.augment import shaped
from datakit.picture.images import read_picture
from datakit.picture.material import Photo, lay_over, settled
from datakit.shuffle.folder import shuffle_folder
from datakit.shuffle.variants import ShuffleOptions
from tests.conftest import tree

PLAIN = CropOptions(detector="none", saliency="none", upscale=3)
SIDE = Size(640, 512)


def chequered(size: Size, cell: int = 32) -> np.ndarray:
    """Black and white squares, and a white bar on top, so that no turn of it is the same."""
    y, x = np.mgrid[: size.height, : size.width]
    grey = ((x // cell + y // cell) % 2 * 255).astype(np.uint8)
    grey[: cell // 2, : size.width // 2] = 255
    return grey


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def lay(folder: Path, names: tuple[str, ...] = ("a", "b"), mask: str = "{}-masklabel.png", **options: object) -> Path:
    """Pictures of a chequered pattern, each with that pattern as its mask."""
    for name in names:
        save(folder / f"{name}.png", np.dstack([chequered(SIDE)] * 3), **options)
        (folder / f"{name}.txt").write_text(f"a picture, {name}")
        save(folder / mask.format(name), chequered(SIDE))
    return folder


def grey(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def agree(mask: np.ndarray, picture: np.ndarray) -> bool:
    """Whether both have black and white in the same places: only where an edge runs do they differ, and nowhere else better."""
    ours, theirs = (each > 127 for each in (mask, picture))
    edges = cv2.morphologyEx(theirs.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
    off = ours != theirs

    def differing(right: int, down: int) -> float:
        moved = np.roll(ours, (down, right), (0, 1)) != theirs
        return float(moved[1:-1, 1:-1].mean())

    nowhere_better = all(differing(*step) >= differing(0, 0) for step in ((1, 0), (-1, 0), (0, 1), (0, -1)))
    # At the border an edge may run in whose course is not seen.
    return not (off & ~edges)[1:-1, 1:-1].any() and bool(off.mean() < 0.04) and nowhere_better


@pytest.mark.parametrize(
    ("text", "companion"),
    [
        ("mask={stem}-masklabel.png", "a-masklabel.png"),
        ("mask={stem}_m.*", "a_m.webp"),
        ("mask=mask_{stem}.PNG", "mask_a.png"),
        ("depth=control/{stem}.*", "control/a.jpg"),
        ("face-mask=deep/er/{stem}-x.png", "deep/er/a-x.png"),
    ],
)
def test_a_pattern_finds_companions_whatever_they_are_called(tmp_path, text, companion):
    save(tmp_path / "a.png", np.dstack([chequered(SIDE)] * 3))
    save(tmp_path / companion, chequered(SIDE))
    (tmp_path / f"{companion.rpartition('.')[0]}.txt").write_text("not a sample all the same")
    found = accompany(find_samples(tmp_path), [parse_companion(text)], auto=False)
    assert [(sample.id, sample.companions) for sample in found.samples] == [("a.png", ((text.partition("=")[0], companion),))]


@pytest.mark.parametrize(
    "text",
    ["mask", "=x{stem}.png", "Mask={stem}-m.png", "m={stem}.*", "m=x.png", "m={stem}/x.png", "m=/abs/{stem}.png", "m=../x/{stem}.png",
     "m={stem}-m", "m={stem}-m.exe", "m={stem}{stem}.png"],
)  # fmt: skip
def test_what_is_no_pattern_is_refused_before_anything_is_read(text):
    with pytest.raises(UsageError, match="--companion"):
        CropOptions(companion=(text,))


@pytest.mark.parametrize(
    ("picture", "companion", "name"),
    [
        ("a.png", "a-masklabel.png", "mask"),
        ("a.png", "a-condlabel.png", "control"),
        ("a.png", "masks/a.png", "mask"),
        ("img/a.png", "train_masks/a.png", "mask"),
        ("img/a.png", "My  masks/a.png", "mask"),
        ("img/a.png", "face_masks/a.png", "face_mask"),
        ("img/a.png", "conditioning_data/a.png", "control"),
        ("img/a.png", "control_2/a.png", "control_2"),
        ("img/a.png", "reference/a.png", "reference"),
        ("img/a.png", "control/a.png", "control"),
        ("img/deep/a.png", "conditioning_images/deep/a.png", "control"),
        ("10_x/a.png", "10_x/depth_maps/a.png", "depth"),
        ("a.png", "openpose/a_control.png", "pose"),
        ("sub/a.png", "companions/mask/sub/a.png", "mask"),
        ("a\nb.png", "a\nb-masklabel.png", "mask"),
    ],
)
def test_layouts_of_trainers_are_known(tmp_path, picture, companion, name):
    save(tmp_path / picture, np.dstack([chequered(SIDE)] * 3))
    (tmp_path / picture).with_suffix(".txt").write_text("a")
    save(tmp_path / companion, chequered(SIDE))
    (sample,) = accompany(find_samples(tmp_path), [], auto=True).samples
    assert sample.companions == ((name, companion),)


def test_each_companion_goes_with_one_picture_or_is_named(tmp_path):
    pixels = np.zeros((4, 4), np.uint8)
    for name in ("a.png", "sub/a.png", "x/b.png", "y/b.png"):
        save(tmp_path / name, pixels)
        (tmp_path / name).with_suffix(".txt").write_text("a")
    for name in ("masks/a.png", "train_masks/a.png", "masks/b.png", "train_masks/lost.png", "gone-masklabel.png"):
        save(tmp_path / name, pixels)
    patterns = [parse_companion("mask=masks/{stem}.*"), parse_companion("mask={stem}-masklabel.png")]
    found = accompany(find_samples(tmp_path), patterns, auto=True)
    # That of the picture above is none of the one of the same name in a folder.
    beside = (("mask", "masks/b.png"),)
    assert {sample.id: sample.companions for sample in found.samples} == {
        "a.png": (("mask", "masks/a.png"),), "sub/a.png": (), "x/b.png": beside, "y/b.png": beside,
    }  # fmt: skip
    assert (found.missing["mask"], found.second, found.shared) == (["sub/a.png"], ["train_masks/a.png"], ["masks/b.png"])
    assert found.left == ["gone-masklabel.png", "train_masks/lost.png"]
    said = " ".join(found.notes())
    assert all(name in said for name in (*found.left, *found.second, *found.shared))


def test_a_mask_gets_the_window_of_its_picture_and_its_hashes_are_kept(tmp_path):
    source = lay(tmp_path / "src")
    before = tree(source)
    report = crop_folder(source, tmp_path / "out", CropOptions(detector="none", saliency="none", upscale=3, companions="auto"))
    assert (report.done, report.exit_code) == (2, 0)
    for record in read_manifest(tmp_path / "out"):
        (mask,) = record.companions
        assert (mask.name, mask.output) == ("mask", f"companions/mask/{record.output}")
        content = (tmp_path / "out" / mask.output).read_bytes()
        assert mask.sha256 == hashlib.sha256(content).hexdigest()
        assert mask.source_sha256 == hashlib.sha256((source / mask.source).read_bytes()).hexdigest()
        with Image.open(tmp_path / "out" / mask.output) as image:
            assert (image.mode, Size(*image.size)) == ("L", record.bucket)
            assert set(np.unique(np.asarray(image))) == {0, 255}
        assert agree(grey(tmp_path / "out" / mask.output), grey(tmp_path / "out" / record.output))
    assert tree(source) == before


def test_without_companions_records_say_nothing_of_them(tmp_path):
    source = lay(tmp_path / "src")
    report = crop_folder(source, tmp_path / "out", PLAIN)
    assert report.done == 2
    assert any("masks or other companions" in note and "--companions auto" in note for note in report.notes)
    assert b"companion" not in (tmp_path / "out" / "manifest.jsonl").read_bytes()
    assert not (tmp_path / "out" / "companions").exists()


def test_run_again_nothing_is_made_and_what_changed_is(tmp_path):
    source, out, options = lay(tmp_path / "src"), tmp_path / "out", CropOptions(detector="none", upscale=3, companions="auto")
    crop_folder(source, out, options)
    assert crop_folder(source, out, options).skipped == 2
    save(source / "a-masklabel.png", 255 - chequered(SIDE))
    before = grey(out / "companions/mask/a.png")
    assert crop_folder(source, out, options).done == 1
    assert (grey(out / "companions/mask/a.png") == 255 - before).all()
    (source / "a-masklabel.png").unlink()
    report = crop_folder(source, out, options)
    assert report.done == 1
    assert any("without a companion mask" in note and "a.png" in note for note in report.notes)
    assert not (out / "companions/mask/a.png").exists()
    (source / "b.png").unlink()
    crop_folder(source, out, options, execution=__import__("datakit").Execution(prune=True))
    assert not (out / "companions/mask/b.png").exists()


def test_an_interrupted_run_is_finished_and_a_lost_mask_is_made_again(tmp_path):
    source, out, options = lay(tmp_path / "src"), tmp_path / "out", CropOptions(detector="none", upscale=3, companions="auto")
    crop_folder(source, out, options)
    whole = tree(out)
    (out / "companions/mask/a.png").unlink()
    assert crop_folder(source, out, options).done == 1
    assert {name: data for name, data in tree(out).items() if not name.startswith(".datakit")} == {
        name: data for name, data in whole.items() if not name.startswith(".datakit")
    }


def test_a_mask_edited_by_hand_is_not_replaced(tmp_path):
    source, out, options = lay(tmp_path / "src"), tmp_path / "out", CropOptions(detector="none", upscale=3, companions="auto")
    crop_folder(source, out, options)
    edited = out / "companions/mask/a.png"
    save(edited, np.zeros(SIDE[::-1], np.uint8))
    mine = edited.read_bytes()
    save(source / "a-masklabel.png", 255 - chequered(SIDE))
    report = crop_folder(source, out, options)
    assert [problem.source for problem in report.refused] == ["a.png"]
    assert edited.read_bytes() == mine


def test_another_size_is_refused_by_name(tmp_path):
    source = lay(tmp_path / "src")
    save(source / "a-masklabel.png", chequered(Size(640, 500)))
    report = crop_folder(source, tmp_path / "out", CropOptions(detector="none", upscale=3, companions="auto"))
    (problem,) = report.refused
    assert (problem.source, report.done) == ("a.png", 1)
    assert "a-masklabel.png is 640x500, and its picture 640x512" in problem.reason


def test_missing_ones_are_refused_where_they_are_required(tmp_path):
    source = lay(tmp_path / "src")
    (source / "b-masklabel.png").unlink()
    options = CropOptions(detector="none", upscale=3, companion=("mask={stem}-masklabel.png",), companions="required")
    report = crop_folder(source, tmp_path / "out", options)
    assert [(each.source, each.kind) for each in report.refused] == [("b.png", "companion-missing")]
    assert [record.output for record in read_manifest(tmp_path / "out")] == ["a.png"]


def test_companions_that_are_required_must_be_known(tmp_path):
    source = lay(tmp_path / "src", mask="other/{}.png")
    with pytest.raises(UsageError, match="no companions of a known layout"):
        crop_folder(source, tmp_path / "out", CropOptions(companions="required"))


def test_a_damaged_companion_is_named(tmp_path):
    source = lay(tmp_path / "src")
    for name, folder in (("a", "control"), ("b", "masks")):
        save(source / folder / f"{name}.png", np.dstack([chequered(SIDE)] * 3))
        whole = (source / folder / f"{name}.png").read_bytes()
        (source / folder / f"{name}.png").write_bytes(whole[: len(whole) // 2])
    (source / "b-masklabel.png").unlink()
    report = crop_folder(source, tmp_path / "out", CropOptions(detector="none", upscale=3, companions="auto"))
    reasons = {problem.source: problem.reason for problem in (*report.refused, *report.failed)}
    assert "its control control/a.png" in reasons["a.png"]
    assert "its mask masks/b.png" in reasons["b.png"]


def test_a_companion_of_nothing_is_no_picture_and_named(tmp_path):
    source = lay(tmp_path / "src")
    save(source / "c-masklabel.png", chequered(SIDE))
    report = crop_folder(
        source, tmp_path / "out", CropOptions(detector="none", upscale=3, companion=("mask={stem}-masklabel.png",))
    )
    assert report.done == 2
    assert any("without a picture of that name: c-masklabel.png" in note for note in report.notes)


def test_a_mask_whose_picture_is_gone_is_no_picture_but_a_folder_of_them_may_be(tmp_path):
    folder = lay(tmp_path / "src", mask="masks/{}.png")
    save(folder / "control" / "x.png", chequered(SIDE))  # of no known layout here: a picture to train
    for name in ("a.png", "a.txt"):
        (folder / name).unlink()
    for options in (PLAIN, replace(PLAIN, companions="auto")):
        report = crop_folder(folder, tmp_path / f"out{options.companions}", options)
        assert report.done == 2, report.notes
        assert any("without a picture of that name: masks/a.png" in note for note in report.notes)
    (folder / "b.png").rename(folder / "c.png")  # no mask goes with a picture any more
    report = crop_folder(folder, tmp_path / "none", PLAIN)
    assert report.done == 2
    assert any("without a picture of that name: masks/a.png, masks/b.png" in note for note in report.notes)
    assert crop_folder(folder / "masks", tmp_path / "masks", PLAIN).done == 2


@pytest.mark.parametrize("kind", ["L16", "1", "P", "RGBA", "alpha", "LA", "jpg"])
def test_masks_of_any_kind_stay_grey_and_are_never_flattened(tmp_path, kind):
    pattern = chequered(SIDE)
    image = {
        "L16": lambda: Image.fromarray(pattern.astype(np.uint16) * 257),
        "1": lambda: Image.fromarray(pattern).convert("1"),
        "P": lambda: Image.fromarray(pattern).convert("P"),
        "RGBA": lambda: Image.fromarray(np.dstack([pattern] * 3 + [np.full_like(pattern, 255)])),
        "alpha": lambda: Image.fromarray(np.dstack([np.zeros_like(pattern)] * 3 + [pattern])),
        "LA": lambda: Image.fromarray(np.dstack([np.full_like(pattern, 255), pattern])),
        "jpg": lambda: Image.fromarray(pattern),
    }[kind]()
    source = tmp_path / "src"
    save(source / "a.png", np.dstack([pattern] * 3))
    image.save(source / ("a-masklabel.jpg" if kind == "jpg" else "a-masklabel.png"))
    report = crop_folder(source, tmp_path / "out", CropOptions(detector="none", saliency="none", upscale=3, companions="auto"))
    assert report.done == 1, report.refused
    with Image.open(tmp_path / "out/companions/mask/a.png") as mask:
        assert mask.mode == "L"
    assert agree(grey(tmp_path / "out/companions/mask/a.png"), grey(tmp_path / "out/a.png"))


def test_a_soft_mask_keeps_within_its_values(tmp_path):
    source, rng = tmp_path / "src", np.random.default_rng(1)
    save(source / "a.png", np.dstack([chequered(SIDE)] * 3))
    save(source / "a_mask.png", rng.integers(40, 200, SIDE[::-1], np.uint8))
    crop_folder(source, tmp_path / "out", CropOptions(detector="none", upscale=3, companions="auto"))
    mask = grey(tmp_path / "out/companions/mask/a.png")
    assert 40 <= mask.min() < mask.max() <= 199


def test_transparency_is_kept_as_a_mask(tmp_path):
    source, pattern = tmp_path / "src", chequered(SIDE)
    save(source / "a.png", np.dstack([np.full_like(pattern, 90)] * 3 + [pattern]))
    save(source / "b.png", np.dstack([pattern] * 3))
    options = CropOptions(detector="none", upscale=3, keep_alpha=True)
    report = crop_folder(source, tmp_path / "out", options)
    records = {record.output: record for record in read_manifest(tmp_path / "out")}
    assert [(each.name, each.source) for each in records["a.png"].companions] == [("mask", "a.png")]
    assert records["b.png"].companions == ()
    # Over white, what is opaque is the darker.
    assert agree(grey(tmp_path / "out/companions/mask/a.png"), np.where(grey(tmp_path / "out/a.png") < 172, 255, 0))
    assert crop_folder(source, tmp_path / "out", options).skipped == report.done == 2
    assert crop_folder(source, tmp_path / "out", PLAIN).done == 2
    assert not (tmp_path / "out/companions/mask/a.png").exists()


def test_transparency_stands_in_for_a_mask_that_is_required(tmp_path):
    source, pattern = lay(tmp_path / "src", ("a",)), chequered(SIDE)
    save(source / "b.png", np.dstack([np.full_like(pattern, 90)] * 3 + [pattern]))
    save(source / "c.png", np.dstack([pattern] * 3))
    options = CropOptions(detector="none", upscale=3, companions="required", keep_alpha=True)
    report = crop_folder(source, tmp_path / "out", options)
    assert [(each.source, each.kind) for each in report.refused] == [("c.png", "companion-missing")]
    assert {record.source: record.companions[0].source for record in read_manifest(tmp_path / "out")} == {
        "a.png": "a-masklabel.png", "b.png": "b.png",
    }  # fmt: skip
    assert any("2 pictures without a companion mask, their transparency" in note for note in report.notes)


def test_a_file_of_the_users_is_in_the_way_of_a_kept_transparency(tmp_path):
    source, pattern = tmp_path / "src", chequered(SIDE)
    save(source / "a.png", np.dstack([np.full_like(pattern, 90)] * 3 + [pattern]))
    crop_folder(source, tmp_path / "out", PLAIN)
    mine = tmp_path / "out/companions/mask/a.png"
    save(mine, pattern)
    before = mine.read_bytes()
    report = crop_folder(source, tmp_path / "out", CropOptions(detector="none", upscale=3, keep_alpha=True))
    assert [problem.kind for problem in report.refused] == ["in-the-way"]
    assert mine.read_bytes() == before


def test_pictures_where_companions_are_written_are_refused(tmp_path):
    source = lay(tmp_path / "src")
    save(source / "companions/x.png", np.dstack([chequered(SIDE)] * 3))
    with pytest.raises(UsageError, match=r"companions/x\.png"):
        crop_folder(source, tmp_path / "out", CropOptions(companions="auto"))


def test_a_mask_that_is_black_in_the_window_or_nearly_is_named(tmp_path):
    source = lay(tmp_path / "src", ("a", "b", "c"))
    save(source / "a-masklabel.png", np.zeros(SIDE[::-1], np.uint8))
    save(source / "b-masklabel.png", chequered(SIDE) // 255)
    report = crop_folder(source, tmp_path / "out", CropOptions(detector="none", upscale=3, companions="auto"))
    said = {name: warning.sentence for name, warning in report.warnings if warning.kind == "companion-blank"}
    assert said.keys() == {"a.png", "b.png"}
    assert "1 of 255" in said["b.png"]
    assert set(np.unique(grey(tmp_path / "out/companions/mask/b.png"))) == {0, 1}


def test_a_control_picture_is_cropped_to_the_byte_as_the_picture_is(tmp_path):
    source, rng = tmp_path / "src", np.random.default_rng(2)
    pixels = rng.integers(0, 255, (900, 1400, 3), np.uint8)
    save(source / "a.png", pixels)
    save(source / "control/a.png", pixels)
    crop_folder(source, tmp_path / "out", CropOptions(detector="none", companions="auto"))
    assert (tmp_path / "out/companions/control/a.png").read_bytes() == (tmp_path / "out/a.png").read_bytes()


def data(pixels: np.ndarray, orientation: int = 1) -> bytes:
    import io

    exif = Image.Exif()
    exif[0x0112] = orientation
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG", **({"exif": exif} if orientation != 1 else {}))
    return target.getvalue()


@settings(max_examples=40)
@given(
    side=st.tuples(st.integers(160, 420), st.integers(160, 420)),
    corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    share=st.floats(0.5, 1),
    aspect=st.floats(0.5, 2),
    orientation=st.sampled_from(range(1, 9)),
    both=st.booleans(),
    times=st.sampled_from([1, 2, 3]),
    drawn=st.fixed_dictionaries(
        {},
        optional={
            "flip": st.just(True),
            "rotate": st.floats(-40, 40).filter(lambda angle: abs(angle) > 0.01),
            "crop": st.tuples(st.floats(0.7, 1), st.floats(-1, 1), st.floats(-1, 1)),
        },
    ),
)
def test_any_box_turn_flip_and_augmentation_maps_a_companion_onto_its_picture(
    side, corner, share, aspect, orientation, both, times, drawn
):
    stored = chequered(Size(*side), 24)
    picture = read_picture(data(np.dstack([stored] * 3), orientation), "a.png")
    layer = np.kron(stored, np.ones((times, times), np.uint8))
    size = picture.size
    if both or orientation in (2, 3, 4) or side[0] == side[1]:
        companion = read_picture(data(layer, orientation), "m.png")
    else:
        companion = read_picture(data(layer), "m.png")
    width = max(40, round(min(size.width, size.height * aspect) * share))
    height = min(size.height, max(40, round(width / aspect)))
    left, top = (round(at * (whole - part)) for at, whole, part in zip(corner, size, (width, height), strict=True))
    box, bucket = Box(left, top, left + width, top + height), Size(width * 3 // 4, height * 3 // 4)
    mask, _ = lay_over(companion, picture, mask=True)
    image = shaped(Photo(picture), box, bucket, drawn)
    moved = settled(mask, shaped(mask, box, bucket, drawn))
    assert moved.size == image.size == bucket
    assert set(np.unique(np.asarray(moved))) <= {0, 255}
    assert agree(np.asarray(moved), np.asarray(image.convert("L")))
    if times == 1:
        control, _ = lay_over(companion, picture, mask=False)
        beside = shaped(control, box, bucket, drawn)
        assert agree(np.asarray(beside.convert("L")), np.asarray(image.convert("L")))
        # One turned upright before it is resized, and not behind that, is rounded otherwise.
        if companion.orientation == orientation:
            assert (np.asarray(beside) == np.asarray(image)).all()


def test_a_mask_half_as_large_is_taken_and_a_third_more_is_not():
    picture = read_picture(data(np.dstack([chequered(SIDE)] * 3)), "a.png")
    half, _ = lay_over(read_picture(data(chequered(Size(320, 256), 16)), "m.png"), picture, mask=True)
    assert half.size == SIDE
    with pytest.raises(CompanionError, match="whole number of times"):
        lay_over(read_picture(data(chequered(Size(960, 768))), "m.png"), picture, mask=True)


def test_copies_are_linked_with_their_masks_and_augmented_alike(tmp_path):
    source = lay(tmp_path / "src")
    save(source / "control/a.png", np.dstack([chequered(SIDE)] * 3))
    crop_folder(source, tmp_path / "out", CropOptions(detector="none", saliency="none", upscale=3, companions="auto"))
    options = ShuffleOptions(repeats=3, augment={"flip": 1.0, "rotate": 9.0, "crop": 0.8, "hue": 90.0, "noise": 5.0})
    report = shuffle_folder(tmp_path / "out", tmp_path / "copies", options)
    assert (report.done, report.exit_code) == (6, 0)
    assert not any("companion" in note for note in report.notes)
    for record in read_manifest(tmp_path / "copies"):
        names = [each.name for each in record.companions]
        assert names == (["control", "mask"] if record.source == "a.png" else ["mask"])
        mask = grey(tmp_path / "copies" / record.companions[-1].output)
        assert agree(mask, grey(tmp_path / "copies" / record.output))
        if record.copy == 1:
            linked = tmp_path / "copies" / record.companions[-1].output
            assert linked.samefile(tmp_path / "out" / f"companions/mask/{record.source}")
        else:
            assert "rotate" in record.augmentation
    assert shuffle_folder(tmp_path / "out", tmp_path / "copies", options).skipped == 6
    save(tmp_path / "out/companions/mask/a.png", 255 - chequered(Size(1152, 896)))
    assert shuffle_folder(tmp_path / "out", tmp_path / "copies", options).done == 3


def test_copies_of_a_crop_whose_source_is_gone_are_augmented_with_what_was_cropped(tmp_path):
    source, pattern = tmp_path / "src", chequered(Size(1280, 1024), 64)
    save(source / "a.png", np.dstack([pattern] * 3))
    (source / "a.txt").write_text("a picture, a")
    save(source / "a-masklabel.png", pattern)
    crop_folder(source, tmp_path / "out", CropOptions(detector="none", saliency="none", companions="auto"))
    (source / "a-masklabel.png").unlink()
    shuffle_folder(tmp_path / "out", tmp_path / "copies", ShuffleOptions(repeats=2, augment={"rotate": 9.0}))
    _, second = read_manifest(tmp_path / "copies")
    assert [warning.kind for warning in second.warnings] == ["source-gone"]
    assert agree(grey(tmp_path / "copies" / second.companions[0].output), grey(tmp_path / "copies" / second.output))


@pytest.mark.parametrize("output", ["../x.png", "b.png", "companions/mask/b.png", "companions/other/a.png", "a-mask.jpg"])
def test_a_manifest_cannot_name_a_companion_that_is_no_companion(tmp_path, output):
    source = lay(tmp_path / "src", ("a",))
    crop_folder(source, tmp_path / "out", CropOptions(detector="none", upscale=3, companions="auto"))
    manifest = tmp_path / "out/manifest.jsonl"
    record = msgspec.json.decode(manifest.read_bytes())
    record["companions"][0]["output"] = output
    manifest.write_bytes(msgspec.json.encode(record) + b"\n")
    with pytest.raises(ValueError, match="manifest"):
        list(read_manifest(tmp_path / "out"))
