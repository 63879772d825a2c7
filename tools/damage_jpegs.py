#!/usr/bin/env python3
"""Writes JPEG files with damage in their data, for compare_decoding.py.

    python tools/damage_jpegs.py 2000 /tmp/damaged photos/*.png

Parts of the pictures of 32 to 400 pixels, of several qualities, samplings, progressive or not, with and
without restart markers; then bits flipped, bytes overwritten, cleared, deleted, inserted, repeated, or the
rest cut off before the end-of-image marker. The same number and pictures give the same files.
"""

import io
import random
import sys
from pathlib import Path

from PIL import Image

KINDS = ["flip", "flips", "noise", "zero", "delete", "insert", "repeat", "cut"]


def intact(rng, pictures):
    picture = rng.choice(pictures)
    width, height = (min(rng.choice([32, 48, 100, 150, 224, 300, 400]), side) for side in picture.size)
    x, y = rng.randint(0, picture.width - width), rng.randint(0, picture.height - height)
    part = picture.crop((x, y, x + width, y + height))
    options = {"quality": rng.choice([30, 60, 75, 85, 95]), "progressive": rng.random() < 0.3, "optimize": rng.random() < 0.3}
    if rng.random() < 0.1:
        part = part.convert("L")
    else:
        options["subsampling"] = rng.choice([0, 1, 2])
    if rng.random() < 0.3:
        options[rng.choice(["restart_marker_blocks", "restart_marker_rows"])] = rng.choice([1, 3, 20])
    file = io.BytesIO()
    part.save(file, "JPEG", **options)
    return bytearray(file.getvalue())


def damage(rng, data, kind):
    first, last = data.index(b"\xff\xda") + 14, len(data) - 3
    at = rng.randint(first, last)
    length = min(rng.randint(1, 200), last - at)
    if kind in ("flip", "flips"):
        for _ in range(1 if kind == "flip" else rng.randint(2, 20)):
            data[rng.randint(first, last)] ^= 1 << rng.randrange(8)
    elif kind == "noise":
        data[at : at + length] = rng.randbytes(length)
    elif kind == "zero":
        data[at : at + length] = bytes(length)
    elif kind == "delete":
        del data[at : at + length]
    elif kind == "insert":
        data[at:at] = rng.randbytes(rng.randint(1, 60))
    elif kind == "repeat":
        data[at:at] = data[at : at + length]
    else:
        del data[at : last + 1]


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    count, folder = int(sys.argv[1]), Path(sys.argv[2])
    pictures = [Image.open(path).convert("RGB") for path in sys.argv[3:]]
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(count)
    for index in range(count):
        data, kind = intact(rng, pictures), rng.choice(KINDS)
        damage(rng, data, kind)
        (folder / f"{index:05}-{kind}.jpg").write_bytes(data)


main()
