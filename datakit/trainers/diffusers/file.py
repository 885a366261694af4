"""The command line that starts one of diffusers' scripts, as a shell script: written, and read back from anybody's."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datakit.errors import UsageError
from datakit.geometry import Size
from datakit.report import few
from datakit.sizes import set_around, square_side
from datakit.trainers.diffusers.replay import Listed, Rule, Square, WorkedOut
from datakit.trainers.diffusers.scripts import SCRIPT, Family, Script

# Where the dataset is named, by the option.
DATASETS = ("--dataset_name", "--train_data_dir", "--instance_data_dir")
_SWITCHES = frozenset({"--use_aspect_ratio_buckets", "--center_crop", "--random_flip", "--with_prior_preservation"})
# In a path, `datasets` takes these for a pattern or for an address within another, which finds other files or none; a shell takes
# two more for its own.
PATTERN = re.compile(r"[*?[\]]|::")
_UNWRITTEN = re.compile(r"[*?[\]$`\x00-\x1f]|::")
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_ENDS = frozenset({";", "&&", "||", "|", "&"})
_FAR = 10**6
_USUAL = 1024
# Steps of a resolution that is worked out.
_STEP = 32


@dataclass(frozen=True, slots=True)
class Command:
    """One training that a shell script starts.

    Attributes
    ----------
    script
        The training script.
    options
        By their names with both dashes; a switch holds nothing. Of two of one name the last counts.
    """

    script: Script
    options: Mapping[str, str]

    def number(self, name: str, default: int) -> int | None:
        """Return a whole number above 0 that an option gives; None where it gives something else."""
        text = self.options.get(name, str(default))
        return int(text) if text.isascii() and text.isdecimal() and 0 < int(text) < _FAR else None

    @property
    def unknown(self) -> list[str]:
        """Options that hold what the file does not tell, such as variables that are set elsewhere."""
        return [name for name, value in self.options.items() if "$" in value or "`" in value]


def rule_of(command: Command) -> Rule | str:
    """Return what decides over sizes, or why the script stops."""
    script, listed = command.script, command.options.get("--aspect_ratio_buckets")
    resolution = command.number("--resolution", script.resolution)
    if resolution is None:
        return f"--resolution {command.options['--resolution']!r}: use a whole number, such as 1024"
    if not script.bucketed:
        return stops_at(script, Square(resolution)) or Square(resolution)
    switched = "--use_aspect_ratio_buckets" in command.options
    if listed is None:
        alone = Listed((Size(resolution, resolution),))
        return WorkedOut(resolution) if switched else stops_at(script, alone) or alone
    if script.bucketed == "switch" and not switched:
        return "--aspect_ratio_buckets without --use_aspect_ratio_buckets: the script stops from diffusers 0.40 on"
    pairs = [re.fullmatch(r"\s*(\d{1,6})\s*,\s*(\d{1,6})\s*", pair, re.ASCII) for pair in listed.strip().split(";")]
    buckets = [Size(int(pair[2]), int(pair[1])) for pair in pairs if pair]
    if len(buckets) != len(pairs) or not all(min(bucket) > 0 for bucket in buckets):
        return f"--aspect_ratio_buckets {listed!r}: write height,width of each, joined by semicolons"
    return stops_at(script, Listed(tuple(buckets))) or Listed(tuple(buckets))


def stops_at(script: Script, rule: Listed | Square) -> str | None:
    """Return why a script stops at its own sizes; None where it takes them."""
    sizes = rule.buckets if isinstance(rule, Listed) else (Size(rule.resolution, rule.resolution),)
    odd = [str(size) for size in sizes if any(side % script.step for side in size)]
    return f"{script.name} stops at {few(odd)}: its model takes sides that are multiples of {script.step}" if odd else None


def rule_for(script: Script, sizes: Sequence[Size]) -> Listed | Square:
    """Return what is to decide over some sizes: a bucket for each, or for a script without buckets one square."""
    if script.bucketed:
        return Listed(tuple(sizes))
    return Square(square_of(sizes).width)


def square_of(sizes: Collection[Size]) -> Size:
    """Return the square among some sizes or of the set that they are of, which scripts without buckets keep."""
    return next((size for size in (*sizes, *set_around(sizes)) if size.width == size.height), Size(_USUAL, _USUAL))


def spelt(sizes: Iterable[Size]) -> str:
    """Return some sizes as ``--aspect_ratio_buckets`` lists them."""
    return ";".join(f"{size.height},{size.width}" for size in sizes)


def write(family: Family, folder: str, rule: Listed | Square, batch_size: int, instance_prompt: str) -> bytes:
    """Return the shell script that trains a family on a folder.

    Parameters
    ----------
    family
        Which script, and which model.
    folder
        Absolute.
    rule
        Of the script, as `rule_for` gives it.
    batch_size
        Pictures in one micro-batch on one GPU.
    instance_prompt
        What DreamBooth scripts train an empty caption as.

    Raises
    ------
    UsageError
        The folder's path holds a control character, or a sign that `datasets` or a shell takes for something else.
    """
    if _UNWRITTEN.search(folder):
        raise UsageError(
            f"{folder!r} holds one of * ? [ ] $ ` :: or a control character, and would not be found: use another --cache-root"
        )
    script = family.of
    columns = ["--image_column=image", "--caption_column=text"]
    if script.dreambooth:
        dataset = [f"--dataset_name={folder}", *columns, f"--instance_prompt={instance_prompt}"]
    else:
        dataset = [f"--train_data_dir={folder}", *columns]
    lines = [
        [f"--pretrained_model_name_or_path={family.model}", "--output_dir=output"],
        dataset,
        _sizes(script, rule),
        [*(["--repeats=1"] if script.dreambooth else []), f"--train_batch_size={batch_size}"],
    ]
    place, _, name = family.script.rpartition("/")
    text = " \\\n  ".join([f"accelerate launch {name}", *(" ".join(map(shlex.quote, words)) for words in lines)])
    return (
        f"#!/bin/sh\n# Start it in examples/{place} of diffusers 0.40 or later. Options of your own go before those of the dataset:\n"
        f"# of two of one name the last counts.\n{text}\n"
    ).encode()


def _sizes(script: Script, rule: Listed | Square) -> list[str]:
    if isinstance(rule, Square):
        return [f"--resolution={rule.resolution}"]
    switch = ["--use_aspect_ratio_buckets"] if script.bucketed == "switch" else []
    return [f"--resolution={square_side(rule.buckets, _STEP)}", *switch, f"--aspect_ratio_buckets={spelt(rule.buckets)}"]


def recognises(content: bytes) -> bool:
    """Tell whether a file of this content looks like a shell script that starts one of diffusers' scripts."""
    text = content.decode("utf-8", "replace")
    return any(option in text for option in DATASETS) and any(SCRIPT.search(word) for word in text.split())


