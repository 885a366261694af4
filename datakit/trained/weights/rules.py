"""How each trainer is told which layers to train, and the rule by which it then finds them: written, and read back.

Read and run in SimpleTuner of October 2024, 3.1.6 and 4.10.1 (peft 0.21, LyCORIS 3.4.0 and 4.1.3), sd-scripts 48d368f, ai-toolkit
27a03a9, OneTrainer 23df383 and diffusers 0.35.2 (``train_dreambooth_lora_sd3.py``).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from datakit.trained.weights.choice import PARTS, Choice, Model, ranges

Names = frozenset[str]
# A block's path and what follows it.
_INSIDE = re.compile(r"(.*transformer_blocks)\.(\d+)\.(.+)")


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to tell one trainer.

    Attributes
    ----------
    title
        The trainer, and what of it is meant.
    where
        What the text is put into.
    write
        Yields texts for a choice and the layers it means, the shortest first; the first that means exactly those is taken.
    read
        Returns the modules that the trainer would train, given a text.
    trains
        Which layers it can reach at all.
    default
        What it trains without a text; None where that depends on its other options.
    families
        Whose models the rule is known for; all where it is empty.
    cannot
        Why it can be told nothing, where that is so; what to do instead.
    """

    title: str
    where: str
    write: Callable[[Model, Choice, Names], Iterator[str]]
    read: Callable[[Model, str], Names]
    trains: Callable[[Model], Names] = lambda model: frozenset(model.names)
    default: Callable[[Model], Names] | None = None
    families: tuple[str, ...] = ()
    cannot: str = ""


def _tails(names: Iterable[str]) -> list[str]:
    """Return what names are called within their block, or at all outside of one, each once."""
    return list(dict.fromkeys(found[3] if (found := _INSIDE.fullmatch(name)) else name for name in names))


def _ordered(model: Model, wanted: Names) -> list[str]:
    return [name for name in model.names if name in wanted]


def _blocks(model: Model, wanted: Names) -> list[int]:
    return sorted({layer.block[1] for layer in model.layers if layer.block and layer.name in wanted})


def _within(model: Model) -> Names:
    """Return the layers of all blocks."""
    return frozenset(name for name in model.names if "blocks." in name)


def _nothing(model: Model, choice: Choice, wanted: Names) -> Iterator[str]:
    yield ""


# peft: the name itself, or its end behind a dot (peft/tuners/tuners_utils.py, check_target_module_exists).


def _peft(model: Model, targets: Sequence[str]) -> Names:
    ends = tuple(f".{target}" for target in targets)
    return frozenset(name for name in (*model.names, *model.others) if name in targets or name.endswith(ends))


def _write_list(model: Model, choice: Choice, wanted: Names) -> Iterator[str]:
    names = _ordered(model, wanted)
    for targets in (_tails(names), names):
        yield json.dumps(targets, indent=1) + "\n"


def _fixed(model: Model) -> Names:
    return _peft(model, ("to_k", "to_q", "to_v", "to_out.0"))


# LyCORIS: a regular expression, anchored at the start alone (re.match on the module's path). OneTrainer: re.search, and the
# text is split at commas first.


def _pattern(model: Model, wanted: Names) -> str:
    """Return a regular expression for the whole names of layers: blocks by number, then their layers, then all others."""
    found: dict[str, tuple[set[int], dict[str, None]]] = {}
    others = []
    for name in _ordered(model, wanted):
        inside = _INSIDE.fullmatch(name)
        if inside is None:
            others.append(re.escape(name))
            continue
        blocks, tails = found.setdefault(inside[1], (set(), {}))
        blocks.add(int(inside[2]))
        tails[inside[3]] = None
    pieces = []
    for stem, (blocks, tails) in found.items():
        there = {int(each[2]) for each in map(_INSIDE.fullmatch, model.names) if each and each[1] == stem}
        number = r"\d+" if blocks == there else f"(?:{'|'.join(map(str, sorted(blocks)))})"
        pieces.append(rf"{re.escape(stem)}\.{number}\.(?:{'|'.join(map(re.escape, tails))})")
    return f"(?:{'|'.join([*pieces, *others])})$"


