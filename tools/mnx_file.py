"""Reads and writes weight files (.mnx), versions 1 and 2: docs/weight-file.md.

    file = mnx_file.read(path)      # a File; raises Bad with one line that says what is wrong
    mnx_file.write(path, file)

`File.tensors` maps names to arrays in the dimensions before packing. A classifier's weights that are stored in 16 bits are the
float32 numbers that they stand for.
"""

import json
import os
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import mnx_network
from mnx_network import Bad

MAGIC, PREFIX, ALIGNMENT, LONGEST_HEADER = b"MNXW", 24, 64, 1 << 20
# Name: lanes, group.
PACKINGS = {
    "pw16": (16, 1), "dense16": (16, 1), "dw8": (8, 1), "linear16": (16, 1), "bias16": (16, 1),
    "pw16x4": (16, 4), "dense16x4": (16, 4), "dw16": (16, 1), "linear16x4": (16, 4), "plain": (1, 1),
}  # fmt: skip
F32 = {"dense": "dense16", "conv": "dense16", "depthwise": "dw8", "pointwise": "pw16", "linear": "linear16"}
INT8 = {"dense": "dense16x4", "conv": "dense16x4", "depthwise": "dw16", "pointwise": "pw16x4", "linear": "linear16x4"}
# As they are stored: bf16 is the upper half of an f32.
DTYPES = {"f32": np.float32, "bf16": np.uint16, "f16": np.float16, "u8": np.uint8, "i8": np.int8, "i32": np.int32}
CLASSIFIER_DTYPES = ["f32", "bf16", "f16"]
SMALLEST_SCALE, LARGEST_SCALE = np.float32(2.0**-126), np.float32(2.0**64)


@dataclass
class File:
    spec: dict
    # A name per layer, "f32" or "int8".
    arithmetic: list
    tensors: dict = field(default_factory=dict)
    # How the weights of a classifier in f32 are stored.
    classifier_dtype: str = "f32"

    def __post_init__(self):
        self.network = mnx_network.build(self.spec)
        layers = self.network.layers()
        if len(self.arithmetic) != len(layers):
            raise Bad(f"arithmetic: expected a name for each of {len(layers)} layers, found {len(self.arithmetic)}")
        unknown = [name for name in self.arithmetic if name not in ("f32", "int8")]
        if unknown:
            raise Bad(f"arithmetic: expected f32 or int8, found {unknown[0]!r}")
        self.of_layer = dict(zip((layer.name for layer in layers), self.arithmetic))
        self.quantised = quantised_values(self.network, self.of_layer)


def quantised_values(network, arithmetic):
    """Names of the values that are u8: those that an int8 layer makes or reads, except the logits."""
    found = {f"{layer.name}.output" for layer in network.layers() if arithmetic[layer.name] == "int8"}
    value = "input"
    for block in network.blocks:
        shortcut = value
        for layer in block.layers:
            if arithmetic[layer.name] == "int8":
                found.add(value)
            value = f"{layer.name}.output"
        if block.projection:
            if arithmetic[block.projection.name] == "int8":
                found.add(shortcut)
            shortcut = f"{block.projection.name}.output"
        if block.shortcut and arithmetic[block.layers[-1].name] == "int8":
            found.add(shortcut)
    if arithmetic[network.classifier.name] == "int8":
        found.add("pool.output")
    return found - {f"{network.classifier.name}.output"}


def rows(file):
    """The tensors that the network and the arithmetic ask for, in order: name, dtype, dims, packing."""

    def value(name):
        return [(f"{name}.scale", "f32", [1], "plain"), (f"{name}.zero_point", "u8", [1], "plain")] if name in file.quantised else []

    found = value("input")
    for layer in file.network.layers():
        if layer.kind == "linear":
            found += value("pool.output")
        int8 = file.of_layer[layer.name] == "int8"
        real = file.classifier_dtype if layer.kind == "linear" else "f32"
        found.append((f"{layer.name}.weight", "i8" if int8 else real, layer.dims(), (INT8 if int8 else F32)[layer.kind]))
        found.append((f"{layer.name}.bias", "i32" if int8 else "f32", [layer.cout], "bias16"))
        if int8:
            found.append((f"{layer.name}.weight.scale", "f32", [layer.cout], "bias16"))
        found += value(f"{layer.name}.output")
    return found


