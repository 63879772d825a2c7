#!/usr/bin/env python3
"""Names and logits of the implementations whose checkpoints `convert` reads, for testdata/dialects (README.md there).

    python tools/make_dialect_goldens.py [testdata]           # PyTorch, torchvision, timm, transformers, safetensors, NumPy
    python tools/make_dialect_goldens.py --keras [testdata]   # TensorFlow, safetensors, NumPy

Every implementation gets the weights of one of the goldens and runs once on one picture. Which of its layers is which of
the goldens' shows in the order in which they run: the names that come of it owe nothing to the table that they test.
tonylins's and OpenMMLab's networks, which no package here has, are rebuilt with the modules and names of their sources.
"""

import json
import pathlib
import sys

import numpy as np

CLASSES, WIDTH = 3, 0.1
SHAPE = (1, 3, 48, 32)
PARTS = {"BatchNorm2d": ("weight", "bias", "running_mean", "running_var"), "Conv2d": ("weight",), "Linear": ("weight", "bias")}


def save(folder: pathlib.Path, pairs: list, logits: np.ndarray, exact: np.ndarray, **meta) -> None:
    """Pairs of names (the spec's own, the implementation's), logits, and their distance from those in f64."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "names.tsv").write_text("".join(f"{own}\t{name}\n" for own, name in pairs))
    np.save(folder / "output.npy", logits.astype(np.float32))
    error = dict(max_abs=float(np.abs(logits - exact).max()), max_value=float(np.abs(exact).max()))
    (folder / "meta.json").write_text(json.dumps(meta | dict(f32_vs_f64=error), indent=1) + "\n")


def kind(module) -> str | None:
    """Which of the kinds with parts it is, subclasses included."""
    return next((base.__name__ for base in type(module).__mro__ if base.__name__ in PARTS), None)


def layers(model, x) -> list:
    """Names and modules of its layers in the order in which they run."""
    import torch

    order, names = [], {module: name for name, module in model.named_modules()}
    kinds = [m for m in names if kind(m)]
    hooks = [m.register_forward_hook(lambda m, *_: order.append((names[m], m))) for m in kinds]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return order


def flat_mobilenetv2(block, stem, head, classifier):
    """A MobileNetV2 of these parts: blocks get channels in and out, hidden ones and a stride."""
    import torch
    from torch import nn
    from torchvision.models._utils import _make_divisible

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            channels = _make_divisible(32 * WIDTH, 8)
            blocks = []
            for stage, (t, c, n, s) in enumerate([(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]):
                for i in range(n):
                    cout, stride = _make_divisible(c * WIDTH, 8), s if i == 0 else 1
                    blocks.append((stage, i, block(channels, cout, channels * t, stride), stride == 1 and channels == cout))
                    channels = cout
            self.run = []
            stem(self, _make_divisible(32 * WIDTH, 8))
            for stage, i, module, shortcut in blocks:
                self.place(stage, i, module)
                self.run.append((module, shortcut))
            head(self, channels)
            classifier(self)

        def forward(self, x):
            x = self.first(x)
            for module, shortcut in self.run:
                x = x + module(x) if shortcut else module(x)
            return self.last(torch.flatten(nn.functional.adaptive_avg_pool2d(self.final(x), 1), 1))

    return Network


def sequence(cin, cout, kernel, stride=1, groups=1, act=True):
    from torch import nn

    layers = [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(cout)]
    return layers + [nn.ReLU6()] if act else layers


def tonylins():
    """Of https://github.com/tonylins/pytorch-mobilenet-v2, the last layer apart as in d-li14's and later ones."""
    from torch import nn

    def block(cin, cout, hidden, stride):
        expand = sequence(cin, hidden, 1) if hidden != cin else []
        conv = [*expand, *sequence(hidden, hidden, 3, stride, hidden), *sequence(hidden, cout, 1, act=False)]
        module = nn.Module()
        module.conv = nn.Sequential(*conv)
        module.forward = module.conv.forward
        return module

    def stem(net, channels):
        net.features = nn.Sequential(nn.Sequential(*sequence(3, channels, 3, 2)))
        net.place = lambda _stage, _i, module: net.features.append(module)
        net.first = lambda x: net.features[0](x)

    def head(net, channels):
        net.conv = nn.Sequential(*sequence(channels, 1280, 1))
        net.final = lambda x: net.conv(x)

    def classifier(net):
        net.classifier = nn.Linear(1280, CLASSES)
        net.last = lambda x: net.classifier(x)

    return flat_mobilenetv2(block, stem, head, classifier)()


