"""Kernels in a built program: their entry points, control flow and hot loops, from objdump's listing of x86-64 or aarch64.

A hot loop is an innermost loop among those that contain multiply-adds: fused ones of f32 (FMAs), dot products of int8, and
products that are added up in further instructions.
"""

import itertools
import json
import math
import os
import pathlib
import re
import struct
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENTRY = re.compile(r"([0-9a-f]+) ([0-9a-f]+) [tT] mnx_tensor::table::(?:int8_table::)?(\w+)::(\w+)(?=$|[ .:\[])")
# No jump table is longer.
MOST_TARGETS = 256


class CannotJudge(Exception):
    """There is nothing to read: no tool, no symbols, no kernels."""


def output_of(*command, **options):
    try:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout
    except FileNotFoundError:
        raise CannotJudge(f"{command[0]} is not installed") from None
    except subprocess.CalledProcessError as error:
        raise CannotJudge(f"{command[0]} failed with status {error.returncode}") from None


def build(*command, **environment):
    """Builds mnx-infer by that command and returns its path, wherever Cargo was told to put it."""
    arguments = ["--quiet", "--release", "-p", "mnx-infer", "--message-format=json-render-diagnostics"]
    messages = [json.loads(line) for line in output_of(*command, *arguments, cwd=ROOT, env=os.environ | environment).splitlines()]
    return [message["executable"] for message in messages if message.get("executable")][-1]


class X86:
    """One instruction, as objdump prints it with `-M att`."""

    TOOLS, OPTIONS, STACK, FRAME = "", ["-M", "att"], r"\(%rsp", (r"\(%rbp", "mov", "%rsp,%rbp")
    LINE = re.compile(r"\s*([0-9a-f]+):\t(?:(?:notrack|bnd|lock|repn?[ze]?|data16|cs|\{\w+\}) +)*(\S+)\s*([^#<]*)(.*)")
    FMA = re.compile(r"vfn?m(add|sub|addsub|subadd)\d{3}[ps][sd]$|vpdpbusds?$|vpmaddwd$")
    # Those that add to what was there before, and what adds up the products of others.
    SUM = re.compile(r"vfn?m(add|sub|addsub|subadd)\d{3}[ps][sd]$|vpdpbusds?$|vpaddd$")
    VECTOR = re.compile(r"%[xyz]mm\d")

    def __init__(self, address, name, operands, comment=""):
        self.address, self.name, self.text = address, name, operands.strip()
        # AT&T order: the last one is written. Commas in parentheses belong to an address.
        operands = re.split(r",(?![^(]*\))", re.sub(r"\{[^}]*\}", "", self.text))
        self.is_fma, self.is_sum = bool(self.FMA.match(name)), bool(self.SUM.match(name))
        self.is_vector = bool(self.VECTOR.search(self.text))
        self.is_store = self.is_vector and "(" in operands[-1]
        self.is_call = name.startswith("call")
        self.is_jump = name.startswith("j")
        self.is_indirect = self.is_jump and self.text.startswith("*")
        self.target = int(self.text, 16) if self.is_jump and not self.is_indirect else None
        # Of jump tables: where one is, and the register by which it is read.
        found = re.search(r"# ([0-9a-f]+)", comment) if name == "lea" else None
        self.table = (operands[-1], int(found[1], 16)) if found else None
        found = re.match(r"(?:0x0)?\((%\w+),%\w+,4\)", self.text) if name == "movslq" else None
        self.reads_table = found[1] if found else None
        self.falls_through = name not in ("jmp", "ret", "ud2", "int3", "hlt")
        self.written = [] if self.is_store else [operands[-1]]
        self.stored = [operands[-2]] if self.is_store else []
        self.copied = operands[0] if name.startswith("vmov") and self.VECTOR.match(operands[0]) else None


