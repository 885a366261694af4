"""docs/after-training.md is true: its five commands run one after the other, and every option that it names exists."""

from __future__ import annotations

import re
import shlex
import subprocess

import numpy as np

from datakit.cli import main
from datakit.trained.weights.rules import RULES
from tests.commands import invoke
from tests.conftest import ROOT
from tests.trained.fake import TINY
from tests.trained.loras import run_of
from tests.trained.made import save, sd35_large, sparse

DOC = (ROOT / "docs" / "after-training.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


def test_the_five_commands_go_from_a_run_to_a_checkpoint(comfy, corpus, tmp_path, monkeypatch):
    (block,) = re.findall(r"<!-- five -->\n```sh\n(.*?)```", DOC, re.DOTALL)
    commands = block.splitlines()
    assert len(commands) == 5
    run_of(tmp_path / "output" / "fantasy", {step: step / 2000 for step in range(500, 3001, 500)})
    (tmp_path / "ComfyUI" / "models" / "loras").mkdir(parents=True)
    (tmp_path / "workflow.json").write_bytes(TINY.read_bytes())
    (tmp_path / "out").symlink_to(corpus / "dataset")
    folder = tmp_path / "ComfyUI" / "models" / "loras" / "fantasy"
    for number, command in enumerate(commands):
        words = shlex.split(command)
        assert words[0] == "datakit"
        comfy.loras = [f"fantasy/{path.name}" for path in sorted(folder.glob("*.safetensors"))]
        server = ["--server", comfy.address] if number > 1 else []
        done = invoke([*words[1:], *server], tmp_path)
        assert done.exit_code == 0, done.output
    assert "6 strips" not in done.output
    assert (tmp_path / "apg" / "index.html").exists()
    assert len(list((tmp_path / "closer" / "pictures").rglob("*.png"))) == 3 * 2


def commands_of(page_block: int) -> list[list[str]]:
    """The commands of a block behind the five."""
    return [shlex.split(line) for line in re.findall(r"```sh\n(.*?)```", DOC, re.DOTALL)[page_block].splitlines()]


def test_a_whole_model_is_merged_linked_and_drawn_with(comfy, tmp_path):
    folder = tmp_path / "output" / "full" / "checkpoint-8000" / "transformer"
    for number in (1, 2):
        tensors = {f"transformer_blocks.{number}.attn.to_q.weight": np.full((4, 4), number, np.float32)}
        save(folder / f"diffusion_pytorch_model-0000{number}-of-00002.safetensors", tensors)
    models = tmp_path / "ComfyUI" / "models" / "diffusion_models"
    (tmp_path / "workflow.json").write_bytes(TINY.read_bytes())
    make_folder, *commands = commands_of(1)
    subprocess.run(make_folder, cwd=tmp_path, check=True)
    for _, *words in commands:
        comfy.models = ["tiny_sd3.safetensors", *(str(path.relative_to(models)) for path in models.rglob("*.safetensors"))]
        server = ["--server", comfy.address] if words[0] == "checkpoints" else []
        done = invoke([*words, *server], tmp_path)
        assert done.exit_code == 0, done.output
    assert comfy.models[1:] == ["fantasy/fantasy-008000.safetensors"]
    assert "1 strip of 2 pictures: 2 made" in done.output


def test_the_layers_chosen_are_taken_by_the_config(corpus, tmp_path, monkeypatch):
    sparse(tmp_path / "transformer" / "model.safetensors", sd35_large())
    targets, config = commands_of(2)
    done = invoke(targets[1:], tmp_path)
    assert done.exit_code == 0, done.output
    done = invoke([*config[1:], str(corpus / "dataset"), "--epochs", "1", "--batch-size", "1"], tmp_path)
    assert done.exit_code == 0, done.output


def test_every_option_and_trainer_named_exists():
    known = {"--network_args", "--lora_layers", "--lora_blocks"}  # of trainers
    for name in ("weights", "checkpoints", "config"):
        for command in main.get_command(None, name).commands.values():
            known |= {option for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z_-]+", DOC)) <= known
    assert set(re.findall(r"`(simpletuner\S*|kohya\S*|aitoolkit|onetrainer|diffusers)`", DOC)) == set(RULES)
    for group, command in set(re.findall(r"datakit (weights|checkpoints) (\w+)", DOC + README)):
        assert command in main.get_command(None, group).commands


def test_the_readme_leads_to_the_page():
    assert "docs/after-training.md" in README
