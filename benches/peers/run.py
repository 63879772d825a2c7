#!/usr/bin/env python3
"""Latency of mnx and of other engines on the same network and input, in one interleaved run on this machine.

    benches/peers/setup.sh          # once
    benches/peers/run.py            # MobileNeXt-1.0, 1 and 2 threads, every engine
    benches/peers/run.py --cold     # from the model's file to the first logits, in fresh processes
    benches/peers/run.py --precision int8   # int8 engines beside mnx in int8 and in f32
    benches/peers/run.py --callers 4 --threads 2   # throughput: four inferences wanted at once, on two threads in all

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

from process import CALLERS, FORMATS, HERE, MNX, MNX_INT8, PRECISIONS, PYTHON, ROUGH, WORK, Engine, Failed, floats
from report import columns, commit, faster, machine, progress, say, table, title, versions, write_json

# Results that differ more, relative to the largest logit, come from another network.
TOLERANCE = 1e-4
# With fewer bits than f32 has, what an engine says of this very picture resembles what PyTorch says so well at least.
# Logits of another picture correlate by 0, as do those of an engine that says the same of every picture.
MIN_CENTRED = 0.5
COLD_PROCESSES, COLD_WARM_ITERATIONS = 5, 30


def build_mnx() -> None:
    """So that what is measured is what the sources say now."""
    progress("building mnx")
    build = "cargo build --quiet --release --package peer-mnx --manifest-path".split()
    done = subprocess.run([*build, HERE / "rust" / "Cargo.toml", "--target-dir", WORK / "rust"])
    if done.returncode:
        sys.exit("run.py: mnx does not build")


def exported(network: str, batch: int, args: argparse.Namespace) -> dict:
    """export.json of the network, with the formats that were missing."""
    directory = WORK / "models" / f"{network}-b{batch}"
    report = directory / "export.json"
    if not report.exists():
        say(f"exporting {network}, batch {batch}, once: about a minute")
    export = [PYTHON, HERE / "export.py", network, "--batch", str(batch), "--directory", directory.parent]
    int8 = {FORMATS[name] for name in args.peers if name.endswith("-int8")}
    given = {FORMATS[MNX_INT8]: str(args.mnx_weights.resolve())} if args.mnx_weights else {}
    if int8 := sorted(int8 - given.keys()):
        progress(f"{network}: quantising what is not yet, some minutes the first time")
        export += ["--int8", ",".join(int8)]
    with tempfile.TemporaryFile("w+") as log:
        try:
            code = subprocess.run(export, stdout=log, stderr=log).returncode
        except OSError as error:
            sys.exit(f"run.py: no Python environment: {error}; run setup.sh")
        log.seek(0)
        if code:
            sys.exit(f"run.py: {network} is not exported: {(log.read().strip().splitlines() or ['no message'])[-1]}")
    export = json.loads(report.read_text()) | {"directory": str(directory)}
    export["files"] |= given
    return export


def start(names: list[str], export: dict, threads: int, warmup: int, args: argparse.Namespace) -> tuple[dict, dict]:
    """(engines that run, reasons why others do not), by name."""
    engines, failed = {}, {}
    for name in names:
        progress(f"{title(export, threads)}: loading {name}")
        try:
            engines[name] = Engine(name, export, threads, warmup, args.limit, args.callers)
        except Failed as error:
            failed[name] = f"{error}"
            progress("")
            say(f"{title(export, threads)}: NO {name}: {error}")
    return engines, failed


def measure(args: argparse.Namespace, export: dict, threads: int) -> dict:
    """Every engine's inferences in turns."""
    # mnx is there in any case: its process measures the peak.
    names = [MNX, *(name for name in args.peers if name != MNX)]
    engines, failed = start(names, export, threads, args.warmup, args)
    samples = {name: [] for name in engines if name in args.peers}
    peaks = []
    turn = Engine.all_at_once if args.callers else Engine.milliseconds
    # The peak has a turn of its own: what runs right after it would find the machine in another state than the others.
    turns = [(name, name, lambda engine: turn(engine, args.iterations), into) for name, into in samples.items()]
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
    of = callers_row if args.callers else row
    run["engines"] = [of(name, samples[name], engines[name], run) for name in done]
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
        **agreement_of(engine),
        "samples_ms": rounds,
    }


def callers_row(name: str, rounds: list[dict], engine: Engine, run: dict) -> dict:
    """Of several callers: a round's rate is of all together."""
    flat = sorted(ms for turn in rounds for ms in turn["samples_ms"])
    rate = statistics.median(1e3 * run["batch"] * len(turn["samples_ms"]) / turn["ms"] for turn in rounds)
    return {
        "name": name,
        "pictures_per_second": rate,
        "ms_per_picture": 1e3 / rate,
        "median_ms": statistics.median(flat),
        "p99_ms": flat[math.ceil(0.99 * len(flat)) - 1],
        **agreement_of(engine),
        "rounds": rounds,
    }


