#!/usr/bin/env python3
"""Tests of the training of classifiers: python3 tools/train/test_train.py runs them, too (skipped, and says so, without PyTorch)."""

import contextlib
import csv
import io
import json
import os
import pathlib
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from random import Random
from unittest import mock

try:
    import numpy as np
    import safetensors.torch
    import torch
    import torchvision
    from PIL import Image

    import classifier_files
    import classify
    import folders
    import networks
    import recipes
    import vary
    from options import Bad, run
except ImportError as error:
    print(f"SKIPPED: {pathlib.Path(__file__).name} needs what tools/train/requirements.txt lists: {error}", file=sys.stderr)
    sys.exit(0)

ROOT = pathlib.Path(__file__).resolve().parents[2]


def program() -> str | None:
    """mnx-infer: MNX_INFER names it, or it has been built."""
    built = (ROOT / "target" / profile / "mnx-infer" for profile in ("release", "debug"))
    return os.environ.get("MNX_INFER") or next((str(path) for path in built if path.exists()), None)


def needs_program(test):
    if program() is None:
        print(f"SKIPPED: {test.__name__}: there is no mnx-infer: build it (cargo build --release -p mnx-infer) or name one by MNX_INFER", file=sys.stderr)
    return unittest.skipIf(program() is None, "there is no mnx-infer")(test)


def mnx(*words: str) -> str:
    found = subprocess.run([program(), *words], capture_output=True, text=True)
    if found.returncode:
        raise AssertionError(f"mnx-infer {shlex.join(words)}: {found.stderr}")
    return found.stdout


def logits_of_mnx(folder: pathlib.Path, weights: pathlib.Path, x) -> np.ndarray:
    np.save(folder / "x.npy", x.numpy())
    mnx("run", "--weights", str(weights), "--input", str(folder / "x.npy"), "--output", str(folder / "y.npy"))
    return np.load(folder / "y.npy")


