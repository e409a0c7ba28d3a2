"""Carry one copy by the paths of a ladder, each tried on what the ones before it left."""

import errno
import os
from collections.abc import Callable

from fusecopy.copying import calls, copy_file_range, dedupe, readwrite, reflink, sendfile, splice
from fusecopy.copying.blocks import Piece
from fusecopy.copying.calls import Files
from fusecopy.copying.errnos import CLONE_REFUSED, NOT_THIS_WAY
from fusecopy.copying.limits import Budget, Limits, Stop
from fusecopy.copying.moving import Result
from fusecopy.copying.records import Attempt, CopyPath, Outcome, Request
from fusecopy.errors import UsageError

Ladder = tuple[CopyPath, ...]

DEFAULT: Ladder = (CopyPath.REFLINK, CopyPath.COPY_FILE_RANGE, CopyPath.SPLICE, CopyPath.READWRITE)

HOWS: dict[str, Ladder] = {
    "copy": (CopyPath.SPLICE, CopyPath.READWRITE),
    "reflink": (CopyPath.REFLINK,),
    "dedupe": (CopyPath.DEDUPE,),
}
"""What one copy may ask for, as COPY_FR_COPY, COPY_FR_REFLINK and COPY_FR_DEDUP would have."""

_CARRY: dict[CopyPath, Callable[[Request, Limits], Result]] = {
    CopyPath.REFLINK: reflink.carry,
    CopyPath.COPY_FILE_RANGE: copy_file_range.carry,
    CopyPath.SPLICE: splice.carry,
    CopyPath.SENDFILE: sendfile.carry,
    CopyPath.READWRITE: readwrite.carry,
    CopyPath.DEDUPE: dedupe.carry,
}

_PIECES: dict[CopyPath, Callable[[Request, Files], list[Piece]]] = {
    CopyPath.REFLINK: reflink.pieces,
    CopyPath.DEDUPE: dedupe.pieces,
}

_NOT_THIS_WAY_OF = {
    # EPERM: of an immutable file or, for dedupe, of one that is not ours. ETXTBSY: a swap file.
    CopyPath.REFLINK: CLONE_REFUSED,
    # EAGAIN: btrfs, while the destination's subvolume is being sent.
    CopyPath.DEDUPE: CLONE_REFUSED | {errno.EAGAIN},
    # EMFILE, ENFILE: no descriptors left for the pipe or for the description of its own.
    CopyPath.SPLICE: NOT_THIS_WAY | {errno.EMFILE, errno.ENFILE},
    # EACCES, EPERM, ENOENT: the destination could not be opened again (no rights now, append-only, no /proc).
    CopyPath.SENDFILE: NOT_THIS_WAY | {errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.ENOENT},
}

_LARGEST_OFFSET = (1 << 63) - 1


def parse_ladder(text: str) -> Ladder:
    """The ladder that a list such as "reflink,splice" names.

    Raises:
        UsageError: a name is unknown or comes twice, or there is none.
    """
    names = [name.strip() for name in text.split(",")]
    known = [path.value for path in CopyPath]
    remedy = f"Give one or more of {', '.join(known)}, separated by commas."
    for name in names:
        if name not in known:
            raise UsageError(f"{name!r} in the ladder {text!r} is not a path.", remedy)
        if names.count(name) > 1:
            raise UsageError(f"{name!r} comes more than once in the ladder {text!r}.", remedy)
    return tuple(CopyPath(name) for name in names)


