"""Augmentations: named changes to the pixels of a copy, drawn at random first and applied later.

What is drawn is plain numbers, kept in the manifest: the same numbers give the same pixels again. Mirroring,
turning and cropping are one resample from the picture that the bucket was cropped from; the other changes then
follow in the order of the table, on floats that are rounded and clipped once at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from datakit.errors import UsageError
from datakit.geometry import Box, Size
from datakit.picture.images import Picture
from datakit.picture.material import Material, Photo
from datakit.seeds import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    Pixels = NDArray[np.float32]

Drawn = float | bool | tuple[float, ...]

# Of red, green and blue in the luma of gamma-encoded sRGB (ITU-R BT.709-6, item 3.2).
_LUMA = (0.2126, 0.7152, 0.0722)
# Source pixels around a turned window that the filter reaches for (Lanczos4 looks 4 pixels far).
_MARGIN = 5


class Augmentation(NamedTuple):
    """One kind of change: its strength when none is given, the strengths allowed, what they mean, and two functions.

    ``draw`` decides for one copy and returns None where nothing changes; ``change`` turns (height, width, 3) floats
    of 0 to 255 into others, and is None for changes of shape, which `augment` does in one resample.
    """

    default: float
    least: float
    most: float
    meaning: str
    draw: Callable[[Random, float], Drawn | None]
    change: Callable[[Pixels, Drawn], Pixels] | None = None


def parse_augmentations(text: str) -> dict[str, float]:
    """Read ``name[=strength]`` pieces between commas into strengths by name, in the order of the table.

    Raises
    ------
    UsageError
        A name is unknown or given twice, or a strength is no number or not allowed.
    """
    strengths: dict[str, float] = {}
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, strength = (part.strip() for part in piece.partition("="))
        if name not in AUGMENTATIONS:
            raise UsageError(f"augmentation {name!r} is unknown: choose from {', '.join(AUGMENTATIONS)}")
        if name in strengths:
            raise UsageError(f"augmentation {name!r} is given twice: name it once")
        try:
            strengths[name] = float(strength) if strength else AUGMENTATIONS[name].default
        except ValueError:
            raise UsageError(
                f"augmentation {piece!r}: {strength!r} is no number: write {name}={AUGMENTATIONS[name].default:g}"
            ) from None
    check_strengths(strengths)
    return {name: strengths[name] for name in AUGMENTATIONS if name in strengths}


def check_strengths(strengths: Mapping[str, float]) -> None:
    """Make sure that every augmentation is known and its strength allowed.

    Raises
    ------
    UsageError
        One is not.
    """
    for name, strength in strengths.items():
        if name not in AUGMENTATIONS:
            raise UsageError(f"augmentation {name!r} is unknown: choose from {', '.join(AUGMENTATIONS)}")
        kind = AUGMENTATIONS[name]
        if not kind.least <= strength <= kind.most:
            raise UsageError(f"augmentation {name}={strength:g} is not between {kind.least:g} and {kind.most:g}: {kind.meaning}")


def draw(strengths: Mapping[str, float], seed: int, sample: str, copy: int) -> dict[str, Drawn]:
    """Decide the changes of one copy; those that come out as no change are left out.

    Each depends on the seed, the sample, the copy and its own name and strength, not on the other augmentations.
    """
    drawn = {
        name: kind.draw(generator(seed, sample, "augment", copy, name), strengths[name])
        for name, kind in AUGMENTATIONS.items()
        if name in strengths
    }
    return {name: value for name, value in drawn.items() if value is not None}


def augment(picture: Picture, box: Box, bucket: Size, drawn: Mapping[str, Drawn], background: str = "white") -> Image:
    """Crop a picture to a box, resize it to a bucket and apply what was drawn; return sRGB of the bucket's size.

    A turned window is the largest of the box's aspect that fits into the picture: no border is ever made up.
    Transparent pixels are laid over ``background``.

    Raises
    ------
    PictureError
        The picture is damaged.
    """
    from PIL import Image

    image = shaped(Photo(picture, background), box, bucket, drawn)
    pixels: Pixels | None = None
    for name, kind in AUGMENTATIONS.items():
        if kind.change and name in drawn:
            pixels = np.asarray(image, np.float32) if pixels is None else pixels
            pixels = kind.change(pixels, drawn[name])
    return image if pixels is None else Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def enlargement_of(size: Size, box: Box, bucket: Size, drawn: Mapping[str, Drawn]) -> float:
    """Return the pixels of the output per pixel of the window that `augment` takes; above 1 it enlarges."""
    window = _window(size, box, drawn)
    return max(bucket.width / window.width, bucket.height / window.height)


class _Window(NamedTuple):
    """A rectangle that may be turned, in pixels of the upright picture: centre, sides, and its angle in radians."""

    x: float
    y: float
    width: float
    height: float
    angle: float


def _window(size: Size, box: Box, drawn: Mapping[str, Drawn]) -> _Window:
    """Place the window: turned about the box's centre, as large as fits, then the drawn share of it."""
    angle = math.radians(_number(drawn.get("rotate", 0.0)))
    share, across, down = _numbers(drawn.get("crop", (1.0, 0.0, 0.0)))
    cosine, sine = math.cos(angle), math.sin(angle)
    # Sides of the upright rectangle around the turned window, before it is shrunk to fit.
    around = box.size.width * cosine + box.size.height * abs(sine), box.size.width * abs(sine) + box.size.height * cosine
    fit = min(1.0, size.width / around[0], size.height / around[1])
    width, height, reach = box.size.width * fit, box.size.height * fit, (around[0] * fit / 2, around[1] * fit / 2)
    x = min(max((box.left + box.right) / 2, reach[0]), size.width - reach[0])
    y = min(max((box.top + box.bottom) / 2, reach[1]), size.height - reach[1])
    along, aside = across * (1 - share) * width / 2, down * (1 - share) * height / 2
    return _Window(x + along * cosine - aside * sine, y + along * sine + aside * cosine, width * share, height * share, angle)


