"""Files that training reads and writes. All are written beside their place and renamed, so nobody sees half a file."""

import csv
import io
import json
import os
import pickle
import struct
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save

import networks
from voc import Bad

FORMAT = "mnx detector 1"
CHECKPOINT = {"recipe", "names", "epoch", "log", "model", "optimiser", "average", "steps"}


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Bad(f"{path}: cannot make the folder: {error.strerror}") from None


def replace(path: Path, data: bytes) -> None:
    """Makes `data` the content of the file, or leaves it as it was."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Bad(f"{path}: cannot write: {error.strerror}") from None


def save_checkpoint(path: Path, state: dict) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    replace(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict:
    try:
        state = torch.load(path, weights_only=True)
        if not isinstance(state, dict) or not CHECKPOINT <= state.keys():
            raise ValueError("other entries than a detector's training writes")
        return state
    except OSError as error:
        raise Bad(f"{path}: cannot read the checkpoint: {error.strerror}") from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise Bad(f"{path}: not a checkpoint: {str(error).splitlines()[0]}") from None


def read_tensors(path: Path) -> dict:
    try:
        return load_file(path)
    except OSError as error:
        raise Bad(f"{path}: cannot read the weights: {error.strerror or error}") from None
    except (safetensors.SafetensorError, struct.error, ValueError) as error:
        raise Bad(f"{path}: not safetensors: {error}") from None


def load_backbone(model, path: Path) -> None:
    """Weights of a classifier (`features...`) or detector (`backbone.features...`) into the detector's backbone.

    The classifier, heads and extras keep what they have.
    """
    tensors = read_tensors(path)
    prefix = "backbone." if any(name.startswith("backbone.") for name in tensors) else ""
    state = {}
    for name, own in model.backbone.features.state_dict().items():
        tensor = tensors.get(f"{prefix}features.{name}")
        if tensor is None:
            if name.endswith("num_batches_tracked"):
                tensor = own
            else:
                raise Bad(f"{path}: there is no {prefix}features.{name}: is it of the same backbone?")
        if tensor.shape != own.shape:
            shapes = [" x ".join(map(str, shape)) for shape in (own.shape, tensor.shape)]
            raise Bad(f"{path}: {prefix}features.{name}: expected {shapes[0]}, found {shapes[1]}: is its width another one?")
        state[name] = tensor.to(own.dtype)
    model.backbone.features.load_state_dict(state)


def as_written(state: dict, half: bool) -> dict:
    """The tensors of the weight file: with `half`, those of convolutions in half precision."""
    written = {}
    for name, value in state.items():
        value = value.detach().contiguous()
        if half and value.dim() > 1:
            value = value.half()
            if not torch.isfinite(value).all():
                raise Bad(f"{name}: a weight is too large for half precision")
        written[name] = value
    return written


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
    )
    replace(options.out / "model.safetensors", save(state, metadata={"format": "pt"}))
    replace(options.out / "model.json", (json.dumps(about, indent=1) + "\n").encode())
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
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    for row in log:
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
    replace(folder / "log.csv", text.getvalue().encode())
    replace(folder / "plot.png", plot(names, log))


def plot(names: list[str], log: list[dict]) -> bytes:
    """Loss and average precision over epochs, a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    losses, precisions = figure.subplots(1, 2)
    for part in ("loss", "class_loss", "box_loss"):
        losses.plot([row["epoch"] for row in log], [row[part] for row in log], label=part.replace("_", " "))
    losses.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    measured = [row for row in log if "mAP" in row]
    for name in [*(f"AP {name}" for name in names), "mAP"]:
        style = dict(color="black", linewidth=2) if name == "mAP" else {}
        precisions.plot([row["epoch"] for row in measured], [row[name] for row in measured], label=name, marker=".", **style)
    precisions.set(xlabel="epoch", ylabel="average precision at IoU 0.5", ylim=(0, 1))
    for axes in (losses, precisions):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()
