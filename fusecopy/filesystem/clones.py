"""Serving the ioctls of fusecopy.ioctls: clones, dedupes and extents on behalf of programs in the mount.

The backing's descriptors have the access modes of the program's own, so the backing itself checks most of
what the kernel would have checked. A clone is made or refused with the backing's own errno, never copied,
whatever the policy says: FICLONE asks for nothing else.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pyfuse3

from fusecopy.copying import calls, dedupe
from fusecopy.copying.records import Attempt, CopyPath, Outcome, Request
from fusecopy.filesystem import kernel
from fusecopy.filesystem.attributes import ask_pages_again
from fusecopy.filesystem.copies import HARMLESS, carried, shared_before
from fusecopy.filesystem.credentials import OUT_OF_DESCRIPTORS, Context, Credentials
from fusecopy.filesystem.identity import identify
from fusecopy.filesystem.offers import Offers
from fusecopy.filesystem.openfiles import OpenFile, OpenFiles
from fusecopy.filesystem.peers import Door, OfferedSource, fetched
from fusecopy.ioctls import EXTENTS, MAPPED, SERVER_BYTES, Asked, CloneReply, CloneRequest, Offer
from fusecopy.native.drivers import in_ioctl
from fusecopy.observe.caller import Caller, file_size_limit
from fusecopy.reporting.reports import Reporter
from fusecopy.serving import IoctlContext

LARGEST_OFFSET = (1 << 63) - 1


class Clones:
    """Answers OFFER, CLONE and FIEMAP. Methods raise OSError and may run in any thread.

    Attributes:
        door: where the servers of other mounts ask for what was offered here.
    """

    def __init__(
        self,
        files: OpenFiles,
        reporter: Reporter,
        credentials: Credentials,
        mountpoint: str,
    ) -> None:
        self._files = files
        self._reporter = reporter
        self._credentials = credentials
        self._mountpoint = os.fsencode(mountpoint)
        self._offers: Offers[tuple[OpenFile, Offer]] = Offers()
        self.door = Door(self._for_another)

    def offer(self, fh: int, data: bytes, ctx: Context) -> bytes:
        """Let the calling thread clone from this open file next. Does not block."""
        try:
            offer = Offer.unpack(data)
        except ValueError:
            raise _error(errno.EINVAL) from None
        source = self._files.get(fh)
        if offer.asked is Asked.FIDEDUPERANGE:
            kernel.check_dedupe(source.fd, offer.offset, offer.length)
        return self.door.name + self._offers.make((source, offer), ctx.pid)

    def clone(self, fh: int, data: bytes, ctx: IoctlContext) -> bytes:
        """Clone or dedupe what the thread has offered into this open file. Blocks."""
        call = CloneRequest.unpack(data)
        destination = self._files.get(fh)
        server, secret = call.token[:SERVER_BYTES], call.token[SERVER_BYTES:]
        ours = server == self.door.name
        with self._taken(secret, ctx.pid) if ours else fetched(server, secret, ctx.pid) as source:
            offer = source.offer
            length = _length(source.fd, offer)
            request = Request(source.fd, destination.fd, offer.offset, call.offset, length)
            return self._carry(request, source, destination, call, ctx)

    @contextmanager
    def _taken(self, secret: bytes, thread: int) -> Iterator[OfferedSource]:
        """What a thread has offered here."""
        file, offer = self._offers.take(secret, thread)
        # The source may be closed meanwhile, and its number be another file's.
        with self._files.borrowed(file) as fd:
            yield OfferedSource(fd, offer, file.inode.path())

    @contextmanager
    def _for_another(self, secret: bytes, thread: int) -> Iterator[OfferedSource]:
        """The same for the server of another mount."""
        with self._taken(secret, thread) as source:
            yield replace(source, path=os.path.join(self._mountpoint, source.path))

    def _carry(
        self,
        request: Request,
        source: OfferedSource,
        destination: OpenFile,
        call: CloneRequest,
        ctx: IoctlContext,
    ) -> bytes:
        destination.flows.asked = True
        begun, before = time.monotonic_ns(), _before(request)
        caller = _caller(call.thread, ctx)  # before the answer, while it waits
        answer, code, copied = CloneReply(0, 0), 0, 0
        try:
            if source.offer.asked is Asked.FIDEDUPERANGE:
                answer = self._dedupe(request, destination, ctx)
                copied = answer.deduped
            else:
                self._reflink(request, source.offer.length, destination, ctx)
                copied = request.length
        except OSError as error:
            code = error.errno or errno.EIO
            if code not in HARMLESS:
                ask_pages_again(destination.inode.number)
        outcome = _outcome(request, source.offer.asked, answer, code, copied)
        with self._reporter.counting_loss():
            copy = carried(caller, source.offer.asked.name, source.path, request, outcome, before, begun)
            copy.driver = "ioctl"
            destination.flows.offloaded |= copy.copied > 0
            self._reporter.carried(copy, destination)
        if code:
            raise _error(code)
        return answer.pack()

    def _reflink(self, request: Request, length: int, destination: OpenFile, ctx: Context) -> None:
        """FICLONERANGE as the caller, so that the backing drops setuid bits as it would for the caller
        (file_remove_privs: who has CAP_FSETID keeps them)."""
        limit = file_size_limit(ctx.pid)
        if limit is not None and request.offset_out + request.length > limit:
            raise _error(errno.EFBIG)  # which the kernel checks of every other way to write
        range_ = (request.source, request.offset_in, length, request.destination, request.offset_out)
        self._credentials.act(ctx, lambda: calls.clone_range(*range_))
        _tell_kernel(request, destination.inode.number)

    def _dedupe(self, request: Request, destination: OpenFile, ctx: Context) -> CloneReply:
        """FIDEDUPERANGE. It changes no byte, so the kernel's caches stay right."""
        if request.offset_out > LARGEST_OFFSET:
            raise _error(errno.EINVAL)
        if not self._may_dedupe(destination.fd, ctx):
            raise _error(errno.EPERM)
        same, deduped = calls.dedupe_range(
            request.source, request.offset_in, request.length, request.destination, request.offset_out
        )
        return CloneReply(0 if same else 1, deduped if same else 0)

    def _may_dedupe(self, fd: int, ctx: Context) -> bool:
        """allow_file_dedupe (fs/remap_range.c) of the caller: the backing would decide by the server."""
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY or os.fstat(fd).st_uid == ctx.uid:
            return True
        if self._credentials.uid not in (0, ctx.uid):
            return False
        with self._credentials.of(ctx):
            try:
                os.close(os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_CLOEXEC))
            except OSError as error:
                if error.errno in OUT_OF_DESCRIPTORS:
                    raise
                return False
        return True

    def fiemap(self, fd: int, data: bytes) -> bytes:
        """FS_IOC_FIEMAP of the backing: its errno, then the map as the kernel left it. Blocks."""
        answer = bytearray(data)
        MAPPED.pack_into(answer, 0, kernel.fiemap(fd, memoryview(answer)[MAPPED.size :], EXTENTS))
        return bytes(answer)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _tell_kernel(request: Request, inode: int) -> None:
    """Let the kernel forget what it knew of a clone's destination, but know the size up to which it has been
    cloned: it lets nobody map pages beyond. A byte that is stored in its cache tells it without a request
    (fuse_notify_store, Linux 2.6.36); where it is not taken, the next stat tells."""
    last = request.length - 1
    with suppress(OSError):
        if byte := os.pread(request.source, 1, request.offset_in + last) if request.length else b"":
            pyfuse3.notify_store(inode, request.offset_out + last, byte)
    pyfuse3.invalidate_inode(inode)


