"""The view: links that show a dataset as a trainer wants it, whole or not at all, named by what is in it."""

from __future__ import annotations

import os
import shutil

import msgspec
import pytest
from datasets import load_dataset
from hypothesis import given
from hypothesis import strategies as st

from datakit.audit.concept import Concept, read_concept
from datakit.audit.mend import mend_captions
from datakit.cli.backend import backend
from datakit.cli.verify import verify
from datakit.dataset.fingerprints import hash_file
from datakit.dataset.layout import VIEW, VIEWS_TEMPORARY
from datakit.dataset.manifest import MANIFEST, read_manifest, to_line
from datakit.dataset.samples import fold
from datakit.errors import UsageError
from datakit.trainers import DEFAULT, TRAINERS
from datakit.trainers.making import make_view
from datakit.trainers.view import Layout, old_views, plan_view, read_made, written_out
from tests.conftest import BUCKETS
from tests.trainers.golden_cases import CACHE, concept

PLAIN = Layout("kohya", empty=b"\n")


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def made(make_dataset, tmp_path):
    """A dataset and a view of it."""
    folder = make_dataset(buckets=BUCKETS[:3])
    view = plan_view([read_concept(folder)], tmp_path / "cache", PLAIN)
    make_view(view)
    return folder, view


def test_pictures_are_linked_and_captions_written(made):
    folder, view = made
    for record in read_manifest(folder):
        assert (view.folder / record.output).samefile(folder / record.output)
        assert not (view.folder / record.caption).samefile(folder / record.caption)
        assert (view.folder / record.caption).read_bytes() == (folder / record.caption).read_bytes()
    assert [record.output for record in read_manifest(view.folder)] == [record.output for record in read_manifest(folder)]


def test_made_again_it_is_the_same_and_caches_stay(made):
    _, view = made
    (view.folder / "p00_1024x1024_sdxl.npz").write_bytes(b"cache")
    before = tree(view.folder)
    make_view(view)
    assert tree(view.folder) == before


def test_what_is_missing_is_put_back_and_what_was_changed_is_not_lost(made):
    _, view = made
    before = tree(view.folder)
    (view.folder / "p00.jpg").unlink()
    (view.folder / "p01.txt").unlink()
    make_view(view)
    assert tree(view.folder) == before
    (view.folder / "p01.txt").write_text("edited")
    with pytest.raises(UsageError, match=r"p01\.txt is not as datakit made it: change the dataset instead"):
        make_view(view)
    (view.folder / "p01.txt").rename(view.folder / "mine.md")
    shutil.copy(view.folder / "p00.jpg", view.folder / "new")
    (view.folder / "new").replace(view.folder / "p01.jpg")
    with pytest.raises(UsageError, match=r"p01\.jpg is not as datakit made it"):
        make_view(view)
    assert (view.folder / "mine.md").read_text() == "edited"


def test_a_copy_is_as_good_as_a_link(made):
    _, view = made
    shutil.copy(view.folder / "p00.jpg", view.folder / "new")
    (view.folder / "new").replace(view.folder / "p00.jpg")
    before = tree(view.folder)
    make_view(view)
    assert tree(view.folder) == before


@pytest.mark.parametrize("change", ["caption", "name", "trainer", "gone"])
def test_its_name_follows_what_is_in_it(made, tmp_path, change):
    folder, view = made
    known = read_concept(folder)
    first, *rest = known.records
    if change == "caption":
        first = msgspec.structs.replace(first, caption_sha256="0" * 64)
    elif change == "name":
        first = msgspec.structs.replace(first, output="other.jpg")
    records = tuple(rest) if change == "gone" else (first, *rest)
    layout = Layout("musubi", empty=b"\n") if change == "trainer" else PLAIN
    other = plan_view([Concept(known.folder, known.name, records, 1)], tmp_path / "cache", layout)
    assert other.folder != view.folder
    assert other.folder.parent == view.folder.parent