class Arm:
    """As `X86`, for aarch64."""

    TOOLS, OPTIONS, STACK, FRAME = "aarch64-linux-gnu-", [], r"\[sp\b", (r"\[x29\b", r"mov|add", r"x29, sp\b")
    LINE = re.compile(r"\s*([0-9a-f]+):\t(\S+)\s*([^/\n]*)(.*)")
    FMA = re.compile(r"f(mla|mls|madd|msub|nmadd|nmsub)$|sdot$|smlal2?$|smull2?$|sadalp$")
    SUM = re.compile(r"f(mla|mls|madd|msub|nmadd|nmsub)$|sdot$|sadalp$")
    VECTOR = re.compile(r"\b[vqds](\d+)\b")
    JUMP = re.compile(r"b(\.\w+)?$|br$|cbn?z$|tbn?z$")

    def __init__(self, address, name, operands, comment=""):
        self.address, self.name, self.text = address, name, operands.strip()
        registers = [f"v{number}" for number in self.VECTOR.findall(self.text.partition("[x")[0].partition("[sp")[0])]
        self.is_fma, self.is_sum = bool(self.FMA.match(name)), bool(self.SUM.match(name))
        self.is_vector = bool(registers)
        self.is_store = self.is_vector and bool(re.match(r"st(r|p|ur|np|\d)", name))
        self.is_call = name in ("bl", "blr")
        # The linker moves an instruction that an erratum of the Cortex-A53 makes dangerous into a veneer, which comes back at once.
        to_veneer = "<e843419@" in self.text
        self.is_jump = bool(self.JUMP.match(name)) and not to_veneer
        self.is_indirect = name == "br"
        found = re.search(r"(?:^|, )([0-9a-f]+) <", self.text) if self.is_jump else None
        self.target = int(found[1], 16) if found else None
        self.falls_through = to_veneer or name not in ("b", "br", "ret", "udf", "brk")
        self.table = self.reads_table = None
        loaded = 2 if name in ("ldp", "ldnp") else 1
        self.written = [] if self.is_store else registers[:loaded]
        self.stored = registers if self.is_store else []
        self.copied = registers[1] if name == "mov" and len(registers) == 2 else None


class Code:
    """The control flow of one entry point."""

    def __init__(self, instructions, tables=None):
        leaders = {instructions[0].address}
        for targets in (tables or {}).values():
            leaders |= targets
        for this, after in zip(instructions, instructions[1:]):
            if this.target is not None:
                leaders.add(this.target)
            if this.is_jump or not this.falls_through:
                leaders.add(after.address)
        self.blocks = {}
        for instruction in instructions:
            if instruction.address in leaders:
                block = self.blocks.setdefault(instruction.address, [])
            block.append(instruction)
        order = list(self.blocks)
        self.next, indirect = {}, []
        for block, after in zip(order, order[1:] + [None]):
            last = self.blocks[block][-1]
            read = [i.reads_table for i in self.blocks[block] if i.reads_table]
            following = [after] if last.falls_through and after is not None else []
            if last.is_indirect and read and read[-1] in (tables or {}):
                following = sorted(tables[read[-1]])
            elif last.is_indirect:
                indirect.append(block)
            elif last.target in self.blocks:
                following.append(last.target)
            self.next[block] = following
        # A jump table that was not found leads to the blocks that nothing else leads to.
        reached = {block for following in self.next.values() for block in following} | {order[0]}
        for block in indirect:
            self.next[block] = [block for block in order if block not in reached]
        # What aligns a loop falls into it, but nothing leads there.
        found, after = set(), [order[0]]
        while after:
            block = after.pop()
            if block not in found:
                found.add(block)
                after += self.next[block]
        self.blocks = {block: self.blocks[block] for block in order if block in found}
        self.next = {block: self.next[block] for block in self.blocks}
        # The frame pointer is a register like the others, except in a function that makes it one.
        isa = type(instructions[0])
        base, name, operands = isa.FRAME
        frame = any(re.fullmatch(name, i.name) and re.match(operands, i.text) for i in instructions)
        self.stack = re.compile(f"{isa.STACK}|{base}" if frame else isa.STACK)

    def instructions(self, blocks):
        return [instruction for block in sorted(blocks) for instruction in self.blocks[block]]

    def fmas(self, blocks):
        return sum(instruction.is_fma for block in blocks for instruction in self.blocks[block])

    def on_stack(self, instruction):
        return bool(self.stack.search(instruction.text))

    def entries(self, cycle):
        return {b for a in self.next if a not in cycle for b in self.next[a] if b in cycle}

    def cycles(self, blocks):
        """The strongly connected components of a part of the graph (Tarjan), without those that are no cycle."""
        index, low, stack, found = {}, {}, [], []

        def visit(block):
            index[block] = low[block] = len(index)
            stack.append(block)
            for other in self.next[block]:
                if other in blocks and other not in index:
                    visit(other)
                if other in blocks and other in stack:
                    low[block] = min(low[block], low[other])
            if low[block] == index[block]:
                at = stack.index(block)
                cycle = set(stack[at:])
                del stack[at:]
                if len(cycle) > 1 or block in self.next[block]:
                    found.append(cycle)

        for block in sorted(blocks):
            if block not in index:
                visit(block)
        return found

    def hot_loops(self, blocks=None):
        """Cycles with FMAs that, entered once and for all, contain no further cycle with FMAs: the blocks of each."""
        blocks = set(self.blocks) if blocks is None else blocks
        for cycle in self.cycles(blocks):
            if self.fmas(cycle):
                entries = self.entries(cycle)
                yield from (list(self.hot_loops(cycle - entries)) if entries else []) or [cycle]

    def path(self, cycle, most=(), without=()):
        """The way once around a cycle that has the most FMAs, among such the most instructions named in `most`, and
        among such the fewest instructions. No block on it has an instruction named in `without`, but where it starts."""
        start = min(self.entries(cycle) or cycle)
        cycle = {block for block in cycle if not any(i.name in without for i in self.blocks[block])} | {start}
        best, open_blocks = {}, set()

        def weight(way):
            named = sum(i.name in most for i in self.instructions(way))
            return self.fmas(way), named, -sum(len(self.blocks[block]) for block in way)

        def visit(block):
            open_blocks.add(block)
            ways = [[]] if start in self.next[block] else []
            for other in self.next[block]:
                if other not in cycle or other in open_blocks:
                    continue
                if other not in best:
                    visit(other)
                if best[other] is not None:
                    ways.append(best[other])
            open_blocks.remove(block)
            best[block] = [block] + max(ways, key=weight) if ways else None

        visit(start)
        return [instruction for block in best[start] for instruction in self.blocks[block]]


