"""The page and the disk stay in step, whatever comes between: other tabs, runs of crop, lost answers, files edited by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from datakit import CropOptions, Execution, crop_folder
from tests.conftest import Open
from tests.review.conftest import Serve
from tests.review.driving import apply, box_shown, card, decisions, eventually, expect, open_sample, saved

if TYPE_CHECKING:
    from playwright.sync_api import APIResponse, Page, Route

OPTIONS = CropOptions(upscale=1.5)
# The page asks what changed every two seconds.
POLLED = 2500


def run_crop(source: Path, out: Path) -> None:
    """Run crop as somebody does in a terminal beside the page; a caption is new, so that there is something to do."""
    (source / "dogs.txt").write_text(f"{(source / 'dogs.txt').read_text()}, once more")
    crop_folder(source, out, OPTIONS)


def run_crop_and_reload(source: Path, out: Path, page: Page) -> None:
    """Run crop, and wait until the page has loaded what it did."""
    with page.expect_response(re.compile("api/dataset$")) as reply:
        run_crop(source, out)
    reply.value.finished()
    page.wait_for_timeout(100)


def until_held(page: Page, held: list[tuple[Route, APIResponse]]) -> None:
    """Wait until a request was caught, while the page goes on."""
    for _ in range(300):
        if not held:
            page.wait_for_timeout(50)


def write_caption(page: Page, text: str) -> None:
    page.get_by_label("Caption", exact=True).fill(text)
    page.get_by_label("Caption", exact=True).press("Control+Enter")
    saved(page)


def test_two_tabs_agree_and_neither_loses_an_edit(out: Path, serve: Serve, tab: Open) -> None:
    address = serve(out)
    fresh, stale = tab(address), tab(address, wait=False)
    # The second hears nothing of the first.
    stale.route("**/api/changes*", lambda route: route.fulfill(json={"stamp": 1, "runs": 1, "changed": []}))
    stale.reload()
    stale.wait_for_selector("body[data-ready]")
    follower = tab(address)
    for page in (fresh, stale):
        open_sample(page, "fig.jpg")
    page.wait_for_timeout(100)
    write_caption(fresh, "theirs")
    expect(card(follower, "fig.jpg")).to_contain_text("theirs")
    stale.get_by_label("Caption", exact=True).fill("mine")
    stale.get_by_label("Caption", exact=True).blur()
    notice = stale.get_by_role("alert")
    expect(notice).to_contain_text("fig.jpg was changed in another tab")
    expect(stale.get_by_label("Caption", exact=True)).to_have_value("theirs")
    assert decisions(out)["fig.jpg"]["caption"] == "theirs"
    notice.get_by_role("button", name="Use mine instead").click()
    saved(stale)
    assert decisions(out)["fig.jpg"]["caption"] == "mine"
    expect(fresh.get_by_label("Caption", exact=True)).to_have_value("mine")


def test_an_edit_made_while_the_dataset_is_loaded_anew_stays(out: Path, source: Path, serve: Serve, tab: Open) -> None:
    page = tab(serve(out))
    open_sample(page, "fig.jpg")
    held: list[tuple[Route, APIResponse]] = []
    page.route("**/api/dataset", lambda route: held.append((route, route.fetch())))
    run_crop(source, out)
    until_held(page, held)
    page.locator('[data-bucket="1024x1024"]').click()
    saved(page)
    page.locator(".bucket-choices").evaluate("node => node.classList.add('before')")
    route, reply = held[0]
    route.fulfill(response=reply)
    anew = page.locator('.bucket-choices:not(.before) [data-bucket="1024x1024"]')
    expect(anew).to_be_visible()
    assert anew.get_attribute("aria-pressed") == "true"
    expect(page.get_by_role("button", name="Apply 1 change")).to_be_enabled()


def test_an_edit_without_a_connection_is_kept_and_sent_again(out: Path, serve: Serve, tab: Open) -> None:
    page = tab(serve(out))
    page.context.set_offline(True)
    open_sample(page, "fig.jpg")
    page.get_by_role("button", name="Accept").click()
    expect(page.locator("#saved")).to_contain_text("1 unsaved")
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    assert "fig.jpg" not in decisions(out)
    page.context.set_offline(False)
    saved(page)
    eventually(lambda: decisions(out).get("fig.jpg", {}).get("accepted") is True)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_nothing_is_taken_from_somebody_who_types_or_drags_while_crop_runs(
    out: Path, source: Path, serve: Serve, tab: Open
) -> None:
    page = tab(serve(out))
    open_sample(page, "fig.jpg")
    page.keyboard.press("e")
    page.keyboard.press("End")
    page.keyboard.type(", an a")
    run_crop_and_reload(source, out, page)
    page.keyboard.type("xe")
    assert page.get_by_label("Caption", exact=True).input_value().endswith(", an axe")
    assert not decisions(out), "x in the middle of a word rejects nothing"

    page.keyboard.press("Escape")
    page.locator('[data-bucket="1024x1024"]').click()
    before = box_shown(page)
    place = page.locator(".box").bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + 60, place["y"] + 60)
    page.mouse.down()
    page.mouse.move(place["x"] + 40, place["y"] + 60)
    run_crop_and_reload(source, out, page)
    page.mouse.move(place["x"] + 20, place["y"] + 60)
    page.mouse.up()
    saved(page)
    assert box_shown(page).left < before.left
    assert decisions(out)["fig.jpg"]["box"] == list(box_shown(page))
    assert decisions(out)["fig.jpg"]["caption"].endswith(", an axe")


def test_an_answer_that_is_lost_or_late_is_made_good(out: Path, serve: Serve, tab: Open) -> None:
    address = serve(out)
    page, other = tab(address), tab(address)
    open_sample(page, "fig.jpg")
    lost: list[Route] = []

    def lose(route: Route) -> None:
        """The server has it, the page never hears so."""
        lost.append(route)
        route.fetch()
        route.abort()

    page.route("**/api/decision/*", lose, times=1)
    page.locator('[data-bucket="1024x1024"]').click()
    eventually(lambda: "fig.jpg" in decisions(out))
    page.keyboard.press("+")
    saved(page)
    assert lost
    assert decisions(out)["fig.jpg"]["box"] == list(box_shown(page)), "its own change is no conflict"

    held: list[tuple[Route, APIResponse]] = []
    page.route("**/api/decision/*", lambda route: held.append((route, route.fetch())), times=1)
    page.keyboard.press("+")
    until_held(page, held)
    expect(card(other, "fig.jpg")).to_contain_text("changed")
    card(other, "fig.jpg").focus()
    eventually(lambda: decisions(out)["fig.jpg"]["revision"] == 3)
    other.wait_for_timeout(POLLED)
    other.keyboard.press("x")
    saved(other)
    assert decisions(out)["fig.jpg"]["rejected"] is True
    page.wait_for_timeout(POLLED)
    route, reply = held[0]
    route.fulfill(response=reply)
    expect(page.get_by_role("button", name="Reject")).to_have_attribute("aria-pressed", "true")


def test_decisions_broken_mended_and_deleted_by_hand_are_followed(out: Path, serve: Serve, tab: Open) -> None:
    page = tab(serve(out))
    waits = page.get_by_role("button", name="Apply 1 change")
    (out / "decisions.jsonl").write_text("nonsense\n")
    expect(page.get_by_role("alert")).to_contain_text("decisions.jsonl")
    (out / "decisions.jsonl").write_text(json.dumps({"source": "fig.jpg", "rejected": True}) + "\n")
    expect(waits).to_be_enabled()
    expect(page.get_by_role("alert")).to_have_count(0)
    (out / "decisions.jsonl").unlink()
    expect(page.get_by_role("button", name="Apply", exact=True)).to_be_disabled()


def test_a_picture_that_is_gone_is_told_and_holds_up_nothing(out: Path, source: Path, serve: Serve, tab: Open) -> None:
    address = serve(out)
    page, other = tab(address), tab(address)
    page.route("**/api/changes*", lambda route: None)
    page.wait_for_timeout(POLLED)
    (source / "fig.jpg").unlink()
    crop_folder(source, out, OPTIONS, execution=Execution(prune=True))
    expect(other.locator(".card")).to_have_count(3)
    card(page, "fig.jpg").focus()
    page.keyboard.press("x")
    expect(page.get_by_role("alert")).to_contain_text("no longer in the dataset")
    card(page, "dogs.jpg").focus()
    page.keyboard.press("x")
    saved(page)
    assert set(decisions(out)) == {"dogs.jpg"}
    expect(page.get_by_role("button", name="Apply 1 change")).to_be_enabled()


def test_a_refused_change_leaves_what_the_disk_has(out: Path, serve: Serve, tab: Open) -> None:
    page = tab(serve(out))
    open_sample(page, "fig.jpg")
    caption = page.get_by_label("Caption", exact=True)
    before = caption.input_value()
    page.route("**/api/decision/*", lambda route: (page.wait_for_timeout(400), route.continue_()))
    caption.fill("")
    page.keyboard.press("Escape")
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.get_by_role("alert")).to_contain_text("the caption is empty")
    saved(page)
    expect(caption).to_have_value(before)
    assert not decisions(out)
    expect(page.get_by_role("button", name="Apply", exact=True)).to_be_disabled()


def test_captions_are_what_the_disk_has_and_come_back_on_their_own(out: Path, source: Path, serve: Serve, tab: Open) -> None:
    page = tab(serve(out))
    open_sample(page, "fig.jpg")
    write_caption(page, "applied")
    apply(page)
    write_caption(page, "other")
    write_caption(page, "applied")
    expect(page.get_by_role("button", name="Apply", exact=True)).to_be_disabled()
    assert (out / "fig.txt").read_text() == "applied"

    page.locator('[data-bucket="1024x1024"]').click()
    page.get_by_role("button", name="As datakit decided").click()
    saved(page)
    assert decisions(out)["fig.jpg"]["caption"] == "applied", "the window is taken back, not the caption"
    page.get_by_role("button", name="Take back").click()
    saved(page)
    apply(page)
    assert (out / "fig.txt").read_text() == (source / "fig.txt").read_text().strip()

    page.get_by_role("button", name="All samples").click()
    open_sample(page, "mountains.jpg")
    (out / "mountains.txt").write_text("an hour of work by hand")
    write_caption(page, "unseen")
    page.get_by_role("button", name="Apply").click()
    page.get_by_role("dialog").get_by_role("button", name="Close").click(timeout=60_000)
    assert (out / "mountains.txt").read_text() == "an hour of work by hand"


def test_a_long_caption_is_saved_and_one_click_saves_and_applies_it(out: Path, serve: Serve, tab: Open) -> None:
    page = tab(serve(out))
    card(page, "mountains.jpg").focus()
    page.keyboard.press("x")
    open_sample(page, "fig.jpg")
    words = ", ".join(f"word {number}" for number in range(7000))
    page.get_by_label("Caption", exact=True).fill(words)
    page.route("**/api/decision/*", lambda route: (page.wait_for_timeout(300), route.continue_()))
    page.get_by_role("button", name="Apply").click(delay=100)
    expect(page.get_by_role("dialog", name="Applied")).to_be_visible(timeout=60_000)
    assert (out / "fig.txt").read_text() == words
    assert not (out / "mountains.jpg").exists()
