"""Write strips as one page beside their pictures: relative links, nothing loaded from elsewhere, of use without a script too."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from datakit.dataset.manifest import write_atomically
from datakit.report import counted
from datakit.trained.comfy.figures import Figures

# Prompts and names are of no language that is known, and run as their first letter does.
_ANY = 'lang="" dir="auto"'


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a strip.

    Attributes
    ----------
    label
        Of its column.
    picture
        Relative to the page; None where it failed, or is not made yet, for the reason in ``why``.
    size
        Width and height of the picture.
    figures
        What was measured of it.
    """

    label: str
    picture: str | None
    size: tuple[int, int] | None = None
    figures: Figures | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Strip:
    """One row: prompt and seed as they are read, the strip as one picture, its places."""

    prompt: str
    seed: str
    file: str | None
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """What the page is of: a title, what made its pictures, the columns under the slider, and whether it opens with that."""

    title: str
    made_by: str
    slider: tuple[int, int]
    opens: bool = False


def write_page(path: Path, page: Page, strips: Sequence[Strip]) -> None:
    """Write the page to a file."""
    write_atomically(path, (part.encode("utf-8", "replace") for part in _parts(page, strips)))


def _parts(page: Page, strips: Sequence[Strip]) -> Iterator[str]:
    here, review = files("datakit.trained.comfy") / "page", files("datakit.review") / "page"
    style = (review / "page.css").read_text("utf-8") + (here / "strips.css").read_text("utf-8")
    script = (here / "strips.js").read_text("utf-8")
    # The one script that may run is this one, whatever a prompt holds.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src 'self' file: http: https:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    labels = [place.label for place in strips[0].places] if strips else []
    yield (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page.title)} · datakit strips</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body{' data-slider=true' if page.opens else ''}>\n"
    )
    options = [
        "".join(f'<option value="{at}"{" selected" * (at == chosen)}>{escape(label)}</option>' for at, label in enumerate(labels))
        for chosen in page.slider
    ]
    size = f"{counted(len(strips), 'strip')} of {counted(len(labels), 'picture')}"
    yield (
        f'<header class="top"><div class="title"><h1 {_ANY}>{escape(page.title)}</h1><p class="muted">{size} · {escape(page.made_by)}</p></div>'
        f'<div class="compare"><select id="one" aria-label="Left of the slider">{options[0]}</select>'
        f'<select id="two" aria-label="Right of the slider">{options[1]}</select>'
        '<button type="button" class="primary" id="slide">Compare</button></div></header>\n<main>\n'
    )
    for strip in strips:
        yield from _row(strip)
    yield f"</main>\n{_VIEWER}\n<script>{script}</script>\n</body>\n</html>\n"


def _row(strip: Strip) -> Iterator[str]:
    yield '<section class="row"><ul class="strip" role="list">\n'
    usual = next((place.size for place in strip.places if place.size), (1, 1))
    for place in strip.places:
        yield _place(place, place.size or usual)
    link = f' · <a href="{quote(strip.file)}">strip as one picture</a>' if strip.file else ""
    yield (
        f'</ul><div class="under"><p class="prompt" {_ANY}>{escape(strip.prompt)}</p>'
        f'<p class="muted"><span class="seed">{escape(strip.seed)}</span>{link}</p></div></section>\n'
    )


def _place(place: Place, size: tuple[int, int]) -> str:
    """Return one place; one without a picture takes as much room as its neighbours."""
    wide = max(160, min(420, round(300 * size[0] / size[1])))
    if place.picture is not None:
        alt = escape(place.label, quote=True)
        inside = (
            f'<a class="picture" href="{quote(place.picture)}"><img loading="lazy" src="{quote(place.picture)}" alt="{alt}" '
            f'width="{size[0]}" height="{size[1]}"></a>'
        )
    else:
        inside = f'<div class="failed" style="aspect-ratio: {size[0]} / {size[1]}" {_ANY}>{escape(place.why)}</div>'
    told = ""
    if place.figures:
        told = f'<p class="figures">{escape(" · ".join(_figures(place.figures)))}</p>'
        badges = [*place.figures.warnings, *([f"copies {place.figures.copies}"] if place.figures.copies else [])]
        if badges:
            told += f'<ul class="badges">{"".join(f"<li>{escape(badge)}</li>" for badge in badges)}</ul>'
    return f'<li class="place" style="--wide: {wide}px"><p class="label" {_ANY}>{escape(place.label)}</p>{inside}{told}</li>\n'


def _figures(figures: Figures) -> Iterator[str]:
    for name, value in (("from base", figures.from_base), ("from the one before", figures.from_before)):
        if value is not None:
            yield f"{100 * value:.1f} % {name}"
    yield f"saturation {figures.saturation:.2f}"
    yield f"sharpness {figures.sharpness:.0f}"


_VIEWER = """<dialog class="viewer" aria-label="One picture">
<div class="viewer-top"><button type="button" class="icon before" aria-label="Picture before">←</button><button type="button" class="icon after" aria-label="Next picture">→</button><h2 lang="" dir="auto"></h2>
<button type="button" class="icon smaller" aria-label="Smaller">−</button><span class="muted size"></span><button type="button" class="icon larger" aria-label="Larger">+</button>
<button type="button" class="slide" aria-pressed="false">Slider</button><button type="button" class="icon close" aria-label="Close">×</button></div>
<div class="stage" tabindex="0" aria-label="Picture; arrow keys for others, plus and minus to zoom, s for the slider">
<div class="board"><img class="one" alt=""><img class="two" alt=""></div><div class="divider"></div><span class="tag one"></span><span class="tag two"></span><div class="gone"></div></div>
<div class="viewer-foot"><input type="range" min="0" max="100" step="0.1" value="50" aria-label="Between the two pictures"><p class="told" lang="" dir="auto"></p></div>
</dialog>"""
