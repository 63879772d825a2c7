#!/usr/bin/env python3
"""What a call from Python costs over the Rust library: a tiny network, in turn with the library's own runs in one process.

    tools/check_python && target/python/3.*/bin/python benches/peers/python_overhead.py

Needs the wheel `mobilenext`. Prints medians and what they differ by; the exit code is 1 if that is more than 20 µs. `--threads 2`
wakes a helper for each run, whose time varies more than what is measured here.
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter_ns

import mobilenext
import numpy

MOST_US = 20.0


def cpu():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def timed(call, runs):
    times = []
    for _ in range(runs):
        start = perf_counter_ns()
        call()
        times.append(perf_counter_ns() - start)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=500, help="of each in a round")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "tiny.mnx"
        mobilenext.init("mobilenext-cifar", weights, width=0.1, classes=10)
        session = mobilenext.Session(weights, arguments.threads)
    batch = numpy.random.default_rng(1).standard_normal((1, 3, 8, 8), numpy.float32)
    out = numpy.empty((1, 10), numpy.float32)
    calls = {
        "the library": lambda runs: session._time(batch, runs),
        "run(array, out)": lambda runs: timed(lambda: session.run(batch, out), runs),
        "run(array)": lambda runs: timed(lambda: session.run(batch), runs),
        "an empty call": lambda runs: timed(lambda: None, runs),
    }
    times = {name: [] for name in calls}
    for _ in range(arguments.rounds):
        for name, call in calls.items():
            times[name] += call(arguments.runs)
    medians = {name: median(taken) / 1e3 for name, taken in times.items()}
    print(f"{cpu()}, {session.isa}, {session.threads} thread(s), Python {platform.python_version()}, 1 x 3 x 8 x 8")
    for name, us in medians.items():
        print(f"  {name:<16} {us:8.2f} µs")
    own = medians["an empty call"]
    over = {name: medians[name] - own - medians["the library"] for name in ("run(array, out)", "run(array)")}
    for name, us in over.items():
        print(f"{name} takes {us:.2f} µs more than the library (at most {MOST_US:.0f} wanted)")
    sys.exit(max(over.values()) > MOST_US)


if __name__ == "__main__":
    main()
