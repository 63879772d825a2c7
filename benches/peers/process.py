"""The engines as processes: where their programs are, how they are asked, whether they computed the network."""

import array
import contextlib
import json
import math
import os
import select
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = Path(os.environ.get("PEERS_DIR", ROOT / "target" / "peers")).resolve()
PYTHON = WORK / "venv" / "bin" / "python"
LITERT_PYTHON = WORK / "venv-litert" / "bin" / "python"
MNX_INFER = [*"cargo run --quiet --release --package mnx-infer --manifest-path".split(), ROOT / "Cargo.toml", "--"]
MNX, MNX_INT8 = "mnx", "mnx-int8"

# Engine: (format that it reads, package whose version counts).
PYTHON_ENGINES = {
    "onnxruntime": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
    "litert": ("tflite", "ai-edge-litert"),
    "ncnn": ("ncnn", "ncnn"),
    "mnn": ("mnn", "MNN"),
    "torch-eager": ("safetensors", "torch"),
    "torch-jit": ("safetensors", "torch"),
    "torch-inductor": ("safetensors", "torch"),
    "onnxruntime-int8": ("onnx-int8", "onnxruntime"),
    "openvino-int8": ("openvino-int8", "openvino"),
    "litert-int8": ("tflite-int8", "ai-edge-litert"),
    "ncnn-int8": ("ncnn-int8", "ncnn"),
    "mnn-int8": ("mnn-int8", "MNN"),
    "openvino-default": ("onnx", "openvino"),
}
# Engine: (format, crate, its program under WORK).
RUST_ENGINES = {
    MNX: ("mnx", "mobilenext", "rust/release/peer-mnx"),
    "tract": ("onnx", "tract-onnx", "rust/peer/peer-tract"),
    "rten": ("onnx", "rten", "rust/peer/peer-rten"),
    MNX_INT8: ("mnx-int8", "mobilenext", "rust/release/peer-mnx"),
}
FORMATS = {name: engine[0] for name, engine in (RUST_ENGINES | PYTHON_ENGINES).items()}

# Engines that compute with fewer bits than f32 has: their logits can only resemble those of f32.
ROUGH = [name for name in FORMATS if name.endswith(("-int8", "-default"))]
PRECISIONS = {"f32": [name for name in FORMATS if name not in ROUGH], "int8": [MNX, *ROUGH]}

# Engines with a mode for several callers.
CALLERS = {
    "f32": [MNX, "onnxruntime", "openvino", "openvino-default"],
    "int8": [MNX_INT8, "onnxruntime-int8", "openvino-int8"],
}

# At the start of a turn caches hold what the engine before needed.
UNCOUNTED = 2


class Failed(Exception):
    """Why an engine has no figures, in one line."""


def run(command: list, cwd: Path | None = None) -> None:
    """A command that must succeed."""
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        said = next((line for line in lines if line.startswith("error")), lines[-1])
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}: {said}")


class Engine:
    """A process that speaks the protocol of rust/protocol/src/lib.rs."""

    def __init__(self, name: str, export: dict, threads: int, warmup: int, limit: float, callers: int | None = None):
        self.name, self.limit = name, limit
        file = export["files"].get(FORMATS[name])
        if file is None:
            raise Failed(f"no model: {export['failed'].get(FORMATS[name], 'not exported')}")
        directory = Path(export["directory"])
        self.files = contextlib.ExitStack()
        logits = self.files.enter_context(tempfile.NamedTemporaryFile(suffix=".f32"))
        self.log = self.files.enter_context(tempfile.TemporaryFile("w+"))
        shape = [export["batch"], export["side"]]
        arguments = [directory / file, directory / "input.f32", *shape, threads, warmup, logits.name]
        arguments += [callers] if callers else []
        limits = {f"{library}_NUM_THREADS": f"{threads}" for library in ["OMP", "MKL", "RAYON"]}
        try:
            self.process = subprocess.Popen(
                [*command(name), *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log,
                text=True,
                env=os.environ | limits,
            )
            self.first_logits_ms = self.answer()["first_logits_ms"]
            found, expected = floats(Path(logits.name)), floats(directory / "logits.f32")
            self.difference = largest_difference(found, expected)
            self.correlation = correlation(found, expected)
            mean = floats(directory / "mean_logits.f32") * export["batch"]
            self.centred_correlation = correlation(minus(found, mean), minus(expected, mean))
        except OSError as error:
            raise Failed(f"does not start: {error}; run setup.sh") from None
        except Failed:
            self.process.kill()
            raise

    def answer(self):
        if not select.select([self.process.stdout], [], [], self.limit)[0]:
            self.process.kill()
            raise Failed(f"no answer in {self.limit:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            said = self.log.read().strip().splitlines() or ["without a message"]
            raise Failed(f"ended with {self.process.returncode}: {said[-1][:300]}")
        return json.loads(line)

    def ask(self, request):
        try:
            print(request, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # It has ended: the missing answer tells.
        return self.answer()

    def milliseconds(self, iterations: int) -> list[float]:
        return self.ask(UNCOUNTED + iterations)[UNCOUNTED:]

    def all_at_once(self, iterations: int) -> dict:
        """Of an engine with callers: milliseconds of so many inferences of each caller, and of all together."""
        self.ask(UNCOUNTED)
        return self.ask(iterations)

    def stop(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.stdout.close()
        self.files.close()


def command(name: str) -> list[str]:
    if name in PYTHON_ENGINES:
        return [str(PYTHON), str(HERE / "engines.py"), name]
    return [str(WORK / RUST_ENGINES[name][2])]


def floats(path: Path) -> array.array:
    values = array.array("f", path.read_bytes())
    if sys.byteorder == "big":
        values.byteswap()
    return values


def largest_difference(found: array.array, expected: array.array) -> float:
    if len(found) != len(expected):
        raise Failed(f"expected {len(expected)} logits, found {len(found)}")
    # Not max(): it may pass over NaN.
    return max((abs(a - b) for a, b in zip(found, expected, strict=True)), key=lambda d: (d != d, d))


def minus(left: array.array, right: array.array) -> array.array:
    return array.array("f", (a - b for a, b in zip(left, right, strict=True)))


def correlation(found: array.array, expected: array.array) -> float | None:
    """Pearson's; none where a side is constant or not finite."""
    with contextlib.suppress(statistics.StatisticsError, ValueError, OverflowError):
        value = statistics.correlation(found, expected)
        return value if math.isfinite(value) else None
    return None
