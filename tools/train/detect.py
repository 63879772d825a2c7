#!/usr/bin/env python3
"""Trains an SSDLite detector on a folder in VOC's form: Annotations/, JPEGImages/, ImageSets/Main/SPLIT.txt.

    tools/train/detect.py DATA OUT --width 0.35 --train trainval --test test
    tools/train/detect.py DATA OUT --resume
    tools/train/detect.py DATA OUT --evaluate --test test

OUT gets model.safetensors, which `mnx-infer convert` takes, model.json and labels.txt, which say what network it is, log.csv, plot.png, and
checkpoint.pt, from which --resume goes on. All are written anew after every epoch, each at once, so an interrupted run leaves whole files.
"""

import argparse
import copy
import dataclasses
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
except ImportError as error:
    sys.exit(f"detect.py: {error}: see tools/train/requirements.txt")

import checks
import detector_files
import files
import networks
from augment import augmented, prepare
from average import Average
from average_precision import average_precision
from clock import Clock, show
from objective import loss, match
from options import Bad, check_resumed, natural, positive, run, share, whole
from voc import Split, check_classes, class_names, read_split

# As the released detector: which boxes an evaluation sees.
SCORE, IOU, TOP = 0.01, 0.45, 100


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="the data set's folder")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder that results go to")
    parser.add_argument("--train", default="trainval", metavar="SPLIT", help="pictures to learn from (default: trainval)")
    parser.add_argument("--test", default="test", metavar="SPLIT", help="pictures to measure on (default: test)")
    parser.add_argument("--classes", metavar="A,B,C", help="classes and their order (default: those of the training split, by the alphabet)")
    network = parser.add_argument_group("network")
    network.add_argument("--backbone", choices=("mobilenext", "mobilenetv2"), default="mobilenext")
    network.add_argument("--width", type=positive, default=1.0, help="width multiplier of the backbone (default: 1.0)")
    network.add_argument("--size", type=whole, default=320, help="pictures are squashed to SIZE x SIZE (default: 320)")
    network.add_argument("--from", dest="start", type=Path, metavar="FILE", help="safetensors of a classifier or detector to start from; its heads are left out")
    network.add_argument("--freeze", type=natural, default=0, metavar="N", help="the first N blocks of the backbone, the stem among them, stay as they are (default: 0)")
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument("--epochs", type=whole, default=150)
    recipe.add_argument("--batch", type=whole, default=8)
    recipe.add_argument("--workers", type=whole, default=2, help="threads; each takes a part of every batch and its statistics (default: 2)")
    recipe.add_argument("--rate", type=positive, default=1e-3, help="highest learning rate of AdamW (default: 0.001)")
    recipe.add_argument("--decay", type=share, default=0.02, help="weight decay (default: 0.02)")
    recipe.add_argument("--warm-up", type=positive, default=3.0, metavar="EPOCHS", help="the rate rises for so long, then falls as a cosine (default: 3)")
    recipe.add_argument("--average", type=share, default=0.998, help="decay of the weights' moving average, which is what counts; 0: none (default: 0.998)")
    recipe.add_argument("--expand", type=positive, default=4.0, help="pictures shrink to 1/EXPAND at most; 1: never (default: 4)")
    recipe.add_argument("--no-crop", dest="crop", action="store_false", help="no random parts of pictures")
    recipe.add_argument("--vertical-mirror", action="store_true", help="also mirror top to bottom, where pictures have no up")
    recipe.add_argument("--least-priors", type=whole, default=1, metavar="N", help="every box gets its N best priors, whatever their overlap (default: 1)")
    recipe.add_argument("--seed", type=int, default=0)
    running = parser.add_argument_group("run")
    running.add_argument("--measure-every", type=whole, default=10, metavar="EPOCHS", help="average precision so often, and at the end (default: 10)")
    running.add_argument("--bfloat16", action="store_true", help="compute in bfloat16 where that is safe; measure whether it is faster on your CPU")
    running.add_argument("--half", action="store_true", help="write weights in half precision, and measure those; norms stay in f32")
    running.add_argument("--resume", action="store_true", help="go on from OUT/checkpoint.pt; other rates, batches or epochs hold from there on")
    running.add_argument("--evaluate", action="store_true", help="only measure OUT/model.safetensors")
    return checked(parser.parse_args())


def checked(options: argparse.Namespace) -> argparse.Namespace:
    """Refuses what cannot be trained, before pictures are read."""
    if options.evaluate:
        return options
    checks.check_out(options.out, options.resume)
    if options.batch < 2:
        raise Bad(f"--batch: batch norms need 2 pictures or more, found {options.batch}")
    checks.check_size(options.size)
    checks.check_width(options.width, lambda: networks.ssdlite(options.backbone, options.width, 2, options.size))
    model = networks.ssdlite(options.backbone, options.width, 2, options.size)
    checks.check_freeze(len(model.backbone.features), options.freeze, options.backbone)
    if options.start is not None and not options.resume:
        detector_files.load_backbone(model, options.start)
    return options