def isa_of(binary):
    try:
        with open(binary, "rb") as file:
            head = file.read(20)
    except OSError as error:
        raise CannotJudge(f"{binary}: {error.strerror}") from None
    machine = int.from_bytes(head[18:20], "little") if head[:4] == b"\x7fELF" else 0
    if machine not in (62, 183):
        raise CannotJudge(f"{binary}: expected a program for x86-64 or aarch64 (ELF)")
    return X86 if machine == 62 else Arm


def symbols_of(binary):
    return output_of(isa_of(binary).TOOLS + "nm", "-C", "-S", "--defined-only", binary)


def entry_points(symbols):
    """`{(entry, ISA): [(address, size)]}`."""
    entries = {}
    for start, size, isa, name in (found.groups() for found in map(ENTRY.match, symbols.splitlines()) if found):
        entries.setdefault((name, isa), []).append((int(start, 16), int(size, 16)))
    return entries


def jump_tables(binary, instructions):
    """`{register: targets}` of the tables that are read by these registers. An entry is an offset from its table, of 32 bits."""
    addresses, tables = {i.address for i in instructions}, {}
    readers = {i.reads_table for i in instructions}
    starts = sorted({i.table for i in instructions if i.table and i.table[0] in readers}, key=lambda table: table[1])
    for (register, start), (_, after) in zip(starts, starts[1:] + [(None, math.inf)]):
        stop = min(start + 4 * MOST_TARGETS, after)
        text = output_of("objdump", "-s", f"--start-address={start}", f"--stop-address={stop}", binary)
        found = b"".join(map(bytes.fromhex, re.findall(r"^ [0-9a-f]+ ([0-9a-f ]{35}) ", text, re.MULTILINE)))
        targets = [start + offset for (offset,) in struct.iter_unpack("<i", found[: len(found) // 4 * 4])]
        tables.setdefault(register, set()).update(itertools.takewhile(addresses.__contains__, targets))
    return {register: targets for register, targets in tables.items() if targets}


def disassemble(binary, start, size):
    """The control flow of the function there."""
    isa = isa_of(binary)
    command = [isa.TOOLS + "objdump", "-d", *isa.OPTIONS, "--no-show-raw-insn"]
    text = output_of(*command, f"--start-address={start}", f"--stop-address={start + size}", binary)
    lines = filter(None, map(isa.LINE.match, text.splitlines()))
    instructions = [isa(int(line[1], 16), *line.groups()[1:]) for line in lines]
    if not instructions:
        raise CannotJudge("cannot read objdump's output")
    return Code(instructions, jump_tables(binary, instructions))
