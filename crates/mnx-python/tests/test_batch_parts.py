"""examples/ray_batch.py without Ray: which pictures there are, what an earlier run did, and what a worker makes of a part.

`tools/check_batch` runs this, since it needs pyarrow.
"""

import ctypes
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import mobilenext
import pytest
from conftest import CAT, EXAMPLE

if importlib.util.find_spec("pyarrow") is None:
    pytest.skip("SKIPPED: batch jobs: pyarrow is not installed", allow_module_level=True)
if sys.platform != "linux":
    pytest.skip("SKIPPED: batch jobs: names and rights of files are Linux's", allow_module_level=True)

import fcntl

import pyarrow
import pyarrow.parquet

PICTURE = CAT.read_bytes()
BINARY = pyarrow.binary()


class Job:
    """The command, whose parts are done in this process and not by Ray. `between` is called after all are planned."""

    def __init__(self, ray_batch, folder, capsys):
        self.input, self.output, self.capsys, self.between = folder / "in", folder / "out", capsys, lambda: None
        self.main, self.worker_of = ray_batch.main, ray_batch.Worker
        self.input.mkdir()

        def run(arguments, model, settings, parts):
            self.between()
            worker = self.worker_of(model, settings, arguments.output)
            for part in parts:
                failure = worker.attempted(json.loads(json.dumps(part)))["failure"]
                if failure:
                    raise ray_batch.Refused(failure)

        ray_batch.run, ray_batch.imported_ray = run, lambda: None

    def __call__(self, *arguments):
        """The exit code, and what is said on standard error."""
        code = self.main([*map(str, arguments), str(self.input), str(self.output)])
        said = self.capsys.readouterr().err
        assert "Traceback" not in said
        return code, said

    def refused(self, *arguments):
        """The one line that it says."""
        code, said = self(*arguments)
        assert code == 1 and said.startswith("error: ") and said.count("\n") == 1, said
        return said

    def rows(self):
        """Every row by its path, each of which may be there once."""
        table = [row for part in sorted(self.output.glob("part-*.parquet")) for row in pyarrow.parquet.read_table(part).to_pylist()]
        assert max(Counter(row["path"] for row in table).values(), default=1) == 1, table
        return {row["path"]: row for row in table}

    def table(self, name, count, **options):
        path = self.input / name
        path.parent.mkdir(parents=True, exist_ok=True)
        names = [f"{name}:{number}" for number in range(count)]
        pyarrow.parquet.write_table(pyarrow.table({"path": names, "bytes": pyarrow.array([PICTURE] * count, BINARY)}), path, **options)


@pytest.fixture
def job(ray_batch, tmp_path, capsys):
    return Job(ray_batch, tmp_path, capsys)


# Folders --------------------------------------------------------------------------------------------------------------------


