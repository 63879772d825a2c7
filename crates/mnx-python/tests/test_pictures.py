import ctypes
import errno
import io
import os
import pickle
import sys
import threading
import time
import weakref
from array import array as array_of_bytes

import mobilenext
import numpy
import pytest
from conftest import CAT, CELLS, PICTURES
from PIL import Image


def rgb(path=CAT):
    with Image.open(path) as image:
        return numpy.asarray(image.convert("RGB"))


def test_a_cat_is_a_cat(classifier):
    best = classifier.classify(CAT)
    assert len(best) == 5 and best[0].label == "cat" and 0.77 < best[0].probability < 0.78
    assert [p.probability for p in best] == sorted((p.probability for p in best), reverse=True)
    label, probability, index = best[0]
    assert (label, index) == ("cat", classifier.labels.index("cat"))
    assert pickle.loads(pickle.dumps(best)) == best
    assert len(classifier.classify(CAT, k=100)) == 10 and len(classifier.classify(CAT, 1)) == 1


def test_every_form_of_one_picture(classifier):
    data, image, array = CAT.read_bytes(), Image.open(CAT), rgb()
    expected = classifier.logits(CAT)
    assert expected.shape == (10,)
    alpha = numpy.dstack([array, numpy.full(array.shape[:2], 9, numpy.uint8)])
    padded = numpy.zeros((array.shape[0], array.shape[1] + 5, 3), numpy.uint8)
    padded[:, :-5] = array
    read_only = array.copy()
    read_only.flags.writeable = False
    forms = {
        "str": str(CAT),
        "bytes": data,
        "bytearray": bytearray(data),
        "memoryview": memoryview(data),
        "file": io.BytesIO(data),
        "array.array": array_of_bytes("B", data),
        "buffer": (ctypes.c_ubyte * len(data)).from_buffer_copy(data),
        "image": image,
        "rgb image": image.convert("RGB"),
        "rgba image": image.convert("RGBA"),
        "array": array,
        "read-only array": read_only,
        "rows with gaps": padded[:, :-5],
        "alpha": alpha,
        "alpha cut off": alpha[:, :, :3],
        "planes": numpy.ascontiguousarray(array.transpose(2, 0, 1)).transpose(1, 2, 0),
        "columns": numpy.asfortranarray(array),
        "turned twice": array[::-1, ::-1].copy()[::-1, ::-1],
        "blue first": array[:, :, ::-1].copy()[:, :, ::-1],
    }
    for name, form in forms.items():
        assert (classifier.logits(form) == expected).all(), name


def test_grey_and_palettes(classifier):
    grey = Image.open(CAT).convert("L")
    array = numpy.asarray(grey)
    expected = classifier.logits(numpy.dstack([array] * 3))
    for form in (grey, array, array[:, :, None], array[::-1].copy()[::-1], numpy.asfortranarray(array)):
        assert (classifier.logits(form) == expected).all()
    palette = Image.open(CAT).convert("P")
    assert (classifier.logits(palette) == classifier.logits(palette.convert("RGB"))).all()
    assert (classifier.logits(grey.convert("1")) == classifier.logits(grey.convert("1").convert("RGB"))).all()


def test_16_bits(classifier, tmp_path):
    """The high byte, whether Pillow reads the file or the library."""
    grey = numpy.arange(64 * 48, dtype=numpy.uint16).reshape(64, 48) * 21
    image = Image.fromarray(grey)
    assert image.mode == "I;16"
    image.save(tmp_path / "grey.png")
    expected = classifier.logits((grey >> 8).astype(numpy.uint8))
    assert (classifier.logits(tmp_path / "grey.png") == expected).all()
    assert (classifier.logits(image) == expected).all()
    for mode in ("I", "F"):
        with pytest.raises(mobilenext.InvalidTypeError, match=f"8 or 16 bits, found one of mode {mode}"):
            classifier.logits(Image.new(mode, (4, 4)))


def test_a_crop_is_read_in_place(classifier):
    array = rgb()
    crop = array[40:240, 100:330]
    assert (classifier.logits(crop) == classifier.logits(crop.copy())).all()
    # One row, one pixel, the last pixels of the memory.
    for crop in (array[5:6], array[5:6, 7:8], array[-1:, -1:], array[-3:, -2:]):
        assert (classifier.logits(crop) == classifier.logits(crop.copy())).all()


