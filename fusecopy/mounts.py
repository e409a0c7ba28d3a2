"""The mount table, and taking a mount out of it."""

import ctypes
import errno
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fusecopy.errors import FusecopyError, UnmountError, UsageError

FSTYPE = "fuse.fusecopy"

LOCAL = frozenset(
    [
        *("bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs", "nilfs2"),
        *("ntfs3", "overlay", "reiserfs", "squashfs", "udf", "vfat", "xfs", "zfs"),
        *("cgroup", "cgroup2", "debugfs", "devpts", "devtmpfs", "efivarfs", "fusectl", "hugetlbfs", "mqueue"),
        *("proc", "ramfs", "rootfs", "securityfs", "sysfs", "tmpfs", "tracefs"),
    ]
)
"""Filesystems that the kernel answers for alone. For a file of any other (FUSE, a network's, autofs) it may
have to ask somebody who does not answer."""

UMOUNT_NOFOLLOW, MNT_DETACH = 8, 2
"""linux/mount.h."""

MOST_LINKS = 40
"""As the kernel has it (MAXSYMLINKS, linux/namei.h)."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of /proc/self/mountinfo.

    Attributes:
        mountpoint: where it is.
        id, parent: what the kernel calls it, and the mount that it lies on.
        fstype: type with subtype, as "fuse.fusecopy".
        source: what was mounted; for ours the backing directory.
        device: st_dev of everything in it.
        root: the directory of the file system that is seen there.
        flags: of this mount, as "ro" or "nosuid".
        owner: the user and the group that FUSE mounted it for, and serves alone without allow_other; root's
            where the file system is another.
        allow_other: others are served too.
    """

    mountpoint: str
    fstype: str
    source: str
    device: int
    id: int = 0
    parent: int = 0
    root: str = "/"
    flags: frozenset[str] = frozenset()
    owner: tuple[int, int] = (0, 0)
    allow_other: bool = False

    @property
    def is_fuse(self) -> bool:
        """Whether a FUSE server, ours or another, serves it."""
        return self.fstype.partition(".")[0] in ("fuse", "fuseblk")

    @property
    def is_local(self) -> bool:
        """Whether its files can be looked at without a wait for anybody."""
        return self.fstype in LOCAL

    @property
    def number(self) -> str:
        """st_dev as people write it."""
        return number(self.device)

    @property
    def connection(self) -> int:
        """Its number under /sys/fs/fuse/connections."""
        return os.minor(self.device) | os.major(self.device) << 20


def mounts() -> Iterator[Mount]:
    """Every mount in this mount namespace, oldest first."""
    try:
        table = Path("/proc/self/mountinfo").read_bytes()
    except OSError as error:
        raise FusecopyError(
            f"the mount table cannot be read: /proc/self/mountinfo: {error.strerror}",
            "mount -t proc proc /proc" if error.errno == errno.ENOENT else "",
        ) from error
    return parsed(os.fsdecode(table))


def parsed(mountinfo: str) -> Iterator[Mount]:
    """The mounts that the text of a mountinfo names, oldest first (proc_pid_mountinfo(5))."""
    for line in filter(None, mountinfo.split("\n")):
        fields, _, rest = line.partition(" - ")
        words, tail = fields.split(" "), rest.split(" ")
        major, minor = (int(number) for number in words[2].split(":"))
        settings = dict(word.partition("=")[::2] for word in tail[-1].split(","))
        yield Mount(
            mountpoint=_unescape(words[4]),
            fstype=tail[0],
            source=_unescape(tail[1]),
            device=os.makedev(major, minor),
            id=int(words[0]),
            parent=int(words[1]),
            root=_unescape(words[3]),
            flags=frozenset(words[5].split(",")) | settings.keys() & {"ro", "sync", "dirsync"},
            owner=(int(settings.get("user_id", 0)), int(settings.get("group_id", 0))),
            allow_other="allow_other" in settings,
        )


def ours() -> list[Mount]:
    """The mounts of fusecopy."""
    return [mount for mount in mounts() if mount.fstype == FSTYPE]


def at(mountpoint: str) -> Mount | None:
    """The topmost mount at a directory, whether its server lives or not."""
    return next(iter(stacked(mountpoint)), None)


def stacked(mountpoint: str) -> list[Mount]:
    """All mounts at a directory, the topmost first."""
    path = os.path.abspath(mountpoint)
    there = [mount for mount in mounts() if mount.mountpoint == path]
    there.reverse()
    covered = {mount.parent for mount in there}
    return sorted(there, key=lambda mount: mount.id in covered)


