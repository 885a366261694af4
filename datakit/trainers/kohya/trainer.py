"""kohya's sd-scripts as one of the trainers: answers what all of them are asked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from datakit.audit.concept import Concept
from datakit.caption.captions import read_caption
from datakit.errors import CaptionError, UsageError
from datakit.run.stage import Execution
from datakit.trainers.beside import Taken, Takes, taken
from datakit.trainers.kohya.file import recognises, rule_of, write
from datakit.trainers.kohya.prove import prove
from datakit.trainers.kohya.reading import LISTING
from datakit.trainers.kohya.replay import replay
from datakit.trainers.kohya.steps import steps
from datakit.trainers.leftovers import Leftover
from datakit.trainers.protocol import BackendOptions, DatasetFile, Trainer, refuse_settings
from datakit.trainers.training import Batching, Epoch
from datakit.trainers.verdict import Verdict
from datakit.trainers.view import (
    Layout,
    ThroughView,
    changed_sizes,
    companion_view,
    old_views,
    plan_view,
    with_companions,
    written_out,
)

NAME = "kohya"
# Its script for LoRAs by family, and what has to stand behind it: text encoders that are as big are run once, beforehand.
_SCRIPTS = {
    "sdxl": "sdxl_train_network.py --cache_latents",
    "sd": "train_network.py --cache_latents",
    "sd3": "sd3_train_network.py --cache_latents --cache_text_encoder_outputs --network_train_unet_only",
    "flux": "flux_train_network.py --cache_latents --cache_text_encoder_outputs --network_train_unet_only",
    "lumina": "lumina_train_network.py --cache_latents --cache_text_encoder_outputs --network_train_unet_only",
}
# Its scripts for ControlNets; other families have none.
_CONTROL_NETS = {
    "sdxl": "sdxl_train_control_net.py --cache_latents",
    "sd": "train_control_net.py --cache_latents",
    "flux": "flux_train_control_net.py --cache_latents --cache_text_encoder_outputs",
}
# One folder of either, and it stops where a picture has none (library/train_util.py, ControlNetDataset).
_TAKES = Takes("sd-scripts", masks=1, both=False, needs_masks=True)
# The least that the steps of their buckets may be whole in (verify_bucket_reso_steps of each of these scripts).
LEAST_STEPS = {"sdxl": 32, "sd": 64, "sd3": 32, "flux": 32, "lumina": 16}
# Whose captions are read while training, so that one of several lines can be drawn.
_DRAWS = frozenset({"sdxl", "sd"})
# A lone line feed: the empty prompt. It stops at a file of no bytes (library/train_util.py, read_caption).
_LAYOUT = {draws: Layout(NAME, expand=not draws, empty=b"\n") for draws in (True, False)}


class Kohya(ThroughView):
    """What sd-scripts answers; see `datakit.trainers.protocol.Trainer`."""

    title = "sd-scripts"
    file_name = "kohya.toml"
    reading = LISTING
    # Lengths that its scripts take where nothing is said (``--t5xxl_max_token_length``, ``--gemma2_max_token_length``).
    families: Mapping[str, Mapping[str, int]] = {
        "sdxl": {"CLIP": 77},
        "sd": {"CLIP": 77},
        "sd3": {"CLIP": 77, "T5": 256},
        "flux": {"CLIP": 77, "T5": 512},
        "lumina": {"Gemma": 256},
    }
    releases: tuple[str, ...] = ("0.10",)
    too_small = "sd-scripts trains it as a short batch"

    def trained(self, concept: Concept, family: str) -> Concept:
        """Return a dataset with each caption counted as a file, but for families whose lines are drawn while training."""
        return concept if family in _DRAWS else written_out(concept)

    def old_caches(self, concepts: Sequence[Concept], cache_root: Path) -> list[Leftover]:
        """Return the views of some datasets as they were or were called before."""
        views = [plan_view([concept], cache_root, layout) for concept in concepts for layout in _LAYOUT.values()]
        return old_views(NAME, with_companions(views), concepts, cache_root)

    def check_options(self, options: BackendOptions) -> None:
        """Refuse what only SimpleTuner's file can say."""
        refuse_settings(options, self.title)

    def emit(self, concepts: Sequence[Concept], cache_root: Path, options: BackendOptions) -> DatasetFile:
        """Make the file of ``--dataset_config``: one dataset, whose subsets share their buckets."""
        self.check_options(options)
        family = options.model_family
        several = {concept.name for concept in concepts if any(record.captions > 1 for record in concept.records)}
        draws = family in _DRAWS and bool(several)
        if draws:
            for concept in concepts:
                _refuse_wildcards(concept)
        views = tuple(plan_view([concept], cache_root, _LAYOUT[family in _DRAWS]) for concept in concepts)
        given = taken(concepts, options, replace(_TAKES, controls=int(family in _CONTROL_NETS)))
        beside = tuple(companion_view(view, given.names) for view in views) if given.names else ()
        places: Sequence[str | None] = [os.fspath(view.folder) for view in beside] or [None] * len(views)
        folders = [(os.fspath(view.folder), view.passes, place) for view, place in zip(views, places, strict=True)]
        least = LEAST_STEPS[family]
        rule = rule_of({size for concept in concepts for size in concept.buckets}, least)
        because = f"its script for {family} takes sides that are multiples of {least}"
        notes = [*given.notes]
        if draws:
            notes.append(
                "one of the captions of a picture is drawn at every sampling (enable_wildcard): do not cache text encoder outputs, "
                "which would make one prompt of them all"
            )
        return DatasetFile(
            content=write(folders, options.batch_size or 1, draws, rule),
            entries=tuple(view.folder.name for view in views),
            changed=tuple(said for view in views for said in changed_sizes(view, partial(replay, rule=rule), because)),
            notes=tuple(notes),
            views=(*views, *beside),
            command=f"accelerate launch {_script(family, given)} --dataset_config FILE",
        )

    def recognises(self, content: bytes) -> bool:
        """Tell whether a file of this content looks like a ``--dataset_config``, faulty or not."""
        return recognises(content)

    def prove(self, file: Path, releases: Sequence[str], execution: Execution, datasets: Sequence[Path] = ()) -> Verdict:
        """Check and replay every picture of a ``--dataset_config``, whoever wrote it."""
        return prove(file, execution)

    def steps(self, concepts: Sequence[Concept], batching: Batching) -> Epoch:
        """Say what each bucket gives in one epoch, and how many optimizer steps that makes."""
        return steps(concepts, batching)


def _script(family: str, given: Taken) -> str:
    """Return what trains a family with such companions: a ControlNet, or a LoRA, whose loss a mask weighs."""
    return _CONTROL_NETS[family] if given.controls else _SCRIPTS[family] + (" --masked_loss" if given.masks else "")


def _refuse_wildcards(concept: Concept) -> None:
    """Make sure that no caption holds braces, which the trainer takes for a choice of words once it draws lines.

    Raises
    ------
    UsageError
        One does.
    """
    for record in concept.records:
        try:
            text = read_caption(concept.folder / record.caption).text if record.caption else ""
        except CaptionError:
            continue  # the audit names it
        if "{" in text or "}" in text:
            raise UsageError(
                f"{concept.folder / str(record.caption)}: sd-scripts takes the braces for a choice of words where it draws one of "
                "several captions: take them out, or write copies with `datakit shuffle`"
            )


TRAINER: Trainer = Kohya()
