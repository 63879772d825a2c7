#!/usr/bin/env python3
"""Makes a safetensors file, as `mnx-infer convert` takes it, of a PyTorch checkpoint (.pth, .pt, .pth.tar).

    python tools/pth_to_safetensors.py model.pth                  # writes model.safetensors beside it
    python tools/pth_to_safetensors.py checkpoint.pth.tar -o w.safetensors --key state_dict_ema

Needs PyTorch and safetensors: pip install torch safetensors

Reads what torch.save writes, the zip files since PyTorch 1.6 as well as the older plain pickles. Tensors and plain
containers are all that is built, and no code from the file runs: whatever else lies beside the weights (NumPy's numbers,
paths, dates, a configuration) is passed over, and said; what would start programs or open files is refused. (Tar
archives of PyTorch before 0.1.10 are not read, nor are whole modules saved in place of their state dict.)
The state dict may lie under "state_dict", "model" and the like; names stay as they are but for the prefix "module."
of DataParallel, which goes: `mnx-infer convert` takes off others. Values and dtypes do not change; entries that are no
tensors are listed and left out.
"""

import _compat_pickle
import argparse
import collections
import collections.abc
import importlib
import os
import pathlib
import pickle
import re
import sys
import tempfile
import types
import warnings
import zipfile

# Where training scripts put the weights, the plain ones first: the averaged ones have to be asked for by --key.
KEYS = ("state_dict", "model", "model_state_dict", "net", "ema", "model_ema", "state_dict_ema", "ema_state_dict")
SUFFIX = re.compile(r"(\.pth|\.pt|\.bin|\.ckpt)?(\.tar)?$", re.IGNORECASE)


# Functions that are called while a file is read; besides these, dtypes and the like, nothing is looked up by its name.
REBUILD = ("tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state", "sparse_tensor", "qtensor")
CALLED = {"torch.serialization._get_layout", *(f"torch._utils._rebuild_{name}" for name in REBUILD)}
# Plain classes.
PLAIN = {
    "collections.OrderedDict": collections.OrderedDict,
    "collections.defaultdict": lambda *_: {},
    "collections.Counter": lambda *_: {},
    "torch.Size": tuple,
    **{f"builtins.{plain.__name__}": plain for plain in (set, frozenset, list, dict, tuple, int, float, bool)},
}
# Nothing of these belongs in a checkpoint: a file that has them is hostile.
HOSTILE_MODULES = {"posix", "nt", "os", "subprocess", "pty", "socket", "shutil", "runpy", "importlib", "ctypes", "webbrowser", "sys"}
HOSTILE = {
    "io.open",
    "_io.open",
    *(f"builtins.{name}" for name in ("eval", "exec", "execfile", "compile", "open", "__import__", "breakpoint", "input")),
}
# Tuples in each other, and values in a tuple and in those inside it.
DEEPEST, LARGEST_TUPLE = 100, 1_000_000
# Bytes that tensors may have more than are stored, by strides of 0.
LARGEST_EXPANDED = 1 << 26
# How files begin that are no checkpoints of torch.save.
OTHER_FILES = (
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer, not the file itself: `git lfs pull` fetches the file"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|\?xml)", re.IGNORECASE), "a page of the web: the download went wrong"),
    (re.compile(rb".{8}\{\"", re.DOTALL), "a safetensors file: mnx-infer convert takes it as it is"),
    (re.compile(rb"MNXW"), "an mnx weight file: it is converted already"),
    (re.compile(rb"\x89HDF\r\n"), "an HDF5 file"),
    (re.compile(rb"\x1f\x8b"), "a gzip file: unpack it"),
    (re.compile(rb".{257}ustar", re.DOTALL), "a tar archive: unpack it"),
)


# Files of these names are in archives of programs.
PROGRAMS = (
    ("constants.pkl", "a TorchScript program"),
    ("archive_format", "a program of torch.export (.pt2)"),
    ("serialized_exported_program.json", "a program of torch.export (.pt2)"),
)


class Refused(Exception):
    """One line: what was expected, what was found."""


class PassedOver:
    """Stands for an object of a class that is not built: whatever is done with it does nothing."""

    def __new__(cls, *_args, **_kwargs):
        return object.__new__(cls)

    def nothing(self, *_args, **_kwargs):
        return None

    __init__ = __setstate__ = __setitem__ = append = extend = add = update = nothing

    def __call__(self, *_args, **_kwargs):
        return self


def weighed(load):
    """An operation of the unpickler's that may leave a tuple, which is looked at."""

    def load_and_weigh(unpickler):
        load(unpickler)
        if unpickler.stack and type(unpickler.stack[-1]) is tuple:
            unpickler.weigh(unpickler.stack[-1])

    return load_and_weigh


