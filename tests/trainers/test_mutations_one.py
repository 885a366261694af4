"""What happens to a dataset, and to a folder of somebody's, behind the back of OneTrainer and ai-toolkit: each fault is refused or harmless."""

from __future__ import annotations

import json
import os

import pytest
import yaml
from PIL import Image

from datakit import BackendOptions, emit_backend, verify_backend
from datakit.trainers.making import make_view
from tests.conftest import BUCKETS
from tests.trainers.harms import empty_caption, hide_a_file, leave_caption_out, mark_caption, share_a_stem, write_in_upper_case

SQUARES = BUCKETS[:1] * 3
TRAINERS = ("onetrainer", "ai-toolkit")


def resize(folder):
    Image.open(folder / "p00.jpg").resize((1216, 960)).save(folder / "p00.jpg")


def leave_old_caches(folder):
    """As ai-toolkit leaves them: latents that are older than their picture, and what it knows of sizes."""
    (folder / "_latent_cache").mkdir()
    old = folder / "_latent_cache" / f"p00_{'x' * 22}.safetensors"
    old.write_bytes(b"")
    os.utime(old, (0, 0))
    (folder / ".aitk_size.json").write_text("{}")


def add_npz(folder):
    (folder / "p00_1024x1024_sd3.npz").write_bytes(b"")


MUTATIONS = (
    resize, mark_caption, share_a_stem, leave_old_caches, hide_a_file, write_in_upper_case, empty_caption, add_npz, leave_caption_out,
)  # fmt: skip

# Words of what is said of a dataset before anything is written; nothing where it is harmless: a view shows none of it.
IN_A_DATASET = {
    resize: "sha256 differs",
    mark_caption: "a byte order mark",
    share_a_stem: "not in the manifest",
    leave_old_caches: "",
    hide_a_file: "",
    write_in_upper_case: "in the manifest but gone",
    empty_caption: "no caption in the file",
    add_npz: "",
    leave_caption_out: "no caption",
}
# Words of what is said of a folder that somebody's own file names; nothing where it is trained as it is.
IN_A_FOLDER = {
    (resize, "onetrainer"): "1 of 3 pictures would be resized or cropped",
    (resize, "ai-toolkit"): "1 of 3 pictures would be resized or cropped",
    (mark_caption, "onetrainer"): "a byte order mark",
    (mark_caption, "ai-toolkit"): "a byte order mark",
    # Both take the caption of the one file, and tell the caches of the two apart.
    (share_a_stem, "onetrainer"): "",
    (share_a_stem, "ai-toolkit"): "",
    # OneTrainer keeps no cache there.
    (leave_old_caches, "onetrainer"): "",
    (leave_old_caches, "ai-toolkit"): "its latents are older than the picture",
    # OneTrainer trains hidden files.
    (hide_a_file, "onetrainer"): "no .txt beside it: OneTrainer trains without a caption",
    (hide_a_file, "ai-toolkit"): "",
    (write_in_upper_case, "onetrainer"): "",
    (write_in_upper_case, "ai-toolkit"): "",
    # Somebody's own wish, which is a note.
    (empty_caption, "onetrainer"): "",
    (empty_caption, "ai-toolkit"): "",
    (add_npz, "onetrainer"): "",
    (add_npz, "ai-toolkit"): "",
    (leave_caption_out, "onetrainer"): "no .txt beside it",
    (leave_caption_out, "ai-toolkit"): "no .txt beside it",
}
# The same of the view that a written file names, where something changes in it afterwards.
IN_A_VIEW = {
    resize: "sha256 differs",
    mark_caption: "a byte order mark",
    share_a_stem: "not in the manifest",
    leave_old_caches: "",
    write_in_upper_case: "in the manifest but gone",
    empty_caption: "no caption in the file",
    add_npz: "",
    leave_caption_out: "no caption",
}


def ours(trainer, folders, tmp_path):
    emission = emit_backend(folders, tmp_path / "cache", BackendOptions(trainer=trainer))
    if emission.content is not None:
        for view in emission.views:
            make_view(view)
        (tmp_path / "ours").write_bytes(emission.content)
    return emission


def theirs(trainer, folder, tmp_path):
    if trainer == "onetrainer":
        image = {"enable_resolution_override": True, "resolution_override": "1024x1024"}
        text = json.dumps([{"__version": 2, "path": str(folder), "image": image, "text": {}}])
    else:
        dataset = {"folder_path": str(folder), "resolution": 1024, "cache_latents_to_disk": True}
        text = yaml.safe_dump({"job": "extension", "config": {"name": "a", "process": [{"datasets": [dataset]}]}})
    (tmp_path / "theirs").write_text(text)
    return tmp_path / "theirs"


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_in_a_dataset(make_dataset, tmp_path, mutate, trainer):
    folder = make_dataset(buckets=SQUARES)
    mutate(folder)
    emission = ours(trainer, [folder], tmp_path)
    words = IN_A_DATASET[mutate]
    assert [words in finding.problem for _, finding in emission.findings if words] == [True] * bool(words) or any(
        words in finding.problem for _, finding in emission.findings
    )
    assert (emission.content is None) == bool(words)
    if not words:
        assert verify_backend(tmp_path / "ours").faults == []


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_in_a_folder_of_somebodys(make_dataset, tmp_path, mutate, trainer):
    folder = make_dataset(buckets=SQUARES)
    for name in ("manifest.jsonl", "metadata.jsonl"):
        (folder / name).unlink()
    file = theirs(trainer, folder, tmp_path)
    assert verify_backend(file).faults == []
    mutate(folder)
    verdict = verify_backend(file)
    words = IN_A_FOLDER[mutate, trainer]
    assert [words in fault.problem for fault in verdict.faults] == [True] * bool(words)
    assert all(fault.path for fault in verdict.faults)
    assert any("1 empty caption" in note for note in verdict.notes) == (mutate is empty_caption)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("mutate", IN_A_VIEW, ids=lambda mutate: mutate.__name__)
def test_in_a_view(make_dataset, tmp_path, mutate, trainer):
    (view,) = ours(trainer, [make_dataset(buckets=SQUARES)], tmp_path).views
    mutate(view.folder)
    verdict = verify_backend(tmp_path / "ours")
    words = IN_A_VIEW[mutate]
    assert any(words in fault.problem for fault in verdict.faults) == bool(words)
    assert bool(verdict.faults) == bool(words)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_dataset_that_changed_since_is_named(make_dataset, tmp_path, run, trainer):
    from datakit.cli.backend import check

    folder = make_dataset(buckets=SQUARES)
    ours(trainer, [folder], tmp_path)
    (folder / "p01.txt").write_text("another caption")
    run(check, folder, "--fix", "--trainer", trainer)
    assert any("has changed since this was written" in fault.problem for fault in verify_backend(tmp_path / "ours").faults)
