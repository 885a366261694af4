"""SimpleTuner as one of the trainers: answers what all of them are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from datakit.audit.concept import Concept
from datakit.run.stage import Execution
from datakit.trainers.protocol import BackendOptions, DatasetFile, Trainer
from datakit.trainers.simpletuner import reading
from datakit.trainers.simpletuner.backend import CAPTION_SHUFFLE_SINCE, FAMILIES, changed_sizes, emit, to_json
from datakit.trainers.simpletuner.entry import CaptionShuffle, looks_like_entries
from datakit.trainers.simpletuner.prove import prove
from datakit.trainers.simpletuner.replay import RELEASES
from datakit.trainers.simpletuner.steps import steps
from datakit.trainers.training import Batching, Epoch
from datakit.trainers.verdict import Verdict


class SimpleTuner:
    """What SimpleTuner answers; see `datakit.trainers.protocol.Trainer`."""

    title = "SimpleTuner"
    file_name = "multidatabackend.json"
    families: Mapping[str, Mapping[str, int]] = FAMILIES
    releases = tuple(RELEASES)
    too_small = "SimpleTuner stops, or drops them where a minimum size is set"

    def reads(self, name: str) -> bool:
        """Tell whether it takes a file of this name, be it for a picture or for a video."""
        return reading.reads(name)

    def reads_as_video(self, name: str) -> bool:
        """Tell whether it opens a file of this name as a video."""
        return reading.reads_as_video(name)

    def cache_name(self, folder: str, name: str) -> str:
        """Return what it names its cache of a picture by."""
        return reading.cache_name(folder, name)

    def left_behind(self, concept: Concept) -> list[Path]:
        """Return what it left in the folder of a dataset for any other content than that of now."""
        return reading.stale_files(concept.folder, concept.id)

    def emit(self, concepts: Sequence[Concept], cache_root: Path, options: BackendOptions) -> DatasetFile:
        """Make ``multidatabackend.json``: one image entry a concept and one entry for the text embeddings."""
        count = options.caption_shuffle
        shuffle = None if count is None else CaptionShuffle(count=count, position_start=options.keep)
        entries = emit(concepts, cache_root, options.family, options.settings, shuffle)
        since = f"caption_shuffle needs SimpleTuner {CAPTION_SHUFFLE_SINCE} or later; earlier ones ignore it without a word"
        return DatasetFile(
            content=to_json(entries),
            entries=tuple(entry.id for entry, _ in zip(entries, concepts, strict=False)),
            changed=tuple(changed_sizes(entries, concepts)),
            needs=() if shuffle is None else (since,),
        )

    def recognises(self, content: bytes) -> bool:
        """Tell whether a file of this content looks like a ``multidatabackend.json``, faulty or not."""
        return looks_like_entries(content)

    def prove(self, file: Path, releases: Sequence[str], execution: Execution) -> Verdict:
        """Check and replay every picture of a ``multidatabackend.json``, whoever wrote it."""
        return prove(file, releases, execution)

    def steps(self, concepts: Sequence[Concept], batching: Batching) -> Epoch:
        """Say what each bucket gives in one epoch, and how many optimizer steps that makes."""
        return steps(concepts, batching)


TRAINER: Trainer = SimpleTuner()