def elsewhere(device: int) -> Iterator[tuple[int, str]]:
    """Where a file system is mounted, as far as we may look: in this mount namespace, as (0, mount point),
    and in each other one, as the number of a process that lives there and the mount point there."""
    seen = set()
    for process in [0, *sorted(int(name) for name in os.listdir("/proc") if name.isdigit())]:
        place = Path(f"/proc/{process or 'self'}")
        try:
            namespace = os.readlink(place / "ns" / "mnt")
            if namespace in seen:
                continue
            seen.add(namespace)
            table = os.fsdecode((place / "mountinfo").read_bytes())
        except OSError:  # it has ended, or is another user's
            continue
        yield from ((process, mount.mountpoint) for mount in parsed(table) if mount.device == device)


def number(device: int) -> str:
    """An st_dev as people write it."""
    return f"{os.major(device)}:{os.minor(device)}"


def on(device: int) -> Mount | None:
    """The first mount of what has this st_dev; None where it is not mounted in this namespace."""
    return next((mount for mount in mounts() if mount.device == device), None)


def resolved(path: str) -> str:
    """An absolute path without symbolic links. Only local filesystems are looked at: others may not answer.

    Raises:
        UsageError: the path is relative, and the current directory is gone.
    """
    points = {mount.mountpoint for mount in mounts() if not mount.is_local} - {"/"}  # that we run from
    done, ahead, links = "/", _absolute(path).split("/")[::-1], 0
    while ahead:
        name = ahead.pop()
        if name == "..":
            done = os.path.dirname(done)
        if name in ("", ".", ".."):
            continue
        here = os.path.join(done, name)
        target = _link(here) if links < MOST_LINKS and not _within(here, points) else ""
        if target.startswith("/"):
            done = "/"
        if target:
            links += 1
            ahead += target.split("/")[::-1]
        else:
            done = here
    return done


def _absolute(path: str) -> str:
    if os.path.isabs(path):
        return path
    try:
        return os.path.join(os.getcwd(), path)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: the current directory is gone", "cd to another one") from error


def _within(path: str, points: set[str]) -> bool:
    return path in points or any(str(parent) in points for parent in Path(path).parents)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def of(path: bytes) -> Mount | None:
    """The mount that an absolute path lies on, found without asking any file system."""
    name, found = os.fsdecode(path), None
    for mount in mounts():
        root = mount.mountpoint.rstrip("/") + "/"
        inside = (name + "/").startswith(root)
        if inside and (found is None or len(mount.mountpoint) >= len(found.mountpoint)):
            found = mount
    return found


def behind(path: bytes) -> bytes:
    """Where a file in a mount of fusecopy lies on the backing; other absolute paths as they are."""
    mount = of(path)
    if mount is None or mount.fstype != FSTYPE:
        return path
    inside = os.path.relpath(path, os.fsencode(mount.mountpoint))
    return os.path.join(os.fsencode(mount.source), os.fsencode(mount.root.lstrip("/")), inside)


def unmount(mountpoint: str, lazy: bool = False) -> None:
    """Take the topmost mount at a directory away, with `lazy` also while it is busy. Its server is not asked
    anything, but a busy one may let it wait: its dirty pages are written first.

    Raises:
        UnmountError: it is busy, is not ours to unmount, or fusermount3 is missing.
    """
    if os.geteuid() == 0:
        # Not by umount(8), which asks for the attributes of the mount point (util-linux 2.38).
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.umount2(os.fsencode(mountpoint), UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)):
            raise UnmountError(f"{mountpoint}: cannot be unmounted: {os.strerror(ctypes.get_errno())}")
        return
    command = ["fusermount3", "-u", *(["-z"] if lazy else []), "--", mountpoint]
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except FileNotFoundError as error:
        raise UnmountError(f"{mountpoint}: fusermount3 is not installed", "apt install fuse3") from error
    if result.returncode:
        raise UnmountError(f"{mountpoint}: {result.stderr.strip() or 'fusermount3 failed'}")


def abort(mount: Mount) -> None:
    """End the connection: every request in it fails, whoever hangs in it is freed, the mount stays, dead.

    Raises:
        UnmountError: the control file cannot be written.
    """
    control = Path(f"/sys/fs/fuse/connections/{mount.connection}/abort")
    try:
        control.write_text("1")
    except OSError as error:
        remedy = "mount -t fusectl none /sys/fs/fuse/connections" if error.errno == errno.ENOENT else ""
        raise UnmountError(f"{control}: {error.strerror}", remedy) from error


def _unescape(field: str) -> str:
    """mountinfo writes space, tab, newline and backslash as three octal digits."""
    for character in " \t\n#\\":
        field = field.replace(f"\\{ord(character):03o}", character)
    return field
