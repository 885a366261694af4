"""Look at every picture of a dataset once, in several processes: its header, whether it decodes, what is compared."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from datakit.dataset.samples import PICTURE_EXTENSIONS
from datakit.errors import PictureError
from datakit.geometry import Size
from datakit.libraries import check_opencv
from datakit.run.executors import Crash
from datakit.run.stage import Execution

if TYPE_CHECKING:
    from PIL import Image

# Below, starting processes takes longer than looking.
_FEW = 48
_NO_SIZE = Size(0, 0)
# Sides of the copy whose cosine transform OpenCV hashes (modules/img_hash/src/phash.cpp).
_HASHED = 32


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of one picture file.

    Attributes
    ----------
    error
        Why it cannot be read or decoded; what follows then has no meaning.
    sha256, size, orientation, mode, alpha, deep
        As in `datakit.picture.images.Picture`.
    profile
        Whether it carries a colour profile that changes something.
    hash, sharpness
        64-bit perceptual hash and variance of the Laplacian, where they were asked for.
    """

    error: str = ""
    sha256: str = ""
    size: Size = _NO_SIZE
    orientation: int = 1
    mode: str = "RGB"
    alpha: bool = False
    deep: bool = False
    profile: bool = False
    hash: int = 0
    sharpness: float = 0.0


def look_at_all(
    folder: Path, names: Sequence[str], execution: Execution = Execution(), compared: frozenset[str] = frozenset()
) -> dict[str, Look]:
    """Decode every picture file named once, whole, and return what was seen by name.

    Parameters
    ----------
    folder
        The dataset.
    names
        Files, relative to it. Those that do not end like a picture that datakit reads are left out.
    execution
        Workers, limit of time, progress.
    compared
        Names whose hash and sharpness are wanted too.
    """
    if compared:
        check_opencv()
    # Copies that are hard links are one file under several names, which need not be decoded again and again.
    files: dict[Hashable, list[str]] = {}
    for name in filter(is_readable, names):
        files.setdefault(_identity(folder / name), []).append(name)
    items = [(same[0], not compared.isdisjoint(same)) for same in files.values()]
    few = execution.jobs <= 1 or len(items) <= _FEW
    found = (replace(execution, executor="serial") if few else execution).run(partial(look_at, folder), items)
    looks = {
        item[0]: Look(error=look.reason) if isinstance(look, Crash) else look
        for item, look in execution.progress(found, len(items), "looking at pictures")
    }
    return {name: looks[same[0]] for same in files.values() for name in same}


def _identity(path: Path) -> Hashable:
    """Return what two names of one file share; the extension is part of it, since it decides how a file is read."""
    status = path.stat()
    return (status.st_dev, status.st_ino, path.suffix) if status.st_ino else path


def look_at(folder: Path, item: tuple[str, bool]) -> Look:
    """Look at one picture file; ``item`` is its name, and whether to measure what is compared."""
    from datakit.picture.images import decode, open_picture

    name, compared = item
    try:
        picture = open_picture(folder / name)
        pixels = decode(picture, picture.size, picture.size)
    except PictureError as error:
        return Look(error=str(error))
    look_hash, sharpness = measured(pixels.image) if compared else (0, 0.0)
    return Look(
        sha256=picture.sha256,
        size=picture.size,
        orientation=picture.orientation,
        mode=picture.mode,
        alpha=picture.alpha,
        deep=picture.deep,
        profile=picture.icc is not None,
        hash=look_hash,
        sharpness=sharpness,
    )


def is_readable(name: str) -> bool:
    """Tell whether a file name ends like a picture that datakit reads, in any case."""
    return any(name.lower().endswith(extension) for extension in PICTURE_EXTENSIONS)


def measured(image: Image.Image) -> tuple[int, float]:
    """Return the 64-bit perceptual hash of an RGB picture, and the variance of its Laplacian."""
    import cv2
    import numpy as np

    grey = np.asarray(image.convert("L"))
    # Shrunk by area first: OpenCV itself takes single pixels, and finer detail would decide over the bits.
    small = cv2.resize(grey, (_HASHED, _HASHED), interpolation=cv2.INTER_AREA)
    bits = cv2.img_hash.pHash(small)
    return int.from_bytes(bits.tobytes(), "big"), float(cv2.Laplacian(grey, cv2.CV_64F).var())
