#!/usr/bin/env python3
"""Makes testdata/decoding: picture files of every kind, and what Pillow makes of each.

    pip install pillow numpy
    python tools/make_decoding_goldens.py

Each line of cases.tsv is: file, largest mean difference in units of a byte, and what must come of it:
`pixels` (those of the file's name with .ppm, nothing else), `pixels or refused`, or what the refusal says.
"""

import io
import random
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

import picture_files as files

TESTDATA = Path(__file__).resolve().parent.parent / "testdata"
OUT = TESTDATA / "decoding"
# What libjpeg-turbo's pixels may differ by, on average; other formats leave nothing to a decoder.
JPEG, EXACT = 2, 0
ONE, TWO = (1, 1), (2, 2)
cases = []


def case(name, data, mean=EXACT, expected=None, pixels=None):
    """Adds a file. `expected` is None for Pillow's pixels."""
    (OUT / name).write_bytes(data)
    if expected is None or expected == "pixels or refused":
        if pixels is None:
            pixels = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
        Image.fromarray(pixels).save(OUT / f"{name}.ppm")
    cases.append((name, str(mean), expected or "pixels"))


def jpegs(part):
    planes = files.ycbcr(np.asarray(part))
    rgb = [np.asarray(part)[..., i] for i in range(3)]
    apart, pair, pair_first = [[0], [1], [2]], [[0], [1, 2]], [[0, 1], [2]]
    for name, sampling in [
        ("444", [ONE, ONE, ONE]),
        ("422", [(2, 1), ONE, ONE]),
        ("420", [TWO, ONE, ONE]),
        ("440", [(1, 2), ONE, ONE]),
        ("411", [(4, 1), ONE, ONE]),
        ("410", [(4, 2), ONE, ONE]),
        ("441", [(1, 4), ONE, ONE]),
        ("3x1", [(3, 1), ONE, ONE]),
        ("1x3", [(1, 3), ONE, ONE]),
        ("cb-taller", [TWO, (1, 2), ONE]),
        ("cr-as-luma", [(2, 1), ONE, (2, 1)]),
        ("chroma-2x2", [ONE, TWO, TWO]),
        ("chroma-2x1", [ONE, (2, 1), (2, 1)]),
        ("crossed", [(2, 1), (1, 2), (1, 2)]),
    ]:
        case(f"{name}.jpg", files.jpeg(planes, sampling), JPEG)
        case(f"{name}-apart.jpg", files.jpeg(planes, sampling, apart, restart=3), JPEG)
    for name, scans in [("pair", pair), ("pair-first", pair_first), ("backwards", [[2], [1], [0]])]:
        case(f"420-{name}.jpg", files.jpeg(planes, [TWO, ONE, ONE], scans), JPEG)
    case("420-restart.jpg", files.jpeg(planes, [TWO, ONE, ONE], restart=1), JPEG)
    case("444-apart-restart.jpg", files.jpeg(planes, [ONE] * 3, apart, restart=5), JPEG)
    progressive = [([0, 1, 2], 0, 0)] + [([c], first, last) for c in range(3) for first, last in ((1, 5), (6, 63))]
    case("420-progressive.jpg", files.jpeg(planes, [TWO, ONE, ONE], progressive), JPEG)
    case("420-progressive-apart.jpg", files.jpeg(planes, [TWO, ONE, ONE], [([c], 0, 0) for c in range(3)] + progressive[1:], restart=2), JPEG)
    case("chroma-2x2-progressive.jpg", files.jpeg(planes, [ONE, TWO, TWO], progressive), JPEG)
    case("grey-2x2.jpg", files.jpeg(planes[:1], [TWO]), JPEG)
    case("grey-progressive.jpg", files.jpeg(planes[:1], [TWO], [([0], 0, 0), ([0], 1, 63)]), JPEG)
    # How channels become colours: JFIF, Adobe's number, the channels' names.
    for name, ids, before in [
        ("jfif-adobe0", None, files.JFIF + files.adobe(0)),
        ("jfif-named-rgb", list(b"RGB"), files.JFIF),
        ("adobe1-named-rgb", list(b"RGB"), files.adobe(1)),
        ("adobe5", None, files.adobe(5)),
        ("named-0-1-2", [0, 1, 2], b""),
        ("named-large", [1, 34, 35], b""),
    ]:
        case(f"{name}.jpg", files.jpeg(planes, [ONE] * 3, ids=ids, before=before), JPEG)
    case("named-rgb.jpg", files.jpeg(rgb, [ONE] * 3, ids=list(b"RGB")), JPEG)
    case("named-rgb-apart.jpg", files.jpeg(rgb, [ONE] * 3, apart, ids=list(b"RGB")), JPEG)
    case("adobe0.jpg", files.jpeg(rgb, [ONE] * 3, before=files.adobe(0)), JPEG)
    inks = rgb + [np.full(rgb[0].shape, 200)]
    case("inks.jpg", files.jpeg(inks, [ONE] * 4, before=files.adobe(0)), JPEG)
    case("inks-as-luma.jpg", files.jpeg(inks, [TWO, ONE, ONE, TWO], before=files.adobe(2)), JPEG)
    case("inks-apart.jpg", files.jpeg(inks, [ONE] * 4, apart + [[3]], before=files.adobe(0)), expected="four channels (CMYK) in several scans")
    # Around the picture.
    plain = files.jpeg(planes, [TWO, ONE, ONE])
    thumbnail = files.segment(0xE1, b"Exif\0\0" + plain[:600])
    case("thumbnail.jpg", plain[:2] + thumbnail + plain[2:] + b"after the end", JPEG)
    quantization = plain.index(b"\xff\xdb")
    case("fill-bytes.jpg", plain[:quantization] + b"\xff\xff" + plain[quantization:], JPEG)
    case("garbage-after-data.jpg", plain[:-2] + b"\x35\x7c\x01" + plain[-2:], JPEG)
    # A frame of a film: without tables, which are then the standard's.
    file = io.BytesIO()
    part.save(file, "JPEG", quality=90)
    data = file.getvalue()
    while (at := data.find(b"\xff\xc4")) >= 0:
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    case("no-tables.jpg", data, JPEG)
    for name, data, expected in [
        ("no-end.jpg", plain[:-2], "cut off"),
        ("one-channel-missing.jpg", files.jpeg(planes, [ONE] * 3, pair_first[:1]), "a channel without a scan"),
        ("not-finished.jpg", files.jpeg(planes, [ONE] * 3, progressive[:1]), "not finished"),
        ("twice.jpg", files.jpeg(planes, [ONE] * 3, [[0], [0], [1], [2]]), "in two scans"),
        ("no-whole-ratio.jpg", files.jpeg(planes, [(3, 1), (3, 1), (3, 1)]).replace(b"\2\x31\0", b"\2\x21\0"), "do not divide"),
        ("lossless.jpg", files.jpeg(planes, [ONE] * 3, sof=0xC3), "lossless"),
        ("arithmetic.jpg", files.jpeg(planes, [ONE] * 3, sof=0xC9), "arithmetic"),
        ("hierarchical.jpg", files.jpeg(planes, [ONE] * 3, sof=0xC5), "hierarchical"),
        ("12-bits.jpg", plain.replace(b"\xff\xc1\0\x11\x08", b"\xff\xc1\0\x11\x0c"), "samples of 12 bits"),
        ("height-later.jpg", plain.replace(bytes([8, 0, part.height]), b"\x08\0\0"), "DNL"),
        ("two-channels.jpg", files.jpeg(planes[:2], [ONE] * 2), "2 channels"),
    ]:
        case(name, data, expected=expected)


