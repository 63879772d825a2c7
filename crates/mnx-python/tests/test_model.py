import errno
import os
import pickle
import sys
from pathlib import Path

import mobilenext
import pytest
from conftest import WEIGHTS


def test_what_a_model_says_of_itself(model):
    assert (model.family, model.classes, model.resolution) == ("mobilenext-cifar", 10, 32)
    assert (model.arithmetic, model.is_detector, model.path) == ("f32", False, None)
    assert model.labels[3] == "cat" and len(model.labels) == 10
    assert model.spec["width"] == 0.35 and model.spec["preprocessing"]["resize"] == 32
    assert model.parameters > 100_000 and model.macs > 1_000_000
    assert repr(model) == "<mobilenext.Model mobilenext-cifar 0.35, 10 classes, f32>"


def test_networks_inside():
    assert mobilenext.embedded_models() == ["cifar", "cifar-mobilenetv2", "imagenet", "bccd"]
    models = [mobilenext.Model.embedded(name) for name in mobilenext.embedded_models()]
    assert [(m.classes, m.arithmetic, m.is_detector) for m in models] == [
        (10, "f32", False),
        (10, "f32", False),
        (1001, "int8", False),
        (4, "int8", True),
    ]


@pytest.mark.parametrize("path", [WEIGHTS, str(WEIGHTS)])
@pytest.mark.parametrize("mmap", [False, True])
def test_files(path, mmap):
    model = mobilenext.Model.open(path, mmap=mmap)
    assert Path(model.path) == WEIGHTS and model.classes == 10
    assert mobilenext.Session(path, 1).model.classes == 10


def test_any_bytes_in_memory():
    data = WEIGHTS.read_bytes()
    for form in [data, bytearray(data), memoryview(data)]:
        model = mobilenext.Model.from_bytes(form)
        assert pickle.loads(pickle.dumps(model)).classes == model.classes == 10
    for wrong in [5, "text", [1, 2]]:
        with pytest.raises(TypeError):
            mobilenext.Model.from_bytes(wrong)


def test_a_path_is_kept_whole(monkeypatch):
    monkeypatch.chdir(WEIGHTS.parent)
    model = mobilenext.Model.open(WEIGHTS.name)
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(model)).classes == 10


def test_pickles():
    data = WEIGHTS.read_bytes()
    of_bytes = mobilenext.Model.from_bytes(data)
    models = [
        mobilenext.Model.open(WEIGHTS),
        mobilenext.Model.open(WEIGHTS, mmap=True),
        mobilenext.Model.embedded("imagenet"),
        of_bytes,
        mobilenext.Model.from_bytes(bytearray(data)),
    ]
    sizes = []
    for model in models:
        pickled = pickle.dumps(model)
        again = pickle.loads(pickled)
        assert (again.spec, again.path) == (model.spec, model.path)
        sizes.append(len(pickled))
    # Paths and names, not weights.
    assert max(sizes[:3]) < 1000 < min(sizes[3:])


def test_a_closed_model_makes_nothing_new():
    with mobilenext.Model.embedded() as model:
        session = mobilenext.Session(model, threads=1)
    assert model.closed and repr(model) == "<mobilenext.Model, closed>"
    for use in (
        lambda: model.spec,
        lambda: model.labels,
        lambda: mobilenext.Session(model),
        lambda: mobilenext.Classifier(model),
        lambda: pickle.dumps(model),
        lambda: model.__enter__(),
        lambda: mobilenext.profile(model),
    ):
        with pytest.raises(mobilenext.ClosedError, match="model: expected an open one, found it closed") as raised:
            use()
        assert raised.value.kind == "closed" and isinstance(raised.value, ValueError)
    # What was made of it goes on.
    import numpy

    assert session.run(numpy.zeros((1, 3, 32, 32), numpy.float32)).shape == (1, 10)
    model.close()


def test_a_closed_model_lets_go_of_its_bytes():
    data = WEIGHTS.read_bytes()
    model = mobilenext.Model.from_bytes(bytearray(data))
    kept = next(argument for argument in model.__reduce__()[1] if argument == data)
    before = sys.getrefcount(kept)
    model.close()
    assert sys.getrefcount(kept) == before - 1


def test_models_that_cannot_be_opened(tmp_path):
    empty = tmp_path / "empty.mnx"
    empty.write_bytes(b"")
    damaged = tmp_path / "damaged.mnx"
    data = bytearray(WEIGHTS.read_bytes())
    data[-100] ^= 1
    damaged.write_bytes(data)
    for path, error, builtin, kind in [
        (tmp_path / "absent.mnx", mobilenext.NotFoundError, FileNotFoundError, "not_found"),
        (tmp_path, mobilenext.IoError, OSError, "io"),
        (empty, mobilenext.InvalidFileError, ValueError, "invalid_file"),
        (damaged, mobilenext.InvalidFileError, ValueError, "invalid_file"),
        (Path(__file__), mobilenext.InvalidFileError, ValueError, "invalid_file"),
    ]:
        with pytest.raises(error, match=path.name) as raised:
            mobilenext.Model.open(path)
        assert raised.value.kind == kind and isinstance(raised.value, (mobilenext.Error, builtin))
        assert "\n" not in str(raised.value)
    for use in (mobilenext.Model.open, mobilenext.Session):
        with pytest.raises(mobilenext.NotFoundError, match='^"": ') as raised:
            use("")
        assert (raised.value.errno, raised.value.filename) == (errno.ENOENT, "")
    if os.name == "posix":
        with pytest.raises(mobilenext.IoError, match=tmp_path.name) as raised:
            mobilenext.Model.open(tmp_path, mmap=True)
        assert raised.value.errno == errno.EISDIR
    with pytest.raises(mobilenext.InvalidInputError, match="expected one of cifar, cifar-mobilenetv2, imagenet, bccd, found mnist"):
        mobilenext.Model.embedded("mnist")
    with pytest.raises(mobilenext.InvalidFileError):
        mobilenext.Model.from_bytes(b"nothing")
    for wrong in (None, 3, object()):
        with pytest.raises(TypeError):
            mobilenext.Model.open(wrong)
        with pytest.raises(mobilenext.InvalidTypeError, match="model: expected a Model or the path of a weight file"):
            mobilenext.Session(wrong)


def test_errors_are_pickled():
    with pytest.raises(mobilenext.Error) as raised:
        mobilenext.Model.open("/absent.mnx")
    again = pickle.loads(pickle.dumps(raised.value))
    assert type(again) is mobilenext.NotFoundError and str(again) == str(raised.value)
