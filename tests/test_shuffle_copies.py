from __future__ import annotations

import json
import os
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from datakit import CropOptions, Execution, crop_folder, read_manifest
from datakit.augment import AUGMENTATIONS, parse_augmentations
from datakit.errors import UsageError
from datakit.shuffle import plan_shuffle, shuffle_folder
from datakit.tokens import split
from datakit.variants import ShuffleOptions
from tests.conftest import tree

ALL = "flip=1,rotate=5,crop=0.9,hue=10,saturation=0.2,brightness=0.1,contrast=0.1,grayscale=0.2,blur=1,noise=4"


@pytest.fixture(scope="module")
def dataset(pictures, tmp_path_factory):
    """A cropped dataset of a few real pictures; never written to."""
    root = tmp_path_factory.mktemp("shuffle")
    source = root / "src"
    source.mkdir()
    for stem in ("fig", "djembe", "dogs"):
        shutil.copy(pictures / f"{stem}.jpg", source)
        shutil.copy(pictures / f"{stem}.txt", source)
    crop_folder(source, root / "out")
    return root / "out"


@pytest.fixture
def own(dataset, tmp_path):
    """A copy of the dataset that a test may change."""
    return shutil.copytree(dataset, tmp_path / "own")


def captions(folder):
    return {path.name: path.read_text("utf-8") for path in sorted(folder.glob("*.txt"))}


def test_each_picture_is_written_n_times_with_its_tokens_shuffled_behind_the_first(dataset, tmp_path):
    report = shuffle_folder(dataset, tmp_path / "s", ShuffleOptions(repeats=5, keep=2))
    assert (report.done, report.exit_code) == (15, 0)
    for stem in ("fig", "djembe", "dogs"):
        original = split((dataset / f"{stem}.txt").read_text("utf-8"))
        written = [split((tmp_path / "s" / f"{stem}_{copy}.txt").read_text("utf-8")) for copy in range(1, 6)]
        assert written[0] == original
        assert all(order[:2] == original[:2] and Counter(order) == Counter(original) for order in written)
        assert len(set(written)) == 5
        for copy in range(1, 6):
            assert (tmp_path / "s" / f"{stem}_{copy}.jpg").read_bytes() == (dataset / f"{stem}.jpg").read_bytes()
    assert [(record.copy, record.copies) for record in read_manifest(tmp_path / "s")] == [
        (n, 5) for _ in range(3) for n in range(1, 6)
    ]


def test_copies_are_links_that_cost_nothing(dataset, tmp_path):
    shuffle_folder(dataset, tmp_path / "s")
    assert os.path.samefile(dataset / "fig.jpg", tmp_path / "s" / "fig_5.jpg")


@pytest.mark.parametrize(("link", "same", "symbolic"), [("hard", True, False), ("symlink", True, True), ("copy", False, False)])
def test_the_kind_of_link_can_be_chosen(dataset, tmp_path, link, same, symbolic):
    shuffle_folder(dataset, tmp_path / "s", ShuffleOptions(link=link))
    copy = tmp_path / "s" / "fig_2.jpg"
    assert (os.path.samefile(dataset / "fig.jpg", copy), copy.is_symlink()) == (same, symbolic)
    assert copy.read_bytes() == (dataset / "fig.jpg").read_bytes()


def test_keeping_as_many_as_there_are_changes_nothing(dataset, tmp_path):
    shuffle_folder(dataset, tmp_path / "s", ShuffleOptions(keep=99))
    for name, text in captions(tmp_path / "s").items():
        assert split(text) == split((dataset / f"{name.split('_')[0]}.txt").read_text("utf-8"))


def test_other_pictures_change_nothing(own, tmp_path, pictures):
    shuffle_folder(own, tmp_path / "before")
    shutil.copy(pictures / "brushes.jpg", own / "aaa.jpg")
    shutil.copy(pictures / "brushes.txt", own / "aaa.txt")
    (own / "dogs.jpg").unlink()
    shuffle_folder(own, tmp_path / "after")
    before, after = captions(tmp_path / "before"), captions(tmp_path / "after")
    shared = before.keys() & after.keys()
    assert len(shared) == 10
    assert all(before[name] == after[name] for name in shared)


