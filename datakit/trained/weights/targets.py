"""The text that tells a trainer which layers to train, replayed by that trainer's own rule before anybody sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datakit.errors import UsageError
from datakit.report import counted, few
from datakit.trained.weights.choice import Choice, Layer, Model, ranges
from datakit.trained.weights.rules import RULES, Names


@dataclass(frozen=True, slots=True)
class Targets:
    """What is told to a trainer, and what that means.

    Attributes
    ----------
    trainer, where
        Whom it is for, and what the text is put into.
    text
        Empty where the trainer does it without being told.
    layers
        Those that will be trained.
    of
        How many layers the model has.
    out_of_reach
        Layers that were asked for and that this trainer never trains.
    """

    trainer: str
    where: str
    text: str
    layers: tuple[Layer, ...]
    of: int
    out_of_reach: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Of these layers, in the model."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def rank(self) -> int:
        """Parameters that each rank of a LoRA on these layers has."""
        return sum(layer.inputs + layer.outputs for layer in self.layers)

    def describe(self) -> str:
        """Return what it means: ``240 of 537 layers, blocks 0-29``."""
        parts = [f"{len(self.layers)} of {self.of} layers"]
        for single, word in ((False, "blocks"), (True, "single blocks")):
            if numbers := {layer.block[1] for layer in self.layers if layer.block and layer.block[0] == single}:
                parts.append(f"{word} {ranges(numbers)}")
        return f"{', '.join(parts)}: {self.parameters:,} parameters of the model; each rank of a LoRA adds {self.rank:,}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "trainer": self.trainer,
            "where": self.where,
            "text": self.text,
            "layers": [layer.name for layer in self.layers],
            "of": self.of,
            "parameters": self.parameters,
            "parameters_a_rank": self.rank,
            "out_of_reach": list(self.out_of_reach),
        }


def write_targets(model: Model, trainer: str, choice: Choice) -> Targets:
    """Return the text that makes a trainer train exactly the layers that are chosen.

    Raises
    ------
    UsageError
        The trainer is unknown, cannot be told so, or nothing is chosen.
    """
    if trainer not in RULES:
        raise UsageError(f"trainer {trainer!r} is unknown here: choose from {', '.join(RULES)}")
    rule = RULES[trainer]
    if rule.families and model.family.name not in rule.families:
        raise UsageError(f"{rule.title}: how it is told for {model.family.title} is not known here")
    _check_blocks(model, choice)
    chosen = frozenset(layer.name for layer in model.layers if choice.takes(layer))
    wanted = chosen & rule.trains(model)
    if not wanted and not rule.cannot:
        raise UsageError(f"{rule.title}: no layer of the model is both chosen and trained by it")
    text = _text(model, trainer, choice, wanted)
    trained = rule.read(model, text)
    layers = tuple(layer for layer in model.layers if layer.name in trained)
    beyond = () if choice.is_all_but_embedders else tuple(name for name in model.names if name in chosen - trained)
    return Targets(rule.title, rule.where, text, layers, len(model.layers), beyond)


def _check_blocks(model: Model, choice: Choice) -> None:
    for single, blocks in ((False, choice.blocks), (True, choice.single_blocks)):
        there = model.blocks(single)
        if blocks and (lost := sorted(blocks - set(there))):
            has = f"has {ranges(there)}" if there else "has none that are counted so"
            raise UsageError(f"{'single ' * single}blocks {ranges(lost)}: the model {has}")


def _text(model: Model, trainer: str, choice: Choice, wanted: Names) -> str:
    """Return the first text whose replay gives exactly what is wanted; none where the trainer leaves the embedders out anyway."""
    rule = RULES[trainer]
    if choice.is_all_but_embedders and rule.default:
        default = rule.default(model)
        if not any(layer.embeds and layer.name in default for layer in model.layers):
            return ""
    if rule.cannot:
        raise UsageError(f"{rule.title}: {rule.cannot}")
    differing: Names = frozenset()
    for text in rule.write(model, choice, wanted):
        differing = rule.read(model, text) ^ wanted
        if not differing:
            return text
    names = few(sorted(differing))
    raise UsageError(
        f"{rule.title} cannot be told exactly that: its rule would differ in {counted(len(differing), 'layer')}, {names}"
    )
