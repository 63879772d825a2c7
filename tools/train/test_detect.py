#!/usr/bin/env python3
"""Tests of the training of detectors: python3 tools/train/test_train.py runs them, too (skipped, and says so, without PyTorch)."""

import contextlib
import io
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

try:
    import numpy as np
    import safetensors.torch
    import torch
    from PIL import Image

    import coco_to_voc
    import detect
    import detector_files
    import files
    import networks
    import voc
    from options import Bad, run
    from test_classify import mnx, needs_program
except ImportError as error:
    print(f"SKIPPED: {pathlib.Path(__file__).name} needs what tools/train/requirements.txt lists: {error}", file=sys.stderr)
    sys.exit(0)

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

    def add(self, picture: str, name: str, box, picture_too: bool = True) -> None:
        for part in ("JPEGImages", "Annotations"):
            (self.data / part / picture).parent.mkdir(exist_ok=True)
        if picture_too:
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

    @needs_program
    def test_its_commands_work(self):
        printed = self.run_tool("--epochs", "1").splitlines()
        about = json.loads((self.out / "model.json").read_text())
        self.assertEqual(printed[-2:], [f"next: {about['convert']}", f"then: {about['eval']}"])
        self.assertIn("3 classes, 64 x 64", mnx(*shlex.split(about["convert"])[1:]))
        self.assertIn("2 pictures", mnx(*shlex.split(about["eval"])[1:]))
        # The labels alone do not say how many classes the network has.
        words = shlex.split(about["convert"])[1:]
        place = words.index("--classes")
        with self.assertRaisesRegex(AssertionError, "found 3 lines"):
            mnx(*words[:place], *words[place + 2 :])

    def test_every_epoch_leaves_weights(self):
        self.interrupted(1)
        self.assertIn("mAP", self.run_tool("--evaluate"))
        # One that was killed between its checkpoint and its weights writes them when it is resumed, also if no epoch is left.
        (self.out / "model.safetensors").unlink()
        self.run_tool("--epochs", "1", "--half", "--resume")
        self.assertTrue((self.out / "model.safetensors").is_file())

    def test_says_how_long_the_rest_takes(self):
        lines = self.run_tool("--epochs", "2").splitlines()
        epochs = [line for line in lines if line.startswith("epoch ")]
        self.assertRegex(epochs[0], r"\Aepoch 1 of 2: loss \d+\.\d+, \d+\.\d s, \d+:\d\d:\d\d left\Z")
        self.assertRegex(epochs[1], r", mAP \d\.\d+, \d+\.\d s, 0:00:00 left\Z")

    def test_small_batches_have_fewer_parts(self):
        self.assertEqual([detect.most_parts(pictures, 4) for pictures in (2, 3, 4, 7, 8, 100)], [1, 1, 2, 3, 4, 4])
        self.run_tool("--epochs", "1", "--batch", "3", "--workers", "2")
        self.out = self.root / "one"
        self.assertIn("--batch: batch norms need 2 pictures or more", self.run_tool("--batch", "1", fails=True))

    def test_plots_of_one_epoch_show_it(self):
        seen = []

        def draw(*both):
            seen.extend(both)
            for axes in both:
                axes.plot([1], [0.5], marker=files.marker_of([1]))

        files.save_plot(self.root / "plot.png", draw)
        for axes in seen:
            low, high = axes.get_xlim()
            self.assertEqual([tick for tick in axes.get_xticks() if low <= tick <= high], [1])
            self.assertEqual(axes.lines[0].get_marker(), ".")
        self.assertIsNone(files.marker_of([1, 2]))

    def test_other_data_is_not_gone_on_with(self):
        self.interrupted(1)
        whole = (self.data / "Annotations/p1.xml").read_text()
        (self.data / "Annotations/p1.xml").write_text(whole.replace("<xmax>40", "<xmax>41"))
        message = self.run_tool("--epochs", "2", "--half", "--resume", fails=True)
        self.assertRegex(message, r"the data was 4 pictures with 4 boxes \(\w+\), is 4 pictures with 4 boxes \(")
        (self.data / "Annotations/p1.xml").write_text(whole)
        self.split("trainval", "p0 p1 p2")
        self.assertIn("is 3 pictures with 3 boxes", self.run_tool("--epochs", "2", "--half", "--resume", fails=True))
        # What is only measured may change.
        self.split("trainval", "p0 p1 p2 p3")
        self.split("test", "p3")
        self.run_tool("--epochs", "2", "--half", "--resume")

    def test_options_are_checked_before_pictures(self):
        file = self.root / "file"
        file.write_text("")
        with mock.patch.object(detect, "read_split", side_effect=AssertionError("pictures were read")):
            for flags, message in (
                (("--freeze", "22"), "--freeze: mobilenext has 21 blocks, the stem among them, found 22"),
                (("--width", "1000"), "--width: expected 100 or less, found 1000"),
                (("--width", "20"), "expected a network of 134,217,728 weights or less"),
                (("--size", "5000"), "--size: expected 4096 or less"),
                (("--resume",), "there is no checkpoint to resume from"),
                (("--from", str(file)), "file: not safetensors"),
            ):
                self.assertIn(message, self.run_tool(*flags, fails=True))
            self.out = file
            self.assertIn("file: expected a folder or nothing, found a file", self.run_tool(fails=True))
            self.out = file / "below"
            self.assertIn("file, which is no folder", self.run_tool(fails=True))

    def test_what_is_missing_is_told_at_once(self):
        for program in ("detect.py", "classify.py"):
            for package in ("matplotlib", "safetensors"):
                # A None there makes the import fail, as if it were not installed.
                code = f"import sys, runpy; sys.modules['{package}'] = None; runpy.run_path('{program}', run_name='__main__')"
                found = subprocess.run([sys.executable, "-c", code], cwd=pathlib.Path(__file__).parent, capture_output=True, text=True)
                self.assertRegex(found.stderr, rf"\A{program}: .*{package}.*: see tools/train/requirements.txt\n\Z")

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
        self.assertIn("2 thin or inverted boxes left out", split.report())
        self.assertIn("1 boxes that stick out of the picture, cut", split.report())
        learned = detect.examples(split, ["disc", "ring"])
        self.assertEqual([len(example.boxes) for example in learned], [0, 0, 1, 1])
        self.assertEqual(learned[2].boxes.tolist(), [[0, 9, 80, 50]])

    def test_boxes_reach_as_far_as_in_eval(self):
        # VOC's pixels are counted from 1, both ends belong to a box: these are the whole picture, and two pixels in a corner.
        self.add("p0", "ring", (1, 1, 80, 60))
        self.add("p1", "disc", (1, 1, 2, 2))
        split = voc.read_split(self.data, "trainval")
        self.assertEqual([sample.boxes[0].corners for sample in split.samples[:2]], [(0, 0, 80, 60), (0, 0, 2, 2)])
        self.assertEqual(split.oddities, {})

    def test_takes_what_coco_to_voc_makes(self):
        for name in ("a 1", "b"):
            Image.new("RGB", (80, 60)).save(self.root / f"{name}.png")
        images = [{"id": number, "file_name": f"{name}.png", "width": 80, "height": 60} for number, name in enumerate(("a 1", "b"))]
        boxes = [{"image_id": number, "category_id": 5, "bbox": [10 * number, 0, 20, 60], "iscrowd": number} for number in range(2)]
        content = {"categories": [{"id": 5, "name": "pole"}], "images": images, "annotations": boxes}
        (self.root / "coco.json").write_text(json.dumps(content))
        source = ("--trainval", str(self.root / "coco.json"), str(self.root))
        with mock.patch.object(sys, "argv", ["coco_to_voc.py", str(self.root / "voc"), *source]), contextlib.redirect_stdout(io.StringIO()):
            coco_to_voc.main()
        samples = [sample for split in ("trainval", "test") for sample in voc.read_split(self.root / "voc", split).samples]
        found = {sample.name: [(box.label, box.corners, box.difficult) for box in sample.boxes] for sample in samples}
        self.assertEqual(found, {"a 1": [("pole", (0, 0, 20, 60), False)], "b": [("pole", (10, 0, 30, 60), True)]})

    def test_pictures_are_upright(self):
        # Stored lying, a red half on the left; orientation 6 turns it clockwise, so that red is above.
        lying = Image.new("RGB", (80, 60), (0, 0, 255))
        lying.paste((255, 0, 0), (0, 0, 40, 60))
        exif = Image.Exif()
        exif[0x0112] = 6
        lying.save(self.data / "JPEGImages/p0.jpg", exif=exif)
        self.add("p0", "ring", (1, 1, 60, 40), picture_too=False)
        sample = voc.read_split(self.data, "test").samples[1]
        self.assertEqual(sample.pixels.shape, (80, 60, 3))
        self.assertGreater(sample.pixels[:30, :, 0].min(), 200)
        self.assertEqual(voc.read_split(self.data, "test").oddities, {})

    def test_pictures_of_other_formats(self):
        for name, ending in (("a", "BMP"), ("b", "webp"), ("c", "tiff"), ("d", "PGM")):
            self.add(name, "ring", (10, 10, 40, 50))
            (self.data / f"JPEGImages/{name}.jpg").unlink()
            Image.new("L", (80, 60), 7).save(self.data / f"JPEGImages/{name}.{ending}")
        self.split("other", "a b c d")
        self.assertEqual(len(voc.read_split(self.data, "other").samples), 4)
        # Grey of 16 bits would be white, as Pillow converts it.
        (self.data / "JPEGImages/a.BMP").unlink()
        Image.fromarray(np.full((60, 80), 40_000, np.uint16)).save(self.data / "JPEGImages/a.png")
        self.assertRegex(self.run_tool("--train", "other", fails=True), "a.png: cannot read the picture: its pixels are of Pillow's mode I")

    def test_names_in_lists(self):
        for name in ("a b", "sub/c", "d 1 e"):
            self.add(name, "ring", (10, 10, 40, 50))
        (self.data / "ImageSets/Main/other.txt").write_text("\ufeffa b\r\n  sub/c  1\nd 1 e -1\n\np0 0\n", encoding="utf-8")
        self.assertEqual([sample.name for sample in voc.read_split(self.data, "other").samples], ["a b", "sub/c", "d 1 e", "p0"])

    def test_difficult(self):
        annotation = self.data / "Annotations/p0.xml"
        good = annotation.read_text()
        for text, meant in (("false", False), ("", False), ("True", True), ("1", True)):
            annotation.write_text(good.replace("<difficult>0", f"<difficult>{text}"))
            self.assertEqual(voc.read_annotation(annotation)[0].difficult, meant)
        annotation.write_text(good.replace("<difficult>0", "<difficult>very"))
        self.assertIn("difficult is 'very', expected 0 or 1", self.run_tool(fails=True))

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
        for name in ("../p1", "/p1", "./p1", "sub/../p1"):
            self.split("val", name)
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
