#!/usr/bin/env python3
"""Golden tensors of small detectors for testdata/golden (README.md there).

    python tools/make_detector_goldens.py [testdata/golden]    # PyTorch, safetensors, NumPy

`ssd-next` and `ssd-v2` are the networks of tools/train/networks.py, and `ssd-tf` is TensorFlow's detector, written down here. All
are as narrow as they can be; table.json is their stage table. Weights are in half precision, which every test reads exactly.
"""

import copy
import json
import pathlib
import sys

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).parent / "train"))
import networks  # noqa: E402

WIDTH, CLASSES = 0.1, 3
# Hidden and output channels of the extra blocks: few, and none that fill a block of 8 or a panel of 16.
EXTRAS = ((16, 36), (12, 20), (12, 20), (9, 14))
# Channels at the end of the backbones, which widths below 1 do not scale.
LAST = 60
CASES = [((1, 3, 64, 64), 1), ((2, 3, 37, 50), 2), ((3, 3, 1, 1), 3)]
SIZES = [
    {"sizes": {"stride": stride, "min": small, "max": large, "ratios": [2, 3]}}
    for stride, small, large in zip(networks.STRIDES, networks.MIN_SIZES, networks.MAX_SIZES)
]
SCALES = [{"scales": [[0.1, 1], [0.2, 2], [0.2, 0.5]]}] + [{"scales": [[s, 1], [s, 2]]} for s in (0.35, 0.5, 0.65, 0.8, 0.95)]


def table(family: str, stages: list, kind: str, taps: list, head: int | None, tensorflow: bool) -> dict:
    """The stage table of a network of EXTRAS."""
    block = "sandglass" if head is None else "inverted_residual"
    rows = [dict(zip(("ratio", "channels", "repeats", "stride"), row), block=block) for row in stages]
    if head is not None:
        # As in the family: its first block has none, also where the width makes its channels equal.
        rows[1]["first_shortcut"] = False
    detector = {
        "taps": [{"block": at, "at": where} for at, where in taps],
        "extras": [{"block": kind, "hidden": hidden, "channels": channels} for hidden, channels in EXTRAS],
        "last_head": "separable" if tensorflow else "pointwise",
        "depthwise_bias": not tensorflow,
        "priors": SCALES if tensorflow else SIZES,
        "clip": not tensorflow,
        "coder": {"centre": 0.1, "size": 0.2, "order": "yxhw" if tensorflow else "xywh"},
        "scores": "sigmoid" if tensorflow else "softmax",
        "score": 0.4 if tensorflow else 0.01,
        "iou": 0.6 if tensorflow else 0.45,
        "top": 100,
    }
    stem = {"channels": 32, "stride": 2}
    return {"family": family, "stem": stem, "stages": rows, **({"head": head} if head else {}), "detector": detector}


class Conv(nn.Module):
    """A convolution padded as TensorFlow's SAME, and its batch norm or bias."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, norm: bool = True, act: bool = True):
        super().__init__()
        depthwise = kernel == 3 and inputs == outputs
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=inputs if depthwise else 1, bias=not norm)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3) if norm else nn.Identity()
        self.act = act

    def forward(self, x):
        sides = []
        for size in (x.shape[3], x.shape[2]):
            kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            sides += [total // 2, total - total // 2]
        y = self.bn(self.conv(F.pad(x, sides)))
        return y.clamp(0, 6) if self.act else y


class TensorFlowDetector(nn.Module):
    """SSDLite300 on MobileNetV2 as TensorFlow's object detection API has it, with any number of classes."""

    def __init__(self):
        super().__init__()
        channels = networks.divisible(32 * WIDTH, 8)
        self.stem = Conv(3, channels, 3, 2)
        self.blocks = nn.ModuleList()
        for expansion, base, repeats, stride in networks.MOBILENETV2_STAGES:
            outputs = networks.divisible(base * WIDTH, 8)
            for repeat in range(repeats):
                block, hidden, step = nn.Module(), channels * expansion, stride if repeat == 0 else 1
                block.expand = Conv(channels, hidden) if expansion > 1 else None
                block.depthwise = Conv(hidden, hidden, 3, step)
                block.project = Conv(hidden, outputs, act=False)
                block.shortcut = step == 1 and channels == outputs
                self.blocks.append(block)
                if len(self.blocks) == 14:
                    levels = [hidden]
                channels = outputs
        self.last = Conv(channels, LAST)
        levels.append(LAST)
        self.extras = nn.ModuleList()
        for hidden, outputs in EXTRAS:
            extra = nn.Module()
            extra.reduce, extra.depthwise = Conv(levels[-1], hidden), Conv(hidden, hidden, 3, 2)
            extra.expand = Conv(hidden, outputs)
            self.extras.append(extra)
            levels.append(outputs)
        self.heads = nn.ModuleList()
        for level, inputs in enumerate(levels):
            head, priors = nn.Module(), 3 if level == 0 else 2
            for name, numbers in (("class", CLASSES), ("box", 4)):
                part = nn.Module()
                part.depthwise = Conv(inputs, inputs, 3)
                part.pointwise = Conv(inputs, priors * numbers, norm=False, act=False)
                head.add_module(name, part)
            self.heads.append(head)

    def forward(self, x):
        levels = []
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            y = x if block.expand is None else block.expand(x)
            if index == 13:
                levels.append(y)
            y = block.project(block.depthwise(y))
            x = x + y if block.shortcut else y
        x = self.last(x)
        levels.append(x)
        for extra in self.extras:
            x = extra.expand(extra.depthwise(extra.reduce(x)))
            levels.append(x)
        outputs = {"class": [], "box": []}
        for head, level in zip(self.heads, levels):
            for (name, rows), numbers in zip(outputs.items(), (CLASSES, 4)):
                part = head.get_submodule(name)
                rows.append(networks.rows(part.pointwise(part.depthwise(level)), numbers))
        return torch.cat(outputs["class"], 1), torch.cat(outputs["box"], 1)


