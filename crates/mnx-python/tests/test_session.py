import pickle
import threading

import mobilenext
import numpy
import pytest
from conftest import numbers


def test_logits_of_any_batch_and_size(session):
    for shape in [(1, 3, 32, 32), (5, 3, 32, 32), (2, 3, 17, 40), (3, 3, 1, 1)]:
        logits = session.run(numbers(*shape))
        assert logits.shape == (shape[0], 10) and logits.dtype == numpy.float32 and logits.flags.c_contiguous
        assert numpy.isfinite(logits).all()


def test_the_same_bits_for_every_batch_and_thread(model):
    batch = numbers(7, 3, 32, 32)
    one = mobilenext.Session(model, threads=1)
    logits = one.run(batch)
    alone = numpy.concatenate([one.run(batch[i : i + 1]) for i in range(7)])
    assert (alone.view(numpy.uint32) == logits.view(numpy.uint32)).all()
    for threads in (2, 3):
        assert (mobilenext.Session(model, threads).run(batch).view(numpy.uint32) == logits.view(numpy.uint32)).all()


def test_results_in_memory_of_the_callers(session):
    batch = numbers(4, 3, 32, 32)
    out = numpy.full((4, 10), numpy.nan, numpy.float32)
    assert session.run(batch, out=out) is out
    assert (out == session.run(batch)).all()
    # Parts of a larger array.
    large = numpy.full((6, 10), 7, numpy.float32)
    assert session.run(batch, large[1:5]).base is large
    assert (large[1:5] == out).all() and (large[[0, 5]] == 7).all()
    features = numpy.empty((4, session.features(batch).shape[1]), numpy.float32)
    assert session.features(batch, out=features) is features


def test_a_result_of_its_own_stays(session):
    batch = numbers(2, 3, 32, 32)
    first = session.run(batch)
    kept = first.copy()
    session.run(batch + 1)
    assert (first == kept).all()


def test_features(session):
    batch = numbers(3, 3, 32, 32)
    features = session.features(batch)
    assert features.shape[0] == 3 and features.ndim == 2 and features.shape[1] > 100


def test_read_only_input(session):
    batch = numbers(1, 3, 32, 32)
    batch.flags.writeable = False
    assert session.run(batch).shape == (1, 10)
    assert session.run(numpy.frombuffer(batch.tobytes(), numpy.float32).reshape(batch.shape)).shape == (1, 10)


