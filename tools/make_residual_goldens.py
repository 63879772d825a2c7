#!/usr/bin/env python3
"""Golden tensors of small ResNets, of torchvision's own blocks, for testdata/golden (README.md there).

    python tools/make_residual_goldens.py [testdata/golden]    # PyTorch, torchvision, safetensors, NumPy

torchvision's named ResNets weigh 47 MB and more. These have the same stem and the same two kinds of block, few and
narrow, with channels that fill neither blocks of 8 nor panels of 16; table.json is their stage table.
"""

import copy
import json
import pathlib
import sys

import numpy as np
import safetensors.torch
import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

CLASSES = 5
# Kind of block, its ratio of output to hidden channels; stem channels; output channels, blocks and stride per stage;
# then the cases: input shape and seed, and whether the blocks' outputs are kept.
NETWORKS = {
    "basic": (BasicBlock, 1, 8, [(8, 2, 1), (24, 1, 2), (40, 2, 2)], [((2, 3, 37, 50), 1, True), ((1, 3, 1, 7), 2, False), ((1, 3, 64, 64), 3, False)]),
    "bottleneck": (Bottleneck, 4, 24, [(32, 2, 1), (80, 2, 2)], [((1, 3, 64, 41), 4, True), ((3, 3, 5, 6), 5, False)]),
}


class ResNet(nn.Module):
    def __init__(self, block: type, ratio: int, channels: int, stages: list):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, channels, 7, 2, 3, bias=False), nn.BatchNorm2d(channels)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stages = len(stages)
        for index, (cout, repeats, first_stride) in enumerate(stages, 1):
            blocks = []
            for stride in [first_stride] + [1] * (repeats - 1):
                downsample = None
                if stride != 1 or channels != cout:
                    downsample = nn.Sequential(nn.Conv2d(channels, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))
                blocks.append(block(channels, cout // ratio, stride, downsample))
                channels = cout
            setattr(self, f"layer{index}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, CLASSES)

    def blocks(self) -> list[nn.Module]:
        return [self.maxpool, *(b for i in range(self.stages) for b in getattr(self, f"layer{i + 1}"))]

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for index in range(self.stages):
            x = getattr(self, f"layer{index + 1}")(x)
        return self.fc(x.mean((2, 3)))


@torch.no_grad()
def seed(model: nn.Module) -> None:
    """Statistics of one batch of noise; affine parameters differ from channel to channel."""
    torch.manual_seed(0)
    for m in model.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            m.weight.normal_(0, m.weight[0].numel() ** -0.5)
        if isinstance(m, nn.BatchNorm2d):
            m.weight.uniform_(0.5, 1.5), m.bias.normal_(0, 0.3)
            m.momentum = 1.0
    model.train()(torch.randn(8, 3, 96, 96))
    model.eval()


@torch.no_grad()
def run(model: ResNet, x: torch.Tensor) -> list[torch.Tensor]:
    """The logits, then every block's output."""
    kept = []
    hooks = [b.register_forward_hook(lambda _m, _x, y: kept.append(y.clone())) for b in model.blocks()]
    logits = model(x)
    for hook in hooks:
        hook.remove()
    return [logits, *kept]


def save(path: pathlib.Path, tensor: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.ascontiguousarray(tensor.float().numpy()))


def error(found: torch.Tensor, exact: torch.Tensor) -> dict:
    return {"max_abs": float((found.double() - exact).abs().max()), "max_value": float(exact.abs().max())}


def main() -> None:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "testdata/golden")
    torch.set_num_threads(1)
    for name, (block, ratio, stem, stages, cases) in NETWORKS.items():
        folder = root / f"resnet-{name}"
        model = ResNet(block, ratio, stem, stages)
        seed(model)
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(model.state_dict(), folder / "weights.safetensors")
        rows = [dict(block=name, ratio=ratio, channels=c, repeats=n, stride=s) for c, n, s in stages]
        stem = dict(channels=stem, stride=2, kernel=7, max_pool=True)
        table = dict(family=f"small-{name}", stem=stem, activation="relu", classes=CLASSES, stages=rows)
        (folder / "table.json").write_text(json.dumps(table, indent=1) + "\n")
        for shape, seed_of_input, keep in cases:
            case = folder / ("x".join(map(str, shape[2:])) + (f"-n{shape[0]}" if shape[0] > 1 else ""))
            x = torch.from_numpy(np.random.default_rng(seed_of_input).standard_normal(shape, dtype=np.float32))
            found, exact = run(model, x), run(copy.deepcopy(model).double(), x.double())
            save(case / "input.npy", x)
            save(case / "output.npy", found[0])
            meta = dict(arch="table.json", width=1.0, classes=CLASSES, identity=1.0, padding="torch", seed=seed_of_input)
            meta |= dict(weights="given", input_shape=list(shape), output_shape=list(found[0].shape))
            meta |= dict(torch=torch.__version__, torchvision=torchvision.__version__, f32_vs_f64=error(found[0], exact[0]))
            if keep:
                for index, y in enumerate(found[1:]):
                    save(case / "blocks" / f"{index:02}.npy", y)
                meta["blocks"] = [dict(shape=list(y.shape), **error(y, e)) for y, e in zip(found[1:], exact[1:])]
            (case / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")


if __name__ == "__main__":
    main()
