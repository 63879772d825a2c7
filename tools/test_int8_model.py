#!/usr/bin/env python3
"""Tests of tools/int8_model.py: numbers worked out by hand, its files, and testdata/golden/int8, which it must compute again.

    python tools/test_int8_model.py
"""

import json
import struct
import subprocess
import sys
import tempfile
import zlib
from fractions import Fraction
from pathlib import Path

try:
    import numpy as np
except ImportError:
    sys.exit("SKIPPED: the tests of tools/int8_model.py: this needs python3 with numpy")

import int8_model as model
import make_int8_goldens as goldens
import mnx_file
from mnx_network import LINEAR, RELU, RELU6, Bad, Layer, build

SCRIPT = Path(__file__).resolve().parent / "int8_model.py"
GOLDENS = goldens.OUT
ROOT = Path(__file__).resolve().parent.parent


def planes(*values):
    """Each value or row of values as a channel of one row."""
    return np.array([[np.atleast_1d(v)] for v in values])[None]


def same(found, expected):
    assert np.array_equal(found, np.asarray(expected).reshape(np.shape(found)), equal_nan=True), f"expected {expected}, found {found}"


def refused(what, call, *args):
    try:
        call(*args)
    except Bad as bad:
        assert what in str(bad), bad
    else:
        raise AssertionError(f"no error with {what!r}")


def input_is_quantised_by_one_division_and_halves_go_to_even():
    # 0.5, 1.5, 2.5 and -0.5, -1.5 steps; then what is clamped, and NaN.
    x = np.array([0.25, 0.75, 1.25, -0.25, -0.75, 1e30, -1e30, np.inf, -np.inf, np.nan, 3e38], np.float32)
    same(model.quantise(x, 0.5, 10).q, [10, 12, 12, 10, 8, 255, 0, 255, 0, 10, 255])
    # 0.75000006f / 0.3f is 2.5 in f32, which goes to 2. It is more in f64, and in f32 by way of the reciprocal.
    same(model.quantise(np.array([0.75000006], np.float32), np.float32(0.3), 0).q, [2])
    # Exactly 255.5 steps are clamped, not wrapped.
    same(model.quantise(np.array([255.5, -0.5], np.float32), 1.0, 0).q, [255, 0])


def requantised(acc, m, activation, scale, zero, shortcut=None):
    t = model.scaled(planes(*acc), np.float32(m), shortcut)
    return model.requantise(t, model.bounds(activation, scale, zero), scale, zero).q


def halves_go_to_even_on_both_sides_of_zero():
    # 0.5 1.5 2.5 -0.5 -1.5 -2.5 0.75
    same(requantised([2, 6, 10, -2, -6, -10, 3], 0.25, LINEAR, 1.0, 100), [100, 102, 102, 100, 98, 98, 101])


def results_are_clamped_before_the_zero_point_is_added():
    same(requantised([-500, -8, 0, 8, 500], 1.0, LINEAR, 1.0, 7), [0, 0, 7, 15, 255])
    same(requantised([-500, -8, 0, 8, 500], 1.0, RELU, 1.0, 7), [7, 7, 7, 15, 255])
    # 6 / 0.05 = 120 steps; with a zero point of 200 only 55 are left.
    same(requantised([-1, 119, 121, 500], 1.0, RELU6, 0.05, 0), [0, 119, 120, 120])
    same(requantised([-1, 54, 121], 1.0, RELU6, 0.05, 200), [200, 254, 255])
    # 6 / 4 = 1.5 and 6 / 12 = 0.5 go to even.
    assert model.bounds(RELU6, 4.0, 0) == (0, 2) and model.bounds(RELU6, 12.0, 3) == (0, 0)
    # 6 / 0.23529412f is 25.4999999; as an f32 quotient it would be 25.5.
    assert model.bounds(RELU6, np.float32(0.23529412), 0) == (0, 25)
    assert model.bounds(LINEAR, 1.0, 255) == (-255, 0) and model.bounds(RELU, 1.0, 255) == (0, 0)


