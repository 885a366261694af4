"""The emission: ids that follow the content, repeats, settings and their types."""

from __future__ import annotations

import json
import shutil

import msgspec
import pytest

from datakit.audit.concept import content_hash, read_concept, read_concepts
from datakit.errors import UsageError
from datakit.trainers.backend import emit_backend
from datakit.trainers.protocol import BackendOptions
from datakit.trainers.simpletuner.backend import changed_sizes, emit, to_json
from datakit.trainers.simpletuner.entry import CaptionShuffle
from datakit.trainers.simpletuner.settings import parse_settings
from tests.conftest import BUCKETS
from tests.trainers.golden_cases import CACHE, concept


def image_entries(concepts, **options):
    return [entry for entry in json.loads(to_json(emit(concepts, CACHE, **options))) if entry["dataset_type"] == "image"]


@pytest.mark.parametrize("change", [{"output_sha256": "f" * 64}, {"caption_sha256": "f" * 64}, {"output": "other.png"}])
def test_the_hash_changes_with_a_picture_a_caption_or_a_name(change):
    records = list(concept("out").records)
    before = content_hash(records)
    assert content_hash(reversed(records)) == before
    records[3] = msgspec.structs.replace(records[3], **change)
    assert content_hash(records) != before


def test_ids_and_caches_carry_the_hash_and_the_family():
    first, text = json.loads(to_json(emit([concept("out")], CACHE, "flux")))
    digest = content_hash(concept("out").records)
    assert first["id"] == f"out-{digest}"
    assert first["cache_dir_vae"] == f"/cache/vae/flux/out-{digest}"
    assert first["text_embeds"] == text["id"]
    assert text["cache_dir"] == f"/cache/text/flux/{text['id']}"


@pytest.mark.parametrize(
    ("options", "repeats", "extra"),
    [({"copies": 5}, None, None), ({}, 5, 4), ({}, None, None), ({"lines": 5}, None, 4), ({"lines": 5}, 1, None)],
)
def test_repeats_are_extra_passes_and_left_out_at_none(make_dataset, options, repeats, extra):
    folder = make_dataset(buckets=BUCKETS[:2], **options)
    assert image_entries([read_concept(folder, repeats=repeats)])[0].get("repeats") == extra


def test_copies_count_towards_the_repeats_asked_for(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1], copies=3)
    assert [read_concept(folder, repeats=times).passes for times in (3, 6)] == [1, 2]
    with pytest.raises(UsageError, match="use 3 or a multiple of it"):
        read_concept(folder, repeats=5)


def test_differing_numbers_of_captions_take_the_most_common_and_say_so(make_dataset):
    found = read_concept(make_dataset(buckets=BUCKETS[:4], lines=[5, 5, 3, 5]))
    assert found.passes == 5
    assert "1 have 3" in found.notes[1]


def test_each_concept_has_its_own_repeats(make_dataset):
    folders = [make_dataset("person", BUCKETS[:1]), make_dataset("style", BUCKETS[1:2])]
    entries = image_entries(read_concepts(folders, ["ohwx", "look"], [10, 2]))
    assert [(entry["id"].rsplit("-", 1)[0], entry["repeats"]) for entry in entries] == [("ohwx", 9), ("look", 1)]
    with pytest.raises(UsageError, match="given twice"):
        emit_backend([folders[0], folders[0]], CACHE)
    with pytest.raises(UsageError, match="3 repeats for 2 datasets"):
        read_concepts(folders, repeats=[1, 2, 3])
    with pytest.raises(UsageError, match="1 names for 2 datasets"):
        read_concepts(folders, names=["x"])


@pytest.mark.parametrize("options", [{"copies": 2}, {"lines": 2, "stage": "shuffle"}])
def test_a_shuffled_dataset_is_not_shuffled_again(make_dataset, options):
    with pytest.raises(UsageError, match="shuffled already"):
        emit([read_concept(make_dataset(buckets=BUCKETS[:1], **options))], CACHE, shuffle=CaptionShuffle(count=5))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("crop=False", "give true or false"),
        ("probability=high", "give a number more than 0 and at most 1"),
        ("probability=NaN", "give a number more than 0"),
        ("probability=Infinity", "give a number more than 0"),
        ("probability=1e999", "give a number more than 0"),
        ("probability=0", "give a number more than 0"),
        ("minimum_image_size=-1", "at least 0 and at most 16384"),
        ("vae_batch_size=2.5", "give a whole number at least 1"),
        ("vae_batch_size=0", "give a whole number at least 1"),
        ("instance_prompt=", "give some text"),
        ("probabilty=1", "did you mean probability"),
        ("repeats=3", "use --repeats"),
        ("disabled=true", "trains nothing"),
        ("disabled=false", "trains nothing"),
        ("disable_vae_cache=true", "stops at the first batch"),
        ("csv_file=a.csv", "another kind"),
        ("ignore_epochs=3", "does nothing with it"),
        ("conditioning_data=x", "by hand"),
        ("crop", "write key=value"),
        ("crop_aspect=wide", "give closest or preserve or random or square"),
        ("conditioning=3", "JSON list or object"),
    ],
)
def test_settings_of_the_wrong_kind_are_refused(setting, message):
    with pytest.raises(UsageError, match=message):
        parse_settings([setting])


