#!/usr/bin/env python3
"""Makes testdata/golden/int8: small random networks with int8 layers, inputs, and what tools/int8_model.py computes of them.

    python tools/make_int8_goldens.py [testdata/golden/int8]    # NumPy

Weights are drawn layer by layer, and each value's scale is chosen by what the layer makes of the first input, so that values use
their range. README.md in that folder says what is in it.
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np

import mnx_file
from int8_model import LARGEST_SUM, Model, Quantised, bounds, factor, fma, save_npy
from mnx_network import LINEAR, RELU, RELU6, build

OUT = Path(__file__).resolve().parent.parent / "testdata" / "golden" / "int8"
# Zero points in turn: of values that may be negative, and of values after an activation.
ZEROS, POSITIVE_ZEROS = (128, 37, 0, 201, 255, 1, 254), (0, 90, 3, 0, 160)
# How sure a quantised f32 result must be: this many times f32's error away from where rounding turns.
MARGIN = 8


def table(family, stem, stages, **others):
    keys = ("block", "ratio", "channels", "repeats", "stride")
    spec = dict(family=family, stem=stem, stages=[dict(zip(keys, row)) for row in stages], activation="relu6", width=1.0, identity=1.0)
    spec |= dict(resolution=32, channels=3, classes=10, padding="torch")
    spec["preprocessing"] = dict(resize=32, mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25])
    return spec | others


SANDGLASS = table(
    "int8-sandglass", dict(channels=120, stride=2),
    [("sandglass", 2, 200, 1, 2), ("sandglass", 3, 280, 2, 1), ("sandglass", 4, 280, 1, 2), ("sandglass", 6, 360, 2, 2), ("sandglass", 5, 53, 1, 1)],
    width=0.1, identity=0.35,
)  # fmt: skip
# With ReLU. Shortcuts cover 18 of 40 channels, and 20 of 45.
SANDGLASS_TF = table(
    "int8-sandglass-tf", dict(channels=160, stride=1), [("sandglass", 2, 400, 1, 2), ("sandglass", 7, 400, 2, 1), ("sandglass", 4, 45, 2, 2)],
    width=0.1, identity=0.45, padding="tf", activation="relu", classes=7,
)  # fmt: skip
INVERTED = table(
    "int8-inverted", dict(channels=48, stride=2),
    [("inverted_residual", 1, 16, 1, 1), ("inverted_residual", 3, 48, 2, 2), ("inverted_residual", 3, 27, 2, 2)],
    width=0.5, classes=33,
)  # fmt: skip
INVERTED_TF = table(
    "int8-inverted-tf", dict(channels=16, stride=2),
    [("inverted_residual", 1, 8, 1, 1), ("inverted_residual", 5, 16, 2, 2), ("inverted_residual", 2, 24, 1, 2)],
    width=0.75, padding="tf", head=77, classes=5,
)  # fmt: skip
RESNET_STEM = dict(channels=8, stride=2, kernel=7, max_pool=True)
BASIC = table("int8-basic", RESNET_STEM, [("basic", 1, 8, 1, 1), ("basic", 1, 24, 2, 2), ("basic", 1, 40, 1, 2)], activation="relu", classes=5)
NARROW = table("int8-narrow", RESNET_STEM, [("basic", 1, 8, 1, 1), ("basic", 1, 16, 2, 2), ("basic", 1, 24, 1, 2)], activation="relu", classes=5)
BOTTLENECK = table(
    "int8-bottleneck", dict(channels=24, stride=2, max_pool=True), [("bottleneck", 5, 24, 2, 1), ("bottleneck", 3, 40, 2, 2)], classes=17
)
# A block of every kind, and a shortcut of every kind.
EVERY = table(
    "int8-every-kind", dict(channels=8, stride=1),
    [("sandglass", 2, 16, 1, 1), ("sandglass", 4, 24, 2, 1), ("inverted_residual", 2, 24, 2, 1), ("bottleneck", 2, 40, 1, 2), ("basic", 1, 40, 1, 1)],
    identity=0.6, classes=20,
)  # fmt: skip


def all_int8(layers):
    return ["int8"] * len(layers)


def keep(*names):
    """These layers in f32. A name that ends in a dot stands for all that begin with it."""
    return lambda layers: ["f32" if any(n == layer.name or n[-1] == "." and layer.name.startswith(n) for n in names) else "int8" for layer in layers]


# Name: spec, arithmetic, how weights are drawn, inputs: shape, and whether NaN and the like are in it.
NETWORKS = {
    "sandglass": (SANDGLASS, all_int8, "plain", [((2, 3, 17, 22), True), ((3, 3, 1, 1), False), ((1, 3, 32, 32), False)]),
    "sandglass-tf": (SANDGLASS_TF, all_int8, "plain", [((1, 3, 14, 16), False), ((2, 3, 9, 12), True)]),
    "inverted": (INVERTED, all_int8, "plain", [((3, 3, 21, 18), False), ((1, 3, 40, 24), False)]),
    "inverted-tf": (INVERTED_TF, all_int8, "plain", [((2, 3, 32, 20), False), ((1, 3, 13, 19), False)]),
    "basic": (BASIC, all_int8, "plain", [((2, 3, 37, 50), False), ((1, 3, 64, 32), False)]),
    "bottleneck": (BOTTLENECK, all_int8, "plain", [((1, 3, 33, 42), False), ((3, 3, 5, 6), False)]),
    "ties": (EVERY, all_int8, "ties", [((1, 3, 16, 8), False), ((2, 3, 8, 16), False)]),
    "roundings": (EVERY, all_int8, "roundings", [((1, 3, 11, 9), False)]),
    # Stem and classifier in f32; a whole block in f32, whose output an int8 layer reads and a later f32 layer adds.
    "mixed-inverted": (
        INVERTED, keep("features.0.0", "features.2.conv.1.0", "features.3.conv.0.0", "features.5.conv.2", "features.4.", "classifier.1"),
        "plain", [((2, 3, 11, 14), False)],
    ),
    # Every f32 layer is inside a block and an int8 layer reads it, so all that comes out is exact.
    "mixed-sandglass": (
        SANDGLASS, keep("features.1.conv.0", "features.1.conv.5", "features.3.conv.3", "features.3.conv.5", "features.6.conv.0"),
        "plain", [((1, 3, 13, 18), False)],
    ),
    # A projection in f32 beside int8 layers, the other way round, and a pool in f32 before a classifier in int8.
    "mixed-basic": (
        NARROW, keep("conv1", "layer1.0.conv2", "layer2.0.downsample.0", "layer2.1.conv1", "layer3.0.conv1", "layer3.0.conv2"),
        "plain", [((2, 3, 19, 26), False)],
    ),
}  # fmt: skip


def power_of_two(x):
    return np.float32(2.0 ** np.round(np.log2(x)))


class Drawing(Model):
    """Draws what the file lacks while it runs."""

    def __init__(self, file, style, seed):
        super().__init__(file)
        self.style, self.rng = style, np.random.default_rng(seed)
        self.count = seed
        # How many channels show each mistake in rounding.
        self.shown = {}

    def next_zero(self, activation):
        zeros = ZEROS if activation == LINEAR else POSITIVE_ZEROS
        self.count += 1
        return zeros[self.count % len(zeros)]

    def put(self, name, array, dtype):
        self.file.tensors[name] = np.atleast_1d(np.asarray(array, dtype))

    def fit(self, name, values, activation, zero=None):
        """A scale and a zero point of the value: a few per cent of `values` are beyond its range."""
        if activation == LINEAR and values.min() >= 0 and zero is None:
            zero = self.next_zero(RELU)
        zero = self.next_zero(activation) if zero is None else zero
        low, high = np.quantile(values, [0.03, 0.97])
        if activation == RELU6:
            high = min(high, 6)
        # A side with next to no numbers has no say.
        ends = [end / room for end, room in ((high, 255 - zero), (-low, zero)) if room > 8]
        scale = max(max(ends) * (1.25 if self.count % 2 else 0.85), 1e-3)
        self.put(f"{name}.scale", power_of_two(scale) if self.style == "ties" else scale, np.float32)
        self.put(f"{name}.zero_point", zero, np.uint8)

    def weights(self, layer):
        """i8. Some channels are all 0, some all 127 or -127."""
        dims = layer.dims()
        if self.style == "ties":
            return self.rng.integers(-3, 4, dims)
        w = self.rng.integers(-127, 128, dims)
        for channel in range(dims[0]):
            if channel % 8 == 5:
                w[channel] = 0
            elif channel % 8 == 6:
                w[channel] = 127 if channel % 16 == 6 else -127
        return w

    def draw_int8(self, layer, value, activation):
        name = layer.name
        weight = self.weights(layer)
        self.put(f"{name}.weight", weight, np.int8)
        self.put(f"{name}.bias", np.zeros(layer.cout), np.int32)
        self.put(f"{name}.weight.scale", np.ones(layer.cout), np.float32)
        acc, _ = self.int8_sums(layer, value)
        spread, middle = acc.std((0, 2, 3)), acc.mean((0, 2, 3))
        if layer.kind == "linear":
            # Few pictures say little about a channel's spread.
            spread, middle = np.full(layer.cout, acc.std()), np.zeros(layer.cout)
        spread = np.where(spread > 0, spread, 1000.0)
        bias = np.round(self.rng.normal(0, 0.5, layer.cout) * spread - middle)
        wanted = (3.0 if activation == RELU6 else 1.0) * np.exp(self.rng.normal(0, 0.3, layer.cout))
        scale = wanted / (spread * np.float64(value.scale))
        self.put(f"{name}.bias", bias, np.int32)
        self.put(f"{name}.weight.scale", power_of_two(scale) if self.style == "ties" else scale, np.float32)

    def int8(self, layer, value, activation, shortcut, covered):
        drawn = f"{layer.name}.weight" in self.file.tensors
        if not drawn:
            self.draw_int8(layer, value, activation)
        name = f"{layer.name}.output"
        if layer.kind != "linear" and f"{name}.scale" not in self.file.tensors:
            acc, m = self.int8_sums(layer, value)
            values = acc * m.reshape(1, -1, 1, 1)
            if shortcut is not None:
                values[:, :covered] += shortcut.real(np.float64)[:, :covered]
            self.fit(name, values, activation)
        if self.style == "roundings" and not drawn:
            self.craft(layer, value, activation, shortcut, covered)
        return super().int8(layer, value, activation, shortcut, covered)

    def craft(self, layer, value, activation, shortcut, covered):
        """Odd channels get weights of 0, and a bias and a scale for which a mistake in rounding changes the result."""
        w, b, s = (self.file.tensors[f"{layer.name}.{part}"] for part in ("weight", "bias", "weight.scale"))
        w[1::2] = 0
        if layer.kind == "linear":
            b[1::2] = self.rng.integers(2**24, 2**30, len(b[1::2]))
            s[1::2] = 3.0 / (b[1::2] * np.float64(value.scale))
            return
        scale, zero = self.scale_and_zero(f"{layer.name}.output")
        low, high = bounds(activation, scale, zero)
        for channel in range(1, layer.cout, 2):
            adds = shortcut is not None and channel < covered
            pixels = np.unique(shortcut.centred()[:, channel]) if adds else np.zeros(1, np.int64)
            r = factor(np.float64(shortcut.scale) / np.float64(scale), "r") if adds else np.float32(1)
            b[channel], s[channel], shown = self.search(channel // 2, value.scale, scale, (low, high), pixels, r)
            for mistake in shown:
                self.shown[mistake] = self.shown.get(mistake, 0) + 1
        # Sums as large as i32 allows, and as small.
        at = 0 if high > 0 else 2
        room = LARGEST_SUM - int(np.abs(w[at].astype(np.int64)).sum()) * max(value.zero, 255 - value.zero)
        up = abs(low) <= abs(high)
        b[at] = room if up else -room
        s[at] = 0.7 * abs(high if up else low) * np.float64(scale) / (np.float64(value.scale) * room)

    def search(self, turn, s_in, s_out, limits, pixels, r):
        """A bias, a weight's scale, and the mistakes that they show; each channel wants another one of the mistakes."""
        best = (0, np.float32(1e-9), [])
        for _ in range(40):
            pixel = self.rng.choice(pixels)
            tie = np.floor(self.rng.uniform(*limits)) + 0.5
            wanted = tie - pixel * np.float64(r)
            near = self.rng.integers(2**25, 2**30)
            s_w = np.float32(max(abs(wanted), 0.5) / near * np.float64(s_out) / np.float64(s_in))
            m = factor(np.float64(s_in) * np.float64(s_w) / np.float64(s_out), "m")
            candidates = np.round(wanted / np.float64(m)).astype(np.int64) + np.arange(-2000, 2001)
            candidates = candidates[np.abs(candidates) < LARGEST_SUM]
            exact_m = np.float64(s_in) * np.float64(s_w) / np.float64(s_out)
            in_f32 = np.float32(s_in) * s_w / np.float32(s_out)
            found = mistakes(candidates[:, None], (m, exact_m, in_f32), pixels[None], r, limits)
            names = sorted(found)
            shows = np.stack([found[name] for name in names])
            here = shows[turn % len(names)] if shows[turn % len(names)].any() else shows.any(0)
            if here.any():
                index = np.argmax(np.where(here, shows.sum(0), -1))
                shown = [name for name, of in zip(names, shows) if of[index]]
                if len(shown) > len(best[2]) or names[turn % len(names)] in shown and names[turn % len(names)] not in best[2]:
                    best = (candidates[index], s_w, shown)
        return best

    def craft_pool(self, value):
        """A scale near the chosen one for which most mistakes in rounding change a mean."""
        scale, zero = self.scale_and_zero("pool.output")
        acc, pixels = value.centred().sum((2, 3)).reshape(-1, 1), value.q.shape[2] * value.q.shape[3]
        limits, best = bounds(LINEAR, scale, zero), []
        for _ in range(4000):
            tie = np.floor(self.rng.uniform(*limits)) + 0.5
            s_out = np.float32(self.rng.choice(acc[:, 0]) * np.float64(value.scale) / (tie * pixels))
            if not 0.8 * scale < s_out < 1.25 * scale:
                continue
            exact_m = np.float64(value.scale) / (np.float64(s_out) * pixels)
            by_steps = value.scale / (s_out * np.float32(pixels)), value.scale / s_out / np.float32(pixels)
            alone = np.zeros((1, 1), np.int64), np.float32(1), limits
            found, other = (mistakes(acc, (np.float32(exact_m), exact_m, in_f32), *alone) for in_f32 in by_steps)
            found["a factor of two divisions in f32"] = other["a factor computed in f32"]
            shown = [name for name, where in found.items() if where.any()]
            if len(shown) > len(best):
                best = shown
                self.put("pool.output.scale", s_out, np.float32)
        self.shown |= {f"pool: {name}": 1 for name in best}

    def f32(self, layer, value, activation, shortcut, covered):
        dims = layer.dims()
        if f"{layer.name}.weight" not in self.file.tensors:
            self.put(f"{layer.name}.weight", self.rng.normal(0, 1.5 * np.prod(dims[1:]) ** -0.5, dims), np.float32)
            self.put(f"{layer.name}.bias", self.rng.normal(0.3, 0.3, layer.cout), np.float32)
        self.activation = activation
        return super().f32(layer, value, activation, shortcut, covered)

    def settle(self, name, x):
        if name in self.file.quantised and f"{name}.scale" not in self.file.tensors:
            self.fit(name, x, LINEAR if name == "pool.output" else self.activation)
        return super().settle(name, x)

    def pool(self, value):
        if isinstance(value, Quantised) and "pool.output" in self.file.quantised and "pool.output.scale" not in self.file.tensors:
            self.fit("pool.output", value.real(np.float64).mean((2, 3)), LINEAR)
            if self.style == "roundings":
                self.craft_pool(value)
        return super().pool(value)

    def run(self, x, observe=None):
        if "input" in self.file.quantised and "input.scale" not in self.file.tensors:
            self.fit("input", x[np.isfinite(x)], LINEAR, zero=(111, 0, 255)[self.count % 3])
        return super().run(x, observe)


