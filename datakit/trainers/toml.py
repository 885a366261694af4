"""Write TOML that `toml` 0.10, which the trainers read it with, and every later parser take for the same."""

from __future__ import annotations

from collections.abc import Mapping

from datakit.errors import UsageError

Value = str | int | float | bool | list[int] | list[list[int]]

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