def detectors():
    """Name, network, padding and stage table of each."""
    networks.MOBILENEXT_STAGES = (*networks.MOBILENEXT_STAGES[:-1], (6, LAST, 1, 1))
    for levels in (networks.MobileNeXtLevels, networks.MobileNetV2Levels):
        levels.EXTRAS = EXTRAS
    for name, backbone, kind, where in (
        ("ssd-next", "mobilenext", "depthwise_first", "expanded"),
        ("ssd-v2", "mobilenetv2", "inverted_residual", "output"),
    ):
        model = networks.ssdlite(backbone, WIDTH, CLASSES)
        stages = networks.MOBILENEXT_STAGES if backbone == "mobilenext" else networks.MOBILENETV2_STAGES
        taps, head = ((13, 20), None) if backbone == "mobilenext" else ((13, 18), 1280)
        rows = table(f"ssdlite-{backbone}", stages, kind, [(tap, where) for tap in taps], head, False)
        # Pictures of any size.
        forward = lambda x, model=model: model.box_head.predictor(model.backbone(x))  # noqa: E731
        model.forward = forward
        yield name, model, "torch", rows
    taps = [(14, "expanded"), (18, "output")]
    rows = table("ssdlite300-mobilenetv2-tf", networks.MOBILENETV2_STAGES, "depthwise_between", taps, LAST, True)
    yield "ssd-tf", TensorFlowDetector(), "same", rows


def side_by_side(outputs):
    return torch.cat(outputs, -1)


@torch.no_grad()
def seed(model: nn.Module, number: int) -> None:
    """Random weights; statistics of one batch of noise; everything rounded to half precision."""
    random = torch.Generator().manual_seed(number)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.copy_(torch.randn(module.weight.shape, generator=random) * fan_in**-0.5)
            if module.bias is not None:
                module.bias.copy_(torch.randn(module.bias.shape, generator=random) * 0.3)
    for norm in norms:
        norm.weight.copy_(torch.rand(norm.weight.shape, generator=random) + 0.5)
        norm.bias.copy_(torch.randn(norm.bias.shape, generator=random) * 0.3)
        norm.momentum = 1.0
    model.train()
    model(torch.randn((16, 3, 96, 96), generator=random))
    model.eval()
    for norm in norms:
        # A channel that hardly varies would be blown up.
        norm.running_var.clamp_(min=norm.running_var.median().item() * 0.01)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())


def write(path: pathlib.Path, tensor: torch.Tensor) -> None:
    np.save(path, np.ascontiguousarray(tensor.float().numpy()))


@torch.no_grad()
def main() -> None:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "testdata/golden")
    torch.set_num_threads(1)
    for number, (name, model, padding, rows) in enumerate(detectors()):
        seed(model, number)
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        state = {key: value.half().contiguous() for key, value in model.state_dict().items() if value.is_floating_point()}
        safetensors.torch.save_file(state, folder / "weights.safetensors")
        (folder / "table.json").write_text(json.dumps(rows, indent=1) + "\n")
        exact_model = copy.deepcopy(model).double()
        if "forward" in vars(exact_model):
            exact_model.forward = lambda x, m=exact_model: m.box_head.predictor(m.backbone(x))
        for shape, of_input in CASES:
            case = folder / ("x".join(map(str, shape[2:])) + (f"-n{shape[0]}" if shape[0] > 1 else ""))
            case.mkdir(exist_ok=True)
            values = np.random.default_rng(100 * number + of_input).standard_normal(shape, dtype=np.float32)
            x = torch.from_numpy(values)
            found, exact = side_by_side(model(x)), side_by_side(exact_model(x.double()))
            write(case / "input.npy", x)
            write(case / "output.npy", found)
            error = {"max_abs": float((found.double() - exact).abs().max()), "max_value": float(exact.abs().max())}
            meta = {
                "arch": "table.json",
                "width": WIDTH,
                "classes": CLASSES,
                "identity": 1.0,
                "padding": padding,
                "seed": of_input,
                "weights": "given",
                "input_shape": list(shape),
                "output_shape": list(found.shape),
                "torch": torch.__version__,
                "f32_vs_f64": error,
            }
            (case / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
            print(case, meta["output_shape"], error)


if __name__ == "__main__":
    main()
