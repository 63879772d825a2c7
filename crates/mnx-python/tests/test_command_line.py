"""The command line that comes along: the program's own answers, and an interpreter that is as it was."""

import os
import signal
import subprocess
import sys
import sysconfig
import time

import mobilenext
import pytest
from conftest import CAT, WEIGHTS
from mobilenext.__main__ import main

SCRIPT = os.path.join(sysconfig.get_path("scripts"), "mnx-infer")


def run(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "mobilenext", *map(str, arguments)], capture_output=True, text=True, **options)


def test_classify():
    found = run("classify", CAT)
    assert found.returncode == 0 and found.stderr == "", found.stderr
    assert found.stdout.splitlines()[1].split()[:2] == ["cat", "77.4"]
    script = subprocess.run([SCRIPT, "classify", str(CAT)], capture_output=True, text=True)
    assert (script.stdout, script.returncode) == (found.stdout, 0)


def test_exit_codes():
    assert run("classify", "absent.png").returncode == 1
    wrong = run("clasify")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: ") and wrong.stderr.count("\n") == 1
    version = run("--version")
    assert version.stdout.startswith(f"mnx-infer {mobilenext.__version__} ") and version.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="SKIPPED: streams are closed by a shell of POSIX")
def test_a_closed_standard_output():
    command = f'"{sys.executable}" -m mobilenext classify "{CAT}" >&-'
    found = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (1, "error: standard output: expected one, found it closed\n")
    # A reader that has gone is no reason to complain.
    command = f'"{sys.executable}" -m mobilenext inspect --kernels | head -n 1'
    found = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert found.stderr == ""


def test_inside_an_interpreter(capfd):
    print("before")
    assert main(["classify", str(CAT)]) == 0
    print("after")
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "before" and lines[-1] == "after" and "cat" in lines[2]
    assert main(["classify"]) == 2


@pytest.mark.skipif(os.name != "posix", reason="SKIPPED: signals of POSIX")
def test_signals_are_given_back(tmp_path, capfd):
    """Commands that write files watch for signals; afterwards the interpreter's own handlers are there again."""
    seen = []
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for name in before:
        signal.signal(name, lambda number, _: seen.append(number))
    try:
        for turn in range(3):
            arguments = ["init", "--arch", "mobilenext-cifar", "--width", "0.1", "--seed", "1", "--output", str(tmp_path / "w.mnx")]
            assert main(arguments) == 0
            for name in before:
                os.kill(os.getpid(), name)
        assert seen == [*before] * 3
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


@pytest.mark.skipif(os.name != "posix", reason="SKIPPED: signals of POSIX")
@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("calls", [1, 2])
def test_a_signal_ends_the_program_and_leaves_nothing(tmp_path, name, calls):
    """Also in the second call of a process, for which handlers of the first come back."""
    first = tmp_path / "first.mnx"
    second = tmp_path / "plot.svg"
    init = ["init", "--arch", "mobilenext-cifar", "--width", "0.1", "--seed", "1", "--output", str(first)]
    bench = ["bench", "--weights", str(WEIGHTS), "--iterations", "100000", "--per-block", "--plot", str(second)]
    program = f"from mobilenext.__main__ import main\n{f'main({init!r})' if calls == 2 else ''}\nmain({bench!r})"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    # The temporary file of the last call.
    while not ((calls == 1 or first.exists()) and list(tmp_path.glob(".mnx-*"))) and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(list(tmp_path.glob(".mnx-*"))) == 1
    process.send_signal(name)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (-name, b"")
    assert {path.name for path in tmp_path.iterdir()} == ({"first.mnx"} if calls == 2 else set())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="SKIPPED: this system does not fork")
def test_a_signal_ends_a_fork_and_leaves_nothing(tmp_path):
    """A fork lacks the thread that waited for signals in the process before it."""
    first = tmp_path / "first.mnx"
    init = ["init", "--arch", "mobilenext-cifar", "--width", "0.1", "--seed", "1", "--output", str(first)]
    plot = ["--plot", str(tmp_path / "plot.svg")]
    bench = ["bench", "--weights", str(WEIGHTS), "--iterations", "100000", "--per-block", *plot]
    program = f"""
import os, sys
from mobilenext.__main__ import main
main({init!r})
child = os.fork()
if child == 0:
    main({bench!r})
print("child", child, flush=True)
sys.exit(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    line = next(line for line in process.stdout if line.startswith("child"))
    end = time.monotonic() + 60
    while not list(tmp_path.glob(".mnx-*")) and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(int(line.split()[1]), signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == signal.SIGTERM
    assert {path.name for path in tmp_path.iterdir()} == {"first.mnx"}
