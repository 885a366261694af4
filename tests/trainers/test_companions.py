"""Masks and control pictures in each trainer's file: its own keys, proved like the pictures, and what is wrong with them named."""

from __future__ import annotations

import json
import shutil

import msgspec
import numpy as np
import pytest
from PIL import Image

from datakit import CropOptions, crop_folder
from datakit.audit.checks import check_dataset, list_files
from datakit.audit.concept import content_hash, read_concept
from datakit.audit.looks import look_at_all
from datakit.dataset.manifest import read_manifest
from datakit.shuffle.folder import shuffle_folder
from datakit.shuffle.variants import ShuffleOptions
from datakit.trainers import trainer
from datakit.trainers.backend import emit_backend, verify_backend
from datakit.trainers.making import make_view
from datakit.trainers.protocol import BackendOptions

# Trainer, model family and what it is given; and the keys that name it in the file.
GIVEN = [
    ("onetrainer", None, ("mask", "control"), ()),
    ("onetrainer", None, ("mask",), ()),
    ("ai-toolkit", None, ("mask", "control"), ("mask_path", "control_path")),
    ("kohya", None, ("mask",), ("conditioning_data_dir",)),
    ("kohya", "sdxl", ("control",), ("conditioning_data_dir",)),
    ("musubi", "flux-kontext", ("control",), ("control_directory",)),
    ("musubi", "flux2-dev", ("control", "depth"), ("control_directory",)),
    ("diffusion-pipe", None, ("mask", "control"), ("mask_path", "control_path")),
    ("simpletuner", None, ("mask",), ("conditioning_data", "conditioning_type")),
    ("simpletuner", "flux", ("control", "depth"), ("conditioning_data", "conditioning_type")),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two pictures in two sizes and folders, each with a mask, a control picture and a depth map."""
    folder = tmp_path_factory.mktemp("companions")
    rng = np.random.default_rng(3)
    for name, size in (("a", (1216, 832)), ("sub/b", (832, 1216))):
        for place in ("src", "src/mask", "src/control", "src/depth"):
            (folder / place / name).parent.mkdir(parents=True, exist_ok=True)
            noise = Image.fromarray(rng.integers(0, 255, (size[1] // 32, size[0] // 32, 3), np.uint8)).resize(size, 0)
            image = noise.convert("L").point(lambda value: 255 * (value > 127)) if place == "src/mask" else noise
            image.save(folder / place / f"{name}.png", compress_level=1)
        (folder / "src" / f"{name}.txt").write_text(f"a picture, {name}")
    report = crop_folder(folder / "src", folder / "out", CropOptions(detector="none", companions="required"))
    assert (report.done, report.exit_code) == (2, 0)
    return folder / "out"


@pytest.fixture
def emitted(dataset, tmp_path):
    """Return a function that writes a trainer's file and its views, and returns the file and the folders of companions."""

    def emit(name, family=None, given=(), folder=None):
        options = BackendOptions(name, family, companions=given)
        emission = emit_backend([folder or dataset], tmp_path / "cache", options)
        assert emission.content is not None, (emission.findings, emission.changed)
        for view in emission.views:
            make_view(view)
        file = tmp_path / trainer(name).file_name
        file.write_bytes(emission.content)
        return file, emission

    return emit


@pytest.mark.parametrize(("name", "family", "given", "keys"), GIVEN)
def test_a_dataset_with_companions_passes_the_replay_of_each_trainer(emitted, name, family, given, keys):
    file, emission = emitted(name, family, given)
    text = file.read_text()
    assert all(key in text for key in keys)
    verdict = verify_backend(file)
    assert not verdict.faults
    pictures = 2 if name == "onetrainer" else 2 * (1 + len(given))
    assert sum(verdict.pictures.values()) == pictures
    assert not [each for each in emission.leftovers if each.ours]


@pytest.mark.parametrize(("name", "family", "given", "keys"), GIVEN)
def test_a_companion_that_is_gone_or_has_another_size_is_named(emitted, name, family, given, keys):
    file, emission = emitted(name, family, given)
    views = emission.views if name == "onetrainer" else emission.views[1:]
    victim = next(
        path
        for view in views
        for path in sorted(view.folder.iterdir())
        if path.suffix == ".png" and (name != "onetrainer" or path.stem.endswith("label"))
    )
    whole = victim.read_bytes()
    victim.unlink()
    Image.new("L", (640, 640)).save(victim)
    faults = verify_backend(file).faults
    assert any(victim.name in (fault.path, fault.path.rpartition("/")[2]) and "640x640" in fault.detail for fault in faults)
    victim.unlink()
    assert any("gone" in fault.problem or "no companion" in fault.problem for fault in verify_backend(file).faults)
    victim.write_bytes(whole)
    assert not verify_backend(file).faults


def test_onetrainer_finds_each_beside_its_picture(emitted):
    file, emission = emitted("onetrainer", None, ("mask", "control"))
    names = sorted(path.name for view in emission.views for path in view.folder.iterdir() if path.suffix == ".png")
    assert names == [
        "a-condlabel.png", "a-masklabel.png", "a.png", "sub_b-condlabel.png", "sub_b-masklabel.png", "sub_b.png",
    ]  # fmt: skip
    assert "masked_training=true" in emission.command
    assert "custom_conditioning_image=true" in emission.command
    notes = " ".join(verify_backend(file).notes)
    assert "masked_training must be on" in notes


def test_a_mask_of_onetrainer_that_is_not_read_is_named(emitted):
    file, emission = emitted("onetrainer", None, ("mask",))
    folder = emission.views[0].folder
    mask = next(folder.glob("*-masklabel.png"))
    shutil.copy(mask, folder / "other-masklabel.png")
    with Image.open(mask) as image:
        image.save(folder / f"{mask.stem}.jpg")
    problems = {fault.path: fault.problem for fault in verify_backend(file).faults}
    assert "of no picture" in problems["other-masklabel.png"]
    assert "not read" in problems[f"{mask.stem}.jpg"]


def test_simpletuner_lists_no_companion_as_a_picture(emitted, dataset):
    file, emission = emitted("simpletuner", None, ("mask",))
    image, conditioning, _ = json.loads(file.read_bytes())
    assert image["instance_data_dir"] == str(emission.views[0].folder)
    assert image["conditioning_data"] == conditioning["id"]
    assert (conditioning["dataset_type"], conditioning["conditioning_type"]) == ("conditioning", "mask")
    # Straight from the dataset the masks would be trained as pictures.
    image["instance_data_dir"] = str(dataset)
    file.write_bytes(msgspec.json.encode([image, conditioning, _]))
    faults = verify_backend(file).faults
    assert any(fault.path == "companions/mask/a.png" and "for a picture to train" in fault.problem for fault in faults)


def test_simpletuner_takes_companions_of_one_type_alone(emitted, tmp_path):
    file, _ = emitted("simpletuner", None, ("control", "depth"))
    entries = json.loads(file.read_bytes())
    entries[1]["conditioning_type"] = "mask"
    entries[2]["conditioning_type"] = "depth"
    entries[2]["crop"] = False
    entries[0]["conditioning_data"].append("elsewhere")
    file.write_bytes(msgspec.json.encode(entries))
    problems = [fault.problem for fault in verify_backend(file).faults]
    assert any("several types" in problem for problem in problems)
    assert any("conditioning_type 'depth' is none" in problem for problem in problems)
    assert any("'elsewhere' is no enabled conditioning dataset" in problem for problem in problems)
    assert any("crop is False" in problem for problem in problems)


def test_simpletuner_is_given_pictures_to_condition_on_as_a_type_that_no_model_stops_at(emitted):
    file, _ = emitted("simpletuner", "sdxl", ("control",))
    assert json.loads(file.read_bytes())[1]["conditioning_type"] == "reference_strict"
    assert not any("conditioning_type" in note for note in verify_backend(file).notes)
    file.write_text(file.read_text().replace("reference_strict", "controlnet"))
    verdict = verify_backend(file)
    assert not verdict.faults
    assert any("conditioning_type controlnet ends SDXL's training" in note for note in verdict.notes)


def test_several_companions_need_a_later_simpletuner(emitted):
    file, emission = emitted("simpletuner", "flux", ("control", "depth"))
    assert any("several companions" in need for need in emission.needs)
    assert any("several companions" in note for note in verify_backend(file).notes)
    assert not any("several companions" in need for need in emitted("simpletuner", "flux", ("control",))[1].needs)


def test_kohya_stops_at_a_condition_of_no_picture_and_knows_no_alpha_mask_beside_one(emitted):
    file, emission = emitted("kohya", None, ("mask",))
    shutil.copy(emission.views[1].folder / "a.png", emission.views[1].folder / "z.png")
    assert any(fault.path == "z.png" and "the trainer stops" in fault.problem for fault in verify_backend(file).faults)
    (emission.views[1].folder / "z.png").unlink()
    file.write_text(file.read_text().replace("conditioning_data_dir", "alpha_mask = false\nconditioning_data_dir"))
    assert any("alpha_mask" in fault.problem for fault in verify_backend(file).faults)


@pytest.mark.parametrize(
    ("name", "family", "given", "said"),
    [
        ("kohya", None, ("mask", "control"), "either a mask or"),
        ("kohya", None, (), "takes 1 of control, depth"),
        ("kohya", "sd3", ("control",), "takes no pictures to condition on"),
        ("diffusion-pipe", None, ("control", "depth"), "takes 1 of control, depth"),
        ("musubi", "flux-kontext", ("none",), "needs a picture for each"),
        ("musubi", None, ("mask",), "takes no masks"),
        ("simpletuner", None, (), "either a mask or"),
        ("simpletuner", None, ("pose",), "the datasets have control, depth, mask"),
    ],
)
def test_what_a_trainer_does_not_take_is_refused_by_name(emitted, name, family, given, said):
    with pytest.raises(ValueError, match=said):
        emitted(name, family, given)


def test_what_nobody_asked_for_is_left_out_with_a_note(emitted):
    _, emission = emitted("musubi")
    assert any("takes no masks" in note for note in emission.notes)
    assert len(emission.views) == 1
    assert any("diffusers takes no masks" in note for note in emitted("diffusers")[1].notes)


@pytest.mark.parametrize("name", ["kohya", "musubi", "onetrainer", "ai-toolkit", "diffusion-pipe", "simpletuner", "diffusers"])
def test_all_can_be_left_out(emitted, name):
    _, emission = emitted(name, None, ("none",))
    assert len(emission.views) == (2 if name == "onetrainer" else 1)
    assert not any(path.stem.endswith("label") for view in emission.views for path in view.folder.iterdir())


def test_a_picture_without_one_is_refused_where_the_trainer_stops(dataset, emitted, tmp_path):
    folder = tmp_path / "some"
    shutil.copytree(dataset, folder)
    records = list(read_manifest(folder))
    (folder / records[0].companions[-1].output).unlink()
    records[0] = msgspec.structs.replace(records[0], companions=records[0].companions[:-1])
    (folder / "manifest.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    with pytest.raises(ValueError, match=r"1 picture of .* without a mask: a.png.* stops there"):
        emitted("kohya", None, ("mask",), folder)
    with pytest.raises(
        ValueError, match=r"without a mask: a.png: ai-toolkit takes it for masked all over where its batch has a mask"
    ):
        emit_backend([folder], tmp_path / "cache", BackendOptions("ai-toolkit", None, batch_size=2, companions=("mask",)))
    job, _ = emitted("ai-toolkit", None, ("mask",), folder)
    assert not verify_backend(job).faults
    job.write_text(job.read_text().replace("batch_size: 1", "batch_size: 2"))
    (fault,) = verify_backend(job).faults
    assert "no companion in mask_path: ai-toolkit takes it for masked all over" in fault.problem
    file, emission = emitted("diffusion-pipe", None, ("mask",), folder)
    assert any("without a mask: a.png, trained without" in note for note in emission.notes)
    verdict = verify_backend(file)
    assert not verdict.faults
    assert any("without a companion in mask_path" in note for note in verdict.notes)


def test_the_content_of_a_mask_is_part_of_the_dataset_and_of_its_check(dataset, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(dataset, folder)
    concept = read_concept(folder)

    def findings():
        files = list_files(folder)
        return [(each.kind, each.path) for each in check_dataset(concept, files, look_at_all(folder, files), trainer("kohya"))]

    assert findings() == []
    records = [msgspec.structs.replace(record, companions=()) for record in concept.records]
    assert content_hash(records) != content_hash(concept.records)
    Image.new("L", (1216, 832)).save(folder / "companions/mask/a.png")
    Image.new("L", (640, 640)).save(folder / "companions/depth/a.png")
    (folder / "companions/control/a.png").unlink()
    assert findings() == [
        ("companion-missing", "companions/control/a.png"),
        ("companion-changed", "companions/depth/a.png"),
        ("companion-size", "companions/depth/a.png"),
        ("companion-changed", "companions/mask/a.png"),
    ]


def test_a_dataset_whose_mask_was_edited_is_named_by_what_was_written_before(dataset, emitted, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(dataset, folder)
    file, _ = emitted("diffusion-pipe", None, ("mask",), folder)
    (folder / "companions/mask/a.png").unlink()
    Image.new("L", (1216, 832)).save(folder / "companions/mask/a.png")
    assert any("changed by hand" in fault.problem for fault in verify_backend(file).faults)


def test_copies_are_given_with_their_masks(dataset, emitted, tmp_path):
    report = shuffle_folder(dataset, tmp_path / "copies", ShuffleOptions(repeats=2, augment={"rotate": 8.0}))
    assert report.exit_code == 0
    file, _ = emitted("ai-toolkit", None, ("mask", "control"), tmp_path / "copies")
    verdict = verify_backend(file)
    assert not verdict.faults
    assert sum(verdict.pictures.values()) == 12