def a_sum_is_rounded_to_f32_before_it_is_scaled():
    # 2^24 + 1 is between two f32 numbers, and the even one is 2^24.
    same(model.scaled(planes(2**24 + 1, 2**24 + 3), np.float32(1)), [2**24, 2**24 + 4])
    layer = Layer("classifier.1", "linear", 1, 1, 1)
    acc = model.accumulate(layer, planes(1), np.array([[1]], np.int8), np.array([2**24], np.int32), "torch")
    same(acc, [2**24 + 1])


def a_shortcut_covers_its_channels_and_is_rounded_by_itself():
    value = model.Quantised(planes(12, 12).astype(np.uint8), np.float32(1), 10)
    # 3 * 0.5 + 2 * 0.25 = 2, and 1.5 goes to 2 as well; 5 * 0.5 + 0.5 = 3, and 2.5 alone goes to 2.
    same(requantised([3, 3], 0.5, LINEAR, 1.0, 0, (value, 0.25, 1)), [2, 2])
    same(requantised([5, 5], 0.5, LINEAR, 1.0, 0, (value, 0.25, 1)), [3, 2])
    # 4097 * 4097 / 2^24 needs 25 bits. Rounded, it leaves one half, which goes to 0; a fused multiply-add would leave more.
    below = model.Quantised(planes(9).astype(np.uint8), np.float32(1), 10)
    m, r = np.float32(4097 * 2.0**-24), np.float32(4097 * 4096 * 2.0**-24 - 0.5)
    exact = Fraction(4097) * Fraction(float(m)) - Fraction(float(r))
    assert exact > Fraction(1, 2), exact
    r = np.float32(float(np.float32(4097) * m) - 0.5)
    same(model.scaled(planes(4097), m, (below, r, 1)), [0.5])
    same(requantised([4097], m, RELU, 1.0, 0, (below, r, 1)), [0])


def what_pads_is_the_zero_point():
    # One pixel of 5 + 1 with a zero point of 5: eight neighbours that count nothing.
    centred = model.Quantised(planes(6).astype(np.uint8), np.float32(1), 5).centred()
    weight = np.arange(1, 10, dtype=np.int8).reshape(1, 1, 3, 3)
    for kind in ("depthwise", "conv"):
        same(model.accumulate(Layer("it", kind, 3, 1, 1), centred, weight, np.array([100], np.int32), "torch"), [105])


def strides_and_padding_are_those_of_both_frameworks():
    x, weight, bias = planes([1, 2, 3, 4]), np.zeros((1, 1, 3, 3), np.int8), np.zeros(1, np.int32)
    weight[0, 0, 1] = [1, 10, 100]
    layer = Layer("it", "depthwise", 3, 1, 1, 2)
    # One before: columns -1 0 1 and 1 2 3. None before: columns 0 1 2 and 2 3 4. The only row is the middle one either way.
    same(model.accumulate(layer, x, weight, bias, "torch"), [210, 432])
    same(model.accumulate(layer, x, weight, bias, "tf"), [321, 43])
    same(model.accumulate(layer, x[..., :3], weight, bias, "tf"), [210, 32])


def a_pool_is_a_sum_and_one_factor():
    def pooled(q, s_in, zero, s_out, zero_out):
        value = model.Quantised(np.array(q, np.uint8).reshape(1, 1, 2, 2), np.float32(s_in), zero)
        return int(model.average(value, np.float32(s_out), zero_out).q[0, 0, 0, 0])

    # Sums of 2, 6, 7 and 10 are 0.5, 1.5, 1.75 and 2.5.
    assert [pooled(q, 1, 0, 1, 0) for q in ([0, 0, 1, 1], [0, 1, 2, 3], [0, 1, 2, 4], [1, 2, 3, 4])] == [0, 2, 2, 2]
    # -6 is -1.5, which goes to -2, and never below -zero.
    assert pooled([8, 9, 8, 9], 1, 10, 1, 3) == 1 and pooled([0, 0, 0, 0], 1, 10, 1, 3) == 0
    assert pooled([255, 255, 255, 255], 2, 0, 1, 0) == 255