def test_a_run_that_was_killed_leaves_nothing_that_is_taken_for_a_view(made, tmp_path, monkeypatch):
    folder, view = made
    shutil.rmtree(view.folder)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            make_view(view)
    assert not view.folder.exists()
    assert (tmp_path / "cache" / VIEWS_TEMPORARY).exists()
    make_view(view)
    assert not (tmp_path / "cache" / VIEWS_TEMPORARY).exists()
    assert (view.folder / "p00.jpg").samefile(folder / "p00.jpg")


def test_a_folder_of_somebody_elses_and_pictures_of_somebody_elses_are_refused(made):
    _, view = made
    (view.folder / "mine.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"pictures that are not of the dataset: mine\.jpg: move them out"):
        make_view(view)
    (view.folder / VIEW).unlink()
    with pytest.raises(UsageError, match="is no view that datakit made for kohya"):
        make_view(view)
    assert (view.folder / "mine.jpg").read_bytes() == b"x"


def test_each_caption_gets_a_picture_of_its_own(make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:3], lines=[3, 1, 3])
    known = read_concept(folder, repeats=3)
    view = plan_view([known], tmp_path / "cache", Layout("musubi", expand=True))
    make_view(view)
    captions = {path.name: path.read_text() for path in sorted(view.folder.glob("*.txt"))}
    assert list(captions) == ["p00_1.txt", "p00_2.txt", "p00_3.txt", "p01.txt", "p02_1.txt", "p02_2.txt", "p02_3.txt"]
    assert "\n".join(list(captions.values())[:3]) == (folder / "p00.txt").read_text()
    trained = written_out(known)
    assert (len(trained.records), trained.passes, sum(trained.buckets.values())) == (7, 1, len(view.links))
    assert view.passes == 1
    with pytest.raises(UsageError, match="use 3 or a multiple of it"):
        plan_view([read_concept(folder, repeats=4)], tmp_path / "cache", Layout("musubi", expand=True))


def test_an_empty_caption_is_written_as_the_trainer_takes_it(make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:1], lines=0)
    view = plan_view([read_concept(folder)], tmp_path / "cache", PLAIN)
    make_view(view)
    assert (view.folder / "p00.txt").read_bytes() == b"\n"


NAMES = st.lists(st.from_regex(r"[ab1_]{1,3}(/[ab1_]{1,2})?", fullmatch=True), min_size=1, max_size=12, unique_by=fold)


@given(NAMES, st.integers(1, 3))
def test_no_name_is_the_start_of_another(names, captions):
    base = concept("out", 1).records[0]
    records = tuple(
        msgspec.structs.replace(base, output=f"{name}.png", caption=f"{name}.txt", captions=captions) for name in names
    )
    view = plan_view([Concept(CACHE / "out", "out", records, captions)], CACHE, Layout("kohya", expand=True))
    stems = [link.name.removesuffix(".png") for link in view.links]
    assert len(stems) == len(names) * captions
    assert not any("/" in stem for stem in stems)
    assert not [(one, two) for one in stems for two in stems if one is not two and fold(two).startswith(fold(one))]


def test_only_one_size_may_be_asked_for(make_dataset, tmp_path):
    view = plan_view([read_concept(make_dataset())], tmp_path / "cache", PLAIN, size=BUCKETS[1])
    assert view.folder.name.startswith("out-1152x896-")
    assert view.buckets == {BUCKETS[1]: 1}


