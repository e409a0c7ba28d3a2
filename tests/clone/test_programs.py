"""Programs that clone, in a mount under `fusecopy run`."""

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fusecopy.copying.sharing import shared_bytes
from tests.clone.running import AS_NOBODY, plain, program, said, served
from tests.conftest import require
from tests.loopfs import MIB
from tests.mount.ordinary import nobodys_mount
from tests.mount.sides import NOBODY
from tests.mounted import FUSECOPY, Mounted, mounted
from tests.reflink.files import noise

SIZE = MIB


@pytest.fixture(autouse=True)
def needs() -> None:
    require("fuse", "root", "loop", "seccomp")


def shared(one: Path, other: Path) -> int:
    """Bytes that two files of a backing share."""
    with one.open("rb") as a, other.open("rb") as b:
        return shared_bytes(a.fileno(), 0, b.fileno(), 0, one.stat().st_size).shared


def test_cp_reflink_always(sharing_backing: Path) -> None:
    (sharing_backing / "a").write_bytes(noise(SIZE))
    with mounted(sharing_backing) as mount:
        assert said(served("cp", "--reflink=always", "a", "b", cwd=mount.path)) == ""
        (copy,) = mount.copies(1)
    assert shared(sharing_backing / "a", sharing_backing / "b") == SIZE
    assert (copy.asked, copy.dispatch, copy.path, copy.comm) == ("FICLONE", "dispatched", "reflink", "cp")
    assert (copy.src, copy.dst, copy.copied, copy.shared, copy.rewritten) == ("a", "b", SIZE, SIZE, 0)
    assert (copy.uid, copy.driver, copy.errno) == (0, "ioctl", None)


def test_cp_reflink_always_on_ext4_fails_as_natively(ext4: Path) -> None:
    directory = ext4 / "cp"
    directory.mkdir()
    (directory / "a").write_bytes(b"a")
    command = ("cp", "--reflink=always", "a", "b")
    native = plain(*command, cwd=directory)
    with mounted(directory) as mount:
        done = served(*command, cwd=mount.path)
        (copy,) = mount.copies(1)
    shutil.rmtree(directory)
    assert done.returncode == native.returncode == 1
    assert done.stderr == native.stderr
    assert "Operation not supported" in done.stderr
    assert (copy.asked, copy.dispatch, copy.errno, copy.copied) == ("FICLONE", "refused", "EOPNOTSUPP", 0)
    assert copy.cause


def _tree(directory: Path, count: int) -> None:
    directory.mkdir()
    for number in range(count):
        (directory / str(number)).write_bytes(b"%08d" % number * 512)


def _clone_tree(backing: Path, count: int) -> None:
    _tree(backing / "tree", count)
    with mounted(backing) as mount:
        assert said(served("cp", "-r", "--reflink=always", "tree", "copy", cwd=mount.path)) == ""
        copies = mount.copies(count)
        assert {copy.asked for copy in copies} == {"FICLONE"}
        assert len({copy.dst for copy in copies}) == count
    assert plain("diff", "-r", "tree", "copy", cwd=backing).returncode == 0


def test_cp_of_many_files(btrfs: Path, tmp_path: Path) -> None:
    directory = btrfs / "many"
    directory.mkdir()
    _clone_tree(directory, 300)
    shutil.rmtree(directory)


@pytest.mark.slow
def test_cp_of_10000_files(sharing_backing: Path) -> None:
    _clone_tree(sharing_backing, 10_000)


def test_xfs_io(sharing_backing: Path) -> None:
    if not shutil.which("xfs_io"):
        pytest.skip("missing here: xfs_io")
    (sharing_backing / "a").write_bytes(noise(SIZE))
    (sharing_backing / "same").write_bytes(noise(SIZE))
    with mounted(sharing_backing) as mount:
        reflink = served("xfs_io", "-f", "-c", f"reflink a 0 0 {SIZE}", "b", cwd=mount.path)
        dedupe = served("xfs_io", "-c", f"dedupe a 0 0 {SIZE}", "same", cwd=mount.path)
        copies = mount.copies(2)
    assert f"linked {SIZE}/{SIZE} bytes" in said(reflink)
    assert f"deduped {SIZE}/{SIZE} bytes" in said(dedupe)
    assert [copy.asked for copy in copies] == ["FICLONERANGE", "FIDEDUPERANGE"]
    assert [copy.path for copy in copies] == ["reflink", "dedupe"]
    for name in ("b", "same"):
        assert shared(sharing_backing / "a", sharing_backing / name) == SIZE


