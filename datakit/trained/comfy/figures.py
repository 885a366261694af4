"""What can be measured of the pictures in a strip: change, saturation, sharpness, what is black, and what copies the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datakit.audit.likeness import NEAR_BITS
from datakit.audit.looks import is_readable, look_at_all, measured
from datakit.dataset.layout import STATE_FOLDER
from datakit.errors import UsageError
from datakit.run.stage import Execution

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of 255: a picture whose brightest channel is darker is black, and one whose channels spread less is of one colour.
_BLACK, _FLAT = 8, 6


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one picture.

    Attributes
    ----------
    saturation
        Mean of HSV saturation, 0 to 1.
    sharpness
        Variance of the Laplacian of the grey picture, as `datakit check` has it.
    from_base, from_before
        Mean absolute difference of the pixels, 0 to 1, from the first column and from the column before; None where there
        is none, or where it has another size.
    copies
        The training picture that it looks like by perceptual hash.
    warnings
        What is wrong with it: black, of one colour, the same as the base or as the one before.
    """

    saturation: float
    sharpness: float
    from_base: float | None = None
    from_before: float | None = None
    copies: str = ""
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "saturation": round(self.saturation, 4),
            "sharpness": round(self.sharpness, 1),
            "from_base": None if self.from_base is None else round(self.from_base, 5),
            "from_before": None if self.from_before is None else round(self.from_before, 5),
            "copies": self.copies,
            "warnings": list(self.warnings),
        }


def training_hashes(dataset: Path) -> dict[str, int]:
    """Return the perceptual hash of every picture in a folder, by its name there.

    Raises
    ------
    UsageError
        It holds no pictures.
    """
    names = sorted(
        path.relative_to(dataset).as_posix() for path in dataset.rglob("*") if path.is_file() and is_readable(path.name)
    )
    names = [name for name in names if not name.startswith(f"{STATE_FOLDER}/")]
    if not names:
        raise UsageError(f"{dataset} holds no pictures to compare with")
    looks = look_at_all(dataset, names, Execution(), frozenset(names))
    return {name: look.hash for name, look in looks.items() if not look.error}


class Measuring:
    """Measures pictures; each is decoded once a run, and held for the pictures beside it alone."""

    def __init__(self, training: Mapping[str, int] | None = None) -> None:
        self._training = training or {}
        self._known: dict[tuple[Path | None, Path | None, Path], Figures] = {}

    def of_row(self, pictures: list[Path | None], *, has_base: bool) -> list[Figures | None]:
        """Measure the pictures of one row; None stands for one that failed. The first is the base, if there is one."""
        arrays: dict[Path, NDArray[np.uint8]] = {}
        found: list[Figures | None] = []
        for at, path in enumerate(pictures):
            base = pictures[0] if has_base and at else None
            before = pictures[at - 1] if at > int(has_base) else None
            found.append(None if path is None else self._figures(path, base, before, arrays))
        return found

    def _figures(self, path: Path, base: Path | None, before: Path | None, arrays: dict[Path, NDArray[np.uint8]]) -> Figures:
        known = self._known.get((base, before, path))
        if known is None:
            known = self._known[base, before, path] = self._measured(path, base, before, arrays)
        return known

    def _measured(self, path: Path, base: Path | None, before: Path | None, arrays: dict[Path, NDArray[np.uint8]]) -> Figures:
        from PIL import Image

        def array(each: Path) -> NDArray[np.uint8]:
            import numpy as np

            if each not in arrays:
                with Image.open(each) as picture:
                    arrays[each] = np.asarray(picture.convert("RGB"))
            return arrays[each]

        pixels = array(path)
        look, sharpness = measured(Image.fromarray(pixels))
        from_base = _change(array(base), pixels) if base else None
        from_before = _change(array(before), pixels) if before else None
        return Figures(
            _saturation(pixels),
            sharpness,
            from_base,
            from_before,
            self._nearest(look),
            tuple(_warnings(pixels, from_base, from_before)),
        )

    def _nearest(self, look: int) -> str:
        near = [((look ^ each).bit_count(), name) for name, each in self._training.items()]
        bits, name = min(near, default=(NEAR_BITS + 1, ""))
        return name if bits <= NEAR_BITS else ""


def _saturation(pixels: NDArray[np.uint8]) -> float:
    """Return the mean of (most - least) / most over the channels; black has none."""
    import numpy as np

    most, least = pixels.max(axis=2).astype(np.float32), pixels.min(axis=2)
    return float(((most - least) / np.maximum(most, 1)).mean())


def _change(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float | None:
    """Return the mean absolute difference as a share of 255; None between pictures of two sizes."""
    import numpy as np

    if one.shape != other.shape:
        return None
    return float(np.abs(one.astype(np.int16) - other).mean() / 255)


def _warnings(pixels: NDArray[np.uint8], from_base: float | None, from_before: float | None) -> list[str]:
    found = []
    spread = int((pixels.max(axis=(0, 1)).astype(int) - pixels.min(axis=(0, 1))).max())
    if pixels.max() < _BLACK:
        found.append("black")
    elif spread < _FLAT:
        found.append("of one colour")
    if from_base == 0:
        found.append("the same as the base: the LoRA changed nothing")
    elif from_before == 0:
        found.append("the same as the one before")
    return found
