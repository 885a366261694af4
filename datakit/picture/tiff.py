"""The pages of a TIFF: which is the picture, and the pixels of those that Pillow reads wrongly or not at all.

Source of all rules: TIFF 6.0, Adobe; its supplement 2 for floats.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from datakit.errors import PictureError
from datakit.geometry import Size
from datakit.picture.header import Header
from datakit.picture.pillow import opened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from datakit.picture.values import Values

# What it says it also raises.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
_BITS, _COMPRESSION, _PHOTOMETRIC, _PLANES, _COLOUR_MAP, _SAMPLE_FORMAT, _SUBSAMPLING = 258, 259, 262, 284, 320, 339, 530
_UNSIGNED, _SIGNED, _FLOAT, _UNSAID = 1, 2, 3, 4
# WhiteIsZero, BlackIsZero, RGB, palette, CMYK, YCbCr and the three kinds of Lab.
_PILLOW_KNOWS = frozenset({0, 1, 2, 3, 5, 6, 8})
_CHANNELS = {"MINISWHITE": 1, "MINISBLACK": 1, "RGB": 3, "PALETTE": 1, "SEPARATED": 4, "CIELAB": 3, "ICCLAB": 3, "YCBCR": 3}
_SUGGESTED = {1: "MINISBLACK", 3: "RGB", 4: "SEPARATED"}
_MOST_CHANNELS = 16
_WHITE = "whose white is not defined: convert it to 8 or 16 bits first"


def look(data: bytes) -> Header:
    """Return which page of a TIFF is meant, the largest, and what of it Pillow would read wrongly. Raises PictureError."""
    header = Header("TIFF", data)
    sizes = _plain_pages(data)
    if sizes is None:
        look_closer(header)
    else:
        header.page = sizes.index(max(sizes, key=lambda size: size.area))
        _say_pages(header, len(sizes))
    return header


def _plain_pages(data: bytes) -> list[Size] | None:
    """Return the sizes of the pages where Pillow reads all of them rightly."""
    sizes = []
    try:
        with opened(data, ("TIFF",)) as image:
            for page in range(getattr(image, "n_frames", 1)):
                image.seek(page)
                if not _is_plain(image):
                    return None
                sizes.append(Size(*image.size))
    except Exception:  # the other decoder says what is wrong, if anything
        return None
    return sizes


def _is_plain(image: Image.Image) -> bool:
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    formats = tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))
    return (
        max(tags.get(_BITS, (1,))) <= 8
        and set(formats if isinstance(formats, tuple) else (formats,)) == {_UNSIGNED}
        and tags.get(_PHOTOMETRIC) in _PILLOW_KNOWS
        and (tags.get(_PLANES, 1) == 1 or image.mode in ("L", "RGB"))  # of others, planes are taken for what they are not
        # Where nothing is packed, subsampling is passed over.
        and not (tags.get(_PHOTOMETRIC) == 6 and tags.get(_COMPRESSION, 1) == 1 and tags.get(_SUBSAMPLING, (2, 2)) != (1, 1))
    )


def mend_colour_map(image: Image.Image) -> None:
    """Read a colour map of 8-bit values as it is meant: libtiff takes one without any larger value for such (tif_getimage.c)."""
    colours = image.tag_v2.get(_COLOUR_MAP, ())  # type: ignore[attr-defined]
    if image.mode == "P" and 0 < max(colours, default=0) < 256:
        third = len(colours) // 3
        image.putpalette([colours[at + band * third] for at in range(third) for band in range(3)])


def _say_pages(header: Header, number: int) -> None:
    if number > 1:
        which = "the first" if header.page == 0 else f"the largest, page {header.page + 1},"
        header.note("frames", f"several frames or pages: only {which} is used")


def look_closer(header: Header) -> None:
    """Find out with the other decoder which page is meant, and what it is. Raises PictureError."""
    with _file(header) as file:
        pages = list(_pages(file))
        if not pages:
            raise PictureError("is damaged: no page lies where its header says (was it cut?)")
        sizes = [Size(page.imagewidth, page.imagelength) for page in pages]
        # A mask goes with a page, and is none (NewSubfileType, bit 2).
        areas = [
            0 if page.subfiletype & 4 or page.photometric == 4 else size.area for page, size in zip(pages, sizes, strict=True)
        ]
        header.page = areas.index(max(areas))
        page = pages[header.page]
        header.size = sizes[header.page]
        if isinstance(page.bitspersample, tuple):
            depths = ", ".join(map(str, page.bitspersample))
            raise PictureError(f"has channels of different depths ({depths} bits), which is not read: save it as 8-bit RGB")
        header.bits = page.bitspersample
        profile = page.tags.get(34675)
        header.icc = bytes(profile.value) if profile is not None else None
        turned = page.tags.get(274)
        header.turned = int(turned.value) if turned is not None else 1
        header.mode = "CMYK" if _model(page) == "SEPARATED" else "L" if page.samplesperpixel < 3 else "RGB"
        if page.samplesperpixel > _MOST_CHANNELS:
            raise PictureError(f"has {page.samplesperpixel} channels, more than a picture has")
        _say_pages(header, len(sizes))


def may_be_read_otherwise(header: Header) -> bool:
    """Tell whether a page that Pillow fails on is left to the other decoder, which then says why if it cannot.

    Not one of JPEGs, whose decoder there makes up what is missing; and not a turned one, which Pillow would have turned.
    """
    look_closer(header)
    with _file(header) as file:
        page = file.pages[header.page]
        return header.turned == 1 and getattr(page.compression, "name", "") not in ("JPEG", "OJPEG")


def _file(header: Header) -> Any:
    import tifffile

    return tifffile.TiffFile(io.BytesIO(header.data))


def _pages(file: Any) -> Iterator[Any]:
    """Yield the pages, each once: some damaged files lead back to an earlier one."""
    seen: set[int] = set()
    for page in file.pages:
        if page.offset in seen:
            return
        seen.add(page.offset)
        if hasattr(page, "photometric"):
            yield page


def _model(page: Any) -> str:
    """Return what the pixels mean; where that is not said, what a colour map, their packing or number of channels suggests."""
    name: str = getattr(page.photometric, "name", str(page.photometric))
    if _PHOTOMETRIC in page.tags or getattr(page.compression, "name", "").startswith("CCITT"):
        return name
    if page.colormap is not None:
        return "PALETTE"
    return _SUGGESTED.get(page.samplesperpixel - len(page.extrasamples), name)


def read(header: Header) -> Values:
    """Return the stored pixels of the page that is meant. Raises PictureError where they have no agreed meaning."""
    import numpy as np

    from datakit.picture.values import TOP, Values, scaled

    with _file(header) as file:
        page: Any = file.pages[header.page]
        model = _model(page)
        _check(page, model)
        try:
            stored = page.asarray(maxworkers=1)
        except ValueError as error:
            if "not supported" not in str(error):
                raise
            raise PictureError(
                f"is compressed in a way that is not read ({getattr(page.compression, 'name', page.compression)})"
            ) from error
        pixels = _in_order(stored, page)
        colours = _CHANNELS[model]
        if model == "PALETTE":
            return Values(_from_map(pixels[..., 0], page.colormap), "RGB")
        bits = page.bitspersample
        if bits == 32 and pixels.max(initial=0) <= TOP:
            bits = 16  # written by programs that keep 16 bits in 32
        values = scaled(pixels, bits)
        if model in ("CIELAB", "ICCLAB"):
            # The first kind has signed a and b (TIFF 6.0, section 23); Pillow wants them as the second has.
            colour = values[..., :3] if model == "ICCLAB" else values[..., :3] ^ np.array([0, 0x8000, 0x8000], np.uint16)
            return Values(colour, "LAB")
        if model == "MINISWHITE":
            values[..., 0] = TOP - values[..., 0]
        kinds = [int(kind) for kind in page.extrasamples]
        alpha = next((number for number, kind in enumerate(kinds) if kind in (1, 2)), None)
        mode = {1: "L", 3: "RGB", 4: "CMYK"}[colours]
        if alpha is None:
            return Values(values[..., :colours], mode)
        return Values(values[..., :colours], mode, values[..., colours + alpha], kinds[alpha] == 1)


def _check(page: Any, model: str) -> None:
    formats = page.sampleformat
    if formats == _FLOAT:
        raise PictureError(f"has {page.bitspersample}-bit float pixels, {_WHITE}")
    if formats == _SIGNED:
        raise PictureError(f"has signed {page.bitspersample}-bit pixels, {_WHITE}")
    if formats not in (_UNSIGNED, _UNSAID) or page.bitspersample > 32:
        raise PictureError(f"has {page.bitspersample}-bit pixels of a kind that is not read: convert it to 8 or 16 bits first")
    jpeg = getattr(page.compression, "name", "") == "JPEG"
    if model not in _CHANNELS or (model == "YCBCR" and not jpeg) or page.samplesperpixel < _CHANNELS[model]:
        raise PictureError(
            f"has pixels of a kind that is not read ({model}, {page.samplesperpixel} channels of {page.bitspersample} bits)"
        )
    if not all(page.databytecounts):
        raise PictureError("is damaged: some of its strips or tiles are empty")
    if model == "PALETTE" and page.colormap is None:
        raise PictureError("has no colour map, which its pixels stand for")


def _in_order(stored: NDArray[Any], page: Any) -> NDArray[Any]:
    """Return pixels as (height, width, channels), whichever way they were stored."""
    shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        return stored.reshape(shape[2], *shape[:2]).transpose(1, 2, 0)
    return stored.reshape(shape)


def _from_map(indices: NDArray[Any], colours: NDArray[np.uint16]) -> NDArray[np.uint16]:
    map_of_8_bits = 0 < colours.max(initial=0) < 256
    return (colours * 257 if map_of_8_bits else colours).T[indices]
