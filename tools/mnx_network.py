"""The layers of a network, spelled out from the `spec` in a weight file's header.

`build(spec)` gives a Network: blocks, each a row of layers with perhaps a shortcut over it, and the classifier. Rules and names are
those of the frameworks' own definitions, e.g. torchvision's for MobileNetV2 and ResNet.
"""

from dataclasses import dataclass, field

LINEAR, RELU6, RELU = "linear", "relu6", "relu"

# Blocks of a stage, at most: more have more tensors than a weight file may have.
MOST_BLOCKS = 4096


class Bad(Exception):
    """What is wrong with a file, in one line."""


@dataclass(frozen=True)
class Layer:
    """`kind` is `dense` (the stem), `conv` (dense, on features), `depthwise`, `pointwise` or `linear` (the classifier)."""

    name: str
    kind: str
    kernel: int
    cin: int
    cout: int
    stride: int = 1
    activation: str = LINEAR

    def dims(self):
        """Dimensions of the weight, output channels first."""
        if self.kind == "linear":
            return [self.cout, self.cin]
        return [self.cout, 1 if self.kind == "depthwise" else self.cin, self.kernel, self.kernel]


@dataclass
class Block:
    """`shortcut` is how many channels it covers, from the first one on; `activation` is what follows the addition."""

    name: str
    layers: list = field(default_factory=list)
    shortcut: int = 0
    projection: Layer | None = None
    activation: str = LINEAR
    max_pool: bool = False

    def all_layers(self):
        """In the order of the file: the row, then the layer on the shortcut."""
        return self.layers + ([self.projection] if self.projection else [])


@dataclass
class Network:
    blocks: list
    classifier: Layer

    def layers(self):
        return [layer for block in self.blocks for layer in block.all_layers()] + [self.classifier]


