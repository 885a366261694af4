"""The review page in a real browser: what a person sees and does, and what is then on the disk."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datakit import CropOptions, crop_folder
from datakit.geometry import Box, Size
from datakit.shuffle.folder import shuffle_folder
from datakit.shuffle.variants import ShuffleOptions
from datakit.sizes import enlargement, largest_window
from tests.conftest import BUCKETS, Open
from tests.review.conftest import Serve
from tests.review.driving import (
    apply,
    box_shown,
    card,
    decisions,
    drag,
    expect,
    open_sample,
    records,
    report,
    saved,
)


def difference(source: Path, written: Path, box: Box, bucket: Size) -> float:
    """Mean difference of levels (0 to 255) between a written picture and Pillow's own crop of its source."""
    with Image.open(source) as picture, Image.open(written) as made:
        assert made.size == bucket
        expected = picture.convert("RGB").resize(bucket, Image.Resampling.LANCZOS, box=box)
        return float(np.abs(np.asarray(expected, np.int16) - np.asarray(made, np.int16)).mean())


def test_every_sample_is_shown_and_can_be_filtered_sorted_and_found(out: Path, serve: Serve, tab: Open) -> None:
    page = tab(serve(out))
    cards = page.locator(".card")
    expect(cards).to_have_count(4)
    expect(page.locator("#filters .count")).to_have_text("4 samples")
    for source, record in records(out).items():
        expect(card(page, source)).to_have_accessible_name(re.compile(f"bucket {record.bucket.width}×{record.bucket.height}"))
    expect(page.locator(".figure img").first).to_have_js_property("complete", value=True)

    page.get_by_label("Sort by").select_option("name")
    assert [name.split(".")[0] for name in page.locator(".name").all_text_contents()] == ["dandelion", "dogs", "fig", "mountains"]

    bucket = records(out)["dogs.jpg"].bucket
    shown = [source for source, record in records(out).items() if record.bucket == bucket]
    page.get_by_label("Bucket", exact=True).select_option(f"{bucket.width}×{bucket.height}")
    expect(cards).to_have_count(len(shown))
    page.get_by_role("button", name="Clear").click()

    page.get_by_label("Search names and captions").fill("RED POINTED BOWL")
    expect(page.locator(".name")).to_have_text(["fig.jpg"])
    # The address keeps what is shown.
    page.reload()
    page.wait_for_selector("body[data-ready]")
    expect(page.locator(".name")).to_have_text(["fig.jpg"])
    page.get_by_label("Search names and captions").fill("zebra")
    expect(page.get_by_role("heading", name="No sample passes these filters")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(cards).to_have_count(4)


def test_a_dragged_box_is_what_apply_writes(out: Path, source: Path, serve: Serve, tab: Open) -> None:
    page = tab(serve(out))
    decided = records(out)["dogs.jpg"]
    open_sample(page, "dogs.jpg")
    page.locator('[data-bucket="1024x1024"]').click()
    saved(page)
    chosen = box_shown(page)
    assert chosen.size == Size(1332, 1332)
    drag(page, ".box", 0, 60)
    saved(page)
    moved = box_shown(page)
    assert moved.top > chosen.top
    assert moved.size == chosen.size
    assert decisions(out)["dogs.jpg"]["box"] == list(moved)
    assert decisions(out)["dogs.jpg"]["bucket"] == [1024, 1024]
    # Smaller, by a corner; the opposite one stays where it is.
    drag(page, ".handle.nw", 40, 40)
    saved(page)
    corner = box_shown(page)
    assert corner.size.width < moved.size.width
    assert (corner.right, corner.bottom) == (moved.right, moved.bottom)
    assert corner.size.width == corner.size.height

    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert box_shown(page) == corner, "a reload loses nothing"
    assert records(out)["dogs.jpg"] == decided, "nothing is written before it is applied"
    apply(page)
    record = records(out)["dogs.jpg"]
    assert (record.box, record.bucket, record.anchor) == (corner, Size(1024, 1024), "manual")
    assert difference(source / "dogs.jpg", out / "dogs.jpg", corner, Size(1024, 1024)) < 3
    assert decided.box is not None
    assert difference(source / "dogs.jpg", out / "dogs.jpg", decided.box, Size(1024, 1024)) > 10
    # A rerun of crop keeps it.
    crop_folder(source, out)
    assert records(out)["dogs.jpg"].box == corner


def test_a_box_never_leaves_the_picture_nor_its_aspect(out: Path, serve: Serve, tab: Open) -> None:
    page = tab(serve(out))
    open_sample(page, "fig.jpg")
    size = Size(1800, 1218)
    for bucket in BUCKETS:
        button = page.locator(f'[data-bucket="{bucket}"]')
        if button.is_disabled():
            continue
        button.click()
        for where, dx, dy in (
            (".box", -2000, -2000),
            (".handle.se", -3000, 10),
            (".handle.nw", 9, 2000),
            (".box", 3000, 3000),
            (".handle.ne", 99, -99),
        ):
            drag(page, where, dx, dy)
            box = box_shown(page)
            assert box.inside(size), (bucket, where, box)
            exact = box.size.height * bucket.aspect, box.size.width / bucket.aspect
            assert min(abs(box.size.width - exact[0]), abs(box.size.height - exact[1])) <= 0.5, (bucket, where, box)
            assert bucket.width / box.size.width <= 1.5 + 0.01
        # A small box near the lower right corner, which there is room to enlarge a little.
        for where, dx, dy in ((".box", 3000, 3000), (".handle.nw", 3000, 3000), (".box", -60, -40), (".handle.se", 3000, 3000)):
            drag(page, where, dx, dy)
        box = box_shown(page)
        assert box.inside(size)
        assert box.right == size.width or box.bottom == size.height, "a corner can be dragged to the edge"
    saved(page)
    # The server holds every window against the rule of crop: it refused none of them.
    expect(page.locator(".notice.problem")).to_have_count(0)
    assert decisions(out)["fig.jpg"]["box"] == list(box_shown(page))


def test_reject_and_caption_are_applied_and_taken_back(out: Path, serve: Serve, tab: Open) -> None:
    page = tab(serve(out))
    open_sample(page, "fig.jpg")
    page.get_by_label("Caption", exact=True).fill("a fig, halved")
    page.get_by_label("Caption", exact=True).press("Control+Enter")
    saved(page)
    assert decisions(out)["fig.jpg"]["caption"] == "a fig, halved"
    page.get_by_role("button", name="All samples").click()
    open_sample(page, "mountains.jpg")
    page.get_by_role("button", name="Reject").click()
    saved(page)
    assert decisions(out)["mountains.jpg"]["rejected"] is True
    apply(page)
    assert (out / "fig.txt").read_text() == "a fig, halved"
    assert not (out / "mountains.jpg").exists()
    assert set(records(out)) == {"dandelion.jpg", "dogs.jpg", "fig.jpg"}

    page.get_by_role("button", name="All samples").click()
    page.get_by_role("button", name=re.compile("^Rejected")).click()
    expect(page.locator(".name")).to_have_text(["mountains.jpg"])
    open_sample(page, "mountains.jpg")
    page.get_by_role("button", name="Reject").click()
    saved(page)
    page.reload()
    expect(page.get_by_role("heading", name="mountains.jpg")).to_be_visible()
    apply(page)
    assert "mountains.jpg" in records(out)
    assert (out / "mountains.jpg").exists()


def test_undo_goes_back_step_by_step(out: Path, serve: Serve, tab: Open) -> None:
    page = tab(serve(out))
    open_sample(page, "dogs.jpg")
    before = box_shown(page)
    page.locator('[data-bucket="1152x896"]').click()
    bucket = box_shown(page)
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Shift+ArrowDown")
    assert box_shown(page).top > bucket.top
    saved(page)
    page.keyboard.press("u")
    assert box_shown(page) == bucket, "moves that follow each other are undone as one"
    page.keyboard.press("u")
    assert box_shown(page) == before
    saved(page)
    assert decisions(out).get("dogs.jpg", {}).get("box") is None
    expect(page.get_by_role("button", name="Apply", exact=True)).to_be_disabled()


def test_everything_can_be_done_with_the_keyboard(out: Path, serve: Serve, tab: Open) -> None:
    page = tab(f"{serve(out)}#sort=name")
    for key in ("j", "ArrowRight", "k", "Enter"):
        page.keyboard.press(key)
    expect(page.get_by_role("heading", name="dogs.jpg")).to_be_visible()
    page.keyboard.press("1")
    chosen = box_shown(page)
    page.keyboard.press("Alt+ArrowUp")
    assert box_shown(page) == Box(chosen.left, chosen.top - 1, chosen.right, chosen.bottom - 1)
    page.keyboard.press("+")
    assert box_shown(page).size.width < chosen.size.width
    page.keyboard.press("e")
    page.keyboard.press("End")
    page.keyboard.type(", at noon")
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="dogs.jpg")).to_be_visible()
    page.keyboard.press("a")
    expect(page.get_by_role("heading", name="fig.jpg")).to_be_visible()
    expect(page.locator("#live")).to_contain_text("fig.jpg")
    page.keyboard.press("Escape")
    expect(card(page, "fig.jpg")).to_be_focused()
    page.keyboard.press("x")
    expect(card(page, "mountains.jpg")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    saved(page)
    assert decisions(out)["dogs.jpg"]["accepted"] is True
    assert decisions(out)["dogs.jpg"]["caption"].endswith("tall shot, at noon")
    assert decisions(out)["fig.jpg"]["rejected"] is True
    for _ in range(2):
        page.keyboard.press("u")
    expect(card(page, "dogs.jpg")).to_be_focused()
    saved(page)
    assert not decisions(out)["dogs.jpg"].get("accepted")


def test_a_card_half_out_of_sight_opens_where_it_is_pressed(out: Path, serve: Serve, tab: Open) -> None:
    page = tab(f"{serve(out)}#sort=name", width=620, height=1200)
    expect(page.locator(".figure img").last).to_have_js_property("complete", value=True)
    last = card(page, "mountains.jpg").bounding_box()
    assert last is not None
    page.set_viewport_size({"width": 620, "height": round(last["y"]) + 12})
    page.mouse.move(last["x"] + 40, last["y"] + 4)
    page.mouse.down()
    page.wait_for_timeout(100)
    page.mouse.up()
    expect(page.get_by_role("heading", name="mountains.jpg")).to_be_visible()


def test_what_cannot_be_mended_says_why(out: Path, source: Path, serve: Serve, tab: Open) -> None:
    page = tab(serve(out))
    apply_button = page.get_by_role("button", name="Apply", exact=True)
    expect(apply_button).to_be_disabled()
    expect(apply_button).to_have_accessible_description("Nothing to apply")
    shutil.rmtree(source)
    page = tab(serve(out))
    expect(page.get_by_role("button", name="Apply", exact=True)).to_have_accessible_description(re.compile("sources? "))
    expect(page.locator("#saved")).to_have_text("Read only")
    open_sample(page, "fig.jpg")
    expect(page.get_by_role("button", name="Reject")).to_be_disabled()


def test_what_needs_an_eye_is_found_and_mended(source: Path, tmp_path: Path, serve: Serve, tab: Open) -> None:
    out = tmp_path / "wide"
    crop_folder(source, out, CropOptions(buckets=(Size(1472, 704),), upscale=2))
    cut = sorted(name for name, record in records(out).items() if any(face.kept < 1 for face in record.faces))
    warned = [name for name, record in records(out).items() if record.warnings]
    assert "dogs.jpg" in cut
    page = tab(f"{serve(out)}#sort=name")
    page.get_by_role("button", name=re.compile("^Face cut")).click()
    expect(page.locator(".name")).to_have_text(cut)
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Warning", exact=True).select_option("any")
    expect(page.locator(".card")).to_have_count(len(warned))
    faces = [name for name, record in records(out).items() if any(each.kind == "face-cut" for each in record.warnings)]
    page.get_by_label("Warning", exact=True).select_option(f"With a face that does not fit ({len(faces)})")
    expect(page.locator(".name")).to_have_text(sorted(faces))
    page.get_by_role("button", name="Clear").click()
    open_sample(page, "mountains.jpg")
    page.keyboard.press("n")
    name = page.locator("#detail-view h2").inner_text()
    warnings = page.get_by_label("Warnings").get_by_role("listitem")
    assert warnings.all_text_contents() == [warning.sentence for warning in records(out)[name].warnings]

    page.get_by_role("button", name="All samples").click()
    open_sample(page, "dogs.jpg")
    page.keyboard.press("h")
    expect(page.locator(".layer")).to_have_js_property("complete", value=True)
    assert page.locator(".layer").evaluate("image => image.naturalWidth") > 0
    # A window that cuts through a face, in a bucket that needs enlarging: what the page says is what crop says.
    for _ in range(60):
        page.keyboard.press("Shift+ArrowUp")
        said = warnings.all_text_contents()
        if any(re.fullmatch(r"a face does not fit: [2-8]\d% of it is kept", line) for line in said):
            break
    else:
        pytest.fail("no window cuts through a face")
    saved(page)
    apply(page)
    assert said == [warning.sentence for warning in records(out)["dogs.jpg"].warnings]
    page.keyboard.press("5")
    expect(page.locator(".panel .badge", has_text="face cut")).to_have_count(0)
    saved(page)
    apply(page)
    assert records(out)["dogs.jpg"].bucket == Size(832, 1216)
    assert all(face.kept == 1 for face in records(out)["dogs.jpg"].faces)


def test_the_copies_of_a_picture_stand_side_by_side(out: Path, tmp_path: Path, serve: Serve, tab: Open) -> None:
    shuffle_folder(out, tmp_path / "shuffled", ShuffleOptions(repeats=3, keep=1))
    page = tab(serve(tmp_path / "shuffled"))
    open_sample(page, "dogs.jpg")
    copies = page.locator(".copy")
    expect(copies).to_have_count(3)
    written = [(tmp_path / "shuffled" / f"dogs_{number}.txt").read_text().strip() for number in (1, 2, 3)]
    assert page.locator(".tokens").all_text_contents() == written
    expect(copies.nth(0).locator("mark")).to_have_count(0)
    first = written[0].split(", ")
    for number in (1, 2):
        moved = [token for place, token in enumerate(written[number].split(", ")) if token != first[place]]
        assert copies.nth(number).locator("mark").all_text_contents() == moved


def test_the_batches_follow_the_figures(out: Path, serve: Serve, tab: Open) -> None:
    page = tab(serve(out))
    page.get_by_role("button", name="Batches").click()
    expect(page.locator(".histogram li")).to_have_count(8)
    counts = {bucket: sum(record.bucket == bucket for record in records(out).values()) for bucket in BUCKETS}
    assert [int(text) for text in page.locator(".histogram .number").all_text_contents()] == [
        counts[bucket] for bucket in BUCKETS
    ]
    page.get_by_label("Batch size").fill("1")
    expect(page.locator(".steps strong")).to_have_text("4")
    page.get_by_label("Accumulation").fill("2")
    expect(page.locator(".steps strong")).to_have_text("2")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(page.locator(".card")).to_have_count(4)


def synthetic(reply: dict[str, Any], count: int) -> dict[str, Any]:
    """The answer of a dataset with many samples, made of those of a real one."""
    real = reply["samples"]
    samples = [
        {**real[number % len(real)], "id": f"picture {number:05}.jpg", "key": f"{number:020x}", "attention": number % 97}
        for number in range(count)
    ]
    return {**reply, "samples": samples}


def test_ten_thousand_samples_stay_fluid(out: Path, serve: Serve, tab: Open) -> None:
    count = 10_000
    page = tab(serve(out), wait=False)
    thumbnail = (out / "fig.jpg").read_bytes()
    asked: list[str] = []
    page.route("**/api/dataset*", lambda route: route.fulfill(json=synthetic(route.fetch().json(), count)))
    page.route(
        "**/api/thumbnail/**",
        lambda route: (asked.append(route.request.url), route.fulfill(body=thumbnail, content_type="image/jpeg")),
    )
    page.reload()
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("#filters .count")).to_have_text(f"{count} samples")
    page.get_by_label("Sort by").select_option("name")
    expect(page.locator(".name").first).to_have_text("picture 00000.jpg")
    assert page.locator(".cell").count() < 60, "only what is near the window exists"
    # A scroll through the whole list, one step a frame: how long the slowest frame takes.
    slowest = page.evaluate(
        """async () => {
          const view = document.getElementById("grid-view");
          const times = [];
          let last = await new Promise(requestAnimationFrame);
          for (let step = 0; step <= 60; step += 1) {
            view.scrollTop = (view.scrollHeight * step) / 60;
            const now = await new Promise(requestAnimationFrame);
            times.push(now - last);
            last = now;
          }
          return times.sort((a, b) => a - b)[Math.floor(times.length * 0.9)];
        }"""
    )
    assert slowest < 250, "nine of ten frames, on a machine without a graphics card and with other work"
    assert page.locator(".cell").count() < 60
    expect(page.locator(".cell[aria-posinset='10000']")).to_be_visible()
    assert len(asked) < 400, "what flies past is not asked for"
    page.locator(".card").first.focus()
    page.keyboard.press("End")
    expect(card(page, "picture 09999.jpg")).to_be_focused()
    page.get_by_label("Search names and captions").fill("picture 0123")
    expect(page.locator("#filters .count")).to_have_text(f"10 of {count} samples")


