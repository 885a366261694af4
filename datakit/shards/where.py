"""Which samples are wanted: conditions such as ``bucket=1024x1024`` or ``area_kept>=0.9`` on their records."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datakit.dataset.manifest import Record
from datakit.errors import UsageError
from datakit.geometry import Size

Value = str | float | None
# What a condition may name; a record that does not tell fits none.
FIELDS: Mapping[str, Callable[[Record], Value]] = {
    "output": lambda record: record.output,
    "source": lambda record: record.source,
    "bucket": lambda record: str(Size(*record.bucket)),
    "anchor": lambda record: record.anchor,
    "width": lambda record: record.source_size[0] if record.source_size else None,
    "height": lambda record: record.source_size[1] if record.source_size else None,
    "faces": lambda record: len(record.faces),
    "face_kept": lambda record: record.faces[0].kept if record.faces else None,
    "area_kept": lambda record: record.area_kept,
    "saliency_kept": lambda record: record.saliency_kept,
    "scale": lambda record: record.scale,
    "captions": lambda record: record.captions,
    "copy": lambda record: record.copy,
    "warnings": lambda record: len(record.warnings),
}
_NUMBERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS: Mapping[str, Callable[[str, str], bool]] = {
    "=": fnmatch.fnmatchcase,
    "!=": lambda value, pattern: not fnmatch.fnmatchcase(value, pattern),
}
_TEXTS = frozenset({"output", "source", "bucket", "anchor"})
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|!=|=|<|>)\s*(.+?)\s*", re.DOTALL)


def wanted(conditions: Sequence[str]) -> Callable[[Record], bool]:
    """Return what tells whether a record meets all conditions: a name of `FIELDS`, a comparison, a value.

    Words are compared by ``=`` and ``!=``, where ``*`` and ``?`` stand for any signs.

    Raises
    ------
    UsageError
        A condition is none.
    """
    tests = [_test(condition) for condition in conditions]
    return lambda record: all(test(record) for test in tests)


def _test(condition: str) -> Callable[[Record], bool]:
    found = _CONDITION.fullmatch(condition)
    if found is None or found[1] not in FIELDS:
        raise UsageError(
            f"--where {condition!r}: write a name, a comparison and a value, such as area_kept>=0.9; names are {', '.join(FIELDS)}"
        )
    name, comparison, text = found.groups()
    field = FIELDS[name]
    if name in _TEXTS:
        if comparison not in _WORDS:
            raise UsageError(f"--where {condition!r}: {name} is a word: compare it with {' or '.join(_WORDS)}")
        compare: Callable[[Any, Any], bool] = _WORDS[comparison]
        value: Value = text
    else:
        try:
            compare, value = _NUMBERS[comparison], float(text)
        except ValueError:
            raise UsageError(f"--where {condition!r}: {name} is a number, {text!r} is none") from None

    def test(record: Record) -> bool:
        held = field(record)
        return held is not None and compare(held, value)

    return test
