"""What every golden file is made from: name of the file -> function that writes its content anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from datakit.audit.concept import Concept
from datakit.dataset.manifest import Record
from datakit.trainers import DEFAULT, TRAINERS, trainer
from datakit.trainers.protocol import BackendOptions
from datakit.trainers.simpletuner.accelerate import accelerate_yaml
from datakit.trainers.simpletuner.backend import emit, to_json
from datakit.trainers.simpletuner.config import ConfigOptions, config_to_json, launcher_env, trainer_config
from datakit.trainers.simpletuner.entry import CaptionShuffle
from datakit.trainers.simpletuner.presets import PRESETS
from datakit.trainers.simpletuner.published import read_places
from datakit.trainers.simpletuner.steps import steps
from datakit.trainers.training import Batching, plan_training
from tests.conftest import BUCKETS

GOLDEN = Path(__file__).parent / "golden"
CACHE = Path("/cache")


def concept(name: str, pictures: int = 16, passes: int = 1, copies: int = 1, captions: int = 1) -> Concept:
    """Return a dataset that lies nowhere."""
    records = tuple(
        Record(
            output=f"{number:02}_{copy}.png", bucket=BUCKETS[number % 8], source=f"{number:02}.jpg", source_sha256="0" * 64, output_sha256=f"{number:064x}",
            key="k", version="0", caption=f"{number:02}_{copy}.txt", caption_sha256=f"{copy:064x}",
            copy=copy if copies > 1 else None, captions=captions,
        )
        for number in range(pictures)
        for copy in range(1, copies + 1)
    )  # fmt: skip
    return Concept(Path("/data") / name, name, records, passes)


def _preset(name: str) -> bytes:
    batching = Batching(6, 1, 2)
    person = concept("person", 48, passes=5)
    training = plan_training([(48, 5)], batching, epochs=10, epoch=steps([person], batching))
    options = ConfigOptions(name, "config/multidatabackend.json", "output", "a photo of ohwx")
    return config_to_json(trainer_config(options, training, batching))


def _emitted(name: str, *concepts: Concept) -> bytes:
    return trainer(name).emit(concepts, CACHE, BackendOptions(name)).content


def _of_trainer(name: str) -> dict[str, Callable[[], bytes]]:
    """Return the four files of a trainer: one dataset, five copies of each picture, five captions, two datasets."""
    suffix = Path(trainer(name).file_name).suffix
    return {
        f"{name}-cropped{suffix}": lambda: _emitted(name, concept("out")),
        f"{name}-copies{suffix}": lambda: _emitted(name, concept("out", copies=5)),
        f"{name}-captions-only{suffix}": lambda: _emitted(name, concept("out", passes=5, captions=5)),
        f"{name}-two-concepts{suffix}": lambda: _emitted(name, concept("person", passes=3), concept("style", 8, passes=2)),
    }


CASES: dict[str, Callable[[], bytes]] = {
    "cropped.json": lambda: to_json(emit([concept("out")], CACHE)),
    "copies.json": lambda: to_json(emit([concept("out", copies=5)], CACHE, "sdxl")),
    "captions-only.json": lambda: to_json(emit([concept("out", passes=5)], CACHE, "flux")),
    "two-concepts.json": lambda: to_json(emit([concept("person", passes=10), concept("style", 8)], CACHE)),
    "caption-shuffle.json": lambda: to_json(
        emit([concept("out", passes=5)], CACHE, shuffle=CaptionShuffle(count=5, position_start=2))
    ),
    "published.json": lambda: to_json(
        emit(
            [concept("person", passes=10), concept("style", 8)],
            CACHE,
            places=read_places(["s3://person", "s3://styles/http/ink"], "https://store.example", 2),
        )
    ),
    "settings.json": lambda: to_json(emit([concept("out")], CACHE, settings=["probability=0.5", "hash_filenames=true"])),
    **{f"config-{name}.json": lambda name=name: _preset(name) for name in PRESETS},
    "config.env": lambda: launcher_env(Batching(6, 2, 1)),
    "config-accelerate.env": lambda: launcher_env(Batching(6, 2, 1), "config/accelerate.yaml"),
    "accelerate-one-gpu.yaml": lambda: accelerate_yaml(Batching(6)),
    "accelerate-two-gpus.yaml": lambda: accelerate_yaml(Batching(6, 2)),
    "config-named.env": lambda: launcher_env(Batching(6), "/w/config/fantasy/accelerate.yaml", "fantasy"),
    "accelerate-offload.yaml": lambda: accelerate_yaml(Batching(6, 1, 8), "deepspeed2-offload"),
    **{case: write for name in TRAINERS if name != DEFAULT for case, write in _of_trainer(name).items()},
    "accelerate-deepspeed2.yaml": lambda: accelerate_yaml(Batching(6, 2, 4), "deepspeed2"),
}
