"""Read, split, shuffle, format and write captions; text only, no pictures."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from datakit.caption.encodings import MARKS, NAMES, UNTOLD, tell
from datakit.caption.lines import lines_are
from datakit.errors import CaptionError
from datakit.report import Warned, counted

_SIDES = re.compile(r"(?<![^\W_])(left|right)(?=(?:most|wards?)?(?![^\W_]))", re.IGNORECASE)
_OTHER_SIDE = {"left": "right", "right": "left"}
# What a mirror makes unreadable, in the words of captions.
_WRITTEN = re.compile(
    r"(?<![^\W_])(?:text|texts|letters?|lettering|words?|signs?|signage|signboards?|billboards?|logos?|writing|written|handwriting|"
    r"handwritten|inscriptions?|inscribed|calligraphy|typography|fonts?|captions?|subtitles?|speech[ _]bubbles?|watermarks?|signatures?|"
    r"labels?|labell?ed|numbers?|numerals?|digits?|license[ _]plates?|licence[ _]plates?|number[ _]plates?|newspapers?|posters?|"
    r"graffiti|brand[ _]names?|username|artist[ _]name)(?![^\W_])",
    re.IGNORECASE,
)
# What a tokenizer sees and no reader does: marks inside a text, blanks of no width, soft hyphens, directions. Joiners stay, as
# emoji and Persian are made with them.
_INVISIBLE = re.compile("[\ufeff\u200b\u2060-\u2064\u00ad\u180e\u200e\u200f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb]")
_HARD_BLANK = re.compile("[\u00a0\u2007\u202f]")
_ENTITY = re.compile(r"&(?:amp|quot|lt|gt|nbsp|apos|#\d{1,6}|#x[0-9a-fA-F]{1,6});")
_MARKED = tuple(mark for mark, _ in MARKS)
# What lines that are no captions are called in a message.
_LINES_SAID = {
    "tags": ("caption-lines", "holds one tag a line: each would be trained as a caption of its own"),
    "wrapped": ("caption-wrapped", "holds one list of tags wrapped over several lines: each would be trained as a caption"),
}


@dataclass(frozen=True, slots=True)
class Caption:
    """The captions of one picture, one a line, with what was mended while reading them.

    Attributes
    ----------
    lines
        Non-empty captions without surrounding space.
    sha256
        Of the file as it was read, hexadecimal; None where there is no file.
    warnings
        What the user should know.
    supplied
        Whether it stands in for one that is not there, as an option asks.
    """

    lines: tuple[str, ...]
    sha256: str | None
    warnings: tuple[Warned, ...] = ()
    supplied: bool = False

    @property
    def text(self) -> str:
        """What is written to a caption file: lines joined by a newline, no blank edges, no byte order mark.

        Trainers read the file as it is: SimpleTuner keeps a byte order mark in the caption, and 4.8 stops in
        training on carriage returns and trailing blanks.
        """
        return "\n".join(self.lines)


def read_caption(path: str | Path, agreed: str | None = None) -> Caption:
    """Read a caption file; see `decode_caption`.

    Raises
    ------
    CaptionError
        The file cannot be read, or holds bytes that are no text.
    """
    name = os.path.basename(path)
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.readall()
    except OSError as error:
        raise CaptionError(f"caption {name} cannot be read: {error.strerror or error}") from error
    return decode_caption(data, name, agreed)


def decode_caption(data: bytes, name: str, agreed: str | None = None) -> Caption:
    """Turn the bytes of a caption file into captions; ``name`` is used in messages.

    Read as its byte order mark says, else as UTF-8, else in the encoding that the captions of its folder agreed on
    (`datakit.caption.encodings.agree`), else in the one that its own signs tell.

    Raises
    ------
    CaptionError
        The bytes are no text, or it cannot be told in which encoding.
    """
    notes = []
    text, encoding = _decoded(data, name, agreed)
    if data.startswith(_MARKED):
        notes.append(Warned("caption-marked", f"caption {name} had a byte order mark"))
    elif encoding != "utf-8":
        notes.append(Warned("caption-encoded", f"caption {name} is not UTF-8: read as {NAMES.get(encoding, encoding)}"))
    text = text.lstrip("\ufeff")
    clean = text if text.isascii() else _INVISIBLE.sub("", _HARD_BLANK.sub(" ", text))
    if len(clean) != len(text):
        held = counted(len(text) - len(clean), "invisible character")
        notes.append(Warned("caption-invisible", f"caption {name} held {held}, left out"))
    entity = _ENTITY.search(clean) if "&" in clean else None
    if entity:
        notes.append(Warned("caption-html", f"caption {name} holds {entity[0]}, as on a web page: it is trained as it stands"))
    # Only line feeds and carriage returns end a caption; str.splitlines would also split at form feeds and U+2028.
    split = (line.strip() for line in clean.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    lines = tuple(line for line in split if line)
    said = _LINES_SAID.get(lines_are(lines)) if len(lines) > 1 else None
    if said:
        notes.append(Warned(said[0], f"caption {name} {said[1]} (datakit captions --join-lines)"))
    return Caption(lines, hashlib.sha256(data).hexdigest(), tuple(notes))


def _decoded(data: bytes, name: str, agreed: str | None) -> tuple[str, str]:
    """Return a text and its encoding. Raises as `decode_caption`."""
    marked = next(encoding for mark, encoding in MARKS if data.startswith(mark)) if data.startswith(_MARKED) else None
    told: str | None = marked or "utf-8"
    try:
        text: str | None = data.decode(marked or "utf-8")
    except UnicodeDecodeError:
        text = None
    if text is None or "\x00" in text:
        known = agreed if agreed != UNTOLD and b"\x00" not in data else None
        told = None if marked else known or tell(data)
        told = None if told == "cp1252" and agreed == UNTOLD else told
        try:
            text = data.decode(told) if told else None
        except UnicodeDecodeError:
            text = None
    if text is None or told is None:
        zeros = "holds zero bytes and is no text" if b"\x00" in data else "is not UTF-8, and what else it is cannot be told"
        raise CaptionError(f"caption {name} {zeros}: save it as UTF-8")
    return text, told


def swap_sides(caption: str) -> str:
    """Swap the English words left and right (leftmost, rightward too) in their own case, as a mirror does."""

    def swapped(match: re.Match[str]) -> str:
        word = match[0]
        other = _OTHER_SIDE[word.lower()]
        return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other

    return _SIDES.sub(swapped, caption)


def written_word(caption: str) -> str | None:
    """Return the first English word of a caption that speaks of writing, such as text, letters, a sign or a logo."""
    match = _WRITTEN.search(caption)
    return match and match[0]
