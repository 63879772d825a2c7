import inspect
import json
import os

import mobilenext
import numpy
import pytest
from conftest import CAT, PICTURES, ROOT, WEIGHTS

CHECKPOINT = ROOT / "crates" / "mnx-infer" / "model" / "mobilenext_0.35_cifar10.safetensors"
ONNX = ROOT / "testdata" / "onnx" / "inverted-torch"


def test_families():
    families = mobilenext.families()
    assert "mobilenext" in families and "mobilenetv2" in families and len(families) == len(set(families))


def test_a_checkpoint_becomes_the_embedded_network(tmp_path):
    target = tmp_path / "w.mnx"
    labels = mobilenext.Model.embedded().labels
    spec = mobilenext.Model.embedded().spec
    report = mobilenext.convert(
        CHECKPOINT, target, family="mobilenext-cifar", labels=labels, preprocessing=spec["preprocessing"]
    )
    assert report["path"] == str(target) and report["bytes"] == target.stat().st_size
    assert report["spec"] == spec and report["flushed"] >= 0
    converted, inside = mobilenext.Classifier(target), mobilenext.Classifier()
    assert (converted.logits(CAT) == inside.logits(CAT)).all()
    # Labels of a file.
    names = tmp_path / "labels.txt"
    names.write_text("\n".join(labels))
    report = mobilenext.convert(CHECKPOINT, target, family="mobilenext-cifar", width=0.35, classes=10, labels=str(names))
    assert report["spec"]["labels"] == labels
    # Paths as pathlib has them, numbers as NumPy has them.
    again = mobilenext.convert(
        CHECKPOINT, target, family="mobilenext-cifar", width=numpy.float64(0.35), classes=numpy.int64(10), labels=names
    )
    assert again["spec"] == report["spec"]
    mean = numpy.array([0.5, 0.25, 0.125])
    report = mobilenext.convert(CHECKPOINT, target, family="mobilenext-cifar", preprocessing={"mean": mean})
    assert report["spec"]["preprocessing"]["mean"] == [0.5, 0.25, 0.125]


def test_what_a_checkpoint_tells(tmp_path):
    report = mobilenext.convert(CHECKPOINT, tmp_path / "w.mnx", resolution=192)
    assert (report["spec"]["family"], report["spec"]["width"], report["spec"]["classes"]) == ("mobilenext", 0.35, 10)
    assert report["spec"]["resolution"] == 192
    # It was trained at CIFAR's strides; nothing in the file says so.
    assert "ImageNet's strides, not those of mobilenext-cifar" in report["assumed"]
    assert not any("resolution" in assumption for assumption in report["assumed"])
    report = mobilenext.convert(CHECKPOINT, tmp_path / "w.mnx", family="mobilenext-cifar", padding="torch", bn_eps=1e-5)
    assert not any("strides" in one or "padding" in one or "epsilon" in one for one in report["assumed"])


def test_an_onnx_model(tmp_path):
    report = mobilenext.convert(ONNX / "torchscript-20.onnx", tmp_path / "w.mnx")
    assert report["spec"]["classes"] == mobilenext.Model.open(tmp_path / "w.mnx").classes
    found = mobilenext.Session(tmp_path / "w.mnx", 1).run(numpy.load(ONNX / "input.npy"))
    expected = numpy.load(ONNX / "output.npy").reshape(found.shape)
    assert numpy.abs(found - expected).max() <= 1e-4 * numpy.abs(expected).max() + 1e-5
    with pytest.raises(mobilenext.InvalidInputError, match="bn_eps"):
        mobilenext.convert(ONNX / "torchscript-20.onnx", tmp_path / "w.mnx", bn_eps=1e-5)
    with pytest.raises(mobilenext.InvalidInputError, match="strip_prefix"):
        mobilenext.convert(ONNX / "torchscript-20.onnx", tmp_path / "w.mnx", strip_prefix="model.")
    # What does not fit the family that is named is an operation: the classes are the graph's.
    with pytest.raises(mobilenext.UnsupportedError, match="torchscript-20.onnx: .*operation 0, Conv"):
        mobilenext.convert(ONNX / "torchscript-20.onnx", tmp_path / "w.mnx", family="mobilenetv2")


