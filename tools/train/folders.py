"""Pictures in folders, one sub-folder per class: which there are, and their pixels."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

import decoding
from decoding import ENDINGS
from options import Bad

CHUNK = 256
# A picture may be so many times as long as wide: it is resized whole before its middle is cut out.
LARGEST_RATIO = 100
LISTED = 10
# Folders that are no classes, in capital letters, too. Of several for the test, the first is taken.
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing", "val", "valid", "validation")


@dataclass
class Split:
    """Files, the class of each, and those that turned out to be no pictures, with the reason."""

    name: str
    files: list[Path]
    classes: list[int]
    unreadable: list[tuple[Path, str]] = field(default_factory=list)

    def report(self, labels: list[str]) -> str:
        count = [self.classes.count(number) for number in range(len(labels))]
        least, most = min(count), max(count)
        each = f"{least}" if least == most else f"{least} to {most}"
        lines = [f"{self.name}: {len(self.files)} pictures of {len(labels)} classes, {each} of each"]
        if self.unreadable:
            lines[0] += f"; {len(self.unreadable)} that cannot be read are left out:"
            lines += [f"  {path}: {reason}" for path, reason in self.unreadable[:LISTED]]
            more = len(self.unreadable) - LISTED
            lines += [f"  and {more} more"] * (more > 0)
        return "\n".join(lines)


@dataclass
class Data:
    """What a folder has: labels, two splits, and how many files were passed over, by their endings."""

    labels: list[str]
    train: Split
    test: Split
    test_folder: Path | None  # where all test pictures are and no others, if there is such a folder
    passed_over: Counter

    def report(self) -> str:
        shown, more = self.labels[:LISTED], len(self.labels) - LISTED
        lines = [f"classes: {', '.join(shown)}" + (f" and {more} more" if more > 0 else "")]
        if self.passed_over:
            kinds = ", ".join(f"{kind} {count}" for kind, count in self.passed_over.most_common(LISTED))
            kinds += ", …" * (len(self.passed_over) > LISTED)
            lines.append(f"passed over: {self.passed_over.total()} files ({kinds})")
        return "\n".join(lines)


def read_folders(data: Path, share: float, seed: int) -> Data:
    """What is in DATA/train/CLASS and DATA/test/CLASS (or val), or in DATA/CLASS: then `share` of each class's pictures, by the seed,
    are for the test. Labels are the folders' names, by the alphabet.
    """
    if not data.is_dir():
        raise Bad(f"{data}: there is no such folder")
    passed_over: Counter = Counter()
    parts = folders_of_splits(data)
    if parts is None:
        return split_by_seed(data, share, seed, passed_over)
    found, other = (classes_of(part, passed_over) for part in parts)
    for wrong in sorted(found.keys() ^ other.keys()):
        inside, outside = parts if wrong in found else parts[::-1]
        raise Bad(f"{outside}: there is no class {wrong}, which {inside} has")
    train, test = (Split(part.name, *listed(files)) for part, files in zip(parts, (found, other)))
    return Data(list(found), train, test, parts[1], passed_over)


def folders_of_splits(data: Path) -> tuple[Path, Path] | None:
    """Those for training and test. None if DATA has a folder for each class, and one of them may be called train."""
    there = sub_folders(data)
    train, test = (first_of(names, there) for names in (TRAIN_NAMES, TEST_NAMES))
    others = [path for path in there if path.name.lower() not in TRAIN_NAMES + TEST_NAMES]
    if train is not None and test is not None:
        return train, test
    if test is not None and not others:
        raise Bad(f"{data}: there is a folder {test.name}, but no folder train")
    # A class has pictures, a split has folders of them.
    if train is None or others and any(is_picture(path) for path in visible_files(train.iterdir())):
        return None
    raise Bad(f"{data}: there is a folder {train.name}, but neither test nor val")


def first_of(names: tuple[str, ...], folders: list[Path]) -> Path | None:
    """The folder with the earliest of the names, in small or capital letters."""
    found = [folder for folder in folders if folder.name.lower() in names]
    return min(found, key=lambda folder: names.index(folder.name.lower()), default=None)


def split_by_seed(data: Path, share: float, seed: int, passed_over: Counter) -> Data:
    if share == 0:
        raise Bad(f"{data}: no pictures to measure on: give --test-share, or folders train and test")
    train, test = {}, {}
    for label, files in classes_of(data, passed_over).items():
        if len(files) < 2:
            raise Bad(f"{data / label}: 1 picture is too few: training and test need one of each class")
        shuffled = Random(f"{seed} {label}").sample(files, len(files))
        count = min(max(1, round(len(files) * share)), len(files) - 1)
        test[label], train[label] = sorted(shuffled[:count]), sorted(shuffled[count:])
    return Data(list(train), Split("train", *listed(train)), Split("test", *listed(test)), None, passed_over)


def sub_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def is_picture(path: Path) -> bool:
    """By its name, as for `mnx-infer`."""
    return path.suffix.lower() in ENDINGS


def classes_of(folder: Path, passed_over: Counter) -> dict[str, list[Path]]:
    """The files of each class, labels and files by the alphabet. Other files are counted."""
    names = [path.name for path in sub_folders(folder)]
    if len(names) < 2:
        found = f"only {names[0]}" if names else "none"
        raise Bad(f"{folder}: expected a folder for each of 2 classes or more, found {found}")
    passed_over.update("pictures in no class's folder" if is_picture(path) else kind(path) for path in visible_files(folder.iterdir()))
    result = {}
    for name in names:
        if not name.isprintable() or name != name.strip():
            raise Bad(f"{folder}: {name!r} cannot be a label: expected printable characters")
        files = visible_files((folder / name).rglob("*"))
        result[name] = sorted(path for path in files if is_picture(path))
        passed_over.update(kind(path) for path in files if not is_picture(path))
        if not result[name]:
            raise Bad(f"{folder / name}: the class has no pictures ({', '.join(sorted(ENDINGS))})")
    return result


def visible_files(paths) -> list[Path]:
    """Names that begin with a dot are what systems leave behind."""
    return [path for path in paths if path.is_file() and not path.name.startswith(".")]


def kind(path: Path) -> str:
    return path.suffix.lower() or "no ending"


def listed(files: dict[str, list[Path]]) -> tuple[list[Path], list[int]]:
    pairs = [(path, number) for number, label in enumerate(files) for path in files[label]]
    return [path for path, _ in pairs], [number for _, number in pairs]


def middle(picture: Image.Image, short: int, size: int) -> Image.Image:
    """The picture as the network sees it in use: its short side resized, then the middle. As `mnx-infer` and torchvision."""
    picture = with_short_side(picture, short)
    left, top = (round((side - size) / 2) for side in picture.size)
    return picture.crop((left, top, left + size, top + size))


def with_short_side(picture: Image.Image, short: int) -> Image.Image:
    width, height = picture.size
    if min(width, height) == short:
        return picture
    longer = int(short * max(width, height) / min(width, height))
    if longer > LARGEST_RATIO * short:
        raise ValueError(f"{width} x {height} pixels: expected sides of at most 1 to {LARGEST_RATIO}")
    return picture.resize((short, longer) if width <= height else (longer, short), Image.Resampling.BILINEAR)


class Memory:
    """How many bytes of pictures may still be kept."""

    def __init__(self, bytes_left: int):
        self.left = bytes_left

    def takes(self, pixels: np.ndarray) -> bool:
        if pixels.nbytes > self.left:
            return False
        self.left -= pixels.nbytes
        return True


class Pictures:
    """A split's pixels, H x W x 3 bytes each, made by `prepare`. What does not fit into memory is decoded when it is needed.

    All are decoded once in the beginning, so what cannot be read is known, and left out of the split.
    """

    def __init__(self, split: Split, labels: list[str], prepare, memory: Memory, pool: ThreadPoolExecutor, progress=lambda name, done, count: None):
        self.prepare, self.kept = prepare, {}
        files, classes, first = [], [], {}  # of a class: the first picture that cannot be read, and why
        for start in range(0, len(split.files), CHUNK):
            part = split.files[start : start + CHUNK]
            for place, (path, pixels) in enumerate(zip(part, pool.map(self.attempt, part)), start):
                if isinstance(pixels, str):
                    split.unreadable.append((path, pixels))
                    first.setdefault(split.classes[place], (path, pixels))
                    continue
                if memory.takes(pixels):
                    self.kept[len(files)] = pixels
                files.append(path)
                classes.append(split.classes[place])
            progress(split.name, min(start + CHUNK, len(split.files)), len(split.files))
        for number, label in enumerate(labels):
            if number not in classes:
                path, reason = first[number]
                raise Bad(f"{path}: none of the pictures of class {label} in {split.name} can be read, this one for: {reason}")
        split.files, split.classes = files, classes
        self.files, self.classes = files, classes

    def __len__(self) -> int:
        return len(self.files)

    def attempt(self, path: Path) -> np.ndarray | str:
        """The pixels, or why there are none."""
        try:
            return np.asarray(self.prepare(decoding.upright(path)))
        except Exception as error:  # Pillow's decoders fail with many kinds.
            return decoding.reason(error)

    def pixels(self, number: int) -> np.ndarray:
        if number in self.kept:
            return self.kept[number]
        pixels = self.attempt(self.files[number])
        if isinstance(pixels, str):
            raise Bad(f"{self.files[number]}: the picture could be read before, and now it cannot: {pixels}")
        return pixels
