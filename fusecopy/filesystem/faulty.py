"""A mount's copies answered wrongly on purpose (fusecopy.faults)."""

import errno as errnos
import os

from fusecopy.copying.records import Refusal
from fusecopy.faults.catalogue import Refuse, Shorten, SystemCall, Wrap
from fusecopy.faults.rules import Attempted, Faults, Strike
from fusecopy.filesystem.openfiles import OpenFile
from fusecopy.filesystem.policy import DECLINES, Policy

WORD = 1 << 32


def strike(
    faults: Faults, program: str, source: OpenFile, destination: OpenFile, offset_out: int, length: int
) -> Strike | None:
    """What becomes of one copy request; None: what always would."""
    if not faults:
        return None
    paths = os.fsdecode(source.inode.path()), os.fsdecode(destination.inode.path())
    return faults.strike(Attempted(SystemCall.COPY_FILE_RANGE, program, paths, offset_out, length))


def refusal(policy: Policy, struck: Strike | None) -> Refusal | None:
    """What is answered without trying, and why; None where it is tried."""
    if policy.refuse:
        cause = f"The mount's policy refuses every copy with {policy.refuse}."
        return Refusal(getattr(errnos, policy.refuse), cause, "fusecopy policy MNT refuse= takes it back.")
    if policy.decline:
        cause = f"The mount's policy declines every copy with {policy.decline.upper()}."
        remedy = "fusecopy policy MNT decline= takes it back; after ENOSYS only a new mount helps."
        return Refusal(DECLINES[policy.decline], cause, remedy)
    if struck and isinstance(struck.effect, Refuse):
        return _by_fault(struck, struck.effect.errno)
    return None


def cut(struck: Strike | None) -> Refusal | None:
    """Why a copy that was made was cut short, or told with another count."""
    return _by_fault(struck, 0) if struck else None


def shortened(struck: Strike | None, length: int) -> int:
    """How many bytes are to be copied."""
    return min(length, struck.effect.size) if struck and isinstance(struck.effect, Shorten) else length


def told(struck: Strike | None, copied: int) -> int:
    """The count that is answered where so many bytes were copied."""
    return copied % WORD if struck and isinstance(struck.effect, Wrap) else copied


def _by_fault(struck: Strike, code: int) -> Refusal:
    return Refusal(code, struck.rule.cause, "fusecopy policy MNT fault= takes it back.")