def _write_lycoris(model: Model, choice: Choice, wanted: Names) -> Iterator[str]:
    preset = {"target_module": [], "target_name": [_pattern(model, wanted)]}
    yield (
        json.dumps({"algo": "lora", "multiplier": 1.0, "linear_dim": 64, "linear_alpha": 64, "apply_preset": preset}, indent=1)
        + "\n"
    )


def _read_lycoris(model: Model, text: str) -> Names:
    patterns = json.loads(text)["apply_preset"]["target_name"]
    return frozenset(name for name in (*model.names, *model.others) if any(re.match(each, name) for each in patterns))


def _write_onetrainer(model: Model, choice: Choice, wanted: Names) -> Iterator[str]:
    yield json.dumps({"layer_filter": f"^{_pattern(model, wanted)}", "layer_filter_regex": True}, indent=1) + "\n"


def _read_onetrainer(model: Model, text: str) -> Names:
    patterns = [each.strip() for each in json.loads(text)["layer_filter"].split(",")]
    return frozenset(name for name in model.names if any(re.search(each, name) for each in patterns))


# sd-scripts: ranks by kind of layer and side of a block, 0 for none, and the numbers of blocks (networks/lora_sd3.py).

_SIDES = {"context": "context_block", "x": "x_block"}
_KINDS = {"attn": "attn", "mlp": "mlp", "mod": "adaLN_modulation"}


def _kohya_layers(model: Model, side: str, kind: str) -> list[str]:
    sign = f".{_SIDES[side]}.{_KINDS[kind]}"
    return [name for name in _within(model) if sign in model.family.own(name).name]


def _write_kohya(model: Model, choice: Choice, wanted: Names) -> Iterator[str]:
    arguments = []
    blocks = _blocks(model, wanted)
    if blocks != model.blocks():
        arguments.append(f"train_block_indices={ranges(blocks).replace(' ', '')}")
    for side in _SIDES:
        arguments += [f"{side}_{kind}_dim=0" for kind in _KINDS if wanted.isdisjoint(_kohya_layers(model, side, kind))]
    yield f"--network_args {' '.join(map(json.dumps, arguments))}\n" if arguments else ""


def _read_kohya(model: Model, text: str) -> Names:
    arguments = dict(word.split("=", 1) for word in shlex.split(text)[1:])
    blocks = set(model.blocks())
    if "train_block_indices" in arguments:
        pieces = [piece.split("-") for piece in arguments["train_block_indices"].split(",")]
        blocks = {number for piece in pieces for number in range(int(piece[0]), int(piece[-1]) + 1)}
    kinds = [(side, kind) for side in _SIDES for kind in _KINDS if arguments.get(f"{side}_{kind}_dim") != "0"]
    found = {name for side, kind in kinds for name in _kohya_layers(model, side, kind)}
    return frozenset(layer.name for layer in model.layers if layer.name in found and layer.block and layer.block[1] in blocks)


# ai-toolkit: parts of names, which begin with "transformer."; of what it was told to ignore nothing is trained.


def _write_aitoolkit(model: Model, choice: Choice, wanted: Names) -> Iterator[str]:
    ignored = [
        f"transformer.{'single_' * single}transformer_blocks.{number}."
        for single, blocks in ((False, choice.blocks), (True, choice.single_blocks))
        for number in model.blocks(single)
        if (choice.blocks is not None or choice.single_blocks is not None) and number not in (blocks or ())
    ]
    coarse = (
        [sign.rstrip(".") for sign in PARTS[choice.only] if any(sign in f".{name}." for name in wanted)] if choice.only else []
    )
    coarse = [f"{sign}." if any(f"{sign}." in f".{name}" for name in wanted) else sign for sign in coarse]
    for only in (coarse, [f".{tail}" for tail in _tails(_ordered(model, wanted))]):
        lines = [
            f"  {key}: {json.dumps(values)}\n"
            for key, values in (("only_if_contains", only), ("ignore_if_contains", ignored))
            if values
        ]
        yield f"network_kwargs:\n{''.join(lines)}" if lines else ""


