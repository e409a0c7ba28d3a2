"""Do copies hold what their sources held, and do they say what they did?"""

import ctypes
import mmap
import os
import stat
from collections.abc import Callable

from fusecopy.checking.findings import NOTHING, State, Verdict
from fusecopy.checking.scratch import Scratch, copy_all, copy_once, opened
from fusecopy.copying import errnos

MIB = 1 << 20
BLOCK = 4096
SIZE = 300_000
GIB = 1 << 30

RANGES = ((0, 0, 1), (0, 0, 4096), (0, 0, 4097), (4096, 8192, 65536), (100, 200, 70_000), (1, 0, 4095),
          (200_000, 50_000, 100_000), (12_345, 299_000, 54_321))  # fmt: skip
"""Offsets of source and destination, and lengths."""

SILENT = "files that differ from their sources, without an error"


def counts(scratch: Scratch) -> Verdict:
    """A large file, by as many calls as it takes."""
    source, destination = scratch.file("counted", 32 * MIB), scratch.path("count")
    told = copy_all(source, destination).counts
    size = destination.stat().st_size
    if source.read_bytes() != destination.read_bytes():
        if sum(told) != 32 * MIB:
            seen = "cp takes 0 before the end for the end: files cut short, and status 0"
            return Verdict(State.NOT_OK, f"{sum(told)} of {32 * MIB} bytes in {told[:4]}", seen)
        return Verdict(State.NOT_OK, f"{size} bytes are there, {sum(told)} were told", SILENT)
    if sum(told) != 32 * MIB:
        seen = "programs that count go on too early or too late: files cut short, or data twice"
        return Verdict(State.NOT_OK, f"{sum(told)} told, {32 * MIB} copied", seen)
    if len(told) > 2:
        seen = "programs that call once lose the rest"
        return Verdict(State.OK, f"short: {len(told) - 1} calls for 32 MiB", seen)
    return Verdict(State.OK, "32 MiB in one call")


def ranges(scratch: Scratch) -> Verdict:
    """Pieces of files, at any offset, into a file that has other bytes before and behind."""
    source = scratch.file("ranged", SIZE)
    data = source.read_bytes()
    for offset_in, offset_out, length in RANGES:
        destination = scratch.file("range", SIZE)
        expected = bytearray(destination.read_bytes())
        count = copy_once(source, destination, length, offset_in, offset_out)
        expected[offset_out : offset_out + count] = data[offset_in : offset_in + count]
        if not 0 < count <= length or destination.read_bytes() != expected:
            found = f"{length} bytes from {offset_in} to {offset_out}: {count}"
            return Verdict(State.NOT_OK, found, SILENT)
    return Verdict(State.OK, f"{len(RANGES)} pieces")


def the_end(scratch: Scratch) -> Verdict:
    """At the source's end 0 is the answer, across it what is left."""
    source, destination = scratch.file("ended", SIZE), scratch.path("end")
    asked = [(SIZE - 1000, 5000), (SIZE, 5000), (SIZE + 5000, 5000)]
    told = [copy_once(source, destination, length, offset) for offset, length in asked]
    if told == [1000, 0, 0]:
        return Verdict(State.OK, "what is left, then 0")
    return Verdict(State.NOT_OK, f"{told} for [1000, 0, 0]", "copies too long, or without end")


def one_file(scratch: Scratch) -> Verdict:
    """Within one file: apart from each other as any other, overlapping EINVAL."""
    path = scratch.file("itself", SIZE)
    expected = bytearray(path.read_bytes())
    with opened(path, os.O_RDWR) as fd:
        count = os.copy_file_range(fd, fd, 50_000, 0, 200_000)
        expected[200_000 : 200_000 + count] = expected[:count]
        try:
            os.copy_file_range(fd, fd, 50_000, 0, 10_000)
        except OSError as error:
            overlap = errnos.name(error.errno or 0)
        else:
            overlap = "a copy"
    if path.read_bytes() != expected:
        return Verdict(State.NOT_OK, f"other bytes; overlapping: {overlap}", SILENT)
    state = State.OK if overlap == "EINVAL" else State.NOT_OK
    return Verdict(state, f"copied; overlapping: {overlap}")


def fresh(scratch: Scratch) -> Verdict:
    """What was just written is copied, by mmap too; and the copy is seen where old pages were cached."""
    source, destination = scratch.file("written", 16 * BLOCK), scratch.file("cached", 16 * BLOCK)
    with opened(source, os.O_RDWR) as writing, opened(destination, os.O_RDWR) as reading:
        os.pread(reading, 16 * BLOCK, 0)
        os.pwrite(writing, b"w" * BLOCK, BLOCK)
        mapped = _mapped(writing)
        count = os.copy_file_range(writing, reading, 16 * BLOCK, 0, 0)
        found, expected = os.pread(reading, count, 0), os.pread(writing, count, 0)
    if expected[BLOCK : 2 * BLOCK] != b"w" * BLOCK or found != expected:
        where = "written before" if source.read_bytes() == expected else "cached"
        return Verdict(State.NOT_OK, f"old bytes, of what was {where}", "stale data in copies")
    return Verdict(State.OK, f"written{mapped} and cached pages")


def _mapped(fd: int) -> str:
    """Write by a mapping, where files can be mapped."""
    try:
        with mmap.mmap(fd, 16 * BLOCK) as memory:
            memory[5 * BLOCK : 5 * BLOCK + 6] = b"mapped"
    except OSError:
        return ""
    return ", mapped"


