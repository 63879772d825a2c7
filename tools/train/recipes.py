"""Recipes of training a classifier, by name: initial weights, optimiser, and its rate at every step.

| recipe | after |
| --- | --- |
| mobilenetv2 | MobileNetV2's paper and the authors' released code |
| resnet | the code of MobileNeXt's authors, whose networks in ResNet's manner it trained |
| one-cycle | how this project's own CIFAR-10 network was trained |

docs/train.md says what was taken from where, and what is this project's own choice.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Recipe:
    """What a recipe says unless an option does."""

    rate: float  # highest rate, for batches of `batch`; other batches scale it
    batch: int
    decay: float
    smoothing: float
    average: float
    colour: float  # brightness, contrast and saturation change by up to this share, where parts of pictures are cut out


RECIPES = {
    "mobilenetv2": Recipe(rate=0.045, batch=96, decay=4e-5, smoothing=0.1, average=0.9999, colour=0.0),
    "resnet": Recipe(rate=0.1, batch=128, decay=1e-4, smoothing=0.1, average=0.9998, colour=0.4),
    "one-cycle": Recipe(rate=0.12, batch=128, decay=5e-4, smoothing=0.05, average=0.998, colour=0.0),
}

# The rate of `mobilenetv2` falls by this factor so many times, in any number of epochs. The factor is the paper's, for an epoch each. The
# paper names no number of epochs: 300 is this project's choice.
FACTOR, EPOCHS = 0.98, 300
# `resnet` warms up for 3 of 200 epochs, and ends at this share of the highest rate.
WARM_UP, WARM_UP_FROM, LEAST = 3 / 200, 1e-3, 1e-4
# `one-cycle` rises for a fifth of the steps, from a share of the rate, and falls to a smaller one.
RISE, FIRST, LAST = 0.2, 1 / 25, 1 / 25e4
MOMENTUM_HIGH, MOMENTUM_LOW = 0.95, 0.85


class RMSpropTF(torch.optim.Optimizer):
    """RMSprop as TensorFlow has it: epsilon is under the root, and the mean of squares starts at 1.

    With epsilon 1, as MobileNetV2's authors used it, steps are near those of SGD unless gradients are large. PyTorch's own RMSprop with
    the same rate diverges.
    """

    def __init__(self, groups, lr: float, alpha: float = 0.9, eps: float = 1.0, momentum: float = 0.9):
        super().__init__(groups, dict(lr=lr, alpha=alpha, eps=eps, momentum=momentum, weight_decay=0.0))

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                gradient = weight.grad.add(weight, alpha=group["weight_decay"])
                state = self.state[weight]
                if not state:
                    state["squares"], state["velocity"] = torch.ones_like(weight), torch.zeros_like(weight)
                squares, velocity = state["squares"], state["velocity"]
                squares.lerp_(gradient.square(), 1 - group["alpha"])
                velocity.mul_(group["momentum"]).addcdiv_(gradient, (squares + group["eps"]).sqrt_(), value=group["lr"])
                weight.sub_(velocity)


def optimiser(name: str, model: nn.Module, decay: float):
    """The recipe's optimiser. Norms and biases do not decay, and in `mobilenetv2` depthwise layers do not either."""
    decaying, others = [], []
    for layer in model.modules():
        depthwise = isinstance(layer, nn.Conv2d) and layer.groups > 1
        for weight in layer.parameters(recurse=False):
            if weight.requires_grad:
                decays = weight.dim() > 1 and not (depthwise and name == "mobilenetv2")
                (decaying if decays else others).append(weight)
    groups = [{"params": decaying, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if name == "mobilenetv2":
        return RMSpropTF(groups, lr=0.0)
    return torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True)


def schedule(name: str, step: int, steps: int) -> dict[str, float]:
    """What the optimiser's groups have at a step of so many: `lr` as a share of the highest one, and `momentum`."""
    if name == "mobilenetv2":
        return dict(lr=FACTOR ** (EPOCHS * step / steps), momentum=0.9)
    if name == "resnet":
        rising = WARM_UP * steps
        if step < rising:
            return dict(lr=WARM_UP_FROM + (1 - WARM_UP_FROM) * step / rising, momentum=0.9)
        return dict(lr=LEAST + (1 - LEAST) * cosine(step / steps), momentum=0.9)
    # As PyTorch's OneCycleLR.
    top, end = max(RISE * steps - 1, 1e-9), steps - 1
    if step <= top:
        share = cosine(1 - step / top)
        return dict(lr=FIRST + (1 - FIRST) * share, momentum=MOMENTUM_HIGH + (MOMENTUM_LOW - MOMENTUM_HIGH) * share)
    share = cosine((step - top) / (end - top)) if end > top else 0.0
    return dict(lr=LAST + (1 - LAST) * share, momentum=MOMENTUM_HIGH + (MOMENTUM_LOW - MOMENTUM_HIGH) * share)


def cosine(x: float) -> float:
    """1 at 0, 0 at 1."""
    return 0.5 + 0.5 * math.cos(math.pi * x)


def initialise(name: str, arch: str, model: nn.Module) -> None:
    """Initial weights. Those of ResNets are torchvision's."""
    if arch.startswith("resnet"):
        return
    # `one-cycle` drew MobileNetV2 as torchvision does, and then convolutions again, and kept MobileNeXt's last layer as PyTorch makes it.
    linear = name != "one-cycle" or arch.startswith("mobilenetv2")
    rounds = 2 if name == "one-cycle" and linear else 1
    for number in range(rounds):
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            elif isinstance(layer, nn.Linear) and linear and number == 0:
                nn.init.normal_(layer.weight, 0, 0.01)
                nn.init.zeros_(layer.bias)
