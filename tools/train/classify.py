#!/usr/bin/env python3
"""Trains a classifier on folders of pictures: DATA/train/CLASS/* and DATA/test/CLASS/*, or DATA/CLASS/*, split by the seed.

    tools/train/classify.py DATA OUT --arch mobilenext --width 0.35
    tools/train/classify.py DATA OUT --arch mobilenext --width 0.35 --resume
    tools/train/classify.py DATA OUT --arch mobilenetv2 --start mobilenetv2.safetensors --freeze 15

OUT gets model.safetensors and labels.txt, which `mnx-infer convert` takes, model.json, which says what network it is, log.csv, plot.png,
test.txt, which names the pictures that were not learned from, and checkpoint.pt, from which --resume goes on. All are written anew after every epoch, each at once, so an interrupted run leaves whole files.
"""

import argparse
import hashlib
import math
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

try:
    # All that is needed anywhere: what is missing is told now, not after an epoch.
    import matplotlib.figure
    import numpy as np
    import PIL.Image
    import safetensors.torch
    import torch
    import torchvision
    from torch.nn import functional
except ImportError as error:
    sys.exit(f"classify.py: {error}: see tools/train/requirements.txt")

import checks
import classifier_files
import files
import folders
import networks
import recipes
import vary
from average import Average
from clock import Clock, show
from options import Bad, check_resumed, natural, positive, run, share, whole

TEST_BATCH = 250
AHEAD = 3  # batches that are being prepared
# Shorter runs measure the statistics of the averaged weights anew, on so many batches: theirs are still those of the beginning.
SHORT_RUN, STATISTICS_BATCHES = 1000, 8


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="the folder of pictures")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder that results go to")
    parser.add_argument("--test-share", type=share, default=0.2, help="of each class, if DATA has no folders train and test (default: 0.2)")
    network = parser.add_argument_group("network")
    network.add_argument("--arch", choices=networks.ARCHITECTURES, default="mobilenext", help="default: mobilenext; -cifar is for pictures of about 32 x 32")
    network.add_argument("--width", type=positive, default=1.0, help="width multiplier; ResNets have none (default: 1.0)")
    network.add_argument("--identity", type=float, default=1.0, help="MobileNeXt's identity tensor multiplier, 0 to 1 (default: 1.0)")
    network.add_argument("--size", type=whole, help="side of the network's pictures (default: 224, 32 for -cifar)")
    network.add_argument("--dropout", type=share, default=0.2, help="before the last layer; ResNets have none (default: 0.2)")
    network.add_argument("--start", type=Path, metavar="FILE", help="safetensors of a network to start from, with any classes: the last layer is new, unless labels.txt beside it has the same ones")
    network.add_argument("--freeze", type=natural, default=0, metavar="N", help="the stem and the first N - 1 blocks stay as they are (default: 0)")
    recipe = parser.add_argument_group("recipe", "where no default is given, it is the recipe's")
    recipe.add_argument("--recipe", choices=recipes.RECIPES, default="one-cycle", help="optimiser and schedule (default: one-cycle)")
    recipe.add_argument("--epochs", type=whole, default=30, help="default: 30")
    recipe.add_argument("--batch", type=whole, default=128, help="pictures per step, at most all (default: 128)")
    recipe.add_argument("--rate", type=positive, help="highest learning rate; a recipe's is in proportion to the batch")
    recipe.add_argument("--decay", type=share, help="weight decay")
    recipe.add_argument("--smoothing", type=share, help="label smoothing")
    recipe.add_argument("--average", type=share, help="decay of the weights' moving average, which is what counts; 0: none")
    recipe.add_argument("--statistics", type=natural, metavar="N", help=f"measure batch-norm statistics of the averaged weights on N batches; 0: average them, too (default: 0, {STATISTICS_BATCHES} in runs of less than {SHORT_RUN} steps)")
    recipe.add_argument("--augment", choices=("windows", "parts"), help="windows: shifted by up to an eighth; parts: resized parts of pictures (default: parts, windows for -cifar)")
    recipe.add_argument("--least-part", type=share, default=0.08, metavar="SHARE", help="least area of a part (default: 0.08)")
    recipe.add_argument("--colour", type=share, help="change brightness, contrast and saturation of parts by up to this share")
    recipe.add_argument("--seed", type=int, default=1, help="default: 1")
    running = parser.add_argument_group("run")
    running.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU if there is one")
    running.add_argument("--threads", type=whole, help="of PyTorch; other numbers round otherwise (default: PyTorch's)")
    running.add_argument("--workers", type=whole, default=2, help="threads that decode pictures and cut out parts (default: 2)")
    running.add_argument("--memory", type=positive, default=2.0, metavar="GB", help="decoded pictures that are kept (default: 2)")
    running.add_argument("--resume", action="store_true", help="go on from OUT/checkpoint.pt; other rates, batches or epochs hold from there on")
    return completed(parser.parse_args())


