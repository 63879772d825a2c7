#!/usr/bin/env python3
"""Makes a data set in VOC's form, which detect.py and `mnx-infer eval --voc` take, of pictures with annotations in COCO's JSON.

    tools/train/coco_to_voc.py OUT --trainval instances_train2017.json train2017/ --test instances_val2017.json val2017/
    tools/train/coco_to_voc.py OUT --trainval instances.json pictures/ --test-share 0.2

OUT gets Annotations/NAME.xml, JPEGImages/NAME.* (links to the pictures; copies with --copy), ImageSets/Main/trainval.txt and test.txt, and
classes.txt, the categories that trainval has boxes of, in the order of their numbers. It must not be there: it is made as a whole, or not at all.

A box x, y, width, height becomes the pixels that it covers, to the nearest edge: xmin = x + 1, ymin = y + 1, xmax = x + width, ymax = y + height, as
VOC counts from 1 and both ends belong to a box. Boxes are cut at the picture's edges; those of which not a pixel is left are left out and
counted. Crowds become difficult: neither learned nor measured. This needs nothing but Python.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from xml.sax.saxutils import escape

from options import Bad, share

FOLDERS = ("Annotations", "JPEGImages", "ImageSets/Main")
# In which JPEGImages is looked for, by detect.py and by `mnx-infer eval --voc`.
ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
LISTED = 5
# No picture has so many pixels in a row.
LARGEST_CORNER = 1e9


@dataclass
class Picture:
    """A picture, the file that it is in, and its objects: label, crowd, xmin, ymin, xmax, ymax as VOC counts them."""

    name: str
    file: Path
    width: int
    height: int
    objects: list[tuple[str, bool, tuple[int, int, int, int]]] = field(default_factory=list)


@dataclass
class Source:
    """What a JSON file describes: categories in the order of their numbers, pictures in that of the file."""

    path: Path
    categories: list[str]
    pictures: list[Picture]
    left_out: int


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="the data set to make")
    pair = dict(nargs=2, type=Path, metavar=("JSON", "PICTURES"))
    parser.add_argument("--trainval", required=True, **pair, help="annotations to learn from, and the folder of their pictures")
    parser.add_argument("--test", **pair, help="annotations to measure on, and the folder of their pictures")
    parser.add_argument("--test-share", type=share, help="of the pictures of --trainval, if there is no --test (default: 0.2)")
    parser.add_argument("--seed", type=int, default=1, help="chooses that share (default: 1)")
    parser.add_argument("--copy", action="store_true", help="copy pictures instead of linking to them")
    options = parser.parse_args()
    if options.test is not None and options.test_share is not None:
        raise Bad("--test-share: expected none beside --test")
    if options.test_share == 0:
        raise Bad("--test-share: expected more than 0, or there is nothing to measure on")
    if options.out.exists() or options.out.is_symlink():
        raise Bad(f"{options.out}: expected nothing there: the data set is made as a whole")
    if not options.out.absolute().parent.is_dir():
        raise Bad(f"{options.out.absolute().parent}: there is no such folder")
    return options


def read(path: Path, folder: Path) -> Source:
    """The annotations in a file, of pictures in a folder."""
    if not folder.is_dir():
        raise Bad(f"{folder}: there is no such folder")
    try:
        with path.open(encoding="utf-8-sig") as file:
            content = json.load(file)
    except OSError as error:
        raise Bad(f"{path}: cannot read the annotations: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise Bad(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise Bad(f"{path}: expected an object with categories, images and annotations, found {type(content).__name__}")
    categories = {number(entry, "id", where): label_of(entry, where) for entry, where in entries(path, content, "categories")}
    repeated = [label for label, count in Counter(categories.values()).items() if count > 1]
    if repeated:
        raise Bad(f"{path}: categories: expected each name once, found {repeated[0]!r} again")
    pictures: dict[int, Picture] = {}
    for entry, where in entries(path, content, "images"):
        key = number(entry, "id", where)
        if key in pictures:
            raise Bad(f"{where}: expected each id once, found {key} again")
        pictures[key] = picture_of(entry, where, folder)
    left_out = 0
    for entry, where in entries(path, content, "annotations"):
        picture, label = (of(entry, name, known, where) for name, known in (("image_id", pictures), ("category_id", categories)))
        box = corners(entry, where, picture)
        left_out += box is None
        if box is not None:
            picture.objects.append((label, bool(entry.get("iscrowd", 0)), box))
    return Source(path, [categories[key] for key in sorted(categories)], list(pictures.values()), left_out)


def entries(path: Path, content: dict, name: str):
    """The objects of a list, and what to call each where something is wrong."""
    found = content.get(name)
    if not isinstance(found, list):
        raise Bad(f"{path}: expected a list of {name}, found {'none' if found is None else type(found).__name__}")
    if not found and name != "annotations":
        raise Bad(f"{path}: expected {name}, found none")
    for place, entry in enumerate(found):
        where = f"{path}: {name}[{place}]"
        if not isinstance(entry, dict):
            raise Bad(f"{where}: expected an object, found {type(entry).__name__}")
        yield entry, where


def number(entry: dict, name: str, where: str) -> int:
    value = entry.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Bad(f"{where}: expected {name} to be a whole number, found {value!r:.40}")
    return value


def of(entry: dict, name: str, known: dict, where: str):
    """What an entry's number stands for."""
    value = number(entry, name, where)
    if value not in known:
        raise Bad(f"{where}: {name} is {value}, which nothing has")
    return known[value]


