"""SimpleTuner's ``multidatabackend.json``: one entry a dataset, and the proof that nothing in it touches a pixel."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import UNSET

from datakit.audit.concept import Concept, captions_hash
from datakit.errors import UsageError
from datakit.trainers.simpletuner.entry import (
    CaptionShuffle,
    Entry,
    EntryOnFile,
    ImageEntry,
    TextEmbedsEntry,
    read_entries,
)
from datakit.trainers.simpletuner.replay import unkept
from datakit.trainers.simpletuner.settings import parse_settings

# Families whose sizes are multiples of 64 and whose canvas is not limited below the eight sizes, and the tokenizer
# tokens that their encoders see, the start and end marks included; the rest is cut off. CLIP ends at 77 everywhere.
# T5: SimpleTuner takes 154 for SD3 and 512 for Flux (its tokenizer_max_length moves both).
FAMILIES: Mapping[str, Mapping[str, int]] = {
    "sd3": {"CLIP": 77, "T5": 154},
    "sdxl": {"CLIP": 77},
    "flux": {"CLIP": 77, "T5": 512},
}
# ``caption_shuffle`` appeared in this release; earlier ones ignore it without a word.
CAPTION_SHUFFLE_SINCE = "4.0.5"


def emit(
    concepts: Sequence[Concept],
    cache_root: Path,
    family: str = "sd3",
    settings: Sequence[str] = (),
    shuffle: CaptionShuffle | None = None,
) -> list[Entry]:
    """Build one image entry a concept and one entry for the text embeddings.

    Parameters
    ----------
    concepts
        In the order of the entries.
    cache_root
        Folder of the caches; latents go to ``vae/FAMILY/ID`` and embeddings to ``text/FAMILY/ID`` below it,
        so that neither another model nor an earlier version of a dataset is ever read from it.
    family
        One of `FAMILIES`.
    settings
        ``key=value`` for every image entry, as on the command line.
    shuffle
        Let the trainer shuffle captions.

    Raises
    ------
    UsageError
        A key is unknown, a value has the wrong type, or a dataset that is shuffled already would be shuffled again.
    """
    if shuffle is not None:
        for concept in concepts:
            if concept.shuffled:
                raise UsageError(
                    f"{concept.folder} is shuffled already: leave out the caption shuffle, or give the dataset that crop wrote"
                )
    changes = parse_settings(settings)
    cache = Path(os.path.abspath(cache_root))
    text_id = text_embeds_id(concepts, family)
    entries: list[Entry] = []
    for concept in concepts:
        entry = ImageEntry(
            id=concept.id,
            instance_data_dir=os.fspath(concept.folder),
            cache_dir_vae=os.fspath(cache / "vae" / family / concept.id),
            text_embeds=text_id,
            # SimpleTuner counts extra passes: 0 is once.
            repeats=concept.passes - 1 if concept.passes > 1 else UNSET,
            caption_shuffle=shuffle or UNSET,
        )
        entries.append(msgspec.structs.replace(entry, **changes))
    entries.append(TextEmbedsEntry(id=text_id, cache_dir=os.fspath(cache / "text" / family / text_id)))
    return entries


def text_embeds_id(concepts: Sequence[Concept], family: str) -> str:
    """Return the id of the text embeddings of some datasets, which their cache is named by too."""
    return f"text-{family}-{captions_hash(concepts)}"


def to_json(entries: Sequence[Entry]) -> bytes:
    """Return the file: indented JSON, keys in a fixed order."""
    return msgspec.json.format(msgspec.json.encode(list(entries)), indent=2) + b"\n"


def families_of(path: Path) -> list[str]:
    """Return the model families whose caches a ``multidatabackend.json`` names as `emit` does; none where it cannot be read."""
    try:
        entries = read_entries(path)
    except UsageError:
        return []
    caches = {Path(entry.cache_dir_vae).parts[-3:-1] for entry in entries if entry.dataset_type == "image"}
    return [family for family in FAMILIES if ("vae", family) in caches]


def changed_sizes(entries: Sequence[Entry], concepts: Sequence[Concept]) -> list[str]:
    """Replay each size of each concept through its entry; return what would not be kept, one sentence each."""
    found = []
    for concept, entry in zip(concepts, entries, strict=False):
        as_read = msgspec.convert(msgspec.to_builtins(entry), EntryOnFile)
        found += [f"{entry.id}: {reason}" for reason in as_read.refusals()]
        rule = as_read.resizing()
        if isinstance(rule, str):
            found.append(f"{entry.id}: {rule}")
            continue
        for size, pictures in concept.buckets.items():
            found += [f"{entry.id}: {pictures} pictures of {size} would be {words}" for words in unkept(size, rule)]
    return found