def shaped(material: Material, box: Box, bucket: Size, drawn: Mapping[str, Drawn]) -> Image:
    """Mirror, turn and crop in one resample, and change nothing else; companions of a picture go where it goes. Raises as `augment`."""
    from PIL import Image

    window = _window(material.size, box, drawn)
    if window.angle:
        return _turned(material, window, bucket, mirrored="flip" in drawn)
    left, top = round(window.x - window.width / 2), round(window.y - window.height / 2)
    upright = Box(left, top, left + round(window.width), top + round(window.height))
    image = material.render(upright, bucket)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if "flip" in drawn else image


def _turned(material: Material, window: _Window, bucket: Size, *, mirrored: bool) -> Image:
    """Sample a turned window.

    The pixels around it are decoded at their own size, or shrunk to twice the bucket's scale where they are finer
    still. They are sampled at the bucket's grid with Lanczos4, or, where they are finer, at a grid twice as fine with
    the cubic filter (a third of the time, no difference after the next step), which Lanczos then halves: nothing
    aliases, and against the plain resize of `datakit.picture.images.render` no sharpness is lost. Masks are sampled and halved
    linearly, which overshoots nowhere.
    """
    import cv2
    from PIL import Image

    cosine, sine = math.cos(window.angle), math.sin(window.angle)
    reach = (window.width * cosine + window.height * abs(sine)) / 2, (window.width * abs(sine) + window.height * cosine) / 2
    region = Box(
        max(0, math.floor(window.x - reach[0]) - _MARGIN),
        max(0, math.floor(window.y - reach[1]) - _MARGIN),
        min(material.size.width, math.ceil(window.x + reach[0]) + _MARGIN),
        min(material.size.height, math.ceil(window.y + reach[1]) + _MARGIN),
    )
    finer = window.width / bucket.width
    shrink = min(1.0, 2 / finer)
    target = Size(*(max(1, round(side * shrink)) for side in region.size))
    pixels = np.asarray(material.render(region, target))
    grid = 2 if finer > 1 else 1
    # From the centre of a pixel of the grid to the source, from there to the decoded region.
    step = (-1 if mirrored else 1) * window.width / bucket.width / grid, window.height / bucket.height / grid
    middle = (bucket.width * grid - 1) / 2, (bucket.height * grid - 1) / 2
    scale = target.width / region.size.width, target.height / region.size.height
    matrix = np.array(
        [
            [
                step[0] * cosine,
                -step[1] * sine,
                window.x - region.left - step[0] * cosine * middle[0] + step[1] * sine * middle[1],
            ],
            [step[0] * sine, step[1] * cosine, window.y - region.top - step[0] * sine * middle[0] - step[1] * cosine * middle[1]],
        ]
    ) * np.array([[scale[0]], [scale[1]]])
    matrix[:, 2] -= 0.5
    sharp = cv2.INTER_LANCZOS4 if grid == 1 else cv2.INTER_CUBIC
    turned = cv2.warpAffine(
        pixels,
        matrix,
        (bucket.width * grid, bucket.height * grid),
        flags=(cv2.INTER_LINEAR if material.mask else sharp) | cv2.WARP_INVERSE_MAP,
        # Only the filter's outermost taps ever reach beyond the picture.
        borderMode=cv2.BORDER_REFLECT_101,
    )
    image = Image.fromarray(turned)
    return image if grid == 1 else image.resize(bucket, Image.Resampling.BOX if material.mask else Image.Resampling.LANCZOS)


def brightness(pixels: Pixels, factor: Drawn) -> Pixels:
    """Multiply every value (W3C Filter Effects 1, ``brightness``)."""
    return pixels * np.float32(_number(factor))


def contrast(pixels: Pixels, factor: Drawn) -> Pixels:
    """Move every value away from the mean luma, or towards it (as Pillow's ImageEnhance.Contrast)."""
    # Whole numbers add up exactly whatever the order, which floats do not.
    mean = float(np.rint(_luma(pixels)).astype(np.int64).sum() / (pixels.shape[0] * pixels.shape[1]))
    return mean + (pixels - mean) * np.float32(_number(factor))


