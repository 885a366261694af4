"""Pictures that look alike, and pictures that are blurred."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from datakit.audit.checks import Finding
from datakit.audit.concept import Concept
from datakit.audit.looks import Look

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Bits of 64 by which two perceptual hashes (OpenCV's pHash, after Zauner 2010) may differ. Of 179 photographs a version
# at half or a third of the size, at JPEG quality 30 or with less contrast differs by 2 bits at most, one a fifth brighter by
# 7, and one cut by 2 % at each edge by 8 or fewer in 95 of 100; the nearest two different pictures differ by 16.
NEAR_BITS = 8
# Variance of the Laplacian (Pech-Pacheco and others, 2000) of the 8-bit grey picture at its written size. The least
# sharp of 60 press photos and paintings has 95; blurred by a Gaussian of 2 pixels, 57 of the 60 fall below 18.
BLURRED_BELOW = 20.0
# Pairs compared in one step, which take some hundred megabytes.
_AT_ONCE = 4_000_000


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
    remedy = "keep one of the sources that are equal, delete the others, and crop again with --prune; to show a picture more often, raise --repeats"
    return Finding("duplicate", path, "the same picture as another", remedy, same, refused=False)


def _near(path: str, other: str, bits: int) -> Finding:
    remedy = "look at both; delete one of the sources if it adds nothing"
    return Finding("near-duplicate", path, "looks like another", remedy, f"{other}, {bits} of 64 bits differ", refused=False)


def _blurred(path: str, sharpness: float) -> Finding:
    problem = "not sharp (pictures in focus have a sharpness of 100 and more)"
    return Finding("blurred", path, problem, "look at it; leave it out if it is out of focus", f"{sharpness:.0f}", refused=False)


def near_pairs(hashes: Sequence[int], limit: int = NEAR_BITS) -> list[tuple[int, int, int]]:
    """Return (earlier, later, differing bits), by index, of every 64-bit hash that is near an earlier one.

    Each is named once, with the earlier one nearest to it. Hashes that differ by ``limit`` bits or fewer, at most 8, differ
    by 2 or fewer in one of their three parts: only those that share such a part are compared (Norouzi, Punjani and Fleet,
    Fast search in Hamming space with multi-index hashing, CVPR 2012).
    """
    first: dict[int, int] = {}
    for index, value in enumerate(hashes):
        first.setdefault(value, index)
    values, places = np.array(list(first), np.uint64), np.array(list(first.values()), np.int64)
    # By how many bits and from which earlier one each value differs least, as one number; what is near none stays as it is.
    none = (limit + 1) * len(hashes)
    nearest = np.full(len(values), none, np.int64)
    for one, other in _alike(values, limit // 3):
        bits = np.bitwise_count(values[one] ^ values[other]).astype(np.int64)
        np.minimum.at(nearest, other, np.minimum(bits, limit + 1) * len(hashes) + places[one])
    least = dict(zip(first, nearest.tolist(), strict=True))
    pairs = []
    for later, value in enumerate(hashes):
        if first[value] < later:
            pairs.append((first[value], later, 0))
        elif least[value] < none:
            distance, earlier = divmod(least[value], len(hashes))
            pairs.append((earlier, later, distance))
    return pairs


def _alike(values: NDArray[np.uint64], most: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield indices (earlier, later) of values that differ by ``most`` bits or fewer in one of three parts, piece by piece."""
    for start, length in ((0, 21), (21, 21), (42, 22)):
        parts = ((values >> np.uint64(start)) & np.uint64(2**length - 1)).astype(np.int64)
        # In the order of their parts: those with one part lie together, and neighbours look up neighbouring places.
        order = np.argsort(parts, kind="stable")
        parts = parts[order]
        begins = np.concatenate([[0], np.cumsum(np.bincount(parts, minlength=2**length))]).astype(np.int32)
        flips = (flipped for number in range(most + 1) for flipped in combinations(range(length), number))
        for others in (parts ^ sum(1 << bit for bit in flipped) for flipped in flips):
            counts = begins[others + 1] - begins[others]
            met = np.nonzero(counts)[0]
            pairs = np.cumsum(counts[met], dtype=np.int64)
            ends = np.searchsorted(pairs, np.arange(_AT_ONCE, pairs[-1] if len(pairs) else 0, _AT_ONCE))
            for piece in np.split(met, ends):
                several = counts[piece].astype(np.int64)
                within = np.arange(several.sum()) - np.repeat(np.cumsum(several) - several, several)
                one = order[np.repeat(begins[others[piece]], several) + within]
                other = order[np.repeat(piece, several)]
                yield one[one < other], other[one < other]
