"""What is found in pictures."""

from typing import NamedTuple, Optional


class Prediction(NamedTuple):
    """One class of a picture."""

    label: Optional[str]
    """Its name, or ``None`` if the model has no names."""
    probability: float
    """By softmax over all classes, 0 to 1."""
    index: int
    """Index of the class."""


class Box(NamedTuple):
    """Edges in pixels of the picture, from its upper left corner on; the whole picture is 0, 0, width, height."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


class Detection(NamedTuple):
    """Something that was found in a picture, and where."""

    label: Optional[str]
    """Name of the class, or ``None`` if the model has no names."""
    score: float
    """Above the threshold, at most 1."""
    box: Box
    """Where it is."""
    index: int
    """Index of the class, from 1 on: 0 is the background."""