def test_old_views_are_named_and_pruned_with_their_caches(run, make_dataset, tmp_path):
    folder = make_dataset(buckets=BUCKETS[:2])
    ask = (backend, folder, "--trainer=kohya", "--cache-root=cache", "--overwrite")
    run(*ask)
    (old,) = [path for path in (tmp_path / "cache").iterdir() if read_made(path)]
    (old / "p00_1024x1024_sdxl.npz").write_bytes(bytes(1_500_000))
    (folder / "p00.txt").write_text("other words")
    said = run(*ask, "--fix").stderr
    assert (
        f"cache/{old.name}: a view, with the trainer's caches in it, of an earlier content or name, 1.5 MB: --prune deletes it"
        in said
    )
    assert old.exists()
    (tmp_path / "cache" / "mine-00c0ffee").mkdir()
    run(*ask, "--prune")
    assert not old.exists()
    assert (tmp_path / "cache" / "mine-00c0ffee").exists()
    assert (folder / "p00.jpg").exists()
    run(verify, "kohya.toml")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda dataset, view: None, None),
        (lambda dataset, view: (dataset / "p00.txt").write_text("edited"), "changed by hand, and trained as before: p00.txt"),
        (lambda dataset, view: (dataset / "p00.jpg").unlink(), "changed by hand, and trained as before: p00.jpg"),
        (lambda dataset, view: shutil.copy(dataset / "p00.jpg", dataset / "new.jpg"), "trained as before: new.jpg"),
        (lambda dataset, view: exchange(dataset / "p00.jpg", dataset / "p01.jpg"), "trained as before: p00.jpg, p01.jpg"),
        (lambda dataset, view: (view / "p00.txt").write_text("edited"), "edited since datakit wrote it: p00.txt"),
        (lambda dataset, view: (view / "p00.txt").write_bytes(b"\xef\xbb\xbfwords"), "a byte order mark: p00.txt"),
        (lambda dataset, view: (view / "p00.txt").unlink(), "no caption: p00.jpg"),
        (lambda dataset, view: (view / "p00.jpg").unlink(), "in the manifest but gone: p00.jpg"),
        (lambda dataset, view: swap(view / "p00.jpg", view / "p01.jpg"), "not what datakit wrote (sha256 differs): p00.jpg"),
        (
            lambda dataset, view: shutil.copy(view / "p00.jpg", view / "new.jpg"),
            "the trainer would take it for a picture: new.jpg",
        ),
        (lambda dataset, view: rewrite(dataset), "has changed since this was written, and is trained as it was"),
        (lambda dataset, view: shutil.rmtree(view), "is not there"),
    ],
)
def test_what_happens_to_a_view_is_found(run, make_dataset, tmp_path, harm, words):
    folder = make_dataset(buckets=BUCKETS[:2])
    run(backend, folder, "--trainer=kohya", "--cache-root=cache")
    (view,) = [path for path in (tmp_path / "cache").iterdir() if read_made(path)]
    harm(folder, view)
    said = run(verify, "kohya.toml", exit_code=1 if words else 0).stdout
    assert (words or "proved") in said


def exchange(one, other):
    one.rename(one.with_name("kept"))
    other.rename(one)
    one.with_name("kept").rename(other)


def swap(one, other):
    kept = one.read_bytes()
    one.unlink()
    shutil.copy(other, one)
    other.unlink()
    other.write_bytes(kept)


def rewrite(dataset):
    lines = (dataset / MANIFEST).read_bytes().splitlines(keepends=True)
    (dataset / MANIFEST).write_bytes(b"".join(lines[:1]))


# Signs that `datasets`, a list of lines or a shell reads as something else.
@pytest.mark.parametrize("stem", ["a$HOME", "a${HOME}", "a\\b", "a\nb", "a\tb", "a\x7f"])
def test_names_that_would_be_read_as_another_are_written_otherwise(make_dataset, tmp_path, run, stem):
    folder = make_dataset(buckets=BUCKETS[:2])
    rename(folder, "p00", stem)
    run(backend, folder, "--trainer", "diffusers", "--cache-root", "cache")
    (made,) = (tmp_path / "cache").glob("out-*")
    (picture,) = (path for path in made.glob("a*.jpg"))
    assert not set(picture.name) & set("$\\\n\t\x7f")
    rows = load_dataset(str(made), cache_dir=str(tmp_path / "hf"))["train"]
    assert sorted(rows["text"]) == sorted((folder / record.caption).read_text().strip() for record in read_manifest(folder))
    assert [image.size for image in rows["image"]]
    run(verify, "diffusers.sh")


def test_a_picture_called_like_a_mask_is_trained_by_onetrainer(make_dataset, tmp_path, run):
    folder = make_dataset(buckets=BUCKETS[:1] * 2)
    rename(folder, "p00", "p00-masklabel")
    run(backend, folder, "--trainer", "onetrainer", "--cache-root", "cache")
    assert "2 pictures" in run(verify, "concepts.json").stdout
    assert next((tmp_path / "cache").glob("out-*/p00-masklabel_.jpg"))


