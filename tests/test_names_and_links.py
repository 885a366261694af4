"""Any name that a file can have, links wherever they lead, and hundreds of files, through all three commands."""

from __future__ import annotations

import io
import os
import shutil
import sys

import pytest
from PIL import Image

from datakit import CropOptions, crop_folder, read_manifest
from datakit.audit.checks import list_files
from datakit.dataset.manifest import to_line
from datakit.dataset.store import Store
from tests.commands import invoke, said, untouched
from tests.conftest import tree

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="names that only POSIX systems allow")


def final_picture() -> bytes:
    """A picture that is already as crop writes it, so that it is copied as it is."""
    target = io.BytesIO()
    Image.new("RGB", (1024, 1024), (200, 120, 40)).save(target, "PNG")
    return target.getvalue()


NAMES = [
    "-rf.png", "--help.png", "--jobs=1.png", "new\nline.png", "tab\t.png", 'quo"te.png', "a'b.png", "%s%n{0}.png", "$(touch x).png",
    "a:b?c*d|e.png", "<less>.png", "back\\slash.png", "con.png", "NUL.tar.png", "trailing .png", "dots..png", "...leading.jpg.png",
    "ümlaut é.png", "e\u0301.png", "\u202egnp.png", "💾.png", "x" * 249 + ".png", "ü" * 124 + ".png", "deep/er/" + "y" * 200 + ".png",
]  # fmt: skip


def test_any_name_a_file_can_have_goes_through_all_three_commands(tmp_path):
    source = tmp_path / "src"
    names = [name for name in NAMES if not name.startswith(".")]
    for name in names:
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(final_picture())
        path.with_name(path.name[:-4] + ".txt").write_text(f"a, b, {name!r}", "utf-8")
    before = untouched(source)
    for line in (
        "crop src out --detector=none --saliency=none",
        "shuffle out lines --captions-only --repeats=2",
        "backend lines --cache-root=cache",
        "verify",
    ):
        status, output = said(line, tmp_path)
        assert status == 0, (line, output)
    assert {record.output for record in read_manifest(tmp_path / "lines")} == set(names)
    for name in names:
        assert (tmp_path / "lines" / f"{name[:-4]}.txt").read_text("utf-8").startswith("a, b, ")
    assert untouched(source) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".datakit", "lines", "multidatabackend.json", "out", "src"]


def test_a_name_that_leaves_no_room_for_a_copys_number_is_named(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / ("x" * 251 + ".png")).write_bytes(final_picture())
    (tmp_path / "src" / ("x" * 251 + ".txt")).write_text("a, b")
    assert said("crop src out --detector=none --saliency=none", tmp_path)[0] == 0
    status, output = said("shuffle out copies --repeats=2", tmp_path)
    assert status == 1
    assert "File name too long" in output
    assert len(list(read_manifest(tmp_path / "copies"))) == 0


@pytest.mark.parametrize("command", ["crop", "shuffle", "backend"])
def test_a_name_that_is_no_utf_8_is_named_and_costs_no_other(corpus, tmp_path, command):
    folder = shutil.copytree(corpus / ("src" if command == "crop" else "dataset"), tmp_path / "in")
    shutil.copy(folder / "fig0.jpg", os.fsencode(folder) + b"/fig\xff.jpg")
    line = {
        "crop": "crop in out --upscale=3 --detector=none --saliency=none",
        "shuffle": "shuffle in out --repeats=1",
        "backend": "backend in --cache-root=cache",
    }
    status, output = said(line[command], tmp_path)
    assert status == 1
    assert "fig\\udcff.jpg" in output
    if command != "backend":
        assert "fig\\\\udcff.jpg" in said(f"{line[command]} --json", tmp_path)[1]
    assert command == "backend" or len(list((tmp_path / "out").glob("*.jpg"))) == 12


@pytest.fixture
def linked(corpus, tmp_path):
    """Return a function that makes a folder with a loop, a link to nothing, and links to a picture and a folder outside."""

    def make(kind):
        outside = tmp_path / "outside"
        outside.mkdir()
        for stem in ("fig0", "temple0"):
            for suffix in (".jpg", ".txt"):
                shutil.copy(corpus / kind / f"{stem}{suffix}", outside)
        folder = tmp_path / "in"
        (folder / "sub").mkdir(parents=True)
        for suffix in (".jpg", ".txt"):
            shutil.copy(corpus / kind / f"djembe0{suffix}", folder)
            (folder / f"linked{suffix}").symlink_to(outside / f"fig0{suffix}")
        (folder / "sub" / "loop").symlink_to(folder)
        (folder / "loop").symlink_to("loop")
        (folder / "itself.txt").symlink_to("itself.txt")
        (folder / "nowhere.jpg").symlink_to("no such file.jpg")
        (folder / "away").symlink_to(outside)
        return folder, outside

    return make


@pytest.mark.parametrize("command", ["crop", "shuffle"])
def test_links_are_read_but_never_written_through(linked, tmp_path, command):
    folder, outside = linked("src" if command == "crop" else "dataset")
    before = untouched(folder), untouched(outside)
    options = "--upscale=3 --detector=none --saliency=none" if command == "crop" else "--repeats=1"
    status, output = said(f"{command} in out {options}", tmp_path)
    assert status == 1
    assert "sub/loop: link leads back to a folder that encloses it" in output
    assert "nowhere.jpg: link leads nowhere" in output
    expected = {"djembe0", "linked", "away/fig0", "away/temple0"}
    found = {name[:-4].removesuffix("_1") for name in tree(tmp_path / "out") if name.endswith(".jpg")}
    assert found == expected
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))
    assert (untouched(folder), untouched(outside)) == before


