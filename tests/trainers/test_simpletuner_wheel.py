"""The emission and the replay against SimpleTuner's own code, run from its unpacked wheel.

Set DATAKIT_SIMPLETUNER_SRC to a folder that holds the unpacked wheel (3.1.6) and DATAKIT_SIMPLETUNER_PYTHON to a
Python with torch, accelerate, diffusers, transformers, trainingsample and Pillow; then ``pytest -m simpletuner``.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import msgspec
import pytest

from datakit.audit.concept import read_concept
from datakit.geometry import Size
from datakit.sizes import SIZE_SETS, size_set
from datakit.trainers.simpletuner.backend import emit, to_json
from datakit.trainers.simpletuner.config import ConfigOptions, config_to_json, trainer_config
from datakit.trainers.simpletuner.entry import EntryOnFile
from datakit.trainers.simpletuner.options import options, refusals
from datakit.trainers.simpletuner.presets import PRESETS
from datakit.trainers.simpletuner.replay import area_of, bucket_name, replay_current
from datakit.trainers.training import Batching, plan_training
from tests.conftest import BUCKETS

pytestmark = pytest.mark.simpletuner

ABSENT = [
    "torchvision",
    "torchaudio",
    "imageio",
    "boto3",
    "botocore",
    "datasets",
    "peft",
    "einops",
    "colorama",
    "torchao",
    "wandb",
    "lycoris",
    "cv2",
    "pillow_jxl",
    "optimi",
    "bs4",
    "ftfy",
    "hangul_romanize",
    "librosa",
    "loguru",
    "num2words",
    "py3langid",
    "pypinyin",
    "sentencepiece",
    "spacy",
    "torchsde",
    "torchmetrics",
    "compel",
    "webshart",
    "soundfile",
    "peft_singlora",
]


def ask_simpletuner(sizes=(), pictures=(), configs=()):
    source, python = os.environ.get("DATAKIT_SIMPLETUNER_SRC"), os.environ.get("DATAKIT_SIMPLETUNER_PYTHON")
    if not source or not python:
        pytest.skip("set DATAKIT_SIMPLETUNER_SRC and DATAKIT_SIMPLETUNER_PYTHON")
    job = {"source": source, "absent": ABSENT, "sizes": list(sizes), "pictures": list(pictures), "configs": list(configs)}
    driver = Path(__file__).parent / "wheel_driver.py"
    done = subprocess.run(
        [python, "-B", str(driver)], input=json.dumps(job), capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("family", ["sd3", "sdxl", "flux"])
def test_every_picture_reaches_the_model_pixel_by_pixel(make_dataset, family):
    concepts = [
        read_concept(make_dataset("eight")),
        read_concept(make_dataset("copies", copies=2)),
        read_concept(make_dataset("lines", lines=3)),
    ]
    entries = json.loads(to_json(emit(concepts, Path("/cache"), family)))
    pictures = [
        {"path": str(concept.folder / record.output), "entry": entry}
        for concept, entry in zip(concepts, entries, strict=False)
        for record in concept.records
    ]
    same = ask_simpletuner(pictures=pictures)["same"]
    assert len(same) == 32
    assert all(same.values())


def test_the_replay_agrees_with_the_real_arithmetic():
    draw = random.Random(0)
    entries = [
        {"resolution": 1.0, "resolution_type": "area", "crop": True, "crop_aspect": "preserve", "crop_style": "center"},
        {"resolution": 1.0, "resolution_type": "area", "crop": False, "minimum_image_size": 0.0},
        {"resolution": 0.5, "resolution_type": "area", "crop": True, "crop_aspect": "square", "crop_style": "center"},
        {"resolution": 1024, "resolution_type": "pixel", "crop": True, "crop_aspect": "preserve", "crop_style": "center"},
        {"resolution": 1024, "resolution_type": "pixel", "crop": True, "crop_aspect": "square", "crop_style": "center"},
        {
            "resolution": 1.0,
            "resolution_type": "area",
            "crop": True,
            "crop_aspect": "preserve",
            "crop_style": "center",
            "maximum_image_size": 1.0,
            "target_downsample_size": 1.0,
        },
    ]
    cases = [
        {"size": size, "entry": entry}
        for entry in entries
        for size in [*BUCKETS, *(Size(draw.randint(300, 2500), draw.randint(300, 2500)) for _ in range(60))]
    ]
    fates = ask_simpletuner(sizes=cases)["fates"]
    differing = []
    for case, fate in zip(cases, fates, strict=True):
        rule = msgspec.convert({"id": "x", **case["entry"]}, EntryOnFile).resizing()
        ours = replay_current(case["size"], rule)
        theirs = (Size(*fate["resized"]), Size(*fate["cropped"]), fate["bucket"])
        if (ours.resized, ours.cropped, bucket_name(ours.cropped)) != theirs:
            differing.append((case["size"], case["entry"], ours, theirs))
    assert differing == []


@pytest.mark.parametrize("name", [name for name in SIZE_SETS if name != "sd15"])
def test_each_set_of_sizes_is_kept_at_the_area_that_is_emitted(name):
    resolution = area_of(size_set(name))
    entry = {"resolution": resolution, "resolution_type": "area", "crop": True, "crop_aspect": "preserve", "crop_style": "center"}
    fates = ask_simpletuner(sizes=[{"size": size, "entry": entry} for size in size_set(name)])["fates"]
    assert [(tuple(fate["resized"]), tuple(fate["cropped"])) for fate in fates] == [(size, size) for size in size_set(name)]


def test_simpletuners_own_parser_takes_every_preset_as_it_is_written():
    training, batching = plan_training([(476, 5)], Batching(6), epochs=10), Batching(6)
    configs = [json.loads(config_to_json(trainer_config(ConfigOptions(preset), training, batching))) for preset in PRESETS]
    for config, parsed in zip(configs, ask_simpletuner(configs=configs)["parsed"], strict=True):
        renamed = {"checkpointing_steps": "checkpoint_step_interval", "validation_steps": "validation_step_interval"}
        for key, value in config.items():
            name = key.removeprefix("--")
            read = parsed[renamed.get(name, name)]
            assert read == (value if isinstance(value, bool) else type(read)(value)), name


def test_the_table_of_options_tells_what_simpletuners_own_parser_takes():
    values = [True, False, 3, 0.5, "word", "true", 2.0, 1, "3", "0.5", "3.0", "1e-4"]
    needed = {
        "model_type": "lora",
        "model_family": "sd3",
        "data_backend_config": "x",
        "output_dir": "x",
        "optimizer": "adamw_bf16",
    }
    cases = [
        (name, value)
        for name, option in options().items()
        if "3.1.6" in option.kinds and name not in needed
        for value in (*values, *option.kinds["3.1.6"].choices)
        # What is left out tells nothing about its kind; precisions depend on the libraries that are there.
        if value != "" and option.kinds["3.1.6"].word not in ("ignored", "any") and not name.endswith("_precision")
    ]
    answers = ask_simpletuner(configs=[needed | {name: value} for name, value in cases])["parsed"]
    wrong = [
        (name, value)
        for (name, value), answer in zip(cases, answers, strict=True)
        if ("error" in answer) != any("ends the run" in clause for clause in refusals(name, value, ["3.1.6"]))
    ]
    assert wrong == []
