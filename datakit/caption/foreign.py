"""Captions as other tools write them: JSON beside a picture, tables of a whole folder; bytes to text, no paths."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

from datakit.caption.captions import decode_caption
from datakit.errors import CaptionError
from datakit.libraries import to_install_extra

# Tried in this order, wherever a caption may have several names.
KEYS = ("caption", "text", "prompt", "description", "tags", "tag_string", "caption_string")
_FILES = ("file_name", "filename", "file", "image", "path", "image_path", "img")
# Tables of a folder, in the order they are asked: those of Hugging Face's imagefolder, of kohya's sd-scripts, of others.
TABLES = (
    "metadata.jsonl", "metadata.csv", "metadata.parquet", "captions.json", "captions.jsonl", "captions.csv", "meta_cap.json",
    "meta_cap_dd.json", "meta_lat.json",
)  # fmt: skip


class Table:
    """The captions of several pictures.

    Parameters
    ----------
    captions
        By the picture's name as the table has it, with forward slashes.
    keys
        What they were called there.
    empty
        Pictures whose caption is empty there.
    """

    def __init__(self, captions: Mapping[str, str], keys: Iterable[str] = (), empty: Iterable[str] = ()) -> None:
        self.captions = captions
        self.empty = frozenset(empty) - captions.keys()
        self.keys = tuple(filter(None, keys))
        # By name alone, for tables with paths of another machine; two pictures of one name are none's.
        self._by_name: dict[str, str | None] = {}
        for entry in captions:
            base = entry.rpartition("/")[2].casefold()
            for name in dict.fromkeys((base, os.path.splitext(base)[0])):
                self._by_name[name] = None if name in self._by_name else entry

    def entry_of(self, picture: str) -> str | None:
        """Return what the table calls a picture: by its path from there or by its name, with or without extension."""
        base = picture.rpartition("/")[2].casefold()
        for name in (picture, os.path.splitext(picture)[0]):
            if name in self.captions:
                return name
        return self._by_name.get(base) or self._by_name.get(os.path.splitext(base)[0])


def caption_in(value: Any) -> tuple[str, str] | None:
    """Return a caption and its key from what JSON says of one picture; None where it says none.

    Danbooru's ``tag_string`` has blanks between tags; lists are joined by ", ".
    """
    if isinstance(value, str):
        return (value.strip(), "") if value.strip() else None
    if not isinstance(value, dict):
        return None
    for key in KEYS:
        found = value.get(key)
        if isinstance(found, dict):  # gallery-dl: tags by category
            found = [tag for tags in found.values() if isinstance(tags, list) for tag in tags]
        if isinstance(found, list):
            found = ", ".join(tag.strip() for tag in found if isinstance(tag, str) and tag.strip())
        if isinstance(found, str) and found.strip():
            return (", ".join(found.split()) if key == "tag_string" else found.strip()), key
    return None


def read_sidecar(data: bytes, name: str) -> tuple[str, str] | None:
    """Return the caption in a picture's own JSON file, and its key; None where it holds none. Raises CaptionError."""
    return caption_in(_json(data, name))


def read_table(data: bytes, name: str) -> Table:
    """Read the captions of several pictures from .json, .jsonl, .csv or .parquet, by the names that `KEYS` lists.

    Several rows of one picture are several captions of it, a line each.

    Raises
    ------
    CaptionError
        The file is none of these, or a library for it is missing.
    """
    extension = os.path.splitext(name)[1].lower()
    rows: Iterable[Any]
    if extension == ".jsonl":
        lines = _text(data, name).split("\n")
        rows = (_json(line.encode(), f"{name}, line {number}") for number, line in enumerate(lines, 1) if line.strip())
    elif extension == ".csv":
        rows = _csv(_text(data, name))
    elif extension == ".parquet":
        rows = _parquet(data, name)
    else:
        rows = _entries(_json(data, name))
    captions: dict[str, list[str]] = {}
    keys: dict[str, None] = {}
    empty: list[str] = []
    for row in rows:
        picture = next((row[key] for key in _FILES if isinstance(row.get(key), str)), None) if isinstance(row, dict) else None
        found = caption_in(row)
        name = picture.replace("\\", "/").removeprefix("./") if picture else ""
        if name and found:
            captions.setdefault(name, []).append(found[0])
            keys[found[1]] = None
        elif name and not row.keys().isdisjoint(KEYS):
            empty.append(name)
    return Table({name: "\n".join(dict.fromkeys(lines)) for name, lines in captions.items()}, keys, empty)


def _entries(value: Any) -> Iterator[Any]:
    """Yield what a JSON file says of each picture, as rows that name it: a list of them, or a mapping by name."""
    if isinstance(value, dict):
        for name, said in value.items():
            for each in said if isinstance(said, list) else [said]:
                yield (
                    {"caption": each, _FILES[0]: name}
                    if isinstance(each, str)
                    else {**each, _FILES[0]: name}
                    if isinstance(each, dict)
                    else {}
                )
    elif isinstance(value, list):
        yield from value


def _csv(text: str) -> Iterator[dict[str, str]]:
    """Read rows with a heading; spreadsheets put commas, semicolons or tabs between cells, depending on the country."""
    heading = text.partition("\n")[0]
    delimiter = max(",;\t", key=heading.count)
    # A line feed inside of a cell is one between captions.
    yield from csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)


def _parquet(data: bytes, name: str) -> list[Any]:
    try:
        parquet, arrow = import_module("pyarrow.parquet"), import_module("pyarrow")
    except ImportError:
        raise CaptionError(f"{name} needs an extra: {to_install_extra('parquet')}, or save it as .csv") from None
    try:
        table = parquet.read_table(arrow.BufferReader(data))
        wanted = [column for column in table.column_names if column in (*KEYS, *_FILES)]
        return table.select(wanted).to_pylist()
    except Exception as error:  # whatever the library makes of a damaged file
        raise CaptionError(f"{name} is no Parquet file that can be read: {error}") from None


def _json(data: bytes, name: str) -> Any:
    try:
        return json.loads(_text(data, name))
    except (ValueError, RecursionError) as error:
        raise CaptionError(f"{name} is no JSON: {error}") from None


def _text(data: bytes, name: str) -> str:
    """Return the text of a file in whatever encoding captions are read in."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return decode_caption(data, name).text
