#!/usr/bin/env python3
"""Makes a safetensors file, as `mnx-infer convert` takes it, of a PyTorch checkpoint (.pth, .pt, .pth.tar).

    python tools/pth_to_safetensors.py model.pth                  # writes model.safetensors beside it
    python tools/pth_to_safetensors.py checkpoint.pth.tar -o w.safetensors --key state_dict_ema

Needs PyTorch and safetensors: pip install torch safetensors

Reads what torch.save writes, the zip files since PyTorch 1.6 as well as the older plain pickles, with
weights_only=True: tensors and plain containers are all that is built, and no code from the file runs. (Tar archives
of PyTorch before 0.1.10 are not read, nor are whole modules saved in place of their state dict.)
The state dict may lie under "state_dict", "model" and the like; names stay as they are but for the prefix "module."
of DataParallel, which goes. Values and dtypes do not change; entries that are no tensors are listed and left out.
"""

import argparse
import collections.abc
import os
import pathlib
import re
import sys
import tempfile
import warnings

# Where training scripts put the weights, the plain ones first: the averaged ones have to be asked for by --key.
KEYS = ("state_dict", "model", "model_state_dict", "net", "ema", "model_ema", "state_dict_ema", "ema_state_dict")
SUFFIX = re.compile(r"(\.pth|\.pt|\.bin|\.ckpt)?(\.tar)?$", re.IGNORECASE)


class Refused(Exception):
    """One line: what was expected, what was found."""


def shown(value: object, most: int = 60) -> str:
    """A stranger's text on one line."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def load(path: pathlib.Path) -> object:
    """The file's content, of tensors and plain containers alone."""
    import torch

    if not path.is_file():
        raise Refused("expected a file, found " + ("a folder" if path.is_dir() else "none"))
    try:
        # Training scripts store their arguments; a Namespace is a plain container as well.
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # Unpickling strangers' bytes can fail with anything.
        # PyTorch's advice to load it otherwise stands before and after the reason.
        reason = " ".join(str(e).split()).split("WeightsUnpickler error: ")[-1].split(" Check the documentation")[0]
        blocked = re.search(r"GLOBAL ([\w.]+)", reason)
        if blocked:
            raise Refused(f"expected tensors and plain containers, found {blocked.group(1)}: to make it would run code") from None
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
    found = f"the keys {shown(list(content), 200)}" if isinstance(content, collections.abc.Mapping) else type(content).__name__
    raise Refused(f"expected a state dict, or one under {', '.join(KEYS)} (or --key), found {found}")


def tensors(state: collections.abc.Mapping, keep_prefix: bool) -> tuple[dict, list[str]]:
    """Tensors of their own memory by name, and what was left out."""
    import torch

    kept, left_out = {}, []
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            left_out.append(f"{shown(key)}, no tensor ({type(value).__name__})")
            continue
        if key == "n_averaged":
            left_out.append("'n_averaged', a counter of averaged models")
            continue
        name = key if keep_prefix else key.removeprefix("module.")
        if name in kept:
            raise Refused(f"expected {shown(name)} once, found it with and without the prefix module.")
        if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.device.type != "cpu":
            kind = "quantized" if value.is_quantized else f"{value.layout} {value.dtype} on {value.device.type}"
            raise Refused(f"{shown(name)}: expected a dense tensor of real numbers, found {kind}")
        # Tensors may share memory or be slices of a larger one: safetensors wants each by itself.
        kept[name] = value.detach().clone(memory_format=torch.contiguous_format)
    return kept, left_out


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
        state, path = state_dict(load(args.input), args.key)
        kept, left_out = tensors(state, args.keep_prefix)
        where = output
        write(output, kept)
    except ImportError as e:
        print(f"error: PyTorch and safetensors are needed: pip install torch safetensors ({e})", file=sys.stderr)
        return 1
    except Refused as e:
        print(f"error: {where}: {e}", file=sys.stderr)
        return 1
    for entry in left_out:
        print(f"left out: {entry}", file=sys.stderr)
    elements = sum(t.numel() for t in kept.values())
    print(f"{output}: {len(kept)} tensors, {elements:,} elements" + (f", from {path!r}" if path else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
