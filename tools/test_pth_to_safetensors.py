#!/usr/bin/env python3
"""Tests of pth_to_safetensors.py: python3 tools/test_pth_to_safetensors.py (skipped, and says so, without PyTorch)."""

import argparse
import collections
import contextlib
import datetime
import enum
import functools
import io
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
import unittest
import warnings
import zipfile

try:
    import numpy
    import safetensors.torch
    import torch

    import pth_to_safetensors
except ImportError as e:
    print(f"SKIPPED: {pathlib.Path(__file__).name} needs PyTorch, NumPy and safetensors: {e}", file=sys.stderr)
    sys.exit(0)


class Evil:
    """What a hostile pickle runs."""

    def __reduce__(self):
        return os.system, ("touch ran",)


class Config(dict):
    """As of a configuration library: a dict of its own kind, with a state besides."""

    def __init__(self, **values):
        super().__init__(**values)
        self.parent = None


class Mode(enum.Enum):
    TRAIN = 1


class Listed(list):
    pass


class Slotted:
    __slots__ = ("x",)

    def __init__(self):
        self.x = 1


def weights() -> dict:
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 2)
    state = {"a.weight": weight, "a.half": weight.half(), "a.bf16": weight.bfloat16(), "a.double": weight.double()}
    return collections.OrderedDict(state, **{"bn.num_batches_tracked": torch.tensor(7), "a.bias": torch.nn.Parameter(torch.ones(4))})


