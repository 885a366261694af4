"""What lets `datasets.load_dataset` read a dataset: ``metadata.jsonl``, a row a caption, and the card that names its files."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from datakit.dataset.manifest import NOT_JSON, write_atomically
from datakit.picture.formats import PICTURE_SUFFIXES

METADATA = "metadata.jsonl"
# What `datasets` looks into a folder for (its config.py: REPOCARD_FILENAME).
CARD = "README.md"
# The block that says which files are the dataset. Without one `datasets` guesses: the commonest extension decides, which in a folder
# of pictures with a .txt each may be text, and a file or folder called test, train or dev becomes a split of its own.
_CONFIGS = b"configs:"
_PATTERNS = "".join(f'    - "{pattern}"\n' for pattern in (METADATA, *(f"**/*{suffix}" for suffix in PICTURE_SUFFIXES)))
_BLOCK = f"""\
configs:
- config_name: default
  data_files:
  - split: train
    path:
{_PATTERNS}""".encode()
CARD_CONTENT = b"---\n%b---\n\nPictures with captions, for `datasets.load_dataset`; `%b` holds a row for each caption.\n" % (
    _BLOCK,
    METADATA.encode(),
)
# Of a dataset in shards the tars alone: of its records, too, `datasets` would make rows.
SHARDS_CARD = b"""\
---
configs:
- config_name: default
  data_files: "*.tar"
---

Pictures with captions in tars, for `datasets.load_dataset`: columns `jpg` (or another format) and `txt`.
"""


class _Row(msgspec.Struct):
    file_name: str
    text: str | None = None


_ENCODER = msgspec.json.Encoder()
_ROWS = msgspec.json.Decoder(_Row)


def metadata_rows(output: str, text: str | None) -> bytes:
    """Return what `datasets`' imagefolder wants of a picture: a line with ``file_name`` and ``text`` for each of its captions.

    ``text`` holds a caption a line; None where the picture has none, which is a row too, as a picture without one is left out.
    """
    captions = [None] if text is None else [line for line in text.split("\n") if line] or [""]
    return b"".join(_ENCODER.encode({"file_name": output, "text": caption}) + b"\n" for caption in captions)


def read_metadata(folder: Path) -> dict[str, bytes]:
    """Return the rows of each picture of a dataset by its name; what is no such row is passed over."""
    found: dict[str, bytes] = {}
    path = folder / METADATA
    if path.exists():
        with path.open("rb") as lines:
            for line in lines:
                with suppress(*NOT_JSON):
                    row = _ROWS.decode(line)
                    # Before each caption had its row, they were the lines of one.
                    lone = row.text is None or "\n" not in row.text
                    rows = line.rstrip(b"\n") + b"\n" if lone else metadata_rows(row.file_name, row.text)
                    found[row.file_name] = found.get(row.file_name, b"") + rows
    return found


def write_card(folder: Path) -> None:
    """Write the card of a dataset, where there is none: one of the user's own is theirs. Raises OSError."""
    if not os.path.lexists(folder / CARD):
        write_atomically(folder / CARD, CARD_CONTENT)


def card_names(content: bytes) -> bool | None:
    """Tell whether a card names the files as datakit does; None where it names none at all, and `datasets` guesses."""
    return _BLOCK in content.replace(b"\r\n", b"\n") if _CONFIGS in content else None


def about_card(folder: Path) -> list[str]:
    """Say of the user's own card what is missing; nothing where there is none, or where it names files itself."""
    with suppress(OSError):
        if card_names((folder / CARD).read_bytes()) is None:
            cost = "`datasets.load_dataset` may take the captions alone for the dataset"
            return [f"{CARD} is yours and stays, but names no files (`configs`): {cost}; move it away to have one written"]
    return []
