"""Serving copy_file_range: decide by the policy, carry by the ladder, prove, answer, report.

A reflink of the whole range needs no decision: the native layer answers it, and tells afterwards (`cloned`).

Works on backing descriptors only; writing through the own mount would wait for the lock that the kernel
holds on the destination until we answer.
"""

import errno as errnos
import os
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass

from fusecopy import serving
from fusecopy.copying.errnos import CLONE_REFUSED, NOT_THIS_WAY
from fusecopy.copying.ladder import HOWS, Ladder, carry
from fusecopy.copying.records import Attempt, CopyPath, Outcome, Proof, Refusal, Request, Sharing
from fusecopy.copying.refusal import explain_outcome
from fusecopy.copying.sharing import prove, shared_bytes
from fusecopy.faults.catalogue import Delay, Zero
from fusecopy.faults.rules import Faults, Strike
from fusecopy.filesystem import faulty
from fusecopy.filesystem.accounts import Accounts
from fusecopy.filesystem.attributes import ask_pages_again
from fusecopy.filesystem.control import Announcements
from fusecopy.filesystem.credentials import Credentials
from fusecopy.filesystem.identity import caller as caller_of
from fusecopy.filesystem.identity import identify
from fusecopy.filesystem.openfiles import OpenFile, OpenFiles
from fusecopy.filesystem.policy import DECLINES, Policy
from fusecopy.filesystem.watching import Watching
from fusecopy.observe.caller import Caller
from fusecopy.reporting.flows import Carried, Declined
from fusecopy.reporting.reports import Reporter
from fusecopy.serving import LENGTH_LIMIT_47, Clone, CopyContext, Series

ASKED = "copy_file_range"

NATIVELY = (CopyPath.REFLINK, CopyPath.COPY_FILE_RANGE)
"""The paths by which the native layer carries what they carry whole."""

CHANGED = "somebody else changed the source or the destination meanwhile"

STRICT_ERRNO = errnos.EIO
"""What a strict mount answers. EOPNOTSUPP and EXDEV would make the kernel copy by its own splice, and after
EINVAL, EPERM and their like cp copies by itself (coreutils 9.1, is_CLONENOTSUP)."""

POLL_SECONDS = 0.02
"""How often it is looked whether the caller of a copy that is held back still waits."""

HARMLESS = NOT_THIS_WAY | CLONE_REFUSED
"""With these nothing was begun. With others bytes may have been changed that are not told as copied, of which
the kernel still has the old ones."""

AT_ONCE = 16
"""Copies carried at the same time; others wait, so that a hundred of them leave room for everybody else."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one request is to be carried."""

    asked: str
    ladder: Ladder
    strict: bool


class _NothingCopiedError(OSError):
    """What became of a copy, as an error."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.errno, os.strerror(outcome.errno))
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request, carried. `before` and `begun` as `carried` takes them."""

    caller: Caller
    asked: str
    source: OpenFile
    destination: OpenFile
    request: Request
    outcome: Outcome
    before: int | None
    begun: int
    struck: Strike | None = None

    @property
    def told(self) -> int:
        """The count that the program gets."""
        return faulty.told(self.struck, self.outcome.copied)