def test_files_are_turned_upright_and_images_taken_as_they_are(classifier):
    image = Image.fromarray(rgb())
    exif = image.getexif()
    exif[0x0112] = 3
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    turned = classifier.logits(numpy.asarray(image)[::-1, ::-1])
    assert (classifier.logits(file.getvalue()) == turned).all()
    assert (classifier.logits(Image.open(file)) == classifier.logits(image)).all()


def test_lists(classifier):
    paths = sorted(PICTURES.glob("*.png")) + sorted(PICTURES.glob("*.jpg"))
    pictures = [paths[i % len(paths)] for i in range(37)]
    logits = classifier.logits(pictures)
    assert logits.shape == (37, 10)
    assert all((row == classifier.logits(path)).all() for row, path in zip(logits, pictures))
    best = classifier.classify(pictures, k=2)
    assert len(best) == 37 and all(len(one) == 2 for one in best)
    assert best[0] == classifier.classify(pictures[0], k=2)
    assert classifier.classify(tuple(pictures[:2]), 2) == best[:2] == classifier.classify(iter(pictures[:2]), 2)
    assert classifier.embedding(pictures).shape == (37, classifier.embedding(CAT).shape[0])
    assert classifier.preprocess(pictures[:2]).shape == (2, 3, 32, 32)
    # Of one, and of none.
    assert len(classifier.classify([CAT])) == 1 and classifier.logits([CAT]).shape == (1, 10)
    assert classifier.classify([]) == [] and classifier.logits([]).shape == (0, 10)


def test_batches_as_tables_have_them(classifier):
    array = rgb()[:64, :64]
    expected = classifier.logits(array)
    equal = numpy.stack([array, array])
    unequal = numpy.empty(2, object)
    unequal[:] = [array, array[:32]]
    data = numpy.empty(1, object)
    data[0] = CAT.read_bytes()
    assert (classifier.logits(equal) == expected).all() and classifier.logits(equal).shape == (2, 10)
    assert (classifier.logits(unequal)[0] == expected).all()
    assert classifier.logits(data).shape == (1, 10)
    assert classifier.logits(numpy.array([str(CAT)] * 2)).shape == (2, 10)


