#!/usr/bin/env python3
"""Makes a safetensors file, as `mnx-infer convert` takes it, of a Keras model (.keras).

    python tools/keras_to_safetensors.py mobilenetv2.keras        # writes mobilenetv2.safetensors beside it

Needs Keras with TensorFlow (or another backend) and safetensors: pip install tensorflow safetensors

Tensors have the names of Keras's layers and PyTorch's parts (weight, bias, running_mean, running_var) and order of
dimensions: `convert` knows the names of keras.applications.MobileNetV2. No code from the file runs (safe_mode). The
epsilon of the batch norms, which a checkpoint does not hold, has to be the same in all of them and is said: 1e-3 is what
`convert` assumes of Keras's names, --bn-eps gives another.
"""

import argparse
import pathlib
import sys


class Refused(Exception):
    """One line: what was expected, what was found."""


def tensors(model) -> tuple[dict, set[float]]:
    """Tensors by name, and the epsilons of the batch norms."""
    import numpy as np

    # As Keras calls them, and what moves the dimensions of kernels to PyTorch's places.
    parts = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    order = {"Conv2D": (3, 2, 0, 1), "DepthwiseConv2D": (2, 3, 0, 1), "Dense": (1, 0)}
    kept, epsilons = {}, set()

    def add(layers) -> None:
        for layer in layers:
            if hasattr(layer, "layers"):
                add(layer.layers)
                continue
            kind = type(layer).__name__
            if kind == "BatchNormalization":
                epsilons.add(layer.epsilon)
            for variable in layer.weights:
                values = np.asarray(variable, dtype=np.float32)
                name = variable.name.split("/")[-1].split(":")[0]
                if name in ("kernel", "depthwise_kernel") and kind in order:
                    name, values = "weight", values.transpose(order[kind])
                name = f"{layer.name}.{parts.get(name, name)}"
                if name in kept:
                    raise Refused(f"expected the layers' names once, found {name!r} twice")
                kept[name] = np.ascontiguousarray(values)

    add(model.layers)
    return kept, epsilons


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=pathlib.Path, metavar="MODEL.keras")
    parser.add_argument("-o", "--output", type=pathlib.Path, metavar="W.safetensors", help="default: beside the model")
    args = parser.parse_args()
    output = args.output or args.input.with_suffix(".safetensors")
    where = args.input
    try:
        import keras
        import safetensors.numpy

        if output == args.input:
            raise Refused("expected another file than the input as output, found the same")
        if not args.input.is_file():
            raise Refused("expected a file, found " + ("a folder" if args.input.is_dir() else "none"))
        if args.input.suffix != ".keras":
            again = "keras.models.load_model(path).save('model.keras') makes one of a whole model"
            raise Refused(f"expected a file MODEL.keras, as model.save() writes it, found {args.input.suffix or 'no suffix'}: {again}")
        try:
            model = keras.models.load_model(args.input, compile=False, safe_mode=True)
        except Exception as e:  # Strangers' files can fail with anything.
            raise Refused(f"expected a Keras model, found something else ({' '.join(str(e).split())[:200]})") from None
        kept, epsilons = tensors(model)
        part = output.with_name(f".{output.name}.part")
        where = output
        try:
            safetensors.numpy.save_file(kept, part)
            part.replace(output)
        except safetensors.SafetensorError as e:
            raise Refused(f"cannot be written: {e}") from None
        finally:
            part.unlink(missing_ok=True)
    except ImportError as e:
        print(f"error: Keras and safetensors are needed: pip install tensorflow safetensors ({e})", file=sys.stderr)
        return 1
    except (Refused, OSError) as e:
        print(f"error: {where}: {e}", file=sys.stderr)
        return 1
    said = ", ".join(f"{epsilon:g}" for epsilon in sorted(epsilons)) or "none"
    print(f"{output}: {len(kept)} tensors, epsilon of the batch norms: {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
