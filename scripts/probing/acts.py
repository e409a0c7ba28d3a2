"""What programs do: each act copies from one open file to another, by one kind of call."""

import errno
import fcntl
import mmap
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20
CHUNK = 128 << 10
PROGRAM_SECONDS = 300

FICLONE = 0x40049409
FICLONERANGE = 0x4020940D
FIDEDUPERANGE = 0xC0189436
FIEMAP = 0xC020660B
SYS_COPY_FILE_RANGE = 326


@contextmanager
def both(source: Path, destination: Path, flags: int = os.O_WRONLY | os.O_CREAT) -> Iterator[tuple[int, int]]:
    """Source and destination, open."""
    reading, writing = os.open(source, os.O_RDONLY), -1
    try:
        writing = os.open(destination, flags, 0o644)
        yield reading, writing
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


def one_call(
    source: Path, destination: Path, length: int, off_in: int = 0, off_out: int = 0, flags: int = 0
) -> int:
    """One copy_file_range."""
    with both(source, destination, os.O_RDWR | os.O_CREAT | flags) as (reading, writing):
        return os.copy_file_range(reading, writing, length, off_in, off_out)


def whole(source: Path, destination: Path) -> int:
    """copy_file_range until the source's end; how many bytes."""
    total = 0
    with both(source, destination) as (reading, writing):
        while done := os.copy_file_range(reading, writing, 1 << 40, total, total):
            total += done
    return total


def sendfile(source: Path, destination: Path) -> int:
    """sendfile until the source's end."""
    total = 0
    with both(source, destination) as (reading, writing):
        while done := os.sendfile(writing, reading, total, 1 << 30):
            total += done
    return total


def splice(source: Path, destination: Path, pipe_bytes: int) -> int:
    """splice through a pipe of so many bytes until the source's end."""
    total = 0
    with both(source, destination) as (reading, writing):
        out, into = os.pipe()
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, pipe_bytes)
        while done := os.splice(reading, into, pipe_bytes):
            while done:
                moved = os.splice(out, writing, done)
                done, total = done - moved, total + moved
    return total


def read_write(source: Path, destination: Path, chunk: int = CHUNK) -> int:
    """read and write until the source's end."""
    total = 0
    with both(source, destination) as (reading, writing):
        while data := os.read(reading, chunk):
            total += os.write(writing, data)
    return total


def mapped(source: Path, destination: Path) -> int:
    """Both files mapped, and the pages copied."""
    with both(source, destination, os.O_RDWR | os.O_CREAT) as (reading, writing):
        size = os.fstat(reading).st_size
        os.truncate(writing, size)
        with mmap.mmap(reading, size, prot=mmap.PROT_READ) as old, mmap.mmap(writing, size) as new:
            new[:] = old[:]
            new.flush()
    return size


def clone(source: Path, destination: Path) -> str:
    """FICLONE."""
    with both(source, destination) as (reading, writing):
        fcntl.ioctl(writing, FICLONE, reading)
    return "done"


def clone_range(source: Path, destination: Path, length: int) -> str:
    """FICLONERANGE."""
    with both(source, destination) as (reading, writing):
        fcntl.ioctl(writing, FICLONERANGE, struct.pack("=qQQQ", reading, 0, length, 0))
    return "done"


def dedupe(source: Path, destination: Path, length: int) -> str:
    """FIDEDUPERANGE, which has an error of the call and one of the destination."""
    with both(source, destination, os.O_RDWR) as (reading, writing):
        argument = bytearray(struct.pack("=QQHHI qQQiI", 0, length, 1, 0, 0, writing, 0, 0, 0, 0))
        fcntl.ioctl(reading, FIDEDUPERANGE, argument)
        *_, done, status, _ = struct.unpack("=QQHHI qQQiI", argument)
    return f"status {errno.errorcode[-status]}" if status < 0 else str(done)


def extents(file: Path) -> str:
    """FIEMAP; how many extents."""
    descriptor = os.open(file, os.O_RDONLY)
    argument = bytearray(struct.pack("=QQIIII", 0, 1 << 62, 1, 0, 0, 0))
    fcntl.ioctl(descriptor, FIEMAP, argument)
    return f"{struct.unpack('=QQIIII', argument)[3]} extents"


def raw_flags(source: Path, destination: Path) -> int:
    """copy_file_range with a flag, which Python's has not."""
    import ctypes

    with both(source, destination) as (reading, writing):
        call = ctypes.CDLL(None, use_errno=True).syscall
        done = int(call(SYS_COPY_FILE_RANGE, reading, None, writing, None, ctypes.c_size_t(4096), 1))
        if done < 0:
            raise OSError(ctypes.get_errno(), "copy_file_range")
    return done


def grown(source: Path, backing: Path, destination: Path, how: str) -> int:
    """What a descriptor sees of a file to which somebody appended in the backing after it was opened."""
    size = os.stat(source).st_size
    with both(source, destination) as (reading, writing):
        os.pread(reading, 1, 0)
        with backing.open("ab") as file:
            file.write(b"+" * 4096)
        if how == "pread":
            return len(os.pread(reading, 4096, size))
        if how == "sendfile":
            return os.sendfile(writing, reading, size, 4096)
        if how == "splice":
            _, into = os.pipe()
            os.lseek(reading, size, os.SEEK_SET)
            return os.splice(reading, into, 4096)
        return os.copy_file_range(reading, writing, 4096, size, 0)


def program(where: Path, *words: str) -> str:
    """A real program in the mount: `done`, or the first line of what it said."""
    ended = _ended(where, words)
    if ended.returncode == 0:
        return "done"
    said = ended.stderr.strip().splitlines()
    return f"status {ended.returncode}: {said[0] if said else 'nothing said'}"


def traced(where: Path, *words: str) -> str:
    """`fusecopy trace`: what it saw of the kernel's side, or why it saw none."""
    said = _ended(where, words).stderr.strip().splitlines()
    return next((line.strip() for line in said if line.strip().startswith("kernel:")), said[0])


def _ended(where: Path, words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    return subprocess.run(
        words, cwd=where, env={**os.environ, "PATH": path, "LC_ALL": "C"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=False,
    )  # fmt: skip
