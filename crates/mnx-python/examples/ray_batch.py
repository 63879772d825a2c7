"""What is in a million pictures: a folder of them in, Parquet out, on all cores of a Ray cluster.

    python ray_batch.py PICTURES LABELS                                      # a folder of pictures
    python ray_batch.py --parquet TABLES LABELS --bytes-column image.bytes   # or tables with their bytes
    python ray_batch.py --model bccd PICTURES BOXES                          # a detector writes boxes

Needs `mobilenext` and `ray[data]`. The pictures are divided into parts. An actor per core takes a part at a time and writes its labels to a
file that appears whole or not at all; a part whose worker was killed is done again. The same command goes on where it stopped.
docs/batch.md says more.
"""

import argparse
import collections
import concurrent.futures
import errno
import hashlib
import json
import logging
import os
import platform
import socket
import sys
import time
import uuid

try:
    import batch_parts
    import mobilenext
    import pyarrow
    import pyarrow.fs
    import pyarrow.parquet
except ImportError as missing:
    if __name__ != "__main__":
        raise
    sys.exit(f"error: expected batch_parts.py beside this file and the packages mobilenext and ray[data], found {missing}")

from batch_parts import Refused, alone, below, count, filesystem, flattened, group_of, is_local, keep, left, one_line, plan, shown

LARGEST = 256 << 20  # bytes of a picture file
READERS = 4  # files that an actor reads ahead, each in a thread that waits for the storage
ATTEMPTS = 5  # at a part whose worker dies: Ray itself would go on with it for ever

CLASSES = pyarrow.schema(
    {"path": pyarrow.string(), "label": pyarrow.string(), "index": pyarrow.int32(), "probability": pyarrow.float32(), "error": pyarrow.string()}
)
BOX = pyarrow.struct(
    {"label": pyarrow.string(), "index": pyarrow.int32(), **dict.fromkeys(("score", "xmin", "ymin", "xmax", "ymax"), pyarrow.float32())}
)
BOXES = pyarrow.schema({"path": pyarrow.string(), "boxes": pyarrow.list_(BOX), "error": pyarrow.string()})


# In the workers -----------------------------------------------------------------------------------------------------------


