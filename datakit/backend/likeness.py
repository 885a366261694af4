"""Pictures that look alike, and pictures that are blurred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datakit.backend.checks import Finding
from datakit.backend.concept import Concept
from datakit.backend.looks import Look

# Bits of 64 by which two perceptual hashes may differ. imagehash's phash is Zauner's DCT hash (2010); resized and
# recompressed versions of a picture differ by 0 to 6 bits, different pictures by about 32.
NEAR_BITS = 6
# Variance of the Laplacian (Pech-Pacheco and others, 2000) of the 8-bit grey picture at its written size. The least
# sharp of 60 press photos and paintings has 95; blurred by a Gaussian of 2 pixels, 57 of the 60 fall below 18.
BLURRED_BELOW = 20.0


def compared_names(concept: Concept) -> frozenset[str]:
    """Return the pictures of a dataset that are compared: of the copies of one source only the first."""
    return frozenset(record.output for record in concept.originals)


def find_likeness(concepts: Sequence[Concept], looks: Sequence[Mapping[str, Look]]) -> list[list[Finding]]:
    """Find pictures of different sources that are the same or nearly so, in one or several datasets, and blurred ones.

    Parameters
    ----------
    concepts
        The datasets.
    looks
        For each of them what was seen of its pictures; those of `compared_names` were measured. Pictures that
        cannot be decoded are left to `check_dataset`.

    Returns
    -------
    For each dataset what was found of its pictures.
    """
    findings: list[list[Finding]] = [[] for _ in concepts]
    by_bytes: dict[str, str] = {}
    places: list[tuple[int, str]] = []
    names: list[str] = []
    seen: list[Look] = []
    for number, (concept, known) in enumerate(zip(concepts, looks, strict=True)):
        for record in concept.originals:
            look = known.get(record.output)
            if look is None or look.error:
                continue
            name = f"{concept.name}/{record.output}" if len(concepts) > 1 else record.output
            same = by_bytes.setdefault(look.sha256, name)
            if same != name:
                findings[number].append(_duplicate(record.output, same))
                continue
            places.append((number, record.output))
            names.append(name)
            seen.append(look)
            if look.sharpness < BLURRED_BELOW:
                findings[number].append(_blurred(record.output, look.sharpness))
    for earlier, later, bits in near_pairs([look.hash for look in seen]):
        number, output = places[later]
        findings[number].append(_near(output, names[earlier], bits))
    return findings


def _duplicate(path: str, same: str) -> Finding:
    remedy = "delete one of the two sources and crop again with --prune; to show a picture more often, raise --repeats"
    return Finding("duplicate", path, "the same picture as another", remedy, same, refused=False)


def _near(path: str, other: str, bits: int) -> Finding:
    remedy = "look at both; delete one of the sources if it adds nothing"
    return Finding("near-duplicate", path, "looks like another", remedy, f"{other}, {bits} of 64 bits differ", refused=False)


def _blurred(path: str, sharpness: float) -> Finding:
    problem = "not sharp (pictures in focus have a sharpness of 100 and more)"
    return Finding("blurred", path, problem, "look at it; leave it out if it is out of focus", f"{sharpness:.0f}", refused=False)


def near_pairs(hashes: Sequence[int], limit: int = NEAR_BITS) -> list[tuple[int, int, int]]:
    """Return (earlier, later, differing bits), by index, of every 64-bit hash that is near an earlier one.

    Each is named once, with the earlier one nearest to it.
    """
    import numpy as np

    array = np.array(hashes, dtype=np.uint64)
    pairs = []
    for later in range(1, len(array)):
        distances = np.bitwise_count(array[:later] ^ array[later])
        nearest = int(distances.argmin())
        if distances[nearest] <= limit:
            pairs.append((nearest, later, int(distances[nearest])))
    return pairs
