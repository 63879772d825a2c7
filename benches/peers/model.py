"""The networks in PyTorch, as the engines get them, with seeded weights: MobileNeXt of its paper, MobileNetV2 and ResNet as
torchvision has them, and SSDLite detectors on both MobileNets.

Zhou et al., "Rethinking Bottleneck Structure for Efficient Mobile Network Design", ECCV 2020. Layers, quirks and
parameter names (`features.N.conv.M`, `classifier.1`) are those of the authors' released models; tools/train/networks.py
defines them.
"""

import sys
from pathlib import Path

import torch
import torchvision
from torch import nn

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools" / "train"))
import networks  # noqa: E402

CLASSES = 1000
# Of a detector: VOC's twenty and the background.
DETECTOR_CLASSES = 21

# Changes with what seed_weights makes.
SEEDED = 2
# Of the last norm of a branch that is added to its input. Random weights amplify every rounding from block to block, and
# after tens of blocks int8 has little to do with f32; training forgets them. Small branches do, too.
BRANCH = 0.2


class MobileNeXt(nn.Module):
    def __init__(self, width: float):
        super().__init__()
        self.features, channels = networks.mobilenext_features(width, 1.0, 2, 2)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels, CLASSES))

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.features(x), 1)
        return self.classifier(x.flatten(1))


class Detector(networks.SSDLite):
    """One output, N x priors x (classes + 4): scores and boxes side by side, as `mnx-infer run` writes them."""

    def forward(self, x):
        return torch.cat(super().forward(x), -1)


def detector(levels):
    return lambda width: Detector(levels(width), DETECTOR_CLASSES, networks.RULES_AT)


def resnet(build):
    def only(width: float):
        if width != 1:
            raise ValueError(f"width {width}: expected 1, ResNet has no width multiplier")
        return build()

    return only


ARCHITECTURES = {
    "mobilenext": MobileNeXt,
    "mobilenetv2": lambda width: torchvision.models.mobilenet_v2(width_mult=width),
    "ssdlite-mobilenext": detector(lambda width: networks.MobileNeXtLevels(width, 1.0)),
    "ssdlite-mobilenetv2": detector(networks.MobileNetV2Levels),
    "resnet18": resnet(torchvision.models.resnet18),
    "resnet50": resnet(torchvision.models.resnet50),
}


def build(name: str) -> nn.Module:
    """The network called ARCHITECTURE-WIDTH, in eval mode, with PyTorch's initial weights."""
    architecture, _, width = name.rpartition("-")
    if architecture not in ARCHITECTURES:
        raise ValueError(f"{name}: expected {' or '.join(ARCHITECTURES)} and a width, as in mobilenext-1.0")
    return ARCHITECTURES[architecture](float(width)).eval()


def side(name: str) -> int:
    """Height and width of the pictures of a network."""
    return networks.RULES_AT if name.startswith("ssdlite") else 224


def closing_norm(block: nn.Module) -> nn.Module | None:
    """The last norm of a branch that is added to the block's input, if the block has one."""
    if getattr(block, "shortcut", False) or getattr(block, "use_res_connect", False):
        return [m for m in block.conv.modules() if isinstance(m, nn.BatchNorm2d)][-1]
    return getattr(block, "bn3", None) or getattr(block, "bn2", None)


@torch.no_grad()
def seed_weights(model: nn.Module, side: int, seed: int = 0) -> None:
    """Weights at which a trained network's scale is kept: ReLU6 both passes and clips, logits are of order 1.

    The running statistics are those of one batch of noise; affine parameters differ from channel to channel.
    """
    random = torch.Generator().manual_seed(seed)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in model.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            m.weight.normal_(0, m.weight[0].numel() ** -0.5, generator=random)
            if m.bias is not None:
                m.bias.normal_(0, 0.1, generator=random)
    for norm in norms:
        norm.weight.uniform_(0.5, 1.5, generator=random)
        norm.bias.normal_(0, 0.3, generator=random)
        norm.momentum = 1.0  # The statistics of the next batch replace the old ones.
        norm.train()
    for norm in filter(None, map(closing_norm, model.modules())):
        norm.weight *= BRANCH
        norm.bias *= BRANCH
    model(torch.randn(4, 3, side, side, generator=random))
    model.eval()


def fold(model: nn.Module) -> nn.Module:
    """In place: every batch norm goes into the convolution before it."""
    for parent in list(model.modules()):
        # Each norm stands right after its convolution: a sequence's next member, or ResNet's conv1, bn1, conv2, …
        children = list(parent.named_children())
        for (name, conv), (next_name, norm) in zip(children, children[1:]):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, nn.utils.fuse_conv_bn_eval(conv, norm))
                setattr(parent, next_name, nn.Identity())
    return model.requires_grad_(False)


@torch.no_grad()
def multiply_adds(model: nn.Module, side: int) -> int:
    """Of convolutions and linear layers, for one picture."""
    total = 0

    def count(layer, _, output):
        nonlocal total
        total += output.numel() * layer.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    model(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    return total
