"""verify: any dataset config, before and after the trainer has started."""

from __future__ import annotations

import json

import pytest

from datakit.audit.concept import read_concept
from datakit.errors import UsageError
from datakit.trainers.backend import emit_backend, verify_backend
from datakit.trainers.simpletuner.backend import emit, to_json
from tests.conftest import BUCKETS


@pytest.fixture
def config(make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:4])
    path = tmp_path / "multidatabackend.json"
    path.write_bytes(to_json(emit([read_concept(folder)], tmp_path / "cache")))
    return path


def change(path, **keys):
    entries = json.loads(path.read_text())
    entries[0] |= keys
    path.write_text(json.dumps([{key: value for key, value in entry.items() if value is not None} for entry in entries]))
    return verify_backend(path)


def faults(verdict):
    return [(fault.path, fault.problem) for fault in verdict.faults]


def test_the_emission_is_proved(config):
    verdict = verify_backend(config)
    assert verdict.faults == []
    (name,) = verdict.pictures
    assert verdict.buckets[name] == {"1.0": 1, "1.29": 1, "0.78": 1, "1.46": 1}


def test_the_recipes_own_entry_is_not_proved_for_the_release_it_pins(config):
    verdict = change(config, crop=False, minimum_image_size=1.0, maximum_image_size=1.0, target_downsample_size=1.0)
    assert [path for path, _ in faults(verdict)] == ["p01.jpg", "p02.jpg", "p03.jpg"]
    assert verify_backend(config, ["current"]).faults == []


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"instance_data_dir": "out"}, "is relative"),
        ({"instance_data_dir": "/nowhere/at/all"}, "is not there"),
        ({"resolution": None}, "global options"),
        ({"resolution_type": "pixel_area"}, "use area"),
        ({"crop_aspect": "random"}, "use preserve"),
        ({"minimum_image_size": 1.04}, "dropped as too small"),
        ({"minimum_image_size": 6}, "0 to 5 (megapixels)"),
        ({"maximum_image_size": 2}, "needs target_downsample_size"),
        ({"maximum_image_size": 1024, "target_downsample_size": 2048}, "less than 20"),
        ({"only_instance_prompt": True}, "need an instance_prompt"),
        ({"skip_file_discovery": "vae,aspect"}, "stops without that step"),
        ({"disable_vae_cache": True}, "stops at the first batch"),
        ({"resolution": 0}, "is no size"),
        ({"probability": 0.0}, "probability 0: SimpleTuner 4.8 draws nothing from it"),
        ({"probability": -1}, "give more than 0"),
        ({"repeats": -1}, "use 0 or more"),
        ({"max_num_samples": 3}, "leave out 1 picture"),
        ({"metadata_backend": "parquet"}, "takes pictures and sizes from elsewhere"),
    ],
)
def test_what_cannot_be_proved_is_named(config, keys, problem):
    assert any(problem in text for _, text in faults(change(config, **keys)))


def test_keys_left_to_global_options_are_noted(config):
    verdict = change(config, minimum_image_size=None)
    assert verdict.faults == []
    assert "minimum_image_size not set" in verdict.notes[0]


@pytest.mark.parametrize(("repeats", "told"), [(1, ["2 times an epoch"]), (0, []), (None, [])])
def test_repeats_in_an_entry_are_told(config, repeats, told):
    verdict = change(config, repeats=repeats, probability=0.5)
    assert verdict.faults == []
    assert [words for words in ["2 times an epoch"] if any(words in note for note in verdict.notes)] == told


@pytest.mark.parametrize(("name", "proved"), [("fantasy-20241015", True), ("fantasy-1234abcd", False)])
def test_an_id_that_ends_in_a_date_holds_no_content_hash(config, name, proved):
    assert (change(config, id=name).faults == []) == proved