@pytest.mark.skipif(os.name != "posix", reason="SKIPPED: permissions and links are POSIX's")
def test_a_file_that_is_replaced_stays_what_it_was(tmp_path):
    target, link = tmp_path / "w.mnx", tmp_path / "link.mnx"
    link.symlink_to(target)
    mobilenext.init("mobilenext", link, width=0.1)
    assert link.is_symlink() and target.is_file()
    target.chmod(0o640)
    mobilenext.init("mobilenext", link, width=0.1)
    assert link.is_symlink() and target.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.mnx", "w.mnx"]


def test_a_target_is_tried_before_the_work(tmp_path):
    def pictures():
        raise AssertionError("no picture is asked for")
        yield

    with pytest.raises(mobilenext.NotFoundError):
        mobilenext.quantize(WEIGHTS, pictures(), tmp_path / "absent" / "w.mnx")


def test_random_weights(tmp_path):
    a, b = tmp_path / "a.mnx", tmp_path / "b.mnx"
    report = mobilenext.init("mobilenetv2", a, seed=3, width=0.1, classes=7, resolution=64)
    mobilenext.init("mobilenetv2", b, seed=3, width=0.1, classes=7, resolution=64)
    assert a.read_bytes() == b.read_bytes() and report["spec"]["classes"] == 7
    assert mobilenext.Model.open(a).resolution == 64
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mnx", "b.mnx"]
    table = tmp_path / "table.json"
    table.write_text(json.dumps(dict(report["spec"], classes=3)))
    assert mobilenext.init(str(table), b)["spec"]["classes"] == 3
    assert mobilenext.init(table, b)["spec"]["classes"] == 3


def test_classifiers_in_16_bits(tmp_path):
    whole, half = tmp_path / "whole.mnx", tmp_path / "half.mnx"
    mobilenext.convert(CHECKPOINT, whole, family="mobilenext-cifar")
    report = mobilenext.convert(CHECKPOINT, half, family="mobilenext-cifar", classifier_dtype="f16")
    assert report["bytes"] == half.stat().st_size < whole.stat().st_size
    assert [mobilenext.Model.open(path).classifier_dtype for path in (whole, half)] == ["f32", "f16"]
    found, expected = (mobilenext.Classifier(path).logits(CAT) for path in (half, whole))
    assert 0 < numpy.abs(found - expected).max() < 1e-2 * numpy.abs(expected).max()
    mobilenext.init("mobilenetv2", half, width=0.1, classes=7, classifier_dtype="bf16")
    assert mobilenext.Model.open(half).classifier_dtype == "bf16"
    mobilenext.convert(ONNX / "torchscript-20.onnx", half, classifier_dtype="f16")
    assert mobilenext.Model.open(half).classifier_dtype == "f16"
    for family, dtype, message in [
        ("mobilenext", "f64", "classifier_dtype: expected f32, bf16 or f16, found f64"),
        ("ssdlite-mobilenext", "f16", "a detector has no classifier"),
    ]:
        with pytest.raises(mobilenext.InvalidInputError, match=message):
            mobilenext.init(family, half, width=0.1, classifier_dtype=dtype)


def test_quantize(tmp_path):
    target = tmp_path / "int8.mnx"
    pictures = sorted(PICTURES.glob("*.png")) + sorted(PICTURES.glob("*.jpg"))
    report = mobilenext.quantize(WEIGHTS, pictures, target, keep=["classifier"])
    assert report["pictures"] == len(pictures) and report["f32_layers"] == 1 and report["int8_layers"] > 40
    assert report["bytes"] < 0.5 * WEIGHTS.stat().st_size and report["path"] == str(target)
    assert {"name", "weight_snr_db", "observed"} <= set(report["layers"][1])
    model = mobilenext.Model.open(target)
    assert model.arithmetic == "mixed" and mobilenext.Classifier(model).classify(CAT)[0].label == "cat"
    # Of prepared arrays: the same file.
    again = tmp_path / "again.mnx"
    prepared = mobilenext.Classifier(WEIGHTS).preprocess(pictures)
    report = mobilenext.quantize(mobilenext.Model.open(WEIGHTS), prepared, again, keep=["classifier"])
    assert again.read_bytes() == target.read_bytes()
    assert bool(report["warnings"]) == (len(pictures) < 32)