def completed(options: argparse.Namespace) -> argparse.Namespace:
    """With the defaults of architecture and recipe; refuses what does not go together."""
    recipe = recipes.RECIPES[options.recipe]
    if options.arch in networks.RESNETS and options.width != 1:
        raise Bad(f"--width: {options.arch} has none, found {options.width:g}")
    if not 0 <= options.identity <= 1 or (options.identity != 1 and not options.arch.startswith("mobilenext")):
        raise Bad(f"--identity: expected 0 to 1, of MobileNeXt only, found {options.identity:g} for {options.arch}")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise Bad("--device: PyTorch finds no GPU here")
    if options.batch < 2:
        raise Bad(f"--batch: batch norms need 2 pictures or more, found {options.batch}")
    options.size = options.size or classifier_files.default_size(options.arch)
    options.augment = options.augment or ("windows" if options.arch.endswith("-cifar") else "parts")
    for name in ("decay", "smoothing", "average", "colour"):
        if getattr(options, name) is None:
            setattr(options, name, getattr(recipe, name))
    check(options)
    return options


def check(options: argparse.Namespace) -> None:
    """Refuses what cannot be trained, before pictures are read."""
    checks.check_out(options.out, options.resume)
    checks.check_size(options.size)
    checks.check_width(options.width, lambda: networks.architecture(options.arch, options.width, 2, options.identity))
    model = networks.architecture(options.arch, options.width, 2, options.identity)
    checks.check_freeze(len(networks.blocks(model)), options.freeze, options.arch)
    if options.start is not None and not options.resume:
        classifier_files.load_start(model, options.start, [])


# What a resumed run must have as the first one, and what its checkpoint does not know. All else is the recipe: it may change.
FIXED = ("arch", "width", "identity", "size", "recipe", "augment", "freeze", "seed", "test_share")
UNKNOWN = {"data", "out", "start", "resume", "workers", "memory"}


def recipe_of(options: argparse.Namespace) -> dict:
    return {name: value for name, value in vars(options).items() if name not in UNKNOWN}


def digest(data: Path, *splits: folders.Split) -> str:
    """Of the names of all pictures: a resumed run must have the same."""
    names = [f"{split.name} {path.relative_to(data)}" for split in splits for path in split.files]
    checksum = hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()
    return f"{len(names)} pictures ({checksum[:12]})"


