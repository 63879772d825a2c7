"""The networks in PyTorch, as the engines get them, with seeded weights: MobileNeXt of its paper, MobileNetV2 and ResNet as
torchvision has them.

Zhou et al., "Rethinking Bottleneck Structure for Efficient Mobile Network Design", ECCV 2020. Layers, quirks and
parameter names (`features.N.conv.M`, `classifier.1`) are those of the authors' released model.
"""

import math

import torch
import torchvision
from torch import nn

RESOLUTION = 224
CLASSES = 1000

# Changes with what seed_weights makes.
SEEDED = 2
# Of the last norm of a branch that is added to its input. Random weights amplify every rounding from block to block, and
# after tens of blocks int8 has little to do with f32; training forgets them. Small branches do, too.
BRANCH = 0.2

# Divisor of the hidden channels, channels before the width multiplier, blocks, stride of the first block.
STAGES = [
    (2, 96, 1, 2),
    (6, 144, 1, 1),
    (6, 192, 3, 2),
    (6, 288, 3, 2),
    (6, 384, 4, 1),
    (6, 576, 4, 2),
    (6, 960, 3, 1),
    (6, 1280, 1, 1),
]


def divisible(channels: float, by: int) -> int:
    """The nearest multiple, at least `by`, and one more where that loses over 10 %."""
    nearest = max(by, int(channels + by / 2) // by * by)
    return nearest if nearest >= 0.9 * channels else nearest + by


def depthwise(channels: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False), nn.BatchNorm2d(channels)]


def pointwise(cin: int, cout: int) -> list[nn.Module]:
    return [nn.Conv2d(cin, cout, 1, bias=False), nn.BatchNorm2d(cout)]


class SandGlass(nn.Module):
    """Depthwise, reduce, expand, depthwise, plus the input; `lone` is the one block of a stage at stride 1.

    A block that changes the channels lacks the first depthwise layer, and at stride 1 the last one too; any other has
    both and keeps the size, whatever the stride. Exceptions: the first stage (divisor 2) has both and strides, and
    like a lone block it has no shortcut, changed channels or not.
    """

    def __init__(self, cin: int, cout: int, stride: int, divisor: int, lone: bool):
        super().__init__()
        hidden = cin // divisor
        if hidden < cout / 6:
            hidden = divisible(math.ceil(cout / 6), 16)
        opening = divisor == 2
        changes = not opening and not lone and cin != cout
        self.shortcut = not opening and not lone and not changes
        layers = [] if changes else depthwise(cin, 1) + [nn.ReLU6()]
        layers += pointwise(cin, hidden) + pointwise(hidden, cout) + [nn.ReLU6()]
        if not changes or stride == 2:
            layers += depthwise(cout, stride if opening or changes else 1)
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNeXt(nn.Module):
    def __init__(self, width: float):
        super().__init__()
        by = 4 if width == 0.1 else 8
        channels = divisible(32 * width, by)
        stem = nn.Conv2d(3, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU6()
        features = [nn.Sequential(*stem)]
        for stage, (divisor, base, blocks, first_stride) in enumerate(STAGES):
            last = stage == len(STAGES) - 1
            cout = base if last and width < 1 else divisible(base * width, by)
            for stride in [first_stride] + [1] * (blocks - 1):
                lone = blocks == 1 and stride == 1
                features.append(SandGlass(channels, cout, stride, divisor, lone))
                channels = cout
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(channels, CLASSES))

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.features(x), 1)
        return self.classifier(x.flatten(1))


def resnet(build):
    def only(width: float):
        if width != 1:
            raise ValueError(f"width {width}: expected 1, ResNet has no width multiplier")
        return build()

    return only


ARCHITECTURES = {
    "mobilenext": MobileNeXt,
    "mobilenetv2": lambda width: torchvision.models.mobilenet_v2(width_mult=width),
    "resnet18": resnet(torchvision.models.resnet18),
    "resnet50": resnet(torchvision.models.resnet50),
}


def build(name: str) -> nn.Module:
    """The network called ARCHITECTURE-WIDTH, in eval mode, with PyTorch's initial weights."""
    architecture, _, width = name.partition("-")
    if architecture not in ARCHITECTURES:
        raise ValueError(f"{name}: expected {' or '.join(ARCHITECTURES)} and a width, as in mobilenext-1.0")
    return ARCHITECTURES[architecture](float(width)).eval()


def closing_norm(block: nn.Module) -> nn.Module | None:
    """The last norm of a branch that is added to the block's input, if the block has one."""
    if getattr(block, "shortcut", False) or getattr(block, "use_res_connect", False):
        return [m for m in block.conv.modules() if isinstance(m, nn.BatchNorm2d)][-1]
    return getattr(block, "bn3", None) or getattr(block, "bn2", None)


@torch.no_grad()
def seed_weights(model: nn.Module, seed: int = 0) -> None:
    """Weights at which a trained network's scale is kept: ReLU6 both passes and clips, logits are of order 1.

    The running statistics are those of one batch of noise; affine parameters differ from channel to channel.
    """
    random = torch.Generator().manual_seed(seed)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in model.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            m.weight.normal_(0, m.weight[0].numel() ** -0.5, generator=random)
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    linear.bias.normal_(0, 0.1, generator=random)
    for norm in norms:
        norm.weight.uniform_(0.5, 1.5, generator=random)
        norm.bias.normal_(0, 0.3, generator=random)
        norm.momentum = 1.0  # The statistics of the next batch replace the old ones.
        norm.train()
    for norm in filter(None, map(closing_norm, model.modules())):
        norm.weight *= BRANCH
        norm.bias *= BRANCH
    model(torch.randn(4, 3, RESOLUTION, RESOLUTION, generator=random))
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
def multiply_adds(model: nn.Module) -> int:
    """Of convolutions and linear layers, for one picture."""
    total = 0

    def count(layer, _, output):
        nonlocal total
        total += output.numel() * layer.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    model(torch.zeros(1, 3, RESOLUTION, RESOLUTION))
    for hook in hooks:
        hook.remove()
    return total
