#!/usr/bin/env python3
"""Tests of compare_decoding.py, with a decoder of its own that is right, wrong or refuses by a file's name.

    python tools/test_compare_decoding.py
"""

import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    from PIL import Image
except ImportError:
    sys.exit("SKIPPED: the tests of tools/compare_decoding.py: this needs python3 with pillow and numpy")

SCRIPT = Path(__file__).resolve().parent / "compare_decoding.py"
DECODER = f"""#!{sys.executable}
import sys
from PIL import Image
for path in sys.argv[1:]:
    if "refused" in path or path.endswith(".txt"):
        print(path + ": no, thanks")
        sys.stdout.flush()
        continue
    picture = Image.open(path).convert("RGB") if "odd" not in path else Image.new("RGB", (2, 2))
    if "wrong" in path:
        picture = picture.point(lambda value: value ^ 64)
    if "small" in path:
        picture = picture.resize((1, 1))
    sys.stdout.buffer.write(b"P6 %d %d 255\\n" % picture.size + picture.tobytes())
    sys.stdout.flush()
"""


def run(folder, *options):
    decoder = folder / "decoder"
    decoder.write_text(DECODER)
    decoder.chmod(0o755)
    command = [sys.executable, SCRIPT, folder / "pictures", "--decoder", decoder, *options]
    return subprocess.run(command, capture_output=True, text=True)


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = folder / "pictures"
        (pictures / "deeper").mkdir(parents=True)
        picture = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3))
        for file in ["a.png", "deeper/without-suffix", "refused.png"]:
            picture.save(pictures / file, "PNG")
        (pictures / "odd.bin").write_bytes(b"no picture for Pillow")
        (pictures / "notes.txt").write_text("no picture for anyone")
        right = run(folder)
        assert right.returncode == 0, right.stdout + right.stderr
        assert "| PNG | 2 | 0 | 0 | 1 | 0 |" in right.stdout, right.stdout
        assert "| other | 0 | 0 | 1 | 0 | 1 |" in right.stdout, right.stdout
        assert "| all | 2 | 0 | 1 | 1 | 1 |" in right.stdout, right.stdout
        assert "refused.png: mnx: no, thanks" in right.stdout, right.stdout

        picture.save(pictures / "wrong.png")
        picture.save(pictures / "small.png")
        wrong = run(folder)
        assert wrong.returncode == 1, wrong.stdout
        assert "wrong.png: 64.00 levels, at most 64" in wrong.stdout, wrong.stdout
        assert "small.png: 1 x 1 pixels, Pillow 5 x 4" in wrong.stdout, wrong.stdout
        assert "wrong.png" not in run(folder, "--levels", "64").stdout
    print("tools/compare_decoding.py: ok")


main()
