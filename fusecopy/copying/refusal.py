"""Why a path was refused: errno and facts to a cause and a remedy in words.

A table of rules. The first whose errno and facts fit is given; where none fits, that is said.
"""

import errno
import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from fusecopy.copying import errnos, filesystems
from fusecopy.copying.facts import Facts
from fusecopy.copying.records import Attempt, CopyPath, Outcome, Refusal, Request


class _Rule(NamedTuple):
    """One known cause. The texts are filled in from the facts `f`."""

    errnos: tuple[int, ...]
    applies: Callable[[Facts], bool]
    cause: str
    remedy: str


_EINVAL = (errno.EINVAL, 0)
"""What a clone refuses with EINVAL, copy_file_range copies without a word: 0 and nothing shared."""


def explain(request: Request, path: CopyPath, code: int) -> Refusal:
    """Say why `path` gave errno `code` for `request`, or shared nothing (`code` 0), by facts looked up now.

    The facts are those of this moment: where a file changed since the refusal, the cause may be gone.
    """
    name = errnos.name(code)
    try:
        found = known(request, path, code)
    except OSError as error:
        return Refusal(code, f"{path} gave {name}, and looking for the cause failed: {error.strerror}.", "")
    return found or Refusal(code, f"{path} gave {name}; no cause known here fits the two files.", "")


def explain_lack(request: Request, device: int, code: int) -> Refusal:
    """Say why the filesystem of st_dev `device` refuses every clone. That it lacks the operation (EOPNOTSUPP)
    is told by what is mounted alone, and looked up again when that changes."""
    changes = filesystems.changes()
    known_since, found = _lacks.get((device, code), (-1, None))
    if found is None or known_since != changes:
        found = explain(request, CopyPath.REFLINK, code)
        _lacks[device, code] = changes, found
    return found


_lacks: dict[tuple[int, int], tuple[int, Refusal]] = {}
"""By st_dev and errno. No lock: what another thread stores meanwhile is as right."""


def explain_outcome(request: Request, outcome: Outcome) -> Refusal | None:
    """Why a copy ended with an errno: by the attempt that ended it. Where it went well, why the first path
    that failed did: for a reflink that was not to be had, what every user asks. None where nothing failed."""
    if not outcome.errno:
        failed = next((attempt for attempt in outcome.attempts if attempt.errno), None)
        return _of_attempt(request, failed, failed.errno) if failed else None
    # The last attempt may have no errno of its own: differing content ends a dedupe so. What is refused
    # before any attempt, the call itself is refused.
    if outcome.attempts:
        return _of_attempt(request, outcome.attempts[-1], outcome.errno)
    return explain(request, CopyPath.COPY_FILE_RANGE, outcome.errno)


def _of_attempt(request: Request, attempt: Attempt, code: int) -> Refusal:
    """Of what the attempt had still to carry: the errno is about that."""
    rest = Request(
        request.source,
        request.destination,
        attempt.offset_in + attempt.carried,
        attempt.offset_out + attempt.carried,
        attempt.length - attempt.carried,
    )
    return explain(rest, attempt.path, code)


def known(request: Request, path: CopyPath, code: int) -> Refusal | None:
    """The cause among those known here that fits, as `explain` says it; None where none does.

    Raises:
        OSError: the facts could not be looked up.
    """
    facts = Facts(request, path, code)
    rule = next((rule for rule in _RULES if code in rule.errnos and rule.applies(facts)), None)
    return Refusal(code, rule.cause.format(f=facts), rule.remedy.format(f=facts)) if rule else None


def _kind(wanted: Callable[[int], bool]) -> Callable[[Facts], bool]:
    return lambda f: wanted(f.source.stat.st_mode) or wanted(f.destination.stat.st_mode)


def _overlaps(f: Facts) -> bool:
    return f.same_file and abs(f.source.offset - f.destination.offset) < f.request.length


def _shares(f: Facts) -> bool:
    """The path goes by the rules of clones: block by block."""
    return f.path in (CopyPath.REFLINK, CopyPath.DEDUPE, CopyPath.COPY_FILE_RANGE)


def _below_a_block(f: Facts) -> bool:
    if f.errno and f.ends_source and not (f.source.offset % f.block or f.destination.offset % f.block):
        return False  # a tail, which could be shared if the destination ended with it
    return _shares(f) and f.request.length < f.block and not f.shares_tail


def _unaligned_tail(f: Facts) -> bool:
    return _shares(f) and f.request.length % f.block != 0 and not f.shares_tail


