#!/usr/bin/env python3
"""Makes testdata/pictures-golden: small pictures, and what torchvision makes of them.

    pip install torch torchvision pillow numpy
    python tools/make_picture_goldens.py

Each line of cases.tsv is: picture, expected tensor (f32, 3 x resolution x resolution), resolution,
resize, tolerance in units of a byte, mean, std, fit, interpolation. The tolerance is 0, and more only where two JPEG
decoders differ. It takes Pillow 13: earlier ones resize pictures that lose more than twice as much height as width in
another order, and round in between.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torchvision import transforms
from torchvision.transforms import InterpolationMode

TESTDATA = Path(__file__).resolve().parent.parent / "testdata"
OUT = TESTDATA / "pictures-golden"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
EXACT, JPEG = 0, 4
INTERPOLATIONS = {"bilinear-antialiased": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}
cases = []


def case(picture, pixels, resolution=16, resize=18, tolerance=EXACT, norm=IMAGENET, tag="", fit="crop", interpolation="bilinear-antialiased"):
    """Adds a case; `pixels` is the RGB picture that a reader should see in the file."""
    mean, std = norm
    size = (resize, resize) if fit == "squash" else resize
    steps = [transforms.Resize(size, INTERPOLATIONS[interpolation]), transforms.CenterCrop(resolution)]
    steps += [transforms.ToTensor(), transforms.Normalize(mean, std)]
    tensor = transforms.Compose(steps)(pixels.convert("RGB")).numpy()
    assert tensor.dtype == np.float32 and tensor.shape == (3, resolution, resolution)
    expected = Path(picture).name.replace(".", "-") + tag + ".npy"
    np.save(OUT / expected, tensor)
    numbers = [",".join(map(str, values)) for values in (mean, std)]
    cases.append([picture, expected, str(resolution), str(resize), str(tolerance), *numbers, fit, interpolation])


def saved(name, image, **options):
    image.save(OUT / name, **options)
    return name


def upright(name):
    return ImageOps.exif_transpose(Image.open(OUT / name))


def png16(name, array, color_type):
    """A PNG of 16 bits a channel, which Pillow cannot write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    (OUT / name).write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return name


