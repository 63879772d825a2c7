"""What the tests share."""

import importlib.util
import signal
from pathlib import Path

import mobilenext
import numpy
import pytest

# A shell lets its background jobs ignore Ctrl-C, and programs that are started from here would, too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[3]
PICTURES = ROOT / "testdata" / "pictures"
CAT = PICTURES / "chelsea.png"
CELLS = ROOT / "testdata" / "bccd" / "JPEGImages" / "BloodImage_00031.jpg"
EXAMPLE = ROOT / "crates" / "mnx-python" / "examples" / "ray_batch.py"
WEIGHTS = ROOT / "crates" / "mnx-infer" / "model" / "mobilenext-0.35-cifar10.mnx"


def numbers(*shape):
    """The same standard normal numbers every time."""
    return numpy.random.default_rng(1).standard_normal(shape, numpy.float32)


@pytest.fixture(scope="session")
def model():
    return mobilenext.Model.embedded()


@pytest.fixture
def session(model):
    return mobilenext.Session(model, threads=1)


@pytest.fixture(scope="session")
def classifier(model):
    return mobilenext.Classifier(model, threads=1)


@pytest.fixture(scope="session")
def detector():
    return mobilenext.Detector(threads=1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A small network's weight file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.mnx"
    mobilenext.init("mobilenext-cifar", path, seed=1, width=0.1, classes=4)
    return path


@pytest.fixture
def ray_batch(monkeypatch):
    """The example as a module."""
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    spec = importlib.util.spec_from_file_location("ray_batch", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
