"""What is to be drawn: a row for each prompt and seed, a column for each checkpoint, and the job that makes one picture of it."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datakit.errors import UsageError, WorkflowError
from datakit.trained.comfy.apg import CORE_APG, OTHER_APG, Apg, with_apg
from datakit.trained.comfy.graph import Graph, Place, called, to_api, upstream, with_values
from datakit.trained.comfy.nodes import Classes, Roles, bypassed

_PREFIX = "filename_prefix"
_SLUG = 40


@dataclass(frozen=True, slots=True)
class Column:
    """One thing that is compared.

    Attributes
    ----------
    label, slug
        Above its pictures, and in their files' names.
    lora, model
        Names as the server lists them; neither is the workflow's own model without the LoRA.
    strength
        Instead of the workflow's.
    apg
        Adaptive projected guidance on top.
    scale
        What is added to the guidance.
    sha256
        Of the LoRA's file, where it is known.
    """

    label: str
    slug: str
    lora: str | None = None
    model: str | None = None
    strength: float | None = None
    apg: Apg | None = None
    scale: float = 0.0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt with one seed; None leaves what the workflow holds."""

    number: int
    prompt: str | None
    seed: int | None

    @property
    def slug(self) -> str:
        """The start of the prompt as a folder's name: ``01-a-lighthouse``."""
        return f"{self.number:02}-{slug(self.prompt or 'workflow')}"

    @property
    def seed_slug(self) -> str:
        """The seed as a folder's name: ``seed-42``."""
        return "seed-workflow" if self.seed is None else f"seed-{self.seed}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture: its row and column, the job that makes it, and a key of everything that decides about its pixels."""

    row: Row
    column: Column
    graph: Graph
    key: str

    @property
    def stem(self) -> str:
        """Where it lies below the folder of pictures, without an extension."""
        return f"{self.row.slug}/{self.row.seed_slug}/{self.column.slug}"


def slug(text: str) -> str:
    """Return a text as part of a file's name: ASCII, lower case, dashes, at most 40 signs."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    short = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG].strip("-")
    return short or "x" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]


def labels_of(names: Sequence[str]) -> list[str]:
    """Return what tells names apart: without what all of them begin and end with, numbers whole."""
    stems = [re.sub(r"\.(safetensors|sft|ckpt|pt)$", "", name.replace("\\", "/")) for name in names]
    if len(set(stems)) == 1:
        return [stems[0].rsplit("/", 1)[-1]] * len(stems)
    words = [re.findall(r"\d+|[^\W\d_]+|.", stem) for stem in stems]
    shortest = min(map(len, words))
    start = next((at for at in range(shortest) if len({each[at] for each in words}) > 1), shortest)
    end = next((at for at in range(shortest - start) if len({each[-1 - at] for each in words}) > 1), shortest - start)
    found = ["".join(each[start : len(each) - end]).strip("-_ /") for each in words]
    return found if all(found) else [stem.rsplit("/", 1)[-1] for stem in stems]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is the same in all pictures.

    Attributes
    ----------
    negative
        Instead of the workflow's.
    settings
        Values for inputs, by node and name.
    """

    negative: str | None = None
    settings: Mapping[Place, Any] = field(default_factory=dict)


