"""Clone a file or a whole tree under a new name: descriptors and names in, no FUSE, no log.

Nothing is followed: what an entry is once it is open counts, and one that goes before is not in the clone.
Files are cloned by FICLONE, many at a time (fusecopy.copying.batch); where that does not do, one by one, as
one copy is carried by the paths of a ladder. The rest is kept as `cp -a` keeps it (fusecopy.copying.entries).
"""

import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from fusecopy.copying.batch import Cloned, clone_files
from fusecopy.copying.entries import DIRECTORY, Source, create_directory, drop_acls, listed, opened
from fusecopy.copying.ladder import Ladder, carry
from fusecopy.copying.limits import Budget
from fusecopy.copying.records import Attempt, Copied, CopyPath, Outcome, Refusal, Request
from fusecopy.copying.refusal import explain_outcome
from fusecopy.copying.work import Work

THREADS = min(4, len(os.sched_getaffinity(0)))
"""That work on one tree; more than there are processors would only wait for the filesystem's locks."""

CHUNK = 256
"""Entries of one directory that one thread takes at a time."""

_OTHER_FILESYSTEM = Refusal(
    errno.EXDEV,
    "Another filesystem is mounted there.",
    "Unmount it, or clone what lies in it by itself.",
)
_INSIDE_ITSELF = Refusal(
    errno.EINVAL, "The destination lies in the source.", "Name a destination outside of it."
)


class TreeError(Exception):
    """The tree could not be cloned.

    Attributes:
        path: the entry it ended at, relative to the source; empty for the source itself.
        errno: why.
        refusal: why in sentences, where that is known.
        of_data: data could not be carried; else the tree itself is not one that can be cloned.
    """

    def __init__(self, path: bytes, code: int, refusal: Refusal | None = None, of_data: bool = False) -> None:
        super().__init__(path, code)
        self.path, self.errno, self.refusal, self.of_data = path, code, refusal, of_data


@dataclass(slots=True)
class Counts:
    """What was cloned so far; `others` are symbolic links and special files, `bytes` the files' contents."""

    files: int = 0
    directories: int = 0
    links: int = 0
    others: int = 0
    bytes: int = 0


@dataclass(slots=True, eq=False)
class _Directory:
    """A directory whose clone is not finished. `left` counts what is still to be done in it."""

    source: Source
    destination: int
    path: bytes
    parent: "_Directory | None"
    left: int = 1

    @property
    def prefix(self) -> bytes:
        """What comes before the name of an entry in its path."""
        return self.path + b"/" if self.path else b""

    def close(self) -> None:
        self.source.close()
        os.close(self.destination)


class _Task(NamedTuple):
    """Entries of one directory, all of one kind (S_IFMT) as far as the listing told."""

    where: _Directory
    names: list[bytes]
    kind: int


