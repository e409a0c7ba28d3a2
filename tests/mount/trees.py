"""Trees with everything in them, and what there is to tell of a tree."""

import hashlib
import os
import socket
import stat
import struct
from pathlib import Path
from typing import NamedTuple

from fusecopy.dispatch.records import Copy, Record, Tree
from tests.mount.sides import NOBODY, data_map, opened
from tests.mounted import Mounted

BLOCK = 4096
STAMP = 1_234_567_890_123_456_789
ACL_VERSION = struct.Struct("<I")
ACL_ENTRY = struct.Struct("<HHI")
UNNAMED = 0xFFFFFFFF
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
"""security.capability, revision 2: cap_net_raw, effective."""


class Entry(NamedTuple):
    """What is compared of an entry."""

    mode: int
    uid: int
    gid: int
    size: int
    links: int
    rdev: int
    mtime_ns: int
    content: str
    data: list[tuple[int, int]]
    attributes: dict[str, bytes]


def acl(user: int) -> bytes:
    """An ACL in which one more user may read and write: owner, user, group, mask, others."""
    entries = [(1, 6, UNNAMED), (2, 6, user), (4, 4, UNNAMED), (16, 6, UNNAMED), (32, 0, UNNAMED)]
    return ACL_VERSION.pack(2) + b"".join(ACL_ENTRY.pack(*entry) for entry in entries)


def write(path: Path, data: bytes, mode: int = 0o644) -> Path:
    """A file on disk, so that its extents can be compared."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(mode)
    return path


def fill(root: Path, owner: int = 0) -> None:
    """Everything that `owner` can make but devices and others' files."""
    below = root / "d" / "read-only"
    below.mkdir(parents=True)
    write(root / "blocks", os.urandom(40 * BLOCK))
    write(root / "tail", os.urandom(5 * BLOCK + 70), 0o600)
    write(root / "small", b"inline", 0o444)
    write(root / "empty", b"")
    write(below / "in", os.urandom(BLOCK), 0o4755)
    write(root / os.fsdecode(b"not utf-8 \xff\xfe"), os.urandom(BLOCK))
    with (root / "sparse").open("wb") as file:
        for at in (0, 100, 300):
            file.seek(at * BLOCK)
            file.write(os.urandom(BLOCK))
        file.truncate(500 * BLOCK)
    os.link(root / "blocks", root / "d" / "linked")
    os.link(root / "blocks", below / "linked too")
    os.symlink("nowhere/at all", root / "dangling")
    os.symlink("../blocks", root / "d" / "up")
    os.mkfifo(root / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as node:
        node.bind(str(root / "d" / "sock"))
    os.setxattr(root / "small" if owner == 0 else root / "tail", "user.note", b"\x00binary\xff")
    os.setxattr(root / "d", "user.note", b"of a directory")
    os.setxattr(root / "tail", "system.posix_acl_access", acl(NOBODY))
    os.setxattr(root / "d", "system.posix_acl_default", acl(NOBODY))
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o1777)
    if owner == 0:
        _fill_as_root(root)
    below.chmod(0o555)
    _stamp(root)


def many(directory: Path, count: int = 4000) -> None:
    directory.mkdir()
    for number in range(count):
        (directory / f"f{number}").write_bytes(bytes(BLOCK))


def _fill_as_root(root: Path) -> None:
    os.mknod(root / "null", stat.S_IFCHR | 0o620, os.makedev(1, 3))
    os.chown(root / "null", 1, 2)
    write(root / "theirs", os.urandom(BLOCK))
    os.chown(root / "theirs", 1001, 1002)
    (root / "theirs").chmod(0o6711)
    os.chown(root / "dangling", 1001, 1002, follow_symlinks=False)
    os.setxattr(root / "tail", "trusted.note", b"for root")
    write(root / "capable", os.urandom(BLOCK), 0o755)
    os.setxattr(root / "capable", "security.capability", CAPABILITY)


def _stamp(root: Path) -> None:
    """Times of nanoseconds, each another, directories last."""
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, ns=(STAMP + number, STAMP + 2 * number), follow_symlinks=False)
    os.utime(root, ns=(STAMP, STAMP))


def described(root: Path) -> dict[str, Entry]:
    """All that is to be compared of a tree, by path."""
    return {str(path.relative_to(root)): _entry(path) for path in [root, *sorted(root.rglob("*"))]}


def _entry(path: Path) -> Entry:
    st = path.lstat()
    content, data = "", list[tuple[int, int]]()
    if stat.S_ISLNK(st.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(st.st_mode):
        with opened(path, os.O_RDONLY) as fd:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            data = data_map(fd)
    names = os.listxattr(path, follow_symlinks=False)
    return Entry(
        st.st_mode,
        st.st_uid,
        st.st_gid,
        0 if stat.S_ISDIR(st.st_mode) else st.st_size,
        st.st_nlink,
        st.st_rdev,
        st.st_mtime_ns,
        content,
        data,
        {name: os.getxattr(path, name, follow_symlinks=False) for name in names},
    )


def told(mount: Mounted, dst: Path) -> tuple[Tree, list[Copy]]:
    """The record of the tree cloned to `dst`, and those of its files."""
    name = str(dst.relative_to(mount.path))

    def complete(records: list[Record]) -> bool:
        return any(isinstance(record, Tree) and record.dst == name for record in records)

    records = mount.records_until(complete)
    (tree,) = [record for record in records if isinstance(record, Tree) and record.dst == name]
    inside = (name, name + "/")
    copies = [
        r for r in records if isinstance(r, Copy) and (r.dst == inside[0] or r.dst.startswith(inside[1]))
    ]
    return tree, copies
