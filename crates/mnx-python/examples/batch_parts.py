"""The parts of a batch job: what there is to do, and what earlier runs of it have done. ray_batch.py beside it imports this.

A part is a JSON object. It names the file in OUTPUT that answers it, and either pictures of a folder or a row group of a table.
"""

import concurrent.futures
import contextlib
import json
import os
import platform
import sys
import time
import uuid

import pyarrow
import pyarrow.fs
import pyarrow.parquet

try:
    import fcntl
except ImportError:
    fcntl = None  # on Windows

NAMES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
JOB, LOCK = "_job.json", "_job.lock"
MANY_ROWS, MANY_BYTES = 10_000, 256 << 20  # of a row group, for one worker
DAY = 86_400 * 10**9  # in nanoseconds


class Refused(Exception):
    """What ends the program with one line."""


def shown(name):
    """A name as text that can be printed and written. Names of files are bytes, and need not be UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def one_line(error):
    return " ".join(str(error).split()).encode("utf-8", "backslashreplace").decode() or type(error).__name__


def filesystem(place):
    """A file system of Arrow's and the path in it: of a local path, or of `s3://…`, `gs://…`, `hdfs://…`."""
    try:
        return pyarrow.fs.FileSystem.from_uri(place if "://" in place else os.path.abspath(place))
    except UnicodeError as error:
        raise Refused(f"{shown(place)}: expected a name in UTF-8, as Parquet and Arrow have them") from error
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise Refused(f"{place}: expected a path or the address of a storage, found {one_line(error)}") from error


def is_local(files):
    return isinstance(files, pyarrow.fs.LocalFileSystem)


# What is in INPUT -----------------------------------------------------------------------------------------------------------


def files_below(files, root, hidden):
    """Every file below a folder by its path in it, except those whose name, or a folder's, begins as `hidden` says. And remarks."""
    if is_local(files):
        return local_files(root, hidden)
    found = files.get_file_info(pyarrow.fs.FileSelector(root, recursive=True))
    paths = [info.path[len(root) :].lstrip("/") for info in found if info.is_file]
    return [path for path in paths if not any(name.startswith(hidden) for name in path.split("/"))], []


def local_files(root, hidden):
    """A link to nothing counts as a file, which is missing. Linked folders are visited, after all others, and none is visited
    twice: a link may lead to a folder that has the link in it, or that has a name of its own here."""
    paths, others, again = [], 0, 0
    visited, folders, links = set(), [""], []
    while folders or links:
        if not folders:
            links.sort(reverse=True)
        folder = (folders or links).pop()
        found = os.stat(root + "/" + folder)
        if (found.st_dev, found.st_ino) in visited:
            again += 1
            continue
        visited.add((found.st_dev, found.st_ino))
        with os.scandir(root + "/" + folder) as entries:
            for entry in entries:
                path = folder + entry.name
                if entry.name.startswith(hidden):
                    continue
                if holds(entry.is_dir):
                    (links if entry.is_symlink() else folders).append(path + "/")
                elif holds(entry.is_file) or not os.path.exists(entry.path):
                    paths.append(path)
                else:
                    others += 1  # Opening a pipe would wait for ever.
    remarks = [f"{others:,} are pipes, sockets or devices"] if others else []
    return paths, remarks + ([f"{again:,} links lead to folders that are there already"] if again else [])


def holds(test):
    """Of a link that leads to itself nothing holds."""
    try:
        return test()
    except OSError:
        return False


def pictures_in(place):
    """The pictures in a folder, by their paths in it, in order."""
    files, root = filesystem(place)
    info = files.get_file_info(root)
    if info.type != pyarrow.fs.FileType.Directory:
        raise Refused(f"{place}: expected a folder of pictures, found {'a file' if info.is_file else 'nothing there'}")
    paths, remarks = files_below(files, root, ".")
    pictures = sorted(path for path in paths if path.lower().endswith(NAMES))
    if len(pictures) < len(paths):
        remarks.insert(0, f"{len(paths) - len(pictures):,} files are no pictures by their names")
    if remarks:
        print(f"{place}: {', '.join(remarks)}", file=sys.stderr)
    return pictures