class Copies:
    """The copy handler. The policy may be replaced at any time; a request keeps the one it began with.

    Attributes:
        policy: how copies are answered from now on.
    """

    def __init__(
        self,
        files: OpenFiles,
        reporter: Reporter,
        accounts: Accounts,
        announcements: Announcements,
        credentials: Credentials,
        policy: Policy,
        watching: Watching,
    ) -> None:
        self.policy = policy
        self._watching = watching
        self._files = files
        self._accounts = accounts
        self._reporter = reporter
        self._announcements = announcements
        self._credentials = credentials
        self._stopping = threading.Event()
        self._room = threading.BoundedSemaphore(AT_ONCE)
        self._deciding = threading.Lock()
        self._faults = Faults(policy.faults)
        announcements.changed = watching.changed = self._let_clone
        self._let_clone()

    def set_policy(self, policy: Policy) -> None:
        """Answer by another policy."""
        self.policy = policy
        self._faults = Faults(policy.faults)
        self._let_clone()

    def _let_clone(self) -> None:
        """Copies may be answered by a clone at once where that would be tried first; they are proven before
        the answer where others change unseen what the proof looks at. Evaluated and stored under one lock:
        else a thread that evaluated the policy before would store its answer over that of the new one."""
        with self._deciding:
            policy = self.policy
            reflink_first = policy.strict or policy.paths[0] is CopyPath.REFLINK
            undecided = policy.decline or policy.refuse or policy.faults or self._announcements
            serving.prove_first(not self._watching.sees_all)
            serving.allow_clones(reflink_first and not undecided)
            serving.allow_copies(not policy.strict and policy.paths[:2] == NATIVELY)

    def stop(self) -> None:
        """Cut copies under way short, because the server is about to end."""
        self._stopping.set()

    def copy_file_range(
        self, fh_in: int, off_in: int, fh_out: int, off_out: int, length: int, ctx: CopyContext
    ) -> int:
        """Carry one request and return the bytes copied. Blocks.

        The program has its answer before the proof, where nothing can change either file in between.

        Raises:
            OSError: nothing was copied; EOPNOTSUPP, EXDEV and ENOSYS leave the copy to the kernel's splice.
        """
        source, destination = self._files.get(fh_in), self._files.get(fh_out)
        destination.flows.asked = True
        begun = time.monotonic_ns()
        caller = identify(ctx.pid, ctx.uid)
        how = self._announcements.take(destination.inode, ctx.pid)
        request = Request(source.fd, destination.fd, off_in, off_out, length)
        struck = None
        if not how:
            struck = faulty.strike(self._faults, caller.comm, source, destination, off_out, length)
            self._refuse_or_decline(caller, source, destination, request, ctx.pid, begun, struck)
            request = request._replace(length=faulty.shortened(struck, length))
        plan = _plan(self.policy, how)
        before = shared_before(request)
        outcome = self._carry_unless(struck, request, plan.ladder, ctx)
        if outcome.errno and outcome.errno not in HARMLESS:
            ask_pages_again(destination.inode.number)
        asked = _Asked(caller, plan.asked, source, destination, request, outcome, before, begun, struck)
        if outcome.copied or _at_end(outcome):
            self._answered(asked, ctx)
            return asked.told
        raise self._failed(plan, asked, ctx.pid)

    def _carry_unless(
        self, struck: Strike | None, request: Request, ladder: Ladder, ctx: CopyContext
    ) -> Outcome:
        """Carry it, unless a fault has the source end before that; late, if a fault has it so."""
        effect = struck.effect if struck else None
        if isinstance(effect, Zero):
            return Outcome((), 0, 0, complete=True)
        if isinstance(effect, Delay):
            until = time.monotonic() + effect.seconds
            while time.monotonic() < until and not self._stopping.wait(POLL_SECONDS):
                if ctx.interrupted():
                    break
        with self._room:
            return self._carry(request, ladder, ctx)

    def _carry(self, request: Request, ladder: Ladder, ctx: CopyContext) -> Outcome:
        def once() -> Outcome:
            outcome = carry(request, ladder, interrupted=lambda: self._interrupted(ctx))
            if outcome.errno and not outcome.copied:
                raise _NothingCopiedError(outcome)
            return outcome

        try:
            return self._credentials.spend(ctx, once)
        except _NothingCopiedError as error:
            return error.outcome

    def cloned(self, series: Series, clone: Clone) -> None:
        """Prove and report what was answered by a clone, whatever there is to say of it."""
        with self._reporter.counting_loss():
            source, destination = self._files.get(series.fh_in), self._files.get(series.fh_out)
            request = Request(source.fd, destination.fd, clone.off_in, clone.off_out, clone.length)
            outcome = Outcome(_attempts(clone), clone.copied, 0, complete=True)
            who = caller_of(series.thread)
            asked = _Asked(who, ASKED, source, destination, request, outcome, 0, clone.begun_ns)
            copy = _carried(asked, _proven(clone))
            copy.ended_ns = clone.ended_ns
            if clone.proven == serving.LATER:
                self._distrust(asked, copy)
            self._done(asked, copy, clone.size)

    def _answered(self, asked: "_Asked", ctx: CopyContext) -> None:
        """Report a copy; before that its program has the answer, where what would change either file waits
        for the proof. That owns both files: the program may close them by then."""
        source, destination, copied = asked.source, asked.destination, asked.outcome.copied
        unseen = source.unseen or destination.unseen
        with ExitStack() as stack:
            stack.enter_context(self._reporter.counting_loss())
            if copied and self._watching.sees_all and not unseen and ctx.keep_turn():
                stack.enter_context(self._files.held(source, destination))
                range_ = asked.request.offset_out, copied
                stack.enter_context(serving.proving(source.native, destination.native, *range_))
                ctx.answer(asked.told)
            copy = _carried(asked)
            self._distrust(asked, copy)
            self._done(asked, copy, source.size())

    def _distrust(self, asked: "_Asked", copy: Carried) -> None:
        """What was proven just now means nothing where somebody else has changed a file meanwhile."""
        files = asked.source.inode.number, asked.destination.inode.number
        if copy.copied and self._watching.changed_since(copy.begun_ns, *files):
            copy.sharing = _changed(copy.copied)

    def _done(self, asked: "_Asked", copy: Carried, size: int) -> None:
        """Report what was copied, or that there was nothing left to copy. `size` is the source's."""
        source, request, outcome = asked.source, asked.request, asked.outcome
        end = request.offset_in + request.length
        copy.refusal = copy.refusal or faulty.cut(asked.struck) or _cut(source, end, size)
        unfinished = not outcome.complete or request.length == LENGTH_LIMIT_47
        self._report(asked.destination, copy, unfinished and outcome.copied > 0)

    def _interrupted(self, ctx: CopyContext) -> bool:
        return self._stopping.is_set() or ctx.interrupted()

    def _refuse_or_decline(
        self,
        caller: Caller,
        source: OpenFile,
        destination: OpenFile,
        request: Request,
        thread: int,
        begun: int,
        struck: Strike | None,
    ) -> None:
        """Answer as the policy or a fault says without trying: an experiment."""
        refusal = faulty.refusal(self.policy, struck)
        if refusal is None:
            return
        plan, code = _plan(self.policy, ""), refusal.errno
        with self._reporter.counting_loss():
            outcome = Outcome((), 0, code, complete=False)
            copy = carried(caller, plan.asked, source.inode.path(), request, outcome, 0, begun)
            copy.refusal = refusal
            if code in DECLINES.values():
                self._accounts.declined(source, destination, thread, _declined(copy, code))
            else:
                self._report(destination, copy, False)
        raise OSError(code, os.strerror(code))

    def _failed(self, plan: _Plan, asked: "_Asked", thread: int) -> OSError:
        """Nothing was copied. Report it, and return what the kernel or the program shall do about it."""
        code = asked.outcome.errno or errnos.EIO
        declined = bool(asked.outcome.attempts) and code in NOT_THIS_WAY and not plan.strict
        if declined:
            code = errnos.EOPNOTSUPP
        elif code in CLONE_REFUSED and plan.strict:
            code = STRICT_ERRNO
        with self._reporter.counting_loss():
            copy = _carried(asked)
            if declined:
                self._accounts.declined(asked.source, asked.destination, thread, _declined(copy, code))
            else:
                self._report(asked.destination, copy, False)
        return OSError(code, os.strerror(code))

    def _report(self, destination: OpenFile, copy: Carried, unfinished: bool) -> None:
        """Report a copy, or hold it back while the program may go on with it."""
        destination.flows.offloaded |= copy.copied > 0
        pending, destination.flows.pending = destination.flows.pending, None
        if pending and copy.continues(pending):
            copy = pending.extended_by(copy)
        elif pending:
            with self._reporter.counting_loss():
                self._reporter.carried(pending, destination)
        if unfinished:
            destination.flows.pending = copy
        else:
            self._reporter.carried(copy, destination)


