"""Kernel passthrough: files that the kernel reads and writes by itself behave as the backing's own."""

import mmap
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.loopfs import MIB, run
from tests.mount.sides import Sides, as_caller, data_map, opened
from tests.mount.test_files import KEEP_SIZE, PUNCH_HOLE, fallocate
from tests.reflink.files import noise

SIZE = 2 * MIB
ROUNDS = 300
SECONDS = 120

REALTIME_COARSE = 5
"""CLOCK_REALTIME_COARSE of clock_gettime(2): the clock of file times."""


def facts(path: Path) -> str:
    """Size, blocks, times and links by a statx(2) that does not ask for the access time: reads and mapping
    invalidate that in the kernel's cache, and would have it ask for the others too."""
    return run("stat", "-c", "%s %b %y %z %h", path)


def check_facts(sides: Sides, name: str = "f") -> None:
    """The mount must say what the backing says."""
    assert facts(sides.mount / name) == facts(sides.behind / name)


def tick() -> None:
    """Wait for a moment that file times tell from now."""
    begun = time.clock_gettime_ns(REALTIME_COARSE)
    while time.clock_gettime_ns(REALTIME_COARSE) == begun:
        os.sched_yield()


# ---- opening -----------------------------------------------------------------------------------------


def test_one_file_opened_in_several_ways_at_once(passthrough_sides: Sides) -> None:
    def act(root: Path) -> list[bytes]:
        (root / "f").write_bytes(b"one")
        with opened(root / "f", os.O_RDONLY) as reading, opened(root / "f") as both:
            with opened(root / "f", os.O_WRONLY | os.O_APPEND) as appending:
                os.pwrite(both, b"O", 0)
                os.write(appending, b" two")
                seen = [os.pread(reading, 100, 0)]
                with opened(root / "f", os.O_WRONLY | os.O_TRUNC) as truncating:
                    seen.append(os.pread(both, 100, 0))
                    os.write(truncating, b"three")
                    os.write(appending, b" four")
            return [*seen, os.pread(reading, 100, 0)]

    assert passthrough_sides.both(act) == [b"One two", b"", b"three four"]


def test_opening_while_another_open_is_released_never_fails(passthrough_sides: Sides) -> None:
    """All opens of an inode must name one backing file, else the kernel answers EIO."""
    path = passthrough_sides.mount / "f"
    path.write_bytes(b"x" * 100)
    begun = threading.Barrier(8, timeout=SECONDS)

    def open_and_close(worker: int) -> None:
        flags = (os.O_RDONLY, os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_APPEND)[worker % 4]
        begun.wait()
        for _ in range(ROUNDS):
            with opened(path, flags) as fd:
                if flags == os.O_WRONLY:
                    os.pwrite(fd, b"y", worker)
                else:
                    assert len(os.pread(fd, 100, 0)) == 100

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(open_and_close, worker) for worker in range(8)]:
            future.result(SECONDS)
    assert path.read_bytes() == (passthrough_sides.behind / "f").read_bytes()


def test_a_file_removed_and_made_again_while_others_open_it(passthrough_sides: Sides) -> None:
    """Inode numbers come again; the contents of another file never do."""
    root = passthrough_sides.mount
    over = threading.Event()

    def replace() -> None:
        try:
            for number in range(ROUNDS):
                (root / "new").write_bytes(b"%08d" % number * 16)
                os.rename(root / "new", root / "f")
        finally:
            over.set()

    def look() -> int:
        looks = 0
        while not over.is_set():
            content = (root / "f").read_bytes()
            assert content == content[:8] * 16, content
            looks += 1
        return looks

    (root / "f").write_bytes(b"%08d" % 0 * 16)
    with ThreadPoolExecutor(4) as pool:
        looking = [pool.submit(look) for _ in range(3)]
        pool.submit(replace).result(SECONDS)
        assert all(future.result(SECONDS) > 0 for future in looking)


