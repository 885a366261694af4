"""Contact sheets: every picture is on one, as it was written."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from datakit import CropOptions, crop_folder
from datakit.dataset.decisions import DECISIONS
from datakit.errors import UsageError
from datakit.review import typesetting
from datakit.review.sheet import write_sheets
from datakit.shuffle.folder import shuffle_folder
from datakit.shuffle.variants import ShuffleOptions
from tests.review.scripts import SCRIPTS

# Where the texts of a cell are, from the lower edge of its picture.
NAME, CAPTION = np.s_[4:23, :150], np.s_[23:60, :244]


@pytest.fixture
def lettered(tmp_path_factory):
    """Make a dataset of plain pictures with these names and captions; return what is below each on its sheet, and what is missing."""

    def make(captions):
        folder = tmp_path_factory.mktemp("lettered")
        (folder / "src").mkdir()
        for name, caption in captions.items():
            Image.new("RGB", (1024, 1024), (90, 120, 150)).save(folder / "src" / f"{name}.png")
            if caption is not None:
                (folder / "src" / f"{name}.txt").write_text(caption, "utf-8")
        crop_folder(folder / "src", folder / "out", CropOptions(detector="none", saliency="none"))
        sheets = write_sheets(folder / "out", folder / "sheet.png", columns=4, rows=40)
        with Image.open(sheets.files[0]) as sheet:
            page = np.asarray(sheet.convert("RGB"))
        places = [(28 + number // 4 * 314 + 240, 28 + number % 4 * 260) for number in range(len(captions))]
        return [page[top : top + 66, left : left + 256] for top, left in places], sheets.missing

    return make


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
    (sheet,) = write_sheets(out, tmp_path / "sheet.png").files
    for picture in sorted(out.glob("*.jpg")):
        assert found(sheet, fitted(picture)), picture
    assert not found(sheet, fitted(sorted(out.glob("*.jpg"))[0])[::-1])


def test_what_does_not_fit_goes_to_more_sheets(out, tmp_path):
    sheets = write_sheets(out, tmp_path / "sheet.jpg", columns=2, rows=1).files
    assert [sheet.name for sheet in sheets] == ["sheet.jpg", "sheet-2.jpg"]
    pictures = [fitted(path) for path in sorted(out.glob("*.jpg"))]
    assert [found(sheets[0], picture) for picture in pictures] == [True, True, False, False]
    assert [found(sheets[1], picture) for picture in pictures] == [False, False, True, True]


def test_size_and_caption_stand_under_a_picture(out, tmp_path):
    (before,) = write_sheets(out, tmp_path / "before.png", columns=4).files
    (out / "fig.txt").write_text("quite another caption, much longer than what there is room for " * 20)
    (after,) = write_sheets(out, tmp_path / "after.png", columns=4).files
    one, other = (np.asarray(Image.open(sheet).convert("L"), int) for sheet in (before, after))
    rows, columns = np.nonzero(one != other)
    assert one.shape == other.shape
    assert rows.min() > 28 + 240  # below the pictures
    third = 28 + 2 * 260
    assert (
        third - 2 <= columns.min()
    )  # a letter may start a little before its place; under the third picture, dandelion dogs fig mountains
    assert columns.max() < third + 240


def test_captions_of_any_script_are_drawn_with_the_fonts_that_come_with_the_project(lettered, monkeypatch):
    monkeypatch.setattr(typesetting, "SYSTEM_FOLDERS", ())
    captions = list(SCRIPTS.values())
    cells, missing = lettered({f"{number:02}": caption for number, caption in enumerate(captions)})
    assert missing == ()
    drawn = [cell[CAPTION].tobytes() for cell in cells]
    assert len(set(drawn)) == len(captions)


def test_file_names_of_any_script_are_drawn_with_the_fonts_that_come_with_the_project(lettered, monkeypatch):
    monkeypatch.setattr(typesetting, "SYSTEM_FOLDERS", ())
    cells, missing = lettered({name.replace("/", " "): None for name in SCRIPTS.values()})
    assert missing == ()
    assert len({cell[NAME].tobytes() for cell in cells}) == len(SCRIPTS)


def test_the_same_captions_make_the_same_sheet(lettered):
    one, other = ([cell.tobytes() for cell in lettered(SCRIPTS)[0]] for _ in range(2))
    assert one == other


def test_a_long_name_is_shown_by_its_end(lettered):
    (one, other, end), _ = lettered({"1" * 60 + "one": None, "2" * 60 + "one": None, "3" * 60 + "two": None})
    last = np.s_[:, 110:]
    assert (one[NAME][last] == other[NAME][last]).all()
    assert (one[NAME][last] != end[NAME][last]).any()


def test_captions_are_broken_at_spaces_and_between_chinese_or_japanese_letters(lettered):
    captions = {"a": "short " + "w" * 30, "b": "短い " + "青い空の下で" * 20, "c": "青い空の下で" * 20, "d": "w" * 300}
    cells, _ = lettered(captions)
    widths = [np.nonzero((cell[CAPTION][:17] != 255).any(axis=(0, 2)))[0].max() for cell in cells]
    assert widths[0] < 50
    assert min(widths[1:]) > 220


def test_no_text_leaves_its_cell(lettered):
    cells, _ = lettered({f"{number:02} {name}": (caption + " ") * 20 for number, (name, caption) in enumerate(SCRIPTS.items())})
    for cell in cells:
        assert (cell[:, 244:] == 255).all()
    cells, _ = lettered({"a": "e" + "\u0903" * 300 + " ok", "b": "👩\u200d" * 200})
    assert all((cell[:, 244:] == 255).all() for cell in cells)


def test_every_copy_is_shown(out, tmp_path):
    shuffle_folder(out, tmp_path / "copies", ShuffleOptions(repeats=3, augment={"flip": 1}))
    (sheet,) = write_sheets(tmp_path / "copies", tmp_path / "sheet.png").files
    with Image.open(sheet) as drawn:
        assert drawn.size == (2 * 28 + 6 * 260 - 20, 2 * 28 + 2 * (240 + 54) + 20)
    assert found(sheet, fitted(tmp_path / "copies" / "fig_2.jpg"))


def test_a_damaged_picture_leaves_a_gap(out, tmp_path):
    (out / "dogs.jpg").write_bytes(b"no picture")
    (sheet,) = write_sheets(out, tmp_path / "sheet.png").files
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
    (tmp_path / "mine" / DECISIONS).write_text("nonsense\n")
    done = datakit("sheet", "mine", "other.jpg")
    assert (done.returncode, f"{DECISIONS}, line 1" in done.stderr) == (2, True)


def test_the_command_names_what_no_font_has(datakit, out):
    (out / "fig.txt").write_text("a \U0010abcd fig", "utf-8")
    done = datakit("sheet", out, "sheet.png")
    note = "note: no font here has U+10ABCD: a box stands for each; install fonts with more signs, such as Noto\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, "wrote sheet.png\n", note)
    (out / "fig.txt").write_text("".join(map(chr, range(0x10ABC0, 0x10ABC9))), "utf-8")
    done = datakit("sheet", out, "more.png")
    assert (
        "no font here has U+10ABC0, U+10ABC1, U+10ABC2, U+10ABC3, U+10ABC4 and 4 more signs: a box stands for each" in done.stderr
    )
