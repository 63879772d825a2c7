#!/usr/bin/env python3
"""Latency of mnx and of other engines on the same network and input, in one interleaved run on this machine.

    benches/peers/setup.sh          # once
    benches/peers/run.py            # MobileNeXt-1.0, 1 and 2 threads, every engine
    benches/peers/run.py --cold     # from the model's file to the first logits, in fresh processes

Each engine lives in a process of its own, loaded and warmed up once. Then all take turns: in every round, in rotating
order, each runs --iterations inferences and the machine's FMA peak is measured, so that drift in the machine's speed
hits all alike. README.md beside this file says what is timed and what the columns mean.
"""

import argparse
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from process import FORMATS, HERE, MNX, PYTHON, WORK, Engine, Failed, floats
from report import COLD_COLUMNS, COLUMNS, commit, machine, progress, say, table, title, versions, write_json

# Results that differ more, relative to the largest logit, come from another network.
TOLERANCE = 1e-4
COLD_PROCESSES, COLD_WARM_ITERATIONS = 5, 30


def build_mnx() -> None:
    """So that what is measured is what the sources say now."""
    progress("building mnx")
    build = "cargo build --quiet --release --package peer-mnx --manifest-path".split()
    done = subprocess.run([*build, HERE / "rust" / "Cargo.toml", "--target-dir", WORK / "rust"])
    if done.returncode:
        sys.exit("run.py: mnx does not build")


def exported(network: str, batch: int) -> dict:
    """export.json of the network, with the formats that were missing."""
    directory = WORK / "models" / f"{network}-b{batch}"
    report = directory / "export.json"
    if not report.exists():
        say(f"exporting {network}, batch {batch}, once: about a minute")
    export = [PYTHON, HERE / "export.py", network, "--batch", str(batch), "--directory", directory.parent]
    with tempfile.TemporaryFile("w+") as log:
        try:
            code = subprocess.run(export, stdout=log, stderr=log).returncode
        except OSError as error:
            sys.exit(f"run.py: no Python environment: {error}; run setup.sh")
        log.seek(0)
        if code:
            sys.exit(f"run.py: {network} is not exported: {(log.read().strip().splitlines() or ['no message'])[-1]}")
    return json.loads(report.read_text()) | {"directory": str(directory)}


def start(names: list[str], export: dict, threads: int, warmup: int, limit: float) -> tuple[dict, dict]:
    """(engines that run, reasons why others do not), by name."""
    engines, failed = {}, {}
    for name in names:
        progress(f"{title(export, threads)}: loading {name}")
        try:
            engines[name] = Engine(name, export, threads, warmup, limit)
        except Failed as error:
            failed[name] = f"{error}"
            progress("")
            say(f"{title(export, threads)}: NO {name}: {error}")
    return engines, failed


def measure(args: argparse.Namespace, export: dict, threads: int) -> dict:
    """Every engine's inferences in turns."""
    # mnx is there in any case: its process measures the peak.
    names = [MNX, *(name for name in args.peers if name != MNX)]
    engines, failed = start(names, export, threads, args.warmup, args.limit)
    samples = {name: [] for name in engines if name in args.peers}
    peaks = []
    # The peak has a turn of its own: what runs right after it would find the machine in another state than the others.
    turns = [(name, name, lambda engine: engine.milliseconds(args.iterations), into) for name, into in samples.items()]
    if MNX in engines:
        turns.insert(0, ("peak", MNX, lambda engine: engine.ask("peak"), peaks))
    for number in range(args.rounds):
        for what, name, ask, into in turns:
            if name in failed:
                continue
            progress(f"{title(export, threads)}: round {number + 1} of {args.rounds}, {what}")
            time.sleep(args.pause)
            try:
                into.append(ask(engines[name]))
            except Failed as error:
                failed[name] = f"{error}"
                progress("")
                say(f"{title(export, threads)}: NO {name}: {error}")
        turns.append(turns.pop(0))
    progress("")
    for engine in engines.values():
        engine.stop()
    run = run_of(export, threads) | {"fma_peak_gflops": peaks}
    done = [name for name in samples if name not in failed]
    run["engines"] = [row(name, samples[name], engines[name], run) for name in done]
    return finish(run, args, failed)


def run_of(export: dict, threads: int) -> dict:
    largest = max(map(abs, floats(Path(export["directory"]) / "logits.f32")))
    keys = ["network", "batch", "side", "parameters", "multiply_adds"]
    return {key: export[key] for key in keys} | {"threads": threads, "largest_logit": largest}


def row(name: str, rounds: list[list[float]], engine: Engine, run: dict) -> dict:
    flat = [ms for turn in rounds for ms in turn]
    median, pictures = statistics.median(flat), run["batch"]
    gflops = 2e-6 * run["multiply_adds"] * pictures / median
    peak = statistics.median(run["fma_peak_gflops"]) if run["fma_peak_gflops"] else None
    return {
        "name": name,
        "median_ms": median,
        "min_ms": min(flat),
        "pictures_per_second": 1e3 * pictures / median,
        "gflops": gflops,
        "percent_of_peak": 100 * gflops / peak if peak else None,
        "max_difference": engine.difference,
        "samples_ms": rounds,
    }


