#!/usr/bin/env python3
"""Records of the CIFAR-10 experiment, and the table that they fill in docs/comparison.md.

    cifar_table.py record RUN --data DATA --mnx MNX_INFER      # of a finished run of classify.py: converts, quantizes, measures
    cifar_table.py embedded cifar --data DATA --mnx MNX_INFER  # of a network inside mnx-infer, whose recipe is known
    cifar_table.py latency OUT --data DATA --mnx MNX_INFER     # of the networks of all finished runs in OUT, in turn
    cifar_table.py fill                                        # the table, from the records
    cifar_table.py fill --check                                # exit code 1 if the table is not what the records say

A record is a small JSON file in docs/records/cifar10: one per run, and latency.json. cifar_experiment.sh calls this.
"""

import argparse
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from options import Bad

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "comparison.md"
BEGIN, END = "<!-- cifar10 -->\n", "<!-- /cifar10 -->"
# Recipes of the networks inside mnx-infer.
EMBEDDED = {"cifar": dict(recipe="one-cycle", epochs=24, seed=1)}
KEY = ("arch", "width", "recipe", "epochs")
TITLES = {"mobilenext-cifar": "MobileNeXt", "mobilenetv2-cifar": "MobileNetV2"}


def call(*words) -> str:
    found = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if found.returncode:
        raise Bad(f"{words[0]} {words[1]} failed: {found.stderr.strip()}")
    return found.stdout


def compare(mnx: Path, data: Path, *networks, flags=()) -> dict:
    return json.loads(call(mnx, "compare", *networks, "--eval", data / "test", "--format", "json", *flags))


def quantized(mnx: Path, data: Path, weights: tuple, folder: str) -> Path:
    path = Path(folder) / "int8.mnx"
    call(mnx, "quantize", *weights, "--calibrate", data / "train", "--output", path)
    return path