def mistakes(acc, factors, pixels, r, limits):
    """Which of the candidates `acc` would show a mistake in any of the `pixels`: by the mistake's name.

    `factors` are m, m before it is rounded, and m as steps in f32 would give it.
    """
    m, exact_m, in_f32 = factors
    a, q = acc.astype(np.float32), pixels.astype(np.float32)
    left, right = a * m, q * r
    t = left + right
    wide = [np.asarray(x, np.float64) for x in (a, m, right, q, r, left)]
    whole = lambda x: np.clip(np.rint(x), *limits)
    right_one, exact = whole(t), acc * np.float64(m) + pixels * np.float64(r)
    wrong = {
        "halves away from zero": np.clip(np.trunc(t + np.copysign(np.float32(0.5), t)), *limits),
        "no rounding to f32": whole(exact),
        "a factor that is not rounded": whole(acc * exact_m + pixels * np.float64(r)),
        "a factor computed in f32": whole(a * in_f32 + right),
        "sum not rounded to f32 before": whole((exact - pixels * np.float64(r)).astype(np.float32) + right),
    }
    if (pixels != 0).any():
        wrong["fused multiply-add of the sum"] = whole(fma(*np.broadcast_arrays(*wide[:3])))
        wrong["fused multiply-add of the shortcut"] = whole(fma(*np.broadcast_arrays(*wide[3:])))
    return {name: (of != right_one).any(1) for name, of in wrong.items()}