class Grid:
    """The cells of rows and columns over one workflow."""

    def __init__(
        self, roles: Roles, classes: Classes, rows: Sequence[Row], columns: Sequence[Column], asked: Asked = Asked()
    ) -> None:
        """Hold what is asked for against what the workflow has.

        Raises
        ------
        WorkflowError
            It has no place for a prompt, a seed, a strength or a scale that is asked for.
        UsageError
            APG is asked for where there is no guidance.
        """
        self.rows, self.columns = tuple(rows), tuple(columns)
        self._roles, self._classes, self._asked = roles, classes, asked
        for wanted, places, what in (
            (
                any(row.prompt is not None for row in rows),
                roles.prompt,
                "no text that a sampler's positive input leads to: --prompt-node names the node",
            ),
            (asked.negative is not None, roles.negative, "no text that a sampler's negative input leads to"),
            (any(row.seed is not None for row in rows), roles.seeds, "no seed"),
            (any(column.strength is not None for column in columns), roles.strengths, "no strength of a LoRA"),
        ):
            if wanted and not places:
                raise WorkflowError(f"the workflow has {what}")
        if any(column.apg for column in columns):
            self._check_guidance(min(column.scale for column in columns if column.apg))

    @property
    def scales(self) -> tuple[float, ...]:
        """The guidance that the workflow's own nodes hold."""
        graph = with_values(self._roles.graph, self._asked.settings)
        return tuple(
            value for place in self._roles.guidance if isinstance(value := graph[place.node].inputs[place.input], int | float)
        )

    def _check_guidance(self, lowered: float) -> None:
        if not self.scales:
            raise UsageError("APG changes guidance, and no node of the workflow has a cfg")
        if min(self.scales) + lowered <= 1:
            how = f", lowered by {-lowered:g}," if lowered else ""
            raise UsageError(
                f"cfg {min(self.scales):g}{how} leaves no guidance for APG to change: use a workflow with a higher one"
            )

    def cells(self) -> Iterator[Cell]:
        """Yield all cells, row by row; the checkpoint changes fastest, so that texts stay encoded on the server."""
        for row in self.rows:
            for column in self.columns:
                yield self.cell(row, column)

    def cell(self, row: Row, column: Column) -> Cell:
        """Return one cell."""
        roles = self._roles
        graph = self._without_apg(with_values(roles.graph, self._values(row, column)))
        if column.apg:
            graph = with_apg(roles, graph, column.apg.node(self._classes))
        if roles.lora and column.lora is None:
            graph = self._without_lora(graph, roles.lora)
        graph = upstream(graph, [roles.save])
        return Cell(row, column, graph, key_of(graph, column.sha256))

    def _values(self, row: Row, column: Column) -> dict[Place, Any]:
        """Return what the inputs of a cell's nodes hold instead of what the workflow holds."""
        roles, asked = self._roles, self._asked
        values: dict[Place, Any] = {}
        for places, value in (
            (roles.prompt, row.prompt),
            (roles.negative, asked.negative),
            (roles.seeds, row.seed),
            (roles.strengths if column.lora else (), column.strength),
            ((roles.lora,) if roles.lora else (), column.lora),
            ((roles.model,) if roles.model else (), column.model),
        ):
            if value is not None:
                values |= dict.fromkeys(places, value)
        values |= asked.settings
        for place in roles.guidance if column.scale else ():
            held = values.get(place, roles.graph[place.node].inputs[place.input])
            if isinstance(held, int | float):
                values[place] = round(held + column.scale, 4)
        return values

    def _without_apg(self, graph: Graph) -> Graph:
        """Return a graph without the workflow's own nodes for APG: columns say whether there is one."""
        for name in [name for name, node in graph.items() if node.kind in (CORE_APG, OTHER_APG)]:
            graph = bypassed(graph, self._classes, name) or graph
        return graph

    def _without_lora(self, graph: Graph, lora: Place) -> Graph:
        """Return a graph without the LoRA's loader, which is bit for bit what strength 0 gives."""
        found = bypassed(graph, self._classes, lora.node)
        if found is None:
            raise WorkflowError(
                f"{called(graph, lora.node)} cannot be left out for the base: its outputs have no inputs of their type"
            )
        return found


def key_of(graph: Graph, sha256: str = "") -> str:
    """Return the sha256 of everything that decides about a picture's pixels: nodes, values, links, the LoRA's content."""
    plain = to_api(graph)
    for node in plain.values():
        node.pop("_meta", None)
        node["inputs"].pop(_PREFIX, None)
    text = json.dumps([plain, sha256], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def with_prefix(graph: Graph, save: str, prefix: str) -> Graph:
    """Return a graph whose pictures are saved under a prefix, if the node that saves them takes one."""
    if _PREFIX not in graph[save].inputs:
        return graph
    return with_values(graph, {Place(save, _PREFIX): prefix})