class Batches:
    """Batches of a split as the network takes them, prepared ahead by threads."""

    def __init__(self, pictures: folders.Pictures, options, pool: ThreadPoolExecutor, device):
        self.pictures, self.options, self.pool, self.device = pictures, options, pool, device
        mean, std = classifier_files.normalisation(options.arch)
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
        self.classes = torch.tensor(pictures.classes)

    def whole(self, numbers: list[int]) -> torch.Tensor:
        """Pictures as they are kept, which is the network's size: N x 3 x S x S bytes."""
        stacked = np.stack([self.pictures.pixels(number) for number in numbers])
        return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()

    def parts(self, numbers: list[int], epoch: int) -> torch.Tensor:
        """Random parts of pictures. Each has its own random numbers, so it does not matter which thread makes it."""
        options = self.options
        randoms = [Random(f"{options.seed} {epoch} {number}") for number in numbers]
        each = zip(numbers, randoms)
        return torch.stack([vary.parts_of(self.pictures.pixels(n), options.size, options.least_part, options.colour, r) for n, r in each])

    def finished(self, pictures: torch.Tensor, numbers: list[int]):
        """Inputs and classes, on the device."""
        x = ((pictures.float() / 255 - self.mean) / self.std).to(memory_format=torch.channels_last)
        return x.to(self.device), self.classes[numbers].to(self.device)

    def ahead(self, plan: list[list[int]], make):
        """`make` of every batch in turn, some of them before they are asked for."""
        waiting = [self.pool.submit(make, numbers) for numbers in plan[:AHEAD]]
        for place in range(len(plan)):
            made = waiting.pop(0).result()
            if place + AHEAD < len(plan):
                waiting.append(self.pool.submit(make, plan[place + AHEAD]))
            yield plan[place], made

    def of_epoch(self, epoch: int, most: int | None = None):
        """All pictures in a random order, changed at random, or the first batches. An incomplete batch is left out."""
        options, order = self.options, torch.randperm(len(self.pictures)).tolist()
        size = min(options.batch, len(order))
        plan = [order[start : start + size] for start in range(0, len(order) - size + 1, size)][:most]
        windows = options.augment == "windows"
        for numbers, made in self.ahead(plan, self.whole if windows else lambda numbers: self.parts(numbers, epoch)):
            yield self.finished(vary.windows_of(made, max(1, options.size // 8)) if windows else made, numbers)

    def in_order(self):
        count = len(self.pictures)
        plan = [list(range(start, min(start + TEST_BATCH, count))) for start in range(0, count, TEST_BATCH)]
        for numbers, made in self.ahead(plan, self.whole):
            yield self.finished(made, numbers)

    def steps(self) -> int:
        return len(self.pictures) // min(self.options.batch, len(self.pictures))


class Training:
    """A run: model, average, optimiser, log. It can be written to and read from a checkpoint after any epoch."""

    def __init__(self, options, labels: list[str], pictures: str):
        self.options, self.labels, self.pictures = options, labels, pictures
        torch.manual_seed(options.seed)
        self.device = torch.device("cuda" if options.device == "cuda" or options.device == "auto" and torch.cuda.is_available() else "cpu")
        self.model = networks.architecture(options.arch, options.width, len(labels), options.identity, options.dropout)
        recipes.initialise(options.recipe, options.arch, self.model)
        if options.start is not None and not options.resume:
            print(classifier_files.load_start(self.model, options.start, labels), flush=True)
        self.frozen = [layer for block in networks.blocks(self.model)[: options.freeze] for layer in block]
        for layer in self.frozen:
            layer.requires_grad_(False)
        self.model = self.model.to(self.device, memory_format=torch.channels_last)
        self.optimiser = recipes.optimiser(options.recipe, self.model, options.decay)
        self.average = Average(self.model, options.average)
        self.tested = None
        self.epoch, self.log, self.clock = 0, [], Clock()

    def save(self) -> None:
        state = dict(
            recipe=recipe_of(self.options),
            labels=self.labels,
            pictures=self.pictures,
            epoch=self.epoch,
            log=self.log,
            model=self.model.state_dict(),
            optimiser=self.optimiser.state_dict(),
            average=self.average.state,
            steps=self.average.steps,
            random=torch.get_rng_state(),
        )
        if self.device.type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state()
        files.save_checkpoint(self.options.out / "checkpoint.pt", state)

    def resume(self) -> None:
        path = self.options.out / "checkpoint.pt"
        state = files.load_checkpoint(path, classifier_files.CHECKPOINT)
        check_resumed(path, state["recipe"], recipe_of(self.options), FIXED)
        if state["labels"] != self.labels:
            raise Bad(f"{path}: its classes are {', '.join(state['labels'])}, the data's are {', '.join(self.labels)}")
        if state["pictures"] != self.pictures:
            raise Bad(f"{path}: the data was {state['pictures']}, is {self.pictures}: --resume goes on with the same network and data")
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.state = {name: value.to(self.device) for name, value in state["average"].items()}
        self.average.steps, self.epoch, self.log = state["steps"], state["epoch"], state["log"]
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda" and "random_cuda" in state:
            torch.cuda.set_rng_state(state["random_cuda"])

    def run_epoch(self, batches: Batches) -> dict:
        """One pass over the data. Returns the log's row."""
        options, started, steps = self.options, time.monotonic(), batches.steps()
        self.model.train()
        for layer in self.frozen:
            layer.eval()
        total = 0.0
        for count, (x, classes) in enumerate(batches.of_epoch(self.epoch)):
            now = recipes.schedule(options.recipe, self.epoch * steps + count, options.epochs * steps)
            for group in self.optimiser.param_groups:
                group.update(lr=options.rate * now["lr"], momentum=now["momentum"])
            total += self.step(x, classes)
            self.clock.done += 1
            left = self.clock.left((options.epochs - self.epoch) * steps - count - 1)
            show(f"epoch {self.epoch + 1} of {options.epochs}: {count + 1} of {steps}, {left} left ")
        self.epoch += 1
        return dict(epoch=self.epoch, rate=options.rate * now["lr"], loss=total / steps, seconds=time.monotonic() - started)

    def step(self, x, classes) -> float:
        """Learns from a batch. Returns the loss."""
        loss = functional.cross_entropy(self.model(x), classes, label_smoothing=self.options.smoothing)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise Bad(f"epoch {self.epoch + 1}: the loss is {value}: try a lower --rate")
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.average.update(self.model)
        return value

    def averaged(self):
        """The network of the averaged weights, which is what is written and measured."""
        if self.tested is None:
            random = torch.get_rng_state()
            options = self.options
            self.tested = networks.architecture(options.arch, options.width, len(self.labels), options.identity).to(self.device)
            torch.set_rng_state(random)
        self.tested.load_state_dict(self.average.state)
        return self.tested.eval()

    @torch.no_grad()
    def settle(self, batches: Batches) -> None:
        """The averaged weights into `tested`. If asked for, their statistics are measured on training pictures; those of frozen blocks stay."""
        model, random = self.averaged(), torch.get_rng_state()
        if not self.options.statistics:
            return
        frozen = {layer for block in networks.blocks(model)[: self.options.freeze] for part in block for layer in part.modules()}
        norms = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d) and layer not in frozen]
        for layer in norms:
            layer.reset_running_stats()
            layer.train()
            layer.momentum = None  # the mean of all batches
        torch.default_generator.manual_seed(self.options.seed)
        for x, _ in batches.of_epoch(-1, self.options.statistics):
            model(x)
        model.eval()
        torch.set_rng_state(random)

    @torch.inference_mode()
    def measure(self, batches: Batches) -> dict:
        """Loss and accuracy of the averaged weights, which `tested` has, on the test pictures."""
        model, loss, right = self.tested, 0.0, 0
        for x, classes in batches.in_order():
            logits = model(x)
            loss += float(functional.cross_entropy(logits, classes, reduction="sum"))
            right += int((logits.argmax(1) == classes).sum())
        return dict(test_loss=loss / len(batches.pictures), accuracy=right / len(batches.pictures))

    def write(self, about: dict) -> None:
        """Everything in OUT; the checkpoint first, so that what there is no space for is never the only copy."""
        self.save()
        about = about | dict(epoch=self.epoch, accuracy=self.log[-1]["accuracy"], seconds=round(sum(row["seconds"] for row in self.log)))
        classifier_files.save_model(self.options, self.labels, self.tested.state_dict(), about | dict(recipe=recipe_of(self.options)))
        classifier_files.save_log(self.options.out, self.log)


def train(options, found: folders.Data, data: folders.Pictures, test: folders.Pictures, pool: ThreadPoolExecutor) -> None:
    training = Training(options, found.labels, digest(options.data, found.train, found.test))
    if options.resume:
        training.resume()
    about = dict(
        eval=classifier_files.eval_command(options, found),
        parameters=sum(weight.numel() for weight in training.model.parameters()),
        multiply_adds=networks.multiply_adds(training.averaged().cpu(), options.size),
    )
    training.tested.to(training.device)
    print(f"{options.arch} {options.width:g}: {about['parameters']:,} parameters, {about['multiply_adds'] / 1e6:.2f} M multiply-adds", flush=True)
    learned, measured = (Batches(part, options, pool, training.device) for part in (data, test))
    if training.log:
        # What was interrupted may have written its checkpoint and nothing else.
        training.settle(learned)
        training.write(about)
    while training.epoch < options.epochs:
        row = training.run_epoch(learned)
        training.settle(learned)
        row |= training.measure(measured)
        training.log.append(row)
        training.write(about)
        left = training.clock.left((options.epochs - training.epoch) * learned.steps())
        progress = f"epoch {training.epoch} of {options.epochs}: loss {row['loss']:.4f}, accuracy {row['accuracy']:.4f}"
        show("")
        print(f"{progress}, {row['seconds']:.1f} s, {left} left", flush=True)
    print(f"next: {classifier_files.convert_command(options, found.labels)}")
    print(f"then: {about['eval']}")


def save_list(options, found: folders.Data) -> None:
    """OUT/test.txt, for `mnx-infer eval --list`, unless a folder has the test pictures."""
    if found.test_folder is None:
        text, without = classifier_files.listed(options.data, found.test, found.labels)
        files.replace(options.out / "test.txt", text.encode())
        if without:
            print(f"{options.out / 'test.txt'}: {without} pictures are not in it, for their names do not fit into a line", flush=True)


def main() -> None:
    options = arguments()
    torch.set_flush_denormal(True)
    if options.threads:
        torch.set_num_threads(options.threads)
    found = folders.read_folders(options.data, options.test_share, options.seed)
    print(found.report(), flush=True)
    short = classifier_files.short_side(options.arch, options.size)

    def as_used(picture):
        return folders.middle(picture, short, options.size)

    def at_most_twice(picture):
        return folders.with_short_side(picture, 2 * options.size) if min(picture.size) > 2 * options.size else picture

    def progress(name, done, count):
        show(f"{name}: {done} of {count} pictures decoded " if done < count else "")

    with ThreadPoolExecutor(options.workers) as pool:
        memory, read = folders.Memory(int(options.memory * 1e9)), []
        for split, prepare in ((found.test, as_used), (found.train, as_used if options.augment == "windows" else at_most_twice)):
            read.append(folders.Pictures(split, found.labels, prepare, memory, pool, progress))
            print(split.report(found.labels), flush=True)
        batch = min(options.batch, len(read[1]))
        if options.rate is None:
            recipe = recipes.RECIPES[options.recipe]
            options.rate = recipe.rate * batch / recipe.batch
        if options.statistics is None:
            options.statistics = STATISTICS_BATCHES if options.epochs * (len(read[1]) // batch) < SHORT_RUN else 0
        files.make_folder(options.out)
        save_list(options, found)
        train(options, found, read[1], read[0], pool)


if __name__ == "__main__":
    run("classify.py", main)
