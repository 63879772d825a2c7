#!/usr/bin/env python3
"""Makes testdata/golden/detections.json: raw outputs of detectors, and what PyTorch and torchvision's `nms` make of them.

    pip install torch torchvision
    python tools/make_detection_goldens.py

The rules are those of the training code that MobileNeXt's authors use: softmax (TensorFlow: sigmoid), scores strictly above
the threshold, suppression within each class, the best of all classes. Boxes are in pixels of the network's input.
"""

import json
from pathlib import Path

import torch
import torchvision

OUT = Path(__file__).resolve().parent.parent / "testdata" / "golden" / "detections.json"
SIDE = 100
GRIDS = (4, 2, 1)
STRIDES, MIN_SIZES, MAX_SIZES, RATIOS = (25, 50, 100), (20, 35, 60), (35, 60, 90), (2, 3)
SCALES = (((0.1, 1.0), (0.2, 2.0), (0.2, 0.5)), ((0.4, 1.0), (0.4, 2.0), (0.5, 1.0)), ((0.7, 1.0), (0.7, 0.5), (0.9, 1.0)))


def priors(kind):
    out = []
    for level, grid in enumerate(GRIDS):
        if kind == "softmax":
            small, big = MIN_SIZES[level] / SIDE, (MIN_SIZES[level] * MAX_SIZES[level]) ** 0.5 / SIDE
            sizes = [(small, small), (big, big)]
            for ratio in RATIOS:
                root = ratio**0.5
                sizes += [(small * root, small / root), (small / root, small * root)]
            cells = SIDE / STRIDES[level]
        else:
            sizes = [(scale * ratio**0.5, scale / ratio**0.5) for scale, ratio in SCALES[level]]
            cells = grid
        for row in range(grid):
            for column in range(grid):
                out += [((column + 0.5) / cells, (row + 0.5) / cells, *size) for size in sizes]
    out = torch.tensor(out, dtype=torch.float64)
    return (out.clamp(0, 1) if kind == "softmax" else out).float()


def detector(kind):
    softmax = {"stride": 0, "min": 0, "max": 0, "ratios": RATIOS}
    levels = zip(STRIDES, MIN_SIZES, MAX_SIZES)
    sizes = [{"sizes": {**softmax, "stride": stride, "min": low, "max": high}} for stride, low, high in levels]
    return {
        "taps": [{"block": 1}, {"block": 2}, {"block": 3}],
        "extras": [],
        "priors": sizes if kind == "softmax" else [{"scales": level} for level in SCALES],
        "clip": kind == "softmax",
        "coder": {"centre": 0.1, "size": 0.2, "order": "xywh" if kind == "softmax" else "yxhw"},
        "scores": kind,
        "score": 0.01 if kind == "softmax" else 0.3,
        "iou": 0.45 if kind == "softmax" else 0.6,
        "top": 30,
        "clip_boxes": kind != "softmax",
    }


def rounded(tensor):
    """Few digits, which f32 holds alike everywhere."""
    return torch.tensor([round(value, 3) for value in tensor.flatten().tolist()]).reshape(tensor.shape)


def case(kind, classes, seed, background):
    torch.manual_seed(seed)
    spec, p = detector(kind), priors(kind)
    scores = rounded(torch.randn(len(p), classes) * 2)
    scores[:, 0] += background
    scores, boxes = rounded(scores), rounded(torch.randn(len(p), 4))
    xywh = boxes if spec["coder"]["order"] == "xywh" else boxes[:, [1, 0, 3, 2]]
    centre, half = xywh[:, :2] * 0.1 * p[:, 2:] + p[:, :2], torch.exp(xywh[:, 2:] * 0.2) * p[:, 2:] / 2
    corners = torch.cat((centre - half, centre + half), 1) * SIDE
    likely = scores.softmax(1) if kind == "softmax" else scores.sigmoid()
    rows = []
    for label in range(1, classes):
        index = torch.nonzero(likely[:, label] > spec["score"]).flatten()
        keep = index[torchvision.ops.nms(corners[index], likely[index, label], spec["iou"])]
        rows += [(likely[i, label].item(), label, i.item()) for i in keep]
    rows.sort(key=lambda row: -row[0])
    kept = corners.clamp(0, SIDE) if spec["clip_boxes"] else corners
    # No two scores so near to each other that rounding could change their order.
    if any(a[0] - b[0] < 1e-5 for a, b in zip(rows[: spec["top"]], rows[1:])):
        return case(kind, classes, seed + 100, background)
    found = [[label, prior, score, *kept[prior].tolist()] for score, label, prior in rows[: spec["top"]]]
    flat = {"scores": scores.flatten().tolist(), "boxes": boxes.flatten().tolist()}
    flat = {name: [round(value, 3) for value in values] for name, values in flat.items()}
    return {"detector": spec, "classes": classes, "resolution": SIDE, "grids": GRIDS, **flat, "found": found}


if __name__ == "__main__":
    cases = [case("softmax", 5, 1, 0), case("softmax", 3, 2, 4), case("sigmoid", 2, 3, 0), case("sigmoid", 4, 4, 0)]
    OUT.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    print([len(case["found"]) for case in cases])