def _attempts(clone: Clone) -> tuple[Attempt, ...]:
    range_ = clone.off_in, clone.off_out, clone.copied
    if not clone.refused:
        return (Attempt(CopyPath.REFLINK, *range_, clone.copied),)
    refused = Attempt(CopyPath.REFLINK, *range_, 0, clone.refused)
    return refused, Attempt(CopyPath.COPY_FILE_RANGE, *range_, clone.copied)


def _changed(copied: int) -> Sharing:
    return Sharing(0, 0, copied, Proof.CHANGED, CHANGED)


def _proven(clone: Clone) -> Sharing | None:
    """What was found before the answer, if it was looked at then."""
    if clone.proven == serving.LATER:
        return None
    if clone.proven == serving.CHANGED:
        return _changed(clone.copied)
    return Sharing(clone.shared, clone.holes, clone.unprovable, Proof.FIEMAP)


def _carried(asked: _Asked, sharing: Sharing | None = None) -> Carried:
    path = asked.source.inode.path()
    request, outcome = asked.request, asked.outcome
    return carried(asked.caller, asked.asked, path, request, outcome, asked.before, asked.begun, sharing)


def _plan(policy: Policy, how: str) -> _Plan:
    if how:
        return _Plan(f"how={how}", HOWS[how], strict=True)
    if policy.strict:
        return _Plan(ASKED, HOWS["reflink"], strict=True)
    return _Plan(ASKED, policy.paths, strict=False)


