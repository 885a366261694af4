"""Lines of text: which font draws what, in which order, and what no font has."""

from __future__ import annotations

import hashlib
import re
import shutil
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image, ImageDraw, features

from datakit.review import typesetting
from datakit.review.right_to_left import in_drawing_order
from datakit.review.typesetting import FONTS, Typesetter, clusters
from tests.review.scripts import SCRIPTS

FOLDER = files("datakit.review") / "fonts"
NOWHERE = "\U0010abcd"


@pytest.fixture(autouse=True)
def no_system_fonts(monkeypatch):
    monkeypatch.setattr(typesetting, "SYSTEM_FOLDERS", ())


def drawn(line, typesetter=None):
    image = Image.new("L", (400, 30), 255)
    (typesetter or Typesetter(13)).draw(ImageDraw.Draw(image), line, (4, 20), 0)
    return np.asarray(image)


def test_every_font_is_documented_where_it_lies():
    rows = re.findall(r"^\| `(\S+\.ttf)` \|.*`([0-9a-f]{64})` \|$", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE)
    assert rows == [(name, hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()) for name in FONTS]
    licences = {"DejaVu.txt", "OFL.txt"}
    assert {path.name for path in FOLDER.iterdir()} == {"README.md", *FONTS, *licences}


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_fonts_that_come_with_the_project_have_the_usual_scripts(script):
    typesetter = Typesetter(13)
    drawn(SCRIPTS[script], typesetter)
    assert typesetter.missing == ()


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_letter_is_drawn_as_itself(script):
    letters = [letter for letter in clusters(SCRIPTS[script]) if letter.strip(" \u200c\u200d")]
    box = drawn(NOWHERE).tobytes()
    for letter in letters:
        shape = drawn(letter)
        assert shape.min() < 128, letter
        assert shape.tobytes() != box, letter


def test_what_no_font_has_is_drawn_as_boxes_and_told_once():
    typesetter = Typesetter(13)
    typesetter.width("\U0010abce")
    assert typesetter.missing == ()  # measured, not drawn
    assert (drawn(f"{NOWHERE}\ue123{NOWHERE}", typesetter) == drawn("□□□")).all()
    assert typesetter.missing == (NOWHERE, "\ue123")


def test_the_fonts_of_the_system_have_what_the_others_lack(tmp_path, monkeypatch):
    expected = drawn("青い空 sky")
    (tmp_path / "fonts" / "deep").mkdir(parents=True)
    (tmp_path / "fonts" / "broken-regular.ttf").write_bytes(b"no font")
    shutil.copy(FOLDER / "DroidSansFallback.ttf", tmp_path / "fonts" / "deep" / "cjk.ttf")
    monkeypatch.setattr(typesetting, "FONTS", ("DejaVuSans.ttf",))
    monkeypatch.setattr(typesetting, "SYSTEM_FOLDERS", (str(tmp_path / "none"), str(tmp_path / "fonts")))
    typesetter = Typesetter(13)
    assert (drawn("青い空 sky", typesetter) == expected).all()
    assert typesetter.missing == ()


def test_a_line_is_as_wide_as_it_is_drawn():
    for caption in SCRIPTS.values():
        typesetter = Typesetter(13)
        width = typesetter.width(caption)
        columns = np.nonzero(drawn(caption, typesetter).min(axis=0) < 255)[0]
        assert columns.min() >= 2
        assert columns.max() <= 4 + width + 1


def test_letters_and_accents_are_drawn_as_the_letter_with_its_accent():
    assert (drawn("e\u0301t\u0065\u0302 \u1112\u1161\u11ab") == drawn("étê 한")).all()


def test_signs_without_a_shape_take_no_room_and_steer_nothing():
    assert (drawn("a\u202eb\u200fc\u00add\ufe0f\u2066") == drawn("abcd")).all()
    assert (drawn("a\tb\u3000c\nd") == drawn("a b c d")).all()


@pytest.mark.skipif(not features.check("raqm"), reason="FriBiDi is not on this system")
def test_only_marks_and_what_makes_one_sign_of_several_depend_on_the_system(monkeypatch):
    with_raqm = {script: drawn(caption) for script, caption in SCRIPTS.items()}
    monkeypatch.setattr(features, "check", lambda name: False)
    same = {script for script, caption in SCRIPTS.items() if (drawn(caption) == with_raqm[script]).all()}
    assert set(SCRIPTS) - same == {"accents", "hindi", "thai", "emoji"}
    for script in ("accents", "hindi", "thai", "emoji"):
        typesetter = Typesetter(13)
        drawn(SCRIPTS[script], typesetter)
        assert typesetter.missing == ()


def test_letters_are_not_cut_from_their_marks():
    assert clusters("x\u0302y हिन्दी 👩\u200d🚀👍🏽") == ["x\u0302", "y", " ", "हि", "न्", "दी", " ", "👩\u200d🚀", "👍🏽"]


@pytest.mark.parametrize(
    ("line", "order"),
    [
        ("left to right, 1 (2)", "left to right, 1 (2)"),
        ("שלום", "םולש"),
        ("שלום abc 123", "abc 123 םולש"),
        ("abc שלום, עולם 12-3", "abc 12-3 םלוע ,םולש"),
        ("(שלום) [a]", "[a] (םולש)"),
        ("שלום 1,234.5% a", "a 1,234.5% םולש"),
        ("سلام", "\ufee1\ufefc\ufeb3"),  # seen, lam with alef, meem
        ("بَب", "\ufe90\u064e\ufe91"),  # a mark before its letter, and not in the way
        ("می\u200cایستد", "\ufeaa\ufe98\ufeb4\ufbfe\ufe8d\u200c\ufbfd\ufee3"),  # the non-joiner keeps letters apart
        ("٣٤ ب", "\ufe8f ٣٤"),
        ("ـب", "\ufe90\u0640"),
    ],
)
def test_what_runs_from_right_to_left_is_put_in_order_and_joined(line, order):
    assert in_drawing_order(line) == order