class Worker:
    """An actor: a process with one model and one thread that computes."""

    def __init__(self, model, settings, output):
        self.settings = settings
        self.detects = model.is_detector
        self.engine = (mobilenext.Detector if self.detects else mobilenext.Classifier)(model, threads=1)
        self.files, self.input = filesystem(settings["input"])
        self.written, self.output = filesystem(output)
        self.readers = concurrent.futures.ThreadPoolExecutor(READERS)

    def __call__(self, batch):
        return {key: [value] for key, value in self.attempted(json.loads(batch["part"][0])).items()}

    def attempted(self, part):
        """What the job hears of a part. A failure is a value, too, so that it arrives as a line and not as a stack of calls."""
        numbers = dict.fromkeys(("pictures", "unreadable", "seconds", "waited", "memory"), 0)
        try:
            return {**numbers, **self.part(part), "failure": ""}
        except (Refused, OSError, pyarrow.ArrowException) as error:
            return {**numbers, "failure": f"{self.where(part)}: {one_line(error)}"}
        except Exception as error:
            return {**numbers, "failure": f"{self.where(part)}: {type(error).__name__}: {one_line(error)}"}

    def where(self, part):
        if "file" not in part:
            return part["name"]
        return f"{part['name']}: row group {part['row_group']} of {below(self.input, part['file'])}"

    def part(self, part):
        """Writes the answers for a part's pictures. Doing it again gives the same file, so nothing is lost or doubled."""
        attempts = self.attempt(part)
        began, waited, rows = time.perf_counter(), 0.0, []
        pictures = self.table(part) if "file" in part else ahead(self.readers, self.read, part["pictures"])
        while True:
            asked = time.perf_counter()
            path, data, error = next(pictures, (None, None, None))
            waited += time.perf_counter() - asked
            if data is None and error is None:
                break
            rows.append({"path": path, **(self.answer(data) if error is None else {"error": error})})
        schema = (BOXES if self.detects else CLASSES).with_metadata({"worker": f"{platform.node()}:{os.getpid()}"})
        # A temporary file first: whoever reads the folder, and the job that goes on, find whole parts only.
        temporary = f"{self.output}/.{part['name']}.{uuid.uuid4().hex}"
        with self.written.open_output_stream(temporary) as stream:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema), stream)
        self.written.move(temporary, f"{self.output}/{part['name']}")
        try:
            self.written.delete_file(attempts)
        except FileNotFoundError:
            pass  # another worker did the same part, and was faster
        unreadable = sum(row["error"] is not None for row in rows)
        seconds = time.perf_counter() - began
        return {"pictures": len(rows), "unreadable": unreadable, "seconds": seconds, "waited": waited, "memory": peak_memory()}

    def attempt(self, part):
        """Counts how often a part was begun and not ended, in a file that it names."""
        path, begun = f"{self.output}/.{part['name']}.attempts", 0
        if self.written.get_file_info(path).is_file:
            with self.written.open_input_file(path) as file:
                begun = file.size()
        if begun >= ATTEMPTS:
            what = f", which is {shown(part['pictures'][0])} to {shown(part['pictures'][-1])}" if "pictures" in part else ""
            raise Refused(f"{begun} workers died of it{what}")
        with self.written.open_output_stream(path) as stream:
            stream.write(b"." * (begun + 1))
        return path

    def answer(self, data):
        """The columns of a picture. It is the library that decodes it, so that pixels and labels are those of every other way in."""
        try:
            if self.detects:
                found = self.engine.detect(data, score=self.settings["score"])
                return {"boxes": [{"label": d.label, "index": d.index, "score": d.score, **d.box._asdict()} for d in found], "error": None}
            return {**self.engine.classify(data, k=1)[0]._asdict(), "error": None}
        except mobilenext.Error as error:
            return {"error": str(error)}

    def read(self, path):
        """A picture's path, its bytes, and why there are none. What is wrong with the storage and not with the picture is raised:
        a job must not call a thousand pictures unreadable because a disk was away."""
        name = shown(path)
        if name != path:
            return name, None, f"expected a name in UTF-8, found {name}"
        try:
            with self.files.open_input_file(f"{self.input}/{path}") as file:
                if file.size() > LARGEST:
                    return path, None, f"expected at most {LARGEST} bytes, found {file.size()}"
                return path, file.readall(), None
        except OSError as error:
            # A link that leads to itself leads nowhere.
            if not isinstance(error, (FileNotFoundError, PermissionError)) and error.errno != errno.ELOOP:
                raise
            self.check_input()
            return path, None, f"{type(error).__name__}: {one_line(error)}"

    def check_input(self):
        """Whether INPUT is a folder with something in it that one may look at. A disk that is away leaves no folder, or an empty one."""
        there = self.files.get_file_info(self.input).type == pyarrow.fs.FileType.Directory
        if there and is_local(self.files):
            try:
                with os.scandir(self.input) as entries:
                    first = next(entries, None)
                    there = first is not None
                    if there:
                        first.stat(follow_symlinks=False)
            except PermissionError as error:
                raise Refused(f"{self.input}: expected a folder that may be read, found {one_line(error)}") from error
            except FileNotFoundError:
                there = False
        if not there:
            raise Refused(f"{self.input}: expected the folder of pictures, found none, or nothing in it")

    def table(self, part):
        """The same for the rows of a table's row group. Pages of the table are read one after the other."""
        path = below(self.input, part["file"])
        columns = [self.settings["path_column"], self.settings["bytes_column"]]
        with pyarrow.parquet.ParquetFile(path, filesystem=self.files, buffer_size=1 << 20, pre_buffer=False) as file:
            number, size = part["row_group"], self.files.get_file_info(path).size
            if number >= file.num_row_groups or not group_of(file.metadata, number, size).items() <= part.items():
                raise Refused("expected the table that the job began with, found that it was written anew")
            for rows in file.iter_batches(16, [number], columns, use_threads=False):
                flat = flattened(pyarrow.Table.from_batches([rows]))
                for name, data in zip(*(flat[column].to_pylist() for column in columns)):
                    # The library would take text for a path.
                    if not isinstance(data, (bytes, type(None))):
                        raise Refused(f"expected bytes in the column {columns[1]}, found {type(data).__name__}")
                    yield name, data, "expected the bytes of a picture, found null" if data is None else None