def damaged(part):
    """Files of each kind with damage in the data: Pillow's pixels or a refusal."""
    rng = random.Random(3)
    for index in range(36):
        options = {"quality": rng.choice([60, 85]), "subsampling": rng.choice([0, 2]), "progressive": index % 3 == 2}
        if index % 2:
            options["restart_marker_blocks"] = 4
        file = io.BytesIO()
        part.save(file, "JPEG", **options)
        data = bytearray(file.getvalue())
        first, last = data.index(b"\xff\xda") + 14, len(data) - 3
        at = rng.randint(first, last)
        kind = ["flip", "flips", "delete", "insert", "zero", "cut"][index % 6]
        if kind == "flip":
            data[at] ^= 1 << rng.randrange(8)
        elif kind == "flips":
            for _ in range(6):
                data[rng.randint(first, last)] ^= 1 << rng.randrange(8)
        elif kind == "delete":
            del data[at : at + rng.randint(1, 60)]
        elif kind == "insert":
            data[at:at] = rng.randbytes(rng.randint(1, 40))
        elif kind == "zero":
            length = min(40, last - at)
            data[at : at + length] = bytes(length)
        else:
            del data[at : last + 1]
        if data[-2:] != b"\xff\xd9":
            data += b"\xff\xd9"
        try:
            Image.open(io.BytesIO(data)).load()
        except OSError:
            case(f"damaged-{index}-{kind}.jpg", bytes(data), expected="found: ")
        else:
            case(f"damaged-{index}-{kind}.jpg", bytes(data), JPEG, "pixels or refused")


