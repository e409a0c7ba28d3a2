"""FIDEDUPERANGE: one source, any number of destinations, a status for each."""

import errno
import resource
from typing import TYPE_CHECKING

from fusecopy.clone import files
from fusecopy.clone._native import ffi, lib
from fusecopy.clone.files import CallerFile, Devices
from fusecopy.clone.listener import Notification, NotServed
from fusecopy.clone.pinned import PinnedThread
from fusecopy.ioctls import Asked

if TYPE_CHECKING:
    from fusecopy.clone._native import FileDedupeRange, FileDedupeRangeInfo

HEAD_BYTES = ffi.sizeof("struct file_dedupe_range")
INFO_BYTES = ffi.sizeof("struct file_dedupe_range_info")
PAGE_BYTES = resource.getpagesize()


def fidedupe(call: Notification, caller: PinnedThread, devices: Devices) -> None:
    """Serve FIDEDUPERANGE as vfs_dedupe_file_range does."""
    with caller.file(call.fd) as source:
        head = ffi.from_buffer("struct file_dedupe_range *", caller.read(call.argument, HEAD_BYTES))
        size = HEAD_BYTES + head.dest_count * INFO_BYTES
        mistaken = size > PAGE_BYTES or head.reserved1 or head.reserved2
        if mistaken or source.device not in devices or not source.regular or not source.readable:
            raise NotServed
        memory = caller.read(call.argument, size)
        request = ffi.from_buffer("struct file_dedupe_range *", memory)
        # Another thread of the caller may have changed it meanwhile; the kernel keeps to the first count too.
        request.dest_count = head.dest_count
        with caller.acting():
            files.write_back(source.fd)
            files.offer(source.fd, Asked.FIDEDUPERANGE, request.src_offset, request.src_length)
            for info in request.info[0 : head.dest_count]:
                info.bytes_deduped = 0
                info.status = lib.FILE_DEDUPE_RANGE_SAME
                try:
                    _serve(source, request, info, caller, devices)
                except OSError as error:
                    info.status = -(error.errno or errno.EIO)
        caller.write(call.argument, memory)


def _serve(
    source: CallerFile,
    request: "FileDedupeRange",
    info: "FileDedupeRangeInfo",
    caller: PinnedThread,
    devices: Devices,
) -> None:
    """One destination. Raises OSError for what is its status."""
    with caller.file(info.dest_fd) as destination:
        if info.reserved:
            raise OSError(errno.EINVAL, "reserved")
        _check(destination, devices)
        files.write_back(destination.fd)
        token = files.offer(source.fd, Asked.FIDEDUPERANGE, request.src_offset, request.src_length)
        cloned = files.clone(destination.fd, token, info.dest_offset, caller.thread)
    if cloned.differs:
        info.status = lib.FILE_DEDUPE_RANGE_DIFFERS
    info.bytes_deduped = cloned.deduped


def _check(destination: CallerFile, devices: Devices) -> None:
    """What the kernel would find before it asks the filesystem (vfs_dedupe_file_range_one); of two mounts of
    ours their servers find whether one filesystem is behind both."""
    if destination.device not in devices:
        raise OSError(errno.EXDEV, "another filesystem")
    if destination.directory:
        raise OSError(errno.EISDIR, "a directory")
    if not destination.regular:
        raise OSError(errno.EINVAL, "not a regular file")
