"""The page of strips in a browser: zoom, arrow keys, the slider; without a script; hostile prompts; nothing from elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from datakit.trained.comfy import watching
from datakit.trained.comfy.figures import Figures, Measuring
from datakit.trained.comfy.strip import Shown, draw_strip
from datakit.trained.comfy.webpage import Page, Place, Strip, write_page
from tests.commands import invoke
from tests.markup import Seen
from tests.trained.fake import TINY

EVIL = "<script>alert(1)</script> \"><img src=x onerror=alert(1)> & 'quoted' </style> מגדלור"


@pytest.fixture
def folder(comfy, tmp_path, monkeypatch) -> Path:
    """2 prompts of 4 pictures."""
    monkeypatch.setattr(watching, "_SOON", 0.005)
    done = invoke(
        [
            "checkpoints",
            "strip",
            str(TINY),
            "out",
            "--server",
            comfy.address,
            "--loras",
            "run1",
            "--base",
            "--prompt",
            "a lighthouse",
            "--prompt",
            EVIL,
            "--seed",
            "1",
        ],
        tmp_path,
    )
    assert done.exit_code == 0, done.output
    return tmp_path / "out"


def test_every_link_is_relative_and_leads_to_a_file_and_prompts_are_text(folder):
    text = (folder / "index.html").read_text("utf-8")
    seen = Seen(text)
    links = [attributes["href"] for tag, attributes in seen.elements if tag == "a"]
    images = [attributes["src"] for tag, attributes in seen.elements if tag == "img" and "src" in attributes]
    assert len(images) == 8
    assert len(links) == 8 + 2
    for link in (*links, *images):
        assert (folder / link).is_file(), link
    assert EVIL in seen.text
    assert [tag for tag, _ in seen.elements].count("script") == 1
    assert not [attributes for _, attributes in seen.elements if any(name.startswith("on") for name in attributes)]
    assert "default-src 'none'" in text
    assert not re.findall(r"https?://", re.sub(r"http-equiv=\S+ content=\"[^\"]*\"", "", text))


def test_arrow_keys_go_along_the_strip_and_across_rows(folder, tab):
    page = tab((folder / "index.html").as_uri())
    page.locator(".row").nth(0).locator(".picture").nth(1).click()
    shown = page.locator("img.one")
    for key, expected in (
        ("ArrowRight", "1000.png"),
        ("ArrowRight", "2000.png"),
        ("ArrowRight", "2000.png"),
        ("ArrowLeft", "1000.png"),
        ("ArrowDown", "seed-1/1000.png"),
        ("ArrowUp", "01-a-lighthouse/seed-1/1000.png"),
    ):
        page.keyboard.press(key)
        assert (shown.get_attribute("src") or "").endswith(expected), key
    assert "a lighthouse · seed 1" in (page.locator(".told").text_content() or "")
    page.keyboard.press("Escape")
    assert not page.locator(".viewer").is_visible()
    assert page.evaluate("document.activeElement.getAttribute('href')").endswith("1000.png")


def test_a_picture_is_zoomed_to_its_pixels_and_the_place_stays_from_one_to_the_next(folder, tab):
    page = tab((folder / "index.html").as_uri())
    page.locator(".picture").nth(1).click()
    whole = page.locator("img.one").bounding_box()
    page.keyboard.press("+")
    page.mouse.move(640, 400)
    page.mouse.wheel(0, -400)
    larger = page.locator("img.one").bounding_box()
    assert larger["width"] > 2 * whole["width"]
    page.keyboard.press("ArrowRight")
    assert page.locator("img.one").bounding_box() == larger
    page.mouse.move(640, 400)
    page.mouse.down()
    page.mouse.move(700, 420)
    page.mouse.up()
    moved = page.locator("img.one").bounding_box()
    assert (moved["x"] - larger["x"], moved["y"] - larger["y"]) == (60, 20)
    page.keyboard.press("0")
    assert page.locator("img.one").bounding_box() == whole


def test_the_slider_shows_two_columns_of_one_row(folder, tab):
    page = tab((folder / "index.html").as_uri())
    page.locator("#one").select_option("1")
    page.locator("#slide").click()
    one, two = page.locator("img.one"), page.locator("img.two")
    assert (one.get_attribute("src") or "").endswith("/500.png")
    assert (two.get_attribute("src") or "").endswith("/2000.png")
    assert two.evaluate("image => image.style.clipPath") == "inset(0px 0px 0px 50%)"
    page.keyboard.press("ArrowRight")
    assert two.evaluate("image => image.style.clipPath") == "inset(0px 0px 0px 52%)"
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, 300)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, 300)
    page.mouse.up()
    assert two.evaluate("image => image.style.clipPath") == "inset(0px 0px 0px 25%)"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("s")
    assert not two.is_visible()


def test_compare_opens_with_the_slider_and_works_on_a_phone(comfy, tmp_path, tab, monkeypatch):
    monkeypatch.setattr(watching, "_SOON", 0.005)
    done = invoke(
        ["checkpoints", "compare", str(TINY), "out", "--server", comfy.address, "--lora", "run1/checkpoint-500_lora.safetensors"],
        tmp_path,
    )
    assert done.exit_code == 0, done.output
    page = tab((tmp_path / "out" / "index.html").as_uri(), width=390, height=760, has_touch=True)
    assert page.locator(".viewer").is_visible()
    assert (page.locator("h2").text_content() or "").startswith("checkpoint-500_lora | checkpoint-500_lora + APG")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".close").click()
    assert page.locator(".place").count() == 3


def test_without_a_script_pictures_are_links(folder, tab):
    page = tab((folder / "index.html").as_uri(), wait=False, java_script_enabled=False)
    page.locator(".picture").nth(2).click()
    assert page.url.endswith("1000.png")


def test_a_page_of_nothing_yet_is_a_page(tmp_path):
    write_page(tmp_path / "index.html", Page("x", "ComfyUI", (0, 0)), [])
    assert "0 strips" in Seen((tmp_path / "index.html").read_text()).text
    write_page(
        tmp_path / "index.html",
        Page("x", "ComfyUI", (0, 0)),
        [Strip("p", "seed 1", None, (Place("500", None, why="not made yet"),))],
    )
    assert "not made yet" in Seen((tmp_path / "index.html").read_text()).text


def test_figures_are_what_they_say(tmp_path):
    for name, colour in (("red", (255, 0, 0)), ("grey", (100, 100, 100)), ("red2", (255, 0, 0))):
        image = Image.new("RGB", (10, 10), colour)
        image.putpixel((0, 0), (0, 0, 0))
        image.save(tmp_path / f"{name}.png")
    Image.new("RGB", (5, 5)).save(tmp_path / "black.png")
    names = [tmp_path / f"{name}.png" for name in ("red", "grey", "red2", "black")]
    base, grey, same, black = Measuring().of_row([*names], has_base=True)
    assert all(isinstance(each, Figures) for each in (base, grey, same, black))
    assert base.saturation == pytest.approx(0.99)
    assert (base.from_base, base.from_before, grey.saturation) == (None, None, 0)
    assert grey.from_base == pytest.approx(0.99 * (155 + 100 + 100) / 3 / 255)
    assert grey.from_before is None, "the base is no step of the training"
    assert same.from_before == pytest.approx(grey.from_base)
    assert same.warnings == ("the same as the base: the LoRA changed nothing",)
    assert (black.from_base, black.warnings) == (None, ("black",))
    assert json.dumps(black.to_json())
    Image.new("RGB", (5, 5), (1, 0, 0)).save(tmp_path / "dark.png")
    (dark,) = Measuring().of_row([tmp_path / "dark.png"], has_base=False)
    assert dark is not None
    assert dark.saturation == 1


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ((7, 7, 7), (0, 0, 0), ("black",)),
        ((8, 8, 8), (3, 3, 3), ("of one colour",)),
        ((100, 50, 0), (105, 45, 0), ("of one colour",)),
        ((100, 50, 0), (106, 50, 0), ()),
    ],
)
def test_black_and_one_colour_are_told_from_what_is_only_dark_or_pale(tmp_path, first, second, said):
    image = Image.new("RGB", (10, 10), first)
    image.putpixel((0, 0), second)
    image.save(tmp_path / "x.png")
    (found,) = Measuring().of_row([tmp_path / "x.png"], has_base=False)
    assert found is not None
    assert found.warnings == said


def test_a_strip_is_as_wide_as_its_pictures_and_a_failed_place_as_its_neighbours(tmp_path):
    Image.new("RGB", (30, 60), (200, 0, 0)).save(tmp_path / "a.png")
    drawn = draw_strip([Shown("500", tmp_path / "a.png"), Shown("1000", None, "out of memory")], "a prompt " * 80, 200)
    assert drawn.width == 2 * 24 + 2 * 100 + 12
    assert drawn.getpixel((30, 60)) == (200, 0, 0)
    assert drawn.getpixel((24 + 100 + 12 + 95, 240)) == (241, 241, 239)
