"""What is changed after SimpleTuner scanned a dataset is caught by verify, or said to be beyond proof."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest

from datakit.audit.concept import read_concept
from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.trainers.backend import verify_backend
from datakit.trainers.simpletuner.backend import emit, to_json
from tests.trainers.conftest import draw

SIZES = {"p00": Size(1024, 1024), "p01": Size(1024, 1024), "p02": Size(1216, 832)}
BUCKETS = {Size(1024, 1024): "1.0", Size(1216, 832): "1.46"}
BEFORE, SCANNED = 1_700_000_000, 1_700_000_100


@pytest.fixture
def scanned(make_dataset, tmp_path):
    """Return a function that gives a folder of three pictures, scanned and cached by the trainer, and its config."""

    def make(hashed=True, manifest=True, plain_stems=False):
        folder = make_dataset(buckets=list(SIZES.values()))
        for path in folder.iterdir():
            os.utime(path, (BEFORE, BEFORE))
        (entry, text) = json.loads(to_json(emit([read_concept(folder)], tmp_path / "cache")))
        if not hashed:
            entry |= {"id": "fantasy", "cache_dir_vae": str(tmp_path / "cache" / "vae" / "sd3" / "fantasy")}
        if not manifest:
            for name in ("manifest.jsonl", "metadata.jsonl"):
                (folder / name).unlink()
        scan(folder, entry, plain_stems)
        config = tmp_path / "multidatabackend.json"
        config.write_text(json.dumps([entry, text]))
        return folder, config

    return make


def scan(folder, entry, plain_stems=False):
    """Write what the trainer writes when it starts; newer versions hash the stems of latents."""
    latents = folder.parent / entry["cache_dir_vae"]
    latents.mkdir(parents=True, exist_ok=True)
    buckets, metadata = {}, {}
    for stem, size in SIZES.items():
        path = str(folder / f"{stem}.jpg")
        buckets.setdefault(BUCKETS[size], []).append(path)
        metadata[path] = {
            "original_size": list(size),
            "target_size": list(size),
            # The commit of October 2024 writes what it would resize to, and does not.
            "intermediary_size": [size.width, size.height + 1],
            "crop_coordinates": [0, 0],
            "aspect_ratio": float(BUCKETS[size]),
            "luminance": 127.5,
        }
        cached = latents / f"{stem if plain_stems else hashlib.sha256(stem.encode()).hexdigest()}.pt"
        cached.write_bytes(b"latents")
        os.utime(cached, (SCANNED, SCANNED))
    index = {"config": {"crop": True}, "aspect_ratio_bucket_indices": buckets}
    (folder / f"aspect_ratio_bucket_indices_{entry['id']}.json").write_text(json.dumps(index))
    (folder / f"aspect_ratio_bucket_metadata_{entry['id']}.json").write_text(json.dumps(metadata))


def keep_date(path):
    os.utime(path, (BEFORE, BEFORE))


def delete_picture(folder):
    (folder / "p00.jpg").unlink()


def delete_both(folder):
    for name in ("p00.jpg", "p00.txt"):
        (folder / name).unlink()


def swap_pictures_of_two_sizes(folder):
    swap(folder, "p00.jpg", "p02.jpg")


def swap_pictures_of_one_size(folder):
    swap(folder, "p00.jpg", "p01.jpg")


def edit_picture(folder):
    draw(folder / "p00.jpg", SIZES["p00"], 99)


def edit_picture_and_keep_its_date(folder):
    edit_picture(folder)
    keep_date(folder / "p00.jpg")


def resize_picture(folder):
    draw(folder / "p00.jpg", Size(1152, 896), 0)
    keep_date(folder / "p00.jpg")


def rename_picture_and_caption(folder):
    for ending in ("jpg", "txt"):
        (folder / f"p00.{ending}").rename(folder / f"q.{ending}")


def rename_picture(folder):
    (folder / "p00.jpg").rename(folder / "q.jpg")


def add_picture_and_caption(folder):
    for ending in ("jpg", "txt"):
        shutil.copy2(folder / f"p00.{ending}", folder / f"q.{ending}")


def delete_caption(folder):
    (folder / "p00.txt").unlink()


def empty_caption(folder):
    (folder / "p00.txt").write_bytes(b"\n")


def swap_captions(folder):
    swap(folder, "p00.txt", "p01.txt")


def edit_caption(folder):
    (folder / "p00.txt").write_text("by hand")


def rename_caption(folder):
    (folder / "p00.txt").rename(folder / "q.txt")


def add_caption(folder):
    (folder / "q.txt").write_text("of no picture")


def swap(folder, one, other):
    (folder / one).rename(folder / "aside")
    (folder / other).rename(folder / one)
    (folder / "aside").rename(folder / other)


# What only a hash can tell of a folder without a manifest.
UNTOLD = [swap_pictures_of_one_size, edit_picture_and_keep_its_date, swap_captions, edit_caption, add_caption]
MUTATIONS = [
    *(delete_picture, delete_both, swap_pictures_of_two_sizes, edit_picture, resize_picture, rename_picture_and_caption),
    *(rename_picture, add_picture_and_caption, delete_caption, empty_caption, rename_caption, *UNTOLD),
]


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("manifest", [True, False])
@pytest.mark.parametrize("mutate", [None, *MUTATIONS])
def test_what_is_changed_after_the_scan_is_caught_or_said_to_be_beyond_proof(scanned, mutate, manifest, hashed):
    folder, config = scanned(hashed, manifest)
    if mutate is not None:
        mutate(folder)
    verdict = verify_backend(config)
    beyond = any("beyond proof" in note for note in verdict.notes)
    assert beyond == (not (hashed and manifest))
    told = manifest or mutate not in UNTOLD
    assert bool(verdict.faults) == (mutate is not None and told), verdict


def test_a_crop_anew_under_an_id_without_a_hash_is_not_proved(scanned):
    folder, config = scanned(hashed=False, manifest=False)
    resize_picture(folder)
    (fault,) = verify_backend(config).faults
    assert (fault.path, fault.problem) == ("p00.jpg", "not what the trainer scanned under this name")
    assert fault.detail == "1024x1024 then, 1152x896 now"
    assert "latents in" in fault.remedy


@pytest.mark.parametrize(
    ("key", "value", "detail"),
    [
        ("target_size", [832, 1216], "cropped to 832x1216 then, to 1024x1024 now"),
        ("crop_coordinates", [0, 64], "cropped from (0, 64) then, from the corner now"),
    ],
)
def test_a_scan_made_for_another_entry_is_named(scanned, key, value, detail):
    folder, config = scanned(hashed=False)
    metadata = folder / "aspect_ratio_bucket_metadata_fantasy.json"
    seen = json.loads(metadata.read_text())
    seen[str(folder / "p00.jpg")][key] = value
    metadata.write_text(json.dumps(seen))
    assert [(fault.path, fault.detail) for fault in verify_backend(config).faults] == [("p00.jpg", detail)]


def test_a_scan_that_cannot_be_read_is_an_error(scanned):
    folder, config = scanned()
    (metadata,) = folder.glob("aspect_ratio_bucket_metadata_*.json")
    metadata.write_text('{"p00.jpg": {"target_size": "wide"}}')
    with pytest.raises(UsageError, match="wait until it has written them"):
        verify_backend(config)


def test_a_picture_in_another_bucket_than_its_own_is_named(scanned):
    folder, config = scanned()
    (index,) = folder.glob("aspect_ratio_bucket_indices_*.json")
    index.write_text(index.read_text().replace('"1.46"', '"1.29"'))
    (fault,) = verify_backend(config).faults
    assert (fault.path, fault.detail) == ("p02.jpg", "in bucket 1.29 then, in 1.46 now")


@pytest.mark.parametrize("plain_stems", [True, False])
def test_latents_older_than_their_picture_are_named(scanned, plain_stems):
    folder, config = scanned(hashed=False, plain_stems=plain_stems)
    os.utime(folder / "p01.jpg")
    (fault,) = verify_backend(config).faults
    assert (fault.path, fault.problem) == (
        "p01.jpg",
        "its latents are older than the picture, and the trainer goes on using them",
    )


def test_latents_outlive_a_scan_that_was_deleted(scanned):
    folder, config = scanned(hashed=False, manifest=False)
    edit_picture(folder)
    for path in folder.glob("aspect_ratio_bucket_*"):
        path.unlink()
    assert [fault.path for fault in verify_backend(config).faults] == ["p00.jpg"]


def test_latents_of_the_same_content_written_again_are_only_noted(scanned):
    folder, config = scanned()
    os.utime(folder / "p01.jpg")
    verdict = verify_backend(config)
    assert verdict.faults == []
    assert any("1 picture written after the latents" in note and "p01.jpg" in note for note in verdict.notes)


def test_a_file_that_is_gone_is_named_once(scanned):
    folder, config = scanned()
    delete_both(folder)
    assert [fault.path for fault in verify_backend(config).faults] == ["p00.jpg"]
    for name in ("manifest.jsonl", "metadata.jsonl"):
        (folder / name).unlink()
    (fault,) = verify_backend(config).faults
    assert (fault.path, fault.problem) == ("p00.jpg", "the trainer holds it, but it is gone from the dataset")


def test_a_picture_that_the_trainer_lost_is_named_once_and_in_english(scanned):
    folder, config = scanned(manifest=False)
    add_picture_and_caption(folder)
    (fault,) = verify_backend(config).faults
    assert (fault.path, fault.problem) == ("q.jpg", "the trainer put it into no bucket and read no size of it")
