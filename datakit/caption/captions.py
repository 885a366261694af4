"""Read, split, shuffle, format and write captions; text only, no pictures."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from datakit.errors import CaptionError
from datakit.report import Warned

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
# Tried in this order; a UTF-16 file is only believed with its byte order mark.
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


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
    """

    lines: tuple[str, ...]
    sha256: str | None
    warnings: tuple[Warned, ...] = ()

    @property
    def text(self) -> str:
        """What is written to a caption file: lines joined by a newline, no blank edges, no byte order mark.

        Trainers read the file as it is: SimpleTuner keeps a byte order mark in the caption, and 4.8 stops in
        training on carriage returns and trailing blanks.
        """
        return "\n".join(self.lines)


def read_caption(path: Path) -> Caption:
    """Read a caption file as UTF-8, else as UTF-16 with a byte order mark, else as Windows-1252.

    Raises
    ------
    CaptionError
        The file cannot be read, or holds bytes that are no text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CaptionError(f"caption {path.name} cannot be read: {error.strerror or error}") from error
    return decode_caption(data, path.name)


def decode_caption(data: bytes, name: str) -> Caption:
    """Turn the bytes of a caption file into captions; ``name`` is used in messages.

    Raises
    ------
    CaptionError
        The bytes are no text in any encoding tried.
    """
    notes = []
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    if encoding is not None:
        notes.append(Warned("caption-marked", f"caption {name} had a byte order mark"))
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            text = ""
        if not text or encoding is not None or "\x00" in text:
            raise CaptionError(f"caption {name} is not text in UTF-8, UTF-16 or Windows-1252: save it as UTF-8") from None
        notes.append(Warned("caption-encoded", f"caption {name} is not UTF-8: read as Windows-1252"))
    if "\x00" in text:
        raise CaptionError(f"caption {name} holds zero bytes and is no text: save it as UTF-8")
    # Only line feeds and carriage returns end a caption; str.splitlines would also split at form feeds and U+2028.
    lines = tuple(line.strip() for line in text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    return Caption(tuple(line for line in lines if line), hashlib.sha256(data).hexdigest(), tuple(notes))


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
