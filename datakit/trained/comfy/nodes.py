"""Which node of a workflow does what: found by what the server says of their classes and by links, never by number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datakit.errors import WorkflowError
from datakit.trained.comfy.graph import Graph, Link, Node, Place, called, consumers, free_name, link_of, named, upstream, without

NEW = "new"
_LOADER = "LoraLoaderModelOnly"


class Classes:
    """What a server says of its classes of nodes, in both notations: ``[[names], {}]`` and ``["COMBO", {"options": names}]``."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._told = told

    def __contains__(self, kind: str) -> bool:
        return kind in self._told

    def type(self, kind: str, name: str) -> str:
        """Return the type of an input; COMBO for a choice, nothing for one that is not known."""
        spec = self._inputs(kind).get(name)
        if not isinstance(spec, list) or not spec:
            return ""
        return "COMBO" if isinstance(spec[0], list) else str(spec[0])

    def told(self, kind: str, name: str) -> Mapping[str, Any]:
        """Return what else is said of an input: default, min, max, multiline."""
        spec = self._inputs(kind).get(name)
        return spec[1] if isinstance(spec, list) and len(spec) > 1 and isinstance(spec[1], dict) else {}

    def options(self, kind: str, name: str) -> list[str]:
        """Return what a choice can be."""
        spec = self._inputs(kind).get(name)
        found = spec[0] if isinstance(spec, list) and spec and isinstance(spec[0], list) else self.told(kind, name).get("options")
        return [str(each) for each in found] if isinstance(found, list) else []

    def inputs(self, kind: str) -> list[str]:
        """Return the names of a class's inputs."""
        return list(self._inputs(kind))

    def outputs(self, kind: str) -> list[str]:
        """Return the types of its outputs."""
        found = self._told.get(kind, {}).get("output")
        return [str(each) for each in found] if isinstance(found, list) else []

    def saves(self, kind: str) -> bool:
        """Tell whether it is an end of a workflow that takes pictures."""
        return bool(self._told.get(kind, {}).get("output_node")) and any(
            self.type(kind, name) == "IMAGE" for name in self._inputs(kind)
        )

    def _inputs(self, kind: str) -> dict[str, Any]:
        told = self._told.get(kind, {}).get("input") or {}
        return {name: spec for group in ("required", "optional") for name, spec in (told.get(group) or {}).items()}


@dataclass(frozen=True, slots=True)
class Names:
    """Nodes that the user names, by number or title, where two could be meant; ``lora`` may be `NEW`."""

    save: str | None = None
    lora: str | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Roles:
    """The nodes that matter, in a graph of nothing but what the save node needs.

    Attributes
    ----------
    graph
        The workflow, pruned; with a LoRA loader if one was put in.
    save
        The node that saves the picture.
    lora
        Where the LoRA's name is put; None in a workflow of whole models.
    strengths
        Where its strengths are put.
    model
        Where the name of a whole model is put, if there is one place.
    prompt, negative
        Where the texts are put.
    seeds
        Where the seed is put.
    guidance
        Where guiders and samplers hold their scale (cfg).
    samplers
        Inputs by which samplers and guiders take the model.
    """

    graph: Graph
    save: str
    lora: Place | None
    strengths: tuple[Place, ...]
    model: Place | None
    prompt: tuple[Place, ...]
    negative: tuple[Place, ...]
    seeds: tuple[Place, ...]
    guidance: tuple[Place, ...]
    samplers: tuple[Place, ...]

    def describe(self) -> list[str]:
        """Return what was found, a line each."""
        rows = (
            ("LoRA", [self.lora] if self.lora else []),
            ("strength", self.strengths),
            ("prompt", self.prompt),
            ("negative", self.negative),
            ("seed", self.seeds),
            ("guidance", self.guidance),
        )
        lines = [
            f"{what}: {', '.join(f'{called(self.graph, place.node)} {place.input}' for place in places)}"
            for what, places in rows
            if places
        ]
        return [*lines, f"saved by: {called(self.graph, self.save)}"]


