#!/usr/bin/env python3
"""Tests of the training: python3 tools/train/test_train.py (skipped, and says so, without PyTorch)."""

import contextlib
import io
import json
import math
import pathlib
import sys
import tempfile
import types
import unittest
from random import Random
from unittest import mock

try:
    import numpy as np
    import safetensors.torch
    import torch
    import torchvision
    from PIL import Image

    import augment
    import detect
    import detector_files
    import networks
    import objective
    import voc
    from average_precision import average_precision
    from options import Bad, run
except ImportError as error:
    why = f"needs what tools/train/requirements.txt lists: {error}"
    print(f"SKIPPED: all of {pathlib.Path(__file__).name} but the CIFAR-10 table {why}", file=sys.stderr)
    unittest.main(module="test_cifar_table")


def load_tests(loader, tests, _):
    """This file's tests and those beside it."""
    tests.addTests(loader.loadTestsFromNames(("test_classify", "test_cifar_table")))
    return tests


def random_statistics(model) -> None:
    """Weights and statistics with which every layer matters."""
    torch.manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.normal_(layer.bias, 0, 0.3)
            torch.nn.init.normal_(layer.running_mean, 0, 0.1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)


class Networks(unittest.TestCase):
    def test_mobilenetv2_is_torchvisions(self):
        for width in (0.35, 1.0, 1.4):
            other = torchvision.models.mobilenet_v2(width_mult=width).eval()
            random_statistics(other)
            model = networks.classifier("mobilenetv2", width).eval()
            self.assertEqual(list(model.state_dict()), list(other.state_dict()))
            model.load_state_dict(other.state_dict())
            x = torch.randn(1, 3, 64, 96)
            with torch.no_grad():
                torch.testing.assert_close(model(x), other(x), rtol=0, atol=1e-5)

    def test_numbers_of_parameters(self):
        def count(width, classes):
            return sum(weight.numel() for weight in networks.classifier("mobilenext", width, classes).parameters())

        # The project's own CIFAR-10 network, and the paper's table.
        self.assertEqual(count(0.35, 10), 645_786)
        self.assertAlmostEqual(count(1.0, 1000) / 1e6, 3.5, delta=0.05)
        self.assertAlmostEqual(count(1.4, 1000) / 1e6, 6.1, delta=0.05)

    def test_priors_at_320(self):
        table = networks.ssdlite(size=320).priors()
        self.assertEqual(table.shape, (3234, 4))
        torch.testing.assert_close(table[0], torch.tensor((8, 8, 45, 45)) / 320)
        root = math.sqrt(45 * 120)
        torch.testing.assert_close(table[1], torch.tensor((8, 8, root, root)) / 320)
        torch.testing.assert_close(table[2], torch.tensor((8, 8, 45 * math.sqrt(2), 45 / math.sqrt(2))) / 320)
        # Level 3 begins after 20², 10² and 5² cells; its stride is 120 though it has three cells.
        torch.testing.assert_close(table[6 * 525 + 6], torch.tensor((180, 60, 180, 180)) / 320)
        # The last level's widest prior is cut to the picture.
        torch.testing.assert_close(table[3230], torch.tensor((0.5, 0.5, 1.0, 270 / math.sqrt(2) / 320)))

    def test_every_size_has_as_many_rows_as_priors(self):
        for backbone in ("mobilenext", "mobilenetv2"):
            for size in (33, 97, 300, 320, 416):
                model = networks.ssdlite(backbone, 0.1, 3, size).eval()
                with torch.no_grad():
                    scores, boxes = model(torch.randn(2, 3, size, size))
                rows = len(model.priors())
                self.assertEqual((scores.shape, boxes.shape), ((2, rows, 3), (2, rows, 4)), (backbone, size))

    def test_rows_are_level_row_column_prior(self):
        model = networks.ssdlite("mobilenext", 0.1, 2, 97).eval()
        head = model.box_head.predictor.cls_headers[1].conv
        grid = networks.grids(97)
        with torch.no_grad():
            level = model.backbone(torch.randn(1, 3, 97, 97))[1]
            maps, (scores, _) = head(level), model.box_head.predictor(model.backbone(torch.zeros(1, 3, 97, 97)))
            rows = networks.rows(maps, 2)
        self.assertEqual(scores.shape[1], 6 * sum(side * side for side in grid))
        row, column, prior = 2, 1, 4
        torch.testing.assert_close(rows[0, (row * grid[1] + column) * 6 + prior], maps[0, 2 * prior : 2 * prior + 2, row, column])

    def test_only_the_backbone_has_a_width(self):
        narrow, wide = (networks.ssdlite("mobilenetv2", width, 4).backbone.channels for width in (0.35, 1.0))
        self.assertEqual((narrow, wide), ([32, 1280, 512, 256, 256, 64], [96, 1280, 512, 256, 256, 64]))

    def test_decode_inverts_encode(self):
        table = networks.priors(networks.grids(97))
        boxes = torch.tensor((0.2, 0.3, 0.55, 0.9)).expand(len(table), 4)
        torch.testing.assert_close(networks.decode(networks.encode(boxes, table), table), boxes, rtol=0, atol=1e-5)

    def test_refusals(self):
        for call in (lambda: networks.ssdlite("vgg"), lambda: networks.ssdlite(classes=1), lambda: networks.ssdlite(size=0)):
            self.assertRaises(ValueError, call)
        with self.assertRaisesRegex(ValueError, "expected N x 3 x 320 x 320, found 1 x 3 x 300 x 320"):
            networks.ssdlite(width=0.1)(torch.zeros(1, 3, 300, 320))