# What a resumed run must have as the first one, and what its checkpoint does not know. All else is the recipe: it may change.
FIXED = ("backbone", "width", "size", "train", "seed", "workers")
UNKNOWN = {"data", "out", "classes", "test", "start", "measure_every", "half", "resume", "evaluate"}


def recipe_of(options: argparse.Namespace) -> dict:
    return {name: value for name, value in vars(options).items() if name not in UNKNOWN}


def digest(split: Split) -> str:
    """Of the names and boxes of all pictures to learn from: a resumed run must have the same."""
    each = [f"{sample.name} {box.label} {box.corners} {box.difficult}" for sample in split.samples for box in sample.boxes]
    names = [sample.name for sample in split.samples]
    checksum = hashlib.sha256("\n".join(names + each).encode(errors="surrogateescape")).hexdigest()
    return f"{len(names)} pictures with {len(each)} boxes ({checksum[:12]})"


@dataclasses.dataclass
class Example:
    """A picture to learn from: bytes, boxes in pixels, classes."""

    pixels: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray


def examples(split: Split, names: list[str]) -> list[Example]:
    """Without difficult and empty boxes; those that stick out are cut, and left out if nothing remains."""
    result = []
    for sample in split.samples:
        height, width = sample.pixels.shape[:2]
        kept = [(box.corners, names.index(box.label) + 1) for box in sample.boxes if not box.difficult and not box.empty]
        boxes = np.array([corners for corners, _ in kept], float).reshape(-1, 4).clip(0, (width, height, width, height))
        classes = np.array([label for _, label in kept], np.int64)
        whole_boxes = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        result.append(Example(sample.pixels, boxes[whole_boxes], classes[whole_boxes]))
    return result


def batches(count: int, epoch: int, options) -> list[list[int]]:
    """Which pictures are in which batch of an epoch. The same for the same seed and epoch.

    An incomplete batch is left out: one picture alone has no statistics on the last level's single cell.
    """
    order = list(range(count))
    Random(f"{options.seed} {epoch}").shuffle(order)
    size = min(options.batch, count)
    return [order[start : start + size] for start in range(0, count - size + 1, size)]


def learn_from(data: list[Example], numbers: list[int], epoch: int, table, options):
    """A batch, changed at random: pictures, and what their priors should say: classes and offsets."""
    pictures, labels, offsets = [], [], []
    for number in numbers:
        example = data[number]
        random = Random(f"{options.seed} {epoch} {number}")
        picture, boxes, classes = augmented(example.pixels, example.boxes, example.classes, options.size, options, random)
        # A box cut to a sliver has no size to learn.
        kept = ((boxes[:, 2:] - boxes[:, :2]) * options.size > 1).all(1)
        label, offset = match(torch.from_numpy(boxes[kept]).float(), torch.from_numpy(classes[kept]), table, least=options.least_priors)
        pictures.append(picture)
        labels.append(label)
        offsets.append(offset)
    return torch.stack(pictures), torch.stack(labels), torch.stack(offsets)


def detections(scores, boxes, table, width: int, height: int) -> list[np.ndarray]:
    """Per class, without the background: M x 5, score and box in pixels of the picture. `scores` and `boxes` are one picture's."""
    probabilities = scores.softmax(-1)
    inside = networks.decode(boxes, table)
    corners = inside * torch.tensor((width, height, width, height))
    result, rows = [], []
    for label in range(1, scores.shape[1]):
        chosen = torch.nonzero(probabilities[:, label] > SCORE).flatten()
        kept = chosen[torchvision.ops.nms(inside[chosen], probabilities[chosen, label], IOU)]
        result.append(torch.cat((probabilities[kept, label : label + 1], corners[kept]), 1).numpy())
        rows += [(-float(row[0]), label, place) for place, row in enumerate(result[-1])]
    best = {(label, place) for _, label, place in sorted(rows)[:TOP]}
    return [rows[[(label, place) in best for place in range(len(rows))]] for label, rows in enumerate(result, 1)]


@torch.inference_mode()
def measure(model, split: Split, names: list[str], table) -> dict[str, float]:
    """Average precision at IoU 0.5 per class."""
    model.eval()
    found: list[list] = [[] for _ in names]
    for sample in split.samples:
        height, width = sample.pixels.shape[:2]
        scores, boxes = model(prepare(sample.pixels, model.size)[None])
        for rows, all_rows in zip(detections(scores[0], boxes[0], table, width, height), found):
            all_rows.append(rows)
    result = {}
    for name, rows in zip(names, found):
        boxes = [[box for box in sample.boxes if box.label == name] for sample in split.samples]
        truths = [np.array([box.corners for box in picture], float).reshape(-1, 4) for picture in boxes]
        result[name] = average_precision(truths, [[box.difficult for box in picture] for picture in boxes], rows)
    return result