def find_roles(graph: Graph, classes: Classes, loras: Sequence[str], names: Names, wants_lora: bool) -> Roles:
    """Find the nodes that matter; ``loras`` are the names that the server lists.

    Raises
    ------
    WorkflowError
        A node is missing, or two could be meant; or the server does not have a node's class.
    """
    save = _save_node(graph, classes, names.save)
    kept = upstream(graph, [save])
    for name, node in kept.items():
        if node.kind not in classes:
            raise WorkflowError(f"{called(kept, name)}: the server has no class {node.kind}: install what brings it")
    samplers = tuple(_samplers(kept, classes))
    lora: Place | None = None
    if wants_lora:
        kept, lora = _lora_place(kept, classes, loras, names.lora, samplers)
        samplers = tuple(_samplers(kept, classes))
    strengths = tuple(
        place
        for key in (classes.inputs(kept[lora.node].kind) if lora else ())
        if lora and "strength" in key and key in kept[lora.node].inputs
        for place in _origin(kept, classes, Place(lora.node, key))
    )
    return Roles(
        kept,
        save,
        lora,
        strengths,
        _model_place(kept),
        _prompt_places(kept, classes, ("positive", "conditioning"), names.prompt),
        _texts(kept, classes, ("negative",)),
        _values(kept, classes, ("seed", "noise_seed")),
        _values(kept, classes, ("cfg",)),
        samplers,
    )


def _save_node(graph: Graph, classes: Classes, name: str | None) -> str:
    """Return the one node that saves the picture."""
    if name is not None:
        found = named(graph, name)
        if not classes.saves(graph[found].kind):
            raise WorkflowError(f"{called(graph, found)} saves no picture")
        return found
    ends = [each for each, node in graph.items() if classes.saves(node.kind) and any(map(link_of, node.inputs.values()))]
    writing = [each for each in ends if "filename_prefix" in graph[each].inputs]
    return _only(graph, "the node that saves the picture", writing or ends, "--save-node")


def _only(graph: Graph, what: str, found: Sequence[str], option: str) -> str:
    if len(found) == 1:
        return found[0]
    if not found:
        raise WorkflowError(f"{what}: no node of the workflow could be it")
    listed = ", ".join(f"{each} ({graph[each].title or graph[each].kind})" for each in found)
    raise WorkflowError(f"{what}: {len(found)} nodes could be it: {listed}; {option} names one")


def _lora_place(
    graph: Graph, classes: Classes, loras: Sequence[str], name: str | None, samplers: Sequence[Place]
) -> tuple[Graph, Place]:
    """Return where a LoRA's name is put; where there is no loader, or another one is wanted, one is put behind the model."""
    places = [
        Place(each, key)
        for each, node in graph.items()
        for key, value in node.inputs.items()
        if isinstance(value, str) and (key == "lora_name" or (loras and classes.options(node.kind, key) == list(loras)))
    ]
    if name is not None and name != NEW:
        wanted = named(graph, name)
        places = [place for place in places if place.node == wanted]
        if not places:
            raise WorkflowError(f"{called(graph, wanted)} takes no name of a LoRA")
        return graph, places[0]
    if places and name is None:
        only = _only(graph, "the node that loads the LoRA", list(dict.fromkeys(place.node for place in places)), "--lora-node")
        return graph, next(place for place in places if place.node == only)
    return _with_loader(graph, classes, samplers)


def _with_loader(graph: Graph, classes: Classes, samplers: Sequence[Place]) -> tuple[Graph, Place]:
    """Put a loader behind the node that the samplers' model comes from."""
    sources = {_source(graph, classes, place) for place in samplers}
    if len(sources) != 1:
        models = ", ".join(called(graph, source.node) for source in sorted(sources)) or "none"
        raise WorkflowError(f"a LoRA loader is to be put behind the model, and the samplers have {models}: put one in yourself")
    (source,) = sources
    name = free_name(graph)
    changed = dict(graph)
    for place in consumers(graph, source):
        node = changed[place.node]
        changed[place.node] = node._replace(inputs={**node.inputs, place.input: [name, 0]})
    changed[name] = Node(_LOADER, {"model": list(source), "lora_name": "", "strength_model": 1.0}, "LoRA")
    return changed, Place(name, "lora_name")


def _source(graph: Graph, classes: Classes, place: Place) -> Link:
    """Follow a model up to the node that loads it."""
    link = link_of(graph[place.node].inputs[place.input])
    assert link is not None
    for key, value in graph[link.node].inputs.items():
        if classes.type(graph[link.node].kind, key) == "MODEL" and link_of(value):
            return _source(graph, classes, Place(link.node, key))
    return link


