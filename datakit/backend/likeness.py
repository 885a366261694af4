"""Pictures that look alike, and pictures that are blurred."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from datakit.backend.checks import Finding
from datakit.backend.concept import Concept

# Bits of 64 by which two perceptual hashes may differ. imagehash's phash is Zauner's DCT hash (2010); resized and
# recompressed versions of a picture differ by 0 to 6 bits, different pictures by about 32.
NEAR_BITS = 6
# Variance of the Laplacian (Pech-Pacheco and others, 2000) of the 8-bit grey picture at its written size. The least
# sharp of 60 press photos and paintings has 95; blurred by a Gaussian of 2 pixels, 57 of the 60 fall below 18.
BLURRED_BELOW = 20.0


@dataclass(frozen=True, slots=True)
class Look:
    """What is compared of a picture: its 64-bit perceptual hash and its sharpness."""

    output: str
    hash: int
    sharpness: float


def look_at(path: Path, output: str) -> Look:
    """Measure one picture; it must be readable.

    Raises
    ------
    OSError
        The file cannot be decoded.
    """
    import cv2
    import imagehash
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        grey = image.convert("L")
    bits = imagehash.phash(grey).hash.flatten()
    value = int("".join("1" if bit else "0" for bit in bits), 2)
    return Look(output, value, float(cv2.Laplacian(np.asarray(grey), cv2.CV_64F).var()))


def find_likeness(concept: Concept, advance: Callable[[], object] = lambda: None) -> list[Finding]:
    """Find pictures of different sources that are the same or nearly so, and blurred ones.

    Of the copies of one source only the first is looked at. Pictures that cannot be decoded are left to
    `check_dataset`.
    """
    findings, looks = [], []
    by_bytes: dict[str, str] = {}
    for record in concept.originals:
        same = by_bytes.setdefault(record.output_sha256, record.output)
        if same != record.output:
            findings.append(
                Finding(
                    "duplicate",
                    record.output,
                    f"is the same picture as {same}",
                    "remove one source, or raise the repeats",
                    refused=False,
                )
            )
        else:
            with suppress(OSError):
                looks.append(look_at(concept.folder / record.output, record.output))
        advance()
    for first, second, bits in near_pairs(looks):
        problem = f"looks like {first} ({bits} of 64 bits differ)"
        findings.append(
            Finding("near-duplicate", second, problem, "look at both; remove one source if it adds nothing", refused=False)
        )
    findings += [
        Finding(
            "blurred",
            look.output,
            f"is not sharp ({look.sharpness:.0f}; pictures in focus have 100 and more)",
            "look at it; leave it out if it is out of focus",
            refused=False,
        )
        for look in looks
        if look.sharpness < BLURRED_BELOW
    ]
    return findings


def near_pairs(looks: Sequence[Look], limit: int = NEAR_BITS) -> list[tuple[str, str, int]]:
    """Return (earlier, later, differing bits) of every picture whose hash is near an earlier one's.

    Each picture is named once, with the earlier picture nearest to it.
    """
    import numpy as np

    hashes = np.array([look.hash for look in looks], dtype=np.uint64)
    pairs = []
    for index in range(1, len(looks)):
        distances = np.bitwise_count(hashes[:index] ^ hashes[index])
        nearest = int(distances.argmin())
        if distances[nearest] <= limit:
            pairs.append((looks[nearest].output, looks[index].output, int(distances[nearest])))
    return pairs
