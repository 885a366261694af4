"""Turn a low-level ``config.env`` into ``config.json`` and back, and say what would not survive.

The recipe's launcher sourced the file in bash; SimpleTuner 3.1.6 and later read it line by line and take an
inline comment, a reference ``$NAME`` and arithmetic ``$((...))`` literally. Here they come out as bash meant
them, and each is reported with its line.
"""

from __future__ import annotations

import ast
import operator
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from datakit.backend.simpletuner_config import ENVIRONMENT, EXTRA_ARGUMENTS, LAUNCHER, REMOVED, SWITCHES

Value = str | int | float | bool
Kind = Literal["comment", "reference", "arithmetic", "dropped", "removed", "malformed", "launcher", "spaces"]


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


_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)(\+?)=(.*)")


def parse_env(text: str) -> tuple[list[Assignment], list[Notice]]:
    """Read assignments, resolving comments, references and arithmetic, each with a notice."""
    known: dict[str, Assignment] = {}
    notices: list[Notice] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(line)
        if match is None:
            notices.append(Notice(number, "malformed", f"{line!r} is no assignment: SimpleTuner skips it"))
            continue
        name, adds, rest = match.groups()
        value = _resolve(name, rest, {one.name: one.value for one in known.values()}, number, notices)
        if adds and name in known:
            value = f"{known[name].value} {value}".strip()
        known[name] = Assignment(name, value, number)
    return list(known.values()), notices


def env_to_config(text: str) -> tuple[dict[str, Value], list[Notice]]:
    """Return the options of a low-level ``config.env`` by their names in ``config.json``, without dashes."""
    assignments, notices = parse_env(text)
    config: dict[str, Value] = {}
    for item in assignments:
        if item.name == EXTRA_ARGUMENTS:
            for option, value in _arguments(item.value):
                _set(config, option, value, item, notices)
        elif item.name in SWITCHES:
            option, meant = SWITCHES[item.name]
            if item.value.lower() == "true":
                config[option] = meant
        elif item.name in ENVIRONMENT:
            _set(config, ENVIRONMENT[item.name], _typed(item.value), item, notices)
        elif item.name.startswith(LAUNCHER):
            notices.append(Notice(item.line, "launcher", f"{item.name} is for the launcher: keep it in config.env"))
        else:
            message = f"{item.name} is no option that SimpleTuner reads from config.env: it would be dropped silently; left out"
            notices.append(Notice(item.line, "dropped", message))
    return config, sorted(notices, key=lambda notice: notice.line)


def config_to_env(config: Mapping[str, Value]) -> tuple[str, list[Notice]]:
    """Return the low-level ``config.env`` of a ``config.json``; keys with or without dashes.

    Options without a name of their own go into ``TRAINER_EXTRA_ARGS``.
    """
    names = {option: name for name, option in ENVIRONMENT.items()}
    switches = {pair: name for name, pair in SWITCHES.items()}
    lines: list[str] = []
    extra: list[str] = []
    notices: list[Notice] = []
    for key, value in config.items():
        option = key.lstrip("-")
        written = str(value).lower() if isinstance(value, bool) else str(value)
        if option in REMOVED:
            notices.append(Notice(0, "removed", f"{option} no longer exists: {REMOVED[option]}; left out"))
        elif (option, written) in switches:
            lines.append(f"export {switches[option, written]}=true")
        elif written != " ".join(written.split()) or any(sign in written for sign in ("'", '"', "$", "`", "\\", "+=", "#")):
            notices.append(
                Notice(
                    0,
                    "spaces",
                    f"{option}: quotes, $, #, += and double blanks do not survive in config.env; left out: keep it in config.json",
                )
            )
        elif option in names:
            lines.append(f"export {names[option]}={_quoted(written)}")
        elif " " in written or not written:
            notices.append(
                Notice(0, "spaces", f"{option} can only go into {EXTRA_ARGUMENTS}, which is split at blanks; left out")
            )
        elif value is True:
            extra.append(f"--{option}")
        elif value is not False:
            extra.append(f"--{option}={written}")
    if extra:
        lines.append(f"export {EXTRA_ARGUMENTS}={_quoted(' '.join(extra))}")
    return "".join(f"{line}\n" for line in lines), notices


