"""`datakit checkpoints list`: every trainer's layout, and what ComfyUI reads of every dialect."""

from __future__ import annotations

import json

import numpy as np
import pytest

from datakit.errors import UsageError
from datakit.trained.checkpoints.comfy_keys import layer_of, read_keys, split
from datakit.trained.checkpoints.describe import describe
from datakit.trained.checkpoints.layouts import Place, chosen, find_checkpoints
from datakit.trained.families import family
from tests.commands import finish, ordinary_user, permissions_count, start
from tests.trained.loras import DIALECTS, RANK, READ, WIDTH, lora, lycoris, noted, run_of
from tests.trained.made import save, sparse

TINY = {"a": np.ones(2, np.float32)}


def labels(run, steps=None) -> list[str]:
    return [place.label for place in chosen(find_checkpoints(run)[0], steps)]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["checkpoint-500/pytorch_lora_weights.safetensors", "checkpoint-1000/pytorch_lora_weights.safetensors", "checkpoint-1000/ema/pytorch_lora_weights.safetensors", "pytorch_lora_weights.safetensors"], ["000500", "001000", "001000-ema", "last"]),
        (["checkpoint-10/pytorch_lora_weights.safetensors", "checkpoint-10/ema/ema_model.safetensors", "checkpoint-9-rolling/pytorch_lora_weights.safetensors"], ["000009-rolling", "000010", "000010-ema"]),
        (["checkpoint-5/transformer/diffusion_pytorch_model.safetensors", "checkpoint-5/transformer_ema/diffusion_pytorch_model.safetensors", "transformer/diffusion_pytorch_model.safetensors"], ["000005", "000005-ema", "last"]),
        (["mine-000010.safetensors", "mine-000002.safetensors", "mine.safetensors"], ["epoch-000002", "epoch-000010", "last"]),
        (["mine-step00000500.safetensors", "mine-step00001000.safetensors", "mine.safetensors"], ["000500", "001000", "last"]),
        (["mine_000000500.safetensors", "mine_000001500.safetensors", "mine.safetensors"], ["000500", "001500", "last"]),
        (["x2026-11-26_12-00-00-save-900-3-0.safetensors", "x2026-11-26_11-00-00-save-80-1-0.safetensors"], ["000080", "000900"]),
        (["epoch2/adapter_model.safetensors", "epoch10/adapter_model.safetensors", "step30/adapter_model.safetensors"], ["epoch-000002", "epoch-000010", "000030"]),
    ],
)  # fmt: skip
def test_every_trainers_layout_is_found_in_the_order_of_the_training(tmp_path, files, expected):
    for name in files:
        save(tmp_path / name, TINY)
    for noise in (
        "checkpoint-500/optimizer.bin",
        "checkpoint-500/random_states_0.pkl",
        "samples/x.png",
        "mine-000010-state/train_state.json",
    ):
        (tmp_path / noise).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / noise).write_bytes(b"x")
    assert labels(tmp_path) == expected


def test_what_is_odd_in_a_run_is_said(tmp_path):
    save(tmp_path / "mine-000010.safetensors", TINY)
    save(tmp_path / "mine-step00000500.safetensors", TINY)
    save(tmp_path / "other-000010.safetensors", TINY)
    (tmp_path / "checkpoint-7").mkdir()
    (tmp_path / "checkpoint-8-tmp").mkdir()
    notes = "\n".join(find_checkpoints(tmp_path)[1])
    assert "epochs and some in steps" in notes
    assert "several trainings lie here: mine, other" in notes
    assert "checkpoint-7 holds no weights" in notes
    assert "checkpoint-8-tmp is still being written" in notes
    with pytest.raises(UsageError, match="is not there"):
        find_checkpoints(tmp_path / "nowhere")
    (tmp_path / "empty" / "checkpoint-1").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds no weights"):
        find_checkpoints(tmp_path / "empty")


def test_steps_are_chosen_by_number_range_and_last(tmp_path):
    run_of(tmp_path, dict.fromkeys(range(500, 4001, 500), 1.0))
    save(tmp_path / "pytorch_lora_weights.safetensors", lora())
    assert labels(tmp_path, "1000:3000:1000,last") == ["001000", "002000", "003000", "last"]
    assert labels(tmp_path, "500,750:1600") == ["000500", "001000", "001500"]
    assert labels(tmp_path, "3000::500") == ["003000", "003500", "004000"]
    assert labels(tmp_path, "500:3000:1000") == ["000500", "001500", "002500"], "counted from its first"
    assert labels(tmp_path, "3500:4000") == ["003500", "004000"]
    for wrong in ("x", "1:2:0", "600", "-1", ""):
        with pytest.raises(UsageError, match=f"steps '{wrong}'"):
            labels(tmp_path, wrong)


