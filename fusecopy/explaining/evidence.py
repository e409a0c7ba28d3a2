"""What is looked up of a copy's two files when it is explained: they may have changed since it was made."""

import errno as errnos
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fusecopy import asking
from fusecopy.copying import refusal
from fusecopy.copying.facts import CopyEnd, Facts
from fusecopy.copying.records import CopyPath, Refusal, Request
from fusecopy.dispatch.records import Attempt, Copy, decode_path

BY_FILES = frozenset(
    getattr(errnos, name)
    for name in ("EINVAL", "EXDEV", "EOPNOTSUPP", "ENOTTY", "EROFS", "ETXTBSY", "EISDIR")
)
"""Errnos whose causes lie in the files. Others (EBADF, EPERM, EFBIG) depend on who asked and on how the files
were open, which is over."""

PATHS = frozenset(path.value for path in CopyPath)

SHARING = frozenset({CopyPath.REFLINK, CopyPath.COPY_FILE_RANGE, CopyPath.DEDUPE})


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was looked up.

    Attributes:
        source, destination: what each file is now, or why it could not be looked at.
        rules: for each attempt of the record the rule that refused it, where one fits.
        unshared: why bytes of a copy that succeeded are not shared, where a rule fits.
    """

    source: str
    destination: str
    rules: list[Refusal | None]
    unshared: Refusal | None = None


def look_up(copy: Copy, backing: Path) -> Evidence:
    """Look at both files of `copy` in the backing, by the names that the record has. Changes nothing."""
    names = source_of(copy, backing), destination_of(copy, backing)
    with ExitStack() as stack:
        opened = [stack.enter_context(_opened(name)) for name in names]
        if isinstance(opened[0], int) and isinstance(opened[1], int):
            request = Request(opened[0], opened[1], copy.off_in or 0, copy.off_out or 0, max(copy.length, 1))
            return _of_both(copy, request, names)
        source, destination = (_alone(each, name) for each, name in zip(opened, names, strict=True))
        return Evidence(source, destination, [None] * len(copy.attempts))


def source_of(copy: Copy, backing: Path) -> Path:
    """Where the source lies; one on another mount is named by its absolute path there."""
    return backing / os.fsdecode(decode_path(copy.src, copy.src_b64))


def destination_of(copy: Copy, backing: Path) -> Path:
    """Where the destination lies."""
    return backing / os.fsdecode(decode_path(copy.dst, copy.dst_b64))


@contextmanager
def _opened(name: Path) -> Iterator[int | str]:
    """A descriptor, or why there is none."""
    try:
        asking.look(str(name))
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        yield f"{name} cannot be looked at: {error.strerror}"
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _alone(opened: int | str, name: Path) -> str:
    return opened if isinstance(opened, str) else f"{name}: {os.fstat(opened).st_size} bytes"


def _of_both(copy: Copy, request: Request, names: tuple[Path, Path]) -> Evidence:
    facts = Facts(request, CopyPath.COPY_FILE_RANGE, 0)
    return Evidence(
        _described(names[0], facts.source, facts.block),
        _described(names[1], facts.destination, facts.block),
        [_rule(attempt, request) for attempt in copy.attempts],
        _unshared(copy, request),
    )


def _described(name: Path, file: CopyEnd, block: int) -> str:
    mount = file.mount
    where = f"{mount.name} (device {file.device}, mount {mount.ident})"
    parts = [f"{name}: {file.stat.st_size} bytes on {where}", _aligned(file.offset, block), *_marks(file)]
    return "; ".join(parts)


def _aligned(offset: int, block: int) -> str:
    rest = offset % block
    if not rest:
        return f"offset {offset} begins a block of {block}"
    return f"offset {offset} lies {rest} bytes into a block of {block}"


def _marks(file: CopyEnd) -> list[str]:
    marks = {
        "immutable (+i)": file.immutable,
        "append-only (+a)": file.append_only,
        "No_COW (+C)": file.nocow,
        "inline in metadata": file.inline,
        "in use as swap": bool(file.swap),
        "mounted read-only": file.readonly,
    }
    return [mark for mark, holds in marks.items() if holds]


def _rule(attempt: Attempt, request: Request) -> Refusal | None:
    code = getattr(errnos, attempt.errno or "", 0)
    if code not in BY_FILES or attempt.path not in PATHS:
        return None
    tried = Request(request.source, request.destination, attempt.off_in, attempt.off_out, attempt.length)
    return _known(tried, CopyPath(attempt.path), code)


def _unshared(copy: Copy, request: Request) -> Refusal | None:
    """copy_file_range copies without a word what a clone refuses with an errno."""
    if copy.cause or copy.shared is None or copy.copied is None:
        return None
    if copy.shared >= copy.copied - copy.holes or not SHARING.intersection(copy.paths):
        return None
    return _known(request, CopyPath.COPY_FILE_RANGE, 0)


def _known(request: Request, path: CopyPath, code: int) -> Refusal | None:
    try:
        return refusal.known(request, path, code)
    except OSError:
        return None