def others(part):
    array, grey = np.asarray(part), np.asarray(part.convert("L"))
    # Orientation outside of the usual place.
    exif = Image.Exif()
    exif[0x112] = 6
    written = exif.tobytes().removeprefix(b"Exif\0\0")
    flags = b"\x08\0\0\0" + (part.width - 1).to_bytes(3, "little") + (part.height - 1).to_bytes(3, "little")
    pixels = [c for c in files.webp_chunks(part, lossless=True) if c[0] == b"VP8L"]
    case("exif-prefix.webp", files.webp([(b"VP8X", flags), *pixels, (b"EXIF", b"Exif\0\0" + written)]))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    case("xmp.png", files.png_with(part, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)))
    case("exif-behind.png", files.png_with(part, (b"eXIf", written), behind=True))
    case("xmp-behind.png", files.png_with(part, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp), behind=True))
    # A number of four bytes instead of two, in its place in either order.
    for name, order, kind, value in [
        ("exif-long", "<", 4, struct.pack("<I", 6)),
        ("exif-long-big-endian", ">", 4, struct.pack(">I", 6)),
        ("exif-byte", "<", 1, b"\6\0\0\0"),
    ]:
        directory = struct.pack(order + "HHHI", 1, 0x112, kind, 1) + value + bytes(4)
        header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
        case(f"{name}.jpg", files.jpeg(files.ycbcr(array), [ONE] * 3, before=files.segment(0xE1, b"Exif\0\0" + header + directory)), JPEG)
    element = b"<x:xmpmeta><tiff:Orientation>8</tiff:Orientation></x:xmpmeta>"
    case("xmp-element.jpg", files.jpeg(files.ycbcr(array), [ONE] * 3, before=files.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + element)), JPEG)
    # Pixels that a frame leaves out, or marks as transparent.
    palette = [(200, 10, 10), (10, 200, 10), (10, 10, 200), (250, 250, 20)]
    numbers = [i * 7 % 4 for i in range(48)]
    for name, screen, frame, options in [
        ("whole-transparent", (8, 6), (0, 0, 8, 6), {"transparent": 2}),
        ("part", (16, 12), (3, 2, 8, 6), {}),
        ("part-background", (16, 12), (3, 2, 8, 6), {"background": 3}),
        ("part-transparent", (16, 12), (3, 2, 8, 6), {"transparent": 1, "background": 3}),
        ("part-own-palette", (16, 12), (3, 2, 8, 6), {"local": [(1, 2, 3), (40, 50, 60), (70, 80, 90), (99, 110, 120)]}),
        ("wider-than-screen", (6, 5), (1, 1, 8, 6), {}),
        ("beyond-palette", (8, 6), (0, 0, 8, 6), {"local": palette[:2]}),
    ]:
        case(f"{name}.gif", files.gif(screen, frame, numbers, palette, **options))
    holes = part.convert("RGBA")
    alpha = (np.arange(part.width * part.height) % 256).astype(np.uint8).reshape(part.size[::-1])
    alpha[3:9, 4:12] = 0
    holes.putalpha(Image.fromarray(alpha))
    for name, blend in [("blended", True), ("placed", False)]:
        case(f"frame-{name}.webp", files.webp_frame(holes, (40, 30), (4, 6), blend))
    runs = bytes([4, 1, 0, 0, 2, 3, 0, 2, 2, 0, 1, 2, 0, 0, 8, 2, 0, 0, 0, 1])
    case("skipping-runs.bmp", files.bmp_runs(8, 3, palette, runs))
    case("skipping-rows.bmp", files.bmp_runs(8, 3, palette, bytes([2, 1, 0, 2, 2, 1, 2, 3, 0, 0, 1, 3, 0, 0, 0, 1])))
    case("whole-runs.bmp", files.bmp_runs(4, 2, palette, bytes([4, 1, 0, 0, 0, 4, 0, 1, 2, 3, 0, 1])))
    case("runs-end-early.bmp", files.bmp_runs(8, 3, palette, bytes([8, 1, 0, 0, 4, 2, 0, 1])), expected="run lengths end after 12 of 24 pixels")
    case("before-garbage.webp", files.webp(pixels) + b"garbage after it")
    large = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + b"\xff" * 6
    case("before-chunk.webp", files.webp(pixels) + large)
    whole = files.webp(pixels)
    case("without-chunks.webp", whole[:4] + struct.pack("<I", 4) + whole[8:], expected="cut off")
    tiffs(part)
    # TIFF and PNM.
    for name, options in [("lzw", {"compression": "tiff_lzw"}), ("deflate", {"compression": "tiff_adobe_deflate"}), ("jpeg", {"compression": "jpeg"})]:
        file = io.BytesIO()
        part.save(file, "TIFF", **options)
        case(f"{name}.tif", file.getvalue(), JPEG if name == "jpeg" else EXACT)
    file = io.BytesIO()
    part.convert("1").save(file, "TIFF", compression="group4")
    case("group4.tif", file.getvalue())
    file = io.BytesIO()
    part.save(file, "TIFF", save_all=True, append_images=[ImageOps.mirror(part)], compression="tiff_lzw")
    case("pages.tif", file.getvalue())
    high = array.astype(np.uint16) * 256 + 77
    small = np.ascontiguousarray(array[:8, :8])
    fourth = np.dstack([small, np.full((8, 8), 128, np.uint8)])
    case("turned.tif", files.tiff(array, 2, t274=6))
    case("16-bits.tif", files.tiff(high, 2), pixels=array)
    case("16-bits-big-endian.tif", files.tiff(high[..., 0], 1, ">"), pixels=np.dstack([array[..., 0]] * 3))
    case("white-is-0.tif", files.tiff(grey, 0))
    case("alpha.tif", files.tiff(fourth, 2, t338=2))
    case("premultiplied.tif", files.tiff(fourth, 2, t338=1), expected="multiplied by alpha")
    case("white-is-0-16-bits.tif", files.tiff(high[..., 0], 0), expected="where 0 is white")
    size = f"{part.width} {part.height}".encode()
    case("binary.ppm", b"P6\n# a comment\n" + size + b"\n255\n" + array.tobytes())
    case("binary.pgm", b"P5 " + size + b" 255\n" + grey.tobytes())
    case("plain.ppm", b"P3 8 8 255\n" + " ".join(map(str, small.ravel())).encode() + b"\n")
    case("plain.pbm", b"P1 4 2\n1 0 1 0\n0110\n")
    case("15-levels.pgm", b"P5 " + size + b" 15\n" + (grey >> 4).tobytes())
    case("16-bits.pgm", b"P5 " + size + b" 65535\n" + high[..., 0].astype(">u2").tobytes(), pixels=np.dstack([array[..., 0]] * 3))


