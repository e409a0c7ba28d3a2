"""The operations of a file system as plain methods: one definition of each, whoever received its request."""

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import pyfuse3

from fusecopy.native._native import lib
from fusecopy.native.deferred import Series
from fusecopy.native.entries import Entry, Opened
from fusecopy.native.listings import Listing

if TYPE_CHECKING:
    from fusecopy.native._native import FusecopyRequest

Answer = TypeVar("Answer")


class RequestContext:
    """Who sent a request, and whether they still wait for it.

    Attributes:
        uid, gid: the caller's filesystem ids.
        pid: the calling thread's id; 0 where it has none in the mount's pid namespace.
        umask: the caller's umask, where the request tells it: of those that create something but links.
    """

    __slots__ = ("_request", "gid", "pid", "uid", "umask")

    def __init__(self, request: "FusecopyRequest", umask: int = 0) -> None:
        header = request.header
        self._request = request
        self.uid: int = header.uid
        self.gid: int = header.gid
        self.pid: int = header.pid
        self.umask = umask

    def interrupted(self) -> bool:
        """Whether the kernel sent FUSE_INTERRUPT, because the caller got a signal. Any thread may ask,
        until the request is answered."""
        return bool(self._request.interrupted)


class AnsweringContext(RequestContext, Generic[Answer]):
    """Who sent a request, and the way to answer it before all is done that it makes necessary.

    Attributes:
        answered: the program has its answer.
    """

    __slots__ = ("_reply", "answered")

    def __init__(
        self, request: "FusecopyRequest", reply: "Callable[[FusecopyRequest, Answer], object]"
    ) -> None:
        super().__init__(request)
        self._reply = reply
        self.answered = False

    def keep_turn(self) -> bool:
        """Have no other request served before this one is done with, for 20 ms at most. False where others
        are served at the same time already."""
        return bool(lib.fusecopy_keep_turn())

    def answer(self, answer: Answer) -> None:
        """Give the program what the operation will return; what is done from now on it does not wait for."""
        self.answered = True
        self._reply(self._request, answer)


CopyContext = AnsweringContext[int]
IoctlContext = AnsweringContext[bytes]


@dataclass(frozen=True, slots=True)
class SetattrFields:
    """What a SETATTR changes: pyfuse3's fields, and whether a time is the present one (UTIME_NOW).

    The difference matters: whoever may write a file may set its times to the present, only its owner may
    set others (utimensat(2)). `drop_suidgid` says that the program has no CAP_FSETID. A change of nothing
    asks to drop what a write would (before a copy, fs/fuse/file.c, Linux 5.11).
    """

    update_atime: bool
    update_mtime: bool
    update_ctime: bool
    update_mode: bool
    update_uid: bool
    update_gid: bool
    update_size: bool
    atime_now: bool
    mtime_now: bool
    drop_suidgid: bool

    @property
    def nothing(self) -> bool:
        """No attribute is changed."""
        return not (
            self.update_atime
            or self.update_mtime
            or self.update_ctime
            or self.update_mode
            or self.update_uid
            or self.update_gid
            or self.update_size
        )


