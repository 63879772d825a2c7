#!/usr/bin/env python3
"""A model of mnx's arithmetic in NumPy, to the last bit: what a weight file computes of an input.

    tools/int8_model.py W.mnx X.npy Y.npy [--dump-blocks DIR]

X.npy is f32, N x 3 x H x W; Y.npy becomes the logits, N x classes. DIR/NN.npy becomes the output of block NN, in f32: `mnx-infer run`
has the same flag and the same numbers. Files of version 1 and 2 will do; in version 2, layers may be f32 or int8.

int8 layers compute in integers, which f64 holds exactly here, and in f32 operations that are rounded one by one. f32 layers compute
as on CPUs with fused multiply-add: one chain of them from the bias on, in the order input channel, row, column.

The model was written from the arithmetic's description, without the engine's code. So where the two agree, both follow it.
"""

import argparse
import io
import sys
from dataclasses import dataclass
from pathlib import Path

try:
    import numpy as np
except ImportError:
    sys.exit("int8_model.py: this needs python3 with numpy")

import mnx_file
from mnx_file import Bad
from mnx_network import LINEAR, RELU, RELU6, padding

LARGEST_SUM = 2**31 - 1


# int8


@dataclass
class Quantised:
    """A value in u8: `q` stands for scale * (q - zero)."""

    q: np.ndarray
    scale: np.float32
    zero: int

    def centred(self):
        return self.q.astype(np.int64) - self.zero

    def real(self, dtype=np.float32):
        """One multiplication in f32; in f64 it is exact."""
        return self.centred().astype(dtype) * dtype(self.scale)


def quantise(x, scale, zero):
    """f32 to u8: one division, halves to even, clamped before the conversion. NaN becomes the zero point."""
    with np.errstate(over="ignore", invalid="ignore"):
        t = np.clip(np.rint(x / x.dtype.type(scale)), -zero, 255 - zero)
    return Quantised((np.where(np.isnan(t), 0, t) + zero).astype(np.uint8), np.float32(scale), int(zero))


def factor(value, what):
    """A factor is computed in f64 and rounded once. It must be a normal f32, at most 2^64, so that nothing becomes infinite."""
    values = np.atleast_1d(np.asarray(value, np.float64))
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    bad = ~((rounded >= mnx_file.SMALLEST_SCALE) & (rounded <= mnx_file.LARGEST_SCALE))
    if bad.any():
        raise Bad(f"{what}: expected a factor from 2^-126 to 2^64, found {values[bad][0]}")
    return rounded if np.ndim(value) else rounded[0]


def bounds(activation, scale, zero):
    """What q - zero is clamped to."""
    top = 255 - zero
    if activation == RELU6:
        top = min(top, np.rint(6.0 / np.float64(scale)))
    return np.float32(-zero if activation == LINEAR else 0), np.float32(top)