def test_files_that_the_trainer_does_not_take_are_named(config, tmp_path):
    folder = tmp_path / "out"
    (folder / "p00.jpg").rename(folder / "p00.JPG")
    (folder / "p01.jpg").write_bytes(b"x")
    (folder / "p02.txt").unlink()
    found = faults(verify_backend(config))
    assert ("p00.JPG", "an extension that the trainer does not see") in found
    assert ("p02.jpg", "no caption") in found
    assert {path for path, _ in found} == {"p00.JPG", "p00.jpg", "p01.jpg", "p02.jpg"}


def test_limits_of_the_aspect_drop_pictures_by_name(config):
    verdict = change(config, minimum_aspect_ratio=0.8, maximum_aspect_ratio=1.3)
    assert faults(verdict) == [
        (
            "p02.jpg",
            "896x1152 is dropped as too narrow (aspect 0.78, minimum_aspect_ratio 0.8) by SimpleTuner current and 2024-10",
        ),
        ("p03.jpg", "1216x832 is dropped as too wide (aspect 1.46, maximum_aspect_ratio 1.3) by SimpleTuner current and 2024-10"),
    ]
    assert change(config, minimum_aspect_ratio=0, maximum_aspect_ratio=0).faults == []


def test_a_truncated_picture_is_a_fault_though_its_header_is_whole(config, tmp_path):
    picture = tmp_path / "out" / "p01.jpg"
    picture.write_bytes(picture.read_bytes()[: picture.stat().st_size // 2])
    ((path, problem),) = faults(verify_backend(config))
    assert path == "p01.jpg"
    assert "damaged" in problem


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\xef\xbb\xbfa, b", "a byte order mark"),
        (b"a\r\nb", "carriage returns"),
        ("caf\xe9".encode("cp1252"), "an encoding other than UTF-8"),
        (b"\n", "training stops at it"),
        (b"", "trained without one"),
    ],
)
def test_captions_are_checked_as_backend_does(config, tmp_path, data, problem):
    (tmp_path / "out" / "p01.txt").write_bytes(data)
    assert [(path, problem in text) for path, text in faults(verify_backend(config))] == [("p01.txt", True)]


def test_a_folder_without_a_manifest_is_checked_too(config, tmp_path):
    folder = tmp_path / "out"
    for name in ("manifest.jsonl", "metadata.jsonl"):
        (folder / name).unlink()
    assert verify_backend(config).faults == []
    (folder / "p00.txt").write_bytes(b"")
    (folder / "p01.txt").write_bytes(b"a\r\n")
    (folder / "p02.jpg").write_bytes((folder / "p02.jpg").read_bytes()[:3000])
    (folder / "clip.gif").write_bytes(b"GIF89a")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.ppm").write_bytes(b"P6 1 1 255 abc")
    (folder / "p03.png").write_bytes((folder / "p03.jpg").read_bytes())
    verdict = verify_backend(config)
    assert [path for path, _ in faults(verdict)] == [".hidden/x.ppm", "clip.gif", "p01.txt", "p02.jpg", "p03.jpg"]
    assert any("1 pictures have an empty caption file" in note for note in verdict.notes)


def test_an_unfinished_run_is_a_fault(config, tmp_path):
    (tmp_path / "out" / ".datakit" / "tmp" / "x").write_bytes(b"x")
    assert faults(verify_backend(config)) == [(".datakit", "an interrupted run")]


def test_a_disabled_entry_is_noted_and_none_left_is_an_error(config):
    first, text = json.loads(config.read_text())
    config.write_text(json.dumps([first, first | {"id": "other", "cache_dir_vae": "/x", "disable": True}, text]))
    verdict = verify_backend(config)
    assert verdict.faults == []
    assert "other is disabled: the trainer leaves it out" in verdict.notes
    config.write_text(json.dumps([first | {"disabled": True}, text]))
    with pytest.raises(UsageError, match="no enabled"):
        verify_backend(config)


def test_an_entry_without_pictures_is_a_fault(config, tmp_path):
    (tmp_path / "empty").mkdir()
    assert any("holds no picture" in text for _, text in faults(change(config, instance_data_dir=str(tmp_path / "empty"))))