@pytest.mark.parametrize("augment", ["", ALL])
def test_any_number_of_workers_and_any_run_gives_the_same_bytes(dataset, tmp_path, augment):
    options = ShuffleOptions(repeats=3, augment=parse_augmentations(augment))
    shuffle_folder(dataset, tmp_path / "one", options)
    shuffle_folder(dataset, tmp_path / "two", options, execution=Execution(jobs=2))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    again = shuffle_folder(dataset, tmp_path / "two", options)
    assert (again.done, again.skipped) == (0, 9)


def test_fewer_repeats_leave_nothing_stale(dataset, tmp_path):
    shuffle_folder(dataset, tmp_path / "s", ShuffleOptions(repeats=5))
    shuffle_folder(dataset, tmp_path / "s", ShuffleOptions(repeats=2))
    shuffle_folder(dataset, tmp_path / "fresh", ShuffleOptions(repeats=2))
    assert tree(tmp_path / "s") == tree(tmp_path / "fresh")


def test_the_source_is_never_touched(own, tmp_path):
    before = {name: (own / name).stat().st_mtime_ns for name in tree(own)}, tree(own)
    shuffle_folder(own, tmp_path / "s", ShuffleOptions(augment=parse_augmentations("flip")))
    shuffle_folder(own, tmp_path / "s", ShuffleOptions(repeats=1), execution=Execution(overwrite=True))
    assert ({name: (own / name).stat().st_mtime_ns for name in tree(own)}, tree(own)) == before


def test_captions_only_writes_one_picture_with_n_lines(dataset, tmp_path):
    report = shuffle_folder(dataset, tmp_path / "s", ShuffleOptions(repeats=4, captions_only=True))
    assert report.done == 3
    lines = (tmp_path / "s" / "fig.txt").read_text("utf-8").split("\n")
    assert len(lines) == len(set(lines)) == 4
    assert {record.captions for record in read_manifest(tmp_path / "s")} == {4}


def test_several_captions_are_shuffled_each_and_never_merged(own, tmp_path):
    (own / "fig.txt").write_text("a, b, c\nd, e, f")
    shuffle_folder(own, tmp_path / "s", ShuffleOptions(repeats=3))
    for copy in range(1, 4):
        first, second = (tmp_path / "s" / f"fig_{copy}.txt").read_text().split("\n")
        assert (sorted(split(first)), sorted(split(second))) == (["a", "b", "c"], ["d", "e", "f"])


def test_a_name_that_another_picture_has_is_never_taken(own, tmp_path):
    shutil.copy(own / "dogs.jpg", own / "fig_2.jpg")
    (own / "fig_2.txt").write_text("x, y")
    report = shuffle_folder(own, tmp_path / "s", ShuffleOptions(repeats=3))
    records = list(read_manifest(tmp_path / "s"))
    assert len({record.output for record in records}) == report.done == 12
    assert any("name another picture has" in note for note in report.notes)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xef\xbb\xbfred, blue", {"red", "blue"}),
        (b"red\r\n", {"red"}),
        ("r\u00e9d, blue".encode("cp1252"), {"r\u00e9d", "blue"}),
        ("red, bl\u00fce".encode("utf-16"), {"red", "bl\u00fce"}),
        ("\U0001f680 go, red".encode(), {"\U0001f680 go", "red"}),
        (b", ".join(b"token %d" % n for n in range(80_000)), {f"token {n}" for n in range(80_000)}),
    ],
)  # fmt: skip
def test_odd_captions_are_read_and_written_clean(own, tmp_path, data, expected):
    (own / "fig.txt").write_bytes(data)
    shuffle_folder(own, tmp_path / "s", ShuffleOptions(repeats=2))
    for copy in (1, 2):
        written = (tmp_path / "s" / f"fig_{copy}.txt").read_bytes()
        assert set(split(written.decode("utf-8"))) == expected
        assert written == written.strip()
    assert (own / "fig.txt").read_bytes() == data


