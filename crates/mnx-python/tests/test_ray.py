"""examples/ray_batch.py on a Ray cluster of this machine's: workers and jobs are killed, pictures are broken, none is lost or doubled.

Ray is large, so `tools/check_batch` runs this in an environment of its own.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import mobilenext
import pytest
from conftest import EXAMPLE

if importlib.util.find_spec("ray") is None or importlib.util.find_spec("pyarrow") is None:
    pytest.skip("SKIPPED: batch jobs on Ray: ray[data] is not installed", allow_module_level=True)
if sys.platform != "linux":
    pytest.skip("SKIPPED: batch jobs on Ray: workers are found in /proc, which only Linux has", allow_module_level=True)

import batch_pictures
import pyarrow
import pyarrow.parquet

ENVIRONMENT = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
COUNT, BROKEN, PART = 600, 12, 8


def command(*arguments):
    return [sys.executable, str(EXAMPLE), "--address", "local", *map(str, arguments)]


def start(*arguments):
    return subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def finish(job):
    said, complaints = job.communicate(timeout=600)
    assert job.returncode == 0, complaints
    return said, complaints


def parts(output):
    return sorted(output.glob("part-*.parquet"))


def worker(part):
    """The process that wrote a part."""
    return int(pyarrow.parquet.read_schema(part).metadata[b"worker"].decode().rpartition(":")[2])


def await_parts(job, output, wanted):
    """The parts that are there when there are so many, or more."""
    while len(found := parts(output)) < wanted:
        assert job.poll() is None, job.communicate()
        time.sleep(0.002)
    return found


def rows(output):
    """Every row by its path, each of which may be there once."""
    table = pyarrow.parquet.ParquetDataset([str(part) for part in parts(output)]).read().to_pylist()
    assert max(Counter(row["path"] for row in table).values()) == 1
    return {row["path"]: row for row in table}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures, some of which are broken, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    batch_pictures.write(folder, COUNT, BROKEN)
    (folder / "00" / "notes.txt").write_text("no picture")
    (folder / ".thumbnails").mkdir()
    (folder / ".thumbnails" / "hidden.jpg").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def expected(folder):
    """What the library says, called directly."""
    classifier, expected = mobilenext.Classifier(mobilenext.Model.embedded("imagenet"), threads=1), {}
    for path in folder.glob("0*/*"):
        name = path.relative_to(folder).as_posix()
        row = {"path": name, "label": None, "index": None, "probability": None, "error": None}
        try:
            row.update(classifier.classify(path.read_bytes(), k=1)[0]._asdict())
        except mobilenext.Error as error:
            row["error"] = str(error)
        if path.suffix != ".txt":
            expected[name] = row
    assert len(expected) == COUNT + BROKEN
    assert sum(row["error"] is not None for row in expected.values()) == BROKEN
    assert len({row["label"] for row in expected.values()}) > 20
    return expected


def test_a_worker_is_killed(folder, expected, tmp_path):
    job = start("--model", "imagenet", "--part", PART, "--actors", 2, folder, tmp_path)
    victim = worker(await_parts(job, tmp_path, 3)[-1])
    assert Path("/proc", str(victim), "cmdline").read_bytes().startswith(b"ray::MapWorker")
    os.kill(victim, signal.SIGKILL)
    there = parts(tmp_path)
    said, complaints = finish(job)
    assert rows(tmp_path) == expected
    # The job was in the midst of it, and a third process went on.
    assert len(there) < len(parts(tmp_path))
    assert len({victim, *map(worker, parts(tmp_path))}) == 3
    # Among Ray's own lines about the dead worker, which it writes whenever it likes.
    (summary,) = (line for line in said.splitlines() if line.startswith(f"{COUNT + BROKEN} of {COUNT + BROKEN} pictures ({BROKEN} unreadable) in "))
    assert "pictures a second with 2 actors" in summary
    assert "1 files are no pictures by their names" in complaints


def test_a_job_goes_on(folder, expected, tmp_path):
    arguments = ("--model", "imagenet", "--part", PART, "--progress", 0.01, folder, tmp_path)
    job = start(*arguments)
    await_parts(job, tmp_path, 3)
    job.kill()
    job.communicate()
    there = parts(tmp_path)
    assert 3 <= len(there) < (COUNT + BROKEN) // PART
    # One is damaged, as after a power cut; a picture is new; another is gone.
    there[0].write_bytes(there[0].read_bytes()[:-100])
    dates = {part: part.stat().st_mtime_ns for part in there[1:]}
    last = max(expected)
    (folder / last).rename(folder / "later.jpg")
    try:
        # What is wrong with the storage does not make a picture unreadable, but ends the job.
        (folder / last).mkdir()
        failed = start(*arguments)
        said, complaints = failed.communicate(timeout=600)
        assert " a second, " in complaints
        complaint = complaints.splitlines()[-1]
        assert failed.returncode == 1 and complaint.startswith("error: part-"), complaints
        assert Path(last).name in complaint and "the same command goes on" in complaint, complaint
        assert f"{len(there) - 1} of " in complaints and " parts are there already" in complaints
        (folder / last).rmdir()
        _, complaints = finish(start(*arguments))
        assert " parts are there already" in complaints
        found = rows(tmp_path)
        assert all(part.stat().st_mtime_ns == date for part, date in dates.items())
        assert found.pop("later.jpg") == {**expected[last], "path": "later.jpg"}
        assert found.pop(last)["error"].startswith("FileNotFoundError: ")
        assert found == {path: row for path, row in expected.items() if path != last}
        # And once more, when all is done.
        said, complaints = finish(start(*arguments))
        total = (COUNT + BROKEN + PART - 1) // PART + 1
        assert said == "" and f"{total} of {total} parts are there already" in complaints
    finally:
        (folder / "later.jpg").rename(folder / last)


def test_tables_in_and_boxes_out(tmp_path):
    tables, output, detector = tmp_path / "tables", tmp_path / "boxes", mobilenext.Detector(threads=1)
    tables.mkdir()
    pictures = list(batch_pictures.encoded(40))
    images = [{"bytes": data, "path": name} for name, data in pictures]
    images[3]["bytes"], images[5]["bytes"] = b"broken", None
    for number in range(2):
        table = pyarrow.table({"image": images[20 * number :][:20], "other": list(range(20))})
        pyarrow.parquet.write_table(table, tables / f"{number}.parquet", row_group_size=8)
    weights = next((batch_pictures.ROOT / "crates" / "mnx-infer" / "model" / "bccd").glob("*.mnx"))
    arguments = ("--parquet", "--path-column", "image.path", "--bytes-column", "image.bytes", "--weights", weights, "--score", 0.3)
    finish(start(*arguments, "--actors", 2, tables, output))
    assert len(parts(output)) == 6
    found = rows(output)
    assert found.keys() == dict(pictures).keys()
    boxes = 0
    for number, (name, data) in enumerate(pictures):
        if number in (3, 5):
            assert found[name]["boxes"] is None and found[name]["error"]
            continue
        assert found[name]["error"] is None
        expected = [{"label": d.label, "index": d.index, "score": d.score, **d.box._asdict()} for d in detector.detect(data, score=0.3)]
        boxes += len(expected)
        assert found[name]["boxes"] == expected
    assert boxes > 20


CLUSTER = """
import sys
from ray.cluster_utils import Cluster
# A node is lost after some seconds of silence, not after half a minute; a busy machine is not silent for so long.
impatient = {"health_check_period_ms": 1000, "health_check_timeout_ms": 5000, "health_check_failure_threshold": 4}
memory = {"object_store_memory": 100 << 20}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": impatient, **memory})
nodes = [cluster.add_node(num_cpus=1, **memory) for _ in range(2)]
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(nodes[0], allow_graceful=False)
sys.stdin.readline()
cluster.shutdown()
"""


def test_a_machine_is_lost(folder, expected, tmp_path):
    """Of two, which are processes here. The other one does the rest."""
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT
    ) as cluster:
        try:
            address = cluster.stdout.readline().strip()
            job = start("--address", address, "--model", "imagenet", "--part", PART, folder, tmp_path)
            before = await_parts(job, tmp_path, 3)
            print("lose it", file=cluster.stdin, flush=True)
            said, _ = finish(job)
        finally:
            cluster.communicate()  # the end of its input
    # Else it would not have been lost, but too late.
    assert len(before) < len(parts(tmp_path))
    assert rows(tmp_path) == expected


@pytest.fixture
def main(ray_batch):
    return ray_batch.main


def test_a_part_that_kills_its_workers(ray_batch, folder, tmp_path):
    """Without Ray: the sixth worker refuses what five have begun and not ended."""
    part = {"name": "part-000007.parquet", "pictures": ["00/000001.jpeg", "00/000002.jpeg"]}

    def worker():
        return ray_batch.Worker(mobilenext.Model.embedded(), {"input": str(folder)}, str(tmp_path))

    for _ in range(5):
        worker().attempt(part)
    failure = worker()({"part": [json.dumps(part)]})["failure"]
    assert failure == ["part-000007.parquet: 5 workers died of it, which is 00/000001.jpeg to 00/000002.jpeg"]
    assert not parts(tmp_path)
    # A job that goes on tries again, and what ends is not counted.
    assert ray_batch.left([part], str(tmp_path)) == [part] and not list(tmp_path.iterdir())
    for _ in range(7):
        assert worker().part(part)["pictures"] == 2
    assert [path.name for path in tmp_path.iterdir()] == [part["name"]] and ray_batch.left([part], str(tmp_path)) == []


def test_two_workers_at_one_part(ray_batch, folder, tmp_path):
    """Without Ray, which may repeat a part while its first worker still lives."""
    part = {"name": "part-000007.parquet", "pictures": ["00/000001.jpeg", "00/000002.jpeg"]}
    first, second = (ray_batch.Worker(mobilenext.Model.embedded(), {"input": str(folder)}, str(tmp_path)) for _ in range(2))
    answer = first.answer

    def meanwhile(data):
        if not parts(tmp_path):
            assert second.part(part)["pictures"] == 2
        return answer(data)

    first.answer = meanwhile
    assert first.part(part)["pictures"] == 2
    assert [path.name for path in tmp_path.iterdir()] == [part["name"]]


def test_a_disk_that_is_away(ray_batch, tmp_path):
    """Without Ray: a picture that is gone is a row; if the whole folder is gone or empty, that is no property of its pictures."""
    pictures, output = tmp_path / "pictures", tmp_path / "output"
    pictures.mkdir()
    output.mkdir()
    (pictures / "b.jpg").write_bytes(b"no picture")
    part = {"name": "part-000000.parquet", "pictures": ["a.jpg", "b.jpg"]}

    def failure():
        worker = ray_batch.Worker(mobilenext.Model.embedded(), {"input": str(pictures)}, str(output))
        return worker({"part": [json.dumps(part)]})["failure"][0]

    assert failure() == "" and rows(output)["a.jpg"]["error"].startswith("FileNotFoundError: ")
    parts(output)[0].unlink()
    (pictures / "b.jpg").unlink()
    wanted = f"part-000000.parquet: {pictures}: expected the folder of pictures, found none, or nothing in it"
    assert failure() == wanted
    pictures.rmdir()
    assert failure() == wanted
    assert not parts(output)


def refused(main, capsys, *arguments):
    """The one line that it says, and the exit code."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as exit:
        code = exit.code
    said, complaint = capsys.readouterr()
    assert (said, complaint.count("\n")) == ("", 1) and complaint.startswith("error: "), complaint
    return code, complaint


