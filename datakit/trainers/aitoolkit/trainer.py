"""ai-toolkit as one of the trainers: answers what all of them are asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from datakit.audit.concept import Concept, digest
from datakit.caption.captions import read_caption
from datakit.dataset.manifest import Record
from datakit.errors import CaptionError, UsageError
from datakit.run.stage import Execution
from datakit.trainers.aitoolkit.file import NO_MASK, REPLACED, as_read, looks_like_job, make_job, to_yaml
from datakit.trainers.aitoolkit.models import FAMILIES, Family
from datakit.trainers.aitoolkit.prove import prove
from datakit.trainers.aitoolkit.reading import Reading
from datakit.trainers.aitoolkit.replay import replay
from datakit.trainers.aitoolkit.steps import steps
from datakit.trainers.beside import Takes, taken
from datakit.trainers.leftovers import Leftover
from datakit.trainers.protocol import BackendOptions, DatasetFile, Trainer, refuse_settings
from datakit.trainers.training import Batching, Epoch
from datakit.trainers.verdict import Verdict
from datakit.trainers.view import (
    Layout,
    ThroughView,
    View,
    changed_sizes,
    companion_view,
    old_views,
    plan_view,
    with_companions,
    written_out,
)

_LAYOUT = Layout("ai-toolkit", expand=True)
# One mask a dataset, and as many control pictures as its three numbered keys name; without either it goes on.
_TAKES = Takes("ai-toolkit", masks=1, controls=3, no_mask=NO_MASK, no_control="conditions it on nothing", all_or_none=True)
# As of which commit sizes are kept (c9264bd).
SINCE = "2026-05-28"


class AiToolkit(ThroughView):
    """What ai-toolkit answers; see `datakit.trainers.protocol.Trainer`.

    It keeps latents beside the pictures and trusts them by name, and takes a caption file of several lines for one caption: each
    dataset gets a view, in which every caption has a picture file of its own.
    """

    title = "ai-toolkit"
    file_name = "ai-toolkit.yaml"
    reading = Reading()
    families: Mapping[str, Mapping[str, int]] = {name: family.tokens for name, family in FAMILIES.items()}
    releases: tuple[str, ...] = ("current",)
    too_small = "ai-toolkit fills it up with pictures of its own"

    def trained(self, concept: Concept, family: str) -> Concept:
        """Return a dataset with each caption counted as a file."""
        return written_out(concept)

    def old_caches(self, concepts: Sequence[Concept], cache_root: Path) -> list[Leftover]:
        """Return its views of some datasets as they were or were called before, with the latents in them."""
        return old_views("ai-toolkit", with_companions(_views(concepts, cache_root)), concepts, cache_root)

    def check_options(self, options: BackendOptions) -> None:
        """Refuse what only SimpleTuner's file can say."""
        refuse_settings(options, self.title)

    def emit(self, concepts: Sequence[Concept], cache_root: Path, options: BackendOptions) -> DatasetFile:
        """Make a small complete job with one dataset for each concept."""
        self.check_options(options)
        family, views = FAMILIES[options.model_family], _views(concepts, cache_root)
        given = taken(concepts, options, replace(_TAKES, needs_masks=(options.batch_size or 1) > 1))
        beside = [
            {
                "mask_path": [companion_view(view, [name]) for name in given.masks],
                "control_path": [companion_view(view, [name]) for name in given.controls],
            }
            for view in views
        ]
        # Where all of a dataset lacks it there is nothing to name.
        beside = [{key: [each for each in several if each.links] for key, several in of.items()} for of in beside]
        name = views[0].folder.name if len(views) == 1 else _name(concepts, views)
        job = make_job(name, list(zip(views, beside, strict=True)), family, options.batch_size or 1)
        because = f"{options.model_family} takes sides that are multiples of {family.divisibility}"
        (process,) = as_read(job).config.process
        changed = [
            said
            for dataset, view in zip(process.datasets or [], views, strict=True)
            for resolution in dataset.resolutions
            for said in changed_sizes(view, partial(replay, rule=dataset.resizing(resolution, family.divisibility)), because)
        ]
        return DatasetFile(
            content=to_yaml(job),
            entries=tuple(view.folder.name for view in views),
            changed=tuple(changed),
            needs=(f"the sizes need ai-toolkit as of {SINCE} or later: earlier ones resize all but 1024x1024",),
            notes=(*given.notes, *(said for concept in concepts for said in _told(concept, family))),
            views=(*views, *(each for of in beside for several in of.values() for each in several)),
            command="python run.py FILE",
        )

    def recognises(self, content: bytes) -> bool:
        """Tell whether a file of this content looks like a job, faulty or not."""
        return looks_like_job(content)

    def prove(self, file: Path, releases: Sequence[str], execution: Execution, datasets: Sequence[Path] = ()) -> Verdict:
        """Check and replay every picture of a job, whoever wrote it."""
        return prove(file, execution)

    def steps(self, concepts: Sequence[Concept], batching: Batching) -> Epoch:
        """Say what each bucket gives in one epoch, and how many optimizer steps that makes."""
        return steps(concepts, batching)


def _views(concepts: Sequence[Concept], cache_root: Path) -> list[View]:
    return [plan_view([concept], cache_root, _LAYOUT) for concept in concepts]


def _name(concepts: Sequence[Concept], views: Sequence[View]) -> str:
    """Return a name for a job of several datasets: it goes on where one of the same name stopped, so it changes with the content."""
    return f"{'-'.join(concept.name for concept in concepts)}-{digest([(view.folder.name,) for view in views])}"


def _told(concept: Concept, family: Family) -> Iterator[str]:
    """Say what ai-toolkit does to captions where the model sees it.

    Raises
    ------
    UsageError
        A caption holds what ai-toolkit takes out.
    """
    lines = [(record, line) for record in concept.records for line in _lines(concept, record)]
    for record, line in lines:
        if any(mark in line for mark in REPLACED):
            raise UsageError(
                f"{concept.folder / str(record.caption)}: ai-toolkit takes {' and '.join(REPLACED)} out of captions: write the word itself"
            )
    doubled = sum(", " in line for _, line in lines)
    if family.minds_blanks and doubled:
        yield (
            f"{concept.name}: {doubled} captions are trained with two blanks behind each comma, which {', '.join(family.tokens)} takes "
            "for other tokens: ai-toolkit splits at commas and joins with a comma and a blank"
        )


def _lines(concept: Concept, record: Record) -> tuple[str, ...]:
    try:
        return read_caption(concept.folder / record.caption).lines if record.caption else ()
    except CaptionError:
        return ()  # the audit names it


TRAINER: Trainer = AiToolkit()
