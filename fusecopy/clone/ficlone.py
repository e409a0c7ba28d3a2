"""FICLONE and FICLONERANGE: a clone or the backing's errno."""

import errno
import os
import signal
from typing import NamedTuple

from fusecopy.clone import files
from fusecopy.clone._native import ffi
from fusecopy.clone.files import CallerFile, Devices
from fusecopy.clone.listener import Notification, NotServed
from fusecopy.clone.pinned import PinnedThread
from fusecopy.ioctls import Asked
from fusecopy.observe.caller import file_size_limit


class Range(NamedTuple):
    """What to clone from which descriptor of the caller; a length of 0 is up to the source's end."""

    source: int
    offset: int
    length: int
    to: int


def ficlone(call: Notification, caller: PinnedThread, devices: Devices) -> None:
    """Serve FICLONE: the argument is the source's descriptor."""
    with caller.file(call.fd) as destination:
        _serve(destination, Range(call.argument, 0, 0, 0), Asked.FICLONE, caller, devices)


def ficlonerange(call: Notification, caller: PinnedThread, devices: Devices) -> None:
    """Serve FICLONERANGE: the argument is the address of a struct."""
    with caller.file(call.fd) as destination:
        memory = caller.read(call.argument, ffi.sizeof("struct file_clone_range"))
        args = ffi.from_buffer("struct file_clone_range *", memory)
        wanted = Range(args.src_fd, args.src_offset, args.src_length, args.dest_offset)
        _serve(destination, wanted, Asked.FICLONERANGE, caller, devices)


def _serve(
    destination: CallerFile, wanted: Range, asked: Asked, caller: PinnedThread, devices: Devices
) -> None:
    with caller.file(wanted.source) as source:
        _check(source, destination, devices)
        with caller.acting():
            _check_limit(wanted, source.fd, caller)
            files.write_back(source.fd)
            files.write_back(destination.fd)
            token = files.offer(source.fd, asked, wanted.offset, wanted.length)
            files.clone(destination.fd, token, wanted.to, caller.thread)


def _check(source: CallerFile, destination: CallerFile, devices: Devices) -> None:
    """What the kernel would find before it asks the filesystem (vfs_clone_file_range).

    Raises:
        NotServed: it does find that.
        OSError: of two mounts of ours it would say EXDEV at once; this it says where one filesystem has both,
            as the one behind them may.
    """
    if source.device not in devices or destination.device not in devices:
        raise NotServed
    code = _mistake(source, destination)
    if code and source.device == destination.device:
        raise NotServed
    if code:
        raise OSError(code, os.strerror(code))


def _mistake(source: CallerFile, destination: CallerFile) -> int:
    """An errno of generic_file_rw_checks, or 0."""
    if source.directory or destination.directory:
        return errno.EISDIR
    if not (source.regular and destination.regular):
        return errno.EINVAL
    if not (source.readable and destination.writable) or destination.flags & os.O_APPEND:
        return errno.EBADF
    return 0


def _check_limit(wanted: Range, source: int, caller: PinnedThread) -> None:
    """The caller's RLIMIT_FSIZE, as generic_remap_checks has it; the server looks at ours."""
    limit = file_size_limit(caller.thread)
    if limit is None:
        return
    length = wanted.length or os.fstat(source).st_size - wanted.offset
    if length <= 0 or wanted.to + length <= limit:
        return
    # What has no clones says so first; this asks, and does nothing else.
    files.offer(source, Asked.FIDEDUPERANGE, 0, 0)
    if wanted.to >= limit:
        signal.pidfd_send_signal(caller.pidfd, signal.SIGXFSZ)
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
