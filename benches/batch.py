"""Pictures a second of batch jobs on this machine: a loop in Python, the command line, and Ray with one actor and more.

    python benches/batch.py [--pictures 2000] [--size 500x375] [--rounds 3] [--model cifar --model imagenet]
    python benches/batch.py --empty 100000

Needs `mobilenext`, `ray[data]` and `pillow`. All take turns; medians of the rounds are printed as a table of docs/batch.md's. The pictures are
cut out of testdata's, enlarged to `--size` and written as JPEG. They lie in the page cache, so that no disk is measured.
With `--empty` there are so many files of no bytes: what a picture costs that is neither decoded nor classified.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "crates" / "mnx-python" / "tests"))
import batch_pictures  # noqa: E402

RAY_BATCH = str(ROOT / "crates" / "mnx-python" / "examples" / "ray_batch.py")

LOOP = """
import sys, time, pathlib, mobilenext
folder, model = sys.argv[1:]
classifier = mobilenext.Classifier(mobilenext.Model.embedded(model), threads=1)
began, pictures = time.perf_counter(), sorted(pathlib.Path(folder).rglob("*.jpeg"))
for path in pictures:
    classifier.classify(path, k=1)
print(len(pictures) / (time.perf_counter() - began))
"""


def output(*command):
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.run([sys.executable, *command], check=True, env=environment, text=True, **streams).stdout


def loop(folder, model, _):
    return float(output("-c", LOOP, folder, model)), None


def command_line(folder, model, threads):
    began = time.perf_counter()
    options = ("--model", model, "--top", "1", "--threads", str(threads), "--format", "json")
    count = output("-m", "mobilenext", "classify", *options, folder).count('"file"')
    return count / (time.perf_counter() - began), None


def on_ray(folder, model, actors):
    with tempfile.TemporaryDirectory() as labels:
        count = len(list(Path(folder).rglob("*.jpeg")))
        said = output(RAY_BATCH, "--address", "local", "--actors", str(actors), "--model", model, "--part", str(max(count // 20, 1)), folder, labels)
    found = re.search(r"in ([\d.]+) s after ([\d.]+) s to start.* (\d+) MB", said)
    return count / float(found[1]), (float(found[2]), int(found[3]))


def nothing_in(count):
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as labels:
        for number in range(count):
            path = Path(folder, f"{number // 1000:04}", f"{number:08}.jpg")
            path.parent.mkdir(exist_ok=True)
            path.touch()
        for what in ("the whole job", "the same again, when all is done"):
            began = time.perf_counter()
            said = output(RAY_BATCH, "--address", "local", folder, labels)
            print(f"{count:,} empty files, {what}: {time.perf_counter() - began:.1f} s {said.strip()}")
        print(f"{processor()}, {len(os.sched_getaffinity(0))} cores")


def processor():
    try:
        return re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        return "unknown CPU"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--size", default="500x375")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", action="append")
    parser.add_argument("--empty", type=int)
    arguments = parser.parse_args()
    if arguments.empty:
        return nothing_in(arguments.empty)
    models, cores = arguments.model or ["cifar", "imagenet"], len(os.sched_getaffinity(0))
    contestants = {"a loop in Python, one thread": (loop, 1)}
    for number in sorted({1, cores}):
        contestants[f"`mnx-infer classify --threads {number}`"] = (command_line, number)
        contestants[f"Ray, {number} actor{'s' * (number > 1)}"] = (on_ray, number)
    with tempfile.TemporaryDirectory() as folder:
        batch_pictures.write(folder, arguments.pictures, size=tuple(map(int, arguments.size.split("x"))))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.jpeg")) / arguments.pictures
        found = {(name, model): [] for name in contestants for model in models}
        for _ in range(arguments.rounds):
            for (name, model), rates in found.items():
                function, number = contestants[name]
                rates.append(function(folder, model, number))
    import mobilenext
    import ray

    print(f"{processor()}, {cores} cores; {arguments.pictures} JPEGs of {arguments.size} pixels, {size / 1e3:.0f} KB in the mean;")
    print(f"medians of {arguments.rounds} rounds; mobilenext {mobilenext.__version__}, Ray {ray.__version__}, Python {sys.version.split()[0]}. Pictures a second:\n")
    print("| |", " | ".join(models), "|\n| --- |", " | ".join(["---:"] * len(models)), "|")
    for name in contestants:
        print(f"| {name} |", " | ".join(f"{median(rate for rate, _ in found[name, model]):,.0f}" for model in models), "|")
    on_top = [more for rates in found.values() for _, more in rates if more]
    started, memory = median(seconds for seconds, _ in on_top), max(megabytes for _, megabytes in on_top)
    print(f"\nRay and its actors took {started:.1f} s to start, which is not counted; an actor had at most {memory} MB in memory.")


if __name__ == "__main__":
    main()