class Folder(unittest.TestCase):
    """Forty tiny pictures of two classes that differ in colour, and the program on them."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.data, self.out = self.root / "data", self.root / "out"
        random = np.random.default_rng(1)
        for label, channel in (("blue", 2), ("red sky", 0)):
            (self.data / label).mkdir(parents=True)
            for number in range(20):
                pixels = random.integers(0, 120, (32 + number % 3, 32, 3), dtype=np.uint8)
                pixels[..., channel] += 100
                Image.fromarray(pixels).save(self.data / label / f"{number}.png")

    def run_tool(self, *flags: str, fails: bool = False) -> str:
        """What it prints; where it must fail, its one line of error."""
        network = ("--arch", "mobilenext-cifar", "--width", "0.1", "--size", "16", "--batch", "16", "--epochs", "2", "--threads", "1")
        output = io.StringIO()
        with mock.patch.object(sys, "argv", ["classify.py", str(self.data), str(self.out), *network, *flags]), contextlib.redirect_stdout(output):
            try:
                run("classify.py", classify.main)
            except SystemExit as end:
                self.assertTrue(fails, end.code)
                self.assertRegex(end.code, r"\Aclassify\.py: [^\n]+\Z")
                return end.code
        self.assertFalse(fails, output.getvalue())
        return output.getvalue()


class Networks(unittest.TestCase):
    def test_first_strides_are_the_only_difference_for_small_pictures(self):
        for arch in ("mobilenext", "mobilenetv2"):
            large, small = (networks.architecture(name, 0.1, 3) for name in (arch, f"{arch}-cifar"))
            self.assertEqual(list(large.state_dict()), list(small.state_dict()))
            strides = [[layer.stride[0] for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)] for model in (large, small)]
            self.assertEqual([pair for pair in zip(*strides) if pair[0] != pair[1]], [(2, 1), (2, 1)])

    def test_blocks_hold_all_but_the_head(self):
        for arch in ("mobilenext", "mobilenetv2", "resnet18"):
            model = networks.architecture(arch, 1.0, 3)
            inside = sum(weight.numel() for block in networks.blocks(model) for layer in block for weight in layer.parameters())
            head = sum(weight.numel() for weight in networks.head(model).parameters())
            self.assertEqual(inside + head, sum(weight.numel() for weight in model.parameters()), arch)

    def test_refusals(self):
        self.assertRaisesRegex(ValueError, "no architecture `vgg`", networks.architecture, "vgg")
        self.assertRaisesRegex(ValueError, "resnet18 has no width", networks.architecture, "resnet18", 0.5)

    @needs_program
    def test_mnx_has_the_same_parameters_multiply_adds_and_logits(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            mobile = (("mobilenext", 0.35, 64), ("mobilenext-cifar", 0.5, 24), ("mobilenetv2", 0.35, 64), ("mobilenetv2-cifar", 0.35, 24))
            for arch, width, size in (*mobile, ("resnet18", 1.0, 64), ("resnet50", 1.0, 32)):
                torch.manual_seed(3)
                model = networks.architecture(arch, width, 7)
                recipes.initialise("mobilenetv2", arch, model)
                torch.nn.init.normal_(networks.head(model).weight, 0, 0.1)
                for layer in model.modules():
                    if isinstance(layer, torch.nn.BatchNorm2d):
                        torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
                        torch.nn.init.normal_(layer.running_mean, 0, 0.1)
                        torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
                model.eval()
                safetensors.torch.save_file(model.state_dict(), folder / "w.safetensors")
                flags = ["--arch", arch, "--classes", "7", "--resolution", str(size)]
                flags += ["--width", str(width)] * (width != 1)
                mnx("convert", *flags, "--input", str(folder / "w.safetensors"), "--output", str(folder / "w.mnx"))
                about = json.loads(mnx("inspect", "--weights", str(folder / "w.mnx"), "--format", "json"))
                self.assertEqual(about["parameters"], sum(weight.numel() for weight in model.parameters()), arch)
                self.assertEqual(about["macs"], networks.multiply_adds(model, size), arch)
                same_logits(self, folder, folder / "w.mnx", model, torch.randn(2, 3, size, size))


def same_logits(test, folder, weights, model, x) -> None:
    """Within the tolerance of the goldens: four times what PyTorch's f32 is off from f64, and a little."""
    with torch.no_grad():
        single, double = model.float()(x).double(), model.double()(x.double())
    model.float()
    limit = 4 * float((single - double).abs().max()) + 1e-5 * float(double.abs().max())
    found = torch.from_numpy(logits_of_mnx(folder, weights, x)).double()
    test.assertLessEqual(float((found - single).abs().max()), limit)


class Recipes(unittest.TestCase):
    def test_one_cycle_is_pytorchs(self):
        for steps in (10, 97):
            optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.12, momentum=0.9, nesterov=True)
            other = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.12, total_steps=steps, pct_start=0.2)
            for step in range(steps):
                now, group = recipes.schedule("one-cycle", step, steps), optimiser.param_groups[0]
                self.assertAlmostEqual(0.12 * now["lr"], group["lr"], places=12)
                self.assertAlmostEqual(now["momentum"], group["momentum"], places=12)
                optimiser.step()
                if step < steps - 1:
                    other.step()

    def test_one_cycle_begins_with_torchvisions_weights_drawn_twice(self):
        # So that a run has the losses of the script that trained the network inside mnx-infer, from the first step on.
        torch.manual_seed(1)
        other = torchvision.models.mobilenet_v2(width_mult=0.35, num_classes=10)
        for layer in other.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        after = torch.rand(1)
        torch.manual_seed(1)
        model = networks.architecture("mobilenetv2-cifar", 0.35, 10)
        recipes.initialise("one-cycle", "mobilenetv2-cifar", model)
        self.assertTrue(torch.equal(torch.rand(1), after))
        for name, value in other.state_dict().items():
            self.assertTrue(torch.equal(value, model.state_dict()[name]), name)

    def test_mobilenetv2s_rate_falls_as_far_in_any_number_of_epochs(self):
        self.assertAlmostEqual(recipes.schedule("mobilenetv2", 1000, 300_000)["lr"], 0.98)
        self.assertAlmostEqual(recipes.schedule("mobilenetv2", 500, 1000)["lr"], 0.98**150)

    def test_resnets_rate(self):
        rates = [recipes.schedule("resnet", step, 1000)["lr"] for step in range(1000)]
        self.assertEqual(rates[0], recipes.WARM_UP_FROM)
        self.assertAlmostEqual(max(rates), 1, delta=1e-3)
        self.assertEqual(rates[15:], sorted(rates[15:], reverse=True))
        self.assertLess(rates[-1], 2e-4)

    def test_rmsprop_by_hand(self):
        weight = torch.nn.Parameter(torch.tensor([2.0]))
        optimiser = recipes.RMSpropTF([{"params": [weight], "weight_decay": 0.5}], lr=0.1)
        velocity, squares, value = 0.0, 1.0, 2.0
        for gradient in (3.0, -1.0):
            weight.grad = torch.tensor([gradient])
            optimiser.step()
            whole = gradient + 0.5 * value
            squares = 0.9 * squares + 0.1 * whole**2
            velocity = 0.9 * velocity + 0.1 * whole / (squares + 1) ** 0.5
            value -= velocity
            self.assertAlmostEqual(float(weight.detach()), value, places=5)

    def test_what_decays(self):
        model = networks.architecture("mobilenext", 0.1, 3)
        sizes = [len(group["params"]) for name in ("mobilenetv2", "resnet") for group in recipes.optimiser(name, model, 0.1).param_groups]
        depthwise = sum(1 for layer in model.modules() if isinstance(layer, torch.nn.Conv2d) and layer.groups > 1)
        self.assertEqual(sizes[2] - sizes[0], depthwise)
        self.assertEqual(sum(sizes[:2]), len(list(model.parameters())))


