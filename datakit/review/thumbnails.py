"""Small copies of pictures, made when they are first looked at and kept in the dataset's state by content."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock, Semaphore

import numpy as np
from PIL import Image

from datakit.crop.picture import PREVIEW_SIDE
from datakit.dataset.fingerprints import hash_file
from datakit.dataset.layout import THUMBNAILS
from datakit.dataset.manifest import write_atomically
from datakit.detect import saliency_map
from datakit.errors import PictureError
from datakit.geometry import Box, Size
from datakit.picture.encoding import encode
from datakit.picture.images import decode, open_picture
from datakit.picture.material import lay_over, transparency
from datakit.picture.resampling import preview

THUMBNAIL_SIDE, PICTURE_SIDE = 320, 1600
_QUALITY = 85
# What stands out is laid over the picture in this colour, at most this opaque.
_HEAT_COLOUR, _HEAT_OPACITY = (255, 96, 0), 0.8
# And what a mask lets count in this one.
_MASK_COLOUR, _OVER_OPACITY = (0, 200, 255), 0.6


class Thumbnails:
    """The small copies of one dataset; thread-safe, and no more pictures in memory than there are cores."""

    def __init__(self, dataset: Path, background: str = "white") -> None:
        self._folder = dataset / THUMBNAILS
        self._background = background
        self._decoding = Semaphore(max(1, os.cpu_count() or 1))
        self._detecting = Lock()

    def name(self, path: Path, side: int) -> str:
        """Return what names a copy of this content and size; it changes with the picture's bytes.

        Raises
        ------
        OSError
            The file cannot be read.
        """
        status = path.stat()
        return f"{_sha256(str(path), status.st_size, status.st_mtime_ns)}-{side}"

    def thumbnail(self, path: Path) -> bytes:
        """Return the picture as JPEG with a long side of at most `THUMBNAIL_SIDE`, kept for the next time. Raises as `small`."""
        name = self.name(path, THUMBNAIL_SIDE)
        # Without an extension: a trainer that looks into hidden folders must not take it for a picture of the dataset.
        kept = self._folder / name[:2] / name
        try:
            return kept.read_bytes()
        except OSError:
            content = self.small(path, THUMBNAIL_SIDE)
        with suppress(OSError):  # a full or read-only disk: it is made again the next time
            write_atomically(kept, content)
        return content

    def small(self, path: Path, side: int) -> bytes:
        """Return the upright picture as JPEG with a long side of at most ``side``.

        Raises
        ------
        OSError
            The file cannot be read.
        PictureError
            It is no picture that can be decoded.
        """
        return encode(self.image(path, side), "jpg", _QUALITY)

    def image(self, path: Path, side: int) -> Image.Image:
        """Return the upright picture with a long side of at most ``side``. Raises as `small`."""
        with self._decoding:
            return Image.fromarray(self._pixels(path, side))

    def heat(self, path: Path, saliency: str) -> bytes:
        """Return what stands out as PNG to lay over the whole picture; ``saliency`` is the map's name.

        Raises as `small`.
        """
        with self._decoding:
            pixels = self._pixels(path, PREVIEW_SIDE)
        with self._detecting:  # detectors are built once and not made for several threads
            find = saliency_map(saliency) or saliency_map("bms")
            assert find is not None
            mass = find(pixels)
        share = mass / max(float(mass.max()), 1e-9)
        layers = np.empty((*share.shape, 4), np.uint8)
        layers[..., :3] = _HEAT_COLOUR
        layers[..., 3] = np.rint(share * 255 * _HEAT_OPACITY).astype(np.uint8)
        return encode(Image.fromarray(layers), "png", 0)

    def companion(self, picture: Path, companion: Path, *, mask: bool) -> bytes:
        """Return what goes with a picture as PNG to lay over all of it: colour where a mask counts, the rest half transparent.

        A picture is its own companion where that is its transparency.

        Raises
        ------
        OSError
            A file cannot be read.
        SampleError
            It is no picture that can be decoded, or does not lie over its picture.
        """
        return encode(self._over(picture, companion, PICTURE_SIDE, mask=mask), "png", 0)

    def covered(self, picture: Path, companion: Path, side: int, *, mask: bool) -> Image.Image:
        """Return a picture under what goes with it, with a long side of at most ``side``. Raises as `companion`."""
        below, over = self.image(picture, side), self._over(picture, companion, side, mask=mask)
        below.paste(over, mask=over.getchannel("A"))
        return below

    def _over(self, picture: Path, companion: Path, side: int, *, mask: bool) -> Image.Image:
        with self._decoding:
            below = open_picture(picture)
            layer = transparency(below) if companion == picture else lay_over(open_picture(companion), below, mask=mask)[0]
            if layer is None:
                raise PictureError(f"{picture.name} has no transparency any more")
            pixels = np.asarray(layer.render(Box(0, 0, *layer.size), _within(layer.size, side)))
        layers = np.empty((*pixels.shape[:2], 4), np.uint8)
        layers[..., :3] = _MASK_COLOUR if pixels.ndim == 2 else pixels
        layers[..., 3] = np.rint((pixels if pixels.ndim == 2 else 255) * _OVER_OPACITY).astype(np.uint8)
        return Image.fromarray(layers)

    def _pixels(self, path: Path, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        picture = open_picture(path)
        target = _within(picture.size, side)
        return preview(picture, decode(picture, picture.size, target, self._background), max(target))


def _within(size: Size, side: int) -> Size:
    """Return a size shrunk to a long side of at most ``side``."""
    factor = min(1.0, side / max(size))
    return Size(*(max(1, round(each * factor)) for each in size))


@lru_cache(maxsize=100_000)
def _sha256(path: str, size: int, mtime: int) -> str:
    """Return a file's sha256, read once for each size and time of change."""
    return hash_file(Path(path))
