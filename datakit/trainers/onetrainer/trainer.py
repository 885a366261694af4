"""OneTrainer as one of the trainers: answers what all of them are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from datakit.audit.concept import Concept
from datakit.dataset.companions import is_mask
from datakit.errors import UsageError
from datakit.run.stage import Execution
from datakit.trainers.beside import Takes, taken
from datakit.trainers.leftovers import Leftover
from datakit.trainers.onetrainer.captions import drawn, variations
from datakit.trainers.onetrainer.file import Entry, Training, looks_like_concepts, make_entries, resizing, to_json
from datakit.trainers.onetrainer.prove import QUANTIZATION, prove
from datakit.trainers.onetrainer.reading import CONDITION, LEFT_OUT, MASK, Reading
from datakit.trainers.onetrainer.replay import replay
from datakit.trainers.onetrainer.steps import steps
from datakit.trainers.protocol import BackendOptions, DatasetFile, Trainer, refuse_settings
from datakit.trainers.training import Batching, Epoch
from datakit.trainers.verdict import Verdict
from datakit.trainers.view import Layout, ThroughView, View, changed_sizes, old_views, plan_view

_LAYOUT = Layout("onetrainer", misread=LEFT_OUT)
# One of either; a picture without a mask counts whole, one without a condition is conditioned on what its mask leaves of it.
_TAKES = Takes("OneTrainer", masks=1, controls=1, needs_controls=False)
_SWITCHES = (
    "masks are read where the train config has masked_training on",
    "conditions are read where the train config has custom_conditioning_image on",
)
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
        current = [view.folder for concept in concepts for way in _ways(concept) for view in _views(concept, cache_root, way)]
        return old_views("onetrainer", current, concepts, cache_root)

    def check_options(self, options: BackendOptions) -> None:
        """Refuse what only SimpleTuner's file can say."""
        refuse_settings(options, self.title)

    def emit(self, concepts: Sequence[Concept], cache_root: Path, options: BackendOptions) -> DatasetFile:
        """Make ``concepts.json``: one concept for each size of each dataset."""
        self.check_options(options)
        if options.batch_size is not None:
            raise UsageError("OneTrainer reads the batch size from its train config, and no dataset file says it: set it there")
        entries: list[Entry] = []
        views: list[View] = []
        given = taken(concepts, options, _TAKES)
        for concept in concepts:
            made = _views(concept, cache_root, {**dict.fromkeys(given.masks, MASK), **dict.fromkeys(given.controls, CONDITION)})
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
            needs=(_NEEDED, *(said for names, said in zip((given.masks, given.controls), _SWITCHES, strict=True) if names)),
            notes=given.notes,
            views=tuple(views),
            command=(
                "python scripts/train.py --config-path CONFIG.json --config-value concept_file_name=FILE "
                "--config-value aspect_ratio_bucketing=true --config-value latent_caching=true"
                + " --config-value masked_training=true" * bool(given.masks)
                + " --config-value custom_conditioning_image=true" * bool(given.controls)
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


def _views(concept: Concept, cache_root: Path, beside: Mapping[str, str]) -> list[View]:
    """Lay out each size of a dataset, with what is added to the names of companions by what they are called."""
    return [plan_view([concept], cache_root, replace(_LAYOUT, beside=beside), size) for size in concept.buckets]


def _ways(concept: Concept) -> list[Mapping[str, str]]:
    """Return each way in which the companions of a dataset may lie beside its pictures."""
    masks, controls = ([None, *(name for name in concept.companions if is_mask(name) == kind)] for kind in (True, False))
    return [
        {name: ending for name, ending in ((mask, MASK), (control, CONDITION)) if name is not None}
        for mask in masks
        for control in controls
    ]


TRAINER: Trainer = OneTrainer()
