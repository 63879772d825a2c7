"""What is checked before pictures are read, which takes long: where results go, and whether there is such a network."""

import os
from pathlib import Path

import torch

from options import Bad

LARGEST_SIDE = 4096
LARGEST_WIDTH = 100
# mnx's `Limits::weights`: it takes no larger networks.
LARGEST_NETWORK = 1 << 27


def check_out(out: Path, resume: bool) -> None:
    """OUT is a folder or can become one, and has a run exactly if that is to be gone on with."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists() or path.is_symlink())
    if not there.is_dir():
        raise Bad(f"{out}: expected a folder or nothing, found {'a file' if there == out else f'{there}, which is no folder'}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise Bad(f"{out}: cannot write: no permission to make anything in {there}")
    checkpoint = out / "checkpoint.pt"
    if not resume and checkpoint.exists():
        raise Bad(f"{out}: there is a run in it: --resume goes on with it, another folder begins anew")
    if resume and not checkpoint.exists():
        raise Bad(f"{checkpoint}: there is no checkpoint to resume from")


def check_size(size: int) -> None:
    if size > LARGEST_SIDE:
        raise Bad(f"--size: expected {LARGEST_SIDE} or less, found {size}")


def check_width(width: float, make) -> None:
    """`make` makes a network of this width, here without memory for its weights."""
    if width > LARGEST_WIDTH:
        raise Bad(f"--width: expected {LARGEST_WIDTH} or less, found {width:g}")
    with torch.device("meta"):
        weights = sum(weight.numel() for weight in make().parameters())
    if weights > LARGEST_NETWORK:
        raise Bad(f"--width: expected a network of {LARGEST_NETWORK:,} weights or less, which mnx takes, found {weights:,} at width {width:g}")


def check_freeze(blocks: int, freeze: int, name: str) -> None:
    if freeze > blocks:
        raise Bad(f"--freeze: {name} has {blocks} blocks, the stem among them, found {freeze}")