def sizes(cat):
    whole = "../pictures/chelsea.png"
    case(whole, cat, 24, 27)
    case(whole, cat, 32, 32, norm=CIFAR, tag="-cifar")
    for width, height in [(1, 1), (1, 7), (9, 1), (13, 17), (37, 53), (53, 36), (50, 18), (18, 61)]:
        part = cat.crop((150, 90, 150 + width, 90 + height))
        case(saved(f"{width}x{height}.png", part), part)
    # Nothing to resize; offsets of 3.5 and 2.5 pixels, which round to 4 and 2.
    part = cat.crop((160, 100, 187, 125))
    case(saved("27x25.png", part), part, 20, 25)
    wave = (127.5 + 127.5 * np.sin(np.arange(60000) / 7000)).astype(np.uint8)
    wave = np.stack([wave, 255 - wave, wave // 2], 1)
    wide, tall = Image.fromarray(wave[None]), Image.fromarray(wave[:, None])
    case(saved("60000x1.png", wide, optimize=True), wide)
    case(saved("1x60000.png", tall, optimize=True), tall)


def fits(cat):
    """Bicubic, squashed and both: enlarged, reduced, in both orders of the passes, at the ends of what a picture can be."""
    bicubic, squash = {"interpolation": "bicubic", "tag": "-bicubic"}, {"fit": "squash", "tag": "-squash"}
    both = {"fit": "squash", "interpolation": "bicubic", "tag": "-squash-bicubic"}
    whole = "../pictures/chelsea.png"
    for options in (bicubic, squash, both):
        case(whole, cat, 24, 27, **options)
    # Hard edges, where the bicubic filter overshoots and is cut off between the passes.
    edges = np.random.default_rng(3).integers(0, 2, (74, 31, 3), dtype=np.uint8) * 255
    tall, wide = Image.fromarray(edges), Image.fromarray(edges.transpose(1, 0, 2))
    saved("edges-tall.png", tall, optimize=True)
    saved("edges-wide.png", wide, optimize=True)
    for name, image in (("edges-tall.png", tall), ("edges-wide.png", wide)):
        for options in ({}, bicubic, squash, both):
            case(name, image, **options)
    pictures = {name: Image.open(OUT / name) for name in ("1x1.png", "13x17.png", "18x61.png", "50x18.png", "60000x1.png", "1x60000.png")}
    for name, image in pictures.items():
        case(name, image, **bicubic)
        if name != "1x1.png":
            case(name, image, resize=16, **both)
    # One axis keeps its size.
    case("18x61.png", pictures["18x61.png"], resize=18, **squash)


def kinds(part):
    """The same part of a picture in every kind of pixel."""
    alpha = Image.fromarray((np.arange(part.width * part.height) % 256).astype(np.uint8).reshape(part.size[::-1]))
    rgba = part.copy()
    rgba.putalpha(alpha)
    grey = part.convert("L")
    grey_alpha = grey.copy()
    grey_alpha.putalpha(alpha)
    palette = part.quantize(16)
    for name, image, options in [
        ("grey.png", grey, {}),
        ("grey-alpha.png", grey_alpha, {}),
        ("alpha.png", rgba, {}),
        ("palette.png", palette, {"bits": 4}),
        ("palette-transparent.png", palette, {"transparency": 3}),
        ("one-bit.png", part.convert("1"), {}),
        ("rgb.bmp", part, {}),
        ("palette.bmp", palette, {}),
        ("rgb.webp", part, {"lossless": True}),
        ("alpha.webp", rgba, {"lossless": True, "exact": True}),
        ("palette.gif", palette, {}),
        ("two-frames.gif", palette, {"save_all": True, "append_images": [ImageOps.mirror(palette)]}),
    ]:
        # Dropped, not mixed with a background: what Pillow's conversion does too.
        case(saved(name, image, **options), image)
    high = np.asarray(part).astype(np.uint16) << 8
    wide = high | np.random.default_rng(1).integers(0, 256, high.shape, dtype=np.uint16)
    fourth = np.full((*wide.shape[:2], 1), 0x1234, np.uint16)
    kept = {"resolution": part.height - 2, "resize": part.height}
    case(png16("rgb16.png", wide, 2), part, **kept)
    case(png16("alpha16.png", np.concatenate([wide, fourth], 2), 6), part, **kept)
    case(png16("grey16.png", wide[..., :1], 0), part.getchannel(0), **kept)
    case(png16("grey-alpha16.png", np.concatenate([wide[..., :1], fourth], 2), 4), part.getchannel(0), **kept)


def cameras(part):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x112] = orientation
        name = saved(f"exif{orientation}.jpg", part, exif=exif, quality=95, subsampling=0)
        case(name, upright(name), tolerance=JPEG)
        if orientation in (5, 6, 7, 8):
            name = saved(f"exif{orientation}.png", part, exif=exif)
            case(name, upright(name))
    exif = Image.Exif()
    exif[0x112] = 6
    name = saved("exif6.webp", part, exif=exif, lossless=True)
    case(name, upright(name))
    for name, image, options in [
        ("cmyk.jpg", part.convert("CMYK"), {"quality": 95}),
        ("grey.jpg", part.convert("L"), {"quality": 95}),
        ("progressive.jpg", part, {"quality": 90, "progressive": True}),
    ]:
        case(saved(name, image, **options), Image.open(OUT / name), tolerance=JPEG)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.iterdir():
        if old.name != "README.md":
            old.unlink()
    cat = Image.open(TESTDATA / "pictures" / "chelsea.png").convert("RGB")
    sizes(cat)
    fits(cat)
    # An eye and the nose: no two of the eight orientations look alike.
    part = cat.crop((120, 60, 300, 180)).resize((33, 22))
    kinds(part)
    cameras(part)
    (OUT / "cases.tsv").write_text("".join("\t".join(line) + "\n" for line in cases))


main()
