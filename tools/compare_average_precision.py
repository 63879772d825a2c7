#!/usr/bin/env python3
"""Compares the average precision of `mnx-infer eval --voc` with what the package mean-average-precision makes of the boxes of
`mnx-infer detect`.

    pip install mean-average-precision numpy
    python tools/compare_average_precision.py mnx-infer WEIGHTS.mnx VOC_FOLDER [SPLIT]

The package adds 1 to differences of corners, as the VOC kit does. It counts difficult boxes among those to find, so the data
set should have none. Fails if a figure differs by more than 0.001.
"""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
from mean_average_precision import MetricBuilder

SCORE = "0.01"
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def output(*command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    program, weights, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    split = sys.argv[4] if len(sys.argv) > 4 else "test"
    ours = output(program, "eval", "--weights", weights, "--voc", folder, "--split", split, "--format", "json")
    names = (folder / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
    pictures = [next((folder / "JPEGImages").glob(f"{name}.*")) for name in names]
    found = output(program, "detect", "--weights", weights, "--score", SCORE, "--format", "json", *pictures)

    number = {row["label"]: i for i, row in enumerate(ours["classes"])}
    metric = MetricBuilder.build_evaluation_metric("map_2d", async_mode=False, num_classes=len(number))
    for name, picture in zip(names, found):
        truth = []
        for thing in ElementTree.parse(folder / "Annotations" / f"{name}.xml").getroot().findall("object"):
            box = thing.find("bndbox")
            corners = [float(box.find(corner).text) for corner in CORNERS]
            truth.append([*corners, number[thing.find("name").text], 0, 0])
        # Edges of pixels from 0 on become pixels from 1 on.
        guess = [
            [b["xmin"] + 1, b["ymin"] + 1, b["xmax"], b["ymax"], number[b["label"]], b["score"]] for b in picture["boxes"]
        ]
        metric.add(np.array(guess).reshape(-1, 6), np.array(truth).reshape(-1, 7))
    worst = 0
    for key, recalls in (("ap", None), ("ap_11_point", np.arange(0.0, 1.1, 0.1))):
        theirs = metric.value(iou_thresholds=0.5, recall_thresholds=recalls)[0.5]
        for row in ours["classes"]:
            their = float(theirs[number[row["label"]]]["ap"])
            worst = max(worst, abs(their - row[key]))
            print(f"{row['label']:12} {key:12} {row[key]:.6f} {their:.6f}")
    print(f"largest difference {worst:.6f}")
    sys.exit(worst > 0.001)


if __name__ == "__main__":
    main()