def read(path: Path) -> list[Command]:
    """Read every training that a shell script starts, whoever wrote it.

    Raises
    ------
    UsageError
        The file cannot be read, or starts none.
    """
    try:
        commands = parse(path.read_bytes().decode())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no shell script: {error}") from None
    if not commands:
        raise UsageError(f"{path} starts none of diffusers' scripts, train_dreambooth*.py or train_text_to_image*.py")
    return commands


def parse(text: str) -> list[Command]:
    """Return every training that the text of a shell script starts."""
    commands = []
    variables: dict[str, str] = {}
    for words in _lines(text):
        for word in words[1:] if words[:1] == ["export"] else words[:1]:
            assigned = _ASSIGNED.fullmatch(word)
            if assigned:
                variables[assigned[1]] = _filled(assigned[2], variables)
        place = next((number for number, word in enumerate(words) if SCRIPT.search(word)), None)
        if place is not None:
            script = Script(words[place].rpartition("/")[2])
            commands.append(Command(script, _options([_filled(word, variables) for word in words[place + 1 :]])))
    return commands


def _lines(text: str) -> Iterator[list[str]]:
    """Yield the words of each line, those that are continued or whose quotes are open together with the next."""
    held = ""
    for line in text.replace("\\\n", " ").split("\n"):
        held = f"{held}\n{line}" if held else line
        try:
            words = shlex.split(held, comments=True)
        except ValueError:
            continue  # an open quote
        held = ""
        yield words


def _filled(word: str, variables: Mapping[str, str]) -> str:
    """Put in variables that the file itself sets; others stay as they stand."""
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], match[0]), word)


def _options(words: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    waiting = None
    for word in words:
        if word in _ENDS:
            break
        if word.startswith("--"):
            name, given, value = word.partition("=")
            found.pop(name, None)
            found[name] = value
            waiting = None if given or name in _SWITCHES else name
        elif waiting:
            found[waiting], waiting = word, None
    return found
