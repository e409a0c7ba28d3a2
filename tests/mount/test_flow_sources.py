"""The source of a copy that nobody asked the server for is the file it is, however the program sees it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Copy
from tests.loopfs import MIB
from tests.mounted import NATIVE_LANE, Mounted, mounted
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

SIZE = MIB

SEND = """
import os, sys
source, destination = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT, 0o644)
exec(sys.argv[3])
while os.sendfile(destination, source, None, 1 << 20):
    pass
"""


def send(source: str, destination: str, between: str = "", prefix: tuple[str, ...] = ()) -> None:
    """sendfile(2) of a whole file; Python in `between` comes after both are open."""
    command = [*prefix, sys.executable, "-c", SEND, source, destination, between]
    subprocess.run(command, check=True, timeout=30)


def whole(copy: Copy, source: str, destination: str, evidence: str = "compared") -> None:
    """All of `source` was sent and seen."""
    told = (copy.src, copy.dst, copy.dispatch, copy.driver, copy.copied, copy.off_in, copy.off_out)
    assert told == (source, destination, "bypassed", "sendfile", SIZE, 0, 0)
    assert copy.evidence == evidence
    assert copy.requests.read_bytes == SIZE


@pytest.fixture
def place(btrfs: Path, tmp_path: Path) -> Path:
    """A directory of btrfs with a backing that has a file `a`."""
    directory = btrfs / tmp_path.name
    (directory / "backing" / "deep").mkdir(parents=True)
    (directory / "backing" / "a").write_bytes(noise(SIZE))
    return directory


@pytest.fixture
def mount(place: Path) -> Iterator[Mounted]:
    with mounted(place / "backing") as mount:
        yield mount


def test_through_a_bind_mount(place: Path, mount: Mounted) -> None:
    bound = place / "bound"
    bound.mkdir()
    script = f'mount --bind {mount.path} {bound} && exec "$0" "$@"'
    send(f"{bound}/a", f"{bound}/deep/b", prefix=("unshare", "-m", "sh", "-c", script))
    (copy,) = mount.copies(1)
    whole(copy, "a", "deep/b")


def test_in_a_chroot(mount: Mounted) -> None:
    """Opened outside, so that Python need not be in there."""
    send(f"{mount.path}/a", f"{mount.path}/b", f"os.chroot('{mount.path}/deep')")
    (copy,) = mount.copies(1)
    whole(copy, "a", "b")


def test_after_the_mount_was_moved(place: Path, mount: Mounted) -> None:
    there = place / "there"
    there.mkdir()
    script = f'mount --make-rprivate / && mount --move {mount.path} {there} && exec "$0" "$@"'
    send(f"{there}/a", f"{there}/b", prefix=("unshare", "-m", "sh", "-c", script))
    (copy,) = mount.copies(1)
    whole(copy, "a", "b")


def test_after_a_directory_above_was_renamed(place: Path) -> None:
    above = place / "above"
    (above / "mnt").mkdir(parents=True)
    with mounted(place / "backing", mountpoint=above / "mnt") as mount:
        above.rename(place / "renamed")
        send(f"{place}/renamed/mnt/a", f"{place}/renamed/mnt/b")
        (place / "renamed").rename(above)
        (copy,) = mount.copies(1)
    whole(copy, "a", "b")


@pytest.mark.skipif(not NATIVE_LANE, reason="only what the native lane answers is worked off in order")
def test_without_a_name(mount: Mounted) -> None:
    """It is closed first, and then nothing leads to it any more that could be compared."""
    send(f"{mount.path}/a", f"{mount.path}/b", f"os.unlink('{mount.path}/a')")
    (copy,) = mount.copies(1)
    whole(copy, "a", "b", evidence="call")


def test_by_a_descriptor_of_another_mount_namespace(mount: Mounted) -> None:
    send(f"{mount.path}/a", f"{mount.path}/b", "import ctypes; assert not ctypes.CDLL(None).unshare(0x20000)")
    (copy,) = mount.copies(1)
    whole(copy, "a", "b")


def test_a_mount_point_outside_ascii_in_a_locale_of_ascii(place: Path) -> None:
    point = place / "zürich"
    point.mkdir()
    locale = ("env", "LC_ALL=C", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0")
    with mounted(place / "backing", mountpoint=point, prefix=locale) as mount:
        send(f"{point}/a", f"{point}/b")
        (copy,) = mount.copies(1)
    whole(copy, "a", "b")


def test_a_part_of_it_that_is_bound_elsewhere_is_not_another_mount(place: Path) -> None:
    """After ENOSYS the kernel asks for no copy; that the source lies on another mount is not why."""
    bound = place / "bound"
    bound.mkdir()
    with mounted(place / "backing", "--decline", "enosys") as mount:
        script = f"mount --bind {mount.path} {bound} && cd {bound} && cp a b && cp a deep/c"
        subprocess.run(["unshare", "-m", "sh", "-c", script], check=True, timeout=30)
        first, second = mount.copies(2)
    assert (first.src, second.src, second.dst) == ("a", "a", "deep/c")
    assert second.dispatch == "fallback"
    assert second.requests.read_bytes == SIZE
    assert second.cause is not None
    assert second.cause.startswith(f"Record {first.seq} was answered with ENOSYS")


def test_another_mount_of_the_same_backing_is_another_mount(place: Path, mount: Mounted) -> None:
    """The same text of a path in it, the same inode number, and yet not the file that we have served."""
    with mounted(place / "backing") as other:
        subprocess.run(["cp", other.path / "a", mount.path / "b"], check=True, timeout=30)
        (copy,) = mount.copies(1)
        devices = [f"0:{each.connection}" for each in (other, mount)]
    assert (copy.src, copy.dispatch, copy.evidence) == (str(other.path / "a"), "fallback", "call")
    assert (copy.off_in, copy.off_out, copy.copied) == (0, 0, SIZE)
    assert copy.cause is not None
    assert all(device in copy.cause for device in devices)


def test_a_file_that_is_in_no_mount_is_told_as_the_program_sees_it(place: Path, mount: Mounted) -> None:
    outside = place / "outside (deleted)"
    outside.write_bytes(noise(SIZE, seed=3))
    send(str(outside), f"{mount.path}/b")
    (copy,) = mount.copies(1)
    assert (copy.src, copy.evidence, copy.paired) == (str(outside), "call", "call")
    assert os.path.samestat(os.stat(copy.src), outside.stat())
