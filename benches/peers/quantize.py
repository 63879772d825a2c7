"""Networks in 8 bits, each made by the engine's own quantiser from the file in f32 that export.py wrote.

Every quantiser sees the same pictures, calibration.npy. Inputs and logits stay f32 in every format, so that the engines
are asked for the same as in f32. This module imports no PyTorch: the environment of LiteRT's tools has another one.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from process import HERE, LITERT_PYTHON, MNX_INFER, run

# At least. For the ranges of activations a few dozen do: the weights are seeded, not trained.
PICTURES = 32


def calibration_file(stem: Path) -> Path:
    return stem.with_name("calibration.npy")


def write_calibration(stem: Path, shape: list[int]) -> list[np.ndarray]:
    """Seeded noise at the scale of normalised pictures, as the measured input is; whole batches of that shape."""
    count = -(-PICTURES // shape[0]) * shape[0]
    np.save(calibration_file(stem), np.random.default_rng(2).standard_normal([count, *shape[1:]], np.float32))
    return batches(stem, shape[0])


def batches(stem: Path, batch: int) -> list[np.ndarray]:
    pictures = np.load(calibration_file(stem))
    return np.split(pictures, len(pictures) // batch)


def to_mnx(stem: Path, _) -> Path:
    paths = ["--weights", f"{stem}.mnx", "--calibrate", calibration_file(stem), "--output", f"{stem}.int8.mnx"]
    run([*MNX_INFER, "quantize", *paths])
    return Path(f"{stem}.int8.mnx")


def saturates() -> bool:
    """Whether an x86 CPU lacks VNNI: ONNX Runtime then adds products of two bytes in 16 bits, which overflow."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx2" in flags and "vnni" not in flags


def to_onnx(stem: Path, batch: int) -> Path:
    import onnx
    from onnxruntime import quantization as q

    class Pictures(q.CalibrationDataReader):
        def __init__(self, name: str):
            self.feeds = iter([{name: x} for x in batches(stem, batch)])

        def get_next(self):
            return next(self.feeds, None)

    with tempfile.TemporaryDirectory() as scratch:
        prepared = f"{scratch}/prepared.onnx"
        q.shape_inference.quant_pre_process(f"{stem}.onnx", prepared, skip_symbolic_shape=True)
        q.quantize_static(
            prepared,
            f"{stem}.int8.onnx",
            Pictures(onnx.load(prepared).graph.input[0].name),
            quant_format=q.QuantFormat.QDQ,
            per_channel=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            reduce_range=saturates(),
        )
    return Path(f"{stem}.int8.onnx")


def to_openvino(stem: Path, batch: int) -> Path:
    os.environ["NNCF_CI"] = "1"  # Else it reports its use to the makers.
    import nncf
    import openvino as ov

    pictures = batches(stem, batch)
    quantised = nncf.quantize(ov.Core().read_model(f"{stem}.onnx"), nncf.Dataset(pictures), subset_size=len(pictures))
    ov.save_model(quantised, f"{stem}.int8.xml", compress_to_fp16=False)
    return Path(f"{stem}.int8.xml")


def to_mnn(stem: Path, batch: int) -> Path:
    import MNN

    net = MNN.Interpreter(f"{stem}.mnn")
    name, source = next(iter(net.getSessionInputAll(net.createSession({"backend": "CPU"})).items()))
    with tempfile.TemporaryDirectory() as scratch:
        for number, x in enumerate(batches(stem, batch)):
            sample = Path(scratch, "samples", f"{number:03}")
            sample.mkdir(parents=True)
            np.savetxt(sample / f"{name}.txt", x.ravel(), "%.9g")
            shape = {"inputs": [{"name": name, "shape": source.getShape()}]}
            (sample / "input.json").write_text(json.dumps(shape))
        settings = {
            "input_type": "sequence",
            "path": f"{scratch}/samples/",
            "used_sample_num": number + 1,
            "batch_size": batch,
            "feature_quantize_method": "EMA",  # KL crashes on such input in 3.6.1.
            "weight_quantize_method": "MAX_ABS",
            **shape,
        }
        Path(scratch, "settings.json").write_text(json.dumps(settings))
        # What the command mnnquant calls; the command itself reports its use to the makers.
        call = "import sys, MNN, _tools; _tools.mnnquant(['mnnquant', *sys.argv[1:]])"
        result = Path(f"{stem}.int8.mnn")
        result.unlink(missing_ok=True)
        run([sys.executable, "-c", call, f"{stem}.mnn", result, f"{scratch}/settings.json"])
    if not result.exists():
        raise RuntimeError("mnnquant wrote no file")
    return result


def to_tflite(stem: Path, batch: int) -> Path:
    """In the environment of LiteRT's converter, which brings the quantiser along."""
    if not LITERT_PYTHON.exists():
        raise FileNotFoundError("the converter is not installed")
    call = "import sys, quantize; quantize.quantize_tflite(sys.argv[1], int(sys.argv[2]))"
    run([LITERT_PYTHON, "-c", call, stem, batch], cwd=HERE)
    return Path(f"{stem}.int8.tflite")


def quantize_tflite(stem: str, batch: int) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import qtyping, quantizer

    (signature, ends), *_ = Interpreter(model_path=f"{stem}.tflite").get_signature_list().items()
    tool = quantizer.Quantizer(f"{stem}.tflite")
    operation = qtyping.TFLOperationName
    tool.add_static_config(".*", operation.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    for end in [operation.INPUT, operation.OUTPUT]:
        tool.update_quantization_recipe(".*", end, algorithm_key="no_quantize")
    samples = [{ends["inputs"][0]: x} for x in batches(Path(stem), batch)]
    ranges = tool.calibrate({signature: samples}, num_threads=1)
    tool.quantize(ranges).export_model(f"{stem}.int8.tflite", overwrite=True)


def to_ncnn(_, __) -> Path:
    raise FileNotFoundError("no package has ncnn's quantiser (ncnn2table, ncnn2int8), neither ncnn's nor pnnx's")


FORMATS = {
    "mnx-int8": to_mnx,
    "onnx-int8": to_onnx,
    "openvino-int8": to_openvino,
    "tflite-int8": to_tflite,
    "mnn-int8": to_mnn,
    "ncnn-int8": to_ncnn,
}
