"""Data sets in VOC's form: Annotations/NAME.xml, JPEGImages/NAME.*, ImageSets/Main/SPLIT.txt."""

import math
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import decoding
from options import Bad

# Those of `mnx-infer eval --voc`, which tries them in this order, too.
ENDINGS = ("jpg", "jpeg", "png", "bmp", "webp", "gif", "tif", "tiff", "ppm", "pgm")
DIFFICULT = {"": False, "0": False, "false": False, "False": False, "1": True, "true": True, "True": True}
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass
class Box:
    """A box's edges in pixels from the picture's upper left corner on: the whole picture is 0, 0, width, height.

    VOC counts pixels from 1 and both ends belong to a box, so xmin to xmax is xmin - 1 to xmax here, as in `mnx-infer eval`.
    `empty`: it is a pixel wide or high, or its corners are the wrong way round.
    """

    label: str
    corners: tuple[float, float, float, float]
    difficult: bool

    @property
    def empty(self) -> bool:
        x0, y0, x1, y1 = self.corners
        return not (x1 - x0 > 1 and y1 - y0 > 1)


@dataclass
class Sample:
    """A picture, H x W x 3 in bytes, and its boxes."""

    name: str
    pixels: np.ndarray
    boxes: list[Box]


@dataclass
class Split:
    """The samples of a split, and how many boxes in it are not as they should be."""

    name: str
    samples: list[Sample] = field(default_factory=list)
    oddities: Counter = field(default_factory=Counter)

    def labels(self) -> Counter:
        """How many boxes there are with each label, in the labels' order."""
        count = Counter(box.label for sample in self.samples for box in sample.boxes)
        return Counter({label: count[label] for label in sorted(count)})

    def report(self) -> str:
        """One line about pictures, boxes, and boxes that are not used."""
        boxes = ", ".join(f"{count} {label}" for label, count in self.labels().items())
        odd = "".join(f"; {count} {what}" for what, count in sorted(self.oddities.items()))
        return f"{self.name}: {len(self.samples)} pictures; {boxes or 'no boxes'}{odd}"


def read_split(folder: Path, split: str) -> Split:
    """All pictures and annotations of a split, in memory.

    An empty box stays in the list, for an evaluation counts it. Training leaves it out.
    """
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        if not (folder / part).is_dir():
            raise Bad(f"{folder}: not a data set in VOC's form, there is no folder {part}")
    path = folder / "ImageSets/Main" / f"{split}.txt"
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise Bad(f"{path}: cannot read the split: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Bad(f"{path}: the split is not text") from None
    names = [name_in(line) for line in lines if line.strip()]
    if not names:
        raise Bad(f"{path}: the split names no picture")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise Bad(f"{path}: the split names {repeated[0]} twice")
    result = Split(split)
    for name in names:
        if not is_below(name):
            raise Bad(f"{path}: {name!r} is not a picture's name")
        pixels = read_picture(folder, name)
        boxes = read_annotation(folder / "Annotations" / f"{name}.xml")
        height, width = pixels.shape[:2]
        for box in boxes:
            x0, y0, x1, y1 = box.corners
            if box.empty:
                result.oddities["thin or inverted boxes left out"] += 1
            elif x0 < 0 or y0 < 0 or x1 > width or y1 > height:
                result.oddities["boxes that stick out of the picture, cut"] += 1
        result.samples.append(Sample(name, pixels, boxes))
    return result


def name_in(line: str) -> str:
    """The picture that a line names. In lists of one class, 1, 0 or -1 after it says whether it is there. Names may have spaces."""
    name, *mark = line.rsplit(maxsplit=1)
    return name.strip() if mark in (["1"], ["0"], ["-1"]) else line.strip()


def is_below(name: str) -> bool:
    """Whether a name leads to something in the folder, and not out of it."""
    parts = name.split("/")
    return not name.startswith("/") and parts[0] != "." and ".." not in parts


def read_picture(folder: Path, name: str) -> np.ndarray:
    """The picture of this name, RGB and upright: boxes are of that, as in `mnx-infer eval`."""
    endings = [spelt for ending in ENDINGS for spelt in (ending, ending.upper())]
    path = next((p for p in (folder / "JPEGImages" / f"{name}.{ending}" for ending in endings) if p.is_file()), None)
    if path is None:
        raise Bad(f"{folder / 'JPEGImages' / name}: no such picture ({', '.join(ENDINGS)})")
    try:
        return decoding.pixels(path)
    except Exception as error:  # Pillow's decoders fail with many kinds.
        raise Bad(f"{path}: cannot read the picture: {decoding.reason(error)}") from None


def read_annotation(path: Path) -> list[Box]:
    """The boxes of an annotation file."""
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        raise Bad(f"{path}: cannot read the annotation: {error.strerror}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Bad(f"{path}: not XML: {error}") from None
    return [read_box(path, number, element) for number, element in enumerate(root.findall("object"), 1)]


def read_box(path: Path, number: int, element: ElementTree.Element) -> Box:
    label = (element.findtext("name") or "").strip()
    if not label:
        raise Bad(f"{path}: object {number} has no name")
    corners = []
    for corner in CORNERS:
        text = (element.findtext(f"bndbox/{corner}") or "").strip()
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise Bad(f"{path}: object {number} ({label}): {corner} is {text!r}, expected a number")
        corners.append(value)
    difficult = (element.findtext("difficult") or "0").strip()
    if difficult not in DIFFICULT:
        raise Bad(f"{path}: object {number} ({label}): difficult is {difficult!r}, expected 0 or 1")
    xmin, ymin, xmax, ymax = corners
    return Box(label, (xmin - 1, ymin - 1, xmax, ymax), DIFFICULT[difficult])


def class_names(train: Split, wanted: list[str] | None) -> list[str]:
    """The classes, without the background: those asked for, or those that `train` has, by the alphabet."""
    found = train.labels()
    names = list(found) if wanted is None else wanted
    if not names:
        raise Bad(f"split {train.name}: no box to learn from")
    for name in names:
        if names.count(name) > 1:
            raise Bad(f"class {name} is named twice")
        if not found[name]:
            raise Bad(f"split {train.name}: no box of class {name}, its classes are {', '.join(found)}")
    return names


def check_classes(split: Split, names: list[str]) -> None:
    """Refuses boxes of other classes."""
    for sample in split.samples:
        for box in sample.boxes:
            if box.label not in names:
                raise Bad(f"split {split.name}, {sample.name}: unknown class {box.label!r}, expected {', '.join(names)}")