def test_captions_of_several_lines_alone_are_not_shuffled(make_dataset):
    plain = read_concept(make_dataset(buckets=BUCKETS[:1], lines=3))
    (entry,) = image_entries([plain], shuffle=CaptionShuffle(count=5))
    assert entry["caption_shuffle"]["count"] == 5


def test_two_folders_that_are_one_dataset_are_named(make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:1])
    shutil.copytree(folder, tmp_path / "copy" / "out")
    with pytest.raises(UsageError, match=r"out and .*copy/out have the same name and the same content.*--repeats.*--id"):
        emit_backend([folder, tmp_path / "copy" / "out"], CACHE)
    assert len(emit(read_concepts([folder, tmp_path / "copy" / "out"], ["a", "b"]), CACHE)) == 3


@pytest.mark.parametrize("inside", ["", "cache", "deep/er/cache"])
def test_caches_inside_a_dataset_are_refused(make_dataset, tmp_path, inside):
    folder = make_dataset(buckets=BUCKETS[:1])
    (tmp_path / "link").symlink_to(folder)
    for cache in (folder / inside, tmp_path / "link" / inside):
        with pytest.raises(UsageError, match="name a folder outside it"):
            emit_backend([folder], cache)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            "maximum_aspect_ratio=1.5",
            "2 pictures of 1472x704 would be dropped as too wide (aspect 2.09, maximum_aspect_ratio 1.5) by SimpleTuner current and 2024-10",
        ),
        ("minimum_aspect_ratio=1", "2 pictures of 768x1344 would be dropped as too narrow (aspect 0.57, minimum_aspect_ratio 1)"),
        ("maximum_image_size=2", "needs target_downsample_size"),
        ("minimum_image_size=7", "0 to 5 (megapixels)"),
        ("skip_file_discovery=aspect", "stops without that step"),
        ("skip_file_discovery=text,vae", "skip_file_discovery text vae: on a dataset"),
        ("only_instance_prompt=true", "need an instance_prompt"),
        ("crop_style=face", "drops every picture"),
        ("crop_aspect=random", "crops every picture anew"),
        ("resolution_type=pixel_area", "use area"),
    ],
)
def test_settings_that_lose_pictures_or_that_the_trainer_refuses_are_named(setting, words):
    out = concept("out")
    assert any(words in sentence for sentence in changed_sizes(emit([out], CACHE, settings=[setting]), [out]))


def test_settings_keep_their_type():
    settings = ["crop=false", "probability=1", "instance_prompt=5", "instance_prompt=a=b"]
    assert parse_settings(settings) == {"crop": False, "probability": 1, "instance_prompt": "a=b"}


def test_a_setting_that_breaks_the_proof_is_named():
    out = concept("out")
    assert changed_sizes(emit([out], CACHE), [out]) == []
    changed = changed_sizes(emit([out], CACHE, settings=["resolution=0.5"]), [out])
    assert any("2 pictures of 1024x1024 would be resized" in sentence for sentence in changed)


def test_an_unknown_family_lists_the_known():
    with pytest.raises(UsageError, match="sd3 sdxl flux"):
        BackendOptions(family="sd4")


def test_a_folder_without_a_manifest_is_no_dataset(tmp_path):
    with pytest.raises(UsageError, match="datakit crop"):
        read_concept(tmp_path)
    (tmp_path / "manifest.jsonl").touch()
    with pytest.raises(UsageError, match="is empty"):
        read_concept(tmp_path)


def test_names_are_safe_in_file_names(make_dataset):
    assert read_concept(make_dataset("my pictures (ä)", BUCKETS[:1])).name == "my-pictures"