class Table:
    """What has `__array__`: a column of a table, a tensor."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values


def test_columns_and_tensors(classifier):
    array = rgb()[:64, :64]
    expected = classifier.logits(array)
    paths = numpy.array([str(CAT)] * 2, object)
    assert (classifier.logits(Table(array)) == expected).all()
    batch = classifier.logits(Table(numpy.stack([array, array])))
    assert batch.shape == (2, 10) and (batch == expected).all()
    assert (classifier.logits(Table(paths)) == classifier.logits([CAT, CAT])).all()
    assert len(classifier.classify(Table(paths))) == 2 and len(classifier.classify(Table(array), k=3)) == 3


def test_open_files(classifier):
    with open(CAT, "rb") as file:
        assert (classifier.logits(file) == classifier.logits(CAT)).all()
        file.seek(0)
        assert (classifier.logits([CAT, file]) == classifier.logits([CAT, CAT])).all()
    with open(__file__) as text, pytest.raises(mobilenext.InvalidTypeError, match="binary mode, found one that reads str"):
        classifier.logits(text)


class Short(io.RawIOBase):
    """A file without a buffer, which gives less than it is asked for."""

    def __init__(self, data):
        self.left = io.BytesIO(data)

    def read(self, n=-1):
        return self.left.read(min(n, 1000))


def test_files_that_give_less_than_they_are_asked_for(classifier):
    assert (classifier.logits(Short(CAT.read_bytes())) == classifier.logits(CAT)).all()


def test_lists_are_taken_one_after_the_other(classifier, detector):
    made = []

    def pictures(count):
        for number in range(count):
            made.append(number)
            yield numpy.full((8, 8, 3), number, numpy.uint8)
        raise KeyError("the last")

    # What a generator raises comes through, after all that it gave.
    with pytest.raises(KeyError):
        classifier.logits(pictures(40))
    assert made == list(range(40))
    assert classifier.logits(rgb() for _ in range(37)).shape == (37, 10)
    assert classifier.logits(iter(())).shape == (0, 10) and classifier.preprocess([]).shape == (0, 3, 32, 32)
    # One that is no picture ends the list there.
    made.clear()
    with pytest.raises(mobilenext.InvalidTypeError, match=r"^pictures\[2\]: expected"):
        detector.detect(None if number == 2 else made.append(number) or rgb(CELLS) for number in range(9))
    assert made == [0, 1]


def test_arrays_that_lie_otherwise_in_memory(classifier):
    array = rgb()
    bgr = numpy.ascontiguousarray(array[..., ::-1])
    planes = numpy.ascontiguousarray(array.transpose(2, 0, 1))
    alpha = numpy.dstack([array, array[..., 0]])
    for same in [bgr[..., ::-1], planes.transpose(1, 2, 0), alpha[..., :3], numpy.asfortranarray(array)]:
        assert (classifier.logits(same) == classifier.logits(array)).all()
    turned = classifier.logits(numpy.ascontiguousarray(array[::-1, ::-1]))
    assert (classifier.logits(array[::-1, ::-1]) == turned).all()


def test_the_input_is_what_a_session_takes(classifier, session):
    inputs = classifier.preprocess([CAT, CAT])
    assert (session.run(inputs) == classifier.logits(CAT)).all()
    assert (session.features(inputs)[0] == classifier.embedding(CAT)).all()
    assert (session.run(classifier.preprocess(CAT)[None])[0] == classifier.logits(CAT)).all()


def test_cells(detector):
    found = detector.detect(CELLS)
    assert len(found) > 5 and {d.label for d in found} <= set(detector.labels[1:])
    assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)
    label, score, box, index = found[0]
    assert detector.labels[index] == label and 0 < score <= 1
    array = rgb(CELLS)
    height, width, _ = array.shape
    assert -50 < box.xmin < box.xmax < width + 50 and -50 < box.ymin < box.ymax < height + 50
    assert found == detector.detect(CELLS.read_bytes()) == detector.detect([array, CELLS])[1]
    assert detector.detect(array) == detector.detect([array, CELLS])[0]
    assert detector.detect([]) == []
    assert pickle.loads(pickle.dumps(found)) == found
    assert len(detector.detect(CELLS, top=2)) == 2
    assert all(d.score > 0.9 for d in detector.detect(CELLS, score=0.9))
    # Thresholds of one call are not those of the next.
    assert detector.detect(CELLS) == found
    for wrong in ({"score": 1.5}, {"iou": -1.0}, {"score": float("nan")}, {"top": 0}, {"top": -1}):
        with pytest.raises(mobilenext.InvalidInputError, match=next(iter(wrong))):
            detector.detect(CELLS, **wrong)


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        (None, TypeError, "picture: expected a path, the bytes of a picture file, an open file, a PIL image or a uint8 array (H, W, 3)"),
        (3, TypeError, "found int"),
        (object(), TypeError, "found object"),
        ([CAT, None], TypeError, "pictures[1]: expected a path"),
        ([[CAT]], TypeError, "pictures[0]: expected a path"),
        (numpy.zeros((8, 8, 3), numpy.float32), TypeError, "found one of float32"),
        (numpy.zeros((8, 8, 3), numpy.int8), TypeError, "found one of int8"),
        (numpy.zeros((3, 8, 8), numpy.uint8), ValueError, "found (3, 8, 8) (channels come last"),
        (numpy.zeros((8, 8, 2), numpy.uint8), ValueError, "found (8, 8, 2)"),
        (numpy.zeros((8, 8, 5), numpy.uint8), ValueError, "found (8, 8, 5)"),
        (numpy.zeros(8, numpy.uint8), ValueError, "found (8,) (the bytes of a picture file are: array.tobytes())"),
        (array_of_bytes("d", [0.5]), TypeError, "pictures[0]: expected a path"),
        (Image.new("La", (8, 8)), TypeError, "picture: expected a PIL image that RGB can be made of, found one of mode La"),
        ([Image.new("La", (8, 8))], TypeError, "pictures[0]: expected a PIL image that RGB can be made of"),
        (numpy.zeros((0, 8, 3), numpy.uint8), ValueError, "no pixels"),
        (numpy.zeros((8, 0), numpy.uint8), ValueError, "no pixels"),
        (numpy.zeros((), numpy.uint8), ValueError, "found ()"),
    ],
)
def test_what_is_no_picture(classifier, detector, wrong, error, message):
    for use in (classifier.classify, classifier.logits, classifier.embedding, classifier.preprocess, detector.detect):
        with pytest.raises(mobilenext.InvalidInputError) as raised:
            use(wrong)
        assert isinstance(raised.value, error) and message in str(raised.value), raised.value
        assert "\n" not in str(raised.value)


def test_an_array_of_any_shape_takes_no_memory(classifier):
    with pytest.raises(mobilenext.LimitError, match="268435456 bytes to copy, found 1048576 x 1048576"):
        classifier.classify(numpy.broadcast_to(numpy.uint8(0), (2**20, 2**20, 3)))
    rows = numpy.broadcast_to(numpy.full((1, 40, 3), 7, numpy.uint8), (40, 40, 3))
    assert (classifier.logits(rows) == classifier.logits(rows.copy())).all()


def test_files_that_are_no_pictures(classifier, detector, tmp_path):
    cut = tmp_path / "cut.png"
    cut.write_bytes(CAT.read_bytes()[:5000])
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    for wrong, error, builtin, kind, message in [
        (tmp_path / "absent.png", mobilenext.NotFoundError, FileNotFoundError, "not_found", "absent.png"),
        (tmp_path, mobilenext.IoError, OSError, "io", tmp_path.name),
        ("", mobilenext.NotFoundError, FileNotFoundError, "not_found", '"": expected a readable picture file'),
        ([""], mobilenext.NotFoundError, FileNotFoundError, "not_found", 'pictures[0]: "": expected'),
        ([b"no picture"], mobilenext.InvalidFileError, ValueError, "invalid_file", "pictures[0]: expected a PNG"),
        ([CAT, b""], mobilenext.InvalidFileError, ValueError, "invalid_file", "pictures[1]: expected a PNG"),
        (text, mobilenext.InvalidFileError, ValueError, "invalid_file", "text.jpg"),
        (cut, mobilenext.InvalidFileError, ValueError, "invalid_file", "cut.png"),
        (b"", mobilenext.InvalidFileError, ValueError, "invalid_file", "expected a PNG"),
        (b"no picture", mobilenext.InvalidFileError, ValueError, "invalid_file", "expected a PNG"),
        ([CAT, CAT, text], mobilenext.InvalidFileError, ValueError, "invalid_file", "pictures[2]: "),
    ]:
        for use in (classifier.classify, classifier.logits, detector.detect):
            with pytest.raises(error) as raised:
                use(wrong)
            assert isinstance(raised.value, builtin) and raised.value.kind == kind
            assert message in str(raised.value) and "\n" not in str(raised.value), raised.value


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="SKIPPED: Windows has no named pipes")
def test_pipes(classifier, tmp_path):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)

    def given(data):
        threading.Thread(target=pipe.write_bytes, args=(data,)).start()
        return pipe

    assert (classifier.logits(given(CAT.read_bytes())) == classifier.logits(CAT)).all()
    assert (classifier.logits([given(CAT.read_bytes()), CAT]) == classifier.logits([CAT, CAT])).all()
    with pytest.raises(mobilenext.InvalidFileError, match="pipe.jpg: expected a PNG"):
        classifier.logits(given(b"no picture"))
    with pytest.raises(mobilenext.InvalidFileError, match=r"^pictures\[1\]: .*pipe.jpg: expected a PNG"):
        classifier.logits([CAT, given(b"no picture")])


WAITS = """
import mobilenext, sys
classifier = mobilenext.Classifier(threads=1)
print("begins", flush=True)
try:
    classifier.classify(sys.argv[1])