def saturation(pixels: Pixels, factor: Drawn) -> Pixels:
    """Move every value away from its pixel's luma, or towards it (W3C Filter Effects 1, ``saturate``)."""
    luma = _luma(pixels)[..., None]
    return luma + (pixels - luma) * np.float32(_number(factor))


def hue(pixels: Pixels, degrees: Drawn) -> Pixels:
    """Turn the colours, keeping each pixel's luma (W3C Filter Effects 1, ``hueRotate``)."""
    angle = math.radians(_number(degrees))
    luma = np.tile(_LUMA, (3, 1))
    # The matrix of sine in the W3C's table, which turns red towards green, green towards blue, blue towards red.
    quarter = np.array([[-0.2126, -0.7152, 0.9278], [0.143, 0.140, -0.283], [-0.7874, 0.7152, 0.0722]])
    matrix = (luma + math.cos(angle) * (np.eye(3) - luma) + math.sin(angle) * quarter).astype(np.float32)
    red, green, blue = (pixels[..., channel] for channel in range(3))
    return np.stack([row[0] * red + row[1] * green + row[2] * blue for row in matrix], axis=-1)


def grayscale(pixels: Pixels, _: Drawn) -> Pixels:
    """Give each channel the pixel's luma."""
    return np.repeat(_luma(pixels)[..., None], 3, axis=-1)


def blur(pixels: Pixels, sigma: Drawn) -> Pixels:
    """Convolve with a Gaussian of ``sigma`` pixels."""
    import cv2

    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), _number(sigma), borderType=cv2.BORDER_REFLECT_101), np.float32)


def noise(pixels: Pixels, drawn: Drawn) -> Pixels:
    """Add noise, near enough normal, of a standard deviation in levels of 255; drawn is (deviation, number of the stream)."""
    deviation, stream = _numbers(drawn)
    # Only the raw stream of PCG64 is promised to stay the same in later versions of numpy. The eight bytes of each raw
    # number, added up, are close to normal: mean 8 x 127.5, variance 8 x (256² - 1) / 12.
    raw = np.random.PCG64(int(stream)).random_raw(pixels.size).astype("<u8", copy=False)
    sums = np.zeros(pixels.size, np.float32)
    for byte in raw.view(np.uint8).reshape(-1, 8).T:
        sums += byte
    normal = (sums - np.float32(8 * 127.5)) * np.float32(1 / math.sqrt(8 * (256**2 - 1) / 12))
    return pixels + np.float32(deviation) * normal.reshape(pixels.shape)


def _luma(pixels: Pixels) -> Pixels:
    # Channel by channel: a matrix product may add up in another order on another machine.
    red, green, blue = (pixels[..., channel] * np.float32(weight) for channel, weight in enumerate(_LUMA))
    return red + green + blue


def _number(drawn: Drawn) -> float:
    return drawn if isinstance(drawn, float) else float(_numbers(drawn)[0])


def _numbers(drawn: Drawn) -> tuple[float, ...]:
    return drawn if isinstance(drawn, tuple) else (float(drawn),)


def _chance(source: Random, probability: float) -> bool | None:
    return True if source.random() < probability else None


def _either_way(source: Random, most: float) -> float | None:
    # Rounded, so that the manifest's numbers are the very ones that were applied.
    return round((2 * source.random() - 1) * most, 4) or None


def _factor(source: Random, most: float) -> float | None:
    factor = round(1 + (2 * source.random() - 1) * most, 4)
    return None if factor == 1 else factor


def _share(source: Random, least: float) -> tuple[float, ...] | None:
    """Draw a share of each side, then where the window lies in what is left (-1 to 1, 0 in the middle)."""
    share = round(least + source.random() * (1 - least), 4)
    return None if share == 1 else (share, *(round(2 * source.random() - 1, 4) for _ in range(2)))


def _up_to(source: Random, most: float) -> float | None:
    return round(source.random() * most, 4) or None


def _stream(source: Random, most: float) -> tuple[float, ...] | None:
    deviation = _up_to(source, most)
    return None if deviation is None else (deviation, float(int(source.random() * 2**32)))


# In the order in which they are applied.
AUGMENTATIONS: dict[str, Augmentation] = {
    "flip": Augmentation(0.5, 0, 1, "probability of mirroring left and right", _chance),
    "rotate": Augmentation(3, 0, 45, "degrees, either way", _either_way),
    "crop": Augmentation(0.95, 0.5, 1, "least share of each side that is kept", _share),
    "hue": Augmentation(5, 0, 180, "degrees on the colour wheel, either way", _either_way, hue),
    "saturation": Augmentation(0.1, 0, 1, "share by which it is raised or lowered", _factor, saturation),
    "brightness": Augmentation(0.1, 0, 1, "share by which it is raised or lowered", _factor, brightness),
    "contrast": Augmentation(0.1, 0, 1, "share by which it is raised or lowered", _factor, contrast),
    "grayscale": Augmentation(0.05, 0, 1, "probability of taking the colour out", _chance, grayscale),
    "blur": Augmentation(1, 0, 10, "largest standard deviation in pixels", _up_to, blur),
    "noise": Augmentation(5, 0, 50, "largest standard deviation in levels of 255", _stream, noise),
}