_RULES: list[_Rule] = [
    _Rule(
        (errno.EISDIR,),
        _kind(stat.S_ISDIR),
        "One of the two is a directory; only regular files are copied.",
        "Copy the files in it one by one (cp -r).",
    ),
    _Rule(
        (errno.EINVAL, errno.EXDEV),
        lambda f: not _kind(stat.S_ISDIR)(f) and _kind(lambda mode: not stat.S_ISREG(mode))(f),
        "One of the two is not a regular file (a device, pipe or socket).",
        "Copy it with read and write (cat, dd).",
    ),
    _Rule(
        (errno.EBADF,),
        lambda f: f.source.access == os.O_WRONLY,
        "The source is not open for reading.",
        "Open it with O_RDONLY or O_RDWR.",
    ),
    _Rule(
        (errno.EBADF,),
        lambda f: f.destination.access == os.O_RDONLY,
        "The destination is not open for writing.",
        "Open it with O_WRONLY or O_RDWR.",
    ),
    _Rule(
        (errno.EBADF,),
        lambda f: f.destination.appends and f.destination.append_only,
        "The destination is append-only (chattr +a) and so is open with O_APPEND; a copy goes to an offset.",
        "Take the attribute off (chattr -a) and open the file without O_APPEND.",
    ),
    _Rule(
        (errno.EBADF,),
        lambda f: f.destination.appends,
        "The destination is open with O_APPEND; a copy goes to an offset.",
        "Open it without O_APPEND (in a shell > or 1<> in place of >>).",
    ),
    _Rule(
        (errno.EPERM,),
        lambda f: f.destination.immutable,
        "The destination is immutable (chattr +i).",
        "Take the attribute off (chattr -i).",
    ),
    _Rule(
        (errno.EPERM,),
        lambda f: f.destination.append_only,
        "The destination is append-only (chattr +a).",
        "Take the attribute off (chattr -a).",
    ),
    _Rule(
        (errno.EPERM,),
        lambda f: f.path is CopyPath.DEDUPE and f.destination.access == os.O_RDONLY,
        "The destination is open for reading only and user {f.destination.stat.st_uid} owns it.",
        "Open it for writing, or run as its owner.",
    ),
    _Rule(
        (errno.ETXTBSY,),
        lambda f: f.source.swap != "",
        "The source is in use as swap: {f.source.swap}.",
        "Turn that off first: swapoff {f.source.swap}",
    ),
    _Rule(
        (errno.ETXTBSY,),
        lambda f: f.destination.swap != "",
        "The destination is in use as swap: {f.destination.swap}.",
        "Turn that off first: swapoff {f.destination.swap}",
    ),
    _Rule(
        (errno.EROFS,),
        lambda f: f.destination.readonly,
        "The destination's filesystem ({f.destination.mount.name}) is mounted read-only.",
        "Mount it for writing (mount -o remount,rw).",
    ),
    _Rule(
        (errno.EROFS,),
        lambda f: f.destination.mount.name == "btrfs",
        "btrfs is mounted for writing and answered EROFS, as it does for a file in a read-only subvolume.",
        "Make the subvolume writable: btrfs property set -ts SUBVOLUME ro false.",
    ),
    _Rule(
        (errno.EXDEV, 0),
        lambda f: not f.same_filesystem,
        "The source lies on {f.source.mount.name} (device {f.source.device}), the destination on "
        "{f.destination.mount.name} (device {f.destination.device}); extents are shared "
        "within one filesystem.",
        "Copy within one filesystem; the subvolumes of one btrfs count as one.",
    ),
    _Rule(
        (errno.EXDEV,),
        lambda f: f.source.mount.ident != f.destination.mount.ident,
        "Both files lie on one filesystem but were opened through two mounts, "
        "which Linux refuses before 5.18.",
        "Open both through one mount, or use a newer kernel.",
    ),
    _Rule(
        (errno.EOPNOTSUPP, errno.ENOTTY),
        lambda f: f.destination.mount.name == "xfs",
        "This XFS was made without reflink (device {f.destination.device}).",
        "It cannot be added later: make a new one with mkfs.xfs -m reflink=1.",
    ),
    _Rule(
        (errno.EOPNOTSUPP, errno.ENOTTY),
        lambda f: f.destination.mount.name != "btrfs",
        "The filesystem {f.destination.mount.name} (device {f.destination.device}) has no such operation: it "
        "answered {f.name} to {f.path}.{f.lack.why}",
        "{f.lack.remedy}",
    ),
    _Rule(
        _EINVAL,
        _overlaps,
        "Source and destination are one file and the ranges overlap.",
        "Copy to a range that begins at least {f.request.length} bytes away, or to another file.",
    ),
    _Rule(
        (errno.EINVAL,),
        lambda f: f.source.end > f.source.stat.st_size,
        "The range ends at {f.source.end}, past the source's end at {f.source.stat.st_size}.",
        "End it at the source's end, with the destination no longer than the copy.",
    ),
    _Rule(
        (errno.EINVAL,),
        lambda f: f.path is CopyPath.DEDUPE and f.destination.end > f.destination.stat.st_size,
        "The range ends at {f.destination.end}, past the destination's end at {f.destination.stat.st_size}; "
        "dedupe shares only bytes that are there already.",
        "Use reflink to make the copy.",
    ),
    _Rule(
        _EINVAL,
        _below_a_block,
        "The range of {f.request.length} bytes is smaller than a block ({f.block}) and does "
        "not end both files.",
        "Copy whole blocks: offsets and length in multiples of {f.block}.",
    ),
    _Rule(
        _EINVAL,
        lambda f: _shares(f) and f.source.offset % f.block != 0,
        "The source offset {f.source.offset} is not a multiple of the block size {f.block}.",
        "Begin at a multiple of {f.block} in both files.",
    ),
    _Rule(
        _EINVAL,
        lambda f: _shares(f) and f.destination.offset % f.block != 0,
        "The destination offset {f.destination.offset} is not a multiple of the block size {f.block}.",
        "Begin at a multiple of {f.block} in both files.",
    ),
    _Rule(
        (errno.EINVAL,),
        lambda f: _unaligned_tail(f) and f.ends_source,
        "The range ends at the source's end, inside a block of {f.block}, but the destination goes on from "
        "{f.destination.end} to {f.destination.stat.st_size}.",
        "Truncate the destination to {f.destination.end} first, or copy a multiple of {f.block} bytes.",
    ),
    _Rule(
        (errno.EINVAL,),
        _unaligned_tail,
        "The length {f.request.length} is not a multiple of the block size {f.block} and the range ends"
        " before the source does, at {f.source.end} of {f.source.stat.st_size}.",
        "Copy a multiple of {f.block} bytes, or up to the source's end.",
    ),
    _Rule(
        _EINVAL,
        lambda f: f.destination.mount.name == "btrfs" and f.source.nocow and not f.destination.nocow,
        "The source is No_COW (chattr +C) and the destination is not; btrfs shares between alike files only.",
        "Set the attribute on the destination while it is empty: chattr +C FILE.",
    ),
    _Rule(
        _EINVAL,
        lambda f: f.destination.mount.name == "btrfs" and f.destination.nocow and not f.source.nocow,
        "The destination is No_COW (chattr +C) and the source is not; btrfs shares between alike files only.",
        "Take the attribute off the destination while it is empty: chattr -C FILE.",
    ),
    _Rule(
        (0,),
        lambda f: f.path in (CopyPath.REFLINK, CopyPath.COPY_FILE_RANGE) and f.source.inline,
        "The source's data lies inline in the metadata of {f.source.mount.name}, so no extent can be shared.",
        "Write the source again under mount -o max_inline=0, or let it be: nothing but metadata was copied.",
    ),
    _Rule(
        _EINVAL,
        lambda f: f.path is CopyPath.DEDUPE and f.difference >= 0,
        "The two ranges differ, first at byte {f.difference} of the range.",
        "Use reflink to make the destination a copy of the source.",
    ),
    _Rule(
        (errno.EFBIG,),
        lambda f: 0 <= f.limit < f.destination.end,
        "The range ends at {f.destination.end} and this process may write up to {f.limit} (RLIMIT_FSIZE).",
        "Raise the limit (ulimit -f).",
    ),
    _Rule(
        (errno.EFBIG,),
        lambda f: True,
        "The range ends at {f.destination.end}, beyond the largest file that "
        "{f.destination.mount.name} holds.",
        "Copy to a smaller offset.",
    ),
    _Rule(
        (errno.ENOSPC,),
        lambda f: True,
        "The filesystem {f.destination.mount.name} is full: {f.destination.free} bytes are free.",
        "Free some space on it.",
    ),
    _Rule(
        (errno.EDQUOT,),
        lambda f: True,
        "A quota on {f.destination.mount.name} is used up (user {f.destination.stat.st_uid}, "
        "group {f.destination.stat.st_gid}); {f.destination.free} bytes are free.",
        "Raise the quota or remove files that count towards it.",
    ),
]
