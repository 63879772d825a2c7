"""A detector's files."""

import json
import shlex
from pathlib import Path

from safetensors.torch import save

import networks
from files import marker_of, read_tensors, replace, save_plot, save_table, take
from options import Bad

FORMAT = "mnx detector 1"
CHECKPOINT = {"recipe", "names", "pictures", "epoch", "log", "model", "optimiser", "average", "steps"}


def load_backbone(model, path: Path) -> None:
    """Weights of a classifier (`features...`) or detector (`backbone.features...`) into the detector's backbone.

    The classifier, heads and extras keep what they have.
    """
    tensors = read_tensors(path)
    prefix = "backbone." if any(name.startswith("backbone.") for name in tensors) else ""
    take(tensors, path, model.backbone.features, f"{prefix}features.")


def convert_command(options, classes: int) -> str:
    """What makes a weight file of what `save_model` wrote. `classes` counts the background."""
    words = ["mnx-infer", "convert", "--arch", f"ssdlite-{options.backbone}", "--width", f"{options.width:g}"]
    words += ["--resolution", str(options.size), "--classes", str(classes), "--labels", str(options.out / "labels.txt")]
    words += ["--input", str(options.out / "model.safetensors"), "--output", str(options.out / "model.mnx")]
    return shlex.join(words)


def eval_command(options) -> str:
    """What measures that weight file on the pictures that were not learned from."""
    words = ["mnx-infer", "eval", "--weights", str(options.out / "model.mnx"), "--voc", str(options.data), "--split", options.test]
    return shlex.join(words)


def save_model(options, names: list[str], state: dict) -> None:
    """model.safetensors, and what is needed to use it: model.json and labels.txt."""
    labels = ["background", *names]
    about = dict(
        format=FORMAT,
        arch=f"ssdlite-{options.backbone}",
        width=options.width,
        resolution=options.size,
        classes=len(labels),
        labels=labels,
        preprocessing=dict(
            colour="RGB", fit="squash", interpolation="bilinear", mean=list(networks.MEAN), std=list(networks.STD)
        ),
        convert=convert_command(options, len(labels)),
        eval=eval_command(options),
    )
    replace(options.out / "model.safetensors", save(state, metadata={"format": "pt"}))
    replace(options.out / "model.json", (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode())
    replace(options.out / "labels.txt", "".join(f"{label}\n" for label in labels).encode())


def load_model(folder: Path):
    """The network in a folder that `save_model` wrote, and its classes without the background."""
    path = folder / "model.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise Bad(f"{path}: expected the format {FORMAT!r}, found {about['format']!r}")
        backbone = about["arch"].removeprefix("ssdlite-")
        model = networks.ssdlite(backbone, about["width"], about["classes"], about["resolution"])
        names = about["labels"][1:]
    except OSError as error:
        raise Bad(f"{path}: cannot read the description: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Bad(f"{path}: not a detector's description: {error}") from None
    path = folder / "model.safetensors"
    tensors, state = read_tensors(path), model.state_dict()
    try:
        model.load_state_dict({name: value.to(state[name].dtype) for name, value in tensors.items()})
    except (KeyError, RuntimeError) as error:
        raise Bad(f"{path}: not the weights of this network: {' '.join(str(error).split())}") from None
    return model.eval(), names


def save_log(folder: Path, names: list[str], log: list[dict]) -> None:
    """log.csv and plot.png."""
    fields = ["epoch", "rate", "loss", "class_loss", "box_loss", "seconds", *(f"AP {name}" for name in names), "mAP"]
    save_table(folder / "log.csv", fields, log)

    def draw(losses, precisions) -> None:
        for part in ("loss", "class_loss", "box_loss"):
            losses.plot([row["epoch"] for row in log], [row[part] for row in log], label=part.replace("_", " "), marker=marker_of(log))
        losses.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
        measured = [row for row in log if "mAP" in row]
        for name in [*(f"AP {name}" for name in names), "mAP"]:
            style = dict(color="black", linewidth=2) if name == "mAP" else {}
            precisions.plot([row["epoch"] for row in measured], [row[name] for row in measured], label=name, marker=".", **style)
        precisions.set(xlabel="epoch", ylabel="average precision at IoU 0.5", ylim=(0, 1))

    save_plot(folder / "plot.png", draw)