def mean(values: dict[str, float]) -> float:
    """Over the classes that the split has."""
    known = [value for value in values.values() if not math.isnan(value)]
    return sum(known) / len(known) if known else float("nan")


def summary(precision: dict[str, float]) -> str:
    return ", ".join(f"AP {name} {value:.4f}" for name, value in precision.items()) + f", mAP {mean(precision):.4f}"


def initialise(model) -> None:
    """Convolutions as MobileNetV2's, the heads' last layers small."""
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            if layer.bias is not None and layer.groups == 1:
                torch.nn.init.normal_(layer.weight, std=0.01)
            else:
                torch.nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            if layer.bias is not None:
                torch.nn.init.zeros_(layer.bias)


def optimiser(model, options):
    """AdamW; norms and biases do not decay."""
    decaying = [weight for weight in model.parameters() if weight.dim() > 1]
    others = [weight for weight in model.parameters() if weight.dim() <= 1]
    groups = [{"params": decaying, "weight_decay": options.decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=options.rate)


def rate(step: float, steps: int, warm_up: float) -> float:
    """The share of the highest learning rate at this step."""
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    return 0.5 + 0.5 * math.cos(math.pi * (step - warm_up) / max(1.0, steps - warm_up))


class Training:
    """A run: model, average, optimiser, log. It can be written to and read from a checkpoint after any epoch."""

    def __init__(self, options, names: list[str], pictures: str):
        self.options, self.names, self.pictures = options, names, pictures
        torch.manual_seed(options.seed)
        self.model = networks.ssdlite(options.backbone, options.width, len(names) + 1, options.size)
        initialise(self.model)
        self.table = self.model.priors()
        self.model = self.model.to(memory_format=torch.channels_last)
        for block in self.model.backbone.features[: options.freeze]:
            block.requires_grad_(False)
        workers = most_parts(options.batch, options.workers)
        self.replicas = [self.model, *(self.replica() for _ in range(workers - 1))]
        self.pool = ThreadPoolExecutor(workers)
        self.optimiser = optimiser(self.model, options)
        self.average = Average(self.model, options.average)
        self.epoch, self.log, self.clock = 0, [], Clock()

    def replica(self):
        """The model once more, with the same weights in memory, and gradients and statistics of its own."""
        twin = copy.deepcopy(self.model)
        for other, own in zip(twin.parameters(), self.model.parameters()):
            other.data = own.data
        return twin

    def start_from(self, path: Path) -> None:
        detector_files.load_backbone(self.model, path)
        self.average = Average(self.model, self.options.average)

    def save(self) -> None:
        files.save_checkpoint(
            self.options.out / "checkpoint.pt",
            dict(
                recipe=recipe_of(self.options),
                names=self.names,
                pictures=self.pictures,
                epoch=self.epoch,
                log=self.log,
                model=self.model.state_dict(),
                optimiser=self.optimiser.state_dict(),
                average=self.average.state,
                steps=self.average.steps,
            ),
        )

    def resume(self) -> None:
        path = self.options.out / "checkpoint.pt"
        state = files.load_checkpoint(path, detector_files.CHECKPOINT)
        check_resumed(path, state["recipe"], recipe_of(self.options), FIXED)
        if state["names"] != self.names:
            raise Bad(f"{path}: its classes are {', '.join(state['names'])}, the data's are {', '.join(self.names)}")
        if state["pictures"] != self.pictures:
            raise Bad(f"{path}: the data was {state['pictures']}, is {self.pictures}: --resume goes on with the same network and data")
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.state, self.average.steps = state["average"], state["steps"]
        self.epoch, self.log = state["epoch"], state["log"]

    def run_epoch(self, data: list[Example]) -> dict:
        """One pass over the data. Returns the log's row."""
        options, started = self.options, time.monotonic()
        plan = batches(len(data), self.epoch, options)
        losses = []
        for count, numbers in enumerate(plan):
            step = self.epoch * len(plan) + count
            now = options.rate * rate(step, options.epochs * len(plan), options.warm_up * len(plan))
            for group in self.optimiser.param_groups:
                group["lr"] = now
            losses.append(self.step(data, numbers))
            self.clock.done += 1
            left = self.clock.left((options.epochs - self.epoch) * len(plan) - count - 1)
            show(f"epoch {self.epoch + 1} of {options.epochs}: {count + 1} of {len(plan)}, {left} left ")
        self.epoch += 1
        class_loss, box_loss = (sum(part) / len(losses) for part in zip(*losses))
        return dict(
            epoch=self.epoch,
            rate=now,
            loss=class_loss + box_loss,
            class_loss=class_loss,
            box_loss=box_loss,
            seconds=time.monotonic() - started,
        )

    def step(self, data: list[Example], numbers: list[int]) -> tuple[float, float]:
        """Learns from a batch, its parts side by side. Returns class loss and box loss."""
        count = most_parts(len(numbers), len(self.replicas))
        parts = [numbers[part::count] for part in range(count)]
        jobs = [self.pool.submit(self.gradients, replica, data, part) for replica, part in zip(self.replicas, parts)]
        losses = [job.result() for job in jobs]
        with torch.no_grad():
            trained = ((weight for weight in replica.parameters() if weight.requires_grad) for replica in self.replicas)
            for own, *others in zip(*list(trained)[: len(parts)]):
                for other in others:
                    own.grad += other.grad
                own.grad /= len(parts)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimiser.step()
        self.average.update(self.model)
        return tuple(sum(values) / len(parts) for values in zip(*losses))

    def gradients(self, replica, data: list[Example], numbers: list[int]) -> tuple[float, float]:
        """Leaves the gradients of a part of a batch in a replica. Returns class loss and box loss."""
        options = self.options
        torch.set_num_threads(1)
        replica.train()
        for block in replica.backbone.features[: options.freeze]:
            block.eval()
        pictures, labels, offsets = learn_from(data, numbers, self.epoch, self.table, options)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            scores, boxes = replica(pictures.contiguous(memory_format=torch.channels_last))
        class_loss, box_loss = loss(scores.float(), boxes.float(), labels, offsets)
        total = class_loss + box_loss
        if not torch.isfinite(total):
            raise Bad(f"epoch {self.epoch + 1}: the loss is {float(total)}: try a lower --rate")
        replica.zero_grad(set_to_none=True)
        total.backward()
        return float(class_loss.detach()), float(box_loss.detach())

    def result(self):
        """The network of the averaged weights, rounded as the file has them."""
        model = networks.ssdlite(self.options.backbone, self.options.width, len(self.names) + 1, self.options.size)
        state = files.as_written(self.average.state, self.options.half)
        model.load_state_dict({name: value.to(self.average.state[name].dtype) for name, value in state.items()})
        return model.eval(), state

    def write(self, state: dict) -> None:
        """Everything in OUT; the checkpoint first, so that what there is no space for is never the only copy."""
        self.save()
        detector_files.save_model(self.options, self.names, state)
        detector_files.save_log(self.options.out, self.names, self.log)


def most_parts(pictures: int, workers: int) -> int:
    """Into how many parts a batch is dealt: each has two pictures, for one alone has no statistics on the last level's single cell."""
    return max(1, min(workers, pictures // 2))


def train(options, data: Split, test: Split, names: list[str]) -> None:
    training = Training(options, names, digest(data))
    if options.resume:
        training.resume()
    elif options.start is not None:
        training.start_from(options.start)
    learned = examples(data, names)
    if training.log:
        # What was interrupted may have written its checkpoint and nothing else.
        training.write(training.result()[1])
    while training.epoch < options.epochs:
        row = training.run_epoch(learned)
        model, state = training.result()
        measured = ""
        if training.epoch % options.measure_every == 0 or training.epoch == options.epochs:
            precision = measure(model, test, names, training.table)
            row |= {f"AP {name}": value for name, value in precision.items()} | {"mAP": mean(precision)}
            measured = f", mAP {row['mAP']:.4f}"
        training.log.append(row)
        training.write(state)
        left = training.clock.left((options.epochs - training.epoch) * len(batches(len(learned), 0, options)))
        show("")
        print(f"epoch {training.epoch} of {options.epochs}: loss {row['loss']:.4f}{measured}, {row['seconds']:.1f} s, {left} left", flush=True)
    if "mAP" in training.log[-1]:
        print(summary({name: training.log[-1][f"AP {name}"] for name in names}))
    print(f"next: {detector_files.convert_command(options, len(names) + 1)}")
    print(f"then: {detector_files.eval_command(options)}")


def evaluate(options, test: Split) -> None:
    model, names = detector_files.load_model(options.out)
    check_classes(test, names)
    precision = measure(model, test, names, model.priors())
    print(summary(precision))


def main() -> None:
    options = arguments()
    test = read_split(options.data, options.test)
    print(test.report(), flush=True)
    if options.evaluate:
        evaluate(options, test)
        return
    data = read_split(options.data, options.train)
    print(data.report(), flush=True)
    if len(data.samples) < 2:
        raise Bad(f"split {data.name}: 1 picture is too few to train on")
    names = class_names(data, options.classes.split(",") if options.classes else None)
    for split in (data, test):
        check_classes(split, names)
    files.make_folder(options.out)
    train(options, data, test, names)


if __name__ == "__main__":
    run("detect.py", main)