@pytest.mark.parametrize("dialect", [*DIALECTS, "kohya-sd3"])
def test_a_dialect_is_wholly_read_or_not_at_all(tmp_path, dialect):
    found = describe(Place(save(tmp_path / "x.safetensors", lora(dialect))))
    assert found.reading is not None
    assert found.reading.family is family("sd3")
    assert found.reading.known == (found.reading.keys if dialect in READ else 0)
    assert found.ranks == (RANK,)
    assert found.kind == ("LyCORIS" if dialect == "lycoris" else "LoRA")


@pytest.mark.parametrize(
    ("kind", "said", "read"), [("lokr", "LoKr", 24), ("loha", "LoHa", 40), ("full", "LyCORIS full", 8), ("ia3", "IA3", 0)]
)
def test_other_kinds_of_lycoris_are_told_apart(tmp_path, kind, said, read):
    found = describe(Place(save(tmp_path / "x.safetensors", lycoris(kind))))
    assert found.reading is not None
    assert (found.kind, found.reading.known) == (said, read)


def test_half_a_pair_and_what_no_suffix_fits_are_passed_over():
    name = "transformer.transformer_blocks.0.attn.to_q"
    known = family("sd3")
    for keys in (
        [f"{name}.lora_A.weight"],
        [f"{name}.lora_A.weight", f"{name}.lora_up.weight"],
        [f"{name}.weight"],
        [f"{name}.on_input"],
        [f"{name}.hada_w1_a"],
    ):
        assert read_keys(keys, known).known == 0, keys
    for keys in (
        [f"{name}.lokr_w1", f"{name}.lokr_w2", f"{name}.alpha"],
        [f"{name}.diff"],
        [f"{name}.{end}" for end in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")],
    ):
        assert read_keys(keys, known).known == len(keys), keys


def test_sdxl_and_flux_names():
    """By ComfyUI's own maps, which the tests against the server compare in whole."""
    sdxl, flux = family("sdxl"), family("flux")
    at = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
    for name in (
        f"lora_unet_{at}.to_q".replace(".", "_"),
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
        f"lycoris_{at}.to_q".replace(".", "_"),
        f"unet.{at}.processor.to_q",
        f"unet.{at}.processor.to_out",
    ):
        assert layer_of(sdxl, name), name
    for name in (f"unet.{at}.to_q", f"unet.{at}.to_out.0", f"{at}.to_q"):
        assert layer_of(sdxl, name) is None, name
    for name in (
        "transformer.single_transformer_blocks.3.proj_mlp",
        "lora_unet_double_blocks_0_img_attn_qkv",
        "diffusion_model.single_blocks.1.linear1",
    ):
        assert layer_of(flux, name), name
    for name in (
        "diffusion_model.transformer_blocks.0.attn.to_q",
        "base_model.model.transformer_blocks.0.attn.to_q",
        "lora_unet_transformer_blocks_0_attn_to_q",
    ):
        assert layer_of(flux, name) is None, name


def test_text_encoders_are_counted_apart():
    keys = [
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight",
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
        "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight",
        "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight",
    ]
    reading = read_keys(keys, family("sdxl"))
    assert (reading.known, reading.text) == (4, 2)


def test_the_name_is_split_from_what_stands_behind_it():
    assert split("a.b.lora_A.default.weight") == ("a.b", ".lora_A.default.weight")
    assert split("a.b_lora.up.weight") == ("a.b", "_lora.up.weight")
    assert split("a.b.weight") == ("a.b.weight", "")


def test_alpha_in_the_metadata_alone_is_lost(tmp_path):
    found = describe(Place(save(tmp_path / "x.safetensors", lora(), noted(2))))
    assert found.lost_strength == 0.5
    assert not found.is_read
    assert "trained at strength 0.5, applied at 1" in found.verdict
    assert describe(Place(save(tmp_path / "x.safetensors", lora(), noted(RANK)))).is_read
    assert describe(Place(save(tmp_path / "x.safetensors", lora(alpha=2), noted(2)))).is_read
    layered = describe(
        Place(save(tmp_path / "x.safetensors", lora(), noted(RANK, alpha_pattern={"transformer_blocks.1.attn.to_q": 1})))
    )
    assert dict(layered.noted) == {"transformer.transformer_blocks.1.attn.to_q": 1.0}
    stabilised = describe(Place(save(tmp_path / "x.safetensors", lora(), noted(RANK, use_rslora=True))))
    assert stabilised.lost_strength == pytest.approx(RANK / RANK**0.5)
    # A suffix of a name is no name: Flux has single blocks besides.
    at = "transformer_blocks.1.attn.to_q"
    single = {f"transformer.single_{at}.{half}": np.ones((4, 4), np.float32) for half in ("lora_A.weight", "lora_B.weight")}
    assert describe(Place(save(tmp_path / "x.safetensors", single, noted(4, alpha_pattern={at: 1})))).lost_strength is None
    for nonsense in (
        "{",
        "[]",
        *(f'{{"transformer.lora_alpha": {value}}}' for value in ('"x"', "NaN", "Infinity", "1e300", "1" + "0" * 400)),
        '{"transformer.lora_alpha": 2, "transformer.alpha_pattern": {"to_q": NaN}}',
    ):
        assert (
            describe(Place(save(tmp_path / "x.safetensors", lora(), {"lora_adapter_metadata": nonsense}))).lost_strength is None
        )


def test_a_lora_of_another_model_does_not_fit_the_base(tmp_path, datakit):
    base = {}
    for block in range(2):
        for end in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj"):
            base[f"transformer_blocks.{block}.attn.{end}.weight"] = ("F32", (WIDTH, WIDTH))
    sparse(tmp_path / "base.safetensors", base)
    run_of(tmp_path / "good", {500: 1.0})
    save(tmp_path / "wide" / "checkpoint-500" / "pytorch_lora_weights.safetensors", lora(width=2 * WIDTH))
    deeper = {name.replace("blocks.1.", "blocks.7."): array for name, array in lora().items()}
    save(tmp_path / "deep" / "checkpoint-500" / "pytorch_lora_weights.safetensors", deeper)
    assert datakit("checkpoints", "list", "good", "--base", "base.safetensors").returncode == 0
    wide = datakit("checkpoints", "list", "wide", "--base", "base.safetensors")
    assert (wide.returncode, "0 of 16 keys; 16 do not fit the model" in wide.stdout) == (1, True)
    assert "8 of 16 keys" in datakit("checkpoints", "list", "deep", "--base", "base.safetensors").stdout


def test_fused_layers_and_convolutions_are_held_against_the_base(tmp_path, datakit):
    linear = {
        f"transformer_blocks.{block}.attn.{end}.weight": ("F32", (WIDTH, WIDTH))
        for block in range(2)
        for end in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj")
    }
    linear |= {f"transformer_blocks.{block}.ff.net.0.proj.weight": ("F32", (4 * WIDTH, WIDTH)) for block in range(2)}
    sparse(tmp_path / "sd3.safetensors", linear)
    fused = lora("kohya-sd3")
    save(tmp_path / "fused.safetensors", fused)
    assert datakit("checkpoints", "list", "fused.safetensors", "--base", "sd3.safetensors").returncode == 0
    for name in [name for name in fused if name.endswith("qkv.lora_up.weight")]:
        fused[name] = fused[name][:-1]
    save(tmp_path / "fused.safetensors", fused)
    assert "18 keys; 6 do not fit" in datakit("checkpoints", "list", "fused.safetensors", "--base", "sd3.safetensors").stdout
    name = "down_blocks.0.resnets.0.conv1"
    sparse(tmp_path / "sdxl.safetensors", {f"{name}.weight": ("F32", (32, 16, 3, 3))})
    for columns, code in ((16, 0), (17, 1)):
        halves = {
            "lora_down.weight": np.ones((4, columns, 3, 3), np.float32),
            "lora_up.weight": np.ones((32, 4, 1, 1), np.float32),
        }
        save(tmp_path / "conv.safetensors", {f"lora_unet_{name.replace('.', '_')}.{half}": each for half, each in halves.items()})
        assert datakit("checkpoints", "list", "conv.safetensors", "--base", "sdxl.safetensors").returncode == code


def test_the_strongest_layer_says_at_which_strength_it_was_trained(tmp_path):
    pattern = {"transformer_blocks.0.attn.to_q": 1, "transformer_blocks.1.attn.to_k": 3}
    found = describe(Place(save(tmp_path / "x.safetensors", lora(), noted(2, alpha_pattern=pattern))))
    assert found.lost_strength == 3 / RANK


def test_halves_without_a_rank_or_a_row_are_no_reason_to_stop(tmp_path, datakit):
    sparse(tmp_path / "base.safetensors", {"transformer_blocks.0.attn.add_q_proj.weight": ("F32", (WIDTH, WIDTH))})
    at = "transformer.transformer_blocks.0.attn.add_q_proj"
    tensors = {f"{at}.lora_A.weight": np.zeros((0, WIDTH), np.float32), f"{at}.lora_B.weight": np.float32(1).reshape(())}
    save(tmp_path / "x.safetensors", tensors, noted(2))
    done = datakit("checkpoints", "list", "x.safetensors", "--base", "base.safetensors")
    assert (done.returncode, "2 do not fit the model" in done.stdout) == (1, True)


def test_the_list_names_what_is_damaged_and_exits_with_1(tmp_path, datakit):
    run = run_of(tmp_path / "run", {500: 1.0, 1000: 2.0, 10000: 3.0})
    good = datakit("checkpoints", "list", "run")
    assert good.returncode == 0
    assert [line.split()[0] for line in good.stdout.splitlines()] == ["checkpoint", "000500", "001000", "010000"]
    assert good.stdout.count("16 of 16 keys") == 3
    path = run / "checkpoint-1000" / "pytorch_lora_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    (run / "checkpoint-10000" / "pytorch_lora_weights.safetensors").write_bytes(b"")
    bad = datakit("checkpoints", "list", "run")
    assert bad.returncode == 1
    assert "cut off or still being written: 3 bytes of" in bad.stdout
    assert "is empty" in bad.stdout
    told = json.loads(datakit("checkpoints", "list", "run", "--json").stdout)
    assert [(each["step"], each["read"], each["fault"]) for each in told["checkpoints"]] == [
        (500, True, ""),
        (1000, False, "cut"),
        (10000, False, "empty"),
    ]
    run_of(tmp_path / "st", {1: 1.0}, dialect="simpletuner-comfyui")
    verbose = datakit("checkpoints", "list", "st", "-v")
    assert (verbose.returncode, "0 of 16 keys" in verbose.stdout) == (1, True)
    assert "000001: diffusion_model.transformer_blocks.0.attn.to_q.lora_A.weight" in verbose.stdout


@pytest.mark.skipif(not permissions_count(), reason="permissions do not count here")
def test_a_folder_that_may_not_be_read_costs_one_line(tmp_path):
    run_of(tmp_path / "run", {500: 1.0, 1000: 1.0})
    (tmp_path / "run" / "checkpoint-500").chmod(0)
    try:
        code, said = finish(start(["checkpoints", "list", "run"], tmp_path, ordinary_user()))
    finally:
        (tmp_path / "run" / "checkpoint-500").chmod(0o755)
    assert (code, "Permission denied" in said.splitlines()[1], "16 of 16 keys" in said.splitlines()[2]) == (1, True, True)


def test_whole_models_are_full_and_shards_are_to_be_merged(tmp_path, datakit):
    save(tmp_path / "run" / "checkpoint-1" / "transformer" / "diffusion_pytorch_model.safetensors", TINY)
    for shard in (1, 2):
        save(
            tmp_path / "run" / "checkpoint-2" / "transformer" / f"m-0000{shard}-of-00002.safetensors",
            {f"t{shard}": np.ones(2, np.float32)},
        )
    done = datakit("checkpoints", "list", "run")
    assert done.returncode == 1
    assert "a whole model" in done.stdout.splitlines()[1]
    assert "datakit weights merge" in done.stdout.splitlines()[2]


def test_a_lora_of_an_unknown_family_is_no_lora_that_is_read(tmp_path):
    keys = {
        f"diffusion_model.blocks.0.self_attn.{half}": np.ones((4, 4), np.float32)
        for half in ("q.lora_A.weight", "q.lora_B.weight")
    }
    found = describe(Place(save(tmp_path / "wan.safetensors", keys)))
    assert not found.is_read
    assert "no family that is known here" in found.verdict
