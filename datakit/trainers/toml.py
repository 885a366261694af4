"""TOML that trainers read: written so that `toml` 0.10 and every later parser take it for the same, and read to be judged."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from datakit.errors import UsageError

Value = str | int | float | bool | list[int] | list[list[int]] | list[str]

# Besides TOMLDecodeError: what is no UTF-8, numbers of thousands of digits, and tables within tables without end.
_NOT_TOML = (ValueError, RecursionError)
# toml 0.10 takes these apart wrongly in basic strings; https://github.com/uiri/toml (decoder.py).
_CONTROLS = frozenset(map(chr, range(0x20))) | {"\x7f"}


def table(header: str, values: Mapping[str, Value]) -> str:
    """Return a table as text: ``header`` as it stands in the file, such as ``[general]``, and a line for each value.

    Raises
    ------
    UsageError
        A text cannot be written so that every parser reads it back.
    """
    return "\n".join([*([header] if header else []), *(f"{key} = {_value(value)}" for key, value in values.items())]) + "\n"


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a file holds.

    Raises
    ------
    UsageError
        It cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except _NOT_TOML as error:
        raise UsageError(f"{path} is no TOML: {error}") from None


def lists_tables(content: bytes, name: str, keys: Collection[str]) -> bool:
    """Tell whether bytes are TOML with a list of tables of this name, one of which has any of some keys."""
    try:
        tables = tomllib.loads(content.decode()).get(name)
    except _NOT_TOML:
        return False
    return isinstance(tables, list) and any(isinstance(each, dict) and not each.keys().isdisjoint(keys) for each in tables)


def wrong_keys(values: Mapping[str, Any], known: Mapping[str, tuple[type, ...]], where: str) -> list[str]:
    """Return a sentence for each key that a trainer with a schema of these keys and types refuses."""
    found = []
    for key, value in values.items():
        if key not in known:
            found.append(f"{where}: key {key!r} is unknown to the trainer, which stops at it")
        elif type(value) not in known[key]:  # such a schema takes no 1 for true
            kinds = " or ".join(kind.__name__ for kind in known[key])
            found.append(f"{where}: {key} = {value!r}: the trainer wants {kinds} and stops")
    return found


def general_and_datasets(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """Read a file of a table ``general`` and a list ``datasets``, as kohya's trainers have it; return them and what else is there.

    Raises
    ------
    UsageError
        The file cannot be read, is no TOML, or either is something else.
    """
    content = read_toml(path)
    general, datasets = content.get("general", {}), content.get("datasets", [])
    if not isinstance(general, dict) or not isinstance(datasets, list) or not all(isinstance(each, dict) for each in datasets):
        raise UsageError(f"{path}: general must be a table, and datasets a list of tables")
    others = sorted(content.keys() - {"general", "datasets"})
    return general, datasets, [f"key {key!r}: the trainer knows only general and datasets here" for key in others]


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)


def _text(value: str) -> str:
    """Return a literal string, which no parser unescapes; a basic one where it holds the literal's own quote."""
    if _CONTROLS.intersection(value):
        raise UsageError(f"{value!r} holds a control character, which trainers read wrongly from TOML: use another name")
    if "'" not in value:
        return f"'{value}'"
    if value.startswith('""'):
        raise UsageError(f'{value!r} starts with "", which trainers read wrongly from TOML: use another name')
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
