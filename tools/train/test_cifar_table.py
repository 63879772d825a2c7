#!/usr/bin/env python3
"""Tests of the CIFAR-10 experiment's records and table: python3 tools/train/test_train.py runs them, too. They need nothing but Python."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

import cifar_table
from options import Bad


def row(arch: str, seed: int, right: int, **changes) -> dict:
    found = dict(arch=arch, width=0.35, recipe="mobilenetv2", epochs=10, seed=seed, seconds=3600, parameters=645786, macs=21181568, cpu="a CPU")
    return found | dict(f32=dict(right=right, pictures=10000), int8=dict(right=right - 10, pictures=10000)) | changes


class Table(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.document = self.root / "page.md"
        self.document.write_text(f"before\n{cifar_table.BEGIN}old\n{cifar_table.END}\nafter\n")
        (self.root / "records").mkdir()

    def write(self, name: str, record: dict) -> None:
        cifar_table.write(self.root / "records" / f"{name}.json", record)

    def fill(self, *flags: str) -> int:
        words = ["cifar_table.py", "fill", "--document", str(self.document), "--records", str(self.root / "records"), *flags]
        with mock.patch.object(sys, "argv", words), contextlib.redirect_stderr(io.StringIO()):
            return cifar_table.main()

    def test_rows(self):
        self.write("a", row("mobilenext-cifar", 1, 8000))
        self.write("b", row("mobilenext-cifar", 2, 8200))
        self.write("c", row("mobilenetv2-cifar", 1, 8100, parameters=408426))
        self.write("d", row("mobilenext-cifar", 1, 8500, epochs=24, recipe="one-cycle"))
        self.assertEqual(self.fill("--check"), 1)
        self.assertEqual(self.fill(), 0)
        self.assertEqual(self.fill("--check"), 0)
        text = self.document.read_text()
        self.assertTrue(text.startswith("before\n") and text.endswith("after\n") and "old" not in text)
        self.assertIn("| MobileNeXt 0.35 | mobilenetv2 | 10 | 2 | 81.00 ± 1.41 | 80.90 ± 1.41 | 645,786 | 21.18 | - |", text)
        self.assertIn("| MobileNetV2 0.35 | mobilenetv2 | 10 | 1 | 81.00 | 80.90 | 408,426 | 21.18 | - |", text)
        self.assertIn("| MobileNeXt 0.35 | one-cycle | 24 | 1 | 85.00 | 84.90 |", text)
        self.assertIn("4.0 hours of training in all, on a CPU", text)
        self.write("latency", dict(rows=[dict(arch="mobilenext-cifar", width=0.35, ms=0.3141)], isa="avx2", load_before=0.1, cpu="a CPU"))
        self.assertEqual(self.fill(), 0)
        self.assertIn("| 645,786 | 21.18 | 0.314 |", self.document.read_text())

    def test_nothing_yet(self):
        self.assertEqual(self.fill(), 0)
        self.assertIn("No run is finished yet.", self.document.read_text())

    def test_no_place(self):
        self.document.write_text("nothing")
        self.assertEqual(self.fill(), 1)

    def test_an_unfinished_run_has_no_record(self):
        (self.root / "model.json").write_text(json.dumps(dict(epoch=3, recipe=dict(epochs=10), convert="")))
        self.assertRaisesRegex(Bad, "not finished: epoch 3 of 10", cifar_table.record, mock.Mock(run=self.root))

    def test_the_committed_table_is_what_the_records_say(self):
        with mock.patch.object(sys, "argv", ["cifar_table.py", "fill", "--check"]):
            self.assertEqual(cifar_table.main(), 0)


if __name__ == "__main__":
    unittest.main()
