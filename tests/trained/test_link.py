"""`datakit checkpoints link`: names that keep their content, copies that are mended, and nothing else touched."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from datakit.trained.checkpoints.comfy_keys import layer_of, split
from datakit.trained.checkpoints.describe import describe
from datakit.trained.checkpoints.layouts import Place
from datakit.trained.families import family
from tests.commands import start, untouched
from tests.trained.loras import DIALECTS, READ, WIDTH, lora, noted, run_of
from tests.trained.made import contents, metadata_of, save, sparse


@pytest.fixture
def loras(tmp_path):
    folder = tmp_path / "loras"
    folder.mkdir()
    return folder


def shown(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name != ".datakit")


def test_links_are_padded_lead_to_the_files_and_stay_on_a_second_run(tmp_path, loras, datakit):
    run = run_of(tmp_path / "fantasy", {500: 1.0, 1000: 2.0, 12000: 3.0})
    before = untouched(run)
    assert datakit("checkpoints", "link", "fantasy", "loras").returncode == 0
    assert shown(loras / "fantasy") == ["fantasy-000500.safetensors", "fantasy-001000.safetensors", "fantasy-012000.safetensors"]
    link = loras / "fantasy" / "fantasy-000500.safetensors"
    assert link.is_symlink()
    assert link.resolve() == (run / "checkpoint-500" / "pytorch_lora_weights.safetensors").resolve()
    again = datakit("checkpoints", "link", "fantasy", "loras")
    assert "0 linked, 3 there already" in again.stdout
    run_of(run, {20000: 1.0})
    assert "1 linked, 3 there already" in datakit("checkpoints", "link", "fantasy", "loras").stdout
    assert {name: each for name, each in untouched(run).items() if "20000" not in name and name != "."} == {
        name: each for name, each in before.items() if name != "."
    }


def test_a_name_is_never_given_to_other_content(tmp_path, loras, datakit):
    run_of(tmp_path / "run", {500: 1.0})
    datakit("checkpoints", "link", "run", "loras")
    run_of(tmp_path / "run", {500: 2.0})
    done = datakit("checkpoints", "link", "run", "loras")
    assert shown(loras / "run") == ["run-000500-2.safetensors"], "the old name would show the new content"
    assert "the name is not used again" in done.stderr
    run_of(tmp_path / "run", {500: 1.0})
    datakit("checkpoints", "link", "run", "loras")
    assert shown(loras / "run") == ["run-000500-3.safetensors"]
    # The same bytes at another time are the same content.
    path = tmp_path / "run" / "checkpoint-500" / "pytorch_lora_weights.safetensors"
    os.utime(path, ns=(1, 1))
    assert "0 linked, 1 there already" in datakit("checkpoints", "link", "run", "loras").stdout


def test_a_file_of_somebodys_own_is_neither_replaced_nor_deleted(tmp_path, loras, datakit):
    run_of(tmp_path / "run", {500: 1.0})
    (loras / "run").mkdir()
    mine = loras / "run" / "run-000500.safetensors"
    mine.write_bytes(b"mine")
    (loras / "run" / "dangling.safetensors").symlink_to(tmp_path / "nowhere")
    assert datakit("checkpoints", "link", "run", "loras", "--prune").returncode == 0
    assert mine.read_bytes() == b"mine"
    assert shown(loras / "run") == ["dangling.safetensors", "run-000500-2.safetensors", "run-000500.safetensors"]


def test_pruning_deletes_links_that_lead_nowhere_and_keeps_the_only_copies(tmp_path, loras, datakit):
    run_of(tmp_path / "run", {500: 1.0, 1000: 1.0})
    run_of(tmp_path / "noted", {500: 1.0}, noted(2))
    datakit("checkpoints", "link", "run", "loras")
    datakit("checkpoints", "link", "noted", "loras", "--name", "run")
    assert shown(loras / "run") == ["run-000500-2.safetensors", "run-000500.safetensors", "run-001000.safetensors"]
    for gone in (tmp_path / "run" / "checkpoint-500", tmp_path / "noted" / "checkpoint-500"):
        (gone / "pytorch_lora_weights.safetensors").unlink()
    told = datakit("checkpoints", "link", "run", "loras")
    assert "its checkpoint is gone" in told.stderr
    dry = datakit("checkpoints", "link", "run", "loras", "--prune", "--dry-run")
    assert "would be deleted run/run-000500.safetensors" in dry.stdout
    assert len(shown(loras / "run")) == 3
    done = datakit("checkpoints", "link", "run", "loras", "--prune")
    assert shown(loras / "run") == ["run-000500-2.safetensors", "run-001000.safetensors"]
    assert "all that is left" in done.stderr
    run_of(tmp_path / "run", {500: 9.0})
    datakit("checkpoints", "link", "run", "loras")
    assert shown(loras / "run") == ["run-000500-2.safetensors", "run-000500-3.safetensors", "run-001000.safetensors"]


@pytest.mark.parametrize("dialect", [name for name in DIALECTS if name not in READ])
def test_names_that_comfyui_does_not_know_are_mended_in_a_copy(tmp_path, loras, datakit, dialect):
    run = run_of(tmp_path / "run", {500: 1.0}, dialect=dialect)
    before = contents(run / "checkpoint-500" / "pytorch_lora_weights.safetensors")
    done = datakit("checkpoints", "link", "run", "loras")
    assert done.returncode == 0, done.stderr
    assert "mended copy: 16 names changed" in done.stdout
    copy = loras / "run" / "run-000500.safetensors"
    assert not copy.is_symlink()
    found = describe(Place(copy))
    assert found.is_read, found.verdict
    # The same layers with the same bytes, whatever they are called.
    expected = {name.replace(".", "_").split("transformer_blocks")[1]: each for name, each in before.items()}
    assert {name.replace(".", "_").split("transformer_blocks")[1]: each for name, each in contents(copy).items()} == expected
    assert (
        datakit("checkpoints", "link", "run", "loras").stdout.splitlines()[-1].endswith("0 linked, 1 there already, 0 not linked")
    )


def test_a_lost_alpha_is_written_beside_each_layer_and_the_tensors_stay_as_they_are(tmp_path, loras, datakit):
    run_of(tmp_path / "run", {500: 1.0}, noted(2))
    done = datakit("checkpoints", "link", "run", "loras")
    assert "alpha written for 8 layers" in done.stdout
    copy = loras / "run" / "run-000500.safetensors"
    found = contents(copy)
    alphas = {name: each for name, each in found.items() if name.endswith(".alpha")}
    assert len(alphas) == 8
    assert all(each == ("F32", [], np.float32(2).tobytes()) for each in alphas.values())
    assert all(layer_of(family("sd3"), split(name)[0]) for name in alphas)
    original = contents(tmp_path / "run" / "checkpoint-500" / "pytorch_lora_weights.safetensors")
    assert {name: each for name, each in found.items() if name not in alphas} == original
    assert metadata_of(copy) == noted(2)
    header = describe(Place(copy)).header
    assert header is not None
    assert all((header.data + header.tensors[name].start) % 4 == 0 for name in alphas)
    # Without a word in the file, alpha is what the user says; as rank, it needs no copy.
    run_of(tmp_path / "old", {500: 1.0}, dialect="simpletuner-2024-10")
    assert "alpha written for 8 layers" in datakit("checkpoints", "link", "old", "loras", "--alpha", "2").stdout
    assert "  link" in datakit("checkpoints", "link", "old", "loras", "--alpha", "4").stdout


def test_sdxls_attention_is_mended_to_kohyas_names(tmp_path, loras, datakit):
    at = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1"
    tensors = {
        f"{at}.{layer}.{half}": np.ones((4, 4), np.float32)
        for layer in ("to_q", "to_out.0")
        for half in ("lora_A.weight", "lora_B.weight")
    }
    save(tmp_path / "run" / "checkpoint-5" / "pytorch_lora_weights.safetensors", tensors)
    assert datakit("checkpoints", "list", "run").returncode == 1
    assert datakit("checkpoints", "link", "run", "loras").returncode == 0
    names = set(contents(loras / "run" / "run-000005.safetensors"))
    assert "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_A.weight" in names
    assert describe(Place(loras / "run" / "run-000005.safetensors")).is_read


def test_what_cannot_be_mended_or_read_is_named_and_as_is_is_the_way_round(tmp_path, loras, datakit):
    run = run_of(tmp_path / "run", {500: 1.0, 1000: 1.0})
    name = "lycoris_transformer_blocks_0_attn_to_q"
    save(
        run / "checkpoint-500" / "pytorch_lora_weights.safetensors",
        {f"{name}.weight": np.ones(4, np.float32), f"{name}.on_input": np.ones(1, np.float32)},
    )
    path = run / "checkpoint-1000" / "pytorch_lora_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    done = datakit("checkpoints", "link", "run", "loras")
    assert done.returncode == 1
    assert "000500: not linked: ComfyUI reads 0 of 2 keys (--as-is links it all the same)" in done.stderr
    assert "001000: not linked:" in done.stderr
    assert "cut off" in done.stderr
    assert shown(loras / "run") == []
    assert "run-000500.safetensors  link" in datakit("checkpoints", "link", "run", "loras", "--as-is").stdout


def test_copies_moving_averages_and_a_dry_run(tmp_path, loras, datakit):
    run = run_of(tmp_path / "run", {500: 1.0})
    save(run / "checkpoint-500" / "ema" / "pytorch_lora_weights.safetensors", lora(strength=0.5))
    dry = datakit("checkpoints", "link", "run", "loras", "--ema", "--dry-run")
    assert "2 to link" in dry.stdout
    assert not (loras / "run").exists()
    told = json.loads(datakit("checkpoints", "link", "run", "loras", "--ema", "--copy", "--json").stdout)
    assert [each["name"] for each in told["made"]] == ["run-000500.safetensors", "run-000500-ema.safetensors"]
    copy = loras / "run" / "run-000500-ema.safetensors"
    assert not copy.is_symlink()
    assert copy.read_bytes() == (run / "checkpoint-500" / "ema" / "pytorch_lora_weights.safetensors").read_bytes()


def test_whole_models_go_elsewhere_and_nothing_is_linked_into_the_run(tmp_path, loras, datakit):
    save(
        tmp_path / "full" / "checkpoint-1" / "transformer" / "diffusion_pytorch_model.safetensors", {"a": np.ones(2, np.float32)}
    )
    done = datakit("checkpoints", "link", "full", "loras")
    assert (done.returncode, "models/diffusion_models" in done.stderr) == (2, True)
    (tmp_path / "diffusion_models").mkdir()
    assert datakit("checkpoints", "link", "full", "diffusion_models").returncode == 0
    assert shown(tmp_path / "diffusion_models" / "full") == ["full-000001.safetensors"]
    (tmp_path / "full" / "in").mkdir()
    assert "lies in" in datakit("checkpoints", "link", "full", "full/in").stderr
    assert "is no folder" in datakit("checkpoints", "link", "full", "nowhere").stderr
    assert "cannot be used" in datakit("checkpoints", "link", "full", "diffusion_models", "--name", "../x").stderr
    (tmp_path / "diffusion_models" / "file").touch()
    assert "is a file" in datakit("checkpoints", "link", "full", "diffusion_models", "--name", "file").stderr


def test_what_is_no_lora_among_them_is_left_out_and_named(tmp_path, loras, datakit):
    run_of(tmp_path / "run", {500: 1.0})
    save(tmp_path / "run" / "embedding.safetensors", {"emb_params": np.ones((4, 8), np.float32)})
    done = datakit("checkpoints", "link", "run", "loras")
    assert (done.returncode, "embedding.safetensors is no LoRA" in done.stderr) == (1, True)
    assert shown(loras / "run") == ["run-000500.safetensors"]


def test_a_run_that_lies_among_the_loras_is_left_as_it_is(tmp_path, loras, datakit):
    run_of(loras / "run", {500: 1.0})
    before = untouched(loras)
    done = datakit("checkpoints", "link", "loras/run", "loras")
    assert (done.returncode, "say another --name" in done.stderr) == (2, True)
    assert untouched(loras) == before
    assert datakit("checkpoints", "link", "loras/run", "loras", "--name", "linked").returncode == 0
    assert shown(loras / "linked") == ["linked-000500.safetensors"]


def test_a_run_that_is_killed_leaves_no_name_whose_content_is_unknown(tmp_path, loras, datakit):
    """The second checkpoint takes a while to hash; what the first stands for is known by then."""
    run_of(tmp_path / "run", {500: 1.0})
    name = "transformer.transformer_blocks.0.attn.to_q"
    sparse(
        tmp_path / "run" / "checkpoint-1000" / "pytorch_lora_weights.safetensors",
        {f"{name}.lora_A.weight": ("F32", (4, 2**31)), f"{name}.lora_B.weight": ("F32", (4, 4))},
    )
    process = start(["checkpoints", "link", "run", "loras"], tmp_path)
    link = loras / "run" / "run-000500.safetensors"
    while not link.is_symlink():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    (tmp_path / "run" / "checkpoint-1000" / "pytorch_lora_weights.safetensors").unlink()
    assert "0 linked, 1 there already" in datakit("checkpoints", "link", "run", "loras").stdout
    run_of(tmp_path / "run", {500: 2.0})
    datakit("checkpoints", "link", "run", "loras")
    assert shown(loras / "run") == ["run-000500-2.safetensors"]


def test_a_run_that_was_moved_keeps_its_names(tmp_path, loras, datakit):
    run_of(tmp_path / "run", {500: 1.0})
    datakit("checkpoints", "link", "run", "loras")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    done = datakit("checkpoints", "link", "elsewhere", "loras", "--name", "run", "--prune")
    assert (done.returncode, "1 linked, 0 there already" in done.stdout) == (0, True)
    assert shown(loras / "run") == ["run-000500.safetensors"]
    assert (loras / "run" / "run-000500.safetensors").exists()


def test_what_somebody_put_in_place_of_a_link_is_not_said_to_be_deleted(tmp_path, loras, datakit):
    run_of(tmp_path / "run", {500: 1.0, 1000: 1.0})
    datakit("checkpoints", "link", "run", "loras")
    mine = loras / "run" / "run-000500.safetensors"
    mine.unlink()
    mine.write_bytes(b"mine")
    (tmp_path / "run" / "checkpoint-500" / "pytorch_lora_weights.safetensors").unlink()
    assert "deleted" not in datakit("checkpoints", "link", "run", "loras", "--prune").stdout
    assert mine.read_bytes() == b"mine"


def test_names_that_cannot_be_known_any_more_are_not_given_anew(tmp_path, loras, datakit):
    run_of(tmp_path / "run", {500: 1.0})
    datakit("checkpoints", "link", "run", "loras")
    names = loras / "run" / ".datakit" / "links.json"
    names.write_text("{")
    done = datakit("checkpoints", "link", "run", "loras")
    assert (done.returncode, "links.json is damaged" in done.stderr) == (2, True)
    assert shown(loras / "run") == ["run-000500.safetensors"]
    assert names.read_text() == "{"


def test_a_mended_copy_still_has_to_fit_the_base(tmp_path, loras, datakit):
    base = {
        f"transformer_blocks.{block}.attn.{end}.weight": ("F32", (WIDTH, WIDTH))
        for block in range(2)
        for end in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj")
    }
    sparse(tmp_path / "base.safetensors", base)
    for name, dialect, metadata in (("noted", "diffusers", noted(2)), ("named", "unet", None)):
        for width, code in ((WIDTH, 0), (2 * WIDTH, 1)):
            save(
                tmp_path / f"{name}{width}" / "checkpoint-5" / "pytorch_lora_weights.safetensors",
                lora(dialect, width=width),
                metadata,
            )
            done = datakit("checkpoints", "link", f"{name}{width}", "loras", "--base", "base.safetensors")
            assert done.returncode == code, done.stdout


@pytest.mark.parametrize("alpha", ["0", "-1", "nan", "inf", "1e300"])
def test_an_alpha_that_cannot_be_is_refused(tmp_path, loras, datakit, alpha):
    run_of(tmp_path / "run", {500: 1.0})
    done = datakit("checkpoints", "link", "run", "loras", "--alpha", alpha)
    assert (done.returncode, "cannot be" in done.stderr, shown(loras)) == (2, True, [])


def test_an_alpha_that_is_written_makes_up_for_no_key_that_is_not_read(tmp_path, loras, datakit):
    path = tmp_path / "run" / "checkpoint-5" / "pytorch_lora_weights.safetensors"
    save(path, lora() | {"mystery": np.ones(2, np.float32)}, noted(2))
    done = datakit("checkpoints", "link", "run", "loras")
    assert (done.returncode, "16 of 17 keys" in done.stderr, shown(loras / "run")) == (1, True, [])


def test_an_alpha_that_a_layer_has_is_not_written_again(tmp_path, loras, datakit):
    save(tmp_path / "run" / "checkpoint-5" / "pytorch_lora_weights.safetensors", lora(alpha=2))
    assert "run-000005.safetensors  link\n" in datakit("checkpoints", "link", "run", "loras", "--alpha", "3").stdout


def test_a_copy_stays_what_it_is_when_its_checkpoint_is_written_over(tmp_path, loras, datakit):
    run_of(tmp_path / "run", {500: 1.0}, noted(2))
    datakit("checkpoints", "link", "run", "loras")
    run_of(tmp_path / "run", {500: 2.0}, noted(2))
    assert "not used again" not in datakit("checkpoints", "link", "run", "loras").stderr
    assert shown(loras / "run") == ["run-000500-2.safetensors", "run-000500.safetensors"]
    run_of(tmp_path / "run", {500: 1.0}, noted(2))
    assert "0 linked, 1 there already" in datakit("checkpoints", "link", "run", "loras").stdout


def test_two_trainings_in_one_folder_have_names_of_their_own(tmp_path, loras, datakit):
    for name in ("mine", "other"):
        save(tmp_path / "run" / f"{name}-000010.safetensors", lora())
    datakit("checkpoints", "link", "run", "loras")
    assert shown(loras / "run") == ["mine-epoch-000010.safetensors", "other-epoch-000010.safetensors"]