class Tree:
    """One clone of one tree.

    Args:
        ladder: how data may be carried.
        report: told of each file's data that is not among the clones, from any thread. Empty files have none.
        largest: bytes a file may have, or None.

    Attributes:
        counts: what is done; may be read at any time.
        clones: the files with data that were cloned whole, many at a time.
        top: st_dev and st_ino of the directory that was made at the top, or zeros.
    """

    def __init__(
        self,
        ladder: Ladder,
        report: Callable[[Copied], None],
        largest: int | None = None,
    ) -> None:
        self.counts = Counts()
        self.clones: list[Cloned] = []
        self._ladder = ladder
        self._report = report
        self._largest = largest
        self._work = Work(self._do)
        self._lock = threading.Lock()
        self._open: set[_Directory] = set()
        self._linking = threading.Lock()
        self._first: dict[tuple[int, int], bytes] = {}
        self._root = -1
        self.top = (0, 0)

    def stop(self) -> None:
        """End early; `build` then raises EINTR."""
        self._work.stop()

    def build(self, source: int, parent: int, name: bytes) -> None:
        """Make a clone of the open file or directory `source`, called `name` in the directory `parent`.

        Blocks, and works in further threads too, which inherit this one's rights (credentials(7)). After an
        error what was built is still there: `remove` it.

        Raises:
            TreeError: what could not be cloned, and why.
        """
        try:
            if stat.S_ISDIR(os.fstat(source).st_mode):
                self._build_tree(Source.at(source, b".", DIRECTORY), parent, name)
            else:
                self._single(Source.of(os.dup(source)), parent, name)
        except OSError as error:
            raise TreeError(b"", error.errno or errno.EIO) from error

    def _single(self, source: Source, parent: int, name: bytes) -> None:
        try:
            if not stat.S_ISREG(source.mode):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            self._new_file(source, parent, name, b"")
        finally:
            source.close()

    def _build_tree(self, source: Source, parent: int, name: bytes) -> None:
        threads = [threading.Thread(target=self._work.run, name="clone") for _ in range(THREADS - 1)]
        try:
            self._enter_directory(source, parent, name, b"", None)
            for thread in threads:
                thread.start()
            self._work.run()
        finally:
            self._work.stop()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            unfinished = list(self._open)
            for directory in unfinished:
                directory.close()
        if self._work.failure:
            raise self._work.failure
        if unfinished:
            raise TreeError(b"", errno.EINTR)

    # ---- directories ---------------------------------------------------------------------------------

    def _enter_directory(
        self, source: Source, parent: int, name: bytes, path: bytes, above: _Directory | None
    ) -> None:
        """Make the directory, and tasks of what is in its source."""
        try:
            if source.file == self.top:
                raise TreeError(path, errno.EINVAL, _INSIDE_ITSELF)
            destination = create_directory(parent, name)
        except BaseException:
            source.close()
            raise
        directory = _Directory(source, destination, path, above)
        with self._lock:
            self._open.add(directory)
            self.counts.directories += 1
            if above:
                above.left += 1
            else:
                self._root = destination
                st = os.fstat(destination)
                self.top = st.st_dev, st.st_ino
        self._list(directory)
        self._leave(directory)

    def _list(self, directory: _Directory) -> None:
        """Each directory is a task of its own, begun after the files, so that few are open at a time."""
        names = listed(directory.source.fd)
        tasks = [_Task(directory, [name], stat.S_IFDIR) for name in names[stat.S_IFDIR]]
        for kind in (0, stat.S_IFREG):
            some = names[kind]
            tasks += [_Task(directory, some[at : at + CHUNK], kind) for at in range(0, len(some), CHUNK)]
        with self._lock:
            directory.left += len(tasks)
        self._work.add(tasks)

    def _leave(self, directory: _Directory) -> None:
        """Something in a directory is done; with the last it gets its attributes, and so on upwards."""
        finished: _Directory | None = directory
        while finished:
            with self._lock:
                finished.left -= 1
                if finished.left:
                    return
            try:
                finished.source.copy_attributes(finished.destination)
            except OSError as error:
                raise TreeError(finished.path, error.errno or errno.EIO) from error
            with self._lock:
                self._open.discard(finished)
            finished.close()
            finished = finished.parent

    # ---- entries -------------------------------------------------------------------------------------

    def _do(self, task: _Task) -> None:
        names = task.names
        if task.kind == stat.S_IFREG and self._ladder[0] is CopyPath.REFLINK:
            names = self._clone_whole(task.where, names)
        for name in names:
            if self._work.stopped:
                return
            path = task.where.prefix + name
            try:
                self._clone(task.where, name, task.kind, path)
            except OSError as error:
                code = error.errno or errno.EIO
                raise TreeError(path, code, _OTHER_FILESYSTEM if code == errno.EXDEV else None) from error
        self._leave(task.where)

    def _clone_whole(self, where: _Directory, names: list[bytes]) -> list[bytes]:
        """Clone files many at a time. Returns those that are to be cloned one by one."""
        left = list[bytes]()
        while names and not self._work.stopped:
            done = clone_files(where.source.fd, where.destination, where.prefix, names, self._largest)
            left += done.left
            names = done.rest
            with self._lock:
                self.clones += [clone for clone in done.clones if clone.size]
                self.counts.files += len(done.clones)
                self.counts.bytes += sum(clone.size for clone in done.clones)
        return left + names

    def _clone(self, where: _Directory, name: bytes, listed: int, path: bytes) -> None:
        source = opened(where.source.fd, name, listed)
        if source is None:
            return
        if stat.S_ISDIR(source.mode):
            self._enter_directory(source, where.destination, name, path, where)
            return
        try:
            if source.links > 1:
                self._linked(source, where.destination, name, path)
            else:
                self._new(source, where.destination, name, path)
        finally:
            source.close()

    def _linked(self, source: Source, parent: int, name: bytes, path: bytes) -> None:
        """The first name of a file is cloned, each further one becomes a link to that clone."""
        with self._linking:
            first = self._first.get(source.file)
            if first is None:
                self._new(source, parent, name, path)
                self._first[source.file] = path
                return
            clone = Source.at(self._root, first, os.O_PATH)
            try:
                # linkat(2) with AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH.
                os.link(f"/proc/self/fd/{clone.fd}", name, dst_dir_fd=parent, follow_symlinks=True)
            finally:
                clone.close()
        with self._lock:
            self.counts.links += 1

    def _new(self, source: Source, parent: int, name: bytes, path: bytes) -> None:
        if stat.S_ISREG(source.mode):
            self._new_file(source, parent, name, path)
            return
        destination = source.create_other(parent, name)
        try:
            source.copy_attributes(destination)
        finally:
            os.close(destination)
        with self._lock:
            self.counts.others += 1

    # ---- files ---------------------------------------------------------------------------------------

    def _new_file(self, source: Source, parent: int, name: bytes, path: bytes) -> None:
        begun = time.monotonic_ns()
        if self._largest is not None and source.size > self._largest:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        clones = self._ladder[0] is CopyPath.REFLINK and source.size > 0
        destination, refused = source.create_file(parent, name, clones)
        try:
            if self._root < 0:
                drop_acls(destination)
            if clones and not refused:
                size = os.fstat(destination).st_size
                outcome = Outcome((Attempt(CopyPath.REFLINK, 0, 0, size, size),), size, 0, complete=True)
                request = Request(source.fd, destination, 0, 0, size)
            else:
                request = Request(source.fd, destination, 0, 0, source.size)
                outcome = self._carried(request, path)
            source.copy_attributes(destination)
            if outcome.copied:
                self._report(Copied(path, request, outcome, begun))
        finally:
            os.close(destination)
        with self._lock:
            self.counts.files += 1
            self.counts.bytes += outcome.copied

    def _carried(self, request: Request, path: bytes) -> Outcome:
        """All of a file by the ladder, budget after budget."""
        attempts: list[Attempt] = []
        copied, complete = 0, request.length == 0
        while not complete:
            if self._work.stopped:
                raise TreeError(path, errno.EINTR)
            rest = Request(request.source, request.destination, copied, copied, request.length - copied)
            outcome = carry(rest, self._ladder, Budget(), lambda: self._work.stopped)
            attempts += outcome.attempts
            copied, complete = copied + outcome.copied, outcome.complete
            if outcome.errno:
                raise TreeError(path, outcome.errno, explain_outcome(rest, outcome), of_data=True)
        return Outcome(tuple(attempts), copied, 0, complete=True)