def _set(config: dict[str, Value], option: str, value: Value, item: Assignment, notices: list[Notice]) -> None:
    if option in REMOVED:
        notices.append(Notice(item.line, "removed", f"{item.name}: {option} no longer exists: {REMOVED[option]}; left out"))
    elif value != "":
        config[option] = value


def _arguments(text: str) -> list[tuple[str, Value]]:
    """Split ``--a=1 --b 2 --flag`` into options."""
    found: list[tuple[str, Value]] = []
    for word in text.split():
        if word.startswith("--"):
            option, separator, value = word[2:].partition("=")
            found.append((option, _typed(value) if separator else True))
        elif found and found[-1][1] is True:
            found[-1] = (found[-1][0], _typed(word))
    return found


def _typed(text: str) -> Value:
    """Return a boolean or a number where writing it gives the same text again, else the text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if repr(number) == text and text not in ("nan", "inf", "-inf"):
            return number
    return text


def _quoted(text: str) -> str:
    return text if text and shlex.quote(text) == text else f'"{text}"'


def _resolve(name: str, rest: str, values: Mapping[str, str], line: int, notices: list[Notice]) -> str:
    """Return a value as bash means it."""
    value, literal, comment = _unquote(rest.strip())
    if comment:
        notices.append(
            Notice(
                line, "comment", f"{name}: SimpleTuner would read the inline comment {comment!r} as part of the value; taken off"
            )
        )
    if literal:
        return value

    def arithmetic(match: re.Match[str]) -> str:
        expression = re.sub(r"\$?\{?([A-Za-z_]\w*)\}?", lambda inner: values.get(inner[1], "0") or "0", match[1])
        result = calculate(expression)
        outcome = f"computed as {result}" if result is not None else "cannot be computed, left as it is"
        notices.append(Notice(line, "arithmetic", f"{name}: SimpleTuner would read {match[0]} literally; {outcome}"))
        return match[0] if result is None else str(result)

    def reference(match: re.Match[str]) -> str:
        target = match[1] or match[2]
        known = target in values
        outcome = f"taken as {values[target]!r}" if known else "not set in this file, left empty"
        notices.append(Notice(line, "reference", f"{name}: SimpleTuner would read {match[0]} literally; {outcome}"))
        return values.get(target, "")

    # What arithmetic leaves behind must not be taken for a reference.
    parts = re.split(r"(\$\(\(.*?\)\)(?!\)))", value)
    resolved = [
        re.sub(r"\$\(\((.*)\)\)", arithmetic, part)
        if part.startswith("$((")
        else re.sub(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))", reference, part)
        for part in parts
    ]
    return "".join(resolved)


def _unquote(text: str) -> tuple[str, bool, str]:
    """Return value, whether it is literal (single quotes), and the inline comment behind it."""
    if text[:1] in ("'", '"'):
        end = text.find(text[0], 1)
        if end > 0:
            behind = text[end + 1 :].strip()
            return text[1:end], text[0] == "'", behind if behind.startswith("#") else ""
    match = re.search(r"(?:^|\s)#.*$", text)
    return (text[: match.start()].strip(), False, match[0].strip()) if match else (text, False, "")


_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    # Bash divides whole numbers and cuts towards zero.
    ast.Div: lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
    ast.Mod: lambda a, b: abs(a) % abs(b) * (-1 if a < 0 else 1),
}


def calculate(expression: str) -> int | None:
    """Compute whole numbers with + - * / % and parentheses as bash does; None for anything else."""
    try:
        return _evaluate(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _evaluate(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_evaluate(node.left), _evaluate(node.right))
    raise ValueError