class Operations:
    """What requests ask for. Methods may wait, run in any thread and several at a time, and raise OSError;
    any other exception answers EIO to that one caller and is logged with its traceback.

    READ and WRITE are not among them: handles are `NativeFile`s. The native lane also answers by itself for
    inodes that it was lent (`nodes`): GETATTR, the kernel's own GETXATTR, and LOOKUP of what is not there;
    and copies, where that is allowed (`cloned`).

    Attributes:
        negative_timeout: seconds for which the kernel may believe that a name is not there.
    """

    negative_timeout: float = 0

    def ended(self) -> None:
        """Called when no more requests will come, before those under way are waited for: hurry them."""

    def look(self, fh: int, pid: int, uid: int, writes: bool) -> None:
        """Called at `pid`'s first READ of `fh`, at its first WRITE, and when the size of its WRITEs changes
        or their number has doubled, while it waits for the answer. Must be quick. `pid` is
        WRITEBACK for mapped pages that the kernel writes; `uid` is the request's."""

    def privileged_write(self, fh: int, ctx: RequestContext) -> None:
        """Called before a program without CAP_FSETID writes into a file, in which it may leave no setuid or
        setgid bits."""

    def spend(self, ctx: RequestContext, write: Callable[[], int]) -> int:
        """Call `write`, which takes up room, with what the program may have of it."""
        return write()

    def lookup(self, parent: int, name: bytes) -> Entry:
        """Find a name; counts a look-up of what it names."""
        raise _lacking()

    def forget(self, lookups: Sequence[tuple[int, int]]) -> None:
        """Take back look-ups: (number, how many) each."""

    def run_out(self) -> None:
        """An operation failed because descriptors have run out (EMFILE, ENFILE): give some back. Must not
        raise."""

    def getattr(self, inode: int) -> Entry:
        """The attributes of an inode."""
        raise _lacking()

    def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: SetattrFields,
        fh: int | None,
        ctx: RequestContext,
    ) -> Entry:
        """Change what `fields` names to what `attr` has."""
        raise _lacking()

    def readlink(self, inode: int) -> bytes:
        """The target of a symbolic link."""
        raise _lacking()

    def mknod(self, parent: int, name: bytes, mode: int, rdev: int, ctx: RequestContext) -> Entry:
        """Create a file that is not opened, regular or special; counts a look-up, as all that create do."""
        raise _lacking()

    def mkdir(self, parent: int, name: bytes, mode: int, ctx: RequestContext) -> Entry:
        """Create a directory."""
        raise _lacking()

    def symlink(self, parent: int, name: bytes, target: bytes, ctx: RequestContext) -> Entry:
        """Create a symbolic link."""
        raise _lacking()

    def link(self, inode: int, parent: int, name: bytes, ctx: RequestContext) -> Entry:
        """Give a file another name."""
        raise _lacking()

    def unlink(self, parent: int, name: bytes) -> None:
        """Remove the name of anything but a directory."""
        raise _lacking()

    def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory."""
        raise _lacking()

    def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int, ctx: RequestContext
    ) -> None:
        """renameat2(2)."""
        raise _lacking()

    def born(self, inode: int) -> int | None:
        """When a file was created, in nanoseconds since 1970; None where that is not known."""
        return None

    def statfs(self, inode: int) -> pyfuse3.StatvfsData:
        """statvfs(3) of the file system that an inode is of."""
        raise _lacking()

    def getxattr(self, inode: int, name: bytes) -> bytes:
        """The value of an extended attribute."""
        raise _lacking()

    def setxattr(self, inode: int, name: bytes, value: bytes, flags: int, ctx: RequestContext) -> None:
        """Set an extended attribute; `flags` as in setxattr(2)."""
        raise _lacking()

    def listxattr(self, inode: int, ctx: RequestContext) -> Sequence[bytes]:
        """The names of the extended attributes."""
        raise _lacking()

    def removexattr(self, inode: int, name: bytes) -> None:
        """Remove an extended attribute."""
        raise _lacking()

    def open(self, inode: int, flags: int, ctx: RequestContext) -> Opened:
        """Open a regular file; the handle is a `NativeFile`'s."""
        raise _lacking()

    def create(
        self, parent: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[Opened, Entry]:
        """Create and open a regular file."""
        raise _lacking()

    def tmpfile(self, parent: int, mode: int, flags: int, ctx: RequestContext) -> tuple[Opened, Entry]:
        """Create and open a regular file without a name (O_TMPFILE); `parent` says on which file system.

        ENOSYS is for good: the kernel then answers EOPNOTSUPP by itself.
        """
        raise _lacking()

    def flush(self, fh: int) -> None:
        """A descriptor of an open file is being closed."""

    def release(self, fh: int) -> None:
        """The last descriptor of an open file was closed. Mostly this follows the answer."""

    def crowded(self, fh: int) -> None:
        """Many threads have read or written an open file, of which some may be gone."""

    def fsync(self, fh: int, datasync: bool) -> None:
        """fsync(2) or fdatasync(2)."""

    def opendir(self, inode: int) -> Opened:
        """Open a directory."""
        raise _lacking()

    def readdir(self, fh: int, off: int, listing: Listing) -> None:
        """Lay out entries from position `off` on until there are no more or the listing is full.

        With `listing.plus` each entry laid out, but "." and "..", counts as a look-up unless it could not be
        looked up. Without, number and type are all that is told.
        """
        raise _lacking()

    def releasedir(self, fh: int) -> None:
        """An open directory was closed."""

    def fsyncdir(self, fh: int, datasync: bool) -> None:
        """fsync(2) or fdatasync(2) of a directory."""

    def copy_file_range(
        self,
        inode_in: int,
        fh_in: int,
        off_in: int,
        inode_out: int,
        fh_out: int,
        off_out: int,
        length: int,
        flags: int,
        ctx: CopyContext,
    ) -> int:
        """Copy up to `length` bytes between two open files and return how many were copied.

        Both opcodes arrive here: COPY_FILE_RANGE (47) and, from Linux 6.18 on, COPY_FILE_RANGE_64 (53),
        whose length may be the whole of a file of any size. `flags` is always 0 today. A count after any
        progress, never an error then: on an error the kernel neither drops the destination's cached pages
        nor grows its size. 0 only at the end of the source. EOPNOTSUPP and EXDEV make the kernel copy by its
        own splice, this time; ENOSYS makes it never ask again on this connection (fs/fuse/file.c, Linux 6.1
        to 7.2); any other errno goes to the program.
        """
        raise _lacking()

    def cloned(self, series: list[Series]) -> None:
        """Called after copies were answered by clones, where that is allowed (`allow_clones`): on another
        thread, but before anything of their files or of any name is changed through the mount."""

    def lseek(self, inode: int, fh: int, off: int, whence: int) -> int:
        """Find the next data or hole at or after `off`; `whence` is SEEK_DATA or SEEK_HOLE.

        ENOSYS is for good: the kernel then takes every file for one piece of data.
        """
        raise _lacking()

    def fallocate(self, inode: int, fh: int, mode: int, off: int, length: int, ctx: RequestContext) -> None:
        """Allocate, punch, zero, collapse or insert a range; `mode` as in fallocate(2).

        ENOSYS is for good: the kernel then answers EOPNOTSUPP by itself.
        """
        raise _lacking()

    def ioctl(
        self, inode: int, fh: int, cmd: int, data: bytes, out_size: int, is_dir: bool, ctx: IoctlContext
    ) -> bytes:
        """Carry out ioctl `cmd` with the argument `data` and return at most `out_size` bytes.

        ENOTTY is the answer to an unknown `cmd`; 0 to TCGETS would make programs believe in a terminal.
        """
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))


def _lacking() -> OSError:
    return OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