def openmmlab():
    """Of mmpretrain's ImageClassifier with the backbone MobileNetV2 and a LinearClsHead."""
    from torch import nn

    def module(*args, **options):
        layers = sequence(*args, **options)
        made = nn.Module()
        made.conv, made.bn = layers[:2]
        made.forward = nn.Sequential(*layers).forward
        return made

    def block(cin, cout, hidden, stride):
        expand = [module(cin, hidden, 1)] if hidden != cin else []
        made = nn.Module()
        made.conv = nn.Sequential(*expand, module(hidden, hidden, 3, stride, hidden), module(hidden, cout, 1, act=False))
        made.forward = made.conv.forward
        return made

    def stem(net, channels):
        net.backbone = nn.Module()
        net.backbone.conv1 = module(3, channels, 3, 2)
        net.first = net.backbone.conv1.forward

        def place(stage, i, made):
            if i == 0:
                setattr(net.backbone, f"layer{stage + 1}", nn.Sequential())
            getattr(net.backbone, f"layer{stage + 1}").append(made)

        net.place = place

    def head(net, channels):
        net.backbone.conv2 = module(channels, 1280, 1)
        net.final = net.backbone.conv2.forward

    def classifier(net):
        net.head = nn.Module()
        net.head.fc = nn.Linear(1280, CLASSES)
        net.last = lambda x: net.head.fc(x)

    return flat_mobilenetv2(block, stem, head, classifier)()


