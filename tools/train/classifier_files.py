"""A classifier's files."""

import json
import shlex
from pathlib import Path

from safetensors.torch import save

import networks
from files import as_written, marker_of, read_tensors, replace, save_plot, save_table, take

FORMAT = "mnx classifier 1"
CHECKPOINT = {"recipe", "labels", "pictures", "epoch", "log", "model", "optimiser", "average", "steps", "random"}
FIELDS = ["epoch", "rate", "loss", "test_loss", "accuracy", "seconds"]
# Names of the last layer's tensors begin with one of these.
HEADS = ("classifier.", "fc.")
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


def labels_beside(path: Path) -> list[str] | None:
    """The classes of a checkpoint, in order, by labels.txt or model.json in its folder."""
    try:
        return (path.parent / "labels.txt").read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        pass
    try:
        labels = json.loads((path.parent / "model.json").read_text(encoding="utf-8"))["labels"]
        return labels if isinstance(labels, list) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load_start(model, path: Path, labels: list[str]) -> str:
    """Weights of a classifier or detector with the same backbone. Returns what became of the last layer.

    It is kept if the checkpoint's classes are known to be these, in this order. An equal number alone means nothing: then, as for other
    classes, the model's own stays, which is new.
    """
    tensors, own, before = read_tensors(path), model.state_dict(), labels_beside(path)
    prefix = next((prefix for prefix in PREFIXES if prefix + next(iter(own)) in tensors), "")
    head = [name for name in own if name.startswith(HEADS)]
    there = all(prefix + name in tensors and tensors[prefix + name].shape == own[name].shape for name in head)
    kept = there and before == labels
    take(tensors, path, model, prefix, () if kept else HEADS)
    if kept:
        return "last layer: kept (same classes)"
    if before is None:
        return f"last layer: new (neither labels.txt nor model.json beside {path.name} says its classes)"
    if before != labels:
        order = "the same classes in another order" if sorted(before) == sorted(labels) else "other classes"
        return f"last layer: new ({order})"
    return f"last layer: new ({path.name} has none for so many classes)"


def listed(data: Path, split, labels: list[str]) -> tuple[str, int]:
    """Lines of file and label, for `mnx-infer eval --list`, and how many pictures have names that no line can have."""
    lines, without = [], 0
    for path, number in zip(split.files, split.classes):
        name = path.relative_to(data).as_posix()
        if fits_a_line(name):
            lines.append(f"{name}\t{labels[number]}\n")
        else:
            without += 1
    return "".join(lines), without


def fits_a_line(name: str) -> bool:
    """A tab ends a name, and the list is UTF-8, which names of files need not be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\t" not in name and "\n" not in name


def eval_command(options, data) -> str:
    """What measures the weight file on the pictures that were not learned from."""
    words = ["mnx-infer", "eval", "--weights", str(options.out / "model.mnx")]
    words += ["--list", str(options.out / "test.txt"), str(options.data)] if data.test_folder is None else [str(data.test_folder)]
    return shlex.join(words)


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
        losses.plot(epochs, [row["loss"] for row in log], label="training", marker=marker_of(log))
        losses.plot(epochs, [row["test_loss"] for row in log], label="test, averaged weights", marker=marker_of(log))
        losses.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
        accuracies.plot(epochs, [row["accuracy"] for row in log], label="test, averaged weights", marker=".", color="black")
        accuracies.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))

    save_plot(folder / "plot.png", draw)