def test_linked_folders_are_visited_once(job, tmp_path):
    for path in (job.input / "a.jpg", job.input / "sub" / "b.jpg", tmp_path / "outside" / "c.jpg"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(PICTURE)
    for name, target in [("loop", "../in"), ("other", "../in"), ("alias", "sub"), ("far", "../outside"), ("sub/farther", "../../outside"), ("link.jpg", "a.jpg")]:
        (job.input / name).symlink_to(target)
    code, said = job()
    assert code == 0 and "4 links lead to folders that are there already" in said, said
    # Each by its own name, if it has one here, however the links are called.
    assert set(job.rows()) == {"a.jpg", "link.jpg", "sub/b.jpg", "far/c.jpg"}
    assert "1 of 1 parts are there already" in job()[1]


def test_linked_folders_of_tables_are_visited_once(job):
    job.table("sub/a.parquet", 2)
    for name in ("loop", "also"):
        (job.input / name).symlink_to("../in")
    assert job("--parquet")[0] == 0 and set(job.rows()) == {"sub/a.parquet:0", "sub/a.parquet:1"}


def test_links_that_lead_nowhere_and_pipes(job):
    (job.input / "a.jpg").write_bytes(PICTURE)
    (job.input / "gone.jpg").symlink_to("absent.jpg")
    (job.input / "itself.jpg").symlink_to("itself.jpg")
    (job.input / "notes").symlink_to("absent")
    os.mkfifo(job.input / "pipe.jpg")
    (job.input / "pipe too.jpg").symlink_to("pipe.jpg")
    code, said = job()
    assert code == 0 and "1 files are no pictures by their names, 2 are pipes, sockets or devices" in said, said
    rows = job.rows()
    assert rows.keys() == {"a.jpg", "gone.jpg", "itself.jpg"} and rows["a.jpg"]["error"] is None
    assert rows["gone.jpg"]["error"].startswith("FileNotFoundError: ") and "symbolic links" in rows["itself.jpg"]["error"]


def test_names_that_are_not_utf_8(job, tmp_path):
    (job.input / "a.jpg").write_bytes(PICTURE)
    for name in (b"caf\xe9.jpg", b"notes \xe9.txt"):
        Path(os.fsdecode(os.fsencode(job.input) + b"/" + name)).write_bytes(PICTURE)
    code, said = job()
    assert code == 0 and "1 files are no pictures by their names" in said, said
    rows = job.rows()
    assert rows.keys() == {"a.jpg", "caf\\xe9.jpg"} and rows["a.jpg"]["error"] is None
    assert rows["caf\\xe9.jpg"]["error"] == "expected a name in UTF-8, found caf\\xe9.jpg"
    assert "1 of 1 parts are there already" in job()[1]
    # Folders, and tables, which Arrow cannot open then.
    folder = tmp_path / os.fsdecode(b"in \xe9")
    job.input = job.input.rename(folder)
    assert job.refused() == f"error: {tmp_path}/in \\xe9: expected a name in UTF-8, as Parquet and Arrow have them\n"
    job.input, job.output = job.input.rename(tmp_path / "in"), tmp_path / "labels"
    (job.input / os.fsdecode(b"\xe9.parquet")).write_bytes(b"")
    assert f"{job.input}/\\xe9.parquet: expected a name in UTF-8" in job.refused("--parquet")
    job.output = job.output / os.fsdecode(b"\xe9")
    assert "labels/\\xe9: expected a name in UTF-8" in job.refused()


def as_anybody(function):
    """What a function returns in a thread that, if it is root's, has no more rights than others."""
    found = []

    def work():
        if os.geteuid() == 0:
            libc = ctypes.CDLL(None, use_errno=True)
            header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
            assert libc.capget(header, data) == 0
            data[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert libc.capset(header, data) == 0
        found.append(function())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111])
def test_a_folder_that_may_no_more_be_read(job, mode):
    for name in ("a.jpg", "sub/b.jpg"):
        (job.input / name).parent.mkdir(exist_ok=True)
        (job.input / name).write_bytes(PICTURE)
    # One picture, or a sub-folder, is a row.
    job.between = lambda: (job.input / "sub").chmod(mode & 0o666)
    code, said = as_anybody(job)
    assert code == 0 and job.rows()["a.jpg"]["error"] is None
    assert job.rows()["sub/b.jpg"]["error"].startswith("PermissionError: ")
    (job.output / "part-000000.parquet").unlink()
    (job.input / "sub").chmod(0o755)
    # All of them, and that is no property of theirs.
    (job.input / "a.jpg").chmod(0)
    job.between = lambda: job.input.chmod(mode)
    code, said = as_anybody(job)
    job.input.chmod(0o755)
    if mode == 0o111:
        assert f"part-000000.parquet: {job.input}: expected a folder that may be read, found " in said
    assert code == 1 and said.startswith("error: part-000000.parquet: ") and said.count("\n") == 1, said
    assert str(job.input) in said and not job.rows()


# Tables ---------------------------------------------------------------------------------------------------------------------


def test_tables_that_were_written_anew(job):
    job.table("a.parquet", 10, row_group_size=4)
    job.table("sub/b.parquet", 1)
    assert job("--parquet")[0] == 0 and len(job.rows()) == 11
    os.utime(job.input / "a.parquet")
    job.table("c.parquet", 2)
    code, said = job("--parquet")
    assert code == 0 and "4 of 5 parts are there already" in said and len(job.rows()) == 13
    whole, before = (job.input / "a.parquet").read_bytes(), job.rows()
    for count, size in ((12, 4), (9, 4), (10, 5), (0, 4)):
        job.table("a.parquet", count, row_group_size=size)
        said = job.refused("--parquet")
        assert said.startswith(f"error: {job.input}/a.parquet: expected the table that the job began with, 10 rows in 3 row groups and {len(whole):,} bytes, found ")
        assert f"found {count} rows in " in said or count == 0 and "found one without rows" in said
        assert job.rows() == before
    # Even with nothing left to do of it, and with much.
    (job.input / "a.parquet").write_bytes(whole)
    assert job("--parquet")[0] == 0
    (job.output / "part-000000.parquet").unlink()
    job.between = lambda: job.table("a.parquet", 12, row_group_size=4)
    assert job("--parquet")[1].splitlines()[-1] == (
        f"error: part-000000.parquet: row group 0 of {job.input}/a.parquet: expected the table that the job began with, found that it was written anew"
    )