def measure_cold(args: argparse.Namespace, export: dict, threads: int) -> dict:
    """From the model's file to the first logits, process after process."""
    samples, failed, difference = {name: [] for name in args.peers}, {}, {}
    for turn in range(1 + COLD_PROCESSES):
        for name in list(samples):
            progress(f"{title(export, threads)}: process {turn} of {COLD_PROCESSES}, {name}")
            time.sleep(args.pause)
            engines, why = start([name], export, threads, 0, args.limit)
            try:
                engine = engines[name]
                warm = statistics.median(engine.milliseconds(COLD_WARM_ITERATIONS))
                engine.stop()
            except (KeyError, Failed) as error:
                failed[name] = why.get(name, f"{error}")
                del samples[name]
                continue
            difference[name] = engine.difference
            if turn > 0:  # Before it, the file may not have been in the page cache.
                samples[name].append((engine.first_logits_ms, warm))
    progress("")
    run = run_of(export, threads)
    run["engines"] = []
    for name, pairs in samples.items():
        first, warm = (statistics.median(column) for column in zip(*pairs))
        figures = {"first_logits_ms": first, "warm_ms": warm, "first_to_warm": first / warm}
        run["engines"].append({"name": name, **figures, "max_difference": difference[name], "samples_ms": pairs})
    return finish(run, args, failed)


def finish(run: dict, args: argparse.Namespace, failed: dict[str, str]) -> dict:
    """Sorts the rows, fastest first, and adds versions, ratios and the engines without figures."""
    key = "first_logits_ms" if args.cold else "median_ms"
    run["engines"].sort(key=lambda engine: engine[key])
    own = next((engine[key] for engine in run["engines"] if engine["name"] == MNX), None)
    for engine in run["engines"]:
        engine["ratio_to_mnx"] = engine[key] / own if own else None
        difference = engine["max_difference"]
        engine["agrees"] = difference <= TOLERANCE * run["largest_logit"]  # Which NaN is not.
        if not engine["agrees"]:
            say(f"{engine['name']} computes ANOTHER NETWORK: logits differ by {difference:.1e}")
        if not math.isfinite(difference):
            engine["max_difference"] = None  # JSON has no word for it.
    run["engines"] += [{"name": name, "error": why} for name, why in failed.items() if name in args.peers]
    for engine in run["engines"]:
        engine["version"] = args.versions.get(engine["name"])
    return run


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def counts(text: str) -> list[int]:
    return [count(part) for part in text.split(",")]


def names(text: str) -> list[str]:
    found = list(dict.fromkeys(text.split(",")))
    for name in found:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(FORMATS)}")
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "--models",
        default="mobilenext-1.0",
        help="networks and widths, e.g. mobilenext-0.35,mobilenext-1.0 (default: %(default)s)",
    )
    add("--threads", type=counts, default=[1, 2], help="numbers of threads (default: 1,2)")
    add("--batch", type=counts, default=[1], help="pictures in one inference, or several such numbers (default: 1)")
    add("--rounds", type=count, default=5, help="turns of each engine (default: %(default)s)")
    add("--iterations", type=count, default=20, help="timed inferences in a turn (default: %(default)s)")
    add("--warmup", type=count, default=10, help="inferences before the first round (default: %(default)s)")
    add(
        "--pause",
        type=float,
        default=0.25,
        help="seconds between turns, for spinning threads to sleep (default: %(default)s)",
    )
    add(
        "--limit",
        type=float,
        default=300,
        help="seconds in which an engine must load, or end a turn (default: %(default)s)",
    )
    add("--peers", type=names, default=list(FORMATS), help=f"engines, of {','.join(FORMATS)} (default: all)")
    add("--cold", action="store_true", help="model file to first logits in fresh processes, beside a warm inference")
    add("--json", type=Path, metavar="FILE", help="write all figures there too, every sample included")
    args = parser.parse_args()
    if not (args.pause >= 0 and args.limit > 0):
        parser.error("--pause must be 0 or more, --limit more than 0")
    return args


def main() -> int:
    args = arguments()
    command = shlex.join(["benches/peers/run.py", *sys.argv[1:]])
    report = {"machine": machine(), "mnx": commit(), "command": command, "runs": []}
    if args.json:
        write_json(args.json, report)  # A path that cannot be written is known before the work.
    build_mnx()
    args.versions = versions()
    exports = [exported(network, batch) for network in args.models.split(",") for batch in args.batch]
    here = report["machine"]
    progress("")
    print(f"{here['cpu']}; {here['cpus']} CPUs; {' '.join(here['isa'])}; {here['system']}; load {here['load']:.2f}")
    print(f"mnx {report['mnx']}; {report['command']}\n", flush=True)
    for export in exports:
        for threads in args.threads:
            run = (measure_cold if args.cold else measure)(args, export, threads)
            report["runs"].append(run)
            print(table(run, COLD_COLUMNS if args.cold else COLUMNS), flush=True)
            if args.json:
                write_json(args.json, report)
    wrong = any(engine.get("agrees") is False for run in report["runs"] for engine in run["engines"])
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nrun.py: interrupted")
    except BrokenPipeError:  # Nobody reads on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        sys.exit(f"run.py: {error}")
