"""A classifier's files."""

import json
import shlex
from pathlib import Path

from safetensors.torch import save

import networks
from files import as_written, read_tensors, replace, save_plot, save_table, take

FORMAT = "mnx classifier 1"
CHECKPOINT = {"recipe", "labels", "pictures", "epoch", "log", "model", "optimiser", "average", "steps", "random"}
FIELDS = ["epoch", "rate", "loss", "test_loss", "accuracy", "seconds"]
# Prefixes of names in checkpoints: of a detector's classifier, and those that PyTorch's wrappers leave.
PREFIXES = ("", "backbone.", "module.", "model.")

# Mean and standard deviation of pixels in 0 to 1, those that `mnx-infer convert` takes for each architecture.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def normalisation(arch: str):
    return CIFAR if arch.endswith("-cifar") else IMAGENET


def default_size(arch: str) -> int:
    return 32 if arch.endswith("-cifar") else 224


def short_side(arch: str, size: int) -> int:
    """To which the short side of pictures is resized before the middle is cut out."""
    return size if arch.endswith("-cifar") else size * 256 // 224


def load_start(model, path: Path) -> None:
    """Weights of a classifier or detector with the same backbone. The last layer stays as it is."""
    tensors = read_tensors(path)
    head = ("classifier.", "fc.")
    first = next(iter(model.state_dict()))
    prefix = next((prefix for prefix in PREFIXES if prefix + first in tensors), "")
    take(tensors, path, model, prefix, head)


def convert_command(options, labels: list[str]) -> str:
    """What makes a weight file of what `save_model` wrote."""
    words = ["mnx-infer", "convert", "--arch", options.arch]
    if options.arch not in networks.RESNETS:
        words += ["--width", f"{options.width:g}"]
    if options.identity != 1:
        words += ["--identity", f"{options.identity:g}"]
    if options.size != default_size(options.arch):
        words += ["--resolution", str(options.size)]
    words += ["--classes", str(len(labels)), "--labels", str(options.out / "labels.txt")]
    words += ["--input", str(options.out / "model.safetensors"), "--output", str(options.out / "model.mnx")]
    return shlex.join(words)


def save_model(options, labels: list[str], state: dict, about: dict) -> None:
    """model.safetensors, and what is needed to use it: model.json and labels.txt. `about` says how it was trained."""
    mean, std = normalisation(options.arch)
    description = dict(
        format=FORMAT,
        arch=options.arch,
        width=options.width,
        identity=options.identity,
        resolution=options.size,
        classes=len(labels),
        labels=labels,
        preprocessing=dict(
            colour="RGB",
            resize=short_side(options.arch, options.size),
            fit="crop",
            interpolation="bilinear-antialiased",
            mean=list(mean),
            std=list(std),
        ),
        **about,
        convert=convert_command(options, labels),
    )
    replace(options.out / "model.safetensors", save(as_written(state, False), metadata={"format": "pt"}))
    replace(options.out / "labels.txt", "".join(f"{label}\n" for label in labels).encode())
    replace(options.out / "model.json", (json.dumps(description, indent=1, ensure_ascii=False) + "\n").encode())


def save_log(folder: Path, log: list[dict]) -> None:
    """log.csv and plot.png."""
    save_table(folder / "log.csv", FIELDS, log)
    epochs = [row["epoch"] for row in log]

    def draw(losses, accuracies) -> None:
        losses.plot(epochs, [row["loss"] for row in log], label="training")
        losses.plot(epochs, [row["test_loss"] for row in log], label="test, averaged weights")
        losses.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
        accuracies.plot(epochs, [row["accuracy"] for row in log], label="test, averaged weights", marker=".", color="black")
        accuracies.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))

    save_plot(folder / "plot.png", draw)