def make_input(shape, seed, odd, file):
    x = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    if odd:
        flat = x[-1].reshape(-1)
        flat[:70].reshape(7, 10)[:, ::2] = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-42, -0.0])[:, None]
    if "input.scale" in file.tensors:
        # Halves of a step, where they are exact: ties.
        step = file.tensors["input.scale"][0]
        few = x[0, 1].reshape(-1)[::5]
        few[:] = np.round(few / step * 2) / 2 * step
    return x


def sure(file, x):
    """Whether no quantised f32 result is so close to a tie that another order of summation could change it."""
    fused, wide = Model(file), Model(file, np.float64)
    fused.run(x), wide.run(x)
    for name, exact in wide.unquantised.items():
        scale, zero = wide.scale_and_zero(name)
        t = exact / np.float64(scale)
        error = np.abs(fused.unquantised[name].astype(np.float64) - exact).max() / np.float64(scale)
        inside = t[(t > -zero - 1) & (t < 256 - zero)]
        if inside.size and np.abs(inside - np.floor(inside) - 0.5).min() <= MARGIN * error + 1e-6:
            return False
    return True


def draw(spec, arithmetic, style, shapes, first_seed):
    """A file and its inputs. Seeds are tried in turn until `sure`."""
    for seed in range(first_seed, first_seed + 2000):
        file = mnx_file.File(spec, arithmetic(build(spec).layers()))
        first = make_input(shapes[0][0], seed, shapes[0][1], file)
        drawing = Drawing(file, style, seed)
        drawing.run(first)
        inputs = [make_input(shape, seed + index, odd, file) for index, (shape, odd) in enumerate(shapes)]
        if all(sure(file, x) for x in inputs):
            return file, inputs, drawing.shown, seed
    raise SystemExit(f"make_int8_goldens.py: {spec['family']}: no seed of 2000 is sure")