def the_frame_is_never_the_largest():
    x = np.array([[5, 3, 9], [0, 7, 1], [2, 8, 4]], np.uint8)[None, None]
    same(model.max_pool(x, 0), [7, 9, 8, 8])
    same(model.max_pool(-x.astype(np.float32), -np.inf), [0, -1, 0, -1])


def factors_and_sums_out_of_range_are_refused():
    same(model.factor(np.array([2.0**-126, 2.0**64]), "it"), [2.0**-126, 2.0**64])
    for bad in (0.0, 2.0**-127, 2.0**65, np.inf, np.nan, 1e300):
        refused("it: expected a factor", model.factor, bad, "it")
    layer, weight = Layer("it", "pointwise", 1, 1, 1), np.array([[[[-127]]]], np.int8)
    most = 2**31 - 1 - 127 * 200
    model.check_sums(layer, weight, np.array([-most], np.int32), 200)
    refused("channel 0 reaches 2147483648", model.check_sums, layer, weight, np.array([-most - 1], np.int32), 200)
    refused("pool", model.average, model.Quantised(np.zeros((1, 1, 2904, 2904), np.uint8), np.float32(1), 0), np.float32(1), 0)


def rounded(exact):
    """The f32 nearest to a fraction, halves to even. For normal numbers."""
    if exact == 0:
        return 0.0
    exponent = 0
    while abs(exact) * Fraction(2) ** -exponent >= 2**24:
        exponent += 1
    while abs(exact) * Fraction(2) ** -exponent < 2**23:
        exponent -= 1
    return float(round(exact * Fraction(2) ** -exponent) * Fraction(2) ** exponent)


def fused_multiply_adds_are_rounded_once():
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(3000).astype(np.float32).astype(np.float64) for _ in range(2))
    c = rng.standard_normal(3000)
    # Many nearly cancel, and many are hit by a far smaller product.
    c[:1000] = -a[:1000] * b[:1000] * (1 + rng.integers(-3, 4, 1000) * 2.0**-23)
    a[1000:2000] *= 2.0**-24
    c = c.astype(np.float32).astype(np.float64)
    found = model.fma(a, b, c)
    expected = [rounded(Fraction(x) * Fraction(y) + Fraction(z)) for x, y, z in zip(a, b, c)]
    same(found, expected)
    # 1 + 2^-24 + 2^-60 is more than half a step above 1, though not in f64.
    same(model.fma(np.array([2.0**-12 + 2.0**-30]), np.array([2.0**-12]), np.array([1.0])), [1 + 2.0**-23])
    same(model.fma(np.array([2.0**-30]), np.array([2.0**-30]), np.array([1 + 3 * 2.0**-23])), [1 + 3 * 2.0**-23])