def _at_end(outcome: Outcome) -> bool:
    """0 bytes is an answer only at the end of the source; to a program it means that there is no more."""
    return outcome.complete and not outcome.errno and not outcome.attempts


def shared_before(request: Request) -> int | None:
    """Bytes of the range that are shared already, None where that is unprovable; a destination that ends
    before it has none."""
    range_ = (request.source, request.offset_in, request.destination, request.offset_out, request.length)
    try:
        if os.fstat(request.destination).st_size <= request.offset_out:
            return 0
        found = shared_bytes(*range_)
    except OSError:  # whatever ails the files, the copy itself will meet, or not
        return None
    return None if found.unprovable else found.shared


def carried(
    caller: Caller,
    asked: str,
    source: bytes,
    request: Request,
    outcome: Outcome,
    before: int | None,
    begun: int,
    sharing: Sharing | None = None,
) -> Carried:
    """The copy as it is reported, with the proof of what is shared now, if that is not known already."""
    return Carried(
        caller=caller,
        asked=asked,
        source=source,
        off_in=request.offset_in,
        off_out=request.offset_out,
        length=_wanted(request, outcome),
        copied=outcome.copied,
        attempts=list(outcome.attempts),
        paths=outcome.carried(),
        sharing=sharing or prove(request, outcome),
        shared_before=before,
        errno=outcome.errno,
        refusal=explain_outcome(request, outcome),
        dispatch="dispatched" if outcome.copied or not outcome.errno else "refused",
        begun_ns=begun,
        ended_ns=time.monotonic_ns(),
    )


def _wanted(request: Request, outcome: Outcome) -> int:
    """The bytes asked for that there are in the source."""
    if outcome.copied == request.length:
        return request.length
    left = os.fstat(request.source).st_size - request.offset_in
    return min(request.length, max(left, outcome.copied))


def _declined(copy: Carried, answer: int) -> Declined:
    refusal = copy.refusal
    return Declined(
        copy.caller,
        copy.source,
        copy.off_in,
        copy.off_out,
        copy.length,
        copy.begun_ns,
        copy.attempts,
        answer,
        refusal.cause if refusal else "No path of the ladder could copy it.",
        refusal.remedy if refusal else "",
    )


def _cut(source: OpenFile, end: int, size: int) -> Refusal | None:
    """Why a copy ended before its source did, which has `size` bytes: the kernel cuts what it asks to the
    size that it knows, and does not look again (generic_copy_file_checks; timeouts do not matter)."""
    if end >= size or end != source.told_size():
        return None
    return Refusal(
        0,
        f"The request ended at {end} bytes, the source's size as the kernel was last told; it has {size}"
        " now.",
        "After the source has grown, stat it in the mount first, or mount with --coherent.",
    )
