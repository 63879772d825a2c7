#!/usr/bin/env python3
"""Prints what llvm-mca expects of the NEON kernels' hot loops, as a Markdown table.

    tools/aarch64/kernels.py [BINARY]      default: builds and reads mnx-infer for aarch64, by test.sh

Of each kernel's hot loops (tools/assembly.py) that of the largest tile is taken: with the most sums in registers, among
such the most multiply-adds, among such the fewest instructions (depthwise tiles at an edge have loops of their own). Of
the ways around it the one with the most: a depthwise tile with all its taps inside the plane and its epilogue, without
residual; with the clamp and, of a linear layer, without. Cycles are those of one round in a steady state with every load
in the L1 cache. There are two tables:
- with as many micro-operations (µops) dispatched a cycle as Arm's software optimization guides say of the CPU;
- with the number in LLVM's model, which is smaller, though it counts µops as finely (a pair of vector loads is three).

Two shares are printed:
- of the FMA limit: how fast the same model executes multiply-adds alone. In int8 these are dot products (`sdot`) or, for CPUs
  without them, products of bytes that are added up in words (`smull`, `smlal`, `sadalp`: counted are all three);
- of the units' limit: how fast the model's units alone could do what must be done, which are the multiply-adds, and where
  an epilogue is in the loop its clamps and stores: each of these needs a vector unit as well. In int8 so do conversions, and
  what interleaves rows.

Exit status: 0 fine; 1 a kernel is below its floor or has a vector on the stack in that loop; 2 there is nothing to judge.
Floors: of the FMA limit in both tables for loops that only add up; of the units' limit in the first one for dw.
"""

import functools
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from assembly import CannotJudge, build, disassemble, entry_points, output_of, symbols_of  # noqa: E402

# µops that the CPU dispatches in a cycle.
CPUS = {"neoverse-n1": 8, "neoverse-v2": 16, "cortex-a76": 8}
# llvm-mca gives Cortex-A76 one unit that multiplies, of its two: its column is shown, not judged.
JUDGED = ["neoverse-n1", "neoverse-v2"]
# The two operations of a clamp. A residual is the only addition of f32 that is not a multiply-add, and in int8 the only
# subtraction: there rounding adds, too.
CLAMP, ADD, SHORTCUT = ("fmax", "fmin"), ("fadd",), ("usubl",)
# What else an int8 epilogue and the interleaving of rows need.
INT8 = ("scvtf", "fmul", "fadd", "uzp1", "add", "zip1", "zip2", "eor")
# Entry point, the kernel's name in the table, sums in registers (None: the most that a loop of it has),
# and the least share of the limit in percent.
KERNELS = [
    ("pw", "pw", None, 98),
    ("pw8", "pw8", None, None),
    ("dw_s1", "dw3x3s1", None, 91),
    ("dw_s1", "dw3x3s1, linear", None, 88),
    ("dw_s2", "dw3x3s2", None, 91),
    ("dw_s2", "dw3x3s2, linear", None, 80),
    ("dense_s2", "dense3x3s2", None, None),
    ("conv_s1", "conv3x3s1", None, None),
    ("conv_s2", "conv3x3s2", None, None),
    ("linear", "linear, batch 1", 16, None),
    ("linear", "linear, batch 5", 20, None),
]
# Of int8, with dot products and without: entry point, sums, and the least shares.
KERNELS_INT8 = [
    ("pw", None, {"NEON_DOT": 92, "NEON_INT8": 98}),
    ("dw_s1", None, {}),
    ("dw_s2", None, {}),
    ("dense_s2", None, {}),
    ("conv_s1", None, {}),
    ("conv_s2", None, {}),
    ("linear", 4, {}),
    ("linear", None, {}),
]
NAMES = {entry: name for entry, name, _, _ in reversed(KERNELS)}
ROUNDS = 1000
# The first LLVM with a model of Neoverse-V2.
OLDEST_LLVM = 16
# Of each table of kernels independent multiply-adds, as many as registers allow: latency times units is at most 16.
PAIRS = "smull v{t}.8h, v30.8b, v31.8b|smlal v{t}.8h, v30.8b, v31.8b|sadalp v{n}.4s, v{t}.8h"
ALONE = {
    "NEON": [f"fmla v{n}.4s, v30.4s, v31.4s" for n in range(24)],
    "NEON_DOT": [f"sdot v{n}.4s, v30.16b, v31.4b[0]" for n in range(24)],
    "NEON_INT8": [line for n in range(12) for line in PAIRS.format(n=n, t=n + 12).split("|")],
}


