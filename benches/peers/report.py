"""What run.py prints and writes: machine, versions, tables, JSON."""

import contextlib
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

from process import HERE, MNX, MNX_INT8, PYTHON, PYTHON_ENGINES, ROOT, RUST_ENGINES

ISA_FLAGS = ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "asimddp", "sve"]

# On a machine of one's own the peaks of the rounds differ by a few percent.
BUSY = 1.1

# Heading, key, format.
TIME = [
    ("median ms", "median_ms", ".2f"),
    ("min ms", "min_ms", ".2f"),
    ("pictures/s", "pictures_per_second", ".1f"),
]
COLD_TIME = [
    ("first logits ms", "first_logits_ms", ".1f"),
    ("warm ms", "warm_ms", ".2f"),
    ("first/warm", "first_to_warm", ".1f"),
]
CALLERS_TIME = [
    ("pictures/s", "pictures_per_second", ".1f"),
    ("median ms", "median_ms", ".2f"),
    ("p99 ms", "p99_ms", ".2f"),
]
COMPARED = {
    "f32": [("x mnx", "ratio_to_mnx", ".2f"), ("max difference", "max_difference", ".1e")],
    "int8": [
        ("x mnx-int8", "ratio_to_mnx_int8", ".2f"),
        ("x mnx", "ratio_to_mnx", ".2f"),
        ("max difference", "max_difference", ".1e"),
        ("correlation", "correlation", ".4f"),
        ("centred", "centred_correlation", ".2f"),
    ],
}


def columns(precision: str, cold: bool, callers: int | None) -> list:
    if cold or callers:
        return (COLD_TIME if cold else CALLERS_TIME) + COMPARED[precision]
    # Bytes have another peak than f32, which is measured.
    peak = {"f32": "% of peak", "int8": "% of f32 peak"}[precision]
    return [*TIME, (peak, "percent_of_peak", ".0f"), *COMPARED[precision]]


def say(text: str) -> None:
    print(f"run.py: {text}", file=sys.stderr)


def progress(text: str) -> None:
    """A line on the terminal that the next one overwrites; none where nobody looks on."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def versions() -> dict[str, str]:
    """Of the engines that are installed."""
    lock = tomllib.loads((HERE / "rust" / "Cargo.lock").read_text())
    crates = {package["name"]: package["version"] for package in lock["package"]}
    found = {name: crates[crate] for name, (_, crate, _) in RUST_ENGINES.items() if crate in crates}
    names = "{d.metadata['Name'].lower(): d.version for d in m.distributions()}"
    script = f"import json, importlib.metadata as m; print(json.dumps({names}))"
    try:
        done = subprocess.run([PYTHON, "-c", script], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"no Python engines: {error}; run setup.sh")
        return found
    packages = json.loads(done.stdout)
    return found | {
        name: packages[package.lower()] for name, (_, package) in PYTHON_ENGINES.items() if package.lower() in packages
    }


def machine() -> dict:
    """What the figures depend on besides the engines."""
    text = ""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
    fields = {}
    for key in ["model name", "cpu family", "model", "flags", "Features"]:
        if found := re.search(rf"^{key}\s*: (.*)$", text, re.MULTILINE):
            fields[key] = found[1]
    present = set((fields.get("flags") or fields.get("Features") or "").split())
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in fields:
        name += f", family {fields['cpu family']} model {fields.get('model')}"
    return {
        "cpu": name,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "isa": [flag for flag in ISA_FLAGS if flag in present],
        "system": f"{platform.system()} {platform.release()}",
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def commit() -> str:
    """Which mnx this is."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=, with changes that are not committed"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def title(export: dict, threads: int) -> str:
    pictures = "" if export["batch"] == 1 else f", batch {export['batch']}"
    return f"{export['network']}{pictures}, {threads} thread{'s' * (threads > 1)}"


def table(run: dict, columns: list) -> str:
    """A heading and a table, in Markdown that reads well as it is."""
    callers = f", {run['callers']} callers" if "callers" in run else ""
    head = f"## {title(run, run['threads'])}{callers}: {run['multiply_adds'] / 1e6:.2f} M multiply-adds a picture, "
    head += f"{run['side']} x {run['side']}, largest logit {run['largest_logit']:.2f}\n"
    if peaks := run.get("fma_peak_gflops"):
        median = statistics.median(peaks)
        head += f"FMA peak {median:.1f} GFLOP/s (median of the rounds, {min(peaks):.1f} to {max(peaks):.1f})\n"
        if max(peaks) > BUSY * min(peaks):
            head += "The machine was BUSY with something else: these figures are not for quoting.\n"
    rows = [["engine", "version", *(heading for heading, _, _ in columns)]]
    for engine in run["engines"]:
        cells = ["-" if engine.get(key) is None else format(engine[key], style) for _, key, style in columns]
        if engine.get("agrees") is False:
            cells[-1] += " WRONG"
        rows.append([engine["name"], engine["version"] or "-", *cells])
    widths = [max(map(len, column)) for column in zip(*rows)]
    rows.insert(1, ["-" * widths[0], "-" * widths[1], *("-" * (width - 1) + ":" for width in widths[2:])])
    align = [str.ljust, str.ljust] + [str.rjust] * len(columns)
    lines = []
    for cells in rows:
        lines.append(" | ".join(pad(cell, width) for pad, cell, width in zip(align, cells, widths)))
    return head + "\n" + "".join(f"| {line} |\n" for line in lines)


def faster(run: dict, key: str) -> dict:
    """Prints how many times as fast mnx in int8 is as what it has to beat, and returns it. A wrong network is no rival."""
    times = {engine["name"]: engine[key] for engine in run["engines"] if engine.get("agrees")}
    others = [name for name in times if name.endswith("-int8") and name != MNX_INT8]
    rivals = {"fastest_int8": min(others, key=times.get, default=None), "mnx_f32": MNX, "openvino": "openvino-default"}
    found = {
        what: {"name": name, "times": times[name] / times[MNX_INT8]}
        for what, name in rivals.items()
        if MNX_INT8 in times and name in times
    }
    said = [f"{rival['times']:.2f} x as fast as {rival['name']}" for rival in found.values()]
    end = " to the first logits" if key == "first_logits_ms" else ""
    print(f"{MNX_INT8} is {', '.join(said)}{end}.\n" if said else f"{MNX_INT8}: nothing to compare.\n", flush=True)
    return found


def write_json(path: Path, report: dict) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps(report, indent=1) + "\n")
    temporary.replace(path)
