"""Folders of pictures for tests and measurements of batch jobs: cut out of testdata's, the same ones every time.

    python crates/mnx-python/tests/batch_pictures.py FOLDER COUNT [BROKEN]
"""

import io
import random
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
SOURCES = [*sorted((ROOT / "testdata" / "pictures").glob("*.[jp][pn]g")), *sorted((ROOT / "testdata" / "bccd" / "JPEGImages").glob("*.jpg"))]


def encoded(count, size=None):
    """Names and bytes of pictures: crops of random sizes, or of `size` (width, height) after enlarging; mostly JPEG."""
    chance = random.Random(1)
    sources = [Image.open(path).convert("RGB") for path in SOURCES]
    for number in range(count):
        source = chance.choice(sources)
        width, height = (chance.randint(side // 3, side) for side in source.size)
        left, top = chance.randint(0, source.width - width), chance.randint(0, source.height - height)
        picture = source.crop((left, top, left + width, top + height))
        if size:
            picture = picture.resize(size)
        kind = "JPEG" if size or number % 10 else chance.choice(["PNG", "WEBP", "BMP"])
        options = {"quality": chance.randint(70, 95)} if kind == "JPEG" else {}
        if number % 7 == 0 and kind == "JPEG":
            exif = Image.Exif()
            exif[0x0112] = chance.randint(1, 8)  # cameras say so which way up they were held
            options["exif"] = exif
        file = io.BytesIO()
        picture.save(file, kind, **options)
        yield f"{number // 100:02}/{number:06}.{kind.lower()}", file.getvalue()


def broken(number):
    """Bytes that are no picture, in one of several ways."""
    whole = SOURCES[0].read_bytes()
    return [b"", b"not a picture\n", whole[:20], whole[:1000] + b"\0" * 1000, b"\xff\xd8\xff\xe0 and no more"][number % 5]


def write(folder, count, bad=0, size=None):
    """Writes `count` pictures and as many broken ones as `bad` says, and returns the broken ones' names."""
    names = [f"{7 * number % 3:02}/broken {number}.jpg" for number in range(bad)]
    for name, data in (*encoded(count, size), *((name, broken(number)) for number, name in enumerate(names))):
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return names


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
