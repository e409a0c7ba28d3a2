"""What serving a mount needs: kernel, FUSE, libfuse, pyfuse3, and who may mount."""

import os
import platform
import resource
import shutil
import stat
from pathlib import Path

from fusecopy import asking, io_uring, mounts, running
from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import Header
from fusecopy.doctor.findings import Finding, State, refused, version
from fusecopy.errors import FuseUnavailableError, LogError

DEVICE = Path("/dev/fuse")
CONFIGURATION = Path("/etc/fuse.conf")

SECONDS = 1.0
"""For the answer of a server that has left no record."""

KERNEL_FALLS_BACK = (5, 3)
"""From here on FUSE itself splices where a server declines."""

KERNEL_SENDS_53 = (6, 18)
LIBFUSE_KNOWS_53 = (3, 18)
MANY_FILES = 4096
"""Descriptors below which a walk over a large tree closes and opens its inodes again all the time."""


def examine() -> list[Finding]:
    """Look at everything a mount is built on."""
    versions = _versions()
    return [
        _kernel(platform.release()),
        _protocol(),
        *versions,
        opcode_53(platform.release(), next((v.found for v in versions if v.name == "libfuse"), "")),
        _device(),
        _fusermount3(),
        _user_allow_other(),
        _open_files(),
        _requests(),
    ]


def _kernel(release: str) -> Finding:
    if version(release) >= KERNEL_FALLS_BACK:
        return Finding("kernel", State.OK, release, "splices the copies a server declines")
    return Finding("kernel", State.LIMITED, release, "before 5.3 FUSE has no fallback of its own")


def running_header() -> Header | None:
    """The header of a running mount's log: only a server is told the protocol, when its mount begins."""
    for mount in mounts.ours():
        told = running.of(mount)
        try:
            log = os.fsdecode(told.log) if told else asking.attributes(mount, "log", seconds=SECONDS)[0]
            first = next(current(Path(log)), None)
        except (OSError, LogError):
            continue
        if isinstance(first, Header):
            return first
    return None


def _protocol() -> Finding:
    header = running_header()
    if header:
        return Finding("FUSE protocol", State.OK, header.protocol, f"agreed for {header.mount}")
    return Finding("FUSE protocol", State.UNKNOWN, "unknown", "a running mount would tell")


def _versions() -> list[Finding]:
    try:
        from fusecopy import serving
    except (FuseUnavailableError, ImportError) as error:
        reason = error.message if isinstance(error, FuseUnavailableError) else str(error)
        return [Finding("libfuse", State.MISSING, "not usable", reason)]
    meanings = {"libfuse": "the copy operations are added to it", "pyfuse3": "serves all the others"}
    return [Finding(name, State.OK, serving.versions()[name], text) for name, text in meanings.items()]


def opcode_53(release: str, libfuse: str) -> Finding:
    """COPY_FILE_RANGE_64, which Linux sends from 6.18 on, before any other request to copy."""
    if version(release) < KERNEL_SENDS_53:
        return Finding("opcode 53", State.OK, "not sent", "opcode 47 asks for up to 4 GiB")
    if version(libfuse) >= LIBFUSE_KNOWS_53:
        return Finding("opcode 53", State.OK, "handled by libfuse", "any length in one request")
    if version(libfuse) == (0, 0):
        return Finding("opcode 53", State.UNKNOWN, "sent", "libfuse is not usable")
    meaning = "any length in one request"
    return Finding("opcode 53", State.OK, "handled by fusecopy", meaning)


def _device() -> Finding:
    name = str(DEVICE)
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        meaning = "nothing can be mounted by this user"
        return Finding(name, State.MISSING, refused(error), meaning)
    return Finding(name, State.OK, "opens", "this user may serve FUSE")


def _fusermount3() -> Finding:
    path = shutil.which("fusermount3")
    if path is None:
        return Finding("fusermount3", State.MISSING, "not installed", "apt install fuse3")
    status = os.stat(path)
    if status.st_mode & stat.S_ISUID and status.st_uid == 0:
        return Finding("fusermount3", State.OK, "setuid root", "ordinary users can mount")
    return Finding("fusermount3", State.LIMITED, "not setuid root", "only root can mount")


def _user_allow_other() -> Finding:
    try:
        words = [line.strip() for line in CONFIGURATION.read_text(errors="replace").splitlines()]
    except OSError:
        words = []
    if "user_allow_other" in words:
        return Finding("user_allow_other", State.OK, "set", "users may mount with allow_other")
    meaning = "only root's mounts are for others"
    return Finding("user_allow_other", State.LIMITED, "not set", meaning)


def _requests() -> Finding:
    """Which way a mount made now gets its requests."""
    if lacking := io_uring.lacking():
        return Finding("requests", State.LIMITED, "by /dev/fuse", lacking)
    return Finding("requests", State.OK, "by io_uring", "for less processor time")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft}, at most {hard}"
    if hard < MANY_FILES:
        return Finding("open files", State.LIMITED, found, "large trees are slow")
    return Finding("open files", State.OK, found, "half of it for inodes")