class Pictures(unittest.TestCase):
    def test_the_middle_is_torchvisions(self):
        random = np.random.default_rng(2)
        for height, width in ((40, 61), (61, 40), (20, 20), (7, 33)):
            picture = Image.fromarray(random.integers(0, 255, (height, width, 3), dtype=np.uint8))
            other = torchvision.transforms.functional.center_crop(torchvision.transforms.functional.resize(picture, 27), 24)
            self.assertTrue((np.asarray(folders.middle(picture, 27, 24)) == np.asarray(other)).all())

    def test_windows(self):
        torch.manual_seed(5)
        pictures = torch.arange(1, 193).reshape(1, 3, 8, 8).repeat(50, 1, 1, 1).to(torch.uint8)
        found = vary.windows_of(pictures, 2)
        self.assertEqual(found.shape, pictures.shape)
        # Somewhere in each is the pixel in the middle, with all its colours; black only comes from outside.
        for picture in found:
            places = (picture == pictures[0, :, 4:5, 4:5]).all(0)
            self.assertEqual(int(places.sum()), 1)
        self.assertGreater(len({tuple(row) for row in torch.nonzero(found[:, 0] == 37)[:, 1:].tolist()}), 10)

    def test_parts(self):
        pixels = np.zeros((50, 80, 3), np.uint8)
        pixels[..., 1] = 200
        for seed in range(20):
            left, top, right, bottom = vary.part(80, 50, 0.3, Random(seed))
            self.assertTrue(0 <= left < right <= 80 and 0 <= top < bottom <= 50)
            self.assertGreaterEqual((right - left) * (bottom - top), 0.3 * 80 * 50 - 1e-6)
        self.assertEqual(vary.part(1000, 10, 0.9, Random(0)), (495, 0, 505, 10))
        x = vary.parts_of(pixels, 16, 0.3, 0.0, Random(1))
        self.assertEqual((x.shape, x[1].min(), x[1].max(), x[0].max()), ((3, 16, 16), 200, 200, 0))
        changed = vary.parts_of(pixels, 16, 0.3, 0.4, Random(1))
        self.assertNotEqual(float(changed[1].mean()), 200)
        self.assertTrue(0 <= changed.min() and changed.max() <= 255)


