"""Processes: pools, forks, and what other threads held at that moment."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import mobilenext
import pytest
from conftest import CAT, WEIGHTS, numbers

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="SKIPPED: this system does not fork")
# Python warns of what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def in_child(work, seconds=60):
    """What `work` returns in a fork of this process, as bytes; fails if it hangs."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.write(writer, work())
            os._exit(0)
        except BaseException as error:
            os.write(writer, repr(error).encode())
            os._exit(1)
    os.close(writer)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            with os.fdopen(reader, "rb") as file:
                said = file.read()
            assert status == 0, said
            return said
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    pytest.fail("the fork hangs")


@needs_fork
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_session_goes_on_in_a_fork(model, threads):
    session, batch = mobilenext.Session(model, threads), numbers(3, 3, 32, 32)
    before = session.run(batch)
    assert in_child(lambda: session.run(batch).tobytes()) == before.tobytes()
    # And one that has not run yet, and a new one, and in the original process.
    fresh = mobilenext.Session(model, threads)
    assert in_child(lambda: fresh.run(batch).tobytes()) == before.tobytes()
    assert in_child(lambda: mobilenext.Session(model, threads).run(batch).tobytes()) == before.tobytes()
    assert (session.run(batch) == before).all()


@needs_fork
def test_a_fork_of_a_fork(model):
    session, batch = mobilenext.Session(model, 2), numbers(1, 3, 32, 32)
    before = session.run(batch).tobytes()
    assert in_child(lambda: session.run(batch).tobytes() + in_child(lambda: session.run(batch).tobytes())) == 2 * before


@needs_fork
@pytest.mark.parametrize("threads", [1, 2])
def test_a_fork_while_others_run(model, threads):
    """The session's lock and its helpers stay behind, locked and at work."""
    session, classifier = mobilenext.Session(model, threads), mobilenext.Classifier(model, threads)
    batch, stop = numbers(32, 3, 64, 64), threading.Event()
    expected, label = session.run(batch).tobytes(), classifier.classify(CAT)[0].label

    def work():
        while not stop.is_set():
            session.run(batch)
            classifier.classify([CAT] * 4)

    workers = [threading.Thread(target=work) for _ in range(3)]
    [worker.start() for worker in workers]
    try:
        for _ in range(10):
            assert in_child(lambda: session.run(batch).tobytes()) == expected
            assert in_child(lambda: classifier.classify(CAT)[0].label.encode()) == label.encode()
    finally:
        stop.set()
        [worker.join() for worker in workers]


@needs_fork
def test_a_fork_while_others_read_pictures():
    """What decoders of all threads share stays behind, too."""
    picture, stop = CAT.read_bytes(), threading.Event()
    classifiers = [mobilenext.Classifier(threads=1) for _ in range(3)]

    def work(classifier):
        while not stop.is_set():
            classifier.preprocess([picture] * 8)

    workers = [threading.Thread(target=work, args=(classifier,)) for classifier in classifiers]
    [worker.start() for worker in workers]
    try:
        for _ in range(20):
            assert in_child(lambda: CLASSIFIER.classify(picture)[0].label.encode()) == b"cat"
    finally:
        stop.set()
        [worker.join() for worker in workers]


def first_label(path):
    return CLASSIFIER.classify(path)[0].label


def label_with(model_and_path):
    model, path = model_and_path
    return mobilenext.Classifier(model, threads=1).classify(path)[0].label


CLASSIFIER = mobilenext.Classifier(threads=1)


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_process_pools(method):
    context = multiprocessing.get_context(method)
    CLASSIFIER.classify(CAT)
    models = [mobilenext.Model.open(WEIGHTS), mobilenext.Model.embedded(), mobilenext.Model.from_bytes(WEIGHTS.read_bytes())]
    with context.Pool(2) as pool:
        if method == "fork":
            assert pool.map_async(first_label, [str(CAT)] * 8).get(120) == ["cat"] * 8
        assert pool.map_async(label_with, [(model, str(CAT)) for model in models]).get(120) == ["cat"] * 3


def test_a_process_ends_while_threads_run():
    """Daemon threads in the middle of a run do not keep an interpreter from ending, nor crash it."""
    program = """
import threading, time, numpy, mobilenext
session = mobilenext.Session(mobilenext.Model.embedded(), 2)
batch = numpy.zeros((64, 3, 64, 64), numpy.float32)
def work():
    while True: session.run(batch)
for _ in range(3): threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="SKIPPED: signals of POSIX")
def test_ctrl_c_ends_a_long_list(classifier):
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    since = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        classifier.classify([CAT] * 100_000)
    assert time.monotonic() - since < 20
    assert classifier.classify(CAT)[0].label == "cat"
    timer.join()


@pytest.mark.skipif(os.name != "posix", reason="SKIPPED: signals of POSIX")
@pytest.mark.parametrize("kind", ["Classifier", "Detector"])
def test_a_signal_s_handler_uses_what_is_at_work(kind):
    program = f"""
import os, signal, sys, threading, mobilenext
user, path, calls = mobilenext.{kind}(threads=1), sys.argv[1], []
use = user.classify if "{kind}" == "Classifier" else user.detect
def handle(number, frame):
    calls.append(use(path))
    user.close()
signal.signal(signal.SIGUSR1, handle)
expected = use(path)
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
pictures = [path] * 40
while not calls:
    results = use(pictures)
assert calls == [expected] and results == [expected] * 40
"""
    # What has begun ends as it would, although it was closed meanwhile.
    command = [sys.executable, "-c", program, str(CAT)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (found.returncode, found.stderr) == (0, "")