def pytorch(root: pathlib.Path, x: np.ndarray) -> None:
    import safetensors.torch
    import timm
    import torch
    import torchvision
    import transformers
    from torch import nn

    import make_residual_goldens as residual

    torch.set_num_threads(1)
    x = torch.from_numpy(x)

    def reference(weights):
        if weights.startswith("v2"):
            model = torchvision.models.mobilenet_v2(width_mult=WIDTH, num_classes=CLASSES)
        else:
            block, ratio, stem, stages, _ = residual.NETWORKS[weights.removeprefix("resnet-")]
            model = residual.ResNet(block, ratio, stem, stages)
        model.load_state_dict(safetensors.torch.load_file(root / "golden" / weights / "weights.safetensors"))
        return model.eval()

    class Logits(nn.Module):
        """Of transformers, in place of an object with logits."""

        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x).logits

    def resnet(block):
        _, _, stem, stages, _ = residual.NETWORKS[block]
        config = transformers.ResNetConfig(
            embedding_size=stem,
            hidden_sizes=[c for c, _, _ in stages],
            depths=[n for _, n, _ in stages],
            layer_type=block,
            num_labels=residual.CLASSES,
        )
        return transformers.ResNetForImageClassification(config)

    mobilenet = transformers.MobileNetV2Config(depth_multiplier=WIDTH, num_labels=CLASSES)
    v2, timms, hugging = "v2-w0.1-c3", f"timm {timm.__version__}", f"transformers {transformers.__version__}"
    compiled = nn.DataParallel(torch.compile(torchvision.models.mobilenet_v2(width_mult=WIDTH, num_classes=CLASSES)))
    compiled.forward = compiled.module._orig_mod.forward
    cases = [
        ("torchvision", v2, compiled, f"torchvision {torchvision.__version__}, torch.compile, DataParallel", "own", "module._orig_mod."),
        ("timm", v2, timm.models.efficientnet._gen_mobilenet_v2("mobilenetv2_100", WIDTH, num_classes=CLASSES), timms, "timm", ""),
        ("hugging-face", v2, transformers.MobileNetV2ForImageClassification(mobilenet), hugging, "Hugging Face", ""),
        ("tonylins", v2, tonylins(), "rebuilt", "tonylins", ""),
        ("openmmlab", v2, openmmlab(), "rebuilt", "OpenMMLab", "backbone."),
        ("hugging-face-basic", "resnet-basic", resnet("basic"), hugging, "Hugging Face", ""),
        ("hugging-face-bottleneck", "resnet-bottleneck", resnet("bottleneck"), hugging, "Hugging Face", ""),
    ]
    for name, weights, model, package, dialect, prefix in cases:
        model = model.eval()
        run = Logits(model) if package == hugging else model
        own, theirs = layers(reference(weights), x), layers(run, x)
        assert len(own) == len(theirs), (name, len(own), len(theirs))
        pairs = []
        for (own_name, source), (their_name, target) in zip(own, theirs):
            assert kind(source) == kind(target), (own_name, their_name)
            for part in PARTS[kind(source)]:
                getattr(target, part).data.copy_(getattr(source, part).data)
            pairs.append((own_name, their_name.removeprefix("model.") if package == hugging else their_name))
        kept = {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}
        listed = {f"{their}.{part}" for (_, their), (_, m) in zip(pairs, theirs) for part in PARTS[kind(m)]}
        assert kept == listed, kept ^ listed
        with torch.no_grad():
            logits, exact = run(x).numpy(), run.double()(x.double()).numpy()
        epsilons = {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
        assert len(epsilons) == 1
        meta = dict(weights=weights, package=package, torch=torch.__version__, dialect=dialect, prefix=prefix, bn_eps=epsilons.pop())
        save(root / "dialects" / name, pairs, logits, exact, **meta)


def tensorflow(root: pathlib.Path, x: np.ndarray) -> None:
    import keras
    import safetensors.numpy

    import keras_to_safetensors

    weights = safetensors.numpy.load_file(root / "golden" / "v2-w0.1-c3" / "weights.safetensors")
    # In the order in which layers run, which is that of the names of the PyTorch case.
    own = [line.split("\t")[0] for line in (root / "dialects" / "timm" / "names.tsv").read_text().splitlines()]

    def network():
        return keras.applications.MobileNetV2((*SHAPE[2:], 3), alpha=WIDTH, weights=None, classes=CLASSES, classifier_activation=None)

    model = network()
    theirs = [layer for layer in model.layers if layer.weights]
    assert len(own) == len(theirs)
    for name, layer in zip(own, theirs):
        values = {part.removeprefix(f"{name}."): value for part, value in weights.items() if part.rsplit(".", 1)[0] == name}
        match type(layer).__name__:
            case "BatchNormalization":
                layer.set_weights([values[part] for part in PARTS["BatchNorm2d"]])
            case "Dense":
                layer.set_weights([values["weight"].T, values["bias"]])
            case "Conv2D":
                layer.set_weights([values["weight"].transpose(2, 3, 1, 0)])
            case "DepthwiseConv2D":
                layer.set_weights([values["weight"].transpose(2, 3, 0, 1)])
    # What the script writes has the golden's values under the names that are kept here.
    written, epsilons = keras_to_safetensors.tensors(model)
    pairs = [(name, layer.name) for name, layer in zip(own, theirs)]
    renamed = {f"{dict(map(reversed, pairs))[key.rsplit('.', 1)[0]]}.{key.rsplit('.', 1)[1]}": value for key, value in written.items()}
    golden = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    assert renamed.keys() == golden.keys()
    assert all(np.array_equal(renamed[key], golden[key]) for key in golden)
    logits = np.asarray(model(x.transpose(0, 2, 3, 1), training=False))
    keras.config.set_dtype_policy("float64")
    exact = network()
    exact.set_weights(model.get_weights())
    exact = np.asarray(exact(x.astype(np.float64).transpose(0, 2, 3, 1), training=False))
    package = f"keras {keras.__version__} ({keras.backend.backend()})"
    meta = dict(weights="v2-w0.1-c3", package=package, dialect="Keras", prefix="", bn_eps=epsilons.pop())
    save(root / "dialects" / "keras", pairs, logits, exact, **meta)


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--keras"]
    root = pathlib.Path(arguments[0] if arguments else "testdata")
    x = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    (root / "dialects").mkdir(exist_ok=True)
    np.save(root / "dialects" / "input.npy", x)
    (tensorflow if "--keras" in sys.argv else pytorch)(root, x)


if __name__ == "__main__":
    main()
