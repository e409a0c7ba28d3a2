"""Serving the ioctls that clone a file or a whole tree by one request (fusecopy.ioctls).

The work is done on the backing, by threads that have the caller's rights and no others, and is there whole or
not at all (fusecopy.copying.placing). An error of any entry ends it; so does a mount point below the backing,
with EXDEV.
"""

import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pyfuse3

from fusecopy.copying import calls, treeanswer
from fusecopy.copying.calls import FileId
from fusecopy.copying.ladder import HOWS, Ladder
from fusecopy.copying.placing import build_placed
from fusecopy.copying.records import Copied
from fusecopy.copying.tree import Tree, TreeError
from fusecopy.filesystem import kernel
from fusecopy.filesystem.copies import carried
from fusecopy.filesystem.credentials import Credentials, Rights, assume
from fusecopy.filesystem.directories import Directories
from fusecopy.filesystem.identity import identify
from fusecopy.filesystem.inodes import InodeTable
from fusecopy.filesystem.names import check_component
from fusecopy.filesystem.offers import Offers
from fusecopy.filesystem.openfiles import OpenFile, OpenFiles
from fusecopy.filesystem.policy import Policy
from fusecopy.ioctls import Answer, Progress, TreeRequest
from fusecopy.native import opening
from fusecopy.native.inodes import Inode
from fusecopy.observe.caller import Caller, file_size_limit
from fusecopy.reporting.flows import Carried
from fusecopy.reporting.outcomes import tree
from fusecopy.reporting.reports import Reporter
from fusecopy.reporting.treerecords import TreeRecords
from fusecopy.serving import RequestContext

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Trees that may be cloned at a time; each takes a thread from those that serve copies."""

POLL_SECONDS = 0.02
"""How often it is looked whether the caller still waits."""

REPORTED = 256
"""Records handed over at a time, when the log's queue has room for as many of each tree."""


@dataclass(slots=True)
class _Job:
    """One tree on its way.

    Attributes:
        source, directory: descriptors of the source and of the destination's directory, `parent`.
        source_path: of the source, relative to the mount.
        marker: name of the file by which the caller has shown that it may write there.
        copies: of files that are not among the tree's clones, each with which file the destination is.
        failure: what ended it.
        done: set at the end.
    """

    source: int
    source_path: bytes
    directory: int
    parent: Inode
    marker: bytes
    call: TreeRequest
    caller: Caller
    rights: Rights | None
    ladder: Ladder
    largest: int | None
    tree: Tree = field(init=False)
    copies: list[tuple[Copied, Carried, FileId]] = field(default_factory=list)
    failure: TreeError | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.tree = Tree(self.ladder, self._copied, self.largest)

    def run(self) -> None:
        """Build it and give it its name; a thread of its own, because it takes on the caller's rights."""
        try:
            kernel.run_anywhere()
            opening.set_umask(0)  # the modes are those of the source
            assume(self.rights)
            self._build()
        except TreeError as error:
            self.failure = error
        except OSError as error:
            self.failure = TreeError(b"", error.errno or errno.EIO)
        except Exception:
            log.exception("unexpected error in a clone; its caller got EIO")
            self.failure = TreeError(b"", errno.EIO)
        finally:
            self.done.set()

    def _build(self) -> None:
        try:
            build_placed(self.tree, self.source, self.directory, self.call.name, self._left_behind)
        finally:
            # The caller does it too, unless it is dead by then.
            with suppress(OSError):
                os.unlink(self.marker, dir_fd=self.directory)

    def _left_behind(self, name: bytes, error: OSError) -> None:
        path = os.fsdecode(_joined(self.parent.path(), name))
        log.error("%s: what a clone left behind could not be removed: %s", path, error.strerror)

    def _copied(self, file: Copied) -> None:
        """Prove what is shared while both files are open; it is reported when the clone has its name."""
        source = _joined(self.source_path, file.path)
        copy = carried(self.caller, "clone", source, file.request, file.outcome, 0, file.begun_ns)
        copy.driver, copy.requests = "ioctl", 0
        self.copies.append((file, copy, calls.file_id(file.request.destination)))


@dataclass(frozen=True, slots=True)
class Made:
    """A file of a tree, by its name in that."""

    file: FileId
    name: bytes

    def path(self) -> bytes:
        """Its path, relative to the mount's root."""
        return self.name


