"""Write the picture files that no library writes: each part of a format by hand, from its specification."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

SIDE = 256  # a sixteenth of what a trainer takes: the set of sizes that these tests add has it


def patches(seed=1, top=255):
    """A chart of 8 x 8 colours, square and of a bucket's size, as (SIDE, SIDE, 3) floats of 0 to ``top``."""
    colours = np.random.default_rng(seed).integers(0, 256, (8, 8, 3))
    colours[0, :4] = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0]]
    return np.kron(colours / 255 * top, np.ones((SIDE // 8, SIDE // 8, 1)))


# --- PNG ---------------------------------------------------------------------------------------


def chunk(kind, body=b"", *, check=None):
    """One chunk; with another checksum where that is given."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) if check is None else check)


def png(pixels, *chunks, end=True, behind=b""):
    """A PNG of (height, width, 1 to 4) 8- or 16-bit values with raw chunks before its pixels, and others behind them."""
    height, width, channels = pixels.shape
    wide = pixels.dtype == np.uint16
    header = struct.pack(">IIBBBBB", width, height, 16 if wide else 8, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = np.ascontiguousarray(pixels.astype(">u2" if wide else np.uint8)).reshape(height, -1).view(np.uint8)
    data = zlib.compress(np.hstack([np.zeros((height, 1), np.uint8), rows]).tobytes(), 1)
    parts = (chunk(b"IHDR", header), *chunks, chunk(b"IDAT", data), behind, chunk(b"IEND") if end else b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def gama(exponent):
    return chunk(b"gAMA", struct.pack(">I", round(exponent * 100_000)))


def chrm(primaries, white):
    values = [value for pair in (white, *primaries) for value in pair]
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values)))


def cicp(primaries, transfer, matrix=0, whole=1):
    return chunk(b"cICP", bytes((primaries, transfer, matrix, whole)))


def iccp(profile):
    return chunk(b"iCCP", b"some\0\0" + zlib.compress(profile))


# --- BMP ---------------------------------------------------------------------------------------


def bmp(
    pixels, *, header=40, bits=24, compression=0, masks=(0, 0, 0, 0), space=b"\0\0\0\0", endpoints=(0,) * 9, gamma=0, profile=b""
):
    """A bottom-up BMP; ``pixels`` are the stored bytes of each row, from the top."""
    height, row = len(pixels), pixels.reshape(len(pixels), -1).astype(np.uint8)
    width = row.shape[1] * 8 // bits
    row = np.pad(row, ((0, 0), (0, -row.shape[1] % 4)))[::-1].tobytes()
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(row), 2835, 2835, 0, 0)
    if header > 40 or compression == 3:
        info += struct.pack("<4I", *masks)[: 12 if header == 40 else 16]
    if header >= 108:
        info += space + struct.pack("<9I3I", *endpoints, *(gamma,) * 3)
    if header >= 124:
        info += struct.pack("<4I", 4, header + len(row) if profile else 0, len(profile), 0)
    start = 14 + len(info)
    return b"BM" + struct.pack("<IHHI", start + len(row) + len(profile), 0, 0, start) + info + row + profile


# --- TIFF --------------------------------------------------------------------------------------


def tiff(*pages, order="<", big=False):
    """A TIFF of uncompressed pages, each a dict of tags: numbers, lists of them, tuples of shorts, or bytes; ``data`` is the strips."""
    word, count, entry, inline = ("Q", "Q", "HHQ", 8) if big else ("I", "H", "HHI", 4)
    mark = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    out = bytearray(mark + (struct.pack(f"{order}HHQ", 8, 0, 0) if big else struct.pack(f"{order}I", 0)))
    link = 8 if big else 4
    for page in pages:
        tags = dict(page)
        starts, lengths = [], []
        for strip in tags.pop("data"):
            starts.append(len(out))
            lengths.append(len(strip))
            out += strip
        tags |= {273: starts, 279: lengths}
        fields = []
        for number in sorted(tags):
            value = tags[number]
            if isinstance(value, bytes):
                kind, length, packed = 7, len(value), value
            elif isinstance(value, tuple):
                kind, length, packed = 3, len(value), struct.pack(f"{order}{len(value)}H", *value)
            elif isinstance(value, list):
                kind, length, packed = 4, len(value), struct.pack(f"{order}{len(value)}I", *value)
            else:
                kind, length, packed = 4, 1, struct.pack(f"{order}I", value)
            if len(packed) > inline:
                packed, at = struct.pack(f"{order}{word}", len(out)), packed
                out += at
            fields.append(struct.pack(f"{order}{entry}", number, kind, length) + packed.ljust(inline, b"\0"))
        out += bytes(len(out) % 2)
        struct.pack_into(f"{order}{word}", out, link, len(out))
        out += struct.pack(f"{order}{count}", len(fields)) + b"".join(fields)
        link = len(out)
        out += struct.pack(f"{order}{word}", 0)
    return bytes(out)


def page(pixels, bits, photometric, *, planar=False, extra=(), order="<", kind=1, **tags):
    """Tags of (height, width, channels) unsigned values, packed to ``bits`` a channel."""
    height, width, channels = pixels.shape
    planes = pixels.transpose(2, 0, 1) if planar else pixels.reshape(1, height, width * channels)
    made = {
        256: width,
        257: height,
        258: (bits,) * channels,
        259: 1,
        262: photometric,
        277: channels,
        278: height,
        284: 2 if planar else 1,
        339: (kind,) * channels,
        "data": [packed(plane, bits, order) for plane in planes],
    }
    if extra:
        made[338] = tuple(extra)
    return made | {int(name[1:]): value for name, value in tags.items()}


def packed(rows, bits, order="<"):
    """Rows of unsigned values, or of floats, as TIFF stores them: each row ends at a byte (TIFF 6.0, section 8)."""
    if rows.dtype.kind == "f" or bits in (8, 16, 32):
        kind = rows.dtype.kind if rows.dtype.kind == "f" else "u"
        return rows.astype(f"{order}{kind}{bits // 8}").tobytes()
    if bits == 24:
        whole = rows.astype(f"{order}u4").view(np.uint8).reshape(*rows.shape, 4)
        return np.ascontiguousarray(whole[..., :3] if order == "<" else whole[..., 1:]).tobytes()
    single = (rows.astype(np.uint32)[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(single.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


# --- AVIF --------------------------------------------------------------------------------------


def avif(image, primaries=1, transfer=13, **options):
    """An AVIF with other codes in its nclx box (ISO/IEC 14496-12, 12.1.5)."""
    target = io.BytesIO()
    image.save(target, "AVIF", quality=100, subsampling="4:4:4", **options)
    return with_codes(target.getvalue(), primaries, transfer)


def with_codes(data, primaries, transfer):
    at = data.index(b"nclx") + 4
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


def with_matrix(data, matrix):
    at = data.index(b"nclx") + 8
    return data[:at] + struct.pack(">H", matrix) + data[at + 2 :]


def boxes(data, start, end):
    """(name, start of the box, start of its content, end) of each box."""
    while start < end:
        length, name = struct.unpack_from(">I4s", data, start)
        yield name, start, start + 8, start + length
        start += length


def find(data, *path):
    """Where a box is: its start, that of its content, its end."""
    start, end = 0, len(data)
    for name in path:
        box = next(box for box in boxes(data, start, end) if box[0] == name)
        start, end = box[2] + (4 if name == b"meta" else 0), box[3]
    return box[1:]


def associations(data):
    """(item, where its list of properties begins, their number) of each item that libavif writes."""
    _, at, _ = find(data, b"meta", b"iprp", b"ipma")
    (count,) = struct.unpack_from(">I", data, at + 4)
    at += 8
    for _ in range(count):
        item, number = struct.unpack_from(">HB", data, at)
        yield item, at + 3, number
        at += 3 + number


def with_clean_aperture(data, width, height, right=0, down=0):
    """An AVIF of which only a window is meant; its centre lies ``right`` and ``down`` of the picture's."""
    body = struct.pack(">8I", width, 1, height, 1, right % 2**32, 1, down % 2**32, 1)
    box = struct.pack(">I4s", 8 + len(body), b"clap") + body
    out = bytearray(data)
    ipco = find(data, b"meta", b"iprp", b"ipco")
    number = sum(1 for _ in boxes(data, ipco[1], ipco[2])) + 1
    _item, at, length = next(iter(associations(data)))
    out[at - 1] = length + 1
    out.insert(at + length, number | 0x80)
    out[ipco[2] : ipco[2]] = box
    grown = len(box) + 1
    for path, more in (((b"meta",), grown), ((b"meta", b"iprp"), grown), ((b"meta", b"iprp", b"ipco"), len(box))):
        start = find(data, *path)[0]
        struct.pack_into(">I", out, start, struct.unpack_from(">I", data, start)[0] + more)
    start = find(data, b"meta", b"iprp", b"ipma")[0] + len(box)
    struct.pack_into(">I", out, start, struct.unpack_from(">I", out, start)[0] + 1)
    _move_items(out, grown)
    return bytes(out)


def _move_items(out, by):
    """Point iloc (ISO/IEC 14496-12, 8.11.3), as libavif writes it, to data that lies further on."""
    _, at, _ = find(bytes(out), b"meta", b"iloc")
    version, sizes = out[at], out[at + 4] << 8 | out[at + 5]
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    assert (version, offset_size, length_size, base_size) == (0, 4, 4, 0)
    (count,) = struct.unpack_from(">H", out, at + 6)
    at += 8
    for _ in range(count):
        (extents,) = struct.unpack_from(">H", out, at + 4)
        at += 6
        for _ in range(extents):
            struct.pack_into(">I", out, at, struct.unpack_from(">I", out, at)[0] + by)
            at += 8


def without_size_of_alpha(data):
    """An AVIF whose alpha does not say its size, as some encoders write it (libavif's test files, alpha_noispe)."""
    ipco = find(data, b"meta", b"iprp", b"ipco")
    names = [box[0] for box in boxes(data, ipco[1], ipco[2])]
    out = bytearray(data)
    _, at, number = list(associations(data))[1]
    for place in range(at, at + number):
        if names[(out[place] & 0x7F) - 1] == b"ispe":
            out[place] = out[place + 1]
    return bytes(out)


def save(pixels, file_format, **options):
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, file_format, **options)
    return target.getvalue()


def with_two_lists(data):
    """An AVIF whose second item's properties stand in a list of their own, as link-u's encoder writes it."""
    start, inside, end = find(data, b"meta", b"iprp", b"ipma")
    ipco = find(data, b"meta", b"iprp", b"ipco")
    last = list(associations(data))[-1]
    split = last[1] - 3
    kind = data[inside : inside + 4]
    first = struct.pack(">I4s4sI", split - start, b"ipma", kind, len(list(associations(data))) - 1) + data[inside + 8 : split]
    second = struct.pack(">I4s4sI", 16 + end - split, b"ipma", kind, 1) + data[split:end]
    out = bytearray(data[:start] + first + second + data[end:])
    for path in ((b"meta",), (b"meta", b"iprp")):
        at = find(data, *path)[0]
        struct.pack_into(">I", out, at, struct.unpack_from(">I", data, at)[0] + 16)
    assert ipco[2] == start
    _move_items(out, 16)
    return bytes(out)


def with_colours_in_the_stream(data, primaries, transfer):
    """An AVIF of 256 x 256 whose boxes say nothing of colours; a reduced sequence header in av1C does (AV1, 5.5.1)."""
    ipco = find(data, b"meta", b"iprp", b"ipco")
    before, after = [box for box in boxes(data, ipco[1], ipco[2]) if box[0] in (b"av1C", b"colr")]
    assert (before[0], after[0], before[3]) == (b"av1C", b"colr", after[1])
    # Profile 1; a still picture, reduced, level 0; both sides in 8 bits; no tools; 8 bits; its colours.
    header = f"00111{0:05b}{7:04b}{7:04b}{255:08b}{255:08b}{0:06b}01{primaries:08b}{transfer:08b}".ljust(72, "0")
    unit = b"\x0a\x09" + int(header, 2).to_bytes(9, "big")
    both = struct.pack(">I4s", 12 + len(unit), b"av1C") + data[before[2] : before[3]] + unit
    return data[: before[1]] + both + struct.pack(">I4s", 8, b"free") + data[after[3] :]