def error(found, exact):
    """How far f32 is from f64, as for PyTorch's goldens."""
    return dict(max_abs=float(np.abs(found.astype(np.float64) - exact).max()), max_value=float(np.abs(exact).max()))


def errors(file, x, logits, blocks):
    """That of the logits and of each block; None for what is exact on every CPU: u8 times a scale, and logits of int8."""
    exact, exact_blocks = results(file, x, np.float64)
    ends = [f"{block.layers[-1].name}.output" for block in file.network.blocks]
    of_blocks = [None if end in file.quantised else error(*pair) for end, *pair in zip(ends, blocks, exact_blocks)]
    return dict(logits=None if file.arithmetic[-1] == "int8" else error(logits, exact), blocks=of_blocks)


def checksum(arrays):
    """CRC-32 of f32 bits; all zeros are +0."""
    crc = 0
    for array in arrays:
        crc = zlib.crc32((np.ascontiguousarray(array, np.float32) + np.float32(0)).tobytes(), crc)
    return crc


def results(file, x, dtype=np.float32):
    blocks = []
    logits = Model(file, dtype).run(x, lambda _, values: blocks.append(values))
    return logits, blocks


def by_picture(blocks):
    """In the order in which they are observed: picture by picture, each through all blocks."""
    return [block[picture] for picture in range(len(blocks[0])) for block in blocks]