def reader() -> tuple[types.ModuleType, dict]:
    """A pickle module that builds tensors and plain containers alone, and the classes that it has passed over so far."""
    import torch

    passed_over = {}

    # The one in Python, whose operations can be looked at. A state dict has some thousands of them.
    class Unpickler(pickle._Unpickler):
        dispatch = dict(pickle._Unpickler.dispatch)
        for code in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.REDUCE, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.OBJ, pickle.INST):
            dispatch[code[0]] = weighed(dispatch[code[0]])

        def weigh(self, made):
            """Refuses tuples in tuples without end: to hash one takes all of the stack, or all of the time."""
            known = self.__dict__.setdefault("tuples", {})
            inner = [known[id(part)] for part in made if id(part) in known]
            depth = 1 + max((depth for _, depth, _ in inner), default=0)
            parts = len(made) + sum(parts for _, _, parts in inner)
            if depth > DEEPEST or parts > LARGEST_TUPLE:
                raise Refused("expected tensors and plain containers, found tuples in tuples without end")
            known[id(made)] = made, depth, parts

        def find_class(self, module, name):
            # Older protocols have the names of Python 2.
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
            full = f"{module}.{name}"
            if full in PLAIN:
                return PLAIN[full]
            if full in CALLED:
                return getattr(importlib.import_module(module), name)
            kinds = (torch.dtype, torch.layout, torch.qscheme)
            if module == "torch" and isinstance(getattr(torch, name, None), kinds):
                return getattr(torch, name)
            if full in HOSTILE or module.split(".")[0] in HOSTILE_MODULES:
                raise Refused(f"expected tensors and plain containers, found {full}: to make it would run code")
            return passed_over.setdefault(full, type(full, (PassedOver,), {}))

    module = types.ModuleType("reader")
    module.Unpickler, module.load = Unpickler, lambda file, **options: Unpickler(file, **options).load()
    return module, passed_over


def shown(value: object, most: int = 60) -> str:
    """A stranger's text on one line."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def load(path: pathlib.Path) -> tuple[object, list[str]]:
    """The file's content, of tensors and plain containers alone, and the names of what was passed over."""
    import torch

    if not path.is_file():
        raise Refused("expected a file, found " + ("a folder" if path.is_dir() else "none"))
    module, passed_over = reader()
    try:
        with open(path, "rb") as file:
            start = file.read(600)
        for pattern, found in OTHER_FILES:
            if pattern.match(start):
                raise Refused(f"expected a checkpoint of torch.save, found {found}")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                members = {name.rsplit("/", 1)[-1] for name in archive.namelist()}
            for member, found in PROGRAMS:
                if member in members:
                    raise Refused(f"expected a checkpoint of torch.save, found {found}: save the module's state_dict()")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Whatever weights_only is, the reader decides what is built.
            return torch.load(path, map_location="cpu", weights_only=False, pickle_module=module), sorted(passed_over)
    except Refused:
        raise
    except Exception as e:  # Unpickling strangers' bytes can fail with anything.
        reason = " ".join(str(e).split())
        raise Refused(f"expected a checkpoint of torch.save, found something else ({type(e).__name__}: {shown(reason)})") from None


def has_tensors(value: object) -> bool:
    import torch

    return isinstance(value, collections.abc.Mapping) and any(isinstance(v, torch.Tensor) for v in value.values())


def state_dict(content: object, key: str | None) -> tuple[collections.abc.Mapping, str]:
    """The mapping that holds the tensors, and the keys that lead to it."""
    if key is not None:
        for part in key.split("."):
            if not isinstance(content, collections.abc.Mapping) or part not in content:
                known = [str(k) for k in content] if isinstance(content, collections.abc.Mapping) else []
                raise Refused(f"expected the key {shown(part)} of --key {key}, found {shown(known, 200)}")
            content = content[part]
        if not has_tensors(content):
            raise Refused(f"expected tensors under --key {key}, found {type(content).__name__} without any")
        return content, key
    path = []
    while isinstance(content, collections.abc.Mapping) and len(path) < 4:
        inner = [k for k in KEYS if isinstance(content.get(k), collections.abc.Mapping)]
        if not inner:
            break
        for other in inner[1:]:
            print(f"not taken: {'.'.join([*path, other])} (--key)", file=sys.stderr)
        content = content[inner[0]]
        path.append(inner[0])
    # Looked at last: beside a state dict there may be a tensor of, say, the best accuracy.
    if has_tensors(content):
        return content, ".".join(path)
    raise Refused(f"expected a state dict, or one under {', '.join(KEYS)} (or --key), found {instead(content)}")


