"""The captions' tags on the page: bars that filter, tags taken out and put in, and undone as one."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Open
from tests.review.conftest import Serve
from tests.review.driving import decisions, eventually, expect, records, saved


def captions(folder: Path) -> dict[str, str | None]:
    return {source: entry.get("caption") for source, entry in decisions(folder).items()}


def test_a_tag_is_taken_out_of_all_captions_put_into_all_and_undone(out: Path, serve: Serve, tab: Open) -> None:
    before = {source: (out / record.caption).read_text() for source, record in records(out).items() if record.caption}
    for record in records(out).values():
        assert record.caption
        path = out / record.caption
        path.write_text(f"red light, {path.read_text()}, (a, b)" if record.source != "fig.jpg" else path.read_text())
    page = tab(serve(out))
    page.get_by_role("button", name="Captions", exact=True).click()
    expect(page.locator(".words li").first).to_contain_text("(a, b)")
    row = page.locator(".words li", has_text="red light")
    expect(row).to_contain_text("75 %")
    row.get_by_role("button", name="Take out").click()
    expect(page.locator(".words li", has_text="red light")).to_have_count(0)
    saved(page)
    changed = captions(out)
    assert changed == {name: f"{text}, (a, b)" for name, text in before.items() if name != "fig.jpg"}
    page.get_by_role("button", name="Undo").click()
    eventually(lambda: not any(captions(out).values()))
    page.locator(".words li", has_text="red light").get_by_role("button", name="Put in").click()
    eventually(lambda: captions(out).get("fig.jpg") == f"{before['fig.jpg']}, red light")
    assert [name for name, text in captions(out).items() if text] == ["fig.jpg"]


def test_a_bar_filters_the_grid(out: Path, serve: Serve, tab: Open) -> None:
    page = tab(serve(out))
    page.keyboard.press("c")
    page.get_by_role("button", name="grey concrete: 1 caption, show them").click()
    expect(page.locator(".card")).to_have_count(1)
    assert page.get_by_label("Search names and captions").input_value() == "grey concrete"


def test_no_group_and_no_sentence_is_torn_by_what_is_taken_out(out: Path, serve: Serve, tab: Open) -> None:
    texts = {
        "dandelion.jpg": "ohwx, 猫、(red hat, old:1.2)、公園",
        "dogs.jpg": "ohwx, A man in Austin, red hat, walks to work. The sky is blue.",
        "fig.jpg": "ohwx, 'red hat, blue', red hat, 1,000 birds",
        "mountains.jpg": "ohwx, red hat BREAK night",
    }
    for source, text in texts.items():
        caption = records(out)[source].caption
        assert caption
        (out / caption).write_text(text)
    page = tab(serve(out), width=390)
    page.get_by_role("button", name="Captions", exact=True).click()
    row = page.get_by_role("listitem").filter(has=page.get_by_role("button", name="red hat: 2 captions, show them"))
    row.get_by_role("button", name="Take out").click()
    wanted = {"fig.jpg": "ohwx, 'red hat, blue', 1,000 birds", "mountains.jpg": "ohwx BREAK night"}
    eventually(lambda: {name: text for name, text in captions(out).items() if text} == wanted)
    # On a phone nothing runs out of the page.
    assert page.evaluate("document.getElementById('words-view').scrollWidth") <= 390
