"""What the companions of an augmented copy are cut from: those of the source while it is there, else those that were cropped."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from datakit.dataset.companions import is_mask
from datakit.dataset.manifest import Record
from datakit.errors import CompanionError, PictureError, SampleError
from datakit.picture.images import Picture, open_picture
from datakit.picture.material import Material, lay_over, transparency


def cropped_layers(folder: Path, companions: Iterable[tuple[str, str]], picture: Picture) -> dict[str, Material]:
    """Return the companions of a cropped picture by name. Raises CompanionError where one cannot be read."""
    layers = {}
    for name, source in companions:
        try:
            layers[name] = lay_over(open_picture(folder / source), picture, mask=is_mask(name))[0]
        except PictureError as error:
            raise CompanionError(f"its {name} {source}: {error}") from error
    return layers


def uncropped_layers(crop: Record, original: Picture, folder: Path | None, background: str) -> dict[str, Material] | None:
    """Return what the companions of a crop were made from, by name; None where any of it is gone or has changed."""
    layers: dict[str, Material] = {}
    for each in crop.companions:
        if each.source == crop.source:
            layer = transparency(original)
            if layer is None:
                return None
            layers[each.name] = layer
            continue
        try:
            companion = open_picture((folder or Path()) / each.source)
            layers[each.name] = lay_over(companion, original, mask=is_mask(each.name), background=background)[0]
        except SampleError:
            return None
        if companion.sha256 != each.source_sha256:
            return None
    return layers
