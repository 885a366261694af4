"""The second stage: copies, captions, links, augmentations; all through what it writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from datakit import CropOptions, Execution, crop_folder, read_manifest
from datakit.caption.tokens import split
from datakit.dataset.metadata import CARD_CONTENT
from datakit.dataset.samples import copy_stems
from datakit.errors import UsageError
from datakit.shuffle.folder import plan_shuffle, shuffle_folder
from datakit.shuffle.variants import ShuffleOptions, tokens_of, variants_of
from tests.conftest import tree

CAPTION = "red car, wet street, night, neon, rain, 3.5 mm"


@pytest.fixture
def source(tmp_path):
    """Three small captioned pictures that no manifest describes."""
    folder = tmp_path / "src"
    folder.mkdir()
    for number, stem in enumerate(("a", "b", "c")):
        Image.new("RGB", (64, 48), (50 * number, 100, 200)).save(folder / f"{stem}.png")
        (folder / f"{stem}.txt").write_text(CAPTION)
    return folder


@pytest.fixture(scope="module")
def cropped(pictures, tmp_path_factory):
    """Two photographs and the dataset cropped from them."""
    folder = tmp_path_factory.mktemp("cropped")
    (folder / "src").mkdir()
    for name in ("fig.jpg", "fig.txt", "astronaut.jpg", "astronaut.txt"):
        shutil.copy(pictures / name, folder / "src")
    (folder / "src" / "fig.txt").write_text("half a fig, red bowl on the left, concrete, hard shadow")
    crop_folder(folder / "src", folder / "out", CropOptions(detector="none", saliency="none", upscale=3))
    return folder


def shuffled(source, **options):
    return shuffle_folder(source, source.parent / "out", ShuffleOptions(**options))


def captions(folder, stem):
    return [path.read_text() for path in sorted(folder.glob(f"{stem}_*.txt"))]


def test_each_picture_is_written_so_often_with_captions_in_other_orders(source):
    report = shuffled(source, repeats=5, keep=2)
    out = source.parent / "out"
    assert (report.done, report.exit_code) == (15, 0)
    assert sorted(path.name for path in out.glob("a_*.png")) == [f"a_{copy}.png" for copy in range(1, 6)]
    texts = captions(out, "a")
    assert texts[0] == CAPTION
    assert len(set(texts)) == 5
    assert all(split(text)[:2] == split(CAPTION)[:2] and Counter(split(text)) == Counter(split(CAPTION)) for text in texts)
    assert report.table == {
        "seed": 42,
        "samples": 3,
        "copies": 15,
        "distinct captions": len({*texts, *captions(out, "b"), *captions(out, "c")}),
        "captions read as": "tags 3",
        "movable tokens, least": 4,
        "movable tokens, median": 4.0,
        "captions whose orders ran out": 0,
    }


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["red car", "night", "wet street", "🚗", "st. peter", "3.5 mm"]), min_size=1, max_size=6),
    st.integers(0, 7),
    st.integers(1, 8),
)
def test_tokens_are_preserved_and_the_first_are_fixed(tmp_path_factory, tokens, keep, repeats):
    folder = tmp_path_factory.mktemp("src")
    Image.new("L", (8, 8)).save(folder / "a.png")
    (folder / "a.txt").write_text(", ".join(tokens), encoding="utf-8")
    variants, report = plan_shuffle(folder, ShuffleOptions(repeats=repeats, keep=keep))
    orders = [split(variant.caption) for variant in variants]
    assert len(orders) == repeats
    assert all(Counter(order) == Counter(tokens) and list(order[:keep]) == tokens[:keep] for order in orders)
    if keep >= len(tokens):
        assert all(list(order) == tokens for order in orders)
    if len(set(orders)) < repeats:
        assert report.table["captions whose orders ran out"] == 1


def test_other_samples_change_nothing(source):
    def texts(stem):
        variants, _ = plan_shuffle(source, ShuffleOptions(augment={"rotate": 3}))
        return [
            (variant.output, variant.caption, variant.augmentation) for variant in variants if variant.source == f"{stem}.png"
        ]

    before = texts("b")
    shutil.copy(source / "a.png", source / "0.png")
    (source / "0.txt").write_text("one more")
    (source / "c.png").rename(source / "renamed.png")
    (source / "a.png").unlink()
    assert texts("b") == before
    more, _ = plan_shuffle(source, ShuffleOptions(repeats=9, augment={"rotate": 3}))
    assert [(v.output, v.caption, v.augmentation) for v in more if v.source == "b.png"][:5] == before
    other, _ = plan_shuffle(source, ShuffleOptions(seed=43))
    assert [v.caption for v in other if v.source == "b.png"] != [text for _, text, _ in before]


def test_the_same_bytes_in_another_process_and_with_other_workers(cropped, tmp_path):
    options = {"repeats": 3, "augment": {"rotate": 5.0, "hue": 10.0, "noise": 5.0, "blur": 1.0}}
    shuffle_folder(cropped / "out", tmp_path / "here", ShuffleOptions(**options))
    shuffle_folder(cropped / "out", tmp_path / "workers", ShuffleOptions(**options), execution=Execution(jobs=2))
    code = f"import sys; from datakit.shuffle.folder import *\nshuffle_folder(sys.argv[1], sys.argv[2], ShuffleOptions(**{options!r}))"
    subprocess.run(
        [sys.executable, "-c", code, cropped / "out", tmp_path / "there"], check=True, env=os.environ | {"PYTHONHASHSEED": "7"}
    )
    assert tree(tmp_path / "here") == tree(tmp_path / "workers") == tree(tmp_path / "there")


def test_a_second_run_makes_nothing_and_a_changed_caption_only_its_copies(source):
    shuffled(source)
    before = tree(source.parent / "out")
    report = shuffled(source)
    assert (report.done, report.skipped) == (0, 15)
    assert tree(source.parent / "out") == before
    (source / "b.txt").write_text(CAPTION + ", fog")
    report = shuffled(source)
    assert (report.done, report.skipped) == (5, 10)


def test_more_copies_leave_the_former_as_they_are(source):
    shuffled(source, repeats=3, augment={"rotate": 3})
    out = source.parent / "out"
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.glob("*_[123].*")}
    report = shuffled(source, repeats=5, augment={"rotate": 3})
    assert (report.skipped, report.done) == (9, 6)
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.glob("*_[123].*")} == before


def test_fewer_copies_leave_none_of_the_former_behind(source):
    shuffled(source, repeats=5)
    report = shuffled(source, repeats=2)
    assert len(list((source.parent / "out").glob("*.png"))) == 6
    assert report.removed == []


@pytest.mark.parametrize("link", ["auto", "hard", "symlink", "copy"])
def test_links_of_each_kind(source, link):
    shuffled(source, link=link)
    out = source.parent / "out" / "a_3.png"
    assert out.read_bytes() == (source / "a.png").read_bytes()
    assert out.is_symlink() == (link == "symlink")
    assert out.samefile(source / "a.png") == (link != "copy")
    assert shuffle_folder(source, out.parent, ShuffleOptions(link=link), execution=Execution(overwrite=True)).done == 15
    assert shuffle_folder(source, out.parent, ShuffleOptions(link="copy"), execution=Execution(overwrite=True)).done == 15
    assert not out.samefile(source / "a.png")
    assert list((out.parent / ".datakit").glob("tmp/*")) == []


def test_a_link_that_cannot_be_made_is_explained_and_auto_goes_on(source, monkeypatch):
    def refuse(*names):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    report = shuffled(source, link="hard")
    assert report.failed[0].reason == "a hard link cannot be made here (Invalid cross-device link): use --link auto"
    assert tree(source.parent / "out") == {
        "manifest.jsonl": b"",
        "metadata.jsonl": b"",
        "README.md": CARD_CONTENT,
    }
    assert shuffled(source).done == 15
    assert not (source.parent / "out" / "a_1.png").samefile(source / "a.png")


def test_a_symbolic_link_in_the_source_becomes_a_link_to_its_picture(source):
    (source / "d.png").symlink_to(source / "a.png")
    (source / "d.txt").write_text(CAPTION)
    shuffled(source)
    made = source.parent / "out" / "d_1.png"
    assert not made.is_symlink()
    assert made.samefile(source / "a.png")


def test_a_source_edited_in_place_is_taken_up_again_through_its_links(source):
    shuffled(source)
    with (source / "a.png").open("r+b") as file:
        Image.new("RGB", (64, 48), "red").save(file, "PNG")
    report = shuffled(source)
    assert (report.done, report.refused) == (5, [])
    assert shuffled(source).skipped == 15


def test_an_edited_copy_of_a_caption_is_not_overwritten(source):
    shuffled(source)
    (source.parent / "out" / "a_2.txt").write_text("mine")
    report = shuffled(source, keep=1)
    said = [*report.notes, *(problem.reason for problem in report.refused)]
    assert any(line.startswith("a_2.txt was edited since datakit wrote it") for line in said)
    assert (source.parent / "out" / "a_2.txt").read_text() == "mine"


def test_the_source_is_never_changed(source):
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in source.iterdir()}
    shuffled(source, augment={"rotate": 3, "noise": 5})
    shuffle_folder(source, source.parent / "out", execution=Execution(overwrite=True))
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in source.iterdir()} == before
    for target in (source, source / "inside"):
        with pytest.raises(UsageError, match="nothing in a source is ever changed"):
            shuffle_folder(source, target)


def test_pictures_without_a_caption_are_refused(source):
    (source / "a.txt").unlink()
    (source / "b.txt").write_text(" \n\n")
    Image.new("RGB", (8, 8)).save(source / "d.gif")
    report = shuffled(source)
    assert report.done == 5
    assert [(problem.source, problem.reason) for problem in report.refused] == [
        ("a.png", "no caption beside it, in a table or in the picture: write one, or crop with --caption TEXT"),
        ("b.png", "caption b.txt is empty: write one, or crop with --caption TEXT"),
        ("d.gif", ".gif is not what every trainer reads: run datakit crop first, which writes it as png"),
    ]


def test_awkward_captions(awkward, tmp_path):
    report = shuffle_folder(awkward / "captions", tmp_path / "out", ShuffleOptions(repeats=3, keep=1))
    assert {problem.source for problem in report.refused} == {"empty.jpg", "missing.jpg"}
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.txt")}
    assert not any(text.startswith(b"\xef\xbb\xbf") or b"\r" in text or text != text.strip() for text in written.values())
    assert written["utf16_1.txt"] == b"red car, wet street, night"
    assert written["latin1_1.txt"].decode() == "café, crème brûlée"
    assert written["decimals_1.txt"] == b"3.5 mm, f/1.8. Portrait of st. peter, soft light."
    assert len(written["huge_3.txt"]) > 2**20
    assert {line.split(",")[0] for line in written["lines_2.txt"].decode().split("\n")} == {"red car", "blue car", "green car"}
    assert [(source, warning.kind) for source, warning in report.warnings] == [
        ("bom.jpg", "caption-marked"),
        ("latin1.jpg", "caption-encoded"),
        ("utf16.jpg", "caption-marked"),
    ]


def test_a_damaged_or_misnamed_picture_costs_itself_only(awkward, tmp_path):
    report = shuffle_folder(awkward / "broken", tmp_path / "out", ShuffleOptions(repeats=2))
    assert {problem.source for problem in report.failed} >= {"empty.png", "text.jpg"}
    assert report.done > 0


def test_names_that_others_have(source):
    for name in ("a_1.png", "a_copy_2.png", "a.jpg"):
        Image.new("RGB", (8, 8)).save(source / name)
        (source / name).with_suffix(".txt").write_text(CAPTION)
    report = shuffled(source, repeats=2)
    out = source.parent / "out"
    assert report.done == 12
    assert {path.stem for path in out.glob("a_jpg*")} == {"a_jpg_1", "a_jpg_2"}
    assert {path.name for path in out.glob("a_1*.png")} == {"a_1_1.png", "a_1_2.png"}
    assert any("share a name" in note for note in report.notes)


def test_copies_never_take_the_name_of_another_picture():
    stems = {"a.png": "a", "A_2.png": "A_2", "a_copy.png": "a_copy", "a_copy_1.png": "a_copy_1", "b.png": "b"}
    starts = copy_stems(stems, 3)
    assert starts["b.png"] == "b_"
    names = [f"{start}{copy}".casefold() for start in starts.values() for copy in range(1, 4)]
    assert len(set(names)) == len(names)
    assert not set(names) & {stem.casefold() for stem in stems.values()}
    assert starts["a.png"].startswith("a_copy_")


def test_the_summary_names_the_rule_for_names(source):
    Image.new("RGB", (8, 8)).save(source / "a_1.png")
    (source / "a_1.txt").write_text(CAPTION)
    report = shuffled(source, repeats=2)
    assert report.notes == [
        "1 picture with copies whose name another picture has: they are called a_copy_1 and so on",
        f"{source} was not written by datakit crop: copies have the sizes of its pictures, which may be none that a trainer uses whole",
    ]
    assert {path.name for path in (source.parent / "out").glob("a_copy*.png")} == {"a_copy_1.png", "a_copy_2.png"}


def test_captions_only_writes_a_line_for_each_order(source):
    (source / "b.txt").write_text("one, two, three\nred, green, blue")
    report = shuffled(source, repeats=4, captions_only=True, prefix="ohwx")
    out = source.parent / "out"
    assert report.done == 3
    assert sorted(path.name for path in out.glob("*.png")) == ["a.png", "b.png", "c.png"]
    lines = (out / "a.txt").read_text().split("\n")
    assert len(set(lines)) == 4
    assert all(line.startswith("ohwx, ") for line in lines)
    assert len((out / "b.txt").read_text().split("\n")) == 8
    records = {record.output: record for record in read_manifest(out)}
    assert (records["b.png"].captions, records["b.png"].copy) == (8, None)


def test_prefix_suffix_dropping_and_wildcards(source):
    (source / "a.txt").write_text("fox, {red|blue} car, {day, sunny|night}, b, c, d")
    variants, _ = plan_shuffle(
        source, ShuffleOptions(repeats=40, keep=1, prefix="ohwx", suffix="photo", wildcards=True, drop_tokens=0.3)
    )
    texts = [variant.caption for variant in variants if variant.source == "a.png"]
    assert all(text.startswith("ohwx, fox") and text.endswith(", photo") and "{" not in text for text in texts)
    assert any("red car" in text for text in texts)
    assert any("blue car" in text for text in texts)
    assert 0 < sum("c" in split(text) for text in texts) < 40
    variants, _ = plan_shuffle(source, ShuffleOptions(repeats=100, drop_caption=0.2, prefix="ohwx"))
    assert 30 < sum(variant.caption == "" for variant in variants) < 90


def test_a_dropped_caption_is_an_empty_file(source):
    shuffled(source, repeats=2, drop_caption=1)
    assert (source.parent / "out" / "a_1.txt").read_bytes() == b""
    records = list(read_manifest(source.parent / "out"))
    assert all(record.caption and record.captions == 0 for record in records)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeats": 0}, "repeats 0 is below 1"),
        ({"keep": -1}, "keep -1 is below 0"),
        ({"drop_tokens": 1.5}, "drop_tokens 1.5 is not a probability"),
        ({"separator": ""}, "an empty separator"),
        ({"link": "magic"}, "link 'magic' is unknown: choose from auto, hard, reflink, symlink, copy"),
        ({"captions_only": True, "augment": {"flip": 1}}, "captions_only writes no copies"),
        ({"prefix": "a\nb"}, "leave out the line break"),
        ({"quality": 0}, "quality 0 is not between 1 and 100"),
        ({"augment": {"spin": 1}}, "augmentation 'spin' is unknown"),
    ],
)
def test_options_that_cannot_be_used_are_explained(options, message):
    with pytest.raises(UsageError) as raised:
        ShuffleOptions(**options)
    assert message in str(raised.value)


def test_a_croped_dataset_s_records_are_carried_on(cropped, tmp_path):
    shuffle_folder(cropped / "out", tmp_path / "out", ShuffleOptions(repeats=2))
    crops = {record.output: record for record in read_manifest(cropped / "out")}
    for record in read_manifest(tmp_path / "out"):
        crop = crops[record.source]
        assert (record.bucket, record.box, record.scale, record.source_size) == (
            crop.bucket,
            crop.box,
            crop.scale,
            crop.source_size,
        )
        assert record.source_sha256 == record.output_sha256 == crop.output_sha256
        assert (record.copy in (1, 2), record.captions) == (True, 1)
    lines = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [
        (tmp_path / "out" / line["file_name"]).with_suffix(".txt").read_text() for line in lines
    ]


def test_pictures_of_a_dataset_are_not_hashed_again(cropped, tmp_path, monkeypatch):
    copy = shutil.copytree(cropped, tmp_path / "copy")  # other paths: nothing is known of these
    read: list[str] = []
    opened = Path.open

    def watched(path, *args, **kwargs):
        read.append(path.name)
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", watched)
    shuffle_folder(cropped / "out", tmp_path / "known")
    assert not [name for name in read if name.endswith(".jpg")]
    shuffle_folder(copy / "out", tmp_path / "unknown")
    assert Counter(name for name in read if name.endswith(".jpg")) == {"astronaut.jpg": 1, "fig.jpg": 1}


def test_augmented_copies_come_from_the_source_of_the_crop(cropped, tmp_path):
    work = shutil.copytree(cropped, tmp_path / "work")
    crop_folder(work / "src", work / "out", CropOptions(detector="none", saliency="none", upscale=3))
    options = ShuffleOptions(repeats=2, augment={"rotate": 10.0})
    assert shuffle_folder(work / "out", work / "one", options).warnings == []
    records = {record.output: record for record in read_manifest(work / "one")}
    with Image.open(work / "one" / "fig_2.jpg") as picture:
        assert picture.size == records["fig_2.jpg"].bucket
    assert records["fig_1.jpg"].augmentation is None
    assert abs(records["fig_2.jpg"].augmentation["rotate"]) <= 10
    assert records["fig_2.jpg"].scale > records["fig_1.jpg"].scale
    (work / "src" / "fig.jpg").unlink()
    report = shuffle_folder(work / "out", work / "two", options)
    assert [(source, warning.kind) for source, warning in report.warnings] == [("fig.jpg", "source-gone")]
    assert (work / "one" / "fig_2.jpg").read_bytes() != (work / "two" / "fig_2.jpg").read_bytes()
    assert (work / "one" / "astronaut_2.jpg").read_bytes() == (work / "two" / "astronaut_2.jpg").read_bytes()


def test_tags_that_no_comma_separates_are_told(cropped, tmp_path):
    folder = shutil.copytree(cropped / "out", tmp_path / "in")
    (folder / "astronaut.txt").write_text("ohwx; red hair; park")
    (folder / "fig.txt").write_text("1girl solo long_hair")
    notes = plan_shuffle(folder, ShuffleOptions(repeats=1))[1].notes
    assert [note for note in notes if "separated" in note] == [
        "tags of 1 picture seem to be separated by ';', and are one token: --separator ';' shuffles them: astronaut.jpg",
        "tags of 1 picture seem to be separated by ' ', and are one token: --separator ' ' shuffles them: fig.jpg",
    ]
    assert not any("separated" in note for note in plan_shuffle(folder, ShuffleOptions(repeats=1, separator=";"))[1].notes)


def test_a_mirrored_copy_says_so_and_pictures_of_writing_are_not_mirrored(cropped, tmp_path):
    (text := shutil.copytree(cropped / "out", tmp_path / "in") / "astronaut.txt").write_text(
        "astronaut, name in letters on the left"
    )
    report = shuffle_folder(text.parent, tmp_path / "out", ShuffleOptions(repeats=3, augment={"flip": 1}))
    assert "red bowl on the right" in (tmp_path / "out" / "fig_2.txt").read_text()
    assert "red bowl on the left" in (tmp_path / "out" / "fig_1.txt").read_text()
    assert "on the left" in (tmp_path / "out" / "astronaut_2.txt").read_text()
    assert report.notes == [
        "2 copies not flipped, as their captions speak of writing (--flip-anyway): astronaut_2.jpg (letters), astronaut_3.jpg (letters)",
        "fewer than 3 orders of their tokens exist, so some come twice: astronaut.jpg",
    ]
    flipped, _ = plan_shuffle(text.parent, ShuffleOptions(repeats=2, augment={"flip": 1}, flip_anyway=True))
    assert [variant.augmentation for variant in flipped] == [{}, {"flip": True}] * 2


def test_a_plan_writes_nothing(source):
    before = sorted(source.parent.rglob("*"))
    variants, report = plan_shuffle(source, ShuffleOptions(repeats=2))
    assert (len(variants), report.done) == (6, 6)
    assert sorted(source.parent.rglob("*")) == before


def test_formats_that_cannot_be_written_become_png_when_augmented(tmp_path):
    (tmp_path / "src").mkdir()
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "src" / "A.BMP")
    (tmp_path / "src" / "A.txt").write_text(CAPTION)
    shuffle_folder(tmp_path / "src", tmp_path / "out", ShuffleOptions(repeats=2, augment={"rotate": 5}))
    assert sorted(path.name for path in (tmp_path / "out").glob("A*")) == ["A_1.bmp", "A_1.txt", "A_2.png", "A_2.txt"]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("ohwx woman, park, red coat", "ohwx woman, park, red coat"),
        ("park, Ohwx_Woman, red coat", "Ohwx_Woman, park, red coat"),
        ("red car, park", "ohwx woman, red car, park"),
        ("photo of ohwx woman, park", "photo of ohwx woman, park"),
        ("ohwx womanly, park", "ohwx woman, ohwx womanly, park"),
    ],
)
def test_a_prefix_that_is_there_is_not_doubled_and_stays_in_front(caption, expected):
    for keep in (0, 1):
        options = ShuffleOptions(repeats=3, prefix="ohwx woman", keep=keep)
        variants = variants_of("a.png", "a_", [tokens_of(caption, options)], options)
        assert variants[0].caption == expected
        assert {variant.caption.split(", ")[0] for variant in variants} == {expected.split(", ")[0]}


def test_how_captions_are_read_is_told(source):
    for stem, caption in (
        ("a", "red car, night"),
        ("b", "A car is red. It is night."),
        ("c", "night ||| A car is red. It is old."),
    ):
        (source / f"{stem}.txt").write_text(caption)
    report = shuffled(source, repeats=2)
    assert report.table["captions read as"] == "tags 1, sentences 1, both 1"
    assert any("--keep-separator '|||'" in note for note in report.notes)
    assert not any("|||" in note for note in shuffled(source, repeats=2, keep_separator="|||").notes)
