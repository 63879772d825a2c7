"""What a detector learns: which prior stands for which box, and the loss."""

import torch
from torch.nn import functional
from torchvision.ops import box_iou

from networks import encode

NEGATIVES_PER_POSITIVE = 3


def corners(table):
    """Priors as x0, y0, x1, y1."""
    return torch.cat((table[:, :2] - table[:, 2:] / 2, table[:, :2] + table[:, 2:] / 2), 1)


def match(boxes, classes, table, threshold: float = 0.5, least: int = 1):
    """What every prior should say: a class (P) and, where that is not the background, offsets (P x 4).

    A prior stands for the box that it overlaps most, from the threshold on. Every box also gets the `least` priors that overlap it
    most, whatever their overlap. Among equals, those with the smaller offsets come first: all priors around a small box are equals.
    """
    labels = torch.zeros(len(table), dtype=torch.long)
    if len(boxes) == 0:
        return labels, torch.zeros(len(table), 4)
    shares = box_iou(boxes, corners(table))
    best, truth = shares.max(0)
    best = torch.where(best >= threshold, best, torch.full_like(best, -1))
    offsets = torch.stack([encode(box.expand(len(table), 4), table) for box in boxes])
    rank = shares - 1e-4 * offsets.abs().sum(2).clamp(max=1000)
    # Boxes take turns, the best prior of each last: no box loses it to another one's second choice.
    chosen = rank.topk(min(least, len(table)), dim=1).indices
    for turn in reversed(range(chosen.shape[1])):
        for number, prior in enumerate(chosen[:, turn]):
            truth[prior], best[prior] = number, 2.0
    positive = best >= 0
    labels[positive] = classes[truth[positive]]
    return labels, offsets[truth, torch.arange(len(table))]


def loss(scores, boxes, labels, offsets):
    """Class loss and box loss per positive prior of the batch.

    Softmax cross entropy over the positives and, in each picture, three times as many negatives: those with the highest loss.
    Smooth L1 over the positives' offsets.
    """
    positive = labels > 0
    entropy = functional.cross_entropy(scores.transpose(1, 2), labels, reduction="none")
    with torch.no_grad():
        candidates = entropy.masked_fill(positive, -1.0)
        place = candidates.argsort(1, descending=True).argsort(1)
        negative = (place < NEGATIVES_PER_POSITIVE * positive.sum(1, keepdim=True)) & ~positive
    count = positive.sum().clamp(min=1)
    class_loss = entropy[positive | negative].sum() / count
    box_loss = functional.smooth_l1_loss(boxes[positive], offsets[positive], reduction="sum") / count
    return class_loss, box_loss
