#!/usr/bin/env python3
"""Compares the decoding of pictures by mnx with Pillow's, over files and folders.

    cargo build --release -p mobilenext --features image --example decode
    python tools/compare_decoding.py photos/ more.jpg

Every file is tried, whatever its suffix; those that neither decodes are counted only. Pillow's pixels are
those of the first frame, turned by its EXIF orientation, without alpha; of 16 bits the high byte. Prints a
table and the files that differ or that only one decodes; the exit code is 1 when a file differs.
"""

import argparse
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

try:
    import numpy as np
    from PIL import Image, ImageOps
except ImportError:
    sys.exit("SKIPPED: comparing with Pillow: this needs python3 with pillow and numpy")

ROOT = Path(__file__).resolve().parent.parent
OUTCOMES = ["agree", "differ", "only mnx", "only Pillow", "neither"]


def files_in(paths):
    for path in map(Path, paths):
        yield from sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def by_mnx(decoder, paths):
    """Pixels or an error for each path, by one run of the example."""
    # A name that looks like an option is none.
    output = subprocess.run([decoder, *(p.absolute() for p in paths)], stdout=subprocess.PIPE, check=True).stdout
    at = 0
    for path in paths:
        line, at = output[at : output.index(b"\n", at)], output.index(b"\n", at) + 1
        if line.startswith(b"P6 "):
            width, height = map(int, line.split()[1:3])
            pixels = np.frombuffer(output, np.uint8, 3 * width * height, at)
            at += pixels.size
            yield pixels.reshape(height, width, 3)
        else:
            yield line.decode(errors="replace").removeprefix(f"{path.absolute()}: ")


def by_pillow(path):
    """Pixels or an error, and the format."""
    name = None
    try:
        with Image.open(path) as picture:
            name = picture.format
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I"):
                # Conversion would cut values off at 255.
                grey = (np.asarray(upright).astype(int) >> 8).clip(0, 255).astype(np.uint8)
                return np.stack([grey] * 3, -1), name
            return np.asarray(upright.convert("RGB")), name
    except Exception as error:  # Pillow raises all kinds.
        return f"{error}".split("\n")[0], name


def compare(mnx, pillow, levels):
    """An outcome of OUTCOMES, and what to say about it."""
    if isinstance(mnx, str) or isinstance(pillow, str):
        if not isinstance(mnx, str):
            return "only mnx", f"Pillow: {pillow}"
        return ("neither", "") if isinstance(pillow, str) else ("only Pillow", f"mnx: {mnx}")
    if mnx.shape != pillow.shape:
        return "differ", "{1} x {0} pixels, Pillow {3} x {2}".format(*mnx.shape[:2], *pillow.shape[:2])
    difference = np.abs(mnx.astype(np.int16) - pillow)
    mean = difference.mean()
    return "agree" if mean <= levels else "differ", f"{mean:.2f} levels, at most {difference.max()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", metavar="FILE|FOLDER")
    parser.add_argument("--levels", type=float, default=2, help="largest mean difference that agrees [2]")
    parser.add_argument("--decoder", type=Path, default=ROOT / "target/release/examples/decode", help="the example `decode`, built")
    options = parser.parse_args()
    if not options.decoder.exists():
        parser.error(f"{options.decoder}: expected the example, built by `cargo build --release -p mobilenext --features image --example decode`")
    Image.MAX_IMAGE_PIXELS = 200_000_000

    counts, said = defaultdict(Counter), defaultdict(list)
    paths = list(files_in(options.paths))
    # In parts, so that neither the command line nor the pixels grow without bound.
    for start in range(0, len(paths), 50):
        part = paths[start : start + 50]
        for path, mnx in zip(part, by_mnx(options.decoder, part)):
            pillow, name = by_pillow(path)
            outcome, words = compare(mnx, pillow, options.levels)
            counts[name or "other"][outcome] += 1
            said[outcome].append(f"{path}: {words}")

    for outcome in OUTCOMES[1:4]:
        print("".join(f"{outcome}: {line}\n" for line in said[outcome]), end="")
    counts["all"] = sum(counts.values(), Counter())
    print("| format | " + " | ".join(OUTCOMES) + " |\n" + "| --- " * (len(OUTCOMES) + 1) + "|")
    for name in sorted(counts, key=lambda name: (name == "all", name == "other", name)):
        print(f"| {name} | " + " | ".join(str(counts[name][outcome]) for outcome in OUTCOMES) + " |")
    sys.exit(bool(said["differ"]))


if __name__ == "__main__":
    main()