def ahead(threads, function, items):
    """What `function` makes of each item, in order; some are made ahead, and never all."""
    waiting = collections.deque()
    for item in items:
        waiting.append(threads.submit(function, item))
        if len(waiting) > 2 * READERS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def peak_memory():
    """Most bytes that the process has had in memory, libraries included; 0 where nobody counts."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# In the program that starts them --------------------------------------------------------------------------------------------


class Progress:
    """Counts, and a line on standard error now and then."""

    def __init__(self, pictures, every):
        self.pictures, self.every, self.began = pictures, every, time.perf_counter()
        self.done = self.unreadable = self.memory = 0
        self.seconds = self.waited = self.starting = 0.0
        self.said = self.began

    def add(self, part):
        now = time.perf_counter()
        if not self.done:
            self.starting = max(now - self.began - part["seconds"], 0.0)
        self.done += part["pictures"]
        self.unreadable += part["unreadable"]
        self.seconds += part["seconds"]
        self.waited += part["waited"]
        self.memory = max(self.memory, part["memory"])
        if self.every and now - self.said >= self.every:
            self.said = now
            rest = (self.pictures - self.done) / self.rate()
            rest = f"{rest / 60:,.0f} minutes" if rest > 120 else f"{rest:.0f} seconds"
            print(f"{self.counts()}, {self.rate():,.0f} a second, {rest} left", file=sys.stderr, flush=True)

    def working(self):
        return max(time.perf_counter() - self.began - self.starting, 1e-9)

    def rate(self):
        return self.done / self.working()

    def counts(self):
        return f"{self.done:,} of {self.pictures:,} pictures ({self.unreadable:,} unreadable)"

    def summary(self, actors):
        waited = 100 * self.waited / max(self.seconds, 1e-9)
        return (
            f"{self.counts()} in {self.working():.1f} s after {self.starting:.1f} s to start: {self.rate():,.0f} pictures a second "
            f"with {actors} actors, which waited for storage {waited:.0f} % of their time and had at most {self.memory / 1e6:.0f} MB each"
        )


def reachable(address):
    """Refuses a host and port where nobody listens: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), 10).close()
        except (OSError, OverflowError) as error:
            raise Refused(f"--address {address}: expected a Ray cluster, found {one_line(error)}") from error


