"""What the trainer left under other ids is named for what it is, with its size, and deleted with --prune only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from datakit.audit.concept import content_hash, hash_in, read_concept
from datakit.cli.backend import backend
from datakit.errors import UsageError
from datakit.trainers.backend import emit_backend, find_leftovers
from datakit.trainers.protocol import BackendOptions
from tests.conftest import BUCKETS
from tests.trainers.conftest import findings_of


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs `datakit backend` on a folder, with caches beside it, and gives what it says."""
    monkeypatch.chdir(tmp_path)

    def run(folder, *options, exit_code=0):
        result = CliRunner().invoke(backend, [str(folder), "--cache-root", "cache", *options], catch_exceptions=False)
        assert result.exit_code == exit_code, result.output
        return result.stderr

    return run


def train(folder):
    """Leave what a training with the config of now leaves, and return the id of its entry."""
    entry, text = json.loads(Path("multidatabackend.json").read_text())
    for kind in ("indices", "metadata"):
        (folder / f"aspect_ratio_bucket_{kind}_{entry['id']}.json").write_text("{}")
    for cache in (entry["cache_dir_vae"], text["cache_dir"]):
        Path(cache).mkdir(parents=True, exist_ok=True)
        (Path(cache) / "p00.pt").write_bytes(bytes(1_500_000))
    return entry["id"]


def caches(tmp_path):
    return {path.name for path in (tmp_path / "cache").glob("*/*/*")}


def test_another_id_of_the_same_content_is_said_to_be_that_and_pruned(run, make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:1])
    run(folder, "--id", "first")
    old = train(folder)
    said = run(folder, "--id", "second", exit_code=1)
    assert f"the trainer's scan of the dataset as {old!r}, of the same content" in said
    assert "run `datakit backend` with --prune" in said
    assert f"cache/vae/sd3/{old}: latents of first, of the same content, 1.5 MB: --prune deletes it" in said
    assert old in caches(tmp_path)
    said = run(folder, "--id", "second", "--prune")
    assert said.count("deleted ") == 3
    assert list(folder.glob("aspect_ratio_bucket_*")) == []
    # The captions are the same, and so is the cache of their embeddings.
    (text,) = caches(tmp_path)
    assert text.startswith("text-sd3-")


def test_caches_of_an_earlier_content_are_named_with_their_size_and_pruned(run, make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:1])
    run(folder)
    old = train(folder)
    (folder / "p00.txt").write_text("another caption")
    said = run(folder, "--fix", "--prune")
    assert f"vae/sd3/{old}: latents of out, of another content" in said
    assert "text embeddings of other captions" in said
    assert caches(tmp_path) == set()
    assert findings_of(folder) == []


def test_what_has_no_id_of_datakits_form_or_is_of_other_datasets_stays(run, make_dataset, tmp_path):
    folder, other = make_dataset("fantasy", BUCKETS[:1]), make_dataset("style", BUCKETS[1:2])
    for dataset in (other, folder):
        run(dataset)
        train(dataset)
    mine = caches(tmp_path)
    linked = f"fantasy-{'a' * 8}"
    for name in ("fantasy", "fantasy-20241015"):
        (tmp_path / "cache" / "vae" / "sd3" / name).mkdir()
    (tmp_path / "cache" / "vae" / "sd3" / linked).symlink_to(folder)
    said = run(folder, "--prune")
    assert "deleted" not in said
    assert "latents under the id fantasy-20241015, 0.0 MB: not of the form that datakit gives" in said
    assert "style" not in said
    assert caches(tmp_path) == mine | {"fantasy", "fantasy-20241015", linked}


def test_a_cache_is_known_by_the_id_that_the_trainer_scanned_the_dataset_under(run, make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:1])
    for name in ("portraits", "portraits-1234abcd"):
        (folder / f"aspect_ratio_bucket_indices_{name}.json").write_text("{}")
        (tmp_path / "cache" / "vae" / "sd3" / name).mkdir(parents=True)
    said = run(folder, exit_code=1)
    assert "portraits: latents under the id portraits, 0.0 MB: not of the form" in said
    assert "portraits-1234abcd: latents of portraits, of another content, 0.0 MB: --prune deletes it" in said
    run(folder, "--prune")
    assert caches(tmp_path) == {"portraits"}


def test_two_entries_of_one_folder_leave_each_other_alone(make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:1])
    options = BackendOptions(names=("one", "two"))
    emission = emit_backend([folder, folder], tmp_path / "cache", options)
    for name, _ in emission.entries:
        (folder / f"aspect_ratio_bucket_indices_{name}.json").write_text("{}")
    assert find_leftovers([folder, folder], tmp_path / "cache", options) == ([], [])
    assert emit_backend([folder, folder], tmp_path / "cache", options).findings == ()


def test_a_scan_of_another_content_says_so(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1])
    for name in ("out-0000000a", "out"):
        (folder / f"aspect_ratio_bucket_metadata_{name}.json").write_text("{}")
    assert {finding.detail for finding in findings_of(folder)} == {
        "the trainer's scan of the dataset as 'out', of a content that its id does not tell",
        "the trainer's scan of the dataset as 'out-0000000a', of another content",
    }


def test_a_cache_that_cannot_be_deleted_is_named(run, make_dataset, monkeypatch):
    folder = make_dataset(buckets=BUCKETS[:1])
    run(folder, "--id", "first")
    train(folder)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(UsageError, match="cannot be deleted: Permission denied"):
        run(folder, "--id", "second", "--prune")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("out-1234abcd", "1234abcd"),
        ("fantasy-20241015", None),
        ("fantasy-15102024", None),
        ("out-1234abc", None),
        ("out", None),
    ],
)
def test_a_date_is_no_content_hash(name, found):
    assert hash_in(name) == found


def test_no_content_hash_can_be_read_as_a_date(make_dataset):
    (record,) = read_concept(make_dataset(buckets=BUCKETS[:1])).records
    hashes = [content_hash([msgspec.structs.replace(record, output_sha256=f"{number:064x}")]) for number in range(300)]
    assert {len(each) for each in hashes} == {8}
    assert not any(map(str.isdecimal, hashes))
