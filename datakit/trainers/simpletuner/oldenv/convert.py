"""Turn a low-level ``config.env`` into ``config.json`` and back, and say what would be lost or read otherwise."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import NoReturn

from datakit.errors import UsageError
from datakit.trainers.simpletuner.config import ENVIRONMENT, EXTRA_ARGUMENTS, ON_BY_DEFAULT, REMOVED, SWITCHES, is_for_launcher
from datakit.trainers.simpletuner.oldenv.envfile import BYTE_ORDER_MARK, Assignment, Notice, parse_env, write_assignment

Value = str | int | float | bool

_NAMES = {option: name for name, option in ENVIRONMENT.items()}
_SWITCH_NAMES = {pair: name for name, pair in SWITCHES.items()}


def env_to_config(text: str) -> tuple[dict[str, Value], list[Notice]]:
    """Return the options of a low-level ``config.env`` by their names in ``config.json``, without dashes."""
    assignments, notices = parse_env(text)
    config: dict[str, Value] = {}
    # The trainer reads the extra arguments last, wherever they stand.
    for item in sorted(assignments, key=lambda item: item.name == EXTRA_ARGUMENTS):
        for option, value in _options(item, notices):
            if config.get(option, value) != value:
                message = f"{item.name}: {option} was set to {config[option]!r} by another name; {value!r} counts"
                notices.append(Notice(item.line, "duplicate", message))
            config[option] = value
    return config, sorted(notices, key=lambda notice: notice.line)


def config_to_env(config: Mapping[str, Value], lines: Mapping[str, int] | None = None) -> tuple[str, list[Notice]]:
    """Return the low-level ``config.env`` of a ``config.json``; keys with or without dashes.

    Options without a name of their own go into ``TRAINER_EXTRA_ARGS``. Every line reads the same in bash and in
    SimpleTuner; options that cannot be written so are left out, each with a notice at its line in ``lines``.
    """
    written: list[str] = []
    extra: list[str] = []
    notices: list[Notice] = []
    for key, value in config.items():
        option, line = key.lstrip("-"), (lines or {}).get(key, 0)
        if option in REMOVED:
            notices.append(Notice(line, "removed", f"{option} no longer exists: {REMOVED[option]}; left out"))
        elif assignment := _as_assignment(option, value):
            written.append(assignment)
        elif argument := _as_argument(option, value):
            extra.append(argument)
        else:
            where = (
                f"{EXTRA_ARGUMENTS}, which is split at blanks" if option not in _NAMES else "config.env, where nothing is escaped"
            )
            notices.append(
                Notice(line, "unwritable", f"{option}: {value!r} does not survive in {where}; left out: keep it in config.json")
            )
    if extra:
        written.append(write_assignment(EXTRA_ARGUMENTS, " ".join(extra)) or "")
    return "".join(f"{line}\n" for line in written), notices


def read_config(text: str) -> tuple[dict[str, Value], dict[str, int], list[Notice]]:
    """Read a ``config.json``: its options, the line of each, and what the trainer reads otherwise.

    Raises
    ------
    UsageError
        It is no JSON object of plain values.
    """
    notices = []
    if text.startswith(BYTE_ORDER_MARK):
        text = text.removeprefix(BYTE_ORDER_MARK)
        notices.append(Notice(1, "malformed", "SimpleTuner cannot read a file with a byte order mark; taken off"))
    try:
        # Read as pairs, for a key that stands twice would be lost in an object.
        pairs = json.loads(text, object_pairs_hook=list, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"it is no JSON: {error}") from None
    if text.lstrip()[:1] != "{":
        raise UsageError('it is no JSON object: write {"--option": value, ...}')
    strings = re.finditer(r'"(?:[^"\\]|\\.)*"(?P<key>\s*:)?', text)
    numbers = [text.count("\n", 0, match.start()) + 1 for match in strings if match["key"]]
    config: dict[str, Value] = {}
    lines: dict[str, int] = {}
    for (key, value), line in zip(pairs, numbers, strict=False):
        if not isinstance(value, Value) or (isinstance(value, float) and not math.isfinite(value)):
            raise UsageError(f"line {line}: {key} is no text, number, true or false: config.env holds nothing else")
        option = key.lstrip("-")
        if config.get(option, value) != value:
            message = f"{option} was set to {config[option]!r} in line {lines[option]}; {value!r} counts"
            notices.append(Notice(line, "duplicate", message))
        config[option], lines[option] = value, line
    return config, lines, notices


def write_config(config: Mapping[str, Value]) -> str:
    """Return the ``config.json`` of options by their names without dashes."""
    return json.dumps({f"--{option}": value for option, value in config.items()}, indent=2, ensure_ascii=False) + "\n"


def _options(item: Assignment, notices: list[Notice]) -> Iterator[tuple[str, Value]]:
    """Yield the options that a name stands for, and say why where there is none."""
    found: list[tuple[str, Value]] = []
    if item.name == EXTRA_ARGUMENTS:
        found = _arguments(item, notices)
    elif item.name in SWITCHES:
        option, meant = SWITCHES[item.name]
        if item.value.lower() == "true":
            found = [(option, meant)]
        elif item.value.lower() not in ("false", ""):
            message = f"{item.name}: {item.value!r} is neither true nor false; left out"
            notices.append(Notice(item.line, "malformed", message))
    elif item.name in ENVIRONMENT:
        found = [(ENVIRONMENT[item.name], _typed(item.value))]
        if found == [(ON_BY_DEFAULT, False)]:
            message = f"{item.name}: SimpleTuner takes no false from config.env and leaves {ON_BY_DEFAULT} on; taken as false"
            notices.append(Notice(item.line, "differs", message))
    elif is_for_launcher(item.name):
        notices.append(Notice(item.line, "launcher", f"{item.name} is for the launcher: keep it in config.env"))
    else:
        message = f"{item.name} is no option that SimpleTuner reads from config.env: it would be dropped silently; left out"
        notices.append(Notice(item.line, "dropped", message))
    for option, value in found:
        if option in REMOVED:
            notices.append(Notice(item.line, "removed", f"{item.name}: {option} no longer exists: {REMOVED[option]}; left out"))
        else:
            yield option, value


def _arguments(item: Assignment, notices: list[Notice]) -> list[tuple[str, Value]]:
    """Split ``--a=1 --b 2 --flag`` into options."""
    words = item.value.split()
    try:
        meant = shlex.split(item.value)
    except ValueError:
        meant = words
    if meant != words:
        message = (
            f"{item.name}: SimpleTuner splits it at every blank and keeps quotes and backslashes; taken as {shlex.join(meant)}"
        )
        notices.append(Notice(item.line, "differs", message))
    found: list[tuple[str, Value]] = []
    free = False
    for word in meant:
        if word.startswith("--"):
            option, separator, value = word[2:].partition("=")
            if separator and not value:
                message = f"{item.name}: SimpleTuner takes no empty value from config.json, and would not see --{option}"
                notices.append(Notice(item.line, "differs", message))
            found.append((option, _typed(value) if separator else True))
            free = not separator
        elif free:
            found[-1] = (found[-1][0], _typed(word))
            free = False
        else:
            notices.append(Notice(item.line, "malformed", f"{item.name}: {word!r} belongs to no option; left out"))
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


def _as_text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_assignment(option: str, value: Value) -> str | None:
    """Return the line of an option that has a name in ``config.env``, where it survives there."""
    switch = _SWITCH_NAMES.get((option, _as_text(value)))
    if switch:
        return write_assignment(switch, "true")
    if option not in _NAMES or (option == ON_BY_DEFAULT and _as_text(value) == "false"):
        return None
    return write_assignment(_NAMES[option], _as_text(value))


def _as_argument(option: str, value: Value) -> str | None:
    """Return an option as one of the extra arguments, where it survives there."""
    argument = f"--{option}" if value is True else f"--{option}={_as_text(value)}"
    try:
        whole = shlex.split(argument) == [argument]
    except ValueError:
        return None
    survives = whole and _as_text(value) and re.fullmatch(r"\w[\w.-]*", option) and write_assignment(EXTRA_ARGUMENTS, argument)
    return argument if survives else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