def imported_ray():
    """It takes a second or two, so what is wrong with INPUT and flags is said before."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise Refused(f"ray: expected the package ray[data], found {one_line(error)}") from error
    return ray


def run(arguments, model, settings, parts):
    """Has Ray do the parts. What it says of its own is kept to warnings."""
    ray = imported_ray()
    reachable(arguments.address)
    progress = Progress(sum(map(count, parts)), arguments.progress)
    local = {"num_cpus": arguments.actors, "include_dashboard": False, "object_store_memory": 256 << 20} if arguments.address == "local" else {}
    try:
        ray.init(address=arguments.address, log_to_driver=False, logging_level="warning", **local)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise Refused(f"--address {arguments.address}: {one_line(error)}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    cpus = int(ray.cluster_resources().get("CPU", 0))
    actors = min(arguments.actors or cpus, len(parts))
    if actors > cpus:
        print(f"--actors {actors}: the cluster has {cpus} CPUs; the other actors wait until it has grown", file=sys.stderr)
    ray.cloudpickle.register_pickle_by_value(batch_parts)  # so that other machines need not have the file
    # What travels is names; workers read pictures themselves and write answers themselves.
    dataset = ray.data.from_items([{"part": json.dumps(part)} for part in parts], override_num_blocks=len(parts)).map_batches(
        Worker,
        fn_constructor_kwargs={"model": model, "settings": settings, "output": arguments.output},
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=2),
        num_cpus=1,
    )  # Ray Data starts a dead actor again, and has it begin its parts anew, without being told
    try:
        for part in dataset.iter_rows():
            if part["failure"]:
                raise Refused(f"{part['failure']} ({progress.counts()} are done, the same command goes on)")
            progress.add(part)
    except ray.exceptions.RayError as error:
        raise Refused(f"ray: {one_line(error)}") from error
    print(progress.summary(actors))


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"error: {message}\n")


def at_least(least, kind=int):
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not value >= least:
            raise argparse.ArgumentTypeError(f"expected a number, at least {least}, found {text}")
        return value

    return parse


def parsed(argv):
    parser = Parser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("input", metavar="INPUT", help="folder of pictures, or Parquet with --parquet; a path or s3://…")
    parser.add_argument("output", metavar="OUTPUT", help="folder for the Parquet files; every machine must reach it")
    parser.add_argument("--parquet", action="store_true", help="INPUT is a Parquet file or a folder of them")
    parser.add_argument("--path-column", default="path", help="column that names pictures [default: path]")
    parser.add_argument("--bytes-column", default="bytes", help="column with picture files [default: bytes]; image.bytes is bytes in image")
    parser.add_argument("--weights", metavar="W.mnx", help="weight file, at the same path on every machine")
    parser.add_argument("--model", default=None, help=f"network inside the package: {', '.join(mobilenext.embedded_models())} [default: cifar]")
    parser.add_argument("--score", type=at_least(0, float), help="least score of a detector's boxes [default: the model's]")
    parser.add_argument("--part", type=at_least(1), default=1000, help="pictures of a file in OUTPUT [default: 1000]; tables: a row group")
    parser.add_argument("--actors", type=at_least(1), help="worker processes [default: as many as the cluster has CPUs]")
    parser.add_argument("--address", default=os.environ.get("RAY_ADDRESS", "local"), help="of a Ray cluster [default: RAY_ADDRESS, else local]")
    parser.add_argument("--progress", type=at_least(0, float), default=10.0, help="seconds between lines of progress, 0 for none [default: 10]")
    arguments = parser.parse_args(argv)
    if arguments.weights and arguments.model:
        parser.error("--model: expected nothing beside --weights")
    return arguments


def absolute(place):
    return place if "://" in place else os.path.abspath(place)


def main(argv=None):
    arguments = parsed(argv)
    arguments.input, arguments.output = absolute(arguments.input), absolute(arguments.output)
    try:
        if arguments.weights:
            model = mobilenext.Model.open(arguments.weights)
            with open(arguments.weights, "rb") as file:
                identity = hashlib.sha256(file.read()).hexdigest()
        else:
            identity = arguments.model or "cifar"
            model = mobilenext.Model.embedded(identity)
        if arguments.score is not None:
            if not model.is_detector:
                raise Refused("--score: expected a detector, found a classifier")
            if arguments.score > 1:
                raise Refused(f"--score: expected 0 to 1, found {arguments.score}")
        if arguments.parquet and f"{arguments.output}/".startswith(f"{arguments.input}/"):
            raise Refused(f"{arguments.output}: expected a folder outside of INPUT, whose Parquet files are all read")
        settings = {"input": arguments.input, "model": identity, "version": mobilenext.__version__, "score": arguments.score}
        settings.update(path_column=arguments.path_column, bytes_column=arguments.bytes_column, parquet=arguments.parquet)
        filesystem(arguments.input)  # before there is an OUTPUT
        with alone(arguments.output):
            job, new = plan(arguments, settings)
            parts = job["parts"]
            todo = left(parts, arguments.output)
            if len(todo) < len(parts):
                print(f"{arguments.output}: {len(parts) - len(todo):,} of {len(parts):,} parts are there already", file=sys.stderr)
            if todo:
                imported_ray()
            if new:
                keep(job, arguments.output)
            if todo:
                run(arguments, model, settings, todo)
    except (Refused, mobilenext.Error, OSError, pyarrow.ArrowException) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