class Objective(unittest.TestCase):
    def test_a_prior_stands_for_the_box_it_overlaps(self):
        table = networks.priors([4])
        boxes = torch.stack((objective.corners(table)[7], torch.tensor((0.9, 0.9, 0.91, 0.92))))
        labels, offsets = objective.match(boxes, torch.tensor((2, 1)), table)
        self.assertEqual(int(labels[7]), 2)
        torch.testing.assert_close(offsets[7], torch.zeros(4), rtol=0, atol=1e-4)
        # The small box overlaps nothing by half, and has a prior all the same.
        self.assertEqual(int((labels == 1).sum()), 1)

    def test_least_priors(self):
        table = networks.priors([20])
        labels, offsets = objective.match(torch.tensor(((0.4, 0.4, 0.45, 0.47),)), torch.tensor((1,)), table, least=3)
        self.assertEqual(int((labels == 1).sum()), 3)
        box = networks.decode(offsets, table)[labels == 1]
        torch.testing.assert_close(box, torch.tensor((0.4, 0.4, 0.45, 0.47)).expand(3, 4), rtol=0, atol=1e-5)

    def test_nothing_to_match(self):
        labels, _ = objective.match(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), networks.priors([2]))
        self.assertEqual(int(labels.sum()), 0)

    def test_loss_of_a_hand_made_case(self):
        # One positive and five negatives, of which the three with the highest loss count.
        scores = torch.tensor([[[0.0, 0.0], [0.0, 3.0], [0.0, 2.0], [0.0, 1.0], [0.0, -5.0], [0.0, -6.0]]])
        labels = torch.tensor([[1, 0, 0, 0, 0, 0]])
        boxes, offsets = torch.zeros(1, 6, 4), torch.zeros(1, 6, 4)
        boxes[0, 0] = torch.tensor((0.5, 2.0, 0.0, 0.0))
        boxes[0, 1] = 9.0
        class_loss, box_loss = objective.loss(scores, boxes, labels, offsets)
        expected = math.log(2) + sum(math.log(1 + math.exp(value)) for value in (3, 2, 1))
        self.assertAlmostEqual(float(class_loss), expected, places=5)
        self.assertAlmostEqual(float(box_loss), 0.5 * 0.25 + 1.5, places=6)


class AveragePrecision(unittest.TestCase):
    def test_by_hand(self):
        truths = [np.array([[0, 0, 10, 10], [20, 20, 30, 30]]), np.array([[0, 0, 10, 10]])]
        easy = [[False, False], [False]]
        found = [[[0.9, 0, 0, 10, 10], [0.8, 0, 0, 10, 9], [0.6, 50, 50, 60, 60]], [[0.7, 0, 0, 10, 10]]]
        # right, wrong (taken), right, wrong: precision 1 up to recall 1/3, 2/3 up to recall 2/3.
        self.assertAlmostEqual(average_precision(truths, easy, found), 1 / 3 + 2 / 9)
        # A difficult truth counts neither for nor against.
        self.assertAlmostEqual(average_precision(truths, [[True, False], [False]], found), 1 / 2 * 1)

    def test_nothing(self):
        none = np.zeros((0, 4))
        self.assertTrue(math.isnan(average_precision([none], [[]], [np.zeros((0, 5))])))
        self.assertEqual(average_precision([np.array([[0, 0, 5, 5]])], [[False]], [np.zeros((0, 5))]), 0)

    def test_an_empty_truth_is_never_found(self):
        truths = [np.array([[3.0, 3.0, 3.0, 9.0], [0, 0, 2, 2]])]
        found = [[[0.9, 3, 3, 3, 9], [0.8, 0, 0, 2, 2]]]
        self.assertAlmostEqual(average_precision(truths, [[False, False]], found), 0.25)


