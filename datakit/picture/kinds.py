"""What a file is, told by its first bytes: its name decides nothing."""

from __future__ import annotations

import os
import re

# What a file begins with, and what Pillow calls that format: all that is read, and no more. Pillow's other plugins include
# some that start external programs (EPS, for one).
_PICTURES = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "WEBP"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"II[*+]\x00|MM\x00[*+]"), "TIFF"),
    (re.compile(rb"BM.{12}[\x0c-\x7c]\x00\x00\x00", re.DOTALL), "BMP"),
    (re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n"), "JXL"),
)
# Major and compatible brands of ISO/IEC 14496-12 containers (AVIF 1.1, section 6; ISO/IEC 23008-12, annex B).
_BRANDS = {
    "AVIF": frozenset({b"avif", b"avis"}),
    "HEIF": frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}),
}
_GENERAL = frozenset({b"mif1", b"msf1", b"miaf"})
# What else people have among their pictures, so that a refusal can say what it is.
_OTHERS = (
    (re.compile(rb"\x89PNG"), "a PNG whose line ends were changed on its way"),
    (re.compile(rb"8BPS"), "a Photoshop file"),
    (re.compile(rb"%PDF"), "a PDF"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "a PostScript file"),
    (re.compile(rb"v/1\x01"), "an OpenEXR picture"),
    (re.compile(rb"#\?(RADIANCE|RGBE)"), "a Radiance HDR picture"),
    (re.compile(rb"\x00\x00\x00\x0cjP  |\xffO\xffQ"), "a JPEG 2000 picture"),
    (re.compile(rb"\xffW|II\xbc"), "a JPEG XR picture"),
    (re.compile(rb"\x00\x00[\x01\x02]\x00"), "a Windows icon"),
    (re.compile(rb"DDS "), "a DirectDraw texture"),
    (re.compile(rb"qoif"), "a QOI picture"),
    (re.compile(rb"gimp xcf"), "a GIMP file"),
    (re.compile(rb"FUJIFILMCCD-RAW|IIRO|IIRS|IIU\x00|FOVb"), "a camera's raw picture"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive"),
    (re.compile(rb"\x1f\x8b"), "a gzip archive"),
    (re.compile(rb"Rar!|7z\xbc\xaf"), "an archive"),
    (re.compile(rb"\x1aE\xdf\xa3"), "a video"),
    (re.compile(rb".{4}ftyp(crx )", re.DOTALL), "a camera's raw picture"),
    (re.compile(rb".{4}ftyp|RIFF.{4}AVI |\x00\x00\x01\xba", re.DOTALL), "a video"),
    (re.compile(rb"P[1-7]\s"), "a Netpbm picture"),
    (
        re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg", re.DOTALL),
        "an SVG drawing",
    ),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)", re.IGNORECASE), "a web page"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer: the picture itself was not downloaded"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*[\[{][\s\"\[{]"), "a JSON text"),
)
# Which formats a name stands for, by extension.
_NAMED = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".hif": "HEIF",
    ".heics": "HEIF",
    ".heifs": "HEIF",
    ".jxl": "JXL",
}
_SAID = {"WEBP": "WebP", "HEIF": "HEIC", "JXL": "JPEG XL"}


def kind_of(data: bytes) -> str | None:
    """Return what Pillow calls the format of a file; None where it is none that is read."""
    start = data[:18]
    for pattern, kind in _PICTURES:
        if pattern.match(start):
            return kind
    return _container(data) if data[4:8] == b"ftyp" else None


def _container(data: bytes) -> str | None:
    end = min(int.from_bytes(data[:4], "big"), len(data), 4096)
    major, compatible = data[8:12], [data[at : at + 4] for at in range(16, end, 4)]
    # A general brand says only that one of the compatible ones tells more.
    for brand in (major, *compatible) if major in _GENERAL else (major,):
        for kind, known in _BRANDS.items():
            if brand in known:
                return kind
    return "HEIF" if major in _GENERAL else None


def why_none(data: bytes, name: str) -> str:
    """Say what a file is that is no picture that can be read."""
    for pattern, what in _OTHERS:
        if pattern.match(data[:1024]):
            return f"is {what}, no picture that can be read"
    if data.count(0) == len(data):
        return "holds nothing but zeros: its content was never written, or not downloaded"
    suffix = os.path.splitext(name)[1].lower()
    if data[:4096].isascii() and data[:4096].decode().isprintable():
        return "is a text, no picture that can be read"
    return f"is no picture that can be read{f', or not really a {suffix} file' if suffix in _NAMED else ''}"


def said(kind: str) -> str:
    """Return what people call a format."""
    return _SAID.get(kind, kind)


def misnamed(kind: str, name: str) -> str:
    """Return how to say of a picture that its name stands for another format; nothing where it does not."""
    suffix = os.path.splitext(name)[1].lower()
    return f" (it is named {suffix})" if _NAMED.get(suffix, kind) != kind else ""