def label_of(entry: dict, where: str) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not name.isprintable() or not name.strip():
        raise Bad(f"{where}: expected a name of printable characters, found {name!r:.40}")
    return name.strip()


def picture_of(entry: dict, where: str, folder: Path) -> Picture:
    file = entry.get("file_name")
    if not isinstance(file, str) or not file.isprintable():
        raise Bad(f"{where}: expected file_name to be a name, found {file!r:.40}")
    path = Path(file)
    if path.is_absolute() or ".." in path.parts or path.suffix.lower() not in ENDINGS:
        raise Bad(f"{where}: expected file_name to be a picture below {folder} ({', '.join(sorted(ENDINGS))}), found {file!r:.80}")
    sides = [number(entry, name, where) for name in ("width", "height")]
    if min(sides) < 1:
        raise Bad(f"{where}: expected width and height of 1 or more, found {sides[0]} and {sides[1]}")
    if not (folder / path).is_file():
        raise Bad(f"{folder / path}: there is no such picture, which {where} names")
    name = path.with_suffix("").as_posix()
    if name != name.strip():
        raise Bad(f"{where}: expected file_name without space around it, which no list can have, found {file!r:.80}")
    return Picture(name, folder / path, *sides)


def corners(entry: dict, where: str, picture: Picture) -> tuple[int, int, int, int] | None:
    """xmin, ymin, xmax, ymax as VOC counts them; None if the box has not a pixel in the picture."""
    box = entry.get("bbox")
    numbers = box if isinstance(box, list) and all(isinstance(value, (int, float)) and abs(value) <= LARGEST_CORNER for value in box) else []
    if len(numbers) != 4:
        raise Bad(f"{where}: expected bbox to be four numbers, x, y, width and height, found {box!r:.60}")
    x, y, width, height = numbers
    left, right = (min(max(nearest(edge), 0), picture.width) for edge in (x, x + width))
    top, bottom = (min(max(nearest(edge), 0), picture.height) for edge in (y, y + height))
    return (left + 1, top + 1, right, bottom) if right > left and bottom > top else None


def nearest(edge: float) -> int:
    """Halves go up, on both sides of a box alike; Python's `round` takes the even one."""
    return math.floor(edge + 0.5)


def splits(options: argparse.Namespace) -> tuple[dict[str, list[Picture]], list[str], int]:
    """Pictures of trainval and test, categories, and how many boxes are left out."""
    train = read(*options.trainval)
    if options.test is None:
        if len(train.pictures) < 2:
            raise Bad(f"{train.path}: 1 picture is too few for training and test")
        count = round(len(train.pictures) * (0.2 if options.test_share is None else options.test_share))
        count = min(max(1, count), len(train.pictures) - 1)
        chosen = set(Random(options.seed).sample(range(len(train.pictures)), count))
        parts = [[picture for place, picture in enumerate(train.pictures) if (place in chosen) == is_test] for is_test in (False, True)]
        return dict(zip(("trainval", "test"), parts)), train.categories, train.left_out
    test = read(*options.test)
    if test.categories != train.categories:
        raise Bad(f"{test.path}: expected the categories of {train.path}, {shown(train.categories)}, found {shown(test.categories)}")
    return {"trainval": train.pictures, "test": test.pictures}, train.categories, train.left_out + test.left_out