def weights_are_packed_as_documented():
    array = np.arange(1, 1 + 18 * 6 * 9, dtype=np.int32).reshape(18, 6, 3, 3)
    packed = mnx_file.pack(array, "dense16x4").reshape(-1)
    lanes, group, cin = 16, 4, 6
    for o, c, k in [(0, 0, 0), (17, 5, 8), (15, 3, 4), (16, 4, 1), (3, 5, 7)]:
        at = (((o // lanes * -(-cin // group) + c // group) * 9 + k) * lanes + o % lanes) * group + c % group
        assert packed[at] == array[o, c].reshape(-1)[k]
    same(mnx_file.unpack(packed, [18, 6, 3, 3], "dense16x4", "it"), array)
    assert packed.size == 2 * 2 * 9 * 16 * 4


def networks_are_spelled_out():
    spec = goldens.SANDGLASS
    blocks = {block.name: block for block in build(spec).blocks}
    # 0.35 of 28 channels is 9.8; a stage that keeps its channels loses its stride; a last stage of width under 1 is not scaled.
    assert blocks["features.4"].shortcut == 10 and blocks["features.4"].layers[-1].stride == 1
    assert [layer.name for layer in blocks["features.2"].layers] == ["features.2.conv.0", "features.2.conv.2"]
    assert blocks["features.7"].layers[-1].cout == 53 and blocks["features.7"].shortcut == 0
    bottleneck = build(goldens.BOTTLENECK).blocks[3]
    assert (bottleneck.projection.name, bottleneck.layers[1].cin, bottleneck.activation) == ("layer2.0.downsample.0", 13, RELU6)
    refused("expected the key 'stem'", build, {key: value for key, value in spec.items() if key != "stem"})
    refused("expected a kind of block, found 'cube'", build, spec | {"stages": [spec["stages"][0] | {"block": "cube"}]})


def resealed(data, change):
    """The file with another header, whose checksum is right."""
    length = struct.unpack("<Q", data[8:16])[0]
    old_start = mnx_file.next_multiple(24 + length)
    text = json.dumps(change(json.loads(data[24 : 24 + length]))).encode()
    prefix = data[:8] + struct.pack("<QII", len(text), zlib.crc32(text), 0)
    return (prefix + text).ljust(mnx_file.next_multiple(24 + len(text)), b"\0") + data[old_start:]


def damaged_files_are_refused():
    path = GOLDENS / "inverted-tf.mnx"
    data = path.read_bytes()
    assert mnx_file.encode(mnx_file.read(path)) == data
    start = mnx_file.next_multiple(24 + struct.unpack("<Q", data[8:16])[0])

    def with_arithmetic(names):
        return lambda header: header | {"arithmetic": names(header["arithmetic"])}

    cases = [
        (b"GIF8" + data[4:], "expected a weight file"),
        (data[:10], "expected at least 24 bytes"),
        (data[:4] + b"\3\0\0\0" + data[8:], "expected 1 or 2, found 3"),
        (data[:30] + b"?" + data[31:], "checksum of the header"),
        (data[:-1], "expected a file of"),
        (data + b"\0" * 64, "expected a file of"),
        (data[: start + 200] + b"\1" + data[start + 201 :], "features.0.0.weight"),
        (data[: start + 10] + b"\1" + data[start + 11 :], "input.scale: expected zeros after it"),
        (resealed(data, with_arithmetic(lambda names: names[1:])), "arithmetic: expected a name for each"),
        (resealed(data, with_arithmetic(lambda names: ["int4", *names[1:]])), "expected f32 or int8, found 'int4'"),
        (resealed(data, with_arithmetic(lambda names: ["f32", *names[1:]])), "tensors: expected"),
        (resealed(data, lambda header: header | {"extra": 1}), "expected an object with the keys"),
        (resealed(data, lambda header: {key: value for key, value in header.items() if key != "tensors"}), "with the keys"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for number, (bad, what) in enumerate(cases):
            at = Path(folder) / f"{number}.mnx"
            at.write_bytes(bad)
            refused(what, mnx_file.read, at)
    file = mnx_file.read(path)
    file.tensors["input.scale"][0] = 0
    refused("input.scale: expected scales", mnx_file.encode, file)


def classifiers_in_16_bits_are_kept():
    whole = mnx_file.read(ROOT / "testdata" / "weights" / "every-kind-v1.mnx")
    name = f"{whole.network.classifier.name}.weight"
    weights = whole.tensors[name]
    with tempfile.TemporaryDirectory() as folder:
        for dtype, halves in [("bf16", (weights.view(np.uint32) & 0xFFFF0000).view(np.float32)), ("f16", np.float32(np.float16(weights)))]:
            file = mnx_file.File(whole.spec, whole.arithmetic, whole.tensors | {name: halves}, dtype)
            path = Path(folder) / f"{dtype}.mnx"
            mnx_file.write(path, file)
            found = mnx_file.read(path)
            assert found.classifier_dtype == dtype and path.read_bytes()[4] == 2
            same(found.tensors[name], halves)
            assert mnx_file.encode(found) == path.read_bytes()
            file.tensors[name] = weights + np.float32(2.0**-20)
            refused(f"expected numbers of {dtype}", mnx_file.encode, file)
            file.tensors[name] = np.full_like(weights, np.inf)
            refused("expected finite values", mnx_file.encode, file)


def goldens_are_what_the_model_computes():
    cases = json.loads((GOLDENS / "cases.json").read_text())["cases"]
    bits = [line for line in (GOLDENS / "bits.txt").read_text().splitlines() if line[0] != "#"]
    assert len(cases) == len(bits) and len(cases) >= 19
    with_blocks = 0
    for case, line in zip(cases, bits):
        file, folder = mnx_file.read(GOLDENS / case["weights"]), GOLDENS / case["name"]
        x = np.load(folder / "input.npy")
        logits, blocks = goldens.results(file, x)
        same(logits, np.load(folder / "output.npy"))
        if (folder / "blocks").exists():
            with_blocks += 1
            for index, block in enumerate(blocks):
                same(block, np.load(folder / "blocks" / f"{index:02}.npy"))
        assert line == goldens.bits_line(case["name"], logits, blocks), line
        assert case["int8"] == ("f32" not in file.arithmetic)
        assert goldens.sure(file, x), case["name"]
        for key, value in goldens.errors(file, x, logits, blocks).items():
            assert json.dumps(value) == json.dumps(case[key]), (case["name"], key)
    assert with_blocks == len({case["weights"] for case in cases})


def the_command_writes_logits_and_blocks():
    def run(*args):
        return subprocess.run([sys.executable, SCRIPT, *args], capture_output=True, text=True)

    with tempfile.TemporaryDirectory() as name:
        folder, case = Path(name), GOLDENS / "basic" / "37x50-n2"
        ran = run(GOLDENS / "basic.mnx", case / "input.npy", folder / "y.npy", "--dump-blocks", folder / "blocks")
        assert ran.returncode == 0 and ran.stdout.endswith("2 x 5\n"), ran
        assert (folder / "y.npy").read_bytes() == (case / "output.npy").read_bytes()
        for file in (case / "blocks").iterdir():
            assert (folder / "blocks" / file.name).read_bytes() == file.read_bytes()
        np.save(folder / "flat.npy", np.zeros((3, 4), np.float32))
        for args, what in [
            ((folder / "none.mnx", case / "input.npy"), "No such file"),
            ((case / "input.npy", case / "input.npy"), "expected a weight file"),
            ((GOLDENS / "basic.mnx", folder / "flat.npy"), "expected f32 of N x 3 x H x W, found float32 of 3x4"),
            ((GOLDENS / "basic.mnx", GOLDENS / "basic.mnx"), "expected an array of NumPy"),
        ]:
            ran = run(*args, folder / "never.npy")
            assert ran.returncode == 1 and what in ran.stderr and len(ran.stderr.splitlines()) == 1, ran
        assert not (folder / "never.npy").exists()
        assert run(folder).returncode == 2


if __name__ == "__main__":
    for test in [
        input_is_quantised_by_one_division_and_halves_go_to_even,
        halves_go_to_even_on_both_sides_of_zero,
        results_are_clamped_before_the_zero_point_is_added,
        a_sum_is_rounded_to_f32_before_it_is_scaled,
        a_shortcut_covers_its_channels_and_is_rounded_by_itself,
        what_pads_is_the_zero_point,
        strides_and_padding_are_those_of_both_frameworks,
        a_pool_is_a_sum_and_one_factor,
        the_frame_is_never_the_largest,
        factors_and_sums_out_of_range_are_refused,
        fused_multiply_adds_are_rounded_once,
        weights_are_packed_as_documented,
        networks_are_spelled_out,
        damaged_files_are_refused,
        classifiers_in_16_bits_are_kept,
        goldens_are_what_the_model_computes,
        the_command_writes_logits_and_blocks,
    ]:
        test()
        print(f"{test.__name__}: ok")
