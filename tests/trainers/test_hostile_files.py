"""Dataset files that nobody should have written: each ends in a fault or an error of datakit's own, none in a crash or a proof."""

from __future__ import annotations

import json

import pytest

from datakit import DatakitError, verify_backend
from datakit.errors import UsageError
from datakit.trainers import TRAINERS
from tests.conftest import BUCKETS

NUL = '"\\u0000"'
KOHYA = "[general]\nresolution = 1024\nenable_bucket = true\nbucket_no_upscale = true\n{}\n[[datasets]]\n[[datasets.subsets]]\nimage_dir = '{}'\n"
MUSUBI = (
    "[general]\nresolution = 1024\nenable_bucket = true\nbucket_no_upscale = true\n{}\n[[datasets]]\nimage_directory = '{}'\n"
)
JOB = "job: extension\nconfig:\n  name: a\n  process:\n  - datasets:\n    - {{folder_path: '{1}', resolution: 1024, {0}}}\n"
DIRECTORY = "{}\n[[directory]]\npath = '{}'\n"
NOBODY = f"/{'x' * 5000}"


def refused(file, trainer):
    """Return the error of a file that is refused, or its first fault."""
    try:
        return verify_backend(file, trainer=trainer).faults[0].problem
    except DatakitError as error:
        return str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (KOHYA.format(f"caption_extension = {NUL}", "FOLDER"), "cannot be read"),
        (KOHYA.format('caption_extension = ".txt"', NOBODY), "is not there"),
        (MUSUBI.format(f'caption_extension = ".txt"\n[unused]\n[[datasets]]\ncache_directory = {NUL}', "FOLDER"), ""),
        (MUSUBI.format('caption_extension = ".\\u0000"', "FOLDER") + f"cache_directory = '/{'x' * 5000}'\n", "cannot be read"),
        (JOB.format("scale: .nan", "FOLDER"), "scale is nan"),
        (JOB.format("scale: .inf", "FOLDER"), "scale is inf"),
        (JOB.format('caption_ext: ".\\0"', "FOLDER"), "cannot be read"),
        (DIRECTORY.format("resolutions = [1024]\nenable_ar_bucket = true\nar_buckets = [1e-300, 1]", "FOLDER"), "ar_buckets"),
        (DIRECTORY.format("size_buckets = [[1, 9999, 1], [1024, 1024, 1]]", NOBODY), "is not there"),
        (JOB.format("num_repeats: 1", NOBODY), "is no absolute path"),
        (json.dumps([{"path": NOBODY, "image": {}}]), "is no absolute path"),
        (f"python train_dreambooth_lora_flux2.py --dataset_name={NOBODY}", "is not there"),
        (f"python train_dreambooth_lora_flux2.py --dataset_name={NOBODY[1:]}", "is no folder here"),
        (DIRECTORY.format("size_buckets = [[1, 9999, 1]]", "FOLDER"), "resized or cropped"),
    ],
)
def test_values_beyond_all_bounds_are_faults(make_dataset, tmp_path, text, words):
    folder = make_dataset(buckets=BUCKETS[:1])
    file = tmp_path / "file"
    file.write_text(text.replace("FOLDER", str(folder)))
    assert any(words in fault.problem for fault in verify_backend(file).faults)


@pytest.mark.parametrize("name", TRAINERS)
@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 99, bytes(range(256)), b"null", b"3", b"[" * 9999, b"a = " + b"[" * 9999, b"a = " + b"9" * 5000, b"[" + b"9" * 5000],
    ids=["empty", "nul", "binary", "null", "number", "nested", "nested in TOML", "digits in TOML", "digits"],
)  # fmt: skip
def test_what_is_no_dataset_file_is_an_error_whoever_is_asked(tmp_path, name, content):
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(UsageError):
        verify_backend(file, trainer=name)
    with pytest.raises(UsageError, match="is no dataset file of any trainer"):
        verify_backend(file)


def test_a_list_of_rows_without_one_is_no_proof(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(b"")
    file = tmp_path / "file"
    file.write_text(f"[[datasets]]\nimage_jsonl_file = '{rows}'\ncache_directory = '{tmp_path / 'cache'}'\n")
    (fault,) = verify_backend(file).faults
    assert fault.problem == f"{rows} holds no row: nothing is trained"


def test_every_trainers_file_is_refused_by_every_other(make_dataset, tmp_path, run):
    from datakit.cli.backend import backend

    make_dataset(buckets=BUCKETS[:1])
    for name in TRAINERS:
        file = tmp_path / name
        run(backend, "out", "--trainer", name, "--cache-root", "cache", "--output", file)
        assert verify_backend(file, trainer=name).faults == verify_backend(file).faults == []
        for other in TRAINERS.keys() - {name}:
            assert refused(file, other), (name, other)


def test_concepts_with_values_of_every_kind_never_crash(make_dataset, tmp_path):
    folder, file = make_dataset(buckets=BUCKETS[:1]), tmp_path / "concepts.json"
    for key in ("name", "path", "seed", "enabled", "type", "balancing", "text_variations", "image", "text", "__version"):
        for value in (None, "", "x", -1, 0, 10**30, 1e308, [], {}, True, "\0", {"resolution_override": "9" * 5000}):
            concept = {"path": str(folder), "image": {}, "text": {}, key: value}
            file.write_text(json.dumps([concept]))
            assert refused(file, "onetrainer"), (key, value)
