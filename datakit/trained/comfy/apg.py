"""Adaptive projected guidance in a workflow: which node a server has for it, and where it is put."""

from __future__ import annotations

from dataclasses import dataclass

from datakit.errors import UsageError
from datakit.trained.comfy.graph import Graph, Link, Node, free_name, link_of
from datakit.trained.comfy.nodes import Classes, Roles

# Core node since May 2025, whose scale is one above plain guidance at neutral settings; and an older custom one, which keeps it.
CORE_APG, OTHER_APG = "APG", "APGFunction"


@dataclass(frozen=True, slots=True)
class Apg:
    """Settings of adaptive projected guidance (Sadat and others, 2024); what is not said is as the node has it."""

    settings: tuple[tuple[str, float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Apg:
        """Read ``eta=0,norm_threshold=15,momentum=-0.5``.

        Raises
        ------
        UsageError
            It is something else.
        """
        found = []
        for piece in filter(None, (piece.strip() for piece in text.split(","))):
            key, _, value = piece.partition("=")
            try:
                found.append((key.strip(), float(value)))
            except ValueError:
                key = ""
            if key.strip() not in ("eta", "norm_threshold", "momentum"):
                raise UsageError(f"--apg {text!r}: write eta=1,norm_threshold=5,momentum=0, or some of them")
        return cls(tuple(found))

    def node(self, classes: Classes) -> Node:
        """Return the node that the server has for it, with no model yet.

        Raises
        ------
        UsageError
            It has none, or a setting lies outside of what it takes.
        """
        kind = next((kind for kind in (CORE_APG, OTHER_APG) if kind in classes), None)
        if kind is None:
            raise UsageError("the server has no node for APG: update ComfyUI (it has one since May 2025)")
        inputs = {key: classes.told(kind, key).get("default") for key in classes.inputs(kind) if key != "model"}
        for key, value in self.settings:
            told = classes.told(kind, key)
            low, high = told.get("min", value), told.get("max", value)
            if not low <= value <= high:
                raise UsageError(f"--apg {key}={value:g}: node {kind} takes {low:g} to {high:g}")
            inputs[key] = value
        if kind == OTHER_APG:
            inputs["use_momentum"] = "enable" if inputs.get("momentum") else "disable"
        return Node(kind, inputs, "APG")

    def __str__(self) -> str:
        return ", ".join(f"{key} {value:g}" for key, value in self.settings)


def with_apg(roles: Roles, graph: Graph, node: Node) -> Graph:
    """Put APG before every sampler and guider: one node for each model that they take."""
    changed, put = dict(graph), dict[Link, str]()
    for place in roles.samplers:
        link = link_of(changed[place.node].inputs[place.input])
        assert link is not None
        if link not in put:
            put[link] = free_name(changed)
            changed[put[link]] = node._replace(inputs={"model": list(link), **node.inputs})
        sampler = changed[place.node]
        changed[place.node] = sampler._replace(inputs={**sampler.inputs, place.input: [put[link], 0]})
    return changed
