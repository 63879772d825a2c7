"""Networks that mnx trains, in PyTorch: MobileNeXt, MobileNetV2, ResNet, and SSDLite on the first two.

    networks.architecture("mobilenext-cifar", width=0.35, classes=10)
    networks.ssdlite("mobilenext", width=0.35, classes=4, size=320)

A classifier's output is N x classes. A detector's are two: scores, N x priors x classes, before softmax, and boxes,
N x priors x 4: centre x, centre y, width, height as offsets from the priors. Rows: level, row, column, prior in cell.
Class 0 is the background.

Names in the state dicts are those of the released checkpoints: MobileNeXt's and its detector's by the authors, MobileNetV2's and
ResNet's by torchvision, which builds the ResNets itself. So released weights load, and `mnx-infer convert` takes what is trained here.
"""

import math

import torch
import torchvision
from torch import nn

# A detector's picture: RGB, squashed to size x size by bilinear interpolation without antialiasing, then (x - MEAN) / STD.
MEAN = (123.0, 117.0, 104.0)
STD = (58.395, 57.12, 57.375)

# The rules of the priors at 320 pixels. At other sizes strides and sizes scale with the picture.
RULES_AT = 320
STRIDES = (16, 32, 64, 120, 160, 320)
MIN_SIZES = (45, 90, 135, 180, 225, 270)
MAX_SIZES = (120, 180, 220, 260, 300, 320)
RATIOS = (2, 3)
PRIORS_PER_CELL = 2 + 2 * len(RATIOS)
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2

# Classifiers by their names in `mnx-infer convert --arch`. CIFAR's take small pictures: their first two strides are 1.
RESNETS = ("resnet18", "resnet34", "resnet50")
ARCHITECTURES = ("mobilenext", "mobilenext-cifar", "mobilenetv2", "mobilenetv2-cifar", *RESNETS)

# Reduction of a stage's first block, output channels, blocks, stride of the first one.
MOBILENEXT_STAGES = (
    (2, 96, 1, 2),
    (6, 144, 1, 1),
    (6, 192, 3, 2),
    (6, 288, 3, 2),
    (6, 384, 4, 1),
    (6, 576, 4, 2),
    (6, 960, 3, 1),
    (6, 1280, 1, 1),
)
# Expansion, output channels, blocks, stride of the first one.
MOBILENETV2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def divisible(value: float, divisor: int) -> int:
    """The nearest multiple of `divisor`, halves upwards; one more where that loses over a tenth of `value`."""
    multiple = max(divisor, math.floor(value / divisor + 0.5) * divisor)
    return multiple + divisor if multiple < 0.9 * value else multiple


def conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, relu6: bool = False) -> list[nn.Module]:
    """A convolution without bias, its batch norm and, if asked for, ReLU6."""
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return [*layers, nn.ReLU6()] if relu6 else layers


def depthwise(channels: int, stride: int = 1, relu6: bool = False) -> list[nn.Module]:
    """A 3x3 convolution of every channel by itself."""
    return conv(channels, channels, 3, stride, groups=channels, relu6=relu6)