except KeyboardInterrupt:
    print("ended")
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="SKIPPED: Windows has no named pipes")
def test_control_c_ends_waiting_for_a_pipe(tmp_path):
    import signal
    import subprocess

    os.mkfifo(tmp_path / "pipe.jpg")
    for written in (False, True):
        # A pipe that nobody opens, and one that somebody opens and writes nothing to.
        with subprocess.Popen([sys.executable, "-c", WAITS, tmp_path / "pipe.jpg"], stdout=subprocess.PIPE, text=True) as program:
            try:
                assert program.stdout.readline() == "begins\n"
                with open(tmp_path / "pipe.jpg", "wb") if written else io.BytesIO():
                    time.sleep(0.5)
                    program.send_signal(signal.SIGINT)
                    assert program.communicate(timeout=30)[0] == "ended\n"
            finally:
                program.kill()


def test_errors_say_which_picture(classifier):
    cut = Image.open(io.BytesIO((PICTURES / "rocket.jpg").read_bytes()[:20000]))
    for wrong, error in [
        (numpy.zeros((4, 4, 3), "f4"), mobilenext.InvalidTypeError),
        (numpy.zeros((3, 4, 5), "u1"), mobilenext.InvalidInputError),
        (Image.new("F", (4, 4)), mobilenext.InvalidTypeError),
        (io.StringIO("text"), mobilenext.InvalidTypeError),
        (cut, mobilenext.InvalidFileError),
    ]:
        with pytest.raises(error, match=r"^pictures\[1\]: (expected|image file is truncated)"):
            classifier.classify([CAT, wrong])


