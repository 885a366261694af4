"""Decode pictures; no other file does.

A picture file becomes upright 8-bit sRGB without alpha. Nothing is left to the trainer's loader: no orientation tag, no
colour profile, no hidden colour under transparency. What a file is, its content says; what Pillow passes over of its
format, the module of that format looks up first.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from datakit.errors import PictureError, TooLargeError
from datakit.geometry import Box, Size
from datakit.libraries import to_install
from datakit.picture import bmp, isobmff, jpeg, png, tiff, webp
from datakit.picture.colour import CONVERTED, hdr_of, is_for_other_pixels, is_srgb, parse_colour, to_srgb
from datakit.picture.colourspaces import ADOBE_RGB, profile_of
from datakit.picture.exif import orientation_of
from datakit.picture.formats import DEFAULT_MAX_PIXELS
from datakit.picture.header import Header
from datakit.picture.kinds import kind_of, said, why_none
from datakit.picture.pillow import add_plugin, limits_lifted, opened, overheard
from datakit.report import Warned

_LOOKS: dict[str, Callable[[bytes], Header]] = {
    "PNG": png.look,
    "JPEG": jpeg.look,
    "AVIF": partial(isobmff.look, kind="AVIF"),
    "HEIF": partial(isobmff.look, kind="HEIF"),
    "BMP": bmp.look,
    "TIFF": tiff.look,
    "WEBP": webp.look,
}
# Orientations (EXIF 2.32, tag 0x0112) whose rows are columns of the picture.
SIDEWAYS = (5, 6, 7, 8)
_DCT_SCALES = (8, 4, 2)
# What Pillow itself adds to `info` for a bare file; anything else might be interpreted.
_BARE = frozenset({"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "loop", "background", "timestamp", "duration"})


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file in memory with what its header says.

    Attributes
    ----------
    name
        The file's name.
    data
        The whole file.
    sha256
        Of ``data``, hexadecimal.
    size
        Of the upright picture, in pixels.
    orientation
        EXIF orientation, 1 to 8; 1 is upright.
    icc
        The colour profile, embedded or made of what the file says of its colours; None where the picture already is sRGB.
    format, mode
        Pillow's names of the file format, such as ``JPEG``, and of the stored pixels, such as ``RGB``.
    alpha, deep
        Whether it has transparent pixels, and more than 8 bits a channel.
    final
        True where the file holds 8-bit upright RGB pixels and nothing that a trainer's loader could
        interpret; its bytes can be copied when the crop is the whole picture.
    header
        What its own format says beyond that.
    warnings
        What the user should know.
    """

    name: str
    data: bytes
    sha256: str
    size: Size
    orientation: int
    icc: bytes | None
    format: str
    mode: str
    alpha: bool
    deep: bool
    final: bool
    header: Header
    warnings: tuple[Warned, ...]


@dataclass(frozen=True, slots=True)
class Pixels:
    """Decoded pixels as stored (not yet upright), in mode L, RGB, CMYK or LAB.

    ``scale`` pixels of the full picture lie in one pixel here, along each side; ``warnings`` is what the decoder found.
    """

    image: Image.Image
    scale: int
    warnings: tuple[Warned, ...] = ()


