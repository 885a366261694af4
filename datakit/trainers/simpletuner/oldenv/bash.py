"""Lines of assignments as bash means them, without running anything."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["comment", "reference", "arithmetic", "command"]

_ASSIGNS = re.compile(r"([A-Za-z_]\w*)(\+?)=", re.ASCII)
_SUBSTITUTION = r"(?P<arithmetic>\$\(\(.*?\)\)(?!\)))|(?P<command>\$\([^()]*\)|`[^`]*`)|\$\{(?P<braced>[^{}]*)\}|\$(?P<plain>[A-Za-z_]\w*)|(?P<other>[$`])"
_OPERATORS = re.compile(r"[;&|<>()]+")
# What a line is made of outside quotes; an escape at its very end has nothing to stand for.
_PIECE = re.compile(
    rf"""(?P<blank>[ \t\n]+)|'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|\\(?P<escaped>.?)|(?P<operator>{_OPERATORS.pattern})"""
    rf"""|{_SUBSTITUTION}|(?P<text>[^ \t\n'"\\;&|<>()$`]+)""",
    re.ASCII | re.DOTALL,
)
_LIVE_IN_QUOTES = re.compile(rf'\\(?P<escaped>[$`"\\])|{_SUBSTITUTION}', re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Remark:
    """Something in a word that it takes a shell to read.

    Attributes
    ----------
    written
        How it stands in the line.
    outcome
        What became of it.
    """

    kind: Kind
    written: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a line.

    Attributes
    ----------
    name
        Of the variable it sets; empty where it is no assignment.
    adds
        Whether it is written ``+=``.
    text
        What is assigned, or the word itself.
    remarks
        What was resolved in it, or could not be.
    """

    name: str
    adds: bool
    text: str
    remarks: tuple[Remark, ...] = ()


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines with their numbers (from 1), continued ones joined.

    A line goes on in the next one behind a backslash, and where a quote is open, unless the next line looks
    like an assignment: a quote that was forgotten does not swallow the file.
    """
    lines = re.split(r"\r\n|\n|\r", text)
    number = 0
    while number < len(lines):
        joined, end = lines[number], number + 1
        mark = unfinished(joined)
        while mark and end < len(lines):
            if mark != "'" and (len(joined) - len(joined.rstrip("\\"))) % 2:
                joined = joined[:-1] + lines[end]
            elif mark != "\\" and _ASSIGNS.match(lines[end].strip().removeprefix("export ")) is None:
                joined += "\n" + lines[end]
            else:
                break
            if mark == "\\" or mark in lines[end]:
                mark = unfinished(joined)
            end += 1
        if mark and end > number + 1:
            joined, end = lines[number], number + 1
        yield number + 1, joined
        number = end


def unfinished(line: str) -> str:
    r"""Return the quote that is open at the end of a line, or the ``\`` that ends it, else nothing."""
    position, fresh = 0, True
    while position < len(line):
        if fresh and line[position] == "#":
            return ""
        match = _PIECE.match(line, position)
        if match is None:
            return line[position]
        if match["escaped"] == "":
            return "\\"
        fresh = match["blank"] is not None or match["operator"] is not None
        position = match.end()
    return ""


def read_words(line: str, values: Mapping[str, str]) -> tuple[list[Word], str]:
    """Return the words of a line, and the comment behind them; `export` is no word.

    Parameters
    ----------
    line
        One logical line. Operators such as ``;`` are words of their own.
    values
        What has been assigned before; assignments of this line are known to those behind them, but for `export`,
        which resolves all of its words first.

    Raises
    ------
    ValueError
        A quote is not closed.
    """
    known, exports = dict(values), False
    words: list[Word] = []
    position = 0
    while position < len(line):
        if line[position] in " \t\n":
            position += 1
        elif line[position] == "#":
            return words, line[position:]
        elif match := _OPERATORS.match(line, position):
            words.append(Word("", False, match[0]))
            position = match.end()
        else:
            word, position = _read_word(line, position, known)
            if word == Word("", False, "export") and not words:
                exports = True
                continue
            words.append(word)
            if word.name and not exports:
                known[word.name] = word.text
    return words, ""


def _read_word(line: str, position: int, values: Mapping[str, str]) -> tuple[Word, int]:
    head = _ASSIGNS.match(line, position)
    position = head.end() if head else position
    remarks: list[Remark] = []
    text = ""
    if head and line[position : position + 1] == "~":
        remarks.append(Remark("reference", "~", "bash means a home folder, taken as written"))
    while position < len(line):
        match = _PIECE.match(line, position)
        if match is None:
            raise ValueError(f"{line[position]} is not closed")
        if match["blank"] is not None or match["operator"] is not None:
            break
        if match["double"] is not None:
            text += _LIVE_IN_QUOTES.sub(lambda found: _substitute(found, values, remarks), match["double"])
        elif (literal := match["single"] or match["text"]) is not None:
            text += literal
        elif match["single"] is None:
            text += _substitute(match, values, remarks)
        position = match.end()
    return Word(head[1] if head else "", bool(head and head[2]), text, tuple(remarks)), position


def _substitute(match: re.Match[str], values: Mapping[str, str], remarks: list[Remark]) -> str:
    """Return what bash puts in the place of an escape, a reference, arithmetic or a command."""
    if match["escaped"] is not None:
        return match["escaped"]
    whole = match[0]
    if match["arithmetic"]:
        result = calculate(whole[3:-2], values)
        outcome = "cannot be computed, taken as written" if result is None else f"computed as {result}"
        remarks.append(Remark("arithmetic", whole, outcome))
        return whole if result is None else str(result)
    if match["command"]:
        remarks.append(Remark("command", whole, "commands are not run, taken as written"))
        return whole
    name, default = (match["plain"], None) if match["plain"] else _name_and_default(match["braced"] or "")
    found = values.get(name) or default if default is not None else values.get(name)
    reason = f"{name} is not set in this file" if name else "not understood"
    remarks.append(Remark("reference", whole, f"{reason}, taken as written" if found is None else f"taken as {found!r}"))
    return whole if found is None else found


def _name_and_default(braced: str) -> tuple[str, str | None]:
    """Return X and y of ``X:-y``; only such defaults without references in them are understood."""
    match = re.fullmatch(r"([A-Za-z_]\w*)(?::-([^$`\\'\"]*))?", braced, re.ASCII)
    return (match[1], match[2]) if match else ("", None)


def _cut_division(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


_COMPUTE: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    # Bash divides whole numbers and cuts towards zero.
    ast.Div: _cut_division,
    ast.Mod: lambda a, b: a - _cut_division(a, b) * b,
}


def calculate(expression: str, values: Mapping[str, str] | None = None) -> int | None:
    """Compute whole numbers with + - * / % and parentheses as bash does; None for anything else.

    A reference is replaced by its text, a bare name by its value; names that are not set are not computed.
    """
    known = values or {}
    expression = re.sub(
        r"\$\{?([A-Za-z_]\w*)\}?|\b([A-Za-z_]\w*)",
        lambda match: known.get(match[1] or "", f"({known.get(match[2] or '', match[0])})"),
        expression,
    )
    if re.fullmatch(r"[\d\s+*/%()-]+", expression, re.ASCII) is None:
        return None
    try:
        result = _evaluate(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None
    return result if abs(result) < 2**63 else None


def _evaluate(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _COMPUTE:
        return _COMPUTE[type(node.op)](_evaluate(node.left), _evaluate(node.right))
    raise ValueError