def test_errors_of_the_system_are_those_of_an_os_error(classifier, tmp_path):
    absent = tmp_path / "a\nb.png"
    for call, path in [
        (lambda: classifier.classify([CAT, absent]), absent),
        (lambda: mobilenext.Model.open(tmp_path / "w.mnx"), tmp_path / "w.mnx"),
        (lambda: mobilenext.init("mobilenext", tmp_path / "absent" / "w.mnx", width=0.1), tmp_path / "absent" / "w.mnx"),
    ]:
        with pytest.raises(FileNotFoundError) as raised:
            call()
        error = raised.value
        assert (error.errno, error.strerror, error.filename) == (errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        assert str(error) == error.args[0] and len(str(error).splitlines()) == 1 and ".mnx-" not in str(error)


def test_what_a_path_raises_is_passed_on(classifier):
    class Path:
        def __fspath__(self):
            raise KeyboardInterrupt

    for use in (classifier.classify, mobilenext.Session):
        with pytest.raises(KeyboardInterrupt):
            use(Path())


def test_wrong_k(classifier):
    for k in (0, -1):
        with pytest.raises(mobilenext.InvalidInputError, match=f"k: expected at least 1, found {k}"):
            classifier.classify(CAT, k)


def test_wrong_networks():
    with pytest.raises(mobilenext.InvalidInputError, match="detector"):
        mobilenext.Classifier(mobilenext.Model.embedded("bccd"))
    with pytest.raises(mobilenext.InvalidInputError, match="detector"):
        mobilenext.Detector(mobilenext.Model.embedded("cifar"))


def test_closed(model):
    classifier, detector = mobilenext.Classifier(model, 1), mobilenext.Detector(threads=1)
    with classifier, detector:
        pass
    assert classifier.closed and detector.closed
    with pytest.raises(mobilenext.ClosedError, match="classifier: expected an open one"):
        classifier.classify(CAT)
    with pytest.raises(mobilenext.ClosedError, match="detector: expected an open one"):
        detector.detect(CELLS)


def test_what_is_closed_is_not_used_again(model):
    for thing in (mobilenext.Session(model, 1), mobilenext.Classifier(model, 1), mobilenext.Detector(threads=1)):
        thing.close()
        for use in (lambda: pickle.dumps(thing), thing.__enter__):
            with pytest.raises(mobilenext.ClosedError, match="expected an open one, found it closed"):
                use()


def test_caches_can_hold_them(classifier, detector, session, model):
    for each in [classifier, detector, session, model]:
        assert weakref.ref(each)() is each


def test_pickled(classifier, detector):
    assert (pickle.loads(pickle.dumps(classifier)).logits(CAT) == classifier.logits(CAT)).all()
    assert pickle.loads(pickle.dumps(detector)).detect(CELLS) == detector.detect(CELLS)


def test_pillow_is_not_needed(tmp_path):
    import subprocess

    program = "import sys; sys.modules['PIL'] = None; import mobilenext; print(mobilenext.Classifier().classify(sys.argv[1])[0].label)"
    found = subprocess.run([sys.executable, "-c", program, str(CAT)], capture_output=True, text=True, cwd=tmp_path)
    assert (found.stdout, found.returncode) == ("cat\n", 0), found.stderr
