"""Writes a network in every engine's format, those that are not there yet and mnx's; run.py calls it.

    python export.py mobilenext-1.0 [--batch 1] [--int8 mnx-int8,onnx-int8] [--directory target/peers/models]

DIRECTORY/NETWORK-bBATCH/ gets network.safetensors, .mnx, .onnx, .ncnn.param and .ncnn.bin, .mnn, .tflite; input.f32 and
PyTorch's logits.f32 for it; calibration.npy and the mean_logits.f32 of its pictures; with --int8 what quantize.py makes
of all that, network.int8.*; and export.json: the network's size, which formats there are and why others are not.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import model
import quantize
from process import HERE, LITERT_PYTHON, MNX_INFER, WORK, run


def to_mnx(stem: Path, network: str, _) -> Path:
    architecture, _, width = network.rpartition("-")
    paths = ["--input", f"{stem}.safetensors", "--output", f"{stem}.mnx"]
    run([*MNX_INFER, "convert", "--arch", architecture, "--width", width, *paths])
    return Path(f"{stem}.mnx")


def to_onnx(stem: Path, network: str, x: torch.Tensor) -> Path:
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(folded(stem, network), (x,), f"{stem}.onnx", dynamo=True, external_data=False, verbose=False)
    return Path(f"{stem}.onnx")


def to_ncnn(stem: Path, network: str, x: torch.Tensor) -> Path:
    if len(x) != 1:
        raise ValueError("takes one picture at a time")
    pnnx = shutil.which("pnnx", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    with tempfile.TemporaryDirectory() as scratch:
        torch.jit.trace(folded(stem, network), x).save(f"{scratch}/network.pt")
        # Without fp16=0 weights are rounded to half precision.
        shape = "inputshape=[" + ",".join(map(str, x.shape)) + "]"
        run([pnnx or "pnnx", "network.pt", shape, "fp16=0"], cwd=Path(scratch))
        for kind in ["param", "bin"]:
            shutil.move(f"{scratch}/network.ncnn.{kind}", f"{stem}.ncnn.{kind}")
    return Path(f"{stem}.ncnn.param")


def to_mnn(stem: Path, _, __) -> Path:
    # What the command mnnconvert calls; the command itself installs a package and reports its use to the makers.
    call = "import sys, MNN, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
    paths = ["--modelFile", f"{stem}.onnx", "--MNNModel", f"{stem}.mnn"]
    run([sys.executable, "-c", call, "-f", "ONNX", *paths, "--bizCode", "peers"])
    return Path(f"{stem}.mnn")


def to_tflite(stem: Path, network: str, x: torch.Tensor) -> Path:
    """In the converter's own environment, which has another PyTorch."""
    if not LITERT_PYTHON.exists():
        raise FileNotFoundError("the converter is not installed")
    call = (
        "import sys, litert_torch, torch, export; from pathlib import Path; stem, network, batch = sys.argv[1:];"
        "x = export.pictures(network, int(batch)); model = export.folded(Path(stem), network);"
        "litert_torch.convert(model, (x,)).export(stem + '.tflite')"
    )
    run([LITERT_PYTHON, "-c", call, stem, network, len(x)], cwd=HERE)
    return Path(f"{stem}.tflite")


FORMATS = {"mnx": to_mnx, "onnx": to_onnx, "ncnn": to_ncnn, "mnn": to_mnn, "tflite": to_tflite}


def pictures(network: str, batch: int) -> torch.Tensor:
    """Seeded noise at the scale of normalised pictures."""
    shape = batch, 3, model.side(network), model.side(network)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def folded(stem: Path, network: str) -> torch.nn.Module:
    """The network with the exported weights, batch norm folded, as every converter gets it."""
    module = model.build(network)
    module.load_state_dict(load_file(f"{stem}.safetensors"))
    return model.fold(module)


def write_network(network: str, batch: int, directory: Path) -> dict:
    """Weights, pictures and logits; returns the report with no format but the first."""
    module = model.build(network)
    side = model.side(network)
    model.seed_weights(module, side)
    x = pictures(network, batch)
    directory.mkdir(parents=True, exist_ok=True)
    calibration = quantize.write_calibration(directory / "network", x.shape)
    with torch.inference_mode():
        logits = module(x)
        mean = torch.stack([module(torch.from_numpy(some)).mean(0) for some in calibration]).mean(0)
    save_file(module.state_dict(), directory / "network.safetensors", {"network": network})
    x.numpy().astype("<f4").tofile(directory / "input.f32")
    logits.numpy().astype("<f4").tofile(directory / "logits.f32")
    mean.numpy().astype("<f4").tofile(directory / "mean_logits.f32")
    return {
        "network": network,
        "seeded": model.SEEDED,
        "batch": batch,
        "side": side,
        "parameters": sum(p.numel() for p in module.parameters()),
        "multiply_adds": model.multiply_adds(module, side),
        "files": {"safetensors": "network.safetensors"},
    }


def export(network: str, batch: int, directory: Path, int8: list[str]) -> None:
    saved = directory / "export.json"
    report = json.loads(saved.read_text()) if saved.exists() else {}
    if report.get("seeded") != model.SEEDED:
        report = write_network(network, batch, directory)
    report["failed"] = {}
    stem = directory / "network"
    for name in [*FORMATS, *int8]:
        # mnx's own formats change with its sources.
        if name in report["files"] and name not in ["mnx", "mnx-int8"]:
            continue
        started = time.monotonic()
        try:
            if name in FORMATS:
                written = FORMATS[name](stem, network, pictures(network, batch))
            else:
                written = quantize.FORMATS[name](stem, batch)
            report["files"][name] = written.name
            print(f"{network}, batch {batch}: {name} in {time.monotonic() - started:.1f} s", file=sys.stderr)
        except Exception as error:
            report["files"].pop(name, None)
            report["failed"][name] = " ".join(f"{error}".split())[:300] or type(error).__name__
            print(f"{network}, batch {batch}: {name} FAILED: {report['failed'][name]}", file=sys.stderr)
    # Whole or not at all.
    temporary = directory / "export.json.new"
    temporary.write_text(json.dumps(report, indent=1) + "\n")
    temporary.replace(saved)


def int8_formats(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in quantize.FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(quantize.FORMATS)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="+", help="ARCHITECTURE-WIDTH, e.g. mobilenext-0.35")
    parser.add_argument("--batch", type=int, default=1, help="pictures in one inference (default: 1)")
    formats = ",".join(quantize.FORMATS)
    parser.add_argument("--int8", type=int8_formats, default=[], help=f"8-bit formats, of {formats} (default: none)")
    parser.add_argument("--directory", type=Path, default=WORK / "models", help="where (default: %(default)s)")
    args = parser.parse_args()
    if args.batch < 1:
        parser.error(f"--batch {args.batch}: expected 1 or more")
    for network in args.network:
        try:
            export(network, args.batch, args.directory.resolve() / f"{network}-b{args.batch}", args.int8)
        except (OSError, ValueError) as error:
            sys.exit(f"export.py: {error}")


if __name__ == "__main__":
    main()