def test_outputs_by_name():
    model = mobilenext.Model.embedded("bccd")
    session = mobilenext.Session(model, threads=1)
    batch = numbers(2, 3, model.resolution, model.resolution)
    outputs = session.run(batch)
    assert list(outputs) == ["scores", "boxes"]
    n, priors, classes = outputs["scores"].shape
    assert (n, classes, outputs["boxes"].shape) == (2, 4, (2, priors, 4))
    out = {name: numpy.empty_like(values) for name, values in outputs.items()}
    assert session.run(batch, out=out) is out
    assert all((out[name] == outputs[name]).all() for name in out)
    only = {"boxes": numpy.empty_like(outputs["boxes"])}
    session.run(batch, only)
    assert (only["boxes"] == outputs["boxes"]).all()
    # Two arrays over one memory that do not know of each other.
    memory = bytearray(out["scores"].nbytes + out["boxes"].nbytes)
    scores, boxes = (numpy.frombuffer(memory, "f4", out[n].size).reshape(out[n].shape) for n in ("scores", "boxes"))
    for wrong, message in [
        (numpy.empty(1, numpy.float32), "out: expected a dict of arrays"),
        ({"score": out["scores"]}, "out: expected scores and boxes, found score"),
        ({"boxes": out["boxes"][:1]}, r"out\[.boxes.\]: expected shape \(2, \d+, 4\), found \(1, \d+, 4\)"),
        ({"scores": out["scores"], "boxes": out["scores"]}, "expected memory of its own"),
        ({"scores": batch}, "expected memory of its own"),
        ({"scores": scores, "boxes": boxes}, r"out\[.boxes.\]: expected memory of its own, found that of out\[.scores.\]"),
        ({3: out["scores"]}, "out: expected names of outputs, found int"),
    ]:
        with pytest.raises(mobilenext.InvalidInputError, match=message):
            session.run(batch, wrong)
    with pytest.raises(mobilenext.InvalidInputError, match="detector"):
        session.features(batch)


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        (None, TypeError, "array: expected a float32 array of shape (N, 3, H, W), found NoneType"),
        ([[1.0]], TypeError, "found list"),
        (b"1234", TypeError, "found bytes"),
        (numpy.zeros((1, 3, 8, 8)), TypeError, "found one of float64"),
        (numpy.zeros((1, 3, 8, 8), numpy.uint8), TypeError, "found one of uint8"),
        (numpy.zeros((1, 3, 8, 8), ">f4"), TypeError, "found one of >f4"),
        (numpy.zeros((1, 3, 8, 8), object), TypeError, "found one of object"),
        (numpy.zeros((3, 8, 8), numpy.float32), ValueError, "expected a shape (N, 3, H, W), found (3, 8, 8)"),
        (numpy.zeros((), numpy.float32), ValueError, "found ()"),
        (numpy.zeros((1, 1, 3, 8, 8), numpy.float32), ValueError, "found (1, 1, 3, 8, 8)"),
        (numpy.zeros((1, 4, 8, 8), numpy.float32), ValueError, "1 x 4 x 8 x 8"),
        (numpy.zeros((1, 8, 8, 3), numpy.float32), ValueError, "1 x 8 x 8 x 3"),
        (numpy.zeros((0, 3, 8, 8), numpy.float32), ValueError, "0 x 3 x 8 x 8"),
        (numpy.zeros((1, 3, 0, 8), numpy.float32), ValueError, "1 x 3 x 0 x 8"),
        (numpy.zeros((1, 3, 8, 16), numpy.float32)[..., ::2], ValueError, "expected a C-contiguous array"),
        (numpy.zeros((1, 8, 8, 3), numpy.float32).transpose(0, 3, 1, 2), ValueError, "expected a C-contiguous array"),
        (numpy.asfortranarray(numpy.zeros((2, 3, 8, 8), numpy.float32)), ValueError, "expected a C-contiguous array"),
        (numpy.frombuffer(bytes(769), numpy.uint8)[1:].view(numpy.float32).reshape(1, 3, 8, 8), ValueError, "aligned"),
    ],
)
def test_wrong_inputs(session, wrong, error, message):
    for run in (session.run, session.features):
        with pytest.raises(mobilenext.InvalidInputError) as raised:
            run(wrong)
        assert isinstance(raised.value, error) and message in str(raised.value), raised.value
        assert raised.value.kind == "invalid_input" and "\n" not in str(raised.value)


def test_wrong_outs(session):
    batch = numbers(4, 3, 32, 32)
    read_only = numpy.empty((4, 10), numpy.float32)
    read_only.flags.writeable = False
    memory = bytearray(batch.nbytes)
    shared = numpy.frombuffer(memory, numpy.float32).reshape(batch.shape)
    alias = numpy.frombuffer(memory, numpy.float32)[:40].reshape(4, 10)
    for array, out, error, message in [
        (batch, read_only, ValueError, "out: expected a writeable array, found a read-only one"),
        (batch, numpy.empty((4, 11), numpy.float32), ValueError, "out: expected shape (4, 10), found (4, 11)"),
        (batch, numpy.empty((10, 4), numpy.float32), ValueError, "found (10, 4)"),
        (batch, numpy.empty(40, numpy.float32), ValueError, "found (40,)"),
        (batch, numpy.empty((4, 10)), TypeError, "out: expected a float32 array, found one of float64"),
        (batch, numpy.empty((4, 20), numpy.float32)[:, ::2], ValueError, "out: expected a C-contiguous array"),
        (batch, [], TypeError, "out: expected a float32 array, found list"),
        (batch, batch.reshape(-1)[:40].reshape(4, 10), ValueError, "out: expected memory of its own"),
        (shared, alias, ValueError, "out: expected memory of its own"),
    ]:
        with pytest.raises(mobilenext.InvalidInputError) as raised:
            session.run(array, out)
        assert isinstance(raised.value, error) and message in str(raised.value), raised.value
    # Nothing stays borrowed.
    assert session.run(batch).shape == (4, 10)