def test_a_file_that_the_trainer_refuses_as_a_whole(config, tmp_path):
    first, text = json.loads(config.read_text())
    inside = str(tmp_path / "out" / "vae")
    second = first | {"id": "other", "text_embeds": "nowhere"}
    config.write_text(json.dumps([first | {"cache_dir_vae": inside}, second | {"cache_dir_vae": inside}, text]))
    words = " ".join(text for _, text in faults(verify_backend(config)))
    for expected in ("is another entry's too", "'nowhere' is no text_embeds entry", "lies inside the dataset"):
        assert expected in words
    config.write_text(json.dumps([first, first, text]))
    assert "2 entries have this id" in faults(verify_backend(config))[0][1]


def test_what_the_trainer_lost_is_named(config, tmp_path):
    folder = tmp_path / "out"
    name = json.loads(config.read_text())[0]["id"]
    kept = [str(folder / f"p0{number}.jpg") for number in (0, 1, 3)]
    index = folder / f"aspect_ratio_bucket_indices_{name}.json"
    index.write_text(
        json.dumps({"config": {}, "aspect_ratio_bucket_indices": {"1.0": kept[:1], "1.29": kept[1:2], "1.46": kept[2:]}})
    )
    metadata = folder / f"aspect_ratio_bucket_metadata_{name}.json"
    metadata.write_text(json.dumps({path: {} for path in [*kept, str(folder / "p02.jpg"), str(folder / "gone.jpg")]}))
    verdict = verify_backend(config)
    assert [path for path, _ in faults(verdict)] == ["p02.jpg", "gone.jpg"]
    assert verdict.notes == []
    index.write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        verify_backend(config)


@pytest.mark.parametrize("text", ["", "{}", '[{"id": 3}]', '[{"id": "x", "crop": "False"}]', "[]"])
def test_files_of_another_shape_are_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UsageError):
        verify_backend(path)


@pytest.mark.parametrize("name", ["{id}", "{model_family}-x", "a{env:HOME}"])
def test_a_path_in_which_the_trainer_fills_something_in_is_not_proved(make_dataset, tmp_path, name):
    (tmp_path / name).mkdir()
    folder = make_dataset(f"{name}/out", BUCKETS[:4])
    emission = emit_backend([folder], tmp_path / "cache")
    assert emission.content is None
    assert "puts something else in place of {" in emission.changed[0]
    with pytest.raises(UsageError, match="puts something else in place of"):
        emit_backend([make_dataset("plain", BUCKETS[:4])], tmp_path / name / "cache")
    path = tmp_path / "multidatabackend.json"
    path.write_bytes(to_json(emit([read_concept(folder)], tmp_path / "cache")))
    assert any("puts something else in place of {" in problem for _, problem in faults(verify_backend(path)))


def test_latents_below_a_path_that_the_trainer_fills_in_are_said_to_be_unseen(config):
    verdict = change(config, cache_dir_vae="/cache/{model_family}")
    assert verdict.faults == []
    assert any("its latents were not looked at" in note for note in verdict.notes)


def test_limits_that_leave_nothing_out_are_no_fault_and_parts_of_a_training_are_told(config):
    verdict = change(config, max_num_samples=4, start_epoch=1, end_step=0)
    assert (verdict.faults, len(verdict.notes)) == ([], 1)
    assert any(
        "start_epoch 3, end_step 9: current releases show" in note for note in change(config, start_epoch=3, end_step=9).notes
    )


def test_entries_of_other_kinds_and_filtered_captions_are_told(config):
    image, text = json.loads(config.read_text())
    other = {"id": "masks", "type": "local", "dataset_type": "conditioning", "instance_data_dir": "/masks"}
    judged = other | {"id": "judged", "dataset_type": "eval"}
    config.write_text(json.dumps([image, text | {"caption_filter_list": ["blurry"]}, other, judged]))
    verdict = verify_backend(config)
    assert verdict.faults == []
    assert "judged: a dataset of type eval is not looked at" in verdict.notes
    assert any(note.startswith("masks: a conditioning dataset that no") for note in verdict.notes)
    assert any("caption_filter_list changes the captions" in note for note in verdict.notes)
