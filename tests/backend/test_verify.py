"""verify: any dataset config, before and after the trainer has started."""

from __future__ import annotations

import json

import pytest

from datakit.backend.concept import read_concept
from datakit.backend.simpletuner import emit, to_json
from datakit.backend.verify import verify_config
from datakit.buckets import BUCKETS
from datakit.errors import UsageError


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
    return verify_config(path)


def faults(verdict):
    return [(fault.path, fault.problem) for fault in verdict.faults]


def test_the_emission_is_proved(config):
    verdict = verify_config(config)
    assert verdict.faults == []
    (name,) = verdict.pictures
    assert verdict.buckets[name] == {"1.0": 1, "1.29": 1, "0.78": 1, "1.46": 1}


def test_the_recipes_own_entry_is_not_proved_for_the_release_it_pins(config):
    verdict = change(config, crop=False, minimum_image_size=1.0, maximum_image_size=1.0, target_downsample_size=1.0)
    assert [path for path, _ in faults(verdict)] == ["p01.jpg", "p02.jpg", "p03.jpg"]
    assert verify_config(config, ["current"]).faults == []


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"instance_data_dir": "out"}, "is relative"),
        ({"instance_data_dir": "/nowhere/at/all"}, "is not there"),
        ({"resolution": None}, "global options"),
        ({"resolution_type": "pixel_area"}, "use area"),
        ({"crop_aspect": "random"}, "use preserve"),
        ({"minimum_image_size": 1.04}, "dropped as too small"),
    ],
)
def test_what_cannot_be_proved_is_named(config, keys, problem):
    assert any(problem in text for _, text in faults(change(config, **keys)))


def test_keys_left_to_global_options_are_noted(config):
    verdict = change(config, minimum_image_size=None)
    assert verdict.faults == []
    assert "minimum_image_size not set" in verdict.notes[0]


def test_files_that_the_trainer_does_not_take_are_named(config, tmp_path):
    folder = tmp_path / "out"
    (folder / "p00.jpg").rename(folder / "p00.JPG")
    (folder / "p01.jpg").write_bytes(b"x")
    (folder / "p02.txt").unlink()
    assert [path for path, _ in faults(verify_config(config))] == ["p00.JPG", "p01.jpg", "p02.jpg"]


def test_what_the_trainer_lost_is_named(config, tmp_path):
    folder = tmp_path / "out"
    name = json.loads(config.read_text())[0]["id"]
    kept = [str(folder / f"p0{number}.jpg") for number in (0, 1, 3)]
    index = folder / f"aspect_ratio_bucket_indices_{name}.json"
    index.write_text(json.dumps({"config": {}, "aspect_ratio_bucket_indices": {"1.0": kept[:1], "1.29": kept[1:]}}))
    metadata = folder / f"aspect_ratio_bucket_metadata_{name}.json"
    metadata.write_text(json.dumps({path: {} for path in [*kept, str(folder / "p02.jpg"), str(folder / "gone.jpg")]}))
    verdict = verify_config(config)
    assert [path for path, _ in faults(verdict)] == ["p02.jpg", "gone.jpg"]
    assert verdict.notes == []
    index.write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        verify_config(config)


@pytest.mark.parametrize("text", ["", "{}", '[{"id": 3}]', '[{"id": "x", "crop": "False"}]', "[]"])
def test_files_of_another_shape_are_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UsageError):
        verify_config(path)
