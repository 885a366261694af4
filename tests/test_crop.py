from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datakit import CropOptions, Execution, Size, crop_folder, plan_crop, plan_folder, read_manifest
from datakit.audit.mend import mend_captions
from datakit.dataset.store import Store
from datakit.errors import DatasetBusyError, PlanError, TooSmallError, UsageError
from datakit.report import Warned
from datakit.shuffle.folder import shuffle_folder
from tests.conftest import BUCKETS, tree

ANY_SIZE = CropOptions(upscale=3.0)


@pytest.fixture(scope="module")
def cropped(pictures, tmp_path_factory):
    """The real pictures, cropped once for the tests that only look."""
    out = tmp_path_factory.mktemp("cropped") / "out"
    return out, crop_folder(pictures, out, ANY_SIZE)


@pytest.fixture
def source(pictures, tmp_path):
    """A small source folder that a test may change."""
    folder = tmp_path / "src"
    folder.mkdir()
    for stem in ("djembe", "fig"):
        shutil.copy(pictures / f"{stem}.jpg", folder)
        shutil.copy(pictures / f"{stem}.txt", folder)
    return folder


def read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_every_real_picture_becomes_exactly_one_of_the_eight_sizes(cropped, pictures):
    out, report = cropped
    count = sum(path.suffix != ".txt" for path in pictures.iterdir())
    assert (report.done, report.exit_code) == (count, 0)
    for record in read_manifest(out):
        with Image.open(out / record.output) as image:
            assert (Size(*image.size), image.mode) == (record.bucket, "RGB")
            assert record.bucket in BUCKETS
            assert not image.getexif()
            assert "icc_profile" not in image.info


def test_the_manifest_says_what_was_done(cropped, pictures):
    records = {record.source: record for record in read_manifest(cropped[0])}
    record = records["astronaut.jpg"]
    assert record.anchor == "face"
    assert record.why == "keeps the face whole"
    assert record.faces[0].kept == 1
    assert record.warnings == (Warned("enlarged", "enlarged 2.0 times"),)
    assert [record.output for record in records.values()] == sorted(record.output for record in records.values())
    assert all(record.caption for record in records.values())


def test_captions_come_along_word_for_word(cropped, pictures):
    for record in read_manifest(cropped[0]):
        assert (cropped[0] / record.caption).read_text("utf-8") == (pictures / record.caption).read_text("utf-8").strip()


def test_metadata_is_what_imagefolder_wants(cropped):
    lines = [json.loads(line) for line in (cropped[0] / "metadata.jsonl").read_text("utf-8").splitlines()]
    assert [line["file_name"] for line in lines] == [record.output for record in read_manifest(cropped[0])]
    assert all((cropped[0] / line["file_name"]).exists() and line["text"] for line in lines)


def test_any_number_of_workers_gives_the_same_bytes(cropped, pictures, tmp_path):
    crop_folder(pictures, tmp_path / "out", ANY_SIZE, execution=Execution(jobs=2))
    assert tree(tmp_path / "out") == tree(cropped[0])


def test_a_plan_applied_gives_the_bytes_of_a_direct_run(cropped, pictures, tmp_path):
    from datakit.dataset.manifest import to_line

    plans, report = plan_folder(pictures, ANY_SIZE)
    assert report.done == len(plans)
    (tmp_path / "plan.jsonl").write_bytes(b"".join(map(to_line, plans)))
    crop_folder(pictures, tmp_path / "out", ANY_SIZE, plan=tmp_path / "plan.jsonl")
    written = {name: content for name, content in tree(tmp_path / "out").items() if name != "manifest.jsonl"}
    assert written == {name: content for name, content in tree(cropped[0]).items() if name != "manifest.jsonl"}


def test_cropping_a_crop_changes_no_byte(cropped, tmp_path):
    report = crop_folder(cropped[0], tmp_path / "again")
    assert report.exit_code == 0
    pictures = {name: content for name, content in tree(cropped[0]).items() if not name.endswith(".jsonl")}
    assert pictures == {name: content for name, content in tree(tmp_path / "again").items() if not name.endswith(".jsonl")}


