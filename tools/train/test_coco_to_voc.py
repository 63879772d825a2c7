#!/usr/bin/env python3
"""Tests of coco_to_voc.py: python3 tools/train/test_coco_to_voc.py. They need nothing but Python."""

import contextlib
import copy
import io
import json
import os
import pathlib
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from unittest import mock

import coco_to_voc

COCO = {
    "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "traffic light"}, {"id": 9, "name": "R&D <x>"}],
    "images": [
        {"id": 10, "file_name": "a.jpg", "width": 80, "height": 60},
        {"id": 20, "file_name": "sub/b 1.JPG", "width": 40, "height": 30},
        {"id": 30, "file_name": "empty.png", "width": 5, "height": 5},
    ],
    "annotations": [
        {"image_id": 10, "category_id": 7, "bbox": [0, 0, 80, 60], "iscrowd": 0},
        {"image_id": 10, "category_id": 3, "bbox": [10.4, 20.5, 5, 6.2], "iscrowd": 1},
        {"image_id": 20, "category_id": 7, "bbox": [-5, 25, 10, 100]},
        {"image_id": 20, "category_id": 3, "bbox": [40, 0, 10, 10]},
        {"image_id": 20, "category_id": 3, "bbox": [1, 1, 0, 10]},
    ],
}


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.pictures, self.out = self.root / "pictures", self.root / "out"
        (self.pictures / "sub").mkdir(parents=True)
        for entry in COCO["images"]:
            (self.pictures / entry["file_name"]).write_bytes(b"a picture")
        self.content = copy.deepcopy(COCO)

    def json(self, name: str, content=None) -> str:
        path = self.root / name
        path.write_text(json.dumps(self.content if content is None else content))
        return str(path)

    def run_tool(self, *flags: str, fails: bool = False) -> str:
        """What it prints; where it must fail, its one line of error."""
        output = io.StringIO()
        with mock.patch.object(sys, "argv", ["coco_to_voc.py", str(self.out), *flags]), contextlib.redirect_stdout(output):
            try:
                coco_to_voc.main()
            except SystemExit as end:
                self.assertTrue(fails, end.code)
                self.assertRegex(end.code, r"\Acoco_to_voc\.py: [^\n]+\Z")
                return end.code
        self.assertFalse(fails, output.getvalue())
        return output.getvalue()

    def convert(self, *flags: str, fails: bool = False) -> str:
        return self.run_tool("--trainval", self.json("train.json"), str(self.pictures), *flags, fails=fails)

    def lines(self, name: str) -> list[str]:
        return (self.out / name).read_text().splitlines()

    def boxes(self, name: str) -> list[tuple]:
        root = ElementTree.parse(self.out / f"Annotations/{name}.xml").getroot()
        corners = ("xmin", "ymin", "xmax", "ymax")
        return [(e.findtext("name"), e.findtext("difficult"), *(int(e.findtext(f"bndbox/{c}")) for c in corners)) for e in root.findall("object")]


class Converted(Case):
    def test_boxes_classes_and_lists(self):
        (self.pictures / "t.jpg").write_bytes(b"of the test")
        test = self.content | {"images": [{"id": 1, "file_name": "t.jpg", "width": 9, "height": 9}], "annotations": []}
        printed = self.convert("--test", self.json("test.json", test), str(self.pictures))
        self.assertEqual(
            printed.splitlines(),
            [
                "trainval: 3 pictures, 3 boxes",
                "test: 1 pictures, 0 boxes",
                "classes: traffic light, cat",
                "without a box in trainval: R&D <x>",
                "left out: 2 boxes that have not a pixel in their picture",
            ],
        )
        self.assertEqual(self.boxes("a"), [("cat", "0", 1, 1, 80, 60), ("traffic light", "1", 11, 22, 15, 27)])
        self.assertEqual(self.boxes("sub/b 1"), [("cat", "0", 1, 26, 5, 30)])
        self.assertEqual(self.boxes("empty"), [])
        # The mark keeps what is read of the line from ending before the name does.
        self.assertEqual(self.lines("ImageSets/Main/trainval.txt"), ["a", "sub/b 1 1", "empty"])
        self.assertEqual(self.lines("ImageSets/Main/test.txt"), ["t"])
        self.assertEqual(self.lines("classes.txt"), ["traffic light", "cat"])
        picture = self.out / "JPEGImages/sub/b 1.jpg"
        self.assertTrue(picture.is_symlink())
        self.assertEqual(picture.read_bytes(), b"a picture")
        size = ElementTree.parse(self.out / "Annotations/a.xml").getroot().find("size")
        self.assertEqual([size.findtext(side) for side in ("width", "height")], ["80", "60"])

    def test_names_are_escaped(self):
        self.content["annotations"][0]["category_id"] = 9
        self.convert("--test-share", "0.01")
        names = [name for path in ("a", "sub/b 1") for name, *_ in self.boxes(path)]
        self.assertIn("R&D <x>", names)

    def test_a_share_for_the_test_is_chosen_by_the_seed(self):
        for number in range(17):
            (self.pictures / f"{number}.png").write_bytes(b"")
            self.content["images"].append({"id": 100 + number, "file_name": f"{number}.png", "width": 9, "height": 9})
        lists = []
        for place, seed in enumerate(("1", "1", "2")):
            self.out = self.root / f"out{place}"
            self.convert("--seed", seed, "--copy")
            lists.append(self.lines("ImageSets/Main/test.txt"))
            together = self.lines("ImageSets/Main/trainval.txt") + lists[-1]
            self.assertEqual((len(lists[-1]), len(set(together))), (4, 20))
            self.assertFalse((self.out / "JPEGImages/a.jpg").is_symlink())
        self.assertEqual(lists[0], lists[1])
        self.assertNotEqual(lists[0], lists[2])


