"""A program: one job in one directory, measured from within; prints what was measured as JSON.

    client.py DIRECTORY DEVICE JOB ARGUMENTS SERVER TRACE

DEVICE is st_dev of the mount or 0, ARGUMENTS are JSON, SERVER is the server's pid or 0, TRACE a trace buffer
that counts its requests or "". It is a process of its own because a request to a server that hangs cannot be
ended from within, and imports nothing but the standard library to start fast. Only what happens within
`with meter` is measured.
"""

import contextlib
import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

BLOCK = 128 << 10
PAGE = 4096
SETTLE_SECONDS = 2.0
QUIET_SECONDS = 0.02

OPCODE = re.compile(r"fuse_request_send: .* opcode (\d+) ")


class Meter:
    """Wall and CPU time of a block, of this process with its children and of the server, and requests."""

    def __init__(self, server: int, trace: str) -> None:
        self.samples: list[int] = []
        """Nanoseconds of each call, where a job takes them one by one."""
        self.count = 0
        """What the job counted, to be checked: bytes read, files found."""
        self._server = server
        self._trace = Path(trace, "trace") if trace else None
        self._requests: Counter[int] = Counter()

    def __enter__(self) -> None:
        self._settle()
        if self._trace:
            self._trace.write_text("")  # truncating it empties the buffer (Documentation/trace/ftrace.rst)
        self._server_cpu = self._server_time()
        self._client_cpu = client_time()
        self._begun = time.perf_counter_ns()

    def __exit__(self, *_: object) -> None:
        self._wall = time.perf_counter_ns() - self._begun
        self._client_cpu = client_time() - self._client_cpu
        self._settle()
        self._server_cpu = self._server_time() - self._server_cpu
        if self._trace:
            self._requests.update(int(opcode) for opcode in OPCODE.findall(self._trace.read_text()))

    def result(self) -> str:
        """What was measured, as the JSON of measuring.Reading."""
        found = {
            "wall_ns": self._wall,
            "client_cpu_ns": self._client_cpu,
            "server_cpu_ns": self._server_cpu,
            "samples_ns": self.samples,
            "count": self.count,
            "requests": self._requests,
        }
        return json.dumps(found)

    def _server_time(self) -> int:
        """CPU time of a process with all its threads, also those that ended.

        The clock's number is what clock_getcpuclockid(3) computes: ~pid << 3 | CPUCLOCK_SCHED
        (include/linux/posix-timers.h, make_process_cpuclock).
        """
        return time.clock_gettime_ns(~self._server << 3 | 2) if self._server else 0

    def _settle(self) -> None:
        """Wait until the server rests: it closes files and writes its log after the program has gone on."""
        deadline = time.monotonic() + SETTLE_SECONDS
        before = -1
        while self._server and time.monotonic() < deadline:
            now = self._server_time()
            if now == before:
                return
            before = now
            time.sleep(QUIET_SECONDS)


