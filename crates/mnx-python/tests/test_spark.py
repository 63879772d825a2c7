"""The lines for Spark in docs/batch.md, as they stand there, on a cluster of threads in this process's child. `tools/check_batch` runs this."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys

import mobilenext
import pytest

if importlib.util.find_spec("pyspark") is None or importlib.util.find_spec("pyarrow") is None:
    pytest.skip("SKIPPED: mapInPandas on Spark: pyspark is not installed", allow_module_level=True)
if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
    pytest.skip("SKIPPED: mapInPandas on Spark: this needs java", allow_module_level=True)

import batch_pictures
import pyarrow.parquet

PROGRAM = """
import sys
from pyspark.sql import SparkSession
PICTURES, LABELS = sys.argv[1:]
spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
{}
spark.stop()
"""


def test_the_lines_in_the_documentation(tmp_path):
    text = (batch_pictures.ROOT / "docs" / "batch.md").read_text()
    (lines,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "mapInPandas" in block)
    pictures, labels = tmp_path / "pictures", tmp_path / "labels"
    batch_pictures.write(pictures, 60, 5)
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    command = [sys.executable, "-c", PROGRAM.format(lines), str(pictures), str(labels)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr[-5000:]

    rows = {row["path"]: row for row in pyarrow.parquet.read_table(labels).to_pylist()}
    classifier, broken = mobilenext.Classifier(mobilenext.Model.embedded("imagenet"), threads=1), 0
    # Spark passes over empty files.
    paths = [path for path in pictures.rglob("*.*") if path.stat().st_size]
    assert len(rows) == len(paths) == 64
    for path in paths:
        row = rows[f"file:{path}"]
        try:
            best = classifier.classify(path.read_bytes(), k=1)[0]
            assert (row["label"], row["probability"], row["error"]) == (best.label, best.probability, None)
        except mobilenext.Error as error:
            assert (row["label"], row["probability"], row["error"]) == (None, None, str(error))
            broken += 1
    assert broken == 4