def agreement_of(engine: Engine) -> dict:
    centred = engine.centred_correlation
    return {"max_difference": engine.difference, "correlation": engine.correlation, "centred_correlation": centred}


def measure_cold(args: argparse.Namespace, export: dict, threads: int) -> dict:
    """From the model's file to the first logits, process after process."""
    samples, failed, agreement = {name: [] for name in args.peers}, {}, {}
    for turn in range(1 + COLD_PROCESSES):
        for name in list(samples):
            progress(f"{title(export, threads)}: process {turn} of {COLD_PROCESSES}, {name}")
            time.sleep(args.pause)
            engines, why = start([name], export, threads, 0, args)
            try:
                engine = engines[name]
                warm = statistics.median(engine.milliseconds(COLD_WARM_ITERATIONS))
                engine.stop()
            except (KeyError, Failed) as error:
                failed[name] = why.get(name, f"{error}")
                del samples[name]
                continue
            agreement[name] = agreement_of(engine)
            if turn > 0:  # Before it, the file may not have been in the page cache.
                samples[name].append((engine.first_logits_ms, warm))
    progress("")
    run = run_of(export, threads)
    run["engines"] = []
    for name, pairs in samples.items():
        first, warm = (statistics.median(column) for column in zip(*pairs))
        figures = {"first_logits_ms": first, "warm_ms": warm, "first_to_warm": first / warm}
        run["engines"].append({"name": name, **figures, **agreement[name], "samples_ms": pairs})
    return finish(run, args, failed)


def finish(run: dict, args: argparse.Namespace, failed: dict[str, str]) -> dict:
    """Sorts the rows, fastest first, and adds versions, ratios and the engines without figures."""
    key = "first_logits_ms" if args.cold else "ms_per_picture" if args.callers else "median_ms"
    run["engines"].sort(key=lambda engine: engine[key])
    for engine in run["engines"]:
        for ratio, name in [("ratio_to_mnx", MNX), ("ratio_to_mnx_int8", MNX_INT8)]:
            own = next((engine[key] for engine in run["engines"] if engine["name"] == name), None)
            engine[ratio] = engine[key] / own if own else None
        difference, centred = engine["max_difference"], engine["centred_correlation"]
        if engine["name"] in ROUGH:
            engine["agrees"] = centred is not None and centred >= MIN_CENTRED
        else:
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
    add(
        "--precision",
        choices=PRECISIONS,
        default="f32",
        help="which engines run, and which ratios are printed (default: %(default)s)",
    )
    every = "; ".join(f"{precision}: {','.join(engines)}" for precision, engines in PRECISIONS.items())
    add("--peers", type=names, help=f"engines instead of all of the precision, of {every}")
    add("--mnx-weights", type=Path, metavar="FILE", help="the .mnx file of mnx-int8, instead of one that mnx quantises")
    add("--cold", action="store_true", help="model file to first logits in fresh processes, beside a warm inference")
    add(
        "--callers",
        type=count,
        metavar="N",
        help="throughput: so many inferences wanted at once, on --threads threads in all; of mnx, ONNX Runtime, OpenVINO",
    )
    add("--json", type=Path, metavar="FILE", help="write all figures there too, every sample included")
    args = parser.parse_args()
    if not (args.pause >= 0 and args.limit > 0):
        parser.error("--pause must be 0 or more, --limit more than 0")
    if args.callers and args.cold:
        parser.error("--callers does not go with --cold")
    args.peers = args.peers or (CALLERS[args.precision] if args.callers else PRECISIONS[args.precision])
    if args.mnx_weights and ("," in args.models or MNX_INT8 not in args.peers):
        parser.error(f"--mnx-weights is for one model and a run with {MNX_INT8}")
    if args.mnx_weights and not args.mnx_weights.is_file():
        parser.error(f"--mnx-weights {args.mnx_weights}: not a file")
    return args


def main() -> int:
    args = arguments()
    command = shlex.join(["benches/peers/run.py", *sys.argv[1:]])
    report = {"machine": machine(), "mnx": commit(), "command": command, "runs": []}
    if args.json:
        write_json(args.json, report)  # A path that cannot be written is known before the work.
    build_mnx()
    args.versions = versions()
    exports = [exported(network, batch, args) for network in args.models.split(",") for batch in args.batch]
    here = report["machine"]
    progress("")
    print(f"{here['cpu']}; {here['cpus']} CPUs; {' '.join(here['isa'])}; {here['system']}; load {here['load']:.2f}")
    print(f"mnx {report['mnx']}; {report['command']}\n", flush=True)
    for export in exports:
        for threads in args.threads:
            run = (measure_cold if args.cold else measure)(args, export, threads)
            if args.callers:
                run["callers"] = args.callers
            report["runs"].append(run)
            print(table(run, columns(args.precision, args.cold, args.callers)), flush=True)
            if args.precision == "int8":
                run["mnx_int8_faster"] = faster(run, "first_logits_ms" if args.cold else "median_ms")
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