def bits_line(case, logits, blocks):
    return f"{case:<24} {checksum([logits]):08x} {checksum(by_picture(blocks)):08x}"


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.mkdir(parents=True, exist_ok=True)
    cases, bits = [], []
    for number, (name, (spec, arithmetic, style, shapes)) in enumerate(NETWORKS.items()):
        file, inputs, shown, seed = draw(spec, arithmetic, style, shapes, 10_000 * number)
        mnx_file.write(out / f"{name}.mnx", file)
        for x in inputs:
            n, _, h, w = x.shape
            case = f"{name}/{h}x{w}" + (f"-n{n}" if n > 1 else "")
            logits, blocks = results(file, x)
            (out / case).mkdir(parents=True, exist_ok=True)
            save_npy(out / case / "input.npy", x)
            save_npy(out / case / "output.npy", logits)
            if x is inputs[0]:
                (out / case / "blocks").mkdir(exist_ok=True)
                for index, block in enumerate(blocks):
                    save_npy(out / case / "blocks" / f"{index:02}.npy", block)
            meta = dict(name=case, weights=f"{name}.mnx", seed=seed, int8="f32" not in file.arithmetic)
            cases.append(meta | errors(file, x, logits, blocks) | ({"shown": shown} if shown else {}))
            bits.append(bits_line(case, logits, blocks))
        print(f"{name}: seed {seed}, {(out / f'{name}.mnx').stat().st_size} bytes {shown or ''}")
    text = json.dumps(dict(numpy=np.__version__, cases=cases), indent=1)
    mnx_file.save(out / "cases.json", (text + "\n").encode())
    head = f"# {'case':<22} logits   blocks    CRC-32 of the bits on every ISA; mixed: on every FMA ISA"
    mnx_file.save(out / "bits.txt", "\n".join([head, *bits, ""]).encode())


if __name__ == "__main__":
    main()
