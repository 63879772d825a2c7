#!/usr/bin/env python3
"""Tests of the training: python3 tools/train/test_train.py (skipped, and says so, without PyTorch)."""

import math
import pathlib
import sys
import types
import unittest
from random import Random

try:
    import numpy as np
    import torch
    import torchvision

    import augment
    import networks
    import objective
    from average_precision import average_precision
except ImportError as error:
    why = f"needs what tools/train/requirements.txt lists: {error}"
    print(f"SKIPPED: all of {pathlib.Path(__file__).name} but the CIFAR-10 table and COCO's annotations {why}", file=sys.stderr)
    unittest.main(module=None, argv=[sys.argv[0], "test_cifar_table", "test_coco_to_voc"])


def load_tests(loader, tests, _):
    """This file's tests and those beside it."""
    tests.addTests(loader.loadTestsFromNames(("test_detect", "test_classify", "test_folders", "test_cifar_table", "test_coco_to_voc")))
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


if __name__ == "__main__":
    unittest.main()
