"""The words inside a picture's file: the prompt of a generated one, the description of a photograph."""

from __future__ import annotations

import html
import re
from io import BytesIO
from typing import NamedTuple

from PIL import Image, ImageFile
from PIL.IptcImagePlugin import getiptcinfo

# What the head of a file holds if it is worth looking at; so much of it is looked at.
HEAD = 1 << 16
_SIGNS = re.compile(rb"parameters\x00|Steps: |S\x00t\x00e\x00p\x00s\x00:|dc:description|8BIM")
# AUTOMATIC1111's web interface writes the prompt first, then what is to be avoided, then settings.
_SETTINGS = re.compile(r"\n(?:Negative prompt:|Steps: \d)")
_DESCRIPTION = re.compile(r"<dc:description\b[^>]*>.*?<rdf:li\b[^>]*>(.*?)</rdf:li>", re.DOTALL)
_EXIF_IFD, _USER_COMMENT, _IPTC_CAPTION = 0x8769, 0x9286, (2, 120)


class Words(NamedTuple):
    """Words found in a picture, and where."""

    text: str
    place: str


def may_hold_words(head: bytes) -> bool:
    """Tell from the first `HEAD` bytes of a picture's file whether `words_in` may find any."""
    return _SIGNS.search(head) is not None


def words_in(data: bytes) -> Words | None:
    """Return the prompt in PNG text or EXIF (as AUTOMATIC1111 writes it), else the description in XMP or IPTC; None without.

    A file that is no picture holds none.
    """
    try:
        with Image.open(BytesIO(data)) as image:
            found = (
                Words(_prompt(str(image.info.get("parameters", ""))), "PNG text parameters"),
                Words(_prompt(_comment(image), generated=True), "EXIF UserComment"),
                Words(_described(image), "XMP description"),
                Words(_iptc(image), "IPTC caption"),
            )
    except Exception:  # whatever a decoder makes of a damaged file: crop says so
        return None
    # The lines of a prompt or a description are one: a line feed is a blank there.
    return next((Words(" ".join(text.split()), place) for text, place in found if text.strip()), None)


def _prompt(text: str, *, generated: bool = False) -> str:
    """Return the prompt alone; of what any camera may have written, only where settings of a generator follow."""
    match = _SETTINGS.search(text)
    if match is None:
        return "" if generated else text
    return text[: match.start()]


def _comment(image: Image.Image) -> str:
    """Return EXIF's UserComment, whose first eight bytes name its encoding."""
    raw = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    data = raw if isinstance(raw, bytes) else str(raw).encode()
    if data.startswith(b"UNICODE\x00"):
        wide = data[8:]
        return wide.decode("utf-16-le" if wide[1::2].count(0) > wide[::2].count(0) else "utf-16-be", "ignore").strip("\x00")
    return data.removeprefix(b"ASCII\x00\x00\x00").decode("utf-8", "ignore").strip("\x00")


def _described(image: Image.Image) -> str:
    raw = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    match = _DESCRIPTION.search(raw if isinstance(raw, str) else raw.decode("utf-8", "ignore"))
    return html.unescape(match[1]).strip() if match else ""


def _iptc(image: ImageFile.ImageFile) -> str:
    found = (getiptcinfo(image) or {}).get(_IPTC_CAPTION, b"")
    return found.decode("utf-8", "ignore").strip() if isinstance(found, bytes) else ""
