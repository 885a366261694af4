"""The review as one file: everything inside, nothing loaded, captions and names as text."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from datakit import CropOptions, crop_folder
from datakit.dataset.decisions import DECISIONS
from datakit.errors import UsageError
from datakit.review.sheet import write_sheets
from datakit.review.static import write_static
from datakit.shuffle.folder import shuffle_folder
from datakit.shuffle.variants import ShuffleOptions
from tests.markup import Seen
from tests.review.scripts import SCRIPTS

EVIL = "<script>alert(1)</script> \"><img src=x onerror=alert(1)> & 'quoted' </style>"


def report(folder, path, **options) -> tuple[Seen, str]:
    write_static(folder, path, **options)
    text = path.read_text("utf-8")
    return Seen(text), text


def test_every_picture_is_inside_with_its_window(out, tmp_path):
    seen, _ = report(out, tmp_path / "report.html")
    pictures = [attributes["src"] for tag, attributes in seen.elements if tag == "img"]
    assert len(pictures) == 4
    for picture in pictures:
        kind, data = picture.split(",", 1)
        assert kind == "data:image/jpeg;base64"
        assert max(Image.open(io.BytesIO(base64.b64decode(data))).size) == 320
    windows = [attributes for tag, attributes in seen.elements if tag == "rect" and attributes["class"] == "window"]
    assert len(windows) == 4
    assert "half a fig, red pointed bowl" in seen.text
    assert "1216x832" in seen.text


def test_each_companion_lies_over_its_picture_on_the_file_and_on_the_sheet(source, tmp_path):
    for name, colour in (("masks", 255), ("control", "red")):
        (source / name).mkdir()
        with Image.open(source / "fig.jpg") as image:
            Image.new("L" if name == "masks" else "RGB", image.size, colour).save(source / name / "fig.png")
    crop_folder(source, tmp_path / "out", CropOptions(detector="none", upscale=1.5, companions="auto"))
    shuffle_folder(tmp_path / "out", tmp_path / "copies", ShuffleOptions(repeats=2, augment={"rotate": 4.0}))
    for folder, picture in (("out", "fig.jpg"), ("copies", "fig_1.jpg")):
        _, text = report(tmp_path / folder, tmp_path / f"{folder}.html")
        assert re.findall(r'<figcaption class="muted">(\w+)', text) == ["control", "mask"]
        *_, control, mask = (
            _middle(base64.b64decode(each)) for each in re.findall(r'base64,([^"]+)"', _card_of(text, "fig.jpg"))
        )
        own = _middle((tmp_path / folder / picture).read_bytes())
        assert np.abs(control - (0.4 * own + 0.6 * np.array((255, 0, 0)))).max() < 8
        assert np.abs(mask - (0.4 * own + 0.6 * np.array((0, 200, 255)))).max() < 8
    plain, covered = (tmp_path / f"{name}.png" for name in ("plain", "covered"))
    write_sheets(tmp_path / "out", plain)
    write_sheets(tmp_path / "out", covered, companion="mask")
    assert plain.read_bytes() != covered.read_bytes()
    with pytest.raises(UsageError, match="control, mask"):
        write_sheets(tmp_path / "out", tmp_path / "x.png", companion="depth")


def _card_of(text: str, name: str) -> str:
    return next(card for card in text.split("<article")[1:] if f">{name}<" in card)


def _middle(content: bytes) -> np.ndarray:
    """The mean colour of the middle of a picture."""
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image).astype(float)
    height, width = pixels.shape[:2]
    return pixels[height // 3 : height * 2 // 3, width // 3 : width * 2 // 3].mean((0, 1))


def test_nothing_is_loaded_from_anywhere_and_nothing_runs(out, tmp_path):
    seen, text = report(out, tmp_path / "report.html")
    tags = {tag for tag, _ in seen.elements}
    assert not tags & {"script", "link", "iframe", "object", "base", "form"}
    assert not [name for _, attributes in seen.elements for name in attributes if name.startswith("on") or name == "href"]
    assert "http:" not in text.replace("http-equiv", "")
    assert "https:" not in text
    assert not re.search(r"@import|url\(", text)
    policy = next(attributes["content"] for tag, attributes in seen.elements if attributes.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_captions_and_names_are_text_whatever_they_hold(source, tmp_path):
    name = "<b onclick=x>\"'&.jpg"
    shutil.copy(source / "fig.jpg", source / name)
    (source / "<b onclick=x>\"'&.txt").write_text(EVIL)
    out = tmp_path / "<i>out & co"
    crop_folder(source, out, CropOptions(upscale=1.5))
    (out / DECISIONS).write_text(json.dumps({"source": "fig.jpg", "caption": EVIL}) + "\n")
    seen, _ = report(out, tmp_path / "report.html")
    assert {"b", "i", "script"}.isdisjoint(tag for tag, _ in seen.elements)
    assert seen.text.count(EVIL) == 2
    assert name in seen.text
    assert "<i>out & co" in seen.text
    assert len([1 for tag, _ in seen.elements if tag == "img"]) == 5


def test_captions_and_names_of_any_script_are_in_it_and_run_in_their_own_direction(source, tmp_path):
    for script, caption in SCRIPTS.items():
        shutil.copy(source / "fig.jpg", source / f"{script} {caption[:8]}.jpg")
        (source / f"{script} {caption[:8]}.txt").write_text(caption, "utf-8")
    crop_folder(source, tmp_path / "out", CropOptions(upscale=1.5, detector="none", saliency="none"))
    seen, text = report(tmp_path / "out", tmp_path / "report.html")
    assert ("meta", {"charset": "utf-8"}) in seen.elements
    for script, caption in SCRIPTS.items():
        assert f"{script} {caption[:8]}.jpg" in seen.text
        assert caption in seen.text
    written = [
        attributes for _, attributes in seen.elements if (attributes.get("class") or "").split()[:1] in (["name"], ["caption"])
    ]
    assert len(written) == 2 * (4 + len(SCRIPTS))
    assert all((attributes["lang"], attributes["dir"]) == ("", "auto") for attributes in written)
    # The last font is the browser's own choice, and so is that of each letter which the fonts before it lack.
    assert re.search(r"font:[^;]*sans-serif;", text)


def test_what_was_decided_is_shown(out, tmp_path):
    lines = [
        {"source": "fig.jpg", "box": [0, 0, 1024, 1024], "bucket": [1024, 1024], "revision": 1},
        {"source": "dogs.jpg", "rejected": True, "revision": 1},
        {"source": "mountains.jpg", "accepted": True, "revision": 1},
    ]
    (out / DECISIONS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen, text = report(out, tmp_path / "report.html")
    assert {"x": "0", "y": "0", "width": "1024", "height": "1024", "class": "window"} in [
        a for t, a in seen.elements if t == "rect"
    ]
    for words in ("✎ changed", "✕ rejected", "✓ accepted"):
        assert seen.text.count(words) == 1
    assert text.count('class="cell rejected"') == 1


def test_refused_pictures_are_named_with_their_reason(source, out, tmp_path):
    (source / "broken.jpg").write_bytes(b"no picture")
    crop_folder(source, out, CropOptions(upscale=1.5))
    seen, text = report(out, tmp_path / "report.html")
    assert "no picture that can be read" in seen.text
    assert "4 pictures, 1 refused" in seen.text
    assert text.index("broken.jpg") < text.index("fig.jpg")


def test_copies_are_listed_with_their_captions(out, tmp_path):
    shuffle_folder(out, tmp_path / "copies", ShuffleOptions(repeats=3, keep=1, augment={"flip": 1.0}))
    seen, _ = report(tmp_path / "copies", tmp_path / "report.html")
    assert seen.text.count("3 copies") == 4
    assert (tmp_path / "copies" / "fig_3.txt").read_text() in seen.text
    assert "flip True" in seen.text


def test_a_file_that_is_there_stays(out, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        write_static(out, path)
    assert path.read_text() == "mine"
    assert write_static(out, path, overwrite=True) == 4
    with pytest.raises(UsageError, match=r"name it \.html"):
        write_static(out, path.with_suffix(""))


def test_the_command_writes_it_and_stops(datakit, out, tmp_path):
    done = datakit("review", out, "--static", "report.html")
    assert (done.returncode, done.stdout, done.stderr) == (0, "wrote report.html: 4 pictures\n", "")
    assert (tmp_path / "report.html").stat().st_size > 10_000