class Refused(Case):
    def test_bad_annotations(self):
        def change(*path, to):
            content = copy.deepcopy(COCO)
            inner = content
            for step in path[:-1]:
                inner = inner[step]
            inner[path[-1]] = to
            return content

        for content, message in (
            ([], "expected an object with categories, images and annotations, found list"),
            ({}, "expected a list of categories, found none"),
            (change("images", to={}), "expected a list of images, found dict"),
            (change("images", to=[]), "expected images, found none"),
            (change("images", 0, to=5), "images[0]: expected an object, found int"),
            (change("images", 1, "id", to=10), "images[1]: expected each id once, found 10 again"),
            (change("images", 1, "id", to="x"), "images[1]: expected id to be a whole number, found 'x'"),
            (change("images", 1, "width", to=0), "images[1]: expected width and height of 1 or more, found 0 and 30"),
            (change("images", 0, "file_name", to="../a.jpg"), "images[0]: expected file_name to be a picture below"),
            (change("images", 0, "file_name", to="a.svg"), "images[0]: expected file_name to be a picture below"),
            (change("images", 0, "file_name", to=" a.jpg"), "there is no such picture"),
            (change("images", 2, "file_name", to="a.jpg"), "the name a is that of"),
            (change("categories", 1, "name", to="cat"), "categories: expected each name once, found 'cat' again"),
            (change("categories", 1, "name", to="a\nb"), "categories[1]: expected a name of printable characters"),
            (change("annotations", 0, "image_id", to=11), "annotations[0]: image_id is 11, which nothing has"),
            (change("annotations", 0, "category_id", to=11), "annotations[0]: category_id is 11, which nothing has"),
            (change("annotations", 0, "bbox", to=[1, 2, 3]), "annotations[0]: expected bbox to be four numbers"),
            (change("annotations", 0, "bbox", to=[1, 2, 3, float("nan")]), "annotations[0]: expected bbox to be four numbers"),
            (change("annotations", 0, "bbox", to=[1, 2, 3, 10**400]), "annotations[0]: expected bbox to be four numbers"),
            (change("annotations", to=[]), "no box to learn from"),
        ):
            with self.subTest(message):
                self.content = content
                self.assertIn(message, self.run_tool("--trainval", self.json("bad.json", content), str(self.pictures), fails=True))
        (self.root / "bad.json").write_text('{"categories": [')
        self.assertIn("bad.json: not JSON", self.run_tool("--trainval", str(self.root / "bad.json"), str(self.pictures), fails=True))
        self.assertIn("none.json: cannot read", self.run_tool("--trainval", str(self.root / "none.json"), str(self.pictures), fails=True))
        self.check_nothing_is_left()

    def test_names_with_space_at_their_end(self):
        (self.pictures / "x .jpg").write_bytes(b"")
        self.content["images"][0]["file_name"] = "x .jpg"
        self.assertIn("without space around it", self.convert(fails=True))

    def test_other_categories_in_the_test(self):
        other = self.content | {"categories": self.content["categories"][:2] + [{"id": 9, "name": "dog"}]}
        message = self.convert("--test", self.json("test.json", other), str(self.pictures), fails=True)
        self.assertIn("traffic light, cat, R&D <x>, found traffic light, cat, dog", message)

    def test_what_is_there_stays(self):
        self.out.mkdir()
        (self.out / "mine").write_text("")
        self.assertIn("out: expected nothing there", self.convert(fails=True))
        self.assertEqual(os.listdir(self.out), ["mine"])

    def test_options(self):
        self.assertIn("--test-share: expected none beside --test", self.convert("--test", "x", "y", "--test-share", "0.1", fails=True))
        self.assertIn("--test-share: expected more than 0", self.convert("--test-share", "0", fails=True))
        self.out = self.root / "none/out"
        self.assertIn("none: there is no such folder", self.convert(fails=True))

    def test_nothing_half_written_is_left(self):
        for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):
            with mock.patch.object(coco_to_voc, "xml_of", side_effect=error):
                self.assertRegex(self.convert(fails=True), "No space left on device|nothing was made")
            self.check_nothing_is_left()

    def check_nothing_is_left(self):
        self.assertEqual({path.suffix for path in self.root.iterdir()} - {".json"}, {""})
        self.assertEqual([path.name for path in self.root.iterdir() if path.is_dir()], ["pictures"])


if __name__ == "__main__":
    unittest.main()