def test_a_second_run_makes_nothing(source, tmp_path):
    out = tmp_path / "out"
    crop_folder(source, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if ".datakit" not in path.parts}
    report = crop_folder(source, out)
    assert (report.done, report.skipped, report.exit_code) == (0, 2, 0)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if ".datakit" not in path.parts}


def test_only_what_changed_is_made_again(source, tmp_path, pictures):
    out = tmp_path / "out"
    crop_folder(source, out)
    shutil.copy(pictures / "dandelion.jpg", source / "fig.jpg")
    (source / "djembe.txt").write_text("another caption")
    shutil.copy(pictures / "brushes.jpg", source)
    report = crop_folder(source, out)
    assert (report.done, report.skipped) == (3, 0)
    assert (out / "djembe.txt").read_text() == "another caption"
    fresh = tmp_path / "fresh"
    crop_folder(source, fresh)
    assert tree(out) == tree(fresh)


def test_other_options_make_everything_again_and_leave_nothing_stale(source, tmp_path):
    out = tmp_path / "out"
    crop_folder(source, out)
    report = crop_folder(source, out, CropOptions(format="png"))
    assert report.done == 2
    assert sorted(path.name for path in out.glob("*.*") if path.suffix in (".jpg", ".png")) == ["djembe.png", "fig.png"]
    fresh = tmp_path / "fresh"
    crop_folder(source, fresh, CropOptions(format="png"))
    assert tree(out) == tree(fresh)


def test_what_is_used_for_nothing_is_told(source, tmp_path):
    (source / "fgi.txt").write_text("a fig")
    (source / "raw.NEF").touch()
    notes = crop_folder(source, tmp_path / "out").notes
    assert "1 caption file without a picture of that name: fgi.txt" in notes
    assert "left alone, as no pictures that can be read: 1 .nef" in notes


def test_removed_sources_are_reported_and_only_pruned_when_asked(source, tmp_path):
    out = tmp_path / "out"
    crop_folder(source, out)
    (source / "fig.jpg").unlink()
    report = crop_folder(source, out)
    assert (report.removed, report.pruned, (out / "fig.jpg").exists()) == (["fig.jpg"], False, True)
    report = crop_folder(source, out, execution=Execution(prune=True))
    assert (report.removed, report.pruned, (out / "fig.jpg").exists(), (out / "fig.txt").exists()) == (
        ["fig.jpg"],
        True,
        False,
        False,
    )
    assert [record.output for record in read_manifest(out)] == ["djembe.jpg"]


def test_a_dataset_is_made_from_one_folder(source, tmp_path):
    """Pictures of one name would replace each other, and those of the first folder would be taken for gone."""
    out, other = tmp_path / "out", tmp_path / "other"
    crop_folder(source, out)
    before = tree(out)
    other.mkdir()
    shutil.copy(source / "fig.jpg", other / "dogs.jpg")
    for dataset in (out, Path(shutil.copytree(out, tmp_path / "copy"))):
        with pytest.raises(UsageError, match=f"was made from {source}: name another folder"):
            crop_folder(other, dataset)
    with pytest.raises(UsageError, match="was written by datakit crop: name another folder"):
        shuffle_folder(out, tmp_path / "copy")
    assert tree(out) == before
    assert crop_folder(other, out, execution=Execution(overwrite=True)).done == 1


def test_a_source_that_was_moved_or_copied_goes_on(source, tmp_path):
    out, moved = tmp_path / "out", tmp_path / "moved"
    crop_folder(source, out)
    copies = tmp_path / "copies"
    shutil.copytree(source, copies / "src")
    shutil.copytree(out, copies / "out")
    assert crop_folder(copies / "src", copies / "out").done == 0
    source.rename(moved)
    source.mkdir()  # as the place of a disk that is not there
    assert crop_folder(moved, out).done == 0
    (tmp_path / "link").symlink_to(moved)
    assert crop_folder(tmp_path / "link", out).done == 0