def test_a_picture_that_a_trainer_does_not_list_is_named_before_anything_is_written(make_dataset, run):
    folder = make_dataset(buckets=BUCKETS[:2])
    rename(folder, "p00", "p00", ".bmp")
    assert (
        "an extension that the trainer does not see: p00.bmp (ai-toolkit)"
        in run(backend, folder, "--trainer", "ai-toolkit", "--cache-root", "cache", exit_code=1).stderr
    )
    run(backend, folder, "--trainer", "kohya", "--cache-root", "cache")


def test_a_picture_of_a_manifest_that_a_file_does_not_list_is_no_proof(make_dataset, tmp_path, run):
    folder = make_dataset(buckets=BUCKETS[:1] * 2)
    rename(folder, "p00", "p00-masklabel")
    image = {"enable_resolution_override": True, "resolution_override": "1024x1024"}
    (tmp_path / "concepts.json").write_bytes(
        msgspec.json.encode([{"__version": 2, "path": str(folder), "image": image, "text": {}}])
    )
    said = run(verify, "concepts.json", exit_code=1).stdout
    assert "in the manifest, and not listed by the trainer: p00-masklabel.jpg" in said


def rename(folder, stem, to, suffix=".jpg"):
    """Rename a picture, which becomes another in form too, and its caption, as if they had come so from a stage."""
    from PIL import Image

    if suffix == ".jpg":
        (folder / f"{stem}.jpg").rename(folder / f"{to}.jpg")
    else:
        Image.open(folder / f"{stem}.jpg").save(folder / f"{to}{suffix}")
        (folder / f"{stem}.jpg").unlink()
    if to != stem:
        (folder / f"{stem}.txt").rename(folder / f"{to}.txt")
    records = [
        msgspec.structs.replace(
            record, output=f"{to}{suffix}", caption=f"{to}.txt", output_sha256=hash_file(folder / f"{to}{suffix}")
        )
        if record.output == f"{stem}.jpg"
        else record
        for record in read_manifest(folder)
    ]
    (folder / MANIFEST).write_bytes(b"".join(map(to_line, records)))


@pytest.fixture
def copied(make_dataset, tmp_path, run):
    """A dataset and a copy of it under the same name, a file for each, one view for both; and the copy changed since."""
    folder = make_dataset(buckets=BUCKETS[:2])
    shutil.copytree(folder, tmp_path / "copy" / "out")
    run(backend, "out", "--trainer", "kohya", "--cache-root", "cache", "--output", "first.toml")
    run(backend, "copy/out", "--trainer", "kohya", "--cache-root", "cache", "--output", "second.toml")
    (view,) = (tmp_path / "cache").glob("out-*")
    (tmp_path / "copy" / "out" / "p00.txt").write_text("another caption")
    return view


def test_a_view_that_a_copy_of_the_dataset_has_too_is_not_pruned(copied, tmp_path, run):
    ask = ("copy/out", "--trainer", "kohya", "--cache-root", "cache", "--output", "second.toml")
    assert "deleted" not in run(backend, *ask, "--fix", "--prune").stderr
    said = run(verify, "first.toml").stdout
    assert f"the dataset {tmp_path / 'copy' / 'out'} has changed since this was written" in said
    run(verify, "second.toml")
    shutil.rmtree(tmp_path / "out")
    assert f"deleted cache/{copied.name}" in run(backend, *ask, "--prune").stderr
    assert not copied.exists()


def test_where_every_copy_of_a_dataset_has_changed_its_view_is_no_proof(copied, tmp_path, run):
    (tmp_path / "out" / "p00.txt").write_text("another caption")
    for folder in ("out", "copy/out"):
        run(backend, folder, "--fix", "--trainer", "kohya", "--cache-root", "elsewhere", "--output", "other.toml")
    assert "has changed since this was written, and is trained as it was" in run(verify, "first.toml", exit_code=1).stdout


