"""What happens to a dataset, to a view and to a folder of somebody's, behind the back of diffusion-pipe and diffusers: refused or harmless."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from datakit import BackendOptions, emit_backend, verify_backend
from datakit.dataset.metadata import CARD, CARD_CONTENT
from datakit.trainers.making import make_view
from tests.conftest import BUCKETS
from tests.trainers.harms import empty_caption, hide_a_file, leave_caption_out, mark_caption, share_a_stem, write_in_upper_case

SIZES = (*BUCKETS[:2], BUCKETS[3])
TRAINERS = ("diffusion-pipe", "diffusers")
LIST = ";".join(f"{size.height},{size.width}" for size in SIZES)


def resize(folder):
    Image.open(folder / "p00.jpg").resize((1200, 960)).save(folder / "p00.jpg")


def leave_a_cache(folder):
    (folder / "cache" / "flux").mkdir(parents=True)
    (folder / "cache" / "flux" / "metadata.db").write_bytes(b"x")


def add_npz(folder):
    (folder / "p00.npz").write_bytes(b"x")


def edit_rows(folder, **changed):
    """Change the row of the first picture as a hand would."""
    file = folder / "metadata.jsonl"
    first, *others = file.read_text().splitlines()
    file.write_text("\n".join([*([json.dumps(json.loads(first) | changed)] if changed else []), *others, ""]))


def mark_row(folder):
    edit_rows(folder, text="\ufeffa caption")


def empty_row(folder):
    edit_rows(folder, text="")


def drop_row(folder):
    edit_rows(folder)


def misname_row(folder):
    edit_rows(folder, file_name="gone.jpg")


FILES = (
    resize, mark_caption, share_a_stem, leave_a_cache, hide_a_file, write_in_upper_case, empty_caption, add_npz, leave_caption_out,
)  # fmt: skip
ROWS = (mark_row, empty_row, drop_row, misname_row)

# Words of what is said of a dataset before anything is written; nothing where it is harmless, as a view shows none of it.
IN_A_DATASET = {
    resize: "sha256 differs",
    mark_caption: "a byte order mark",
    share_a_stem: "not in the manifest",
    leave_a_cache: "",
    hide_a_file: "",
    write_in_upper_case: "in the manifest but gone",
    empty_caption: "no caption in the file",
    add_npz: "",
    leave_caption_out: "no caption",
    **dict.fromkeys(ROWS, ""),
}
# The same of a view that a written file names. diffusers reads the rows alone, and with a card names no other files.
IN_A_VIEW = {
    (resize, "diffusion-pipe"): "sha256 differs",
    (resize, "diffusers"): "sha256 differs",
    (mark_caption, "diffusion-pipe"): "a byte order mark",
    (mark_caption, "diffusers"): "",
    (share_a_stem, "diffusion-pipe"): "not in the manifest, and the trainer would take it for a picture",
    (share_a_stem, "diffusers"): "not in the manifest",
    (leave_a_cache, "diffusion-pipe"): "",
    (leave_a_cache, "diffusers"): "",
    # diffusion-pipe lists hidden files.
    (hide_a_file, "diffusion-pipe"): "not in the manifest, and the trainer would take it for a picture",
    (hide_a_file, "diffusers"): "",
    (write_in_upper_case, "diffusion-pipe"): "in the manifest but gone",
    (write_in_upper_case, "diffusers"): "in the manifest but gone",
    (empty_caption, "diffusion-pipe"): "no caption in the file",
    (empty_caption, "diffusers"): "other captions in metadata.jsonl than in its .txt",
    (add_npz, "diffusion-pipe"): "",
    (add_npz, "diffusers"): "",
    (leave_caption_out, "diffusion-pipe"): "no caption",
    (leave_caption_out, "diffusers"): "",
    (mark_row, "diffusers"): "a byte order mark",
    (empty_row, "diffusers"): "an empty caption, which is trained as the instance prompt 'photo'",
    (drop_row, "diffusers"): "no row in metadata.jsonl: the picture is never trained",
    (misname_row, "diffusers"): "a row of metadata.jsonl whose file is not loaded",
}
# The same of a folder that somebody's own file names, without a manifest.
IN_A_FOLDER = {
    (resize, "diffusion-pipe"): "1 of 3 pictures would be resized or cropped",
    (resize, "diffusers"): "1 of 3 pictures would be resized or cropped",
    (mark_caption, "diffusion-pipe"): "a byte order mark",
    (mark_caption, "diffusers"): "",
    # Both take the caption of the one file, and tell the caches of the two apart.
    (share_a_stem, "diffusion-pipe"): "",
    (share_a_stem, "diffusers"): "no row in metadata.jsonl",
    (leave_a_cache, "diffusion-pipe"): "a cache beside the pictures",
    (leave_a_cache, "diffusers"): "",
    (hide_a_file, "diffusion-pipe"): "no .txt beside it: the trainer leaves the picture out",
    (hide_a_file, "diffusers"): "",
    (write_in_upper_case, "diffusion-pipe"): "",
    (write_in_upper_case, "diffusers"): "an extension that the trainer does not see",
    # Somebody's own wish, which is a note.
    (empty_caption, "diffusion-pipe"): "",
    (empty_caption, "diffusers"): "",
    (add_npz, "diffusion-pipe"): "",
    (add_npz, "diffusers"): "",
    (leave_caption_out, "diffusion-pipe"): "no .txt beside it: the trainer leaves the picture out",
    (leave_caption_out, "diffusers"): "",
    (mark_row, "diffusers"): "a byte order mark",
    (empty_row, "diffusers"): "an empty caption, which is trained as the instance prompt 'x'",
    (drop_row, "diffusers"): "no row in metadata.jsonl: the picture is never trained",
    (misname_row, "diffusers"): "a row of metadata.jsonl whose file is not loaded",
}


def ours(trainer, folders, tmp_path):
    emission = emit_backend(folders, tmp_path / "cache", BackendOptions(trainer=trainer))
    if emission.content is not None:
        for view in emission.views:
            make_view(view)
        (tmp_path / "ours").write_bytes(emission.content)
    return emission


def theirs(trainer, folder, tmp_path):
    if trainer == "diffusion-pipe":
        listed = sorted(([*size, 1] for size in SIZES), key=lambda each: each[0] / each[1])
        text = f"size_buckets = {listed}\n[[directory]]\npath = '{folder}'\n"
    else:
        text = (
            f'accelerate launch train_dreambooth_lora_z_image.py --dataset_name "{folder}" --caption_column=text \\\n'
            f'  --instance_prompt=x --use_aspect_ratio_buckets --aspect_ratio_buckets="{LIST}"\n'
        )
    (tmp_path / "theirs").write_text(text)
    return tmp_path / "theirs"


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("mutate", IN_A_DATASET, ids=lambda mutate: mutate.__name__)
def test_in_a_dataset(make_dataset, tmp_path, mutate, trainer):
    folder = make_dataset(buckets=SIZES)
    mutate(folder)
    emission = ours(trainer, [folder], tmp_path)
    words = IN_A_DATASET[mutate]
    assert any(words in finding.problem for _, finding in emission.findings) == bool(words)
    assert (emission.content is None) == bool(words)
    if not words:
        assert verify_backend(tmp_path / "ours").faults == []


@pytest.mark.parametrize(("mutate", "trainer"), IN_A_VIEW, ids=lambda value: getattr(value, "__name__", value))
def test_in_a_view(make_dataset, tmp_path, mutate, trainer):
    (view,) = ours(trainer, [make_dataset(buckets=SIZES)], tmp_path).views
    assert verify_backend(tmp_path / "ours").faults == []
    mutate(view.folder)
    verdict = verify_backend(tmp_path / "ours")
    words = IN_A_VIEW[mutate, trainer]
    assert any(words in fault.problem for fault in verdict.faults) == bool(words), verdict.faults
    assert bool(verdict.faults) == bool(words), verdict.faults


@pytest.mark.parametrize(("mutate", "trainer"), IN_A_FOLDER, ids=lambda value: getattr(value, "__name__", value))
def test_in_a_folder_of_somebodys(make_dataset, tmp_path, mutate, trainer):
    folder = make_dataset(buckets=SIZES)
    (folder / "manifest.jsonl").unlink()
    (folder / CARD).write_bytes(CARD_CONTENT)
    file = theirs(trainer, folder, tmp_path)
    assert verify_backend(file).faults == []
    mutate(folder)
    verdict = verify_backend(file)
    words = IN_A_FOLDER[mutate, trainer]
    assert any(words in fault.problem for fault in verdict.faults) == bool(words), verdict.faults
    assert bool(verdict.faults) == bool(words), verdict.faults
    if mutate is empty_caption and trainer == "diffusion-pipe":
        assert verdict.notes == [f"{folder.name}: 1 empty caption (p00.txt): trained with the empty caption"]


def test_buckets_in_a_wrong_order_are_refused(make_dataset, tmp_path):
    ours("diffusion-pipe", [make_dataset(buckets=SIZES)], tmp_path)
    file = tmp_path / "ours"
    listed = sorted(([*size, 1] for size in SIZES), key=lambda each: each[0] / each[1])
    assert str(listed) in file.read_text()
    file.write_text(file.read_text().replace(str(listed), str(listed[::-1])))
    assert {fault.problem.partition(":")[0] for fault in verify_backend(file).faults} == {
        "2 of 3 pictures would be resized or cropped"
    }


def test_in_the_list_of_diffusers_any_order_is_harmless_and_turned_sides_are_refused(make_dataset, tmp_path):
    ours("diffusers", [make_dataset(buckets=SIZES)], tmp_path)
    file = tmp_path / "ours"
    text = file.read_text()
    assert LIST in text
    file.write_text(text.replace(LIST, ";".join(reversed(LIST.split(";")))))
    assert verify_backend(file).faults == []
    file.write_text(text.replace(LIST, ";".join(f"{size.width},{size.height}" for size in SIZES)))
    assert {fault.problem for fault in verify_backend(file).faults} == {
        "2 of 3 pictures would be resized or cropped: their size is not in --aspect_ratio_buckets, which lists height,width"
    }


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_dataset_that_changed_since_is_named(make_dataset, tmp_path, run, trainer):
    from datakit.cli.backend import check

    folder = make_dataset(buckets=SIZES)
    ours(trainer, [folder], tmp_path)
    (folder / "p01.txt").write_text("another caption")
    run(check, folder, "--fix", "--trainer", trainer)
    assert any("has changed since this was written" in fault.problem for fault in verify_backend(tmp_path / "ours").faults)
