"""What each version of SimpleTuner lists in a dataset folder, and what backend, check and verify make of it."""

from __future__ import annotations

import pytest

from datakit.audit.concept import read_concept
from datakit.trainers.backend import emit_backend, verify_backend
from datakit.trainers.simpletuner.backend import emit, to_json
from datakit.trainers.simpletuner.reading import LISTINGS, Reading
from tests.conftest import BUCKETS
from tests.trainers.conftest import findings_of


@pytest.mark.parametrize(
    ("name", "recipe", "three", "four"),
    [
        ("a.jpg", "picture", "picture", "picture"),
        ("a.JPG", "", "", "picture"),
        ("a.tif", "picture", "picture", "picture"),
        ("a.avif", "", "picture", "picture"),
        ("a.jxl", "", "picture", "picture"),
        ("a.gif", "", "video", "picture"),
        ("a.mp4", "", "video", "video"),
        ("a.mpg", "", "picture", "video"),
        *((f"a.{ending}", "", "", "video") for ending in ("mkv", "wmv", "m4v", "flv", "3gp", "ogv")),
        *((f"a.{ending}", "", "", "audio") for ending in ("mp3", "wav", "flac", "ogg", "m4a", "opus", "aiff")),
        ("A.MP3", "", "", "audio"),
        ("a.txt", "", "", ""),
        ("a", "", "", ""),
    ],
)
def test_what_each_version_lists(name, recipe, three, four):
    assert [LISTINGS[version].takes(name) for version in ("2024-10", "3.1.6", "4.8")] == [recipe, three, four]


def test_releases_together_take_what_any_takes_and_name_those_that_do_not():
    both = Reading()
    assert [both.takes(name) for name in ("a.jpg", "a.gif", "a.MP3", "a.txt")] == ["picture", "video", "audio", ""]
    assert both.unseen_by("a.jpg") == ""
    assert both.unseen_by("a.JPG") == "SimpleTuner 2024-10 and 3.1.6"
    assert Reading(["2024-10"]).takes("a.mp4") == ""
    assert Reading(["current"]).unseen_by("a.avif") == ""


@pytest.mark.parametrize("manifest", [True, False])
@pytest.mark.parametrize(
    "name",
    ["song.mp3", "a.wav", "a.flac", "a.ogg", "a.mkv", "a.wmv", "a.m4v", "a.flv", "a.3gp", "a.mp4", "LOUD.MP3", ".cache/a.MKV"],
)
def test_audio_and_video_beside_the_pictures_are_refused_by_all_that_stop_at_them(make_dataset, tmp_path, name, manifest):
    folder = make_dataset(buckets=BUCKETS[:2])
    config = tmp_path / "multidatabackend.json"
    config.write_bytes(to_json(emit([read_concept(folder)], tmp_path / "cache")))
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    if manifest:
        emission = emit_backend([folder], tmp_path / "cache")
        assert emission.content is None
        assert [finding.path for _, finding in emission.findings] == [name]
        (finding,) = findings_of(folder)
        assert "the trainer would take it for " in finding.problem
    else:
        for each in ("manifest.jsonl", "metadata.jsonl"):
            (folder / each).unlink()
    verdict = verify_backend(config)
    assert [fault.path for fault in verdict.faults] == [name]
    assert list(verdict.pictures.values()) == [2]
    assert verify_backend(config, ["2024-10"]).faults == []


def test_a_picture_in_upper_case_is_one_that_only_some_releases_see(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    (folder / "p00.jpg").rename(folder / "p00.JPG")
    unseen = [finding for finding in findings_of(folder) if finding.kind == "extension"]
    assert [(finding.path, finding.detail) for finding in unseen] == [("p00.JPG", "SimpleTuner 2024-10 and 3.1.6")]
