#!/usr/bin/env python3
"""Tests of what a classifier learns from, and starts from: python3 tools/train/test_train.py runs them, too (skipped, and says so, without PyTorch)."""

import json
import pathlib
import shutil
import sys
import tempfile
import unittest

try:
    import safetensors.torch
    import torch

    import classifier_files
    import folders
    import networks
    from options import Bad
except ImportError as error:
    print(f"SKIPPED: {pathlib.Path(__file__).name} needs what tools/train/requirements.txt lists: {error}", file=sys.stderr)
    sys.exit(0)


class Listing(unittest.TestCase):
    """Empty files will do: nothing is decoded."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data = pathlib.Path(folder.name)

    def add(self, *names: str) -> None:
        for name in names:
            path = self.data / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def found(self) -> folders.Data:
        return folders.read_folders(self.data, 0.5, 1)

    def test_names_of_splits_in_capital_letters(self):
        for train, test in (("Train", "Test"), ("TRAIN", "Val"), ("training", "Validation")):
            with self.subTest(train):
                self.add(f"{train}/cat/1.png", f"{train}/dog/1.png", f"{test}/cat/2.png", f"{test}/dog/2.png")
                found = self.found()
                self.assertEqual((found.labels, found.train.name, found.test_folder), (["cat", "dog"], train, self.data / test))
                self.assertEqual([path.name for path in found.test.files], ["2.png"] * 2)
                for name in (train, test):
                    shutil.rmtree(self.data / name)

    def test_of_several_folders_for_the_test_one_is_taken(self):
        self.add(*(f"{split}/{label}/1.png" for split in ("train", "valid", "test") for label in ("cat", "dog")))
        self.assertEqual(self.found().test.name, "test")

    def test_a_class_can_be_called_train(self):
        self.add(*(f"{label}/{number}.png" for label in ("train", "plane", "bus") for number in range(2)))
        found = self.found()
        self.assertEqual((found.labels, found.test_folder), (["bus", "plane", "train"], None))
        self.assertEqual(found.report(), "classes: bus, plane, train")

    def test_splits_alone_are_no_classes(self):
        self.add(*(f"test/{label}/1.png" for label in ("cat", "dog")), "val/cat/1.png")
        with self.assertRaisesRegex(Bad, "there is a folder test, but no folder train"):
            self.found()
        self.add("extra/1.png", "train/cat/1.png")
        shutil.rmtree(self.data / "test")
        shutil.rmtree(self.data / "val")
        with self.assertRaisesRegex(Bad, "a folder train, but neither test nor val"):
            self.found()

    def test_all_endings_that_mnx_decodes(self):
        self.add(*(f"{label}/{number}{ending}" for label in ("a", "b") for number, ending in enumerate(sorted(folders.ENDINGS))))
        self.add("a/x.JFIF", "a/deep/y.jpe")
        found = self.found()
        self.assertEqual(len(found.train.files) + len(found.test.files), 2 * len(folders.ENDINGS) + 2)
        self.assertEqual({".jpe", ".jfif", ".pbm", ".dib"} - folders.ENDINGS, set())

    def test_what_is_passed_over_is_counted(self):
        self.add("a/1.png", "a/2.png", "b/1.png", "b/2.png", "a/x.heic", "a/y.HEIC", "a/notes.txt", "b/README", "loose.jpg", ".hidden", "a/.DS_Store")
        report = "passed over: 5 files (.heic 2, pictures in no class's folder 1, .txt 1, no ending 1)"
        self.assertEqual(self.found().report().splitlines(), ["classes: a, b", report])

    def test_many_labels_are_cut(self):
        self.add(*(f"{number:02}/{file}.png" for number in range(13) for file in "ab"))
        self.assertEqual(self.found().report(), "classes: 00, 01, 02, 03, 04, 05, 06, 07, 08, 09 and 3 more")


class Lists(unittest.TestCase):
    def test_names_that_fit_no_line_are_counted(self):
        data = pathlib.Path("data")
        names = ["a/1 2.png", "a/t\tab.png", "b/line\nend.png", "b/\udcff.png", "b/\u00a0.png"]
        split = folders.Split("test", [data / name for name in names], [0, 0, 1, 1, 1])
        self.assertEqual(classifier_files.listed(data, split, ["a", "b c"]), ("a/1 2.png\ta\nb/\u00a0.png\tb c\n", 3))


class Starts(unittest.TestCase):
    """What becomes of the last layer of a network to start from."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        torch.manual_seed(1)
        self.before = networks.architecture("mobilenext-cifar", 0.1, 3)
        safetensors.torch.save_file(self.before.state_dict(), self.folder / "start.safetensors")

    def start(self, labels: list[str]) -> tuple[str, bool]:
        """What is said, and whether the last layer is that of the file."""
        model = networks.architecture("mobilenext-cifar", 0.1, len(labels))
        said = classifier_files.load_start(model, self.folder / "start.safetensors", labels)
        features, own = self.before.features.state_dict(), model.features.state_dict()
        self.assertTrue(all(torch.equal(value, own[name]) for name, value in features.items()))
        one, other = (networks.head(each).weight for each in (model, self.before))
        return said, one.shape == other.shape and torch.equal(one, other)

    def test_same_classes_keep_it(self):
        (self.folder / "labels.txt").write_text("a\nb c\nd\n")
        self.assertEqual(self.start(["a", "b c", "d"]), ("last layer: kept (same classes)", True))
        (self.folder / "labels.txt").unlink()
        (self.folder / "model.json").write_text(json.dumps({"labels": ["a", "b", "d"]}))
        self.assertEqual(self.start(["a", "b", "d"]), ("last layer: kept (same classes)", True))

    def test_other_classes_have_a_new_one(self):
        (self.folder / "labels.txt").write_text("a\nb\nc\n")
        self.assertEqual(self.start(["a", "c", "b"]), ("last layer: new (the same classes in another order)", False))
        self.assertEqual(self.start(["a", "b", "d"]), ("last layer: new (other classes)", False))
        self.assertEqual(self.start(["a", "b"]), ("last layer: new (other classes)", False))
        # Labels of another network.
        (self.folder / "labels.txt").write_text("a\nb\n")
        self.assertEqual(self.start(["a", "b"]), ("last layer: new (start.safetensors has none for so many classes)", False))

    def test_an_equal_number_of_unknown_classes_says_nothing(self):
        for text in (None, "no JSON", "[]", "{}"):
            if text is not None:
                (self.folder / "model.json").write_text(text)
            said, kept = self.start(["a", "b", "c"])
            self.assertFalse(kept)
            self.assertIn("new (neither labels.txt nor model.json beside start.safetensors says its classes)", said)


if __name__ == "__main__":
    unittest.main()
