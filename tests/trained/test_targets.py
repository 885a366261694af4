"""`datakit weights targets`: the tutorial's three ideas, and more, for every trainer; the traps of each one's rule."""

from __future__ import annotations

import json
import re

import pytest

from datakit.errors import UsageError
from datakit.trained.families import family
from datakit.trained.weights.choice import Choice, numbers, ranges, read_model
from datakit.trained.weights.collection import open_weights
from datakit.trained.weights.rules import RULES
from datakit.trained.weights.targets import write_targets
from tests.trained.made import WIDTH, sd35_large, sparse

# The tutorial: the last blocks stay as they are; attention alone; the text's side alone; no embedders.
FROZEN = Choice(blocks=numbers("0-29"), only="attention")
BLOCKS = Choice(blocks=numbers("0-29"))
ATTENTION, CONTEXT = Choice(only="attention"), Choice(only="context")
EMBEDDERS = Choice(embedders=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return read_model(open_weights(sparse(tmp_path_factory.mktemp("sd35") / "x.safetensors", sd35_large())))


@pytest.fixture(scope="module")
def flux(tmp_path_factory):
    shapes = {}
    for name in ("x_embedder", "context_embedder", "proj_out", "norm_out.linear", "time_text_embed.timestep_embedder.linear_1"):
        shapes[f"{name}.weight"] = ("BF16", (8, 8))
    for block in range(19):
        for end in ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out", "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2", "norm1.linear", "norm1_context.linear"):  # fmt: skip
            shapes[f"transformer_blocks.{block}.{end}.weight"] = ("BF16", (8, 8))
        shapes[f"transformer_blocks.{block}.attn.norm_q.weight"] = ("BF16", (8,))
    for block in range(38):
        for end in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out", "norm.linear"):
            shapes[f"single_transformer_blocks.{block}.{end}.weight"] = ("BF16", (8, 8))
    return read_model(open_weights(sparse(tmp_path_factory.mktemp("flux") / "x.safetensors", shapes)))


@pytest.mark.parametrize(
    ("trainer", "counts"),
    [
        ("simpletuner", {"frozen": 240, "blocks": 420, "attention": 303, "context": 263, "embedders": 152}),
        ("simpletuner-lycoris", {"frozen": 240, "blocks": 420, "attention": 303, "context": 263, "embedders": 531}),
        ("kohya", {"frozen": 240, "blocks": 420, "attention": 303, "context": 263, "embedders": 529}),
        ("aitoolkit", {"frozen": 240, "blocks": 420, "attention": 303, "context": 263, "embedders": 529}),
        ("onetrainer", {"frozen": 240, "blocks": 420, "attention": 303, "context": 263, "embedders": 531}),
        ("diffusers", {"frozen": 240, "blocks": 420, "attention": 303, "context": 263, "embedders": 303}),
    ],
)
def test_the_tutorials_ideas_mean_as_many_layers_as_each_trainer_was_seen_to_train(model, trainer, counts):
    choices = {"frozen": FROZEN, "blocks": BLOCKS, "attention": ATTENTION, "context": CONTEXT, "embedders": EMBEDDERS}
    for name, choice in choices.items():
        found = write_targets(model, trainer, choice)
        assert len(found.layers) == counts[name], name
        assert found.of == 537
        assert not found.out_of_reach


def test_what_each_idea_is_for_each_trainer(model):
    def said(trainer, choice):
        return write_targets(model, trainer, choice).text

    ends = ["to_k", "to_q", "to_v", "to_out.0", "add_k_proj", "add_q_proj", "add_v_proj", "to_add_out"]
    assert sorted(json.loads(said("simpletuner", ATTENTION))) == sorted(f"attn.{end}" for end in ends)
    assert len(json.loads(said("simpletuner", FROZEN))) == 240
    assert "transformer_blocks.29.attn.to_k" in json.loads(said("simpletuner", FROZEN))
    assert said("kohya", BLOCKS) == '--network_args "train_block_indices=0-29"\n'
    assert said("kohya", ATTENTION) == '--network_args "context_mlp_dim=0" "context_mod_dim=0" "x_mlp_dim=0" "x_mod_dim=0"\n'
    assert said("kohya", CONTEXT) == '--network_args "x_attn_dim=0" "x_mlp_dim=0" "x_mod_dim=0"\n'
    assert said("kohya", EMBEDDERS) == ""
    ignored = [f"transformer.transformer_blocks.{number}." for number in range(30, 38)]
    assert said("aitoolkit", BLOCKS) == f"network_kwargs:\n  ignore_if_contains: {json.dumps(ignored)}\n"
    assert said("aitoolkit", ATTENTION) == 'network_kwargs:\n  only_if_contains: [".attn."]\n'
    assert said("diffusers", FROZEN) == f'--lora_blocks "{",".join(map(str, range(30)))}"\n'
    assert "," not in json.loads(said("onetrainer", FROZEN))["layer_filter"]


def test_trainers_that_cannot_be_told_so_are_refused_with_what_can_be_done(model):
    for choice in (FROZEN, ATTENTION, CONTEXT):
        with pytest.raises(UsageError, match="use --trainer simpletuner-lycoris"):
            write_targets(model, "simpletuner-3.1.6", choice)
    assert len(write_targets(model, "simpletuner-3.1.6", EMBEDDERS).layers) == 152
    for choice in (FROZEN, EMBEDDERS):
        with pytest.raises(UsageError, match='"algo": "full"'):
            write_targets(model, "simpletuner-full", choice)
        with pytest.raises(UsageError, match="counts tensors"):
            write_targets(model, "kohya-full", choice)
    with pytest.raises(UsageError, match="blocks 38-39: the model has 0-37"):
        write_targets(model, "onetrainer", Choice(blocks=numbers("30-39")))
    with pytest.raises(UsageError, match="unknown here: choose from simpletuner"):
        write_targets(model, "nobody", ATTENTION)


@pytest.mark.parametrize("trainer", [name for name, rule in RULES.items() if not rule.cannot])
@pytest.mark.parametrize("block", [1, 3, 37])
def test_a_block_whose_number_begins_others_is_taken_alone(model, trainer, block):
    for only in (None, "attention", "context", "mlp", "modulation"):
        found = write_targets(model, trainer, Choice(blocks=frozenset({block}), only=only))
        assert {layer.block for layer in found.layers} == {(False, block)}
        # The last block writes no text: it has no to_add_out and no ff_context.
        last = {None: 11, "attention": 7, "context": 4, "mlp": 2, "modulation": 2}[only]
        assert len(found.layers) == (
            last if block == 37 else {None: 14, "attention": 8, "context": 7, "mlp": 4, "modulation": 2}[only]
        )


@pytest.mark.parametrize("trainer", ["simpletuner", "simpletuner-lycoris", "aitoolkit", "onetrainer"])
def test_fluxs_double_and_single_blocks_are_told_apart(flux, trainer):
    assert len(flux.layers) == 5 + 19 * 14 + 38 * 6
    double = write_targets(flux, trainer, Choice(blocks=frozenset({1})))
    assert {layer.block for layer in double.layers} == {(False, 1)}
    single = write_targets(flux, trainer, Choice(single_blocks=frozenset({1}), only="mlp"))
    assert {layer.name for layer in single.layers} == {f"single_transformer_blocks.1.{end}" for end in ("proj_mlp", "proj_out")}
    both = write_targets(flux, trainer, ATTENTION)
    assert len(both.layers) == 19 * 8 + 38 * 3
    with pytest.raises(UsageError, match="not known here"):
        write_targets(flux, "kohya", ATTENTION)


def test_what_a_choice_means_is_counted_in_parameters_too(model):
    found = write_targets(model, "simpletuner", FROZEN)
    assert found.parameters == 240 * (WIDTH * WIDTH + WIDTH)
    assert found.rank == 240 * 2 * WIDTH
    assert found.describe().startswith("240 of 537 layers, blocks 0-29: 1,420,093,440 parameters")


def test_the_models_own_names_mean_the_same_as_diffusers(model, tmp_path):
    """One file of SD3.5 with joint_blocks and fused queries, as ComfyUI and sd-scripts take it."""
    known, fused = family("sd3"), {}
    for name, (dtype, shape) in sd35_large().items():
        stem, end = name.rsplit(".", 1)
        if known.diffusers_name(stem) is None:
            continue
        own = known.own(stem)
        fused[f"model.diffusion_model.{own.name}.{end}"] = (dtype, (shape[0] * own.part.of, *shape[1:]))
    other = read_model(open_weights(sparse(tmp_path / "own.safetensors", fused)))
    assert other.layers == model.layers
    for choice in (FROZEN, CONTEXT):
        assert (
            write_targets(other, "simpletuner-lycoris", choice).layers
            == write_targets(model, "simpletuner-lycoris", choice).layers
        )


def test_every_layer_of_the_tutorials_model_has_its_own_name():
    known = family("sd3")
    stems = {name.rsplit(".", 1)[0] for name in sd35_large()} - {"pos_embed"}
    assert all(known.diffusers_name(stem) == stem for stem in stems)
    for stem in stems:
        own = known.own(stem)
        assert (stem, own.part) in known.parts(own.name)
        assert known.own_name(own.name.replace(".", "_")) == own.name


def test_numbers_and_ranges():
    assert numbers("0,3, 10-12") == {0, 3, 10, 11, 12}
    assert ranges({0, 3, 10, 11, 12}) == "0, 3, 10-12"
    for wrong in ("", "a", "5-3", "1-", "-1", "1;2", "99999"):
        with pytest.raises(UsageError, match=re.escape(repr(wrong))):
            numbers(wrong)


def test_the_command_writes_a_file_that_config_takes(tmp_path, datakit):
    sparse(tmp_path / "sd35.safetensors", sd35_large())
    done = datakit(
        "weights", "targets", "sd35.safetensors", "--trainer", "simpletuner", "--only", "context", "--output", "t.json"
    )
    assert done.returncode == 0, done.stderr
    assert "263 of 537 layers, blocks 0-37" in done.stderr
    written = datakit("config", "--concept", "400x5", "--epochs", "1", "--targets", "t.json", "--output", "-")
    assert written.returncode == 0, written.stderr
    assert json.loads(written.stdout)["--peft_lora_target_modules"] == str(tmp_path / "t.json")
    assert "peft_lora_target_modules" in written.stderr, "3.1.6 does not know it, which is said"
    assert (
        datakit(
            "weights", "targets", "sd35.safetensors", "--trainer", "simpletuner-lycoris", "--blocks", "0-29", "--output", "l.json"
        ).returncode
        == 0
    )
    config = json.loads(datakit("config", "--concept", "400x5", "--epochs", "1", "--targets", "l.json", "--output", "-").stdout)
    assert (config["--lora_type"], config["--lycoris_config"]) == ("lycoris", str(tmp_path / "l.json"))
    (tmp_path / "no.json").write_text("{}")
    refused = datakit("config", "--concept", "400x5", "--epochs", "1", "--targets", "no.json", "--output", "-")
    assert refused.returncode == 2
    assert "no.json names no layers" in refused.stderr
    nothing = datakit("weights", "targets", "sd35.safetensors", "--trainer", "kohya")
    assert (nothing.returncode, "say which layers" in nothing.stderr) == (2, True)
    told = json.loads(datakit("weights", "targets", "sd35.safetensors", "--trainer", "kohya", "--only", "mlp", "--json").stdout)
    assert told["of"] == 537
