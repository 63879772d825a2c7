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
file: List[mobilenext.Prediction] = classifier.classify(open("cat.jpg", "rb"))
image: List[mobilenext.Prediction] = classifier.classify(Image.new("RGB", (1, 1)))
several: List[List[mobilenext.Prediction]] = classifier.classify(["a.jpg", b""])
iterated: List[List[mobilenext.Prediction]] = classifier.classify(pathlib.Path().glob("*.jpg"))
# One picture or several: the type of an array does not say which.
one: List[mobilenext.Prediction] = classifier.classify(numpy.zeros((8, 8, 3), numpy.uint8))
batch: List[List[mobilenext.Prediction]] = classifier.classify(numpy.zeros((2, 8, 8, 3), numpy.uint8))
label: Optional[str] = best[0].label
logits: NDArray[numpy.float32] = classifier.logits(["a.jpg", b"", Image.new("RGB", (1, 1))])
found: List[mobilenext.Detection] = mobilenext.Detector().detect(pathlib.Path("a.jpg"), score=0.5)
lists: List[List[mobilenext.Detection]] = mobilenext.Detector().detect(path for path in ("a.jpg", "b.jpg"))
left: float = found[0].box.xmin
out: NDArray[numpy.float32] = mobilenext.Session(model, 1).run(logits, logits)
milliseconds: float = mobilenext.profile(model)["median_ms"]
kind: str = mobilenext.LimitError().kind