def test_a_file_that_is_in_the_way_is_never_overwritten(source, tmp_path):
    out, away = tmp_path / "out", tmp_path / "fig.jpg"
    (source / "fig.jpg").rename(away)
    crop_folder(source, out)
    away.rename(source / "fig.jpg")
    (out / "fig.jpg").write_bytes(b"mine")
    report = crop_folder(source, out)
    assert (out / "fig.jpg").read_bytes() == b"mine"
    assert [(problem.source, "in the way" in problem.reason) for problem in report.refused] == [("fig.jpg", True)]
    assert report.skipped == 1
    assert crop_folder(source, out, execution=Execution(overwrite=True)).done == 2
    assert (out / "fig.jpg").read_bytes() != b"mine"


def test_no_dataset_is_begun_among_pictures_of_somebodys_own(source, tmp_path):
    out = tmp_path / "out"
    crop_folder(source, out)
    shutil.copytree(source, tmp_path / "copy")
    crop_folder(tmp_path / "copy", out)
    before = tree(source)
    with pytest.raises(UsageError, match=r"src holds pictures \(.*\) and is no dataset of datakit: name a new folder"):
        crop_folder(out, source)
    assert tree(source) == before
    assert not (source / ".datakit").exists()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    shutil.copy(source / "fig.jpg", theirs / "mine.JPG")
    with pytest.raises(UsageError, match="or use --overwrite to write among them"):
        crop_folder(source, theirs)
    shutil.copy(source / "djembe.jpg", theirs / "fig.jpg")
    for name in ("fig.txt", "metadata.jsonl"):
        (theirs / name).write_text("{}")
    report = crop_folder(source, theirs, execution=Execution(overwrite=True))
    assert (theirs / "mine.JPG").read_bytes() == (source / "fig.jpg").read_bytes()
    said = "3 files not datakit's, or edited since: replaced, as --overwrite asks: metadata.jsonl, fig.jpg, fig.txt"
    assert (report.exit_code, [note for note in report.notes if "replaced" in note]) == (0, [said])
    (theirs / "fig.jpg").write_bytes(b"mine")
    report = crop_folder(source, theirs, execution=Execution(overwrite=True))
    assert report.notes == ["1 file not datakit's, or edited since: replaced, as --overwrite asks: fig.jpg"]
    assert crop_folder(source, theirs, execution=Execution(overwrite=True)).notes == []


def test_what_is_said_of_a_missing_caption_ends_once_one_is_taken_in(source, tmp_path):
    out = tmp_path / "out"
    (source / "fig.txt").unlink()
    assert [warning.kind for _, warning in crop_folder(source, out).warnings] == ["caption-missing"]
    (out / "fig.txt").write_text("ohwx, by hand")
    assert mend_captions(out).adopted == ["fig.txt"]
    for options in (CropOptions(), CropOptions(quality=80)):
        assert crop_folder(source, out, options).warnings == []
        assert (out / "fig.txt").read_text() == "ohwx, by hand"


def test_a_caption_is_given_to_pictures_that_have_none_and_to_no_others(source, tmp_path):
    out, own = tmp_path / "out", (source / "djembe.txt").read_text().strip()
    (source / "fig.txt").unlink()
    shutil.copy(source / "fig.jpg", source / "pear.jpg")
    (source / "pear.txt").write_text(" \n")
    crop_folder(source, out)
    pictures = {path.name: path.stat().st_mtime_ns for path in out.glob("*.jpg")}
    for words, supplied in (("ohwx", "ohwx"), ("sks dog ", "sks dog"), ("sks dog ", "sks dog")):
        report = crop_folder(source, out, CropOptions(caption=words, captions="required"))
        assert [(out / f"{stem}.txt").read_text() for stem in ("djembe", "fig", "pear")] == [own, supplied, supplied]
        assert (report.exit_code, report.warnings) == (0, [])
        assert report.notes[-1] == "2 captions given by --caption, to pictures that have no other"
    assert report.skipped == 3
    (out / "pear.txt").write_text("by hand")
    (source / "fig.txt").write_text("a fig")
    assert mend_captions(out).adopted == ["pear.txt"]
    crop_folder(source, out, CropOptions(caption="another"))
    assert [(out / f"{stem}.txt").read_text() for stem in ("djembe", "fig", "pear")] == [own, "a fig", "by hand"]
    (source / "fig.txt").unlink()
    crop_folder(source, out, CropOptions(caption="another"))
    assert (out / "fig.txt").read_text() == "another"
    report = crop_folder(source, out)
    assert not (out / "fig.txt").exists()
    assert [(target, warning.kind) for target, warning in report.warnings] == [("fig.jpg", "caption-missing")]
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.jpg")}["djembe.jpg"] == pictures["djembe.jpg"]
    with pytest.raises(UsageError, match="caption is empty"):
        CropOptions(caption=" ")