def _read_aitoolkit(model: Model, text: str) -> Names:
    told: Mapping[str, list[str]] = {
        key.strip(): json.loads(values) for key, _, values in (line.partition(": ") for line in text.splitlines()[1:])
    }
    only, ignored = told.get("only_if_contains"), told.get("ignore_if_contains", [])
    return frozenset(
        name
        for name in _within(model)
        if (only is None or any(sign in f"transformer.{name}" for sign in only))
        and not any(sign in f"transformer.{name}" for sign in ignored)
    )


# diffusers' script for SD3: endings for peft, and numbers of blocks that are put before each of them.

_DIFFUSERS_DEFAULT = tuple(f"attn.{name}" for name in ("add_k_proj", "add_q_proj", "add_v_proj", "to_add_out", "to_k", "to_out.0", "to_q", "to_v"))  # fmt: skip


def _write_diffusers(model: Model, choice: Choice, wanted: Names) -> Iterator[str]:
    blocks, layers = _blocks(model, wanted), _tails(_ordered(model, wanted))
    text = "" if set(layers) == set(_DIFFUSERS_DEFAULT) else f' --lora_layers "{",".join(layers)}"'
    if blocks != model.blocks():
        text += f' --lora_blocks "{",".join(map(str, blocks))}"'
    yield f"{text.strip()}\n" if text else ""


def _read_diffusers(model: Model, text: str) -> Names:
    words = shlex.split(text)
    told = dict(zip(words[::2], words[1::2], strict=True))
    targets = told["--lora_layers"].split(",") if "--lora_layers" in told else list(_DIFFUSERS_DEFAULT)
    if "--lora_blocks" in told:
        targets = [f"transformer_blocks.{block}.{target}" for block in told["--lora_blocks"].split(",") for target in targets]
    return _peft(model, targets)


RULES = {
    "simpletuner": Rule(
        "SimpleTuner from 4.0.6 on, lora_type standard",
        "a file that peft_lora_target_modules names (`datakit config --targets FILE`)",
        _write_list,
        lambda model, text: _peft(model, json.loads(text)) if text else _fixed(model),
        default=_fixed,
    ),
    "simpletuner-3.1.6": Rule(
        "SimpleTuner 3.1.6 and the commit of October 2024, lora_type standard",
        "",
        _nothing,
        lambda model, text: _fixed(model),
        trains=_fixed,
        default=_fixed,
        families=("sd3",),
        cannot="it always trains to_q, to_k, to_v and to_out.0 of the picture's side: use --trainer simpletuner-lycoris",
    ),
    "simpletuner-lycoris": Rule(
        "SimpleTuner, lora_type lycoris",
        "lycoris_config.json, with algo, linear_dim and linear_alpha as you want them (`datakit config --targets FILE`)",
        _write_lycoris,
        _read_lycoris,
    ),
    "simpletuner-full": Rule(
        "SimpleTuner, model_type full",
        "",
        _nothing,
        lambda model, text: frozenset(model.names),
        cannot='it trains all layers: use --trainer simpletuner-lycoris with "algo": "full", which trains whole weights',
    ),
    "kohya": Rule(
        "sd-scripts, LoRA for SD3",
        "the command line of sd3_train_network.py",
        _write_kohya,
        _read_kohya,
        trains=_within,
        default=_within,
        families=("sd3",),
    ),
    "kohya-full": Rule(
        "sd-scripts, fine-tuning of SD3",
        "",
        _nothing,
        lambda model, text: frozenset(model.names),
        families=("sd3",),
        cannot="its num_last_block_to_freeze counts tensors of the picture's side (12 a block) and leaves the context side trainable: "
        "use --trainer onetrainer, whose filter freezes layers in fine-tuning too",
    ),
    "aitoolkit": Rule(
        "ai-toolkit",
        "network_kwargs of its config",
        _write_aitoolkit,
        _read_aitoolkit,
        trains=_within,
        default=_within,
        families=("sd3", "flux"),
    ),
    "onetrainer": Rule("OneTrainer", "its config", _write_onetrainer, _read_onetrainer),
    "diffusers": Rule(
        "diffusers' script for SD3",
        "the command line of train_dreambooth_lora_sd3.py",
        _write_diffusers,
        _read_diffusers,
        default=lambda model: _peft(model, _DIFFUSERS_DEFAULT),
        families=("sd3",),
    ),
}  # fmt: skip