def test_a_table_by_itself(job):
    job.table("a.parquet", 3, row_group_size=2)
    job.input = job.input / "a.parquet"
    assert job("--parquet")[0] == 0 and len(job.rows()) == 3
    job.input = job.input.parent
    job.table("a.parquet", 4, row_group_size=2)
    job.input = job.input / "a.parquet"
    assert job.refused("--parquet").startswith(f"error: {job.input}: expected the table that the job began with, 3 rows in 2 row groups")


def test_tables_without_rows(job):
    job.table("a.parquet", 0)
    assert job.refused("--parquet") == f"error: {job.input}: expected tables with rows, found none in them\n"
    assert not (job.output / "_job.json").exists()


def test_hidden_tables(job):
    for name in ("a.parquet", ".a.parquet", "_a.parquet", "_temporary/a.parquet", ".tmp/a.parquet", "day=1/a.parquet"):
        job.table(name, 1)
    assert job("--parquet")[0] == 0 and set(job.rows()) == {"a.parquet:0", "day=1/a.parquet:0"}
    (job.input / "_damaged.parquet").write_bytes(b"half of a table")
    assert job("--parquet")[0] == 0


def written(job, columns, names=None):
    table = pyarrow.table(columns) if names is None else pyarrow.Table.from_arrays(columns, names)
    pyarrow.parquet.write_table(table, job.input / "a.parquet")


@pytest.mark.parametrize(
    "kind, names",
    [
        (pyarrow.binary(), pyarrow.string()),
        (pyarrow.large_binary(), pyarrow.large_string()),
        (pyarrow.binary_view(), pyarrow.string_view()),
        (pyarrow.binary(len(PICTURE)), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())),
    ],
)
def test_columns_of_bytes_and_text(job, kind, names):
    written(job, {"path": pyarrow.array(["a"]).cast(names), "bytes": pyarrow.array([PICTURE], BINARY).cast(kind)})
    assert job("--parquet")[0] == 0 and job.rows()["a"]["error"] is None


def test_columns_of_other_types(job):
    # Text is no path: a stranger's table does not say which files of this machine are opened.
    names, data = pyarrow.array(["a"]), pyarrow.array([PICTURE], BINARY)
    for columns, wanted in [
        ({"path": names, "bytes": pyarrow.array([str(CAT)])}, "expected bytes in the column bytes, found string"),
        ({"path": names, "bytes": pyarrow.array([[1, 2]], pyarrow.list_(pyarrow.uint8()))}, "expected bytes in the column bytes, found list<"),
        ({"path": names, "bytes": pyarrow.array([{"bytes": PICTURE}])}, "expected a column bytes, found path, bytes.bytes"),
        ({"path": pyarrow.array([1]), "bytes": data}, "expected text in the column path, found int64"),
        ({"path": data, "bytes": data}, "expected text in the column path, found binary"),
    ]:
        written(job, columns)
        assert wanted in job.refused("--parquet")
    written(job, [names, names, data], ["path", "path", "bytes"])
    assert "expected one column path, found 2 of this name" in job.refused("--parquet")


def test_a_worker_takes_no_text_for_bytes(job):
    written(job, {"path": ["a"], "bytes": [str(CAT)]})
    with pyarrow.parquet.ParquetFile(job.input / "a.parquet") as file:
        size, group = (job.input / "a.parquet").stat().st_size, file.metadata.row_group(0)
    part = {"name": "part-000000.parquet", "file": "a.parquet", "row_group": 0, "rows": 1, "bytes": group.total_byte_size, "size": size}
    settings = {"input": str(job.input), "path_column": "path", "bytes_column": "bytes"}
    job.output.mkdir()
    worker = job.worker_of(mobilenext.Model.embedded(), settings, str(job.output))
    place = f"part-000000.parquet: row group 0 of {job.input}/a.parquet: "
    assert worker.attempted(part)["failure"] == place + "expected bytes in the column bytes, found str"
    # What nobody thought of is a line as well, and says where.
    worker.table = lambda part: 1 // 0
    assert worker.attempted(part)["failure"] == place + "ZeroDivisionError: integer division or modulo by zero"


