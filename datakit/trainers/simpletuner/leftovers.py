"""What SimpleTuner left under other ids: its scans in the datasets, latents and text embeddings below the cache root."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from datakit.audit.concept import Concept, content_hash, hash_in
from datakit.trainers.leftovers import Leftover
from datakit.trainers.simpletuner.backend import FAMILIES, text_embeds_id
from datakit.trainers.simpletuner.scan import scanned_ids


def old_scans(concept: Concept, ids: Collection[str]) -> list[Leftover]:
    """Return the trainer's scans of a dataset for entries of other ids than these."""
    now = content_hash(concept.records)
    return [
        Leftover(path, f"the trainer's scan of the dataset as {name!r}, {_content(name, now)}")
        for path, name in scanned_ids(concept.folder).items()
        if name not in ids
    ]


def old_caches(concepts: Sequence[Concept], cache_root: Path) -> list[Leftover]:
    """Return the caches of some datasets as they were or were called before.

    Latents name their dataset. Text embeddings do not: where latents of other datasets lie beside, they may be theirs,
    and are passed over.
    """
    found = []
    for family in FAMILIES:
        latents, shared = _old_latents(concepts, cache_root / "vae" / family)
        found += latents
        if not shared:
            texts = _folders(cache_root / "text" / family)
            old = [path for path in texts if path.name.startswith(f"text-{family}-") and hash_in(path.name)]
            now = text_embeds_id(concepts, family)
            found += [Leftover(path, "text embeddings of other captions") for path in old if path.name != now]
    return found


def _old_latents(concepts: Sequence[Concept], folder: Path) -> tuple[list[Leftover], bool]:
    """Return old latents of some datasets, and whether there are any of other datasets beside them."""
    ids = {concept.id for concept in concepts}
    names, hashes = {concept.name for concept in concepts}, {content_hash(concept.records) for concept in concepts}
    # An id that the trainer scanned a dataset under is that dataset's, whatever it is called.
    scanned = {name for concept in concepts for name in scanned_ids(concept.folder).values()}
    found, shared = [], False
    for path in _folders(folder):
        hashed = hash_in(path.name)
        name = path.name.removesuffix(f"-{hashed}")
        if path.name in ids:
            continue
        if hashed and (name in names or hashed in hashes or path.name in scanned):
            found.append(Leftover(path, f"latents of {name}, {_content(path.name, *hashes)}"))
        elif not hashed and (name in scanned or any(f"{name}-".startswith(f"{each}-") for each in names)):
            found.append(Leftover(path, f"latents under the id {name}", ours=False))
        else:
            shared = True
    return found, shared


def _content(name: str, *hashes: str) -> str:
    """Say of an id whose content it stands for."""
    found = hash_in(name)
    if found is None:
        return "of a content that its id does not tell"
    return "of the same content" if found in hashes else "of another content"


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, links left out, sorted; none where it is not there or may not be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []
