"""What windows are cut from: a picture as it is stored, or a layer that lies over one, pixel on pixel, such as its mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from datakit.errors import CompanionError
from datakit.geometry import Box, Size
from datakit.picture.images import SIDEWAYS, Picture, decode, decode_layers
from datakit.picture.resampling import render, resize_box, upright
from datakit.report import Warned


class Material(Protocol):
    """Something of a size in pixels, upright, of which any box can be had at any size."""

    @property
    def size(self) -> Size:
        """Of the whole, in pixels."""
        ...

    @property
    def mask(self) -> bool:
        """Whether its values are shares, which no filter may overshoot."""
        ...

    def render(self, box: Box, target: Size) -> Image.Image:
        """Return a box of it, resized in one antialiased step."""
        ...


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture as it is stored, decoded anew for each box, no finer than that needs; transparency lies over ``background``."""

    picture: Picture
    background: str = "white"

    @property
    def size(self) -> Size:
        """Of the upright picture."""
        return self.picture.size

    @property
    def mask(self) -> bool:
        """No mask."""
        return False

    def render(self, box: Box, target: Size) -> Image.Image:
        """Return a box of it as sRGB."""
        return render(self.picture, decode(self.picture, box.size, target, self.background), box, target)


@dataclass(frozen=True, slots=True)
class Layer:
    """Pixels, upright, that lie over a picture and have its size; of a mask they are grey (L)."""

    image: Image.Image
    mask: bool

    @property
    def size(self) -> Size:
        """Of the picture that it lies over."""
        return Size(*self.image.size)

    def render(self, box: Box, target: Size) -> Image.Image:
        """Return a box of it."""
        return resize_box(self.image, box, target, smooth=self.mask)


def settled(material: Material, image: Image.Image) -> Image.Image:
    """Return what was rendered of a material as it is written: a mask of two values has no others in between."""
    if not isinstance(material, Layer) or not material.mask:
        return image
    values = [value for value, number in enumerate(material.image.histogram()) if number]
    if len(values) != 2:
        return image
    low, high = values
    return image.point([low if 2 * value < low + high else high for value in range(256)])


def lay_over(
    companion: Picture, picture: Picture, *, mask: bool, background: str = "white"
) -> tuple[Material, tuple[Warned, ...]]:
    """Bring a companion to the size of its picture.

    Parameters
    ----------
    companion, picture
        The one that goes with the other.
    mask
        Whether it is a mask: its values are taken as they are stored, whatever colour profile there is, and transparency counts
        as black, or as the mask itself where all else has one colour.
    background
        Under transparent pixels of a companion that is none.

    Returns
    -------
    The companion, and what the user should know of it.

    Raises
    ------
    CompanionError
        It has neither the size of the upright picture nor one that is so many times as large, or as small.
    PictureError
        It cannot be decoded.
    """
    turned = companion.orientation
    size, notes = companion.size, []
    if turned == 1 and picture.orientation != 1:
        if picture.orientation in SIDEWAYS and _factor(size, picture.size) is None and _factor(size.transposed(), picture.size):
            # It lies as the picture is stored: it was made by a tool that knows nothing of EXIF.
            turned, size = picture.orientation, size.transposed()
        elif picture.orientation not in SIDEWAYS or size.width == size.height:
            sentence = f"{companion.name} has no orientation tag, as its picture has: taken as upright"
            notes.append(Warned("companion-turn", sentence))
    factor = _factor(size, picture.size)
    if factor is None:
        raise CompanionError(
            f"{companion.name} is {size}, and its picture {picture.size}: a companion has the size of its picture, or one that is "
            "the same whole number of times as large, or as small, on each side"
        )
    if not mask and factor == 1 and turned == companion.orientation:
        return Photo(companion, background), tuple(notes)
    image = _mask_of(companion) if mask else _whole(companion, background)
    image = upright(image, turned) if mask else upright(image, turned if turned != companion.orientation else 1)
    if factor > 1:
        image = image.reduce(round(factor))
    elif factor < 1:
        image = image.resize(picture.size, Image.Resampling.NEAREST if mask else Image.Resampling.BICUBIC)
    return Layer(image, mask), tuple(notes)


def transparency(picture: Picture) -> Layer | None:
    """Return the transparency of a picture as its mask, black where it is transparent; None where nothing is. Raises PictureError."""
    alpha = decode_layers(picture)[1] if picture.alpha else None
    return None if alpha is None else Layer(upright(alpha, picture.orientation), True)


def _factor(size: Size, whole: Size) -> float | None:
    """Return by which whole number a size is larger than another, or one over that; None where it is by none."""
    for large, small, exponent in ((size, whole, 1), (whole, size, -1)):
        times = large.width // small.width
        if times and (small.width * times, small.height * times) == large:
            return float(times) ** exponent
    return None


def _whole(companion: Picture, background: str) -> Image.Image:
    """Return all of a picture as upright sRGB."""
    return Photo(companion, background).render(Box(0, 0, *companion.size), companion.size)


def _mask_of(companion: Picture) -> Image.Image:
    """Return the values of a mask, as stored."""
    from PIL import ImageChops

    grey, alpha = decode_layers(companion)
    if alpha is None:
        return grey
    seen = grey.histogram(alpha.point([0] + [255] * 255))
    if sum(map(bool, seen)) <= 1:
        return alpha
    return ImageChops.multiply(grey, alpha)