class Trees:
    """Answers SOURCE, TREE and PROGRESS. Methods raise OSError and may run in any thread.

    Args:
        policy: the mount's policy as it is now.
        await_room: waits until less than half of the log's queue is in use; False where that takes too long.
    """

    def __init__(
        self,
        inodes: InodeTable,
        files: OpenFiles,
        directories: Directories,
        reporter: Reporter,
        credentials: Credentials,
        policy: Callable[[], Policy],
        await_room: Callable[[], bool],
    ) -> None:
        self._inodes = inodes
        self._files = files
        self._directories = directories
        self._reporter = reporter
        self._credentials = credentials
        self._policy = policy
        self._await_room = await_room
        self._offers: Offers[OpenFile | int] = Offers()
        self._jobs: dict[bytes, _Job] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End what is under way, because the server is about to end."""
        self._stopping.set()

    def offer(self, fh: int, is_dir: bool, ctx: RequestContext) -> bytes:
        """Let the calling thread clone this open file or directory next. Does not block."""
        if is_dir:
            self._directories.descriptor(fh)
        return self._offers.make(fh if is_dir else self._files.get(fh), ctx.pid)

    def progress(self, data: bytes) -> bytes:
        """How far the tree of a token is; nothing done where it has not begun or has ended."""
        secret = Progress.unpack(data).secret
        with self._lock:
            job = self._jobs.get(secret)
        if job is None:
            return Progress(secret, 0, 0).pack()
        counts = job.tree.counts
        entries = counts.files + counts.directories + counts.links + counts.others
        return Progress(secret, entries, counts.bytes).pack()

    def clone(self, fh: int, data: bytes, ctx: RequestContext) -> bytes:
        """Clone what the thread has offered to a new name beside this file, which is open for writing. Blocks
        until all is done.

        Raises:
            OSError: EINTR where the caller got a signal, EBUSY where too many trees are being cloned, EPERM
                where nothing was offered or the caller's rights cannot be taken on. Else errors are told in
                the answer.
        """
        call, marker = _call(data), self._files.get(fh)
        offered = self._offers.take(call.secret, ctx.pid)
        rights = self._credentials.rights(ctx)
        with self._source(offered) as (source, path), self._beside(marker) as (parent, directory):
            job = _Job(
                source,
                path,
                directory,
                parent,
                marker.inode.name,
                call,
                identify(ctx.pid, ctx.uid),
                rights,
                _ladder(self._policy(), call.how),
                file_size_limit(ctx.pid),
            )
            return self._serve(job, ctx)

    @contextmanager
    def _source(self, offered: OpenFile | int) -> Iterator[tuple[int, bytes]]:
        """A descriptor and the path of what was offered; it may be closed meanwhile."""
        if isinstance(offered, OpenFile):
            with self._files.borrowed(offered) as fd:
                yield fd, offered.inode.path()
        else:
            with self._directories.borrowed(offered) as fd:
                yield fd, self._directories.inode(offered).path()

    @contextmanager
    def _beside(self, marker: OpenFile) -> Iterator[tuple[Inode, int]]:
        """The directory that a file lies in, and a descriptor of it.

        The file must be open for writing. The kernel asks no mount about an ioctl, so this is how a caller
        shows that it does not see the directory through a read-only one.

        Raises:
            OSError: EBADF where it is open for reading only, ESTALE where it lies there no more.
        """
        name, parent = marker.inode.name, marker.inode.parent
        if parent is None or fcntl.fcntl(marker.fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        with self._inodes.borrow(parent.number) as directory:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if not os.path.samestat(found, os.fstat(marker.fd)):
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            yield parent, directory

    def _serve(self, job: _Job, ctx: RequestContext) -> bytes:
        begun = time.monotonic_ns()
        with self._lock:
            if len(self._jobs) >= AT_ONCE:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            self._jobs[job.call.secret] = job
        try:
            self._wait(job, ctx)
            _invalidate(job)
            if job.failure is None:
                self._report_copies(job)
            answer = _answer(job)
            self._report(job, answer, begun)
        finally:
            with self._lock:
                del self._jobs[job.call.secret]
        if answer.errno == errno.EINTR:
            raise OSError(errno.EINTR, os.strerror(errno.EINTR))
        return answer.pack()

    def _wait(self, job: _Job, ctx: RequestContext) -> None:
        thread = threading.Thread(target=job.run, name="clone")
        thread.start()
        while not job.done.wait(POLL_SECONDS):
            if self._stopping.is_set() or ctx.interrupted():
                job.tree.stop()
        thread.join()

    def _report_copies(self, job: _Job) -> None:
        """What the log has no room for is lost to it; it is not waited for again when it gave none."""
        room = True
        clones, destination = job.tree.clones, _joined(job.parent.path(), job.call.name)
        records = TreeRecords(job.caller, _prefix(job.source_path), _prefix(destination))
        for at in range(0, len(clones), REPORTED):
            room = room and self._await_room()
            self._reporter.cloned([records.told(clone) for clone in clones[at : at + REPORTED]])
        for number, (file, copy, made) in enumerate(job.copies):
            room = room and (number % REPORTED > 0 or self._await_room())
            self._reporter.carried(copy, Made(made, _joined(destination, file.path)))

    def _report(self, job: _Job, answer: Answer, begun: int) -> None:
        at = _joined(job.source_path, answer.at) if answer.errno else b""
        destination = _joined(job.parent.path(), job.call.name)
        when = begun, time.monotonic_ns()
        self._reporter.tree(tree(job.caller, job.call.how, job.source_path, destination, when, answer, at))


def _call(data: bytes) -> TreeRequest:
    try:
        call = TreeRequest.unpack(data)
    except ValueError:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None
    if not call.name or b"/" in call.name or b"\0" in call.name:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    check_component(call.name)
    return call


def _ladder(policy: Policy, how: str) -> Ladder:
    """What one copy would be carried by. `decline` and `refuse` are answers to the kernel, which does not
    wait for one here."""
    if how or policy.strict:
        return HOWS[how or "reflink"]
    return policy.paths


def _invalidate(job: _Job) -> None:
    """Have the kernel forget that there was no such name but a marker; with a name that it knows it forgets
    the directory's times and link count too. It waits for nothing that this request holds: in an ioctl the
    kernel has no lock of the directory (fs/fuse/ioctl.c, Linux 6.1 to 7.2)."""
    for name in (job.call.name, job.marker):
        with suppress(OSError):  # ENOENT: it knew nothing
            pyfuse3.invalidate_entry(job.parent.number, name)


def _answer(job: _Job) -> Answer:
    """What there is now: nothing, if it failed."""
    if job.failure:
        return treeanswer.failed(job.failure, job.ladder)
    return treeanswer.done(job.tree, ((copy.copied, copy.sharing) for _, copy, _ in job.copies))


def _joined(path: bytes, below: bytes) -> bytes:
    """A path relative to the mount."""
    return _prefix(path) + below if below else path


def _prefix(path: bytes) -> bytes:
    """What comes before the names in a directory, where "." is the mount's root."""
    return path + b"/" if path != b"." else b""