def test_a_thousand_files_open_at_once(passthrough_sides: Sides) -> None:
    root, server = passthrough_sides.mount, passthrough_sides.mounted.attribute("pid")
    before = len(os.listdir(f"/proc/{server}/fd"))
    fds = [os.open(root / f"f{n}", os.O_RDWR | os.O_CREAT) for n in range(1000)]
    try:
        for number, fd in enumerate(fds):
            os.write(fd, b"%d" % number)
        assert [os.pread(fd, 10, 0) for fd in fds] == [b"%d" % number for number in range(1000)]
    finally:
        for fd in fds:
            os.close(fd)
    for n in range(1000):
        assert (passthrough_sides.behind / f"f{n}").read_bytes() == b"%d" % n
        os.unlink(root / f"f{n}")
    assert len(os.listdir(f"/proc/{server}/fd")) < before + 100


# ---- names -------------------------------------------------------------------------------------------


def test_links_and_names_change_under_an_open_file(passthrough_sides: Sides) -> None:
    def act(root: Path) -> tuple[bytes, bytes, int, bytes]:
        with opened(root / "f", os.O_RDWR | os.O_CREAT | os.O_EXCL) as fd:
            os.write(fd, b"created")
            os.link(root / "f", root / "link")
            with opened(root / "link") as other:
                os.pwrite(other, b"C", 0)
            os.rename(root / "f", root / "g")
            os.write(fd, b" renamed")
            linked = (root / "link").read_bytes()
            os.unlink(root / "g")
            os.unlink(root / "link")
            os.write(fd, b" unlinked")
            (root / "f").write_bytes(b"another")
            return linked, os.pread(fd, 100, 0), os.fstat(fd).st_nlink, (root / "f").read_bytes()

    linked, unlinked, links, another = passthrough_sides.both(act)
    assert (linked, unlinked) == (b"Created renamed", b"Created renamed unlinked")
    assert (links, another) == (0, b"another")


# ---- data --------------------------------------------------------------------------------------------


def test_mapped_pages_and_writes_see_each_other(passthrough_sides: Sides) -> None:
    def act(root: Path) -> tuple[bytes, bytes, bytes]:
        (root / "f").write_bytes(bytes(8192))
        with opened(root / "f") as fd, mmap.mmap(fd, 8192) as mapped:
            os.pwrite(fd, b"written", 0)
            seen = mapped[:7]
            mapped[4096:4102] = b"mapped"
            read = os.pread(fd, 6, 4096)
            mapped.flush()
            return seen, read, (root / "f").read_bytes()[4096:4102]

    assert passthrough_sides.both(act) == (b"written", b"mapped", b"mapped")


def test_direct_io(passthrough_sides: Sides) -> None:
    def act(root: Path) -> tuple[int, bytes]:
        with opened(root / "f", os.O_RDWR | os.O_CREAT | os.O_DIRECT) as fd, mmap.mmap(-1, 8192) as buffer:
            buffer[:] = noise(8192)
            count = os.pwrite(fd, buffer, 0)
            buffer[:] = bytes(8192)
            assert os.preadv(fd, [buffer], 0) == 8192
            return count, buffer[:]

    assert passthrough_sides.both(act) == (8192, noise(8192))
    assert (passthrough_sides.behind / "f").read_bytes() == noise(8192)


def test_truncation_allocation_and_holes(passthrough_sides: Sides) -> None:
    def act(root: Path) -> tuple[bytes, list[tuple[int, int]], int]:
        (root / "f").write_bytes(noise(SIZE))
        with opened(root / "f") as fd:
            assert os.pread(fd, SIZE, 0) == noise(SIZE)
            fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 4096, 8192)
            holed = os.pread(fd, 16384, 0)
            os.ftruncate(fd, MIB)
            os.ftruncate(fd, SIZE)
            holes = data_map(fd)
            fallocate(fd, 0, SIZE, MIB)
            return holed + os.pread(fd, 8192, MIB - 4096), holes, os.fstat(fd).st_size

    content, holes, size = passthrough_sides.both(act)
    assert content[4096:12288] == bytes(8192)
    assert content[16384:] == noise(SIZE)[MIB - 4096 : MIB] + bytes(4096)
    assert holes == [(0, 4096), (12288, MIB)]
    assert size == SIZE + MIB