class Sandglass(nn.Module):
    """MobileNeXt's block: depthwise, reduce, expand, depthwise, plus the input.

    Which depthwise layers there are, and whether there is a shortcut, follows from the block's place, as in the released model.
    `only` says that the block is a whole stage of stride 1.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, reduction: int, only: bool, identity: float):
        super().__init__()
        middle = inputs // reduction
        if middle < outputs / 6:
            middle = divisible(math.ceil(outputs / 6), 16)
        begins = reduction == 2
        keeps = inputs == outputs or only
        last_stride = stride if begins or not keeps else 1
        layers = depthwise(inputs, relu6=True) if begins or keeps else []
        layers += conv(inputs, middle) + conv(middle, outputs, relu6=True)
        # How many layers there are up to and with the expansion's ReLU6: a detector taps the network there.
        self.expansion = len(layers)
        if begins or keeps or stride == 2:
            layers += depthwise(outputs, last_stride)
        self.conv = nn.Sequential(*layers)
        shortcut = keeps and not begins and not only
        self.shortcut = round(inputs * identity) if shortcut else 0

    def forward(self, x):
        return self.rest(x, self.expanded(x))

    def expanded(self, x):
        """The expansion's output."""
        return self.conv[: self.expansion](x)

    def rest(self, x, expanded):
        """The block's output, from its input and the expansion's output."""
        y = self.conv[self.expansion :](expanded)
        if self.shortcut == 0:
            return y
        if self.shortcut == y.shape[1]:
            return x + y
        return torch.cat((x[:, : self.shortcut] + y[:, : self.shortcut], y[:, self.shortcut :]), 1)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand (unless that changes nothing), depthwise, project, plus the input where shapes and `shortcut` allow."""

    def __init__(self, inputs: int, middle: int, outputs: int, stride: int, shortcut: bool = True):
        super().__init__()
        layers = [] if middle == inputs else [nn.Sequential(*conv(inputs, middle, relu6=True))]
        layers += [nn.Sequential(*depthwise(middle, stride, relu6=True)), *conv(middle, outputs)]
        self.conv = nn.Sequential(*layers)
        self.shortcut = shortcut and stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.shortcut else self.conv(x)


def mobilenext_features(width: float, identity: float, stem_stride: int, first_stride: int) -> tuple[nn.Sequential, int]:
    """The stem and the blocks, and their output's channels."""
    divisor = 4 if width == 0.1 else 8
    channels = divisible(32 * width, divisor)
    blocks: list[nn.Module] = [nn.Sequential(*conv(3, channels, 3, stem_stride, relu6=True))]
    for number, (reduction, base, repeats, stride) in enumerate(MOBILENEXT_STAGES):
        last = number == len(MOBILENEXT_STAGES) - 1
        outputs = base if last and width < 1 else divisible(base * width, divisor)
        stride = first_stride if number == 0 else stride
        only = repeats == 1 and stride == 1
        for block in range(repeats):
            blocks.append(Sandglass(channels, outputs, stride if block == 0 else 1, reduction, only, identity))
            channels = outputs
    return nn.Sequential(*blocks), channels


def mobilenetv2_features(width: float, stem_stride: int, first_stride: int) -> tuple[nn.Sequential, int]:
    """The stem, the blocks and the last pointwise layer, and their output's channels."""
    channels = divisible(32 * width, 8)
    blocks: list[nn.Module] = [nn.Sequential(*conv(3, channels, 3, stem_stride, relu6=True))]
    for number, (expansion, base, repeats, stride) in enumerate(MOBILENETV2_STAGES):
        outputs = divisible(base * width, 8)
        # With stride 1 this stage still begins without a shortcut, also where its channels would allow one: only the stride differs.
        shortcut = stride == 1
        stride = first_stride if number == 1 else stride
        for block in range(repeats):
            first = block == 0
            blocks.append(InvertedResidual(channels, channels * expansion, outputs, stride if first else 1, shortcut or not first))
            channels = outputs
    last = divisible(1280 * max(1.0, width), 8)
    blocks.append(nn.Sequential(*conv(channels, last, relu6=True)))
    return nn.Sequential(*blocks), last


class Classifier(nn.Module):
    """Features, their mean over the picture, dropout, one linear layer."""

    def __init__(self, features: nn.Sequential, channels: int, classes: int, dropout: float):
        super().__init__()
        self.features = features
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class MobileNeXtLevels(nn.Module):
    """A detector's levels on MobileNeXt.

    The first two are expansions: inside the sixth stage's first block and inside the last block.
    """

    TAPS = (13, 20)
    EXTRAS = ((256, 512), (128, 256), (128, 256), (128, 128))

    def __init__(self, width: float, identity: float):
        super().__init__()
        self.features, channels = mobilenext_features(width, identity, 2, 2)
        self.channels = [self.features[tap].conv[self.features[tap].expansion - 2].num_features for tap in self.TAPS]
        self.extras = nn.ModuleList()
        for middle, outputs in self.EXTRAS:
            layers = depthwise(channels, 2, relu6=True) + conv(channels, middle) + conv(middle, outputs, relu6=True)
            self.extras.append(nn.Sequential(*layers))
            self.channels.append(outputs)
            channels = outputs

    def forward(self, x):
        levels = []
        for number, block in enumerate(self.features):
            if number in self.TAPS:
                levels.append(block.expanded(x))
                x = block.rest(x, levels[-1])
            else:
                x = block(x)
        for extra in self.extras:
            x = extra(x)
            levels.append(x)
        return levels


