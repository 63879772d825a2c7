#!/usr/bin/env python3
"""Makes testdata/golden/average-precision.json: random boxes and detections of some classes, and what the package
mean-average-precision makes of them. `eval --voc` is tested against it.

    pip install mean-average-precision numpy
    python tools/make_average_precision_goldens.py

Corners are those of annotations: the first pixel is 1, and both ends belong to the box. No box is difficult, as the
package counts such boxes among those to find.
"""

import json
from pathlib import Path

import numpy as np
from mean_average_precision import MetricBuilder

OUT = Path(__file__).resolve().parent.parent / "testdata" / "golden" / "average-precision.json"
PICTURES = 12
SEEDS = (1, 2, 4, 5, 6, 8)


def boxes(random, count):
    corner = random.integers(1, 60, (count, 2))
    return np.concatenate((corner, corner + random.integers(5, 40, (count, 2))), 1)


def case(seed):
    """A class: truths are [picture, xmin, ymin, xmax, ymax], detections have the score at the end."""
    random = np.random.default_rng(seed)
    metric = MetricBuilder.build_evaluation_metric("map_2d", async_mode=False, num_classes=1)
    truths, found = [], []
    for picture in range(PICTURES):
        truth = boxes(random, random.integers(0, 6))
        # Most detections are near a box, some of them twice; others are anywhere.
        near = truth[random.integers(0, len(truth), 2 * len(truth))] if len(truth) else truth
        # Not in whole pixels: the package wants more than the limit, VOC no less than it.
        near = np.round(near + random.uniform(-6, 6, near.shape), 2)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2])
        guess = np.concatenate((near, boxes(random, random.integers(0, 3))))
        score = random.permutation(10_000)[: len(guess)] / 10_000 + picture / 1e6
        zeros = np.zeros((len(truth), 3))
        metric.add(np.column_stack((guess, np.zeros(len(guess)), score)), np.concatenate((truth, zeros), 1))
        truths += [[picture, *row] for row in truth.tolist()]
        found += [[picture, *row, s] for row, s in zip(guess.tolist(), score.tolist())]
    # Otherwise a recall could be one of the eleven, or not, by rounding.
    assert len(truths) % 5 != 0
    eleven = np.arange(0.0, 1.1, 0.1)
    all_point = metric.value(iou_thresholds=0.5)["mAP"]
    eleven_point = metric.value(iou_thresholds=0.5, recall_thresholds=eleven)["mAP"]
    return {"truths": truths, "found": found, "ap": float(all_point), "ap_11_point": float(eleven_point)}


if __name__ == "__main__":
    cases = [case(seed) for seed in SEEDS]
    OUT.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    print([(round(case["ap"], 3), round(case["ap_11_point"], 3)) for case in cases])