def tiffs(part):
    array, grey = np.asarray(part), np.asarray(part.convert("L"))
    size, white = part.size, np.packbits(grey > 100, axis=1)
    reversed_bits = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

    def bits(data, **options):
        return files.tiff_of(size, [data], 1, 1, 1, t266=2, **options)

    case("fill-order.tif", bits(white.tobytes().translate(reversed_bits)))
    file = io.BytesIO()
    Image.fromarray(grey > 100).save(file, "TIFF", compression="group4")
    read = Image.open(file).tag_v2
    (at,), (length,) = read[273], read[279]
    fax = file.getvalue()[at : at + length].translate(reversed_bits)
    case("fill-order-group4.tif", files.tiff_of(size, [fax], read[262], 1, 1, compression=4, t266=2))
    case("fill-order-lzw.tif", files.tiff_of(size, [files.lzw(array.tobytes())], 2, compression=5, t266=2), expected="FillOrder 2")
    counted = bits(white.tobytes().translate(reversed_bits))
    right, wrong = (struct.pack("<HHII", 279, 4, 1, count) for count in (white.size, white.size + 1000))
    case("fill-order-miscounted.tif", counted.replace(right, wrong))
    # A channel beside the colours of which nothing is known, and several.
    fourth = np.dstack([array, grey]).astype(np.uint8)
    changes = fourth.copy()
    changes[:, 1:] -= fourth[:, :-1]
    options = {"samples": 4, "compression": 5, "t317": 2}
    case("fourth-channel.tif", files.tiff_of(size, [files.lzw(changes.tobytes())], 2, t338=0, **options), pixels=array)
    case("five-channels.tif", files.tiff_of((4, 4), [bytes(400)], 2, 5, t338=[0, 0]), expected="several channels beside the colours")
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    case("upright-beside-xmp.tif", files.tiff(array, 2, t274=1, t700=xmp))
    case("xmp.tif", files.tiff(array, 2, t700=xmp))
    case("predictor-of-nothing.tif", files.tiff(array, 2, t317=2))
    case("predictor-of-nothing-big-endian.tif", files.tiff(array, 2, ">", t317=2))
    # Tiles that reach beyond the picture, at both edges.
    tiles = []
    for y in range(0, size[1], 16):
        for x in range(0, size[0], 16):
            tile = np.full((16, 16, 3), 90, np.uint8)
            tile[: size[1] - y, : size[0] - x] = array[y : y + 16, x : x + 16]
            tiles.append(tile)
    case("tiles-lzw.tif", files.tiff_of(size, [files.lzw(t.tobytes()) for t in tiles], 2, compression=5, tile=(16, 16)))
    flat = [files.lzw(bytes([18]) * (64 * 64 * 3))] * 4
    case("tiles-lzw-flat.tif", files.tiff_of((103, 100), flat, 2, compression=5, tile=(64, 64)))

    case("tile-wider-lzw.tif", files.tiff_of((50, 40), flat[:1] * 2, 2, compression=5, tile=(64, 32)))

    def jpeg(pixels, **options):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=90, **options)
        return file.getvalue()

    def jpegs(pixels, photometric, **options):
        """TIFFs of these JPEGs."""
        samples = 1 if photometric < 2 else 3
        return files.tiff_of(size, pixels, photometric, samples, compression=7, **options)

    whole = {"t530": [2, 2]}
    case("jpeg-ycbcr.tif", jpegs([jpeg(array, subsampling=2)], 6, **whole), JPEG)
    case("jpeg-rgb.tif", jpegs([jpeg(array, keep_rgb=True)], 2), JPEG)
    case("jpeg-white-is-0.tif", jpegs([jpeg(255 - grey)], 0), JPEG)
    strips = [jpeg(array[y : y + 16], subsampling=2) for y in range(0, size[1], 16)]
    case("jpeg-strips.tif", jpegs(strips, 6, rows=16, **whole), JPEG)
    tables, bare = zip(*(files.without_tables(strip) for strip in strips))
    assert len(set(tables)) == 1
    case("jpeg-tables.tif", jpegs(list(bare), 6, rows=16, t347=tables[0], **whole), JPEG)
    case("jpeg-tables-longer.tif", jpegs(list(bare), 6, rows=16, t347=tables[0] + b"\0\0", **whole), JPEG)
    case("jpeg-tables-none.tif", jpegs(list(bare), 6, rows=16, t347=b"no tables", **whole), expected="JPEG tables that are none")
    case("jpeg-rgb-halved.tif", jpegs([jpeg(array, subsampling=2)], 2), expected="fewer samples of some")
    case("jpeg-tiles.tif", jpegs([jpeg(tile, subsampling=2) for tile in tiles], 6, tile=(16, 16), **whole), JPEG)
    # Damage is found as in a JPEG of its own.
    sound = jpeg(np.asarray(part.resize((200, 160))), subsampling=2)
    large = {"size": (200, 160), "photometric": 6, "compression": 7, **whole}
    third = len(sound) // 3
    for name, damaged, words in [
        ("hit", sound[:third] + b"\xff\0" * 3 + sound[third + 6 :], "damaged data"),
        ("ended", sound[:third] + b"\xff\xd9" + sound[third + 2 :], "damaged data"),
        ("cut", sound[:third], "no end-of-image marker"),
    ]:
        case(f"jpeg-{name}.tif", files.tiff_of(parts=[damaged], **large), expected=words)
    case("jpeg-leaves-file.tif", files.tiff_of(parts=[sound], **large)[:-100], expected="a strip or tile ends behind it")
    case("jpeg-small.tif", jpegs([jpeg(array[:20])], 6, **whole), expected="smaller than its strip")
    case("jpeg-grey-as-ycbcr.tif", jpegs([jpeg(grey)], 6, **whole), expected="a JPEG of 1 channels")
    # Kinds that are not decoded are named.
    for name, expected, options in [
        ("palette", "a palette", {"photometric": 3, "samples": 1}),
        ("ycbcr", "YCbCr", {"photometric": 6}),
        ("4-bits", "samples of 4 bits", {"photometric": 1, "samples": 1, "bits": 4}),
        ("12-bits", "samples of 12 bits", {"photometric": 2, "bits": 12}),
        ("floats", "floating-point samples", {"photometric": 1, "samples": 1, "bits": 32, "t339": 3}),
        ("signed", "signed samples", {"photometric": 1, "samples": 1, "t339": 2}),
        ("grey-alpha", "grey with alpha", {"photometric": 1, "samples": 2, "t338": 2}),
        ("lzma", "compression by LZMA", {"photometric": 2, "compression": 34925}),
        ("old-jpeg", "compression by JPEG in its old form", {"photometric": 2, "compression": 6}),
        ("no-colours", "colours of a kind that is not said", {"photometric": None}),
        ("method", "compression by method 9999", {"photometric": 2, "compression": 9999}),
    ]:
        case(f"{name}.tif", files.tiff_of((4, 4), [bytes(400)], **options), expected=expected)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.iterdir():
        if old.name != "README.md":
            old.unlink()
    cat = Image.open(TESTDATA / "pictures" / "chelsea.png").convert("RGB")
    part = cat.crop((120, 60, 300, 180)).resize((33, 22))
    jpegs(part)
    damaged(cat.crop((130, 50, 290, 180)).resize((48, 40)))
    others(part)
    (OUT / "cases.tsv").write_text("".join("\t".join(line) + "\n" for line in cases))


main()