def _samplers(graph: Graph, classes: Classes) -> Iterator[Place]:
    """Yield the model inputs of what samples or guides: it takes conditioning too, and gives no model."""
    for name, node in graph.items():
        kinds = {key: classes.type(node.kind, key) for key in node.inputs}
        if "MODEL" in classes.outputs(node.kind) or "CONDITIONING" not in kinds.values():
            continue
        yield from (Place(name, key) for key, value in node.inputs.items() if kinds[key] == "MODEL" and link_of(value))


def _model_place(graph: Graph) -> Place | None:
    """Return where the name of a diffusion model stands, if in one place."""
    places = [Place(name, "unet_name") for name, node in graph.items() if isinstance(node.inputs.get("unet_name"), str)]
    return places[0] if len(places) == 1 else None


def _origin(graph: Graph, classes: Classes, place: Place) -> Iterator[Place]:
    """Yield where the value of an input stands: there, or at the one input of its type of the node that it is linked to."""
    node = graph[place.node]
    link = link_of(node.inputs.get(place.input))
    if link is None:
        if place.input in node.inputs:
            yield place
        return
    before = graph[link.node]
    outputs = classes.outputs(before.kind)
    kind = outputs[link.output] if link.output < len(outputs) else ""
    keys = [key for key in before.inputs if classes.type(before.kind, key) == kind]
    if len(keys) == 1:
        yield from _origin(graph, classes, Place(link.node, keys[0]))


def _values(graph: Graph, classes: Classes, keys: Iterable[str]) -> tuple[Place, ...]:
    """Return where the values of inputs of these names stand, wherever they are."""
    found = (
        place
        for name, node in graph.items()
        for key in keys
        if key in node.inputs
        for place in _origin(graph, classes, Place(name, key))
    )
    return tuple(dict.fromkeys(found))


def _texts(graph: Graph, classes: Classes, keys: Iterable[str]) -> tuple[Place, ...]:
    """Return where the texts stand that conditioning of these names is made of."""
    found: dict[Place, None] = {}
    for node in graph.values():
        for key in keys:
            link = link_of(node.inputs.get(key))
            if link and classes.type(node.kind, key) == "CONDITIONING":
                found |= dict.fromkeys(_texts_of(graph, classes, link.node))
    return tuple(found)


def _texts_of(graph: Graph, classes: Classes, name: str) -> Iterator[Place]:
    """Yield the texts of a node that encodes some; else of the nodes that its conditioning comes from."""
    node = graph[name]
    keys = [
        key for key in node.inputs if classes.type(node.kind, key) == "STRING" and classes.told(node.kind, key).get("multiline")
    ]
    for key in keys:
        yield from _origin(graph, classes, Place(name, key))
    if not keys:
        for key, value in node.inputs.items():
            link = link_of(value)
            if link and classes.type(node.kind, key) == "CONDITIONING":
                yield from _texts_of(graph, classes, link.node)


def _prompt_places(graph: Graph, classes: Classes, keys: Iterable[str], name: str | None) -> tuple[Place, ...]:
    """Return where the prompt is put: all texts of one node."""
    if name is not None:
        wanted = named(graph, name)
        node = graph[wanted]
        texts = [
            Place(wanted, key)
            for key, value in node.inputs.items()
            if isinstance(value, str) and classes.type(node.kind, key) == "STRING"
        ]
        if not texts:
            raise WorkflowError(f"{called(graph, wanted)} takes no text")
        return tuple(texts)
    places = _texts(graph, classes, keys)
    nodes = list(dict.fromkeys(place.node for place in places))
    if len(nodes) > 1:
        _only(graph, "the node that takes the prompt", nodes, "--prompt-node")
    return places


def bypassed(graph: Graph, classes: Classes, name: str) -> Graph | None:
    """Return a graph in which a node does nothing: each output is the one input of its type; None where that cannot be."""
    node = graph[name]
    through = {}
    for output, kind in enumerate(classes.outputs(node.kind)):
        keys = [key for key, value in node.inputs.items() if classes.type(node.kind, key) == kind and link_of(value)]
        if len(keys) == 1:
            through[output] = keys[0]
        elif any(consumers(graph, Link(name, output))):
            return None
    return without(graph, name, through)