def attributes(scratch: Scratch) -> Verdict:
    """Size and time of the destination right after; one that was longer keeps its end."""
    source, destination = scratch.file("shorter", SIZE), scratch.file("longer", 2 * SIZE)
    os.utime(destination, ns=(0, 0))
    before = destination.stat()
    count = copy_once(source, destination, SIZE)
    after = destination.stat()
    tail = destination.read_bytes()[SIZE:]
    wrong = []
    if after.st_size != 2 * SIZE or len(tail) != SIZE:
        wrong.append(f"{after.st_size} bytes of {2 * SIZE} are left")
    if after.st_mtime_ns == before.st_mtime_ns:
        wrong.append("its time is the old one")
    new = scratch.path("grown")
    copy_once(source, new, count)
    if new.stat().st_size != count:
        wrong.append(f"a new file has {new.stat().st_size} bytes after {count}")
    if wrong:
        return Verdict(State.NOT_OK, "; ".join(wrong), "make, rsync and backups miss the change")
    return Verdict(State.OK, "size and time are right at once")


def blocks(scratch: Scratch) -> Verdict:
    """cp asks for a copy only of files whose st_blocks say that they have no holes."""
    told = scratch.file("dense", MIB).stat().st_blocks * 512
    if told >= MIB:
        return Verdict(State.OK, f"{told} bytes of {MIB} are said to be stored")
    seen = "cp takes each file for a sparse one and never asks for a copy"
    return Verdict(State.NOT_OK, f"{told} bytes of {MIB} are said to be stored", seen)


def holes(scratch: Scratch) -> Verdict:
    """A sparse file: its bytes, and whether its holes are still holes."""
    source, destination = scratch.path("sparse"), scratch.path("holes")
    with source.open("wb") as file:
        file.write(b"a" * BLOCK)
        file.seek(32 * MIB)
        file.write(b"z" * BLOCK)
    copy_all(source, destination)
    if source.read_bytes() != destination.read_bytes():
        return Verdict(State.NOT_OK, "other bytes", SILENT)
    filled = destination.stat().st_blocks > 2 * source.stat().st_blocks + 64
    seen = "disk images grow to their full size" if filled else NOTHING
    return Verdict(State.OK, "filled" if filled else "kept", seen)


def far_offsets(scratch: Scratch) -> Verdict:
    """Offsets that 32 bits do not hold."""
    source, destination = scratch.path("far"), scratch.path("farther")
    with source.open("wb") as file:
        file.seek(5 * GIB)
        file.write(b"far" * 1000)
    count = copy_once(source, destination, 3000, 5 * GIB, 6 * GIB)
    with opened(destination) as fd:
        there = os.pread(fd, 3000, 6 * GIB)
    if count == 3000 and there == b"far" * 1000:
        return Verdict(State.OK, "from 5 GiB to 6 GiB")
    return Verdict(State.NOT_OK, f"{count} bytes, others than asked for", SILENT)


def large_count(scratch: Scratch) -> Verdict:
    """A range that 32 bits do not hold, of a hole; told as its lower half it ends a copy."""
    source, destination = scratch.path("vast"), scratch.path("vaster")
    size = 4 * GIB + BLOCK
    with source.open("wb") as file:
        file.truncate(size)
        file.seek(size - BLOCK)
        file.write(b"end" + bytes(BLOCK - 3))
    done = count = copy_once(source, destination, size)
    while count and done < size:
        count = copy_once(source, destination, size - done, done, done)
        done += count
    with opened(destination) as fd:
        there = os.pread(fd, 3, size - BLOCK)
    if done == size and there == b"end":
        return Verdict(State.OK, f"{size} bytes")
    seen = "large files are cut short, or copied wrong, without an error"
    return Verdict(State.NOT_OK, f"{done} bytes told of {size}", seen)


def setuid(scratch: Scratch) -> Verdict:
    """A copy into a set-user-ID file takes the bit away, as a write does, unless CAP_FSETID is there."""
    source, destination = scratch.file("plain", BLOCK), scratch.file("setuid", BLOCK)
    destination.chmod(0o4755)
    if not destination.stat().st_mode & stat.S_ISUID:
        return Verdict(State.UNKNOWN, "the bit cannot be set here", "no difference to see")
    _drop_capabilities()
    copy_once(source, destination, BLOCK)
    if destination.stat().st_mode & stat.S_ISUID:
        seen = "who may write such a file can change what runs as its owner"
        return Verdict(State.NOT_OK, "the bit is still there", seen)
    return Verdict(State.OK, "the bit is gone")


def _drop_capabilities() -> None:
    """capset(2), version 3; of this process, which ends with the check. Root without them is nobody."""
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, data) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


CHECKS: dict[str, Callable[[Scratch], Verdict]] = {
    "counts": counts,
    "ranges": ranges,
    "end of file": the_end,
    "one file": one_file,
    "fresh data": fresh,
    "attributes": attributes,
    "blocks": blocks,
    "holes": holes,
    "4 GiB offsets": far_offsets,
    "setuid": setuid,
}

LARGE: dict[str, Callable[[Scratch], Verdict]] = {"4 GiB counts": large_count}
"""For servers that copy; where the kernel does it writes 4 GiB."""