def test_where_nothing_is_written_no_view_is_pruned(copied, tmp_path, run):
    shutil.rmtree(tmp_path / "copy")
    (tmp_path / "out" / "p00.txt").write_text("another caption")
    ask = ("out", "--trainer", "kohya", "--cache-root", "cache", "--output", "first.toml", "--prune")
    assert "deleted" not in run(backend, *ask, exit_code=1).stderr
    (tmp_path / "first.toml").write_text("mine")
    with pytest.raises(UsageError, match="edited since"):
        run(backend, *ask, "--fix")
    assert copied.exists()
    assert f"deleted cache/{copied.name}" in run(backend, *ask, "--overwrite").stderr


def test_a_link_to_a_view_is_left_alone(made, tmp_path):
    folder, view = made
    (tmp_path / "cache" / "out-0123abcd").symlink_to(view.folder)
    assert old_views("kohya", [view.folder], [read_concept(folder)], tmp_path / "cache") == []


def test_diffusers_takes_each_dataset_once(made, run):
    with pytest.raises(UsageError, match="a dataset is given twice"):
        run(backend, "out", "out", "--id", "a", "--id", "b", "--trainer", "diffusers", "--cache-root", "cache")


def test_captions_of_a_view_are_mended_in_the_dataset(run, make_dataset, tmp_path):
    make_dataset(buckets=BUCKETS[:1])
    run(backend, "out", "--trainer=kohya", "--cache-root=cache")
    (view,) = [path for path in (tmp_path / "cache").iterdir() if read_made(path)]
    (view / "p00.txt").write_text("edited")
    with pytest.raises(UsageError, match="is a view of a dataset: mend the dataset"):
        mend_captions(view)
    assert (view / "p00.txt").read_text() == "edited"


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("p00.jpg", None, "run `datakit backend` again, which puts it back"),
        ("p00.txt", None, "run `datakit backend` again, which puts it back"),
        ("p00.jpg", b"other", "move it away and run `datakit backend` again"),
        ("p00.txt", b"other", "move it away and run `datakit backend` again"),
        ("q.jpg", b"other", "move it out"),
        ("q.txt", b"other", "move it out"),
    ],
)
def test_a_fault_in_a_view_is_mended_by_backend(made, tmp_path, run, name, content, remedy):
    _, view = made
    run(backend, "out", "--trainer", "kohya", "--cache-root", "cache")
    (view.folder / name).unlink(missing_ok=True)
    if content is not None:
        (view.folder / name).write_bytes(content)
    said = run(verify, "kohya.toml", exit_code=1).stdout
    assert remedy in said
    assert "the stage that wrote" not in said
    assert "datakit check" not in said
    if "move" in remedy:
        (view.folder / name).unlink()
    run(backend, "out", "--trainer", "kohya", "--cache-root", "cache")
    run(verify, "kohya.toml")


@pytest.mark.parametrize("option", [("--at", "s3://bucket"), ("--endpoint", "https://store.example")])
@pytest.mark.parametrize("name", sorted(TRAINERS.keys() - {DEFAULT}))
def test_an_object_store_is_refused_where_a_trainer_reads_none(made, run, name, option):
    with pytest.raises(UsageError, match="reads nothing from an object store"):
        run(backend, "out", "--trainer", name, "--cache-root", "cache", *option)


@pytest.mark.parametrize("name", ["simpletuner", "onetrainer", "diffusion-pipe"])
def test_a_batch_size_is_refused_where_no_dataset_file_says_it(made, run, name):
    with pytest.raises(UsageError, match="reads the batch size from its"):
        run(backend, "out", "--trainer", name, "--cache-root", "cache", "--batch-size", "4")


def test_copies_with_several_captions_each_are_shown_as_often_as_was_asked(make_dataset):
    folder = make_dataset(buckets=BUCKETS[:1], copies=3, lines=2)
    for repeats, passes in ((None, 1), (3, 1), (6, 2)):
        trained = written_out(read_concept(folder, repeats=repeats))
        assert (len(trained.records), trained.passes) == (6, passes)
