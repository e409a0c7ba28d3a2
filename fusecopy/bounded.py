"""What may wait for a server that does not answer, done with a bound.

Who waits for a FUSE server cannot always be killed: once the request has been read only its answer, or the
end of the connection, frees the caller (request_wait_answer, fs/fuse/dev.c, Linux 6.1 to 7.2). So it is a
child that waits, and is left behind where it does not end.
"""

import errno
import os
import pickle
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TypeVar

from fusecopy.errors import FusecopyError

T = TypeVar("T")

ANSWER_SECONDS = 3.0
"""What a server is given to answer a question, however busy it is."""

KILL_SECONDS = 1.0


def call(act: Callable[[], T], seconds: float = ANSWER_SECONDS) -> T:
    """What `act` returns or raises, done in a child of this process, which has to have one thread.

    Raises:
        TimeoutError: it has not ended after so many seconds.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _act(act, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        if not select.select([pipe], [], [], seconds)[0]:
            _kill(child)
            raise TimeoutError(errno.ETIMEDOUT, f"no answer within {seconds:g} s")
        told = pipe.read()
    os.waitpid(child, 0)
    if not told:
        raise TimeoutError(errno.ETIMEDOUT, "whoever asked has ended without an answer")
    result, error = pickle.loads(told)  # written by our own child
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _kill(child: int) -> None:
    """While it lives it holds what it waits for."""
    os.kill(child, signal.SIGKILL)
    descriptor = os.pidfd_open(child)
    if select.select([descriptor], [], [], KILL_SECONDS)[0]:
        os.waitpid(child, 0)
    os.close(descriptor)


def _act(act: Callable[[], object], writing: int) -> NoReturn:
    result, error = None, None
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):  # whoever reads our output to its end must not wait for a child left behind
        os.dup2(null, number)
    try:
        result = act()
    except (OSError, FusecopyError) as raised:
        error = raised
    with suppress(OSError), os.fdopen(writing, "wb") as pipe:  # nobody waits any more
        pipe.write(pickle.dumps((result, error)))
    os._exit(0)