def test_a_phone_shows_everything_in_its_width(out: Path, serve: Serve, tab: Open) -> None:
    page = tab(serve(out), width=360, height=640, has_touch=True, is_mobile=True)
    fits = (
        "document.documentElement.scrollWidth <= innerWidth && document.getElementById('detail-view').scrollWidth <= innerWidth"
    )
    assert page.evaluate(fits)
    card(page, "fig.jpg").tap()
    expect(page.get_by_role("heading", name="fig.jpg")).to_be_visible()
    assert page.evaluate(fits)
    # What decides is at hand without scrolling.
    expect(page.get_by_role("button", name="Accept")).to_be_in_viewport()
    expect(page.locator(".box")).to_be_in_viewport()
    page.get_by_role("button", name="Batches").tap()
    assert page.evaluate(fits)


def test_text_stands_out_from_what_is_behind_it(out: Path, serve: Serve, tab: Open) -> None:
    pairs = [
        *((tone, ground) for tone in ("text", "muted", "accent", "bad") for ground in ("bg", "surface", "well")),
        *((tone, f"{tone}-soft") for tone in ("good", "warn", "bad", "accent")),
        ("on-accent", "accent"),
        ("text", "line"),
    ]
    colour = "name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()"
    address = serve(out)
    for scheme in ("light", "dark"):
        page = tab(address, color_scheme=scheme)
        for tone, ground in pairs:
            assert contrast(page.evaluate(colour, tone), page.evaluate(colour, ground)) >= 4.5, (scheme, tone, ground)
        # WCAG 2.2 asks 3 of the edges of controls.
        assert contrast(page.evaluate(colour, "edge"), page.evaluate(colour, "surface")) >= 3


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours written as #rrggbb (WCAG 2.2, "contrast ratio")."""

    def luminance(colour: str) -> float:
        levels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_names_and_captions_are_never_read_as_markup(source: Path, tmp_path: Path, serve: Serve, tab: Open) -> None:
    (source / "fig.txt").write_text("<img src=x onerror=alert(1)> & <b>bold</b>\n")
    (source / "dogs.jpg").rename(source / "<b>dogs&.jpg")
    crop_folder(source, tmp_path / "out")
    page = tab(serve(tmp_path / "out"))
    expect(page.locator(".name", has_text="<b>dogs&.jpg")).to_be_visible()
    expect(page.locator(".caption", has_text="<img src=x onerror=alert(1)> & <b>bold</b>")).to_be_visible()
    expect(page.locator(".card b")).to_have_count(0)