class Runs(Folder):
    def test_trains_resumes_and_converts(self):
        printed = self.run_tool()
        whole = safetensors.torch.load_file(self.out / "model.safetensors")
        self.assertEqual((self.out / "labels.txt").read_text(), "blue\nred sky\n")
        about = json.loads((self.out / "model.json").read_text())
        self.assertEqual((about["arch"], about["labels"], about["resolution"]), ("mobilenext-cifar", ["blue", "red sky"], 16))
        with (self.out / "log.csv").open() as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([row["epoch"] for row in rows], ["1", "2"])
        self.assertEqual(float(rows[1]["accuracy"]), about["accuracy"])
        self.assertEqual((self.out / "plot.png").read_bytes()[:4], b"\x89PNG")
        self.assertEqual(list(self.out.glob("*.part")), [])
        self.assertEqual(printed.splitlines()[-2:], [f"next: {about['convert']}", f"then: {about['eval']}"])
        self.assertEqual(printed.splitlines()[0], "classes: blue, red sky")
        self.assertIn("--resume goes on with it", self.run_tool(fails=True))
        self.assertIn("seed is 1 there and 4 now", self.run_tool("--resume", "--seed", "4", fails=True))
        self.assertIn("arch is mobilenext-cifar there and mobilenetv2-cifar now", self.run_tool("--resume", "--arch", "mobilenetv2-cifar", fails=True))
        self.check_converted(about)
        # An interrupted run that goes on ends with the same weights as one in a piece, also with other threads that decode.
        self.out = self.root / "again"
        self.interrupted(1, KeyboardInterrupt(), "interrupted; --resume goes on")
        self.run_tool("--resume", "--memory", "0.00001", "--workers", "1")
        again = safetensors.torch.load_file(self.out / "model.safetensors")
        for name, value in whole.items():
            self.assertTrue(torch.equal(value, again[name]), name)
        # One that was killed between its checkpoint and its weights writes them when it is resumed.
        (self.out / "model.safetensors").unlink()
        self.run_tool("--resume")
        self.assertTrue(torch.equal(safetensors.torch.load_file(self.out / "model.safetensors")["classifier.1.weight"], whole["classifier.1.weight"]))
        # Other pictures are not gone on with.
        (self.data / "blue/3.png").unlink()
        self.assertIn("40 pictures", message := self.run_tool("--resume", fails=True))
        self.assertIn("is 39 pictures", message)

    def check_converted(self, about: dict) -> None:
        """The command that it prints, and what mnx makes of pictures."""
        if program() is None:
            print("SKIPPED: converting what was trained: there is no mnx-infer (MNX_INFER)", file=sys.stderr)
            return
        mnx(*shlex.split(about["convert"])[1:])
        # A fifth of each class, none of which was learned from.
        lines = (self.out / "test.txt").read_text().splitlines()
        self.assertEqual([line.split("\t")[1] for line in lines], ["blue"] * 4 + ["red sky"] * 4)
        counts = json.loads(mnx(*shlex.split(about["eval"])[1:], "--format", "json"))
        self.assertEqual((counts["pictures"], counts["unlisted_pictures"]), (8, 32))
        self.assertAlmostEqual(counts["top1"]["rate"], about["accuracy"])
        weights, model = self.out / "model.mnx", networks.architecture("mobilenext-cifar", 0.1, 2)
        model.load_state_dict(safetensors.torch.load_file(self.out / "model.safetensors"))
        files = [str(path) for path in sorted((self.data / "blue").iterdir())[:3]]
        mnx("classify", "--weights", str(weights), "--dump-input", str(self.root / "seen.npy"), *files)
        seen = torch.from_numpy(np.load(self.root / "seen.npy"))
        split = folders.Split("test", [pathlib.Path(name) for name in files], [0, 0, 0])
        with classify.ThreadPoolExecutor(1) as pool:
            pictures = folders.Pictures(split, ["blue"], lambda picture: folders.middle(picture, 16, 16), folders.Memory(10**6), pool)
            options = mock.Mock(arch="mobilenext-cifar", augment="windows")
            x, _ = next(classify.Batches(pictures, options, pool, "cpu").in_order())
        # A level of the 256 is 0.016 after normalisation.
        torch.testing.assert_close(seen, x.contiguous(), rtol=0, atol=0.02)
        same_logits(self, self.root, weights, model.eval(), x.contiguous())

    def interrupted(self, after: int, error: BaseException, message: str, *flags: str) -> None:
        """A run that ends in the epoch behind `after`."""
        whole = classify.Training.step

        def some(training, x, classes):
            if training.epoch == after:
                raise error
            return whole(training, x, classes)

        with mock.patch.object(classify.Training, "step", some):
            self.assertIn(message, self.run_tool(*flags, fails=True))

    def test_parts_and_every_recipe(self):
        for recipe, arch in (("mobilenetv2", "mobilenetv2"), ("resnet", "mobilenext")):
            self.out = self.root / recipe
            self.run_tool("--recipe", recipe, "--arch", arch, "--size", "32", "--epochs", "1")
            rate = json.loads((self.out / "model.json").read_text())["recipe"]["rate"]
            self.assertAlmostEqual(rate, dict(mobilenetv2=0.045 * 16 / 96, resnet=0.1 * 16 / 128)[recipe])

    def test_no_space_keeps_the_last_checkpoint(self):
        self.interrupted(1, KeyboardInterrupt(), "interrupted")
        before = (self.out / "checkpoint.pt").read_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            self.assertIn("checkpoint.pt: cannot write: ", self.run_tool("--resume", fails=True))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        self.assertEqual((self.out / "checkpoint.pt").read_bytes(), before)
        self.assertEqual(list(self.out.glob("*.part")), [])
        self.run_tool("--resume")

    def test_starts_from_other_classes(self):
        model = networks.architecture("mobilenext-cifar", 0.1, 10)
        state = {f"module.{name}": value for name, value in model.state_dict().items()}
        safetensors.torch.save_file(state, self.root / "start.safetensors")
        start = ("--start", str(self.root / "start.safetensors"), "--epochs", "1")
        self.run_tool(*start, "--freeze", "21")
        found = safetensors.torch.load_file(self.out / "model.safetensors")
        for name, value in model.state_dict().items():
            if name.startswith("features."):
                self.assertTrue(torch.equal(value, found[name]), name)
        self.assertEqual(found["classifier.1.weight"].shape, (2, 1280))
        self.out = self.root / "other"
        self.assertIn("expected 8 x 3 x 3 x 3, found 4 x 3 x 3 x 3", self.run_tool(*start, "--width", "0.25", fails=True))
        self.assertIn("is it of the same network?", self.run_tool(*start, "--arch", "resnet18", "--width", "1", fails=True))
        self.assertIn("has 21 blocks, the stem among them, found 22", self.run_tool("--freeze", "22", fails=True))

    def test_a_second_step_goes_on_with_the_first_ones_last_layer(self):
        self.run_tool("--epochs", "1", "--freeze", "21")
        first, start = self.out, str(self.out / "model.safetensors")
        self.out = self.root / "more"
        # So low a rate changes next to nothing.
        printed = self.run_tool("--epochs", "1", "--start", start, "--rate", "1e-12", "--average", "0")
        self.assertIn("last layer: kept (same classes)", printed)
        one, other = (safetensors.torch.load_file(folder / "model.safetensors")["classifier.1.weight"] for folder in (first, self.out))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
        (self.data / "blue").rename(self.data / "sea")
        self.out = self.root / "other"
        self.assertIn("last layer: new (other classes)", self.run_tool("--epochs", "1", "--start", start))

    def test_a_folder_of_test_pictures_needs_no_list(self):
        for label in ("blue", "red sky"):
            for split, numbers in (("Train", range(15)), ("Test", range(15, 20))):
                (self.data / split / label).mkdir(parents=True)
                for number in numbers:
                    (self.data / label / f"{number}.png").rename(self.data / split / label / f"{number}.png")
            (self.data / label).rmdir()
        printed = self.run_tool("--epochs", "1")
        self.assertIn("Test: 10 pictures of 2 classes, 5 of each", printed)
        self.assertEqual(printed.splitlines()[-1], f"then: mnx-infer eval --weights {self.out}/model.mnx {self.data}/Test")
        self.assertFalse((self.out / "test.txt").exists())

    def test_options_are_checked_before_pictures(self):
        (self.root / "file").write_text("")
        with mock.patch.object(folders, "read_folders", side_effect=AssertionError("pictures were read")):
            for flags, message in (
                (("--freeze", "22"), "has 21 blocks, the stem among them, found 22"),
                (("--width", "1000"), "--width: expected 100 or less, found 1000"),
                (("--width", "20"), "expected a network of 134,217,728 weights or less"),
                (("--size", "5000"), "expected 4096 or less"),
                (("--resume",), "there is no checkpoint to resume from"),
                (("--start", str(self.root / "none")), "none: cannot read the weights"),
            ):
                self.assertIn(message, self.run_tool(*flags, fails=True))
            self.out = self.root / "file"
            self.assertIn("file: expected a folder or nothing, found a file", self.run_tool(fails=True))

    def test_bad_data(self):
        (self.data / "blue/a.jpg").write_bytes(b"no picture")
        whole = (self.data / "blue/1.png").read_bytes()
        (self.data / "blue/b.png").write_bytes(whole[: len(whole) // 2])
        (self.data / "blue/notes.txt").write_text("not counted")
        printed = self.run_tool("--epochs", "1", "--test-share", "0.1")
        self.assertEqual(printed.count("cannot be read are left out"), 1 if "2 that cannot" in printed else 2)
        self.assertIn("blue/a.jpg: cannot identify image file", printed)
        self.assertIn("blue/b.png: ", printed)
        # Grey of 16 bits would be white, as Pillow converts it: left out like a broken file.
        Image.fromarray(np.full((32, 32), 40_000, np.uint16)).save(self.data / "blue/c.png")
        self.out = self.root / "deep"
        self.assertRegex(self.run_tool("--epochs", "1"), r"blue/c\.png: its pixels are of Pillow's mode I(;16)?, more than 8 bits")
        self.out = self.root / "none"
        (self.data / "empty").mkdir()
        self.assertIn("empty: the class has no pictures", self.run_tool(fails=True))
        (self.data / "empty/1.png").write_bytes(whole)
        self.assertIn("1 picture is too few", self.run_tool(fails=True))
        for number in range(2, 6):
            (self.data / f"empty/{number}.png").write_bytes(b"broken")
        (self.data / "empty/1.png").write_bytes(b"broken")
        # The message names a picture of that class, though `blue` has one that cannot be read, too.
        self.assertRegex(self.run_tool(fails=True), r"data/empty/\d\.png: none of the pictures of class empty in .*, this one for: cannot identify")
        shutil.rmtree(self.data / "empty")
        (self.data / "train").mkdir()
        (self.data / "red sky").rename(self.data / "train/red sky")
        self.assertIn("a folder train, but neither test nor val", self.run_tool(fails=True))
        (self.data / "val").mkdir()
        shutil.copytree(self.data / "blue", self.data / "val/blue")
        self.assertIn("expected a folder for each of 2 classes or more, found only red sky", self.run_tool(fails=True))
        shutil.copytree(self.data / "blue", self.data / "train/blue")
        shutil.copytree(self.data / "blue", self.data / "val/green")
        self.assertIn("there is no class green, which", self.run_tool(fails=True))
        self.data = self.root / "nothing"
        self.assertIn("there is no such folder", self.run_tool(fails=True))
        self.assertFalse(self.out.exists())

    def test_bad_options(self):
        for flags, message in (
            (("--arch", "resnet18"), "--width: resnet18 has none"),
            (("--identity", "1.5"), "expected 0 to 1, of MobileNeXt only"),
            (("--arch", "mobilenetv2", "--identity", "0.5"), "of MobileNeXt only"),
            (("--batch", "1"), "2 pictures or more"),
            (("--size", "5000"), "expected 4096 or less"),
            (("--resume",), "there is no checkpoint to resume from"),
            (("--test-share", "0"), "no pictures to measure on"),
        ):
            self.assertIn(message, self.run_tool(*flags, fails=True))
        self.out.mkdir()
        (self.out / "checkpoint.pt").write_bytes(b"no checkpoint")
        self.assertIn("checkpoint.pt: not a checkpoint", self.run_tool("--resume", fails=True))
        self.out = self.root / "diverges"
        self.assertIn("try a lower --rate", self.run_tool("--rate", "1e30", "--epochs", "9", fails=True))


if __name__ == "__main__":
    unittest.main()
