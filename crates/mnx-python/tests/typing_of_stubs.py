"""Read by mypy, not run: how the package's types look to its users."""

import pathlib
from typing import List, Optional

import mobilenext
import numpy
from numpy.typing import NDArray
from PIL import Image

model: mobilenext.Model = mobilenext.Model.open(pathlib.Path("w.mnx"))
labels: Optional[List[str]] = model.labels
classifier = mobilenext.Classifier(model, threads=1)
best: List[mobilenext.Prediction] = classifier.classify("cat.jpg", k=3)
label: Optional[str] = best[0].label
logits: NDArray[numpy.float32] = classifier.logits(["a.jpg", b"", Image.new("RGB", (1, 1))])
found: List[mobilenext.Detection] = mobilenext.Detector().detect(pathlib.Path("a.jpg"), score=0.5)
left: float = found[0].box.xmin
out: NDArray[numpy.float32] = mobilenext.Session(model, 1).run(logits, logits)
milliseconds: float = mobilenext.profile(model)["median_ms"]
kind: str = mobilenext.LimitError().kind
