"""Turn a low-level ``config.env`` into ``config.json`` and back, and say what would be lost or read otherwise."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from datakit.errors import UsageError
from datakit.trainers.simpletuner.oldenv.envfile import BYTE_ORDER_MARK, Assignment, Notice, parse_env, write_assignment
from datakit.trainers.simpletuner.options import CURRENT, RELEASES, REMOVED, Value, environment, options, refusals

# Whitespace-separated options of any name; the second one reached the trainer before config.json was there.
EXTRA_ARGUMENTS = "TRAINER_EXTRA_ARGS"
_OLD_EXTRA_ARGUMENTS = "DEBUG_EXTRA_ARGS"
# Names of the same time, which no release reads any more and which are not their option's name in capitals.
_OLD_NAMES = {
    "MIN_SNR_GAMMA": "snr_gamma",
    "DELETE_ERRORED_IMAGES": "delete_problematic_images",
    "DELETE_SMALL_IMAGES": "delete_unwanted_images",
}
# Names that steer the launcher or reach libraries through the environment: beside config.json they still do, in
# config.env, while the commit of October 2024 ends at some of them in config.json.
_LAUNCHER = (
    "ENV",
    "CONFIG_BACKEND",
    "CONFIG_TYPE",
    "CONFIG_PATH",
    "TRAINING_NUM_PROCESSES",
    "TRAINING_NUM_MACHINES",
    "TRAINING_DYNAMO_BACKEND",
    "TRAINER_DYNAMO_BACKEND",
    "ACCELERATE_CONFIG_PATH",
    "ACCELERATE_EXTRA_ARGS",
)
_LAUNCHER_PREFIXES = ("SIMPLETUNER_", "CUDA_", "HF_", "NCCL_", "PYTORCH_", "TOKENIZERS_", "WANDB_")
# Of the options with a name in config.env, the one that is on where nothing is said; `false` there says nothing.
_ON_BY_DEFAULT = "gradient_checkpointing"
_REFERENCE = re.compile(r"\{env:([^{}]*)\}")


def env_to_config(
    text: str, readers: Sequence[str] = RELEASES, takers: Sequence[str] = CURRENT
) -> tuple[dict[str, Value], list[Notice]]:
    """Return the options of a low-level ``config.env`` by their names in ``config.json``, without dashes.

    Parameters
    ----------
    text
        The file.
    readers, takers
        Releases of which it is said that they would not read a name in it, or not take an option.
    """
    assignments, notices = parse_env(text)
    values = {item.name: item.value for item in assignments}
    config: dict[str, Value] = {}
    # The trainer reads the extra arguments last, wherever they stand.
    for item in sorted(assignments, key=lambda item: (item.name == EXTRA_ARGUMENTS, item.name == _OLD_EXTRA_ARGUMENTS)):
        meant = _meant(_resolved(item, values, notices), readers, notices)
        for option, value in _taken(item, meant, takers, notices):
            if config.get(option, value) != value:
                message = f"{item.name}: {option} was set to {config[option]!r} by another name; {value!r} counts"
                notices.append(Notice(item.line, "duplicate", message))
            config[option] = value
    return config, sorted(notices, key=lambda notice: notice.line)


def config_to_env(config: Mapping[str, Value], lines: Mapping[str, int] | None = None) -> tuple[str, list[Notice]]:
    """Return the low-level ``config.env`` of a ``config.json``; keys with or without dashes.

    Options without a name that every release reads go into ``TRAINER_EXTRA_ARGS``. Every line reads the same in bash
    and in SimpleTuner; options that cannot be written so are left out, each with a notice at its line in ``lines``.
    """
    written: list[str] = []
    extra: list[str] = []
    notices: list[Notice] = []
    for key, given in config.items():
        option, line = key.lstrip("-"), (lines or {}).get(key, 0)
        value = _as_switch(option, given)
        if option in REMOVED:
            notices.append(Notice(line, "removed", f"{option} no longer exists: {REMOVED[option]}; left out"))
            continue
        assignment, readers = _as_assignment(option, value)
        argument = _as_argument(option, value)
        if _REFERENCE.search(_as_text(value)):
            notices.append(Notice(line, "reference", f"in {option} SimpleTuner 4.8.0 alone resolves {value!r}"))
        if assignment and (readers == RELEASES or not argument):
            written.append(assignment)
            if readers != RELEASES:
                names = _joined(release for release in RELEASES if release not in readers)
                notices.append(
                    Notice(line, "release", f"in SimpleTuner {names} config.env cannot say {option}: keep config.json there")
                )
        elif value is False and option in options() and options()[option].off_by_itself:
            message = f"{option}: false says nothing, and SimpleTuner 2024-10 ends at --{option}=false; left out"
            notices.append(Notice(line, "release", message))
        elif argument:
            extra.append(argument)
            if value is False and option in options():
                notices.append(Notice(line, "release", f"SimpleTuner 2024-10 ends at {argument}, later ones read it"))
        else:
            named = option in _names()
            where = "config.env, where nothing is escaped" if named else f"{EXTRA_ARGUMENTS}, which is split at blanks"
            notices.append(
                Notice(line, "unwritable", f"{option}: {value!r} does not survive in {where}; left out: keep it in config.json")
            )
    if extra:
        written.append(write_assignment(EXTRA_ARGUMENTS, " ".join(extra)) or "")
    return "".join(f"{line}\n" for line in written), notices


def chosen_config(text: str) -> str | None:
    """Return where beside a ``config.env`` the ``config.json`` lies that it leaves the options to; None where it holds them."""
    values = {item.name: item.value for item in parse_env(text)[0]}
    if values.get("CONFIG_BACKEND") != "json":
        return None
    name = values.get("ENV", "default")
    return "config.json" if name in ("", "default") else os.path.join(name, "config.json")


def is_for_launcher(name: str) -> bool:
    """Tell whether a name in ``config.env`` is no option, but steers the launcher or a library."""
    return name in _LAUNCHER or name.startswith(_LAUNCHER_PREFIXES)


def read_config(text: str) -> tuple[dict[str, Value], dict[str, int], list[Notice]]:
    """Read a ``config.json``: its options, the line of each, and what the trainer reads otherwise.

    Raises
    ------
    UsageError
        It is no JSON object, or holds a number beyond all bounds.
    """
    notices = []
    if text.startswith(BYTE_ORDER_MARK):
        text = text.removeprefix(BYTE_ORDER_MARK)
        notices.append(Notice(1, "malformed", "SimpleTuner cannot read a file with a byte order mark; taken off"))
    try:
        # Read as pairs, for a key that stands twice would be lost in an object.
        pairs, comma = _read_pairs(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"it is no JSON: {error}") from None
    if comma:
        notices.append(
            Notice(comma, "malformed", "SimpleTuner cannot read a file with a comma before its last bracket; taken off")
        )
    if text.lstrip()[:1] != "{":
        raise UsageError('it is no JSON object: write {"--option": value, ...}')
    numbers = list(_lines_of_keys(text))
    config: dict[str, Value] = {}
    lines: dict[str, int] = {}
    for (key, value), line in zip(pairs, numbers, strict=False):
        option = key.lstrip("-")
        if value is None:  # the trainer passes over it
            config.pop(option, None)
            continue
        if isinstance(value, list):
            message = f"{option}: a list or an object, which config.env cannot hold and nothing is held against; left out"
            notices.append(Notice(line, "unwritable", message))
            continue
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"line {line}: {key} is no number that can be written")
        if config.get(option, value) != value:
            message = f"{option} was set to {config[option]!r} in line {lines[option]}; {value!r} counts"
            notices.append(Notice(line, "duplicate", message))
        config[option], lines[option] = value, line
    return config, lines, notices


def write_config(config: Mapping[str, Value]) -> str:
    """Return the ``config.json`` of options by their names without dashes."""
    return json.dumps({f"--{option}": value for option, value in config.items()}, indent=2, ensure_ascii=False) + "\n"


def _taken(
    item: Assignment, meant: Iterable[tuple[str, Value]], takers: Sequence[str], notices: list[Notice]
) -> Iterator[tuple[str, Value]]:
    """Yield of the options that a name stands for those which some releases take, and say which are none or else."""
    for option, value in meant:
        if option in REMOVED and set(takers) & set(CURRENT):
            notices.append(Notice(item.line, "removed", f"{item.name}: {option} no longer exists: {REMOVED[option]}; left out"))
            continue
        clauses = "; ".join(refusals(option, value, takers)) if option in options() else ""
        if clauses and value is False and options()[option].off_by_itself:
            message = f"{item.name}: {clauses}; false says nothing anyway, left out"
            notices.append(Notice(item.line, "release", message))
            continue
        if clauses:
            notices.append(Notice(item.line, "release", f"{item.name}: {clauses}; carried over as {option}"))
        yield option, value


def _meant(item: Assignment, readers: Sequence[str], notices: list[Notice]) -> list[tuple[str, Value]]:
    """Return the options that a name stands for as they were meant, and say who reads it in ``config.env``."""
    name, known = item.name, environment().get(item.name)
    if name == EXTRA_ARGUMENTS:
        return _arguments(item, notices)
    if is_for_launcher(name):
        notices.append(Notice(item.line, "launcher", f"{name} is for the launcher: keep it in config.env"))
        return []
    if known is None:
        return _dropped(item, notices)
    if drops := _joined(release for release in readers if release not in known.releases):
        message = (
            f"{name}: of SimpleTuner's releases {_joined(known.releases)} read it from config.env, not {drops}; carried over"
        )
        notices.append(Notice(item.line, "release", message))
    option, switched, meant = known.option.partition("=")
    if switched:
        if item.value.lower() not in ("true", "false", ""):
            message = f"{name}: {item.value!r} is neither true nor false; left out"
            notices.append(Notice(item.line, "malformed", message))
        return [(option, meant)] if item.value.lower() == "true" else []
    value = _typed(option, item.value)
    if option == _ON_BY_DEFAULT and value is False:
        message = f"{name}: SimpleTuner takes no false from config.env and leaves {option} on; taken as false"
        notices.append(Notice(item.line, "differs", message))
    return [(option, value)]


def _dropped(item: Assignment, notices: list[Notice]) -> list[tuple[str, Value]]:
    """Return the options of a name that no release reads in ``config.env``, where ``config.json`` knows them."""
    name = item.name
    option = _OLD_NAMES.get(name, name.lower())
    if name == _OLD_EXTRA_ARGUMENTS:
        found = _arguments(item, notices)
    elif option in options() and (name in _OLD_NAMES or name == name.upper()):
        found = [(option, _typed(option, item.value))]
    else:
        message = f"{name} is no option that SimpleTuner reads from config.env: it would be dropped silently; left out"
        notices.append(Notice(item.line, "dropped", message))
        return []
    if found:
        names = _joined(option for option, _ in found)
        message = f"{name}: SimpleTuner would drop it silently from config.env; carried over as {names}, which config.json knows"
        notices.append(Notice(item.line, "carried", message))
    return found


def _resolved(item: Assignment, values: Mapping[str, str], notices: list[Notice]) -> Assignment:
    """Return an assignment with references such as ``{env:X}`` resolved from the same file, as 4.8.0 does."""
    found = _REFERENCE.findall(item.value)
    if not found:
        return item
    text = _REFERENCE.sub(lambda match: values.get(match[1], match[0]), item.value)
    unset = [name for name in found if name not in values]
    outcome = f"{_joined(unset)} is not set in this file, taken as written" if unset else f"taken as {text!r}"
    message = f"{item.name}: SimpleTuner 4.8.0 resolves {{env:...}}, earlier ones read it literally; {outcome}"
    notices.append(Notice(item.line, "reference", message))
    return Assignment(item.name, text, item.line)


def _joined(words: Iterable[str]) -> str:
    return " and ".join(words)


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
            found.append((option, _typed(option, value) if separator else True))
            free = not separator
        elif free:
            found[-1] = (found[-1][0], _typed(found[-1][0], word))
            free = False
        else:
            notices.append(Notice(item.line, "malformed", f"{item.name}: {word!r} belongs to no option; left out"))
    return found


def _typed(option: str, text: str) -> Value:
    """Return a boolean, or a number where the option takes one or writing it gives the same text again, else the text."""
    kind = options()[option].latest.word if option in options() else ""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if isinstance(switch := _as_switch(option, text), bool):
        return switch
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        if math.isfinite(value) and (repr(value) == text or (kind in ("int", "float") and re.fullmatch(r"[\d.eE+-]+", text))):
            return int(value) if kind == "int" and value == int(value) else value
    return text


def _as_switch(option: str, value: Value) -> Value:
    """Return true or false for the 1 or 0 of a switch, and any other value as it is."""
    switch = option in options() and options()[option].latest.word == "switch" and _as_text(value) in ("0", "1")
    return _as_text(value) == "1" if switch else value


def _as_text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@functools.cache
def _names() -> Mapping[str, str]:
    """Return for each option the name in ``config.env`` that most releases read."""
    by_readers = sorted(environment().items(), key=lambda pair: len(pair[1].releases))
    return {known.option: name for name, known in by_readers}


def _as_assignment(option: str, value: Value) -> tuple[str | None, tuple[str, ...]]:
    """Return the line of an option that has a name in ``config.env``, where it survives there, and who reads it."""
    names = _names()
    switch = names.get(f"{option}={_as_text(value)}")
    name = switch or names.get(option)
    if name is None or (option == _ON_BY_DEFAULT and _as_text(value) == "false"):
        return None, ()
    return write_assignment(name, "true" if switch else _as_text(value)), environment()[name].releases


def _as_argument(option: str, value: Value) -> str | None:
    """Return an option as one of the extra arguments, where it survives there."""
    argument = f"--{option}" if value is True else f"--{option}={_as_text(value)}"
    try:
        whole = shlex.split(argument) == [argument]
    except ValueError:
        return None
    survives = whole and _as_text(value) and re.fullmatch(r"\w[\w.-]*", option) and write_assignment(EXTRA_ARGUMENTS, argument)
    return argument if survives else None


def _lines_of_keys(text: str) -> Iterator[int]:
    """Yield the line of each key of a JSON object, those of objects inside it left out."""
    depth = 0
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"(?P<key>\s*:)?|(?P<open>[{\[])|[}\]]', text):
        if match["key"] and depth == 1:
            yield text.count("\n", 0, match.start()) + 1
        elif not match[0].startswith('"'):
            depth += 1 if match["open"] else -1


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _read_pairs(text: str) -> tuple[Any, int]:
    """Return the keys and values of a JSON object, and the line of a comma before its end that had to be taken off.

    Raises
    ------
    ValueError
        It is no JSON even so.
    """
    try:
        return json.loads(text, object_pairs_hook=list, parse_constant=_refuse_constant), 0
    except ValueError:
        comma = re.search(r",\s*\}\s*$", text)
        if comma is None:
            raise
        mended = text[: comma.start()] + text[comma.start() + 1 :]
        return json.loads(mended, object_pairs_hook=list, parse_constant=_refuse_constant), text.count("\n", 0, comma.start()) + 1