def carry(
    request: Request,
    ladder: Ladder = DEFAULT,
    budget: Budget = Budget(),  # noqa: B008 (frozen)
    interrupted: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Carry `request` by the paths of `ladder`, in order. Blocks; safe in many threads at once. Never raises
    OSError.

    Args:
        request: what to copy. The source's end cuts it; at or past the end nothing is copied, with errno 0.
        ladder: the paths to try. A last path that only shares (`reflink` alone) is given the range undivided,
            so that it is cloned whole or refused by the kernel with its own errno and the destination
            untouched.
        budget: what the paths that move bytes may use up before the copy is cut short.
        interrupted: asked between chunks, from this thread; True cuts the copy short, with EINTR where
            nothing was copied yet.
    """
    try:
        files = calls.look(request.source, request.destination)
        length = _usable_length(request, files)
    except OSError as error:
        return Outcome((), 0, error.errno or errno.EIO, complete=False)
    if length <= 0:
        return Outcome((), 0, 0, complete=True)
    run = _Run(request, files, Limits(budget, interrupted))
    run.descend(length, ladder)
    return run.outcome(length)


def _usable_length(request: Request, files: Files) -> int:
    """The bytes of the request that the source has. Raises OSError as vfs_copy_file_range would."""
    if request.offset_in < 0 or request.offset_out < 0:
        raise _refused(errno.EINVAL)
    length = min(request.length, files.size_in - request.offset_in)
    if request.offset_out > _LARGEST_OFFSET - max(length, 0):
        raise _refused(errno.EOVERFLOW)
    if files.same and abs(request.offset_in - request.offset_out) < length:
        # The kernel looks at this for its own inodes only; two of them may be one file of the backing.
        raise _refused(errno.EINVAL)
    return length


def _refused(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class _Run:
    """One request on its way down the ladder.

    Where a range ends against the files' ends stays as it was before the copy, which grows the destination no
    further than its range; if others change a file meanwhile, the kernel refuses what no longer fits.
    """

    __slots__ = ("_attempts", "_copied", "_ended", "_errno", "_files", "_limits", "_request")

    def __init__(self, request: Request, files: Files, limits: Limits) -> None:
        self._request = request
        self._files = files
        self._limits = limits
        self._attempts: list[Attempt] = []
        self._copied = 0
        self._errno = 0
        self._ended = False

    def outcome(self, length: int) -> Outcome:
        """What became of the `length` bytes that were to be carried."""
        complete = self._ended or self._copied == length
        return Outcome(tuple(self._attempts), self._copied, self._errno, complete)

    def descend(self, end: int, ladder: Ladder) -> bool:
        """Carry everything from where the run is up to `end`; False where that ended the copy early."""
        if not ladder:
            # A path that gave no errno found that it cannot do it (dedupe: the bytes differ).
            self._errno = self._attempts[-1].errno or errno.EINVAL
            return False
        path, rest = ladder[0], ladder[1:]
        for piece in self._pieces(path, end, rest):
            goal = self._copied + piece.length
            if piece.refused and rest:
                self._note(path, self._job(piece.length), Result(0, errno.EINVAL, reason=piece.refused))
                if not self.descend(goal, rest):
                    return False
                continue
            result = self._try(path, piece)
            if self._copied < goal:
                return self._goes_on(path, result) and self.descend(end, rest)
        return True

    def _pieces(self, path: CopyPath, end: int, rest: Ladder) -> list[Piece]:
        length = end - self._copied
        if path not in _PIECES or not self._files.block:
            return [Piece(length)]
        pieces = _PIECES[path](self._job(length), self._files)
        if rest or len(pieces) == 1:
            return pieces
        return [Piece(length, next(piece.refused for piece in pieces if piece.refused))]

    def _job(self, length: int) -> Request:
        request = self._request
        if length == request.length:
            return request
        return Request(
            request.source,
            request.destination,
            request.offset_in + self._copied,
            request.offset_out + self._copied,
            length,
        )

    def _try(self, path: CopyPath, piece: Piece) -> Result:
        job = self._job(piece.length)
        result = _CARRY[path](job, self._limits)
        self._note(path, job, result, piece.refused)
        self._copied += result.carried
        return result

    def _note(self, path: CopyPath, job: Request, result: Result, refused: str = "") -> None:
        reason = result.reason or (result.stop.value if result.stop else "")
        if result.errno == errno.EINVAL:
            reason = reason or refused
        self._attempts.append(
            Attempt(path, job.offset_in, job.offset_out, job.length, result.carried, result.errno, reason)
        )

    def _goes_on(self, path: CopyPath, result: Result) -> bool:
        """Whether the next path may try what this one left."""
        if result.stop:
            self._ended = result.stop is Stop.ENDED
            interrupted = result.stop is Stop.INTERRUPTED and not self._copied
            self._errno = errno.EINTR if interrupted else 0
            return False
        if result.errno and result.errno not in _NOT_THIS_WAY_OF.get(path, NOT_THIS_WAY):
            self._errno = result.errno
            return False
        return True