def windows(x, kernel, stride, rule):
    """For each place of the filter, row by row, what it sees of the padded x: N x C x H' x W'. What pads is 0."""
    size = x.shape[2:]
    sides = [padding(rule, kernel, n, stride) for n in size]
    padded = np.pad(x, [(0, 0), (0, 0), *sides])
    out = [-(-n // stride) for n in size]
    for row in range(kernel):
        for column in range(kernel):
            rows, columns = (slice(at, at + (n - 1) * stride + 1, stride) for at, n in zip((row, column), out))
            yield padded[:, :, rows, columns]


def accumulate(layer, centred, weight, bias, rule):
    """bias + sum of w * (q - zero), exact. To pad with the zero point is to pad the difference with 0."""
    x, w = centred.astype(np.float64), weight.astype(np.float64).reshape(*weight.shape[:2], -1)
    acc = bias.astype(np.float64).reshape(1, -1, 1, 1)
    for place, seen in enumerate(windows(x, layer.kernel, layer.stride, rule)):
        tap = w[:, :, place]
        if layer.kind == "depthwise":
            acc = acc + tap[:, 0].reshape(1, -1, 1, 1) * seen
        else:
            n, c, h, width = seen.shape
            acc = acc + np.matmul(tap, seen.reshape(n, c, -1)).reshape(n, -1, h, width)
    return acc


def check_sums(layer, weight, bias, zero):
    """No sum may leave the range of i32, whatever the input is."""
    largest = np.abs(bias.astype(np.int64)) + np.abs(weight.astype(np.int64)).reshape(len(bias), -1).sum(1) * max(zero, 255 - zero)
    if (largest > LARGEST_SUM).any():
        raise Bad(f"{layer.name}: expected sums up to {LARGEST_SUM}, found that channel {largest.argmax()} reaches {largest.max()}")


def scaled(acc, m, shortcut=None):
    """f32(acc) * m, and f32(q - zero) * r of the shortcut's channels: every operation is rounded to f32.

    `m` is one factor or one a channel. `shortcut` is a value, its factor r, and how many channels it covers.
    """
    m = np.asarray(m, np.float32)
    t = acc.astype(np.float32) * (m.reshape(1, -1, 1, 1) if m.ndim else m)
    if shortcut:
        value, r, covered = shortcut
        t[:, :covered] = t[:, :covered] + value.centred()[:, :covered].astype(np.float32) * np.float32(r)
    assert t.dtype == np.float32
    return t


def requantise(t, limits, scale, zero):
    return Quantised((np.rint(np.clip(t, *limits)) + np.float32(zero)).astype(np.uint8), np.float32(scale), int(zero))


def max_pool(x, least):
    """3x3, stride 2. The frame is never the largest."""
    h, w = x.shape[2:]
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=least)
    rows, columns = (range(0, n, 2) for n in (h, w))
    parts = [padded[:, :, r : r + h : 2, c : c + w : 2] for r in range(3) for c in range(3)]
    found = parts[0]
    for part in parts[1:]:
        found = np.maximum(found, part)
    assert found.shape[2:] == (len(rows), len(columns))
    return found


def average(value, scale, zero):
    """The mean of each plane."""
    h, w = value.q.shape[2:]
    if h * w * max(value.zero, 255 - value.zero) > LARGEST_SUM:
        raise Bad(f"pool: expected sums up to {LARGEST_SUM}, found planes of {h} x {w}")
    m = factor(np.float64(value.scale) / (np.float64(scale) * (h * w)), "pool.output")
    t = scaled(value.centred().sum((2, 3), keepdims=True), m)
    return requantise(t, bounds(LINEAR, scale, zero), scale, zero)


# f32


def fma(a, b, c):
    """a * b + c, rounded once to f32. Arguments and result are f64 that hold f32 numbers.

    The product is exact. The sum is rounded to odd: then rounding it again, to f32, gives what one rounding would.
    """
    product = a * b
    total = product + c
    with np.errstate(invalid="ignore"):
        part = total - product
        error = (product - (total - part)) + (c - part)
    bits = total.view(np.int64)
    away = (error > 0) == (total > 0)
    inexact = ((error > 0) | (error < 0)) & (bits & 1 == 0)
    odd = (bits + np.where(inexact, np.where(away, 1, -1), 0)).view(np.float64)
    return odd.astype(np.float32).astype(np.float64)


def multiply_add(a, b, c):
    return a * b + c


def sums(layer, x, weight, bias, rule, step):
    """A convolution or the classifier as a chain of `step`s from the bias on. All in f64."""
    w = weight.astype(np.float64).reshape(*weight.shape[:2], -1)
    seen = list(windows(x, layer.kernel, layer.stride, rule))
    n, _, h, width = seen[0].shape
    acc = np.broadcast_to(bias.astype(np.float64).reshape(1, -1, 1, 1), (n, len(bias), h, width)).copy()
    for channel in range(w.shape[1]):
        for place, pixels in enumerate(seen):
            these = pixels if layer.kind == "depthwise" else pixels[:, channel : channel + 1]
            acc = step(w[:, channel, place].reshape(1, -1, 1, 1), these, acc)
    return acc


def clamp(x, activation):
    """NaN passes."""
    if activation == LINEAR:
        return x
    top = np.inf if activation == RELU else 6
    return np.minimum(np.maximum(x, x.dtype.type(0)), x.dtype.type(top))


def mean(x):
    """The columns of each row, then the rows, in order."""
    total = x.dtype.type(0)
    for row in range(x.shape[2]):
        of_row = x.dtype.type(0)
        for column in range(x.shape[3]):
            of_row = of_row + x[:, :, row, column]
        total = total + of_row
    return (total * (x.dtype.type(1) / x.dtype.type(x.shape[2] * x.shape[3])))[:, :, None, None]


# The network


class Model:
    """A weight file that can be run. `dtype` is that of f32 layers: np.float64 gives what they would be without rounding."""

    def __init__(self, file, dtype=np.float32):
        self.file, self.dtype = file, dtype
        # f32 results of layers, before they are quantised.
        self.unquantised = {}

    def scale_and_zero(self, name):
        return self.file.tensors[f"{name}.scale"][0], int(self.file.tensors[f"{name}.zero_point"][0])

    def real(self, value):
        return value.real(self.dtype) if isinstance(value, Quantised) else value

    def settle(self, name, x):
        """What the f32 value `x` is in memory: u8 if an int8 layer reads it."""
        if name not in self.file.quantised:
            return x
        self.unquantised[name] = x
        return quantise(x, *self.scale_and_zero(name))

    def layer(self, layer, value, activation, shortcut=None, covered=0):
        """`activation` is what ends the layer, after the addition of the shortcut if there is one."""
        compute = self.int8 if self.file.of_layer[layer.name] == "int8" else self.f32
        return compute(layer, value, activation, shortcut, covered)

    def int8_sums(self, layer, value):
        """Exact sums, and m of each channel without the division by the output's scale, in f64."""
        weight, bias, scales = (self.file.tensors[f"{layer.name}.{part}"] for part in ("weight", "bias", "weight.scale"))
        check_sums(layer, weight, bias, value.zero)
        acc = accumulate(layer, value.centred(), weight, bias, self.file.spec["padding"])
        return acc, np.float64(value.scale) * scales.astype(np.float64)

    def int8(self, layer, value, activation, shortcut, covered):
        acc, m = self.int8_sums(layer, value)
        if layer.kind == "linear":
            return scaled(acc, factor(m, layer.name))
        name = f"{layer.name}.output"
        scale, zero = self.scale_and_zero(name)
        added = None
        if shortcut is not None:
            added = (shortcut, factor(np.float64(shortcut.scale) / np.float64(scale), f"{layer.name}, shortcut"), covered)
        t = scaled(acc, factor(m / np.float64(scale), layer.name), added)
        return requantise(t, bounds(activation, scale, zero), scale, zero)

    def f32(self, layer, value, activation, shortcut, covered):
        weight, bias = (self.file.tensors[f"{layer.name}.{part}"] for part in ("weight", "bias"))
        step = fma if self.dtype == np.float32 else multiply_add
        x = sums(layer, self.real(value).astype(np.float64), weight, bias, self.file.spec["padding"], step).astype(self.dtype)
        if shortcut is not None:
            x[:, :covered] = x[:, :covered] + self.real(shortcut)[:, :covered]
        return self.settle(f"{layer.name}.output", clamp(x, activation))

    def block(self, block, value):
        shortcut = value
        for layer in block.layers[:-1]:
            value = self.layer(layer, value, layer.activation)
        if block.projection:
            shortcut = self.layer(block.projection, shortcut, LINEAR)
        last = block.layers[-1]
        if block.shortcut:
            assert last.activation == LINEAR
            value = self.layer(last, value, block.activation, shortcut, block.shortcut)
        else:
            value = self.layer(last, value, last.activation)
        if not block.max_pool:
            return value
        if isinstance(value, Quantised):
            return Quantised(max_pool(value.q, 0), value.scale, value.zero)
        return max_pool(value, -np.inf)

    def pool(self, value):
        if "pool.output" in self.file.quantised and isinstance(value, Quantised):
            return average(value, *self.scale_and_zero("pool.output"))
        return self.settle("pool.output", mean(self.real(value)))

    def run(self, x, observe=None):
        """Logits, N x classes. `observe` is called with each block's number and its output, dequantised."""
        if "input" in self.file.quantised:
            value = quantise(x, *self.scale_and_zero("input"))
        else:
            value = x.astype(self.dtype)
        for index, block in enumerate(self.file.network.blocks):
            value = self.block(block, value)
            if observe:
                observe(index, value.real() if isinstance(value, Quantised) else value)
        return self.layer(self.file.network.classifier, self.pool(value), LINEAR)[:, :, 0, 0]


def read_input(path, channels):
    try:
        x = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise Bad(f"{path}: expected an array of NumPy: {error}") from None
    if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim != 4 or x.shape[1] != channels or 0 in x.shape:
        found = f"{x.dtype} of {'x'.join(map(str, x.shape))}" if isinstance(x, np.ndarray) else type(x).__name__
        raise Bad(f"{path}: expected f32 of N x {channels} x H x W, found {found}")
    return x


def save_npy(path, array):
    out = io.BytesIO()
    np.save(out, np.ascontiguousarray(array, np.float32))
    mnx_file.save(path, out.getvalue())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--dump-blocks", type=Path, metavar="DIR")
    args = parser.parse_args()
    try:
        file = mnx_file.read(args.weights)
    except Bad as error:
        raise Bad(f"{args.weights}: {error}") from None
    x = read_input(args.input, file.spec["channels"])
    observe = None
    if args.dump_blocks:
        args.dump_blocks.mkdir(parents=True, exist_ok=True)
        observe = lambda index, values: save_npy(args.dump_blocks / f"{index:02}.npy", values)
    logits = Model(file).run(x, observe)
    save_npy(args.output, logits)
    print(f"{args.output}: {logits.shape[0]} x {logits.shape[1]}")


if __name__ == "__main__":
    try:
        main()
    except (Bad, OSError) as error:
        sys.exit(f"int8_model.py: {error}")