class MobileNetV2Levels(nn.Module):
    """A detector's levels on MobileNetV2: the outputs of the fifth stage and of the last pointwise layer, and of the extras."""

    TAPS = (13, 18)
    EXTRAS = ((256, 512), (256, 256), (128, 256), (128, 64))

    def __init__(self, width: float):
        super().__init__()
        self.features, channels = mobilenetv2_features(width, 2, 2)
        self.channels = [self.features[13].conv[-1].num_features, channels]
        self.extras = nn.ModuleList()
        for middle, outputs in self.EXTRAS:
            self.extras.append(InvertedResidual(channels, middle, outputs, 2))
            self.channels.append(outputs)
            channels = outputs

    def forward(self, x):
        levels = []
        for number, block in enumerate(self.features):
            x = block(x)
            if number in self.TAPS:
                levels.append(x)
        for extra in self.extras:
            x = extra(x)
            levels.append(x)
        return levels


class SeparableHead(nn.Module):
    """Depthwise with bias, batch norm, ReLU6, pointwise with bias."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs),
            nn.BatchNorm2d(inputs),
            nn.ReLU6(),
            nn.Conv2d(inputs, outputs, 1),
        )

    def forward(self, x):
        return self.conv(x)


class Predictor(nn.Module):
    """A class head and a box head for every level. Those of the last level are pointwise alone."""

    def __init__(self, channels: list[int], classes: int):
        super().__init__()
        self.classes = classes
        self.cls_headers = self.heads(channels, classes)
        self.reg_headers = self.heads(channels, 4)

    @staticmethod
    def heads(channels: list[int], values: int) -> nn.ModuleList:
        outputs = PRIORS_PER_CELL * values
        separable = [SeparableHead(inputs, outputs) for inputs in channels[:-1]]
        return nn.ModuleList([*separable, nn.Conv2d(channels[-1], outputs, 1)])

    def forward(self, levels):
        scores = [rows(head(x), self.classes) for head, x in zip(self.cls_headers, levels)]
        boxes = [rows(head(x), 4) for head, x in zip(self.reg_headers, levels)]
        return torch.cat(scores, 1), torch.cat(boxes, 1)


def rows(x, values: int):
    """A head's output, N x (priors in cell x values) x H x W, as N x priors x values."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)


class SSDLite(nn.Module):
    """A detector for pictures of `size` x `size`. `width` scales the backbone alone; extras and heads keep their channels."""

    def __init__(self, levels: nn.Module, classes: int, size: int):
        super().__init__()
        self.classes = classes
        self.size = size
        self.backbone = levels
        self.box_head = nn.Module()
        self.box_head.predictor = Predictor(levels.channels, classes)

    def forward(self, x):
        """Scores, N x priors x classes, and boxes, N x priors x 4, of N x 3 x size x size."""
        if x.shape[1:] != (3, self.size, self.size):
            raise ValueError(f"expected N x 3 x {self.size} x {self.size}, found {' x '.join(map(str, x.shape))}")
        return self.box_head.predictor(self.backbone(x))

    def priors(self):
        """The priors, P x 4: centre x, centre y, width, height as fractions of the picture."""
        return priors(grids(self.size))


def grids(size: int) -> list[int]:
    """Cells along a side of every level: strides of 16, 32, ... with one pixel of padding round up."""
    sides = [math.ceil(size / 16)]
    while len(sides) < len(STRIDES):
        sides.append(math.ceil(sides[-1] / 2))
    return sides


def priors(sides: list[int]):
    """The priors of levels with this many cells along a side, P x 4. What sticks out of the picture is cut off its numbers."""
    table = []
    for side, stride, smallest, largest in zip(sides, STRIDES, MIN_SIZES, MAX_SIZES):
        small, middle = smallest / RULES_AT, math.sqrt(smallest * largest) / RULES_AT
        shapes = [(small, small), (middle, middle)]
        for ratio in RATIOS:
            root = math.sqrt(ratio)
            shapes += [(small * root, small / root), (small / root, small * root)]
        # The strides are the released ones, so some centres are not those of the cells.
        cells = RULES_AT / stride
        centres = [((column + 0.5) / cells, (row + 0.5) / cells) for row in range(side) for column in range(side)]
        table += [(*centre, *shape) for centre in centres for shape in shapes]
    return torch.tensor(table, dtype=torch.float64).clamp(0, 1).float()


