"""SimpleTuner as one of the trainers: answers what all of them are asked."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from datakit.audit.concept import Concept
from datakit.errors import UsageError
from datakit.run.stage import Execution
from datakit.trainers.beside import Taken, taken
from datakit.trainers.leftovers import Leftover
from datakit.trainers.protocol import BackendOptions, DatasetFile, Trainer
from datakit.trainers.simpletuner.backend import CAPTION_SHUFFLE_SINCE, FAMILIES, changed_sizes, emit, to_json
from datakit.trainers.simpletuner.captions import told
from datakit.trainers.simpletuner.companions import NAME, SEVERAL, TAKES, linked, shown, view_of
from datakit.trainers.simpletuner.entry import MULTILINE, CaptionShuffle, ImageEntry, looks_like_entries
from datakit.trainers.simpletuner.leftovers import old_caches, old_scans
from datakit.trainers.simpletuner.prove import prove
from datakit.trainers.simpletuner.published import needs_of, provided, read_places
from datakit.trainers.simpletuner.reading import Reading
from datakit.trainers.simpletuner.replay import RELEASES
from datakit.trainers.simpletuner.settings import parse_settings
from datakit.trainers.simpletuner.steps import steps
from datakit.trainers.training import Batching, Epoch
from datakit.trainers.verdict import Verdict
from datakit.trainers.view import old_views, with_companions

_UNPUBLISHED = "companions are not published, and are left out: give the folders themselves, without --at"
# What `datakit config` is told where its preset is of another family than the first.
_PRESETS = {"sdxl": " --preset sdxl-lora", "flux": " --preset flux-lora"}


class SimpleTuner(Reading):
    """What SimpleTuner answers; see `datakit.trainers.protocol.Trainer`."""

    title = "SimpleTuner"
    file_name = "multidatabackend.json"
    families: Mapping[str, Mapping[str, int]] = FAMILIES
    releases = tuple(RELEASES)
    published = True
    too_small = "SimpleTuner stops, or drops them where a minimum size is set"

    def trained(self, concept: Concept, family: str) -> Concept:
        """Return a dataset as it is."""
        return concept

    def left_behind(self, concept: Concept, ids: Collection[str]) -> list[Leftover]:
        """Return what it left in the folder of a dataset for entries of other ids than these."""
        return old_scans(concept, ids)

    def old_caches(self, concepts: Sequence[Concept], cache_root: Path) -> list[Leftover]:
        """Return its caches and views of some datasets as they were or were called before."""
        views = with_companions(view_of(concept, cache_root) for concept in concepts)
        return [*old_caches(concepts, cache_root), *old_views(NAME, views, concepts, cache_root)]

    def check_options(self, options: BackendOptions) -> None:
        """Refuse a batch size, which its config says, and settings that its entries do not take."""
        if options.batch_size is not None:
            raise UsageError("SimpleTuner reads the batch size from its config: give --batch-size to `datakit config`")
        parse_settings(options.settings)

    def emit(self, concepts: Sequence[Concept], cache_root: Path, options: BackendOptions) -> DatasetFile:
        """Make ``multidatabackend.json``: one image entry a concept and one entry for the text embeddings."""
        self.check_options(options)
        count = options.caption_shuffle
        shuffle = None if count is None else CaptionShuffle(count=count, position_start=options.keep)
        places = read_places(options.at, options.endpoint, len(concepts))
        given = (
            Taken(notes=(_UNPUBLISHED,) * any(each.companions for each in concepts))
            if places
            else taken(concepts, options, TAKES)
        )
        views = [view_of(concept, cache_root) for concept in concepts] if any(each.companions for each in concepts) else []
        views = [] if places else views
        concepts = shown(concepts, views) if views else concepts
        entries = emit(concepts, cache_root, options.model_family, options.settings, shuffle, places)
        cache = Path(os.path.abspath(cache_root)) / "vae" / options.model_family
        entries, beside = linked(entries, views, given, cache)
        since = f"caption_shuffle needs SimpleTuner {CAPTION_SHUFFLE_SINCE} or later; earlier ones ignore it without a word"
        unsplit = any(isinstance(entry, ImageEntry) and entry.disable_multiline_split is True for entry in entries)
        return DatasetFile(
            content=to_json(entries),
            entries=tuple(entry.id for entry, _ in zip(entries, concepts, strict=False)),
            changed=tuple(changed_sizes(entries, concepts)),
            needs=(
                *((MULTILINE,) if unsplit else ()),
                *(() if shuffle is None else (since,)),
                *((SEVERAL,) if len(given.names) > 1 else ()),
                *needs_of(places),
            ),
            notes=(*given.notes, *(() if shuffle is None else told(concepts, shuffle))),
            views=(*views, *beside),
            next_step=f"datakit config{_PRESETS.get(options.model_family, '')} --backend-config FILE",
            provided=provided(dict(zip(map(str, places), concepts, strict=False))),
        )

    def recognises(self, content: bytes) -> bool:
        """Tell whether a file of this content looks like a ``multidatabackend.json``, faulty or not."""
        return looks_like_entries(content)

    def prove(self, file: Path, releases: Sequence[str], execution: Execution, datasets: Sequence[Path]) -> Verdict:
        """Check and replay every picture of a ``multidatabackend.json``, whoever wrote it."""
        return prove(file, releases, execution, datasets)

    def steps(self, concepts: Sequence[Concept], batching: Batching) -> Epoch:
        """Say what each bucket gives in one epoch, and how many optimizer steps that makes."""
        return steps(concepts, batching)


TRAINER: Trainer = SimpleTuner()
