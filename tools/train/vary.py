"""How pictures of a classifier become batches: a part of each, mirrored at random."""

import math
from random import Random

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

TRIES = 10


def part(width: int, height: int, least: float, random: Random) -> tuple[float, float, float, float]:
    """A part of the picture that has `least` of its area or more and sides of 3:4 to 4:3, or the middle if none is found."""
    for _ in range(TRIES):
        area = random.uniform(least, 1) * width * height
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        across, down = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if across <= width and down <= height:
            left, top = random.uniform(0, width - across), random.uniform(0, height - down)
            return left, top, left + across, top + down
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def parts_of(pixels: np.ndarray, size: int, least: float, colour: float, random: Random) -> torch.Tensor:
    """A random part of a picture, resized to size x size, mirrored and its colours changed at random: 3 x size x size, 0 to 255."""
    height, width = pixels.shape[:2]
    box = part(width, height, least, random)
    resized = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box=box)
    planes = torch.from_numpy(np.array(resized)).permute(2, 0, 1)
    if random.random() < 0.5:
        planes = planes.flip(2)
    return jitter(planes.float(), colour, random) if colour else planes.float()


def jitter(planes: torch.Tensor, most: float, random: Random) -> torch.Tensor:
    """Brightness, contrast and saturation, each by a factor of 1 - most to 1 + most."""
    brightness, contrast, saturation = (random.uniform(max(0, 1 - most), 1 + most) for _ in range(3))
    planes = (planes * brightness).clamp(0, 255)
    weights = torch.tensor((0.299, 0.587, 0.114)).view(3, 1, 1)
    mean = (planes * weights).sum(0).mean()
    planes = (mean + contrast * (planes - mean)).clamp(0, 255)
    grey = (planes * weights).sum(0, keepdim=True)
    return (grey + saturation * (planes - grey)).clamp(0, 255)


def windows_of(pictures: torch.Tensor, padding: int) -> torch.Tensor:
    """Windows at random places of N x 3 x S x S bytes with black around them, half of them mirrored. By PyTorch's random numbers."""
    count, _, size, _ = pictures.shape
    padded, window = functional.pad(pictures, (padding,) * 4), torch.arange(size)
    down, across = (torch.randint(0, 2 * padding + 1, (count, 1)) + window for _ in range(2))
    x = padded[torch.arange(count)[:, None, None, None], torch.arange(3)[None, :, None, None], down[:, None, :, None], across[:, None, None, :]]
    mirrored = torch.rand(count) < 0.5
    x[mirrored] = x[mirrored].flip(3)
    return x
