#!/usr/bin/env python3
"""Measures what a classifier's weights in 16 bits cost and win: how far its logits are from PyTorch's, beside the tolerance of f32,
and how long it takes.

    cargo build --release -p mnx-infer
    tools/measure_classifier_dtype.py                       # the networks of testdata/golden
    tools/measure_classifier_dtype.py --name cifar --input X.npy --expected LOGITS.npy --error 2.1e-6 -- \\
        --input W.safetensors --arch mobilenext-cifar --width 0.35
    tools/measure_classifier_dtype.py --time mobilenext:1 mobilenext:0.35 --rounds 7 --prefix "chrt -r 1"

What follows `--` are flags of `convert`; `--error` is how far PyTorch's f32 is from its f64. Needs Python's standard library
alone. Prints Markdown. The tolerance is four times that error and 1e-5 of the largest logit.
Times are medians of rounds that measure the three types in turn with random weights; a ratio is the median of the rounds' ratios.
"""

import argparse
import ast
import json
import statistics
import struct
import subprocess
import sys
import tempfile
from array import array
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "testdata/golden"
TYPES = ("f32", "bf16", "f16")


def read(path):
    """Shape and numbers of an .npy file of f32."""
    data = path.read_bytes()
    long = data[6] > 1
    start = 12 if long else 10
    end = start + struct.unpack_from("<I" if long else "<H", data, 8)[0]
    header = ast.literal_eval(data[start:end].decode("latin-1"))
    assert (header["descr"], header["fortran_order"]) == ("<f4", False), header
    return header["shape"], array("f", data[end:])


def run(program, *args):
    subprocess.run([program, *map(str, args)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def logits(program, folder, dtype, flags, given):
    weights, output = folder / f"{dtype}.mnx", folder / f"{dtype}.npy"
    run(program, "convert", *flags, "--classifier-dtype", dtype, "--output", weights)
    run(program, "run", "--weights", weights, "--input", given, "--output", output)
    return read(output)


def best(values, classes):
    rows = [values[at : at + classes] for at in range(0, len(values), classes)]
    return [max(range(classes), key=row.__getitem__) for row in rows]


def measure(program, name, flags, given, expected, error):
    """Prints a row of the table; whether f32 is within the tolerance, as it must be."""
    shape, expected = read(expected)
    largest = max(map(abs, expected))
    tolerance = 4 * error + 1e-5 * largest
    cells, within = [name, f"{largest:.2f}", f"{tolerance:.1e}"], {}
    with tempfile.TemporaryDirectory() as folder:
        for dtype in TYPES:
            _, found = logits(program, Path(folder), dtype, flags, given)
            distance = max(abs(a - b) for a, b in zip(found, expected, strict=True))
            same = sum(a == b for a, b in zip(best(found, shape[1]), best(expected, shape[1])))
            within[dtype] = distance <= tolerance
            cells.append(f"{distance:.1e} ({distance / tolerance:.2g}), {same} of {shape[0]}")
    print(f"| {' | '.join(cells)} |", flush=True)
    return within["f32"]


def committed():
    """Name, flags of `convert`, input, expected output and error of the networks of testdata/golden that classify."""
    for meta in sorted(GOLDEN.glob("*/*/meta.json")):
        case, of = meta.parent, json.loads(meta.read_text())
        weights = case.parent / "weights.safetensors"
        if not (case / "output.npy").exists() or not weights.exists() or case.parent.name.startswith("ssd-"):
            continue
        table = case.parent / "table.json"
        flags = ["--input", weights, "--arch", table if table.exists() else of["arch"]]
        if not table.exists():
            flags += ["--width", of["width"], "--classes", of["classes"]]
            flags += ["--identity", of["identity"], "--padding", {"same": "tf"}.get(of["padding"], of["padding"])]
        yield f"{case.parent.name}, {case.name}", flags, case / "input.npy", case / "output.npy", of["f32_vs_f64"]["max_abs"]


def bench(args, weights):
    """For each number of threads `(the classifier's microseconds, whole milliseconds)`, medians of a run; then the CPU and the ISA."""
    found = []
    for threads in args.threads:
        command = [*args.prefix.split(), args.program, "bench", "--weights", weights, "--threads", threads]
        command += ["--iterations", args.iterations, "--warmup", 20, "--per-layer", "--format", "json"]
        run = json.loads(subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE).stdout)
        found.append((run["layers"][-1]["median_microseconds"], run["latency_ms"]["median"]))
    return found, run["cpu"], run["isa"]


def time(args):
    head = ["network, threads", *(f"{dtype}, µs" for dtype in TYPES), *(f"{dtype}, ratio" for dtype in TYPES[1:])]
    head += [*(f"whole {dtype}, ms" for dtype in TYPES), *(f"whole {dtype}, ratio" for dtype in TYPES[1:])]
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    middle = statistics.median
    with tempfile.TemporaryDirectory() as folder:
        for network in args.time:
            arch, width = network.split(":")
            files = {dtype: Path(folder) / f"{dtype}.mnx" for dtype in TYPES}
            for dtype, path in files.items():
                flags = ["--arch", arch, "--width", width, "--seed", 1, "--classifier-dtype", dtype]
                run(args.program, "init", *flags, "--output", path)
            rounds = []
            for _ in range(args.rounds):
                measured = {dtype: bench(args, path) for dtype, path in files.items()}
                _, cpu, isa = measured["f32"]
                rounds.append({dtype: of[0] for dtype, of in measured.items()})
            for at, threads in enumerate(args.threads):
                cells = [f"{arch} {width}, {threads}"]
                for part, text in ((0, "{:.0f}"), (1, "{:.3f}")):
                    cells += [text.format(middle(of[dtype][at][part] for of in rounds)) for dtype in TYPES]
                    ratios = lambda dtype: [of[dtype][at][part] / of["f32"][at][part] for of in rounds]  # noqa: E731, B023
                    cells += [f"{middle(ratios(dtype)):.3f}" for dtype in TYPES[1:]]
                print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\n{cpu}, {isa}; {args.rounds} rounds of {args.iterations} inferences.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "target/release/mnx-infer", type=Path)
    parser.add_argument("--name", default="given")
    parser.add_argument("--input", type=Path)
    parser.add_argument("--expected", type=Path)
    parser.add_argument("--error", type=float)
    parser.add_argument("--time", nargs="+", metavar="ARCH:WIDTH")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--prefix", default="", help="what runs the measured program: chrt, taskset")
    parser.add_argument("flags", nargs="*")
    args = parser.parse_args()
    if args.time:
        time(args)
        return
    cases = list(committed())
    if args.input:
        cases = [(args.name, args.flags, args.input, args.expected, args.error)]
    print("| network | largest logit | tolerance |", " | ".join(f"{dtype}, of the tolerance, same class" for dtype in TYPES), "|")
    print("| --- " * (3 + len(TYPES)) + "|")
    right = [measure(args.program, *case) for case in cases]
    if not all(right):
        sys.exit("f32 is outside the tolerance: a flag is wrong, or the network")


if __name__ == "__main__":
    main()
