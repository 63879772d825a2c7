"""Writers of picture files that common encoders do not write: for tests of decoders.

Nothing is compressed well. Colours are arrays of height x width x 3 bytes.
"""

import io
import struct
import zlib

import numpy as np

# How far the coefficients of a block are read along its diagonals.
ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, i % 8 if (i // 8 + i % 8) % 2 == 0 else i // 8))
COSINES = np.array([[np.sqrt((1 if k == 0 else 2) / 8) * np.cos((2 * n + 1) * k * np.pi / 16) for n in range(8)] for k in range(8)])
# Codes of equal length need no table of the standard's: 4 bits for sizes, 8 for runs and sizes.
SIZES = list(range(12))
RUNS = [run * 16 + size for run in range(16) for size in range(11) if size or run in (0, 15)]


def ycbcr(rgb):
    """Three planes of luma and chroma."""
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    return [luma, 128 + (b - luma) / 1.772, 128 + (r - luma) / 1.402]


class Bits:
    """Bits of entropy-coded data, escaped."""

    def __init__(self):
        self.text = []

    def put(self, value, count):
        if count:
            self.text.append(format(value, f"0{count}b"))

    def value(self, value, size):
        self.put(value if value >= 0 else value + (1 << size) - 1, size)

    def bytes(self):
        text = "".join(self.text)
        text += "1" * (-len(text) % 8)
        raw = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
        return raw.replace(b"\xff", b"\xff\0")


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def adobe(transform):
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def jpeg(planes, sampling, scans=None, ids=None, before=b"", restart=0, step=4, sof=None, end=b"\xff\xd9"):
    """A JPEG of planes of 0...255.

    `sampling` has (across, down) for each channel. `scans` lists channels, or (channels, first, last
    coefficient), which makes the file progressive; by default one scan has all channels.
    """
    height, width = planes[0].shape
    most_across, most_down = (max(s[i] for s in sampling) for i in range(2))
    units = -(-width // (8 * most_across)), -(-height // (8 * most_down))
    channels = []
    for plane, (across, down) in zip(planes, sampling):
        full = np.pad(plane.astype(float), ((0, units[1] * 8 * most_down - height), (0, units[0] * 8 * most_across - width)), mode="edge")
        ratio = most_across // across, most_down // down
        small = full.reshape(full.shape[0] // ratio[1], ratio[1], full.shape[1] // ratio[0], ratio[0]).mean(axis=(1, 3))
        blocks = (small - 128).reshape(small.shape[0] // 8, 8, small.shape[1] // 8, 8).transpose(0, 2, 1, 3)
        values = np.round(COSINES @ blocks @ COSINES.T / step).astype(int)
        channels.append(values.reshape(*values.shape[:2], 64)[..., ZIGZAG])
    ids = ids or list(range(1, len(planes) + 1))
    scans = scans or [list(range(len(planes)))]
    progressive = isinstance(scans[0], tuple)
    out = b"\xff\xd8" + before + segment(0xDB, b"\0" + bytes([step] * 64))
    frame = struct.pack(">BHHB", 8, height, width, len(planes))
    frame += b"".join(bytes([name, 16 * s[0] + s[1], 0]) for name, s in zip(ids, sampling))
    out += segment(sof or (0xC2 if progressive else 0xC1), frame)
    tables = b"\0" + bytes([0, 0, 0, len(SIZES)] + [0] * 12 + SIZES)
    tables += b"\x10" + bytes([0] * 7 + [len(RUNS)] + [0] * 8 + RUNS)
    out += segment(0xC4, tables)
    if restart:
        out += segment(0xDD, struct.pack(">H", restart))
    for scan in scans:
        which, first, last = scan if progressive else (scan, 0, 63)
        header = bytes([len(which)]) + b"".join(bytes([ids[c], 0]) for c in which)
        out += segment(0xDA, header + bytes([first, last, 0]))
        if len(which) > 1:
            order = [
                [(c, y * sampling[c][1] + j, x * sampling[c][0] + i) for c in which for j in range(sampling[c][1]) for i in range(sampling[c][0])]
                for y in range(units[1])
                for x in range(units[0])
            ]
        else:
            (c,), (across, down) = which, sampling[which[0]]
            columns = -(-(-(-width * across // most_across)) // 8)
            rows = -(-(-(-height * down // most_down)) // 8)
            order = [[(c, y, x)] for y in range(rows) for x in range(columns)]
        out += entropy(channels, order, first, last, restart)
    return out + end


def entropy(channels, order, first, last, restart):
    """Units of blocks as bits, with restart markers."""
    out, bits, before = b"", Bits(), [0] * len(channels)
    for index, unit in enumerate(order):
        if restart and index and index % restart == 0:
            out += bits.bytes() + bytes([0xFF, 0xD0 + (index // restart - 1) % 8])
            bits, before = Bits(), [0] * len(channels)
        for channel, y, x in unit:
            block = channels[channel][y, x]
            if first == 0:
                difference = int(block[0]) - before[channel]
                before[channel] = int(block[0])
                size = abs(difference).bit_length()
                bits.put(size, 4)
                bits.value(difference, size)
            run = 0
            for value in (int(v) for v in block[max(first, 1) : last + 1]):
                if value == 0:
                    run += 1
                    continue
                while run > 15:
                    bits.put(RUNS.index(15 * 16), 8)
                    run -= 16
                size = abs(value).bit_length()
                bits.put(RUNS.index(run * 16 + size), 8)
                bits.value(value, size)
                run = 0
            if run and last > 0:
                bits.put(RUNS.index(0), 8)
    return out + bits.bytes()


def gif(screen, frame, numbers, palette, transparent=None, local=None, background=0):
    """A GIF of one frame; `frame` is left, top, width and height, `numbers` its pixels."""

    def colours(palette):
        size = max(1, (len(palette) - 1).bit_length())
        return size - 1, b"".join(bytes(c) for c in palette) + bytes(3 * ((1 << size) - len(palette)))

    size, table = colours(palette)
    out = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80 | size, background, 0) + table
    if transparent is not None:
        out += b"\x21\xf9\x04\x01\0\0" + bytes([transparent, 0])
    size, table = (0x80 | colours(local)[0], colours(local)[1]) if local else (0, b"")
    out += b"\x2c" + struct.pack("<HHHHB", *frame, size) + table
    # Codes stay 9 bits long where the table is cleared in time.
    codes = [code for i, number in enumerate(numbers) for code in ([256] if i % 200 == 0 else []) + [number]] + [257]
    text = "".join(format(code, "09b")[::-1] for code in codes)
    text += "0" * (-len(text) % 8)
    data = bytes(int(text[i : i + 8][::-1], 2) for i in range(0, len(text), 8))
    blocks = b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255))
    return out + b"\x08" + blocks + b"\0\x3b"


def webp_chunks(picture, **options):
    """The chunks of a picture that Pillow writes as WebP: names and contents."""
    file = io.BytesIO()
    picture.save(file, "WEBP", **options)
    data, at, chunks = file.getvalue(), 12, []
    while at < len(data):
        length = struct.unpack("<I", data[at + 4 : at + 8])[0]
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return chunks


def webp(chunks):
    body = b"WEBP" + b"".join(n + struct.pack("<I", len(d)) + d + bytes(len(d) % 2) for n, d in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_frame(picture, canvas, place, blend):
    """An animated WebP of one frame on a larger canvas."""
    three = lambda number: struct.pack("<I", number)[:3]
    pixels = [(n, d) for n, d in webp_chunks(picture, lossless=True, exact=True) if n == b"VP8L"]
    frame = three(place[0] // 2) + three(place[1] // 2) + three(picture.width - 1) + three(picture.height - 1) + three(100)
    frame += bytes([0 if blend else 2]) + webp(pixels)[12:]
    header = b"\x12\0\0\0" + three(canvas[0] - 1) + three(canvas[1] - 1)
    return webp([(b"VP8X", header), (b"ANIM", b"\xff\x80\x10\xff\0\0"), (b"ANMF", frame)])


def bmp_runs(width, height, palette, data):
    """A BMP of run lengths, `data` as in the file."""
    start = 54 + 4 * len(palette)
    out = b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start)
    out += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, len(palette), 0)
    return out + b"".join(bytes([c[2], c[1], c[0], 0]) for c in palette) + data


def tiff(array, photometric, order="<", **tags):
    """An uncompressed TIFF of one strip; `tags` are numbers by name, `t274=6`."""
    height, width = array.shape[:2]
    samples = 1 if array.ndim == 2 else array.shape[2]
    data = array.astype(array.dtype.newbyteorder(order)).tobytes()
    return tiff_of((width, height), [data], photometric, samples, 8 * array.dtype.itemsize, order=order, **tags)


def tiff_of(size, parts, photometric, samples=3, bits=8, compression=1, rows=None, tile=None, order="<", **tags):
    """A TIFF of these strips of `rows`, or tiles of size `tile`, as they are compressed. Tags are numbers, lists of them or bytes."""
    entries = {256: size[0], 257: size[1], 258: [bits] * samples, 259: compression, 262: photometric, 277: samples}
    if photometric is None:
        del entries[262]
    offsets, lengths = (324, 325) if tile else (273, 279)
    entries.update({322: tile[0], 323: tile[1]} if tile else {278: rows or size[1]})
    entries.update({int(name[1:]): value for name, value in tags.items()})
    entries.update({offsets: [0] * len(parts), lengths: [len(part) for part in parts]})

    def values(tag, value):
        if isinstance(value, bytes):
            return 7, len(value), value
        value = value if isinstance(value, list) else [value]
        kind, letter = (4, "I") if tag in (offsets, lengths) else (3, "H")
        return kind, len(value), struct.pack(order + letter * len(value), *value)

    start = 8 + 2 + 12 * len(entries) + 4
    data = start + sum(len(v) for v in (values(*entry)[2] for entry in entries.items()) if len(v) > 4)
    entries[offsets] = [data + sum(entries[lengths][:index]) for index in range(len(parts))]
    directory, far = struct.pack(order + "H", len(entries)), b""
    for tag, value in sorted(entries.items()):
        kind, count, content = values(tag, value)
        directory += struct.pack(order + "HHI", tag, kind, count)
        directory += content.ljust(4, b"\0") if len(content) <= 4 else struct.pack(order + "I", start + len(far))
        far += content if len(content) > 4 else b""
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8) + directory + bytes(4) + far + b"".join(parts)


def lzw(data):
    """Compressed as in TIFF: codes of 9 bits and more, the highest bit first."""
    clear, end = 256, 257
    bits, length, out = 0, 0, bytearray()

    def put(code, width):
        nonlocal bits, length
        bits, length = bits << width | code, length + width
        while length >= 8:
            length -= 8
            out.append(bits >> length & 255)
        bits &= (1 << length) - 1

    codes, width, word = {bytes([i]): i for i in range(256)}, 9, b""
    put(clear, width)
    for byte in data:
        longer = word + bytes([byte])
        if longer in codes:
            word = longer
            continue
        put(codes[word], width)
        codes[longer] = len(codes) + 2
        # One code earlier than it must.
        last = len(codes) + 1
        width = max(9, (last + 1).bit_length())
        if last == 4094:
            put(clear, width)
            codes, width = {bytes([i]): i for i in range(256)}, 9
        word = bytes([byte])
    put(codes[word], width)
    put(end, width)
    put(0, -length % 8)
    return bytes(out)


def without_tables(jpeg):
    """A JPEG's tables as a beginning that others share, and the JPEG without them."""
    at, tables, rest = 2, b"", jpeg[:2]
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] in (0xDB, 0xC4):
            tables += jpeg[at:end]
        else:
            rest += jpeg[at:end]
        at = end
    return b"\xff\xd8" + tables + b"\xff\xd9", rest + jpeg[at:]


def png_with(picture, *chunks, behind=False):
    """A PNG that Pillow writes, with chunks (name, content) after its header, or after its pixels."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    data = file.getvalue()
    more = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    at = len(data) - 12 if behind else 33
    return data[:at] + more + data[at:]