def round_channels(value, multiple):
    """The nearest multiple, halves up; never under 90 % of `value` nor under `multiple`."""
    nearest = max(multiple, int(value + multiple / 2) // multiple * multiple)
    return nearest + multiple if nearest < 0.9 * value else nearest


def padding(rule, kernel, size, stride):
    """Rows or columns before and after the picture. `rule` is `torch` or `tf`."""
    half = kernel // 2
    return (half - 1, half) if rule == "tf" and stride == 2 and kernel > 1 and size % 2 == 0 else (half, half)


def sandglass(name, site, activation, identity):
    cin, cout, ratio = site["cin"], site["cout"], site["ratio"]
    hidden, sixth = cin // ratio, -(-cout // 6)
    if hidden < sixth:
        hidden = round_channels(sixth, 16)
    alone = site["only"] and site["stride"] == 1
    changes = cin != cout and not alone
    first_depthwise = ratio == 2 or not changes
    rows = [("depthwise", 3, cin, cin, 1, activation)] if first_depthwise else []
    rows += [("pointwise", 1, cin, hidden, 1, LINEAR), ("pointwise", 1, hidden, cout, 1, activation)]
    if first_depthwise or site["stride"] == 2:
        rows.append(("depthwise", 3, cout, cout, site["stride"] if ratio == 2 or changes else 1, LINEAR))
    layers, module = [], 0
    for row in rows:
        layers.append(Layer(f"{name}.conv.{module}", *row))
        module += 2 if row[-1] == LINEAR else 3  # convolution, batch norm, activation
    # Python rounds halves to even.
    return Block(name, layers, 0 if ratio == 2 or changes or alone else round(cin * identity))


def inverted_residual(name, site, activation):
    cin, cout, stride = site["cin"], site["cout"], site["stride"]
    hidden = cin * site["ratio"]
    rows = [("pointwise", 1, cin, hidden, 1, activation)] if site["ratio"] > 1 else []
    rows.append(("depthwise", 3, hidden, hidden, stride, activation))
    layers = [Layer(f"{name}.conv.{i}.0", *row) for i, row in enumerate(rows)]
    layers.append(Layer(f"{name}.conv.{len(rows)}", "pointwise", 1, hidden, cout))
    return Block(name, layers, cout if site["may_skip"] and stride == 1 and cin == cout else 0)


def residual(name, site, activation, bottleneck):
    cin, cout, stride = site["cin"], site["cout"], site["stride"]
    if bottleneck:
        hidden = max(1, cout // site["ratio"])
        rows = [("pointwise", 1, cin, hidden, 1), ("conv", 3, hidden, hidden, stride), ("pointwise", 1, hidden, cout, 1)]
    else:
        rows = [("conv", 3, cin, cout, stride), ("conv", 3, cout, cout, 1)]
    acts = [activation] * (len(rows) - 1) + [LINEAR]
    layers = [Layer(f"{name}.conv{i + 1}", *row, act) for i, (row, act) in enumerate(zip(rows, acts))]
    projection = Layer(f"{name}.downsample.0", "pointwise", 1, cin, cout, stride) if stride != 1 or cin != cout else None
    return Block(name, layers, cout, projection, activation)


def build(spec):
    """Raises Bad for a spec that lacks a key or names a kind of block that does not exist."""
    try:
        return spell_out(spec)
    except KeyError as error:
        raise Bad(f"spec: expected the key {error}") from None
    except (TypeError, AttributeError, ZeroDivisionError, IndexError) as error:
        raise Bad(f"spec: {error}") from None


def spell_out(spec):
    if spec.get("detector") is not None:
        raise Bad("spec: expected a classifier, found a detector, which these scripts do not know")
    stem, stages, width = spec["stem"], spec["stages"], spec["width"]
    activation, head = spec.get("activation", RELU6), spec.get("head")
    kinds = [stage.get("block", "sandglass") for stage in stages]
    resnet = kinds[0] in ("basic", "bottleneck")
    multiple = 4 if kinds[0] == "sandglass" and width == 0.1 else 8

    def scaled(channels):
        return round_channels(channels * width, multiple)

    def features(channels):
        """Channels before the classifier do not shrink."""
        return channels if width < 1.0 else scaled(channels)

    cin, kernel = scaled(stem["channels"]), stem.get("kernel", 3)
    name, layer = ("conv1", "conv1") if resnet else ("features.0", "features.0.0")
    first = Layer(layer, "dense", kernel, spec["channels"], cin, stem["stride"], activation)
    blocks = [Block(name, [first], max_pool=stem.get("max_pool", False))]
    for index, (stage, kind) in enumerate(zip(stages, kinds)):
        last = index + 1 == len(stages) and head is None
        cout = features(stage["channels"]) if last else scaled(stage["channels"])
        if stage["repeats"] > MOST_BLOCKS:
            raise Bad(f"spec: stages[{index}].repeats: expected at most {MOST_BLOCKS}, found {stage['repeats']}")
        for repeat in range(stage["repeats"]):
            name = f"layer{index + 1}.{repeat}" if resnet else f"features.{len(blocks)}"
            site = dict(cin=cin, cout=cout, ratio=stage["ratio"], stride=1 if repeat else stage["stride"], only=stage["repeats"] == 1)
            site["may_skip"] = repeat > 0 or stage.get("first_shortcut", True)
            if kind == "sandglass":
                blocks.append(sandglass(name, site, activation, spec["identity"]))
            elif kind == "inverted_residual":
                blocks.append(inverted_residual(name, site, activation))
            elif kind in ("basic", "bottleneck"):
                blocks.append(residual(name, site, activation, kind == "bottleneck"))
            else:
                raise Bad(f"spec: stages[{index}].block: expected a kind of block, found {kind!r}")
            cin = cout
    if head is not None:
        cout, name = features(head), f"features.{len(blocks)}"
        blocks.append(Block(name, [Layer(f"{name}.0", "pointwise", 1, cin, cout, 1, activation)]))
        cin = cout
    return Network(blocks, Layer("fc" if resnet else "classifier.1", "linear", 1, cin, spec["classes"]))
