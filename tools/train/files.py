"""Files that training reads and writes. All are written beside their place and renamed, so nobody sees half a file."""

import csv
import io
import os
import pickle
import struct
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file

from options import Bad


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
    """Without space for it, the one before stays."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    replace(path, buffer.getvalue())


def load_checkpoint(path: Path, entries: set[str]) -> dict:
    """What `save_checkpoint` wrote, which has these entries."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not entries <= state.keys():
            raise ValueError("other entries than this program's training writes")
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
        raise Bad(f"{path}: not safetensors (tools/pth_to_safetensors.py makes them of a .pth): {error}") from None


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


def take(tensors: dict, path: Path, model, prefix: str, except_for: tuple[str, ...] = ()) -> None:
    """Puts those of a file's tensors whose names begin with `prefix` into a module, which needs all that it has names for.

    What begins with a name of `except_for` keeps what it has.
    """
    state = {}
    for name, own in model.state_dict().items():
        tensor = own if name.startswith(except_for) else tensors.get(prefix + name)
        if tensor is None:
            if name.endswith("num_batches_tracked"):
                tensor = own
            else:
                raise Bad(f"{path}: there is no {prefix}{name}: is it of the same network?")
        if tensor.shape != own.shape:
            shapes = [" x ".join(map(str, shape)) for shape in (own.shape, tensor.shape)]
            raise Bad(f"{path}: {prefix}{name}: expected {shapes[0]}, found {shapes[1]}: is its width another one?")
        state[name] = tensor.to(own.dtype)
    model.load_state_dict(state)


def save_table(path: Path, fields: list[str], rows: list[dict]) -> None:
    """A CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
    replace(path, text.getvalue().encode())


def marker_of(log: list) -> str | None:
    """A line through one point shows nothing."""
    return "." if len(log) == 1 else None


def save_plot(path: Path, draw) -> None:
    """A PNG with two pairs of axes, side by side, that `draw` fills."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.6), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    both = figure.subplots(1, 2)
    draw(*both)
    # Losses fall and measures rise.
    for axes, corner in zip(both, ("upper right", "lower right")):
        axes.grid(alpha=0.3)
        # There is no half an epoch.
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if axes.lines:
            axes.legend(loc=corner)
    data = io.BytesIO()
    figure.savefig(data, format="png")
    replace(path, data.getvalue())
