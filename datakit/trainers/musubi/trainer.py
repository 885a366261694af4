"""musubi-tuner as one of the trainers: answers what all of them are asked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from datakit.audit.concept import Concept
from datakit.errors import UsageError
from datakit.run.stage import Execution
from datakit.trainers.beside import Takes, taken
from datakit.trainers.leftovers import Leftover
from datakit.trainers.musubi.families import FAMILIES
from datakit.trainers.musubi.file import recognises, rule_of, write
from datakit.trainers.musubi.prove import prove
from datakit.trainers.musubi.reading import LISTING
from datakit.trainers.musubi.replay import replay
from datakit.trainers.musubi.steps import steps
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

NAME = "musubi"
# The whole of a caption file is one prompt, so that each caption needs a picture of its own.
_LAYOUT = Layout(NAME, expand=True)
# Folder of its caches in a view, which it does not enter when it lists pictures.
_CACHES = "cache"


class Musubi(ThroughView):
    """What musubi-tuner answers; see `datakit.trainers.protocol.Trainer`."""

    title = "musubi-tuner"
    file_name = "musubi.toml"
    reading = LISTING
    families: Mapping[str, Mapping[str, int]] = {name: family.encoders for name, family in FAMILIES.items()}
    releases: tuple[str, ...] = ("0.3.4",)
    too_small = "musubi-tuner trains it as a short batch"

    def trained(self, concept: Concept, family: str) -> Concept:
        """Return a dataset with each caption counted as a file."""
        return written_out(concept)

    def old_caches(self, concepts: Sequence[Concept], cache_root: Path) -> list[Leftover]:
        """Return the views of some datasets as they were or were called before."""
        views = [plan_view([concept], cache_root, _LAYOUT) for concept in concepts]
        return old_views(NAME, with_companions(views), concepts, cache_root)

    def check_options(self, options: BackendOptions) -> None:
        """Refuse what only SimpleTuner's file can say."""
        refuse_settings(options, self.title)

    def emit(self, concepts: Sequence[Concept], cache_root: Path, options: BackendOptions) -> DatasetFile:
        """Make the file of ``--dataset_config``: a dataset with caches of its own for each concept."""
        self.check_options(options)
        family = FAMILIES[options.model_family]
        views = tuple(plan_view([concept], cache_root, _LAYOUT) for concept in concepts)
        rule = rule_of({size for view in views for size in view.buckets}, family.step)
        because = f"{options.model_family} takes sides that are multiples of {family.step}"
        given = taken(concepts, options, Takes(self.title, controls=family.controls))
        if family.edits and not given.controls:
            raise UsageError(
                f"{options.model_family} needs a picture for each that it was made from: crop with --companion control=..."
            )
        beside = tuple(companion_view(view, given.controls) for view in views) if given.controls else ()
        places: Sequence[str | None] = [os.fspath(view.folder) for view in beside] or [None] * len(views)
        folders = [
            (os.fspath(view.folder), os.fspath(view.folder / _CACHES), view.passes, place)
            for view, place in zip(views, places, strict=True)
        ]
        latents, texts, training = (f"{script} --dataset_config FILE" for script in family.scripts)
        return DatasetFile(
            content=write(folders, options.batch_size or 1, rule),
            entries=tuple(view.folder.name for view in views),
            changed=tuple(said for view in views for said in changed_sizes(view, partial(replay, rule=rule), because)),
            notes=(
                *given.notes,
                "after every change run both caching scripts again, without --skip_existing: training reads their files alone",
            ),
            views=(*views, *beside),
            command=f"python {latents} && python {texts} && accelerate launch {training}",
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


TRAINER: Trainer = Musubi()
