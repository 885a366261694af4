"""SimpleTuner's ``multidatabackend.json``: one entry a dataset, and the proof that nothing in it touches a pixel."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import UNSET

from datakit.audit.concept import Concept, captions_hash
from datakit.dataset.manifest import MANIFEST
from datakit.errors import UsageError
from datakit.trainers.simpletuner.entry import (
    CaptionShuffle,
    Entry,
    EntryOnFile,
    ImageEmbedsEntry,
    ImageEntry,
    TextEmbedsEntry,
    filled_in,
    read_entries,
)
from datakit.trainers.simpletuner.published import CREDENTIALS, Place, shared_latents
from datakit.trainers.simpletuner.replay import area_of, unkept, why_unkept
from datakit.trainers.simpletuner.settings import parse_settings
from datakit.trainers.view import read_made

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
    places: Sequence[Place] = (),
) -> list[Entry]:
    """Build one image entry a concept, one for the latents of each that was published, and one for the text embeddings.

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
    places
        Where the concepts were published, one each; without any the trainer reads their folders.

    Raises
    ------
    UsageError
        A key is unknown, a value has the wrong type, the trainer puts something else in place of a part of ``cache_root``, a
        dataset that is shuffled already would be shuffled again, or two pictures of a published one would share their latents.
    """
    if shuffle is not None:
        for concept in concepts:
            if concept.shuffled:
                raise UsageError(
                    f"{concept.folder} is shuffled already: leave out the caption shuffle, or give the dataset that crop wrote"
                )
    if filled := filled_in(os.path.abspath(cache_root)):
        raise UsageError(f"--cache-root {cache_root}: SimpleTuner puts something else in place of {filled}: name another folder")
    changes = parse_settings(settings)
    cache = Path(os.path.abspath(cache_root))
    text_id = text_embeds_id(concepts, family)
    images: list[ImageEntry] = []
    for concept in concepts:
        entry = ImageEntry(
            id=concept.id,
            instance_data_dir=os.fspath(concept.folder),
            cache_dir_vae=os.fspath(cache / "vae" / family / concept.id),
            text_embeds=text_id,
            resolution=area_of(concept.buckets) or 1.0,
            # SimpleTuner counts extra passes: 0 is once.
            repeats=concept.passes - 1 if concept.passes > 1 else UNSET,
            caption_shuffle=shuffle or UNSET,
        )
        images.append(msgspec.structs.replace(entry, **changes))
    latents: list[Entry] = []
    if places:
        latents = [ImageEmbedsEntry(id=_latents_id(entry.id), cache_dir=entry.cache_dir_vae) for entry in images]
        images = [_published(entry, concept, place) for entry, concept, place in zip(images, concepts, places, strict=True)]
    return [*images, *latents, TextEmbedsEntry(id=text_id, cache_dir=os.fspath(cache / "text" / family / text_id))]


def _published(entry: ImageEntry, concept: Concept, place: Place) -> ImageEntry:
    """Turn an entry for a folder into the one for where that was published; latents stay on disk."""
    for first, *others in shared_latents(place.prefix, [record.output for record in concept.records]):
        raise UsageError(
            f"{first} and {' and '.join(others)} would share their latents below {place}, which SimpleTuner takes out of their names: "
            "publish the dataset under another prefix"
        )
    return msgspec.structs.replace(
        entry,
        type="aws",
        instance_data_dir=UNSET,
        aws_bucket_name=place.bucket,
        aws_data_prefix=place.prefix,
        aws_endpoint_url=place.endpoint,
        **CREDENTIALS,
        image_embeds=_latents_id(entry.id),
    )


def _latents_id(name: str) -> str:
    return f"latents-{name}"


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


def datasets_of(path: Path) -> list[Path]:
    """Return the datasets, absolute, that a ``multidatabackend.json`` trains; none where it cannot be read, or they are not here."""
    try:
        images = [entry for entry in read_entries(path) if entry.dataset_type == "image" and entry.enabled]
    except UsageError:
        return []
    folders = [Path(entry.instance_data_dir) for entry in images if entry.instance_data_dir]
    shown = [list(map(Path, made.datasets)) if (made := read_made(folder)) else [folder] for folder in folders]
    found = list(dict.fromkeys(each for datasets in shown for each in datasets))
    return found if len(folders) == len(images) and all((each / MANIFEST).is_file() for each in found) else []


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
        because = f": {why_unkept(concept.buckets)}" if area_of(concept.buckets) is None else ""
        for size, pictures in concept.buckets.items():
            found += [f"{entry.id}: {pictures} pictures of {size} would be {words}{because}" for words in unkept(size, rule)]
    return found