@pytest.mark.parametrize("data", [None, b"", b"  \n \n", b"\x00\x01\x02"])
def test_a_picture_without_a_usable_caption_is_refused_by_name(own, tmp_path, data):
    (own / "fig.txt").unlink()
    if data is not None:
        (own / "fig.txt").write_bytes(data)
    report = shuffle_folder(own, tmp_path / "s")
    assert [problem.source for problem in report.refused] == ["fig.jpg"]
    assert report.exit_code == 1
    assert not list((tmp_path / "s").glob("fig*"))


def test_dropping_and_trigger_words(own, tmp_path):
    (own / "fig.txt").write_text(", ".join(f"t{n}" for n in range(100)))
    shuffle_folder(
        own, tmp_path / "s", ShuffleOptions(repeats=19, prefix="ohwx", suffix="photo", drop_tokens=0.5, drop_caption=0.4)
    )
    texts = [(tmp_path / "s" / f"fig_{copy}.txt").read_text() for copy in range(1, 20)]
    assert 0 < sum(not text for text in texts) < 19
    for text in filter(None, texts):
        found = split(text)
        assert (found[0], found[-1]) == ("ohwx", "photo")
        assert 25 < len(found) < 77


def test_the_plan_is_what_is_written(dataset, tmp_path):
    options = ShuffleOptions(repeats=3, augment=parse_augmentations(ALL))
    variants, _ = plan_shuffle(dataset, options)
    shuffle_folder(dataset, tmp_path / "s", options)
    records = {record.output: record for record in read_manifest(tmp_path / "s")}
    for variant in variants:
        assert (tmp_path / "s" / variant.output).with_suffix(".txt").read_text("utf-8") == variant.caption
        assert (records[variant.output].augmentation or {}).keys() == variant.augmentation.keys()


@pytest.fixture(scope="module")
def augmented(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("augmented") / "s"

    def run(text, repeats=3):
        target = out / str(abs(hash(text)))
        if not target.exists():
            shuffle_folder(dataset, target, ShuffleOptions(repeats=repeats, augment=parse_augmentations(text), flip_anyway=True))
        return target

    return run


def read(path):
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image).astype(int)


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_every_augmentation_keeps_the_size_and_changes_later_copies_only(dataset, augmented, name):
    folder = augmented({"flip": "flip=1", "grayscale": "grayscale=1"}.get(name, name))
    original = read(dataset / "fig.jpg")
    assert np.array_equal(read(folder / "fig_1.jpg"), original)
    changed = [read(folder / f"fig_{copy}.jpg") for copy in (2, 3)]
    assert all(pixels.shape == original.shape for pixels in changed)
    # What is drawn for one copy may come out as next to no change; for both it does not.
    assert max(np.abs(pixels - original).mean() for pixels in changed) > 0.3


def test_a_flip_mirrors_the_pixels(dataset, augmented):
    mirrored = read(augmented("flip=1") / "fig_2.jpg")
    assert np.abs(mirrored - read(dataset / "fig.jpg")[:, ::-1]).mean() < 4


def test_a_rotation_shows_no_border_and_the_same_colours(dataset, augmented):
    turned, original = read(augmented("rotate=3") / "dogs_2.jpg"), read(dataset / "dogs.jpg")
    edges = np.concatenate([turned[0], turned[-1], turned[:, 0], turned[:, -1]])
    assert not (edges.max(axis=1) < 4).any()
    assert np.abs(turned.mean(axis=(0, 1)) - original.mean(axis=(0, 1))).max() < 12


def test_grey_is_grey(augmented):
    grey = read(augmented("grayscale=1") / "dogs_2.jpg")
    assert (grey.max(axis=-1) - grey.min(axis=-1)).max() <= 2