def test_what_is_wrong_is_said_in_a_line(main, capsys, tmp_path, folder):
    empty, output, other = tmp_path / "empty", tmp_path / "output", tmp_path / "other"
    empty.mkdir()
    other.mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"name": ["a"]}), other / "a.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"not Parquet")
    for code, part, *arguments in [
        (2, "the following arguments are required", folder),
        (2, "--part: expected a number, at least 1, found 0", folder, output, "--part", 0),
        (2, "--actors: expected a number, at least 1, found many", folder, output, "--actors", "many"),
        (2, "--score: expected a number, at least 0, found nan", folder, output, "--score", "nan"),
        (2, "--model: expected nothing beside --weights", folder, output, "--model", "cifar", "--weights", "w.mnx"),
        (1, "expected one of ", folder, output, "--model", "unknown"),
        (1, "absent.mnx", folder, output, "--weights", tmp_path / "absent.mnx"),
        (1, "--score: expected a detector, found a classifier", folder, output, "--score", 0.5),
        (1, "--score: expected 0 to 1, found 1.5", folder, output, "--score", 1.5, "--model", "bccd"),
        (1, "expected a folder of pictures, found nothing there", tmp_path / "absent", output),
        (1, "expected a folder of pictures, found a file", tmp_path / "bad.parquet", output),
        (1, "found none; tables of them need --parquet", empty, output),
        (1, "expected a Parquet file or a folder of them, found none", empty, output, "--parquet"),
        (1, "expected a Parquet file: ", tmp_path / "bad.parquet", output, "--parquet"),
        (1, "expected a column path, found name", other, output, "--parquet"),
        (1, "expected a folder outside of INPUT", other, other / "labels", "--parquet"),
        (1, "expected an empty folder or a job's, found other Parquet files", folder, other),
        (1, "expected a path or the address of a storage", "nowhere://a", output),
    ]:
        found, complaint = refused(main, capsys, *arguments)
        assert (found, part in complaint) == (code, True), (arguments, complaint)
        # All of it is known before Ray is started.
        assert "ray" not in sys.modules