def _length(source: int, offer: Offer) -> int:
    """Bytes asked for; FICLONERANGE takes 0 for all that follows."""
    if offer.length or offer.asked is Asked.FIDEDUPERANGE:
        return offer.length
    return max(os.fstat(source).st_size - offer.offset, 0)


def _before(request: Request) -> int | None:
    """Bytes shared already; none of a range that no file can have."""
    ends = (request.offset_in + request.length, request.offset_out + request.length)
    return shared_before(request) if request.length and max(ends) <= LARGEST_OFFSET else 0


def _outcome(request: Request, asked: Asked, answer: CloneReply, code: int, copied: int) -> Outcome:
    path, reason = CopyPath.REFLINK, ""
    if asked is Asked.FIDEDUPERANGE:
        path, reason = CopyPath.DEDUPE, dedupe.DIFFERS if answer.differs else ""
        if overhang := dedupe.overhang(request, copied):
            copied, reason = copied - overhang, dedupe.OVERHANG
    attempt = Attempt(path, request.offset_in, request.offset_out, request.length, copied, code, reason)
    return Outcome((attempt,), copied, code, complete=not code)


def _caller(thread: int, ctx: Context) -> Caller:
    """The program whose ioctl this is, if the thread named does wait in one and has the caller's user id;
    else who asked for it, because anybody can name a number."""
    caller = identify(thread)
    return caller if caller.uid == ctx.uid and in_ioctl(thread) else identify(ctx.pid, ctx.uid)
