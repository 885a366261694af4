"""Write a dataset as one HTML file that needs nothing else: thumbnails inside, nothing loaded, no script."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from pathlib import Path

from datakit.dataset.companions import is_mask
from datakit.dataset.manifest import Face, write_atomically
from datakit.errors import SampleError, UsageError
from datakit.geometry import Box, Size
from datakit.picture.encoding import encode
from datakit.review.entries import Dataset, Entry
from datakit.review.gallery import Gallery
from datakit.review.thumbnails import THUMBNAIL_SIDE, Thumbnails
from datakit.trainers.training import Batching

# A file from elsewhere may not load or run anything either, whatever a caption holds.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# Names and captions are of no language that is known, and run as their first letter does.
_ANY = 'lang="" dir="auto"'
# A frame is this much lower than wide, as on the page.
_FRAME = 0.8
_QUALITY = 85
_SUFFIXES = (".html", ".htm")


def write_static(folder: Path, path: Path, *, overwrite: bool = False) -> int:
    """Write a dataset to one HTML file and return how many pictures it shows.

    Raises
    ------
    UsageError
        The folder is no dataset of datakit, the file is not named as HTML, or it is there and ``overwrite`` is not said.
    PlanError
        A line of the manifest or of the decisions cannot be used.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{path} is not named as what is written: name it .html")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} is there already: name another file, or use --overwrite to replace it")
    gallery = Gallery(folder)
    dataset = gallery.dataset(Batching())
    write_atomically(path, (part.encode("utf-8", "replace") for part in _page(gallery, dataset)))
    return len(dataset.samples)


def _page(gallery: Gallery, dataset: Dataset) -> Iterator[str]:
    """Yield the file card by card, so that no more than one thumbnail is in memory."""
    here = files("datakit.review")
    style = "\n".join((here / name).read_text("utf-8") for name in ("page/page.css", "page/grid.css", "static.css"))
    name = escape(Path(dataset.folder).resolve().name)
    yield (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name} · datakit review</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
    )
    yield _header(name, dataset)
    yield '<main><div class="grid" role="list">\n'
    thumbnails = Thumbnails(gallery.folder, gallery.background)
    for entry in dataset.samples:
        yield _card(entry, _thumbnail(gallery, thumbnails, entry), _covered(gallery, thumbnails, entry))
    yield "</div></main>\n</body>\n</html>\n"


def _header(name: str, dataset: Dataset) -> str:
    sizes = "".join(
        f"<li>{Size(*bucket.size)} <span class='muted'>{bucket.pictures}</span></li>"
        for bucket in dataset.buckets
        if bucket.pictures
    )
    refused = sum(entry.refused is not None for entry in dataset.samples)
    out = f", {refused} refused" if refused else ""
    steps = f", {dataset.batches.steps} batches of 1 an epoch" if dataset.batches else ""
    written = sum(bucket.pictures for bucket in dataset.buckets)
    return (
        f'<header class="top"><div class="title"><h1 {_ANY}>{name}</h1>'
        f'<p class="muted">{written} pictures{out}{steps}</p></div><ul>{sizes}</ul></header>\n'
    )


def _thumbnail(gallery: Gallery, thumbnails: Thumbnails, entry: Entry) -> tuple[bytes, bool] | None:
    """Return the thumbnail of the source, else of the output, and whether it is the source's."""
    found = gallery.files(entry.key)
    for path, is_source in ((found.source, True), (found.output, False)) if found else ():
        if path is not None:
            try:
                return thumbnails.thumbnail(path), is_source
            except (SampleError, OSError):
                continue
    return None


def _covered(gallery: Gallery, thumbnails: Thumbnails, entry: Entry) -> str:
    """Return what was written of an entry under each of its companions, as figures; of copies the first."""
    found = gallery.files(entry.copies[0].key if entry.copies else entry.key)
    figures = ""
    for name, path in (gallery.written_companions(found) if found and found.output else {}).items():
        assert found is not None
        assert found.output is not None
        try:
            image = thumbnails.covered(found.output, path, THUMBNAIL_SIDE, mask=is_mask(name))
        except (SampleError, OSError):
            figures += f"<figure><figcaption>no {name}</figcaption></figure>"
            continue
        figures += f'<figure>{_img(encode(image, "jpg", _QUALITY))}<figcaption class="muted">{name}</figcaption></figure>'
    return f'<div class="companions">{figures}</div>' if figures else ""