def instead(content: object) -> str:
    """What is there in place of tensors, and what helps."""
    if isinstance(content, PassedOver):
        return f"an object ({type(content).__name__}): save its state_dict()"
    if not isinstance(content, collections.abc.Mapping):
        return type(content).__name__
    objects = {key: type(value).__name__ for key, value in content.items() if isinstance(value, PassedOver)}
    for key in KEYS:
        if key in objects:
            return f"an object under {key} ({objects[key]}): save its state_dict()"
    if objects and len(objects) == len(content):
        key, kind = next(iter(objects.items()))
        arrays = ", arrays of NumPy: save them as tensors (torch.from_numpy)" if kind.startswith("numpy.") else ""
        return f"{len(objects)} values that are no tensors, such as {shown(key)} ({kind}){arrays}"
    return f"the keys {shown(list(content), 200)}"


def tensors(state: collections.abc.Mapping, keep_prefix: bool) -> tuple[dict, list[str]]:
    """Tensors of their own memory by name, and what was left out or changed."""
    import torch

    kept, notes, prefixed, expanded = {}, [], 0, 0
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            notes.append(f"left out: {shown(key)}, no tensor ({type(value).__name__})")
            continue
        if key == "n_averaged":
            notes.append("left out: 'n_averaged', a counter of averaged models")
            continue
        name = key if keep_prefix else key.removeprefix("module.")
        prefixed += name != key
        if name in kept:
            raise Refused(f"expected {shown(name)} once, found it with and without the prefix module.")
        if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.device.type != "cpu":
            kind = "quantized" if value.is_quantized else f"{value.layout} {value.dtype} on {value.device.type}"
            raise Refused(f"{shown(name)}: expected a dense tensor of real numbers, found {kind}")
        expanded += max(0, value.numel() * value.element_size() - value.untyped_storage().nbytes())
        if expanded > LARGEST_EXPANDED:
            raise Refused(f"{shown(name)}: expected a tensor that is stored, found {value.numel():,} elements made of fewer")
        # Tensors may share memory or be slices of a larger one: safetensors wants each by itself.
        kept[name] = value.detach().clone(memory_format=torch.contiguous_format)
    if prefixed:
        notes.append(f"taken off: the prefix module. of {prefixed} names")
    return kept, notes


def write(path: pathlib.Path, kept: dict) -> None:
    """All of it or nothing: a temporary file beside `path` is renamed."""
    import safetensors.torch

    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        try:
            safetensors.torch.save_file(kept, name)
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as e:
        raise Refused(f"cannot be written: {e.strerror or e}") from None
    except safetensors.SafetensorError as e:
        raise Refused(f"cannot be written: {e}") from None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=pathlib.Path, metavar="CHECKPOINT.pth")
    parser.add_argument("-o", "--output", type=pathlib.Path, metavar="W.safetensors", help="default: beside the checkpoint")
    parser.add_argument("--key", metavar="KEY[.KEY]", help=f"where the state dict lies; default: the first there is of {', '.join(KEYS)}")
    parser.add_argument("--keep-prefix", action="store_true", help="leave the prefix module. in the names")
    args = parser.parse_args(arguments)
    output = args.output or args.input.with_name(SUFFIX.sub("", args.input.name) + ".safetensors")
    where = args.input
    try:
        import safetensors.torch  # noqa: F401
        import torch  # noqa: F401

        if output.exists() and args.input.exists() and output.samefile(args.input):
            raise Refused("expected another file than the input as output, found the same")
        content, passed_over = load(args.input)
        state, path = state_dict(content, args.key)
        kept, notes = tensors(state, args.keep_prefix)
        where = output
        write(output, kept)
    except ImportError as e:
        print(f"error: PyTorch and safetensors are needed: pip install torch safetensors ({e})", file=sys.stderr)
        return 1
    except Refused as e:
        print(f"error: {where}: {e}", file=sys.stderr)
        return 1
    except Exception as e:  # Strangers' objects can fail with anything, also when they are looked at.
        reason = shown(" ".join(str(e).split()))
        print(f"error: {where}: expected a checkpoint of torch.save, found something else ({type(e).__name__}: {reason})", file=sys.stderr)
        return 1
    if passed_over:
        notes.append("passed over, as to make them would run code: " + ", ".join(shown(name) for name in passed_over))
    for note in notes:
        print(note, file=sys.stderr)
    elements = sum(t.numel() for t in kept.values())
    print(f"{output}: {len(kept)} tensors, {elements:,} elements" + (f", from {path!r}" if path else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