def test_a_picture_that_is_too_small_is_let_in_by_an_enlargement_or_a_box(
    source: Path, tmp_path: Path, serve: Serve, tab: Open
) -> None:
    for name in ("fig", "dogs"):
        with Image.open(source / f"{name}.jpg") as picture:
            picture.resize((700, 600)).save(source / f"{name}.jpg")
    out = tmp_path / "out"
    crop_folder(source, out, CropOptions(upscale=1.5))
    assert not {"fig.jpg", "dogs.jpg"} & set(records(out))
    page = tab(serve(out))
    open_sample(page, "fig.jpg")
    expect(page.get_by_label("Warnings")).to_contain_text("too small")
    expect(page.get_by_label("Caption", exact=True)).to_have_value((source / "fig.txt").read_text().strip())
    allow = page.get_by_role("button", name="Allow enlarging 1.65 times")
    for pressed in ("true", "false", "true"):
        allow.click()
        expect(allow).to_have_attribute("aria-pressed", pressed)
    saved(page)
    assert decisions(out)["fig.jpg"]["upscale"] == pytest.approx(1.65, abs=0.01)

    page.get_by_role("button", name="All samples").click()
    open_sample(page, "dogs.jpg")
    page.locator('[data-bucket="1024x1024"]').click()
    expect(page.locator(".box")).to_be_visible()
    drag(page, ".box", -200, 0)
    saved(page)
    assert box_shown(page).left == 0
    apply(page)
    made = records(out)
    assert (made["dogs.jpg"].box, made["dogs.jpg"].bucket, made["dogs.jpg"].anchor) == ((0, 0, 600, 600), (1024, 1024), "manual")
    assert (made["fig.jpg"].scale, made["fig.jpg"].anchor != "manual") == (pytest.approx(1.65, abs=0.01), True)
    assert difference(source / "dogs.jpg", out / "dogs.jpg", Box(0, 0, 600, 600), Size(1024, 1024)) < 2
    expect(allow).to_be_hidden()
    page.get_by_role("button", name="As datakit decided").click()
    saved(page)
    apply(page)
    assert [entry["source"] for entry in report(out)["refused"]] == ["dogs.jpg"]


def test_the_page_computes_windows_as_crop_does(out: Path, serve: Serve, tab: Open) -> None:
    generator = np.random.default_rng(7)
    sizes = [[int(side) for side in sides] for sides in generator.integers(1, 9000, (10_000 // len(BUCKETS), 2))]
    page = tab(serve(out))
    asked = {"sizes": sizes, "buckets": [list(bucket) for bucket in BUCKETS]}
    answered = page.evaluate(
        """async ({ sizes, buckets }) => {
            const { enlargement, largestWindow } = await import("./boxes.js");
            const one = (size, bucket) => [largestWindow(size, bucket), enlargement(largestWindow(size, bucket), bucket)];
            return sizes.flatMap((size) => buckets.map((bucket) => one(size, bucket)));
        }""",
        asked,
    )
    expected = []
    for size in sizes:
        for bucket in BUCKETS:
            window = largest_window(Size(*size), bucket)
            expected.append([list(window), enlargement(window, bucket)])
    assert len(answered) == 10_000
    assert answered == expected
