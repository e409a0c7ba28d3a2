"""A log of ten million records, written as the server writes it and read by the command."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fusecopy.dispatch.records import Copy, Header, Requests, timestamp
from fusecopy.dispatch.writer import QUEUE_LIMIT, Writer
from scaling.measuring import CLIENT_SECONDS, KIB, MIB, TIB, Row, Rows, memory, scratch
from tests.mounted import FUSECOPY

RECORDS = 10_000_000
RARE = 1000
"""Every so many records is one that the filter chooses."""

PEAK_MOST = 64 * MIB


def log(divisor: int) -> Rows:
    """The log in one file, read in three ways."""
    records = RECORDS // divisor
    with scratch() as directory:
        path = directory / "log.jsonl"
        lost = _write(path, records)
        yield Row("records written", records)
        yield Row("records lost", lost, most=0)
        yield Row("size of the log", path.stat().st_size / MIB, "MiB")
        yield Row("resident after writing", memory(os.getpid()).rss / MIB, "MiB")
        yield from _reading("--json", records, path, ["--json"], ["grep", "-c", '"type":"copy"'])
        yield from _reading("-n rare", records // RARE, path, ["-n", "rare"], ["grep", "-c", "rare"])
        yield from _reading("-c", records, path, ["-c"], ["awk", "/^total/ { print $2 }"])


def _write(path: Path, records: int) -> int:
    """Write the log; how many records were lost."""
    writer = Writer(path, _header(), max_bytes=TIB)
    copies = [_copy("cp"), _copy("rare")]
    for number in range(1, records + 1):
        copy = copies[number % RARE == 0]
        writer.put(msgspec.structs.replace(copy, seq=number))
        if number % (QUEUE_LIMIT // 2) == 0:
            writer.flush()
    writer.flush(CLIENT_SECONDS)
    writer.close(CLIENT_SECONDS)
    return writer.lost


@dataclass(frozen=True, slots=True)
class _Read:
    """What reading came to: copies, the reader's CPU time in seconds, its largest resident size in bytes."""

    copies: int
    cpu: float
    peak: int


def _reading(how: str, copies: int, path: Path, options: list[str], counter: list[str]) -> Rows:
    read = _run([FUSECOPY, "log", *options, str(path)], counter)
    yield Row(f"log {how}: copies too few or too many", abs(read.copies - copies), most=0)
    yield Row(f"log {how}: CPU", read.cpu, "s")
    yield Row(f"log {how}: resident at most", read.peak / MIB, "MiB", PEAK_MOST / MIB)


def _run(command: list[str], counter: list[str]) -> _Read:
    """Run a command to its end, and `counter` on its output. The peak is no less than our own size, which
    the kernel counts for what we start (setmax_mm_hiwater_rss in exec_mmap)."""
    reader = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        counted = subprocess.run(
            counter, stdin=reader.stdout, stdout=subprocess.PIPE, check=True, timeout=CLIENT_SECONDS
        )
        _, status, usage = os.wait4(reader.pid, 0)
        reader.returncode = os.waitstatus_to_exitcode(status)
    finally:
        assert reader.stdout is not None
        reader.stdout.close()
        reader.kill()
        reader.wait()
    if reader.returncode:
        raise subprocess.CalledProcessError(reader.returncode, command)
    return _Read(int(counted.stdout), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * KIB)


def _header() -> Header:
    return Header(
        time=timestamp(),
        schema=1,
        fusecopy="0",
        pyfuse3="0",
        libfuse="0",
        kernel="0",
        protocol="7.0",
        pid=1,
        uid=0,
        backing="/backing",
        filesystem="btrfs",
        mount="/mount",
        connection=1,
        policy="default",
    )


def _copy(comm: str) -> Copy:
    return Copy(
        seq=0,
        time=timestamp(),
        mono_ns=0,
        pid=1,
        comm=comm,
        uid=0,
        asked="copy_file_range",
        src="a/source",
        dst="a/copy",
        off_in=0,
        off_out=0,
        length=MIB,
        copied=MIB,
        dispatch="dispatched",
        path="reflink",
        paths={"reflink": MIB},
        shared=MIB,
        proof="fiemap",
        rewritten=0,
        duration_us=100,
        requests=Requests(copies=1),
    )
