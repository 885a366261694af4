"""Every option of SimpleTuner: which release knows it, what it takes there, and what it is called in ``config.env``.

The facts stand in ``tables/options.txt`` and ``tables/environment.txt``.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from datakit.errors import UsageError

Value = str | int | float | bool

# The commit that the recipe pins, and the two releases that what datakit writes is held against.
RELEASES = ("2024-10", "3.1.6", "4.8.0")
CURRENT = RELEASES[1:]
# Options of the recipe that end 3.1.6 and later with an argument error, and what took their place.
REMOVED = {
    "enable_xformers_memory_efficient_attention": "attention is fast by default; attention_mechanism chooses another",
    "allow_tf32": "TF32 is on by default; disable_tf32 turns it off",
}
_TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True, slots=True)
class Kind:
    """What one release takes for an option.

    Attributes
    ----------
    word
        As in ``tables/options.txt``: switch, int, float, text, any, ignored, or ``choice``.
    choices
        The words of a choice.
    on
        Of a switch: whether it is on by itself.
    required
        Whether the release ends without the option.
    """

    word: str
    choices: tuple[str, ...] = ()
    on: bool = False
    required: bool = False

    @classmethod
    def parse(cls, cell: str) -> Kind:
        """Read one cell of the table."""
        bare, required = cell.removesuffix("!"), cell.endswith("!")
        if "|" in bare:
            return cls("choice", tuple(bare.split("|")), required=required)
        word, _, state = bare.partition(":")
        if word not in _WORDS:
            return cls("choice", (word,), required=required)
        return cls(word, on=state == "on", required=required)

    def takes(self, value: Value) -> bool:
        """Tell whether a value, as it stands in config.json, is read for what it is; words for true and false are not."""
        if self.word in ("any", "ignored"):
            return True
        if self.word == "switch":
            return value in (0, 1)
        if isinstance(value, bool) or str(value).lower() in ("true", "false"):
            return False
        if self.word == "choice":
            return str(value) in self.choices
        # Options reach the trainer's parser as text, so that a number in quotes is one.
        return isinstance(value, _TAKES[self.word]) or (isinstance(value, str) and bool(_NUMBERS[self.word].fullmatch(value)))

    def __str__(self) -> str:
        return " or ".join(filter(None, self.choices)) if self.word == "choice" else _WORDS[self.word]


_NUMBERS = {"int": re.compile(r"\s*[+-]?\d+\s*"), "float": re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*")}
_TAKES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "text": (str, int, float)}
_WORDS = {
    "switch": "true or false",
    "int": "a whole number",
    "float": "a number",
    "text": "some text",
    "any": "some text, true or false",
    "ignored": "anything",
}


@dataclass(frozen=True, slots=True)
class Option:
    """One option, with what each release that knows it takes."""

    name: str
    kinds: Mapping[str, Kind]

    def unknown_to(self, releases: Sequence[str] = RELEASES) -> list[str]:
        """Return the releases that know no such option."""
        return [release for release in releases if release not in self.kinds]

    @property
    def latest(self) -> Kind:
        """What the newest release that knows it takes."""
        return self.kinds[max(self.kinds, key=RELEASES.index)]

    @property
    def off_by_itself(self) -> bool:
        """Whether it is a switch that says nothing where it is false."""
        return all(kind.word == "switch" and not kind.on for kind in self.kinds.values())


@dataclass(frozen=True, slots=True)
class Name:
    """A name in ``config.env``: the option that it stands for, and the releases that read it there."""

    option: str
    releases: tuple[str, ...]


@functools.cache
def options() -> Mapping[str, Option]:
    """Return every option by its name."""
    found: dict[str, Option] = {}
    for name, *cells in _rows("options.txt"):
        kinds: dict[str, Kind] = {}
        for before, release, cell in zip(("", *RELEASES), RELEASES, cells, strict=False):
            if cell != "-":
                kinds[release] = kinds[before] if cell == "=" else Kind.parse(cell)
        found[name] = Option(name, kinds)
    return found


@functools.cache
def environment() -> Mapping[str, Name]:
    """Return every name that some release reads from ``config.env``, but for those of the launcher."""
    return {
        name: Name(option, tuple(release for release, cell in zip(RELEASES, cells, strict=True) if cell == "read"))
        for name, option, *cells in _rows("environment.txt")
    }


def nearest(name: str) -> str:
    """Return a question that suggests the option meant by an unknown name, or nothing where none is near."""
    near = difflib.get_close_matches(name, options(), n=1) or [known for known in options() if known.startswith(name)]
    return f"did you mean {near[0]}?" if near else ""


def refusals(name: str, value: Value, releases: Sequence[str]) -> list[str]:
    """Say which releases end at an option with this value, or read it for something else; one clause for each reason."""
    option = options().get(name, Option(name, {}))
    reasons: dict[str, list[str]] = {}
    for release in releases:
        if reason := _refusal(option.kinds.get(release), value, release):
            reasons.setdefault(reason, []).append(release)
    return [f"in SimpleTuner {' and '.join(by)} {reason}" for reason, by in reasons.items()]


def _refusal(kind: Kind | None, value: Value, release: str) -> str:
    """Return why a release does not read a value for what it is, as a clause, else nothing."""
    word = value.lower() if isinstance(value, str) else ""
    oldest = release == RELEASES[0]
    # The word is skipped whatever the option, known or not; so is false itself by the oldest release.
    if word == "false" or (value is False and oldest):
        says_nothing = value is False and kind is not None and kind.word == "switch" and not kind.on
        return "" if says_nothing else f"{json.dumps(value)} is dropped without a word"
    if kind is None:
        return "it is no option, and ends the run"
    if kind.word == "ignored":
        return f"{json.dumps(value)} is dropped without a word"
    if kind.word == "text" and value is False:
        return "it is some text, and false becomes that word"
    # Either is written as an option without a value, which only a switch may be; to the oldest, that is all it may be.
    flag = value is True or word == "true"
    takes = flag or (kind.takes(value) and not oldest) if kind.word == "switch" else kind.takes(value)
    return "" if takes else f"it is {kind}, and {json.dumps(value)} ends the run"


def typed(option: Option, text: str) -> Value:
    """Read a value as typed by hand, of a kind that at least one of the current releases takes for an option of theirs.

    Raises
    ------
    UsageError
        None of them does.
    """
    found = _plain(option.latest, text)
    if found is None or not any(option.kinds[release].takes(found) for release in CURRENT if release in option.kinds):
        raise UsageError(f"--set {option.name}={text}: give {option.latest}")
    return found


def _plain(kind: Kind, text: str) -> Value | None:
    """Return a text as a value of a kind, None where it is none of that kind."""
    word = text.lower()
    if kind.word in ("switch", "any") and word in ("true", "false"):
        return word == "true"
    numbers: list[type[int | float]] = [int] if kind.word == "int" else [int, float]
    # Python reads 1_000 as a number, SimpleTuner does not say so.
    for number in numbers if kind.word in ("int", "float") and "_" not in text else []:
        with suppress(ValueError):
            value = number(text)
            # Neither NaN nor an infinity can be written in JSON.
            return value if abs(value) < float("inf") else None
    return text if kind.takes(text) else None


def _rows(name: str) -> Iterator[list[str]]:
    """Yield the rows of a table below its head."""
    lines = (_TABLES / name).read_text(encoding="utf-8").splitlines()
    yield from [line.split() for line in lines if not line.startswith("#")][1:]