def client_time() -> int:
    """CPU time of this process and of the children it has waited for, in nanoseconds."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(sum(usage.ru_utime + usage.ru_stime for usage in used) * 1e9)


def programs(meter: Meter, commands: Sequence[Sequence[str]], warm: Sequence[Sequence[str]] = ()) -> None:
    """Run commands one after the other, those of `warm` first and unmeasured."""
    for command in warm:
        subprocess.run(command, check=True)
    with meter:
        for command in commands:
            subprocess.run(command, check=True)


def copies(meter: Meter, source: str, result: str, length: int, count: int, pause: float = 0.0) -> None:
    """Copy `count` ranges of `length` bytes that follow each other, each by itself, `pause` seconds apart.

    One page is copied elsewhere before: on the first copy the kernel learns which opcode the server knows.
    """
    with open(source, "rb") as from_file, open(f"{result}.first", "wb") as elsewhere:
        copy_range(from_file.fileno(), elsewhere.fileno(), 0, PAGE)
    with open(source, "rb") as from_file, open(result, "wb") as to_file, meter:
        for offset in range(0, count * length, length):
            begun = time.perf_counter_ns()
            copy_range(from_file.fileno(), to_file.fileno(), offset, length)
            meter.samples.append(time.perf_counter_ns() - begun)
            if pause:
                time.sleep(pause)


def copy_range(source: int, result: int, offset: int, length: int) -> None:
    """Copy one range, by further calls where one was short, as every program has to."""
    end = offset + length
    while offset < end:
        copied = os.copy_file_range(source, result, end - offset, offset, offset)
        if not copied:
            raise EOFError(f"copy_file_range ended at {offset} of {end}")
        offset += copied


def create(meter: Meter, directory: str, count: int) -> None:
    """Create so many files of twelve bytes, one by one."""
    os.mkdir(directory)
    with meter:
        for number in range(count):
            begun = time.perf_counter_ns()
            descriptor = os.open(f"{directory}/{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.write(descriptor, b"twelve bytes")
            os.close(descriptor)
            meter.samples.append(time.perf_counter_ns() - begun)


def open_read(meter: Meter, path: str, count: int) -> None:
    """Open, read and close the first files of a tree, one by one, all of which were looked up before."""
    names = sorted(os.path.join(top, name) for top, _, names in os.walk(path) for name in names)[:count]
    for name in names:
        os.stat(name)
    with meter:
        for name in names:
            begun = time.perf_counter_ns()
            descriptor = os.open(name, os.O_RDONLY)
            meter.count += bool(os.read(descriptor, BLOCK))
            os.close(descriptor)
            meter.samples.append(time.perf_counter_ns() - begun)


def database(meter: Meter, path: str, transactions: int) -> None:
    """Transactions of one row each in a SQLite database, with its default journal."""
    import sqlite3  # of no use to the other jobs

    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, text TEXT)")
        with meter:
            for number in range(transactions):
                with connection:
                    connection.execute("INSERT INTO rows VALUES (?, ?)", (number, "x" * 100))
        (meter.count,) = connection.execute("SELECT count(*) FROM rows").fetchone()


def copiers(meter: Meter, number: int, source: str, length: int, count: int) -> None:
    """So many processes at once, each of which copies single ranges into a file of its own."""
    at_once(meter, [("copier", f"out/{n}.ranges", source, str(length), str(count)) for n in range(number)])


def sendfile(meter: Meter, source: str, result: str) -> None:
    """Copy a file by sendfile."""
    with open(source, "rb") as from_file, open(result, "wb") as to_file, meter:
        while copied := os.sendfile(to_file.fileno(), from_file.fileno(), None, 1 << 30):
            meter.count += copied


def walk(meter: Meter, path: str, warm: bool) -> None:
    """Stat every file of a tree, with `warm` for the second time."""
    if warm:
        sum(1 for _ in files(path))
    with meter:
        meter.count = sum(1 for _ in files(path))


def files(path: str) -> Iterator[os.stat_result]:
    """The attributes of all files below a directory."""
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from files(entry.path)
            else:
                yield entry.stat(follow_symlinks=False)


def read(meter: Meter, path: str, warm: bool) -> None:
    """Read a file from beginning to end, with `warm` for the second time."""
    if warm:
        read_whole(path)
    with meter:
        meter.count = read_whole(path)


def read_whole(path: str) -> int:
    """Read a file; the number of bytes."""
    buffer, total = bytearray(BLOCK), 0
    with open(path, "rb", buffering=0) as file:
        while found := file.readinto(buffer):
            total += found
    return total


def write(meter: Meter, path: str, length: int, warm: bool) -> None:
    """Write a file from beginning to end and close it, with `warm` over what was just written."""
    block = random.Random(length).randbytes(BLOCK)
    if warm:
        write_whole(path, block, length)
    with meter:
        write_whole(path, block, length)


def write_whole(path: str, block: bytes, length: int) -> None:
    """Write `block` until there are `length` bytes; nothing is truncated."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    for offset in range(0, length, len(block)):
        os.pwrite(descriptor, block, offset)
    os.close(descriptor)


def random_reads(meter: Meter, path: str, count: int) -> None:
    """Read single pages at random, the same ones each time, without readahead."""
    with open(path, "rb", buffering=0) as file:
        pages = os.fstat(file.fileno()).st_size // PAGE
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        chosen = random.Random(count).choices(range(pages), k=count)
        with meter:
            for page in chosen:
                begun = time.perf_counter_ns()
                meter.count += len(os.pread(file.fileno(), PAGE, page * PAGE))
                meter.samples.append(time.perf_counter_ns() - begun)


def clients(meter: Meter, number: int, tree: str, source: str, length: int, count: int) -> None:
    """At once, each in a process of its own: cp -r of a tree, then copies of single ranges."""
    at_once(meter, [("client", f"out/{n}", tree, source, str(length), str(count)) for n in range(number)])


def at_once(meter: Meter, roles: Sequence[Sequence[str]]) -> None:
    """This program in several processes at once, each with a role of ROLES and its arguments."""
    with meter:
        begun = [
            os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", __file__, *role], os.environ)
            for role in roles
        ]
        ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in begun]
    if any(ended):
        raise RuntimeError(f"clients ended with {ended}")


def be_client(result: str, tree: str, source: str, length: str, count: str) -> None:
    """One of many: cp -r, then single ranges."""
    subprocess.run(["cp", "-r", tree, f"{result}.tree"], check=True)
    be_copier(f"{result}.ranges", source, length, count)


def be_copier(result: str, source: str, length: str, count: str) -> None:
    """One of many: single ranges."""
    with open(source, "rb") as from_file, open(result, "wb") as to_file:
        for offset in range(0, int(count) * int(length), int(length)):
            copy_range(from_file.fileno(), to_file.fileno(), offset, int(length))


JOBS: dict[str, Callable[..., None]] = {
    job.__name__: job
    for job in (
        programs, copies, create, open_read, database, copiers, sendfile, walk, read, write, random_reads,
        clients,
    )
}  # fmt: skip

ROLES: dict[str, Callable[..., None]] = {"client": be_client, "copier": be_copier}


def main(directory: str, device: str, job: str, arguments: str, server: str, trace: str) -> None:
    """Do one job and print what was measured."""
    os.chdir(directory)
    if int(device) and os.stat(".").st_dev != int(device):
        sys.exit("the mount has gone again")
    meter = Meter(int(server), trace)
    try:
        JOBS[job](meter, **json.loads(arguments))
    except (OSError, EOFError, RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
    print(meter.result())


if __name__ == "__main__":
    if sys.argv[1] in ROLES:
        ROLES[sys.argv[1]](*sys.argv[2:])
    else:
        main(*sys.argv[1:])