def test_backend_ends_in_a_dataset_with_loops_and_names_what_is_not_its(corpus, tmp_path):
    dataset = shutil.copytree(corpus / "dataset", tmp_path / "in")
    for name in ("one", "two", "three"):
        (dataset / name).symlink_to(dataset)
    (dataset / "away").symlink_to(corpus / "src")
    assert len(list_files(dataset)) < 100
    before = untouched(corpus / "src")
    for line in ("backend in --cache-root=cache", "backend in --cache-root=cache --fix", "check in"):
        status, output = said(line, tmp_path)
        assert status == 1
        assert "away/fig0.jpg" in output
    assert untouched(corpus / "src") == before


def test_nothing_is_deleted_or_mended_behind_a_link(corpus, tmp_path):
    """A folder of a dataset that was replaced by a link to the source."""
    source, out = tmp_path / "src", tmp_path / "out"
    shutil.copytree(corpus / "dataset", source / "sub", ignore=shutil.ignore_patterns(".*", "*.jsonl"))
    crop_folder(source, out, CropOptions(detector="none", saliency="none"))
    shutil.copytree(out / "sub", tmp_path / "victim")
    shutil.rmtree(out / "sub")
    (out / "sub").symlink_to(tmp_path / "victim")
    (tmp_path / "victim" / "fig0.txt").write_bytes(b"\xef\xbb\xbfmine\r\n")
    (source / "sub" / "fig1.jpg").unlink()
    before = untouched(tmp_path / "victim")
    for line in ("check out --fix", "crop src out --detector=none --saliency=none --prune --overwrite --jobs=1"):
        assert invoke(line.split(), tmp_path).exit_code == 1
        assert untouched(tmp_path / "victim") == before, line


@pytest.mark.parametrize("name", ["", "lock", "journal.jsonl", "tmp", "seen.sqlite"])
def test_a_working_folder_that_is_a_link_is_refused(corpus, tmp_path, name):
    out, victim = tmp_path / "out", tmp_path / "victim"
    victim.mkdir()
    (victim / "mine").write_text("mine\n")
    (out / ".datakit").mkdir(parents=True)
    place = out / ".datakit" / name if name else out / ".datakit"
    if not name:
        place.rmdir()
    place.symlink_to(victim if name in ("", "tmp") else victim / "mine")
    before = untouched(victim)
    ended = invoke(["crop", str(corpus / "src"), str(out)], tmp_path)
    assert ended.exit_code == 2
    assert "is a link, which datakit never makes there" in ended.stderr
    assert untouched(victim) == before


def test_an_output_whose_name_differs_in_case_only_is_deleted_where_it_is_another_file(corpus, tmp_path):
    with renamed_in_case(corpus, tmp_path) as (store, old):
        assert {path.name for path in tmp_path.glob("out/*.jpg")} == {"Fig.jpg", "fig.jpg"}
        store.forget(old)
        assert {path.name for path in tmp_path.glob("out/*.jpg")} == {"fig.jpg"}


def test_an_output_is_not_deleted_under_a_name_that_another_record_has(corpus, tmp_path, monkeypatch):
    """On a disk that takes ``Fig.jpg`` and ``fig.jpg`` for one file: a listing shows one of the two names."""
    with renamed_in_case(corpus, tmp_path) as (store, old):
        listing = os.listdir
        monkeypatch.setattr(os, "listdir", lambda folder: [name for name in listing(folder) if not name.startswith("Fig")])
        before = tree(tmp_path / "out")
        store.forget(old)
        assert tree(tmp_path / "out") == before
        assert store.outputs() == ["fig.jpg"]


def renamed_in_case(corpus, tmp_path):
    """A dataset with the outputs ``Fig.jpg`` and ``fig.jpg``, held for writing, and the record of the first."""
    import contextlib

    import msgspec

    (tmp_path / "src").mkdir()
    shutil.copy(corpus / "dataset" / "fig0.jpg", tmp_path / "src" / "fig.jpg")
    crop_folder(tmp_path / "src", tmp_path / "out", CropOptions(detector="none", saliency="none"))
    (record,) = read_manifest(tmp_path / "out")
    old = msgspec.structs.replace(record, output="Fig.jpg", source="Fig.jpg")
    (tmp_path / "out" / "manifest.jsonl").write_bytes(to_line(old) + to_line(record))
    shutil.copy(tmp_path / "out" / "fig.jpg", tmp_path / "out" / "Fig.jpg")

    @contextlib.contextmanager
    def held():
        with Store(tmp_path / "out") as store:
            yield store, old

    return held()


def test_three_hundred_pictures_go_through_all_three_commands(tmp_path):
    source = tmp_path / "src"
    target = io.BytesIO()
    Image.new("RGB", (1024, 1024), (200, 120, 40)).save(target, "JPEG", quality=30)
    for folder in range(10):
        (source / f"{folder}").mkdir(parents=True)
    (source / "0" / "00000.jpg").write_bytes(target.getvalue())
    for number in range(300):
        path = source / f"{number % 10}" / f"{number:05}.jpg"
        if number:
            os.link(source / "0" / "00000.jpg", path)
        path.with_suffix(".txt").write_text(f"a photo, number {number}, small, plain")
    for line in (
        "crop src out --detector=none --saliency=none",
        "shuffle out copies --repeats=2",
        "backend copies --cache-root=cache",
    ):
        status, output = said(line, tmp_path)
        assert status == 0, (line, output)
    assert sum(1 for _ in read_manifest(tmp_path / "out")) == 300
    assert sum(not name.startswith(".") for name in list_files(tmp_path / "copies")) == 1_203
