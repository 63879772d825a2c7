#!/usr/bin/env python3
"""Small ONNX models by three exporters, with an input and the logits, for testdata/onnx (README.md there).

    python tools/make_onnx_goldens.py torch [testdata/onnx]    # both of PyTorch's exporters
    python tools/make_onnx_goldens.py tf [testdata/onnx]       # tf2onnx

The two want environments of their own. What is committed was made with
    torch==2.15.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6
    tensorflow==2.21.0 keras==3.15.1 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==1.26.4

Each exporter writes at the lowest and at the highest opset from 11 to 20 that it has, with batch norms folded and (`-bn`) not,
at the highest opset with an input of any size, else of a fixed one. The logits are the framework's own; ONNX Runtime has
to agree with them here before anything is written.
"""

import json
import os
import pathlib
import sys
import warnings

import numpy as np

CLASSES = 5
# Channels of the stem, its kernel, and whether a max pool follows; blocks: kind, hidden and output channels, stride; the
# channels of a last pointwise layer; the share of channels that shortcuts cover.
NETWORKS = {
    "inverted": (
        (8, 3, False),
        [("inverted", 8, 8, 1), ("inverted", 24, 16, 2), ("inverted", 48, 16, 1), ("inverted", 32, 24, 2)],
        40,
        1.0,
    ),
    "sandglass": (
        (16, 3, False),
        [
            ("both", 8, 24, 2),
            ("sandglass", 16, 24, 1),
            ("sandglass", 16, 40, 1),
            ("sandglass", 16, 40, 1),
            ("sandglass", 16, 40, 1),
            ("sandglass", 16, 48, 2),
        ],
        None,
        0.3,
    ),
    "residual": (
        (8, 7, True),
        [("basic", 8, 8, 1), ("basic", 16, 16, 2), ("bottleneck", 8, 32, 2), ("bottleneck", 8, 32, 1)],
        None,
        1.0,
    ),
}
# Of pictures: how many, rows and columns. TensorFlow's padding is another than PyTorch's on even sizes only.
SIZE = (2, 32, 48)


def layers(kind: str, cin: int, hidden: int, cout: int, stride: int) -> list:
    """Of a block: kernel, whether depthwise, output channels, stride, whether an activation follows."""
    if kind == "inverted":
        expand = [(1, False, hidden, 1, True)] if hidden != cin else []
        return expand + [(3, True, hidden, stride, True), (1, False, cout, 1, False)]
    if kind == "basic":
        return [(3, False, hidden, stride, True), (3, False, cout, 1, False)]
    if kind == "bottleneck":
        return [(1, False, hidden, 1, True), (3, False, hidden, stride, True), (1, False, cout, 1, False)]
    first = [(3, True, cin, 1, True)] if kind == "both" or cin == cout else []
    last = [(3, True, cout, stride, False)] if first or stride == 2 else []
    return first + [(1, False, hidden, 1, False), (1, False, cout, 1, True)] + last


def is_residual(kind: str) -> bool:
    return kind in ("basic", "bottleneck")


def covered(kind: str, cin: int, cout: int, stride: int, identity: float) -> int:
    """How many channels a shortcut without a convolution covers."""
    if kind == "both" or stride != 1 or cin != cout:
        return 0
    return round(cin * identity)


def write(folder: pathlib.Path, x: np.ndarray, logits: np.ndarray, exact: np.ndarray) -> None:
    np.save(folder / "input.npy", x)
    np.save(folder / "output.npy", logits)
    difference = float(np.abs(logits.astype(np.float64) - exact).max())
    meta = {"f32_vs_f64": {"max_abs": difference, "max_value": float(np.abs(exact).max())}}
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")


def finish(path: pathlib.Path, x: np.ndarray, logits: np.ndarray) -> None:
    """ONNX Runtime agrees; what tells of the exporting machine goes."""
    import onnx
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: x})[0]
    if found.shape != logits.shape or not np.allclose(found, logits, rtol=1e-4, atol=1e-4):
        sys.exit(f"{path}: ONNX Runtime differs by {np.abs(found - logits).max()}")
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    for part in [model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer]:
        part.doc_string = ""
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
    del graph.value_info[:]
    onnx.save(model, path)
    print(path, path.stat().st_size, "bytes")