class Augment(unittest.TestCase):
    def test_boxes_follow_the_picture(self):
        # A white rectangle on black: wherever it goes, its box goes.
        pixels = np.zeros((120, 160, 3), np.uint8)
        pixels[40:80, 60:120] = 255
        options = types.SimpleNamespace(expand=2.0, crop=True, vertical_mirror=True)
        seen = 0
        for seed in range(60):
            x, boxes, classes = augment.augmented(pixels, np.array([[60.0, 40, 120, 80]]), np.array([1]), 160, options, Random(seed))
            self.assertEqual(x.shape, (3, 160, 160))
            self.assertEqual(classes.tolist(), [1])
            x0, y0, x1, y1 = boxes[0] * 160
            grey = x.mean(0)
            inside = grey[math.ceil(y0) + 2 : int(y1) - 2, math.ceil(x0) + 2 : int(x1) - 2]
            if inside.numel() == 0 or x0 < 4:
                continue
            seen += 1
            left = grey[int((y0 + y1) / 2), int(x0) - 3]
            self.assertGreater(float(inside.min()), float(left) + 0.5, seed)
        self.assertGreater(seen, 20)

    def test_squash_does_not_antialias(self):
        # Half-pixel centres: output 0 of 2 from 6 lies at 1.0 of the input, so it is that pixel.
        row = np.array([0, 60, 0, 0, 90, 0], np.uint8)
        pixels = np.repeat(row[None, :, None], 3, 2)
        self.assertEqual(augment.squash(pixels, 1, 2)[0].tolist(), [[60.0, 90.0]])

    def test_hue_keeps_grey(self):
        grey = torch.full((3, 2, 2), 0.4)
        turned = (augment.hue_rotation(18) @ grey.reshape(3, -1)).reshape(3, 2, 2)
        torch.testing.assert_close(turned, grey, rtol=0, atol=2e-3)


ANNOTATION = """<annotation><object><name>{name}</name><difficult>0</difficult>
<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object></annotation>"""


