"""The same bits as the Rust library's, which are those of every machine with fused multiply-add, and what PyTorch computes."""

import json
import zlib

import mobilenext
import numpy
import pytest
from conftest import ROOT

GOLDEN = ROOT / "testdata" / "golden"


def bits_of(path):
    lines = [line.split() for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {line[0]: line[1] for line in lines}


BITS = bits_of(GOLDEN / "bits.txt")


def checksum(values):
    # Every zero counts as +0.
    return f"{zlib.crc32((numpy.ascontiguousarray(values) + numpy.float32(0)).tobytes()):08x}"


def rows(outputs):
    """The numbers of `output.npy`: logits, or for each prior of a detector its scores and then its box."""
    if isinstance(outputs, dict):
        return numpy.concatenate([outputs["scores"], outputs["boxes"]], axis=2)
    return outputs


@pytest.mark.parametrize("case", sorted(BITS))
def test_f32(case, tmp_path):
    folder = GOLDEN / case
    meta = json.loads((folder / "meta.json").read_text())
    family = str(folder.parent / "table.json") if meta["arch"] == "table.json" else meta["arch"]
    padding = "tf" if meta["padding"] == "same" else "torch"
    weights = next(path for path in (folder / "weights.safetensors", folder.parent / "weights.safetensors") if path.exists())
    changes = {key: meta[key] for key in ("width", "identity", "classes")}
    mobilenext.convert(weights, tmp_path / "w.mnx", family=family, padding=padding, **changes)
    batch = numpy.load(folder / "input.npy")
    for threads in (1, 2):
        session = mobilenext.Session(tmp_path / "w.mnx", threads)
        found = rows(session.run(batch))
        limit = 4 * meta["f32_vs_f64"]["max_abs"] + 1e-5 * meta["f32_vs_f64"]["max_value"]
        assert numpy.abs(found.astype(float) - numpy.load(folder / "output.npy")).max() <= limit
        if session.isa != "scalar":
            assert checksum(found) == BITS[case]


INT8 = bits_of(GOLDEN / "int8" / "bits.txt")


@pytest.mark.parametrize("case", sorted(INT8))
def test_int8(case):
    name = case.split("/")[0]
    folder = GOLDEN / "int8"
    inputs = folder / case / "input.npy"
    session = mobilenext.Session(folder / f"{name}.mnx", 1)
    assert checksum(rows(session.run(numpy.load(inputs)))) == INT8[case]