@functools.cache
def mca(cpu, lines, figure="Total Cycles", width=None):
    """A figure of llvm-mca's on these instructions, of one round."""
    rounds = ROUNDS if figure == "Total Cycles" else 1
    options = ["-mtriple=aarch64", f"-mcpu={cpu}", f"-iterations={rounds}"] + ([f"-dispatch={width}"] if width else [])
    text = "\n".join([*lines, ".Lelsewhere:", ""])
    done = subprocess.run([program(), *options, "-"], input=text, capture_output=True, text=True)
    found = re.search(rf"^{figure}: *([\d.]+)", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise CannotJudge(f"llvm-mca on {cpu}: {(done.stderr.strip() or 'no ' + figure).splitlines()[0]}")
    return float(found[1]) / rounds


def program():
    found = {int(path.name.rpartition("-")[2]): path for path in pathlib.Path("/usr/bin").glob("llvm-mca-[0-9]*")}
    if max(found, default=0) < OLDEST_LLVM:
        there = f"only version {max(found)} is" if found else "none is"
        raise CannotJudge(f"llvm-mca {OLDEST_LLVM} or newer is needed, {there} installed: tools/aarch64/setup.sh does it")
    return str(found[max(found)])


def assembler(instruction):
    """As the assembler takes it: addresses in the program are labels."""
    return f"{instruction.name} {re.sub(r'[0-9a-f]+ <[^>]*>.*', '.Lelsewhere', instruction.text)}"


def sums_of(path):
    """How many registers it sums up in."""
    return len({i.written[0] for i in path if i.is_sum})


def hot_path(binary, at, sums, ways):
    """The code of an entry point and the instructions of the way around its hottest loop, or None."""
    found = None
    for start, size in at:
        code = disassemble(binary, start, size)
        for blocks in code.hot_loops():
            path = code.path(blocks, **ways)
            rank = sums_of(path), sum(i.is_fma for i in path), -len(path)
            if sums in (None, rank[0]) and (found is None or rank > found[0]):
                found = rank, code, path
    return found and found[1:]


def kernels():
    """Of each kernel its table, entry point, name, sums, floor, and which way around its loop is taken: with the clamp, if
    there is one in the loop, unless it is linear."""
    for entry, name, sums, floor in KERNELS:
        ways = {"without": CLAMP + ADD} if name.endswith("linear") else {"most": CLAMP, "without": ADD}
        yield "NEON", entry, name, sums, floor, ways
    for table in ("NEON_DOT", "NEON_INT8"):
        for entry, sums, floors in KERNELS_INT8:
            name = NAMES[entry].partition(",")[0] + "-int8" + (", batch 1" if sums == 4 else "")
            name += ", " + ("sdot" if table == "NEON_DOT" else "smlal")
            yield table, entry, name, sums, floors.get(table), {"most": CLAMP, "without": SHORTCUT}


def is_needed(instruction, table):
    names = CLAMP + (() if table == "NEON" else INT8)
    return instruction.is_fma or instruction.is_store or instruction.is_vector and instruction.name in names


def table(loops, arms):
    """Prints a table, with Arm's width of dispatch or LLVM's; returns what is wrong."""
    wrong = []
    alone = lambda of, cpu: mca(cpu, tuple(ALONE[of]), width=CPUS[cpu]) / len(ALONE[of])
    limits = {(of, cpu): alone(of, cpu) for of in ALONE for cpu in CPUS}
    rates = lambda of: ", ".join(f"{cpu} {1 / limits[of, cpu]:.2g}" for cpu in CPUS)
    print("Arm's" if arms else "LLVM's", "width of dispatch", end="")
    print(": " + ", ".join(f"{cpu} {width}" for cpu, width in CPUS.items()) + " µops a cycle. " if arms else ". ", end="")
    print(f"FMAs a cycle: {rates('NEON')}; sdot: {rates('NEON_DOT')}; smull, smlal and sadalp: {rates('NEON_INT8')}.\n")
    print("| kernel | sums | FMAs | instructions | on the stack | " + " | ".join(CPUS) + " |")
    print("| --- |" + " ---: |" * (4 + len(CPUS)))
    for of, kernel, floor, code, path in loops:
        fmas = sum(i.is_fma for i in path)
        every = tuple(map(assembler, path))
        needed = tuple(assembler(i) for i in path if is_needed(i, of))
        stack = sum(i.is_vector and code.on_stack(i) for i in path)
        cells = [kernel, sums_of(path), fmas, len(path), stack]
        if stack and arms:
            wrong.append(f"{kernel}: {stack} accesses of vectors on the stack")
        for cpu in CPUS:
            taken = mca(cpu, every, width=CPUS[cpu] if arms else None)
            share = 100 * limits[of, cpu] * fmas / taken
            of_units = 100 * mca(cpu, needed, "Block RThroughput", 64) / taken
            cells.append(f"{taken:.1f} ({share:.0f}, {of_units:.0f})")
            adds_up_only = of != "NEON" and not kernel.startswith("dw") or len(needed) == fmas
            judged, what = (share, "FMA") if adds_up_only else (of_units, "units'")
            if floor and cpu in JUDGED and judged < floor and (arms or what == "FMA"):
                wrong.append(f"{kernel} on {cpu}: {judged:.1f} % of the {what} limit, expected at least {floor} %")
        print("| " + " | ".join(map(str, cells)) + " |")
    print()
    return wrong


def main():
    if len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__.strip())
        raise SystemExit(2 if len(sys.argv) > 2 else 0)
    script = pathlib.Path(__file__).resolve().parent / "test.sh"
    binary = sys.argv[1] if len(sys.argv) == 2 else build(script, MNX_AARCH64_CMD="build")
    entries = entry_points(symbols_of(binary))
    if not any(isa == "NEON" for _, isa in entries):
        raise CannotJudge(f"{binary} has no symbols of NEON kernels: is it stripped, or of another architecture?")
    wrong, loops = [], []
    for of, entry, kernel, sums, floor, ways in kernels():
        found = hot_path(binary, entries.get((entry, of), []), sums, ways)
        if found:
            loops.append((of, kernel, floor, *found))
        else:
            wrong.append(f"{kernel}: no loop with multiply-adds" + (f" on {sums} sums" if sums else ""))
    version = output_of(program(), "--version").split("LLVM version ")[1].split()[0]
    print(f"llvm-mca {version}: cycles (% of the FMA limit, % of the units' limit).\n")
    for arms in (True, False):
        wrong += table(loops, arms)
    for line in wrong:
        print(f"FAILED: {line}")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    sys.setrecursionlimit(100_000)
    try:
        main()
    except CannotJudge as why:
        print(f"kernels.py: {why}", file=sys.stderr)
        raise SystemExit(2) from None
