"""A workflow of ComfyUI as a graph of nodes: read from a file or a picture, followed along its links, changed without traces.

A graph is never changed in place: every function returns another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from datakit.errors import WorkflowError

# What ComfyUI's WebP files carry in their EXIF block instead of PNG's texts: "prompt:{...}" as camera model.
_EXIF_MODEL = 0x0110


class Node(NamedTuple):
    """One node: its class, its inputs (values, or links ``[node, output]``), and what its author calls it."""

    kind: str
    inputs: Mapping[str, Any]
    title: str = ""


Graph = Mapping[str, Node]


class Place(NamedTuple):
    """An input of a node."""

    node: str
    input: str


class Link(NamedTuple):
    """An output of a node."""

    node: str
    output: int


def link_of(value: Any) -> Link | None:
    """Return the output that an input is linked to; None where it holds a value."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int:
        return Link(*value)
    return None


def read_workflow(path: Path) -> Graph:
    """Read a workflow in API format: JSON, or a PNG or WebP that ComfyUI wrote.

    Raises
    ------
    WorkflowError
        It is in the editor's format, or none at all.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WorkflowError(f"{path} cannot be read: {error.strerror or error}") from error
    text: str | bytes = content
    if content[:4] in (b"\x89PNG", b"RIFF"):
        text = _in_picture(path)
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError):
        raise WorkflowError(f"{path} is no workflow: neither JSON nor a picture that ComfyUI wrote") from None
    if isinstance(plain, dict) and isinstance(plain.get("nodes"), list):
        raise WorkflowError(f"{path} is in the editor's format: save it with Workflow > Export (API)")
    if isinstance(plain, dict) and isinstance(plain.get("prompt"), dict):
        plain = plain["prompt"]
    if not isinstance(plain, dict) or not plain:
        raise WorkflowError(f"{path} holds no nodes")
    return {str(name): _node(path, name, node) for name, node in plain.items()}


def _in_picture(path: Path) -> str:
    """Return the workflow that a picture carries."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            told = picture.info.get("prompt")
            model = picture.getexif().get(_EXIF_MODEL)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise WorkflowError(f"{path} is a damaged picture: {error}") from None
    if told is None and isinstance(model, str) and model.startswith("prompt:"):
        told = model.removeprefix("prompt:").rstrip("\0")
    if not isinstance(told, str):
        raise WorkflowError(f"{path} carries no workflow: ComfyUI did not write it, or it was saved anew by something else")
    return told


def _node(path: Path, name: str, node: Any) -> Node:
    if not isinstance(node, dict) or not isinstance(node.get("class_type"), str) or not isinstance(node.get("inputs"), dict):
        raise WorkflowError(f"{path}: node {name} has no class or no inputs: save the workflow with Workflow > Export (API)")
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return Node(node["class_type"], node["inputs"], title if isinstance(title, str) else "")


def to_api(graph: Graph) -> dict[str, Any]:
    """Return a graph as the API takes it."""
    return {
        name: {"class_type": node.kind, "inputs": dict(node.inputs), **({"_meta": {"title": node.title}} if node.title else {})}
        for name, node in graph.items()
    }


def called(graph: Graph, name: str) -> str:
    """Return how a node is named in messages: ``node 276 "LoRA"``."""
    node = graph[name]
    return f'node {name} "{node.title or node.kind}"'


def named(graph: Graph, name: str) -> str:
    """Return the node with this number or title.

    Raises
    ------
    WorkflowError
        There is none, or several have the title.
    """
    if name in graph:
        return name
    found = [each for each, node in graph.items() if name in (node.title, node.kind)]
    if len(found) == 1:
        return found[0]
    if found:
        raise WorkflowError(f"{name!r} is the title of nodes {', '.join(found)}: say the number")
    raise WorkflowError(f"the workflow has no node {name!r}; it has {', '.join(called(graph, each) for each in graph)}")


def upstream(graph: Graph, ends: Iterable[str]) -> Graph:
    """Return the nodes that these depend on, and themselves; all others do nothing for them.

    Raises
    ------
    WorkflowError
        A link leads to no node, or links lead in a circle.
    """
    found: dict[str, Node] = {}
    todo = list(ends)
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found[name] = graph[name]
        for key, value in graph[name].inputs.items():
            link = link_of(value)
            if link is None:
                continue
            if link.node not in graph:
                raise WorkflowError(f"{called(graph, name)}: {key} leads to node {link.node}, which is not there")
            todo.append(link.node)
    leads = {name: [link.node for value in node.inputs.values() if (link := link_of(value))] for name, node in found.items()}
    try:
        TopologicalSorter(leads).prepare()
    except CycleError as error:
        raise WorkflowError(f"the workflow's links lead in a circle: nodes {', '.join(reversed(error.args[1]))}") from None
    return {name: node for name, node in graph.items() if name in found}


def consumers(graph: Graph, link: Link) -> Iterator[Place]:
    """Yield the inputs that an output leads to."""
    for name, node in graph.items():
        for key, value in node.inputs.items():
            if link_of(value) == link:
                yield Place(name, key)


def with_values(graph: Graph, values: Mapping[Place, Any]) -> Graph:
    """Return a graph in which some inputs hold other values, or links."""
    changed: dict[str, dict[str, Any]] = {}
    for place, value in values.items():
        changed.setdefault(place.node, dict(graph[place.node].inputs))[place.input] = (
            list(value) if isinstance(value, Link) else value
        )
    return {name: node._replace(inputs=changed[name]) if name in changed else node for name, node in graph.items()}


def without(graph: Graph, name: str, through: Mapping[int, str]) -> Graph:
    """Return a graph without a node: what led to its outputs leads to what its inputs held; ``through`` says which is for which."""
    values = {place: graph[name].inputs[key] for output, key in through.items() for place in consumers(graph, Link(name, output))}
    changed = with_values(graph, values)
    return {each: node for each, node in changed.items() if each != name}


def free_name(graph: Graph) -> str:
    """Return a number that no node has."""
    numbers = [int(part) for name in graph for part in name.split(":") if part.isdecimal()]
    return str(max(numbers, default=0) + 1)