@pytest.mark.parametrize("threads", [0, -1, 1025, 2**40])
def test_numbers_of_threads_that_cannot_be(model, threads):
    for make in (mobilenext.Session, mobilenext.Classifier):
        with pytest.raises(mobilenext.InvalidInputError, match=f"1024.*{threads}"):
            make(model, threads)


def test_instruction_sets(model):
    scalar = mobilenext.Session(model, 1, isa="scalar")
    assert scalar.isa == "scalar" and scalar.run(numbers(1, 3, 32, 32)).shape == (1, 10)
    with pytest.raises(mobilenext.Error, match="mmx"):
        mobilenext.Session(model, 1, isa="mmx")


def test_a_closed_session(model):
    with mobilenext.Session(model, 1) as session:
        session.run(numbers(1, 3, 8, 8))
    assert session.closed
    for run in (session.run, session.features):
        with pytest.raises(mobilenext.ClosedError, match="session: expected an open one, found it closed"):
            run(numbers(1, 3, 8, 8))
    session.close()


def test_a_session_is_pickled(model):
    session = pickle.loads(pickle.dumps(mobilenext.Session(model, 1, isa="scalar")))
    assert (session.threads, session.isa, session.model.classes) == (1, "scalar", 10)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_take_turns_on_one_session(model, threads):
    session = mobilenext.Session(model, threads)
    batches = [numbers(1 + i % 3, 3, 32, 32) for i in range(8)]
    expected = [session.run(batch) for batch in batches]
    wrong = []

    def work(i):
        for turn in range(20):
            batch = batches[(i + turn) % 8]
            if not (session.run(batch) == expected[(i + turn) % 8]).all():
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    [worker.start() for worker in workers]
    [worker.join(60) for worker in workers]
    assert not any(worker.is_alive() for worker in workers) and not wrong


def test_closed_while_others_run(model):
    session = mobilenext.Session(model, 1)
    batch, results = numbers(64, 3, 32, 32), []

    def work():
        try:
            while True:
                results.append(session.run(batch).shape)
        except mobilenext.ClosedError:
            results.append("closed")

    workers = [threading.Thread(target=work) for _ in range(3)]
    [worker.start() for worker in workers]
    session.close()
    [worker.join(60) for worker in workers]
    assert results.count("closed") == 3


def test_the_interpreter_goes_on_meanwhile(model):
    """A run of some hundred milliseconds must not keep other Python threads from running."""
    session = mobilenext.Session(model, 1)
    batch = numbers(256, 3, 64, 64)
    session.run(batch)
    done, turns = threading.Event(), 0

    def work():
        session.run(batch)
        done.set()

    worker = threading.Thread(target=work)
    worker.start()
    while not done.wait(0.0005):
        turns += 1
    worker.join()
    assert turns > 10


def test_an_out_in_use_is_not_read(model):
    """While one call writes to an array, another that would read it is refused."""
    session = mobilenext.Session(model, 1)
    batch = numbers(512, 3, 64, 64)
    out = numpy.empty((512, 10), numpy.float32)
    worker = threading.Thread(target=session.run, args=(batch, out))
    worker.start()
    refused = 0
    while worker.is_alive():
        try:
            mobilenext.Session(model, 1).run(numbers(512, 3, 1, 1), out)
        except mobilenext.InvalidInputError as error:
            refused += "in use" in str(error)
    worker.join()
    assert refused > 0


def test_results_larger_than_memory(tmp_path):
    """A batch of single pixels with very many classes each: an error, not a crash."""
    mobilenext.init("mobilenext-cifar", tmp_path / "w.mnx", width=0.1, classes=50_000)
    session = mobilenext.Session(tmp_path / "w.mnx", 1)
    batch = numpy.zeros((2_000_000, 3, 1, 1), numpy.float32)
    with pytest.raises((mobilenext.LimitError, MemoryError)):
        session.run(batch)
