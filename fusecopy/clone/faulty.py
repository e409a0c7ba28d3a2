"""Answering calls wrongly on purpose (fusecopy.faults).

What is copied all the same is copied here, by the caller's own open files, so that its offsets move as the
kernel would move them.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from fusecopy.clone._native import ffi, lib
from fusecopy.clone.listener import Notification, NotServed
from fusecopy.clone.pinned import PinnedThread
from fusecopy.faults.catalogue import Delay, Refuse, Shorten, SystemCall, Wrap, Zero
from fusecopy.faults.rules import Attempted, Faults

CALLS = {lib.SYS_copy_file_range, lib.SYS_sendfile}
"""Calls that are stopped for the sake of faults; ioctls are anyway."""

CLONES = {lib.FICLONE, lib.FICLONERANGE}

WORD = 1 << 32

OFFSET_BYTES = 8


class _Copy(NamedTuple):
    """A copy that a caller asks for.

    Attributes:
        carry: copies at most so many bytes of it, and returns how many. Raises OSError.
    """

    attempted: Attempted
    carry: Callable[[int], int]


def answer(call: Notification, caller: PinnedThread, faults: Faults) -> int | None:
    """The count that a call is answered by a fault; None where none strikes, or the call is to go on.

    Raises:
        OSError: it is refused, or what was copied all the same failed.
        NotServed: the kernel refuses it, or its caller may not be looked at.
    """
    with _asked(call, caller) as copy:
        strike = faults.strike(copy.attempted) if copy else None
        if copy is None or strike is None:
            return None
        match strike.effect:
            case Refuse(code):
                raise OSError(code, os.strerror(code))
            case Shorten(size):
                return copy.carry(min(size, copy.attempted.length))
            case Zero():
                return 0
            case Wrap():
                return _whole(copy) % WORD
            case Delay(seconds):
                time.sleep(seconds)
                return None


def _whole(copy: _Copy) -> int:
    """Carry all of it, by as many calls as it takes."""
    done = 0
    while done < copy.attempted.length and (count := copy.carry(copy.attempted.length - done)):
        done += count
    return done


@contextmanager
def _asked(call: Notification, caller: PinnedThread) -> Iterator[_Copy | None]:
    """What is asked for, while the caller's files are open here; None where it is no copy."""
    copy: Callable[[Notification, PinnedThread, int, int], _Copy]
    if call.number == lib.SYS_copy_file_range:
        source, destination, copy = call.given[0], call.given[2], _by_copy_file_range
    elif call.number == lib.SYS_sendfile:
        source, destination, copy = call.given[1], call.given[0], _by_sendfile
    elif call.command in CLONES:
        source, destination, copy = _clone_source(call, caller), call.fd, _by_clone
    else:
        yield None
        return
    with ExitStack() as stack:
        try:
            reading = stack.enter_context(caller.file(source))
            writing = stack.enter_context(caller.file(destination))
        except OSError:
            raise NotServed from None
        if not (reading.regular and writing.regular):
            raise NotServed
        yield copy(call, caller, reading.fd, writing.fd)


def _clone_source(call: Notification, caller: PinnedThread) -> int:
    if call.command == lib.FICLONE:
        return call.argument
    memory = caller.read(call.argument, ffi.sizeof("struct file_clone_range"))
    return int(ffi.from_buffer("struct file_clone_range *", memory).src_fd)


def _by_copy_file_range(call: Notification, caller: PinnedThread, source: int, destination: int) -> _Copy:
    _, at_in, _, at_out, length, _ = call.given
    offset_in, offset_out = _Offset(caller, at_in), _Offset(caller, at_out)

    def carry(most: int) -> int:
        with caller.acting():
            count = os.copy_file_range(source, destination, most, offset_in.now, offset_out.now)
        offset_in.advance(count)
        offset_out.advance(count)
        return count

    position = os.lseek(destination, 0, os.SEEK_CUR) if offset_out.now is None else offset_out.now
    return _Copy(_attempted(SystemCall.COPY_FILE_RANGE, caller, source, destination, position, length), carry)


def _by_sendfile(call: Notification, caller: PinnedThread, source: int, destination: int) -> _Copy:
    _, _, at_in, length, *_ = call.given
    offset = _Offset(caller, at_in)

    def carry(most: int) -> int:
        with caller.acting():
            count = os.sendfile(destination, source, offset.now, most)
        offset.advance(count)
        return count

    position = os.lseek(destination, 0, os.SEEK_CUR)
    return _Copy(_attempted(SystemCall.SENDFILE, caller, source, destination, position, length), carry)


class _Offset:
    """An offset that a call was given in the caller's memory; where it was given none, the open file's own
    counts, which is shared with us.

    Attributes:
        now: bytes; None for the open file's own.
    """

    def __init__(self, caller: PinnedThread, address: int) -> None:
        """Raises NotServed where nothing is there: the kernel says EFAULT."""
        self._caller = caller
        self._address = address
        self.now: int | None = None
        if address:
            try:
                memory = caller.read(address, OFFSET_BYTES)
            except OSError:
                raise NotServed from None
            self.now = int.from_bytes(memory, sys.byteorder, signed=True)

    def advance(self, count: int) -> None:
        """As the kernel does it."""
        if self.now is not None:
            self.now += count
            self._caller.write(self._address, self.now.to_bytes(OFFSET_BYTES, sys.byteorder, signed=True))


def _by_clone(call: Notification, caller: PinnedThread, source: int, destination: int) -> _Copy:
    def carry(most: int) -> int:
        raise AssertionError(f"{call} has no part of {most} bytes")

    return _Copy(_attempted(SystemCall.FICLONE, caller, source, destination, 0, 0), carry)


def _attempted(
    call: SystemCall, caller: PinnedThread, source: int, destination: int, offset: int, length: int
) -> Attempted:
    paths = os.readlink(f"/proc/self/fd/{source}"), os.readlink(f"/proc/self/fd/{destination}")
    try:
        with open(f"/proc/{caller.thread}/comm", errors="replace") as file:
            program = file.read().rstrip("\n")
    except OSError:
        raise NotServed from None
    return Attempted(call, program, paths, offset, length)
