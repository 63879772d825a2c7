"""Classify pictures and find things in them, on the CPU.

>>> import mobilenext
>>> classifier = mobilenext.Classifier()  # the network inside the wheel
>>> classifier.classify("cat.jpg")[0].label  # doctest: +SKIP
'cat'

- Model: a network and its weights; ``Model.open``, ``Model.embedded``, ``Model.from_bytes``.
- Classifier, Detector: pictures in, labels and boxes out.
- Session: prepared float32 arrays in, logits and embeddings out, without copies.
- profile: where the time of an inference goes.
- convert, quantize, init: weight files of checkpoints, ONNX models, pictures and chance.
- Error and its subclasses: what can be wrong; each has a ``kind``.

``python -m mobilenext`` is the command line, and so is the script ``mnx-infer``.
"""

from mobilenext._errors import (
    ClosedError,
    Error,
    InvalidFileError,
    InvalidInputError,
    InvalidTypeError,
    IoError,
    LimitError,
    NotFoundError,
    OutOfMemoryError,
    UnsupportedError,
)
from mobilenext._native import (
    Classifier,
    Detector,
    Model,
    Session,
    __version__,
    convert,
    embedded_models,
    families,
    init,
    quantize,
)
from mobilenext._profile import Profile, profile
from mobilenext._types import Box, Detection, Prediction

__all__ = [
    "Box",
    "Classifier",
    "ClosedError",
    "Detection",
    "Detector",
    "Error",
    "InvalidFileError",
    "InvalidInputError",
    "InvalidTypeError",
    "IoError",
    "LimitError",
    "Model",
    "NotFoundError",
    "OutOfMemoryError",
    "Prediction",
    "Profile",
    "Session",
    "UnsupportedError",
    "__version__",
    "convert",
    "embedded_models",
    "families",
    "init",
    "profile",
    "quantize",
]
