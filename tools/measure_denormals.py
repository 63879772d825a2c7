#!/usr/bin/env python3
"""Measures what channels cost whose batch norms decayed to almost nothing: each network beside the same one with exact zeros there.

    pip install torch torchvision safetensors numpy
    cargo build --release -p mnx-infer
    python tools/measure_denormals.py                       # target/release/mnx-infer
    python tools/measure_denormals.py --program old/mnx-infer --magnitudes 1e-39 --kinds both

Prints Markdown. A figure is the time with the decayed channels over the time with zeros: the fastest inference of each, in
turn, on one thread, as `mnx-infer compare` measures it. The last column is the largest difference of a logit, as a share of the largest logit.

simd128 is measured with --wasm, under Node.js:

    CARGO_PROFILE_RELEASE_LTO=off MNX_WASM_CMD=build tools/wasm/test.sh --release -p mnx --no-default-features --example time_weights
    python tools/measure_denormals.py --wasm target/wasm/wasm32-wasip1/release/examples/time_weights.wasm
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
RUNNER = ROOT / "tools/wasm/run.mjs"
SHARES = (0.01, 0.05, 0.1, 0.3)
MAGNITUDES = (1e-10, 1e-15, 1e-20, 1e-25, 1e-30, 1e-39, 1e-44)
PARTS = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "variance"}


def embedded():
    """The checkpoint of the embedded network, trained."""
    return load_file(ROOT / "crates/mnx-infer/model/mobilenext_0.35_cifar10.safetensors"), ["mobilenext-cifar", "--width", "0.35"]


def torchvisions(make, arch, **options):
    """Random weights, with the batch norms' statistics of random pictures."""
    torch.manual_seed(0)
    model = make(num_classes=10, **options)
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.momentum = 1.0
        norm.weight.data.uniform_(0.5, 1.5)
        norm.bias.data.normal_(0, 0.3)
    model.train()(torch.randn(8, 3, 96, 96))
    return {k: v.numpy() for k, v in model.state_dict().items()}, [arch, "--classes", "10", "--resolution", "96"]


NETWORKS = {
    "mobilenext-0.35": embedded,
    "mobilenetv2-0.35": lambda: (lambda t, f: (t, [*f, "--width", "0.35"]))(
        *torchvisions(torchvision.models.mobilenet_v2, "mobilenetv2", width_mult=0.35)
    ),
    "resnet18": lambda: torchvisions(torchvision.models.resnet18, "resnet18"),
}


def decay(tensors, share, magnitude, kind, seed=1):
    """Two copies of a checkpoint: with a share of the channels decayed, and with exact zeros there."""
    rng = np.random.default_rng(seed)
    copies = [{k: np.array(v) for k, v in tensors.items()} for _ in range(2)]
    for norm in (k.removesuffix(".running_var") for k in tensors if k.endswith(".running_var")):
        chosen = rng.random(tensors[norm + ".running_var"].shape) < share
        noise = magnitude * rng.random(int(chosen.sum()))
        signs = rng.choice([-1, 1], noise.shape)
        for values, zero in zip(copies, (False, True)):
            of = {name: values[f"{norm}.{part}"] for part, name in PARTS.items()}
            if kind in ("both", "gamma"):
                of["gamma"][chosen] = 0 if zero else noise
            if kind in ("both", "beta"):
                of["beta"][chosen] = 0 if zero else noise * signs
            if kind == "beta":
                # Else the folded bias would be the mean's.
                of["mean"][chosen] = 0
            if kind == "gamma, beta 0":
                of["gamma"][chosen] = 0 if zero else noise
                of["beta"][chosen] = 0
            if kind == "variance 1e30":
                of["gamma"][chosen], of["beta"][chosen] = (0, 0) if zero else (noise / magnitude, magnitude * signs)
                of["variance"][chosen] = 1e30
            if kind == "weights":
                prefix, _, number = norm.rpartition(".")
                conv = f"{prefix}.{int(number) - 1}" if number.isdigit() else f"{prefix}.{number.replace('bn', 'conv')}"
                weight = values[(conv if prefix else number.replace("bn", "conv")) + ".weight"]
                weight[chosen] *= 0 if zero else magnitude
                of["mean"][chosen] = of["variance"][chosen] = 0
    return copies