def test_an_address_without_a_cluster(folder, tmp_path):
    found = subprocess.run(command("--address", "127.0.0.1:1", folder, tmp_path), capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1].startswith("error: --address 127.0.0.1:1: expected a Ray cluster, found "), found.stderr


def test_control_c(folder, tmp_path):
    job = start("--model", "imagenet", "--part", PART, folder, tmp_path)
    await_parts(job, tmp_path, 2)
    job.send_signal(signal.SIGINT)
    _, complaints = job.communicate(timeout=600)
    assert job.returncode == 130 and "error: interrupted; the same command goes on" in complaints, complaints


def test_another_job_in_the_same_folder_is_refused(main, capsys, tmp_path, folder):
    settings = {"input": str(folder), "model": "cifar", "version": mobilenext.__version__, "score": None}
    settings.update(path_column="path", bytes_column="bytes", parquet=False)
    job = tmp_path / "_job.json"
    job.write_text(json.dumps({"settings": {**settings, "model": "imagenet"}, "parts": []}))
    code, complaint = refused(main, capsys, folder, tmp_path)
    assert code == 1 and "expected the job that began there, with model imagenet, found model cifar" in complaint
    for damaged in ("", "[]", "{}", '{"settings": 1, "parts": []}'):
        job.write_text(damaged)
        code, complaint = refused(main, capsys, folder, tmp_path)
        assert code == 1 and "expected what an earlier run wrote, found something else" in complaint


def test_other_machines_need_only_packages(tmp_path):
    """Without the file beside the example, where no worker finds it."""
    alone, folder, output = tmp_path / "alone", tmp_path / "in", tmp_path / "out"
    alone.mkdir()
    folder.mkdir()
    (alone / EXAMPLE.name).write_text(EXAMPLE.read_text())
    for name, data in batch_pictures.encoded(3):
        (folder / Path(name).name).write_bytes(data)
    program = "import runpy, sys, types; from pathlib import Path; parts = sys.modules['batch_parts'] = types.ModuleType('batch_parts'); "
    program += "exec(Path(sys.argv.pop(1)).read_text(), vars(parts)); runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    arguments = map(str, (EXAMPLE.with_name("batch_parts.py"), alone / EXAMPLE.name, "--address", "local", folder, output))
    found = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path, timeout=300)
    assert found.returncode == 0, found.stderr
    assert len(rows(output)) == 3
