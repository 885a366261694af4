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
from datakit.trainers.simpletuner.backend import emit, to_json
from datakit.trainers.simpletuner.entry import EntryOnFile
from datakit.trainers.simpletuner.replay import bucket_name, replay_current
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
]


def ask_simpletuner(sizes=(), pictures=()):
    source, python = os.environ.get("DATAKIT_SIMPLETUNER_SRC"), os.environ.get("DATAKIT_SIMPLETUNER_PYTHON")
    if not source or not python:
        pytest.skip("set DATAKIT_SIMPLETUNER_SRC and DATAKIT_SIMPLETUNER_PYTHON")
    job = {"source": source, "absent": ABSENT, "sizes": list(sizes), "pictures": list(pictures)}
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