def tables_in(place, path_column, bytes_column):
    """The row groups of Parquet files, for each by its path in the folder, which is empty if INPUT is a file."""
    files, root = filesystem(place)
    info, remarks = files.get_file_info(root), []
    paths = [""] if info.is_file else []
    if info.type == pyarrow.fs.FileType.Directory:
        paths, remarks = files_below(files, root, (".", "_"))
        paths = sorted(path for path in paths if path.endswith(".parquet"))
    if not paths:
        raise Refused(f"{place}: expected a Parquet file or a folder of them, found none whose name begins with neither . nor _")
    if remarks:
        print(f"{place}: {', '.join(remarks)}", file=sys.stderr)

    def groups(path):
        path, place = below(root, path), shown(below(root, path))
        if path != place:
            raise Refused(f"{place}: expected a name in UTF-8, as Parquet and Arrow have them")
        try:
            with pyarrow.parquet.ParquetFile(path, filesystem=files) as file:
                size = files.get_file_info(path).size
                found = [group_of(file.metadata, number, size) for number in range(file.num_row_groups)]
                found = [group for group in found if group["rows"]]
                # Where there are no rows, types are often those of nothing.
                if found:
                    check_column(place, file.schema_arrow, path_column, TEXT, "text")
                    check_column(place, file.schema_arrow, bytes_column, BYTES, "bytes")
                return found
        except (pyarrow.ArrowException, OSError) as error:
            raise Refused(f"{place}: expected a Parquet file: {one_line(error)}") from error

    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        tables = dict(zip(paths, threads.map(groups, paths)))
    large = [(path, group) for path in paths for group in tables[path] if group["rows"] > MANY_ROWS or group["bytes"] > MANY_BYTES]
    if large:
        path, group = max(large, key=lambda item: item[1]["bytes"])
        what = f"row group {group['row_group']} has {group['rows']:,} rows and {group['bytes'] / 1e6:,.0f} MB"
        print(f"{below(place, path)}: {what}, and a row group is one worker's work; {len(large):,} are so large", file=sys.stderr)
    return tables


def below(root, path):
    return f"{root}/{path}" if path else root


def group_of(metadata, number, size):
    """A row group, and by what it is known again when the table was written anew."""
    group = metadata.row_group(number)
    return {"row_group": number, "rows": group.num_rows, "bytes": group.total_byte_size, "size": size}


