"""A first look: classify, search by embeddings, profile, and compare with ONNX Runtime. Reads like a notebook.

    python crates/mnx-python/examples/quickstart.py [FOLDER FOR WHAT IS DRAWN]

Needs `mobilenext` and `pillow`. With matplotlib the profile is a chart of its own, else the library's SVG; without onnxruntime the last part
is skipped.
"""

import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import mobilenext
import numpy
from PIL import Image

testdata = Path(__file__).resolve().parents[3] / "testdata"
drawn = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())

# %% Classify ------------------------------------------------------------------------------------------------------------

classifier = mobilenext.Classifier()  # MobileNeXt for CIFAR-10, inside the wheel
print(f"{classifier}\n")
for path in sorted((testdata / "pictures").glob("*.[jp][pn]g")):
    found = classifier.classify(path, k=3)
    print(f"{path.name:<28}", ", ".join(f"{p.label} {100 * p.probability:.0f} %" for p in found))

# %% Embed twenty pictures, and search among them ------------------------------------------------------------------------

paths = [*sorted((testdata / "pictures").glob("*.[jp][pn]g")), *sorted((testdata / "bccd" / "JPEGImages").glob("*.jpg"))]
photographs = {path.name: numpy.asarray(Image.open(path).convert("RGB")) for path in paths}
# Four quarters of each: parts of arrays, which are read in place.
pictures, names = [], []
for name, photograph in photographs.items():
    height, width = photograph.shape[0] // 2, photograph.shape[1] // 2
    for y, x in ((0, 0), (0, width), (height, 0), (height, width)):
        pictures.append(photograph[y : y + height, x : x + width])
        names.append(name)

imagenet = mobilenext.Classifier(mobilenext.Model.embedded("imagenet"))


def embed(some):
    embeddings = imagenet.embedding(some)
    return embeddings / numpy.linalg.norm(embeddings, axis=1, keepdims=True)


embeddings = embed(pictures)
print(f"\n{len(pictures)} pictures, embeddings {embeddings.shape}")
for name in (paths[0].name, paths[1].name, paths[-1].name):
    photograph = photographs[name]
    height, width = photograph.shape[0] // 4, photograph.shape[1] // 4
    similar = embeddings @ embed([photograph[height:-height, width:-width]])[0]
    best = similar.argsort()[::-1][:4]
    print(f"like the middle of {name}:", ", ".join(f"{names[i]} ({similar[i]:.2f})" for i in best))
    # Cells are like cells, on whichever slide.
    assert names[best[0]].split("_")[0] == name.split("_")[0]

# %% Where the time goes -------------------------------------------------------------------------------------------------

profile = mobilenext.profile(imagenet.model, threads=1)  # in a notebook, its last line shows it
slowest = sorted(profile["blocks"], key=lambda row: -row["us"])[:3]
print(f"\n{profile['family']}: {profile['median_ms']:.2f} ms on {profile['isa']}; most of it in")
for row in slowest:
    print(f"  {row['name']:<28} {row['us']:7.1f} µs, {100 * row['share']:.0f} %")

try:
    import matplotlib
except ImportError:
    chart = drawn / "profile.svg"
    chart.write_text(profile.svg())
else:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    chart = drawn / "profile.png"
    names, times = zip(*((row["name"], row["us"]) for row in reversed(profile["blocks"])))
    figure, axes = pyplot.subplots(figsize=(9, 7), layout="constrained")
    axes.barh(names, times, label="measured")
    axes.barh(names, [row["least_us"] for row in reversed(profile["blocks"])], height=0.3, label="at least, by the roofline")
    axes.set_xlabel("µs")
    axes.legend()
    figure.savefig(chart)
print(f"drawn: {chart}")

# %% Beside ONNX Runtime, the same model and input -----------------------------------------------------------------------

try:
    import onnxruntime
except ImportError:
    print("\nSKIPPED: the comparison with ONNX Runtime: onnxruntime is not installed")
    sys.exit()

model = testdata / "onnx" / "inverted-torch" / "torchscript-20.onnx"
batch = numpy.load(model.parent / "input.npy")
weights = drawn / "model.mnx"
mobilenext.convert(model, weights)
session = mobilenext.Session(weights, threads=1)

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
other = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
name = other.get_inputs()[0].name

engines = {
    f"mobilenext {mobilenext.__version__}": lambda: session.run(batch),
    f"onnxruntime {onnxruntime.__version__}": lambda: other.run(None, {name: batch})[0],
}
answers = [run() for run in engines.values()]
times = {engine: [] for engine in engines}
for _ in range(300):
    for engine, run in engines.items():
        start = perf_counter()
        run()
        times[engine].append(1e3 * (perf_counter() - start))
print(f"\n{model.name}, {batch.shape}, one thread, in turn:")
for engine, taken in times.items():
    print(f"  {engine:<24} {median(taken):.3f} ms")
difference = float(numpy.abs(answers[0] - answers[1].reshape(answers[0].shape)).max())
print(f"  largest difference       {difference:.1e} of logits up to {float(numpy.abs(answers[1]).max()):.1f}")
assert difference < 1e-4
