#!/usr/bin/env python3
"""Prints how many aarch64 instructions each engine executes for a multiply-add of MobileNeXt-1.0, as a Markdown table.

    benches/peers/setup.sh && benches/peers/setup-aarch64.sh       # once
    benches/peers/instructions.py [--models mobilenext-1.0] [--peers mnx,rten,tract,ncnn,litert,onnxruntime]

Each engine runs under QEMU as a Neoverse N1, on one thread, twice: with 2 inferences and with 12. A QEMU plugin counts what
it executes (tools/aarch64/insncount.c); a tenth of the difference is one warm inference. Engines called from Python vary
by some percent from run to run. Counts are not times: instructions differ in what they cost, and waiting for memory
does not show.
Exit status 1: an engine failed, its logits are not those of the network, or mnx executes more than a peer.
"""

import argparse
import array
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORK = Path(os.environ.get("PEERS_DIR", HERE.parents[1] / "target" / "peers")).resolve()
ARM = WORK / "aarch64"
PLUGIN = Path(os.environ.get("MNX_AARCH64_HOME", Path.home() / ".cache/mnx-aarch64")) / "lib/insncount.so"
RUST = ARM / "rust/aarch64-unknown-linux-gnu"
# Inferences after the first.
FEW, MANY = 1, 11
PYTHON = [ARM / "root/usr/bin/python3.11", HERE / "engines.py"]
# Name: command, format of the model.
ENGINES = {
    "mnx": ([RUST / "release/peer-mnx"], "mnx"),
    "rten": ([RUST / "peer/peer-rten"], "onnx"),
    "tract": ([RUST / "peer/peer-tract"], "onnx"),
    "ncnn": ([*PYTHON, "ncnn"], "ncnn"),
    "litert": ([*PYTHON, "litert"], "tflite"),
    "onnxruntime": ([*PYTHON, "onnxruntime"], "onnx"),
}
LIBRARIES = [ARM / "root" / folder / "aarch64-linux-gnu" for folder in ("usr/lib", "lib")]
VARIABLES = {
    "LD_LIBRARY_PATH": ":".join(map(str, LIBRARIES)),
    "PYTHONHOME": ARM / "root/usr",
    "PYTHONPATH": ARM / "site",
    "PYTHONHASHSEED": 0,
} | dict.fromkeys(["OMP_NUM_THREADS", "RAYON_NUM_THREADS"], 1)


def floats(path):
    values = array.array("f")
    values.frombytes(path.read_bytes())
    return values


def count(engine, model, warmup, scratch):
    """Instructions of a run with 1 + `warmup` inferences, by class, and the logits."""
    command, form = ENGINES[engine]
    report = json.loads((model / "export.json").read_text())
    counts, logits = scratch / "counts", scratch / "logits"
    qemu = ["qemu-aarch64", "-cpu", "neoverse-n1", "-L", ARM / "sys", "-plugin", f"{PLUGIN},out={counts},top=0"]
    variables = [part for name, value in VARIABLES.items() for part in ("-E", f"{name}={value}")]
    arguments = [model / report["files"][form], model / "input.f32", 1, report["side"], 1, warmup, logits]
    whole = [str(part) for part in [*qemu, *variables, *command, *arguments]]
    done = subprocess.run(whole, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ended with {done.returncode}: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    total = next(line.split() for line in counts.read_text().splitlines() if line.endswith("TOTAL"))
    return [int(number) for number in total[:-1]], floats(logits)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="mobilenext-1.0", help="as run.py exports them (default: %(default)s)")
    parser.add_argument("--peers", default=",".join(ENGINES), help="(default: %(default)s)")
    args = parser.parse_args()
    failed = False
    for network in args.models.split(","):
        model = WORK / "models" / f"{network}-b1"
        if not (model / "export.json").exists():
            sys.exit(f"instructions.py: {model} is not there: benches/peers/run.py --models {network} exports it")
        multiply_adds = json.loads((model / "export.json").read_text())["multiply_adds"]
        expected = floats(model / "logits.f32")
        print(f"{network}, batch 1, {multiply_adds / 1e6:.2f} M multiply-adds; millions of instructions of one inference.\n")
        print("| engine | per multiply-add | x mnx | all | SIMD | SIMD loads, stores | other loads, stores | branches | other |")
        print("| --- |" + " ---: |" * 8)
        mnx = None
        for engine in args.peers.split(","):
            try:
                with tempfile.TemporaryDirectory() as scratch:
                    (fewer, _), (more, logits) = (count(engine, model, warmup, Path(scratch)) for warmup in (FEW, MANY))
            except (OSError, KeyError, RuntimeError, StopIteration) as error:
                print(f"instructions.py: {engine}: {error}", file=sys.stderr)
                failed = True
                continue
            one = [(b - a) / (MANY - FEW) for a, b in zip(fewer, more)]
            mnx = one[0] if engine == "mnx" else mnx
            limit = 1e-4 * max(map(abs, expected))
            right = len(logits) == len(expected) and max(abs(a - b) for a, b in zip(logits, expected)) <= limit
            failed |= not right or (mnx is not None and one[0] < mnx)
            times = f"{one[0] / mnx:.2f}" if mnx else ""
            cells = [engine + ("" if right else " WRONG"), f"{one[0] / multiply_adds:.3f}", times]
            print("| " + " | ".join(cells + [f"{number / 1e6:.1f}" for number in one]) + " |", flush=True)
        print()
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
