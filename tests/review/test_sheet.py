"""Contact sheets: every picture is on one, as it was written."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from datakit.errors import UsageError
from datakit.overrides import OVERRIDES
from datakit.review.sheet import write_sheets
from datakit.shuffle import shuffle_folder
from datakit.variants import ShuffleOptions


def fitted(path, side=240):
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(picture, float)


def found(sheet, picture):
    """Tell whether a picture is somewhere on a sheet: some place differs little from it, coarsely."""
    page = np.asarray(Image.open(sheet).convert("RGB"), float)
    height, width = picture.shape[:2]
    rows, columns = page.shape[0] - height + 1, page.shape[1] - width + 1
    probes = [(y, x) for y in range(4, height, 29) for x in range(4, width, 29)]
    off = np.zeros((rows, columns))
    for y, x in probes:
        off += np.abs(page[y : y + rows, x : x + columns] - picture[y, x]).mean(axis=2)
    return off.min() / len(probes) < 14


def test_every_picture_is_on_the_sheet_as_it_was_written(out, tmp_path):
    (sheet,) = write_sheets(out, tmp_path / "sheet.png")
    for picture in sorted(out.glob("*.jpg")):
        assert found(sheet, fitted(picture)), picture
    assert not found(sheet, fitted(sorted(out.glob("*.jpg"))[0])[::-1])


def test_what_does_not_fit_goes_to_more_sheets(out, tmp_path):
    sheets = write_sheets(out, tmp_path / "sheet.jpg", columns=2, rows=1)
    assert [sheet.name for sheet in sheets] == ["sheet.jpg", "sheet-2.jpg"]
    pictures = [fitted(path) for path in sorted(out.glob("*.jpg"))]
    assert [found(sheets[0], picture) for picture in pictures] == [True, True, False, False]
    assert [found(sheets[1], picture) for picture in pictures] == [False, False, True, True]


def test_size_and_caption_stand_under_a_picture(out, tmp_path):
    (before,) = write_sheets(out, tmp_path / "before.png", columns=4)
    (out / "fig.txt").write_text("quite another caption, much longer than what there is room for " * 20)
    (after,) = write_sheets(out, tmp_path / "after.png", columns=4)
    one, other = (np.asarray(Image.open(sheet).convert("L"), int) for sheet in (before, after))
    rows, columns = np.nonzero(one != other)
    assert one.shape == other.shape
    assert rows.min() > 28 + 240  # below the pictures
    third = 28 + 2 * 260
    assert (
        third - 2 <= columns.min()
    )  # a letter may start a little before its place; under the third picture, dandelion dogs fig mountains
    assert columns.max() < third + 240


@pytest.mark.parametrize(("one", "other"), [("größer", "gräßer"), ("свет", "снег"), ("日本", "中文")])
def test_captions_of_any_script_are_drawn(out, tmp_path, one, other):
    sheets = []
    for caption in (one, other):
        (out / "fig.txt").write_text(caption, encoding="utf-8")
        sheets += write_sheets(out, tmp_path / f"{caption}.png")
    assert sheets[0].read_bytes() != sheets[1].read_bytes()  # letters without a shape would be drawn as the same box


def test_every_copy_is_shown(out, tmp_path):
    shuffle_folder(out, tmp_path / "copies", ShuffleOptions(repeats=3, augment={"flip": 1}))
    (sheet,) = write_sheets(tmp_path / "copies", tmp_path / "sheet.png")
    with Image.open(sheet) as drawn:
        assert drawn.size == (2 * 28 + 6 * 260 - 20, 2 * 28 + 2 * (240 + 54) + 20)
    assert found(sheet, fitted(tmp_path / "copies" / "fig_2.jpg"))


def test_a_damaged_picture_leaves_a_gap(out, tmp_path):
    (out / "dogs.jpg").write_bytes(b"no picture")
    (sheet,) = write_sheets(out, tmp_path / "sheet.png")
    assert found(sheet, fitted(out / "fig.jpg"))


def test_a_sheet_that_is_there_stays(out, tmp_path):
    write_sheets(out, tmp_path / "sheet.jpg", columns=1, rows=2)
    (tmp_path / "sheet.jpg").unlink()
    with pytest.raises(UsageError, match=r"sheet-2\.jpg is there already"):
        write_sheets(out, tmp_path / "sheet.jpg", columns=1, rows=2)
    assert not (tmp_path / "sheet.jpg").exists()
    write_sheets(out, tmp_path / "sheet.jpg", columns=1, rows=2, overwrite=True)


@pytest.mark.parametrize("name", ["sheet", "sheet.gif", "sheet.html"])
def test_a_format_that_cannot_be_written_is_refused(out, tmp_path, name):
    with pytest.raises(UsageError, match=r"name it \.jpg"):
        write_sheets(out, tmp_path / name)


def test_the_command_names_what_it_wrote(datakit, out, source, tmp_path):
    done = datakit("sheet", out, "sheet.webp", "--columns", "2", "--rows", "1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "wrote sheet.webp\nwrote sheet-2.webp\n", "")
    datakit("crop", source, "mine")
    done = datakit("sheet", "last.jpg")
    assert (done.stdout, done.stderr) == ("wrote last.jpg\n", "using mine/ (from the last crop)\n")
    done = datakit("sheet")
    assert (done.returncode, "name the picture to write" in done.stderr) == (2, True)
    (tmp_path / "mine" / OVERRIDES).write_text("nonsense\n")
    done = datakit("sheet", "mine", "other.jpg")
    assert (done.returncode, f"{OVERRIDES}, line 1" in done.stderr) == (2, True)
