"""The columns of a strip: which of the server's files, at which strengths, with and without APG."""

from __future__ import annotations

import difflib
import fnmatch
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datakit.errors import UsageError
from datakit.trained.checkpoints.link import read_names
from datakit.trained.comfy.apg import Apg
from datakit.trained.comfy.grid import Column, labels_of, slug
from datakit.trained.weights.header import natural


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is compared.

    Attributes
    ----------
    names
        Names, folders or patterns of the server's LoRAs, or folders that `datakit checkpoints link` wrote.
    models
        The same of whole models, instead.
    steps
        Only those with these numbers, as `datakit.trained.checkpoints.layouts.chosen` reads them.
    strengths
        Of each LoRA.
    base
        Whether the model without any comes first.
    apg
        Whether each comes a second time with adaptive projected guidance.
    plain
        Whether each comes without it too.
    scale
        What is added to the guidance of those with APG.
    """

    names: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    steps: str | None = None
    strengths: tuple[float, ...] = ()
    base: bool = False
    apg: Apg | None = None
    plain: bool = True
    scale: float = 0.0


def columns(wanted: Wanted, listed: Sequence[str], default: str | None = None) -> list[Column]:
    """Return the columns for the server's list of files, in natural order.

    Parameters
    ----------
    wanted
        What is compared.
    listed
        LoRAs, or whole models where those are wanted, as the server names them.
    default
        The file whose folder is meant where no name is given.

    Raises
    ------
    UsageError
        A name is not on the server, or none is given and none can be meant; or a strength is no number.
    """
    if not all(map(math.isfinite, wanted.strengths)):
        raise UsageError(f"strengths {', '.join(f'{each:g}' for each in wanted.strengths)}: write numbers, such as 0.8")
    asked = wanted.models or wanted.names
    known: dict[str, str] = {}
    found: dict[str, None] = {}
    for name in asked or _default(default, listed):
        matching, hashes = _matching(name, listed)
        found |= dict.fromkeys(matching)
        known |= hashes
    names = _of_steps(sorted(found, key=_order), wanted.steps)
    made = [Column("base", "base")] if wanted.base else []
    for name, label in zip(names, labels_of(names), strict=True):
        lora, model = (None, name) if wanted.models else (name, None)
        column = Column(_short(label), slug(label), lora, model, sha256=known.get(name, ""))
        made += _at_strengths(column, wanted.strengths)
    return _told_apart([each for column in made for each in _with_apg(column, wanted)])


def _default(default: str | None, listed: Sequence[str]) -> list[str]:
    """Return the folder of the file that the workflow holds, if the server has it."""
    folder = (default or "").replace("\\", "/").rpartition("/")[0]
    if folder and any(name.replace("\\", "/").startswith(f"{folder}/") for name in listed):
        return [folder]
    folders = sorted({name.replace("\\", "/").rpartition("/")[0] or name for name in listed})
    there = ", ".join(folders[:8]) or "none"
    raise UsageError(f"say which files are compared: --loras NAME, a folder or a pattern of the server's list; it has {there}")


def _matching(name: str, listed: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the server's names that one name means, and the sha256 of those that are known."""
    plain = {each.replace("\\", "/"): each for each in listed}
    hashes: dict[str, str] = {}
    if Path(name).is_dir() and (known := read_names(Path(name))):
        folder = Path(name).resolve().name
        hashes = {f"{folder}/{file}": each.content for file, each in known.items() if not each.gone}
        matching = [each for each in plain if any(each == own or each.endswith(f"/{own}") for own in hashes)]
        if not matching:
            raise UsageError(f"the server lists none of the files in {name}: link them where it looks for them")
        return [plain[each] for each in matching], {plain[each]: hashes["/".join(each.split("/")[-2:])] for each in matching}
    wanted = name.replace("\\", "/").rstrip("/")
    if wanted in plain:
        return [plain[wanted]], {}
    inside = [each for each in plain if each.startswith(f"{wanted}/")]
    matching = inside or [each for each in plain if fnmatch.fnmatchcase(each, wanted)]
    if not matching:
        near = difflib.get_close_matches(wanted, [*plain, *{each.rpartition("/")[0] for each in plain}], 3, 0.4)
        raise UsageError(
            f"{name!r} is not on the server, which lists {len(listed)}; nearest: {', '.join(filter(None, near)) or 'none'}"
        )
    return [plain[each] for each in matching], {}


# What `datakit checkpoints link` puts behind a name whose like had other content.
_AGAIN = re.compile(r"(?:(?<=\d{6})|(?<=-last)|(?<=-rolling)|(?<=-ema))-\d{1,2}$")


def _counted(name: str) -> tuple[bool, int | None]:
    """Return whether a file is the last of a training, and else the last number in its name."""
    stem = _AGAIN.sub("", name.rpartition(".")[0])
    if re.search(r"[-_]last(-ema)?$", stem):
        return True, None
    numbers = re.findall(r"\d+", stem)
    return False, int(numbers[-1]) if numbers else None


def _order(name: str) -> tuple[bool, tuple[str | int, ...]]:
    """Return what files are sorted by: the last of a training at the end."""
    return (_counted(name)[0], natural(name))


def _of_steps(names: list[str], steps: str | None) -> list[str]:
    """Return the files whose last number is among those asked for."""
    if steps is None:
        return names
    from datakit.trained.checkpoints.layouts import Place, chosen

    places = {Place(Path(name), step=_counted(name)[1]): name for name in names}
    return [places[place] for place in chosen(list(places), steps)]


def _short(label: str) -> str:
    """Return a number without its padding."""
    return re.sub(r"\b0+(?=\d)", "", label)


def _at_strengths(column: Column, strengths: Sequence[float]) -> list[Column]:
    if not strengths:
        return [column]
    return [
        replace(column, label=f"{column.label} × {each:g}", slug=f"{column.slug}-strength-{each:g}", strength=each)
        for each in strengths
    ]


def _with_apg(column: Column, wanted: Wanted) -> list[Column]:
    if wanted.apg is None or (column.lora is None and column.model is None):
        return [column]
    settings = slug(str(wanted.apg)) if wanted.apg.settings else "default"
    scale = f", cfg {wanted.scale:+g}" if wanted.scale else ""
    with_it = replace(
        column,
        label=f"{column.label} + APG{scale}",
        slug=f"{column.slug}-apg-{settings}{'-same-scale' * bool(wanted.scale)}",
        apg=wanted.apg,
        scale=wanted.scale,
    )
    return [column, with_it] if wanted.plain else [with_it]


def _told_apart(found: list[Column]) -> list[Column]:
    """Give columns whose labels come to the same file name names of their own."""
    seen: dict[str, int] = {}
    apart = []
    for column in found:
        number = seen[column.slug] = seen.get(column.slug, 0) + 1
        apart.append(column if number == 1 else replace(column, slug=f"{column.slug}-{number}"))
    return apart