def flattened(table):
    """With `image.bytes` and `image.path` for a column `image` that has both, as data sets on the Hugging Face Hub do."""
    while any(pyarrow.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table


TEXT = {"string", "large_string", "string_view"}
BYTES = {"binary", "large_binary", "binary_view", "fixed_size_binary"}


def check_column(place, schema, name, kinds, wanted):
    """Text for pictures' bytes would be taken for a path, and opened."""
    schema = flattened(schema.empty_table()).schema
    found = [schema.field(index).type for index in schema.get_all_field_indices(name)]
    if not found:
        raise Refused(f"{place}: expected a column {name}, found {', '.join(schema.names)}")
    if len(found) > 1:
        raise Refused(f"{place}: expected one column {name}, found {len(found)} of this name")
    kind = found[0].value_type if pyarrow.types.is_dictionary(found[0]) else found[0]
    if not any(getattr(pyarrow.types, f"is_{known}", lambda _: False)(kind) for known in kinds):
        raise Refused(f"{place}: expected {wanted} in the column {name}, found {found[0]}")


# What is in OUTPUT ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def alone(place):
    """Keeps another job out of OUTPUT meanwhile, which would remove what this one has begun. It is the system that keeps the lock,
    so nothing is left of one when its process has died. Storages that are no file systems have none."""
    files, root = filesystem(place)
    files.create_dir(root, recursive=True)
    if fcntl is None or not is_local(files):
        yield
        return
    with open(f"{root}/{LOCK}", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise Refused(f"{place}: expected no other job at work there, found {file.read().strip() or 'one'} ({LOCK})") from error
        except OSError as error:
            print(f"{place}/{LOCK}: {one_line(error)}: nothing keeps a second job from working there", file=sys.stderr)
        file.truncate(0)
        print(f"process {os.getpid()} on {platform.node()}", file=file, flush=True)
        yield


def plan(arguments, settings):
    """The job with all its parts, and how many are new. Those of an earlier run come first and stay as they are; what has come since
    is added."""
    job = earlier(arguments.output, settings)
    if arguments.parquet:
        new = new_tables(arguments, job["parts"])
    else:
        known = {path for part in job["parts"] for path in part["pictures"]}
        pictures = [path for path in pictures_in(arguments.input) if path not in known]
        new = [{"pictures": pictures[i : i + arguments.part]} for i in range(0, len(pictures), arguments.part)]
    for number, part in enumerate(new, len(job["parts"])):
        job["parts"].append({"name": f"part-{number:06}.parquet", **part})
    if not job["parts"]:
        if arguments.parquet:
            raise Refused(f"{arguments.input}: expected tables with rows, found none in them")
        raise Refused(f"{arguments.input}: expected pictures ({', '.join(NAMES)}), found none; tables of them need --parquet")
    return job, len(new)


def earlier(place, settings):
    """The job that an earlier run began, or one without parts."""
    files, root = filesystem(place)
    if files.get_file_info(f"{root}/{JOB}").is_file:
        with files.open_input_file(f"{root}/{JOB}") as file:
            try:
                job = json.loads(file.readall())
                differences = [(key, job["settings"][key], wanted) for key, wanted in settings.items() if job["settings"][key] != wanted]
                kept = ("file", "row_group", "rows", "bytes", "size") if settings["parquet"] else ("pictures",)
                job["parts"] = [{key: part[key] for key in ("name", *kept)} for part in job["parts"]]
            except (ValueError, KeyError, TypeError) as error:
                raise Refused(f"{place}/{JOB}: expected what an earlier run wrote, found something else") from error
        for key, found, wanted in differences:
            raise Refused(f"{place}: expected the job that began there, with {key} {found}, found {key} {wanted}")
        return job
    if any(info.base_name.endswith(".parquet") for info in files.get_file_info(pyarrow.fs.FileSelector(root))):
        raise Refused(f"{place}: expected an empty folder or a job's, found other Parquet files")
    return {"settings": settings, "parts": []}


def new_tables(arguments, parts):
    """Parts of tables that are in no part yet. A table that was written anew is refused: its parts would be of the old one and the new."""
    known = {}
    for part in parts:
        known.setdefault(part["file"], []).append({key: value for key, value in part.items() if key not in ("name", "file")})
    new = []
    for path, groups in tables_in(arguments.input, arguments.path_column, arguments.bytes_column).items():
        if path not in known:
            new += [{"file": path, **group} for group in groups]
        elif known[path] != groups:
            expected = f"expected the table that the job began with, {described(known[path])}, found {described(groups)}"
            raise Refused(f"{below(arguments.input, path)}: {expected}; a job in another OUTPUT takes it as it is now")
    return new


def described(groups):
    if not groups:
        return "one without rows"
    return f"{sum(group['rows'] for group in groups):,} rows in {len(groups):,} row groups and {groups[0]['size'] or 0:,} bytes"


def keep(job, place):
    """Writes which parts there are, so that the next run goes on with the same ones."""
    files, root = filesystem(place)
    temporary = f"{root}/.{JOB}.{uuid.uuid4().hex}"
    with files.open_output_stream(temporary) as stream:
        stream.write(json.dumps(job).encode())
    files.move(temporary, f"{root}/{JOB}")


def count(part):
    return part["rows"] if "file" in part else len(part["pictures"])


def left(parts, output):
    """The parts that are not there, or not whole, as after a power cut. What killed workers have left behind is removed."""
    files, root = filesystem(output)
    there = set()
    for info in files.get_file_info(pyarrow.fs.FileSelector(root)):
        # Where nothing keeps another job out, a file may be one that it just writes.
        dead = is_local(files) or info.base_name.endswith(".attempts") or time.time_ns() - (info.mtime_ns or 0) > DAY
        if info.base_name.startswith(".part-") and dead:
            files.delete_file(info.path)
        there.add(info.base_name)

    def missing(part):
        try:
            return part["name"] not in there or pyarrow.parquet.read_metadata(f"{root}/{part['name']}", filesystem=files).num_rows != count(part)
        except (pyarrow.ArrowException, OSError):
            return True

    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        return [part for part, wanted in zip(parts, threads.map(missing, parts)) if wanted]