def test_a_row_group_is_not_read_at_once(job, ray_batch, capsys):
    count, data = 64, os.urandom(1 << 20)
    table = pyarrow.table({"path": list(map(str, range(count))), "bytes": pyarrow.array([data] * count, BINARY)})
    options = {"compression": "none", "use_dictionary": False, "write_batch_size": 1, "data_page_size": 1}
    pyarrow.parquet.write_table(table, job.input / "a.parquet", **options)
    del table
    (part,) = ray_batch.batch_parts.tables_in(str(job.input), "path", "bytes")["a.parquet"]
    assert capsys.readouterr().err == ""
    settings = {"input": str(job.input), "path_column": "path", "bytes_column": "bytes"}
    worker = job.worker_of(mobilenext.Model.embedded(), settings, str(job.output))
    before, most, seen = pyarrow.total_allocated_bytes(), 0, 0
    for _ in worker.table({"name": "part-000000.parquet", "file": "a.parquet", **part}):
        seen += 1
        most = max(most, pyarrow.total_allocated_bytes() - before)
    # 16 rows at a time, and copies of them.
    assert seen == count and most < 45 << 20, most


def test_a_large_row_group_is_told(job):
    names = list(map(str, range(10_001)))
    pyarrow.parquet.write_table(pyarrow.table({"path": names, "bytes": pyarrow.array([b""] * len(names), BINARY)}), job.input / "a.parquet")
    said = job("--parquet")[1]
    assert f"{job.input}/a.parquet: row group 0 has 10,001 rows and " in said and "a row group is one worker's work" in said


# Jobs -----------------------------------------------------------------------------------------------------------------------


def test_two_jobs_at_once(job):
    (job.input / "a.jpg").write_bytes(PICTURE)
    second = []

    def meanwhile():
        begun = job.output / ".part-000000.parquet.begun"
        begun.write_bytes(b"")
        second.append(job.refused())
        assert begun.exists() and (job.output / "_job.json").exists()

    job.between = meanwhile
    assert job()[0] == 0
    (line,) = second
    assert line.startswith(f"error: {job.output}: expected no other job at work there, found process {os.getpid()} on ") and "(_job.lock)" in line
    # What is left behind then is removed, and a lock of a process that is gone locks nobody out.
    job.between = lambda: None
    assert job()[0] == 0 and not (job.output / ".part-000000.parquet.begun").exists()
    with open(job.output / "_job.lock", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "expected no other job" in job.refused()


def test_a_part_that_is_damaged_is_done_again(job):
    (job.input / "a.jpg").write_bytes(PICTURE)
    assert job()[0] == 0
    part = job.output / "part-000000.parquet"
    whole = part.read_bytes()
    for damaged in (b"", whole[:-100], b"PAR1" + bytes(100) + (80).to_bytes(4, "little") + b"PAR1"):
        part.write_bytes(damaged)
        assert job()[0] == 0 and part.read_bytes() == whole


def test_a_job_that_is_damaged(job):
    (job.input / "a.jpg").write_bytes(PICTURE)
    assert job()[0] == 0
    file = job.output / "_job.json"
    whole = json.loads(file.read_text())
    for parts in (3, [3], [{}], [{"name": "part-000000.parquet"}], {"a": 1}):
        file.write_text(json.dumps({**whole, "parts": parts}))
        assert f"{file}: expected what an earlier run wrote, found something else" in job.refused()


def without(package):
    """Lines of Python that run the example where a package is not installed."""
    return f"import runpy, sys; sys.modules[{package!r}] = None; sys.path.insert(0, {str(EXAMPLE.parent)!r}); runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"


@pytest.mark.parametrize("package", ["pyarrow", "mobilenext", "ray"])
def test_packages_that_are_missing(tmp_path, package):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(PICTURE)
    found = subprocess.run([sys.executable, "-c", without(package), folder, output], capture_output=True, text=True)
    assert found.returncode == 1 and found.stderr.startswith("error: ") and found.stderr.count("\n") == 1, found.stderr
    assert package in found.stderr and "ray[data]" in found.stderr
    assert not (output / "_job.json").exists()