def packed_dims(dims, packing):
    lanes, group = PACKINGS[packing]
    cin = dims[1] if len(dims) > 1 else 1
    return -(-dims[0] // lanes), -(-cin // group), int(np.prod(dims[2:])), lanes, group


def pack(array, packing):
    """[Cout, Cin, K, K] as [Cout / lanes][Cin / group][K * K][lanes][group], zeros in places that belong to no channel."""
    outer, inner, taps, lanes, group = packed_dims(array.shape, packing)
    flat = array.reshape(array.shape[0], -1, taps)
    full = np.zeros((outer * lanes, inner * group, taps), array.dtype)
    full[: flat.shape[0], : flat.shape[1]] = flat
    return np.ascontiguousarray(full.reshape(outer, lanes, inner, group, taps).transpose(0, 2, 4, 1, 3))


def unpack(array, dims, packing, name):
    outer, inner, taps, lanes, group = packed_dims(dims, packing)
    full = array.reshape(outer, inner, taps, lanes, group).transpose(0, 3, 1, 4, 2).reshape(outer * lanes, inner * group, taps)
    cin = dims[1] if len(dims) > 1 else 1
    if full[dims[0] :].view(f"u{array.itemsize}").any() or full[:, cin:].view(f"u{array.itemsize}").any():
        raise Bad(f"{name}: expected zeros in unused lanes, found other values")
    return full[: dims[0], :cin].reshape(dims).copy()


def widened(array, dtype):
    """The numbers that stored ones stand for."""
    if dtype == "bf16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if dtype == "f16" else array


def narrowed(array, dtype, name):
    """As they are stored, which loses nothing."""
    if dtype not in ("bf16", "f16"):
        return array
    if array.dtype != np.float32:
        raise Bad(f"{name}: expected float32, found {array.dtype}")
    with np.errstate(over="ignore"):
        stored = (array.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bf16" else array.astype(np.float16)
    if not (widened(stored, dtype) == array).all():
        raise Bad(f"{name}: expected numbers of {dtype}, found {array[widened(stored, dtype) != array][0]}")
    return stored


def check_values(name, dtype, array):
    """Refuses what no tensor of this name and type may hold."""
    if dtype == "i8" and (array == -128).any():
        raise Bad(f"{name}: expected weights from -127 to 127, found -128")
    if name.endswith(".scale") and not ((array >= SMALLEST_SCALE) & (array <= LARGEST_SCALE)).all():
        bad = array[~((array >= SMALLEST_SCALE) & (array <= LARGEST_SCALE))][0]
        raise Bad(f"{name}: expected scales from 2^-126 to 2^64, found {bad}")
    if dtype in CLASSIFIER_DTYPES and not np.isfinite(array).all():
        raise Bad(f"{name}: expected finite values, found {array[~np.isfinite(array)][0]}")


def check_prefix(data):
    """The version, and the header's bytes."""
    if data[:4] != MAGIC:
        raise Bad(f"expected a weight file, which begins with {MAGIC}, found {data[:4]}")
    if len(data) < PREFIX:
        raise Bad(f"expected at least {PREFIX} bytes, found {len(data)}")
    version, length, crc, reserved = struct.unpack("<IQII", data[4:PREFIX])
    if version not in (1, 2):
        raise Bad(f"version of the format: expected 1 or 2, found {version}")
    if length > min(LONGEST_HEADER, len(data) - PREFIX):
        raise Bad(f"header: expected at most {min(LONGEST_HEADER, len(data) - PREFIX)} bytes, found {length}")
    header = data[PREFIX : PREFIX + length]
    if zlib.crc32(header) != crc:
        raise Bad(f"checksum of the header: expected {crc:08x}, found {zlib.crc32(header):08x}")
    if reserved:
        raise Bad(f"reserved bytes: expected zeros, found {reserved:#x}")
    return version, header


def next_multiple(length):
    return -(-length // ALIGNMENT) * ALIGNMENT


def read(path):
    data = Path(path).read_bytes()
    version, text = check_prefix(data)
    try:
        header = json.loads(text)
    except ValueError as error:
        raise Bad(f"header: expected JSON, found this: {error}") from None
    keys = {"spec", "tensors"} | ({"arithmetic"} if version == 2 else set())
    if not isinstance(header, dict) or set(header) != keys:
        raise Bad(f"header: expected an object with the keys {sorted(keys)}, found {sorted(header)}")
    network = mnx_network.build(header["spec"])
    file = File(header["spec"], header["arithmetic"] if version == 2 else ["f32"] * len(network.layers()))
    start = next_multiple(PREFIX + len(text))
    if any(data[PREFIX + len(text) : start]):
        raise Bad("padding after the header: expected zeros")
    stored = [row["dtype"] for row in header["tensors"] if row["name"] == f"{network.classifier.name}.weight"]
    file.classifier_dtype = next((dtype for dtype in stored if version == 2 and dtype in CLASSIFIER_DTYPES), "f32")
    expected, table, at = rows(file), header["tensors"], 0
    if len(table) != len(expected):
        raise Bad(f"tensors: expected {len(expected)} rows, found {len(table)}")
    for found, (name, dtype, dims, packing) in zip(table, expected):
        length = int(np.prod(packed_dims(dims, packing))) * np.dtype(DTYPES[dtype]).itemsize
        row = dict(name=name, dtype=dtype, dims=dims, packing=packing, offset=at, length=length, crc32=found.get("crc32"))
        if found != row:
            raise Bad(f"tensors: expected {row}, found {found}")
        content = data[start + at : start + at + length]
        at = next_multiple(at + length)
        if len(data) < start + at:
            raise Bad(f"{name}: expected a file of {start + at} bytes at least, found {len(data)}")
        if any(data[start + row["offset"] + length : start + at]):
            raise Bad(f"{name}: expected zeros after it")
        if zlib.crc32(content) != row["crc32"]:
            raise Bad(f"{name}: expected the checksum {row['crc32']}, found {zlib.crc32(content)}")
        array = widened(unpack(np.frombuffer(content, DTYPES[dtype]), dims, packing, name), dtype)
        check_values(name, dtype, array)
        file.tensors[name] = array
    if len(data) != start + at:
        raise Bad(f"expected a file of {start + at} bytes, found {len(data)}")
    return file


def encode(file):
    """The bytes of a weight file: version 1 if all layers are f32, and stored so."""
    payload, table = bytearray(), []
    for name, dtype, dims, packing in rows(file):
        array = narrowed(file.tensors[name], dtype, name)
        if array.dtype != DTYPES[dtype] or list(array.shape) != dims:
            raise Bad(f"{name}: expected {dtype} of {dims}, found {array.dtype} of {list(array.shape)}")
        check_values(name, dtype, file.tensors[name])
        content = pack(array, packing).tobytes()
        row = dict(name=name, dtype=dtype, dims=dims, packing=packing, offset=len(payload), length=len(content), crc32=zlib.crc32(content))
        table.append(row)
        payload += content.ljust(next_multiple(len(content)), b"\0")
    version = 1 if all(dtype == "f32" for _, dtype, _, _ in rows(file)) else 2
    header = {"spec": file.spec} | ({"arithmetic": file.arithmetic} if version == 2 else {}) | {"tensors": table}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    prefix = MAGIC + struct.pack("<IQII", version, len(text), zlib.crc32(text), 0)
    return (prefix + text).ljust(next_multiple(PREFIX + len(text)), b"\0") + bytes(payload)


def write(path, file):
    save(path, encode(file))


def save(path, data):
    """Nothing is written half: a temporary file is renamed."""
    temporary = Path(f"{path}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
