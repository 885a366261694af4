"""Lines of ``config.env``: as bash means them, as SimpleTuner reads them, and written so that both agree.

The recipe's launcher sourced the file in bash; SimpleTuner 3.1.6 and later read it line by line, take off the
outer quotes and resolve nothing. Values come out as bash meant them, and whatever SimpleTuner reads otherwise is
reported with its line.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from datakit.trainers.simpletuner.oldenv.bash import Word, logical_lines, read_words

BYTE_ORDER_MARK = "\ufeff"

Kind = Literal[
    "comment", "reference", "arithmetic", "command", "differs", "duplicate", "malformed", "dropped", "carried", "release", "removed",
    "launcher", "unwritable",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about a line (from 1; 0 for the whole file) that the user should know."""

    line: int
    kind: Kind
    message: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """A name, its value as bash means it, and its line."""

    name: str
    value: str
    line: int


def parse_env(text: str) -> tuple[list[Assignment], list[Notice]]:
    """Read assignments as bash means them, with a notice for all that SimpleTuner reads otherwise.

    A line that is no plain assignment in bash is taken as SimpleTuner reads it.
    """
    known: dict[str, Assignment] = {}
    notices: list[Notice] = []
    if text.startswith(BYTE_ORDER_MARK):
        text = text.removeprefix(BYTE_ORDER_MARK)
        notices.append(Notice(1, "malformed", "SimpleTuner would read the byte order mark as part of the first name; taken off"))
    for number, line in logical_lines(text):
        words, found = _read_line(number, line, {one.name: one.value for one in known.values()})
        notices += found
        for word in words:
            before = known.get(word.name)
            value = word.text if before is None else _set_again(before, word, number, notices)
            known[word.name] = Assignment(word.name, value, number)
    notices += _differences(known.values(), _read_literally(text), notices)
    return list(known.values()), notices


def write_assignment(name: str, value: str) -> str | None:
    """Return the line that both bash and SimpleTuner read as this value; None where there is none."""
    if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in value):
        return None
    bare = [value] if value and shlex.quote(value) == value else []
    for written in (*bare, f'"{value}"', f"'{value}'"):
        line = f"{name}={written}"
        with suppress(ValueError):
            if read_words(line, {}) == ([Word(name, False, value)], "") and _literal_pair(line) == (name, False, value):
                return f"export {line}"
    return None


def _set_again(before: Assignment, word: Word, number: int, notices: list[Notice]) -> str:
    """Return the value of a name that has one already."""
    if not word.adds:
        if before.value != word.text:
            message = f"{word.name} was set to {before.value!r} in line {before.line}; this line counts"
            notices.append(Notice(number, "duplicate", message))
        return word.text
    if not before.value or word.text.startswith((" ", "\t")):
        return before.value + word.text
    message = f"{word.name}: bash joins += without a blank between, SimpleTuner with one; joined with one"
    notices.append(Notice(number, "differs", message))
    return f"{before.value} {word.text}"


def _read_line(number: int, line: str, values: Mapping[str, str]) -> tuple[list[Word], list[Notice]]:
    """Return the assignments of one line, and what is to be said about it."""
    try:
        words, comment = read_words(line, values)
    except ValueError as error:
        return _fall_back(number, line, str(error))
    assigned = [word for word in words if word.name]
    stray = [word.text for word in words if not word.name and word.text not in (";", "&&")]
    if stray or (words and not words[0].name):
        return _fall_back(number, line, f"{(stray or [words[0].text])[0]!r} is no assignment")
    notices = [
        Notice(number, remark.kind, f"{word.name}: SimpleTuner would read {remark.written} literally; {remark.outcome}")
        for word in assigned
        for remark in word.remarks
    ]
    if comment and assigned:
        message = f"{assigned[-1].name}: SimpleTuner would read the inline comment {comment!r} as part of the value; taken off"
        notices.append(Notice(number, "comment", message))
    if len(assigned) > 1:
        message = f"SimpleTuner would read {assigned[0].name} alone, with the rest of the line as its value; taken apart"
        notices.append(Notice(number, "differs", message))
    return assigned, notices


def _fall_back(number: int, line: str, reason: str) -> tuple[list[Word], list[Notice]]:
    """Take a line that is no plain assignment in bash as SimpleTuner reads it."""
    pair = _literal_pair(line)
    if pair is None:
        message = f"{line.strip()!r} is no assignment: SimpleTuner skips it; left out"
        return [], [Notice(number, "malformed", message)]
    name, adds, value = pair
    message = f"{name}: no plain assignment in bash ({reason}); taken as SimpleTuner reads it, {value!r}"
    return [Word(name, adds, value)], [Notice(number, "malformed", message)]


def _differences(known: Iterable[Assignment], literally: Mapping[str, str], notices: Sequence[Notice]) -> Iterator[Notice]:
    """Yield what SimpleTuner reads otherwise in lines about which nothing of the kind has been said."""
    said = {notice.line for notice in notices if notice.kind != "duplicate"}
    for one in known:
        read = literally.get(one.name)
        if read != one.value and one.line not in said:
            otherwise = "would not find it" if read is None else f"would read {read!r}"
            yield Notice(one.line, "differs", f"{one.name}: SimpleTuner {otherwise}; taken as bash means it, {one.value!r}")


def _read_literally(text: str) -> dict[str, str]:
    """Return the values that SimpleTuner reads."""
    values: dict[str, str] = {}
    for line in re.split(r"\r\n|\n|\r", text):
        pair = _literal_pair(line)
        if pair is not None:
            name, adds, value = pair
            values[name] = f"{values[name]} {value}".strip() if adds and name in values else value
    return values


def _literal_pair(line: str) -> tuple[str, bool, str] | None:
    """Return the name, whether ``+=`` adds to it, and the value as SimpleTuner reads it: outer quotes off, blanks single."""
    line = line.strip().removeprefix("export ")
    sign = "+=" if "+=" in line else "="
    name, found, value = line.partition(sign)
    if line.startswith("#") or not found or re.fullmatch(r"[A-Za-z_]\w*", name.strip(), re.ASCII) is None:
        return None
    value = value.strip()
    if sign == "+=":
        return name.strip(), True, " ".join(value.strip('"').strip("'").split())
    # The outer quotes are taken off as the file is read, and once more as the option is passed on.
    for quote in ("\"'", "'", '"'):
        if value and value[0] == value[-1] and value[0] in quote:
            value = value[1:-1]
        value = " ".join(value.split())
    return name.strip(), False, value