@pytest.mark.parametrize("path", ["reflink,readwrite", "copy_file_range", "splice", "readwrite"])
def test_copies_are_coherent_with_what_was_just_written(passthrough_sides: Sides, path: str) -> None:
    root, mounted = passthrough_sides.mount, passthrough_sides.mounted
    seen = len(mounted.copies(0))
    mounted.policy(f"paths={path}")
    try:
        with opened(root / "a", os.O_RDWR | os.O_CREAT) as a, opened(root / "b", os.O_RDWR | os.O_CREAT) as b:
            os.write(a, noise(SIZE))
            os.pwrite(b, b"old" * 4096, 0)
            with mmap.mmap(b, 12288) as mapped:
                assert mapped[:3] == b"old"
                assert os.copy_file_range(a, b, SIZE, 0, 0) == SIZE
                assert mapped[:] == noise(SIZE)[:12288]
            assert (os.pread(b, SIZE, 0), os.fstat(b).st_size) == (noise(SIZE), SIZE)
            os.pwrite(b, b"new", SIZE)
            assert os.copy_file_range(b, a, 3, SIZE, 0) == 3
            assert os.pread(a, 4, 0) == b"new" + noise(SIZE)[3:4]
        check_facts(passthrough_sides, "a")
        check_facts(passthrough_sides, "b")
        first, second = mounted.copies(seen + 2)[-2:]
    finally:
        mounted.policy("default")
    assert [(copy.dispatch, copy.copied) for copy in (first, second)] == [
        ("dispatched", SIZE),
        ("dispatched", 3),
    ]


# ---- attributes --------------------------------------------------------------------------------------


def test_size_blocks_and_times_are_the_backings_after_writes(passthrough_sides: Sides) -> None:
    """Attributes are cached for an hour here, so the kernel must know by itself when to ask."""
    path = passthrough_sides.mount / "f"
    path.write_bytes(b"x" * 10_000)
    check_facts(passthrough_sides)
    tick()
    with opened(path, os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, b"y" * 100_000)
        check_facts(passthrough_sides)
    tick()
    with opened(path, os.O_WRONLY) as fd:
        os.pwrite(fd, b"z", 5)
        check_facts(passthrough_sides)
    with (path.with_name("s")).open("wb") as sent, path.open("rb") as source:
        tick()
        assert os.sendfile(sent.fileno(), source.fileno(), 0, 110_000) == 110_000
        check_facts(passthrough_sides, "s")
    check_facts(passthrough_sides)
    os.sync()
    tick()
    os.truncate(path, 5000)
    check_facts(passthrough_sides)
    assert path.stat().st_size == 5000


def test_times_and_blocks_are_the_backings_after_mapped_pages_are_written(passthrough_sides: Sides) -> None:
    """The mapping is the backing's own, and outlives the mount's open file."""
    path = passthrough_sides.mount / "f"
    with opened(path, os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, MIB)
        check_facts(passthrough_sides)
        mapped = mmap.mmap(fd, MIB)
        tick()
        mapped[:4096] = b"a" * 4096
        mapped.flush()
        check_facts(passthrough_sides)
    check_facts(passthrough_sides)
    tick()
    mapped[8192:12288] = b"b" * 4096
    mapped.flush()
    check_facts(passthrough_sides)
    mapped.close()
    check_facts(passthrough_sides)
    assert path.stat().st_blocks >= 16


def test_a_file_known_before_is_asked_for_once_it_may_be_mapped(passthrough_sides: Sides) -> None:
    """Its attributes were cached for an hour by the look-up; only opening it takes that back."""
    path = passthrough_sides.mount / "f"
    (passthrough_sides.behind / "f").write_bytes(bytes(8192))
    check_facts(passthrough_sides)
    tick()
    with opened(path) as fd:
        mapped = mmap.mmap(fd, 8192)
    tick()
    mapped[:1] = b"x"
    mapped.flush()
    mapped.close()
    check_facts(passthrough_sides)


def test_a_limit_of_file_size_is_the_callers(passthrough_sides: Sides) -> None:
    """The backing is written with the server's credentials, but in the caller's context."""

    def act(root: Path) -> int:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        with opened(root / "f", os.O_WRONLY | os.O_CREAT) as fd:
            return os.write(fd, bytes(9000)) + os.write(fd, b"more")

    for root in (passthrough_sides.mount, passthrough_sides.native):
        assert as_caller(root, act) == "EFBIG"
        assert (root / "f").stat().st_size == 5000