def write(path: Path, record: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def measured(options, f32, weights: tuple) -> dict:
    """Accuracy in f32 and int8, and the size of the network, as mnx-infer sees them."""
    with tempfile.TemporaryDirectory() as folder:
        int8 = quantized(options.mnx, options.data, weights, folder)
        rows = compare(options.mnx, options.data, f32, int8, flags=("--iterations", "1", "--warmup", "0"))["networks"]
    result = {name: rows[0][name] for name in ("parameters", "macs")}
    for name, row in zip(("f32", "int8"), rows):
        result[name] = right(row)
    return result


def right(row: dict) -> dict:
    """Right answers and pictures of a row that `compare --eval --format json` printed."""
    return dict(right=row["top1"]["correct"], pictures=row["pictures"])


def provenance() -> dict:
    return dict(cpu=cpu(), date=time.strftime("%Y-%m-%d"))


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def record(options) -> None:
    about = json.loads((options.run / "model.json").read_text(encoding="utf-8"))
    recipe = about["recipe"]
    if about["epoch"] != recipe["epochs"]:
        raise Bad(f"{options.run}: not finished: epoch {about['epoch']} of {recipe['epochs']}")
    words = shlex.split(about["convert"])
    call(options.mnx, "convert", *words[2:-1], options.run / "model.mnx")
    row = dict(arch=about["arch"], width=about["width"], recipe=recipe["recipe"], epochs=recipe["epochs"], seed=recipe["seed"])
    row |= {name: recipe[name] for name in ("batch", "rate", "decay", "smoothing", "average", "threads")}
    row |= dict(seconds=about["seconds"], torch_accuracy=about["accuracy"])
    row |= measured(options, options.run / "model.mnx", ("--weights", options.run / "model.mnx"))
    write(options.records / f"{options.run.name}.json", row | provenance())


def embedded(options) -> None:
    row = compare(options.mnx, options.data, f"embedded:{options.name}", flags=("--iterations", "1", "--warmup", "0"))["networks"][0]
    recipe = EMBEDDED[options.name]
    result = dict(arch=row["family"], width=row["width"], **recipe, embedded=options.name)
    result |= measured(options, f"embedded:{options.name}", ("--model", options.name))
    name = "-".join(str(result[part]) for part in (*KEY, "seed"))
    write(options.records / f"{name}.json", result | provenance())


def latency(options) -> None:
    """One network of each architecture and width: latency does not depend on weights."""
    found = {}
    for path in sorted(options.out.glob("*/model.mnx")):
        about = json.loads((path.parent / "model.json").read_text(encoding="utf-8"))
        found.setdefault((about["arch"], about["width"]), path)
    if not found:
        raise Bad(f"{options.out}: no finished run")
    load = os.getloadavg()[0]
    printed = compare(options.mnx, options.data, *found.values(), flags=("--iterations", "400", "--threads", "1"))
    rows = []
    for (arch, width), row in zip(found, printed["networks"]):
        rows.append(dict(arch=arch, width=width, ms=row["runs"][0]["latency_ms"]["median"]))
    write(options.records / "latency.json", dict(rows=rows, isa=printed["isa"], load_before=round(load, 1)) | provenance())


def read_records(folder: Path) -> tuple[list[dict], dict]:
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json")) if path.name != "latency.json"]
    path = folder / "latency.json"
    return rows, json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def spread(values: list[float]) -> str:
    """Mean and, of two or more, their standard deviation (of a sample), in percent."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{100 * mean:.2f}"
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return f"{100 * mean:.2f} ± {100 * deviation:.2f}"


def table(rows: list[dict], latencies: dict) -> str:
    """The table in Markdown, and where its figures come from. Groups are in the order recipe, epochs, network."""
    head = ["network", "recipe", "epochs", "runs", "top-1 % f32", "top-1 % int8", "parameters", "M MACs", "1 thread: ms"]
    lines = [f"| {' | '.join(head)} |", f"| --- | --- |{' ---: |' * (len(head) - 2)}"]
    milliseconds = {(row["arch"], row["width"]): f"{row['ms']:.3f}" for row in latencies.get("rows", [])}
    order = lambda row: (row["recipe"], row["epochs"], row["width"], row["arch"])  # noqa: E731
    groups: dict[tuple, list[dict]] = {}
    for row in sorted(rows, key=order):
        groups.setdefault(order(row), []).append(row)
    for group in groups.values():
        first = group[0]
        cells = [f"{TITLES.get(first['arch'], first['arch'])} {first['width']:g}", first["recipe"], str(first["epochs"]), str(len(group))]
        cells += [spread([row[kind]["right"] / row[kind]["pictures"] for row in group]) for kind in ("f32", "int8")]
        cells += [f"{first['parameters']:,}", f"{first['macs'] / 1e6:.2f}", milliseconds.get((first["arch"], first["width"]), "-")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n" + sources(rows, latencies)


def sources(rows: list[dict], latencies: dict) -> str:
    pictures = sorted({row["f32"]["pictures"] for row in rows})
    trained = sum(row.get("seconds", 0) for row in rows) / 3600
    text = f"Mean and standard deviation over seeds; right answers of mnx-infer on {' or '.join(f'{n:,}' for n in pictures)} pictures; "
    text += f"{trained:.1f} hours of training in all, " if trained else ""
    text += f"on {', '.join(sorted({row['cpu'] for row in rows}))}."
    if latencies:
        text += f" Latency: {latencies['isa']} on {latencies['cpu']}, medians in turn, the machine's load before it {latencies['load_before']}."
    return text + "\n"


def filled(text: str, rows: list[dict], latencies: dict) -> str:
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise Bad(f"expected one place for the table: {BEGIN.strip()} and {END}")
    before, rest = text.split(BEGIN)
    return before + BEGIN + (table(rows, latencies) if rows else "No run is finished yet.\n") + END + rest.split(END)[1]


def fill(options) -> int:
    text = options.document.read_text(encoding="utf-8")
    new = filled(text, *read_records(options.records))
    if new == text:
        return 0
    if options.check:
        print(f"{options.document}: the table is not what {options.records} says: run tools/train/cifar_table.py fill", file=sys.stderr)
        return 1
    part = options.document.with_name(f"{options.document.name}.part")
    part.write_text(new, encoding="utf-8")
    os.replace(part, options.document)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function, argument in ((record, "run"), (embedded, "name"), (latency, "out")):
        command = commands.add_parser(function.__name__)
        command.set_defaults(function=function)
        command.add_argument(argument, type=str if argument == "name" else Path, **(dict(choices=EMBEDDED) if argument == "name" else {}))
        command.add_argument("--data", type=Path, required=True)
        command.add_argument("--mnx", type=Path, required=True)
        command.add_argument("--records", type=Path, default=ROOT / "docs/records/cifar10")
    command = commands.add_parser("fill")
    command.set_defaults(function=fill)
    command.add_argument("--check", action="store_true")
    command.add_argument("--document", type=Path, default=DOCUMENT)
    command.add_argument("--records", type=Path, default=ROOT / "docs/records/cifar10")
    options = parser.parse_args()
    try:
        return options.function(options) or 0
    except Bad as bad:
        print(f"cifar_table.py: {bad}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
