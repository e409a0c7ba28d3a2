"""What drives a READ or WRITE (drivers.c): the system call that the waiting thread is in."""

from typing import TYPE_CHECKING, NamedTuple

from fusecopy.native._native import ffi, lib

if TYPE_CHECKING:
    from fusecopy.native._native import FusecopyDriver

UNKNOWN = "unknown"

KERNEL = "kernel"
"""A thread of the kernel's own, which makes no system call: a loop device, nfsd."""

_NAMES = {
    lib.FUSECOPY_UNKNOWN: UNKNOWN,
    lib.FUSECOPY_HIDDEN: UNKNOWN,
    lib.FUSECOPY_KERNEL: KERNEL,
    lib.FUSECOPY_COPYING: "copy_file_range",
    lib.FUSECOPY_SENDING: "sendfile",
    lib.FUSECOPY_SPLICING: "splice",
    lib.FUSECOPY_READING: "read",
    lib.FUSECOPY_WRITING: "write",
    lib.FUSECOPY_MAPPED: "mmap",
}


class Named(NamedTuple):
    """The regular file that a call reads from.

    Attributes:
        device, ino: its st_dev and st_ino; the mount's own for a file in it.
        size: bytes, as the kernel knows it without asking anybody.
        path: as the thread sees it, which may have another root and other mounts than we.
    """

    device: int
    ino: int
    size: int
    path: bytes


class Driver(NamedTuple):
    """What moves bytes.

    Attributes:
        name: as the log has it.
        source: the file that it reads from; None where it names none, or no regular one.
        hidden: we may not look; the driver is unknown for want of rights.
    """

    name: str = UNKNOWN
    source: Named | None = None
    hidden: bool = False


def look(thread: int) -> Driver:
    """What drives the requests of a thread that waits for us, by /proc/PID/syscall, which wants the rights of
    ptrace(2)."""
    driver = ffi.new("struct fusecopy_driver *")
    lib.fusecopy_look(thread, driver)
    return Driver(_NAMES[driver.kind], _named(driver), driver.kind == lib.FUSECOPY_HIDDEN)


def in_ioctl(thread: int) -> bool:
    """Whether a thread is seen to wait in ioctl(2), which wants the rights of ptrace(2)."""
    return bool(lib.fusecopy_in_ioctl(thread))


def behind(thread: int, descriptor: int) -> Named | None:
    """The regular file behind a thread's descriptor; None where it is closed, is none, or may not be seen."""
    driver = ffi.new("struct fusecopy_driver *")
    lib.fusecopy_find_source(thread, descriptor, driver)
    return _named(driver)


def _named(driver: "FusecopyDriver") -> Named | None:
    if not driver.has_source:
        return None
    return Named(driver.device, driver.ino, driver.size, ffi.unpack(driver.path, driver.path_size))