def decode(boxes, table):
    """Boxes as the network puts them out -> x0, y0, x1, y1 as fractions of the picture. They may stick out of it."""
    centre = boxes[..., :2] * CENTRE_VARIANCE * table[:, 2:] + table[:, :2]
    half = torch.exp(boxes[..., 2:] * SIZE_VARIANCE) * table[:, 2:] / 2
    return torch.cat((centre - half, centre + half), -1)


def encode(corners, table):
    """The inverse of `decode`."""
    size = corners[..., 2:] - corners[..., :2]
    centre = (corners[..., :2] + corners[..., 2:]) / 2
    offset = (centre - table[:, :2]) / (CENTRE_VARIANCE * table[:, 2:])
    return torch.cat((offset, torch.log(size / table[:, 2:]) / SIZE_VARIANCE), -1)


def classifier(
    backbone: str = "mobilenext",
    width: float = 1.0,
    classes: int = 1000,
    identity: float = 1.0,
    stem_stride: int = 2,
    first_stride: int = 2,
    dropout: float = 0.2,
) -> Classifier:
    """A classifier. Small pictures take `stem_stride` and `first_stride` 1; `identity` is the share of MobileNeXt's shortcuts."""
    if backbone == "mobilenext":
        return Classifier(*mobilenext_features(width, identity, stem_stride, first_stride), classes, dropout)
    if backbone == "mobilenetv2":
        return Classifier(*mobilenetv2_features(width, stem_stride, first_stride), classes, dropout)
    raise ValueError(f"no backbone `{backbone}`: expected mobilenext or mobilenetv2")


def architecture(arch: str, width: float = 1.0, classes: int = 1000, identity: float = 1.0, dropout: float = 0.2) -> nn.Module:
    """A classifier by its name in `ARCHITECTURES`. ResNets have neither width nor dropout."""
    if arch in RESNETS:
        if width != 1:
            raise ValueError(f"{arch} has no width multiplier, found {width}")
        return getattr(torchvision.models, arch)(weights=None, num_classes=classes)
    if arch not in ARCHITECTURES:
        raise ValueError(f"no architecture `{arch}`: expected {', '.join(ARCHITECTURES)}")
    stride = 1 if arch.endswith("-cifar") else 2
    return classifier(arch.removesuffix("-cifar"), width, classes, identity, stride, stride, dropout)


def blocks(model: nn.Module) -> list[list[nn.Module]]:
    """A classifier's stem and blocks, in the order in which pictures pass through them."""
    if isinstance(model, Classifier):
        return [[block] for block in model.features]
    stages = (model.layer1, model.layer2, model.layer3, model.layer4)
    return [[model.conv1, model.bn1], *([block] for stage in stages for block in stage)]


def head(model: nn.Module) -> nn.Linear:
    """A classifier's last layer."""
    return model.classifier[1] if isinstance(model, Classifier) else model.fc


@torch.no_grad()
def multiply_adds(model: nn.Module, size: int) -> int:
    """Of a picture of `size` x `size`, in convolutions and linear layers."""
    count = 0

    def add(layer, _, output) -> None:
        nonlocal count
        count += output.numel() * layer.weight[0].numel()

    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    training = model.training
    model.eval()(torch.zeros(1, 3, size, size))
    model.train(training)
    for hook in hooks:
        hook.remove()
    return count


def ssdlite(
    backbone: str = "mobilenext", width: float = 1.0, classes: int = 21, size: int = 320, identity: float = 1.0
) -> SSDLite:
    """A detector. `classes` counts the background."""
    if classes < 2:
        raise ValueError(f"a detector has 2 classes or more, the background among them, found {classes}")
    if size < 1:
        raise ValueError(f"the picture's size must be 1 or more, found {size}")
    if backbone == "mobilenext":
        return SSDLite(MobileNeXtLevels(width, identity), classes, size)
    if backbone == "mobilenetv2":
        return SSDLite(MobileNetV2Levels(width), classes, size)
    raise ValueError(f"no backbone `{backbone}`: expected mobilenext or mobilenetv2")