class DataSet(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.data, self.out = self.root / "data", self.root / "out"
        for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (self.data / part).mkdir(parents=True)
        for number in range(4):
            self.add(f"p{number}", "disc" if number % 2 else "ring", (10, 10, 40, 50))
        self.split("trainval", "p0 p1 p2 p3")
        self.split("test", "p3 p0")

    def add(self, picture: str, name: str, box) -> None:
        pixels = np.random.default_rng(len(picture)).integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(self.data / "JPEGImages" / f"{picture}.jpg")
        (self.data / "Annotations" / f"{picture}.xml").write_text(ANNOTATION.format(name=name, box=box))

    def split(self, name: str, pictures: str) -> None:
        (self.data / "ImageSets/Main" / f"{name}.txt").write_text("\n".join(pictures.split()))

    def run_tool(self, *flags: str, fails: bool = False) -> str:
        """What it prints; where it must fail, its one line of error."""
        network = () if "--evaluate" in flags else ("--width", "0.1", "--size", "64", "--batch", "2", "--workers", "1")
        output = io.StringIO()
        command = ["detect.py", str(self.data), str(self.out), *network, *flags]
        with mock.patch.object(sys, "argv", command), contextlib.redirect_stdout(output):
            try:
                run("detect.py", detect.main)
            except SystemExit as end:
                self.assertTrue(fails, end.code)
                self.assertRegex(end.code, r"\Adetect\.py: [^\n]+\Z")
                return end.code
        self.assertFalse(fails, output.getvalue())
        return output.getvalue()

    def test_trains_resumes_and_measures(self):
        self.run_tool("--epochs", "2", "--half")
        whole = safetensors.torch.load_file(self.out / "model.safetensors")
        self.assertEqual(json.loads((self.out / "model.json").read_text())["labels"], ["background", "disc", "ring"])
        self.assertEqual((self.out / "labels.txt").read_text(), "background\ndisc\nring\n")
        self.assertEqual(len((self.out / "log.csv").read_text().splitlines()), 3)
        self.assertEqual((self.out / "plot.png").read_bytes()[:4], b"\x89PNG")
        self.assertIn("mAP", self.run_tool("--evaluate"))
        self.assertIn("--resume goes on with it", self.run_tool("--epochs", "2", fails=True))
        self.assertIn("seed is 0 there and 4 now", self.run_tool("--resume", "--seed", "4", fails=True))
        self.assertEqual(list(self.out.glob("*.part")), [])
        # An interrupted run that goes on ends with the same weights as one in a piece.
        self.out = self.root / "again"
        self.interrupted(1)
        self.run_tool("--epochs", "2", "--half", "--resume")
        again = safetensors.torch.load_file(self.out / "model.safetensors")
        self.assertEqual(whole.keys(), again.keys())
        for name, value in whole.items():
            self.assertTrue(torch.equal(value, again[name]), name)
        self.assertEqual(whole["backbone.features.0.0.weight"].dtype, torch.float16)
        self.assertEqual(whole["backbone.features.0.1.running_var"].dtype, torch.float32)

    def interrupted(self, after: int) -> None:
        """A run of two epochs that ends after `after`, as if killed."""
        whole = detect.Training.run_epoch

        def some(training, data):
            if training.epoch == after:
                raise Bad("interrupted")
            return whole(training, data)

        with mock.patch.object(detect.Training, "run_epoch", some):
            self.run_tool("--epochs", "2", "--half", fails=True)

    def test_starts_from_a_classifier(self):
        model = networks.classifier("mobilenext", 0.25, 10)
        safetensors.torch.save_file(model.state_dict(), self.root / "c.safetensors")
        detector = networks.ssdlite("mobilenext", 0.25, 3, 64)
        detector_files.load_backbone(detector, self.root / "c.safetensors")
        for name, value in model.features.state_dict().items():
            self.assertTrue(torch.equal(value, detector.backbone.features.state_dict()[name]), name)
        wide = networks.ssdlite("mobilenext", 0.5, 3, 64)
        with self.assertRaisesRegex(Bad, "expected 16 x 3 x 3 x 3, found 8 x 3 x 3 x 3"):
            detector_files.load_backbone(wide, self.root / "c.safetensors")
        with self.assertRaisesRegex(Bad, "is it of the same network"):
            detector_files.load_backbone(networks.ssdlite("mobilenetv2", 0.25, 3, 64), self.root / "c.safetensors")
        (self.root / "c.safetensors").write_bytes(b"no tensors")
        with self.assertRaisesRegex(Bad, "not safetensors"):
            detector_files.load_backbone(detector, self.root / "c.safetensors")

    def test_bad_boxes_are_counted(self):
        self.add("p0", "ring", (40, 10, 10, 50))
        self.add("p1", "disc", (10, 10, 10, 50))
        self.add("p2", "ring", (-5, 10, 95, 50))
        split = voc.read_split(self.data, "trainval")
        self.assertIn("2 empty or inverted boxes left out", split.report())
        self.assertIn("1 boxes that stick out of the picture, cut", split.report())
        learned = detect.examples(split, ["disc", "ring"])
        self.assertEqual([len(example.boxes) for example in learned], [0, 0, 1, 1])
        self.assertEqual(learned[2].boxes.tolist(), [[0, 10, 80, 50]])

    def test_bad_data(self):
        annotation = self.data / "Annotations/p0.xml"
        good = annotation.read_text()
        for content, message in (
            (good[:50], "not XML"),
            (good.replace("<xmin>10", "<xmin>ten"), "object 1 (ring): xmin is 'ten', expected a number"),
            (good.replace("<xmin>10", "<xmin>nan"), "xmin is 'nan'"),
            (good.replace("<bndbox>", "<box>").replace("</bndbox>", "</box>"), "xmin is ''"),
            (good.replace("ring", ""), "object 1 has no name"),
        ):
            annotation.write_text(content)
            self.assertIn(message, self.run_tool(fails=True))
        annotation.write_text(good)
        self.assertIn("unknown class 'ring', expected disc", self.run_tool("--classes", "disc", fails=True))
        self.assertIn("no box of class cube, its classes are disc, ring", self.run_tool("--classes", "cube", fails=True))
        self.assertIn("val.txt: cannot read the split", self.run_tool("--train", "val", fails=True))
        self.split("val", "p1 p9")
        self.assertIn("p9: no such picture", self.run_tool("--train", "val", fails=True))
        self.split("val", "p1 p1")
        self.assertIn("names p1 twice", self.run_tool("--train", "val", fails=True))
        self.split("val", "../p1")
        self.assertIn("is not a picture's name", self.run_tool("--train", "val", fails=True))
        self.split("val", "")
        self.assertIn("the split names no picture", self.run_tool("--train", "val", fails=True))
        (self.data / "JPEGImages/p0.jpg").write_bytes(b"no picture")
        self.assertIn("cannot read the picture", self.run_tool(fails=True))
        self.data = self.root / "nothing"
        self.assertIn("not a data set in VOC's form", self.run_tool(fails=True))
        self.assertFalse(self.out.exists())


if __name__ == "__main__":
    unittest.main()