def test_what_cannot_be_made(tmp_path):
    target = tmp_path / "w.mnx"
    nowhere = tmp_path / "absent" / "w.mnx"
    for make, error, message in [
        (lambda: mobilenext.convert(tmp_path / "absent", target), mobilenext.NotFoundError, "absent"),
        (lambda: mobilenext.convert(CAT, target), mobilenext.InvalidFileError, "chelsea.png"),
        (lambda: mobilenext.convert(CHECKPOINT, CHECKPOINT), mobilenext.InvalidInputError, "another file"),
        (lambda: mobilenext.convert(CHECKPOINT, target, family="vgg"), mobilenext.InvalidInputError, "found vgg"),
        (lambda: mobilenext.convert(CHECKPOINT, target, classes=11), mobilenext.InvalidFileError, "classifier"),
        (lambda: mobilenext.convert(CHECKPOINT, target, sise=3), mobilenext.InvalidInputError, "sise"),
        (lambda: mobilenext.convert(CHECKPOINT, target, width="wide"), mobilenext.InvalidInputError, "wide"),
        (lambda: mobilenext.convert(CHECKPOINT, target, resolution=-1), mobilenext.InvalidInputError, "resolution"),
        (lambda: mobilenext.convert(CHECKPOINT, target, padding=object()), mobilenext.InvalidTypeError, "JSON"),
        (lambda: mobilenext.init("mobilenext", target, width=None), mobilenext.InvalidInputError, "width: invalid type"),
        (lambda: mobilenext.init("mobilenext", target, classes=10.5), mobilenext.InvalidInputError, "classes: invalid"),
        (lambda: mobilenext.init("mobilenext", target, width=float("nan")), mobilenext.InvalidInputError, "width: expected finite numbers, found NaN"),
        (lambda: mobilenext.quantize(WEIGHTS, numpy.zeros((1, 3, 8, 8)), target), mobilenext.InvalidTypeError, "float32"),
        (lambda: mobilenext.convert(CHECKPOINT, target, bn_eps=-1.0), mobilenext.Error, "-1"),
        (lambda: mobilenext.convert(CHECKPOINT, nowhere), mobilenext.NotFoundError, "absent"),
        (lambda: mobilenext.init("mobilenext", nowhere, width=0.1), mobilenext.NotFoundError, "absent"),
        (lambda: mobilenext.init("mobilenext", target, classes=0), mobilenext.InvalidInputError, "classes"),
        (lambda: mobilenext.quantize(WEIGHTS, [], target), mobilenext.InvalidInputError, "picture"),
        (lambda: mobilenext.quantize(WEIGHTS, [CAT], WEIGHTS), mobilenext.InvalidInputError, "another file"),
        (lambda: mobilenext.quantize(WEIGHTS, [CAT], target, method="best"), mobilenext.InvalidInputError, "found best"),
        (lambda: mobilenext.quantize(WEIGHTS, [CAT], target, keep=["nothing"]), mobilenext.InvalidInputError, "nothing"),
        (lambda: mobilenext.quantize(WEIGHTS, None, target), mobilenext.InvalidTypeError, "NoneType"),
        (
            lambda: mobilenext.quantize(WEIGHTS, [CAT], target, keep="classifier"),
            mobilenext.InvalidTypeError,
            "keep: expected a list of names of layers and blocks, found str",
        ),
        (lambda: mobilenext.quantize(WEIGHTS, [CAT], target, keep=[1]), mobilenext.InvalidTypeError, "keep: expected a list of names"),
        (lambda: mobilenext.init("mobilenext", target, seed=-1), mobilenext.InvalidInputError, "seed: expected 0 to 18446744073709551615, found -1"),
        (lambda: mobilenext.init("mobilenext", target, seed=2**64), mobilenext.InvalidInputError, "found 18446744073709551616"),
        (lambda: mobilenext.convert("", target), mobilenext.NotFoundError, '"": '),
        (
            lambda: mobilenext.quantize(mobilenext.Model.embedded("imagenet"), [CAT], target),
            mobilenext.InvalidInputError,
            "int8",
        ),
    ]:
        with pytest.raises(error) as raised:
            make()
        assert message in str(raised.value), raised.value
    with pytest.raises(TypeError, match="seed"):
        mobilenext.init("mobilenext", target, seed="1")
    # What help shows.
    assert inspect.signature(mobilenext.quantize).parameters["keep"].default == ()
    # Nothing half-written.
    assert list(tmp_path.iterdir()) == []
