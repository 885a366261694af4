"""diffusers' example scripts as one of the trainers: answers what all of them are asked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from datakit.audit.concept import Concept, untitled
from datakit.dataset.metadata import CARD, CARD_CONTENT, METADATA, metadata_rows
from datakit.errors import UsageError
from datakit.run.stage import Execution
from datakit.sizes import in_order
from datakit.trainers.beside import Takes, taken
from datakit.trainers.diffusers.file import recognises, rule_for, square_of, stops_at, write
from datakit.trainers.diffusers.prove import prove
from datakit.trainers.diffusers.reading import Reading
from datakit.trainers.diffusers.replay import Square, replay
from datakit.trainers.diffusers.scripts import FAMILIES
from datakit.trainers.diffusers.steps import steps
from datakit.trainers.leftovers import Leftover
from datakit.trainers.protocol import BackendOptions, DatasetFile, Trainer, refuse_settings
from datakit.trainers.training import Batching, Epoch
from datakit.trainers.verdict import Verdict
from datakit.trainers.view import Layout, Link, ThroughView, View, changed_sizes, old_views, plan_view, written_out

NAME = "diffusers"
_EACH = f"each of several captions of a picture is a row of its own, trained in every epoch ({METADATA})"
_NEEDS = "datasets 3.4 or later: earlier ones keep only the last of several captions of a picture"


class Diffusers(ThroughView):
    """What diffusers' scripts answer; see `datakit.trainers.protocol.Trainer`."""

    title = "diffusers"
    file_name = "diffusers.sh"
    reading = Reading()
    families: Mapping[str, Mapping[str, int]] = {name: family.encoders for name, family in FAMILIES.items()}
    releases: tuple[str, ...] = ("0.40",)
    too_small = "diffusers' scripts with buckets never train it"

    def trained(self, concept: Concept, family: str) -> Concept:
        """Return a dataset with each caption counted as a file: each is a row."""
        spread = written_out(concept)
        return spread if spread is concept else replace(spread, notes=(_EACH,))

    def old_caches(self, concepts: Sequence[Concept], cache_root: Path) -> list[Leftover]:
        """Return the views of some datasets as they were or were called before."""
        return old_views(NAME, [_view(concepts, cache_root).folder], concepts, cache_root)

    def check_options(self, options: BackendOptions) -> None:
        """Refuse what only SimpleTuner's file can say."""
        refuse_settings(options, self.title)

    def emit(self, concepts: Sequence[Concept], cache_root: Path, options: BackendOptions) -> DatasetFile:
        """Make the shell script: one folder for all datasets, a row for each time that a caption is shown."""
        self.check_options(options)
        family = FAMILIES[options.model_family]
        view = _view(concepts, cache_root)
        # A caption that was left out on purpose is empty, and DreamBooth scripts would put the instance prompt in its place.
        prompt = "" if any(untitled(record) for concept in concepts for record in concept.records) else "photo"
        sizes = in_order(view.buckets)
        rule = rule_for(family.of, sizes)
        changed = changed_sizes(
            view,
            partial(replay, rule=rule),
            f"{family.of.name} has no buckets: crop with --bucket {square_of(sizes)}, or choose a --model-family whose script has them"
            if isinstance(rule, Square)
            else "of two sizes of one shape it takes the last: crop with sizes of one area",
        )
        stops = stops_at(family.of, rule)
        given = taken(concepts, options, Takes("diffusers"))
        return DatasetFile(
            content=write(family, os.fspath(view.folder), rule, options.batch_size or 1, prompt),
            entries=tuple(concept.id for concept in concepts),
            changed=(*changed, *([stops] if stops else [])),
            needs=(_NEEDS,) if any(record.captions > 1 for concept in concepts for record in concept.records) else (),
            notes=given.notes,
            views=(view,),
            command=f"sh FILE  # in examples/{family.script.partition('/')[0]} of diffusers 0.40 or later",
        )

    def recognises(self, content: bytes) -> bool:
        """Tell whether a file of this content looks like a shell script that starts one of its scripts."""
        return recognises(content)

    def prove(self, file: Path, releases: Sequence[str], execution: Execution, datasets: Sequence[Path] = ()) -> Verdict:
        """Check and replay every picture of every training that a shell script starts, whoever wrote it."""
        return prove(file, execution)

    def steps(self, concepts: Sequence[Concept], batching: Batching) -> Epoch:
        """Say what each bucket gives in one epoch, and how many optimizer steps that makes."""
        return steps(concepts, batching)


def _view(concepts: Sequence[Concept], cache_root: Path) -> View:
    """Lay out all datasets in one folder, as a script takes but one: weights become rows."""
    passes = {concept.folder: written_out(concept).passes for concept in concepts}
    if len(passes) < len(concepts):
        raise UsageError("a dataset is given twice: give each once, and more weight by its --repeats, as all become one folder")

    def listing(links: Sequence[tuple[Link, tuple[str, ...]]]) -> Mapping[str, bytes]:
        rows = (metadata_rows(link.name, "\n".join(lines)) * passes[link.dataset] for link, lines in links)
        return {METADATA: b"".join(rows), CARD: CARD_CONTENT}

    weights = " ".join(map(str, passes.values()))
    return plan_view(concepts, cache_root, Layout(NAME, listing=listing, also=weights))


TRAINER: Trainer = Diffusers()