def test_an_edited_caption_survives_another_run(source, tmp_path):
    out = tmp_path / "out"
    crop_folder(source, out)
    (out / "fig.txt").write_text("my own words")
    report = crop_folder(source, out)
    assert (out / "fig.txt").read_text() == "my own words"
    assert report.notes == ["fig.txt was edited since datakit wrote it: left as it is"]
    for options in (CropOptions(quality=80), CropOptions(format="png"), CropOptions()):
        report = crop_folder(source, out, options)
        assert (out / "fig.txt").read_text() == "my own words"
        assert (report.done, report.exit_code) == (2, 0)
    (source / "fig.txt").unlink()
    crop_folder(source, out)
    assert (out / "fig.txt").read_text() == "my own words"
    crop_folder(source, out, execution=Execution(overwrite=True))
    assert not (out / "fig.txt").exists()


def test_an_edited_caption_that_was_taken_into_the_manifest_survives_too(source, tmp_path):
    from datakit.audit.mend import mend_captions

    out = tmp_path / "out"
    crop_folder(source, out)
    (out / "fig.txt").write_text("my own words\n")
    mend_captions(out)
    for options in (CropOptions(quality=80), CropOptions(format="png"), CropOptions()):
        assert crop_folder(source, out, options).done == 2
        assert (out / "fig.txt").read_text() == "my own words\n"
    (source / "fig.jpg").unlink()
    crop_folder(source, out, execution=Execution(prune=True))
    assert ((out / "fig.jpg").exists(), (out / "fig.txt").exists()) == (False, True)


def test_an_edited_picture_is_never_replaced(source, tmp_path):
    out = tmp_path / "out"
    crop_folder(source, out)
    (out / "fig.jpg").write_bytes(b"retouched")
    report = crop_folder(source, out, CropOptions(quality=80))
    assert (out / "fig.jpg").read_bytes() == b"retouched"
    assert "fig.jpg was edited" in report.refused[0].reason


def test_a_deleted_output_is_made_again(source, tmp_path):
    out = tmp_path / "out"
    crop_folder(source, out)
    before = tree(out)
    (out / "fig.jpg").unlink()
    (out / "djembe.txt").unlink()
    assert crop_folder(source, out).done == 2
    assert tree(out) == before


def test_the_source_is_never_touched(awkward, tmp_path):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(awkward.rglob("*")) if path.is_file()}
    crop_folder(awkward, tmp_path / "out", execution=Execution(jobs=2))
    assert before == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(awkward.rglob("*")) if path.is_file()}


