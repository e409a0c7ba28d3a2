"""Having a path refuse a request, and showing that a remedy mends it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fusecopy.copying.ladder import carry
from fusecopy.copying.records import CopyPath, Refusal, Request
from fusecopy.copying.refusal import explain
from fusecopy.copying.sharing import shared_bytes
from tests import loopfs
from tests.reflink.files import noise

CONTENT = noise(20000)


def refused(request: Request, code: int, path: CopyPath = CopyPath.REFLINK) -> Refusal:
    """Have `path` refuse the request with errno `code`, and explain it."""
    outcome = carry(request, (path,))
    assert (outcome.copied, errno.errorcode[outcome.errno]) == (0, errno.errorcode[code])
    said = explain(request, path, outcome.errno)
    assert said.errno == code
    return said


def shares(request: Request) -> bool:
    """Whether a clone shares the whole request, as it should once the remedy was followed."""
    outcome = carry(request, (CopyPath.REFLINK,))
    copied = outcome.copied
    found = shared_bytes(request.source, request.offset_in, request.destination, request.offset_out, copied)
    return 0 < copied == found.shared


@contextmanager
def attribute(name: Path, letter: str) -> Iterator[None]:
    """chattr +LETTER for the time of a block."""
    loopfs.run("chattr", f"+{letter}", name)
    try:
        yield
    finally:
        loopfs.run("chattr", f"-{letter}", name)
