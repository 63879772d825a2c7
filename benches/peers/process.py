"""The engines as processes: where their programs are, how they are asked, whether they computed the network."""

import array
import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = Path(os.environ.get("PEERS_DIR", ROOT / "target" / "peers")).resolve()
PYTHON = WORK / "venv" / "bin" / "python"
MNX = "mnx"

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
}
# Engine: (format, crate, folder under WORK with its program).
RUST_ENGINES = {
    MNX: ("mnx", "mobilenext", "rust/release"),
    "tract": ("onnx", "tract-onnx", "rust/peer"),
    "rten": ("onnx", "rten", "rust/peer"),
}
FORMATS = {name: engine[0] for name, engine in (RUST_ENGINES | PYTHON_ENGINES).items()}

# At the start of a turn caches hold what the engine before needed.
UNCOUNTED = 2


class Failed(Exception):
    """Why an engine has no figures, in one line."""


class Engine:
    """A process that speaks the protocol of rust/protocol/src/lib.rs."""

    def __init__(self, name: str, export: dict, threads: int, warmup: int, limit: float):
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
            self.difference = largest_difference(Path(logits.name), directory / "logits.f32")
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
    return [str(WORK / RUST_ENGINES[name][2] / f"peer-{name}")]


def floats(path: Path) -> array.array:
    values = array.array("f", path.read_bytes())
    if sys.byteorder == "big":
        values.byteswap()
    return values


def largest_difference(found: Path, expected: Path) -> float:
    found, expected = floats(found), floats(expected)
    if len(found) != len(expected):
        raise Failed(f"expected {len(expected)} logits, found {len(found)}")
    # Not max(): it may pass over NaN.
    return max((abs(a - b) for a, b in zip(found, expected, strict=True)), key=lambda d: (d != d, d))