def test_awkward_pictures_are_used_or_named_with_the_reason(awkward, tmp_path, make):
    report = crop_folder(awkward, tmp_path / "out", execution=Execution(jobs=2))
    assert {problem.source for problem in report.failed} == {"broken/empty.png", "broken/text.jpg", "broken/truncated.jpg"}
    assert {problem.source for problem in report.refused} == {
        "broken/bomb.png",
        "broken/truncated.png",
        "sizes/strip.png",
        "sizes/tiny.png",
    }
    assert report.exit_code == 1
    records = list(read_manifest(tmp_path / "out"))
    assert report.done == len(records)
    names = {record.output for record in records}
    assert {"names/twin_jpg.jpg", "names/twin_png.png"} <= names
    assert len({name.casefold() for name in names}) == len(names)
    for record in records:
        with Image.open(tmp_path / "out" / record.output) as image:
            assert Size(*image.size) in BUCKETS
        if record.caption:
            data = (tmp_path / "out" / record.caption).read_bytes()
            assert data == data.strip()
            assert not {b"\r"[0], b"\x00"[0]} & set(data)
            data.decode("utf-8")
            assert not data.startswith(b"\xef\xbb\xbf")
    for bucket in make.BUCKETS:
        (record,) = [r for r in records if r.source.startswith("sizes/") and r.source_size == bucket and r.bucket == bucket]
        assert (record.scale, record.area_kept) == (1.0, 1.0)


def test_required_captions_refuse_what_has_none(awkward, tmp_path):
    report = crop_folder(awkward / "captions", tmp_path / "out", CropOptions(captions="required"))
    assert {problem.source for problem in report.refused} == {"missing.jpg", "empty.jpg"}


def test_a_transparent_magenta_does_not_come_out(awkward, tmp_path):
    crop_folder(awkward / "colour", tmp_path / "out", CropOptions(format="png"))
    pixels = read(tmp_path / "out" / "rgba_hidden.png")
    assert not (np.abs(pixels.astype(int) - (255, 0, 255)).max(axis=-1) < 60).all(axis=0).any()


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_forced_bucket_is_obeyed(awkward, tmp_path, bucket):
    source = tmp_path / "src"
    source.mkdir()
    shutil.copy(next((awkward / "sizes").glob("large*.jpg")), source / "a.jpg")
    crop_folder(source, tmp_path / "out", CropOptions(buckets=(bucket,)))
    assert read(tmp_path / "out" / "a.jpg").shape[1::-1] == bucket


def test_too_small_names_a_factor_that_is_enough(pictures):
    with pytest.raises(TooSmallError) as caught:
        plan_crop(pictures / "coffee.png")
    assert plan_crop(pictures / "coffee.png", CropOptions(upscale=caught.value.factor)).scale <= caught.value.factor


def plan_line(**changed):
    return (
        json.dumps({"source": "fig.jpg", "box": [100, 50, 1316, 882], "bucket": [1216, 832], "anchor": "manual"} | changed) + "\n"
    )


def test_a_box_drawn_by_hand_is_honoured(source, tmp_path):
    (tmp_path / "plan.jsonl").write_text(plan_line())
    report = crop_folder(source, tmp_path / "out", CropOptions(format="png"), plan=tmp_path / "plan.jsonl")
    assert (report.done, report.exit_code) == (1, 0)
    (record,) = read_manifest(tmp_path / "out")
    assert (record.anchor, record.box, record.scale) == ("manual", (100, 50, 1316, 882), 1.0)
    assert np.array_equal(read(tmp_path / "out" / "fig.png"), read(source / "fig.jpg")[50:882, 100:1316])


def test_a_window_drawn_by_hand_survives_a_plain_run(source, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "plan.jsonl").write_text(plan_line())
    crop_folder(source, out, plan=tmp_path / "plan.jsonl")
    for options, execution in (
        (CropOptions(quality=80), Execution()),
        (CropOptions(), Execution()),
        (CropOptions(), Execution(overwrite=True)),
    ):
        report = crop_folder(source, out, options, execution=execution)
        assert report.notes == ["1 picture as decided in decisions.jsonl"]
        record = next(record for record in read_manifest(out) if record.source == "fig.jpg")
        assert (record.anchor, record.box) == ("manual", (100, 50, 1316, 882))
    (out / "decisions.jsonl").unlink()
    crop_folder(source, out)
    assert {record.anchor for record in read_manifest(out)} == {"center"}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"box": [-1, 50, 1315, 882]}, "not inside the picture"),
        ({"box": [100, 50, 100, 882]}, "empty"),
        ({"box": [0, 0, 10**30, 10**30]}, "not inside the picture"),
        ({"box": [0, 0, 1216, 1000]}, "stretched"),
        ({"box": [0, 0, 608, 416]}, "--upscale 2"),
        ({"source": "gone.jpg"}, "no such picture"),
    ],
)
def test_a_plan_line_that_does_not_fit_its_picture_is_refused_by_number(source, tmp_path, changed, reason):
    (tmp_path / "plan.jsonl").write_text("\n" + plan_line(**changed))
    report = crop_folder(source, tmp_path / "out", plan=tmp_path / "plan.jsonl")
    (problem,) = report.failed + report.refused
    assert reason in problem.reason
    assert "line 2" in problem.reason or "--upscale" in problem.reason
    assert report.done == 0


