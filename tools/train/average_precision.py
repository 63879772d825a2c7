"""Average precision of VOC, all points: the area under the precision that falls monotonically with recall."""

import numpy as np


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU of a box with N x 4 others, all x0, y0, x1, y1. Nothing overlaps a box without area."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = sides.clip(0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1)
    union = (box[2:] - box[:2]).clip(0).prod() + areas - shared
    return np.divide(shared, union, out=np.zeros(len(boxes)), where=union > 0)


def average_precision(truths: list, difficult: list, found: list, threshold: float = 0.5) -> float:
    """Average precision of one class. NaN if it has no truth that counts.

    Per picture: `truths` N x 4, `difficult` N, `found` M x 5: score and box. A find is right if the truth that it overlaps most
    reaches the threshold and no better find took it before. One on a difficult truth counts neither way.
    """
    positives = sum(int((~np.asarray(flags, bool)).sum()) for flags in difficult)
    if positives == 0:
        return float("nan")
    finds = [(row[0], picture, row[1:]) for picture, rows in enumerate(found) for row in np.asarray(rows, float).reshape(-1, 5)]
    finds.sort(key=lambda find: -find[0])
    taken = [np.zeros(len(boxes), bool) for boxes in truths]
    right = []
    for _, picture, box in finds:
        boxes = np.asarray(truths[picture], float).reshape(-1, 4)
        shares = overlaps(box, boxes)
        best = int(shares.argmax()) if len(shares) else -1
        if best < 0 or shares[best] < threshold:
            right.append(False)
        elif not difficult[picture][best]:
            right.append(not taken[picture][best])
            taken[picture][best] = True
    hits = np.cumsum(right) if right else np.zeros(0)
    recall = np.concatenate(([0.0], hits / positives, [1.0]))
    precision = np.concatenate(([0.0], hits / np.arange(1, len(hits) + 1), [0.0]))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(((recall[1:] - recall[:-1]) * precision[1:]).sum())