def _img(content: bytes) -> str:
    return f'<img alt="" loading="lazy" src="data:image/jpeg;base64,{base64.b64encode(content).decode()}">'


def _card(entry: Entry, picture: tuple[bytes, bool] | None, companions: str) -> str:
    size = entry.size if picture and picture[1] else entry.bucket
    image, width, shape = "", 100.0, ""
    if picture:
        image = _img(picture[0])
    if size:
        width = round(100 * min(1, _FRAME * size[0] / size[1]), 2)
        shape = f"; aspect-ratio: {size[0]} / {size[1]}"
    box, bucket = _decided(entry)
    overlay = _overlay(entry, size, box) if picture and picture[1] and size else ""
    edited = entry.decision.caption if entry.decision and not entry.applied else None
    caption = entry.caption if edited is None else edited
    lines = [
        *([entry.refused] if entry.refused else []),
        *([entry.why] if entry.why else []),
        *(warning.sentence for warning in entry.warnings),
    ]
    lines += [f"{copy.output}: {copy.caption or 'no caption'}{_changes(copy.augmentation)}" for copy in entry.copies]
    classes = "".join(f" {word}" for word, holds in _states(entry).items() if holds)
    return (
        f'<article class="cell{classes}" role="listitem">'
        f'<div class="frame"><div class="figure{"" if picture else " missing"}" style="width: {width}%{shape}">{image}{overlay}</div></div>{companions}'
        f'<div class="line"><span class="name" {_ANY} title="{escape(entry.id)}">{escape(entry.id)}</span>'
        f'<span class="bucket muted">{Size(*bucket) if bucket else ""}</span></div>'
        f'<p class="caption{"" if caption else " muted"}" {_ANY}>{escape(caption or ("" if entry.refused else "no caption"))}</p>'
        f'<div class="badges">{"".join(_badges(entry))}</div>'
        f"<ul>{''.join(f'<li {_ANY}>{escape(line)}</li>' for line in lines)}</ul></article>\n"
    )


def _decided(entry: Entry) -> tuple[Box | None, Size | None]:
    """Return the window and size as somebody decided, else as crop did."""
    if entry.decision and entry.decision.box:
        return entry.decision.box, entry.decision.bucket
    return entry.box, entry.bucket


def _states(entry: Entry) -> dict[str, bool]:
    decision = entry.decision
    return {
        "rejected": bool(decision and decision.rejected),
        "accepted": bool(decision and decision.accepted),
        "refused": entry.refused is not None,
    }


def _badges(entry: Entry) -> Iterator[str]:
    states = _states(entry)
    decision = entry.decision
    for tone, words, holds in (
        ("bad", "✕ rejected", states["rejected"]),
        ("good", "✓ accepted", states["accepted"]),
        ("note", "✎ changed", bool(decision and (decision.box or decision.caption is not None))),
        ("bad", "refused", states["refused"] and not states["rejected"]),
        ("warn", "face cut", any(face.kept < 1 for face in entry.faces)),
        ("warn", "low confidence", entry.confidence == "low"),
        ("", f"{len(entry.copies)} copies", bool(entry.copies)),
        ("", entry.anchor or "", entry.anchor is not None),
    ):
        if holds:
            yield f'<span class="badge {tone}">{words}</span>'


def _overlay(entry: Entry, size: Size, box: Box | None) -> str:
    width, height = size
    shapes = ""
    if box:
        left, top, right, bottom = box
        hole = f"M0 0H{width}V{height}H0Z M{left} {top}V{bottom}H{right}V{top}Z"
        shapes += f'<path class="outside" d="{hole}" fill-rule="evenodd"/>'
    shapes += "".join(map(_face, entry.faces))
    if box:
        shapes += f'<rect class="window" x="{left}" y="{top}" width="{right - left}" height="{bottom - top}"/>'
    return f'<svg class="overlay" viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">{shapes}</svg>'


def _face(face: Face) -> str:
    left, top = face.box[:2]
    name = "face cut" if face.kept < 1 else "face"
    return f'<rect class="{name}" x="{left}" y="{top}" width="{face.box.width}" height="{face.box.height}"/>'


def _changes(augmentation: dict[str, float | bool | tuple[float, ...]]) -> str:
    if not augmentation:
        return ""
    return " · " + ", ".join(f"{name} {value}" for name, value in augmentation.items())