@pytest.mark.parametrize(
    "line",
    [
        "no json\n", "[]\n", "{}\n", plan_line(box=[1, 2, 3]), plan_line(box="all"), plan_line(box=[0.5, 0, 10, 10]),
        plan_line(bucket=[1000, 1000]), plan_line(anchor="luck"), plan_line(source="../x.jpg"),
        plan_line(source="/etc/x.jpg"), plan_line(source="a/../../x.jpg"), plan_line(source=""), plan_line() + plan_line(),
    ],
)  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused_by_line_before_anything_is_written(source, tmp_path, line):
    (tmp_path / "plan.jsonl").write_text(line)
    with pytest.raises(PlanError, match=r"plan\.jsonl, line [12]"):
        crop_folder(source, tmp_path / "out", plan=tmp_path / "plan.jsonl")
    assert not (tmp_path / "out").exists()


def test_a_manifest_edited_beyond_use_is_refused_by_line(source, tmp_path):
    out = tmp_path / "out"
    crop_folder(source, out)
    lines = (out / "manifest.jsonl").read_text().splitlines()
    (out / "manifest.jsonl").write_text("\n".join([lines[0], lines[1].replace('"fig.jpg"', '"../fig.jpg"')]))
    with pytest.raises(PlanError, match=r"manifest\.jsonl, line 2"):
        crop_folder(source, out)


def test_folders_that_cannot_be_used_are_errors(source, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for where, out, message in (
        (source, source, "source folder itself"),
        (source, source / "out", "inside the source"),
        (tmp_path / "empty", tmp_path / "out", "holds no pictures"),
        (tmp_path / "nowhere", tmp_path / "out", "does not exist"),
        (source, tmp_path / "file", "is a file"),
    ):
        with pytest.raises(UsageError, match=message):
            crop_folder(where, out)


def test_a_dataset_that_is_being_written_is_refused_by_name(source, tmp_path):
    with Store(tmp_path / "out"), pytest.raises(DatasetBusyError, match="out is being written"):
        crop_folder(source, tmp_path / "out")


@pytest.mark.parametrize(
    "wrong",
    [
        {"upscale": 0.5}, {"upscale": float("nan")}, {"quality": 0}, {"background": "nope"}, {"framing": "tight"},
        {"buckets": ()}, {"buckets": (Size(640, 640),)},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError):
        CropOptions(**wrong)


@pytest.mark.parametrize("table", [{"detector": "magic"}, {"saliency": "magic"}])
def test_an_unknown_name_lists_the_known_ones(source, tmp_path, table):
    with pytest.raises(UsageError, match="none"):
        crop_folder(source, tmp_path / "out", CropOptions(**table))


def test_portrait_framing_zooms_to_the_face(pictures):
    full = plan_crop(pictures / "astronaut.jpg", CropOptions(upscale=8))
    face = plan_crop(pictures / "astronaut.jpg", CropOptions(upscale=8, framing="face"))
    assert face.area_kept < 0.3 * full.area_kept
    assert face.faces[0].kept == 1


@pytest.mark.parametrize("saliency", ["mbd", "spectral", "all", "none"])
def test_every_saliency_map_gives_a_window(pictures, saliency):
    plan = plan_crop(pictures / "mountains.jpg", CropOptions(saliency=saliency, buckets=(Size(1024, 1024),)))
    assert plan.anchor == ("center" if saliency == "none" else "saliency")