def test_duperemove(sharing_backing: Path) -> None:
    """With --fdupes: by itself it takes no filesystem but btrfs and XFS, which it knows by statfs(2)."""
    if not shutil.which("duperemove"):
        pytest.skip("missing here: duperemove")
    for name in ("a", "b"):
        (sharing_backing / name).write_bytes(noise(SIZE))
    with mounted(sharing_backing) as mount:
        names = f"{mount.path}/a\\n{mount.path}/b\\n\\n"
        done = served("sh", "-c", f"printf '{names}' | duperemove --fdupes", cwd=mount.path)
    assert done.returncode == 0, done.stderr
    assert shared(sharing_backing / "a", sharing_backing / "b") == SIZE


def test_filefrag_tells_the_backings_extents(sharing_backing: Path) -> None:
    with (sharing_backing / "a").open("wb", buffering=0) as file:
        for piece in range(600):
            file.seek(piece * 8192)
            file.write(noise(4096))
        os.fsync(file.fileno())
    behind = said(plain("filefrag", "-v", "a", cwd=sharing_backing))
    with mounted(sharing_backing) as mount:
        seen = said(served("filefrag", "-v", "a", cwd=mount.path))
    assert seen.splitlines()[1:] == behind.splitlines()[1:]  # the first names the filesystem
    assert len(re.findall(r"^ *[0-9]+: ", seen, re.MULTILINE)) >= 600  # XFS allocates in some holes


STATIC = """
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct file_clone_range range;
static struct { struct file_dedupe_range head; struct file_dedupe_range_info info; } dedupe;
static struct fiemap map; /* static, so that their addresses have 32 bits */

static long call(int fd, unsigned int command, uintptr_t argument)
{
    long result;
#ifdef COMPAT
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(54), "b"(fd), "c"(command), "d"(argument) : "memory");
#else
    result = ioctl(fd, command, argument);
#endif
    return result;
}

int main(int argc, char **argv)
{
    int in = open(argv[1], O_RDONLY), out = open(argv[2], O_RDWR | O_CREAT | O_TRUNC, 0644);

    printf("%ld\\n", call(out, FICLONE, in));
    range = (struct file_clone_range){ in, 0, 4096, 1 << 20 };
    printf("%ld\\n", call(out, FICLONERANGE, (uintptr_t)&range));
    dedupe.head = (struct file_dedupe_range){ .src_length = 4096, .dest_count = 1 };
    dedupe.info = (struct file_dedupe_range_info){ .dest_fd = out };
    printf("%ld\\n", call(in, FIDEDUPERANGE, (uintptr_t)&dedupe));
    map = (struct fiemap){ .fm_length = 4096 };
    printf("%ld ", call(in, FS_IOC_FIEMAP, (uintptr_t)&map));
    printf("%u\\n", map.fm_mapped_extents);
    return argc != 3;
}
"""


def _compiled(directory: Path, *options: str) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("missing here: gcc")
    source, binary = directory / "clone.c", directory / "clone"
    source.write_text(STATIC)
    subprocess.run(["gcc", "-Wall", "-static", *options, "-o", binary, source], check=True, timeout=60)
    return binary


def test_static_program(btrfs: Path, tmp_path: Path) -> None:
    binary = _compiled(tmp_path)
    with _served_file(btrfs, "static") as mount:
        assert said(served(binary, "a", "b", cwd=mount.path)) == "0\n0\n0\n0 1\n"
        copy = mount.copies(3)[0]
    assert (copy.asked, copy.comm, copy.shared) == ("FICLONE", "clone", SIZE)


GO = """
package main

import "fmt"
import "syscall"

func main() {
	done := make(chan syscall.Errno)
	for number := 0; number < 8; number++ {
		go func(number int) {
			in, _ := syscall.Open("a", syscall.O_RDONLY, 0)
			out, _ := syscall.Open(fmt.Sprint("go", number), syscall.O_WRONLY|syscall.O_CREAT, 0644)
			_, _, code := syscall.Syscall(syscall.SYS_IOCTL, uintptr(out), 0x40049409, uintptr(in))
			done <- code
		}(number)
	}
	for number := 0; number < 8; number++ {
		fmt.Println(int(<-done))
	}
}
"""

if shutil.which("go"):

    def test_go_program(btrfs: Path, tmp_path: Path) -> None:
        """Its threads come and go as they like, and no library of C is in between."""
        (tmp_path / "clone.go").write_text(GO)
        place = {"GOCACHE": str(tmp_path / "cache"), "GOPATH": str(tmp_path / "path"), "CGO_ENABLED": "0"}
        build = ["go", "build", "-o", "clone", "clone.go"]
        subprocess.run(build, cwd=tmp_path, env={**os.environ, **place}, check=True, timeout=120)
        with _served_file(btrfs, "go") as mount:
            assert said(served(tmp_path / "clone", cwd=mount.path)) == "0\n" * 8
            assert {(copy.asked, copy.shared) for copy in mount.copies(8)} == {("FICLONE", SIZE)}


