"""What training does to a picture before the network sees it, and what of that every picture goes through."""

import math
from random import Random

import numpy as np
import torch
from torch.nn import functional

from networks import MEAN, STD

CROP_OVERLAPS = (None, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
MEAN_PIXEL = torch.tensor(MEAN).view(3, 1, 1)
STD_PIXEL = torch.tensor(STD).view(3, 1, 1)


def squash(pixels: np.ndarray, height: int, width: int) -> torch.Tensor:
    """H x W x 3 bytes -> 3 x height x width, 0 to 255: bilinear, half-pixel centres, no antialiasing."""
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float()
    if planes.shape[1:] == (height, width):
        return planes
    return functional.interpolate(planes[None], (height, width), mode="bilinear", align_corners=False, antialias=False)[0]


def normalise(planes: torch.Tensor) -> torch.Tensor:
    return (planes - MEAN_PIXEL) / STD_PIXEL


def prepare(pixels: np.ndarray, size: int) -> torch.Tensor:
    """The network's input of a picture, as when it is used."""
    return normalise(squash(pixels, size, size))


def augmented(pixels: np.ndarray, boxes: np.ndarray, classes: np.ndarray, size: int, options, random: Random):
    """A picture changed at random: the network's input, boxes (fractions of the input) and classes.

    `boxes` are N x 4 pixels of the picture. `options` has `expand`, `crop`, `vertical_mirror`.
    """
    height, width = pixels.shape[:2]
    view = (0.0, 0.0, float(width), float(height))
    if options.expand > 1 and random.random() < 0.5:
        view = expansion(width, height, options.expand, random)
    if options.crop:
        view, kept = crop(view, boxes, random)
        boxes, classes = boxes[kept], classes[kept]
    planes = look(pixels, view, size)
    origin, sides = np.array(view[:2] * 2), np.array([view[2] - view[0], view[3] - view[1]] * 2)
    boxes = ((boxes - origin) / sides).clip(0, 1)
    if random.random() < 0.5:
        planes = planes.flip(2)
        boxes = np.stack((1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]), 1)
    if options.vertical_mirror and random.random() < 0.5:
        planes = planes.flip(1)
        boxes = np.stack((boxes[:, 0], 1 - boxes[:, 3], boxes[:, 2], 1 - boxes[:, 1]), 1)
    return normalise(distort(planes, random)), boxes, classes


def expansion(width: int, height: int, largest: float, random: Random) -> tuple[float, float, float, float]:
    """A view that holds the picture and up to `largest` times its sides."""
    factor = random.uniform(1, largest)
    left, top = random.uniform(0, width * (factor - 1)), random.uniform(0, height * (factor - 1))
    left, top = math.floor(left), math.floor(top)
    return (-left, -top, -left + round(width * factor), -top + round(height * factor))


def crop(view, boxes: np.ndarray, random: Random):
    """SSD's crop: a part of the view that overlaps every box in its middle, or some box, by a share drawn at random.

    Returns the part and which boxes have their centre in it. After fifty misses of a share, another one is drawn.
    """
    everything = np.ones(len(boxes), bool)
    x0, y0, x1, y1 = view
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    while True:
        least = random.choice(CROP_OVERLAPS)
        if least is None or len(boxes) == 0:
            return view, everything
        for _ in range(50):
            width, height = random.uniform(0.3, 1) * (x1 - x0), random.uniform(0.3, 1) * (y1 - y0)
            if not 0.5 <= width / height * (y1 - y0) / (x1 - x0) <= 2:
                continue
            left = math.floor(random.uniform(x0, x1 - width))
            top = math.floor(random.uniform(y0, y1 - height))
            part = (left, top, left + max(1, math.floor(width)), top + max(1, math.floor(height)))
            kept = ((centres > part[:2]) & (centres < part[2:])).all(1)
            if kept.any() and overlap(part, boxes[kept]) >= least:
                return part, kept


def overlap(part, boxes: np.ndarray) -> float:
    """The smallest share of a box that the part shows."""
    sides = np.minimum(boxes[:, 2:], part[2:]) - np.maximum(boxes[:, :2], part[:2])
    return float((sides.clip(0).prod(1) / (boxes[:, 2:] - boxes[:, :2]).prod(1)).min())


def look(pixels: np.ndarray, view, size: int) -> torch.Tensor:
    """What a view of whole pixels shows, squashed to size x size. Outside the picture is the mean colour."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = view
    inner = (max(0, int(x0)), max(0, int(y0)), min(width, int(x1)), min(height, int(y1)))
    left, right = (round((edge - x0) / (x1 - x0) * size) for edge in (inner[0], inner[2]))
    top, bottom = (round((edge - y0) / (y1 - y0) * size) for edge in (inner[1], inner[3]))
    canvas = MEAN_PIXEL.repeat(1, size, size)
    if right > left and bottom > top:
        canvas[:, top:bottom, left:right] = squash(pixels[inner[1] : inner[3], inner[0] : inner[2]], bottom - top, right - left)
    return canvas


def distort(planes: torch.Tensor, random: Random) -> torch.Tensor:
    """Brightness, contrast, saturation and hue at random, each on every second picture."""
    if random.random() < 0.5:
        planes = planes + random.uniform(-32, 32)
    matrix = torch.eye(3)
    if random.random() < 0.5:
        matrix = matrix * random.uniform(0.5, 1.5)
    grey = torch.tensor((0.299, 0.587, 0.114)).repeat(3, 1)
    if random.random() < 0.5:
        saturation = random.uniform(0.5, 1.5)
        matrix = (saturation * torch.eye(3) + (1 - saturation) * grey) @ matrix
    if random.random() < 0.5:
        matrix = hue_rotation(random.uniform(-18, 18)) @ matrix
    return (matrix @ planes.reshape(3, -1)).reshape(planes.shape).clamp(0, 255)


def hue_rotation(degrees: float) -> torch.Tensor:
    """Turns the plane of chrominance of YIQ, as a matrix of RGB."""
    yiq = torch.tensor(((0.299, 0.587, 0.114), (0.596, -0.274, -0.321), (0.211, -0.523, 0.311)))
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.tensor(((1.0, 0.0, 0.0), (0.0, cosine, -sine), (0.0, sine, cosine)))
    return torch.linalg.inv(yiq) @ turn @ yiq
