"""Files of pictures: which there are, and their pixels."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# What `mnx-infer` decodes, so that training and `eval` see the same files.
ENDINGS = {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".bmp", ".dib", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
# Grey of 16 bits, 32 bits, and floating point. Pillow would cut off what is above 255 instead of scaling it: nearly all would be white.
UNSCALED = {"I;16", "I;16L", "I;16B", "I;16N", "I", "F"}


def upright(path: Path) -> Image.Image:
    """The picture, RGB, turned as its EXIF orientation says. Fails with many kinds of errors; `reason` is what to say of one."""
    with Image.open(path) as picture:
        if picture.mode in UNSCALED:
            raise ValueError(f"its pixels are of Pillow's mode {picture.mode}, more than 8 bits of grey: expected 8")
        return ImageOps.exif_transpose(picture).convert("RGB")


def reason(error: Exception) -> str:
    """One line of what a decoder says."""
    return " ".join(str(error).split()) or type(error).__name__


def pixels(path: Path) -> np.ndarray:
    """H x W x 3 bytes of the upright picture."""
    return np.asarray(upright(path))