def test_calls_of_32_bits(btrfs: Path, tmp_path: Path) -> None:
    """As i386 makes them: in the mount they are served, elsewhere the kernel serves them."""
    if os.uname().machine != "x86_64":
        pytest.skip("written for x86-64")
    binary = _compiled(tmp_path, "-DCOMPAT", "-no-pie")
    with _served_file(btrfs, "compat") as mount:
        expected = said(plain(binary, "a", "c", cwd=mount.backing))
        assert expected == "0\n0\n0\n0 1\n"
        assert said(served(binary, "a", "b", cwd=mount.path)) == expected
        copies = mount.copies(3)
        assert said(served(binary, "a", "d", cwd=mount.backing)) == expected
    assert [copy.asked for copy in copies] == ["FICLONE", "FICLONERANGE", "FIDEDUPERANGE"]
    assert {copy.comm for copy in copies} == {"clone"}


@contextmanager
def _served_file(filesystem: Path, name: str) -> Iterator[Mounted]:
    """A mount of a fresh directory with the file `a`."""
    directory = filesystem / name
    directory.mkdir()
    (directory / "a").write_bytes(noise(SIZE))
    try:
        with mounted(directory) as mount:
            yield mount
    finally:
        shutil.rmtree(directory)


def test_a_hundred_at_once(btrfs: Path) -> None:
    script = "for i in $(seq 100); do cp --reflink=always a b$i & done; wait"
    with _served_file(btrfs, "hundred") as mount:
        assert said(served("sh", "-c", script, cwd=mount.path)) == ""
        copies = mount.copies(100)
        assert {copy.dst for copy in copies} == {f"b{number}" for number in range(1, 101)}
        assert Counter((copy.asked, copy.shared) for copy in copies) == {("FICLONE", SIZE): 100}
        assert len({copy.pid for copy in copies}) == 100


def test_a_slow_clone_delays_nobody_else(btrfs: Path) -> None:
    with _served_file(btrfs, "slow") as slow, _served_file(btrfs, "quick") as quick:
        command = program("slow.py", quick.path, str(slow.process.pid))
        try:
            done = served(*command, cwd=slow.path)
        finally:
            slow.process.send_signal(signal.SIGCONT)
        assert said(done) == "done, 8 wait\n"
        assert len(slow.copies(8)) == 8
        assert len(quick.copies(1)) == 1


def test_threads(btrfs: Path) -> None:
    with _served_file(btrfs, "threads") as mount:
        assert said(served(*program("threads.py", "8"), cwd=mount.path)) == "8 of 8\n"
        assert len({copy.pid for copy in mount.copies(8)}) == 1


def test_files_outside_mounts_go_on_natively(btrfs: Path) -> None:
    with _served_file(btrfs, "outside") as mount:
        assert said(served("cp", "--reflink=always", "a", "b", cwd=mount.backing)) == ""
        assert shared(mount.backing / "a", mount.backing / "b") == SIZE
        into = served("cp", "--reflink=always", mount.path / "a", "c", cwd=mount.backing)
        assert "Invalid cross-device link" in into.stderr
        assert (
            len([record for record in mount.records_until(bool) if record.__class__.__name__ == "Copy"]) == 0
        )


def test_nested_run_is_served_by_the_outer(btrfs: Path) -> None:
    with _served_file(btrfs, "nested") as mount:
        assert said(served(FUSECOPY, "run", "cp", "--reflink=always", "a", "b", cwd=mount.path)) == ""
        assert mount.copies(1)[0].asked == "FICLONE"


def test_ordinary_users_mount(btrfs: Path) -> None:
    """Server, supervisor and program are all nobody's."""
    with nobodys_mount(btrfs) as mount:
        # Root cannot go there.
        enter = f"cd {mount.path} && head -c {SIZE} /dev/urandom > a"
        script = f"{enter} && cp --reflink=always a b && filefrag -v b"
        told = said(served("sh", "-c", script, cwd=Path("/"), prefix=AS_NOBODY))
        copy = next(copy for copy in mount.copies(1) if copy.asked == "FICLONE")
        assert shared(mount.backing / "a", mount.backing / "b") == SIZE
    assert "shared" in told
    assert (copy.uid, copy.comm, copy.dispatch, copy.shared) == (NOBODY, "cp", "dispatched", SIZE)