def test_a_flip_swaps_left_and_right_and_spares_writing(own, tmp_path):
    (own / "fig.txt").write_text("lamp on the Left, RIGHT hand")
    (own / "dogs.txt").write_text("dogs under a neon sign, left")
    report = shuffle_folder(own, tmp_path / "s", ShuffleOptions(repeats=2, augment={"flip": 1.0}))
    assert sorted(split((tmp_path / "s" / "fig_2.txt").read_text())) == ["LEFT hand", "lamp on the Right"]
    assert sorted(split((tmp_path / "s" / "dogs_2.txt").read_text())) == ["dogs under a neon sign", "left"]
    assert any("not flipped" in note for note in report.notes)


def test_augmented_pixels_come_from_the_crops_source_where_it_is_there(pictures, tmp_path):
    source = tmp_path / "src"
    source.mkdir()
    shutil.copy(pictures / "mountains.jpg", source)
    (source / "mountains.txt").write_text("a, b")
    crop_folder(source, tmp_path / "out", CropOptions(format="png"))
    options = ShuffleOptions(repeats=2, augment={"rotate": 8.0})
    shuffle_folder(tmp_path / "out", tmp_path / "with", options)
    (source / "mountains.jpg").unlink()
    shuffle_folder(tmp_path / "out", tmp_path / "without", options)
    assert (tmp_path / "with" / "mountains_2.png").read_bytes() != (tmp_path / "without" / "mountains_2.png").read_bytes()
    (record,) = [record for record in read_manifest(tmp_path / "without") if record.copy == 2]
    assert any("gone or changed" in warning for warning in record.warnings)


@pytest.mark.parametrize(
    "wrong",
    [{"repeats": 0}, {"keep": -1}, {"drop_tokens": 1.5}, {"drop_caption": float("nan")}, {"separator": ""}, {"link": "magic"},
     {"prefix": "a\nb"}, {"captions_only": True, "augment": {"flip": 1.0}}, {"augment": {"rotate": 90.0}}, {"quality": 0}],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError):
        ShuffleOptions(**wrong)


@pytest.mark.parametrize("text", ["magic", "flip,flip", "rotate=lots", "rotate=400", "crop=0"])
def test_an_augmentation_that_makes_no_sense_is_refused(text):
    with pytest.raises(UsageError, match="augmentation"):
        parse_augmentations(text)


def test_the_three_commands_run_one_after_the_other(datakit, tmp_path, pictures):
    source = tmp_path / "src"
    source.mkdir()
    for stem in ("fig", "djembe"):
        shutil.copy(pictures / f"{stem}.jpg", source)
        shutil.copy(pictures / f"{stem}.txt", source)
    assert datakit("crop", "src/", "out/").returncode == 0
    shuffled = datakit("shuffle", "--repeats", "5", "--keep", "2")
    assert shuffled.returncode == 0
    assert shuffled.stderr == "using out/ (from the last crop)\n"
    assert "copies: 10" in shuffled.stdout
    backend = datakit("backend", "--cache-root", "cache/")
    assert (backend.returncode, backend.stderr) == (0, "using out_shuffled/ (from the last shuffle)\n")
    entries = json.loads((tmp_path / "multidatabackend.json").read_text())
    assert entries[0]["instance_data_dir"] == str(tmp_path / "out_shuffled")
    assert "repeats" not in entries[0]


def test_a_dry_run_writes_nothing(datakit, dataset, tmp_path):
    done = datakit("shuffle", dataset, "s", "--repeats", "2", "--dry-run")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["output"] for line in lines][:2] == ["djembe_1.jpg", "djembe_2.jpg"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name the folder to use"),
        (("nowhere",), "datakit: nowhere does not exist"),
        (("--repeats", "0"), "0 is not in the range"),
        (("--augment", "magic"), "datakit: augmentation 'magic' is unknown: choose from flip"),
    ],
)
def test_a_wrong_call_is_one_line(datakit, arguments, message):
    done = datakit("shuffle", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