def make_torch(root: pathlib.Path) -> None:
    import torch
    from torch import nn

    def conv(cin: int, kernel: int, depthwise: bool, cout: int, stride: int, act: nn.Module | None) -> list[nn.Module]:
        groups = cin if depthwise else 1
        plain = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [plain, nn.BatchNorm2d(cout)] + ([act] if act else [])

    class Block(nn.Module):
        def __init__(self, kind: str, cin: int, hidden: int, cout: int, stride: int, identity: float):
            super().__init__()
            act = nn.ReLU if is_residual(kind) else nn.ReLU6
            body, channels = [], cin
            for kernel, depthwise, out, layer_stride, active in layers(kind, cin, hidden, cout, stride):
                body += conv(channels, kernel, depthwise, out, layer_stride, act() if active else None)
                channels = out
            self.body = nn.Sequential(*body)
            self.covered = covered(kind, cin, cout, stride, identity)
            self.last = act() if is_residual(kind) else None
            project = is_residual(kind) and not self.covered
            self.projection = nn.Sequential(*conv(cin, 1, False, cout, stride, None)) if project else None

        def forward(self, x):
            y = self.body(x)
            if self.projection is not None:
                y = y + self.projection(x)
            elif self.covered == y.shape[1]:
                y = y + x
            elif self.covered:
                y = torch.cat((y[:, : self.covered] + x[:, : self.covered], y[:, self.covered :]), 1)
            return y if self.last is None else self.last(y)

    def network(stem: tuple, blocks: list, head: int | None, identity: float) -> nn.Sequential:
        channels, kernel, max_pool = stem
        residual = is_residual(blocks[0][0])
        modules = conv(3, kernel, False, channels, 2, nn.ReLU() if residual else nn.ReLU6())
        modules += [nn.MaxPool2d(3, 2, 1)] if max_pool else []
        for kind, hidden, cout, stride in blocks:
            modules.append(Block(kind, channels, hidden, cout, stride, identity))
            channels = cout
        modules += conv(channels, 1, False, head, 1, nn.ReLU6()) if head else []
        pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)]
        return nn.Sequential(*modules, *pool, nn.Linear(head or channels, CLASSES))

    @torch.no_grad()
    def seed(model: nn.Module) -> None:
        """Affine parameters that differ from channel to channel, statistics of a batch of noise."""
        generator = torch.Generator().manual_seed(1)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.copy_(torch.rand(module.weight.shape, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(module.bias.shape, generator=generator) * 0.3)
                module.momentum = 1.0
            elif isinstance(module, (nn.Conv2d, nn.Linear)):
                values = torch.randn(module.weight.shape, generator=generator)
                module.weight.copy_(values * module.weight[0].numel() ** -0.5)
        model.train()(torch.randn(8, 3, 64, 64, generator=generator))
        model.eval()

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name, parts in NETWORKS.items():
        folder = root / f"{name}-torch"
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(2)
        model = network(*parts)
        seed(model)
        x = torch.randn(SIZE[0], 3, *SIZE[1:])
        with torch.no_grad():
            logits = model(x).numpy()
            exact = model.double()(x.double()).numpy()
        model.float()
        write(folder, x.numpy(), logits, exact)

        sizes = {0: "n", 2: "h", 3: "w"}
        for opset, dynamic in [(11, False), (20, True)]:
            for suffix, training in [("", "EVAL"), ("-bn", "PRESERVE")]:
                path = folder / f"torchscript-{opset}{suffix}.onnx"
                torch.onnx.export(
                    model,
                    (x,),
                    path,
                    dynamo=False,
                    opset_version=opset,
                    training=getattr(torch.onnx.TrainingMode, training),
                    input_names=["x"],
                    dynamic_axes={"x": sizes} if dynamic else None,
                )
                finish(path, x.numpy(), logits)
        for opset, dynamic in [(18, False), (20, True)]:
            for suffix, optimize in [("", True), ("-bn", False)]:
                path = folder / f"dynamo-{opset}{suffix}.onnx"
                # Weights in a file of their own, as PyTorch writes them unless told otherwise: once.
                external = name == "inverted" and (opset, suffix) == (18, "")
                shapes = ({axis: torch.export.Dim.DYNAMIC for axis in sizes},) if dynamic else None
                torch.onnx.export(
                    model,
                    (x,),
                    path,
                    dynamo=True,
                    opset_version=opset,
                    optimize=optimize,
                    external_data=external,
                    dynamic_shapes=shapes,
                    verbose=False,
                )
                finish(path, x.numpy(), logits)


def make_tf(root: pathlib.Path) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import tensorflow as tf
    import tf2onnx

    keras = tf.keras
    nn = keras.layers

    def conv(x, kernel: int, depthwise: bool, cout: int, stride: int, act, explicit: bool):
        """With TensorFlow's padding, or with PyTorch's as zeros of their own."""
        if explicit and kernel > 1:
            x = nn.ZeroPadding2D(kernel // 2)(x)
        padding = "valid" if explicit else "same"
        if depthwise:
            x = nn.DepthwiseConv2D(kernel, stride, padding, use_bias=False)(x)
        else:
            x = nn.Conv2D(cout, kernel, stride, padding, use_bias=False)(x)
        x = nn.BatchNormalization()(x)
        return act(x) if act else x

    def network(stem: tuple, blocks: list, head: int | None, identity: float, size: tuple):
        channels, kernel, max_pool = stem
        residual = is_residual(blocks[0][0])
        act = (lambda x: nn.ReLU()(x)) if residual else (lambda x: nn.ReLU(6.0)(x))
        start = x = nn.Input((*size, 3))
        x = conv(x, kernel, False, channels, 2, act, residual)
        x = nn.MaxPooling2D(3, 2)(nn.ZeroPadding2D(1)(x)) if max_pool else x
        for kind, hidden, cout, stride in blocks:
            y = x
            for layer_kernel, depthwise, out, layer_stride, active in layers(kind, channels, hidden, cout, stride):
                y = conv(y, layer_kernel, depthwise, out, layer_stride, act if active else None, residual)
            first = covered(kind, channels, cout, stride, identity)
            if residual and not first:
                x = conv(x, 1, False, cout, stride, None, residual)
                first = cout
            if first == cout:
                y = nn.Add()([y, x])
            elif first:
                y = nn.Concatenate(-1)([y[..., :first] + x[..., :first], y[..., first:]])
            x, channels = act(y) if residual else y, cout
        x = conv(x, 1, False, head, 1, act, residual) if head else x
        x = nn.Dense(CLASSES)(nn.Dropout(0.2)(nn.GlobalAveragePooling2D()(x)))
        return keras.Model(start, x)

    def seed(model) -> None:
        random = np.random.default_rng(1)
        norms = [layer for layer in model.layers if isinstance(layer, nn.BatchNormalization)]
        for layer in norms:
            gamma, beta, mean, var = layer.get_weights()
            layer.set_weights([random.uniform(0.5, 1.5, gamma.shape), random.normal(0, 0.3, beta.shape), mean, var])
            layer.momentum = 0.0
        model(random.normal(0, 1, (8, 64, 64, 3)).astype(np.float32), training=True)

    for name, parts in NETWORKS.items():
        folder = root / f"{name}-tf"
        folder.mkdir(parents=True, exist_ok=True)
        keras.utils.set_random_seed(2)
        model = network(*parts, (None, None))
        seed(model)
        x = np.random.default_rng(3).normal(0, 1, (SIZE[0], *SIZE[1:], 3)).astype(np.float32)
        logits = model(x, training=False).numpy()
        keras.config.set_dtype_policy("float64")
        double = network(*parts, (None, None))
        double.set_weights(model.get_weights())
        exact = double(x.astype(np.float64), training=False).numpy()
        keras.config.set_dtype_policy("float32")
        write(folder, np.ascontiguousarray(x.transpose(0, 3, 1, 2)), logits, exact)
        # The lowest opset with a softmax at the end, as classifiers of Keras have it.
        whole = keras.Model(model.input, nn.Softmax()(model.output))
        for opset, exported, shape in [(11, whole, x.shape), (18, model, (None, None, None, 3))]:
            path = folder / f"tf2onnx-{opset}.onnx"
            function = tf.function(lambda x, m=exported: m(x, training=False))
            signature = [tf.TensorSpec(shape, tf.float32, name="x")]
            tf2onnx.convert.from_function(function, input_signature=signature, opset=opset, output_path=str(path))
            finish(path, x, tf.nn.softmax(logits).numpy() if exported is whole else logits)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("torch", "tf"):
        sys.exit(__doc__)
    target = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "testdata/onnx")
    make_torch(target) if sys.argv[1] == "torch" else make_tf(target)
