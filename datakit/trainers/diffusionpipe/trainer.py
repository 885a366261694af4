"""diffusion-pipe as one of the trainers: answers what all of them are asked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from datakit.audit.concept import Concept
from datakit.errors import UsageError
from datakit.run.stage import Execution
from datakit.trainers.beside import Takes, taken
from datakit.trainers.diffusionpipe.file import ordered, recognises, write
from datakit.trainers.diffusionpipe.prove import prove
from datakit.trainers.diffusionpipe.reading import CAPTIONS, Reading, listing
from datakit.trainers.diffusionpipe.replay import COARSE, COARSE_STEP, STEP, SizeBuckets, replay
from datakit.trainers.diffusionpipe.steps import steps
from datakit.trainers.leftovers import Leftover
from datakit.trainers.protocol import BackendOptions, DatasetFile, Trainer, refuse_settings
from datakit.trainers.training import Batching, Epoch
from datakit.trainers.verdict import Verdict
from datakit.trainers.view import (
    Layout,
    Link,
    ThroughView,
    View,
    changed_sizes,
    companion_view,
    old_views,
    plan_view,
    with_companions,
    written_out,
)

NAME = "diffusion-pipe"
# One of either, and it stops where there is no control picture (utils/dataset.py, DirectoryDataset).
_TAKES = Takes("diffusion-pipe", masks=1, controls=1)
_EACH = f"each of several captions of a picture is a sample of its own in every epoch ({CAPTIONS})"


def _listed(links: Sequence[tuple[Link, tuple[str, ...]]]) -> Mapping[str, bytes]:
    return {CAPTIONS: listing({link.name: lines for link, lines in links})}


class DiffusionPipe(ThroughView):
    """What diffusion-pipe answers; see `datakit.trainers.protocol.Trainer`."""

    title = "diffusion-pipe"
    file_name = "diffusion-pipe.toml"
    reading = Reading()
    # By ``type`` of its config. Where nothing is said it sets no limit, or takes a text in pieces.
    families: Mapping[str, Mapping[str, int]] = {
        "flux": {"CLIP": 77, "T5": 512},
        "sdxl": {},
        "sd3": {"CLIP": 77, "T5": 256},
        "chroma": {"T5": 512},
        "lumina_2": {"Gemma": 256},
        "omnigen2": {"Qwen": 256},
        "qwen_image": {"Qwen": 1024},
        "hunyuan_image": {"Qwen": 1000},
        "cosmos_predict2": {"T5": 512},
        "wan": {"T5": 512},
        "hidream": {"CLIP": 77, "Llama": 128},
        **{
            name: {}
            for name in ("flux2", "z_image", "krea2", "anima", "auraflow", "ernie_image", "ideogram4", "ltx-video", "ltx2")
        },
    }
    releases: tuple[str, ...] = ("2026-08",)
    too_small = "diffusion-pipe never trains it"

    def trained(self, concept: Concept, family: str) -> Concept:
        """Return a dataset with each caption counted as a file: each is a sample of its own."""
        spread = written_out(concept)
        return spread if spread is concept else replace(spread, notes=(_EACH,))

    def old_caches(self, concepts: Sequence[Concept], cache_root: Path) -> list[Leftover]:
        """Return the views of some datasets as they were or were called before."""
        return old_views(NAME, with_companions(_view(concept, cache_root) for concept in concepts), concepts, cache_root)

    def check_options(self, options: BackendOptions) -> None:
        """Refuse what only SimpleTuner's file can say."""
        refuse_settings(options, self.title)

    def emit(self, concepts: Sequence[Concept], cache_root: Path, options: BackendOptions) -> DatasetFile:
        """Make the dataset file: a directory a concept, and buckets that all share."""
        self.check_options(options)
        if options.batch_size is not None:
            raise UsageError("diffusion-pipe reads the batch size from its config: set micro_batch_size_per_gpu there")
        views = [_view(concept, cache_root) for concept in concepts]
        passes = [written_out(concept).passes for concept in concepts]
        rule = ordered(size for view in views for size in view.buckets)
        given = taken(concepts, options, _TAKES)
        keys = {"mask_path": given.masks, "control_path": given.controls}
        beside = [{key: companion_view(view, names) for key, names in keys.items() if names} for view in views]
        # Where all of a dataset lacks it there is nothing to name.
        beside = [{key: each for key, each in of.items() if each.links} for of in beside]
        folders = [
            (os.fspath(view.folder), times, {key: os.fspath(each.folder) for key, each in of.items()})
            for view, times, of in zip(views, passes, beside, strict=True)
        ]
        step = COARSE_STEP if options.model_family in COARSE else STEP
        return DatasetFile(
            content=write(folders, rule),
            entries=tuple(view.folder.name for view in views),
            changed=tuple(
                said
                for view in views
                for said in changed_sizes(view, lambda size: replay(size, rule, step)[0], _because(rule, step))
            ),
            notes=given.notes,
            views=(*views, *(each for of in beside for each in of.values())),
            command="deepspeed --num_gpus=1 train.py --deepspeed --config CONFIG.toml  # CONFIG.toml names as its dataset: FILE",
        )

    def recognises(self, content: bytes) -> bool:
        """Tell whether a file of this content looks like a dataset file of diffusion-pipe, faulty or not."""
        return recognises(content)

    def prove(self, file: Path, releases: Sequence[str], execution: Execution, datasets: Sequence[Path] = ()) -> Verdict:
        """Check and replay every picture of a dataset file, whoever wrote it."""
        return prove(file, execution)

    def steps(self, concepts: Sequence[Concept], batching: Batching) -> Epoch:
        """Say what each bucket gives in one epoch, and how many optimizer steps that makes."""
        return steps(concepts, batching)


def _because(rule: SizeBuckets, step: int) -> str:
    """Say why sizes are changed where they are."""
    if not rule.in_order:
        return (
            "of two sizes of one shape (its aspect rounded to three digits) it finds the wrong one: crop with sizes of one area"
        )
    return f"it rounds sides to multiples of {step}"


def _view(concept: Concept, cache_root: Path) -> View:
    """Lay out a dataset: a file each picture, and all captions in one file where any picture has several."""
    several = any(record.captions > 1 for record in concept.records)
    return plan_view([concept], cache_root, Layout(NAME, listing=_listed if several else None))


TRAINER: Trainer = DiffusionPipe()