KINDS = ("both", "gamma", "beta", "gamma, beta 0", "variance 1e30", "weights")


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, Path(folder)

    def run(self, *arguments):
        done = subprocess.run([self.options.program, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, arguments))}: {done.stderr}")
        return done.stdout

    def convert(self, tensors, flags, name):
        save_file(tensors, self.folder / "w.safetensors")
        arguments = ["convert", "--arch", *flags, "--input", self.folder / "w.safetensors", "--format", "json"]
        return json.loads(self.run(*arguments, "--output", self.folder / name))

    def times(self, isa):
        files = [self.folder / "decayed.mnx", self.folder / "zeros.mnx"]
        if isa == "simd128":
            done = subprocess.run(["node", "--no-warnings", RUNNER, self.options.wasm, *files], capture_output=True, text=True, check=True)
            return [float(line.split()[0]) for line in done.stdout.splitlines() if " simd128 " in line]
        arguments = ["compare", *files, "--isa", isa, "--threads", "1", "--format", "json", "--warmup", "2"]
        answer = json.loads(self.run(*arguments, "--iterations", self.options.iterations))
        return [row["runs"][0]["latency_ms"]["min"] for row in answer["networks"]]

    def ratio(self, isa):
        """Of the fastest inferences, measured again where something else may have run meanwhile."""
        fastest = self.times(isa)
        for _ in range(self.options.attempts - 1):
            if 0.9 < fastest[0] / fastest[1] < 1.1:
                break
            fastest = [min(pair) for pair in zip(fastest, self.times(isa))]
        return fastest[0] / fastest[1]

    def differ(self, side):
        """Largest difference of a logit between the two files, as a share of the largest logit."""
        x = np.random.default_rng(2).standard_normal((2, 3, side, side)).astype(np.float32)
        np.save(self.folder / "x.npy", x)
        logits = []
        for name in ("decayed", "zeros"):
            self.run("run", "--weights", self.folder / f"{name}.mnx", "--input", self.folder / "x.npy", "--output", self.folder / "y.npy")
            logits.append(np.load(self.folder / "y.npy").astype(np.float64))
        return np.abs(logits[0] - logits[1]).max() / np.abs(logits[1]).max()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "target/release/mnx-infer")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    parser.add_argument("--magnitudes", nargs="+", type=float, default=MAGNITUDES)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS[:1])
    parser.add_argument("--isas", nargs="+")
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--attempts", type=int, default=5, help="as long as a ratio is not near 1")
    parser.add_argument("--wasm", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, folder)
        kernels = json.loads(bench.run("inspect", "--kernels", "--format", "json"))["kernels"]
        isas = ["simd128"] if options.wasm else options.isas or list(dict.fromkeys(k["isa"] for k in kernels if k["available"]))
        print(f"| network | decayed | share | magnitude | {' | '.join(isas)} | flushed | logits differ by |")
        print("|" + " --- |" * (6 + len(isas)))
        worst = dict.fromkeys(isas, 0)
        for name in options.networks:
            tensors, flags = NETWORKS[name]()
            side = 32 if "cifar" in flags[0] else 96
            for kind in options.kinds:
                for share in options.shares:
                    for magnitude in options.magnitudes:
                        copies = decay(tensors, share, magnitude, kind)
                        said = [bench.convert(c, flags, f"{n}.mnx") for c, n in zip(copies, ("decayed", "zeros"))]
                        ratios = {isa: bench.ratio(isa) for isa in isas}
                        worst = {isa: max(worst[isa], ratio) for isa, ratio in ratios.items()}
                        cells = [name, kind, f"{share:.0%}", f"{magnitude:.0e}", *(f"{r:.2f}" for r in ratios.values())]
                        print(f"| {' | '.join(cells)} | {said[0].get('flushed', '-')} | {bench.differ(side):.0e} |", flush=True)
        print("\nworst: " + ", ".join(f"{isa} {ratio:.2f}" for isa, ratio in worst.items()))


main()