class Script(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.folder = pathlib.Path(self.temporary.name)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)

    def save(self, content: object, name: str = "w.pth", **options) -> str:
        torch.save(content, self.folder / name, **options)
        return name

    def run_script(self, *args: str) -> subprocess.CompletedProcess:
        """As a process would, without PyTorch's long start."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = pth_to_safetensors.main(list(args))
        return subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())

    def convert(self, *args: str, output: str = "w.safetensors") -> tuple[dict, str]:
        done = self.run_script(*args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return safetensors.torch.load_file(self.folder / output), done.stderr

    def refuse(self, *args: str) -> str:
        before = sorted(os.listdir(self.folder))
        done = self.run_script(*args)
        self.assertEqual(done.returncode, 1, done.stdout)
        lines = done.stderr.splitlines()
        self.assertTrue(len(lines) == 1 and lines[0].startswith("error: "), done.stderr)
        self.assertEqual(sorted(os.listdir(self.folder)), before)
        return lines[0]

    def assert_weights(self, found: dict, prefix: str = ""):
        expected = {prefix + name: tensor.detach() for name, tensor in weights().items()}
        self.assertEqual(found.keys(), expected.keys())
        for name, tensor in expected.items():
            self.assertEqual(found[name].dtype, tensor.dtype, name)
            self.assertTrue(torch.equal(found[name], tensor), name)

    def test_new_and_old_serialisation(self):
        for new in (True, False):
            name = self.save(weights(), "w.pth.tar", _use_new_zipfile_serialization=new)
            found, said = self.convert(name)
            self.assert_weights(found)
            self.assertEqual(said, "")

    def test_nested_state_dicts(self):
        for key in ("state_dict", "model", "ema", "model_ema", "state_dict_ema"):
            found, _ = self.convert(self.save({"epoch": 3, "best": torch.tensor(0.5), key: weights()}))
            self.assert_weights(found)
        found, _ = self.convert(self.save({"model": {"state_dict": weights()}}))
        self.assert_weights(found)
        two = self.save({"state_dict": {"other": torch.ones(1)}, "ema": {"state_dict": weights()}, "args": argparse.Namespace(lr=1)})
        found, said = self.convert(two)
        self.assertEqual(list(found), ["other"])
        self.assertIn("not taken: ema (--key)", said)
        found, _ = self.convert(two, "--key", "ema.state_dict")
        self.assert_weights(found)
        self.assertIn("'absent'", self.refuse(two, "--key", "ema.absent"))
        self.assertIn("without any", self.refuse(two, "--key", "ema"))

    def test_what_is_there_instead_is_said(self):
        arrays = {"a.weight": numpy.ones(3), "b": numpy.ones(2)}
        for content, words in [
            ({"model": torch.nn.Linear(2, 2), "epoch": 1}, "an object under model (torch.nn.modules.linear.Linear): save its state_dict()"),
            (torch.nn.Linear(2, 2), "an object (torch.nn.modules.linear.Linear): save its state_dict()"),
            (arrays, "2 values that are no tensors, such as 'a.weight' (numpy."),
            ({"state_dict": arrays}, "arrays of NumPy: save them as tensors (torch.from_numpy)"),
            ({"epoch": 1, "rate": 0.1}, "the keys ['epoch', 'rate']"),
        ]:
            self.assertIn(words, self.refuse(self.save(content)))

    def test_prefixes(self):
        name = self.save({"module." + name: tensor for name, tensor in weights().items()})
        found, said = self.convert(name)
        self.assert_weights(found)
        self.assertEqual(said, "taken off: the prefix module. of 6 names\n")
        found, said = self.convert(name, "--keep-prefix")
        self.assert_weights(found, "module.")
        self.assertEqual(said, "")
        self.assertIn("once", self.refuse(self.save({"a": torch.ones(1), "module.a": torch.ones(1)}), "-o", "no"))

    def test_shared_and_strided_tensors(self):
        base = torch.arange(12.0).reshape(3, 4)
        found, _ = self.convert(self.save({"a": base, "b": base, "t": base.t(), "row": base[1]}))
        self.assertTrue(torch.equal(found["a"], base) and torch.equal(found["b"], base))
        self.assertTrue(torch.equal(found["t"], base.t()) and torch.equal(found["row"], base[1]))

    def test_what_is_no_tensor_is_left_out_and_said(self):
        found, said = self.convert(self.save({**weights(), "epoch": 3, "a\nb": "text", 5: torch.ones(1), "n_averaged": torch.tensor(2)}))
        self.assert_weights(found)
        self.assertEqual(len(said.splitlines()), 4, said)
        self.assertIn("'epoch', no tensor (int)", said)

    def test_what_lies_beside_the_weights_is_passed_over(self):
        beside = {
            "numpy scalar": numpy.float64(71.3),
            "numpy array": numpy.zeros((2, 3), dtype=">i4"),
            "numpy objects": numpy.array([None, {}], dtype=object),
            "numpy generator": numpy.random.default_rng(0),
            "path": argparse.Namespace(out=pathlib.PurePosixPath("out"), deep=[pathlib.PureWindowsPath("c:/x")]),
            "defaultdict": collections.defaultdict(list, a=[1]),
            "counter": collections.Counter("abc"),
            "date": datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc),
            "set": {1, frozenset([2])},
            "slice": slice(1, 2),
            "function": len,
            "partial": functools.partial(max, 1),
            "class": argparse.Namespace,
            "enum": Mode.TRAIN,
            "dict of its own": Config(lr=0.1, sub=Config(a=1)),
            "list of its own": Listed([1, 2]),
            "slots": Slotted(),
            "module": torch.nn.Linear(2, 2),
            "module without classes": torch.nn.Sequential(torch.nn.ReLU(), torch.nn.BatchNorm2d(3)),
        }
        for new in (True, False):
            for protocol in (2, 3, 4, 5):
                options = {"_use_new_zipfile_serialization": new, "pickle_protocol": protocol}
                for name, value in beside.items():
                    with self.subTest(name, new=new, protocol=protocol):
                        found, said = self.convert(self.save({"state_dict": weights(), "extra": value}, **options))
                        self.assert_weights(found)
                        self.assertLessEqual(len(said.splitlines()), 1)
                found, said = self.convert(self.save({"first": beside, "state_dict": weights()}, **options))
                self.assert_weights(found)
                self.assertIn("passed over, as to make them would run code: ", said)
                for part in ("numpy", "Namespace", "datetime.datetime", "Config", "functools.partial"):
                    self.assertIn(part, said)
        found, said = self.convert(self.save(collections.defaultdict(int, weights())))
        self.assert_weights(found)
        self.assertEqual(said, "")

    def test_no_code_runs(self):
        for new in (True, False):
            line = self.refuse(self.save({"state_dict": weights(), "x": Evil()}, _use_new_zipfile_serialization=new))
            self.assertIn("system", line)
            self.assertIn("would run code", line)
        with open(self.folder / "plain.pth", "wb") as file:
            pickle.dump(Evil(), file)
        self.refuse("plain.pth")
        self.assertFalse((self.folder / "ran").exists())
        self.assertIn("Linear", self.refuse(self.save(torch.nn.Linear(2, 2))))
        for function in (eval, exec, compile, open, __import__, subprocess.Popen, os.popen):

            class Hostile:
                def __reduce__(self, function=function):
                    return function, ("open('ran', 'w')",)

            for protocol in (2, 4):
                line = self.refuse(self.save({"x": [Hostile()], "state_dict": weights()}, pickle_protocol=protocol))
                self.assertIn("would run code", line)
        with warnings.catch_warnings(action="ignore"):
            torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), self.folder / "program.pt")
        self.assertIn("TorchScript", self.refuse("program.pt"))
        for member in ("program/archive_format", "serialized_exported_program.json"):
            with zipfile.ZipFile(self.folder / "program.pt2", "w") as archive:
                archive.writestr(member, "pt2")
            self.assertIn("found a program of torch.export (.pt2): save the module's state_dict()", self.refuse("program.pt2"))
        self.assertFalse((self.folder / "ran").exists())

    def test_tuples_in_tuples_without_end_are_refused(self):
        deep = b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"K\x01s."
        doubled = b"\x80\x02}" + b")" + b"2\x86" * 60 + b"K\x01s."
        for content in (deep, doubled):
            (self.folder / "tuples.pth").write_bytes(content)
            self.assertIn("tuples in tuples without end", self.refuse("tuples.pth"))

    def test_tensors_that_are_not_stored_are_refused(self):
        self.assertIn("expected a tensor that is stored", self.refuse(self.save({"w": torch.zeros(1).expand(1 << 33)})))
        found, _ = self.convert(self.save({"w": torch.zeros(1).expand(1000)}))
        self.assertEqual(found["w"].numel(), 1000)

    def test_what_cannot_be_read_or_written_is_one_line(self):
        (self.folder / "text.pth").write_text("no checkpoint\nat all")
        (self.folder / "empty.pth").write_bytes(b"")
        whole = (self.folder / self.save(weights())).read_bytes()
        (self.folder / "cut.pth").write_bytes(whole[: len(whole) // 2])
        (self.folder / "folder.pth").mkdir()
        for name in ("text.pth", "empty.pth", "cut.pth", "folder.pth", "absent.pth"):
            self.assertIn(name, self.refuse(name))
        for start, found in (
            (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
            (b"\n<!DOCTYPE html>", "page of the web"),
            (b"\x89HDF\r\n\x1a\n", "HDF5"),
            (b"\x1f\x8b\x08", "gzip"),
            (safetensors.torch.save({"a": torch.ones(1)}), "safetensors"),
        ):
            (self.folder / "other.pth").write_bytes(start)
            self.assertIn(found, self.refuse("other.pth"))
        self.assertIn("'lr'", self.refuse(self.save({"lr": 1, "name": "x"})))
        self.assertIn("int", self.refuse(self.save(5)))
        self.assertIn("list", self.refuse(self.save([torch.ones(1)])))
        sparse = torch.eye(2).to_sparse()
        self.assertIn("dense", self.refuse(self.save({"a": sparse})))
        self.assertIn("real", self.refuse(self.save({"a": torch.ones(1, dtype=torch.complex64)})))
        good = self.save(weights())
        self.assertIn("written", self.refuse(good, "-o", "no/w.safetensors"))
        self.assertIn("written", self.refuse(good, "-o", "folder.pth"))
        self.assertIn("same", self.refuse(good, "-o", good))

    def test_help(self):
        script = pathlib.Path(pth_to_safetensors.__file__)
        done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("--keep-prefix", done.stdout)


if __name__ == "__main__":
    unittest.main()