def shown(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def check_names(parts: dict[str, list[Picture]]) -> None:
    """Files of one name and other endings, or of one name in two folders, would be the same picture in VOC's form."""
    seen: dict[str, Path] = {}
    for picture in (picture for pictures in parts.values() for picture in pictures):
        if picture.name in seen:
            raise Bad(f"{picture.file}: the name {picture.name} is that of {seen[picture.name]}, too: expected names that differ without their endings")
        seen[picture.name] = picture.file


def xml_of(picture: Picture) -> str:
    lines = ["<annotation>", f"  <filename>{escape(picture.file.name)}</filename>"]
    lines.append(f"  <size><width>{picture.width}</width><height>{picture.height}</height><depth>3</depth></size>")
    for label, crowd, box in picture.objects:
        sides = "".join(f"<{name}>{value}</{name}>" for name, value in zip(("xmin", "ymin", "xmax", "ymax"), box))
        lines.append(f"  <object><name>{escape(label)}</name><difficult>{int(crowd)}</difficult><bndbox>{sides}</bndbox></object>")
    return "\n".join([*lines, "</annotation>", ""])


def line_of(name: str) -> str:
    """In a list. A name's own end could be taken for the mark that lists of one class have, so that has a mark, too."""
    marked = name.rsplit(maxsplit=1)[1:] in (["1"], ["0"], ["-1"])
    return f"{name} 1\n" if marked else f"{name}\n"


def write(root: Path, parts: dict[str, list[Picture]], classes: list[str], copy: bool) -> None:
    for name in FOLDERS:
        (root / name).mkdir(parents=True)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
    for split, pictures in parts.items():
        (root / f"ImageSets/Main/{split}.txt").write_text("".join(line_of(picture.name) for picture in pictures), encoding="utf-8")
        for picture in pictures:
            annotation, target = (root / part / f"{picture.name}{ending}" for part, ending in (("Annotations", ".xml"), ("JPEGImages", picture.file.suffix.lower())))
            for path in (annotation, target):
                path.parent.mkdir(parents=True, exist_ok=True)
            annotation.write_text(xml_of(picture), encoding="utf-8")
            if copy:
                shutil.copyfile(picture.file, target)
            else:
                target.symlink_to(picture.file.resolve())


def make(options: argparse.Namespace) -> None:
    """The data set, beside its place first, so that there is never a part of it."""
    parts, categories, left_out = splits(options)
    check_names(parts)
    used = {label for picture in parts["trainval"] for label, _, _ in picture.objects}
    if not used:
        raise Bad(f"{options.trainval[0]}: no box to learn from")
    classes = [label for label in categories if label in used]
    part = None
    try:
        part = Path(tempfile.mkdtemp(prefix=f".{options.out.name}.", dir=options.out.absolute().parent))
        # Folders for temporary files are the user's alone; a data set is a folder as any other.
        part.chmod(0o755)
        write(part, parts, classes, options.copy)
        part.rename(options.out)
    except OSError as error:
        raise Bad(f"{options.out}: cannot write: {error.strerror or error}") from None
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
    for name, pictures in parts.items():
        print(f"{name}: {len(pictures)} pictures, {sum(len(picture.objects) for picture in pictures)} boxes")
    print(f"classes: {shown(classes)}")
    if len(classes) < len(categories):
        print(f"without a box in trainval: {shown([label for label in categories if label not in used])}")
    if left_out:
        print(f"left out: {left_out} boxes that have not a pixel in their picture")


def main() -> None:
    try:
        make(arguments())
    except Bad as bad:
        sys.exit(f"coco_to_voc.py: {bad}")
    except KeyboardInterrupt:
        sys.exit("coco_to_voc.py: interrupted; nothing was made")


if __name__ == "__main__":
    main()