def open_picture(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read a picture file and its header without decoding it. Raises PictureError, as `read_picture`, or if it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PictureError(f"cannot be read: {error.strerror or error}") from error
    return read_picture(data, path.name, max_pixels)


def read_picture(data: bytes, name: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Read the header of a picture file in memory without decoding it; the name is for messages alone.

    Raises
    ------
    PictureError
        It is no picture of a known format, or has more than ``max_pixels`` pixels.
    """
    if not data:
        raise PictureError("the file is empty (0 bytes)")
    kind = kind_of(data)
    if kind is None:
        raise PictureError(why_none(data, name))
    with _reported(kind):
        add_plugin(kind, name)
        header = _LOOKS[kind](data) if kind in _LOOKS else Header(kind, data)
        image = _opened(header)
        size = header.size if image is None else Size(*image.size)
        assert size is not None  # one of the two knows it
        if not size.area:
            raise PictureError(f"its header says that it has no pixels ({size})")
        if size.area > max_pixels:
            raise TooLargeError(f"{size} is more than {max_pixels} pixels (--max-pixels raises the limit)")
        if kind == "JPEG":
            jpeg.add_end(header)
        orientation = header.turned if image is None else orientation_of(image, data, header)
        icc = _colours(header, image)
        if image is not None and getattr(image, "is_animated", False) and image.format not in ("MPO", "TIFF"):
            header.note("frames", "several frames or pages: only the first is used")
        if header.clean is not None:
            size = header.clean.size
        return Picture(
            name=name,
            data=data,
            sha256=hashlib.sha256(data).hexdigest(),
            size=size.transposed() if orientation in SIDEWAYS else size,
            orientation=orientation,
            icc=icc,
            format=kind if image is None else str(image.format),
            mode=header.mode if image is None else image.mode,
            alpha=image is not None and image.has_transparency_data,
            deep=header.bits > 8 or header.mode_of(image).startswith(("I", "F")),
            final=image is not None and _is_final(image, header, data),
            header=header,
            warnings=tuple(header.notes),
        )


def decode(picture: Picture, window: Size, target: Size, background: str = "white") -> Pixels:
    """Decode at the smallest scale at which a window still covers a target size; see `dct_scale`.

    Alpha is laid over ``background``, palettes are resolved; values of more than 8 bits become sRGB before they are cut.

    Raises
    ------
    PictureError
        The file is damaged or its pixels have no agreed meaning (floats).
    """
    header = picture.header
    notes: list[Warned] = []
    with _reported(header.kind), limits_lifted():
        # Only these decoders write on stderr, which is the whole process's: nobody else should wait for it.
        talks = header.kind == "TIFF" or header.by_values
        listening: AbstractContextManager[list[str]] = overheard() if talks else nullcontext([])
        with listening as lines:
            scale = dct_scale(picture, window, target)
            stored = None if header.by_values else _loaded(header, scale)
            if stored is None:
                from datakit.picture.deep import read_values
                from datakit.picture.values import picture_of

                image = picture_of(read_values(header), picture.icc, header.space, background)
            else:
                image = _plain_mode(stored, picture.icc, background)
        if lines:
            # Pillow gives libtiff no name of the file.
            notes.append(Warned("decoder", f"its decoder says: {' '.join(lines).replace('tempfile.tif', 'the file')}"))
        if header.clean is not None:
            image = _cropped(image, header.clean)
    if _is_blank(image):
        notes.append(Warned("blank", f"comes out in one colour{', as all of it is transparent' if picture.alpha else ''}"))
    return Pixels(image, scale, tuple(notes))


def decode_layers(picture: Picture) -> tuple[Image.Image, Image.Image | None]:
    """Return the stored values of a picture as grey, and its transparency, both L and not yet turned upright.

    Colours become grey by their luma (ITU-R BT.601-7), whatever they mean. The transparency is None where all is opaque.

    Raises
    ------
    PictureError
        The file is damaged.
    """
    header = picture.header
    with _reported(header.kind), limits_lifted():
        image = None if header.by_values else _loaded(header, 1)
        if image is None:
            from datakit.picture.deep import read_values
            from datakit.picture.values import layers_of

            grey, alpha = layers_of(read_values(header))
        else:
            alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
            grey = image.convert("RGBA").convert("L") if alpha is not None else image.convert("L")
    layers = [each if each is None or header.clean is None else each.crop(header.clean) for each in (grey, alpha)]
    if layers[1] is not None and (layers[1].getextrema()[0] == 255 or (header.kind == "BMP" and not layers[1].getextrema()[1])):
        layers[1] = None  # opaque, or as Windows and browsers show what says nothing of its alpha
    return layers[0], layers[1]  # type: ignore[return-value]  # the first is never None


def dct_scale(picture: Picture, window: Size, target: Size) -> int:
    """Return the largest scale (8, 4, 2 or 1) at which a decoder can shrink and a window still covers a target.

    Only JPEG can be decoded smaller, by powers of two (ITU-T T.81: scaling in the DCT domain).
    """
    if picture.format not in ("JPEG", "MPO") or picture.header.by_values:
        return 1
    return next((s for s in _DCT_SCALES if window.width >= s * target.width and window.height >= s * target.height), 1)


def _opened(header: Header) -> Image.Image | None:
    """Open a picture with Pillow; None where its own format's module knows it better."""
    if header.size is not None:
        return None
    try:
        image = opened(header.data, (header.kind,))
        if header.page:
            image.seek(header.page)
    except Exception:
        if header.kind == "JPEG" and jpeg.drop_side_data(header):
            return _opened(header)
        # libavif is stricter as Pillow has it than as others do: browsers show what it refuses.
        header.size = isobmff.size_of(header.data) if header.kind == "AVIF" else None
        if header.size is None:
            raise
        return None
    return image


def _loaded(header: Header, scale: int) -> Image.Image | None:
    """Decode the page that is meant with Pillow, smaller by ``scale``; None for a TIFF that the other decoder may read."""
    stored = Image.open(io.BytesIO(header.data), formats=(header.kind,))
    if header.page:
        stored.seek(header.page)
    if scale > 1:
        stored.draft(None, (stored.width // scale, stored.height // scale))
    try:
        stored.load()
    except Exception:
        if header.kind == "TIFF" and tiff.may_be_read_otherwise(header):
            return None
        raise
    if header.kind == "TIFF":
        tiff.mend_colour_map(stored)
    if header.kind == "JPEG" and jpeg.ends_early(stored, header.data):
        raise PictureError("is damaged: its pixels end early, and decoders fill up the rest with one colour")
    return stored


@contextmanager
def _reported(kind: str) -> Iterator[None]:
    """Turn whatever a decoder raises on a bad file into a PictureError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (PictureError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise PictureError(f"is damaged: it begins like a {said(kind)} picture, and what follows is none") from None
    except ImportError as error:
        raise PictureError(f"cannot be read without a package that is not installed: {to_install(str(error.name))}") from error
    except Exception as error:  # decoders raise nearly anything on hostile input: OSError, ValueError, struct.error, ...
        raise PictureError(f"is damaged or not readable: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return what a decoder says; not what Python does where the decoder took some value for another."""
    if not str(error) or isinstance(
        error, (TypeError, AttributeError, ArithmeticError, LookupError, UnicodeError, AssertionError)
    ):
        return f"its decoder stumbles over what it holds ({type(error).__name__})"
    return str(error)


def _colours(header: Header, image: Image.Image | None) -> bytes | None:
    """Return the profile by which the colours are turned into sRGB; None where they are sRGB, or HDR."""
    mode = header.mode_of(image)
    icc = header.icc or (image.info.get("icc_profile") if image is not None else None) or None
    if header.coded:
        icc = None
    if icc is not None:
        coded = hdr_of(icc)
        if coded is None and (is_for_other_pixels(icc, mode, header.notes) or is_srgb(icc, header.notes)):
            icc = None
        header.space = coded
    if header.space is None:
        return icc
    if header.space.hdr:
        header.note("hdr", f"its colours are HDR ({header.space.hdr}): tone-mapped to sRGB (ITU-R BT.2390)")
        return None
    if mode == "CMYK":
        return icc
    try:
        made = profile_of(header.space)
    except ValueError as error:
        header.note("profile", f"{error}: taken as sRGB")
        header.space = None
        return None
    if header.space is ADOBE_RGB:
        header.note("profile-guessed", "its EXIF block says Adobe RGB, and no profile is embedded: converted from that")
    return None if is_srgb(made, header.notes) else made


def _is_final(image: Image.Image, header: Header, data: bytes) -> bool:
    return (
        image.mode == "RGB"
        and header.plain
        and header.data is data
        and not image.info.keys() - _BARE
        and header.bits <= 8
        and not getattr(image, "is_animated", False)
    )


def _plain_mode(image: Image.Image, icc: bytes | None, background: str) -> Image.Image:
    """Return the picture in mode L, RGB, CMYK or LAB: 8 bits, no palette, no alpha."""
    if image.mode in ("L", "RGB", "CMYK", "LAB") and "transparency" not in image.info:
        return image
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode == "F":
        raise PictureError("has 32-bit float pixels, whose white is not defined: convert it to 8 or 16 bits first")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        if image.format == "BMP" and not alpha.getextrema()[1]:
            return rgba.convert("RGB")  # as Windows and browsers show what says nothing of its alpha
        # Colours are converted before they are mixed: the background is given in sRGB.
        colours = to_srgb(rgba.convert("RGB"), icc)
        canvas = Image.new("RGB", image.size, parse_colour(background))
        canvas.paste(colours, mask=alpha)
        canvas.info[CONVERTED] = True
        return canvas
    return image.convert("L" if image.mode == "1" else "RGB")


def _cropped(image: Image.Image, box: Box) -> Image.Image:
    left = image.crop(box)
    left.info = {key: value for key, value in image.info.items() if key == CONVERTED}
    return left


def _is_blank(image: Image.Image) -> bool:
    """Tell whether all pixels are the same; a few are looked at first, since those of most pictures differ."""
    return _is_flat(image.resize((8, 8), Image.Resampling.NEAREST)) and _is_flat(image)


def _is_flat(image: Image.Image) -> bool:
    return all(band.getextrema()[0] == band.getextrema()[1] for band in image.split())
