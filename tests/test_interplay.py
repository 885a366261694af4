"""Options together: companions follow several crops, moved windows and other sizes as they follow one window of the eight."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from datakit import CropOptions, Size, crop_folder, read_manifest
from datakit.cli.crop import crop
from datakit.crop.folder import plan_folder
from datakit.dataset.companions import is_mask
from datakit.dataset.manifest import CropPlan, to_line
from datakit.errors import UsageError
from datakit.geometry import Box
from datakit.shuffle.folder import shuffle_folder
from datakit.shuffle.variants import ShuffleOptions
from datakit.trainers import trainer
from datakit.trainers.backend import emit_backend, verify_backend
from datakit.trainers.making import make_view
from datakit.trainers.protocol import BackendOptions

# Small, so that dozens of pictures take no time.
SIZES = "96x96 112x88 88x112 120x80 80x120 128x72 72x128"


def slope(size: Size) -> np.ndarray:
    """Grey that tells where in a picture a pixel is: another value in each column, and shifted in each row."""
    y, x = np.mgrid[: size.height, : size.width]
    return ((x * 96 / size.width + y * 144 / size.height) + 8).astype(np.uint8)


def lay(folder, shapes, caption="a picture"):
    """Pictures of a slope, each with the same as its mask."""
    folder.mkdir()
    for number, (width, height) in enumerate(shapes):
        pixels = slope(Size(width, height))
        Image.fromarray(np.dstack([pixels] * 3)).save(folder / f"{number:02}.png")
        Image.fromarray(pixels).save(folder / f"{number:02}-masklabel.png")
        (folder / f"{number:02}.txt").write_text(f"{caption}, {number}")
    return folder


def check_masks(folder):
    """Hold the mask of each picture of a dataset against the picture; return the records."""
    records = list(read_manifest(folder))
    for record in records:
        (mask,) = record.companions
        assert mask.output == f"companions/mask/{record.output}"
        with Image.open(folder / record.output) as picture, Image.open(folder / mask.output) as grey:
            assert picture.size == grey.size == record.bucket
            difference = np.abs(np.asarray(picture.convert("L"), int) - np.asarray(grey.convert("L"), int))
        assert difference.max() <= 2, record.output
    return records


def test_each_of_several_crops_has_a_mask_with_its_own_window(tmp_path):
    source = lay(tmp_path / "src", [(400, 300), (300, 420)])
    options = CropOptions(sizes=SIZES, detector="none", saliency="none", companions="auto")
    planned, _ = plan_folder(source, CropOptions(sizes=SIZES, detector="none", saliency="none", crops=("full", "main")))
    plans = [plan for plan in planned if plan.crop == "full"]
    closer = [
        CropPlan(source=plan.source, crop="main", box=Box(20, 30, 20 + 96, 30 + 96), bucket=Size(96, 96), sizes=SIZES)
        for plan in plans
    ]
    (tmp_path / "plan.jsonl").write_bytes(b"".join(map(to_line, (*plans, *closer))))
    report = crop_folder(source, tmp_path / "out", options, plan=tmp_path / "plan.jsonl")
    assert (report.done, report.exit_code) == (4, 0)
    records = check_masks(tmp_path / "out")
    assert [record.output for record in records] == ["00_full.png", "00_main.png", "01_full.png", "01_main.png"]
    assert crop_folder(source, tmp_path / "out", options, plan=tmp_path / "plan.jsonl").done == 0
    shuffle_folder(tmp_path / "out", tmp_path / "copies", ShuffleOptions(repeats=2, augment={"flip": 1.0, "crop": 0.8}))
    assert len(check_masks(tmp_path / "copies")) == 8


def test_a_mask_that_is_lost_or_changed_is_made_again_for_every_crop(tmp_path):
    source = lay(tmp_path / "src", [(400, 300)])
    options = CropOptions(sizes=SIZES, detector="none", saliency="none", companions="auto", crops=("full",))
    crop_folder(source, tmp_path / "out", options)
    mask = tmp_path / "out" / "companions" / "mask" / "00_full.png"
    before = mask.read_bytes()
    mask.unlink()
    assert crop_folder(source, tmp_path / "out", options).done == 1
    assert mask.read_bytes() == before
    Image.fromarray(255 - slope(Size(400, 300))).save(source / "00-masklabel.png")
    assert crop_folder(source, tmp_path / "out", options).done == 1
    assert mask.read_bytes() != before


def test_a_window_that_is_moved_to_fill_a_batch_moves_its_mask(tmp_path):
    shapes = [(240, 240 + 13 * number) for number in range(11)]
    source = lay(tmp_path / "src", shapes)
    options = CropOptions(sizes=SIZES, detector="none", saliency="none", companions="required", fill_batches=4, fill_area=0.5)
    report = crop_folder(source, tmp_path / "out", options)
    assert (report.done, report.exit_code) == (11, 0)
    records = check_masks(tmp_path / "out")
    assert any(record.moved_from for record in records)
    assert crop_folder(source, tmp_path / "out", options).done == 0


def test_a_picture_without_a_required_mask_fills_no_batch(tmp_path):
    source = lay(tmp_path / "src", [(240, 240 + 13 * number) for number in range(11)])
    (source / "03-masklabel.png").unlink()
    options = CropOptions(sizes=SIZES, detector="none", saliency="none", companions="required", fill_batches=4, fill_area=0.5)
    report = crop_folder(source, tmp_path / "out", options)
    assert [problem.source for problem in report.refused] == ["03.png"]
    kept = check_masks(tmp_path / "out")
    (source / "03.png").unlink()
    (source / "03.txt").unlink()
    crop_folder(source, tmp_path / "alone", options)
    assert [record.bucket for record in check_masks(tmp_path / "alone")] == [record.bucket for record in kept]


@pytest.mark.parametrize("name", ["onetrainer", "ai-toolkit", "kohya", "diffusion-pipe", "simpletuner"])
@pytest.mark.parametrize("sizes", ["512", "768"])
def test_masks_of_another_set_of_sizes_pass_the_proof(name, sizes, tmp_path):
    source = lay(tmp_path / "src", [(800, 800), (1200, 760)])
    crop_folder(source, tmp_path / "out", CropOptions(sizes=sizes, detector="none", saliency="none", companions="auto"))
    check_masks(tmp_path / "out")
    emission = emit_backend([tmp_path / "out"], tmp_path / "cache", BackendOptions(name, None, companions=("mask",)))
    assert emission.content is not None, (emission.findings, emission.changed)
    for view in emission.views:
        make_view(view)
    file = tmp_path / trainer(name).file_name
    file.write_bytes(emission.content)
    assert not verify_backend(file).faults


def test_several_crops_are_not_dealt_out_to_batches(tmp_path):
    with pytest.raises(UsageError, match=r"--fill-batches .* --crops .* use one of them"):
        CropOptions(crops=("full", "face"), fill_batches=4)
    source = lay(tmp_path / "src", [(300, 300)])
    said = CliRunner().invoke(crop, [str(source), str(tmp_path / "out"), "--crops", "full,face", "--fill-batches", "4"])
    assert isinstance(said.exception, UsageError)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("mask", True),
        ("masks", True),
        ("train_masks", True),
        ("face-mask", True),
        ("mask2", True),
        ("unmasked", False),
        ("control", False),
    ],
)
def test_what_is_called_a_mask_is_grey(name, mask):
    assert is_mask(name) == mask
