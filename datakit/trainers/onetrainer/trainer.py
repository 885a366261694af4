"""OneTrainer as one of the trainers: answers what all of them are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from datakit.audit.concept import Concept
from datakit.errors import UsageError
from datakit.run.stage import Execution
from datakit.trainers.leftovers import Leftover
from datakit.trainers.onetrainer.captions import drawn, variations
from datakit.trainers.onetrainer.file import Entry, Training, looks_like_concepts, make_entries, resizing, to_json
from datakit.trainers.onetrainer.prove import QUANTIZATION, prove
from datakit.trainers.onetrainer.reading import LEFT_OUT, Reading
from datakit.trainers.onetrainer.replay import replay
from datakit.trainers.onetrainer.steps import steps
from datakit.trainers.protocol import BackendOptions, DatasetFile, Trainer, refuse_settings
from datakit.trainers.training import Batching, Epoch
from datakit.trainers.verdict import Verdict
from datakit.trainers.view import Layout, ThroughView, View, changed_sizes, old_views, plan_view

_LAYOUT = Layout("onetrainer", misread=LEFT_OUT)
_BECAUSE = f"OneTrainer rounds sides to multiples of {QUANTIZATION}"
_NEEDED = (
    "OneTrainer's train config must name this file as concept_file_name, and have aspect_ratio_bucketing and latent_caching on, "
    "as they are by default"
)


class OneTrainer(ThroughView):
    """What OneTrainer answers; see `datakit.trainers.protocol.Trainer`.

    A concept cannot choose among the pictures of a folder, and one number fits no more than seven of the eight sizes: each size
    gets a view and a concept of its own.
    """

    title = "OneTrainer"
    file_name = "concepts.json"
    reading = Reading()
    # Tokens: Tokenize in modules/dataLoader/*.py. T5 gets CLIP's 77 for SD3, and for Flux where text_encoder_2_sequence_length
    # says no other; Flux.2's text_encoder_sequence_length is 512.
    families: Mapping[str, Mapping[str, int]] = {
        "sd3": {"CLIP": 77, "T5": 77},
        "sdxl": {"CLIP": 77},
        "flux": {"CLIP": 77, "T5": 77},
        "flux2": {"Mistral": 512},
        "qwen-image": {"Qwen": 512},
        "z-image": {"Qwen": 512},
        "chroma": {"T5": 512},
        "hidream": {"CLIP": 128, "T5": 128, "Llama": 128},
    }
    releases: tuple[str, ...] = ("current",)
    too_small = "OneTrainer never trains it"

    def trained(self, concept: Concept, family: str) -> Concept:
        """Return a dataset with what is said of its captions as OneTrainer draws from several."""
        said = tuple(drawn([record.captions for record in concept.records], variations(concept)))
        return replace(concept, notes=said) if said else concept

    def old_caches(self, concepts: Sequence[Concept], cache_root: Path) -> list[Leftover]:
        """Return its views of some datasets as they were or were called before."""
        current = [view.folder for concept in concepts for view in _views(concept, cache_root)]
        return old_views("onetrainer", current, concepts, cache_root)

    def emit(self, concepts: Sequence[Concept], cache_root: Path, options: BackendOptions) -> DatasetFile:
        """Make ``concepts.json``: one concept for each size of each dataset."""
        refuse_settings(options, self.title)
        if options.batch_size is not None:
            raise UsageError("OneTrainer reads the batch size from its train config, and no dataset file says it: set it there")
        entries: list[Entry] = []
        views: list[View] = []
        for concept in concepts:
            made = _views(concept, cache_root)
            entries += make_entries([(concept.name, view) for view in made], variations(concept))
            views += made
        return DatasetFile(
            content=to_json(entries),
            entries=tuple(concept.id for concept in concepts),
            changed=tuple(
                said
                for entry, view in zip(entries, views, strict=True)
                for said in changed_sizes(view, partial(replay, rule=resizing(entry, Training(), QUANTIZATION)), _BECAUSE)
            ),
            needs=(_NEEDED,),
            views=tuple(views),
            command=(
                "python scripts/train.py --config-path CONFIG.json --config-value concept_file_name=FILE "
                "--config-value aspect_ratio_bucketing=true --config-value latent_caching=true"
            ),
        )

    def recognises(self, content: bytes) -> bool:
        """Tell whether a file of this content looks like a ``concepts.json`` or a train config, faulty or not."""
        return looks_like_concepts(content)

    def prove(self, file: Path, releases: Sequence[str], execution: Execution, datasets: Sequence[Path] = ()) -> Verdict:
        """Check and replay every picture of a ``concepts.json`` or of a train config, whoever wrote it."""
        return prove(file, execution)

    def steps(self, concepts: Sequence[Concept], batching: Batching) -> Epoch:
        """Say what each bucket gives in one epoch, and how many optimizer steps that makes."""
        return steps(concepts, batching)


def _views(concept: Concept, cache_root: Path) -> list[View]:
    return [plan_view([concept], cache_root, _LAYOUT, size) for size in concept.buckets]


TRAINER: Trainer = OneTrainer()
